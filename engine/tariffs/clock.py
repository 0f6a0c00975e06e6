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
IntArray = npt.NDArray[np.int64]
Dates = npt.NDArray[np.datetime64]
MINUTES_PER_DAY = 24 * 60
SATURDAY = 5


@dataclass(frozen=True, eq=False)
class LocalClock:
    """What the wall clock shows at the starts of T intervals; arrays of shape (T,)."""

    starts: Dates
    """The instants [UTC]."""
    dates: Dates
    """Local dates."""
    minutes: IntArray
    """Minutes since local midnight as the wall clock shows them, 0 to 1439."""
    months: IntArray
    """Local months, 1 to 12."""
    monday_to_friday: BoolArray
    """Whether the local date is a Monday to Friday, holiday or not."""
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
        wall = wall_clock(index, timezone)
        return cls(
            starts=index.tz_localize(None).to_numpy(),
            dates=wall.to_numpy().astype("datetime64[D]"),
            minutes=(wall.hour * 60 + wall.minute).to_numpy(dtype=np.int64),
            months=wall.month.to_numpy(dtype=np.int64),
            monday_to_friday=wall.day_of_week.to_numpy() < SATURDAY,
            step_minutes=round(step_hours(index) * 60),
            holidays=holidays,
        )

    def __len__(self) -> int:
        return len(self.starts)

    def at(self, chosen: BoolArray) -> LocalClock:
        """The clock of some of the intervals only; `chosen` has shape (T,)."""
        return LocalClock(
            self.starts[chosen],
            self.dates[chosen],
            self.minutes[chosen],
            self.months[chosen],
            self.monday_to_friday[chosen],
            self.step_minutes,
            self.holidays,
        )

    @property
    def holiday(self) -> BoolArray:
        """Whether the local date is one of the holidays.

        Raises:
            InputError: A year has no holiday listed, so nobody can tell.
        """
        years = self.dates.astype("datetime64[Y]")
        listed = np.array(sorted(self.holidays), dtype="datetime64[D]")
        unlisted = ~np.isin(years, listed.astype("datetime64[Y]"))
        if unlisted.any():
            raise InputError(
                "holidays", f"none are listed for {years[unlisted][0]}", "list the public holidays of every year"
            )
        return np.isin(self.dates, listed)

    def between(self, first: dt.date | None, end: dt.date | None) -> BoolArray:
        """Whether the local date lies in [first, end); None is no bound."""
        inside = np.ones(len(self), dtype=np.bool_)
        if first is not None:
            inside &= self.dates >= np.datetime64(first)
        if end is not None:
            inside &= self.dates < np.datetime64(end)
        return inside

    def first(self, chosen: BoolArray) -> str:
        """The first of some of the intervals as errors spell it: 2025-03-30T01:00:00Z."""
        return stamp(pd.Timestamp(self.starts[chosen][0]))

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
                    f"interval from {self.first(inside)}",
                    "hold the price to a finer step, for example .hold('15min')",
                )


def wall_clock(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """What a clock on the customer's wall shows at every instant, without a zone; shape (T,)."""
    return index.tz_convert(timezone).tz_localize(None)


def stamp(time: pd.Timestamp) -> str:
    """An instant in UTC as errors spell it: 2025-03-30T01:00:00Z."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
