"""`tidewatt demo`: a real day on an emulated battery."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated
from zoneinfo import ZoneInfo

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.commands.screen import EXIT_FAILED, EXIT_INTERRUPTED, date_of, err, out


def demo(
    day: Annotated[str | None, typer.Option(help="Day of the sample, as 2024-04-10.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the minutes within the sample's hours.")] = 1,
    state: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("var/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan a real day, run it on an emulated AlphaESS battery, confirm it by telemetry, write a report."""
    sys.exit(asyncio.run(_demo(date_of(day) if day else None, seed, state, as_json)))


async def _demo(date: dt.date | None, seed: int, root: Path, as_json: bool) -> int:
    from console.demo import InterruptedRunError, open_run
    from console.report import settle_run, write_html

    stop = _StopOnSignal()
    try:
        async with open_run(root, date, seed) as run:
            if run.begins_at > run.day.begin:
                err.print(f"taking up {run.folder} at {run.begins_at.isoformat()}", markup=False)
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[clock]}"),
                TimeElapsedColumn(),
                console=err,
            ) as bar:
                task = bar.add_task(f"{run.day.date}", total=1.0, clock="")
                zone = ZoneInfo(run.target.site.timezone)
                await run.run(
                    lambda share, now: bar.update(task, completed=share, clock=f"{now.astimezone(zone):%H:%M}"), stop
                )
                bar.update(task, completed=1.0, clock="24:00")
            figures, result = await settle_run(run)
            report_file = run.folder / "report.html"
            write_html(report_file, run, figures, result)
    except InterruptedRunError as error:
        err.print(str(error), markup=False)
        return EXIT_INTERRUPTED
    if as_json:
        print(json.dumps({**figures.as_json(), "report": str(report_file)}))
    else:
        table = Table(title=f"{escape(run.target.site.name)}, {run.day.date}", title_justify="left", show_header=False)
        for name, value in figures.rows():
            table.add_row(name, value)
        out.print(table)
        out.print(f"report: {report_file}", markup=False)
    if figures.lapses:
        err.print(f"failed: the battery lapsed {figures.lapses} times while it was under control")
        return EXIT_FAILED
    return 0


class _StopOnSignal:
    """Turns the first Ctrl-C (or SIGTERM) into a question asked between steps, so no command is cut in half.

    A second Ctrl-C ends the process as usual.
    """

    def __init__(self) -> None:
        self._asked = False
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._ask)

    def __call__(self) -> bool:
        return self._asked

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = True
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
