"""`tidewatt prices`: where day-ahead prices come from, what is known of them, and asking for them now."""

from __future__ import annotations

import datetime as dt
import json
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich import box
from rich.markup import escape
from rich.table import Table

from console.commands.screen import EXIT_FAILED, date_of, out
from console.commands.store import StoreOption, open_store, whoami

if TYPE_CHECKING:
    from console.prices import Asked, KnownDay

app = typer.Typer(
    help="Import markets, fetch and show day-ahead prices. Nothing is fetched for a market that nobody imported.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BAR_WIDTH = 24


@app.command("import")
def import_command(
    file: Annotated[Path, typer.Argument(help="Markets in YAML or JSON: name, area, sources, sites (docs/feeds.md).")],
    store: StoreOption = "",
) -> None:
    """Put the markets of a file into the store, their tokens sealed, and let sites live by them."""
    from console.markets import read_markets
    from schedules.clock import RealClock
    from schedules.price_sources import put_market, put_terms
    from schedules.seal import Sealer

    found, sealer, clock, who = read_markets(file), Sealer.from_environment(), RealClock(), whoami()
    with closing(open_store(store)) as db:
        for market in found:
            sources = [(each.source, each.settings) for each in market.sources]
            put_market(db, sealer, clock, market.name, market.area, sources, who)
            for entry in market.sites:
                for site in entry.sites:
                    put_terms(db, clock, market.name, site, entry.terms, who)
            sites = sum(len(entry.sites) for entry in market.sites)
            names = ", ".join(source for source, _ in sources)
            out.print(f"market {market.name}: {market.area} of {names}; {sites} sites live by it", markup=False)


@app.command()
def remove(name: Annotated[str, typer.Argument(help="The market's name.")], store: StoreOption = "") -> None:
    """Forget a market and its prices; sites keep the series that they have, and get no more."""
    from schedules.clock import RealClock
    from schedules.price_sources import remove_market

    with closing(open_store(store)) as db:
        remove_market(db, RealClock(), name, whoami())
    out.print(f"market {name}: removed", markup=False)


@app.command()
def fetch(
    source: Annotated[str | None, typer.Option(help="This source only. Unset: all of a market's, in turn.")] = None,
    day: Annotated[
        str | None, typer.Option(help="Market day, as 2026-02-03. Unset: today and, once out, tomorrow.")
    ] = None,
    area: Annotated[str | None, typer.Option(help="Markets of this area only, as DK1.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be accepted, and keep nothing.")] = False,
    as_json: AsJson = False,
    store: StoreOption = "",
) -> None:
    """Ask for prices now, and say what was accepted, or refused and why. Exit code 1 where a day was not had."""
    from console.prices import fetch as ask
    from schedules.clock import RealClock

    with closing(open_store(store)) as db:
        found, report = ask(db, RealClock(), source, area, date_of(day) if day else None, dry_run)
    if as_json:
        print(json.dumps([_asked(each) for each in found]))
    else:
        for each in found:
            out.print(_sentence(each), markup=False)
        for refusal in report.refused:
            out.print(f"not for {refusal}", markup=False)
        if report.published:
            out.print(f"{report.published} sites have new prices")
    had = {(each.market, each.day) for each in found if each.prices is not None}
    if any((each.market, each.day) not in had for each in found):
        sys.exit(EXIT_FAILED)


@app.command()
def show(
    market: Annotated[str | None, typer.Option(help="This market only.")] = None,
    day: Annotated[str | None, typer.Option(help="Market day, as 2026-02-03. Unset: today and tomorrow.")] = None,
    as_json: AsJson = False,
    store: StoreOption = "",
) -> None:
    """Show the prices that are known, each with its unit, its source and since when; negative ones are marked."""
    from console.prices import known_days
    from schedules.clock import RealClock
    from schedules.price_sources import market_rows

    now = RealClock()()
    days = [date_of(day)] if day else [now.date() + dt.timedelta(days=number) for number in (-1, 0, 1, 2)]
    with closing(open_store(store)) as db:
        markets = market_rows(db)
        found = known_days(db, market, days)
    if day is None:
        found = [each for each in found if _end(each) > now]
    if as_json:
        outcomes = {row.name: row.outcome for row in markets if market in (None, row.name)}
        print(json.dumps({"markets": outcomes, "days": [_entry(each, now) for each in found]}))
        return
    if not markets:
        out.print("no markets yet; see: tidewatt prices import --help")
    for each in found:
        _print_day(each, now)
    for row in markets:
        if row.outcome and market in (None, row.name):
            out.print(f"{row.name}, last asked: {row.outcome}", markup=False)


def _print_day(known: KnownDay, now: dt.datetime) -> None:
    from schedules.price_days import curves

    row = known.row
    columns = [(side.value, currency, curve.series) for (side, currency), curve in curves(row).items()]
    known_at = f"known since {row.known_at.astimezone():%Y-%m-%d %H:%M} ({_age(now - row.known_at)})"
    title = f"{known.market.name} {row.day}, {row.source}, {known_at}"
    title += "; ESTIMATED, nothing was published" if row.estimated else ""
    table = Table(title=escape(title), title_justify="left", box=box.SIMPLE, padding=(0, 1))
    table.add_column("local time")
    for side, currency, _ in columns:
        table.add_column(f"{side} {currency}/kWh", justify="right")
    table.add_column("")
    first = columns[0][2]
    for at in first.index:
        is_now = at <= now < at + (first.index[1] - first.index[0])
        cells = [f"{series[at]:.4f}{' -' if series[at] < 0 else '  '}" for _, _, series in columns]
        local = at.to_pydatetime().astimezone()
        bar = _bar(first[at], float(first.min()), float(first.max()))
        table.add_row(f"{local:%H:%M %z}{' <' if is_now else ''}", *cells, bar)
    out.print(table)


def _bar(value: float, least: float, most: float) -> str:
    """A bar from zero to the value, on a line on which all values and zero have their place."""
    low, high = min(least, 0.0), max(most, 0.0)
    if high == low:
        return ""
    zero, at = (round((each - low) / (high - low) * BAR_WIDTH) for each in (0.0, value))
    if value < 0:
        return " " * at + "-" * max(zero - at, 1)
    return " " * zero + "#" * (at - zero)


def _end(known: KnownDay) -> dt.datetime:
    row = known.row
    return row.begins_at + dt.timedelta(seconds=row.step_s * len(row.curves[0]["values"]))


def _entry(known: KnownDay, now: dt.datetime) -> dict[str, Any]:
    """A day as JSON; times UTC, prices per kWh."""
    row = known.row
    return {
        "market": known.market.name,
        "area": known.market.area,
        "day": row.day.isoformat(),
        "source": row.source,
        "estimated": row.estimated,
        "known_at": row.known_at.isoformat(),
        "age_s": (now - row.known_at).total_seconds(),
        "start": row.begins_at.isoformat(),
        "step_s": row.step_s,
        "prices": [
            {
                "side": each["side"],
                "unit": f"{each['currency']}/kWh",
                "values": each["values"],
                "negative": sum(value < 0 for value in each["values"]),
            }
            for each in row.curves
        ],
    }


def _asked(asked: Asked) -> dict[str, Any]:
    prices = asked.prices
    return {
        "market": asked.market,
        "source": asked.source,
        "area": asked.area,
        "day": asked.day.isoformat(),
        "accepted": prices is not None,
        "kept": asked.kept,
        "refusal": asked.refusal,
        "intervals": None if prices is None else len(prices.index),
        "units": None if prices is None else [f"{side.value} {currency}/kWh" for side, currency in prices.curves],
    }


def _sentence(asked: Asked) -> str:
    where = f"{asked.market} {asked.day}: {asked.source}"
    if asked.prices is None:
        return f"{where}: refused, {asked.refusal}"
    series = next(iter(asked.prices.curves.values())).series
    (side, currency), *_ = asked.prices.curves
    figures = f"{len(series)} prices, {side.value} {series.min():.4f} .. {series.max():.4f} {currency}/kWh"
    negative = int((series < 0).sum())
    told = f", {negative} negative" if negative else ""
    return f"{where}: accepted, {figures}{told}{'' if asked.kept else '; not kept'}"


def _age(age: dt.timedelta) -> str:
    hours = age.total_seconds() / 3600
    return f"{hours:.1f} h ago" if hours >= 1 else f"{age.total_seconds() / 60:.0f} min ago"
