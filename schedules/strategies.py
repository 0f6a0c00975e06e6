"""Strategies in the store: which versions there are, and what is wanted of which site now."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, literal, or_, select, true
from sqlalchemy.orm import Session

from engine import Site
from engine.errors import InputError
from schedules.inheritance import Effective, Scope, ScopeKind, Version, scopes_of
from schedules.store import Database, SiteGroupRow, SiteRow, StrategyVersionRow

_OF_GROUP = SiteRow.group_id == SiteGroupRow.id


def of_site(db: Database, site_id: int) -> Effective:
    """What is wanted of a site now."""
    with db.session() as session:
        return of_sites(session, SiteRow.id == site_id)[site_id]


def of_sites(session: Session, wanted: ColumnElement[bool], draft: Version | None = None) -> dict[int, Effective]:
    """What is wanted of some sites now, in two queries however many they are.

    Args:
        session: The store.
        wanted: Which sites, of `SiteRow` joined with its `SiteGroupRow`.
        draft: As if this version were in force, too.
    """
    row = StrategyVersionRow
    of_these = select(literal("site:") + SiteRow.name).outerjoin(SiteGroupRow, _OF_GROUP).where(wanted)
    known = _newest(session, or_(~row.scope.startswith("site:"), row.scope.in_(of_these)))
    if draft is not None:
        known[draft.scope] = draft
    places = (
        select(SiteRow.id, SiteRow.name, SiteGroupRow.name, SiteGroupRow.portfolio)
        .outerjoin(SiteGroupRow, _OF_GROUP)
        .where(wanted)
    )
    return {
        site_id: Effective(tuple(known[scope] for scope in scopes_of(*place) if scope in known))
        for site_id, *place in session.execute(places)
    }


def of_scope(session: Session, scope: Scope) -> Effective:
    """What is wanted at a scope, with all that it inherits.

    Raises:
        InputError: There is no such site, group or portfolio.
    """
    refuse_unknown(session, scope)
    group = select(SiteGroupRow.name, SiteGroupRow.portfolio).outerjoin(SiteRow, _OF_GROUP).where(sites_of(scope))
    found = session.execute(group.limit(1)).first()
    if scope.kind is ScopeKind.PORTFOLIO:
        scopes = scopes_of(None, None, scope.name)
    else:
        scopes = scopes_of(scope.name if scope.kind is ScopeKind.SITE else None, *(found or (None, None)))
    known = _newest(session, StrategyVersionRow.scope.in_([str(each) for each in scopes]))
    return Effective(tuple(known[each] for each in scopes if each in known))


def versions(db: Database, scope: Scope | None = None) -> list[Version]:
    """All versions of a scope, or of every one, by scope and number.

    Raises:
        InputError: There is no such site, group or portfolio.
    """
    row = StrategyVersionRow
    query = select(row).order_by(row.scope, row.number)
    with db.session() as session:
        if scope is not None:
            refuse_unknown(session, scope)
            query = query.where(row.scope == str(scope))
        return [_version(found) for found in session.scalars(query)]


def newest_version(session: Session, scope: Scope) -> Version | None:
    """The version of a scope that is in force; None: it has none yet.

    Raises:
        InputError: There is no such site, group or portfolio.
    """
    refuse_unknown(session, scope)
    return _newest(session, StrategyVersionRow.scope == str(scope)).get(scope)


def version(session: Session, scope: Scope, number: int) -> Version:
    """One version of a scope.

    Raises:
        InputError: There is no such scope, or it has no version of that number.
    """
    refuse_unknown(session, scope)
    row = StrategyVersionRow
    found = session.scalar(select(row).where(row.scope == str(scope), row.number == number))
    if found is None:
        problem = f"value {number} is none of {scope}"
        raise InputError("version", problem, f"see `tidewatt strategy list '{scope}'`")
    return _version(found)


def sites_of(scope: Scope) -> ColumnElement[bool]:
    """Which sites inherit from a scope, of `SiteRow` joined with its `SiteGroupRow`."""
    if not scope.name:
        return true()
    named = {
        ScopeKind.PORTFOLIO: SiteGroupRow.portfolio,
        ScopeKind.GROUP: SiteGroupRow.name,
        ScopeKind.SITE: SiteRow.name,
    }
    return named[scope.kind] == scope.name


def under_accounts(session: Session, wanted: ColumnElement[bool]) -> dict[int, Site]:
    """The assets of those of some sites that the installation looks after, by their ids, in the order of names."""
    found = session.execute(
        select(SiteRow.id, SiteRow.assets)
        .outerjoin(SiteGroupRow, _OF_GROUP)
        .where(wanted, SiteRow.account_id.is_not(None))
        .order_by(SiteRow.name)
    )
    return {site_id: Site.model_validate(assets) for site_id, assets in found}


def refuse_unknown(session: Session, scope: Scope) -> None:
    """Refuse a scope that is not there.

    Raises:
        InputError: There is no such site under an account, no such group, or no group in such a portfolio.
    """
    if not scope.name:
        return
    if scope.kind is ScopeKind.SITE:
        known, command = select(SiteRow.id).where(sites_of(scope), SiteRow.account_id.is_not(None)), "sites list"
    else:
        known, command = select(SiteGroupRow.id).where(sites_of(scope)), "groups list"
    if session.scalar(known.limit(1)) is None:
        raise InputError(f"{scope.kind.value} {scope.name}", "is not in the store", f"see `tidewatt {command}`")


def _newest(session: Session, wanted: ColumnElement[bool]) -> dict[Scope, Version]:
    row = StrategyVersionRow
    last = select(func.max(row.id)).where(wanted).group_by(row.scope)
    found = (_version(each) for each in session.scalars(select(row).where(row.id.in_(last))))
    return {version.scope: version for version in found}


def _version(row: StrategyVersionRow) -> Version:
    return Version(Scope.parse(row.scope), row.number, row.fields, row.by, row.note, row.made_at)
