"""An independent judge of plans: no plan leaves the engine that it faults.

Written from the definition of the problem alone, one interval at a time, sharing no code with the solvers
or with the assembly of plans: what they get wrong, this must not get wrong in the same way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from engine.assets import Site

POWER_TOLERANCE_KW = 1e-6
SOC_TOLERANCE = 1e-6
MONEY_TOLERANCE_EUR = 1e-6
COLUMNS = (
    *("charge_kw", "discharge_kw", "import_kw", "export_kw", "pv_kw"),
    *("curtailment_kw", "load_kw", "soc", "cost_eur"),
)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a plan."""

    rule: str
    start: str
    detail: str

    def __str__(self) -> str:
        return f"{self.rule} at {self.start}: {self.detail}"


def check(
    site: Site,
    table: pd.DataFrame,
    cost_eur: float,
    *,
    import_price: pd.Series,
    export_price: pd.Series,
    load: pd.Series | None,
    pv: pd.Series | None,
    initial_soc: float,
    final_soc_min: float | None = None,
) -> tuple[Fault, ...]:
    """Judge a plan against the site and the series that it was made for.

    Limits are taken as broken lawfully only where no plan could keep them: a state of charge that
    starts outside its band may stay outside but never move further out; import above the limit is lawful up to what
    the load alone draws beyond it, export up to what uncurtailable PV feeds in.

    Args:
        site: The site.
        table: The plan, as `Plan.table`.
        cost_eur: The cost reported for it [EUR].
        import_price: Price of a bought kWh [EUR/kWh].
        export_price: Price of a sold kWh [EUR/kWh].
        load: Consumption [kW] or None.
        pv: Power that the sun offers [kW] or None.
        initial_soc: State of charge at the start [fraction].
        final_soc_min: Least state of charge asked for at the end [fraction] or None. Missing it is a fault
            if it can be reached without breaking a connection limit.

    Returns:
        The faults found; empty for a sound plan.
    """
    expected = pd.DatetimeIndex(import_price.index).tz_convert("UTC")
    if len(table) != len(expected) or any(a != b for a, b in zip(table.index, expected, strict=True)):
        return (Fault("horizon", str(expected[0]), "the plan's intervals are not those asked for"),)
    step_h = _step_h(expected)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        return (Fault("columns", str(expected[0]), f"the plan lacks {', '.join(missing)}"),)
    judge = _Judge(site, step_h)
    loads = [0.0] * len(expected) if load is None else [float(value) for value in load]
    offers = [0.0] * len(expected) if pv is None else [float(value) for value in pv]
    soc, total_eur = initial_soc, 0.0
    for position, (start, row) in enumerate(zip(expected, table.to_dict("records"), strict=True)):
        load_kw, offered_kw = loads[position], offers[position]
        judge.at = str(start)
        if not all(math.isfinite(value) for value in row.values()):
            judge.fault("finite", f"row is {row}")
            break
        judge.powers(row, load_kw, offered_kw)
        soc = judge.state_of_charge(row, soc)
        price_in, price_out = float(import_price.iloc[position]), float(export_price.iloc[position])
        total_eur += judge.money(row, price_in, price_out)
    if not abs(total_eur - cost_eur) <= MONEY_TOLERANCE_EUR * max(1.0, abs(total_eur)):  # not: NaN is a fault
        judge.fault("cost", f"reported {cost_eur:.9f} EUR, the intervals make {total_eur:.9f} EUR")
    if final_soc_min is not None:
        bound = min(final_soc_min, _reachable_soc(site, step_h, initial_soc, loads, offers))
        if soc < bound - SOC_TOLERANCE:
            judge.fault("final_soc", f"{soc:.6f} is below {bound:.6f}, which can be reached")
    return tuple(judge.faults)


