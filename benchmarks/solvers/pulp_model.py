"""The usual alternative: the same problem written in PuLP as its manual would, solved by HiGHS or CBC.

Written from the mathematics, not from the engine.
"""

from __future__ import annotations

import warnings
from typing import Any, Literal

import numpy as np
import pulp

from benchmarks.problems import BenchmarkProblem, limits
from benchmarks.solvers.contract import TIME_LIMIT_S, Answer, GaveUpError, NotAvailableError


def solve(problem: BenchmarkProblem, solver: Literal["HiGHS", "CBC"], binaries: bool) -> Answer:
    """Build and solve.

    Args:
        problem: What to solve.
        solver: Which of PuLP's solvers.
        binaries: Whether to forbid both directions at once on every interval; without, it is the relaxation.

    Raises:
        NotAvailableError: PuLP brings no CBC on this platform.
    """
    chosen = _solver(solver)
    battery, h, count = problem.site.battery, problem.step_h, problem.intervals
    import_limit, export_limit = limits(problem)
    buy, sell, load, sun = problem.arrays.values()
    capacity = battery.capacity_kwh

    lp = pulp.LpProblem("home", pulp.LpMinimize)
    charge = [lp.add_variable(f"charge_{t}", 0, battery.max_charge_kw) for t in range(count)]
    discharge = [lp.add_variable(f"discharge_{t}", 0, battery.max_discharge_kw) for t in range(count)]
    bought = [lp.add_variable(f"bought_{t}", 0, import_limit) for t in range(count)]
    sold = [lp.add_variable(f"sold_{t}", 0, export_limit) for t in range(count)]
    stored = [
        lp.add_variable(f"stored_{t}", battery.min_soc * capacity, battery.max_soc * capacity) for t in range(count)
    ]
    lp += pulp.lpSum(
        h * (buy[t] * bought[t] - sell[t] * sold[t] + battery.wear_eur_per_kwh * discharge[t]) for t in range(count)
    )
    before: Any = problem.initial_soc * capacity
    for t in range(count):
        curtailed = lp.add_variable(f"curtailed_{t}", 0, sun[t]) if problem.curtailable else 0
        lp += bought[t] + sun[t] + discharge[t] == load[t] + charge[t] + sold[t] + curtailed
        gain, loss = h * battery.charge_efficiency, h / battery.discharge_efficiency
        lp += stored[t] == before + gain * charge[t] - loss * discharge[t]
        before = stored[t]
        if binaries:
            charging = lp.add_variable(f"charging_{t}", cat=pulp.LpBinary)
            buying = lp.add_variable(f"buying_{t}", cat=pulp.LpBinary)
            lp += charge[t] <= battery.max_charge_kw * charging
            lp += discharge[t] <= battery.max_discharge_kw * (1 - charging)
            lp += bought[t] <= import_limit * buying
            lp += sold[t] <= export_limit * (1 - buying)
    lp += stored[-1] >= problem.final_soc_min * capacity
    lp.solve(chosen)
    if lp.solutionTime >= TIME_LIMIT_S:
        raise GaveUpError(f"no proved optimum within {TIME_LIMIT_S:.0f} s")
    if lp.sol_status != pulp.LpSolutionOptimal:
        raise RuntimeError(f"{solver} ended with {pulp.LpSolution[lp.sol_status]}")
    return Answer(
        charge_kw=np.array([variable.value() for variable in charge]),
        discharge_kw=np.array([variable.value() for variable in discharge]),
        claimed_eur=float(pulp.value(lp.objective)),
        method="MILP" if binaries else "LP",
    )


def _solver(name: Literal["HiGHS", "CBC"]) -> Any:
    if name == "HiGHS":
        return pulp.HiGHS(msg=False, gapRel=0.0, gapAbs=1e-9, timeLimit=TIME_LIMIT_S)
    options = {"msg": False, "gapRel": 0.0, "gapAbs": 1e-9, "timeLimit": TIME_LIMIT_S}
    installed = pulp.COIN_CMD(**options)
    if installed.available():
        return installed
    # PuLP 3 brings a CBC and warns that PuLP 4 will not.
    if hasattr(pulp, "PULP_CBC_CMD"):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            bundled = pulp.PULP_CBC_CMD(**options)
        if bundled.available():
            return bundled
    raise NotAvailableError("not available: no CBC is installed, and this PuLP brings none for this platform")
