"""How many cycles a battery has done of its budgets: by its own counter where it has one, else by its powers."""

from __future__ import annotations

import datetime as dt

from sqlalchemy import case, func, select

from adapters.contract import Channel
from engine import Battery, Site, Strategy, budgets
from schedules.store import Database, TelemetryRow


def counted(
    db: Database, site_id: int, site: Site, strategy: Strategy, seen_at: dt.datetime, begin: dt.datetime, ahead: float
) -> Strategy:
    """A strategy that knows what is used of its budgets of cycles.

    Args:
        db: The store.
        site_id: The site's number.
        site: Its assets.
        strategy: What is wanted of it.
        seen_at: Up to when readings count.
        begin: Begin of the plan; the local day and year that it falls in are meant.
        ahead: Cycles that are expected between both.
    """

    def since(start: dt.datetime) -> float:
        used = taken(db, site_id, site.battery, start.astimezone(dt.UTC), seen_at)
        return used + ahead if start < begin else 0.0

    return budgets.counted(strategy, begin, site.timezone, since)


def taken(db: Database, site_id: int, battery: Battery, begin: dt.datetime, end: dt.datetime) -> float:
    """Energy taken from the store over its capacity, by the readings in `[begin, end]`; 0 where there are none."""
    row = TelemetryRow
    of_time = (row.site_id == site_id, row.measured_at.between(begin, end))
    steps = (
        select((row.discharge_kwh - func.lag(row.discharge_kwh).over(order_by=row.measured_at)).label("kwh"))
        .where(*of_time, row.channel == Channel.STATE.value, row.discharge_kwh.is_not(None))
        .subquery()
    )
    # A counter that fell was set back, and goes on from there.
    by_counter = select(func.sum(case((steps.c.kwh > 0, steps.c.kwh), else_=0.0))).where(steps.c.kwh.is_not(None))
    by_power = select(func.avg(case((row.battery_kw > 0, row.battery_kw), else_=0.0)), func.min(row.measured_at)).where(
        *of_time, row.battery_kw.is_not(None)
    )
    with db.session() as session:
        discharged_kwh = session.scalar(by_counter)
        if discharged_kwh is None:
            mean_kw, first = session.execute(by_power).one()
            discharged_kwh = 0.0 if first is None else mean_kw * ((end - first) / dt.timedelta(hours=1))
    return float(discharged_kwh) / battery.discharge_efficiency / battery.capacity_kwh
