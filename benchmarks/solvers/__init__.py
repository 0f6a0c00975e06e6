"""The solvers that run in this process. The first two are the baselines that ratios refer to."""

from __future__ import annotations

from functools import lru_cache

from benchmarks.judge import SAME_EUR, judge
from benchmarks.problems import BenchmarkProblem
from benchmarks.solvers import pulp_model, raw_highs, tidewatt
from benchmarks.solvers.contract import Answer, Solver

RAW = "highspy"
PULP = "PuLP + HiGHS"
BASELINES = (RAW, PULP)
TIDEWATT = "Tidewatt"
# Binaries on every interval of a longer horizon take minutes, and nobody learns from them.
MOST_INTERVALS_OF_NEEDLESS_BINARIES = 192


@lru_cache(maxsize=128)
def relaxation_is_exact(problem: BenchmarkProblem) -> bool:
    """Whether the linear program without binaries has the optimum.

    Proved by its plan: one that never uses both directions at once is a plan of the model with binaries too, and none
    can be cheaper. Worked out before any clock runs, so that baselines get the knowledge for nothing.
    """
    answer = raw_highs.solve(problem, binaries=False)
    verdict = judge(problem, answer.charge_kw, answer.discharge_kw)
    return verdict.physical and answer.claimed_eur is not None and answer.claimed_eur >= verdict.cost_eur - SAME_EUR


def _raw(problem: BenchmarkProblem) -> Answer:
    return raw_highs.solve(problem, binaries=not relaxation_is_exact(problem))


def _pulp_highs(problem: BenchmarkProblem) -> Answer:
    return pulp_model.solve(problem, "HiGHS", binaries=not relaxation_is_exact(problem))


def _pulp_cbc(problem: BenchmarkProblem) -> Answer:
    return pulp_model.solve(problem, "CBC", binaries=not relaxation_is_exact(problem))


def _skip_needless_binaries(problem: BenchmarkProblem) -> str | None:
    if not relaxation_is_exact(problem):
        return ""  # that is the baseline itself
    if problem.intervals > MOST_INTERVALS_OF_NEEDLESS_BINARIES:
        return f"not asked beyond {MOST_INTERVALS_OF_NEEDLESS_BINARIES} intervals"
    return None


def _skip_relaxation(problem: BenchmarkProblem) -> str | None:
    return "" if relaxation_is_exact(problem) else None


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
