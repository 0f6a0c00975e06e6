"""What plans are made from: prices and forecasts in the store, each as it was known at a time."""

from __future__ import annotations

import datetime as dt

import pandas as pd
from sqlalchemy import or_, select

from adapters.contract import Clock
from engine.errors import InputError
from schedules.store import Database, SeriesRow

PRICES = ("import_price_eur_per_kwh", "export_price_eur_per_kwh")
POWERS = ("load_kw", "pv_kw")
SERIES = (*PRICES, *POWERS)


def publish(db: Database, clock: Clock, series: pd.DataFrame, site_id: int | None = None) -> None:
    """Put prices or forecasts into the store; what was known before stays there.

    Args:
        db: The store.
        clock: The time: when this became known.
        series: Any of `SERIES` on an aware, regular index.
        site_id: Whose they are; None: everybody's.

    Raises:
        InputError: A column is unknown, or the index is not aware and regular.
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
    with db.write() as session:
        session.add_all(
            SeriesRow(
                site_id=site_id,
                name=str(name),
                begins_at=index[0].to_pydatetime(),
                step_s=steps[0].total_seconds(),
                numbers={"values": [float(value) for value in series[name]]},
                known_at=clock(),
            )
            for name in series.columns
        )


def known(db: Database, site_id: int, now: dt.datetime) -> pd.DataFrame | None:
    """The newest of each series that is known, the site's own before everybody's, where all of them reach.

    Returns:
        Columns `SERIES` on a regular index (UTC); None while one is missing or they do not overlap.
    """
    found = {}
    with db.session() as session:
        for name in SERIES:
            row = session.scalar(
                select(SeriesRow)
                .where(
                    SeriesRow.name == name,
                    or_(SeriesRow.site_id == site_id, SeriesRow.site_id.is_(None)),
                    SeriesRow.known_at <= now,
                )
                .order_by(SeriesRow.site_id.is_(None), SeriesRow.known_at.desc(), SeriesRow.id.desc())
                .limit(1)
            )
            if row is None:
                return None
            values = row.numbers["values"]
            step = pd.Timedelta(seconds=row.step_s)
            index = pd.date_range(row.begins_at, periods=len(values), freq=step, name="start")
            found[name] = pd.Series(values, index=index)
    frame = pd.DataFrame(found).dropna()
    return frame if len(frame) > 1 and frame.index.to_series().diff().nunique() == 1 else None


def newest_known_at(db: Database, site_id: int) -> dt.datetime | None:
    """When the newest series that concerns a site became known."""
    with db.session() as session:
        return session.scalar(
            select(SeriesRow.known_at)
            .where(or_(SeriesRow.site_id == site_id, SeriesRow.site_id.is_(None)))
            .order_by(SeriesRow.known_at.desc())
            .limit(1)
        )
