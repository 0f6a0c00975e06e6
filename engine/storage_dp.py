"""The fast path: an exact dynamic program over the state of charge, for one site or a stack of them.

A problem with one state (the store) and piecewise-linear interval costs needs no solver: see
`engine.storage_kernels`. Charging with discharging, and importing with exporting, cannot even be expressed here, so
negative prices need no binaries. The slopes of the value functions are the marginal value of stored energy.

What couples intervals other than through the store (cycle budgets, demand charges) and power that depends on the state
of charge is not in here: `engine.coupled` puts searches around this.

Numba compiles the kernels at first use and keeps the result on disk beside them (or where NUMBA_CACHE_DIR says).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from engine.arrays import Array, Mask
from engine.assets import Site
from engine.decisions import Decisions
from engine.problem import ProblemStack
from engine.storage_kernels import (
    AS_BEFORE,
    INFINITE,
    LEAST,
    REST_FIRST,
    Inverter,
    KernelInput,
    curtail_many,
    solve_many,
)

# A value function with more pieces than this is slower here than in the MILP.
MOST_VALUE_PIECES = 4000
TIES = {None: REST_FIRST, "fewer_switches": AS_BEFORE, "later_charging": LEAST, "smoother_power": REST_FIRST}


@dataclass(frozen=True)
class Steering:
    """What a search adds to the problems."""

    smooth: float = 0.0
    """Spreads power where that costs no more than this [EUR/kWh]."""
    price_of_use: float | Array = 0.0
    """Price of a kWh taken from the store, weighed besides all others, shape (T,) [EUR/kWh]."""
    import_cap_kw: float | Array = np.inf
    """Import above it costs as much as above a connection limit, shape (T,); not where load exceeds the limit [kW]."""


def kernel_input(stack: ProblemStack, steering: Steering) -> KernelInput:
    """Lay the problems out for the kernels."""
    capacity, min_soc, max_soc = stack.capacity_kwh, stack.figures.min_soc, stack.figures.max_soc
    start, breach = stack.initial_soc * capacity, stack.breach
    band_low, band_high = min_soc * capacity, max_soc * capacity
    # A store that loses can only be held in its band from outside, so it may run down to nothing.
    lowest = np.where(stack.kept < 1, np.minimum(band_low, 0.0), band_low)
    most_import_kw, over_import_kw = stack.most_import_kw, stack.idle_over_import_kw
    if np.any(np.isfinite(steering.import_cap_kw)):
        most_import_kw = np.minimum(stack.most_import_kw, steering.import_cap_kw)
        over_import_kw = over_import_kw + (stack.most_import_kw - most_import_kw)
    return KernelInput(
        step_h=np.array([stack.step_h]),
        buy=stack.decision_import_price,
        sell=stack.decision_export_price,
        surplus_kw=stack.surplus_kw,
        most_import_kw=most_import_kw,
        most_export_kw=stack.most_export_kw,
        spare_kw=stack.pv_kw * stack.pv_curtailable,
        over_import_kw=over_import_kw,
        over_export_kw=stack.idle_over_export_kw,
        breach=breach.limit[:, 0],
        max_charge_kw=stack.max_charge_kw,
        max_discharge_kw=stack.max_discharge_kw,
        solar_only=stack.solar_guard_binds,
        floor=stack.reserve_soc * capacity,
        floor_breach=breach.reserve[:, 0],
        kept=stack.kept[:, 0],
        eta_in=stack.charge_efficiency[:, 0],
        eta_out=stack.discharge_efficiency[:, 0],
        wear=stack.decision_wear + steering.price_of_use / stack.discharge_efficiency,
        low=np.minimum(lowest, start)[:, 0],
        high=np.maximum(band_high, start)[:, 0],
        band_low=band_low[:, 0],
        band_high=np.where(start > band_high, band_high, INFINITE)[:, 0],
        below_band=breach.band[:, 0],
        above_band=breach.overfull[:, 0],
        start=start[:, 0],
        final=(stack.final_soc_min * capacity)[:, 0],
        final_breach=breach.final[:, 0],
        end_at=stack.terminal_up_to_soc * capacity,
        end_value=stack.terminal_value,
        smooth=np.array([steering.smooth]),
        tie=np.array([TIES[stack.strategy.prefer]]),
        **_bends(stack),
    )


def inverter_of(site: Site) -> Inverter:
    """The battery as the kernels know it."""
    battery, grid = site.battery, site.grid
    charge, discharge = (
        np.array(points, dtype=np.float64).reshape(-1, 2)
        for points in (battery.charge_kw_at_soc, battery.discharge_kw_at_soc)
    )
    return Inverter(
        max_charge_kw=float(battery.max_charge_kw),
        max_discharge_kw=float(battery.max_discharge_kw),
        charge_soc=charge[:, 0].copy(),
        charge_kw=charge[:, 1].copy(),
        discharge_soc=discharge[:, 0].copy(),
        discharge_kw=discharge[:, 1].copy(),
        low=float(battery.min_soc * battery.capacity_kwh),
        high=float(battery.max_soc * battery.capacity_kwh),
        capacity=float(battery.capacity_kwh),
        eta_in=float(battery.charge_efficiency),
        eta_out=float(battery.discharge_efficiency),
        kept=battery.kept_after(1 / 60),
        export_limit_kw=INFINITE if grid.export_limit_kw is None else float(grid.export_limit_kw),
        pv_curtailable=site.pv is not None and site.pv.curtailable,
    )


def beyond(stack: ProblemStack) -> tuple[Mask, str]:
    """Which sites have a wish that no function of the store's change can express, shape (N,), and which wish."""
    if stack.balancing:
        return np.ones(len(stack), dtype=np.bool_), "balancing capacity ties the power of an hour to the store"
    curtails = (stack.pv_kw * stack.pv_curtailable).any(axis=1) & bool(stack.commitments)
    return np.broadcast_to(curtails, len(stack)), "PV may be curtailed for a position, a schedule or an import target"


