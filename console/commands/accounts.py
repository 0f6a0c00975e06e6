"""`tidewatt accounts`: vendor accounts in the store, their credentials sealed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import err, out
from console.commands.store import StoreOption, open_store, whoami

if TYPE_CHECKING:
    from adapters.tokens import TokenStore

app = typer.Typer(
    help="Import, list and remove vendor accounts. Their credentials are sealed with the key that `tidewatt init` "
    "makes, or the one in TIDEWATT_KEY, or in the file that TIDEWATT_KEY_FILE names.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="Accounts in YAML or JSON: adapter, account, name.")],
    with_sites: Annotated[
        bool, typer.Option("--with-sites", help="Add a site, with the sample home's assets, for every device it names.")
    ] = False,
    store: StoreOption = "",
) -> None:
    """Put the accounts of a file into the store, disarmed; those that are there get the file's settings.

    Tokens of `tidewatt devices connect` move from beside the file into the store: whoever else renewed them would void
    the store's.
    """
    from console.accounts import read_accounts, refuse_one_name
    from console.sample import sample_site
    from schedules.accounts import put_account
    from schedules.clock import RealClock
    from schedules.registration import add_site
    from schedules.seal import Sealer
    from schedules.tokens import DatabaseTokenStore

    sealer, clock, who = Sealer.from_environment(), RealClock(), whoami()
    found = read_accounts(file)
    refuse_one_name(file, found)
    with closing(open_store(store)) as db:
        for account in found:
            number = put_account(db, sealer, clock, account.label, account.adapter, account.account, who)
            beside = account.tokens_beside(file)
            if beside.exists():
                asyncio.run(_take_over(beside, DatabaseTokenStore(db, sealer, clock, number)))
                err.print(f"accounts: {account.label}: tokens moved from {beside.name} into the store", markup=False)
            for device in account.devices if with_sites else ():
                home = sample_site().model_copy(update={"name": f"{account.label} {device}"})
                add_site(db, clock, home, account.label, device, who)
    err.print(f"accounts: imported {', '.join(account.label for account in found)}", markup=False)
    if with_sites:
        count = sum(len(account.devices) for account in found)
        err.print(f"accounts: {count} sites have the assets of the sample home; see `tidewatt sites list`")


@app.command("list")
def list_command(
    store: StoreOption = "", as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the accounts, without anything secret."""
    from schedules.accounts import accounts

    with closing(open_store(store)) as db:
        rows = accounts(db)
    if as_json:
        print(json.dumps([dataclasses.asdict(row) for row in rows]))
        return
    table = Table(box=box.SIMPLE, padding=(0, 1))
    for heading in ("account", "adapter", "armed", "sites", "tokens"):
        table.add_column(heading, no_wrap=True)
    for row in rows:
        words = ["yes" if flag else "no" for flag in (row.armed, row.has_tokens)]
        table.add_row(escape(row.name), escape(row.adapter), words[0], str(row.sites), words[1])
    out.print(table)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="The account's name, as `list` shows it.")],
    store: StoreOption = "",
) -> None:
    """Forget an account, its credentials and tokens; refused while sites hang on it."""
    from schedules.accounts import remove_account
    from schedules.clock import RealClock

    with closing(open_store(store)) as db:
        remove_account(db, RealClock(), name, whoami())


@app.command("rotate-key")
def rotate_key(store: StoreOption = "") -> None:
    """Seal all credentials and tokens anew with the first key.

    Put a new key before the old one in TIDEWATT_KEY or its file, restart all workers, run this, then drop the old key.
    """
    from schedules.seal import Sealer, rotate

    sealer = Sealer.from_environment()
    with closing(open_store(store)) as db:
        count = rotate(db, sealer)
    err.print(f"accounts: {count} sealed anew; the older keys may go")


async def _take_over(file: Path, kept: TokenStore) -> None:
    from adapters.token_file import FileTokenStore

    beside = FileTokenStore(file)
    async with beside.exclusive(), kept.exclusive():
        tokens = await beside.load()
        if tokens is not None:
            await kept.save(tokens)
        file.unlink(missing_ok=True)
