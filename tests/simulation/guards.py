"""The guards that keep the invariants, each of which can be taken away to see what it was good for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import update

from adapters.contract import Clock
from schedules import halts, leases, telemetry
from schedules.egress import Egress
from schedules.leases import LEASE_S, Lease
from schedules.site_dispatch import SiteDispatch
from schedules.store import AccountRow, Database

Patch = tuple[object, str, Callable[..., Any]]


def _take_it_anyway(db: Database, clock: Clock, account_id: int, worker: str) -> Lease:
    with db.write() as session:
        epoch = session.execute(
            update(AccountRow)
            .where(AccountRow.id == account_id)
            .values(epoch=AccountRow.epoch + 1, lease_owner=worker, lease_until=clock())
            .returning(AccountRow.epoch)
        ).scalar_one()
    return Lease(account_id, epoch, leases.monotonic(clock) + LEASE_S)


async def _know_everything(_: SiteDispatch) -> bool:
    return True


_objection = Egress._objection


def _object_to_no_time(self: Egress, session: Any, order: Any, _intent: Any) -> str | None:
    return _objection(self, session, order, None)


LEASE: tuple[Patch, ...] = ((leases, "take", _take_it_anyway),)
FENCE: tuple[Patch, ...] = (
    (leases, "is_in_force", lambda *_: True),
    (leases, "extend", lambda *_: True),
)
DEVICE_EXPIRY = "device expiry"
GUARDS: dict[str, tuple[Patch, ...]] = {
    "lease": LEASE,
    "fence": FENCE,
    "lease and fence": LEASE + FENCE,
    "deadline": ((Egress, "_objection", _object_to_no_time),),
    DEVICE_EXPIRY: (),
    "read-back": ((SiteDispatch, "resolve_unknown", _know_everything),),
    "kill switch": ((halts, "objections", lambda *_: {}), (halts, "objection", lambda *_: None)),
    "age of telemetry": ((telemetry, "is_fresh", lambda *_: True),),
    "nothing twice": ((SiteDispatch, "_is_due", lambda *_: True),),
}
"""By name: what is put in the place of what. Device expiry is the vendors', see `Setup.expires`."""


@contextmanager
def without(guard: str | None) -> Iterator[None]:
    """Run the product without one guard; None: as it is."""
    with ExitStack() as stack:
        for owner, name, replacement in GUARDS[guard] if guard else ():
            stack.enter_context(patch.object(owner, name, replacement))
        yield
