"""What a demonstrated day came to in each home, as people read it and as programs read it."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

from console.demo import DayRun, Home
from console.sample import QUARTER_HOUR
from schedules.settle import Settlement, confirmed, settle
from schedules.store.models import CommandKind


@dataclass(frozen=True)
class Figures:
    """What a day came to in one home."""

    home: str
    vendor: str
    driven: bool
    """Whether its battery was driven, or only watched."""
    planned_cost_eur: float | None
    """By the first plan; None: nobody planned."""
    realised_cost_eur: float
    cost_without_battery_eur: float
    saved_eur: float
    translation_loss_eur: float | None
    """What the first plan loses by the vendor's modes and calls, on its own forecast."""
    soc_at_start: float | None
    soc_at_end: float | None
    plans_made: int
    commands_sent: int
    """All calls that the vendor took, re-issues included."""
    reissues: int
    commands_not_taken: int
    set_points: int
    """Stretches that asked for a power, zero included."""
    set_points_confirmed: int
    followings: int
    """Stretches in which the battery was to follow the house."""
    followings_confirmed: int
    readings: int
    unmetered_intervals: int
    estimated_intervals: int
    """Intervals metered by powers, for want of counters."""
    largest_gap_kw: float | None
    """Over the set-points, mean seen less planned."""
    lapses: int
    """By the emulator's own log, while this process was in control."""
    lapses_while_nobody_was_in_control: int
    lapse_s: float
    failures_survived: int

    def rows(self) -> list[tuple[str, str]]:
        """Name and value, as people read them."""
        gap = "no readings" if self.largest_gap_kw is None else f"{self.largest_gap_kw * 1000:.0f} W"
        orphaned = self.lapses_while_nobody_was_in_control
        notes = [
            f"{count} intervals {what}"
            for count, what in (
                (self.unmetered_intervals, "without a reading"),
                (self.estimated_intervals, "by powers, for want of counters"),
            )
            if count
        ]
        rows = [
            ("vendor", f"{self.vendor}, {'driven' if self.driven else 'watched'}"),
            ("realised cost", eur(self.realised_cost_eur) + (f" ({', '.join(notes)})" if notes else "")),
            ("cost without a battery", eur(self.cost_without_battery_eur)),
            ("saved by the battery", eur(self.saved_eur)),
            ("state of charge", f"{percent(self.soc_at_start)} at the start, {percent(self.soc_at_end)} at the end"),
            ("readings", str(self.readings)),
            ("failures survived", str(self.failures_survived)),
        ]
        if not self.driven:
            return rows
        return [
            ("planned cost", eur(self.planned_cost_eur)),
            ("lost to the vendor's modes and calls", eur(self.translation_loss_eur, digits=3)),
            *rows,
            ("plans made", str(self.plans_made)),
            ("commands sent", f"{self.commands_sent}, of which {self.reissues} re-issues"),
            ("refused or unanswered", str(self.commands_not_taken)),
            ("set-points confirmed", share(self.set_points_confirmed, self.set_points)),
            ("self-consumption confirmed", share(self.followings_confirmed, self.followings)),
            ("largest gap planned - seen", gap),
            (
                "lapses (emulator's own log)",
                f"{self.lapses} ({self.lapse_s:.0f} s)"
                + (f", and {orphaned} while nobody was in control" if orphaned else ""),
            ),
        ]

    def as_json(self) -> dict[str, str | float | int | None]:
        """Name and value, as programs read them; what is not known is null."""
        known = asdict(self)
        return {
            name: None if isinstance(value, float) and math.isnan(value) else value for name, value in known.items()
        }


async def settle_home(run: DayRun, home: Home) -> tuple[Figures, Settlement]:
    """Collect a home's figures of a finished day from the store and from its emulator's own account."""
    series = home.day.series
    result = settle(
        run.db, home.target, series["import_price_eur_per_kwh"], series["export_price_eur_per_kwh"], QUARTER_HOUR
    )
    device = await run.account_of(home)
    soc = result.soc_seen()
    idle_eur = home.day.cost_without_battery_eur()
    lapses = device.get("lapsed", 0) - home.lapses_before
    first = result.plans[0] if result.plans else None
    figures = Figures(
        home=home.target.site.name,
        vendor=home.vendor,
        driven=home.is_driven,
        planned_cost_eur=None if first is None else first.cost_eur,
        realised_cost_eur=result.metered.cost_eur,
        cost_without_battery_eur=idle_eur,
        saved_eur=idle_eur - result.metered.cost_eur,
        translation_loss_eur=None if first is None else first.translation_loss_eur,
        soc_at_start=float(soc.iloc[0]) if len(soc) else None,
        soc_at_end=float(soc.iloc[-1]) if len(soc) else None,
        plans_made=len(result.plans),
        commands_sent=sum(result.taken.values()),
        reissues=result.taken[CommandKind.RENEW],
        commands_not_taken=result.not_taken,
        set_points=len(result.set_points),
        set_points_confirmed=confirmed(result.set_points),
        followings=len(result.following),
        followings_confirmed=confirmed(result.following),
        readings=len(result.readings),
        unmetered_intervals=result.metered.unmetered_intervals,
        estimated_intervals=result.metered.estimated_intervals,
        largest_gap_kw=result.largest_gap_kw,
        lapses=lapses,
        lapses_while_nobody_was_in_control=home.lapses_before,
        lapse_s=device["lapse_s"] if lapses else 0.0,
        failures_survived=len(home.failures),
    )
    return figures, result


def eur(amount: float | None, digits: int = 2) -> str:
    """An amount for the screen."""
    return "not known" if amount is None or math.isnan(amount) else f"{amount:.{digits}f} EUR"


def percent(fraction: float | None) -> str:
    """A fraction for the screen."""
    return "unknown" if fraction is None else f"{fraction:.1%}"


def share(part: int, whole: int) -> str:
    """A part of a number for the screen."""
    return f"{part} of {whole} ({part / whole:.1%})" if whole else "none asked for"
