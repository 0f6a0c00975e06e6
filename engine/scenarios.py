"""Planning for several futures at once: one set-point now, a recourse for each future later, and a price on risk."""

from __future__ import annotations

import contextlib
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from engine import checker
from engine.arrays import Array, is_number
from engine.assets import Site
from engine.balancing import most_kw
from engine.decisions import reckon
from engine.demand import DemandCharge
from engine.effort import MONEY_TOLERANCE_EUR, Effort
from engine.errors import InputError
from engine.inputs import build_stack, in_euros
from engine.plan import Plan, assemble
from engine.planner import refuse_faults
from engine.prices import PriceCurve
from engine.request import Request, TerminalValue
from engine.strategy import Strategy

# What everything outside the tail counts for where only the tail is asked for: its plans must still be the best that
# cost the tail nothing.
LEAST_WEIGHT_OF_EXPECTATION = 1e-6


@dataclass(frozen=True, eq=False)
class Scenario:
    """One future: series as `optimise` takes them, all on one index, and how likely it is."""

    probability: float
    import_price: pd.Series | PriceCurve
    export_price: pd.Series | PriceCurve
    load: pd.Series | None = None
    pv: pd.Series | None = None
    import_limit_kw: pd.Series | None = None
    export_limit_kw: pd.Series | None = None
    max_charge_kw: pd.Series | None = None
    max_discharge_kw: pd.Series | None = None
    reserve_soc: pd.Series | None = None
    carbon_kg_per_kwh: pd.Series | None = None
    position_kw: pd.Series | None = None
    bid_price: pd.Series | None = None
    ask_price: pd.Series | None = None
    imbalance_price: pd.Series | None = None
    schedule_kw: pd.Series | None = None

    def request(self, **shared: Any) -> Request:
        """What is asked of this future, given what is asked of all.

        Raises:
            InputError: A price is in another currency.
        """
        own = {name: value for name, value in vars(self).items() if name != "probability"}
        own |= {name: in_euros(name, own[name]) for name in ("import_price", "export_price")}
        return Request(**own, **shared)


@dataclass(frozen=True, eq=False)
class ScenarioPlan:
    """What to do now, and what to do later in each future."""

    plans: tuple[Plan, ...]
    """One per scenario; the first `first_stage_intervals` have the same battery power in all."""
    probabilities: Array
    first_stage_intervals: int
    outcome_eur: Array
    """Cost less the terminal worth of the store per scenario, shape (S,) [EUR]."""
    cvar_level: float

    @property
    def expected_eur(self) -> float:
        """Probability-weighted outcome [EUR]."""
        return float(self.probabilities @ self.outcome_eur)

    @property
    def cvar_eur(self) -> float:
        """Mean outcome of the worst 1 - `cvar_level` of probability [EUR]."""
        return conditional_value_at_risk(self.outcome_eur, self.probabilities, self.cvar_level)

    @property
    def now(self) -> pd.DataFrame:
        """Battery power that all scenarios share, `charge_kw` and `discharge_kw` [kW]."""
        return self.plans[0].table[["charge_kw", "discharge_kw"]].iloc[: self.first_stage_intervals]


