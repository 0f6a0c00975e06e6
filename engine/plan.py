"""The plan: what to do in each interval, what it costs, and why.

`assemble` takes it from a solver's decisions and what `engine.decisions.reckon` makes of them; no solver's own account
of balance or money is ever reported.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Site
from engine.commitments import trades_of
from engine.decisions import Decisions, Outcome, plan_columns, taken_kwh
from engine.errors import InputError
from engine.problem import DispatchProblem

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
LimitName = Literal[
    "min_soc",
    "max_soc",
    "import_limit_kw",
    "export_limit_kw",
    "final_soc_min",
    "reserve_soc",
    "cycle_budget_kwh",
    "position_kw",
    "balancing_sold_kw",
]
# Below this a power or a fraction is arithmetic dust, not a decision.
DUST = 1e-7
# A gap to the proved bound below this, relative to the cost, is arithmetic.
PROVED_GAP = 1e-7


@dataclass(frozen=True, eq=False)
class Solution:
    """A solver's answer for one site."""

    decisions: Decisions
    """Arrays of shape (1, T)."""
    solver: str
    why: str
    seconds: float
    gap_eur: float = 0.0
    """How much cheaper a plan could be at most, by the solver's proof [EUR]."""


@dataclass(frozen=True)
class Breach:
    """A soft limit that the plan could not keep."""

    limit: LimitName
    start: pd.Timestamp
    """Start of the interval [UTC]."""
    value: float
    """What the plan has there [kW, fraction, or kWh of a budget]."""
    bound: float
    """What the limit asks for [as `value`]."""

    def __str__(self) -> str:
        value = self.value if abs(self.value) > DUST else 0.0
        return f"{self.limit} {self.bound:g} not kept at {self.start:%Y-%m-%dT%H:%MZ}: {value:.4g}"


@dataclass(frozen=True)
class CostBreakdown:
    """Where a plan's cost comes from [EUR].

    `import_eur - export_eur + wear_eur + demand_eur - trading_eur - imbalance_eur - balancing_eur` is the cost.
    """

    import_eur: float
    """Paid for bought energy (negative at negative prices)."""
    export_eur: float
    """Earned by sold energy (negative at negative prices)."""
    wear_eur: float
    """Ageing of the battery."""
    demand_eur: float = 0.0
    """What the horizon's import adds to demand charges."""
    trading_eur: float = 0.0
    """Earned by intraday trades (negative: paid for what was bought)."""
    imbalance_eur: float = 0.0
    """Earned by delivering more than was sold, or less, at the imbalance price (negative: paid)."""
    balancing_eur: float = 0.0
    """Earned by balancing capacity that is held."""


