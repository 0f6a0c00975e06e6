"""The demonstration's figures as people read them, as programs read them, and as a page with the plot."""

from __future__ import annotations

import html
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from console.demo import DayRun
from console.sample import QUARTER_HOUR
from engine.intent import IntentMode
from engine.plan import COLUMNS
from engine.plotting import plan_figure
from schedules.settle import Settlement, Slot, confirmed, settle
from schedules.store import Verdict
from schedules.store.models import CommandKind


@dataclass(frozen=True)
class Figures:
    """What a day came to."""

    planned_cost_eur: float
    realised_cost_eur: float
    cost_without_battery_eur: float
    saved_eur: float
    soc_at_start: float | None
    soc_at_end: float | None
    plans_made: int
    commands_sent: int
    """All calls that the vendor took, re-issues included."""
    reissues: int
    commands_not_taken: int
    set_point_intervals: int
    set_point_intervals_confirmed: int
    self_consumption_intervals: int
    self_consumption_intervals_confirmed: int
    unmetered_intervals: int
    largest_gap_kw: float | None
    """Over the set-point intervals, mean seen less planned."""
    lapses: int
    """By the emulator's own log, while this process was in control."""
    lapses_while_nobody_was_in_control: int
    lapse_s: float
    failures_survived: int

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, as people read them."""
        gap = "no readings" if self.largest_gap_kw is None else f"{self.largest_gap_kw * 1000:.0f} W"
        unmetered = f" ({self.unmetered_intervals} intervals without a reading)" if self.unmetered_intervals else ""
        orphaned = self.lapses_while_nobody_was_in_control
        return [
            ("planned cost", f"{self.planned_cost_eur:.2f} EUR"),
            ("realised cost", f"{_eur(self.realised_cost_eur)}{unmetered}"),
            ("cost without a battery", f"{self.cost_without_battery_eur:.2f} EUR"),
            ("saved by the battery", _eur(self.saved_eur)),
            ("state of charge", f"{_percent(self.soc_at_start)} at the start, {_percent(self.soc_at_end)} at the end"),
            ("plans made", str(self.plans_made)),
            ("commands sent", str(self.commands_sent)),
            ("of which re-issues", str(self.reissues)),
            ("refused or unanswered", str(self.commands_not_taken)),
            ("set-points confirmed", _share(self.set_point_intervals_confirmed, self.set_point_intervals)),
            (
                "self-consumption confirmed",
                _share(self.self_consumption_intervals_confirmed, self.self_consumption_intervals),
            ),
            ("largest gap planned - seen", gap),
            (
                "lapses (emulator's own log)",
                f"{self.lapses} ({self.lapse_s:.0f} s)"
                + (f", and {orphaned} while nobody was in control" if orphaned else ""),
            ),
            ("failures survived", str(self.failures_survived)),
        ]

    def as_json(self) -> dict[str, float | int | None]:
        """Name and value, as programs read them; what is not known is null."""
        known = asdict(self)
        return {name: None if value is None or math.isnan(value) else value for name, value in known.items()}


async def settle_run(run: DayRun) -> tuple[Figures, Settlement]:
    """Collect the figures of a finished day from the store and from the emulator's own account."""
    series = run.day.series
    result = settle(
        run.db, run.target, series["import_price_eur_per_kwh"], series["export_price_eur_per_kwh"], QUARTER_HOUR
    )
    device = await run.emulator.account_of_device()
    soc = result.soc_seen()
    idle_eur = run.day.cost_without_battery_eur()
    lapses = device["lapsed"] - run.lapses_before
    figures = Figures(
        planned_cost_eur=result.plans[0].cost_eur,
        realised_cost_eur=result.metered.cost_eur,
        cost_without_battery_eur=idle_eur,
        saved_eur=idle_eur - result.metered.cost_eur,
        soc_at_start=float(soc.iloc[0]) if len(soc) else None,
        soc_at_end=float(soc.iloc[-1]) if len(soc) else None,
        plans_made=len(result.plans),
        commands_sent=sum(result.taken.values()),
        reissues=result.taken[CommandKind.RENEW],
        commands_not_taken=result.not_taken,
        set_point_intervals=len(result.set_points),
        set_point_intervals_confirmed=confirmed(result.set_points),
        self_consumption_intervals=len(result.following),
        self_consumption_intervals_confirmed=confirmed(result.following),
        unmetered_intervals=result.metered.unmetered_intervals,
        largest_gap_kw=result.largest_gap_kw,
        lapses=lapses,
        lapses_while_nobody_was_in_control=run.lapses_before,
        lapse_s=device["lapse_s"] if lapses else 0.0,
        failures_survived=len(run.runner.failures),
    )
    return figures, result


