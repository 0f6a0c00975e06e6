"""What import live plans hold to, where a contract charges the peak of a day or a month.

The peak so far is measured; the rest of the period is looked over as the last weeks were, as in backtests, and the peak
that is the cheapest to hold to is chosen anew for every plan (`engine.peaks`).
"""

from __future__ import annotations

import datetime as dt
import math

import numpy as np
import pandas as pd

from engine import DemandCharge, Site, Strategy
from engine.arrays import Array
from engine.demand import peak_periods
from engine.inputs import build_stack
from engine.peaks import MARGIN, OUTLOOK_DAYS, cap_kw
from engine.problem import ProblemStack
from engine.request import Request
from engine.timeline import ONE_HOUR, step_hours
from schedules import inputs, quarter_hours
from schedules.quarter_hours import QUARTER
from schedules.store import Database, PriceTermsRow

DAY = pd.Timedelta(days=1)
MINUTE = pd.Timedelta(minutes=1)


def caps_kw(
    db: Database, site_id: int, site: Site, ahead: pd.DataFrame, soc: float, strategy: Strategy
) -> pd.Series | None:
    """What a plan is to hold import to [kW], infinite where any will do; None where the contract charges no peak.

    Args:
        db: The store.
        site_id: The site's number.
        site: Its assets.
        ahead: Prices and forecasts from the plan's first interval on, as `schedules.jobs.propose` takes them.
        soc: State of charge at its beginning [fraction].
        strategy: What is wanted.

    Raises:
        InputError: A peak is measured over what the plan's interval does not divide.
    """
    charges = charges_of(db, site_id)
    if not charges:
        return None
    index = pd.DatetimeIndex(ahead.index)
    step = pd.Timedelta(hours=step_hours(index))
    caps = np.full(len(index), np.inf)
    # To the end of the last period that the plan reaches into: any month, and a change of the clock.
    longest = index[-1] + 32 * DAY
    outlook: pd.DataFrame | None = None
    for charge in charges:
        told = so_far(db, site_id, site.timezone, charge, index[0], step)
        laid = peak_periods((told,), index[0], int((longest - index[0]) // step), step, site.timezone)
        for period in laid:
            counted = period.inside[period.inside < len(index)]
            if not len(counted):
                continue
            if outlook is None:
                outlook = _outlook(db, site_id, site, ahead, step, longest)
            rest = outlook.iloc[: int(period.inside.max()) + 1]
            held_kw = cap_kw(period, _planned_without(rest, site, soc, strategy), np.zeros(len(rest)), 0)
            caps[counted] = np.minimum(caps[counted], held_kw * (1 - MARGIN))
    return pd.Series(caps, index)


def charges_of(db: Database, site_id: int) -> tuple[DemandCharge, ...]:
    """What a site's contract asks for peaks."""
    with db.session() as session:
        row = session.get(PriceTermsRow, site_id)
    given = [] if row is None else row.terms.get("demand_charges", [])
    return tuple(DemandCharge.model_validate(each) for each in given)


def so_far(
    db: Database, site_id: int, timezone: str, charge: DemandCharge, begin: pd.Timestamp, step: pd.Timedelta
) -> DemandCharge:
    """A charge that knows what was measured of the period that a plan begins in.

    Where nothing was read nothing is known of a peak, and none is made up.

    Args:
        db: The store.
        site_id: The site's number.
        timezone: Of the site.
        charge: Of a day or a month.
        begin: Start of the plan [UTC].
        step: Its interval.
    """
    local = begin.tz_convert(timezone)
    first = local.normalize() if charge.period == "day" else local.normalize().replace(day=1)
    minutes = charge.measured_over_minutes or int(step / MINUTE)
    # Zones are ahead of UTC by whole quarters of an hour.
    base = dt.timedelta(minutes=math.gcd(minutes, 15))
    seen = quarter_hours.import_kw(db, site_id, first.tz_convert("UTC").to_pydatetime(), begin.to_pydatetime(), base)
    wall = pd.DatetimeIndex(seen.index).tz_convert(timezone)
    counts = (wall.hour >= charge.from_hour) & (wall.hour < charge.to_hour)
    if charge.weekdays_only:
        counts &= wall.day_of_week < 5
    slots = pd.DatetimeIndex(seen.index) - pd.to_timedelta(wall.minute % minutes, unit="min")
    means = seen[counts].groupby(slots[counts]).mean().dropna()
    under_way = begin - pd.Timedelta(minutes=local.minute % minutes)
    measured_kwh = 0.0
    if under_way < begin and under_way in means.index:
        measured_kwh = float(means[under_way] * ((begin - under_way) / ONE_HOUR))
    over = means[means.index < under_way]
    days = pd.DatetimeIndex(over.index).tz_convert(timezone).date
    peaks = over.groupby(days).max()
    earlier = peaks[peaks.index != local.date()].nlargest(charge.largest_daily_peaks)
    return charge.model_copy(
        update={
            "daily_peaks_so_far_kw": tuple(earlier.tolist()),
            "peak_today_so_far_kw": float(peaks.get(local.date(), 0.0)),
            "measured_so_far_kwh": measured_kwh if charge.measured_over_minutes is not None else 0.0,
        }
    )


def _outlook(
    db: Database, site_id: int, site: Site, ahead: pd.DataFrame, step: pd.Timedelta, end: pd.Timestamp
) -> pd.DataFrame:
    """The time until `end`: what is known, then the newest known day's prices and the usual load and sun."""
    index = pd.date_range(ahead.index[0], end, freq=step, inclusive="left")
    day = min(int(DAY // step), len(ahead))
    names = (*inputs.PRICES, *inputs.POWERS)
    whole = pd.DataFrame({name: _repeated(ahead[name].to_numpy(float), day, len(index)) for name in names}, index)
    usual = _usual(db, site_id, site, index)
    beyond = np.arange(len(index)) >= len(ahead)
    for name in inputs.POWERS:
        whole[name] = np.where(beyond & usual[name].notna(), usual[name], whole[name])
    return whole


def _planned_without(outlook: pd.DataFrame, site: Site, soc: float, strategy: Strategy) -> ProblemStack:
    """The problem of a period without its charge; what else couples intervals, or needs other series, is left out."""
    battery = site.battery.model_copy(update={"charge_kw_at_soc": (), "discharge_kw_at_soc": ()})
    request = Request(
        import_price=outlook["import_price_eur_per_kwh"],
        export_price=outlook["export_price_eur_per_kwh"],
        load=outlook["load_kw"],
        pv=outlook["pv_kw"] if site.pv is not None else None,
        initial_soc=soc,
        terminal_value_eur_per_kwh=float(outlook["import_price_eur_per_kwh"].mean() * battery.discharge_efficiency),
        strategy=Strategy(grid_charging=strategy.grid_charging, battery_export=strategy.battery_export),
    )
    return build_stack([site.model_copy(update={"battery": battery})], request)


def _repeated(values: Array, day: int, count: int) -> Array:
    """Values, and their last day again and again after them, shape (count,)."""
    missing = max(0, count - len(values))
    return np.concatenate([values, np.tile(values[len(values) - day :], -(-missing // day))])[:count]


def _usual(db: Database, site_id: int, site: Site, index: pd.DatetimeIndex) -> pd.DataFrame:
    """Mean load and sun of the last weeks at the same time of day on an index; NaN where nothing was read."""
    now = index[0].floor(QUARTER)
    seen = quarter_hours.powers(db, site_id, site, (now - OUTLOOK_DAYS * DAY).to_pydatetime(), now.to_pydatetime())[
        ["load_kw", "pv_kw"]
    ]
    by_time = seen.groupby(pd.DatetimeIndex(seen.index).time).mean()
    return by_time.reindex(index.floor(QUARTER).time).set_axis(index)
