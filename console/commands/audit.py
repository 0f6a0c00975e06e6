"""`tidewatt audit`: whether every call was made once and in time, by the journal and the emulators' own logs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import EXIT_FAILED, out
from engine.errors import InputError

if TYPE_CHECKING:
    from schedules.audit import Receipt, Tally


def audit(
    emulator_log: Annotated[
        list[Path] | None, typer.Option(help="Log of an emulator, as `tidewatt emulate --log` writes it; may repeat.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hold the journal of calls against itself, and against emulators' logs; exit code 1 where they disagree."""
    from console.store import opened
    from schedules.audit import audit as hold

    with opened() as (db, _), db.session() as session:
        tallies = hold(session, [_receipts(path) for path in emulator_log or ()])
    if as_json:
        print(json.dumps([{**asdict(tally), "clean": tally.is_clean} for tally in tallies]))
    else:
        _show(tallies)
    if not all(tally.is_clean for tally in tallies):
        sys.exit(EXIT_FAILED)


def _receipts(path: Path) -> list[Receipt]:
    from schedules.audit import receipt_of

    found = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            receipt = receipt_of(json.loads(line))
        except (ValueError, KeyError, AttributeError):
            raise InputError(f"{path}: line {number}", "is no entry of an emulator's log", "name such a log") from None
        if receipt is not None:
            found.append(receipt)
    return found


def _show(tallies: list[Tally]) -> None:
    table = Table(box=box.SIMPLE, padding=(0, 1))
    heard = any(tally.received is not None for tally in tallies)
    counts = ["sent", "accepted", "rejected", "unresolved", "overlapping", "too_late"]
    counts += ["received", "doubled", "lost", "foreign"] if heard else []
    for heading in ("site", "vendor"):
        table.add_column(heading)
    for heading in counts:
        table.add_column(heading.replace("_", " "), justify="right")
    table.add_column("verdict")
    for tally in tallies:
        figures = asdict(tally)
        known = tally.received is not None
        row = [str(figures[name]) if known or name not in counts[6:] else "-" for name in counts]
        table.add_row(escape(tally.site), tally.vendor, *row, "agrees" if tally.is_clean else "DISAGREES")
    out.print(table)
