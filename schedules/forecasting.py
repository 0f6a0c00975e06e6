"""The job that forecasts load and PV where nobody publishes them, from the site's own readings.

What it makes goes through the gate that published series go through, and gives way to them. It looks at each site once
an hour: the row of (site, hour) says that it is done, whoever rings and however often.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pandas as pd
from sqlalchemy import select

from adapters.contract import Clock
from engine import Site
from engine.errors import TidewattError
from engine.forecast import Forecaster, GradientBoosting, Observed, Persistence, PvRegression, SimilarDay
from schedules import inputs, job_runs, quarter_hours
from schedules.account_runner import NOT_OF_ONE_SITE
from schedules.job_runs import Claim
from schedules.quarter_hours import QUARTER
from schedules.settings import LoadForecaster
from schedules.store import Database, JobRunRow, SiteRow

JOB = "forecast"
EVERY = dt.timedelta(hours=1)
# No price is known for longer.
HORIZON = dt.timedelta(hours=36)
# What plans carry the state of charge over has begun before the forecast.
BEFORE = dt.timedelta(hours=1)
# Forecasters of like days look back eight weeks, trees a year.
LOOKED_BACK, LOOKED_BACK_BY_TREES = dt.timedelta(days=60), dt.timedelta(days=400)
# Where there is less, the day before says as much (docs/forecasting.md) [days].
LEAST_LOAD_DAYS, LEAST_PV_DAYS = 4.0, 14.0
# So long is a run at it; what it has no time for is the next one's.
LONGEST = dt.timedelta(seconds=25)
QUARTERS_A_DAY = 96


@dataclass(frozen=True, eq=False)
class Made:
    """A forecast of one power of a site."""

    name: str
    values: pd.Series | None
    """[kW] on quarters of an hour, from an hour before the decision on, with what was measured then; None: there can be
    none yet."""
    made_by: str
    doubt: str
    """Why it is less than it could be, or why there is none; empty: neither."""


@dataclass
class Report:
    """What a run did."""

    forecast: int = 0
    """Sites with new forecasts."""
    waiting: list[str] = field(default_factory=list)
    """Sites for which there can be none yet, and why."""
    failures: list[str] = field(default_factory=list)


def run(db: Database, clock: Clock, load_forecaster: LoadForecaster, worker: str = "") -> Report:
    """Forecast what nobody publishes, for all sites under accounts whose hour it is.

    Args:
        db: The store.
        clock: The time.
        load_forecaster: Who forecasts loads.
        worker: What this process is called.

    Raises:
        Exception: What nobody foresaw at a site, once the others are done.
    """
    report, begun, unforeseen = Report(), clock(), None
    slot = _floor(begun, EVERY)
    with db.session() as session:
        rows = session.execute(
            select(SiteRow.id, SiteRow.name, SiteRow.assets).where(SiteRow.account_id.is_not(None)).order_by(SiteRow.id)
        ).all()
        done = set(
            session.scalars(
                select(JobRunRow.job).where(
                    JobRunRow.slot == slot, JobRunRow.job.startswith(f"{JOB}/"), JobRunRow.finished_at.is_not(None)
                )
            )
        )
    for site_id, name, assets in rows:
        job = f"{JOB}/{site_id}"
        if clock() - begun > LONGEST:
            break
        if job in done or job_runs.claim(db, clock, job, slot, worker, worker) is not Claim.OURS:
            continue
        try:
            outcome = _see_to(db, clock, site_id, Site.model_validate(assets), load_forecaster)
        except NOT_OF_ONE_SITE:
            raise
        except TidewattError as error:
            outcome = f"failed: {error}"
            report.failures.append(f"{name}: {error}")
        except Exception as error:
            job_runs.finish(db, clock, job, slot, worker, f"failed: {type(error).__name__}")
            unforeseen = unforeseen or error
            continue
        job_runs.finish(db, clock, job, slot, worker, outcome)
        report.forecast += outcome.startswith(JOB)
        if outcome.startswith("waits"):
            report.waiting.append(f"{name} {outcome}")
    if unforeseen is not None:
        raise unforeseen
    return report


def make(
    db: Database, now: dt.datetime, site_id: int, site: Site, names: Sequence[str], load_forecaster: LoadForecaster
) -> list[Made]:
    """Forecast powers of a site from what is known of it; nothing is stored.

    Args:
        db: The store.
        now: The time.
        site_id: The site's number.
        site: Its assets.
        names: Which of `inputs.POWERS`.
        load_forecaster: Who forecasts loads.
    """
    decision, end = _floor(now, QUARTER), _floor(now, QUARTER) + HORIZON
    looked_back = LOOKED_BACK_BY_TREES if load_forecaster == "trees" and "load_kw" in names else LOOKED_BACK
    begin = _floor(now, dt.timedelta(days=1)) - looked_back
    # On the whole horizon, so that the weather that is to come fits beside it.
    index = pd.date_range(begin, end, freq=QUARTER, inclusive="left", name="start")
    seen = quarter_hours.powers(db, site_id, site, begin, decision).reindex(index)
    curtailed = seen["curtailed"].eq(True)
    latitude, longitude = site.location or (None, None)
    weather, lacking = _weather(db, site_id, now, index, decision)
    made = []
    for name in names:
        if name == "pv_kw" and site.pv is None:
            made.append(Made(name, pd.Series(0.0, index[index >= pd.Timestamp(decision - BEFORE)]), "no array", ""))
            continue
        observed = Observed(
            seen[name],
            excluded=curtailed if name == "pv_kw" else None,
            weather=weather,
            timezone=site.timezone,
            latitude=latitude,
            longitude=longitude,
        )
        made.append(_made(name, observed, decision, _candidates(name, load_forecaster), lacking))
    return made


def _see_to(db: Database, clock: Clock, site_id: int, site: Site, load_forecaster: LoadForecaster) -> str:
    now = clock()
    # What ends before the next look is over is followed on by ours.
    until = _floor(now, EVERY) + 2 * EVERY
    names = [name for name in inputs.POWERS if not inputs.is_published(db, site_id, name, now, until)]
    if not names:
        return "published"
    made = make(db, now, site_id, site, names, load_forecaster)
    missing = [f"{each.name} {each.doubt}" for each in made if each.values is None]
    if missing:
        return f"waits: {'; '.join(missing)}"
    for each in made:
        assert each.values is not None
        inputs.publish(db, clock, each.values.to_frame(each.name), site_id, made_by=each.made_by, doubt=each.doubt)
    return f"{JOB}: {', '.join(f'{each.name} by {each.made_by}' for each in made)}"


def _candidates(name: str, load_forecaster: LoadForecaster) -> list[Forecaster]:
    """Who is asked in turn."""
    if name == "pv_kw":
        return [PvRegression(), Persistence()]
    return [*([GradientBoosting()] if load_forecaster == "trees" else []), SimilarDay(), Persistence()]


def _made(name: str, observed: Observed, decision: dt.datetime, candidates: list[Forecaster], lacking: str) -> Made:
    """The first forecast that leaves no gap, and what stood against those before it."""
    usable = observed.values if observed.excluded is None else observed.values.mask(observed.excluded)
    days, least = usable.count() / QUARTERS_A_DAY, LEAST_PV_DAYS if name == "pv_kw" else LEAST_LOAD_DAYS
    doubts = [lacking] if lacking else []
    if days < least:
        candidates = candidates[-1:]
        doubts.append(f"repeats the day before: there are readings of {days:.1f} days, {least:g} are needed")
    asked = [(each, observed, "") for each in candidates]
    if observed.excluded is not None:
        # Better than nothing: what was held back is repeated.
        asked.append((candidates[-1], replace(observed, excluded=None), "is made of days on which PV was held back"))
    for forecaster, shown, doubt in asked:
        try:
            ahead = forecaster.forecast(shown, pd.DatetimeIndex([decision]), HORIZON // QUARTER).row(0)
        except TidewattError as error:
            doubts.append(f"is not made by {forecaster.name}: {error}")
            continue
        if ahead.notna().all():
            first = observed.index.searchsorted(pd.Timestamp(decision))
            before = observed.values.iloc[first - BEFORE // QUARTER : first]
            # To a tenth of a watt: no forecast says more, and every site keeps two an hour.
            whole = pd.concat([before.fillna(ahead.iloc[0]), ahead]).round(4)
            return Made(name, whole, forecaster.name, "; ".join(doubts + [doubt] * bool(doubt)))
        doubts.append(f"is not made by {forecaster.name}, which leaves gaps")
    return Made(name, None, "", f"has readings of {days:.1f} days; each quarter of an hour of a day is needed once")


def _weather(
    db: Database, site_id: int, now: dt.datetime, index: pd.DatetimeIndex, decision: dt.datetime
) -> tuple[pd.DataFrame | None, str]:
    """The weather on an index, and what is lacking of it.

    A column counts only where it has the whole horizon and enough of the past to learn from: one that ended would leave
    a gap where a forecast without it has none.
    """
    begin = index[0].to_pydatetime()
    columns, lacking = {}, ""
    for name in inputs.WEATHER:
        told = inputs.latest_told(db, site_id, name, begin, now, EVERY)
        if told.empty:
            continue
        held = told.reindex(index, method="ffill", limit=EVERY // QUARTER - 1)
        if held[held.index >= decision].isna().any():
            lacking = f"has no weather beyond {told.index[-1] + EVERY:%Y-%m-%dT%H:%MZ}"
        elif held.count() / QUARTERS_A_DAY >= LEAST_PV_DAYS:
            columns[name] = held
    return (pd.DataFrame(columns) if columns else None), lacking


def _floor(time: dt.datetime, step: dt.timedelta) -> dt.datetime:
    length_s = step.total_seconds()
    return dt.datetime.fromtimestamp(time.timestamp() // length_s * length_s, dt.UTC)
