"""The plan: what to do in each interval, what it costs, and why.

`assemble` turns a solver's decisions into a plan by arithmetic alone (balance, state of charge, money), so
that no solver's own account of them is ever reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from engine.assets import Site
from engine.errors import InputError
from engine.problem import Array, DispatchProblem

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

COLUMNS = (
    "charge_kw",
    "discharge_kw",
    "import_kw",
    "export_kw",
    "pv_kw",
    "curtailment_kw",
    "load_kw",
    "soc",
    "cost_eur",
)
LimitName = Literal["min_soc", "max_soc", "import_limit_kw", "export_limit_kw", "final_soc_min"]
# Below this a power or a fraction is arithmetic dust, not a decision.
DUST = 1e-7
MOVING_KW = 1e-3


@dataclass(frozen=True, eq=False)
class Solution:
    """What the solver decided; arrays of shape (T,), AC-side kW."""

    charge_kw: Array
    discharge_kw: Array
    curtailment_kw: Array
    marginal_value_eur_per_kwh: Array
    """What one more kWh in store at the end of the interval would save [EUR/kWh]."""
    solver: str
    why: str
    seconds: float


@dataclass(frozen=True)
class Breach:
    """A soft limit that the plan could not keep."""

    limit: LimitName
    start: pd.Timestamp
    """Start of the interval [UTC]."""
    value: float
    """What the plan has there [kW, or fraction]."""
    bound: float
    """What the limit asks for [kW, or fraction]."""

    def __str__(self) -> str:
        return f"{self.limit} {self.bound:g} not kept at {self.start:%Y-%m-%dT%H:%MZ}: {self.value:.4g}"


@dataclass(frozen=True)
class CostBreakdown:
    """Where a plan's cost comes from [EUR]; `import_eur - export_eur + wear_eur` is the cost."""

    import_eur: float
    """Paid for bought energy (negative at negative prices)."""
    export_eur: float
    """Earned by sold energy (negative at negative prices)."""
    wear_eur: float
    """Ageing of the battery."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A proved optimum for one site over one horizon."""

    site: Site
    problem: DispatchProblem
    table: pd.DataFrame
    """One row per interval, indexed by `start` (UTC), columns `COLUMNS`: powers in kW at the AC side, `pv_kw`
    what is used of the sun after `curtailment_kw`, `soc` at the END of the interval, `cost_eur` with wear."""
    breakdown: CostBreakdown
    marginal_value: pd.Series
    """What one more stored kWh would save, at the end of each interval [EUR/kWh]."""
    breaches: tuple[Breach, ...]
    solver: str
    why: str
    """Why that solver's answer is exact."""
    seconds: float
    """How long the solve took [s]."""
    status: Literal["optimal"] = "optimal"

    @property
    def cost_eur(self) -> float:
        """Energy bought less energy sold plus wear, over the horizon [EUR]; stored energy has no part in it."""
        return math.fsum(self.table["cost_eur"])

    @property
    def battery_kw(self) -> pd.Series:
        """Battery power per interval [kW], + discharges."""
        return (self.table["discharge_kw"] - self.table["charge_kw"]).rename("battery_kw")

    def intervals(self) -> list[dict[str, str | float]]:
        """The table as plain records for JSON: `start` in ISO format with offset, and `COLUMNS`."""
        records = self.table.to_dict("records")
        return [
            {"start": start.isoformat(), **{str(name): float(value) for name, value in record.items()}}
            for start, record in zip(self.table.index, records, strict=True)
        ]

    def explain(self, time: str | pd.Timestamp) -> str:
        """Say in words what the plan does at a time, and why.

        Args:
            time: A time inside the horizon; without an offset it is read in the site's time zone.

        Returns:
            One paragraph: action, prices, value of stored energy, and what binds.

        Raises:
            InputError: The time is outside the horizon.
        """
        start = self._interval_at(time)
        position = int(self.table.index.searchsorted(start))
        row = self.table.iloc[position]
        value = float(self.marginal_value.iloc[position])
        battery = self.site.battery
        import_price = float(self.problem.import_price[position])
        export_price = float(self.problem.export_price[position])
        charge_below = value * battery.charge_efficiency
        discharge_above = value / battery.discharge_efficiency + battery.wear_eur_per_kwh
        local = start.tz_convert(self.site.timezone)
        return (
            f"{local:%Y-%m-%d %H:%M %Z}: {_action(row)}. "
            f"Buying costs {import_price:.4f}, selling earns {export_price:.4f} EUR/kWh. "
            f"A stored kWh is worth {value:.4f} EUR, so charging pays below {charge_below:.4f} "
            f"and discharging above {discharge_above:.4f} EUR/kWh. {self._binding(row, position)}"
        )

    def plot(self) -> Figure:
        """Prices, power and state of charge over the horizon, as a plotly figure."""
        from engine.plotting import plan_figure

        return plan_figure(
            self.site,
            self.table,
            pd.Series(self.problem.import_price, self.table.index),
            pd.Series(self.problem.export_price, self.table.index),
            self.problem.initial_soc,
        )

    def _interval_at(self, time: str | pd.Timestamp) -> pd.Timestamp:
        try:
            stamp = pd.Timestamp(time)
        except ValueError as error:
            raise InputError("time", f"value {time!r} is no time", "write it as 2026-02-03 17:15") from error
        if stamp.tzinfo is None:
            try:
                stamp = stamp.tz_localize(self.site.timezone)
            except ValueError as error:
                raise InputError(
                    "time",
                    f"{time} happens twice or not at all in {self.site.timezone}",
                    "add the offset, as in 2026-10-25T02:30:00+01:00",
                ) from error
        stamp = stamp.tz_convert("UTC")
        index = self.table.index
        end = index[-1] + pd.Timedelta(hours=self.problem.step_h)
        if not index[0] <= stamp < end:
            raise InputError(
                "time",
                f"{stamp.isoformat()} is outside the plan",
                f"choose one from {index[0].isoformat()} to before {end.isoformat()}",
            )
        found = index[int(index.searchsorted(stamp, side="right")) - 1]
        assert isinstance(found, pd.Timestamp)
        return found

    def _binding(self, row: pd.Series, position: int) -> str:
        battery, problem = self.site.battery, self.problem
        edges = {
            "the battery is full at the end of it": row["soc"] >= battery.max_soc - DUST,
            "the battery is empty at the end of it": row["soc"] <= battery.min_soc + DUST,
            "charging is at its rating": row["charge_kw"] >= battery.max_charge_kw - DUST,
            "discharging is at its rating": row["discharge_kw"] >= battery.max_discharge_kw - DUST,
            "import is at its limit": row["import_kw"] >= problem.import_limit_kw[position] - DUST,
            "export is at its limit": row["export_kw"] >= problem.export_limit_kw[position] - DUST,
        }
        binding = [text for text, binds in edges.items() if binds]
        return f"Binding: {', '.join(binding)}." if binding else "No limit binds."


