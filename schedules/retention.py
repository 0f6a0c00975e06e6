"""What the store may forget, each kind after a while of its own: readings, plans, and at last the journal.

It goes in batches of their own transactions, so that nobody who dispatches waits for it. What says where a device
stands is never forgotten, however old: calls that are not resolved, or came after the site was last let go of.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Select, and_, delete, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from schedules.store import (
    CommandRow,
    CommandState,
    Database,
    EventRow,
    HaltRow,
    IntentRow,
    MarketDayRow,
    OverrideRow,
    PlanRow,
    SeriesRow,
    SiteRow,
    TelemetryRow,
)
from schedules.store.models import UNRESOLVED, CommandKind

BATCH_ROWS = 5000
# With their intervals they are large.
BATCH_PLANS = 200
SHORTEST = dt.timedelta(days=1)
# Safety looks back two days, and an override may last seven.
SHORTEST_JOURNAL = dt.timedelta(days=30)
IS_TOLD = select(CommandRow.id).where(CommandRow.intent_id == IntentRow.id).exists()


@dataclass(frozen=True)
class Forgotten:
    """How many rows went."""

    readings: int
    renewals: int


def forget(
    db: Database, now: dt.datetime, keep: dt.timedelta, open_since: dt.datetime, batch_rows: int = BATCH_ROWS
) -> Forgotten:
    """Delete readings and renewals older than `keep`.

    What begins within the oldest plan that is not over, or since `open_since`, stays, for it is yet to be settled. A
    renewal stays while its answer is unknown, and until its site was let go of after it: where a site stands is told by
    what came since.

    Args:
        db: The store.
        now: The time.
        keep: How long everything is kept: a day at least.
        open_since: Begin of the oldest period that is not settled.
        batch_rows: Most rows in one transaction.

    Raises:
        ValueError: `keep` is too short.
    """
    _refuse_shorter(keep, SHORTEST, "what today's plans and confirmations need")
    with db.session() as session:
        planned = session.scalar(select(func.min(PlanRow.begins_at)).where(PlanRow.ends_at > now))
    before = min(now - keep, open_since, planned or now)
    readings = renewals = 0
    for site_id in _sites(db):  # by site, as the indices are
        old = select(TelemetryRow.id).where(TelemetryRow.site_id == site_id, TelemetryRow.measured_at < before)
        readings += _delete(db, TelemetryRow.id, old.limit(batch_rows))
        over = _calls_over(site_id, before).where(CommandRow.kind == CommandKind.RENEW)
        renewals += _delete(db, CommandRow.id, over.limit(batch_rows))
    return Forgotten(readings, renewals)


def forget_plans(db: Database, now: dt.datetime, keep: dt.timedelta, batch_plans: int = BATCH_PLANS) -> int:
    """Delete plans that ended longer ago than `keep`, and prices and forecasts that newer ones have replaced since.

    Of a plan's intents those stay that the device was told of, for the journal: they say what a call was for.

    Returns:
        How many plans.

    Raises:
        ValueError: `keep` is too short.
    """
    _refuse_shorter(keep, SHORTEST, "what today's plans need")
    before = now - keep
    newer = aliased(SeriesRow)
    replaced = (
        select(newer.id)
        .where(
            newer.name == SeriesRow.name,
            newer.site_id.is_not_distinct_from(SeriesRow.site_id),
            or_(
                newer.known_at > SeriesRow.known_at, and_(newer.known_at == SeriesRow.known_at, newer.id > SeriesRow.id)
            ),
        )
        .exists()
    )
    _delete(db, SeriesRow.id, select(SeriesRow.id).where(SeriesRow.known_at < before, replaced).limit(batch_plans))

    def let_go_of_intents(session: Session, plans: list[int]) -> None:
        of_plans = IntentRow.plan_id.in_(plans)
        session.execute(delete(IntentRow).where(of_plans, ~IS_TOLD))
        session.execute(update(IntentRow).where(of_plans).values(plan_id=None))

    old = select(PlanRow.id).where(PlanRow.ends_at < before).limit(batch_plans)
    return _delete(db, PlanRow.id, old, let_go_of_intents)


def forget_journal(db: Database, now: dt.datetime, keep: dt.timedelta, batch_rows: int = BATCH_ROWS) -> int:
    """Delete calls, what they were for, overrides, lifted halts, events and prices of days that are older than `keep`.

    Returns:
        How many calls.

    Raises:
        ValueError: `keep` is too short.
    """
    _refuse_shorter(keep, SHORTEST_JOURNAL, "what safety and overrides need")
    before = now - keep
    calls = sum(_delete(db, CommandRow.id, _calls_over(site_id, before).limit(batch_rows)) for site_id in _sites(db))
    over: tuple[tuple[InstrumentedAttribute[int], ColumnElement[bool]], ...] = (
        (IntentRow.id, and_(IntentRow.plan_id.is_(None), IntentRow.not_after < before, ~IS_TOLD)),
        (
            OverrideRow.id,
            and_(
                OverrideRow.made_at < before,
                ~select(IntentRow.id).where(IntentRow.override_id == OverrideRow.id).exists(),
            ),
        ),
        (HaltRow.id, HaltRow.lifted_at < before),
        (EventRow.id, EventRow.at < before),
        (MarketDayRow.id, MarketDayRow.begins_at < before),
    )
    for number, is_over in over:
        _delete(db, number, select(number).where(is_over).limit(batch_rows))
    return calls


def _refuse_shorter(keep: dt.timedelta, shortest: dt.timedelta, needed: str) -> None:
    if keep < shortest:
        raise ValueError(f"keep: {keep} is shorter than {shortest}; keep {needed}")


def _sites(db: Database) -> list[int]:
    with db.session() as session:
        return list(session.scalars(select(SiteRow.id)))


def _calls_over(site_id: int, before: dt.datetime) -> Select[int]:
    """Old calls of a site whose fate is known and that a later one has ended: a release, for limits the next limit."""
    row = CommandRow
    ended = select(func.max(row.id)).where(row.site_id == site_id, row.state == CommandState.ACCEPTED)
    is_limit = row.kind == CommandKind.LIMIT
    return select(row.id).where(
        row.site_id == site_id,
        row.state.not_in(UNRESOLVED),
        row.sent_at < before,
        or_(
            and_(~is_limit, row.id < ended.where(row.kind == CommandKind.RELEASE).scalar_subquery()),
            and_(is_limit, row.id < ended.where(is_limit).scalar_subquery()),
        ),
    )


def _delete(
    db: Database,
    number: InstrumentedAttribute[int],
    batch: Select[int],
    first: Callable[[Session, list[int]], None] = lambda _session, _ids: None,
) -> int:
    """Delete batch by batch, and whatever has to go first with each; returns how many rows went."""
    count = 0
    while True:
        with db.write() as session:
            ids = list(session.scalars(batch))
            if ids:
                first(session, ids)
                wanted = delete(number.class_).where(number.in_(ids)).execution_options(synchronize_session=False)
                count += cast("CursorResult[Any]", session.execute(wanted)).rowcount
        if not ids:
            return count
