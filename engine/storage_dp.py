"""The fast path: an exact dynamic program over the state of charge, for one site.

A problem with one state (the store) and piecewise-linear interval costs needs no solver: see
`engine.storage_kernels`. Charging with discharging, and importing with exporting, cannot even be expressed here, so
negative prices need no binaries. The slopes of the value functions are the marginal value of stored energy.

Numba compiles the kernels at first use and keeps the result on disk beside them (or where NUMBA_CACHE_DIR says).
"""

from __future__ import annotations

import time

import numpy as np

from engine.errors import SolveError
from engine.plan import Solution
from engine.problem import BAND_PRIORITY, LIMIT_PRIORITY, DispatchProblem
from engine.storage_kernels import INFINITE, KernelInput, curtailment_kwh, solve_convex, solve_general

# A value function with more pieces than this is slower here than in the MILP.
MOST_VALUE_PIECES = 4000


class TooManyPiecesError(SolveError):
    """The value functions have grown beyond what is worth it; the MILP can still solve the problem."""


def kernel_input(problem: DispatchProblem) -> KernelInput:
    """Lay a problem out for the kernels."""
    battery, h, count = problem.battery, problem.step_h, problem.intervals
    capacity = battery.capacity_kwh
    start = problem.initial_soc * capacity
    band_low, band_high = battery.min_soc * capacity, battery.max_soc * capacity
    breach = problem.breach_price_eur_per_kwh
    return KernelInput(
        buy=problem.import_price,
        sell=problem.export_price,
        net=-problem.surplus_kw * h,
        most_in=problem.most_import_kw * h,
        most_out=problem.most_export_kw * h,
        spare=problem.pv_kw * h * problem.pv_curtailable,
        over_in=problem.idle_over_import_kw * h,
        over_out=problem.idle_over_export_kw * h,
        breach=LIMIT_PRIORITY * breach,
        most_charge=np.full(count, battery.max_charge_kw * h * battery.charge_efficiency),
        most_discharge=np.full(count, battery.max_discharge_kw * h / battery.discharge_efficiency),
        eta_in=battery.charge_efficiency,
        eta_out=battery.discharge_efficiency,
        wear=battery.wear_eur_per_kwh,
        low=min(band_low, start),
        high=max(band_high, start),
        band_low=band_low,
        band_high=band_high if start > band_high else INFINITE,
        band_breach=BAND_PRIORITY * breach * h,
        start=start,
        final=0.0 if problem.final_soc_min is None else problem.final_soc_min * capacity,
        final_breach=breach,
        end_value=problem.terminal_value_eur_per_kwh,
    )


def is_convex(problem: DispatchProblem) -> bool:
    """Whether every interval's cost is convex in the change of the store."""
    return not (problem.burning_pays.any() or problem.selling_beats_buying.any() or problem.idle_over_export_kw.any())


def solve(problem: DispatchProblem) -> Solution:
    """Find the cheapest plan; the result is exact by construction.

    Raises:
        TooManyPiecesError: The value functions grew beyond `MOST_VALUE_PIECES`.
    """
    begin = time.perf_counter()
    data = kernel_input(problem)
    delta, worth = np.empty(problem.intervals), np.empty(problem.intervals)
    if is_convex(problem):
        solve_convex(data, delta, worth)
        why = "every interval's cost is convex, so value functions are lists of slopes"
    else:
        pieces = solve_general(data, delta, worth, MOST_VALUE_PIECES)
        if pieces < 0:
            raise TooManyPiecesError(
                f"storage_dp: a value function has more than {MOST_VALUE_PIECES} pieces; use solver='lp'"
            )
        why = f"some intervals are not convex; lower envelopes of at most {pieces} pieces stay exact"
    h = problem.step_h
    return Solution(
        charge_kw=np.maximum(delta, 0.0) / data.eta_in / h,
        discharge_kw=np.maximum(-delta, 0.0) * data.eta_out / h,
        curtailment_kw=curtailment_kwh(data, delta) / h,
        marginal_value_eur_per_kwh=worth,
        solver="storage DP",
        why=why,
        seconds=time.perf_counter() - begin,
    )
