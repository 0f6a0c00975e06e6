"""Plans made by hand."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from engine.intent import Intent
from schedules.plans import put_intents_in_force
from schedules.store import Database, PlanRow


def plan_by_hand(site_id: int, made_at: dt.datetime, begins_at: dt.datetime, ends_at: dt.datetime) -> PlanRow:
    """A plan that nobody solved for."""
    return PlanRow(
        site_id=site_id,
        made_at=made_at,
        begins_at=begins_at,
        ends_at=ends_at,
        initial_soc=0.5,
        cost_eur=0.0,
        cost_without_battery_eur=0.0,
        solver="by hand",
        intervals=[],
        why="test",
    )


def put_plan(db: Database, site_id: int, intents: Sequence[Intent]) -> None:
    """Put intents in force as a plan that was made when the first of them begins."""
    begin, end = intents[0].not_before, intents[-1].not_after
    with db.write() as session:
        put_intents_in_force(session, plan_by_hand(site_id, begin, begin, end), intents)
