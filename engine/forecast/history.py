"""The past as arrays, and the one place that decides what of it a decision may see."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array, Mask, is_count
from engine.errors import InputError
from engine.forecast.series import Forecasts, Observed

Positions = npt.NDArray[np.int64]
ONE_DAY = pd.Timedelta(days=1)
SATURDAY = 5
# A site that has been away for longer than this begins anew.
OLDEST_DAYS = 28


@dataclass(frozen=True, eq=False)
class History:
    """One call of a forecaster on a grid of P intervals: the observed ones and those that are forecast.

    Arrays over P hold the future too; `newest_known` keeps it from decisions.
    """

    observed: Observed
    index: pd.DatetimeIndex
    """Starts of the intervals [UTC], shape (P,)."""
    usable: Array
    """Observed powers [kW], NaN where missing, excluded or not yet observed, shape (P,)."""
    decisions: pd.DatetimeIndex
    """In UTC, shape (D,)."""
    at: Positions
    """Interval that starts at each decision, shape (D,)."""
    known: Positions
    """How many of the first intervals are known at each decision, shape (D,)."""
    steps: int

    @classmethod
    def read(cls, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> History:
        """Lay decisions over what was observed.

        Raises:
            InputError: A decision is naive, off the grid or before it, or `steps` is no count.
        """
        if not is_count(steps):
            raise InputError("steps", f"value {steps!r} is not 1 or more", "give the number of intervals")
        if not isinstance(decisions, pd.DatetimeIndex) or decisions.tz is None or decisions.hasnans:
            raise InputError("decisions", "they are not aware times", "give a DatetimeIndex with a zone")
        decisions = decisions.tz_convert("UTC").as_unit("ns")
        since = decisions.asi8 - observed.index[0].value
        at, off = np.divmod(since, observed.step.value)
        wrong = (off != 0) | (at < 0)
        if wrong.any():
            raise InputError(
                "decisions",
                f"{decisions[int(wrong.argmax())].isoformat()} is not at or after {observed.index[0].isoformat()} "
                f"on its grid of {observed.step}",
                "decide where an observed interval starts",
            )
        count = max(len(observed.index), int(at.max(initial=0)) + steps)
        index = pd.date_range(observed.index[0], periods=count, freq=observed.step, unit="ns")
        usable = np.full(count, np.nan)
        usable[: len(observed.index)] = observed.values
        if observed.excluded is not None:
            usable[: len(observed.index)][observed.excluded.to_numpy()] = np.nan
        known = np.clip((since - observed.delay.value) // observed.step.value, 0, count)
        return cls(observed, index, usable, decisions, at, known, steps)

    @property
    def day(self) -> int:
        """Intervals in 24 hours."""
        return int(ONE_DAY // self.observed.step)

    @cached_property
    def wall(self) -> pd.DatetimeIndex:
        """What the local clock shows at each start, shape (P,)."""
        return self.index.tz_convert(self.observed.timezone).tz_localize(None)

    @cached_property
    def weekend(self) -> Mask:
        """Whether the local day is a Saturday or Sunday, shape (P,)."""
        return np.asarray(self.wall.day_of_week >= SATURDAY)

    @cached_property
    def most_days(self) -> int:
        """So many days back everything is known for all that is forecast, an hour put forward included."""
        furthest = int((self.at - self.known).max(initial=0)) + self.steps
        return (furthest + self.day // 24) // self.day + 1

    def weather(self, column: str) -> Array:
        """One column of the weather, NaN where there is none, shape (P,)."""
        series = np.full(len(self.index), np.nan)
        weather = self.observed.weather
        if weather is not None and column in weather:
            series[: len(weather)] = weather[column]
        return series

    def days_before(self, days: int) -> Positions:
        """The interval that the local clock showed at the same time so many days ago, shape (P,); negative: none."""
        plain = np.arange(len(self.index)) - days * self.day
        return np.asarray(plain + self._ahead_of_utc - self._ahead_of_utc[np.maximum(plain, 0)])

    @cached_property
    def _ahead_of_utc(self) -> Positions:
        """By how many intervals the local clock is ahead, shape (P,)."""
        return np.asarray((self.wall.asi8 - self.index.asi8) // self.observed.step.value)

    def values_at(self, positions: Positions) -> Array:
        """Usable powers at some intervals [kW], NaN before the first."""
        return np.where(positions >= 0, self.usable[np.maximum(positions, 0)], np.nan)

    def windows(self, series: npt.NDArray[Any], rows: slice | Positions = slice(None)) -> npt.NDArray[Any]:
        """What a series over P is in the forecast intervals of some decisions, as a new array of shape (D, H)."""
        return np.lib.stride_tricks.sliding_window_view(series, self.steps)[self.at[rows]]

    def newest_known(self, by_age: Array, rows: slice | Positions = slice(None)) -> Array:
        """Take for each forecast interval the figure that leans on the newest days known at its decision.

        Args:
            by_age: Shape (M, P); row m may lean on what is `days_before(m + 1)` and on anything before that.
            rows: Which decisions.

        Returns:
            Shape (D, H); NaN where no row is old enough.
        """
        chosen = self.windows(by_age[0], rows)
        for days in range(1, len(by_age) + 1):
            late = self.windows(self.days_before(days), rows) >= self.known[rows, np.newaxis]
            older = self.windows(by_age[days], rows) if days < len(by_age) else np.nan
            np.copyto(chosen, older, where=late)
        return chosen

    def forecasts(self, mean_kw: Array) -> Forecasts:
        """What a forecaster hands back: no power below 0, shape (D, H)."""
        return Forecasts(self.decisions, self.observed.step, np.maximum(mean_kw, 0.0))
