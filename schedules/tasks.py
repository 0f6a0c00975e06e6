"""What messages ask for. Each task calls one function of `schedules.work`; arguments are names, times and numbers."""

from __future__ import annotations

import datetime as dt
from typing import Any

from schedules import work
from schedules.beat import JOBS, vendor_queue
from schedules.celery_app import app


@app.task(bind=True)
def fan_out(self: Any, job: str) -> None:
    """Wake every account up whose turn it is."""
    for turn in work.turns(JOBS[job], self.request.id):
        run.apply_async(
            (job, turn.slot.isoformat(), turn.account_id),
            queue=JOBS[job].queue or vendor_queue(turn.adapter),
            expires=JOBS[job].worth_s,
        )


@app.task(bind=True)
def run(self: Any, job: str, slot: str | None = None, account_id: int | None = None) -> None:
    """Do a job's slot, of an account or as a whole."""
    work.run(JOBS[job], self.request.id, None if slot is None else dt.datetime.fromisoformat(slot), account_id)


@app.task(bind=True)
def heartbeat(self: Any, queue: str) -> None:
    """Show that messages of a queue are done."""
    work.beat(queue, self.request.id)


@app.task(ignore_result=False)
def echo(text: str) -> str:
    """Come back, to prove the way there and back."""
    return text
