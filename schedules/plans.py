"""Plans and intents in the store: putting a plan in force, and finding what is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from engine import Plan
from engine.intent import Intent, IntentMode
from engine.plan import cost_without_battery_eur
from schedules.sites import ControlledSite
from schedules.store import Database, IntentRow, PlanRow
from schedules.translation import translate


def intent_of(row: IntentRow) -> Intent:
    """A stored intent as the engine knows it."""
    return Intent(IntentMode(row.mode), row.power_kw, row.not_before, row.not_after, row.until_soc)


def put_in_force(db: Database, now: dt.datetime, target: ControlledSite, plan: Plan, why: str) -> None:
    """Store a plan with its intents; what older plans want from its beginning on is superseded.

    Args:
        db: The store.
        now: When the plan was made.
        target: The site.
        plan: The plan.
        why: What made us plan, for the record.

    Raises:
        InputError: The device cannot do what the plan needs; the older plan stays in force.
    """
    translated = translate(plan, target)
    site_id = target.id
    begin = plan.table.index[0].to_pydatetime()
    step = dt.timedelta(hours=plan.problem.step_h)
    prices = zip(plan.problem.import_price, plan.problem.export_price, strict=True)
    with db.write() as session:
        row = PlanRow(
            site_id=site_id,
            made_at=now,
            begins_at=begin,
            ends_at=plan.table.index[-1].to_pydatetime() + step,
            initial_soc=plan.problem.initial_soc,
            cost_eur=plan.cost_eur,
            cost_without_battery_eur=cost_without_battery_eur(plan.problem),
            solver=plan.solver,
            intervals=[
                {
                    **interval,
                    "import_price_eur_per_kwh": float(buy),
                    "export_price_eur_per_kwh": float(sell),
                    "carried_soc": float(soc),
                }
                for interval, (buy, sell), soc in zip(plan.intervals(), prices, translated.soc, strict=True)
            ],
            translation_loss_eur=translated.loss_eur,
            why=why,
        )
        session.add(row)
        session.flush()
        session.execute(
            update(IntentRow)
            .where(IntentRow.site_id == site_id, IntentRow.superseded.is_(False), IntentRow.not_before >= begin)
            .values(superseded=True)
        )
        # A stretch under way ends where the new plan begins.
        session.execute(
            update(IntentRow)
            .where(IntentRow.site_id == site_id, IntentRow.superseded.is_(False), IntentRow.not_after > begin)
            .values(not_after=begin)
        )
        session.add_all(
            IntentRow(
                site_id=site_id,
                plan_id=row.id,
                mode=intent.mode.value,
                power_kw=intent.power_kw,
                until_soc=intent.until_soc,
                not_before=intent.not_before,
                not_after=intent.not_after,
                superseded=False,
            )
            for intent in translated.intents
        )


def plans_between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[PlanRow]:
    """The plans that begin in `[begin, end)`, in the order in which they were made."""
    with db.session() as session:
        return list(
            session.scalars(
                select(PlanRow)
                .where(PlanRow.site_id == site_id, PlanRow.begins_at >= begin, PlanRow.begins_at < end)
                .order_by(PlanRow.id)
            )
        )


def newest_plan(db: Database, site_id: int) -> PlanRow | None:
    """The plan that was made last."""
    with db.session() as session:
        return session.scalar(select(PlanRow).where(PlanRow.site_id == site_id).order_by(PlanRow.id.desc()).limit(1))


def current_intents(session: Session, site_ids: Sequence[int], now: dt.datetime) -> dict[int, IntentRow]:
    """What is wanted of each of some sites now: what a person wants before what a plan does, the newest of each."""
    rows = session.scalars(
        select(IntentRow)
        .where(
            IntentRow.site_id.in_(site_ids),
            IntentRow.superseded.is_(False),
            IntentRow.not_before <= now,
            IntentRow.not_after > now,
        )
        .order_by(IntentRow.override_id.is_not(None), IntentRow.id)
    )
    return {row.site_id: row for row in rows}


def intents_between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[IntentRow]:
    """The intents in force that cover any part of `[begin, end)`, in order."""
    with db.session() as session:
        return list(
            session.scalars(
                select(IntentRow)
                .where(
                    IntentRow.site_id == site_id,
                    IntentRow.superseded.is_(False),
                    IntentRow.not_after > begin,
                    IntentRow.not_before < end,
                )
                .order_by(IntentRow.not_before)
            )
        )
