"""Series and figures become a `ProblemStack`; everything that can be wrong with them is refused here.

Every refusal names the field (and the column, where a frame has one per site), the first offending interval, the
bound and the way out.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, overload

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask, is_number
from engine.assets import Site
from engine.demand import DemandCharge
from engine.errors import InputError
from engine.figures import SiteFigures
from engine.market_inputs import WEIGHT_IN_STORE, refuse_uncurtailable, self_consumption_weights, wanted
from engine.prices import PriceCurve
from engine.problem import ProblemStack
from engine.request import Figure, Request, Series, TerminalValue
from engine.strategy import Strategy
from engine.timeline import step_hours, utc_index

# No market or tariff pays or charges more than this per kWh (the Australian cap, the highest that we
# know of, is about 10 EUR/kWh); a larger figure is a price per MWh.
LARGEST_PRICE_EUR_PER_KWH = 20.0
# Nor is more than half of any horizon dearer than this.
LARGEST_TYPICAL_PRICE_EUR_PER_KWH = 5.0
# The dirtiest power station emits about 1.2 kg/kWh; a larger figure is in g.
LARGEST_CARBON_KG_PER_KWH = 3.0
MOST_TERMINAL_PIECES = 100
# Telemetry may report a state of charge a little outside 0..1; further out it is a percentage.
SOC_REPORT_MARGIN = 0.05
# A power this many times what connection and battery can carry together, and above the floor, is in W.
POWER_PLAUSIBILITY_FACTOR = 10.0
POWER_PLAUSIBILITY_FLOOR_KW = 200.0


def build_stack(sites: Sequence[Site], request: Request, *, frames: bool = False) -> ProblemStack:
    """Check what is asked for some sites and lay it out as arrays.

    Args:
        sites: The sites.
        request: What is asked.
        frames: Whether a series may be a DataFrame with one column per site.

    Raises:
        InputError: Naming the field, the first offending interval, the bound and the way out.
    """
    _refuse_no_sites(sites, "sites" if frames else "site")
    strategy = Strategy() if request.strategy is None else request.strategy
    if not isinstance(strategy, Strategy):
        raise InputError("strategy", f"it is {type(strategy).__name__}", "give a Strategy(...)")
    kinds = (pd.Series, pd.DataFrame) if frames else (pd.Series,)
    _refuse_no_series("import_price", request.import_price, kinds)
    reader = _Reader(sites, request.import_price.index, kinds)
    load_kw = reader.power("load", request.load, 0.0)
    pv_kw = reader.power("pv", request.pv, 0.0)
    figures = SiteFigures.of(sites)
    index = reader.index
    export_price = reader.price("export_price", request.export_price)
    import_target_kw = np.inf
    if strategy.import_target_kw is not None and strategy.import_target_price_eur_per_kwh is None:
        import_target_kw = strategy.import_target_kw
    if strategy.export_floor_eur_per_kwh is not None and strategy.export_guard == "curtail":
        refuse_uncurtailable(sites)
    import_limit_kw = np.minimum(figures.import_limit_kw, reader.limit("import_limit_kw", request.import_limit_kw))
    export_limit_kw = np.minimum(figures.export_limit_kw, reader.limit("export_limit_kw", request.export_limit_kw))
    stack = ProblemStack(
        sites=tuple(sites),
        figures=figures,
        strategy=strategy,
        demand_charges=_demand_charges(request.demand_charges),
        index=index,
        step_h=step_hours(index),
        import_price=reader.price("import_price", request.import_price),
        export_price=export_price,
        carbon_kg_per_kwh=reader.carbon(request.carbon_kg_per_kwh),
        load_kw=load_kw,
        pv_kw=pv_kw,
        import_limit_kw=np.minimum(import_limit_kw, import_target_kw),
        export_limit_kw=guarded_export_kw(strategy, export_price, export_limit_kw),
        charge_available_kw=reader.limit("max_charge_kw", request.max_charge_kw),
        discharge_available_kw=reader.limit("max_discharge_kw", request.max_discharge_kw),
        reserve_soc=np.maximum(reader.fraction("reserve_soc", request.reserve_soc), strategy.reserve_soc),
        initial_soc=reader.soc("initial_soc", request.initial_soc, SOC_REPORT_MARGIN),
        final_soc_min=_final_soc(reader, request.final_soc_min, figures.max_soc),
        wanted=wanted(reader, strategy, request) | self_consumption_weights(strategy, len(index)),
        **_terminal_value(request.terminal_value_eur_per_kwh if strategy.objective == "cost" else WEIGHT_IN_STORE),
    )
    if strategy.carbon_eur_per_kg and request.carbon_kg_per_kwh is None:
        raise InputError(
            "strategy.carbon_eur_per_kg",
            f"value {strategy.carbon_eur_per_kg:g} EUR/kg weighs a carbon_kg_per_kwh that is not given",
            "give the series or leave the weight out",
        )
    _refuse_high_reserve(stack)
    _refuse_pv_without_array(stack)
    _refuse_watts(stack)
    return stack


def guarded_export_kw(strategy: Strategy, export_price: Array, export_limit_kw: Array) -> Array:
    """What the export guard leaves of a limit of export, in the shape of both together [kW].

    Args:
        strategy: Guard and floor.
        export_price: What a sold kWh earns [EUR/kWh].
        export_limit_kw: The limit besides the guard [kW].
    """
    if strategy.export_floor_eur_per_kwh is None or strategy.export_guard != "curtail":
        return export_limit_kw
    guarded = export_price < strategy.export_floor_eur_per_kwh
    return np.where(guarded, 0.0, export_limit_kw) if guarded.any() else export_limit_kw


@overload
def in_euros(name: str, price: pd.Series | PriceCurve) -> pd.Series: ...
@overload
def in_euros(name: str, price: Series | PriceCurve) -> Series: ...
def in_euros(name: str, price: Series | PriceCurve) -> Series:
    """A price as plain euros per kWh; one that carries another currency is refused.

    Args:
        name: What to call it in an error.
        price: Prices [EUR/kWh], with their currency or without.

    Raises:
        InputError: The curve is in another currency.
    """
    if not isinstance(price, PriceCurve):
        return price
    if price.currency != "EUR":
        raise InputError(
            name,
            f"value {price.series.iloc[0]:g} {price.currency}/kWh at {price.index[0]:%Y-%m-%dT%H:%M:%SZ} is not in EUR",
            "convert it with .to('EUR', rate)",
        )
    return price.series


class _Reader:
    """Reads series and figures of some sites on one index."""

    def __init__(self, sites: Sequence[Site], given_index: pd.Index, kinds: tuple[type, ...]) -> None:
        self.sites = sites
        self._kinds = kinds
        self._given_index = given_index
        self.index = utc_index("import_price", given_index)

    def price(self, name: str, series: Series) -> Array:
        """Prices [EUR/kWh]."""
        values = self._finite(name, series)
        typical = np.median(np.abs(values), axis=1, keepdims=True)
        bound = np.where(
            typical > LARGEST_TYPICAL_PRICE_EUR_PER_KWH, LARGEST_TYPICAL_PRICE_EUR_PER_KWH, LARGEST_PRICE_EUR_PER_KWH
        )
        self._refuse(
            name,
            series,
            np.abs(values) > bound,
            lambda row, t: f"value {values[row, t]:g} EUR/kWh at {self.at(t)} is beyond +-{bound[row, 0]:g} EUR/kWh",
            "if the series is in EUR/MWh, divide it by 1000",
        )
        return values

    def power(self, name: str, series: Series | None, default: float) -> Array:
        """Load or PV [kW]."""
        if series is None:
            return np.full((1, 1), default)
        values = self._finite(name, series)
        self._refuse(
            name,
            series,
            values < 0,
            lambda row, t: f"value {values[row, t]:g} kW at {self.at(t)} is below 0",
            "load and PV are separate and never negative; split a net series into both",
        )
        return values

    def signed(self, name: str, series: Series) -> Array:
        """Powers of either sign [kW]."""
        values = self._finite(name, series)
        figures = SiteFigures.of(self.sites)
        battery_kw = np.maximum(figures.max_charge_kw, figures.max_discharge_kw)
        bound = np.maximum(POWER_PLAUSIBILITY_FLOOR_KW, POWER_PLAUSIBILITY_FACTOR * battery_kw).max()
        self._refuse(
            name,
            series,
            np.abs(values) > bound,
            lambda row, t: f"value {values[row, t]:g} kW at {self.at(t)} is beyond +-{bound:g} kW",
            "if the series is in W, divide it by 1000; if it is right, the battery is too small for it",
        )
        return values

    def limit(self, name: str, series: Series | None) -> Array:
        """Limits [kW]; infinite where none binds."""
        if series is None:
            return np.full((1, 1), np.inf)
        values = self._values(name, series)
        self._refuse(
            name,
            series,
            ~(values >= 0),
            lambda row, t: f"value {values[row, t]:g} kW at {self.at(t)} is no limit",
            "give 0 or more, and inf where no limit binds; a missing value is never taken as no limit",
        )
        return values

    def fraction(self, name: str, series: Series | None) -> Array:
        """States of charge [fraction]."""
        if series is None:
            return np.zeros((1, 1))
        values = self._finite(name, series)
        self._refuse(
            name,
            series,
            (values < 0) | (values > 1),
            lambda row, t: f"value {values[row, t]:g} at {self.at(t)} is outside 0..1",
            "give fractions between 0 and 1",
        )
        return values

    def carbon(self, series: Series | None) -> Array:
        """Carbon intensity [kg/kWh]."""
        if series is None:
            return np.zeros((1, 1))
        values = self._finite("carbon_kg_per_kwh", series)
        self._refuse(
            "carbon_kg_per_kwh",
            series,
            (values < 0) | (values > LARGEST_CARBON_KG_PER_KWH),
            lambda row, t: (
                f"value {values[row, t]:g} kg/kWh at {self.at(t)} is outside 0..{LARGEST_CARBON_KG_PER_KWH:g} kg/kWh"
            ),
            "if the series is in g/kWh, divide it by 1000",
        )
        return values

    def soc(self, name: str, figure: Figure, margin: float) -> Array:
        """States of charge, shape (N, 1) [fraction]."""
        values = np.asarray(figure)
        if values.dtype == object and all(map(is_number, values.flat)):
            values = values.astype(np.float64)  # numbers that numpy does not know, as fractions
        if values.dtype.kind not in "iuf":
            raise InputError(name, f"value {figure!r} is no number", "give a fraction between 0 and 1")
        values = values.astype(np.float64)
        if values.ndim > 1 or (values.ndim == 1 and len(values) != len(self.sites)):
            raise InputError(
                name, f"it has shape {values.shape} for {len(self.sites)} sites", "give a number or one per site"
            )
        if isinstance(figure, pd.Series) and values.ndim:
            self._refuse_other_order(name, figure.index)
        values = np.array(np.broadcast_to(values, len(self.sites)))[:, np.newaxis]
        bad = ~((values >= -margin) & (values <= 1 + margin))
        if bad.any():
            row = int(bad.argmax())
            value = float(values[row, 0])
            what = f"value {value!r} is no number" if not np.isfinite(value) else f"value {value:g} is outside 0..1"
            raise InputError(
                f"{name}{self._site_suffix(row)}",
                what,
                f"for {value:g} % write {value / 100:g}" if 2 <= value <= 100 else "give a fraction between 0 and 1",
            )
        return values

    def at(self, t: int) -> str:
        """An interval's start, for messages."""
        return self.index[t].strftime("%Y-%m-%dT%H:%M:%SZ")

    def _refuse_other_order(self, name: str, labels: pd.Index) -> None:
        """Labels are free, but names of the sites in another order mean that a value would go to another site."""
        given = labels.tolist()
        if given == self._names or set(given) != set(self._names):
            return
        position = next(i for i, (label, own) in enumerate(zip(given, self._names, strict=True)) if label != own)
        raise InputError(
            name,
            f"place {position} is labelled {given[position]!r}, the site there is {self._names[position]!r}",
            "put it in the order of the sites",
        )

    @cached_property
    def _names(self) -> list[str]:
        return [site.name for site in self.sites]

    def _site_suffix(self, row: int) -> str:
        return f"[{row}] ({self.sites[row].name})" if len(self.sites) > 1 else ""

    def _finite(self, name: str, series: Series) -> Array:
        values = self._values(name, series)
        self._refuse(
            name,
            series,
            ~np.isfinite(values),
            lambda row, t: f"value {values[row, t]} at {self.at(t)}",
            "fill it from another source or shorten the horizon; a missing value is never taken as 0",
        )
        return values

    def _values(self, name: str, series: Series) -> Array:
        """A series as (1, T), a frame as (N, T)."""
        _refuse_no_series(name, series, self._kinds)
        own = self.index if series.index.equals(self._given_index) else utc_index(name, series.index)
        if not own.equals(self.index) or (len(own) == 1 and own.freq != self.index.freq):
            raise InputError(f"{name}.index", _first_difference(own, self.index), "put all series on one index")
        frame = isinstance(series, pd.DataFrame)
        if frame and series.shape[1] != len(self.sites):
            raise InputError(
                name,
                f"it has {series.shape[1]} columns for {len(self.sites)} sites",
                "give one column per site in their order, or a Series that all share",
            )
        if frame:
            self._refuse_other_order(name, series.columns)
        for dtype in set(series.dtypes) if isinstance(series, pd.DataFrame) else {series.dtype}:
            odd = pd.api.types.is_bool_dtype(dtype) or pd.api.types.is_complex_dtype(dtype)
            if odd or not pd.api.types.is_numeric_dtype(dtype):
                raise InputError(name, f"its values are {dtype}", "give numbers")
        values = series.to_numpy(dtype=np.float64, na_value=np.nan)
        # Compiled kernels want one layout, and arrays of their own.
        return np.require(values.T if frame else values[np.newaxis, :], requirements=["C", "W"])

    def _refuse(self, name: str, series: Series, bad: Mask, problem: Any, way_out: str) -> None:
        """Refuse the earliest bad interval, and of several sites the first."""
        if not bad.any():
            return
        t = int(bad.any(axis=0).argmax())
        row = int(bad[:, t].argmax())
        column = f"[{series.columns[row]!r}]" if isinstance(series, pd.DataFrame) else ""
        raise InputError(f"{name}{column}", problem(row, t), way_out)