def optimise_scenarios(
    site: Site,
    scenarios: Sequence[Scenario],
    *,
    initial_soc: float,
    final_soc_min: float | None = None,
    terminal_value_eur_per_kwh: TerminalValue | None = None,
    strategy: Strategy | None = None,
    demand_charges: Sequence[DemandCharge] = (),
    first_stage: str | pd.Timedelta = "1h",
    cvar_weight: float = 0.0,
    cvar_level: float = 0.9,
    time_limit_s: float | None = None,
    money_tolerance_eur: float = MONEY_TOLERANCE_EUR,
) -> ScenarioPlan:
    """Compute the best set-points for now, given that later ones can follow what happens.

    A two-stage stochastic program: battery power of the first stage is the same in every scenario, the rest is each
    scenario's own. Minimises (1 - cvar_weight) * expected outcome + cvar_weight * CVaR, by the linear program or MILP.

    Args:
        site: Battery, grid connection and PV array.
        scenarios: The futures; probabilities add to 1.
        initial_soc: As in `engine.optimise`.
        final_soc_min: As in `engine.optimise`; in an unlikely scenario, or for the fee of a whole step of a demand
            charge, it may be missed, which its plan reports.
        terminal_value_eur_per_kwh: As in `engine.optimise`.
        strategy: As in `engine.optimise`.
        demand_charges: As in `engine.optimise`.
        first_stage: How long the set-points are shared; a multiple of the interval.
        cvar_weight: 0 minds only the expected outcome, 1 the bad ones and, among equals in that, the expected one.
        cvar_level: Share of probability that is not in the tail [fraction].
        time_limit_s: As in `engine.optimise`.
        money_tolerance_eur: As in `engine.optimise`.

    Raises:
        InputError: The input cannot become a plan.
        SolveError: The solver found no proved optimum in its time.
        PlanRejectedError: The checker found fault with a scenario's plan.
    """
    probabilities = _probabilities(scenarios)
    for name, value, most in (("cvar_weight", cvar_weight, 1.0), ("cvar_level", cvar_level, 1 - 1e-9)):
        if not is_number(value) or not 0 <= value <= most:
            raise InputError(name, f"value {value!r} is outside 0..1", "give a fraction (a level below 1)")
    for product in most_kw(strategy) if isinstance(strategy, Strategy) else ():
        raise InputError(
            f"strategy.{product}_kw",
            "capacity is sold before it is known which future comes, and here each future would sell its own",
            "decide on capacity with optimise, and leave it out here",
        )
    shared = {
        "initial_soc": initial_soc,
        "final_soc_min": final_soc_min,
        "terminal_value_eur_per_kwh": terminal_value_eur_per_kwh,
        "strategy": strategy,
        "demand_charges": demand_charges,
    }
    requests, stacks = [], []
    for number, scenario in enumerate(scenarios):
        with _named(f"scenarios[{number}]", shared):
            requests.append(scenario.request(**shared))
            stacks.append(build_stack([site], requests[-1]))
    for number, stack in enumerate(stacks):
        if not stack.index.equals(stacks[0].index):
            raise InputError(
                f"scenarios[{number}].index",
                f"it starts {stack.index[0].isoformat()} with {len(stack.index)} intervals, that of the first "
                f"{stacks[0].index[0].isoformat()} with {len(stacks[0].index)}",
                "put all scenarios on one index",
            )
    first_intervals = _first_stage_intervals(first_stage, stacks[0].step_h, len(stacks[0].index))
    from engine import linear_program

    problems = [stack.site(0) for stack in stacks]
    effort = Effort.of(time_limit_s, money_tolerance_eur, problems[0].intervals)
    weight = min(cvar_weight, 1 - LEAST_WEIGHT_OF_EXPECTATION)
    solutions = linear_program.solve_scenarios(problems, probabilities, first_intervals, weight, cvar_level, effort)
    plans = []
    for request, stack, problem, solution in zip(requests, stacks, problems, solutions, strict=True):
        plans.append(assemble(problem, solution, reckon(stack, solution.decisions)))
        # An end that is missed in an unlikely future is no fault.
        judged = replace(request, final_soc_min=None)
        refuse_faults(
            checker.check(site, plans[-1].table, plans[-1].cost_eur, judged, shared_intervals=first_intervals)
        )
    outcome = [plan.cost_eur - plan.problem.terminal_worth_eur(float(plan.table["soc"].iloc[-1])) for plan in plans]
    return ScenarioPlan(tuple(plans), probabilities, first_intervals, np.array(outcome), cvar_level)


def conditional_value_at_risk(outcome_eur: Array, probabilities: Array, level: float) -> float:
    """Mean of the worst (dearest) 1 - level of probability.

    Args:
        outcome_eur: Costs, shape (S,) [EUR].
        probabilities: Shape (S,), adding to 1.
        level: Share that is not in the tail [fraction].
    """
    left = 1 - level
    total = 0.0
    for number in np.argsort(outcome_eur)[::-1]:
        taken = min(left, float(probabilities[number]))
        total += taken * float(outcome_eur[number])
        left -= taken
    return total / (1 - level)


@contextlib.contextmanager
def _named(scenario: str, shared: Container[str]) -> Iterator[None]:
    """Say which scenario an error is about, unless it is about what all share."""
    try:
        yield
    except InputError as error:
        name = error.field.partition(".")[0]
        if name in shared or name == "site":
            raise
        raise InputError(f"{scenario}.{error.field}", error.problem, error.way_out) from error


def _probabilities(scenarios: object) -> Array:
    if not isinstance(scenarios, Sequence) or not all(isinstance(scenario, Scenario) for scenario in scenarios):
        raise InputError("scenarios", f"it is {type(scenarios).__name__}", "give a list of Scenario")
    if not scenarios:
        raise InputError("scenarios", "there are none", "give one or more")
    given = [scenario.probability for scenario in scenarios]
    if not all(map(is_number, given)):
        raise InputError("scenarios.probability", f"they are {given}", "give shares that add to 1")
    values = np.array(given, dtype=np.float64)
    if not (values > 0).all() or abs(values.sum() - 1) > 1e-9:
        raise InputError("scenarios.probability", f"they are {values.tolist()}", "give shares above 0 that add to 1")
    return values


def _first_stage_intervals(first_stage: str | pd.Timedelta, step_h: float, intervals: int) -> int:
    try:
        length = pd.Timedelta(first_stage)
    except (TypeError, ValueError):
        length = None
    if length is None or pd.isna(length):
        raise InputError("first_stage", f"value {first_stage!r} is no duration", "write one like '1h'")
    count = length / pd.Timedelta(hours=step_h)
    if count != round(count) or not 0 <= count <= intervals:
        raise InputError(
            "first_stage",
            f"value {length} is no number of intervals of {step_h * 60:g} min from 0 to {intervals}",
            "give a multiple of the interval within the horizon",
        )
    return round(count)
