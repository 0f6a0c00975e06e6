"""`tidewatt groups`: groups of sites and portfolios of groups, through which strategies are inherited."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import StoreOption, open_store, whoami
from engine.errors import InputError

app = typer.Typer(
    help="Make groups, put them into portfolios and sites into them; sites inherit their strategies.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What the group is called.")],
    portfolio: Annotated[str | None, typer.Option(help="The portfolio that it is in. Unset: none.")] = None,
    store: StoreOption = "",
) -> None:
    """Make a group, or put one into another portfolio."""
    from schedules.clock import RealClock
    from schedules.groups import put_group

    with closing(open_store(store)) as db:
        put_group(db, RealClock(), name, portfolio, whoami())
    out.print(f"group {name}: in {f'portfolio {portfolio}' if portfolio else 'no portfolio'}", markup=False)


@app.command()
def put(
    sites: Annotated[list[str], typer.Argument(help="The sites' names.")],
    group: Annotated[str | None, typer.Option(help="The group, as `list` has it.")] = None,
    none: Annotated[bool, typer.Option("--none", help="Out of their groups instead.")] = False,
    store: StoreOption = "",
) -> None:
    """Put sites into a group, each out of the one that it was in; they are planned again by its strategy."""
    from schedules.clock import RealClock
    from schedules.groups import put_sites

    if (group is None) != none:
        raise InputError(
            "group", "give either --group or --none", "for example: tidewatt groups put barn --group street"
        )
    with closing(open_store(store)) as db:
        put_sites(db, RealClock(), sites, group, whoami())
    out.print(f"{', '.join(sites)}: in {f'group {group}' if group else 'no group'}", markup=False)


@app.command("list")
def list_command(
    store: StoreOption = "", as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the groups with their portfolios and sites."""
    from schedules.groups import groups

    with closing(open_store(store)) as db:
        found = groups(db)
    if as_json:
        print(json.dumps([dataclasses.asdict(group) for group in found]))
        return
    if not found:
        out.print("no groups yet; see: tidewatt groups add --help")
        return
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("group", "portfolio", "sites"):
        table.add_column(heading)
    for group in found:
        table.add_row(*map(escape, (group.name, group.portfolio or "-", ", ".join(group.sites) or "-")))
    out.print(table)
