"""Cycle budgets: how much energy may be taken from the store in a calendar period."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask
from engine.strategy import Strategy

# Less of a budget is nothing [full cycles].
NOTHING_LEFT = 1e-6


@dataclass(frozen=True, eq=False)
class CycleBudget:
    """One period of a horizon; intervals `first` to before `last`."""

    period: str
    first: int
    last: int
    cycles: float
    """Most energy taken from the store, discharge losses included, over its capacity."""
    kwh: float | None = None
    """The same of a warranty in energy; cycles below 0 are what was used of it before the horizon [kWh]."""

    @property
    def name(self) -> str:
        """What it is a budget of."""
        return f"cycle budget of a {self.period}" if self.kwh is None else f"warranty pace of a {self.period}"

    def most_kwh(self, capacity_kwh: Array | float) -> Array:
        """Most energy that may be taken from stores of a capacity [kWh]."""
        return np.asarray(np.maximum(self.cycles * capacity_kwh + (self.kwh or 0.0), 0.0))

    def used_kwh(self, taken_kwh: Array) -> Array:
        """How much of it plans use, given the energy taken from the store per interval [kWh].

        A number, or of shape (N,) for energies of shape (N, T).
        """
        return np.asarray(taken_kwh[..., self.first : self.last].sum(axis=-1))

    def over_kwh(self, taken_kwh: Array, capacity_kwh: Array | float) -> Array:
        """By how much plans exceed it, negative where they keep it, in the shape of `used_kwh` [kWh]."""
        return self.used_kwh(taken_kwh) - self.most_kwh(capacity_kwh)


def spent(budgets: Sequence[CycleBudget], taken_kwh: Array, capacity_kwh: float) -> Mask:
    """Intervals at whose begin a plan has nothing left of a budget, shape (T,).

    Args:
        budgets: Of the plan's horizon.
        taken_kwh: What the plan takes from the store per interval, shape (T,) [kWh].
        capacity_kwh: Of the store.
    """
    found = np.zeros(len(taken_kwh), dtype=np.bool_)
    for budget in budgets:
        taken = taken_kwh[budget.first : budget.last]
        before = np.cumsum(taken) - taken
        found[budget.first : budget.last] |= before >= budget.most_kwh(capacity_kwh) - NOTHING_LEFT * capacity_kwh
    return found


@lru_cache(maxsize=32)
def cycle_budgets(
    strategy: Strategy, start: pd.Timestamp, intervals: int, step: pd.Timedelta, timezone: str
) -> tuple[CycleBudget, ...]:
    """Lay a strategy's budgets on the local calendar of a horizon.

    Args:
        strategy: Cycles per day and year, and how many of them are used.
        start: Start of the first interval [UTC].
        intervals: Number of intervals.
        step: Length of an interval.
        timezone: IANA name of the zone whose days and years are meant.
    """
    local = pd.date_range(start, periods=intervals, freq=step).tz_convert(timezone)
    days, pace = local.tz_localize(None).normalize(), strategy.pace_kwh_per_day
    wanted = (
        ("day", strategy.cycles_per_day, None, strategy.cycles_today_so_far, days),
        ("year", strategy.cycles_per_year, None, strategy.cycles_this_year_so_far, local.year),
        ("day", None if pace is None else 0.0, pace, strategy.cycles_today_so_far, days),
    )
    budgets = []
    for period, cycles, kwh, used, names in wanted:
        if cycles is None:
            continue
        codes = pd.factorize(names)[0]
        bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), intervals]
        for number, (first, last) in enumerate(itertools.pairwise(bounds)):
            budgets.append(CycleBudget(period, first, last, cycles - used if number == 0 else cycles, kwh))
    return tuple(budgets)


def counted(
    strategy: Strategy, begin: dt.datetime, timezone: str, cycles_since: Callable[[dt.datetime], float]
) -> Strategy:
    """A strategy that knows what is used of its budgets of cycles.

    Args:
        strategy: What is wanted.
        begin: Begin of the plan; the local day and year that it falls in are meant.
        timezone: IANA name of the site's zone.
        cycles_since: Full cycles from a local midnight to the begin.
    """
    midnight = local_midnight(begin, timezone)
    # A year is long to look through, and few have a budget for it.
    this_year = cycles_since(midnight.replace(month=1, day=1)) if strategy.cycles_per_year is not None else 0.0
    return strategy.model_copy(
        update={"cycles_today_so_far": cycles_since(midnight), "cycles_this_year_so_far": this_year}
    )


def local_midnight(time: dt.datetime, timezone: str) -> dt.datetime:
    """Begin of the local day that a time falls in."""
    return time.astimezone(ZoneInfo(timezone)).replace(hour=0, minute=0, second=0, microsecond=0)
