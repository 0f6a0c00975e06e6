"""The fast path: an exact dynamic program over the state of charge, for one site.

A problem with one state (the store) and piecewise-linear interval costs needs no solver: see
`engine.storage_kernels`. Charging with discharging, and importing with exporting, cannot even be expressed here, so
negative prices need no binaries. The slopes of the value functions are the marginal value of stored energy.

Numba compiles the kernels at first use and keeps the result on disk beside them (or where NUMBA_CACHE_DIR says).
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np

from engine.errors import SolveError
from engine.plan import Solution
from engine.problem import BAND_PRIORITY, LIMIT_PRIORITY, Array, DispatchProblem
from engine.storage_kernels import INFINITE, curtailment_kwh, solve_convex, solve_general

# A value function with more pieces than this is slower here than in the MILP.
MOST_VALUE_PIECES = 4000


class TooManyPiecesError(SolveError):
    """The value functions have grown beyond what is worth it; the MILP can still solve the problem."""


class KernelInput(NamedTuple):
    """A problem in the kernels' order and units: energies per interval [kWh], prices [EUR/kWh]."""

    buy: Array
    sell: Array
    net: Array
    most_in: Array
    most_out: Array
    spare: Array
    over_in: Array
    over_out: Array
    breach: float
    most_charge: Array
    most_discharge: Array
    eta_in: float
    eta_out: float
    wear: float
    low: float
    high: float
    band_low: float
    band_high: float
    band_breach: float
    start: float
    final: float
    final_breach: float
    end_value: float


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
        solve_convex(*data, delta, worth)
        why = "every interval's cost is convex, so value functions are lists of slopes"
    else:
        pieces = solve_general(*data, delta, worth, MOST_VALUE_PIECES)
        if pieces < 0:
            raise TooManyPiecesError(
                f"storage_dp: a value function has more than {MOST_VALUE_PIECES} pieces; use solver='lp'"
            )
        why = f"some intervals are not convex; lower envelopes of at most {pieces} pieces stay exact"
    charge_kwh = np.maximum(delta, 0.0) / data.eta_in
    discharge_kwh = np.maximum(-delta, 0.0) * data.eta_out
    draw = data.net + charge_kwh - discharge_kwh
    curtailed = np.array(
        [
            curtailment_kwh(
                data.buy[t],
                data.sell[t],
                data.most_in[t],
                data.most_out[t],
                data.spare[t],
                data.over_in[t],
                data.over_out[t],
                data.breach,
                draw[t],
            )
            for t in range(problem.intervals)
        ]
    )
    h = problem.step_h
    return Solution(
        charge_kw=charge_kwh / h,
        discharge_kw=discharge_kwh / h,
        curtailment_kw=curtailed / h,
        marginal_value_eur_per_kwh=worth,
        solver="storage DP",
        why=why,
        seconds=time.perf_counter() - begin,
    )
