"""The `tidewatt` command."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import os
import signal
import sys
from importlib.metadata import version
from pathlib import Path
from types import FrameType
from typing import Annotated, Any
from zoneinfo import ZoneInfo

import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.inputs import SERIES_COLUMNS
from engine import Plan, Site
from engine.errors import InputError, TidewattError, input_error_from
from engine.plan import COLUMNS

app = typer.Typer(
    help="Plan, run and prove what batteries do.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,
)
emulate_app = typer.Typer(
    help="Emulate a vendor's cloud and its batteries on loopback.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(emulate_app, name="emulate")

# A pipe has no width: give tables room there instead of the 80 columns that rich assumes.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command; what people can mend is one line on stderr, not a traceback."""
    # Retries are counted where they matter; on the screen they are noise.
    logging.getLogger("stamina").setLevel(logging.ERROR)
    try:
        app()
    except InputError as error:
        _complain(error, EXIT_BAD_INPUT)
    except ValidationError as error:
        _complain(input_error_from(error), EXIT_BAD_INPUT)
    except TidewattError as error:
        _complain(error, EXIT_FAILED)
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        _complain(InputError("file", f"{where}{error.strerror}", "check path and permissions"), EXIT_BAD_INPUT)


def _complain(error: Exception, code: int) -> None:
    err.print(f"tidewatt: {error}", markup=False)
    sys.exit(code)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(version("tidewatt"))
        raise typer.Exit


@app.callback()
def _options(
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Plan, run and prove what batteries do."""


@app.command()
def plan(
    site: Annotated[Path, typer.Option(help="The site, a YAML file: name, timezone, battery, grid, pv.")],
    series: Annotated[Path, typer.Option(help=f"The horizon, a CSV file: start, {', '.join(SERIES_COLUMNS)}.")],
    initial_soc: Annotated[float, typer.Option(help="State of charge at the start, a fraction.")] = 0.5,
    final_soc_min: Annotated[
        float | None, typer.Option(help="Least state of charge at the end, a fraction. Unset: the band only.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compute the cheapest plan for one site and print it."""
    from console.inputs import in_file_terms, read_series, read_site
    from engine import optimise

    chosen = read_site(site)
    frame = read_series(series)
    with in_file_terms(series):
        result = optimise(
            chosen,
            import_price=frame["import_price_eur_per_kwh"],
            export_price=frame["export_price_eur_per_kwh"],
            load=frame["load_kw"],
            pv=frame["pv_kw"],
            initial_soc=initial_soc,
            final_soc_min=final_soc_min,
        )
    if as_json:
        print(
            json.dumps(
                {
                    "status": result.status,
                    "cost_eur": result.cost_eur,
                    "intervals": result.intervals(),
                    "breaches": [str(breach) for breach in result.breaches],
                }
            )
        )
        return
    out.print(_plan_table(chosen, result))
    costs = result.breakdown
    out.print(
        f"cost {result.cost_eur:.4f} EUR = bought {costs.import_eur:.4f} - sold {costs.export_eur:.4f} "
        f"+ wear {costs.wear_eur:.4f}"
    )
    out.print(f"proved optimal by {result.solver} in {result.seconds:.3f} s: {result.why}")
    for breach in result.breaches:
        out.print(f"not kept: {breach}", style="bold", markup=False)


@emulate_app.command()
def alphaess(
    site: Annotated[Path | None, typer.Option(help="The site, a YAML file. Unset: the sample home.")] = None,
    house: Annotated[
        Path | None, typer.Option(help="CSV with start, load_kw, pv_kw; repeats. Unset: a sample day.")
    ] = None,
    day: Annotated[str | None, typer.Option(help="Day of the sample, as 2024-04-10.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the minutes within the sample's hours.")] = 1,
    initial_soc: Annotated[float, typer.Option(help="State of charge at the start, a fraction.")] = 0.5,
    speed: Annotated[
        float, typer.Option(min=0.001, help="Emulated seconds per second, from now on; a client needs the same clock.")
    ] = 1.0,
    stepped: Annotated[bool, typer.Option(help="Start with the day; time is stepped by whoever drives.")] = False,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = 0,
    log: Annotated[Path | None, typer.Option(help="Write what happens, a line of JSON an event.")] = None,
    ready_file: Annotated[
        Path | None, typer.Option(help="Write address and throw-away credentials here, not to the screen.")
    ] = None,
    idle_exit_s: Annotated[float | None, typer.Option(help="Stop after this many seconds without a request.")] = None,
) -> None:
    """Emulate the AlphaESS cloud with one battery system; prints address and credentials as a line of JSON."""
    from console.emulate import EmulatorOptions, run_alphaess, write_private
    from console.inputs import read_series, read_site
    from console.sample import DEFAULT_DAY, sample_day, sample_site

    sample = sample_day(_date(day) if day else DEFAULT_DAY, seed)
    frame = read_series(house, wanted=("load_kw", "pv_kw")) if house else sample.house
    begin = frame.index[0].to_pydatetime() if stepped else dt.datetime.now(dt.UTC)
    if not 0 <= initial_soc <= 1:
        raise InputError("initial_soc", f"value {initial_soc:g} is outside 0..1", "give a fraction")

    def announce(ready: dict[str, Any]) -> None:
        content = {**ready, "pid": os.getpid(), "day": sample.date.isoformat(), "seed": seed}
        if ready_file is None:
            print(json.dumps(content), flush=True)
        else:
            write_private(ready_file, content)

    options = EmulatorOptions(
        site=read_site(site) if site else sample_site(),
        house=frame,
        initial_soc=initial_soc,
        start=begin,
        speed=None if stepped else speed,
        port=port,
        log_file=log,
        idle_exit_s=idle_exit_s,
    )
    try:
        run_alphaess(options, announce)
    except KeyboardInterrupt:
        err.print("emulator: stopped")


@app.command()
def demo(
    day: Annotated[str | None, typer.Option(help="Day of the sample, as 2024-04-10.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the minutes within the sample's hours.")] = 1,
    state: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("var/demo"),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan a real day, run it on an emulated AlphaESS battery, confirm it by telemetry, write a report."""
    sys.exit(asyncio.run(_demo(_date(day) if day else None, seed, state, as_json)))


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


def _plan_table(site: Site, plan: Plan) -> Table:
    """The plan in kW, local times; columns that hold nothing but zeros are left out."""
    local = plan.problem.index.tz_convert(site.timezone)
    one_day = local[0].date() == local[-1].date() and local[0].utcoffset() == local[-1].utcoffset()
    powers = [name for name in COLUMNS if name.endswith("_kw") and plan.table[name].to_numpy().any()]
    day = f"{local[0]:%Y-%m-%d}, " if one_day else ""
    table = Table(
        title=escape(f"{site.name}: {day}times in {site.timezone}, powers in kW, SOC at the end of the interval"),
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1),
    )
    table.add_column("start", no_wrap=True)
    for name in (*(name.removesuffix("_kw") for name in powers), "SOC %", "EUR"):
        table.add_column(name, justify="right", no_wrap=True)
    for start, row in zip(local, plan.table.to_dict("records"), strict=True):
        table.add_row(
            f"{start:%H:%M}" if one_day else f"{start:%Y-%m-%d %H:%M%z}",
            *(f"{row[name]:.2f}" for name in powers),
            f"{row['soc'] * 100:.1f}",
            f"{row['cost_eur']:.4f}",
        )
    return table


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


def _date(text: str) -> dt.date:
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InputError("day", f"value {text!r} is no date", "write it as 2024-04-10") from None
