"""Markets in the store: whom to ask for prices, in turn, and which sites live by them. Without any nobody is asked."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, select

from adapters.contract import Clock, ConfigurationError
from adapters.feeds.contract import PriceFeed
from adapters.feeds.markets import Market
from adapters.feeds.registry import open_feed
from engine.errors import InputError
from schedules.price_terms import Terms
from schedules.registration import site_id
from schedules.seal import Sealer, sources_place
from schedules.store import Database, EventRow, MarketDayRow, MarketRow, PriceTermsRow, SiteRow

SourceSettings = tuple[str, Mapping[str, Any]]
"""Name of a source, and its settings."""


@dataclass(frozen=True)
class OpenMarket:
    """A market with its sources at hand."""

    id: int
    name: str
    area: str
    market: Market
    feeds: Mapping[str, PriceFeed]
    """By the source's name, in the order in which they are asked."""

    async def close(self) -> None:
        """Let go of all connections."""
        for feed in self.feeds.values():
            with suppress(OSError):
                await feed.close()


def put_market(
    db: Database,
    sealer: Sealer,
    clock: Clock,
    name: str,
    area: str,
    sources: Sequence[SourceSettings],
    by: str,
) -> int:
    """Put a market into the store, or change its sources; what is known of its days stays.

    Args:
        db: The store.
        sealer: Seals the settings.
        clock: The time.
        name: What people call it.
        area: Bidding zone or region.
        sources: Whom to ask, in turn; the first says whose days and times hold.
        by: Who does it.

    Returns:
        Its id.

    Raises:
        ConfigurationError: A source or a setting is wrong, or sources are of different markets; no value is shown.
        InputError: The market is there for another area.
    """
    if not sources:
        raise ConfigurationError(f"market {name}: it has no sources; name one")
    markets = {_opened(source, settings, clock)[1].name for source, settings in sources}
    if len(markets) > 1 or len({source for source, _ in sources}) < len(sources):
        raise ConfigurationError(f"market {name}: give each source once, and of one market only")
    _opened(*sources[0], clock)[1].require(area, name)
    with db.write() as session:
        row = session.scalar(select(MarketRow).where(MarketRow.name == name).with_for_update())
        kind = "market.added" if row is None else "market.changed"
        if row is None:
            row = MarketRow(name=name, area=area)
            session.add(row)
            session.flush()
        if row.area != area:
            raise InputError(f"market {name}", f"is {row.area}, not {area}", "choose another name")
        told = json.dumps([[source, dict(settings)] for source, settings in sources], default=str)
        row.sealed_sources = sealer.seal(told.encode(), sources_place(row.id))
        row.due_at = None
        session.add(EventRow(at=clock(), kind=kind, by=by, text=name))
        return row.id


def put_terms(db: Database, clock: Clock, market: str, site: str, terms: Terms, by: str) -> None:
    """Let a site live by a market's prices from the next look on.

    Raises:
        InputError: There is no such site or market.
    """
    with db.write() as session:
        number = site_id(session, site)
        market_id = session.scalar(select(MarketRow.id).where(MarketRow.name == market))
        if market_id is None:
            raise InputError(f"market {market}", "is not in the store", "see `tidewatt prices show`")
        session.execute(delete(PriceTermsRow).where(PriceTermsRow.site_id == number))
        session.add(PriceTermsRow(site_id=number, market_id=market_id, terms=terms.model_dump(mode="json")))
        session.add(EventRow(at=clock(), kind="site.priced", by=by, site_id=number, text=f"{site} by {market}"))


def remove_market(db: Database, clock: Clock, name: str, by: str) -> None:
    """Forget a market, its sources, its days, and the terms of the sites that live by it; their series stay.

    Raises:
        InputError: There is none of that name.
    """
    with db.write() as session:
        row = session.scalar(select(MarketRow).where(MarketRow.name == name).with_for_update())
        if row is None:
            raise InputError(f"market {name}", "is not in the store", "see `tidewatt prices show`")
        for table in (PriceTermsRow, MarketDayRow):
            session.execute(delete(table).where(table.market_id == row.id))
        session.delete(row)
        session.add(EventRow(at=clock(), kind="market.removed", by=by, text=name))


def market_rows(db: Database) -> list[MarketRow]:
    """All markets by name."""
    with db.session() as session:
        return list(session.scalars(select(MarketRow).order_by(MarketRow.name)))


def terms_of(db: Database, market_id: int) -> list[tuple[PriceTermsRow, str]]:
    """The sites under accounts that live by a market, and their names."""
    with db.session() as session:
        found = session.execute(
            select(PriceTermsRow, SiteRow.name)
            .join(SiteRow, SiteRow.id == PriceTermsRow.site_id)
            .where(PriceTermsRow.market_id == market_id, SiteRow.account_id.is_not(None))
            .order_by(SiteRow.name)
        ).all()
    return [(row, name) for row, name in found]


def open_market(row: MarketRow, sealer: Sealer, clock: Clock) -> OpenMarket:
    """Open the sources of a market; nothing is contacted.

    Raises:
        ConfigurationError: They cannot be opened with the key at hand, or a setting is wrong by now.
    """
    if row.sealed_sources is None:
        raise ConfigurationError(f"market {row.name}: the store has no sources for it; import it")
    told = json.loads(sealer.open(row.sealed_sources, sources_place(row.id)))
    opened = {source: _opened(source, settings, clock) for source, settings in told}
    market = next(iter(opened.values()))[1]
    return OpenMarket(row.id, row.name, row.area, market, {source: feed for source, (feed, _) in opened.items()})


def _opened(source: str, settings: Mapping[str, Any], clock: Clock) -> tuple[PriceFeed, Market]:
    return open_feed(source, settings, clock)
