"""The strongest plain alternative: the same problem handed to HiGHS as arrays, cold, with nothing in between.

Written from the mathematics, not from the engine, so that it is a check of the optimum too. The matrix is laid out by
numpy without a loop over intervals.
"""

from __future__ import annotations

import highspy
import numpy as np
import numpy.typing as npt

from benchmarks.problems import Array, BenchmarkProblem, limits
from benchmarks.solvers.contract import TIME_LIMIT_S, Answer, GaveUpError

FREE = np.inf
Indices = npt.NDArray[np.int64]


def solve(problem: BenchmarkProblem, binaries: bool) -> Answer:
    """Build and solve.

    Args:
        problem: What to solve.
        binaries: Whether to forbid both directions at once on every interval; without, it is the relaxation.
    """
    highs = highspy.Highs()
    options = {"output_flag": False, "mip_rel_gap": 0.0, "mip_abs_gap": 1e-9, "time_limit": TIME_LIMIT_S}
    for option, value in options.items():
        highs.setOptionValue(option, value)
    highs.passModel(_model(problem, binaries))
    highs.run()
    if highs.getModelStatus() == highspy.HighsModelStatus.kTimeLimit:
        raise GaveUpError(f"no proved optimum within {TIME_LIMIT_S:.0f} s")
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS ended with {highs.modelStatusToString(highs.getModelStatus())}")
    charge, discharge = np.array(highs.getSolution().col_value).reshape(problem.intervals, -1).T[:2]
    return Answer(charge, discharge, float(highs.getObjectiveValue()), "MILP" if binaries else "LP")


def _model(problem: BenchmarkProblem, binaries: bool) -> highspy.HighsLp:
    battery, h, count = problem.site.battery, problem.step_h, problem.intervals
    import_limit, export_limit = limits(problem)
    buy, sell, load, sun = problem.arrays.values()
    capacity = battery.capacity_kwh

    # One column of each kind per interval: charge, discharge, import, export, stored; where needed, curtailment
    # and two binaries. Interval by interval, because branch and bound is much slower on kind by kind.
    upper = [battery.max_charge_kw, battery.max_discharge_kw, import_limit, export_limit, battery.max_soc * capacity]
    blocks = [np.full(count, most) for most in upper]
    cost = [np.zeros(count), np.full(count, h * battery.wear_eur_per_kwh), h * buy, -h * sell, np.zeros(count)]
    lower = np.zeros((5, count))
    lower[4] = battery.min_soc * capacity
    lower[4, -1] = max(battery.min_soc, problem.final_soc_min) * capacity
    if problem.curtailable:
        blocks.append(sun)
    continuous = len(blocks)
    if binaries:
        blocks += [np.ones(count)] * 2
    more = np.zeros((len(blocks) - 5, count))

    rows = _Rows(count, kinds=len(blocks))
    charge, discharge, bought, sold, stored = range(5)
    start = np.zeros(count)
    start[0] = problem.initial_soc * capacity
    gain, loss = h * battery.charge_efficiency, h / battery.discharge_efficiency
    rows.add(start, start, {stored: 1.0, charge: -gain, discharge: loss}, before={stored: -1.0})
    balance = {bought: 1.0, discharge: 1.0, charge: -1.0, sold: -1.0} | ({5: -1.0} if problem.curtailable else {})
    rows.add(load - sun, load - sun, balance)
    if binaries:
        for one, other, which in ((charge, discharge, continuous), (bought, sold, continuous + 1)):
            rows.add(-FREE, 0.0, {one: 1.0, which: -upper[one]})
            rows.add(-FREE, upper[other], {other: 1.0, which: upper[other]})

    model = highspy.HighsLp()
    model.num_col_ = count * len(blocks)
    model.col_cost_ = _by_interval([*cost, *more])
    model.col_lower_ = _by_interval([*lower, *more])
    model.col_upper_ = _by_interval(blocks)
    rows.write(model)
    if binaries:
        real, whole = highspy.HighsVarType.kContinuous, highspy.HighsVarType.kInteger
        model.integrality_ = ([real] * continuous + [whole] * 2) * count
    return model


def _by_interval(parts: list[Array]) -> Array:
    return np.stack(parts, axis=1).ravel()


class _Rows:
    """Constraints, one of each sort per interval, gathered for HiGHS row by row, interval by interval."""

    def __init__(self, count: int, kinds: int) -> None:
        self._count = count
        self._kinds = kinds
        self._lower: list[Array] = []
        self._upper: list[Array] = []
        self._entries: list[tuple[int, Indices, Indices, Array]] = []

    def add(
        self,
        lower: Array | float,
        upper: Array | float,
        terms: dict[int, float],
        before: dict[int, float] | None = None,
    ) -> None:
        """Add ``lower <= sum of terms <= upper`` on every interval.

        Args:
            lower: Bound per interval, or one for all.
            upper: Likewise.
            terms: Coefficient by kind of column, taken at the row's interval.
            before: Coefficient by kind, taken at the interval before; none at the first.
        """
        sort = len(self._lower)
        self._lower.append(np.broadcast_to(lower, self._count))
        self._upper.append(np.broadcast_to(upper, self._count))
        steps = np.arange(self._count, dtype=np.int64)
        for kind, value in terms.items():
            self._entries.append((sort, steps, steps * self._kinds + kind, np.full(self._count, value)))
        for kind, value in (before or {}).items():
            earlier = steps[:-1] * self._kinds + kind
            self._entries.append((sort, steps[1:], earlier, np.full(self._count - 1, value)))

    def write(self, model: highspy.HighsLp) -> None:
        """Put the rows into a model, as a compressed matrix by rows."""
        sorts = len(self._lower)
        row = np.concatenate([steps * sorts + sort for sort, steps, _, _ in self._entries])
        column = np.concatenate([entry[2] for entry in self._entries])
        value = np.concatenate([entry[3] for entry in self._entries])
        order = np.lexsort((column, row))
        model.num_row_ = sorts * self._count
        model.row_lower_, model.row_upper_ = _by_interval(self._lower), _by_interval(self._upper)
        model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        model.a_matrix_.start_ = np.concatenate([[0], np.cumsum(np.bincount(row))])
        model.a_matrix_.index_, model.a_matrix_.value_ = column[order], value[order]
