"""What is done when, as data: the jobs, how often each is due, and on which queue.

Beat only rings, several times a slot. A ring names a job, and whoever hears it works out the slots that the time falls
in; the row of each says whether it is still to be done (`schedules.job_runs`). Rings that are doubled, late or lost
therefore neither double a run nor make several at once, and what a ring or its worker lost the next one makes good.
"""

from __future__ import annotations

import datetime as dt
import zlib
from dataclasses import dataclass

# What no single vendor does. Vendors have a queue each, so that one that hangs holds up nobody else's batteries.
SAFETY, PLAN, DEFAULT = "safety", "plan", "default"
RINGS_A_SLOT = 3
# Jobs that are seldom due are rung for more often, so that one missed ring costs a minute and not a day [s].
LONGEST_RING_S = 60.0


@dataclass(frozen=True)
class Job:
    """A job that is due again and again."""

    name: str
    """Of the function in `schedules.work`."""
    period_s: float
    """Length of a slot: it is done once in each [s]."""
    queue: str | None = None
    """Where it is done; None: on the queue of the account's vendor."""
    of_accounts: bool = True
    """Whether it is done once for every account, or once."""

    @property
    def ring_s(self) -> float:
        """How often beat rings [s]."""
        return min(self.period_s / RINGS_A_SLOT, LONGEST_RING_S)

    @property
    def worth_s(self) -> float:
        """How long a message is worth hearing [s]."""
        return min(self.period_s, LONGEST_RING_S)

    def slot(self, now: dt.datetime, account_id: int | None = None) -> dt.datetime:
        """When the slot began that a time falls in.

        Each account's slots begin at a moment of their own, so that not all vendors' clouds are asked at once.
        """
        into_s = 0.0
        if account_id is not None:
            into_s = round(zlib.crc32(f"{self.name}/{account_id}".encode()) / 2**32 * self.period_s, 1)
        begun_s = (now.timestamp() - into_s) // self.period_s * self.period_s + into_s
        return dt.datetime.fromtimestamp(begun_s, dt.UTC)

    def ring(self, now: dt.datetime) -> dt.datetime:
        """When the ring was due that a time falls after."""
        return dt.datetime.fromtimestamp(now.timestamp() // self.ring_s * self.ring_s, dt.UTC)


JOBS = {
    job.name: job
    for job in (
        Job("reconcile", 15.0),
        Job("dispatch", 5.0),
        Job("plan", 30.0, PLAN),
        # Each market has its own moment, some minutes apart; a ring only looks whether it has come.
        Job("fetch_prices", 60.0, DEFAULT, of_accounts=False),
        # Before the forecasts, which are made of it; a place that did not answer is asked again in the next slot.
        Job("fetch_weather", 900.0, DEFAULT, of_accounts=False),
        # Each site is looked at once an hour; those that a run has no time for are the next one's.
        Job("forecast", 60.0, PLAN, of_accounts=False),
        Job("forget_runs", 600.0, DEFAULT, of_accounts=False),
        # Old rows that one run has no time for are the next one's.
        Job("retention", 3600.0, DEFAULT, of_accounts=False),
    )
}
HEARTBEAT_S = 15.0


def vendor_queue(adapter: str) -> str:
    """The queue of a vendor."""
    return f"vendor-{adapter}"


def queues(adapters: list[str]) -> list[str]:
    """All queues.

    Args:
        adapters: Names of the installed adapters.
    """
    return [SAFETY, PLAN, DEFAULT, *map(vendor_queue, adapters)]
