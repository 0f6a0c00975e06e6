"""What else could be done in an interval, and what the cheapest of it costs with the best that can follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from engine.arrays import Array
from engine.effort import MONEY_TOLERANCE_EUR, Effort

if TYPE_CHECKING:
    from engine.budgets import CycleBudget
    from engine.plan import Plan

MOVING_KW = 1e-3
# Below this a power or a fraction is arithmetic dust.
DUST = 1e-7
# How long a linear program or MILP may take over one act [s], or so many times what the plan took if that is more.
READER_WAITS_S = 20.0
TIMES_THE_PLAN = 3.0

Act = tuple[float, float]
"""(charge, discharge) in kW."""
Total = tuple[float, float]
"""What an act and the best behind it come to [EUR], and the breaches in that [kWh short at the end]."""


@dataclass(frozen=True)
class Alternative:
    """Something else to do in an interval, with the best that can follow it."""

    charge_kw: float
    discharge_kw: float
    extra_eur: float
    """What it costs more than the plan's own act [EUR]."""

    def __str__(self) -> str:
        power_kw = max(self.charge_kw, self.discharge_kw)
        word = "charge" if self.charge_kw > 0 else "discharge"
        act = "rest" if power_kw <= MOVING_KW else f"{word} with {power_kw:.2f} kW"
        return f"{act}, at {self.extra_eur:.4f} EUR more"


def next_best(plan: Plan, position: int) -> Alternative | None:
    """The cheapest other thing to do in an interval: rest, or charge or discharge as hard as is allowed.

    The store arrives as in the plan, and what follows is planned anew. Where a cycle budget, a demand charge or power
    by state of charge ties the interval to others, that is a linear program or MILP of the whole horizon for each act.

    Args:
        plan: The plan.
        position: Number of the interval.

    Returns:
        None where nothing else is possible without a breach.

    Raises:
        SolveError: A proved answer takes longer than a reader waits.
    """
    from engine import storage_dp

    problem = plan.problem
    coupled = problem.budgets or problem.peaks or plan.site.battery.tapered or storage_dp.beyond(problem.stack)[0][0]
    totals = _totals_of_horizon if coupled else _totals_from_here
    row = plan.table.iloc[position]
    soc = float(plan.table["soc"].iloc[position - 1]) if position else problem.initial_soc
    own = float(row["charge_kw"]), float(row["discharge_kw"])
    others = [act for act in _acts(plan, soc, position) if max(abs(np.subtract(act, own))) > MOVING_KW]
    if not others:
        return None
    (own_eur, own_breach), *found = totals(plan, position, soc, [own, *others])
    # An act that breaks a limit has no price in money.
    lawful = [
        (eur - own_eur, act) for (eur, breach), act in zip(found, others, strict=True) if breach <= own_breach + DUST
    ]
    if not lawful:
        return None
    extra_eur, (charge_kw, discharge_kw) = min(lawful)
    return Alternative(charge_kw, discharge_kw, max(0.0, extra_eur))


def _totals_from_here(plan: Plan, position: int, soc: float, acts: Sequence[Act]) -> list[Total]:
    """By the dynamic program: what came before the interval changes nothing behind it but the store."""
    from engine import storage_dp
    from engine.decisions import objective_eur, reckon, unlawful_kwh

    problem, stack = plan.problem, plan.problem.stack
    now = stack.part(position, position + 1, soc)
    totals = []
    for charge_kw, discharge_kw in acts:
        decisions = storage_dp.with_curtailment(now, np.array([[charge_kw]]), np.array([[discharge_kw]]))
        outcome = reckon(now, decisions)
        eur, breach = float(objective_eur(now, outcome)[0]), float(unlawful_kwh(now, outcome)[0])
        if position + 1 < problem.intervals:
            rest = stack.part(position + 1, problem.intervals, float(outcome.soc[0, 0]))
            following, pieces = storage_dp.solve(rest)
            if pieces[0] < 0:  # past the piece limit
                return _totals_of_horizon(plan, position, soc, acts)
            after = reckon(rest, following)
            eur += float(objective_eur(rest, after)[0])
            breach += float(unlawful_kwh(rest, after)[0])
        totals.append((eur, breach))
    return totals


def _totals_of_horizon(plan: Plan, position: int, soc: float, acts: Sequence[Act]) -> list[Total]:  # noqa: ARG001
    """By the linear program: the interval counts together with all others, those before it being as planned."""
    from engine import linear_program

    before = plan.table.iloc[:position]
    effort = Effort(max(READER_WAITS_S, TIMES_THE_PLAN * plan.seconds), max(plan.gap_eur, MONEY_TOLERANCE_EUR))
    return [
        linear_program.least_behind(
            plan.problem,
            np.append(before["charge_kw"], charge_kw),
            np.append(before["discharge_kw"], discharge_kw),
            effort,
        )
        for charge_kw, discharge_kw in acts
    ]


def _acts(plan: Plan, soc: float, position: int) -> list[Act]:
    """Rest, and charge and discharge as hard as limits, cells and store allow."""
    problem, battery, h = plan.problem, plan.site.battery, plan.problem.step_h
    kept = soc * problem.kept
    # What a kW for the interval moves the state of charge by.
    gain = battery.charge_efficiency * h / battery.capacity_kwh
    loss = h / battery.discharge_efficiency / battery.capacity_kwh
    surplus = float(problem.surplus_kw[position])
    most_import = float(problem.import_limit_kw[position])
    most_export = float(problem.export_limit_kw[position]) + float(problem.pv_kw[position]) * problem.pv_curtailable
    charge = min(float(problem.max_charge_kw[position]), max(0.0, battery.max_soc - kept) / gain, most_import + surplus)
    taken = taken_kwh(plan)[:position]
    cycles_left = min(
        (-float(budget.over_kwh(taken, battery.capacity_kwh)) for budget in budgets_at(plan, position)), default=np.inf
    )
    discharge = min(
        float(problem.max_discharge_kw[position]),
        max(0.0, min(kept - battery.min_soc, cycles_left / battery.capacity_kwh)) / loss,
        most_export - surplus,
    )
    charge = _most_kw(charge, lambda kw: battery.charge_limit_kw(kept + kw * gain))
    discharge = _most_kw(discharge, lambda kw: battery.discharge_limit_kw(kept - kw * loss))
    return [
        (0.0, 0.0),
        *((kw, 0.0) for kw in [charge] if kw > MOVING_KW),
        *((0.0, kw) for kw in [discharge] if kw > MOVING_KW),
    ]


def _most_kw(highest: float, limit_kw: Callable[[float], float]) -> float:
    """The highest power that keeps a limit which it moves itself; all below it keep it too, for limits are concave."""
    if highest <= limit_kw(highest):
        return highest
    kept, broken = 0.0, highest
    while broken - kept > DUST:
        middle = (kept + broken) / 2
        kept, broken = (middle, broken) if middle <= limit_kw(middle) else (kept, middle)
    return kept


def budgets_at(plan: Plan, position: int) -> list[CycleBudget]:
    """The cycle budgets whose period an interval is in."""
    return [budget for budget in plan.problem.budgets if budget.first <= position < budget.last]


def taken_kwh(plan: Plan) -> Array:
    """Energy taken from the store per interval [kWh]."""
    discharged_kwh = plan.table["discharge_kw"].to_numpy() * plan.problem.step_h
    return np.asarray(discharged_kwh / plan.site.battery.discharge_efficiency)
