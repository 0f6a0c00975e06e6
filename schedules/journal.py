"""The journal of vendor calls: written before the socket opens, only added to, enough to recover from any crash."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, func, literal_column, or_, select
from sqlalchemy.orm import Session

from adapters.contract import Abilities, Clock, Command
from schedules.leases import Lease
from schedules.store import SITE_IDS, CommandRow, CommandState, Database, SiteRow
from schedules.store.models import SETTLED_LATER, UNRESOLVED, CommandKind

OF_BATTERY = CommandRow.kind != CommandKind.LIMIT
# Said as the index says it, for SQLite does not see through a parameter.
_IS_LIMIT = CommandRow.kind == literal_column(f"'{CommandKind.LIMIT.value}'")


@dataclass(frozen=True)
class Standing:
    """Where a site's battery stands by its journal; limits of export are apart, see `newest_limit`."""

    newest: CommandRow | None = None
    released: CommandRow | None = None
    """The newest release that was accepted."""
    stopped: CommandRow | None = None
    """The newest release or hold that was accepted: it has ended every set-point before it."""
    driving: CommandRow | None = None
    """The newest call that drives the battery, was not refused, and has not ended by its own end."""
    unresolved: tuple[CommandRow, ...] = ()
    """Calls whose fate nobody knows."""

    def drives(self, abilities: Abilities, now: dt.datetime) -> bool:
        """Whether a command of ours may be in force on the device."""
        return self._may_be_in_force(self.released, abilities, now)

    def moves(self, abilities: Abilities, now: dt.datetime) -> bool:
        """Whether a set-point of ours may be in force; a hold, as a release, has ended those before it."""
        return self._may_be_in_force(self.stopped, abilities, now)

    def _may_be_in_force(self, end: CommandRow | None, abilities: Abilities, now: dt.datetime) -> bool:
        driving = self.driving
        if driving is None or (end is not None and end.id >= driving.id):
            return False
        lifetime_s = abilities.command_lifetime_s
        # The lease runs from when the vendor had the command, at the latest when it answered.
        return lifetime_s is None or now - (driving.answered_at or driving.sent_at) < dt.timedelta(seconds=lifetime_s)


def _newest(*conditions: ColumnElement[bool]) -> ScalarSelect[int]:
    return (
        select(CommandRow.id)
        .where(CommandRow.site_id == SiteRow.id, *conditions)
        .order_by(CommandRow.id.desc())
        .limit(1)
        .correlate(SiteRow)
        .scalar_subquery()
    )


# Built once: they are asked at every tick of every account.
_ACCEPTED = CommandRow.state == CommandState.ACCEPTED
_NEWEST = {
    "newest": _newest(OF_BATTERY),
    "released": _newest(CommandRow.kind == CommandKind.RELEASE, CommandRow.battery_kw == 0, _ACCEPTED),
    "stopped": _newest(OF_BATTERY, CommandRow.battery_kw == 0, _ACCEPTED),
    "driving": _newest(
        CommandRow.kind.in_((CommandKind.START, CommandKind.RENEW)),
        CommandRow.state != CommandState.REJECTED,
        # When one ends by itself the device goes back to the one before it.
        or_(CommandRow.ends_at.is_(None), CommandRow.ends_at > bindparam("now")),
    ),
}
_STANDINGS = select(SiteRow.id, *(ids.label(name) for name, ids in _NEWEST.items())).where(SiteRow.id.in_(SITE_IDS))
_ROWS = select(CommandRow).where(CommandRow.id.in_(bindparam("ids", expanding=True)))
_UNRESOLVED = select(CommandRow).where(CommandRow.site_id.in_(SITE_IDS), CommandRow.state.in_(UNRESOLVED), OF_BATTERY)


def standings(session: Session, site_ids: Sequence[int], now: dt.datetime) -> dict[int, Standing]:
    """Where each of some sites stands, in three queries however many they are."""
    found = session.execute(_STANDINGS, {"site_ids": site_ids, "now": now}).all()
    wanted = {number for _, *numbers in found for number in numbers if number is not None}
    rows = {row.id: row for row in session.scalars(_ROWS, {"ids": list(wanted)})} if wanted else {}
    unresolved = defaultdict(list)
    for row in session.scalars(_UNRESOLVED, {"site_ids": site_ids}):
        unresolved[row.site_id].append(row)
    return {
        site_id: Standing(
            **{name: rows.get(number) for name, number in zip(_NEWEST, numbers, strict=True)},
            unresolved=tuple(unresolved[site_id]),
        )
        for site_id, *numbers in found
    }


