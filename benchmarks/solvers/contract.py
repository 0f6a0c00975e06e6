"""What a solver is to a benchmark: a name, a way to solve, and what it is expected to get right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.problems import Array, BenchmarkProblem

# Longest that any solver may take for one plan; by then it has told what there is to know.
TIME_LIMIT_S = 120.0


class NotAvailableError(Exception):
    """A solver cannot run here; the message says why, and stands in its row of the table."""


class GaveUpError(NotAvailableError):
    """A solver found no proved optimum in the time it is given here."""


@dataclass(frozen=True, eq=False)
class Answer:
    """A plan; arrays of shape (T,), AC-side kW."""

    charge_kw: Array
    discharge_kw: Array
    claimed_eur: float | None
    """The cost that the solver itself reports, if it does [EUR]."""
    method: str
    """Kind of model: ``LP``, ``MILP``, ..."""
    seconds: float | None = None
    """Measured by the solver's own process; None: by the caller."""


def _never(_problem: BenchmarkProblem) -> str | None:
    return None


@dataclass(frozen=True)
class Solver:
    """One column of the comparison."""

    name: str
    solve: Callable[[BenchmarkProblem], Answer]
    """From the problem to a plan, model building included.

    Raises NotAvailableError if it cannot run here."""
    exact: bool = True
    """Whether a cost off the optimum is a fault that fails the run. Never so for other libraries: their row tells."""
    skips: Callable[[BenchmarkProblem], str | None] = _never
    """Why it is not asked for this problem, or None."""