def _refuse_no_sites(sites: object, name: str) -> None:
    if not isinstance(sites, Sequence) or isinstance(sites, str | bytes):
        raise InputError(name, f"it is {type(sites).__name__}", "give a list of Site")
    if not sites:
        raise InputError(name, "there are none", "give one or more")
    for number, site in enumerate(sites):
        if not isinstance(site, Site):
            place = f"[{number}]" if len(sites) > 1 else ""
            raise InputError(f"{name}{place}", f"it is {type(site).__name__}", "give a Site(...)")


def _demand_charges(charges: object) -> tuple[DemandCharge, ...]:
    if not isinstance(charges, Sequence) or isinstance(charges, str | bytes):
        raise InputError("demand_charges", f"it is {type(charges).__name__}", "give a list of DemandCharge")
    for number, charge in enumerate(charges):
        if not isinstance(charge, DemandCharge):
            raise InputError(f"demand_charges[{number}]", f"it is {type(charge).__name__}", "give a DemandCharge(...)")
    return tuple(charges)


def _refuse_no_series(name: str, series: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(series, kinds):
        known = " or ".join(kind.__name__ for kind in kinds)
        raise InputError(name, f"it is {type(series).__name__}", f"give a pandas {known} indexed by time")


def _first_difference(own: pd.DatetimeIndex, index: pd.DatetimeIndex) -> str:
    for position, (mine, other) in enumerate(zip(own, index, strict=False)):
        if mine != other:
            return f"interval {position} starts {mine.isoformat()}, that of import_price {other.isoformat()}"
    longer, whose = (own, "import_price") if len(own) > len(index) else (index, "it")
    first = longer[min(len(own), len(index))]
    return f"it has {len(own)} intervals, import_price {len(index)}: {whose} lacks the one from {first.isoformat()}"


def _refuse_high_reserve(stack: ProblemStack) -> None:
    highest, max_soc = stack.reserve_soc.max(axis=1, keepdims=True), stack.figures.max_soc
    bad = highest > max_soc
    if bad.any():
        row = int(bad.argmax())
        whose = "" if len(stack) == 1 else f" of site {row} ({stack.sites[row].name})"
        raise InputError(
            "reserve_soc",
            f"value {highest[row % len(highest), 0]:g} is above max_soc {max_soc[row, 0]:g}{whose}",
            "ask for less or widen the band",
        )


def _refuse_pv_without_array(stack: ProblemStack) -> None:
    given = stack.pv_kw.any(axis=1) & (stack.figures.has_pv[:, 0] == 0)
    if given.any():
        first = int(given.argmax())
        whose = "the site" if len(stack) == 1 else f"site {first} ({stack.sites[first].name})"
        raise InputError("pv", f"{whose} has no PV array", "give the site a PvArray or leave pv out")


def _refuse_watts(stack: ProblemStack) -> None:
    battery_kw = np.maximum(stack.figures.max_charge_kw, stack.figures.max_discharge_kw)
    import_kw, export_kw = (
        np.where(np.isfinite(limit), limit, 0.0)
        for limit in (stack.figures.import_limit_kw, stack.figures.export_limit_kw)
    )
    carried_kw = {
        "load": battery_kw + import_kw,
        "pv": battery_kw + export_kw + stack.load_kw.max(axis=1, keepdims=True),
    }
    for name, values in (("load", stack.load_kw), ("pv", stack.pv_kw)):
        bound = np.maximum(POWER_PLAUSIBILITY_FLOOR_KW, POWER_PLAUSIBILITY_FACTOR * carried_kw[name])
        bad = values > bound
        if bad.any():
            row, t = (int(place) for place in np.argwhere(bad)[0])
            raise InputError(
                name if len(stack) == 1 else f"{name}[{row}]",
                f"value {values[row % len(values), t]:g} kW at {stack.index[t]:%Y-%m-%dT%H:%M:%SZ} is above "
                f"{bound[row, 0]:g} kW, {POWER_PLAUSIBILITY_FACTOR:g} times what battery and connection carry",
                "if the series is in W, divide it by 1000; if it is right, give the grid connection its limits",
            )


def _final_soc(reader: _Reader, figure: Figure | None, top: Array) -> Array:
    sites = reader.sites
    if figure is None:
        return np.full((len(sites), 1), -np.inf)
    values = reader.soc("final_soc_min", figure, 0.0)
    if (values > top).any():
        row = int((values > top).argmax())
        raise InputError(
            "final_soc_min" if len(sites) == 1 else f"final_soc_min[{row}]",
            f"value {values[row, 0]:g} is above max_soc {top[row, 0]:g}",
            "ask for less or widen the band",
        )
    return values


def _terminal_value(value: TerminalValue | None) -> dict[str, Any]:
    """A number, or pieces (up to soc, EUR/kWh) of falling worth, as edges (K,) and values (1, K)."""
    pieces: Any = 0.0 if value is None else value
    if is_number(pieces):
        pieces = ((1.0, pieces),)
    try:
        if any(isinstance(number, str | bool | np.bool_) for piece in pieces for number in piece):
            raise TypeError
        edges, values = np.array([[float(edge), float(worth)] for edge, worth in pieces]).T.copy()
    except (TypeError, ValueError, OverflowError):
        raise InputError(
            "terminal_value_eur_per_kwh",
            f"value {value!r} is neither a number nor (up to soc, EUR/kWh) pairs",
            "write 0.12, or [(0.5, 0.20), (1.0, 0.12)]",
        ) from None
    if len(values) > MOST_TERMINAL_PIECES:
        raise InputError(
            "terminal_value_eur_per_kwh",
            f"it has {len(values)} pieces, more than {MOST_TERMINAL_PIECES}",
            "join neighbouring pieces",
        )
    bad = ~(np.abs(values) <= LARGEST_PRICE_EUR_PER_KWH)
    if bad.any():
        raise InputError(
            "terminal_value_eur_per_kwh",
            f"value {values[bad][0]!r} is beyond +-{LARGEST_PRICE_EUR_PER_KWH:g} EUR/kWh",
            "give a price per kWh, not per MWh",
        )
    if not (np.diff(edges) > 0).all() or not (edges[0] > 0 and edges[-1] == 1):
        raise InputError(
            "terminal_value_eur_per_kwh",
            f"the pieces end at soc {', '.join(f'{edge:g}' for edge in edges)}",
            "give rising fractions, the last one 1",
        )
    if (np.diff(values) > 0).any():
        position = int((np.diff(values) > 0).argmax())
        raise InputError(
            "terminal_value_eur_per_kwh",
            f"the worth rises from {values[position]:g} to {values[position + 1]:g} EUR/kWh above soc "
            f"{edges[position]:g}",
            "give a worth that falls or stays as the store fills",
        )
    edges[-1] = np.inf
    return {"terminal_up_to_soc": edges, "terminal_value": np.array(values[np.newaxis, :], order="C")}
