"""What is known of the days of a market, and what to take for a day that nobody publishes."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from sqlalchemy import select

from adapters.feeds.contract import DayPrices, Kind, Side
from adapters.feeds.markets import Market
from engine.prices import PriceCurve
from schedules.store import Database, MarketDayRow

ONE_DAY = dt.timedelta(days=1)
# Longer ago nothing is similar any more [days].
LOOKED_BACK = 28
MONDAY, SATURDAY = 0, 5
CurvesOfDay = dict[Kind, PriceCurve]


def keep(db: Database, market_id: int, prices: DayPrices, begins_at: dt.datetime, estimated: bool = False) -> None:
    """Put the prices of a day beside what was known of it before."""
    index = prices.index
    with db.write() as session:
        session.add(
            MarketDayRow(
                market_id=market_id,
                day=prices.day,
                begins_at=begins_at,
                step_s=(index[1] - index[0]).total_seconds(),
                curves=[
                    {"side": side.value, "currency": currency, "values": curve.series.tolist()}
                    for (side, currency), curve in prices.curves.items()
                ],
                source=prices.source,
                estimated=estimated,
                known_at=prices.known_at,
            )
        )


def known(db: Database, market_id: int, days: Sequence[dt.date]) -> dict[dt.date, MarketDayRow]:
    """The newest prices of each of some days, published ones before estimates; days without any are left out."""
    with db.session() as session:
        rows = session.scalars(
            select(MarketDayRow)
            .where(MarketDayRow.market_id == market_id, MarketDayRow.day.in_(days))
            .order_by(MarketDayRow.estimated.desc(), MarketDayRow.id)
        )
        return {row.day: row for row in rows}


def published(db: Database, market_id: int, area: str, day: dt.date) -> DayPrices | None:
    """A day as it was published; None: it was not."""
    row = known(db, market_id, [day]).get(day)
    if row is None or row.estimated:
        return None
    return DayPrices(row.source, area, day, curves(row), row.known_at)


def curves(row: MarketDayRow) -> CurvesOfDay:
    """Stored prices as curves."""
    step = pd.Timedelta(seconds=row.step_s)
    found = {}
    for each in row.curves:
        index = pd.date_range(row.begins_at, periods=len(each["values"]), freq=step, name="start")
        found[Side(each["side"]), each["currency"]] = PriceCurve(pd.Series(each["values"], index), each["currency"])
    return found


def estimate(
    db: Database, market_id: int, area: str, market: Market, day: dt.date, known_at: dt.datetime
) -> DayPrices | None:
    """The prices of a similar earlier day in place of those that nobody has published.

    Which is similar: on Tuesdays to Fridays the day before, on other days the same one a week ago (the naive similar
    day of Nogales and others, 2002); where that was not published, the latest of the same kind, else the latest.

    Returns:
        Each interval at the price of the same time of day by the market's clock; None where no day was published in
        the last four weeks.
    """
    earlier = [day - back * ONE_DAY for back in range(1, LOOKED_BACK + 1)]
    rows = {each: row for each, row in known(db, market_id, earlier).items() if not row.estimated}
    if not rows:
        return None
    first_choice = day - ONE_DAY if MONDAY < day.weekday() < SATURDAY else day - 7 * ONE_DAY
    is_weekend = day.weekday() >= SATURDAY
    alike = [each for each in rows if (each.weekday() >= SATURDAY) == is_weekend]
    chosen = first_choice if first_choice in rows else max(alike or rows)
    found = {kind: _by_the_clock(curve, market, day) for kind, curve in curves(rows[chosen]).items()}
    return DayPrices(f"as on {chosen}", area, day, found, known_at)


def _by_the_clock(curve: PriceCurve, market: Market, day: dt.date) -> PriceCurve:
    """A day's prices laid on another day's wall clock; the hour that a clock change adds costs what it did before."""
    wanted = market.index(day)
    prices = pd.Series(curve.series.to_numpy(), _minutes(curve.index, market.zone))
    prices = prices[~prices.index.duplicated()].sort_index()
    return PriceCurve(
        pd.Series(prices.reindex(_minutes(wanted, market.zone), method="ffill").to_numpy(), wanted), curve.currency
    )


def _minutes(index: pd.DatetimeIndex, zone: str) -> npt.NDArray[np.int64]:
    """Minutes since midnight as the wall clock shows them."""
    wall = index.tz_convert(zone)
    return np.asarray(wall.hour * 60 + wall.minute, dtype=np.int64)
