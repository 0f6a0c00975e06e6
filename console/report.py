"""What a day came to: the figures, and the page with the plot."""

from __future__ import annotations

import html
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import func, select

from adapters.contract import Channel
from console.demo import Day, DayRun
from engine.intent import IntentMode
from engine.plan import COLUMNS
from engine.plotting import plan_figure
from schedules import jobs, metering, telemetry
from schedules.dispatch import intent_of
from schedules.store import CommandRow, IntentRow, PlanRow, Verdict
from schedules.store.models import CommandKind


@dataclass(frozen=True, eq=False)
class Slot:
    """One interval: what was wanted, what was seen, what that proves."""

    intent: IntentRow
    wanted_kw: float | None
    """The set-point [kW], + discharges; None where the battery follows the house."""
    seen_kw: float | None
    """Mean of the readings that could show it [kW]."""

    @property
    def gap_kw(self) -> float | None:
        """Seen less wanted [kW]."""
        if self.wanted_kw is None or self.seen_kw is None:
            return None
        return self.seen_kw - self.wanted_kw


@dataclass(frozen=True, eq=False)
class DayReport:
    """The figures of one finished day."""

    plan: PlanRow
    plans: int
    slots: list[Slot]
    realised: metering.Metered
    cost_without_battery_eur: float
    commands: dict[CommandKind, int]
    emulator: dict[str, Any]
    failed_reads: int

    @property
    def set_point_slots(self) -> list[Slot]:
        """The intervals that ask for a power, zero included."""
        return [slot for slot in self.slots if slot.wanted_kw is not None]

    @property
    def following_slots(self) -> list[Slot]:
        """The intervals in which the battery follows the house."""
        return [slot for slot in self.slots if slot.wanted_kw is None]

    @property
    def largest_gap_kw(self) -> float | None:
        """The largest gap between planned and seen power over the set-point intervals [kW]."""
        gaps = [abs(slot.gap_kw) for slot in self.set_point_slots if slot.gap_kw is not None]
        return max(gaps, default=None)

    def figures(self) -> dict[str, str]:
        """Name and value of every figure, as people read them."""
        set_points, following = self.set_point_slots, self.following_slots
        unmetered = self.realised.unmetered_intervals
        gap = self.largest_gap_kw
        limited = sum(slot.intent.verdict is Verdict.DEVICE_LIMITED for slot in following)
        return {
            "planned cost": f"{self.plan.cost_eur:.2f} EUR",
            "realised cost": f"{self.realised.cost_eur:.2f} EUR"
            + (f" ({unmetered} intervals without a reading)" if unmetered else ""),
            "cost without a battery": f"{self.cost_without_battery_eur:.2f} EUR",
            "plans made": str(self.plans),
            "commands sent": str(self.commands[CommandKind.START] + self.commands[CommandKind.RELEASE]),
            "re-issues": str(self.commands[CommandKind.RENEW]),
            "set-points confirmed": _share(_confirmed(set_points), len(set_points)),
            "self-consumption confirmed": _share(_confirmed(following), len(following))
            + (f", full or empty in {limited} more" if limited else ""),
            "largest gap planned - seen": "no readings" if gap is None else f"{gap * 1000:.0f} W",
            "lapses (emulator's own log)": f"{self.emulator['lapsed']} ({self.emulator['lapse_s']:.0f} s)",
            "reads that failed": str(self.failed_reads),
        }


async def day_report(run: DayRun) -> DayReport:
    """Collect the figures of a finished day from the store and from the emulator's own account."""
    day, target = run.day, run.target
    plan = jobs.first_plan(run.db, target.id, day.begin)
    assert plan is not None
    readings = telemetry.between(run.db, target.id, day.begin, day.end)
    powers = telemetry.frame(readings, Channel.POWER)["battery_kw"].astype(float)
    state = await run.emulator.control.state()
    with run.db.session() as session:
        rows = session.execute(
            select(CommandRow.kind, func.count()).where(CommandRow.site_id == target.id).group_by(CommandRow.kind)
        ).all()
        plans = session.scalar(select(func.count(PlanRow.id)).where(PlanRow.site_id == target.id)) or 0
    settling = pd.Timedelta(seconds=target.adapter.abilities.settling_s)
    return DayReport(
        plan=plan,
        plans=plans,
        slots=[_slot(row, powers, settling) for row in jobs.intents_between(run.db, target.id, day.begin, day.end)],
        realised=metering.metered(
            readings,
            day.series["import_price_eur_per_kwh"],
            day.series["export_price_eur_per_kwh"],
            pd.Timedelta(minutes=15).to_pytimedelta(),
            target.site.battery.wear_eur_per_kwh,
        ),
        cost_without_battery_eur=cost_of_idle_house_eur(day),
        commands={kind: dict(rows).get(kind, 0) for kind in CommandKind},
        emulator=state["systems"][target.device.device_id],
        failed_reads=run.failed_reads,
    )


