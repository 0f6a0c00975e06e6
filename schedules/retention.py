"""What the store may forget: old readings, and old renewals of commands that are over.

It goes in batches of their own transactions, so that nobody who dispatches waits for it.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import CursorResult, Select, delete, func, select

from schedules.store import CommandRow, CommandState, Database, PlanRow, SiteRow, TelemetryRow
from schedules.store.models import UNRESOLVED, CommandKind

BATCH_ROWS = 5000
SHORTEST = dt.timedelta(days=1)


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
    if keep < SHORTEST:
        raise ValueError(f"keep: {keep} is shorter than {SHORTEST}; keep what today's plans and confirmations need")
    with db.session() as session:
        sites = session.scalars(select(SiteRow.id)).all()
        planned = session.scalar(select(func.min(PlanRow.begins_at)).where(PlanRow.ends_at > now))
    before = min(now - keep, open_since, planned or now)
    readings = renewals = 0
    for site_id in sites:  # by site, as the indices are
        old = select(TelemetryRow.id).where(TelemetryRow.site_id == site_id, TelemetryRow.measured_at < before)
        readings += _delete(db, TelemetryRow, old.limit(batch_rows))
        renewals += _delete(db, CommandRow, _renewals_over(site_id, before).limit(batch_rows))
    return Forgotten(readings, renewals)


def _renewals_over(site_id: int, before: dt.datetime) -> Select[int]:
    row = CommandRow
    let_go = select(func.max(row.id)).where(
        row.site_id == site_id, row.kind == CommandKind.RELEASE, row.state == CommandState.ACCEPTED
    )
    return select(row.id).where(
        row.site_id == site_id,
        row.kind == CommandKind.RENEW,
        row.state.not_in(UNRESOLVED),
        row.sent_at < before,
        row.id < let_go.scalar_subquery(),
    )


def _delete(db: Database, table: type[TelemetryRow | CommandRow], batch: Select[int]) -> int:
    count = 0
    while True:
        with db.write() as session:
            wanted = delete(table).where(table.id.in_(batch)).execution_options(synchronize_session=False)
            gone = cast("CursorResult[Any]", session.execute(wanted)).rowcount
        count += gone
        if gone == 0:
            return count
