"""The demonstrated day as a page: figures of all homes, then each with its plot and its stretches."""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from adapters.contract import Channel
from console.demo import DayRun, Home
from console.figures import Figures
from engine.intent import IntentMode
from engine.plan import COLUMNS
from engine.plotting import plan_figure, watched_figure
from schedules import telemetry
from schedules.settle import Settlement, Slot
from schedules.store import Verdict

SettledHome = tuple[Home, Figures, Settlement]

OVERVIEW = (
    *("home", "vendor", "planned EUR", "realised EUR", "no battery EUR", "saved EUR"),
    *("commands", "confirmed", "lapses"),
)


def overview_row(figures: Figures) -> tuple[str, ...]:
    """A home in one line, as `OVERVIEW` names it."""
    proved = figures.set_points_confirmed + figures.followings_confirmed
    return (
        figures.home,
        figures.vendor,
        _amount(figures.planned_cost_eur) if figures.driven else "watched",
        _amount(figures.realised_cost_eur),
        _amount(figures.cost_without_battery_eur),
        _amount(figures.saved_eur),
        str(figures.commands_sent) if figures.driven else "-",
        f"{proved}/{figures.set_points + figures.followings}" if figures.driven else "-",
        str(figures.lapses) if figures.driven else "-",
    )


def write_html(path: Path, run: DayRun, settled: Sequence[SettledHome]) -> None:
    """Write the page. It needs no network to be read."""
    zone = settled[0][0].target.site.timezone
    path.write_text(
        _PAGE.format(
            title=html.escape(f"{len(settled)} homes, {run.date:%A %d %B %Y}"),
            headings="".join(f"<th>{html.escape(name)}</th>" for name in OVERVIEW),
            overview="".join(_row(overview_row(figures)) for _, figures, _ in settled),
            # The library that draws is in the page once.
            homes="".join(_section(*one, with_library=place == 0) for place, one in enumerate(settled)),
            zone=html.escape(zone),
        ),
        encoding="utf-8",
    )


def _section(home: Home, figures: Figures, result: Settlement, with_library: bool) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in figures.rows()
    )
    plot = _figure(home, result).to_html(
        full_html=False, include_plotlyjs=with_library, config={"responsive": True, "displaylogo": False}
    )
    prices = home.day.series["import_price_eur_per_kwh"]
    slots = "".join(_slot_row(slot, home.target.site.timezone, prices) for slot in result.slots)
    title = f"{figures.home}, {figures.vendor}, {'driven' if figures.driven else 'watched'}"
    stretches = _SLOTS.format(slots=slots) if slots else ""
    return f"<section><h2>{html.escape(title)}</h2><table>{rows}</table>{plot}{stretches}</section>"


def _figure(home: Home, result: Settlement) -> go.Figure:
    site, series = home.target.site, home.day.series
    prices = series["import_price_eur_per_kwh"], series["export_price_eur_per_kwh"]
    if not result.plans:
        seen_kw = telemetry.frame(result.readings, Channel.POWER)
        return watched_figure(site, *prices, seen_kw, result.soc_seen())
    first = result.plans[0]
    intervals = pd.DataFrame(first.intervals)
    table = intervals[list(COLUMNS)].set_axis(pd.to_datetime(intervals["start"], utc=True))
    buying, selling = (price.reindex(table.index) for price in prices)
    return plan_figure(site, table, buying, selling, first.initial_soc, result.power_seen(), result.soc_seen())


def _amount(eur: float | None) -> str:
    return "?" if eur is None or pd.isna(eur) else f"{eur:.2f}"


def _row(cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


def _slot_row(slot: Slot, zone: str, prices: pd.Series) -> str:
    start = pd.Timestamp(slot.intent.not_before)
    verdict = slot.intent.verdict
    cells = (
        f"{start.tz_convert(zone):%H:%M}",
        f"{pd.Timestamp(slot.intent.not_after).tz_convert(zone):%H:%M}",
        f"{float(prices.loc[:start].iloc[-1]):.3f}",
        IntentMode(slot.intent.mode).value.replace("_", "-"),
        "follows" if slot.wanted_kw is None else f"{slot.wanted_kw:.2f}",
        "-" if slot.seen_kw is None else f"{slot.seen_kw:.2f}",
        "-" if slot.seen_soc is None else f"{slot.seen_soc * 100:.1f}",
        "-" if slot.cost_eur is None else f"{slot.cost_eur:.3f}",
        "no verdict" if verdict is None else verdict.value.replace("_", " "),
    )
    kind = "good" if verdict is Verdict.CONFIRMED else "look"
    return f'<tr class="{kind}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


_SLOTS = """<details><summary>Every stretch: wanted, seen, proved</summary>
<table class="slots"><thead><tr><th>start</th><th>end</th><th>first price EUR/kWh</th><th>intent</th>
<th>wanted kW</th><th>seen kW (mean)</th><th>SOC % at the end</th><th>EUR</th><th>verdict</th></tr></thead>
<tbody>{slots}</tbody></table></details>
"""

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; }} th, td {{ text-align: left; padding: .15rem .9rem .15rem 0; }}
th {{ font-weight: 600; }} td {{ font-variant-numeric: tabular-nums; }}
.wide {{ overflow-x: auto; }} .overview :is(th, td):nth-child(n+3) {{ text-align: right; }}
.slots th, .slots td {{ text-align: right; }} .slots :nth-child(4), .slots :last-child {{ text-align: left; }}
tr.look td:last-child {{ font-weight: 600; }} tr.look td:last-child::before {{ content: "\\25B2 "; }}
section {{ margin-top: 2.5rem; border-top: 1px solid #ddd; }}
details {{ overflow-x: auto; }}
summary {{ cursor: pointer; margin-top: 1rem; font-weight: 600; }}
</style></head><body>
<h1>{title}</h1>
<div class="wide"><table class="overview"><thead><tr>{headings}</tr></thead><tbody>{overview}</tbody></table></div>
<p>Times in {zone}. Powers: battery + discharges. Planned: the first plan of the day. Seen: the vendor's readings; in
the tables their mean after the command could have worked. EUR: by the registers where there are any, with wear.</p>
{homes}
</body></html>
"""
