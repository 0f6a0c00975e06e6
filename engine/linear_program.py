"""The dispatch problem solved as a linear program or MILP, for one site or for several futures of it.

The only module that imports PuLP; HiGHS runs in this process. What a site's variables and rows are is in
`engine.site_model`; here is what is minimised, how it is solved, and what counts as a proof.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pulp

from engine.arrays import Array
from engine.decisions import BREACH_DUST_KWH
from engine.effort import Effort
from engine.errors import SolveError
from engine.plan import Solution
from engine.problem import DispatchProblem
from engine.site_model import FEASIBILITY_TOLERANCE, Expression, SiteModel, Terms

# Below the preference for rest times five minutes.
OPTIMALITY_TOLERANCE = 1e-10
# How far rounding may set an answer above its bound, relative to the money at stake.
SAME_MONEY = 1e-8
# How far rounding may set the least breach below what another solve can reach, relative to it.
SAME_BREACH = 1e-9
# A preference is added to the money at this price per kW; what it really costs is checked, relative to the money at
# stake, and a taste that costs more is dropped.
PREFERENCE_EUR_PER_KW = 1e-7
PREFERENCE_TOLERANCE = 1e-10
# Limits are soft, so nothing here is infeasible or unbounded; where numbers are so far apart that HiGHS thinks so, or
# gives up, it is asked again: without presolve, and then at its own tolerances, which the checker's are above.
STUBBORN: tuple[dict[str, Any], ...] = (
    {"presolve": "off"},
    {"presolve": "off", "primal_feasibility_tolerance": 1e-7, "dual_feasibility_tolerance": 1e-7},
)
# What HiGHS reports for a bound or a plan that it does not have is infinite, or above this.
INFINITE = 1e30


def solve(problem: DispatchProblem, effort: Effort, why_not: str = "") -> Solution:
    """Find the cheapest plan and accept it only with a proof of optimality.

    Args:
        problem: The site's problem.
        effort: Longest solve, and accepted gap between a MILP's answer and its proved bound.
        why_not: Why no faster path was taken; put before this one's own reason.

    Raises:
        SolveError: HiGHS ended without a proved optimum (time, numerics); nothing is returned then.
    """
    begin = time.perf_counter()
    program, site = _cheapest(problem, effort)
    worth = site.marginal_value()
    if problem.strategy.prefer:
        program.prefer(site.preference(problem.strategy.prefer))
    return Solution(
        decisions=site.decisions(worth),
        solver=program.name,
        why=why_not + program.why,
        seconds=time.perf_counter() - begin,
        gap_eur=program.gap_eur,
    )


def least_behind(
    problem: DispatchProblem, charge_kw: Array, discharge_kw: Array, effort: Effort
) -> tuple[float, float]:
    """What the horizon comes to at least when its first intervals are prescribed.

    Args:
        problem: The site's problem.
        charge_kw: Charging of the first intervals, shape (first intervals,) [kW].
        discharge_kw: Discharging of the same [kW].
        effort: As for `solve`.

    Returns:
        The objective [EUR], what is sunk left out, and the breaches in it [kWh short at the end, others by what they
        weigh against it].

    Raises:
        SolveError: The set-points cannot be followed, or HiGHS ended without a proved optimum.
    """
    program, site = _cheapest(problem, effort, (charge_kw, discharge_kw))
    return program.objective_eur, program.value(program.weighed(site.breaches))


def _cheapest(
    problem: DispatchProblem, effort: Effort, prescribed: tuple[Array, Array] | None = None
) -> tuple[_Program, SiteModel]:
    """The cheapest plan among those that breach limits no more than they would without stepped fees.

    Breach prices outrank any price per kWh, but not the fee of a whole step, which may weigh more than a small
    shortage. Where a plan with a stepped fee has a breach, it is held to that of the cheapest plan without the fee.
    """
    program, site = _laid_out(problem, effort, prescribed)
    program.minimise(site.terms)
    broken_kwh = program.value(program.weighed(site.breaches))
    if not site.step_fees or broken_kwh <= BREACH_DUST_KWH:
        return program, site
    # A gap must not be a breach either.
    most_gap_eur = min(effort.money_tolerance_eur, problem.breach.final * BREACH_DUST_KWH)
    free_program, free = _laid_out(problem, replace(effort, money_tolerance_eur=most_gap_eur), prescribed)
    free_program.minimise(free.terms_without_step_fees)
    least_kwh = free_program.value(free_program.weighed(free.breaches))
    most_kwh = least_kwh * (1 + SAME_BREACH) + BREACH_DUST_KWH
    if broken_kwh > most_kwh:
        program, site = _laid_out(problem, effort, prescribed)
        program.require(program.weighed(site.breaches) <= most_kwh)
        program.minimise(site.terms)
    return program, site


def _laid_out(
    problem: DispatchProblem, effort: Effort, prescribed: tuple[Array, Array] | None
) -> tuple[_Program, SiteModel]:
    program = _Program(effort)
    site = SiteModel(program, problem, "")
    if prescribed is not None:
        site.prescribe(*prescribed)
    return program, site


def solve_scenarios(
    problems: Sequence[DispatchProblem],
    probabilities: Array,
    first_stage: int,
    cvar_weight: float,
    cvar_level: float,
    effort: Effort,
) -> list[Solution]:
    """Plan several futures at once whose first intervals share one battery set-point each.

    Minimises (1 - weight) * expected cost + weight * CVaR; the conditional value at risk is that of Rockafellar and
    Uryasev, "Optimization of conditional value-at-risk", Journal of Risk 2 (2000): the mean of the worst 1 - level.

    Args:
        problems: One per scenario, on one index.
        probabilities: Shape (S,), adding to 1.
        first_stage: Number of intervals whose battery power all scenarios share.
        cvar_weight: 0 for the expected cost alone, 1 for the CVaR alone.
        cvar_level: Share of outcomes that are not in the tail [fraction].
        effort: As for `solve`.

    Returns:
        A solution per scenario; marginal values are in that scenario's own money.

    Raises:
        SolveError: HiGHS ended without a proved optimum.
    """
    begin = time.perf_counter()
    program = _Program(effort)
    models = [SiteModel(program, problem, f"s{number}_") for number, problem in enumerate(problems)]
    for name, model in itertools.product(("charge", "discharge"), models[1:]):
        for t in range(first_stage):
            program.require(model.of[name][t] == models[0].of[name][t])
    terms = [
        (variable, (1 - cvar_weight) * p * eur)
        for model, p in zip(models, probabilities, strict=True)
        for variable, eur in model.terms
    ]
    tail_rows = []
    if cvar_weight > 0:
        value_at_risk = program.variable("value_at_risk", None, None)
        terms.append((value_at_risk, cvar_weight))
        for number, (model, p) in enumerate(zip(models, probabilities, strict=True)):
            excess = program.variable(f"excess_{number}", 0, None)
            tail_rows.append(program.require(excess >= program.weighed(model.terms) - value_at_risk))
            terms.append((excess, cvar_weight * p / (1 - cvar_level)))
    program.minimise(terms)
    # What a scenario's money counts for: its share of the expectation, and of the tail by the dual of its row.
    weights = (1 - cvar_weight) * probabilities + np.array([program.shadow_price(row) for row in tail_rows] or 0.0)
    seconds = time.perf_counter() - begin
    return [
        Solution(
            decisions=model.decisions(
                model.marginal_value() / weight if weight > 0 else np.zeros(len(model.of["charge"]))
            ),
            solver=program.name,
            why=f"one of {len(models)} scenarios planned together; {program.why}",
            seconds=seconds,
            gap_eur=program.gap_eur,
        )
        for model, weight in zip(models, weights, strict=True)
    ]


class _Program:
    """A PuLP model with its binaries, and how it was solved."""

    def __init__(self, effort: Effort) -> None:
        self._lp = pulp.LpProblem("dispatch", pulp.LpMinimize)
        self._binaries: list[Any] = []
        self._effort = effort
        self._objective: Expression = None
        self.gap_eur = 0.0
        self.objective_eur = 0.0

    @property
    def name(self) -> str:
        """What solved it."""
        return f"HiGHS {'MILP' if self._binaries else 'LP'} (PuLP {pulp.__version__})"

    @property
    def why(self) -> str:
        """Why its answer is exact."""
        if not self._binaries:
            return "no interval rewards using both directions at once, so the linear program is exact"
        return f"{len(self._binaries)} binaries where the relaxation could gain by doing two things at once"

    def variable(self, name: str, low: float | None, high: float | None) -> Any:
        """A continuous variable."""
        return self._lp.add_variable(name, low, high)

    def binary(self, name: str) -> Any:
        """A decision."""
        self._binaries.append(self._lp.add_variable(name, cat=pulp.LpBinary))
        return self._binaries[-1]

    def require(self, row: Any) -> Any:
        """Add a constraint."""
        self._lp += row
        return row

    def total(self, parts: Iterable[Expression]) -> Expression:
        """The sum of many, built in one walk over them."""
        return pulp.lpSum(parts)

    def weighed(self, terms: Terms) -> Expression:
        """The sum of variables, each times its weight; one that comes twice has both weights."""
        weighed = pulp.LpAffineExpression()
        for variable, weight in terms:
            weighed.addterm(variable, weight)
        return weighed

    def value(self, expression: Expression) -> float:
        """What a variable or a sum of them came to."""
        return float(expression.value())

    def shadow_price(self, row: Any) -> float:
        """What the minimum rises by when the right of a row does by one."""
        return float(row.pi)

    def minimise(self, terms: Terms) -> None:
        """Solve to a proved optimum."""
        self._objective = self.weighed(terms)
        self._lp += self._objective
        self._run()
        if self._binaries:
            bound_eur = float(self._lp.solverModel.getInfo().mip_dual_bound)
            # Only a linear program has prices, and exact ones: fix the directions found and solve once more.
            for binary in self._binaries:
                direction = round(binary.value())
                binary.cat = pulp.LpContinuous
                binary.lowBound = binary.upBound = direction
            self._run()
            self._prove(bound_eur)
        self.objective_eur = self._found_eur()

    def _prove(self, bound_eur: float) -> None:
        """Hold the answer with exact directions to the bound of the search."""
        self.gap_eur = max(0.0, self._found_eur() - bound_eur)
        if self.gap_eur > self._effort.money_tolerance_eur + SAME_MONEY * max(1.0, abs(self._found_eur())):
            raise SolveError(
                f"solver: the answer {self._found_eur():.9g} EUR is {self.gap_eur:.3g} EUR above the proved bound; "
                "accept a gap (money_tolerance_eur) or report it with its input"
            )

    def _found_eur(self) -> float:
        return float(self._lp.objective.value())

    def prefer(self, taste: Expression) -> None:
        """Among the optimal plans take the one with the least `taste`; if it cannot be had for nothing, the first."""
        first = [(variable, variable.varValue) for variable in self._lp.variables()]
        self._lp.setObjective(self._objective + PREFERENCE_EUR_PER_KW * taste)
        try:
            self._run()
            free = self._objective.value() <= self.objective_eur + PREFERENCE_TOLERANCE * max(
                1.0, abs(self.objective_eur)
            )
        except SolveError:
            free = False
        if not free:
            for variable, value in first:
                variable.varValue = value

    def _run(self) -> None:
        for options in ({}, *STUBBORN):
            self._solve(**options)
            if self._lp.sol_status == pulp.LpSolutionOptimal or self._out_of_time():
                break
        # PuLP calls a truncated solve "Optimal"; only the status of the solution tells a proof.
        if self._lp.sol_status != pulp.LpSolutionOptimal:
            raise SolveError(self._failure())

    def _out_of_time(self) -> bool:
        return bool(self._lp.solverModel.getModelStatus().name == "kTimeLimit")

    def _solve(self, **options: Any) -> None:
        # No `threads`: in HiGHS it is one setting per process, and a second value makes later solves return
        # "not solved" without an exception.
        usual = {
            "primal_feasibility_tolerance": FEASIBILITY_TOLERANCE,
            "dual_feasibility_tolerance": OPTIMALITY_TOLERANCE,
            # At the default of 1e-6 a binary leaks a millionth of its big-M. On some real days that fixed a wrong
            # direction, a microeuro dearer, and the search's own bound did not tell.
            "mip_feasibility_tolerance": FEASIBILITY_TOLERANCE,
        }
        solver = pulp.HiGHS(
            msg=False,
            timeLimit=self._effort.time_limit_s,
            gapRel=0.0,
            gapAbs=self._effort.money_tolerance_eur,
            **(usual | options),
        )
        # PuLP has no word for some of HiGHS's statuses; they are no proof either, and told below in HiGHS's words.
        with contextlib.suppress(KeyError):
            self._lp.solve(solver)

    def _failure(self) -> str:
        highs = self._lp.solverModel
        status = highs.modelStatusToString(highs.getModelStatus())
        info = highs.getInfo()
        found, bound = float(info.objective_function_value), float(info.mip_dual_bound)
        gap = "no plan and no bound"
        if self._binaries and abs(bound) < INFINITE:
            gap = f"a bound of {bound:.6f} EUR and no plan"
            if abs(found) < INFINITE:
                gap = f"a gap of {found - bound:.6f} EUR (plan {found:.6f}, bound {bound:.6f})"
        way_out = "report it with its input"
        if self._out_of_time():
            way_out = "allow more time (time_limit_s), accept a gap (money_tolerance_eur) or shorten the horizon"
        return (
            f"solver: HiGHS ended with {status!r} within {self._effort.time_limit_s:g} s, {gap} and no proved optimum; "
            f"{way_out}"
        )
