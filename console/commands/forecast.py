"""`tidewatt forecast`: what load and sun are expected at a site, who says so, and how far to believe it."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated, Any

import pandas as pd
import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import StoreOption, open_store

app = typer.Typer(
    help="Show forecasts of load and PV: published ones, or made of a site's readings where nobody publishes any.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
BAR_WIDTH = 20


@app.callback()
def _forecast() -> None:
    """Keep `show` a command of its own."""


@app.command()
def show(
    site: Annotated[str, typer.Argument(help="The site's name.")],
    step_min: Annotated[int, typer.Option(min=1, max=1440, help="Minutes of a row of the table.")] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, by the forecast's own intervals.")] = False,
    store: StoreOption = "",
) -> None:
    """Show what load and PV plans reckon with from now on, by whom, since when, and what there is against it."""
    from engine import Site
    from schedules import forecasting, inputs
    from schedules.clock import RealClock
    from schedules.registration import site_id
    from schedules.settings import Settings
    from schedules.store import SiteRow

    now = RealClock()()
    with closing(open_store(store)) as db:
        with db.session() as session:
            number = site_id(session, site)
            assets = Site.model_validate(session.get_one(SiteRow, number).assets)
        found = {name: inputs.forecast(db, number, name, now) for name in inputs.POWERS}
        lacking = [name for name, known in found.items() if known is None]
        # Why there is none: what the job would say, and keeps nothing of.
        made = forecasting.make(db, now, number, assets, lacking, Settings.from_environment().load_forecaster)
        why = {each.name: each.doubt or "is made within the hour" for each in made}
    known = {name: each for name, each in found.items() if each is not None}
    if as_json:
        entries = {name: _entry(known[name]) if name in known else {"doubt": why[name]} for name in inputs.POWERS}
        print(json.dumps({"site": site, **entries}))
        return
    for name, each in known.items():
        since = f"{each.known_at.astimezone():%Y-%m-%d %H:%M}"
        by = f"made by {each.made_by}" if each.made_by else "published"
        out.print(f"{name}: {by}, known since {since}", markup=False)
        if each.doubt:
            out.print(f"{name} {each.doubt}", style="bold", markup=False)
    for name in lacking:
        out.print(f"{name}: nobody publishes a forecast; it {why[name]}", style="bold", markup=False)
    if known:
        out.print(_table(assets, {name: each.values for name, each in known.items()}, step_min))


def _table(site: Any, powers: dict[str, pd.Series], step_min: int) -> Table:
    """Mean powers by local time, each with a bar whose full length is the most of the horizon."""
    table = Table(
        title=escape(f"{site.name}: times in {site.timezone}, mean powers in kW"),
        title_justify="left",
        box=box.SIMPLE,
        padding=(0, 1),
    )
    table.add_column("start", no_wrap=True)
    for name in powers:
        table.add_column(name.removesuffix("_kw"), justify="right")
        table.add_column("", no_wrap=True, min_width=BAR_WIDTH)
    means = pd.DataFrame(powers).resample(f"{step_min}min").mean()
    most = means.max()
    local = pd.DatetimeIndex(means.index).tz_convert(site.timezone)
    for start, row in zip(local, means.to_dict("records"), strict=True):
        cells = []
        for power in powers:
            value = row[power]
            length = 0 if pd.isna(value) or most[power] <= 0 else round(value / most[power] * BAR_WIDTH)
            cells += ["-" if pd.isna(value) else f"{value:.2f}", "#" * length]
        table.add_row(f"{start:%a %H:%M}", *cells)
    return table


def _entry(known: Any) -> dict[str, Any]:
    """A forecast as JSON; times UTC, kW."""
    values = known.values
    return {
        "made_by": known.made_by or None,
        "doubt": known.doubt or None,
        "known_at": known.known_at.isoformat(),
        "start": values.index[0].isoformat(),
        "step_s": (values.index[1] - values.index[0]).total_seconds(),
        "values": [None if pd.isna(value) else value for value in values],
    }
