"""The fleet's ramp limit: how fast all batteries together may change, whatever plans want.

A price edge moves every battery at once, and so does a planner gone wrong or taken over. The limit stands at the
egress, where nothing gets around it: of each direction, the steps of the last minute may not exceed it. What does not
fit waits for a later tick; releases always go out, and count.
"""

from __future__ import annotations

import datetime as dt

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from adapters.contract import Clock
from engine.errors import InputError
from schedules import journal
from schedules.sites import ControlledSite
from schedules.store import CommandRow, CommandState, Database, EventRow, RampLimitRow, SiteRow

WINDOW = dt.timedelta(minutes=1)


def set_limit(
    db: Database, clock: Clock, by: str, *, kw_per_min: float | None = None, share_per_min: float | None = None
) -> None:
    """Set the limit, or take it away with neither.

    Args:
        db: The store.
        clock: The time.
        by: Who sets it.
        kw_per_min: So many kW a minute in each direction.
        share_per_min: So much of the fleet's rated power a minute in each direction [fraction].

    Raises:
        InputError: A limit is not above 0, or a share above 1.
    """
    for name, value, most in (("kw_per_min", kw_per_min, float("inf")), ("share_per_min", share_per_min, 1.0)):
        if value is not None and not 0 < value <= most:
            raise InputError(name, f"value {value:g} is outside 0..{most:g}", "give more than 0, or leave it out")
    with db.write() as session:
        session.merge(RampLimitRow(id=1, kw_per_min=kw_per_min, share_per_min=share_per_min))
        text = f"{kw_per_min} kW a minute, {share_per_min} of the fleet a minute"
        session.add(EventRow(at=clock(), kind="ramp.set", by=by, text=text))


def step_kw(session: Session, now: dt.datetime, target: ControlledSite, battery_kw: float) -> float | None:
    """How far a command moves a battery from the set-point in force [kW, + more discharge]; None without a limit."""
    # Held until the transaction ends, so that two workers cannot both use what is left.
    if session.scalar(select(RampLimitRow.id).with_for_update()) is None:
        return None
    standing = journal.standings(session, [target.id], now)[target.id]
    moves = standing.moves(target.adapter.abilities, now)
    return battery_kw - (standing.driving.battery_kw if moves and standing.driving else 0.0)


def objection(session: Session, now: dt.datetime, step: float | None) -> str | None:
    """Why a step may not be made now; None: it fits."""
    limit_kw = _limit_kw(session)
    if limit_kw is None or not step:
        return None
    same_way = CommandRow.step_kw > 0 if step > 0 else CommandRow.step_kw < 0
    made = session.scalar(
        select(func.sum(CommandRow.step_kw)).where(
            CommandRow.sent_at > now - WINDOW, CommandRow.state != CommandState.REJECTED, same_way
        )
    )
    if abs(made or 0.0) + abs(step) <= limit_kw:
        return None
    return f"the fleet's ramp of {limit_kw:g} kW a minute is used up by {abs(made or 0.0):g} kW"


def _limit_kw(session: Session) -> float | None:
    limit = session.get(RampLimitRow, 1)
    if limit is None:
        return None
    limits = [] if limit.kw_per_min is None else [limit.kw_per_min]
    if limit.share_per_min is not None:
        limits.append(limit.share_per_min * (session.scalar(select(func.sum(SiteRow.rated_kw))) or 0.0))
    return min(limits, default=None)
