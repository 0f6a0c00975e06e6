"""The jobs, as plain functions: whatever runs them (a loop, a worker, a test) only loads, calls and stores."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

import numpy as np
import pandas as pd
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from adapters.contract import Channel, Clock, Telemetry
from engine import Battery, InputError, Plan, TidewattError, optimise
from engine.intent import self_consumption_kw
from schedules import confirmation, journal, safety, telemetry
from schedules.adoption import USUAL, Threshold
from schedules.confirmation import Tolerance
from schedules.envelope import Envelope, applied, learned
from schedules.plans import Stretch, newest_plan, put_in_force, stretches_between
from schedules.sites import ControlledSite
from schedules.store import CommandRow, CommandState, Database, EventRow, IntentRow, SiteRow, TelemetryRow, Verdict
from schedules.store.models import CommandKind
from schedules.telemetry import FUTURE_MARGIN, OLDEST


class StaleTelemetryError(TidewattError):
    """The state of charge is unknown or too old to plan from."""


def plan_site(
    db: Database,
    clock: Clock,
    target: ControlledSite,
    series: pd.DataFrame,
    why: str,
    final_soc_min: float | None = None,
    threshold: Threshold | None = USUAL,
) -> Plan:
    """Plan a site from its seen state of charge, and make the plan the one in force if it gains enough.

    The plan begins with the first interval that starts now or later and that no override has. What is wanted until then
    stays in force, and the state of charge is carried forward over it. An override that is still to come binds the
    battery to its direction and power. What the battery was seen to allow near full and empty limits it.

    Args:
        db: The store.
        clock: The time.
        target: The site.
        series: Columns `import_price_eur_per_kwh`, `export_price_eur_per_kwh`, `load_kw`, `pv_kw` on an aware, regular
            index; earlier rows are left out.
        why: What made us plan, for the record.
        final_soc_min: Least state of charge at the end [fraction].
        threshold: What the plan has to gain over going on with the older one; None: nothing.

    Raises:
        StaleTelemetryError: There is no recent state of charge.
        InputError: The horizon is over, or an override has all of it.
        TidewattError: As `engine.optimise` raises.
    """
    now = clock()
    step = series.index[1] - series.index[0]
    end = (series.index[-1] + step).to_pydatetime()
    overrides = [each for each in stretches_between(db, target.id, now, end) if each.row.override_id is not None]
    ahead = series.loc[series.index >= now]
    for override in overrides:
        # Until it is over nothing is ours to decide.
        if len(ahead) and override.begin <= ahead.index[0].to_pydatetime() < override.end:
            ahead = ahead.loc[ahead.index >= override.end]
    if ahead.empty:
        problem = "an override has all of it" if overrides else "it has no rows"
        raise InputError("series", f"{problem} from {now.isoformat()} on", "give a horizon that is not over")
    # The last interval alone does not tell its length; the whole series does.
    ahead = ahead.set_axis(pd.DatetimeIndex(ahead.index, freq=step))
    site = target.site.model_copy(update={"battery": _as_learned(db, target, now)})
    most_charge_kw, most_discharge_kw = _left_by(overrides, ahead, step, site.battery)
    plan = optimise(
        site,
        import_price=ahead["import_price_eur_per_kwh"],
        export_price=ahead["export_price_eur_per_kwh"],
        load=ahead["load_kw"],
        pv=ahead["pv_kw"] if site.pv else None,
        initial_soc=_soc_at(db, now, target, series, ahead.index[0].to_pydatetime()),
        final_soc_min=final_soc_min,
        max_charge_kw=most_charge_kw,
        max_discharge_kw=most_discharge_kw,
    )
    put_in_force(db, now, target, plan, why, threshold)
    return plan


def _as_learned(db: Database, target: ControlledSite, now: dt.datetime) -> Battery:
    with db.session() as session:
        known = Envelope.from_json(session.get_one(SiteRow, target.id).envelope)
    return applied(known, target.site.battery, now)


def _left_by(
    overrides: Sequence[Stretch], ahead: pd.DataFrame, step: pd.Timedelta, battery: Battery
) -> tuple[pd.Series | None, pd.Series | None]:
    """Charging and discharging power that overrides leave to a plan [kW]: theirs, in their direction only."""
    if not overrides:
        return None, None
    charge = pd.Series(battery.max_charge_kw, ahead.index, dtype=float)
    discharge = pd.Series(battery.max_discharge_kw, ahead.index, dtype=float)
    for override in overrides:
        # Of an interval that it has in part, the larger part counts.
        half = step / 2
        inside = (ahead.index > override.begin - half) & (ahead.index <= override.end - half)
        wanted_kw = pd.Series(override.intent.battery_kw, ahead.index)
        if not override.intent.has_set_point:
            wanted_kw = ahead["load_kw"] - ahead["pv_kw"]
        charge[inside] = np.minimum(charge, (-wanted_kw).clip(lower=0.0))[inside]
        discharge[inside] = np.minimum(discharge, wanted_kw.clip(lower=0.0))[inside]
    return charge, discharge


def confirm(db: Database, clock: Clock, target: ControlledSite, by: str = "confirmation") -> None:
    """Judge every intent that has begun by the telemetry that is there, and close those whose time is over.

    Changes by others are written down, and what the battery was seen to allow is learned.

    Args:
        db: The store.
        clock: The time.
        target: The site.
        by: Who judges, for the record: a worker.
    """
    now = clock()
    abilities = target.adapter.abilities
    tolerance = Tolerance.of(abilities)
    taken_by_others = False
    # The last reading of an interval may arrive one cadence late.
    grace = dt.timedelta(seconds=abilities.state_cadence_s)
    with db.write() as session:
        known = Envelope.from_json(session.get_one(SiteRow, target.id).envelope)
        begun = session.scalars(
            select(IntentRow)
            .where(
                IntentRow.site_id == target.id,
                IntentRow.superseded.is_(False),
                IntentRow.not_before <= now,
                or_(IntentRow.not_after >= now - grace, IntentRow.verdict.is_(None)),
            )
            .order_by(IntentRow.not_before)
        ).all()
        for row in begun:
            verdict = None
            # What an override had of its time is not its own.
            own = [each for each in _parts(db, row) if each.begin <= now]
            if row.in_force_at is not None and own:
                intent, in_force_at = own[-1].intent, max(row.in_force_at, own[-1].begin)
                readings = telemetry.between(db, target.id, own[-1].begin, own[-1].end)
                settling = dt.timedelta(seconds=abilities.settling_s)
                settled = in_force_at + settling
                known = learned(known, target.site.battery, intent, readings, settled, tolerance)
                battery = applied(known, target.site.battery, now)
                let_go = not intent.has_set_point and _is_let_go(db, target, now)
                verdict = confirmation.judge(
                    intent, battery, readings, in_force_at, abilities.settling_s, tolerance, let_go
                )
                if verdict is Verdict.EXTERNAL:
                    taken_by_others |= row.verdict is not verdict or _is_taken_again(session, row, readings, settling)
            if verdict is not None:
                row.verdict = verdict
            elif now >= row.not_after and row.verdict is None:
                row.verdict = Verdict.UNKNOWN
        session.get_one(SiteRow, target.id).envelope = known.as_json()
    if taken_by_others:
        safety.note_external(db, clock, target.id, by, "the device does what neither we nor its own rest ask of it")


def _parts(db: Database, row: IntentRow) -> list[Stretch]:
    """The time that is an intent's own, in order."""
    stretches = stretches_between(db, row.site_id, row.not_before, row.not_after)
    return [stretch for stretch in stretches if stretch.row.id == row.id]