@dataclass(frozen=True, eq=False)
class Plan:
    """A proved optimum for one site over one horizon."""

    site: Site
    problem: DispatchProblem
    table: pd.DataFrame
    """One row per interval, indexed by `start` (UTC), columns `COLUMNS`: powers in kW at the AC side, `pv_kw`
    what is used of the sun after `curtailment_kw`, `soc` at the END of the interval, `cost_eur` with wear.

    With a position also `trade_kw` (sold, negative bought) and `imbalance_kw` (delivered, negative lacking, without
    having been sold), and with balancing capacity what is held of each product, as `fcr_n_kw`."""
    breakdown: CostBreakdown
    marginal_value: pd.Series
    """What one more stored kWh would save, at the end of each interval [EUR/kWh]."""
    breaches: tuple[Breach, ...]
    solver: str
    why: str
    """Why that solver's answer is exact."""
    seconds: float
    """How long the solve took [s]."""
    gap_eur: float = 0.0
    """How much cheaper a plan could be at most, by the solver's proof [EUR]; 0 or within the money tolerance."""

    @property
    def status(self) -> Literal["optimal", "within tolerance"]:
        """Whether it is proved that nothing is cheaper, or that nothing is by more than the gap that was accepted."""
        return "optimal" if self.gap_eur <= PROVED_GAP * max(1.0, abs(self.cost_eur)) else "within tolerance"

    @property
    def cost_eur(self) -> float:
        """Energy bought less energy sold plus wear, over the horizon, and what it adds to demand charges [EUR].

        Less what trades, imbalance and balancing capacity earn. Stored energy, carbon and preferences have no part.
        """
        return math.fsum(self.table["cost_eur"]) + self.breakdown.demand_eur

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
            One paragraph: action, prices, value of stored energy, what binds, and the next best action with its cost.

        Raises:
            InputError: The time is outside the horizon.
        """
        from engine.explain import explain

        return explain(self, self.position_at(time))

    def summary(self) -> str:
        """The plan in a few lines: money, energy, cycles, breaches, and who proved it."""
        from engine.explain import summary

        return summary(self)

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

    def position_at(self, time: str | pd.Timestamp) -> int:
        """Number of the interval that a time is in.

        Raises:
            InputError: The time is none, ambiguous, or outside the horizon.
        """
        try:
            stamp = pd.Timestamp(time)
        except (TypeError, ValueError) as error:
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
        return int(index.searchsorted(stamp, side="right")) - 1


def assemble(problem: DispatchProblem, solution: Solution, outcome: Outcome) -> Plan:
    """Put one site's plan together.

    Args:
        problem: The problem that was solved.
        solution: The decisions, of shape (1, T).
        outcome: What they come to, of shape (1, T).
    """
    decisions = solution.decisions
    columns = plan_columns(problem.stack, decisions, outcome)
    table = pd.DataFrame({name: values[0] for name, values in columns.items()}, index=problem.index)
    demand_eur = float(problem.stack.demand_eur(outcome.import_kw)[0])
    return Plan(
        site=problem.site,
        problem=problem,
        table=table,
        breakdown=CostBreakdown(
            math.fsum(outcome.import_eur[0]),
            math.fsum(outcome.export_eur[0]),
            math.fsum(outcome.wear_eur[0]),
            demand_eur,
            *(
                (math.fsum(outcome.trades.trading_eur[0]), math.fsum(outcome.trades.imbalance_eur[0]))
                if outcome.trades is not None
                else (0.0, 0.0)
            ),
            0.0 if outcome.balancing_eur is None else math.fsum(outcome.balancing_eur[0]),
        ),
        marginal_value=pd.Series(
            decisions.marginal_value_eur_per_kwh[0], index=problem.index, name="marginal_value_eur_per_kwh"
        ),
        breaches=_breaches(problem, table, taken_kwh(problem.stack, decisions)[0]),
        solver=solution.solver,
        why=solution.why,
        seconds=solution.seconds,
        gap_eur=solution.gap_eur,
    )


def cost_without_battery_eur(problem: DispatchProblem) -> float:
    """What the same horizon costs with the battery idle, demand charges included [EUR].

    PV is curtailed only to keep the export limit.
    """
    bought, sold = np.maximum(-problem.surplus_kw, 0.0), np.maximum(problem.surplus_kw, 0.0)
    if problem.pv_curtailable:
        sold = np.minimum(sold, problem.export_limit_kw)
    energy_eur = problem.step_h * math.fsum(problem.import_price * bought - problem.export_price * sold)
    trades = trades_of(problem.stack, (bought - sold)[np.newaxis])
    if trades is not None:
        energy_eur -= math.fsum(trades.trading_eur[0]) + math.fsum(trades.imbalance_eur[0])
    return energy_eur + float(problem.stack.demand_eur(bought[np.newaxis])[0])


def _drawn_kw(table: pd.DataFrame) -> Array:
    return np.asarray(table["import_kw"] - table["export_kw"], dtype=np.float64)


def _breaches(problem: DispatchProblem, table: pd.DataFrame, taken: Array) -> tuple[Breach, ...]:
    intervals = problem.intervals
    battery = problem.battery
    final = np.full(intervals, -np.inf)
    final[-1] = problem.final_soc_min
    floors: dict[LimitName, tuple[str, Array]] = {
        "min_soc": ("soc", np.full(intervals, battery.min_soc)),
        "final_soc_min": ("soc", final),
        "reserve_soc": ("soc", np.where(problem.reserve_soc > battery.min_soc, problem.reserve_soc, -np.inf)),
    }
    ceilings: dict[LimitName, tuple[str, Array]] = {
        "max_soc": ("soc", np.full(intervals, battery.max_soc)),
        "import_limit_kw": ("import_kw", problem.import_limit_kw),
        "export_limit_kw": ("export_kw", problem.export_limit_kw),
    }
    found: list[Breach] = []
    for commitment in problem.commitments:
        if commitment.role == "promise":
            delivered, promised = -_drawn_kw(table), -commitment.at_kw
            for t in np.flatnonzero(commitment.eur_per_h(-delivered) > DUST * problem.breach.promise):
                found.append(Breach("position_kw", problem.index[int(t)], float(delivered[t]), float(promised[t])))
    for offer in problem.balancing:
        held = table[f"{offer.name}_kw"].to_numpy()
        for t in np.flatnonzero(offer.sold_kw - held > DUST):
            found.append(Breach("balancing_sold_kw", problem.index[int(t)], float(held[t]), float(offer.sold_kw[t])))
    for limits, side in ((floors, -1.0), (ceilings, 1.0)):
        for limit, (column, bounds) in limits.items():
            values = table[column].to_numpy()
            for t in np.flatnonzero(side * (values - bounds) > DUST):
                found.append(Breach(limit, problem.index[int(t)], float(values[t]), float(bounds[t])))
    for budget in problem.budgets:
        if budget.over_kwh(taken, battery.capacity_kwh) > DUST * battery.capacity_kwh:
            used, most = float(budget.used_kwh(taken)), float(budget.most_kwh(battery.capacity_kwh))
            found.append(Breach("cycle_budget_kwh", problem.index[budget.first], used, most))
    return tuple(found)
