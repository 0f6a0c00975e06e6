"""Groups of sites and portfolios of groups: what strategies are inherited through."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from adapters.contract import Clock
from engine.errors import InputError
from schedules import strategies
from schedules.store import Database, EventRow, SiteGroupRow, SiteRow
from schedules.strategy_changes import refuse_contradictions, take_turns, wanted_of


@dataclass(frozen=True)
class Group:
    """A group, its portfolio if it is in one, and the names of its sites."""

    name: str
    portfolio: str | None
    sites: list[str]


def groups(db: Database) -> list[Group]:
    """All groups by name, with those of their sites that are under accounts."""
    with db.session() as session:
        rows = session.scalars(select(SiteGroupRow).order_by(SiteGroupRow.name)).all()
        members = session.execute(
            select(SiteRow.group_id, SiteRow.name).where(SiteRow.account_id.is_not(None)).order_by(SiteRow.name)
        ).all()
    return [Group(row.name, row.portfolio, [name for group_id, name in members if group_id == row.id]) for row in rows]


def put_group(db: Database, clock: Clock, name: str, portfolio: str | None, by: str) -> None:
    """Make a group, or put one into another portfolio.

    Args:
        db: The store.
        clock: The time.
        name: What it is called.
        portfolio: What its portfolio is called; None: it is in none.
        by: Who does it.

    Raises:
        InputError: A name is empty, or a site of the group would inherit what cannot become a plan; nothing is changed.
    """
    if not name.strip() or (portfolio is not None and not portfolio.strip()):
        raise InputError("portfolio" if name.strip() else "group", "its name is empty", "give it one")
    with db.write() as session:
        take_turns(session)
        row = session.scalar(select(SiteGroupRow).where(SiteGroupRow.name == name))
        if row is None:
            row = SiteGroupRow(name=name)
            session.add(row)
        elif row.portfolio == portfolio:
            return
        said = f"group {name}: portfolio {row.portfolio or 'none'} -> {portfolio or 'none'}"
        row.portfolio = portfolio
        session.flush()
        _refuse(session, SiteRow.group_id == row.id)
        session.add(EventRow(at=clock(), kind="group.changed", by=by, text=said))


def put_sites(db: Database, clock: Clock, sites: Sequence[str], group: str | None, by: str) -> None:
    """Put sites into a group, each out of the one that it was in; they inherit its strategy from now on.

    Args:
        db: The store.
        clock: The time.
        sites: Their names.
        group: The group; None: they are in none any more.
        by: Who does it.

    Raises:
        InputError: There is no such group or site, or a site would inherit what cannot become a plan; nothing is
            changed.
    """
    now = clock()
    with db.write() as session:
        take_turns(session)
        target = session.scalar(select(SiteGroupRow).where(SiteGroupRow.name == group)) if group is not None else None
        if group is not None and target is None:
            raise InputError(f"group {group}", "is not in the store", "see `tidewatt groups list`")
        names = {row.id: row.name for row in session.scalars(select(SiteGroupRow))}
        moved = []
        for name in sites:
            row = session.scalar(select(SiteRow).where(SiteRow.name == name, SiteRow.account_id.is_not(None)))
            if row is None:
                raise InputError(f"site {name}", "is not in the store", "see `tidewatt sites list`")
            said = f"group {names.get(row.group_id or 0, 'none')} -> {group or 'none'}"
            row.group_id = target.id if target else None
            moved.append(row.id)
            kept = {"by": by, "account_id": row.account_id, "site_id": row.id, "text": said}
            session.add(EventRow(at=now, kind="site.group", **kept))
        session.flush()
        _refuse(session, SiteRow.id.in_(moved))


def _refuse(session: Session, wanted: ColumnElement[bool]) -> None:
    effective = strategies.of_sites(session, wanted)
    sites = strategies.under_accounts(session, wanted)
    refuse_contradictions(wanted_of(session, sites, effective))
