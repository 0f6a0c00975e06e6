"""What a finished horizon came to: plans, intents, readings, registers and commands, as numbers."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pandas as pd
from sqlalchemy import func, select

from adapters.contract import Channel, Telemetry
from schedules import telemetry
from schedules.metering import Metered, metered
from schedules.plans import Stretch, plans_between, stretches_between
from schedules.sites import WatchedSite
from schedules.store import CommandRow, CommandState, Database, IntentRow, PlanRow, Verdict
from schedules.store.models import CommandKind

TAKEN = (CommandState.ACCEPTED, CommandState.SEEN)


@dataclass(frozen=True, eq=False)
class Slot:
    """One stretch: what was wanted, what was seen, what that proves."""

    intent: IntentRow
    wanted_kw: float | None
    """The set-point [kW], + discharges; None where the battery follows the house."""
    seen_kw: float | None
    """Mean of the readings that could show it [kW]."""
    seen_soc: float | None
    """State of charge at the end [fraction]."""
    cost_eur: float | None
    """By the registers [EUR]."""

    @property
    def gap_kw(self) -> float | None:
        """Seen less wanted [kW]."""
        return None if self.wanted_kw is None or self.seen_kw is None else self.seen_kw - self.wanted_kw


@dataclass(frozen=True, eq=False)
class Settlement:
    """The figures of one site over one horizon."""

    plans: list[PlanRow]
    slots: list[Slot]
    metered: Metered
    readings: list[Telemetry]
    taken: dict[CommandKind, int]
    """Commands that the vendor took, by kind."""
    not_taken: int
    """Commands that were refused or lost."""

    @property
    def set_points(self) -> list[Slot]:
        """The stretches that ask for a power, zero included."""
        return [slot for slot in self.slots if slot.wanted_kw is not None]

    @property
    def following(self) -> list[Slot]:
        """The stretches in which the battery follows the house."""
        return [slot for slot in self.slots if slot.wanted_kw is None]

    @property
    def largest_gap_kw(self) -> float | None:
        """The largest gap between wanted and seen power over the set-points [kW]."""
        return max((abs(slot.gap_kw) for slot in self.set_points if slot.gap_kw is not None), default=None)

    def soc_seen(self) -> pd.Series:
        """The state of charge as it was seen [fraction], by time."""
        return telemetry.frame(self.readings, Channel.STATE)["soc"].dropna()

    def power_seen(self, name: str = "battery_kw") -> pd.Series:
        """One power as it was seen [kW], by time."""
        return telemetry.frame(self.readings, Channel.POWER)[name].dropna()


def confirmed(slots: list[Slot]) -> int:
    """How many stretches telemetry confirms."""
    return sum(slot.intent.verdict is Verdict.CONFIRMED for slot in slots)


def settle(
    db: Database, target: WatchedSite, import_price: pd.Series, export_price: pd.Series, step: pd.Timedelta
) -> Settlement:
    """Settle the horizon of two price series [EUR/kWh] from what the store has of it."""
    begin = import_price.index[0].to_pydatetime()
    end = (import_price.index[-1] + step).to_pydatetime()
    readings = telemetry.between(db, target.id, begin, end)
    meter = metered(readings, import_price, export_price, step.to_pytimedelta(), target.site.battery.wear_eur_per_kwh)
    settling = dt.timedelta(seconds=target.adapter.abilities.settling_s)
    powers = telemetry.frame(readings, Channel.POWER)["battery_kw"].dropna()
    socs = telemetry.frame(readings, Channel.STATE)["soc"].dropna()
    with db.session() as session:
        rows = session.execute(
            select(CommandRow.kind, CommandRow.state, func.count())
            .where(CommandRow.site_id == target.id, CommandRow.sent_at >= begin)
            .group_by(CommandRow.kind, CommandRow.state)
        ).all()
    return Settlement(
        plans=plans_between(db, target.id, begin, end),
        slots=[
            _slot(stretch, powers, socs, meter.table["cost_eur"], settling)
            for stretch in stretches_between(db, target.id, begin, end)
        ],
        metered=meter,
        readings=readings,
        taken={
            kind: sum(count for its_kind, state, count in rows if its_kind is kind and state in TAKEN)
            for kind in CommandKind
        },
        not_taken=sum(count for _, state, count in rows if state not in TAKEN),
    )


def _slot(stretch: Stretch, powers: pd.Series, socs: pd.Series, costs: pd.Series, settling: dt.timedelta) -> Slot:
    intent = stretch.intent
    settled = powers[(powers.index >= stretch.begin + settling) & (powers.index <= stretch.end)]
    soc = socs[socs.index <= stretch.end].tail(1)
    cost = costs[(costs.index >= stretch.begin) & (costs.index < stretch.end)]
    return Slot(
        intent=stretch.row,
        wanted_kw=intent.battery_kw if intent.has_set_point else None,
        seen_kw=float(settled.mean()) if len(settled) else None,
        seen_soc=float(soc.iloc[0]) if len(soc) else None,
        cost_eur=None if cost.empty or cost.isna().any() else float(cost.sum()),
    )
