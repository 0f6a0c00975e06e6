"""When to plan again: the sites that have no plan, are off it, or of whose inputs or strategy there is news."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from sqlalchemy import bindparam, func, or_, select

from adapters.contract import Channel, Telemetry
from schedules import strategies, telemetry
from schedules.inputs import WEATHER
from schedules.plans import made_from
from schedules.sites import ControlledSite
from schedules.store import SITE_IDS, Database, EventRow, OverrideRow, PlanRow, SeriesRow, SiteRow

# Further from the plan than this, plan again from what is seen [fraction].
REPLAN_BEYOND_SOC = 0.05
FAILED_EVENT = "plan.failed"
# A plan that could not be made is tried again after this, or once there is news.
FAILED_AGAIN = dt.timedelta(minutes=5)

_NEWEST = select(PlanRow.site_id, PlanRow.made_at).where(
    PlanRow.id.in_(select(func.max(PlanRow.id)).where(PlanRow.site_id.in_(SITE_IDS)).group_by(PlanRow.site_id))
)
_IN_FORCE = select(PlanRow).where(
    PlanRow.id.in_(
        select(func.max(PlanRow.id)).where(PlanRow.site_id.in_(SITE_IDS), PlanRow.adopted).group_by(PlanRow.site_id)
    )
)
_KNOWN_AT = (
    select(SeriesRow.site_id, func.max(SeriesRow.known_at))
    .where(or_(SeriesRow.site_id.in_(SITE_IDS), SeriesRow.site_id.is_(None)), SeriesRow.name.not_in(WEATHER))
    .group_by(SeriesRow.site_id)
)
_OVERRIDDEN_AT = (
    select(OverrideRow.site_id, func.max(OverrideRow.made_at), func.max(OverrideRow.cancelled_at))
    .where(OverrideRow.site_id.in_(SITE_IDS))
    .group_by(OverrideRow.site_id)
)
_FAILED_AT = (
    select(EventRow.site_id, func.max(EventRow.at))
    .where(EventRow.site_id.in_(SITE_IDS), EventRow.kind == FAILED_EVENT, EventRow.at > bindparam("since"))
    .group_by(EventRow.site_id)
)


def reasons(db: Database, now: dt.datetime, targets: Sequence[ControlledSite]) -> dict[int, str]:
    """Why to plan which of some sites; those with nothing to plan for are left out."""
    ids = {"site_ids": [target.id for target in targets]}
    with db.session() as session:
        made_at = dict(session.execute(_NEWEST, ids).all())
        in_force = {plan.site_id: plan for plan in session.scalars(_IN_FORCE, ids)}
        known_at = dict(session.execute(_KNOWN_AT, ids).all())
        states = telemetry.latest_of(session, ids["site_ids"], Channel.STATE)
        overridden_at = {site_id: max(filter(None, at)) for site_id, *at in session.execute(_OVERRIDDEN_AT, ids)}
        failed_at = dict(session.execute(_FAILED_AT, {**ids, "since": now - FAILED_AGAIN}).all())
        wanted = strategies.of_sites(session, SiteRow.id.in_(ids["site_ids"]))
    found = {}
    for target in targets:
        news_at = [at for at in (known_at.get(target.id), known_at.get(None)) if at is not None]
        set_at = [version.made_at for version in wanted[target.id].versions]
        tried_at = [at for at in (made_at.get(target.id), failed_at.get(target.id)) if at is not None]
        if target.id in overridden_at and target.id in made_at and overridden_at[target.id] >= max(tried_at):
            found[target.id] = "an override"
        elif target.id in failed_at and not any(at > max(tried_at) for at in (*news_at, *set_at)):
            continue
        elif target.id not in made_at:
            found[target.id] = "start"
        elif made_from(in_force.get(target.id)) != wanted[target.id].numbers:
            found[target.id] = "a change of strategy"
        elif any(at > max(tried_at) for at in news_at):
            found[target.id] = "news of prices or forecasts"
        elif target.id in in_force:
            deviation = soc_deviation(in_force[target.id], states.get(target.id))
            if deviation is not None and abs(deviation) > REPLAN_BEYOND_SOC:
                found[target.id] = f"state of charge {deviation:+.1%} off the plan"
    return found


def soc_deviation(plan: PlanRow | None, state: Telemetry | None) -> float | None:
    """How far the seen state of charge is from what the plan's intents lead to [fraction, + fuller].

    None where they cannot be compared: the reading was not taken within the plan. Between the ends of intervals the
    plan is taken as straight.
    """
    if state is None or state.soc is None or plan is None or not plan.begins_at <= state.measured_at <= plan.ends_at:
        return None
    ends = [plan.initial_soc, *(float(interval["carried_soc"]) for interval in plan.intervals)]
    position = (state.measured_at - plan.begins_at) / (plan.ends_at - plan.begins_at) * len(plan.intervals)
    before = min(int(position), len(plan.intervals) - 1)
    planned = ends[before] + (ends[before + 1] - ends[before]) * (position - before)
    return state.soc - planned