def assemble(site: Site, problem: DispatchProblem, solution: Solution) -> Plan:
    """Work out balance, state of charge and money of a solver's decisions.

    Args:
        site: The site planned for.
        problem: The problem that was solved.
        solution: Charge, discharge and curtailment per interval.
    """
    battery, h = problem.battery, problem.step_h
    charge, discharge = solution.charge_kw, solution.discharge_kw
    pv_used = problem.pv_kw - solution.curtailment_kw
    net_import = problem.load_kw - pv_used + charge - discharge
    net_import[np.abs(net_import) < DUST] = 0.0
    stored_kwh = problem.initial_soc * battery.capacity_kwh + np.cumsum(
        h * (charge * battery.charge_efficiency - discharge / battery.discharge_efficiency)
    )
    imported, exported = np.maximum(net_import, 0.0), np.maximum(-net_import, 0.0)
    import_eur = h * problem.import_price * imported
    export_eur = h * problem.export_price * exported
    wear_eur = h * battery.wear_eur_per_kwh * discharge
    table = pd.DataFrame(
        {
            "charge_kw": charge,
            "discharge_kw": discharge,
            "import_kw": imported,
            "export_kw": exported,
            "pv_kw": pv_used,
            "curtailment_kw": solution.curtailment_kw,
            "load_kw": problem.load_kw,
            "soc": stored_kwh / battery.capacity_kwh,
            "cost_eur": import_eur - export_eur + wear_eur,
        },
        index=problem.index,
    )
    return Plan(
        site=site,
        problem=problem,
        table=table,
        breakdown=CostBreakdown(math.fsum(import_eur), math.fsum(export_eur), math.fsum(wear_eur)),
        marginal_value=pd.Series(
            solution.marginal_value_eur_per_kwh, index=problem.index, name="marginal_value_eur_per_kwh"
        ),
        breaches=_breaches(problem, table),
        solver=solution.solver,
        why=solution.why,
        seconds=solution.seconds,
    )


def cost_without_battery_eur(problem: DispatchProblem) -> float:
    """What the same horizon costs with the battery idle [EUR]; PV is curtailed only to keep the export limit."""
    net_import = -problem.surplus_kw
    bought, sold = np.maximum(net_import, 0.0), np.maximum(-net_import, 0.0)
    if problem.pv_curtailable:
        sold = np.minimum(sold, problem.export_limit_kw)
    return problem.step_h * math.fsum(problem.import_price * bought - problem.export_price * sold)


def _breaches(problem: DispatchProblem, table: pd.DataFrame) -> tuple[Breach, ...]:
    intervals = problem.intervals
    battery = problem.battery
    final = np.full(intervals, -np.inf)
    if problem.final_soc_min is not None:
        final[-1] = problem.final_soc_min
    floors: dict[LimitName, tuple[str, Array]] = {
        "min_soc": ("soc", np.full(intervals, battery.min_soc)),
        "final_soc_min": ("soc", final),
    }
    ceilings: dict[LimitName, tuple[str, Array]] = {
        "max_soc": ("soc", np.full(intervals, battery.max_soc)),
        "import_limit_kw": ("import_kw", problem.import_limit_kw),
        "export_limit_kw": ("export_kw", problem.export_limit_kw),
    }
    found: list[Breach] = []
    for limits, side in ((floors, -1.0), (ceilings, 1.0)):
        for limit, (column, bounds) in limits.items():
            values = table[column].to_numpy()
            for t in np.flatnonzero(side * (values - bounds) > DUST):
                found.append(Breach(limit, problem.index[int(t)], float(values[t]), float(bounds[t])))
    return tuple(found)


def _action(row: pd.Series) -> str:
    if row["charge_kw"] > MOVING_KW:
        from_sun = min(row["charge_kw"], max(0.0, row["pv_kw"] - row["load_kw"]))
        source = "surplus PV" if from_sun > row["charge_kw"] - MOVING_KW else "the grid"
        if MOVING_KW < from_sun <= row["charge_kw"] - MOVING_KW:
            source = "surplus PV and the grid"
        return f"charge with {row['charge_kw']:.2f} kW from {source}"
    if row["discharge_kw"] > MOVING_KW:
        sink = "to the house" if row["export_kw"] <= MOVING_KW else "to the house and the grid"
        return f"discharge with {row['discharge_kw']:.2f} kW {sink}"
    return "rest"
