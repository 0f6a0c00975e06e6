"""`python -m tests.chaos`: an installation under kills, stalls and restarts, and what a checker finds afterwards."""

from __future__ import annotations

import argparse
import json
import signal
import sys
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from tests.chaos.run import Outcome, run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="How many disturbances.")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="Print JSON.")
    parser.add_argument("--keep", help="Keep journals, logs and traces in this folder.")
    arguments = parser.parse_args()
    # So that a time limit from outside ends all processes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))
    outcome = run(arguments.kills, arguments.seed, arguments.keep)
    if arguments.json:
        print(json.dumps(outcome.as_json(), indent=2))
    else:
        show(outcome)
    return 0 if outcome.is_clean else 1


def show(outcome: Outcome) -> None:
    console = Console(width=110)
    for title, rows in (("What was done", outcome.figures()), ("What must not be", outcome.counts())):
        table = Table(title=title, title_justify="left")
        table.add_column("")
        table.add_column("", justify="right")
        for name, value in rows.items():
            table.add_row(escape(name), _written(value))
        console.print(table)
    for invariant, found in outcome.findings.violations.items():
        for text in found[:10]:
            console.print(f"{invariant}: {text}", markup=False)


def _written(value: Any) -> str:
    return f"{value:.1f}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    sys.exit(main())
