"""Heartbeats: each queue's own message, done again and again, proves that its worker does more than live."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from adapters.contract import Clock
from schedules import job_runs
from schedules.beat import HEARTBEAT_S, Job
from schedules.job_runs import Claim
from schedules.store import Database

PREFIX = "heartbeat/"


def beat(db: Database, clock: Clock, queue: str, message: str, worker: str) -> None:
    """Note that a message of a queue was done."""
    slot = Job(PREFIX + queue, HEARTBEAT_S).slot(clock())
    if job_runs.claim(db, clock, PREFIX + queue, slot, message, worker) is Claim.OURS:
        job_runs.finish(db, clock, PREFIX + queue, slot, worker, "")


def newest_heartbeat(db: Database, queues: Sequence[str]) -> dt.datetime | None:
    """When any of some queues last had a message done; None: never."""
    with db.session() as session:
        finished = job_runs.last_finished(session)
    return max((finished[PREFIX + queue] for queue in queues if PREFIX + queue in finished), default=None)
