"""`tidewatt backtest`: what a strategy would have cost on a site's own history."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from console.commands.screen import err, out
from engine.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from console.backtest_file import Subject
    from engine.backtesting.result import BacktestResult
    from engine.backtesting.rolling import Progress as Watch
    from engine.backtesting.sweep import Case, Forecasting

FORECASTERS = ("similar-day", "gradient-boosting", "seasonal-naive", "persistence", "perfect-foresight")


def backtest(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="YAML: site, and tariff, demand_charges, strategy, prices, load, pv as wanted; or a site alone. "
            "Unset: the sample home of spring 2024."
        ),
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="CSV or Parquet: times, then the market price, or both all-in prices.")
    ] = None,
    column: Annotated[
        str | None, typer.Option(help="Which column of --prices, ending with _per_mwh or _per_kwh.")
    ] = None,
    load: Annotated[Path | None, typer.Option(help="CSV or Parquet: times, then a column load_kw.")] = None,
    pv: Annotated[Path | None, typer.Option(help="CSV or Parquet: times, then a column pv_kw.")] = None,
    begin: Annotated[str | None, typer.Option("--from", help="First local day, as 2024-03-18.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="Last local day.")] = None,
    horizon: Annotated[str, typer.Option(help="How far each plan looks.")] = "36h",
    every: Annotated[str, typer.Option(help="Time from one plan to the next.")] = "1h",
    forecaster: Annotated[str, typer.Option(help=f"One of {', '.join(FORECASTERS)}.")] = FORECASTERS[0],
    compare: Annotated[
        bool, typer.Option("--compare", help="All forecasters, and fixed set-points in the place of modes.")
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder for finished parts of --compare; a killed one goes on.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that --compare is spread over.")] = 1,
    plot: Annotated[Path | None, typer.Option(help="Write a figure to this HTML file.")] = None,
    table: Annotated[Path | None, typer.Option("--out", help="Write all intervals to this Parquet file.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Plan a site's history again with only what was known then, and say what it would have cost."""
    from console.backtest_file import SeriesFile, Subject, history_of, read_subject
    from engine.backtesting.sweep import Case, figures

    if compare and (plot or table):
        raise InputError("--compare", "goes without --plot and --out", "draw one forecaster at a time")
    if not compare and (keep or workers > 1):
        raise InputError("--keep", "goes with --compare only, as --workers does", "leave it out or add --compare")
    if column is not None and prices is None:
        raise InputError("--column", "there is no --prices that it could be of", "name the file too")
    subject = read_subject(file) if file is not None else Subject()
    given = {
        name: SeriesFile(file=path, column=of)
        for name, path, of in (("prices", prices, column), ("load", load, None), ("pv", pv, None))
        if path is not None
    }
    subject = subject.model_copy(update=given)
    case = Case(
        name=forecaster,
        site=subject.site,
        history=history_of(subject, (_midnight(subject, "from", begin, 0), _midnight(subject, "to", end, 1))),
        strategy=subject.strategy,
        forecasting=_forecasting(forecaster),
        demand_charges=subject.demand_charges,
        settings={"horizon": horizon, "replan_every": every, "initial_soc": subject.initial_soc},
    )
    if compare:
        _compare(case, keep, workers, as_json)
        return
    with _bar("planning and carrying out") as watch:
        result = case.run(progress=watch)
    if table is not None:
        result.table.to_parquet(table)
    if plot is not None:
        result.plot().write_html(plot, include_plotlyjs=True)
    if as_json:
        print(json.dumps({"forecasters": result.forecasters, **_plain(figures(result))}))
        return
    _show(result)
    for path in (plot, table):
        if path is not None:
            out.print(f"written: {path}", markup=False)


def _forecasting(name: str) -> Forecasting:
    """Who forecasts load and PV.

    Raises:
        InputError: Nobody has that name.
    """
    from engine.forecast import (
        GradientBoosting,
        PerfectForesight,
        Persistence,
        PvRegression,
        SeasonalNaive,
        SimilarDay,
    )

    found: dict[str, Forecasting] = {
        "similar-day": (SimilarDay(), PvRegression()),
        "gradient-boosting": (GradientBoosting(), PvRegression()),
        "seasonal-naive": (SeasonalNaive(), Persistence()),
        "persistence": (Persistence(), Persistence()),
        "perfect-foresight": (PerfectForesight(), PerfectForesight()),
    }
    if name not in found:
        raise InputError("--forecaster", f"value {name!r} is unknown", f"choose one of {', '.join(found)}")
    return found[name]


