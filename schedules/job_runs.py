"""Who does a job's slot: the row of (job, slot) says, whoever rang and however often a message comes.

Whoever does one shows every few seconds that he is alive. A slot whose message comes again, or whose worker has fallen
silent, is begun again: it died, or stalls, and then its leases and its row are another's when it wakes up. What has
ended its worker three times, in one slot or in several, is left alone for an hour, with an event for a person; the
others are not held up by it.
"""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from enum import Enum
from itertools import takewhile

from sqlalchemy import Update, delete, func, select, update
from sqlalchemy.exc import IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from adapters.contract import Clock
from schedules.store import Database, EventRow, JobRunRow

MOST_ATTEMPTS = 3
# Nothing runs longer; the process that does is ended [s].
HARD_LIMIT_S = 90.0
# How often who does a slot shows it, and when one who does not is taken for dead [s].
SIGN_EVERY_S = 4.0
SILENT_S = 15.0
# A slot so far ahead is of a clock that was set back since [s].
AHEAD_S = 30.0
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
    waits: bool = True,
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
        waits: Whether it waits for a slot before it that is under way, so that what hangs takes no more workers.
    """
    try:
        with db.write() as session:
            return _claim(session, clock(), job, slot, message, worker, account_id, waits)
    except IntegrityError:
        return Claim.TAKEN  # by somebody in the same moment


@contextmanager
def showing_life(db: Database, clock: Clock, job: str, slot: dt.datetime, worker: str) -> Iterator[None]:
    """Show again and again that a slot is being done, as long as this process can."""
    done = threading.Event()

    def show() -> None:
        while not done.wait(SIGN_EVERY_S):
            try:
                with db.write() as session:
                    session.execute(_of(job, slot, worker).values(seen_at=clock()))
            except SQLAlchemyError:
                # Without the store nobody can take the slot over either; the next sign may come through.
                continue

    thread = threading.Thread(target=show, name=f"signs of life of {job}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def finish(db: Database, clock: Clock, job: str, slot: dt.datetime, worker: str, outcome: str) -> bool:
    """Note that a slot is done, and what came of it; False where another worker has taken it over."""
    with db.write() as session:
        noted = session.execute(_of(job, slot, worker).values(finished_at=clock(), outcome=outcome))
        return bool(noted.rowcount)  # type: ignore[attr-defined]


def begun(session: Session, now: dt.datetime, slots: Mapping[str, dt.datetime]) -> set[str]:
    """Which of some jobs' slots are done, or are being done by somebody who is alive.

    Args:
        session: A session.
        now: The time.
        slots: When the slot of each began.
    """
    rows = session.scalars(
        select(JobRunRow).where(
            JobRunRow.job.in_(slots), JobRunRow.slot >= min(slots.values(), default=now), JobRunRow.slot <= now
        )
    )
    return {row.job for row in rows if row.slot == slots[row.job] and (row.finished_at or not _is_silent(row, now))}


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
    waits: bool,
) -> Claim:
    # Where the clock was set back slots come again, and what was done in them before is of another time.
    ahead = now + dt.timedelta(seconds=AHEAD_S)
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
        return row.message == message or _is_silent(row, now)

    row = next((row for row in newest if row.slot == slot), None)
    if row is not None and (row.finished_at is not None or not has_died(row)):
        return Claim.TAKEN
    if waits and any(row.finished_at is None and not has_died(row) for row in newest):
        return Claim.TAKEN
    since_one_ended = takewhile(lambda row: row.finished_at is None, newest)
    deaths = sum(row.attempts for row in since_one_ended if has_died(row))
    if row is None:
        row = JobRunRow(job=job, slot=slot, attempts=0)
        session.add(row)
    row.message, row.worker, row.started_at, row.seen_at = message, worker, now, now
    if deaths < MOST_ATTEMPTS:
        row.attempts += 1
        return Claim.OURS
    row.finished_at, row.outcome = now, POISONOUS
    text = f"{job} ended its worker {deaths} times; left alone for {LEFT_ALONE}"
    session.add(EventRow(at=now, kind="job.left_alone", by=worker, account_id=account_id, text=text))
    return Claim.LEFT_ALONE


def _is_silent(row: JobRunRow, now: dt.datetime) -> bool:
    return row.seen_at <= now - dt.timedelta(seconds=SILENT_S)


def _of(job: str, slot: dt.datetime, worker: str) -> Update:
    """A change of a slot's row by the worker that does it, and by no other."""
    return update(JobRunRow).where(
        JobRunRow.job == job, JobRunRow.slot == slot, JobRunRow.worker == worker, JobRunRow.finished_at.is_(None)
    )
