"""Tidewatt as users call it, and its dynamic program alone.

`optimise` checks its input, solves, assembles a table and has the independent checker go through it; all that is in its
time, though no other solver here does the like. What is left without it, `solve_alone` tells.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal

from benchmarks.problems import COLUMNS, BenchmarkProblem
from benchmarks.solvers.contract import Answer, GaveUpError
from engine import SolveError, optimise, storage_dp
from engine.problem import DispatchProblem, build_problem


def solve(problem: BenchmarkProblem, solver: Literal["dp", "lp"]) -> Answer:
    """Plan with `engine.optimise`."""
    try:
        plan = optimise(problem.site, **_input(problem), solver=solver)
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
    dispatch = _dispatch(problem)
    solution = storage_dp.solve(dispatch)
    return Answer(solution.charge_kw, solution.discharge_kw, claimed_eur=None, method="DP")


@lru_cache(maxsize=1)
def _dispatch(problem: BenchmarkProblem) -> DispatchProblem:
    # Made in the round that warms up; its time belongs to `optimise`.
    return build_problem(problem.site, **_input(problem), terminal_value_eur_per_kwh=None)


def _input(problem: BenchmarkProblem) -> dict[str, Any]:
    names = ("import_price", "export_price", "load", "pv")
    series = {name: problem.series[column] for name, column in zip(names, COLUMNS, strict=True)}
    return {**series, "initial_soc": problem.initial_soc, "final_soc_min": problem.final_soc_min}
