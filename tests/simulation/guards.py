"""The guards that keep the invariants, each of which can be taken away to see what it was good for."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from sqlalchemy import delete, update
from sqlalchemy.orm import Session

from adapters.contract import Clock
from adapters.quota import Meter
from schedules import egress, halts, journal, leases, site_dispatch, telemetry
from schedules.egress import Egress
from schedules.leases import LEASE_S, Lease
from schedules.site_dispatch import SiteDispatch
from schedules.store import AccountRow, CommandRow, CommandState, Database
from schedules.store.models import UNRESOLVED

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


def _close_again(
    db: Database, clock: Clock, command_id: int, state: CommandState, outcome: str, retryable: bool = False
) -> CommandRow:
    with db.write() as session:
        row = session.get_one(CommandRow, command_id)
        row.state, row.answered_at, row.resolved_at = state, clock(), None
        row.outcome, row.retryable = outcome, retryable
        return row


_write_ahead = journal.write_ahead


def _write_over(session: Session, now: dt.datetime, site_id: int, *rest: Any) -> CommandRow:
    settled = CommandRow.state.not_in(UNRESOLVED)
    session.execute(delete(CommandRow).where(CommandRow.site_id == site_id, settled))
    return _write_ahead(session, now, site_id, *rest)


def _write_as_done(*arguments: Any) -> CommandRow:
    row = _write_ahead(*arguments)
    row.state, row.answered_at = CommandState.ACCEPTED, row.sent_at
    return row


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
    "quota": ((Meter, "take", lambda *_, **__: None),),
    "nothing twice": ((SiteDispatch, "_is_due", lambda *_: True),),
}
"""By name: what is put in the place of what. Device expiry is the vendors', see `Setup.expires`."""
FINER_GUARDS: dict[str, tuple[Patch, ...]] = {
    "replaced intents": ((Egress, "_is_wanted", lambda *_: True),),
    "nameplate": ((site_dispatch, "above_nameplate", lambda *_: None), (egress, "above_nameplate", lambda *_: None)),
    "letting go": ((SiteDispatch, "_drives", lambda _: False),),
    "a settled row stays": ((journal, "close", _close_again),),
    "rows are only added": ((journal, "write_ahead", _write_over),),
    "a row says SENDING first": ((journal, "write_ahead", _write_as_done),),
}
"""Those that drawn days are no good for: their plans are sound, and nobody looks into the journal there."""


@contextmanager
def without(guard: str | None) -> Iterator[None]:
    """Run the product without one guard; None: as it is."""
    with ExitStack() as stack:
        for owner, name, replacement in (GUARDS | FINER_GUARDS)[guard] if guard else ():
            stack.enter_context(patch.object(owner, name, replacement))
        yield
