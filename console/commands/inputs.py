"""`tidewatt inputs`: prices and forecasts that plans are made from."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import out
from console.commands.store import StoreOption, open_store
from engine.errors import InputError

app = typer.Typer(
    help="Publish and list prices and forecasts; a site is planned again within a minute of news.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def publish(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="CSV: start, then any of import_price_eur_per_kwh, export_price_eur_per_kwh, load_kw, pv_kw, and of "
            "the series that strategies ask for, such as position_kw (docs/strategies.md)."
        ),
    ] = None,
    site: Annotated[str | None, typer.Option(help="For this site only. Unset: all without their own.")] = None,
    sample: Annotated[
        bool,
        typer.Option("--sample", help="Instead of a file: 24 h of a sample day from now on."),
    ] = False,
    step_min: Annotated[int, typer.Option(min=1, max=60, help="Minutes of the sample's intervals.")] = 15,
    store: StoreOption = "",
) -> None:
    """Put prices or forecasts into the store; plans are made from the newest of each."""
    from console.inputs import read_series
    from console.sample import sample_from
    from schedules.clock import RealClock
    from schedules.inputs import MARKETS, SERIES
    from schedules.inputs import publish as put
    from schedules.registration import site_id

    if (file is None) != sample:
        raise InputError("file", "give either a file or --sample", "for example: tidewatt inputs publish prices.csv")
    clock = RealClock()
    series = (
        sample_from(clock(), step_min) if file is None else read_series(file, (*SERIES, *MARKETS), some_suffice=True)
    )
    with closing(open_store(store)) as db:
        with db.session() as session:
            number = None if site is None else site_id(session, site)
        put(db, clock, series, number)
    source = "sample of a day in April 2024, no real prices of today" if file is None else file.name
    first, last = series.index[0], series.index[-1] + (series.index[1] - series.index[0])
    out.print(
        f"inputs: {', '.join(series.columns)} from {first:%Y-%m-%d %H:%M} to {last:%Y-%m-%d %H:%M} UTC ({source})",
        markup=False,
    )


@app.command("list")
def list_command(
    store: StoreOption = "", as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False
) -> None:
    """List the newest of each series that plans are made from."""
    from schedules.inputs import newest

    with closing(open_store(store)) as db:
        found = newest(db)
    if as_json:
        print(
            json.dumps(
                [
                    {
                        "series": each.name,
                        "site": each.site,
                        "from": each.begins_at.isoformat(),
                        "until": each.ends_at.isoformat(),
                        "step_s": each.step_s,
                        "least": each.least,
                        "most": each.most,
                        "known_at": each.known_at.isoformat(),
                        "made_by": each.made_by or None,
                        "doubt": each.doubt or None,
                    }
                    for each in found
                ]
            )
        )
        return
    if not found:
        out.print("no inputs yet; see: tidewatt inputs publish --help")
        return
    table = Table(title="inputs, times in UTC", title_justify="left", box=box.SIMPLE, padding=(0, 1))
    for heading in ("series", "site", "from", "until", "step", "least", "most", "known at", "by"):
        table.add_column(heading)
    for each in found:
        table.add_row(
            each.name,
            "all" if each.site is None else escape(each.site),
            f"{each.begins_at:%Y-%m-%d %H:%M}",
            f"{each.ends_at:%Y-%m-%d %H:%M}",
            f"{each.step_s / 60:g} min",
            f"{each.least:g}",
            f"{each.most:g}",
            f"{each.known_at:%Y-%m-%d %H:%M}",
            (each.made_by or "published") + (" (in doubt)" if each.doubt else ""),
        )
    out.print(table)
