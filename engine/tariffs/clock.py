"""The customer's clock: which local date and minute every interval starts at.

Tariffs are written in local wall-clock time. Every instant is converted to the zone for itself; nothing counts hours
from midnight, so the hour that is left out in spring has no price and the hour that comes twice in autumn has two.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import InputError
from engine.timeline import step_hours

BoolArray = npt.NDArray[np.bool_]
MINUTES_PER_DAY = 24 * 60
FRIDAY = 4


@dataclass(frozen=True, eq=False)
class LocalClock:
    """Local dates and minutes of the starts of T intervals; arrays of shape (T,)."""

    index: pd.DatetimeIndex
    """Starts of the intervals [UTC]."""
    wall: pd.DatetimeIndex
    """The same starts as the wall clock shows them, without a zone."""
    step_minutes: int
    """Length of an interval [min]."""
    holidays: frozenset[dt.date]
    """Local dates that the contract treats as public holidays."""

    @classmethod
    def read(cls, index: pd.DatetimeIndex, timezone: str, holidays: frozenset[dt.date]) -> LocalClock:
        """Convert every start to the zone.

        Args:
            index: Starts of regular intervals [UTC]; shape (T,).
            timezone: IANA name of the customer's zone.
            holidays: Local dates that the contract treats as public holidays.

        Raises:
            InputError: There is one interval only and its index carries no `freq` that tells its length.
        """
        return cls(index, wall_clock(index, timezone), round(step_hours(index) * 60), holidays)

    @property
    def minutes(self) -> npt.NDArray[np.int64]:
        """Minutes since local midnight as the wall clock shows them: 0 to 1439."""
        return np.asarray(self.wall.hour * 60 + self.wall.minute, dtype=np.int64)

    @property
    def months(self) -> npt.NDArray[np.int64]:
        """Local months, 1 to 12."""
        return np.asarray(self.wall.month, dtype=np.int64)

    @property
    def monday_to_friday(self) -> BoolArray:
        """Whether the local date is a Monday to Friday, holiday or not."""
        return np.asarray(self.wall.day_of_week <= FRIDAY)

    @property
    def holiday(self) -> BoolArray:
        """Whether the local date is one of the holidays.

        Raises:
            InputError: A year has no holiday listed, so nobody can tell.
        """
        listed = {date.year for date in self.holidays}
        unlisted = ~np.isin(self.wall.year, list(listed))
        if unlisted.any():
            first = self.wall[unlisted][0]
            raise InputError("holidays", f"none are listed for {first.year}", "list the public holidays of every year")
        return np.asarray(self.wall.normalize().isin(pd.DatetimeIndex(sorted(self.holidays))))

    def at(self, chosen: BoolArray) -> LocalClock:
        """The clock of some of the intervals only; `chosen` has shape (T,)."""
        return LocalClock(self.index[chosen], self.wall[chosen], self.step_minutes, self.holidays)

    def between(self, first: dt.date | None, end: dt.date | None) -> BoolArray:
        """Whether the local date lies in [first, end); None is no bound."""
        inside = np.ones(len(self.wall), dtype=np.bool_)
        if first is not None:
            inside &= np.asarray(self.wall >= pd.Timestamp(first))
        if end is not None:
            inside &= np.asarray(self.wall < pd.Timestamp(end))
        return inside

    def refuse_straddled(self, name: str, edges: Iterable[int]) -> None:
        """Refuse intervals so long that a price would change inside them.

        Args:
            name: The component whose price changes.
            edges: Minutes since local midnight at which it may change.

        Raises:
            InputError: Naming the first interval with an edge inside.
        """
        for edge in sorted(edges):
            into = (edge - self.minutes) % MINUTES_PER_DAY
            inside = (into > 0) & (into < self.step_minutes)
            if inside.any():
                raise InputError(
                    "step",
                    f"{name} changes at {edge // 60:02}:{edge % 60:02} local time, inside the {self.step_minutes} min "
                    f"interval from {stamp(self.index[inside][0])}",
                    "hold the price to a finer step, for example .hold('15min')",
                )


def wall_clock(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """What a clock on the customer's wall shows at every instant, without a zone; shape (T,)."""
    return index.tz_convert(timezone).tz_localize(None)


def stamp(time: pd.Timestamp) -> str:
    """An instant as errors spell it: 2025-03-30T01:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