def _is_taken_again(session: Session, row: IntentRow, readings: Sequence[Telemetry], settling: dt.timedelta) -> bool:
    """Whether somebody has overruled what we sent since we last wrote that down: a change of its own."""
    noted_at = session.scalar(
        select(func.max(EventRow.at)).where(EventRow.site_id == row.site_id, EventRow.kind == safety.EXTERNAL_EVENT)
    )
    powers = [reading.measured_at for reading in readings if reading.battery_kw is not None]
    return noted_at is not None and (
        session.scalar(
            select(CommandRow.id)
            .where(
                CommandRow.intent_id == row.id,
                journal.OF_BATTERY,
                CommandRow.state.in_((CommandState.ACCEPTED, CommandState.SEEN)),
                CommandRow.sent_at > noted_at,
                CommandRow.sent_at <= powers[-confirmation.SAMPLES] - settling,
            )
            .limit(1)
        )
        is not None
    )


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


def soc_deviation(db: Database, target: ControlledSite) -> float | None:
    """How far the seen state of charge is from what the plan's intents lead to [fraction, + fuller].

    None where they cannot be compared: the newest reading was not taken within the newest plan. Between the ends of
    intervals the plan is taken as straight.
    """
    state = telemetry.latest(db, target.id, Channel.STATE)
    plan = newest_plan(db, target.id)
    if state is None or state.soc is None or plan is None or not plan.begins_at <= state.measured_at <= plan.ends_at:
        return None
    ends = [plan.initial_soc, *(float(interval["carried_soc"]) for interval in plan.intervals)]
    position = (state.measured_at - plan.begins_at) / (plan.ends_at - plan.begins_at) * len(plan.intervals)
    before = min(int(position), len(plan.intervals) - 1)
    planned = ends[before] + (ends[before + 1] - ends[before]) * (position - before)
    return state.soc - planned


def _soc_at(db: Database, now: dt.datetime, target: ControlledSite, series: pd.DataFrame, begin: dt.datetime) -> float:
    """The state of charge to expect at a time: the one seen, carried over what is in force until then."""
    state = telemetry.latest(db, target.id, Channel.STATE)
    if state is None or state.soc is None or not -FUTURE_MARGIN <= now - state.measured_at <= OLDEST:
        seen = "never seen" if state is None or state.soc is None else f"seen at {state.measured_at.isoformat()}"
        raise StaleTelemetryError(
            f"soc: {seen}, not within {OLDEST} before {now.isoformat()}; read the device's state before planning"
        )
    battery, soc = target.site.battery, state.soc
    for stretch in stretches_between(db, target.id, state.measured_at, begin):
        intent = stretch.intent
        hours = (stretch.end - stretch.begin) / dt.timedelta(hours=1)
        battery_kw = intent.battery_kw
        if not intent.has_set_point:
            forecast = series.loc[: pd.Timestamp(stretch.begin)].iloc[-1]
            battery_kw = self_consumption_kw(
                forecast["load_kw"], forecast["pv_kw"], battery.max_charge_kw, battery.max_discharge_kw
            )
        soc = _carried(battery, soc, battery_kw, hours)
    return soc


def _carried(battery: Battery, soc: float, battery_kw: float, hours: float) -> float:
    """A state of charge after some hours at a power, within the band or where it stood outside it."""
    stored_kw = -battery_kw * (battery.charge_efficiency if battery_kw < 0 else 1 / battery.discharge_efficiency)
    moved = soc + stored_kw * hours / battery.capacity_kwh
    return min(max(moved, min(battery.min_soc, soc)), max(battery.max_soc, soc))
