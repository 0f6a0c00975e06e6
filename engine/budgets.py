"""Cycle budgets: how much energy may be taken from the store in a calendar period."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.assets import Site
from engine.strategy import Strategy


@dataclass(frozen=True)
class CycleBudget:
    """One period of a horizon; intervals `first` to before `last`."""

    period: str
    first: int
    last: int
    limit_kwh: float
    """Most energy taken from the store, discharge losses included [kWh]."""

    def used_kwh(self, taken_kwh: npt.NDArray[np.float64]) -> float:
        """How much of it a plan uses, given the energy taken from the store per interval [kWh]."""
        return float(taken_kwh[self.first : self.last].sum())


def cycle_budgets(strategy: Strategy, site: Site, index: pd.DatetimeIndex) -> tuple[CycleBudget, ...]:
    """Lay a strategy's budgets on the local calendar of a horizon.

    Args:
        strategy: Cycles per day and year, and how many of them are used.
        site: Capacity and time zone.
        index: Starts of the intervals [UTC].
    """
    local = index.tz_convert(site.timezone)
    wanted = (
        ("day", strategy.cycles_per_day, strategy.cycles_today_so_far, local.date),
        ("year", strategy.cycles_per_year, strategy.cycles_this_year_so_far, local.year),
    )
    budgets = []
    for period, cycles, used, names in wanted:
        if cycles is None:
            continue
        codes = pd.factorize(pd.Index(names))[0]
        bounds = [0, *(np.flatnonzero(np.diff(codes)) + 1).tolist(), len(index)]
        for number, (first, last) in enumerate(itertools.pairwise(bounds)):
            left = max(0.0, cycles - used) if number == 0 else cycles
            budgets.append(CycleBudget(period, first, last, left * site.battery.capacity_kwh))
    return tuple(budgets)
