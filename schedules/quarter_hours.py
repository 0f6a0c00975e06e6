"""What a site has done by the quarter of an hour: means of its readings, as forecasts and peaks are made of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import BigInteger, ColumnElement, case, cast, extract, func, select

from engine import Site
from engine.arrays import Mask
from schedules.store import CommandRow, CommandState, Database, TelemetryRow
from schedules.store.models import CommandKind

QUARTER = dt.timedelta(minutes=15)
# A meter that stands at nought may show so little below it [kW]; a power further below is no load and no sun.
METER_NOISE_KW = 0.1
# From this part of the connection's limit on an inverter may be holding PV back.
NEAR_LIMIT = 0.98


def powers(db: Database, site_id: int, site: Site, begin: dt.datetime, end: dt.datetime) -> pd.DataFrame:
    """Load and PV of a site by the readings of all its channels.

    A reading counts for the time before it, as in `schedules.metering`. Where the device does not tell the load, it
    is what goes to the house of the other powers.

    Args:
        db: The store.
        site_id: The site's number.
        site: Its assets.
        begin: At a quarter of an hour.
        end: At a quarter of an hour.

    Returns:
        `load_kw` and `pv_kw` [kW], NaN where nothing was read, and `curtailed`, whether PV may have been held back; on
        the quarters of an hour of [begin, end) (UTC).
    """
    row = TelemetryRow
    sun_kw = row.pv_kw if site.pv is not None else func.coalesce(row.pv_kw, 0.0)
    load_kw = func.coalesce(row.load_kw, row.grid_kw + sun_kw + row.battery_kw)
    quantities = {"load_kw": func.avg(load_kw), "pv_kw": func.avg(row.pv_kw), "grid_kw": func.min(row.grid_kw)}
    table = _by_interval(db, site_id, quantities, begin, end, QUARTER)
    limit_kw = site.grid.export_limit_kw
    curtailed = _limited(db, site_id, pd.DatetimeIndex(table.index))
    if limit_kw is not None:
        curtailed |= (-table["grid_kw"] >= NEAR_LIMIT * limit_kw).to_numpy() & (table["pv_kw"] > 0).to_numpy()
    known = table[["load_kw", "pv_kw"]]
    return known.where(known >= -METER_NOISE_KW).clip(lower=0.0).assign(curtailed=curtailed)


def import_kw(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime, step: dt.timedelta) -> pd.Series:
    """Mean import of a site by its power readings [kW], NaN where there was none, by intervals of [begin, end) (UTC).

    Not by the counter: many count by tenths of a kWh or more, which in a quarter of an hour are peaks of their own.
    """
    drawn_kw = case((TelemetryRow.grid_kw > 0, TelemetryRow.grid_kw), (TelemetryRow.grid_kw <= 0, 0.0))
    return _by_interval(db, site_id, {"import_kw": func.avg(drawn_kw)}, begin, end, step)["import_kw"]


def _by_interval(
    db: Database,
    site_id: int,
    quantities: Mapping[str, ColumnElement[Any]],
    begin: dt.datetime,
    end: dt.datetime,
    step: dt.timedelta,
) -> pd.DataFrame:
    """Aggregates of the readings of all channels, by the intervals of a step that divides the hour."""
    row, length_s = TelemetryRow, int(step.total_seconds())
    # A second earlier, so that what is read at an interval's end belongs to it.
    number = ((cast(extract("epoch", row.measured_at), BigInteger) - 1) // length_s).label("number")
    query = (
        select(number, *quantities.values())
        .where(row.site_id == site_id, row.measured_at > begin, row.measured_at <= end)
        .group_by(number)
    )
    with db.session() as session:
        found = session.execute(query).all()
    index = pd.date_range(begin, end, freq=step, inclusive="left", name="start")
    table = pd.DataFrame(found, columns=["number", *quantities]).set_index("number").astype(float)
    first = int(begin.timestamp()) // length_s
    return table.reindex(range(first, first + len(index))).set_axis(index)


def _limited(db: Database, site_id: int, index: pd.DatetimeIndex) -> Mask:
    """In which intervals a limit of export that we set may have been in force."""
    row = CommandRow
    calls = (
        select(row.intent_id, row.state, row.sent_at, row.answered_at)
        .where(row.site_id == site_id, row.kind == CommandKind.LIMIT, row.state != CommandState.REJECTED)
        .order_by(row.id)
    )
    found = np.zeros(len(index), dtype=np.bool_)
    since: pd.Timestamp | None = None
    with db.session() as session:
        for intent_id, state, sent_at, answered_at in session.execute(calls):
            if intent_id is not None:
                since = since or pd.Timestamp(sent_at)
            elif since is not None and state is CommandState.ACCEPTED:
                found |= (index > since - QUARTER) & (index < pd.Timestamp(answered_at or sent_at))
                since = None
    if since is not None:
        found |= index > since - QUARTER
    return found