NO_BENDS = np.zeros((1, 1, 0))


def _bends(stack: ProblemStack) -> dict[str, Array]:
    """Commitments as bends of the cost in the store's change: a price everywhere, and one more above what is aimed at.

    Grid and battery both draw more the more is stored, each by its efficiency.
    """
    if not stack.commitments:
        return {"bend_at": NO_BENDS, "bend_discharging": NO_BENDS, "bend_charging": NO_BENDS}
    shape = (len(stack), len(stack.index))
    eta_in, eta_out = stack.charge_efficiency, stack.discharge_efficiency
    bends: list[tuple[Array, Array]] = []
    for commitment in stack.commitments:
        idle_kw = -stack.surplus_kw if commitment.of == "grid" else 0.0
        charging_kwh = stack.step_h * (commitment.at_kw - idle_kw)
        at = np.where(charging_kwh > 0, charging_kwh * eta_in, charging_kwh / eta_out)
        bends.append((np.full((1, 1), -INFINITE), -commitment.below_eur_per_kwh))
        bends.append((at, commitment.above_eur_per_kwh + commitment.below_eur_per_kwh))
    return {
        "bend_at": np.stack([np.broadcast_to(at, shape) for at, _ in bends], axis=-1),
        "bend_discharging": np.stack([np.broadcast_to(eur * eta_out, shape) for _, eur in bends], axis=-1),
        "bend_charging": np.stack([np.broadcast_to(eur / eta_in, shape) for _, eur in bends], axis=-1),
    }


NO_STEERING = Steering()


def solve(stack: ProblemStack, steering: Steering = NO_STEERING) -> tuple[Decisions, npt.NDArray[np.int64]]:
    """Find the cheapest decisions for every site; each site's are exact by construction.

    Args:
        stack: The sites' problems; budgets, demand charges and power limits by state of charge are not looked at.
        steering: What a search around this adds to them.

    Returns:
        The decisions, and the largest number of pieces of a value function, shape (N,): 0 where all is convex, -1
        where there were more than `MOST_VALUE_PIECES` or a wish is `beyond` this path, so that this site is not solved.
    """
    count = len(stack.index)
    data = kernel_input(stack, steering)
    delta, worth, curtailed = (np.zeros((len(stack), count)) for _ in range(3))
    pieces = np.empty(len(stack), dtype=np.int64)
    solve_many(data, stack.convex, delta, worth, curtailed, pieces, MOST_VALUE_PIECES)
    if stack.commitments or stack.balancing:
        pieces[beyond(stack)[0]] = -1
    h = stack.step_h
    decisions = Decisions(
        charge_kw=np.maximum(delta, 0.0) / (stack.charge_efficiency * h),
        discharge_kw=np.maximum(-delta, 0.0) * (stack.discharge_efficiency / h),
        curtailment_kw=curtailed / h,
        marginal_value_eur_per_kwh=worth,
        balancing_kw={name: np.zeros_like(delta) for name in stack.balancing},
    )
    return decisions, pieces


def blend(stack: ProblemStack, one: Decisions, other: Decisions, share: float) -> Decisions:
    """The mean of two decisions by changes of the store, `share` of the first; where costs are convex it costs no more.

    Args:
        stack: Sites whose costs are convex.
        one: Decisions for them.
        other: Other decisions for them.
        share: Weight of `one` [fraction].
    """
    eta_in, eta_out = stack.charge_efficiency, stack.discharge_efficiency
    delta = sum(
        weight * (part.charge_kw * eta_in - part.discharge_kw / eta_out)
        for weight, part in ((share, one), (1 - share, other))
    )
    decisions = with_curtailment(stack, np.maximum(delta, 0.0) / eta_in, np.maximum(-delta, 0.0) * eta_out)
    worth = share * one.marginal_value_eur_per_kwh + (1 - share) * other.marginal_value_eur_per_kwh
    return replace(decisions, marginal_value_eur_per_kwh=worth)


def with_curtailment(stack: ProblemStack, charge_kw: Array, discharge_kw: Array) -> Decisions:
    """Complete the battery's powers, of shape (N, T), by the cheapest curtailment; marginal values are not known."""
    h = stack.step_h
    delta = (charge_kw * stack.charge_efficiency - discharge_kw / stack.discharge_efficiency) * h
    curtailed = np.zeros_like(delta)
    curtail_many(kernel_input(stack, NO_STEERING), delta, curtailed)
    return Decisions(charge_kw, discharge_kw, curtailed / h, np.full_like(delta, np.nan))


def why(pieces: int) -> str:
    """Why the answer for a site is exact, given the largest number of pieces of its value functions."""
    if pieces == 0:
        return "every interval's cost is convex, so value functions are lists of slopes"
    return f"some intervals are not convex; lower envelopes of at most {pieces} pieces stay exact"