def _midnight(subject: Subject, option: str, day: str | None, days_later: int) -> pd.Timestamp | None:
    import pandas as pd

    if day is None:
        return None
    try:
        return pd.Timestamp(day).normalize().tz_localize(subject.site.timezone) + pd.DateOffset(days=days_later)
    except (ValueError, TypeError):
        raise InputError(f"--{option}", f"value {day!r} is no day", "write it as 2024-04-10") from None


@contextmanager
def _bar(what: str) -> Iterator[Watch]:
    """A bar on stderr, gone when it is done."""
    columns = (TextColumn(what), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, of: bar.update(task, completed=done, total=of)


def _show(result: BacktestResult) -> None:
    from engine.backtesting import words

    local = result.reality.index.tz_convert(result.site.timezone)
    out.print(
        f"{result.site.name}: {local[0]:%Y-%m-%d} to {local[-1]:%Y-%m-%d}, {result.plans:,} plans of "
        f"{result.horizon.total_seconds() / 3600:g} h, forecasts: "
        f"{', '.join(f'{name} by {who}' for name, who in result.forecasters.items()) or 'none needed'}",
        markup=False,
    )
    for caveat in words.caveats(result):
        out.print(caveat, markup=False)
    accounts = _figures_table("account", "cost EUR", "saved EUR", "of perfect")
    for name, row in result.comparison().iterrows():
        style = "bold" if name == "this strategy" else None
        accounts.add_row(
            escape(str(name)),
            f"{row['cost_eur']:,.2f}",
            f"{row['saved_eur']:,.2f}",
            _percent(row["capture_rate"]),
            style=style,
        )
    out.print(accounts)
    lost = _figures_table("lost against perfect foresight", "EUR", "by")
    lost.columns[2].justify = "left"
    for step, amount, why in words.losses(result):
        lost.add_row(step, f"{amount:,.2f}", why)
    out.print(lost)
    figures = _figures_table("figure", "")
    figures.columns[1].justify = "left"
    for name, value in words.figures(result).items():
        figures.add_row(name, value)
    out.print(figures)


def _compare(case: Case, keep: Path | None, workers: int, as_json: bool) -> None:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor
    from contextlib import nullcontext
    from dataclasses import replace

    from console.parquet_store import ParquetStore
    from engine.backtesting.sweep import sweep

    settings = {**case.settings, "yardsticks": False}
    cases = [replace(case, name=name, forecasting=_forecasting(name), settings=settings) for name in FORECASTERS]
    cases.append(replace(case, name=f"{case.name}, fixed set-points", settings={**settings, "modes": False}))
    pool = nullcontext() if workers == 1 else ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"))
    with _bar(f"{len(cases)} backtests") as watch, pool as executor:
        store = None if keep is None else ParquetStore(keep)
        found = sweep(cases, executor=executor, store=store, progress=watch)
    if as_json:
        print(json.dumps({str(name): _plain(row) for name, row in found.to_dict("index").items()}))
        return
    days = found["days"].iloc[0]
    out.print(f"{case.site.name}: {days:.0f} days, lowest cost first", markup=False)
    shown = _figures_table(
        "forecasters", "cost EUR", "saved EUR", "of perfect", "lost: forecast", "command", "execution"
    )
    for name, row in found.sort_values("cost_eur").iterrows():
        lost = (f"{row[f'lost_by_{step}_eur']:,.2f}" for step in ("forecast", "command", "execution"))
        shown.add_row(
            str(name), f"{row['cost_eur']:,.2f}", f"{row['saved_eur']:,.2f}", _percent(row["capture_rate"]), *lost
        )
    out.print(shown)


def _figures_table(first: str, *others: str) -> Table:
    table = Table(box=box.SIMPLE, padding=(0, 1))
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _percent(share: float) -> str:
    return "-" if math.isnan(share) else f"{share:.1%}"


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """A row as JSON takes it: what is no number is null."""
    return {str(name): None if isinstance(value, float) and math.isnan(value) else value for name, value in row.items()}
