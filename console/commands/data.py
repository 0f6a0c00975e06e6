"""`tidewatt data`: what is wrong with files of measured data, and mending of it by named rules."""

from __future__ import annotations

import json
import math
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import EXIT_FAILED, out
from engine.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

    from engine.quality import QualityReport, Repaired

app = typer.Typer(
    help="Check files of loads, PV and prices before plans are made of them.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(help="CSV (also .gz) with a header, or Parquet.")],
    kind: Annotated[
        str | None, typer.Option(help="load, pv, wind, price or other. Unset: as the columns' names say.")
    ] = None,
    unit: Annotated[str | None, typer.Option(help="kW, W, kWh, EUR/kWh, EUR/MWh. Unset: as the names say.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Zone of the place, as Europe/Copenhagen.")] = None,
    step: Annotated[
        str | None, typer.Option(help="What lies between two rows, as 15min. Unset: what mostly does.")
    ] = None,
    rated_kw: Annotated[float | None, typer.Option(help="Nameplate of the PV, or what the connection carries.")] = None,
    latitude: Annotated[float | None, typer.Option(help="Of the place, north is positive.")] = None,
    longitude: Annotated[float | None, typer.Option(help="East is positive.")] = None,
    time: Annotated[str | None, typer.Option(help="Column of times. Unset: the first.")] = None,
    column: Annotated[list[str] | None, typer.Option(help="Only this column; may repeat.")] = None,
    rule: Annotated[
        list[str] | None,
        typer.Option("--repair", help="A repair as fill_gaps_up_to:60,linear; may repeat, in this order."),
    ] = None,
    most_share: Annotated[
        float, typer.Option(min=0, max=1, help="A repair that would replace a larger share is refused.")
    ] = 0.05,
    target: Annotated[Path | None, typer.Option("--out", help="Where the mended data goes, as CSV or Parquet.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is wrong with a file, mend what --repair names; exit code 1 where it is not usable (in the end)."""
    import pandas as pd

    from console.data_files import read_samples, write_samples
    from engine.quality import inspect, repair

    if target is not None and not rule:
        raise InputError("--out", "nothing is to be mended", "name at least one --repair")
    if target is not None and target.exists() and target.samefile(file):
        raise InputError("--out", f"{target} is the file itself", "name another; raw data stays as it came")
    samples = read_samples(file, time, column)
    look = partial(
        inspect,
        step=step,
        timezone=timezone,
        rated_kw=rated_kw,
        latitude=latitude,
        longitude=longitude,
    )
    before = look(samples.frame, kind, unit=unit)
    after = None
    mended: dict[str, Repaired] = {}
    if rule:
        mend = partial(repair, rules=rule, step=step, timezone=timezone, rated_kw=rated_kw, most_share=most_share)
        for name, known in before.coverage.items():
            mended[name] = mend(samples.frame[name], kind=known.kind, unit=known.unit or None)
        frame = _joined([each.series for each in mended.values()])
        kinds = {str(each.series.name): before.coverage[name].kind for name, each in mended.items()}
        after = look(frame, kinds, unit={str(each.series.name): each.unit for each in mended.values()})
        if target is not None:
            changed = [each.changed.rename(f"{each.series.name}_changed") for each in mended.values()]
            write_samples(target, pd.concat([frame, _joined(changed)], axis=1))
    usable = (after or before).is_usable
    if as_json:
        said = {
            "file": str(file),
            "usable": usable,
            "left_out": list(samples.words),
            "inspected": before.to_dict(),
            "repairs": {name: _log(each) for name, each in mended.items()},
            "repaired": None if after is None else after.to_dict(),
        }
        print(json.dumps(said))
    else:
        _show(file.name, before, samples.words)
        for name, each in mended.items():
            out.print(_log_table(name, each))
            out.print(f"before: {each.log['before'].iloc[0]}\nafter: {each.log['after'].iloc[-1]}", markup=False)
        if after is not None:
            _show("after the repairs", after, ())
    if not usable:
        sys.exit(EXIT_FAILED)


def _joined(columns: list[pd.Series]) -> pd.DataFrame:
    """Columns side by side.

    Raises:
        InputError: The repairs left them with different times.
    """
    import pandas as pd

    first = columns[0]
    for each in columns[1:]:
        if not each.index.equals(first.index):
            raise InputError(
                "--repair", f"{each.name} has other rows than {first.name} by now", "mend them in turn, with --column"
            )
    return pd.DataFrame({str(each.name): each.to_numpy() for each in columns}, index=first.index.rename("start"))


def _show(title: str, report: QualityReport, words: tuple[str, ...]) -> None:
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in ("", "rule", "series", "from", "to", "samples", "share", "worst", "what it means", "repair"):
        table.add_column(heading)
    for each in report.findings:
        table.add_row(
            each.severity.value,
            each.rule,
            escape(each.series or "all"),
            f"{each.start:%Y-%m-%d %H:%M}",
            f"{each.end:%Y-%m-%d %H:%M}",
            str(each.count),
            f"{each.share:.2%}",
            "" if math.isnan(each.worst) else f"{each.worst:g} {each.worst_unit}",
            escape(each.meaning),
            escape(each.repair),
        )
    if report.findings:
        out.print(table)
    else:
        out.print(f"{title}: nothing found", markup=False)
    minutes = report.step.total_seconds() / 60
    zone = "UTC" if report.begin.tzinfo else "no zone"
    out.print(f"{report.begin:%Y-%m-%d %H:%M} to {report.end:%Y-%m-%d %H:%M} ({zone}), steps of {minutes:g} min")
    for name, series in report.coverage.items():
        out.print(f"{name}: {series}", markup=False)
    for name in words:
        out.print(f"left out: {name}, which holds no numbers", markup=False)
    for what in report.not_looked_at:
        out.print(f"not looked at: {what}", markup=False)
    out.print("usable" if report.is_usable else "not usable as it is", style="bold")


def _log_table(name: str, mended: Repaired) -> Table:
    table = Table(title=escape(f"repairs of {name}"), title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in ("repair", "outcome", "samples", "from", "to", "note"):
        table.add_column(heading, overflow="fold")
    for row in _log(mended):
        times = [(row[each] or "")[:16].replace("T", " ") for each in ("from", "to")]
        table.add_row(*map(escape, (row["rule"], row["outcome"], str(row["count"]), *times, row["note"])))
    return table


def _log(mended: Repaired) -> list[dict[str, Any]]:
    """Rows of the log as JSON takes them."""
    rows = []
    for row in mended.log.to_dict("records"):
        times = {
            each: row[each].isoformat() if row[each] == row[each] else None for each in ("from", "to")
        }  # NaT is not
        rows.append({str(name): value for name, value in row.items()} | times)
    return rows
