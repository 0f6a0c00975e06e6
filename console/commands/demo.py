"""`tidewatt demo`: a real day in five homes, over five vendors' emulated clouds."""

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
from rich import box
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.commands.screen import EXIT_FAILED, EXIT_INTERRUPTED, date_of, err, out

# Columns of words; the others are figures.
LEFT = 2


def demo(
    day: Annotated[str | None, typer.Option(help="Day of the sample, as 2024-04-10.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the minutes within the sample's hours.")] = 1,
    state: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("var/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan a real day for homes of every vendor, run it on emulated batteries, confirm by telemetry, write a report."""
    sys.exit(asyncio.run(_demo(date_of(day) if day else None, seed, state, as_json)))


async def _demo(date: dt.date | None, seed: int, root: Path, as_json: bool) -> int:
    from console.demo import InterruptedRunError, open_run
    from console.figures import settle_home
    from console.report import OVERVIEW, overview_row, write_html

    stop = _StopOnSignal()
    try:
        async with open_run(root, date, seed) as run:
            if run.begins_at > run.begin:
                err.print(f"taking up {run.folder} at {run.begins_at.isoformat()}", markup=False)
            with Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[clock]}"),
                TimeElapsedColumn(),
                console=err,
            ) as bar:
                task = bar.add_task(f"{run.date}", total=1.0, clock="")
                zone = ZoneInfo(run.homes[0].target.site.timezone)
                await run.run(
                    lambda share, now: bar.update(task, completed=share, clock=f"{now.astimezone(zone):%H:%M}"), stop
                )
                bar.update(task, completed=1.0, clock="24:00")
            settled = [(home, *await settle_home(run, home)) for home in run.homes]
            report_file = run.folder / "report.html"
            write_html(report_file, run, settled)
    except InterruptedRunError as error:
        err.print(str(error), markup=False)
        return EXIT_INTERRUPTED
    found = [figures for _, figures, _ in settled]
    if as_json:
        print(json.dumps({"homes": [figures.as_json() for figures in found], "report": str(report_file)}))
    else:
        table = Table(title=f"{len(found)} homes, {run.date}", title_justify="left", box=box.SIMPLE, padding=(0, 1))
        for place, name in enumerate(OVERVIEW):
            table.add_column(name, justify="left" if place < LEFT else "right")
        for figures in found:
            table.add_row(*overview_row(figures))
        out.print(table)
        out.print(f"report: {report_file}", markup=False)
    lapses = sum(figures.lapses for figures in found)
    if lapses:
        err.print(f"failed: batteries lapsed {lapses} times while they were under control")
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