def write_html(path: Path, run: DayRun, figures: Figures, result: Settlement) -> None:
    """Write the page: figures, plot, and a row per interval. It needs no network to be read."""
    site, series = run.target.site, run.day.series
    first = result.plans[0]
    intervals = pd.DataFrame(first.intervals)
    table = intervals[list(COLUMNS)].set_axis(pd.to_datetime(intervals["start"], utc=True))
    figure = plan_figure(
        site,
        table,
        series["import_price_eur_per_kwh"].reindex(table.index),
        series["export_price_eur_per_kwh"].reindex(table.index),
        first.initial_soc,
        result.power_seen(),
        result.soc_seen(),
    )
    rows = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in figures.rows()
    )
    prices = series["import_price_eur_per_kwh"]
    slots = "".join(_slot_row(slot, site.timezone, prices) for slot in result.slots)
    path.write_text(
        _PAGE.format(
            title=html.escape(f"{site.name}, {run.day.date:%A %d %B %Y}"),
            figures=rows,
            plot=figure.to_html(
                full_html=False, include_plotlyjs=True, config={"responsive": True, "displaylogo": False}
            ),
            slots=slots,
            zone=html.escape(site.timezone),
        ),
        encoding="utf-8",
    )


def _eur(amount: float) -> str:
    return "not known" if math.isnan(amount) else f"{amount:.2f} EUR"


def _percent(fraction: float | None) -> str:
    return "unknown" if fraction is None else f"{fraction:.1%}"


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} intervals ({part / whole:.1%})" if whole else "none asked for"


def _slot_row(slot: Slot, zone: str, prices: pd.Series) -> str:
    start = pd.Timestamp(slot.intent.not_before)
    verdict = slot.intent.verdict
    cells = (
        f"{start.tz_convert(zone):%H:%M}",
        f"{prices[start]:.3f}",
        IntentMode(slot.intent.mode).value.replace("_", "-"),
        "follows" if slot.wanted_kw is None else f"{slot.wanted_kw:.2f}",
        "-" if slot.seen_kw is None else f"{slot.seen_kw:.2f}",
        "-" if slot.seen_soc is None else f"{slot.seen_soc * 100:.1f}",
        "-" if slot.cost_eur is None else f"{slot.cost_eur:.3f}",
        "no verdict" if verdict is None else verdict.value.replace("_", " "),
    )
    kind = "good" if verdict is Verdict.CONFIRMED else "look"
    return f'<tr class="{kind}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; }} th, td {{ text-align: left; padding: .15rem .9rem .15rem 0; }}
th {{ font-weight: 600; }} td {{ font-variant-numeric: tabular-nums; }}
.slots th, .slots td {{ text-align: right; }} .slots :nth-child(3), .slots :last-child {{ text-align: left; }}
tr.look td:last-child {{ font-weight: 600; }} tr.look td:last-child::before {{ content: "\\25B2 "; }}
details {{ overflow-x: auto; }}
summary {{ cursor: pointer; margin-top: 1rem; font-weight: 600; }}
</style></head><body>
<h1>{title}</h1>
<table>{figures}</table>
{plot}
<details open><summary>Every interval ({zone}): wanted, seen, proved</summary>
<table class="slots"><thead><tr><th>start</th><th>buying EUR/kWh</th><th>intent</th><th>wanted kW</th>
<th>seen kW (mean)</th><th>SOC % at the end</th><th>EUR</th><th>verdict</th></tr></thead>
<tbody>{slots}</tbody></table></details>
<p>Powers: battery + discharges. Planned: the first plan of the day. Seen: the vendor's readings, in the table
their mean after the command could have worked. EUR: by the registers, with wear.</p>
</body></html>
"""
