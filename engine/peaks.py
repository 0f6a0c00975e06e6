"""What import to hold to for the sake of a charge on its peak, whose period reaches past every plan's horizon.

A plan of a day or two cannot know what a peak of today costs over the month. So the rest of the period is planned on an
outlook, under each peak that could be worth holding to, and the cheapest is held to. Perez-Pineiro, Skogestad and Boyd
(arXiv 2307.07580) found such a rolling plan close to perfect foresight; they plan the whole period at every step, with
a variable for the peak.
"""

from __future__ import annotations

import numpy as np

from engine import storage_dp
from engine.arrays import Array
from engine.assets import Battery
from engine.decisions import objective_eur, reckon
from engine.demand import PeakPeriod
from engine.problem import ProblemStack
from engine.storage_dp import Steering

# What a battery that is told a power misses of a peak it plans to hold.
MARGIN = 0.02
# A peak is kept energy for that holds on so many of the last weeks' days; more costs more than the peaks that it saves.
HELD_ON = 0.9
FEWEST_DAYS = 3
# Prices to come are taken to be those of so long ago, and loads the mean since, where the history reaches back so far.
OUTLOOK_DAYS = 28
# Peaks that are tried besides the bounds of a charge's steps, relative to the one that nothing holds down.
TRIED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BISECTIONS = 40
SLACK_KW = 1e-6


def cap_kw(period: PeakPeriod, outlook: ProblemStack, before_kw: Array, now: int) -> float:
    """The peak that is the cheapest to hold to for the rest of a period [kW]; `MARGIN` is yet to be kept below it.

    Args:
        period: A charge on one of its periods.
        outlook: The rest of the period, from the store as it is: a stack of one site.
        before_kw: Import of the intervals that the period is laid on, shape (T,), those before `now` as they were.
        now: The interval that the outlook begins with.
    """
    count = len(outlook.index)
    counted = np.zeros(count, dtype=np.bool_)
    counted[period.inside[period.inside >= now] - now] = True
    before = np.where(np.arange(len(before_kw)) < now, before_kw, 0.0)

    def preference(peak_kw: float) -> tuple[float, float]:
        """What it costs; of two of one cost the lower, but what cannot be held would empty the store for nothing."""
        cap = np.where(counted, peak_kw * (1 - MARGIN), np.inf)
        decisions, pieces = storage_dp.solve(outlook, Steering(import_cap_kw=cap))
        if pieces[0] < 0:
            return np.inf, -peak_kw
        outcome = reckon(outlook, decisions)
        whole = before.copy()
        whole[now : now + count] = outcome.import_kw[0]
        total_eur = float(objective_eur(outlook, outcome)[0] + period.charge.fees_eur(period.billed_kw(whole)))
        held = bool((outcome.import_kw[0] <= cap + SLACK_KW).all())
        return total_eur, peak_kw if held else -peak_kw

    return min(_worth_trying(period, outlook, before, now), key=preference)


def kept_kwh(net_kw: Array, peak_kw: float, battery: Battery, step_h: float) -> Array:
    """What is to be in store above the band's edge at the end of each interval, so that a peak can be held, shape (T,).

    As much as every day to come would have needed if it were like one of the past, but for the worst of them: energy
    that a spike takes beyond the peak, less what may be charged under it meanwhile. A plan on a mean forecast would
    begin such a day with an empty store.

    Args:
        net_kw: Load less PV of the last days, each beginning at this time of day, shape (D, T).
        peak_kw: What import is held to.
        battery: The battery.
        step_h: Length of an interval [h].
    """
    if len(net_kw) < FEWEST_DAYS:
        return np.zeros(net_kw.shape[1])
    most_kwh = (battery.max_soc - battery.min_soc) * battery.capacity_kwh
    beyond_kw = net_kw.ravel() - peak_kw
    eta_in, eta_out = battery.charge_efficiency, battery.discharge_efficiency
    taken_kwh = np.where(beyond_kw > 0, beyond_kw / eta_out, beyond_kw * eta_in) * step_h
    needed = np.zeros(len(taken_kwh))
    for t in range(len(taken_kwh) - 1, 0, -1):
        needed[t - 1] = min(max(needed[t] + taken_kwh[t], 0.0), most_kwh)
    return np.quantile(needed.reshape(net_kw.shape), HELD_ON, axis=0)


def _worth_trying(period: PeakPeriod, outlook: ProblemStack, before: Array, now: int) -> list[float]:
    """Peaks of the days to come that could be the cheapest, rising."""
    if not period.charge.steps_eur:
        free, _ = storage_dp.solve(outlook)
        peak_kw = float(reckon(outlook, free).import_kw.max(initial=0.0))
        return [share * peak_kw for share in TRIED]
    highest_kw = float(outlook.most_import_kw.max() + outlook.idle_over_import_kw.max())
    bounds = [highest_kw if bound is None else bound for bound, _ in period.charge.steps_eur]
    ahead = slice(now, now + len(outlook.index))
    return [_highest_kw(period, before, ahead, bound, highest_kw) for bound in bounds]


def _highest_kw(period: PeakPeriod, before: Array, ahead: slice, bound: float, most: float) -> float:
    """The highest peak that all days to come may have so that no more than `bound` is billed; 0 where none may."""
    low, high = 0.0, most
    for _ in range(BISECTIONS):
        tried = (low + high) / 2
        whole = before.copy()
        whole[ahead] = tried
        low, high = (tried, high) if period.billed_kw(whole) <= bound else (low, tried)
    return low
