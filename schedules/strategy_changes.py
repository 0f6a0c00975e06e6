"""Saving a new version of a strategy: only if every site that it concerns can still be planned."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from adapters.contract import Clock
from engine import Site, Strategy, columns
from engine.errors import InputError, input_error_from
from engine.inputs import build_stack
from engine.request import Request
from schedules import inputs, strategies
from schedules.inheritance import Effective, Scope, ScopeKind, Version, described
from schedules.store import Database, EventRow, SiteRow, StrategyVersionRow

# What has come to pass is no wish; `schedules.cycles` measures it for every plan.
MEASURED = frozenset(name for name in Strategy.model_fields if name.endswith("_so_far"))
# Whether a plan could be made is tried on two hours of nothing.
_NOTHING = pd.Series(0.0, pd.date_range("2024-01-01", periods=2, freq="1h", tz="UTC"))


@dataclass(frozen=True)
class Change:
    """What a version that is yet to be saved makes of one site."""

    site_id: int
    site: Site
    before: Effective
    after: Effective


def preview(db: Database, clock: Clock, scope: Scope, fields: Mapping[str, Any]) -> list[Change]:
    """What a version would make of each site under accounts that inherits from its scope; nothing is saved.

    Raises:
        InputError: As `save`.
    """
    with db.session() as session:
        return _changes(session, Version(scope, 0, checked(fields), "", "", clock()))


def save(
    db: Database,
    clock: Clock,
    scope: Scope,
    fields: Mapping[str, Any],
    by: str,
    note: str = "",
    based_on: int | None = None,
    event: str = "strategy.set",
) -> Version:
    """Put a new version of a scope in force; the sites concerned are planned again at the next tick.

    Args:
        db: The store.
        clock: The time.
        scope: For which sites.
        fields: All that is set at this scope from now on; what is left out is inherited.
        by: Who wants it.
        note: Why, for the record.
        based_on: The version that the author has in view, 0 for none; None: whichever is in force.
        event: What it is called among the events.

    Raises:
        InputError: There is no such scope, a field is unknown or out of its bound, somebody else has saved a version
            meanwhile, or a site would be left with wishes that cannot become a plan. Nothing is saved.
    """
    if not by.strip():
        raise InputError("by", "it is empty", "say who wants it")
    fields, now = checked(fields), clock()
    with db.write() as session:
        take_turns(session)
        newest = strategies.newest_version(session, scope)
        if newest is not None and based_on not in (None, newest.number):
            problem = f"{newest} came from {newest.by} meanwhile"
            raise InputError("strategy", problem, "look at it and try again")
        draft = Version(scope, 0, fields, by, note, now)
        _changes(session, draft)
        made = replace(draft, number=newest.number + 1 if newest else 1)
        session.add(
            StrategyVersionRow(scope=str(scope), number=made.number, fields=fields, by=by, note=note, made_at=now)
        )
        said = f"{made}: {described(newest.fields if newest else {}, fields)}{f' ({note})' if note else ''}"
        row = EventRow(at=now, kind=event, by=by, text=said)
        if scope.kind is ScopeKind.SITE:
            numbers = select(SiteRow.id, SiteRow.account_id).where(strategies.sites_of(scope))
            row.site_id, row.account_id = session.execute(numbers).one()
        session.add(row)
        return made


def rollback(
    db: Database, clock: Clock, scope: Scope, number: int, by: str, note: str = "", based_on: int | None = None
) -> Version:
    """Put an older version in force again, as a new one that repeats it.

    Raises:
        InputError: As `save`, or the scope has no version of that number.
    """
    with db.session() as session:
        old = strategies.version(session, scope, number)
    return save(db, clock, scope, old.fields, by, note or f"as version {number}", based_on, "strategy.rolled_back")


def checked(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Fields as the store has them, each judged for itself: what it goes with may be inherited.

    Raises:
        InputError: One is unknown, out of its bound, or measured rather than wished for.
    """
    found: dict[str, Any] = {}
    for name, value in fields.items():
        if name in MEASURED:
            raise InputError(name, f"value {value!r} is not for people to set", "leave it out; it is measured")
        try:
            model = Strategy.model_validate({name: value})
        except ValidationError as error:
            if any(fault["loc"] for fault in error.errors()):
                raise input_error_from(error) from None
            found[name] = to_jsonable_python(value)
        else:
            found |= model.model_dump(mode="json", exclude_unset=True)
    return found


@dataclass(frozen=True)
class Wanted:
    """A site and what is wanted of it."""

    site: Site
    effective: Effective
    published: frozenset[str]
    """Which of `inputs.MARKETS` there are for it."""


def wanted_of(session: Session, sites: Mapping[int, Site], effective: Mapping[int, Effective]) -> list[Wanted]:
    """Some sites with what is wanted of them and what that can be planned with."""
    published = inputs.published_for_markets(session, sites)
    return [Wanted(site, effective[site_id], published[site_id]) for site_id, site in sites.items()]


def refuse_contradictions(wanted: Iterable[Wanted]) -> None:
    """Refuse strategies that contradict themselves or the site that they are for, or ask for what nobody publishes.

    Raises:
        InputError: Names the site, the fields, and the versions that they are from.
    """
    # Most sites want the same: those are tried together.
    alike: dict[str, list[Wanted]] = {}
    for each in wanted:
        key = repr((sorted(each.effective.fields.items()), sorted(each.published)))
        alike.setdefault(key, []).append(each)
    for together in alike.values():
        try:
            _refuse_unplannable([each.site for each in together], together[0])
        except InputError:
            for each in together:
                try:
                    _refuse_unplannable([each.site], each)
                except InputError as error:
                    raise InputError(f"site {each.site.name}: {error.field}", error.problem, error.way_out) from None
            raise


def take_turns(session: Session) -> None:
    """Have writers of strategies and groups wait for each other: what two of them save must agree together, too."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("LOCK TABLE strategy_version IN SHARE ROW EXCLUSIVE MODE"))


def _changes(session: Session, draft: Version) -> list[Change]:
    strategies.refuse_unknown(session, draft.scope)
    wanted = strategies.sites_of(draft.scope)
    before, after = (strategies.of_sites(session, wanted, each) for each in (None, draft))
    sites = strategies.under_accounts(session, wanted)
    refuse_contradictions(wanted_of(session, sites, after))
    return [Change(site_id, site, before[site_id], after[site_id]) for site_id, site in sites.items()]


def _refuse_unplannable(sites: Sequence[Site], wanted: Wanted) -> None:
    strategy = wanted.effective.strategy
    given = columns.arguments(pd.DataFrame(dict.fromkeys(wanted.published, _NOTHING)), strategy)
    request = Request(import_price=_NOTHING, export_price=_NOTHING, initial_soc=0.5, strategy=strategy, **given)
    try:
        build_stack(sites, request)
    except InputError as error:
        raise wanted.effective.explained(error) from None
