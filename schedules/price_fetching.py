"""The job that fetches prices: polls from publication on, then another source, then the prices of a similar day.

What is known is never touched: days are only added, and a site's series are only ever followed by newer ones. It
remembers nothing but what is in the store, so it may come late, twice, or from another process.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pandas as pd
from sqlalchemy import update

from adapters.contract import AdapterError, Clock, ConfigurationError
from adapters.feeds.contract import DayPrices, Fault, FeedError
from adapters.feeds.energi_data_service.client import EnergiDataService
from adapters.feeds.markets import Market
from engine.errors import TidewattError
from engine.tariffs import dk
from schedules import inputs, price_days, price_sources
from schedules.price_sources import OpenMarket
from schedules.price_terms import DatahubGrid, Terms, grid_from_json
from schedules.seal import Sealer
from schedules.store import Database, EventRow, MarketDayRow, MarketRow, PriceTermsRow

ONE_DAY = dt.timedelta(days=1)
# The first look after publication, so that not all installations of the world come at once [s].
SPREAD_S = 120.0
# Between looks [s].
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 120.0, 300.0
# Once prices are late, and there is an estimate, it hurries less.
LATE_FACTOR = 3.0
# Two days of two sources fit into what a job may take [s].
LONGEST_ASK_S = 15.0
GRID_EVERY, GRID_AGAIN = dt.timedelta(days=1), dt.timedelta(minutes=15)
ESTIMATED_EVENT = "prices.estimated"
Draw = Callable[[], float]
"""A number from 0 up to 1; by chance, as nothing else tells installations apart."""


@dataclass
class Report:
    """What a run did."""

    accepted: list[str] = field(default_factory=list)
    estimated: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    published: int = 0
    """Sites that have new prices."""


async def fetch(db: Database, clock: Clock, sealer: Sealer, worker: str = "", draw: Draw = random.random) -> Report:
    """Fetch what is missing of all markets whose moment has come, and give sites what is new.

    Args:
        db: The store.
        clock: The time.
        sealer: Opens the settings of sources.
        worker: What this process is called, for events.
        draw: Chance.

    Raises:
        Exception: What nobody foresaw at a market, once the others are done.
    """
    report = Report()

    async def one(row: MarketRow) -> None:
        try:
            await _see_to(db, clock, sealer, row, worker, draw, report)
        except TidewattError as error:
            report.refused.append(f"{row.name}: {error}")
            _note(db, row.id, outcome=str(error))

    # Together, so that a source that hangs holds up nobody else's prices.
    outcomes = await asyncio.gather(*map(one, price_sources.market_rows(db)), return_exceptions=True)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome
    return report


def wanted_days(market: Market, now: dt.datetime) -> list[dt.date]:
    """The market days that plans need now: this one, and the next one once its prices may be out."""
    today = market.day_of(now)
    return [today] + [today + ONE_DAY] * (now >= market.at(today, market.opens))


async def ask(feed_of: OpenMarket, source: str, day: dt.date, before: DayPrices | None = None) -> DayPrices:
    """Ask one source for one day, no longer than a job has time.

    Raises:
        FeedError: It did not answer in time, or its answer is not taken.
        ConfigurationError: It refuses us, or knows nothing of the area.
    """
    try:
        async with asyncio.timeout(LONGEST_ASK_S):
            return await feed_of.feeds[source].day_ahead(feed_of.area, day, before)
    except TimeoutError:
        raise FeedError(Fault.UNREACHABLE, f"{source}: no answer within {LONGEST_ASK_S:g} s") from None


async def _see_to(
    db: Database, clock: Clock, sealer: Sealer, row: MarketRow, worker: str, draw: Draw, report: Report
) -> None:
    opened = price_sources.open_market(row, sealer, clock)
    try:
        now, days = clock(), wanted_days(opened.market, clock())
        missing = [day for day in days if price_days.published(db, row.id, row.area, day) is None]
        if missing and _is_due(db, now, row, opened.market, missing[-1], draw):
            # Before anybody is asked: a run that is killed while it waits must not ask again at once.
            _note(db, row.id, due_at=now + dt.timedelta(seconds=_pause_s(now, opened.market, missing[-1], draw)))
            outcomes = [await _look_for(db, clock, opened, day, worker, report) for day in missing]
            _note(db, row.id, outcome="; ".join(outcomes))
        await _refresh_grids(db, clock, opened, report)
        publish(db, clock, opened, days, report)
    finally:
        await opened.close()


def _is_due(db: Database, now: dt.datetime, row: MarketRow, market: Market, day: dt.date, draw: Draw) -> bool:
    opens = market.at(day - ONE_DAY, market.opens)
    latest = now + dt.timedelta(seconds=LONGEST_PAUSE_S * LATE_FACTOR)
    if row.due_at is None or not opens <= row.due_at <= latest:
        # The first look at this day, a little after publication by chance; or the clock was set back.
        row.due_at = opens + dt.timedelta(seconds=SPREAD_S * draw())
        _note(db, row.id, due_at=row.due_at)
    return row.due_at <= now


def _pause_s(now: dt.datetime, market: Market, day: dt.date, draw: Draw) -> float:
    pause_s = SHORTEST_PAUSE_S + (LONGEST_PAUSE_S - SHORTEST_PAUSE_S) * draw()
    return pause_s * (LATE_FACTOR if _is_late(now, market, day) else 1.0)


def _is_late(now: dt.datetime, market: Market, day: dt.date) -> bool:
    return now >= market.at(day - ONE_DAY, market.late)


async def _look_for(db: Database, clock: Clock, opened: OpenMarket, day: dt.date, worker: str, report: Report) -> str:
    """Ask for a day, the other sources too once it is late, and put up with an estimate where none has it."""
    late = _is_late(clock(), opened.market, day)
    before = price_days.published(db, opened.id, opened.area, day - ONE_DAY)
    begins_at = opened.market.begin(day)
    refusals = []
    for source in list(opened.feeds) if late else list(opened.feeds)[:1]:
        try:
            prices = await ask(opened, source, day, before)
        except AdapterError as error:
            refusals.append(str(error))
            continue
        price_days.keep(db, opened.id, prices, begins_at)
        said = f"{opened.name} {day}: {len(prices.index)} prices of {source}"
        report.accepted.append(said)
        return said
    report.refused += refusals
    if late and day not in price_days.known(db, opened.id, [day]):
        guess = price_days.estimate(db, opened.id, opened.area, opened.market, day, clock())
        if guess is not None:
            price_days.keep(db, opened.id, guess, begins_at, estimated=True)
            said = f"{opened.name} {day}: estimated {guess.source}; {'; '.join(refusals)}"
            report.estimated.append(said)
            with db.write() as session:
                session.add(EventRow(at=clock(), kind=ESTIMATED_EVENT, by=worker, text=said))
    return "; ".join(refusals)


def publish(db: Database, clock: Clock, opened: OpenMarket, days: list[dt.date], report: Report) -> None:
    """Give each site the prices of the days that are known, where there are newer ones than it has."""
    rows = price_days.known(db, opened.id, days)
    run = [rows[day] for day in days if day in rows]
    if not run:
        return
    estimated_from = min((row.begins_at for row in run if row.estimated), default=None)
    newest = f"{max(row.id for row in run)}{' estimated' if estimated_from else ''}"
    for terms, site in price_sources.terms_of(db, opened.id):
        if terms.published_from == newest:
            continue
        try:
            frame = _site_prices(terms, run)
        except TidewattError as error:
            # The next run tries again: DataHub may tell a tariff meanwhile.
            report.refused.append(f"{site}: {error}")
            _note_terms(db, terms.site_id, problem=str(error))
            continue
        inputs.publish(db, clock, frame, terms.site_id, estimated_from)
        _note_terms(db, terms.site_id, published_from=newest, problem="")
        report.published += 1


def _site_prices(row: PriceTermsRow, run: list[MarketDayRow]) -> pd.DataFrame:
    terms, grid = Terms.model_validate(row.terms), grid_from_json(row.grid)
    frames = [terms.prices(price_days.curves(day), grid) for day in run]
    finest = min(pd.Timedelta(seconds=day.step_s) for day in run)
    fine = []
    for frame, day in zip(frames, run, strict=True):
        step = pd.Timedelta(seconds=day.step_s)
        index = pd.date_range(frame.index[0], frame.index[-1] + step, freq=finest, inclusive="left", name="start")
        fine.append(frame.reindex(index, method="ffill"))
    return pd.concat(fine)


async def _refresh_grids(db: Database, clock: Clock, opened: OpenMarket, report: Report) -> None:
    """Look up the tariffs of grid companies once a day; those that cannot be had stay as they were."""
    told: dict[DatahubGrid, dk.GridCompany | None] = {}
    for row, site in price_sources.terms_of(db, opened.id):
        wanted = Terms.model_validate(row.terms).datahub
        if wanted is None or (row.grid_due_at is not None and clock() < row.grid_due_at):
            continue
        if wanted not in told:
            try:
                told[wanted] = await _grid(opened, wanted)
            except AdapterError as error:
                told[wanted] = None
                report.refused.append(f"{site}: {error}")
        grid = told[wanted]
        content = row.grid if grid is None else grid.model_dump(mode="json")
        due_at = clock() + (GRID_AGAIN if grid is None else GRID_EVERY)
        published_from = row.published_from if content == row.grid else ""
        _note_terms(db, row.site_id, grid=content, grid_due_at=due_at, published_from=published_from)


async def _grid(opened: OpenMarket, wanted: DatahubGrid) -> dk.GridCompany:
    service = opened.feeds.get("energi_data_service")
    if not isinstance(service, EnergiDataService):
        raise ConfigurationError(f"market {opened.name}: DataHub is asked by energi_data_service; name it as a source")
    try:
        async with asyncio.timeout(LONGEST_ASK_S):
            bought = await service.charges(wanted.gln, wanted.codes)
            codes = [] if wanted.feed_in_code is None else [wanted.feed_in_code]
            sold = await service.charges(wanted.gln, codes, -1) if codes else ()
    except TimeoutError:
        raise FeedError(Fault.UNREACHABLE, f"energi_data_service: no answer within {LONGEST_ASK_S:g} s") from None
    return dk.GridCompany(name=wanted.gln, charges=bought, feed_in=sold[0] if sold else None)


def _note(db: Database, market_id: int, **values: Any) -> None:
    with db.write() as session:
        session.execute(update(MarketRow).where(MarketRow.id == market_id).values(**values))


def _note_terms(db: Database, site_id: int, **values: Any) -> None:
    with db.write() as session:
        session.execute(update(PriceTermsRow).where(PriceTermsRow.site_id == site_id).values(**values))
