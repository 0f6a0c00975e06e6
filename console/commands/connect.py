"""`tidewatt devices connect`: let an owner give access to their plants."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from console.commands.screen import err, out


def connect(
    accounts: Annotated[Path, typer.Argument(help="Accounts in YAML or JSON; tokens are kept beside it.")],
    account: Annotated[
        str | None, typer.Option(help="Which account, by its name. Unset: the only one that needs a consent.")
    ] = None,
    no_state: Annotated[
        bool, typer.Option("--no-state", help="For a vendor that sends no state back with its code.")
    ] = False,
) -> None:
    """Let an owner give access to their plants: print the vendor's link, take the code that comes back, keep tokens."""
    from console.accounts import read_accounts
    from console.connect import candidate_of, code_in, take_consent

    candidate = asyncio.run(candidate_of(accounts, read_accounts(accounts), account, not no_state))
    err.print("The owner opens this link and consents; within five minutes:", markup=False)
    out.print(candidate.url, markup=False)
    pasted = typer.prompt("Address that the browser was sent to", prompt_suffix=":\n", err=True)
    file = asyncio.run(take_consent(accounts, candidate, code_in(pasted, candidate.state)))
    err.print(f"connect: {candidate.account.label} is connected; {file} keeps its tokens", markup=False)
