"""`tidewatt check`: whether all is there that driving batteries needs."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import EXIT_FAILED, out


def check(as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """Look at settings, store, clock, broker, queues, and read one device of each account; nothing is driven.

    Exit code 1 where something is amiss, with the way out of it.
    """
    from console.check import findings
    from schedules.clock import RealClock
    from schedules.logs import redacted

    found = list(findings(RealClock()))
    if as_json:
        print(redacted(json.dumps([asdict(finding) for finding in found])))
    else:
        table = Table(box=box.SIMPLE, padding=(0, 1))
        for heading in ("what", "", "found", "way out"):
            table.add_column(heading)
        for finding in found:
            words = (finding.what, "ok" if finding.ok else "FAILED", redacted(finding.said), finding.way_out)
            table.add_row(*map(escape, words))
        out.print(table)
    if not all(finding.ok for finding in found):
        sys.exit(EXIT_FAILED)
