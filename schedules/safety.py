"""How far a site is trusted: NORMAL, DEGRADED, FALLBACK, QUARANTINED, as the signs call for it.

The shape is that of EEBUS' limitation of power: what is not heard of, or does not do as told, falls back by itself, and
comes back only after the cause has been gone for a while. What cannot be true (a sign or a unit turned round) is left
alone until a person has looked.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

from sqlalchemy import bindparam, select

from adapters.contract import Clock
from engine import InputError
from schedules.plausibility import Doubt
from schedules.signs import EXTERNAL_EVENT, VERDICTS, Signs
from schedules.store import Database, EventRow, SafetyState, SiteRow

SEVERITY = list(SafetyState)
# Two readings of five minutes in a row must be good: one good between bad ones sends no battery to and fro [s].
CALM_S = 600.0
# A reading may be lost now and then; three in a row mean that nobody knows the state of charge.
STALE_CADENCES = 3
# By now an hour has usually gone: whatever still runs was decided on what is no longer known.
LOST_CADENCES = 12
# Once is a hiccup of a vendor's cloud, three stretches in a row are a pattern; after six letting go is the better end.
INEFFECTIVE_DEGRADES, INEFFECTIVE_RELEASES = 3, VERDICTS
# Read back, a lost answer is settled within a few cadences; beyond this it will not settle by itself [s].
UNKNOWN_DEGRADES_S, UNKNOWN_RELEASES_S = 900.0, 3600.0
# Two accidents are overruled; a third change on one local day is somebody's wish.
EXTERNAL_YIELDS = 3
QUARANTINING = (Doubt.SIGN, Doubt.UNIT)


def step(state: SafetyState, since: dt.datetime | None, signs: Signs, now: dt.datetime) -> tuple[SafetyState, str]:
    """The state that follows.

    Down at once, by as many steps as the signs call for; up only when they have called for less for `CALM_S`, and out
    of QUARANTINED never.

    Args:
        state: The state now.
        since: When the signs last called for it; None: never.
        signs: What speaks against trusting the site.
        now: The time.

    Returns:
        The state, and why in words; an empty reason where nothing speaks against the site, or nothing new does.
    """
    wanted, reason = called_for(signs)
    if SEVERITY.index(wanted) >= SEVERITY.index(state):
        return wanted, reason
    if state is SafetyState.QUARANTINED:
        return state, ""
    if since is not None and now - since < dt.timedelta(seconds=CALM_S):
        return state, ""
    return wanted, reason


def called_for(signs: Signs) -> tuple[SafetyState, str]:
    """The mildest state that the signs allow, and why."""
    normal, degraded, fallback, quarantined = SEVERITY
    reasons = [
        *((quarantined if found.doubt in QUARANTINING else degraded, str(found)) for found in signs.findings),
        _of_age(signs),
        (
            _graded(signs.ineffective, INEFFECTIVE_DEGRADES, INEFFECTIVE_RELEASES),
            f"{signs.ineffective} stretches in a row had no effect",
        ),
        (
            _graded(signs.unknown_s, UNKNOWN_DEGRADES_S, UNKNOWN_RELEASES_S),
            f"the fate of a command has been unknown for {signs.unknown_s / 60:.0f} min",
        ),
        (
            fallback if signs.external >= EXTERNAL_YIELDS else normal,
            f"external: others changed it {signs.external} times today; theirs until the local day ends",
        ),
        (quarantined if signs.opposite else normal, "the battery did the opposite of its command: a sign is wrong"),
    ]
    state, reason = max(reasons, key=lambda each: SEVERITY.index(each[0]))
    return state, "" if state is normal else reason


def _of_age(signs: Signs) -> tuple[SafetyState, str]:
    if signs.state_age_s is None:
        return SafetyState.DEGRADED, "its state of charge was never seen"
    cadences = signs.state_age_s / signs.state_cadence_s
    return (
        # Exactly three cadences old is the fourth reading about to come.
        _graded(cadences, STALE_CADENCES + 1e-9, LOST_CADENCES + 1e-9),
        f"its state of charge was seen {signs.state_age_s / 60:.0f} min ago",
    )


def _graded(value: float, degrades: float, releases: float) -> SafetyState:
    if value >= releases:
        return SafetyState.FALLBACK
    return SafetyState.DEGRADED if value >= degrades else SafetyState.NORMAL


_TRUST = select(SiteRow.safety, SiteRow.safety_cause_at).where(SiteRow.id == bindparam("site_id"))


def apply(db: Database, clock: Clock, site_id: int, signs: Signs, by: str) -> SafetyState:
    """Move a site to the state that its signs call for, and write down every change.

    Args:
        db: The store.
        clock: The time.
        site_id: The site.
        signs: What speaks against trusting it.
        by: Who judges: a worker.

    Returns:
        The state it is in now.
    """
    now = clock()
    # A site that was never seen waits for its first reading, and for no calm after it: nothing was wrong.
    wanted, _ = called_for(replace(signs, state_age_s=signs.state_age_s or 0.0))
    with db.session() as session:
        before, since = session.execute(_TRUST, {"site_id": site_id}).one()
    if wanted is SafetyState.NORMAL and step(before, since, signs, now)[0] is before:
        return before  # nothing to write, for nearly all sites at nearly all times
    with db.write() as session:
        row = session.get_one(SiteRow, site_id, with_for_update=True)
        state, reason = step(row.safety, row.safety_cause_at, signs, now)
        if wanted is not SafetyState.NORMAL and SEVERITY.index(wanted) >= SEVERITY.index(row.safety):
            row.safety_cause_at = now
        if state is not row.safety:
            row.safety, row.safety_since, row.safety_reason = state, now, reason
            session.add(_event(now, f"site.{state.value}", by, row, reason or "nothing speaks against it any more"))
        return state


def clear(db: Database, clock: Clock, site: str, by: str, reason: str) -> None:
    """Let a site be driven again after a person has looked; what spoke against it until now counts no more.

    It is DEGRADED first, and NORMAL once nothing has spoken against it for `CALM_S`.

    Args:
        db: The store.
        clock: The time.
        site: Its name.
        by: The person.
        reason: What was found, for the record.

    Raises:
        InputError: There is no such site, or nobody says who and why.
    """
    if not by.strip() or not reason.strip():
        raise InputError("reason", "a clearing has no name or no reason", "say who cleared it and what was found")
    now = clock()
    with db.write() as session:
        row = session.scalar(select(SiteRow).where(SiteRow.name == site).with_for_update())
        if row is None:
            raise InputError("site", f"value {site!r} is not in the store", "list the sites by `tidewatt status`")
        row.safety, row.safety_since, row.safety_reason = SafetyState.DEGRADED, now, f"cleared by {by}: {reason}"
        row.safety_cause_at = row.safety_cleared_at = now
        session.add(_event(now, "site.cleared", by, row, reason))


def note_external(db: Database, clock: Clock, site_id: int, by: str, text: str) -> None:
    """Write down that somebody else changed what a device does; three on a local day are yielded to."""
    with db.write() as session:
        session.add(_event(clock(), EXTERNAL_EVENT, by, session.get_one(SiteRow, site_id), text))


def _event(now: dt.datetime, kind: str, by: str, row: SiteRow, text: str) -> EventRow:
    return EventRow(at=now, kind=kind, by=by, account_id=row.account_id, site_id=row.id, text=text)