class _Judge:
    """Collects the faults of one plan."""

    def __init__(self, site: Site, step_h: float) -> None:
        self._site = site
        self._step_h = step_h
        self.at = ""
        self.faults: list[Fault] = []

    def fault(self, rule: str, detail: str) -> None:
        self.faults.append(Fault(rule, self.at, detail))

    def powers(self, row: Mapping[Any, Any], load_kw: float, offered_kw: float) -> None:
        """Signs, ratings, both directions at once, curtailment, balance, connection limits."""
        battery, grid = self._site.battery, self._site.grid
        eps = POWER_TOLERANCE_KW
        for name in ("charge_kw", "discharge_kw", "import_kw", "export_kw", "pv_kw", "curtailment_kw"):
            if row[name] < -eps:
                self.fault("sign", f"{name} is {row[name]:.6f}")
        if row["charge_kw"] > battery.max_charge_kw + eps:
            self.fault("rating", f"charge_kw {row['charge_kw']:.6f} is above {battery.max_charge_kw:g}")
        if row["discharge_kw"] > battery.max_discharge_kw + eps:
            self.fault("rating", f"discharge_kw {row['discharge_kw']:.6f} is above {battery.max_discharge_kw:g}")
        if row["charge_kw"] > eps and row["discharge_kw"] > eps:
            self.fault("both directions", "it charges and discharges")
        if row["import_kw"] > eps and row["export_kw"] > eps:
            self.fault("both directions", "it imports and exports")
        if abs(row["load_kw"] - load_kw) > eps:
            self.fault("load", f"load_kw {row['load_kw']:.6f} is not the {load_kw:.6f} asked for")
        if abs(row["pv_kw"] + row["curtailment_kw"] - offered_kw) > eps:
            self.fault("pv", f"used and curtailed PV are not the {offered_kw:.6f} kW on offer")
        curtailable = self._site.pv is not None and self._site.pv.curtailable
        if row["curtailment_kw"] > eps and not curtailable:
            self.fault("curtailment", f"{row['curtailment_kw']:.6f} kW of an array that cannot be curtailed")
        supply = row["import_kw"] + row["pv_kw"] + row["discharge_kw"]
        use = row["load_kw"] + row["export_kw"] + row["charge_kw"]
        if abs(supply - use) > eps:
            self.fault("balance", f"supply {supply:.6f} kW is not use {use:.6f} kW")
        unavoidable_import = max(0.0, load_kw - offered_kw)
        unavoidable_export = 0.0 if curtailable else max(0.0, offered_kw - load_kw)
        if grid.import_limit_kw is not None:
            most = max(grid.import_limit_kw, unavoidable_import)
            if row["import_kw"] > most + eps:
                self.fault("import limit", f"{row['import_kw']:.6f} kW is above {most:g} kW")
        if grid.export_limit_kw is not None:
            most = max(grid.export_limit_kw, unavoidable_export)
            if row["export_kw"] > most + eps:
                self.fault("export limit", f"{row['export_kw']:.6f} kW is above {most:g} kW")

    def state_of_charge(self, row: Mapping[Any, Any], before: float) -> float:
        """The store's physics and its band; returns the state of charge that physics gives."""
        battery = self._site.battery
        into_kwh = row["charge_kw"] * self._step_h * battery.charge_efficiency
        out_kwh = row["discharge_kw"] * self._step_h / battery.discharge_efficiency
        after = float(before + (into_kwh - out_kwh) / battery.capacity_kwh)
        if abs(row["soc"] - after) > SOC_TOLERANCE:
            self.fault("physics", f"soc {row['soc']:.6f}, but the powers make {after:.6f}")
        if after < min(battery.min_soc, before) - SOC_TOLERANCE:
            self.fault("soc band", f"{after:.6f} is below {min(battery.min_soc, before):.6f}")
        if after > max(battery.max_soc, before) + SOC_TOLERANCE:
            self.fault("soc band", f"{after:.6f} is above {max(battery.max_soc, before):.6f}")
        return after

    def money(self, row: Mapping[Any, Any], import_price: float, export_price: float) -> float:
        """The interval's cost [EUR], held against the reported one."""
        wear = self._site.battery.wear_eur_per_kwh
        eur = self._step_h * float(
            row["import_kw"] * import_price - row["export_kw"] * export_price + row["discharge_kw"] * wear
        )
        if abs(row["cost_eur"] - eur) > MONEY_TOLERANCE_EUR:
            self.fault("cost", f"cost_eur {row['cost_eur']:.9f}, but the powers make {eur:.9f}")
        return eur


def _reachable_soc(site: Site, step_h: float, initial_soc: float, load: list[float], pv: list[float]) -> float:
    """The fullest that the battery can be at the end if it only charges.

    Where a connection limit cannot be kept, keeping it as far as possible comes first and nothing is demanded of the
    final state of charge: minus infinity.
    """
    battery, grid = site.battery, site.grid
    import_limit_kw = math.inf if grid.import_limit_kw is None else grid.import_limit_kw
    export_limit_kw = math.inf if grid.export_limit_kw is None else grid.export_limit_kw
    soc = initial_soc
    for load_kw, offered_kw in zip(load, pv, strict=True):
        room_kw = import_limit_kw - (load_kw - offered_kw)
        if room_kw < 0 or offered_kw - load_kw > export_limit_kw:
            return -math.inf
        if soc > battery.max_soc:  # above its band it must come down first
            soc -= battery.max_discharge_kw / battery.discharge_efficiency * step_h / battery.capacity_kwh
            soc = max(soc, battery.max_soc)
        else:
            gain_kw = min(battery.max_charge_kw, room_kw) * battery.charge_efficiency
            soc = min(soc + gain_kw * step_h / battery.capacity_kwh, battery.max_soc)
    return soc


def _step_h(index: pd.DatetimeIndex) -> float:
    if len(index) > 1:
        return (index[1] - index[0]).total_seconds() / 3600
    assert index.freq is not None
    return float((index[0] + index.freq - index[0]).total_seconds() / 3600)
