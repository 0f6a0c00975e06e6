"""Markets: their days, when results are out, how long an interval lasts, and between which prices.

Coupled European markets (SDAC) auction the calendar day of Central Europe, whatever the local clock of a zone; so does
the wholesale auction behind Agile Octopus, whose prices come from 23:00 to 23:00 British time. A day has 23, 24 or 25
hours of it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Literal
from zoneinfo import ZoneInfo

import pandas as pd

from adapters.contract import ConfigurationError
from engine.timeline import local_day

HOUR, HALF_HOUR, QUARTER = (pd.Timedelta(minutes=minutes) for minutes in (60, 30, 15))
QUARTERS_FROM = dt.date(2025, 10, 1)
"""First day that SDAC auctioned in quarters of an hour."""

AREAS = {
    "AT": "10YAT-APG------L",
    "BE": "10YBE----------2",
    "DE_LU": "10Y1001A1001A82H",
    "DK1": "10YDK-1--------W",
    "DK2": "10YDK-2--------M",
    "FI": "10YFI-1--------U",
    "FR": "10YFR-RTE------C",
    "NL": "10YNL----------L",
    "NO1": "10YNO-1--------2",
    "NO2": "10YNO-2--------T",
    "PL": "10YPL-AREA-----S",
    "SE1": "10Y1001A1001A44P",
    "SE2": "10Y1001A1001A45N",
    "SE3": "10Y1001A1001A46L",
    "SE4": "10Y1001A1001A47J",
}
"""Bidding zones of SDAC with their codes at ENTSO-E (EIC)."""


@dataclass(frozen=True)
class Limits:
    """Between which a price per kWh can be true in one currency."""

    least: float
    most: float
    least_peak: float
    """A day whose largest price, either sign, is below this is in another unit."""


@dataclass(frozen=True)
class Market:
    """A day-ahead market."""

    name: Literal["sdac", "agile"]
    zone: str
    """IANA name of the zone of its days and times."""
    opens: dt.time
    """On the day before, results may be there from now on."""
    late: dt.time
    """Results that are not there by now are late."""
    areas: frozenset[str]
    limits: dict[str, Limits]
    """By currency; prices in another are refused."""

    def step(self, day: dt.date) -> pd.Timedelta:
        """How long an interval lasts on a day."""
        if self.name == "agile":
            return HALF_HOUR
        return QUARTER if day >= QUARTERS_FROM else HOUR

    def index(self, day: dt.date) -> pd.DatetimeIndex:
        """Starts of a day's intervals [UTC]: 92, 96 or 100 quarters, 46, 48 or 50 half-hours, 23, 24 or 25 hours."""
        return local_day(day, self.zone, self.step(day))

    def begin(self, day: dt.date) -> dt.datetime:
        """When a day begins [UTC]."""
        return self.at(day, dt.time())

    def at(self, day: dt.date, time: dt.time) -> dt.datetime:
        """A time of the market's clock [UTC]."""
        return dt.datetime.combine(day, time, ZoneInfo(self.zone)).astimezone(dt.UTC)

    def day_of(self, moment: dt.datetime) -> dt.date:
        """The market day that a moment falls in."""
        return moment.astimezone(ZoneInfo(self.zone)).date()

    def require(self, area: str, source: str) -> None:
        """See that an area is one of the market's.

        Raises:
            ConfigurationError: It is not.
        """
        if area not in self.areas:
            raise ConfigurationError(
                f"{source}: area {area!r} is unknown; choose one of {', '.join(sorted(self.areas))}"
            )


# Harmonised limits of SDAC since May 2022: -500 to 4000 EUR/MWh; they move by themselves, by 100 down and by 1000 up,
# after days that come near them, so one such step more is taken. A largest price below 0.5 EUR/MWh was on none of
# 6800 days of European zones from 2016 to 2024; the smallest was 2.14.
_EUR = Limits(-0.6, 5.0, 0.0005)
SDAC = Market(
    name="sdac",
    zone="Europe/Brussels",
    opens=dt.time(12, 50),
    late=dt.time(15, 30),
    areas=frozenset(AREAS),
    limits={"EUR": _EUR, "DKK": Limits(*(7.46 * bound for bound in (_EUR.least, _EUR.most, _EUR.least_peak)))},
)
# Agile is capped at 1 GBP/kWh with VAT, and has no floor of its own; it was never below 0.20 under zero. The prices of
# a day are out between 16:00 and 20:00 British time, which is an hour behind.
AGILE = Market(
    name="agile",
    zone="Europe/Brussels",
    opens=dt.time(17, 0),
    late=dt.time(21, 0),
    areas=frozenset("ABCDEFGHJKLMNP"),
    limits={"GBP": Limits(-1.0, 1.05, 0.01)},
)
