"""Prices by local time: windows of the day, bands of windows, and dated price sheets."""

from __future__ import annotations

import datetime as dt
import re
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from engine.arrays import Array
from engine.errors import InputError
from engine.tariffs.clock import MINUTES_PER_DAY, BoolArray, IntArray, LocalClock

Money = Annotated[float, Field(allow_inf_nan=False)]
Month = Annotated[int, Field(ge=1, le=12)]
DayKind = Literal["every day", "Monday-Friday", "Saturday-Sunday", "working day", "day of rest"]
"""`working day` is Monday to Friday without public holidays, `day of rest` any other; the tariff lists the holidays."""

ALL_MONTHS = tuple(range(1, 13))
_WINDOW = re.compile(r"([01]\d|2[0-3]):([0-5]\d)-(?:([01]\d|2[0-3]):([0-5]\d)|24:00)")


class Frozen(BaseModel):
    """Base of the tariff models: immutable, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Window:
    """Hours of the local day, [start, end); over midnight where the end is not after the start."""

    start: int
    """Minutes since local midnight, 0 to 1439."""
    end: int
    """Minutes since local midnight; 0 is the end of the day."""

    @classmethod
    def parse(cls, text: str) -> Window:
        """Read ``"17:00-21:00"``, ``"22:00-06:00"`` or ``"21:00-24:00"``.

        Raises:
            ValueError: The text is no window.
        """
        match = _WINDOW.fullmatch(text)
        if match is None:
            raise ValueError(f"value {text!r} is no window of the day; write one like '17:00-21:00'")
        start_hour, start_minute, end_hour, end_minute = map(int, match.groups(default="0"))
        start, end = start_hour * 60 + start_minute, end_hour * 60 + end_minute
        if start == end and text != "00:00-24:00":
            raise ValueError(f"value {text!r} ends where it starts; for the whole day leave the hours out")
        return cls(start, end)

    def holds(self, minutes: IntArray) -> BoolArray:
        """Whether each minute since local midnight lies in the window; shape (T,)."""
        length = (self.end - self.start) % MINUTES_PER_DAY or MINUTES_PER_DAY
        return np.asarray((minutes - self.start) % MINUTES_PER_DAY < length)


def _is_window(text: str) -> str:
    Window.parse(text)
    return text


Hours = tuple[Annotated[str, AfterValidator(_is_window)], ...]
"""Windows of the local day, [start, end), as ``"17:00-21:00"``; ``"22:00-06:00"`` goes over midnight."""
SomeHours = Annotated[Hours, Field(min_length=1)]
"""The same, where none would not mean the whole day."""


def minutes_held(hours: Hours) -> BoolArray:
    """Whether each minute since local midnight lies in one of the windows; shape (1440,)."""
    minutes = np.arange(MINUTES_PER_DAY)
    return np.asarray(np.any([Window.parse(text).holds(minutes) for text in hours], axis=0))


class Band(Frozen):
    """One price at some times: red band, low tariff, evening peak."""

    price: Money
    """[currency/kWh]"""
    hours: Hours = ()
    """Windows of the local day; none is the whole day."""
    months: tuple[Month, ...] = ALL_MONTHS
    """Local months."""
    days: DayKind = "every day"
    """Kind of the local date on which the interval starts, also in a window over midnight."""

    def holds(self, clock: LocalClock) -> BoolArray:
        """Whether the band is in force in each interval; shape (T,).

        Raises:
            InputError: The band asks for holidays and a year has none listed.
        """
        inside = np.isin(clock.months, self.months)
        if self.hours:
            inside &= minutes_held(self.hours)[clock.minutes]
        if self.days in ("Monday-Friday", "working day"):
            inside &= clock.monday_to_friday
        elif self.days == "Saturday-Sunday":
            inside &= ~clock.monday_to_friday
        if self.days == "working day":
            inside &= ~clock.holiday
        elif self.days == "day of rest":
            inside &= ~clock.monday_to_friday | clock.holiday
        return inside


class Rates(Frozen):
    """A price sheet: one price, other prices in bands, and the local dates from which until which it holds.

    Raises:
        pydantic.ValidationError: The sheet ends before it begins.
    """

    standard: Money
    """Price outside all bands [currency/kWh]."""
    bands: tuple[Band, ...] = ()
    """No two may hold at the same time."""
    valid_from: dt.date | None = None
    """First local date; None is no bound."""
    valid_to: dt.date | None = None
    """The local date after the last; None is no bound, so write it as soon as it is known."""

    @model_validator(mode="after")
    def _begins_before_it_ends(self) -> Self:
        if self.valid_from is not None and self.valid_to is not None and self.valid_from >= self.valid_to:
            raise ValueError(
                f"valid_from {self.valid_from} is not before valid_to {self.valid_to}; "
                "valid_to is the date after the last"
            )
        return self

    @property
    def edges(self) -> set[int]:
        """Minutes since local midnight at which the price may change."""
        windows = [Window.parse(text) for band in self.bands for text in band.hours]
        midnight = {0} if self.bands or self.valid_from or self.valid_to else set()
        return midnight | {edge for window in windows for edge in (window.start, window.end)}

    def prices(self, clock: LocalClock) -> Array:
        """Price in each interval, whether the sheet is valid then or not [currency/kWh]; shape (T,).

        Raises:
            InputError: Two bands hold at once, or a band asks for holidays that are not listed.
        """
        prices = np.full(len(clock), self.standard)
        taken = np.zeros(len(clock), dtype=np.bool_)
        for band in self.bands:
            holds = band.holds(clock)
            if (taken & holds).any():
                raise InputError(
                    "bands",
                    f"two hold at {clock.first(taken & holds)}",
                    "let windows, months or days exclude each other",
                )
            prices[holds] = band.price
            taken |= holds
        return prices
