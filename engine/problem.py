"""Site and series become one `DispatchProblem`: plain arrays, the one hand-over to every solver.

Everything that can be wrong with the input is refused here, naming the first offending interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.assets import Battery, Site
from engine.errors import InputError
from engine.timeline import step_hours, utc_index

Array = npt.NDArray[np.float64]

# No market or tariff pays or charges more than this per kWh (the Australian cap, the highest that we
# know of, is about 10 EUR/kWh); a larger figure is a price per MWh.
LARGEST_PRICE_EUR_PER_KWH = 20.0
# Nor is more than half of any horizon dearer than this.
LARGEST_TYPICAL_PRICE_EUR_PER_KWH = 5.0
# Telemetry may report a state of charge a little outside 0..1; further out it is a percentage.
SOC_REPORT_MARGIN = 0.05
# A power this many times what connection and battery can carry together, and above the floor, is in W.
POWER_PLAUSIBILITY_FACTOR = 10.0
POWER_PLAUSIBILITY_FLOOR_KW = 200.0
# What gives way first where not all can be kept: the final state of charge, then a connection limit, then the band.
# Factors on the breach price; a kWh over a limit, a kWh short at the end, a kWh outside the band for an hour.
LIMIT_PRIORITY = 10.0
BAND_PRIORITY = 100.0


@dataclass(frozen=True, eq=False)
class DispatchProblem:
    """One site over one horizon; arrays of shape (T,), powers in kW at the AC side, prices in EUR/kWh."""

    index: pd.DatetimeIndex
    step_h: float
    battery: Battery
    import_price: Array
    export_price: Array
    load_kw: Array
    pv_kw: Array
    """Power that the sun offers."""
    pv_curtailable: bool
    import_limit_kw: Array
    """Infinite where no limit binds."""
    export_limit_kw: Array
    initial_soc: float
    final_soc_min: float | None
    terminal_value_eur_per_kwh: float

    @property
    def intervals(self) -> int:
        """Number of intervals T."""
        return len(self.index)

    @property
    def surplus_kw(self) -> Array:
        """PV on offer less load; what the site would feed in with an idle battery (negative: draw)."""
        return self.pv_kw - self.load_kw

    @property
    def idle_over_import_kw(self) -> Array:
        """How far the load exceeds the import limit with an idle battery; no plan may exceed it further."""
        return np.maximum(-self.surplus_kw - self.import_limit_kw, 0.0)

    @property
    def idle_over_export_kw(self) -> Array:
        """How far uncurtailable PV exceeds the export limit with an idle battery; no plan may exceed it further."""
        if self.pv_curtailable:
            return np.zeros(self.intervals)
        return np.maximum(self.surplus_kw - self.export_limit_kw, 0.0)

    @property
    def most_import_kw(self) -> Array:
        """What the site can draw within its limit [kW]; finite even where no limit binds."""
        return np.minimum(self.import_limit_kw, self.load_kw + self.battery.max_charge_kw)

    @property
    def most_export_kw(self) -> Array:
        """What the site can feed in within its limit [kW]; finite even where no limit binds."""
        return np.minimum(self.export_limit_kw, self.pv_kw + self.battery.max_discharge_kw)

    @property
    def breach_price_eur_per_kwh(self) -> float:
        """More than anything that a broken limit could earn, so limits break only where they must."""
        battery = self.battery
        dearest = max(
            float(np.abs(self.import_price).max()),
            float(np.abs(self.export_price).max()),
            abs(self.terminal_value_eur_per_kwh),
        )
        return 10 * (1 + battery.wear_eur_per_kwh + dearest / battery.round_trip_efficiency)

    @property
    def burning_pays(self) -> npt.NDArray[np.bool_]:
        """Intervals so cheap that charging and discharging at once would pay: physics forbids what prices reward.

        Cutting both so that the store stays as it is changes the cost by -((1 - rte) * price + rte * wear) per kWh
        charged, rte being the round-trip efficiency.
        """
        rte = self.battery.round_trip_efficiency
        lower_price = np.minimum(self.import_price, self.export_price)
        return (1 - rte) * lower_price + rte * self.battery.wear_eur_per_kwh < 0

    @property
    def selling_beats_buying(self) -> npt.NDArray[np.bool_]:
        """Intervals in which importing and exporting at once would pay."""
        return self.export_price > self.import_price


def build_problem(
    site: Site,
    *,
    import_price: pd.Series,
    export_price: pd.Series,
    load: pd.Series | None,
    pv: pd.Series | None,
    initial_soc: float,
    final_soc_min: float | None,
    terminal_value_eur_per_kwh: float | None,
) -> DispatchProblem:
    """Check a site's inputs and lay them out as arrays.

    Args:
        site: The site.
        import_price: All-in price of a bought kWh [EUR/kWh] on an aware, regular index.
        export_price: All-in price of a sold kWh [EUR/kWh] on the same index.
        load: Mean consumption [kW], >= 0; None is no load.
        pv: Mean power that the sun offers [kW], >= 0; None is no PV.
        initial_soc: State of charge at the start [fraction].
        final_soc_min: Least state of charge at the end [fraction]; None binds only the band.
        terminal_value_eur_per_kwh: What a kWh in store is worth at the end [EUR/kWh]; None is nothing.

    Raises:
        InputError: Naming the field, the first offending interval, the bound and the way out.
    """
    for name, series in (("import_price", import_price), ("export_price", export_price), ("load", load), ("pv", pv)):
        if not (isinstance(series, pd.Series) or (series is None and name in ("load", "pv"))):
            raise InputError(name, f"it is {type(series).__name__}", "give a pandas Series indexed by time")
    index = utc_index("import_price", import_price.index)
    zeros = pd.Series(0.0, index=index)
    prices = {"import_price": import_price, "export_price": export_price}
    powers = {"load": zeros if load is None else load, "pv": zeros if pv is None else pv}
    arrays = {name: _values(name, series, index) for name, series in {**prices, **powers}.items()}
    for name in prices:
        _refuse_per_mwh(name, arrays[name], index)
    for name in powers:
        _refuse_negative(name, arrays[name], index)
    if site.pv is None and arrays["pv"].any():
        raise InputError("pv", "the site has no PV array", "give the site a PvArray or leave pv out")
    _refuse_watts(site, arrays["load"], arrays["pv"], index)
    grid = site.grid
    return DispatchProblem(
        index=index,
        step_h=step_hours(index),
        battery=site.battery,
        import_price=arrays["import_price"],
        export_price=arrays["export_price"],
        load_kw=arrays["load"],
        pv_kw=arrays["pv"],
        pv_curtailable=site.pv is not None and site.pv.curtailable,
        import_limit_kw=_limit(grid.import_limit_kw, len(index)),
        export_limit_kw=_limit(grid.export_limit_kw, len(index)),
        initial_soc=_soc("initial_soc", initial_soc, SOC_REPORT_MARGIN),
        final_soc_min=None if final_soc_min is None else _final_soc(site.battery, final_soc_min),
        terminal_value_eur_per_kwh=_terminal_value(terminal_value_eur_per_kwh),
    )


def _values(name: str, series: pd.Series, index: pd.DatetimeIndex) -> Array:
    own = utc_index(name, series.index)
    if not own.equals(index):
        raise InputError(f"{name}.index", _first_difference(own, index), "put all series on one index")
    dtype = series.dtype
    odd = pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_complex_dtype(dtype)
    if odd or not pd.api.types.is_numeric_dtype(dtype):
        raise InputError(name, f"its values are {dtype}", "give numbers")
    values = series.to_numpy(dtype=np.float64, na_value=np.nan)
    bad = ~np.isfinite(values)
    if bad.any():
        raise InputError(
            name,
            f"value {values[bad][0]} at {_at(index, bad)}",
            "fill it from another source or shorten the horizon; a missing value is never taken as 0",
        )
    return values


def _first_difference(own: pd.DatetimeIndex, index: pd.DatetimeIndex) -> str:
    for position, (mine, other) in enumerate(zip(own, index, strict=False)):
        if mine != other:
            return f"interval {position} starts {mine.isoformat()}, that of import_price {other.isoformat()}"
    return f"it has {len(own)} intervals, import_price {len(index)}"


def _refuse_per_mwh(name: str, values: Array, index: pd.DatetimeIndex) -> None:
    bound = LARGEST_PRICE_EUR_PER_KWH
    if np.median(np.abs(values)) > LARGEST_TYPICAL_PRICE_EUR_PER_KWH:
        bound = LARGEST_TYPICAL_PRICE_EUR_PER_KWH
    bad = np.abs(values) > bound
    if bad.any():
        raise InputError(
            name,
            f"value {values[bad][0]:g} EUR/kWh at {_at(index, bad)} is beyond +-{bound:g} EUR/kWh",
            "if the series is in EUR/MWh, divide it by 1000",
        )


def _refuse_negative(name: str, values: Array, index: pd.DatetimeIndex) -> None:
    bad = values < 0
    if bad.any():
        raise InputError(
            name,
            f"value {values[bad][0]:g} kW at {_at(index, bad)} is below 0",
            "load and PV are separate and never negative; split a net series into both",
        )


def _refuse_watts(site: Site, load_kw: Array, pv_kw: Array, index: pd.DatetimeIndex) -> None:
    battery_kw = max(site.battery.max_charge_kw, site.battery.max_discharge_kw)
    carried_kw = {
        "load": battery_kw + (site.grid.import_limit_kw or 0.0),
        "pv": battery_kw + (site.grid.export_limit_kw or 0.0) + float(load_kw.max()),
    }
    for name, values in (("load", load_kw), ("pv", pv_kw)):
        bound = max(POWER_PLAUSIBILITY_FLOOR_KW, POWER_PLAUSIBILITY_FACTOR * carried_kw[name])
        bad = values > bound
        if bad.any():
            raise InputError(
                name,
                f"value {values[bad][0]:g} kW at {_at(index, bad)} is above {bound:g} kW, "
                f"{POWER_PLAUSIBILITY_FACTOR:g} times what battery and connection carry",
                "if the series is in W, divide it by 1000; if it is right, give the grid connection its limits",
            )


def _soc(name: str, value: float, margin: float) -> float:
    if not isinstance(value, int | float | np.number) or isinstance(value, bool) or not np.isfinite(value):
        raise InputError(name, f"value {value!r} is no number", "give a fraction between 0 and 1")
    if not -margin <= value <= 1 + margin:
        raise InputError(
            name,
            f"value {value:g} is outside 0..1",
            f"for {value:g} % write {value / 100:g}" if 2 <= value <= 100 else "give a fraction between 0 and 1",
        )
    return float(value)


def _final_soc(battery: Battery, value: float) -> float:
    soc = _soc("final_soc_min", value, 0.0)
    if soc > battery.max_soc:
        raise InputError(
            "final_soc_min",
            f"value {soc:g} is above max_soc {battery.max_soc:g}",
            "ask for less or widen the band",
        )
    return soc


def _terminal_value(value: float | None) -> float:
    if value is None:
        return 0.0
    if not isinstance(value, int | float | np.number) or not abs(value) <= LARGEST_PRICE_EUR_PER_KWH:
        raise InputError(
            "terminal_value_eur_per_kwh",
            f"value {value!r} is beyond +-{LARGEST_PRICE_EUR_PER_KWH:g} EUR/kWh",
            "give a price per kWh, not per MWh",
        )
    return float(value)


def _limit(limit_kw: float | None, intervals: int) -> Array:
    return np.full(intervals, np.inf if limit_kw is None else limit_kw)


def _at(index: pd.DatetimeIndex, bad: npt.NDArray[np.bool_]) -> str:
    return index[int(bad.argmax())].strftime("%Y-%m-%dT%H:%M:%SZ")
