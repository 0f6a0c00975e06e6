"""The named alternative: the same problem handed to HiGHS directly, with binaries on every interval.

Written from the mathematics, not from the engine, so that it is a check of the optimum too.
"""

from __future__ import annotations

import highspy
import numpy as np

from benchmarks.problems import BenchmarkProblem


def solve(problem: BenchmarkProblem, binaries: bool) -> float:
    """Build and solve; returns the optimal cost [EUR].

    Args:
        problem: What to solve.
        binaries: Whether to forbid both directions at once on every interval; without, it is the relaxation.
    """
    series, battery, grid = problem.series, problem.site.battery, problem.site.grid
    assert grid.import_limit_kw is not None
    assert grid.export_limit_kw is not None
    count = len(series)
    hours = (series.index[1] - series.index[0]).total_seconds() / 3600
    prices_in = series["import_price_eur_per_kwh"].to_numpy()
    prices_out = series["export_price_eur_per_kwh"].to_numpy()
    net_load = (series["load_kw"] - series["pv_kw"]).to_numpy()
    capacity = battery.capacity_kwh

    # Columns by interval: charge, discharge, import, export, stored (and two binaries).
    kinds = 7 if binaries else 5
    lower = np.zeros((count, kinds))
    upper = np.empty((count, kinds))
    cost = np.zeros((count, kinds))
    upper[:, :5] = (
        battery.max_charge_kw,
        battery.max_discharge_kw,
        grid.import_limit_kw,
        grid.export_limit_kw,
        battery.max_soc * capacity,
    )
    upper[:, 5:] = 1
    lower[:, 4] = battery.min_soc * capacity
    lower[-1, 4] = max(battery.min_soc, problem.final_soc_min) * capacity
    cost[:, 1] = hours * battery.wear_eur_per_kwh
    cost[:, 2] = hours * prices_in
    cost[:, 3] = -hours * prices_out

    rows: list[tuple[float, float, list[int], list[float]]] = []
    for t in range(count):
        c, d, m, x, s = range(t * kinds, t * kinds + 5)
        gain, loss = hours * battery.charge_efficiency, hours / battery.discharge_efficiency
        start = problem.initial_soc * capacity if t == 0 else 0.0
        before = [] if t == 0 else [s - kinds]
        rows.append((start, start, [s, c, d, *before], [1, -gain, loss, *[-1] * len(before)]))
        rows.append((net_load[t], net_load[t], [m, d, c, x], [1, 1, -1, -1]))
        if binaries:
            z, w = t * kinds + 5, t * kinds + 6
            rows.append((-np.inf, 0, [c, z], [1, -battery.max_charge_kw]))
            rows.append((-np.inf, battery.max_discharge_kw, [d, z], [1, battery.max_discharge_kw]))
            rows.append((-np.inf, 0, [m, w], [1, -grid.import_limit_kw]))
            rows.append((-np.inf, grid.export_limit_kw, [x, w], [1, grid.export_limit_kw]))

    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = count * kinds, len(rows)
    model.col_cost_, model.col_lower_, model.col_upper_ = cost.ravel(), lower.ravel(), upper.ravel()
    model.row_lower_ = np.array([row[0] for row in rows])
    model.row_upper_ = np.array([row[1] for row in rows])
    model.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    model.a_matrix_.start_ = np.cumsum([0, *(len(row[2]) for row in rows)])
    model.a_matrix_.index_ = np.concatenate([row[2] for row in rows])
    model.a_matrix_.value_ = np.concatenate([row[3] for row in rows])
    if binaries:
        whole, real = highspy.HighsVarType.kInteger, highspy.HighsVarType.kContinuous
        model.integrality_ = [whole if column % kinds >= 5 else real for column in range(count * kinds)]

    highs = highspy.Highs()
    for option, value in (("output_flag", False), ("mip_rel_gap", 0.0), ("mip_abs_gap", 1e-9)):
        highs.setOptionValue(option, value)
    highs.passModel(model)
    highs.run()
    if highs.getModelStatus() != highspy.HighsModelStatus.kOptimal:
        raise RuntimeError(f"HiGHS ended with {highs.modelStatusToString(highs.getModelStatus())}")
    return float(highs.getObjectiveValue())
