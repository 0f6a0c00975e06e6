"""The job that fetches the weather at sites whose location is known, for forecasts to be made of it.

Sites within a kilometre share a question, and nobody is told more exactly where they are.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import dataclass, field

from sqlalchemy import func, select

from adapters.contract import AdapterError, Clock
from adapters.feeds.contract import WeatherFeed
from adapters.feeds.open_meteo.client import OpenMeteo
from adapters.feeds.open_meteo.client import Settings as OpenMeteoSettings
from schedules import inputs
from schedules.settings import Settings
from schedules.store import Database, SeriesRow, SiteRow

# Places are told to a hundredth of a degree.
DIGITS = 2
# Models of the weather are run anew so often.
EVERY = dt.timedelta(hours=3)
AHEAD = dt.timedelta(hours=48)
# What is learnt from when a site is new; the service has it back to three months.
LOOKED_BACK = dt.timedelta(days=57)
PLACES_AT_ONCE = 8
LONGEST_ASK_S, LONGEST_S = 15.0, 45.0
HOUR = dt.timedelta(hours=1)

Place = tuple[float, float]


@dataclass
class Report:
    """What a run did."""

    places: int = 0
    """Places that were told of."""
    sites: int = 0
    """Sites that have newer weather."""
    refused: list[str] = field(default_factory=list)


def feed_of(settings: Settings, clock: Clock) -> WeatherFeed:
    """The source that is set; nothing is contacted."""
    address, key = settings.weather_url, settings.weather_key
    given = {"base_url": address, "archive_url": address} if address else {}
    told = OpenMeteoSettings.model_validate({**given, "api_key": key if key.get_secret_value() else None})
    return OpenMeteo(told, clock)


async def fetch(db: Database, clock: Clock, feed: WeatherFeed) -> Report:
    """Ask for the weather at all places where it is older than three hours; what cannot be had stays as it was.

    Args:
        db: The store.
        clock: The time.
        feed: Whom to ask; closed afterwards.
    """
    report, due, at_once = Report(), _due(db, clock()), asyncio.Semaphore(PLACES_AT_ONCE)

    async def one(place: Place, sites: dict[int, dt.datetime | None]) -> None:
        async with at_once:
            now = clock().replace(minute=0, second=0, microsecond=0)
            # From the last answer on, so that the past has no holes; for a new site as far as forecasts look back.
            since = min((known_at or now - LOOKED_BACK for known_at in sites.values()), default=now)
            begin = max(since.replace(minute=0, second=0, microsecond=0), now - LOOKED_BACK)
            try:
                async with asyncio.timeout(LONGEST_ASK_S):
                    weather = await feed.forecast(*place, begin, now + AHEAD)
            except TimeoutError:
                report.refused.append(f"{place}: no answer within {LONGEST_ASK_S:g} s")
                return
            except AdapterError as error:
                report.refused.append(f"{place}: {error}")
                return
        report.places += 1
        for site_id in sites:
            inputs.publish(db, clock, weather.frame[list(inputs.WEATHER)], site_id)
            report.sites += 1

    try:
        async with asyncio.timeout(LONGEST_S):
            await asyncio.gather(*(one(*each) for each in due.items()))
    except TimeoutError:
        report.refused.append(f"the others have to wait: {LONGEST_S:g} s are over")
    finally:
        await feed.close()
    return report


def _due(db: Database, now: dt.datetime) -> dict[Place, dict[int, dt.datetime | None]]:
    """The sites whose weather is due by place, and when they were last told; the longest ago first."""
    known = (
        select(SeriesRow.site_id, func.max(SeriesRow.known_at).label("at"))
        .where(SeriesRow.name.in_(inputs.WEATHER))
        .group_by(SeriesRow.site_id)
        .subquery()
    )
    sites = (
        select(SiteRow.id, SiteRow.assets, known.c.at)
        .outerjoin(known, known.c.site_id == SiteRow.id)
        .where(SiteRow.account_id.is_not(None))
        .order_by(known.c.at.is_not(None), known.c.at, SiteRow.id)
    )
    found: dict[Place, dict[int, dt.datetime | None]] = {}
    with db.session() as session:
        for site_id, assets, known_at in session.execute(sites):
            location = assets.get("location")
            # A time ahead of now is of a clock that was set back since.
            if location is None or (known_at is not None and now - EVERY < known_at <= now):
                continue
            place = (round(location[0], DIGITS), round(location[1], DIGITS))
            found.setdefault(place, {})[site_id] = known_at
    return found
