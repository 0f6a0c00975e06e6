"""Who does a job's slot: the row of (job, slot) says, whoever rang and however often a message comes.

A message that comes again because its worker died begins the slot again. What has ended its worker three times, in
one slot or in several, is left alone for an hour, with an event for a person; the others are not held up by it.
"""

from __future__ import annotations

import datetime as dt
from enum import Enum
from itertools import takewhile

from sqlalchemy import delete, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from adapters.contract import Clock
from schedules.store import Database, EventRow, JobRunRow

MOST_ATTEMPTS = 3
# Nothing runs longer, so whoever began a slot before that is dead [s].
HARD_LIMIT_S = 90.0
# While a slot of a job is under way the next one waits, so that what hangs takes no more workers; no longer, for they
# may have died [s].
BUSY_S = 30.0
LEFT_ALONE = dt.timedelta(hours=1)
KEPT = dt.timedelta(hours=2)
# So many slots are judged by; more of them in a row have never died unnoticed.
LOOKED_BACK_AT = 12
POISONOUS = "left alone: it ended its worker each time"


class Claim(Enum):
    """What a claim came to."""

    OURS = "ours"
    """Do it."""
    TAKEN = "taken"
    """Somebody else does it, or has done it, or is still at the one before."""
    LEFT_ALONE = "left alone"
    """It ended its workers; not now."""


def claim(
    db: Database,
    clock: Clock,
    job: str,
    slot: dt.datetime,
    message: str,
    worker: str,
    account_id: int | None = None,
    busy_s: float = BUSY_S,
) -> Claim:
    """Try to be the one who does a job's slot.

    Args:
        db: The store.
        clock: The time.
        job: The job, with what it is done for where that is not everything.
        slot: When its slot began.
        message: What asks for it; the same one coming again means that the worker died that had it.
        worker: Who asks.
        account_id: For the event, if it has to be left alone.
        busy_s: How long the next slot waits for one that is under way [s].
    """
    try:
        with db.write() as session:
            return _claim(session, clock(), job, slot, message, worker, account_id, busy_s)
    except IntegrityError:
        return Claim.TAKEN  # by somebody in the same moment


def finish(db: Database, clock: Clock, job: str, slot: dt.datetime, outcome: str) -> None:
    """Note that a slot is done, and what came of it."""
    with db.write() as session:
        session.execute(
            update(JobRunRow)
            .where(JobRunRow.job == job, JobRunRow.slot == slot)
            .values(finished_at=clock(), outcome=outcome)
        )


def last_finished(session: Session) -> dict[str, dt.datetime]:
    """When each job was last brought to an end."""
    rows = session.execute(
        select(JobRunRow.job, func.max(JobRunRow.finished_at))
        .where(JobRunRow.finished_at.is_not(None))
        .group_by(JobRunRow.job)
    )
    return {job: at for job, at in rows if at is not None}


def forget(db: Database, clock: Clock) -> int:
    """Delete the rows that nobody asks for any more.

    Returns:
        How many.
    """
    newest = select(func.max(JobRunRow.id)).group_by(JobRunRow.job)
    with db.write() as session:
        # The newest row of a job stays, however old: it says when the job was last done.
        gone = session.execute(
            delete(JobRunRow).where(JobRunRow.slot < clock() - KEPT, JobRunRow.id.not_in(newest)),
        )
        return int(gone.rowcount)  # type: ignore[attr-defined]


def _claim(
    session: Session,
    now: dt.datetime,
    job: str,
    slot: dt.datetime,
    message: str,
    worker: str,
    account_id: int | None,
    busy_s: float,
) -> Claim:
    # Where the clock was set back slots come again, and what was done in them before is of another time.
    ahead = now + dt.timedelta(seconds=BUSY_S)
    session.execute(delete(JobRunRow).where(JobRunRow.job == job, JobRunRow.slot > ahead))
    newest = session.scalars(
        select(JobRunRow)
        .where(JobRunRow.job == job)
        .order_by(JobRunRow.slot.desc())
        .limit(LOOKED_BACK_AT)
        .with_for_update()
    ).all()
    if any(row.outcome == POISONOUS and row.finished_at and row.finished_at > now - LEFT_ALONE for row in newest):
        return Claim.LEFT_ALONE

    def has_died(row: JobRunRow) -> bool:
        return row.message == message or row.started_at < now - dt.timedelta(seconds=HARD_LIMIT_S)

    row = next((row for row in newest if row.slot == slot), None)
    if row is not None and (row.finished_at is not None or not has_died(row)):
        return Claim.TAKEN
    busy_since = now - dt.timedelta(seconds=busy_s)
    if any(row.finished_at is None and row.started_at > busy_since and row.message != message for row in newest):
        return Claim.TAKEN
    since_one_ended = takewhile(lambda row: row.finished_at is None, newest)
    deaths = sum(row.attempts for row in since_one_ended if has_died(row))
    if row is None:
        row = JobRunRow(job=job, slot=slot, attempts=0)
        session.add(row)
    row.message, row.worker, row.started_at = message, worker, now
    if deaths < MOST_ATTEMPTS:
        row.attempts += 1
        return Claim.OURS
    row.finished_at, row.outcome = now, POISONOUS
    text = f"{job} ended its worker {deaths} times; left alone for {LEFT_ALONE}"
    session.add(EventRow(at=now, kind="job.left_alone", by=worker, account_id=account_id, text=text))
    return Claim.LEFT_ALONE
