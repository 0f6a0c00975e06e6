"""The jobs, as plain functions: whatever runs them (a loop, a worker, a test) only loads, calls and stores."""

from __future__ import annotations

import datetime as dt

import pandas as pd
from sqlalchemy import select, update

from adapters.contract import Channel
from engine import Plan, TidewattError, optimise
from engine.intent import intents_of
from engine.plan import cost_without_battery_eur
from schedules import confirmation, telemetry
from schedules.clock import Clock
from schedules.dispatch import intent_of
from schedules.sites import ControlledSite
from schedules.store import Database, IntentRow, PlanRow, Verdict

# A state of charge older than this says too little about now to plan from.
OLDEST_STATE = dt.timedelta(minutes=15)


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

    The plan begins with the first interval that starts now or later; what an older plan wants before that stays in
    force.

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
    state = telemetry.latest(db, target.id, Channel.STATE)
    if state is None or state.soc is None or now - state.measured_at > OLDEST_STATE:
        seen = "never seen" if state is None or state.soc is None else f"seen at {state.measured_at.isoformat()}"
        raise StaleTelemetryError(f"soc: {seen}, older than {OLDEST_STATE}; read the device's state before planning")
    ahead = series.loc[series.index >= now]
    plan = optimise(
        target.site,
        import_price=ahead["import_price_eur_per_kwh"],
        export_price=ahead["export_price_eur_per_kwh"],
        load=ahead["load_kw"],
        pv=ahead["pv_kw"] if target.site.pv else None,
        initial_soc=state.soc,
        final_soc_min=final_soc_min,
    )
    _put_in_force(db, now, target, plan, why)
    return plan


def confirm(db: Database, clock: Clock, target: ControlledSite) -> None:
    """Judge every intent that has begun by the telemetry that is there, and close those whose time is over."""
    now = clock()
    abilities = target.adapter.abilities
    # The last reading of an interval may arrive one cadence late.
    grace = dt.timedelta(seconds=abilities.state_cadence_s)
    with db.session() as session, session.begin():
        begun = session.scalars(
            select(IntentRow).where(
                IntentRow.site_id == target.id,
                IntentRow.superseded.is_(False),
                IntentRow.not_before <= now,
                IntentRow.not_after >= now - grace,
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


def first_plan(db: Database, site_id: int, begins_at: dt.datetime) -> PlanRow | None:
    """The first plan that was made for a horizon."""
    with db.session() as session:
        return session.scalar(
            select(PlanRow)
            .where(PlanRow.site_id == site_id, PlanRow.begins_at == begins_at)
            .order_by(PlanRow.id)
            .limit(1)
        )


def intents_between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[IntentRow]:
    """The intents in force that begin in `[begin, end)`, in order."""
    with db.session() as session:
        return list(
            session.scalars(
                select(IntentRow)
                .where(
                    IntentRow.site_id == site_id,
                    IntentRow.superseded.is_(False),
                    IntentRow.not_before >= begin,
                    IntentRow.not_before < end,
                )
                .order_by(IntentRow.not_before)
            )
        )


def soc_deviation(db: Database, target: ControlledSite) -> float | None:
    """How far the seen state of charge is from the plan's [fraction, + fuller].

    None where they cannot be compared: the newest reading was not taken at the end of a planned interval.
    """
    state = telemetry.latest(db, target.id, Channel.STATE)
    if state is None or state.soc is None:
        return None
    with db.session() as session:
        plan = session.scalar(select(PlanRow).where(PlanRow.site_id == target.id).order_by(PlanRow.id.desc()).limit(1))
    if plan is None:
        return None
    step = (plan.ends_at - plan.begins_at) / len(plan.intervals)
    position = (state.measured_at - plan.begins_at) / step - 1
    if position != int(position) or not 0 <= position < len(plan.intervals):
        return None
    return state.soc - float(plan.intervals[int(position)]["soc"])


def _put_in_force(db: Database, now: dt.datetime, target: ControlledSite, plan: Plan, why: str) -> None:
    begin = plan.table.index[0].to_pydatetime()
    step = dt.timedelta(hours=plan.problem.step_h)
    end = plan.table.index[-1].to_pydatetime() + step
    with db.session() as session, session.begin():
        row = PlanRow(
            site_id=target.id,
            made_at=now,
            begins_at=begin,
            ends_at=end,
            initial_soc=plan.problem.initial_soc,
            cost_eur=plan.cost_eur,
            cost_without_battery_eur=cost_without_battery_eur(plan.problem),
            solver=plan.solver,
            intervals=plan.intervals(),
            why=why,
        )
        session.add(row)
        session.flush()
        session.execute(
            update(IntentRow)
            .where(
                IntentRow.site_id == target.id,
                IntentRow.superseded.is_(False),
                IntentRow.not_before >= begin,
            )
            .values(superseded=True)
        )
        session.add_all(
            IntentRow(
                site_id=target.id,
                plan_id=row.id,
                mode=intent.mode.value,
                power_kw=intent.power_kw,
                until_soc=intent.until_soc,
                not_before=intent.not_before,
                not_after=intent.not_after,
                superseded=False,
            )
            for intent in intents_of(plan)
        )
