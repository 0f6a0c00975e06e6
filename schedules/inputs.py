"""What plans are made from: prices and forecasts in the store, each as it was known at a time."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import numpy as np
import pandas as pd
from sqlalchemy import Select, func, or_, select
from sqlalchemy.orm import Session

from adapters.contract import Clock
from engine import Strategy, columns
from engine.errors import InputError
from schedules.store import Database, SeriesRow, SiteRow

PRICES, POWERS = tuple(columns.PRICES.values()), tuple(columns.POWERS.values())
SERIES = (*PRICES, *POWERS)
MARKETS = tuple(columns.MARKETS.values())
"""What only some strategies ask for."""
WEATHER = ("temperature_c", "ghi_w_per_m2")
"""What forecasts are made from; no plan takes it."""
NEVER_NEGATIVE = frozenset((*POWERS, "ghi_w_per_m2", "carbon_kg_per_kwh")) | columns.COMMITTED - {"position_kw"}


def publish(
    db: Database,
    clock: Clock,
    series: pd.DataFrame,
    site_id: int | None = None,
    estimated_from: dt.datetime | None = None,
    made_by: str = "",
    doubt: str = "",
) -> None:
    """Put prices, forecasts or weather into the store; what was known before stays there.

    Args:
        db: The store.
        clock: The time: when this became known.
        series: Any of `SERIES`, `MARKETS` and `WEATHER` on an aware, regular index; NaN where a value is missing.
        site_id: Whose they are; None: everybody's.
        estimated_from: From when on they stand for what should have been published; None: they do not.
        made_by: Which forecaster of ours made them, for where nobody publishes any; empty: they are published.
        doubt: Why they are less than they could be; plans that they are part of are degraded.

    Raises:
        InputError: A column is unknown, a value is infinite or a negative power, or the index is not aware and regular.
    """
    names = (*SERIES, *MARKETS, *WEATHER)
    unknown = [name for name in series.columns if name not in names]
    if unknown:
        raise InputError("series", f"column {unknown[0]!r} is unknown", f"give {', '.join(names)}")
    index = series.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None or len(index) < 2:
        raise InputError("series.index", "it is no aware DatetimeIndex of two or more", "index the series by time")
    steps = index[1:] - index[:-1]
    if not (steps == steps[0]).all() or steps[0] <= pd.Timedelta(0):
        at = index[1:][steps != steps[0]][0] if (steps != steps[0]).any() else index[0]
        raise InputError("series.index", f"it is not regular at {at.isoformat()}", "resample it to one resolution")
    for name in series.columns:
        for at, value in zip(index, series[name], strict=True):
            if math.isinf(value) or (name in NEVER_NEGATIVE and value < 0):
                problem = f"value {value:g} at {at.isoformat()}"
                raise InputError(f"series.{name}", problem, "give finite values, powers from 0 up")
    with db.write() as session:
        session.add_all(
            SeriesRow(
                site_id=site_id,
                name=str(name),
                begins_at=index[0].to_pydatetime(),
                step_s=steps[0].total_seconds(),
                # JSON has no NaN: SQLite takes it, PostgreSQL does not.
                numbers={"values": [None if math.isnan(value) else float(value) for value in series[name]]},
                known_at=clock(),
                estimated_from=estimated_from,
                made_by=made_by,
                doubt=doubt,
            )
            for name in series.columns
        )


def known(db: Database, site_id: int, now: dt.datetime, strategy: Strategy | None = None) -> pd.DataFrame | None:
    """The newest of each series that is known, the site's own before everybody's, where all of them reach.

    A power that is published goes before one that is forecast here, which counts where the other does not reach. The
    finest of their resolutions holds for all: the price of an hour, or its mean power, is that of its quarters.

    Args:
        db: The store.
        site_id: The site's number.
        now: The time.
        strategy: What is wanted: the series that it asks for come with the others. One that is not there or is over is
            left out, for the engine to refuse; what is sold already counts as nothing where nothing is said of it.

    Returns:
        Columns `SERIES`, and those of `MARKETS` that are asked for, on a regular index (UTC); None while one of the
        former is missing or they do not overlap.
    """
    asked = [] if strategy is None else columns.asked_for(strategy)
    with db.session() as session:
        rows = {name: _in_force(session, name, site_id, now) for name in (*SERIES, *asked)}
    if not all(rows[name] for name in SERIES):
        return None
    rows = {name: of_name for name, of_name in rows.items() if of_name and (name in SERIES or _end(of_name[-1]) > now)}
    finest_s = min(row.step_s for of_name in rows.values() for row in of_name)
    found = {name: _joined(of_name, finest_s) for name, of_name in rows.items()}
    frame = pd.DataFrame({name: series for name, series in found.items() if name not in columns.COMMITTED}).dropna()
    for name in columns.COMMITTED.intersection(found):
        told = (frame.index >= rows[name][0].begins_at) & (frame.index < _end(rows[name][0]))
        frame[name] = found[name].reindex(frame.index).where(told, 0.0)
    frame = frame.dropna()
    return frame if len(frame) > 1 and frame.index.to_series().diff().nunique() == 1 else None


def estimated_from(db: Database, site_id: int, now: dt.datetime) -> dt.datetime | None:
    """From when on the prices of `known` are estimates; None: none are."""
    with db.session() as session:
        rows = [row for name in PRICES for row in _in_force(session, name, site_id, now)]
    return min((row.estimated_from for row in rows if row.estimated_from is not None), default=None)


def doubts(db: Database, site_id: int, now: dt.datetime) -> list[str]:
    """Why the forecasts of `known` are less than they could be; empty where they are not."""
    with db.session() as session:
        rows = [row for name in POWERS for row in _in_force(session, name, site_id, now)]
    return [f"{row.name} {row.doubt}" for row in rows if row.doubt]


def published_for_markets(session: Session, site_ids: Iterable[int]) -> dict[int, frozenset[str]]:
    """Which of `MARKETS` have been published for each of some sites, or for everybody."""
    row = SeriesRow
    found = session.execute(select(row.site_id, row.name).where(row.name.in_(MARKETS)).distinct()).all()
    shared = {name for of, name in found if of is None}
    return {site_id: frozenset(shared | {name for of, name in found if of == site_id}) for site_id in site_ids}


def is_published(db: Database, site_id: int, name: str, begin: dt.datetime, end: dt.datetime) -> bool:
    """Whether somebody has published a series of a site, its own or everybody's, that has all of [begin, end)."""
    with db.session() as session:
        row = session.scalar(_newest_of(name, site_id, begin))
    return row is not None and row.begins_at <= begin and end <= _end(row)


