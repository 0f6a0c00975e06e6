"""Verdicts: every intent that has begun, judged by the telemetry that is there, and closed when its time is over."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence

from sqlalchemy import bindparam, func, or_, select

from adapters.contract import Clock, Telemetry
from schedules import confirmation, journal, safety, telemetry
from schedules.confirmation import Tolerance
from schedules.envelope import Envelope, applied, learned
from schedules.plans import stretches_between
from schedules.signs import EXTERNAL_EVENT
from schedules.sites import ControlledSite
from schedules.store import (
    SITE_IDS,
    CommandRow,
    CommandState,
    Database,
    EventRow,
    IntentRow,
    SiteRow,
    TelemetryRow,
    Verdict,
)
from schedules.store.models import CommandKind

_BEGUN = (
    select(IntentRow)
    .where(
        IntentRow.site_id.in_(SITE_IDS),
        IntentRow.superseded.is_(False),
        IntentRow.not_before <= bindparam("now"),
        or_(IntentRow.not_after >= bindparam("since"), IntentRow.verdict.is_(None)),
    )
    .order_by(IntentRow.not_before)
)


def confirm(db: Database, clock: Clock, targets: Sequence[ControlledSite], by: str = "confirmation") -> None:
    """Judge the intents of some sites, all of one vendor, and close those whose time is over.

    Changes by others are written down, and what the battery was seen to allow is learned.

    Args:
        db: The store.
        clock: The time.
        targets: The sites.
        by: Who judges, for the record: a worker.
    """
    now = clock()
    # The last reading of an interval may arrive one cadence late.
    grace = dt.timedelta(seconds=max((target.adapter.abilities.state_cadence_s for target in targets), default=0.0))
    rows = defaultdict(list)
    with db.session() as session:
        sites = {"site_ids": [target.id for target in targets]}
        for row in session.scalars(_BEGUN, {**sites, "now": now, "since": now - grace}):
            rows[row.site_id].append(row)
    for target in targets:
        if rows[target.id]:
            _confirm_site(db, now, clock, target, rows[target.id], by)


def _confirm_site(
    db: Database, now: dt.datetime, clock: Clock, target: ControlledSite, begun: Sequence[IntentRow], by: str
) -> None:
    abilities = target.adapter.abilities
    tolerance, settling = Tolerance.of(abilities), dt.timedelta(seconds=abilities.settling_s)
    with db.session() as session:
        stored = session.scalar(select(SiteRow.envelope).where(SiteRow.id == target.id))
    known = before = Envelope.from_json(stored)
    verdicts: dict[int, Verdict] = {}
    taken_by_others = False
    end = max(row.not_after for row in begun)
    stretches = stretches_between(db, target.id, begun[0].not_before, end)
    for row in begun:
        verdict = None
        # What an override had of its time is not its own.
        own = [each for each in stretches if each.row.id == row.id and each.begin <= now]
        if row.in_force_at is not None and own:
            intent, in_force_at = own[-1].intent, max(row.in_force_at, own[-1].begin)
            readings = telemetry.between(db, target.id, own[-1].begin - confirmation.SOC_HOLDS, own[-1].end)
            known = learned(known, target.site.battery, intent, readings, in_force_at + settling, tolerance)
            battery = applied(known, target.site.battery, now)
            let_go = not intent.has_set_point and _is_driven(readings) and _is_let_go(db, target, now)
            verdict = confirmation.judge(
                intent, battery, readings, in_force_at, abilities.settling_s, tolerance, let_go
            )
            if verdict is Verdict.EXTERNAL:
                taken_by_others |= row.verdict is not verdict or _is_taken_again(db, row, readings, settling)
        if verdict is None and now >= row.not_after and row.verdict is None:
            verdict = Verdict.UNKNOWN
        if verdict not in (None, row.verdict):
            verdicts[row.id] = verdict
    if verdicts or known != before:
        with db.write() as session:
            for number, verdict in verdicts.items():
                session.get_one(IntentRow, number).verdict = verdict
            session.get_one(SiteRow, target.id).envelope = known.as_json()
    if taken_by_others:
        safety.note_external(db, clock, target.id, by, "the device does what neither we nor its own rest ask of it")


def _is_driven(readings: Sequence[Telemetry]) -> bool:
    return any(reading.dispatch_active for reading in readings)


def _is_taken_again(db: Database, row: IntentRow, readings: Sequence[Telemetry], settling: dt.timedelta) -> bool:
    """Whether somebody has overruled what we sent since we last wrote that down: a change of its own."""
    powers = [reading.measured_at for reading in readings if reading.battery_kw is not None]
    with db.session() as session:
        noted_at = session.scalar(
            select(func.max(EventRow.at)).where(EventRow.site_id == row.site_id, EventRow.kind == EXTERNAL_EVENT)
        )
        sent_since = select(CommandRow.id).where(
            CommandRow.intent_id == row.id,
            journal.OF_BATTERY,
            CommandRow.state.in_((CommandState.ACCEPTED, CommandState.SEEN)),
            CommandRow.sent_at > noted_at,
            CommandRow.sent_at <= powers[-confirmation.SAMPLES] - settling,
        )
        return noted_at is not None and session.scalar(sent_since.limit(1)) is not None


def _is_let_go(db: Database, target: ControlledSite, now: dt.datetime) -> bool:
    """Whether the device has said, within a day, that nobody drives it since our last command that did."""
    with db.session() as session:
        drove_at = session.scalar(
            select(func.max(CommandRow.sent_at)).where(
                CommandRow.site_id == target.id,
                CommandRow.kind.in_((CommandKind.START, CommandKind.RENEW)),
                CommandRow.state != CommandState.REJECTED,
            )
        )
        since = now - dt.timedelta(days=1)
        if drove_at is not None:
            since = max(since, drove_at + dt.timedelta(seconds=target.adapter.abilities.settling_s))
        undriven = select(TelemetryRow.id).where(
            TelemetryRow.site_id == target.id,
            TelemetryRow.measured_at.between(since, now),
            TelemetryRow.dispatch_active.is_(False),
        )
        return session.scalar(undriven.limit(1)) is not None
