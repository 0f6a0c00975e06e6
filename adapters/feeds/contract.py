"""What a feed gives, and why it may be refused.

Above this line prices are per kWh in a named currency on a UTC index, weather is in SI units with its unit in the name.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, runtime_checkable

import pandas as pd

from adapters.contract import AdapterError
from engine.prices import PriceCurve

WEATHER_COLUMNS = ("ghi_w_per_m2", "dni_w_per_m2", "dhi_w_per_m2", "temperature_c", "wind_m_per_s")


class Fault(Enum):
    """What is the matter with an answer."""

    LATE = "late"
    """Nothing of what was asked for is there yet."""
    PARTIAL = "partial"
    """Some of it is missing."""
    DUPLICATED = "duplicated"
    """An interval is there twice."""
    WRONG_RESOLUTION = "wrong resolution"
    WRONG_AREA = "wrong area"
    IMPLAUSIBLE = "implausible"
    """It is all there and cannot be true: beyond the market's limits, yesterday's once more, in another unit."""
    UNREACHABLE = "unreachable"
    """The source does not answer, or answers nonsense."""


class FeedError(AdapterError):
    """A feed's answer that is not taken; what was known before stays as it is.

    Attributes:
        fault: What is the matter.
    """

    retryable = True  # a later answer may be sound

    def __init__(self, fault: Fault, text: str) -> None:
        super().__init__(fault, text)  # both, so that it can be stored and come back
        self.fault = fault

    def __str__(self) -> str:
        return f"{self.fault.value}: {self.args[1]}"


class Side(Enum):
    """What a price is the price of."""

    SPOT = "spot"
    """The market's, which a contract makes something of."""
    IMPORT = "import"
    """All that a bought kWh costs."""
    EXPORT = "export"
    """All that a sold kWh earns."""


Kind = tuple[Side, str]
"""What a price is of, and its currency (ISO 4217)."""


@dataclass(frozen=True)
class DayPrices:
    """The prices of one market day, accepted: whole, in order, finite and plausible."""

    source: str
    area: str
    day: dt.date
    """By the market's calendar."""
    curves: Mapping[Kind, PriceCurve]
    """Each on the day's index [currency/kWh]."""
    known_at: dt.datetime
    """When they became known, by our clock."""

    @property
    def index(self) -> pd.DatetimeIndex:
        """Starts of the day's intervals [UTC]."""
        return next(iter(self.curves.values())).index


@runtime_checkable
class PriceFeed(Protocol):
    """A source of day-ahead prices."""

    async def day_ahead(self, area: str, day: dt.date, before: DayPrices | None = None) -> DayPrices:
        """The prices of one day.

        Args:
            area: Bidding zone or region, as the source's market has it.
            day: By the market's calendar.
            before: What is known of the day before; prices that repeat it are refused.

        Raises:
            FeedError: They are not there, or cannot be trusted; says why.
            ConfigurationError: The source knows no such area, or refuses our credentials.
        """
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...


@dataclass(frozen=True)
class Weather:
    """Weather at a place, as it was forecast or as it was."""

    source: str
    frame: pd.DataFrame
    """`WEATHER_COLUMNS` on a regular UTC index, each the mean over [start, end)."""
    known_at: dt.datetime
    """When it became known, by our clock."""


@runtime_checkable
class WeatherFeed(Protocol):
    """A source of weather."""

    async def forecast(self, latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime) -> Weather:
        """What is expected in [begin, end), full hours.

        Args:
            latitude: [degrees, + north]
            longitude: [degrees, + east]
            begin: Aware.
            end: Aware.

        Raises:
            FeedError: It is not there, or cannot be true.
        """
        ...

    async def archive(self, latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime) -> Weather:
        """What it was in [begin, end); arguments and errors as for `forecast`."""
        ...

    async def close(self) -> None:
        """Let go of connections."""
        ...