@dataclass(frozen=True, eq=False)
class Forecast:
    """What plans reckon with of a power, from a time on."""

    values: pd.Series
    """[kW] on a regular index (UTC)."""
    made_by: str
    """Which forecaster of ours has a part in it; empty: all of it is published."""
    doubt: str
    known_at: dt.datetime


def forecast(db: Database, site_id: int, name: str, now: dt.datetime) -> Forecast | None:
    """One of `POWERS` as `known` has it, from the interval of now on; None where there is nothing of that."""
    with db.session() as session:
        rows = _in_force(session, name, site_id, now)
    if not rows:
        return None
    whole = _joined(rows, min(row.step_s for row in rows))
    values = whole[whole.index + (whole.index[1] - whole.index[0]) > now]
    made_by, doubt = (next(filter(None, map(attrgetter(field), rows)), "") for field in ("made_by", "doubt"))
    return Forecast(values, made_by, doubt, max(row.known_at for row in rows)) if len(values) > 1 else None


def latest_told(
    db: Database, site_id: int, name: str, begin: dt.datetime, now: dt.datetime, step: dt.timedelta
) -> pd.Series:
    """What was last told of each interval since a time by all series of a site's own that have that step.

    Returns:
        On a regular index (UTC) from `begin` to the last interval that was told of, empty where none was; NaN between.
    """
    with db.session() as session:
        rows = session.scalars(
            select(SeriesRow)
            .where(SeriesRow.site_id == site_id, SeriesRow.name == name, SeriesRow.known_at.between(begin, now))
            .order_by(SeriesRow.known_at, SeriesRow.id)
        ).all()
    told = [row for row in rows if row.step_s == step.total_seconds()]
    end = max(map(_end, told), default=begin)
    values = np.full(max(0, -((begin - end) // step)), np.nan)
    for row in told:
        numbers = np.array(row.numbers["values"], dtype=float)
        first = (row.begins_at - begin) // step
        values[max(first, 0) : max(first + len(numbers), 0)] = numbers[max(-first, 0) :]
    return pd.Series(values, pd.date_range(begin, periods=len(values), freq=step, name="start"), name=name)


def _in_force(session: Session, name: str, site_id: int, now: dt.datetime) -> list[SeriesRow]:
    """What a series is made up of: what is published, then what is forecast here where that does not reach."""
    published = session.scalar(_newest_of(name, site_id, now))
    made = session.scalar(_newest_of(name, site_id, now, made_here=True)) if name in POWERS else None
    if published is None or made is None:
        return [row for row in (published, made) if row is not None]
    if made.begins_at <= _end(published) and published.begins_at <= _end(made):
        return [published, made]
    # With a gap between them one of both alone counts: the one that has something to say of now.
    return [made if made.begins_at <= now < _end(made) else published]


def _joined(rows: Sequence[SeriesRow], step_s: float) -> pd.Series:
    found = _in_steps(rows[0], step_s)
    for row in rows[1:]:
        other = _in_steps(row, step_s)
        before, after = other.index < rows[0].begins_at, other.index >= _end(rows[0])
        found = pd.concat([other[before], found, other[after]])
    return found


def _end(row: SeriesRow) -> dt.datetime:
    return row.begins_at + dt.timedelta(seconds=row.step_s * len(row.numbers["values"]))


def _newest_of(name: str, site_id: int, now: dt.datetime, *, made_here: bool = False) -> Select[SeriesRow]:
    return (
        select(SeriesRow)
        .where(
            SeriesRow.name == name,
            or_(SeriesRow.site_id == site_id, SeriesRow.site_id.is_(None)),
            SeriesRow.known_at <= now,
            (SeriesRow.made_by != "") == made_here,
        )
        .order_by(SeriesRow.site_id.is_(None), SeriesRow.known_at.desc(), SeriesRow.id.desc())
        .limit(1)
    )


def _in_steps(row: SeriesRow, step_s: float) -> pd.Series:
    """A stored series, each value as often as a step goes into its own; as it is where that is no whole number."""
    values = np.array(row.numbers["values"], dtype=float)
    parts, rest = divmod(row.step_s, step_s)
    if rest == 0:
        values = np.repeat(values, int(parts))
    freq = pd.Timedelta(seconds=step_s if rest == 0 else row.step_s)
    return pd.Series(values, pd.date_range(row.begins_at, periods=len(values), freq=freq, name="start"))


@dataclass(frozen=True)
class SeriesSummary:
    """A series that plans are made from."""

    name: str
    site: str | None
    """Whose it is; None: all sites share it."""
    begins_at: dt.datetime
    ends_at: dt.datetime
    step_s: float
    least: float
    most: float
    known_at: dt.datetime
    made_by: str
    """Which forecaster of ours made it; empty: it was published."""
    doubt: str


def newest(db: Database) -> list[SeriesSummary]:
    """The newest of each series, everybody's before those of single sites."""
    latest = select(func.max(SeriesRow.id)).group_by(SeriesRow.site_id, SeriesRow.name, SeriesRow.made_by != "")
    with db.session() as session:
        found = session.execute(
            select(SeriesRow, SiteRow.name)
            .outerjoin(SiteRow, SeriesRow.site_id == SiteRow.id)
            .where(SeriesRow.id.in_(latest))
            .order_by(SeriesRow.site_id.is_not(None), SiteRow.name, SeriesRow.name)
        ).all()
    return [
        SeriesSummary(
            row.name,
            site,
            row.begins_at,
            _end(row),
            row.step_s,
            _in_steps(row, row.step_s).min(),
            _in_steps(row, row.step_s).max(),
            row.known_at,
            row.made_by,
            row.doubt,
        )
        for row, site in found
    ]


def newest_known_at(db: Database, site_id: int) -> dt.datetime | None:
    """When the newest series that concerns a site became known."""
    with db.session() as session:
        return session.scalar(
            select(SeriesRow.known_at)
            .where(or_(SeriesRow.site_id == site_id, SeriesRow.site_id.is_(None)))
            .order_by(SeriesRow.known_at.desc())
            .limit(1)
        )
