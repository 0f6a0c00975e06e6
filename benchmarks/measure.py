"""Time every solver on a problem, in turns, and hold its plan against the others'.

Each round asks every solver once, so that a noisy machine hits all alike; the first round warms up and is not
counted. Only ratios between solvers of one run mean anything.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from benchmarks.judge import SAME_EUR, SAME_KW, judge
from benchmarks.problems import BenchmarkProblem
from benchmarks.solvers.contract import Answer, NotAvailableError, Solver


@dataclass(frozen=True)
class Row:
    """One line of a table: one solver on one problem."""

    problem: str
    size: str
    solver: str
    method: str = ""
    seconds: tuple[float, ...] = ()
    """Of each counted run; empty if there is none."""
    ratios: dict[str, float] = field(default_factory=dict)
    """Median over the median of each baseline that ran."""
    cost_eur: float | None = None
    """Recomputed from the plan [EUR]."""
    difference_eur: float | None = None
    """Cost less that of the first exact solver, a baseline [EUR]."""
    note: str = ""
    fault: bool = False
    """Whether this row fails the run."""

    @property
    def median_s(self) -> float | None:
        """Median of the counted runs [s]."""
        return statistics.median(self.seconds) if self.seconds else None


@dataclass
class _Turns:
    """What has come of one solver so far."""

    seconds: list[float] = field(default_factory=list)
    answer: Answer | None = None
    trouble: str = ""
    broken: bool = False


def measure(
    problem: BenchmarkProblem,
    solvers: Sequence[Solver],
    baselines: Sequence[str],
    rounds: int,
    budget_s: float,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Row]:
    """Run all solvers on a problem.

    Args:
        problem: What to solve.
        solvers: Who solves it. One that skips it with a reason gets a row with the reason; with an empty one, none.
        baselines: Names of the solvers that ratios refer to.
        rounds: Counted runs of each solver, after one that warms up; 0: that one counts.
        budget_s: A solver that has used up so much takes no further turns [s]; if its first turn did, that turn counts.
        say: Told what is being measured.
    """
    skipped = {solver.name: solver.skips(problem) for solver in solvers}
    asked = [solver for solver in solvers if skipped[solver.name] is None]
    turns = {solver.name: _Turns() for solver in asked}
    for number in range(rounds + 1):
        for solver in asked:
            state = turns[solver.name]
            if state.trouble or sum(state.seconds) > budget_s:
                continue
            say(f"{problem.name}: {solver.name}, round {number} of {rounds}")
            _take_turn(solver, problem, state)
    for state in turns.values():
        del state.seconds[: 1 if len(state.seconds) > 1 else 0]

    medians = {
        name: statistics.median(turns[name].seconds) for name in baselines if name in turns and turns[name].seconds
    }
    # The first baseline tells the optimum; should it have given up, the first exact solver that answered does.
    told = (turns[solver.name].answer for solver in asked if solver.exact)
    reference = next((answer for answer in told if answer is not None), None)
    optimum = None if reference is None else judge(problem, reference.charge_kw, reference.discharge_kw).cost_eur
    rows = []
    for solver in solvers:
        if solver in asked:
            rows.append(_row(problem, solver, turns[solver.name], medians, optimum))
        elif skipped[solver.name]:
            rows.append(Row(problem.name, problem.size, solver.name, note=skipped[solver.name] or ""))
    return rows


def _take_turn(solver: Solver, problem: BenchmarkProblem, state: _Turns) -> None:
    begin = time.perf_counter()
    try:
        answer = solver.solve(problem)
    except NotAvailableError as error:
        state.trouble = str(error)
        return
    except Exception as error:  # one solver's failure is a line in the table, not the end of the others
        state.trouble, state.broken = f"failed: {type(error).__name__}: {error}", True
        return
    took = time.perf_counter() - begin
    state.answer = answer
    state.seconds.append(took if answer.seconds is None else answer.seconds)


def _row(
    problem: BenchmarkProblem, solver: Solver, state: _Turns, medians: dict[str, float], optimum: float | None
) -> Row:
    if state.answer is None or state.trouble:
        return Row(problem.name, problem.size, solver.name, note=state.trouble, fault=solver.exact and state.broken)
    answer = state.answer
    verdict = judge(problem, answer.charge_kw, answer.discharge_kw)
    difference = None if optimum is None else verdict.cost_eur - optimum
    # A plan that cannot be carried out is told by what it claims to earn beyond the optimum.
    claimed_eur = verdict.cost_eur if answer.claimed_eur is None else answer.claimed_eur
    faults = []
    if verdict.both_ways_kwh > SAME_KW:
        faults.append(f"charges and discharges {verdict.both_ways_kwh:.1f} kWh at once")
    if verdict.excess > SAME_KW:
        faults.append(f"exceeds a limit by {verdict.excess:.1e}")
    if claimed_eur < verdict.cost_eur - SAME_EUR:
        faults.append("buys and sells at once")
    note = ""
    if faults:
        claim = "" if optimum is None else f"claims {optimum - claimed_eur:.4f} EUR less than can be had, "
        note = f"{claim}not physical: {', '.join(faults)}"
    elif difference is None:
        note = "no optimum to compare with"
    elif abs(difference) > SAME_EUR:
        note = "not the optimum"
    median_s = statistics.median(state.seconds)
    return Row(
        problem=problem.name,
        size=problem.size,
        solver=solver.name,
        method=answer.method,
        seconds=tuple(state.seconds),
        ratios={name: median_s / base_s for name, base_s in medians.items()},
        cost_eur=verdict.cost_eur,
        difference_eur=difference,
        note=note,
        fault=solver.exact and (bool(faults) or (difference is not None and abs(difference) > SAME_EUR)),
    )
