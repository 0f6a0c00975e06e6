"""Prices by hand: what is known of markets, and asking a source now."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from adapters.contract import AdapterError, Clock
from adapters.feeds.contract import DayPrices
from adapters.feeds.registry import open_feed
from engine.errors import InputError
from schedules import price_days, price_fetching, price_sources
from schedules.price_fetching import Report
from schedules.price_sources import OpenMarket
from schedules.seal import Sealer
from schedules.store import Database, MarketDayRow, MarketRow

ONE_DAY = dt.timedelta(days=1)


@dataclass(frozen=True)
class Asked:
    """What one source said of one day."""

    market: str
    source: str
    area: str
    day: dt.date
    prices: DayPrices | None
    refusal: str = ""
    kept: bool = False


@dataclass(frozen=True)
class KnownDay:
    """A day of a market as the store has it."""

    market: MarketRow
    row: MarketDayRow


def known_days(db: Database, market: str | None, days: Sequence[dt.date]) -> list[KnownDay]:
    """What is known of some days, market by market.

    Raises:
        InputError: There is no such market.
    """
    chosen = _chosen(db, market, None)
    return [KnownDay(row, found) for row in chosen for _, found in sorted(price_days.known(db, row.id, days).items())]


def fetch(
    db: Database, clock: Clock, source: str | None, area: str | None, day: dt.date | None, dry_run: bool
) -> tuple[list[Asked], Report]:
    """Ask the sources of the store's markets now; what is accepted is kept and given to the sites.

    A source and an area that no market of the store has are asked too, with the source's own address, in a dry run.

    Args:
        db: The store.
        clock: The time.
        source: This one only; None: all of each market, in turn, until one is accepted.
        area: Markets of this area only.
        day: By the market's calendar; None: those that plans need now.
        dry_run: Keep nothing.

    Raises:
        InputError: No market of the store is meant, and it is no dry run of a source and an area.
        ConfigurationError: A market's sources cannot be opened.
    """
    rows = _chosen(db, None, area)
    sealer = Sealer.from_environment() if rows else None
    opened = [price_sources.open_market(row, sealer, clock) for row in rows if sealer is not None]
    opened = [market for market in opened if source is None or source in market.feeds]
    if not opened:
        if not (dry_run and source and area):
            way_out = "import one: tidewatt prices import FILE, or give --source, --area and --dry-run to look only"
            raise InputError("market", "none in the store is meant", way_out)
        feed, market = open_feed(source, {}, clock)
        opened = [OpenMarket(0, "-", area, market, {source: feed})]

    async def ask_all() -> tuple[list[Asked], Report]:
        report, found = Report(), []
        for market in opened:
            try:
                days = [day] if day else price_fetching.wanted_days(market.market, clock())
                for each in days:
                    found += await _ask(db, market, source, each, dry_run)
                if not dry_run:
                    needed = price_fetching.wanted_days(market.market, clock())
                    price_fetching.publish(db, clock, market, needed, report)
            finally:
                await market.close()
        return found, report

    return asyncio.run(ask_all())


async def _ask(db: Database, market: OpenMarket, source: str | None, day: dt.date, dry_run: bool) -> list[Asked]:
    """Ask in turn until one is accepted."""
    found = []
    before = price_days.published(db, market.id, market.area, day - ONE_DAY)
    for name in [source] if source else list(market.feeds):
        about: dict[str, Any] = {"market": market.name, "source": name, "area": market.area, "day": day}
        try:
            prices = await price_fetching.ask(market, name, day, before)
        except AdapterError as error:
            found.append(Asked(**about, prices=None, refusal=str(error)))
            continue
        if not dry_run:
            price_days.keep(db, market.id, prices, market.market.begin(day))
        return [*found, Asked(**about, prices=prices, kept=not dry_run)]
    return found


def _chosen(db: Database, name: str | None, area: str | None) -> list[MarketRow]:
    rows = price_sources.market_rows(db)
    if name is not None and name not in [row.name for row in rows]:
        known = ", ".join(row.name for row in rows) or "none"
        raise InputError(f"market {name}", "is not in the store", f"choose one of {known}")
    return [row for row in rows if name in (None, row.name) and area in (None, row.area)]
