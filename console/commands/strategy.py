"""`tidewatt strategy`: what is wanted of portfolios, groups and sites, in versions; inherited field by field."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import StoreOption, open_store, whoami
from engine.errors import InputError

if TYPE_CHECKING:
    from schedules.inheritance import Scope, Version
    from schedules.store import Database

app = typer.Typer(
    help="Set and show what is wanted of a portfolio, a group or a site. A site inherits field by field: of all sites, "
    "of its group's portfolio, of its group. Nothing is overwritten: each change is a version.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
ScopeArgument = Annotated[
    str, typer.Argument(metavar="SCOPE", help="portfolio (all sites), portfolio:NAME, group:NAME, or a site's name.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
By = Annotated[str, typer.Option(help="Who wants it; unset: the user of this machine.")]
Note = Annotated[str, typer.Option(help="Why, for the record.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what it would come to, and save nothing.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do not ask before saving.")]
WithMoney = Annotated[bool, typer.Option("--what-if/--no-what-if", help="Plan every site concerned both ways first.")]


@app.command("list")
def list_command(
    scope: Annotated[str | None, typer.Argument(metavar="[SCOPE]", help="Of this scope only.")] = None,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """List all versions with their authors; the last of each scope is in force."""
    from console.strategies import version_record
    from schedules import strategies
    from schedules.inheritance import Scope

    with closing(open_store(store)) as db:
        found = strategies.versions(db, None if scope is None else Scope.parse(scope))
    if as_json:
        print(json.dumps([version_record(each) for each in found]))
        return
    if not found:
        out.print("no strategies yet: every site has the defaults")
        return
    table = Table(title="strategies, times in UTC", title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in ("scope", "version", "by", "made at", "note", "sets"):
        table.add_column(heading, justify="right" if heading == "version" else "left")
    for each in found:
        words = (str(each.scope), str(each.number), each.by, f"{each.made_at:%Y-%m-%d %H:%M}", each.note)
        table.add_row(*map(escape, (*words, ", ".join(each.fields) or "nothing")))
    out.print(table)


@app.command()
def show(
    site: Annotated[str | None, typer.Argument(metavar="[SITE]", help="The site's name, or a scope.")] = None,
    group: Annotated[str | None, typer.Option(help="Of this group.")] = None,
    portfolio: Annotated[str | None, typer.Option(help="Of this portfolio.")] = None,
    effective: Annotated[
        bool, typer.Option("--effective", help="All fields, with what is inherited, and defaults.")
    ] = False,
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Show what is set at a scope, or with --effective what holds there and where each field comes from.

    Without a name it is that of all sites.
    """
    from console.strategies import field_records, field_table
    from schedules import strategies
    from schedules.inheritance import ALL_SITES, Effective, Scope, ScopeKind

    given = [
        *([] if site is None else [Scope.parse(site)]),
        *([] if group is None else [Scope(ScopeKind.GROUP, group)]),
        *([] if portfolio is None else [Scope(ScopeKind.PORTFOLIO, portfolio)]),
    ]
    if len(given) > 1:
        raise InputError("scope", "more than one is given", "give a site, --group or --portfolio")
    scope = given[0] if given else ALL_SITES
    with closing(open_store(store)) as db, db.session() as session:
        wanted = strategies.of_scope(session, scope)
    if not effective:
        wanted = Effective(tuple(version for version in wanted.versions if version.scope == scope))
    records = field_records(wanted, with_defaults=effective)
    if as_json:
        print(json.dumps({"scope": str(scope), "versions": wanted.numbers, "fields": records}))
    elif records:
        out.print(field_table(records))
    else:
        out.print(f"{scope}: nothing is set; add --effective for what it inherits", markup=False)


