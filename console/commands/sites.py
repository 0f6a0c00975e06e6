"""`tidewatt sites`: which batteries the installation looks after, and which of them a person trusts again."""

from __future__ import annotations

import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import StoreOption, open_store, whoami

app = typer.Typer(
    help="Add, list, remove sites, and trust one again after a look at it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
Name = Annotated[str, typer.Argument(help="The site's name.")]


@app.command()
def add(
    name: Name,
    account: Annotated[str, typer.Option(help="Its account, as `tidewatt accounts list` has it.")],
    device: Annotated[str, typer.Option(help="The vendor's identifier, as `tidewatt devices list` has it.")],
    site: Annotated[
        Path | None, typer.Option(help="Its assets, a YAML file as for `plan`. Unset: the sample home.")
    ] = None,
    store: StoreOption = "",
) -> None:
    """Put a site under an account, or change its assets; it is driven once the account is armed."""
    from console.inputs import read_site
    from console.sample import sample_site
    from schedules.clock import RealClock
    from schedules.registration import add_site

    assets = (read_site(site) if site else sample_site()).model_copy(update={"name": name})
    with closing(open_store(store)) as db:
        add_site(db, RealClock(), assets, account, device, whoami())
    said = "" if site else ", with the assets of the sample home"
    out.print(f"site {name}: device {device} of {account}{said}", markup=False)


@app.command("list")
def list_command(
    store: StoreOption = "", as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the sites with their accounts and devices; what they do is in `tidewatt status`."""
    from schedules.registration import sites

    with closing(open_store(store)) as db:
        found = sites(db)
    if as_json:
        print(json.dumps([dataclasses.asdict(site) for site in found]))
        return
    if not found:
        out.print("no sites yet")
        return
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("site", "group", "account", "adapter", "device", "kWh", "kW", "trust", "why"):
        table.add_column(heading, justify="right" if heading in ("kWh", "kW") else "left")
    for each in found:
        words = (each.name, each.group or "-", each.account, each.adapter, each.device_id)
        rated = "-" if each.rated_kw is None else f"{each.rated_kw:g}"
        figures = (f"{each.capacity_kwh:g}", rated, each.safety, escape(each.safety_reason))
        table.add_row(*map(escape, words), *figures)
    out.print(table)


@app.command()
def remove(name: Name, store: StoreOption = "") -> None:
    """Look after a site no more; refused while it is driven. Its journal stays."""
    from schedules.accounts import open_account
    from schedules.clock import RealClock
    from schedules.connections import Connections
    from schedules.registration import remove_site, site_id
    from schedules.seal import Sealer
    from schedules.store import SiteRow

    clock = RealClock()
    with closing(open_store(store)) as db:
        with db.session() as session:
            account_id = session.get_one(SiteRow, site_id(session, name)).account_id
        assert account_id is not None
        sealer = Sealer.from_environment()
        found = Connections(db, lambda number: open_account(db, sealer, clock, number)).sites(account_id)
        remove_site(db, clock, next(site for site in found if site.site.name == name), whoami())
    out.print(f"site {name}: removed", markup=False)


@app.command()
def trust(
    name: Name,
    reason: Annotated[str, typer.Option(help="What was found, for the record.")],
    store: StoreOption = "",
) -> None:
    """Let a site be driven again after a look at it; first what runs only, new commands ten minutes later."""
    from schedules import safety
    from schedules.clock import RealClock

    with closing(open_store(store)) as db:
        safety.clear(db, RealClock(), name, whoami(), reason)
    out.print(
        f"site {name}: degraded now, normal once nothing has spoken against it for {safety.CALM_S / 60:g} min",
        markup=False,
    )
