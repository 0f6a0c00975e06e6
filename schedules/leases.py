"""Leases: one worker at a time drives an account, and one that lost its lease while it slept is found out.

The lease is the account's because sessions and quotas are. Every lease has an epoch of its own; it stands in the
database, where a journal row is only written under the epoch that is in force, and is compared once more directly
before the socket. A worker that stalls longer than its lease therefore finds another epoch there, or its own deadline
over, whatever clock it goes by.
"""

from __future__ import annotations

import datetime as dt
import time
from dataclasses import dataclass

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from adapters.contract import Clock
from schedules.store import AccountRow, Database

# Longer than any call with its login, shorter than people wait: a dead worker's account is taken over after it [s].
LEASE_S = 30.0
LOST = "another worker has taken the account over"


@dataclass
class Lease:
    """The right to drive one account for a while."""

    account_id: int
    epoch: int
    deadline: float
    """When it ends by the holder's own monotonic time [s]."""


def monotonic(clock: Clock) -> float:
    """Time that no step of the clock changes [s]: the simulated clock's own, or this machine's."""
    return float(getattr(clock, "monotonic", time.monotonic)())


def take(db: Database, clock: Clock, account_id: int, worker: str) -> Lease | None:
    """Take an account's lease if nobody has it.

    Returns:
        The lease, or None where another worker has it.
    """
    begun, now = monotonic(clock), clock()
    with db.write() as session:
        taken = session.execute(
            update(AccountRow)
            .where(
                AccountRow.id == account_id,
                or_(
                    AccountRow.lease_until.is_(None),
                    AccountRow.lease_until <= now,
                    # A clock that was set back must not keep an account from everybody.
                    AccountRow.lease_until > now + dt.timedelta(seconds=2 * LEASE_S),
                ),
            )
            .values(epoch=AccountRow.epoch + 1, lease_owner=worker, lease_until=now + dt.timedelta(seconds=LEASE_S))
            .returning(AccountRow.epoch)
        ).scalar_one_or_none()
    return None if taken is None else Lease(account_id, taken, begun + LEASE_S)


def extend(session: Session, clock: Clock, lease: Lease) -> bool:
    """Hold a lease for longer, and its row until the transaction ends; False where another worker has the account."""
    begun = monotonic(clock)
    held = session.execute(
        update(AccountRow)
        .where(AccountRow.id == lease.account_id, AccountRow.epoch == lease.epoch, AccountRow.lease_until.is_not(None))
        .values(lease_until=clock() + dt.timedelta(seconds=LEASE_S))
        .returning(AccountRow.id)
    ).scalar_one_or_none()
    if held is not None:
        lease.deadline = begun + LEASE_S
    return held is not None


def is_in_force(session: Session, clock: Clock, lease: Lease, margin_s: float) -> bool:
    """Whether a lease is still the newest of its account, and holds so long yet by its holder's own time."""
    if monotonic(clock) + margin_s >= lease.deadline:
        return False
    epoch = session.scalar(select(AccountRow.epoch).where(AccountRow.id == lease.account_id))
    return epoch == lease.epoch


def break_all(db: Database) -> None:
    """End every lease at once; only where it is certain that no other process works on the store."""
    with db.write() as session:
        session.execute(update(AccountRow).values(lease_until=None, lease_owner=None))


def give_back(db: Database, lease: Lease) -> None:
    """Let others take the account at once."""
    with db.write() as session:
        session.execute(
            update(AccountRow)
            .where(AccountRow.id == lease.account_id, AccountRow.epoch == lease.epoch)
            .values(lease_until=None, lease_owner=None)
        )
