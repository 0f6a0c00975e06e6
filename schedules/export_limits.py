"""The limit of what a site feeds in, beside what its battery is told: which one is wanted, in force, and due.

A limit is absolute and stays until the next one, so sending it again harms nobody and settles a lost answer. To lift it
is to set what the connection allows, and passes whatever stops the rest, as a release does.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from sqlalchemy import select
from sqlalchemy.orm import Session

from adapters.contract import Clock, Command, ExportLimiting
from schedules import journal, telemetry
from schedules.confirmation import SAMPLES, Tolerance
from schedules.sites import ControlledSite
from schedules.store import CommandRow, CommandState, Database, EventRow, IntentRow

# What may be taken a moment later is tried again after this [s].
RETRYABLE_AGAIN_S = 60.0
# What was refused, or not answered, is tried again after this [s]; each try may cost one of few calls.
TRY_AGAIN_S = 600.0
EXCEEDED_EVENT = "site.export_above_limit"


def due(
    session: Session, target: ControlledSite, intent: IntentRow | None, now: dt.datetime, *, at_once: bool = False
) -> Command | None:
    """The call that brings a site's limit of export to what is wanted; None: none is to be made now.

    Args:
        session: The store.
        target: The site.
        intent: What it is to do; None: nothing is wanted of it, or nobody may drive it.
        now: The time.
        at_once: Whether no wait after a call in vain holds it up; None then means that what is wanted is in force.

    Raises:
        IntentRefusedError: The vendor does not take such a limit.
    """
    adapter, device = target.adapter, target.device
    if not isinstance(adapter, ExportLimiting):
        return None
    # Asked for first: what could not be lifted is not set.
    lifted = replace(adapter.limit_export(device, target.site.grid.export_limit_kw), releases=True)
    command = lifted
    if intent is not None and intent.export_limit_kw is not None and adapter.limits_export(device):
        command = adapter.limit_export(device, intent.export_limit_kw)
    tried = journal.newest_limit(session, target.id)
    taken = _not_refused(session, target.id, tried)
    if taken is None and command is lifted:
        return None
    if taken is not None and taken.state is CommandState.ACCEPTED and taken.payload == command.payload:
        return None
    if tried is not None and tried.payload == command.payload and not at_once:
        wait_s = RETRYABLE_AGAIN_S if tried.retryable else TRY_AGAIN_S
        if now - tried.sent_at < dt.timedelta(seconds=wait_s):
            return None
    return command


def may_be_in_force(session: Session, site_id: int) -> bool:
    """Whether a limit of ours may be in force."""
    taken = _not_refused(session, site_id, journal.newest_limit(session, site_id))
    is_lifted = taken is not None and taken.intent_id is None and taken.state is CommandState.ACCEPTED
    return taken is not None and not is_lifted


def note_exceeded(db: Database, clock: Clock, target: ControlledSite, by: str) -> None:
    """Write down that a site feeds in more than the limit that its vendor took, once for each limit.

    Args:
        db: The store.
        clock: The time.
        target: The site.
        by: Who noticed, for the record: a worker.
    """
    if not isinstance(target.adapter, ExportLimiting):
        return
    now, abilities = clock(), target.adapter.abilities
    with db.session() as session:
        row = _not_refused(session, target.id, journal.newest_limit(session, target.id))
        if row is None or row.intent_id is None or row.answered_at is None:
            return
        limit_kw = session.get_one(IntentRow, row.intent_id).export_limit_kw or 0.0
    settled = row.answered_at + dt.timedelta(seconds=abilities.settling_s)
    seen = [each.grid_kw for each in telemetry.between(db, target.id, settled, now) if each.grid_kw is not None]
    allowed_kw = limit_kw + Tolerance.of(abilities).power(limit_kw)
    if len(seen) < SAMPLES or any(-grid_kw <= allowed_kw for grid_kw in seen[-SAMPLES:]):
        return
    with db.write() as session:
        noted = select(EventRow.id).where(
            EventRow.site_id == target.id, EventRow.kind == EXCEEDED_EVENT, EventRow.at >= row.sent_at
        )
        if session.scalar(noted.limit(1)) is None:
            text = f"{-seen[-1]:.2f} kW are fed in, the limit is {limit_kw:g} kW (command {row.id})"
            ids = {"account_id": target.account_id, "site_id": target.id}
            session.add(EventRow(at=now, kind=EXCEEDED_EVENT, by=by, text=text, **ids))


def _not_refused(session: Session, site_id: int, newest: CommandRow | None) -> CommandRow | None:
    """The newest limit that the vendor took, or may have taken."""
    if newest is None or newest.state is not CommandState.REJECTED:
        return newest
    return journal.newest_limit(session, site_id, CommandRow.state != CommandState.REJECTED)
