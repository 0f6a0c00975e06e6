"""What plans are made from: prices and forecasts in the store, each as it was known at a time."""

from __future__ import annotations

import datetime as dt
import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sqlalchemy import Select, func, or_, select

from adapters.contract import Clock
from engine.errors import InputError
from schedules.store import Database, SeriesRow, SiteRow

PRICES = ("import_price_eur_per_kwh", "export_price_eur_per_kwh")
POWERS = ("load_kw", "pv_kw")
SERIES = (*PRICES, *POWERS)


def publish(
    db: Database,
    clock: Clock,
    series: pd.DataFrame,
    site_id: int | None = None,
    estimated_from: dt.datetime | None = None,
) -> None:
    """Put prices or forecasts into the store; what was known before stays there.

    Args:
        db: The store.
        clock: The time: when this became known.
        series: Any of `SERIES` on an aware, regular index; NaN where a value is missing.
        site_id: Whose they are; None: everybody's.
        estimated_from: From when on they stand for what should have been published; None: they do not.

    Raises:
        InputError: A column is unknown, a value is infinite or a negative power, or the index is not aware and regular.
    """
    unknown = [name for name in series.columns if name not in SERIES]
    if unknown:
        raise InputError("series", f"column {unknown[0]!r} is unknown", f"give {', '.join(SERIES)}")
    index = series.index
    if not isinstance(index, pd.DatetimeIndex) or index.tz is None or len(index) < 2:
        raise InputError("series.index", "it is no aware DatetimeIndex of two or more", "index the series by time")
    steps = index[1:] - index[:-1]
    if not (steps == steps[0]).all() or steps[0] <= pd.Timedelta(0):
        at = index[1:][steps != steps[0]][0] if (steps != steps[0]).any() else index[0]
        raise InputError("series.index", f"it is not regular at {at.isoformat()}", "resample it to one resolution")
    for name in series.columns:
        for at, value in zip(index, series[name], strict=True):
            if math.isinf(value) or (name in POWERS and value < 0):
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
            )
            for name in series.columns
        )


def known(db: Database, site_id: int, now: dt.datetime) -> pd.DataFrame | None:
    """The newest of each series that is known, the site's own before everybody's, where all of them reach.

    The finest of their resolutions holds for all: the price of an hour, or its mean power, is that of its quarters.

    Returns:
        Columns `SERIES` on a regular index (UTC); None while one is missing or they do not overlap.
    """
    rows = {}
    with db.session() as session:
        for name in SERIES:
            row = session.scalar(_newest_of(name, site_id, now))
            if row is None:
                return None
            rows[name] = row
    finest_s = min(row.step_s for row in rows.values())
    frame = pd.DataFrame({name: _in_steps(row, finest_s) for name, row in rows.items()}).dropna()
    return frame if len(frame) > 1 and frame.index.to_series().diff().nunique() == 1 else None


def estimated_from(db: Database, site_id: int, now: dt.datetime) -> dt.datetime | None:
    """From when on the prices of `known` are estimates; None: none are."""
    with db.session() as session:
        rows = [session.scalar(_newest_of(name, site_id, now)) for name in PRICES]
    return min((row.estimated_from for row in rows if row is not None and row.estimated_from is not None), default=None)


def _newest_of(name: str, site_id: int, now: dt.datetime) -> Select[SeriesRow]:
    return (
        select(SeriesRow)
        .where(
            SeriesRow.name == name,
            or_(SeriesRow.site_id == site_id, SeriesRow.site_id.is_(None)),
            SeriesRow.known_at <= now,
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


def newest(db: Database) -> list[SeriesSummary]:
    """The newest of each series, everybody's before those of single sites."""
    latest = select(func.max(SeriesRow.id)).group_by(SeriesRow.site_id, SeriesRow.name)
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
            row.begins_at + dt.timedelta(seconds=row.step_s * len(row.numbers["values"])),
            row.step_s,
            _in_steps(row, row.step_s).min(),
            _in_steps(row, row.step_s).max(),
            row.known_at,
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