def cost_of_idle_house_eur(day: Day) -> float:
    """What the meter would have cost that day with the battery idle, minute by minute [EUR]."""
    hours = (day.house.index[1] - day.house.index[0]) / pd.Timedelta(hours=1)
    net_kw = day.house["load_kw"] - day.house["pv_kw"]
    prices = day.series.reindex(day.house.index, method="ffill")
    bought = net_kw.clip(lower=0) * prices["import_price_eur_per_kwh"]
    sold = (-net_kw).clip(lower=0) * prices["export_price_eur_per_kwh"]
    return float(((bought - sold) * hours).sum())


def write_html(path: Path, run: DayRun, report: DayReport) -> None:
    """Write the page: figures, plot, and a row per interval. It needs no network to be read."""
    day, target = run.day, run.target
    zone = target.site.timezone
    readings = telemetry.between(run.db, target.id, day.begin, day.end)
    intervals = pd.DataFrame(report.plan.intervals)
    table = intervals[list(COLUMNS)].set_axis(pd.to_datetime(intervals["start"], utc=True))
    figure = plan_figure(
        target.site,
        table,
        day.series["import_price_eur_per_kwh"],
        day.series["export_price_eur_per_kwh"],
        report.plan.initial_soc,
        telemetry.frame(readings, Channel.POWER)["battery_kw"].dropna(),
        telemetry.frame(readings, Channel.STATE)["soc"].dropna(),
    )
    figures = "".join(
        f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>"
        for name, value in report.figures().items()
    )
    slots = "".join(_slot_row(slot, zone) for slot in report.slots)
    title = f"{target.site.name}, {day.date:%A %d %B %Y}"
    path.write_text(
        _PAGE.format(
            title=html.escape(title),
            figures=figures,
            plot=figure.to_html(full_html=False, include_plotlyjs=True),
            slots=slots,
            zone=html.escape(zone),
        ),
        encoding="utf-8",
    )


def _slot(row: IntentRow, powers: pd.Series, settling: pd.Timedelta) -> Slot:
    intent = intent_of(row)
    settled = powers[(powers.index >= row.not_before + settling) & (powers.index <= row.not_after)].dropna()
    return Slot(
        intent=row,
        wanted_kw=intent.battery_kw if intent.has_set_point else None,
        seen_kw=float(settled.mean()) if len(settled) else None,
    )


def _confirmed(slots: list[Slot]) -> int:
    return sum(slot.intent.verdict is Verdict.CONFIRMED for slot in slots)


def _share(part: int, whole: int) -> str:
    return f"{part} of {whole} intervals ({part / whole:.1%})" if whole else "none asked for"


def _slot_row(slot: Slot, zone: str) -> str:
    start = pd.Timestamp(slot.intent.not_before).tz_convert(zone)
    mode = IntentMode(slot.intent.mode)
    verdict = slot.intent.verdict.value.replace("_", " ") if slot.intent.verdict else "no verdict"
    cells = (
        f"{start:%H:%M}",
        mode.value.replace("_", "-"),
        "follows the house" if slot.wanted_kw is None else f"{slot.wanted_kw:+.3f}",
        "-" if slot.seen_kw is None else f"{slot.seen_kw:+.3f}",
        verdict,
    )
    kind = "good" if slot.intent.verdict is Verdict.CONFIRMED else "look"
    return f'<tr class="{kind}">' + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells) + "</tr>"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ font: 15px/1.45 system-ui, sans-serif; margin: 1.5rem auto; max-width: 1200px; padding: 0 1rem; color: #222; }}
table {{ border-collapse: collapse; }} th, td {{ text-align: left; padding: .15rem .9rem .15rem 0; }}
th {{ font-weight: 600; }} td {{ font-variant-numeric: tabular-nums; }}
tr.look td:last-child {{ font-weight: 600; }} tr.look td:last-child::before {{ content: "\\25B2 "; }}
summary {{ cursor: pointer; margin-top: 1rem; font-weight: 600; }}
</style></head><body>
<h1>{title}</h1>
<table>{figures}</table>
{plot}
<details open><summary>Every interval ({zone}): wanted, seen, proved</summary>
<table><thead><tr><th>start</th><th>intent</th><th>wanted kW</th><th>seen kW (mean)</th><th>verdict</th></tr></thead>
<tbody>{slots}</tbody></table></details>
<p>Powers: battery + discharges. Seen: mean of the vendor's readings after the command could have worked.</p>
</body></html>
"""
