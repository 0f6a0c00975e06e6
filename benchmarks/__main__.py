"""`python -m benchmarks`: every problem by every solver, interleaved in one run, equal objectives checked."""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from typing import Literal

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks import raw_highs
from benchmarks.problems import PROBLEMS, BenchmarkProblem
from engine import optimise

BASELINE = "HiGHS directly, binaries everywhere"
TIDEWATT = "optimise()"
SAME_EUR = 1e-6


def tidewatt(problem: BenchmarkProblem, solver: Literal["dp", "lp"]) -> float:
    """What users call: checks of the input, solve, assembly and the independent checker included."""
    series = problem.series
    return optimise(
        problem.site,
        import_price=series["import_price_eur_per_kwh"],
        export_price=series["export_price_eur_per_kwh"],
        load=series["load_kw"],
        pv=series["pv_kw"],
        initial_soc=problem.initial_soc,
        final_soc_min=problem.final_soc_min,
        solver=solver,
    ).cost_eur


SOLVERS: dict[str, Callable[[BenchmarkProblem], float]] = {
    BASELINE: lambda problem: raw_highs.solve(problem, binaries=True),
    "HiGHS directly, relaxation": lambda problem: raw_highs.solve(problem, binaries=False),
    TIDEWATT: lambda problem: tidewatt(problem, "dp"),
    "optimise(solver='lp')": lambda problem: tidewatt(problem, "lp"),
}


def measure(problem: BenchmarkProblem, runs: int) -> dict[str, tuple[float, float]]:
    """Median seconds and cost of each solver; the solvers take turns, so a noisy machine hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in SOLVERS}
    costs: dict[str, float] = {}
    for _ in range(runs + 1):
        for name, solver in SOLVERS.items():
            begin = time.perf_counter()
            costs[name] = solver(problem)
            seconds[name].append(time.perf_counter() - begin)
    return {name: (statistics.median(seconds[name][1:]), costs[name]) for name in SOLVERS}


def main() -> int:
    """Print the table; exits with 1 if an exact solver disagrees with the other."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--smoke", action="store_true", help="one run of each, to see that it works")
    runs = 1 if parser.parse_args().smoke else 9
    table = Table(title=f"median of {runs}; ratio to: {BASELINE}", title_justify="left")
    for column in ("problem", "solver", "ms", "ratio", "cost EUR", "cost difference EUR"):
        table.add_column(column, justify="left" if column in ("problem", "solver") else "right")
    disagree = False
    for make in track(PROBLEMS, description="measuring", console=Console(stderr=True)):
        problem = make()
        results = measure(problem, runs)
        base_s, base_eur = results[BASELINE]
        for name, (median_s, cost_eur) in results.items():
            difference = cost_eur - base_eur
            table.add_row(
                problem.name,
                name,
                f"{median_s * 1e3:.1f}",
                f"{median_s / base_s:.3f}",
                f"{cost_eur:.6f}",
                f"{difference:+.1e}",
            )
        disagree |= abs(results[TIDEWATT][1] - base_eur) > SAME_EUR
    Console(width=120).print(table)
    return int(disagree)


if __name__ == "__main__":
    sys.exit(main())
