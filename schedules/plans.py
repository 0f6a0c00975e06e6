"""Plans and intents in the store: putting a plan in force, and finding what is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import bindparam, or_, select, update
from sqlalchemy.orm import Session

from engine import Plan
from engine.intent import Intent, IntentMode
from engine.plan import cost_without_battery_eur
from schedules import adoption
from schedules.adoption import USUAL, Threshold
from schedules.sites import ControlledSite
from schedules.store import SITE_IDS, Database, IntentRow, OverrideRow, PlanRow, SiteRow
from schedules.translation import translate


def intent_of(row: IntentRow) -> Intent:
    """A stored intent as the engine knows it."""
    return Intent(IntentMode(row.mode), row.power_kw, row.not_before, row.not_after, row.until_soc, row.export_limit_kw)


def intent_row(
    intent: Intent, site_id: int, *, plan_id: int | None = None, override_id: int | None = None
) -> IntentRow:
    """An intent as the store has it, wanted by a plan or by an override."""
    return IntentRow(
        site_id=site_id,
        plan_id=plan_id,
        override_id=override_id,
        mode=intent.mode.value,
        power_kw=intent.power_kw,
        until_soc=intent.until_soc,
        export_limit_kw=intent.export_limit_kw,
        not_before=intent.not_before,
        not_after=intent.not_after,
    )


@dataclass(frozen=True)
class Stretch:
    """A part of time in which one stored intent is what is wanted."""

    begin: dt.datetime
    end: dt.datetime
    row: IntentRow

    @property
    def intent(self) -> Intent:
        """What is wanted, for this part of time alone."""
        return replace(intent_of(self.row), not_before=self.begin, not_after=self.end)


def put_in_force(
    db: Database,
    now: dt.datetime,
    target: ControlledSite,
    plan: Plan,
    why: str,
    threshold: Threshold | None = USUAL,
    strategy: Mapping[str, int] | None = None,
    degraded: str = "",
) -> bool:
    """Store a plan with its intents; what older plans want from its beginning on is superseded.

    A plan that gains too little over going on with the older one is stored for the record, and nothing else changes.
    Where the older one was made from another strategy it is not wanted any more, whatever the new one gains.

    Args:
        db: The store.
        now: When the plan was made.
        target: The site.
        plan: The plan.
        why: What made us plan, for the record.
        threshold: What it has to gain; None: nothing.
        strategy: The versions of the strategy that it was made from, by scope; None: there are none.
        degraded: What it had to be made without; empty: nothing.

    Returns:
        Whether it is in force.

    Raises:
        InputError: The device cannot do what the plan needs; the older plan stays in force.
    """
    translated = translate(plan, target)
    site_id = target.id
    begin = plan.table.index[0].to_pydatetime()
    step = dt.timedelta(hours=plan.problem.step_h)
    end = plan.table.index[-1].to_pydatetime() + step
    wanted = [] if overridden_since_plan(db, site_id) else stretches_between(db, site_id, begin, end)
    if made_from(newest_plan(db, site_id)) != dict(strategy or {}):
        threshold = None
    choice = adoption.choose(plan, translated, [stretch.intent for stretch in wanted], threshold)
    prices = zip(plan.problem.import_price, plan.problem.export_price, strict=True)
    with db.write() as session:
        row = PlanRow(
            site_id=site_id,
            made_at=now,
            begins_at=begin,
            ends_at=end,
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
                for interval, (buy, sell), soc in zip(plan.intervals(), prices, choice.soc, strict=True)
            ],
            translation_loss_eur=translated.loss_eur,
            why=why,
            adopted=choice.adopted,
            older_cost_eur=choice.older_cost_eur,
            strategy=dict(strategy or {}),
            degraded=degraded,
        )
        if choice.adopted:
            put_intents_in_force(session, row, translated.intents)
        else:
            session.add(row)
    return choice.adopted


def put_intents_in_force(session: Session, plan: PlanRow, intents: Iterable[Intent]) -> None:
    """Store a plan with its intents; what older plans want from its beginning on is superseded."""
    # One plan of a site after the other: of two at once neither would see, nor supersede, the other's intents.
    session.execute(select(SiteRow.id).where(SiteRow.id == plan.site_id).with_for_update(key_share=True))
    session.add(plan)
    session.flush()
    of_plans = (
        IntentRow.site_id == plan.site_id,
        IntentRow.superseded.is_(False),
        IntentRow.override_id.is_(None),
    )
    begin = plan.begins_at
    session.execute(update(IntentRow).where(*of_plans, IntentRow.not_before >= begin).values(superseded=True))
    # A stretch under way ends where the new plan begins.
    session.execute(update(IntentRow).where(*of_plans, IntentRow.not_after > begin).values(not_after=begin))
    session.add_all(intent_row(intent, plan.site_id, plan_id=plan.id) for intent in intents)


def overridden_since_plan(db: Database, site_id: int) -> bool:
    """Whether a person has set or cancelled an override that the plan in force cannot know of."""
    with db.session() as session:
        made_at = session.scalar(
            select(PlanRow.made_at).where(PlanRow.site_id == site_id).order_by(PlanRow.id.desc()).limit(1)
        )
        if made_at is None:
            return False
        return (
            session.scalar(
                select(OverrideRow.id)
                .where(
                    OverrideRow.site_id == site_id,
                    or_(OverrideRow.made_at >= made_at, OverrideRow.cancelled_at >= made_at),
                )
                .limit(1)
            )
            is not None
        )


def made_from(plan: PlanRow | None) -> dict[str, int]:
    """The versions of the strategy that a plan was made from, by scope."""
    return {} if plan is None or plan.strategy is None else plan.strategy


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


def newest_plan(db: Database, site_id: int, *, adopted: bool = True) -> PlanRow | None:
    """The plan that came into force last, or with `adopted=False` the one that was made last."""
    query = select(PlanRow).where(PlanRow.site_id == site_id)
    if adopted:
        query = query.where(PlanRow.adopted)
    with db.session() as session:
        return session.scalar(query.order_by(PlanRow.id.desc()).limit(1))


_CURRENT = (
    select(IntentRow)
    .where(
        IntentRow.site_id.in_(SITE_IDS),
        IntentRow.superseded.is_(False),
        IntentRow.not_before <= bindparam("now"),
        IntentRow.not_after > bindparam("now"),
    )
    .order_by(IntentRow.override_id.is_not(None), IntentRow.id)
)


def current_intents(session: Session, site_ids: Sequence[int], now: dt.datetime) -> dict[int, IntentRow]:
    """What is wanted of each of some sites now: what a person wants before what a plan does, the newest of each."""
    rows = session.scalars(_CURRENT, {"site_ids": site_ids, "now": now})
    return {row.site_id: row for row in rows}


def stretches_between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[Stretch]:
    """What is wanted of a site in `[begin, end)`, in order and without overlaps: overrides before plans."""
    return laid_over(intents_between(db, site_id, begin, end), begin, end)


def laid_over(rows: Sequence[IntentRow], begin: dt.datetime, end: dt.datetime) -> list[Stretch]:
    """Intents by precedence, as `current_intents` has it: each covers those before it, which go on after it."""
    found: list[Stretch] = []
    for row in sorted(rows, key=lambda each: (each.override_id is not None, each.id)):
        first, last = max(row.not_before, begin), min(row.not_after, end)
        if first >= last:
            continue
        left = [Stretch(each.begin, min(each.end, first), each.row) for each in found if each.begin < first]
        right = [Stretch(max(each.begin, last), each.end, each.row) for each in found if each.end > last]
        found = [*left, Stretch(first, last, row), *right]
    return sorted(found, key=lambda each: each.begin)


_COVERING = (
    select(IntentRow)
    .where(
        IntentRow.site_id == bindparam("site_id"),
        IntentRow.superseded.is_(False),
        IntentRow.not_after > bindparam("begin"),
        IntentRow.not_before < bindparam("end"),
    )
    .order_by(IntentRow.not_before)
)


def intents_between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[IntentRow]:
    """The intents in force that cover any part of `[begin, end)`, in order."""
    with db.session() as session:
        return list(session.scalars(_COVERING, {"site_id": site_id, "begin": begin, "end": end}))
