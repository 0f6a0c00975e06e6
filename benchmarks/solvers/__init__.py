"""The solvers that run in this process. The first two are the baselines that ratios refer to."""

from __future__ import annotations

from benchmarks.problems import BenchmarkProblem
from benchmarks.solvers import pulp_model, raw_highs, tidewatt
from benchmarks.solvers.contract import Answer, Solver

RAW = "highspy"
PULP = "PuLP + HiGHS"
BASELINES = (RAW, PULP)
TIDEWATT = "Tidewatt"
# Binaries on every interval of a longer horizon take minutes, and nobody learns from them.
MOST_INTERVALS_OF_NEEDLESS_BINARIES = 192


def _raw(problem: BenchmarkProblem) -> Answer:
    return raw_highs.solve(problem, binaries=not problem.relaxation_is_exact)


def _pulp_highs(problem: BenchmarkProblem) -> Answer:
    return pulp_model.solve(problem, "HiGHS", binaries=not problem.relaxation_is_exact)


def _pulp_cbc(problem: BenchmarkProblem) -> Answer:
    return pulp_model.solve(problem, "CBC", binaries=not problem.relaxation_is_exact)


def _skip_needless_binaries(problem: BenchmarkProblem) -> str | None:
    if not problem.relaxation_is_exact:
        return ""  # that is the baseline itself
    if problem.intervals > MOST_INTERVALS_OF_NEEDLESS_BINARIES:
        return f"not asked beyond {MOST_INTERVALS_OF_NEEDLESS_BINARIES} intervals"
    return None


def _skip_relaxation(problem: BenchmarkProblem) -> str | None:
    return "" if problem.relaxation_is_exact else None


SOLVERS: tuple[Solver, ...] = (
    Solver(RAW, _raw),
    Solver(PULP, _pulp_highs),
    Solver("PuLP + CBC", _pulp_cbc),
    Solver(
        "highspy, binaries everywhere",
        lambda problem: raw_highs.solve(problem, binaries=True),
        skips=_skip_needless_binaries,
    ),
    Solver(
        "highspy, relaxation only",
        lambda problem: raw_highs.solve(problem, binaries=False),
        exact=False,
        skips=_skip_relaxation,
    ),
    Solver(TIDEWATT, lambda problem: tidewatt.solve(problem, "dp")),
    Solver("Tidewatt, solve alone", tidewatt.solve_alone),
    Solver("Tidewatt, linear program", lambda problem: tidewatt.solve(problem, "lp")),
)
