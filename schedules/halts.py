"""Kill switches, arming, trust: what a person may stop at any time, and must allow before anything moves.

Both are asked by the egress in the transaction that journals a command and once more directly before the socket, so
that they are in force at the next call. A release always passes: stopping must never keep a battery driven.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from adapters.contract import Clock
from engine.errors import InputError
from schedules.store import SITE_IDS, AccountRow, Database, EventRow, HaltRow, HaltScope, SafetyState, SiteRow

# Sites of which so little is known, or that somebody else drives, are let go of and left alone.
HANDS_OFF = (SafetyState.FALLBACK, SafetyState.QUARANTINED)

# What each scope's name is looked up in.
NAMED = {
    HaltScope.VENDOR: AccountRow.adapter,
    HaltScope.ACCOUNT: AccountRow.name,
    HaltScope.SITE: SiteRow.name,
}


def pull(db: Database, clock: Clock, scope: HaltScope, name: str, reason: str, by: str) -> int:
    """Stop everything but releases, everywhere or in one part, until it is lifted.

    Args:
        db: The store.
        clock: The time.
        scope: How much to stop.
        name: Of the vendor, account or site; empty for all.
        reason: Why; people who find the batteries at rest will ask.
        by: Who.

    Returns:
        The halt's number, to lift it with.

    Raises:
        InputError: There is no such vendor, account or site, or the reason is empty.
    """
    _refuse_empty("reason", reason)
    with db.write() as session:
        if scope in NAMED and session.scalar(select(NAMED[scope]).where(NAMED[scope] == name).limit(1)) is None:
            known = sorted(set(session.scalars(select(NAMED[scope]))))
            raise InputError(scope.value, f"there is no {name!r}", f"choose one of {', '.join(known) or 'none'}")
        halt = HaltRow(scope=scope, name=name if scope in NAMED else "", reason=reason, by=by, since=clock())
        session.add(halt)
        session.flush()
        session.add(EventRow(at=clock(), kind="halt.pulled", by=by, text=f"{scope.value} {name}: {reason}"))
        return halt.id


def lift(db: Database, clock: Clock, halt_id: int, by: str) -> None:
    """Let things go on.

    Raises:
        InputError: There is no such halt in force.
    """
    with db.write() as session:
        halt = session.get(HaltRow, halt_id)
        if halt is None or halt.lifted_at is not None:
            raise InputError("halt", f"there is no halt {halt_id} in force", "see which are: tidewatt status")
        halt.lifted_at, halt.lifted_by = clock(), by
        session.add(EventRow(at=clock(), kind="halt.lifted", by=by, text=f"{halt.scope.value} {halt.name}"))


def in_force(db: Database) -> list[HaltRow]:
    """All halts that are not lifted, oldest first."""
    with db.session() as session:
        return list(session.scalars(select(HaltRow).where(HaltRow.lifted_at.is_(None)).order_by(HaltRow.id)))


# Built once: it is asked three times for every command. A site comes once for each halt, the oldest last.
_OBJECTIONS = (
    select(SiteRow.id, SiteRow.safety, AccountRow.name, AccountRow.armed, HaltRow.by, HaltRow.reason)
    .outerjoin(AccountRow, SiteRow.account_id == AccountRow.id)
    .outerjoin(
        HaltRow,
        HaltRow.lifted_at.is_(None)
        & or_(
            HaltRow.scope == HaltScope.GLOBAL,
            *((HaltRow.scope == scope) & (HaltRow.name == named) for scope, named in NAMED.items()),
        ),
    )
    .where(SiteRow.id.in_(SITE_IDS))
    .order_by(HaltRow.id.desc())
)


def objection(session: Session, site_id: int) -> str | None:
    """Why a site may not be driven: a halt, an account that is not armed, no trust; None: it may."""
    return objections(session, [site_id]).get(site_id)


def objections(session: Session, site_ids: Sequence[int]) -> dict[int, str]:
    """The same for many sites; those that nothing stands against are left out."""
    against = {}
    found: Iterator[Any] = iter(session.execute(_OBJECTIONS, {"site_ids": site_ids}))
    for site_id, safety, account, armed, halted_by, reason in found:
        if halted_by is not None:
            against[site_id] = f"halted by {halted_by}: {reason}"
        elif not armed:
            against[site_id] = f"account {account} is not armed"
        elif safety in HANDS_OFF:
            against[site_id] = f"the site is in {safety.value}"
    return against


def arm(db: Database, clock: Clock, account: str, by: str) -> None:
    """Allow an account's batteries to be driven.

    Raises:
        InputError: There is no such account.
    """
    _set_armed(db, clock, account, by, armed=True)


def disarm(db: Database, clock: Clock, account: str, by: str) -> None:
    """Allow it no more; at its next tick the dispatcher releases what is driven.

    Raises:
        InputError: There is no such account.
    """
    _set_armed(db, clock, account, by, armed=False)


def _set_armed(db: Database, clock: Clock, name: str, by: str, *, armed: bool) -> None:
    with db.write() as session:
        account = session.scalar(select(AccountRow).where(AccountRow.name == name))
        if account is None:
            known = sorted(session.scalars(select(AccountRow.name)))
            raise InputError("account", f"there is no {name!r}", f"choose one of {', '.join(known) or 'none'}")
        account.armed, account.armed_by, account.armed_at = armed, by, clock()
        kind = "account.armed" if armed else "account.disarmed"
        session.add(EventRow(at=clock(), kind=kind, by=by, account_id=account.id, text=name))


def _refuse_empty(field: str, text: str) -> None:
    if not text.strip():
        raise InputError(field, "it is empty", "say it in a few words")