@app.command("set")
def set_command(
    scope: ScopeArgument,
    fields: Annotated[
        list[str] | None,
        typer.Argument(metavar="FIELD=VALUE...", help="On top of what is set there now; values as in YAML."),
    ] = None,
    file: Annotated[Path | None, typer.Option(help="YAML with all fields that are set there from now on.")] = None,
    inherit: Annotated[list[str] | None, typer.Option(help="A field to set there no more; may repeat.")] = None,
    note: Note = "",
    dry_run: DryRun = False,
    what_if: WithMoney = True,
    yes: Yes = False,
    by: By = "",
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Set fields at a scope; shows what differs and what the coming plans would cost before it saves.

    For example: tidewatt strategy set group:street reserve_soc=0.3 prefer=later_charging --note winter
    """
    from console.inputs import read_fields
    from console.strategies import assigned
    from schedules import strategies, strategy_changes
    from schedules.clock import RealClock
    from schedules.inheritance import Scope

    if not fields and not inherit and file is None:
        raise InputError("field", "none is given", "write for example reserve_soc=0.3, or give --file")
    target = Scope.parse(scope)
    assignments = assigned(fields or ())
    with closing(open_store(store)) as db:
        with db.session() as session:
            newest = strategies.newest_version(session, target)
        before = dict(newest.fields) if newest else {}
        after = before if file is None else read_fields(file, "fields of a strategy, such as reserve_soc: 0.3")
        after = {**after, **assignments}
        for name in inherit or ():
            if name not in after:
                raise InputError(name, f"it is not set at {target}", "leave --inherit out for it")
            del after[name]
        after = strategy_changes.checked(after)
        known, who = newest.number if newest else 0, by or whoami()

        def save() -> Version:
            return strategy_changes.save(db, RealClock(), target, after, who, note, based_on=known)

        _propose(db, target, before, after, None if dry_run else save, what_if=what_if, ask=not yes, as_json=as_json)


@app.command()
def diff(
    scope: ScopeArgument,
    first: Annotated[int, typer.Argument(help="A version, as `list` has it.")],
    second: Annotated[int, typer.Argument(help="Another one.")],
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Show what differs between two versions of a scope."""
    from console.strategies import change_records, change_table
    from schedules import strategies
    from schedules.inheritance import Scope

    target = Scope.parse(scope)
    with closing(open_store(store)) as db, db.session() as session:
        one, two = (strategies.version(session, target, number).fields for number in (first, second))
    records = change_records(one, two)
    if as_json:
        print(json.dumps(records))
    else:
        out.print(change_table(records, f"version {first}", f"version {second}") if records else "nothing differs")


@app.command()
def rollback(
    scope: ScopeArgument,
    version: Annotated[int, typer.Argument(help="The version to repeat, as `list` has it.")],
    note: Note = "",
    dry_run: DryRun = False,
    what_if: WithMoney = True,
    yes: Yes = False,
    by: By = "",
    store: StoreOption = "",
    as_json: AsJson = False,
) -> None:
    """Put an older version in force again, as a new one that repeats it."""
    from schedules import strategies, strategy_changes
    from schedules.clock import RealClock
    from schedules.inheritance import Scope

    target = Scope.parse(scope)
    with closing(open_store(store)) as db:
        with db.session() as session:
            old = strategies.version(session, target, version)
            newest = strategies.newest_version(session, target)
        assert newest is not None, "where there is an older version there is one in force"
        known, who = newest.number, by or whoami()

        def save() -> Version:
            return strategy_changes.rollback(db, RealClock(), target, version, who, note, based_on=known)

        _propose(
            db,
            target,
            newest.fields,
            old.fields,
            None if dry_run else save,
            what_if=what_if,
            ask=not yes,
            as_json=as_json,
        )


def _propose(
    db: Database,
    target: Scope,
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    save: Callable[[], Version] | None,
    *,
    what_if: bool,
    ask: bool,
    as_json: bool,
) -> None:
    """Show what differs and what it costs, and save it; nobody is asked where nobody is at a terminal."""
    from console.strategies import change_records, change_table, what_if_record, what_if_table
    from schedules.clock import RealClock
    from schedules.strategy_changes import preview
    from schedules.what_if import what_if as outcomes_of

    clock = RealClock()
    changes = preview(db, clock, target, after)
    differences = change_records(before, after)
    outcomes = list(outcomes_of(db, clock, changes)) if what_if and differences else []
    made: Version | None = None
    if not as_json:
        if not differences:
            out.print(f"{target}: nothing changes", markup=False)
            return
        out.print(change_table(differences, "now", "then"))
        if outcomes:
            out.print(what_if_table(outcomes))
        if not changes:
            out.print(f"{target}: no site inherits from it yet", markup=False)
        if save is not None and ask and sys.stdin.isatty() and not typer.confirm("Save it?", default=False, err=True):
            save = None
    if save is not None and differences:
        made = save()
    if as_json:
        number = None if made is None else made.number
        sites = [what_if_record(each) for each in outcomes]
        print(json.dumps({"scope": str(target), "version": number, "changes": differences, "what_if": sites}))
    else:
        out.print(f"{target}: {'nothing saved' if made is None else f'version {made.number} saved'}", markup=False)
