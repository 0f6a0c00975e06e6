"""The jobs, as plain functions: whatever runs them (a loop, a worker, a test) only loads, calls and stores."""

from __future__ import annotations

import datetime as dt

import pandas as pd
from sqlalchemy import or_, select

from adapters.contract import Channel, Clock
from engine import Battery, InputError, Plan, TidewattError, optimise
from engine.intent import self_consumption_kw
from schedules import confirmation, telemetry
from schedules.plans import intent_of, intents_between, newest_plan, put_in_force
from schedules.sites import ControlledSite
from schedules.store import Database, IntentRow, Verdict
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
) -> Plan:
    """Plan a site from its seen state of charge, and make the plan the one in force.

    The plan begins with the first interval that starts now or later. What an older plan wants until then stays in
    force, and the state of charge is carried forward over it.

    Args:
        db: The store.
        clock: The time.
        target: The site.
        series: Columns `import_price_eur_per_kwh`, `export_price_eur_per_kwh`, `load_kw`, `pv_kw` on an aware, regular
            index; earlier rows are left out.
        why: What made us plan, for the record.
        final_soc_min: Least state of charge at the end [fraction].

    Raises:
        StaleTelemetryError: There is no recent state of charge.
        TidewattError: As `engine.optimise` raises.
    """
    now = clock()
    ahead = series.loc[series.index >= now]
    if ahead.empty:
        raise InputError("series", f"it has no rows from {now.isoformat()} on", "give a horizon that is not over")
    # The last interval alone does not tell its length; the whole series does.
    ahead = ahead.set_axis(pd.DatetimeIndex(ahead.index, freq=series.index[1] - series.index[0]))
    plan = optimise(
        target.site,
        import_price=ahead["import_price_eur_per_kwh"],
        export_price=ahead["export_price_eur_per_kwh"],
        load=ahead["load_kw"],
        pv=ahead["pv_kw"] if target.site.pv else None,
        initial_soc=_soc_at(db, now, target, series, ahead.index[0].to_pydatetime()),
        final_soc_min=final_soc_min,
    )
    put_in_force(db, now, target, plan, why)
    return plan


def confirm(db: Database, clock: Clock, target: ControlledSite) -> None:
    """Judge every intent that has begun by the telemetry that is there, and close those whose time is over."""
    now = clock()
    abilities = target.adapter.abilities
    # The last reading of an interval may arrive one cadence late.
    grace = dt.timedelta(seconds=abilities.state_cadence_s)
    with db.write() as session:
        begun = session.scalars(
            select(IntentRow).where(
                IntentRow.site_id == target.id,
                IntentRow.superseded.is_(False),
                IntentRow.not_before <= now,
                or_(IntentRow.not_after >= now - grace, IntentRow.verdict.is_(None)),
            )
        )
        for row in begun:
            if row.in_force_at is None:
                verdict = None
            else:
                readings = telemetry.between(db, target.id, row.not_before, row.not_after)
                verdict = confirmation.judge(
                    intent_of(row), target.site.battery, readings, row.in_force_at, abilities.settling_s
                )
            if verdict is not None:
                row.verdict = verdict
            elif now >= row.not_after and row.verdict is None:
                row.verdict = Verdict.UNKNOWN


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
    for row in intents_between(db, target.id, state.measured_at, begin):
        intent = intent_of(row)
        hours = (min(row.not_after, begin) - max(row.not_before, state.measured_at)) / dt.timedelta(hours=1)
        battery_kw = intent.battery_kw
        if not intent.has_set_point:
            forecast = series.loc[: pd.Timestamp(row.not_before)].iloc[-1]
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