def newest_of_intent(session: Session, intent_id: int) -> CommandRow | None:
    """The newest call to the battery that was made for an intent."""
    return session.scalar(
        select(CommandRow).where(CommandRow.intent_id == intent_id, OF_BATTERY).order_by(CommandRow.id.desc()).limit(1)
    )


def releases_since(session: Session, driving: CommandRow) -> int:
    """How many releases were made since a call that drives a battery."""
    later = CommandRow.site_id == driving.site_id, CommandRow.id > driving.id
    count = select(func.count()).where(*later, CommandRow.kind == CommandKind.RELEASE)
    return session.scalar(count) or 0


def orders_of(session: Session, intent_id: int) -> int:
    """How many calls to the battery were made for an intent."""
    count = select(func.count()).where(CommandRow.intent_id == intent_id, OF_BATTERY)
    return session.scalar(count) or 0


def refusals_in_a_row(session: Session, refused: CommandRow) -> int:
    """How many calls to a site were refused in a row that were for the same intent as this one, or like it for none."""
    of_site = CommandRow.site_id == refused.site_id, OF_BATTERY
    taken = select(CommandRow.id).where(*of_site, CommandRow.state != CommandState.REJECTED)
    since = session.scalar(taken.order_by(CommandRow.id.desc()).limit(1)) or 0
    alike = CommandRow.intent_id.is_not_distinct_from(refused.intent_id)
    return session.scalar(select(func.count()).where(*of_site, alike, CommandRow.id > since)) or 0


def newest_limit(session: Session, site_id: int, *conditions: ColumnElement[bool]) -> CommandRow | None:
    """The newest call that limited a site's export, or lifted a limit."""
    return session.scalar(
        select(CommandRow)
        .where(CommandRow.site_id == site_id, _IS_LIMIT, *conditions)
        .order_by(CommandRow.id.desc())
        .limit(1)
    )


def supersede_limits(db: Database, clock: Clock, by: CommandRow) -> None:
    """Settle the calls before an accepted limit whose fate nobody knows: it has replaced whatever they did."""
    with db.session() as session:
        older = session.scalars(
            select(CommandRow.id).where(
                CommandRow.site_id == by.site_id,
                _IS_LIMIT,
                CommandRow.state.in_(UNRESOLVED),
                CommandRow.id < by.id,
            )
        ).all()
    for number in older:
        with suppress(SettledError):
            close(db, clock, number, CommandState.SUPERSEDED, f"replaced by command {by.id}")


def write_ahead(
    session: Session,
    now: dt.datetime,
    site_id: int,
    command: Command,
    kind: CommandKind,
    intent_id: int | None,
    not_after: dt.datetime | None,
    step_kw: float | None,
    lease: Lease,
    worker: str,
) -> CommandRow:
    """Add a call that is about to be made, as SENDING; it counts once the transaction is committed."""
    row = CommandRow(
        site_id=site_id,
        intent_id=intent_id,
        kind=kind,
        battery_kw=command.battery_kw,
        payload=dict(command.payload),
        ends_at=command.ends_at,
        state=CommandState.SENDING,
        sent_at=now,
        not_after=not_after,
        step_kw=step_kw,
        epoch=lease.epoch,
        worker=worker,
    )
    session.add(row)
    return row


class SettledError(RuntimeError):
    """What became of a call is known already; the journal is not rewritten."""


def close(
    db: Database, clock: Clock, command_id: int, state: CommandState, outcome: str, retryable: bool = False
) -> CommandRow:
    """Write what became of a call.

    Raises:
        SettledError: That is known already.
    """
    now = clock()
    with db.write() as session:
        # Two may find out at once, who sent it and who took the account over: the second waits, and finds it known.
        row = session.get_one(CommandRow, command_id, with_for_update=True)
        if row.state not in UNRESOLVED:
            raise SettledError(f"command {command_id} is {row.state.value} already; the journal is not rewritten")
        if row.state is CommandState.SENDING and state not in SETTLED_LATER:
            row.answered_at = now
        else:
            row.resolved_at = now
        row.state, row.retryable = state, retryable
        row.outcome = "; ".join(part for part in (row.outcome, outcome) if part)
        return row
