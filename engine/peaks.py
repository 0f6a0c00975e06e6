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
from engine.decisions import objective_eur, reckon
from engine.demand import PeakPeriod
from engine.problem import ProblemStack
from engine.storage_dp import Steering

# What a battery that is told a power misses of a peak it plans to hold.
MARGIN = 0.05
# Prices to come are taken to be those of so long ago, and loads the mean since, where the history reaches back so far.
OUTLOOK_DAYS = 28
# Peaks that are tried besides the bounds of a charge's steps, relative to the one that nothing holds down.
TRIED = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
BISECTIONS = 40


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

    def total_eur(peak_kw: float) -> float:
        cap = np.where(counted, peak_kw * (1 - MARGIN), np.inf)
        decisions, pieces = storage_dp.solve(outlook, Steering(import_cap_kw=cap))
        if pieces[0] < 0:
            return np.inf
        outcome = reckon(outlook, decisions)
        whole = before.copy()
        whole[now : now + count] = outcome.import_kw[0]
        return float(objective_eur(outlook, outcome)[0] + period.charge.fees_eur(period.billed_kw(whole)))

    return min(_worth_trying(period, outlook, before, now), key=total_eur)


def _worth_trying(period: PeakPeriod, outlook: ProblemStack, before: Array, now: int) -> list[float]:
    """Peaks of the days to come that could be the cheapest, rising: of two of one cost the first is taken."""
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
