"""`tidewatt devices commission`: find out on a battery itself what its set-points mean."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from adapters.commissioning import SMALLEST_STEP_KW
from console.commands.screen import EXIT_FAILED, EXIT_INTERRUPTED, err, out
from engine.errors import InputError

if TYPE_CHECKING:
    from adapters.commissioning import CommissioningResult, ReadBack
    from console.commission import Target

WHAT_TO_DO = (
    "try again when the house is quiet, with another --step-kw or a longer --longest-wait-s; "
    "if it stays so, ask the vendor whether the device takes commands"
)


def commission(
    accounts: Annotated[Path, typer.Argument(help="Accounts in YAML or JSON; what is proved is written into it.")],
    device: Annotated[str | None, typer.Option(help="Which device. Unset: the only one that the file names.")] = None,
    step_kw: Annotated[
        float, typer.Option(min=SMALLEST_STEP_KW, help="The power to try, in kW: small, yet more than noise.")
    ] = 1.0,
    rating_kw: Annotated[
        float | None, typer.Option(min=0.1, help="Rated power of the battery; needed for a step above 1 kW.")
    ] = None,
    longest_wait_s: Annotated[
        float, typer.Option(min=60, max=3600, help="Longest wait for the effect of each number, in seconds.")
    ] = 600.0,
    yes: Annotated[bool, typer.Option("--yes", help="Move the battery without asking.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Move the battery, but write no settings.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Find out on the battery itself what its set-points mean, and write that into the file of accounts.

    The battery is driven a little both ways, then let go of; exit code 1 if nothing is proved.
    """
    from console import commission as work
    from console.accounts import read_accounts
    from console.settings_file import SettingsFile

    file = SettingsFile(accounts)
    target = work.target_of(read_accounts(accounts), device)
    trial = work.Trial(step_kw, rating_kw, longest_wait_s)
    asyncio.run(work.refuse_early(accounts, target, trial))
    if not yes and not _agreed(target, step_kw):
        err.print("commission: nothing was sent")
        sys.exit(EXIT_FAILED)

    def say(line: str) -> None:
        err.print(f"{target.device_id}: {line}", markup=False)

    try:
        result = asyncio.run(work.run_trial(accounts, target, trial, say))
    except work.StoppedError as stopped:
        err.print(f"commission: {stopped}", markup=False)
        sys.exit(EXIT_INTERRUPTED)
    written: dict[str, object] = {}
    fault: InputError | OSError | None = None
    lost = ""
    if result.proved and not dry_run:
        try:
            written = work.settings_found(target.account, target.device_id, result)
            asyncio.run(work.check_settings(accounts, target, written))
            lost = file.put(target.place, written)
        except (InputError, OSError) as error:
            # The figures are shown all the same: they cost the battery's movements.
            written, fault = {}, error
    if as_json:
        print(json.dumps(work.as_json(target, result, list(written))))
    else:
        _show(target, result)
    if written:
        err.print(f"commission: wrote {', '.join(written)} into {accounts}", markup=False)
    if lost:
        err.print(f"commission: {lost} are lost by that")
    if not result.proved:
        err.print(f"commission: nothing was written; {WHAT_TO_DO}")
    if fault is not None:
        raise fault
    if not (result.proved and result.released):
        sys.exit(EXIT_FAILED)


def _agreed(target: Target, step_kw: float) -> bool:
    if not sys.stdin.isatty():
        raise InputError(
            "yes", "there is no terminal to ask on, and the battery would be moved", "give --yes to allow it"
        )
    question = (
        f"The battery of {target.device_id} ({target.account.label}) will be driven at up to {step_kw:g} kW both ways "
        "for some minutes. Go on?"
    )
    return typer.confirm(question, default=False, err=True)


def _show(target: Target, result: CommissioningResult) -> None:
    from console.commission import receipt_word

    table = Table(title=f"{target.account.label} {target.device_id}", title_justify="left", box=box.SIMPLE)
    for heading in ("asked", "vendor", "set-point kW", "battery kW", "before: set-point kW", "battery kW"):
        table.add_column(heading, justify="right", no_wrap=True)
    for figure in result.figures:
        # Without a proof nobody knows the unit of what was sent.
        asked = f"{figure.sent:g} {figure.as_unit}" if result.proved else f"{figure.sent:g}"
        table.add_row(asked, receipt_word(figure.receipt), *_cells(figure.seen), *_cells(figure.baseline))
    out.print(table)
    if result.proved:
        does = "discharges" if result.sign == 1 else "charges"
        out.print(f"proved: unit {result.unit}, sign {result.sign:+d} (+ {does})", markup=False)
    else:
        out.print(result.reason, markup=False)
    if result.proved and not result.released:
        out.print(result.reason.rpartition("; ")[2], markup=False)


def _cells(reading: ReadBack | None) -> list[str]:
    values = (None, None) if reading is None else (reading.set_point_kw, reading.battery_kw)
    return ["-" if value is None else f"{value:+.3f}" for value in values]
