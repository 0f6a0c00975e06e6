"""Reading telemetry into the store, and out of it again."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from sqlalchemy import bindparam, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from adapters.contract import Channel, Clock, Registers, Telemetry, VendorUnavailableError
from schedules.sites import WatchedSite
from schedules.store import SITE_IDS, Database, ReadRow, SiteRow, TelemetryRow

# A vendor's clock may be a little ahead of ours; a reading further ahead carries a wrong zone.
FUTURE_MARGIN = dt.timedelta(seconds=60)
# Older than this a reading says too little of now to begin anything on it.
OLDEST = dt.timedelta(minutes=15)
REGISTERS = ("import_kwh", "export_kwh", "charge_kwh", "discharge_kwh")
READINGS = (
    "battery_kw",
    "grid_kw",
    "pv_kw",
    "load_kw",
    "soc",
    "charge_limit_kw",
    "discharge_limit_kw",
    "dispatch_active",
)
# Built once: these are asked for every site at every look.
_COLUMNS = [
    TelemetryRow.channel,
    TelemetryRow.measured_at,
    *(getattr(TelemetryRow, name) for name in (*READINGS, *REGISTERS)),
]
_OF_SITE = TelemetryRow.site_id == bindparam("site_id")
_LATEST = (
    select(*_COLUMNS)
    .where(_OF_SITE, TelemetryRow.channel == bindparam("channel"))
    .order_by(TelemetryRow.measured_at.desc())
    .limit(1)
)
_LATEST_OF_SITES = select(TelemetryRow.site_id, *_COLUMNS).where(
    TelemetryRow.id.in_(
        select(
            select(TelemetryRow.id)
            .where(TelemetryRow.site_id == SiteRow.id, TelemetryRow.channel == bindparam("channel"))
            .order_by(TelemetryRow.measured_at.desc())
            .limit(1)
            .correlate(SiteRow)
            .scalar_subquery()
        ).where(SiteRow.id.in_(SITE_IDS))
    )
)
_BETWEEN = (
    select(*_COLUMNS)
    .where(_OF_SITE, TelemetryRow.measured_at.between(bindparam("begin"), bindparam("end")))
    .order_by(TelemetryRow.measured_at)
)
_NEWEST_AT = select(func.max(TelemetryRow.measured_at)).where(_OF_SITE)


@dataclass(frozen=True)
class Heard:
    """What came of asking for one reading."""

    site_id: int
    channel: Channel
    at: dt.datetime
    """When the answer came, or was given up."""
    reading: Telemetry | None = None
    """None: the vendor had none, or it could not be had."""
    problem: str = ""
    """Why it could not be had."""


async def read_telemetry(db: Database, clock: Clock, target: WatchedSite, channel: Channel) -> Telemetry | None:
    """Fetch a device's latest reading and keep it.

    A reading that the vendor repeats (same time stamp) is kept once: its age is its own, not that of the call.

    Returns:
        The reading, or None when the vendor has none.

    Raises:
        AdapterError: The reading could not be had.
    """
    reading = await fetch(clock, target, channel)
    if reading is not None:
        keep(db, clock(), target.id, reading)
    return reading


async def fetch(clock: Clock, target: WatchedSite, channel: Channel) -> Telemetry | None:
    """Fetch a device's latest reading without keeping it.

    Raises:
        AdapterError: The reading could not be had, or is of the future.
    """
    reading = await target.adapter.read(target.device, channel)
    if reading is not None:
        _refuse_future(clock(), reading)
    return reading


def latest(db: Database, site_id: int, channel: Channel) -> Telemetry | None:
    """The newest stored reading of a site on a channel."""
    with db.session() as session:
        row = session.execute(_LATEST, {"site_id": site_id, "channel": channel.value}).first()
    return None if row is None else _telemetry(*row)


def latest_of(session: Session, site_ids: Sequence[int], channel: Channel) -> dict[int, Telemetry]:
    """The newest stored reading of each of some sites on a channel; sites without one are left out."""
    rows = session.execute(_LATEST_OF_SITES, {"site_ids": site_ids, "channel": channel.value})
    return {site_id: _telemetry(*row) for site_id, *row in rows}


def is_fresh(session: Session, site_id: int, now: dt.datetime) -> bool:
    """Whether a site was seen lately, by the vendor's time."""
    newest = session.scalar(_NEWEST_AT, {"site_id": site_id})
    # From further ahead than a vendor's clock may be: our clock was set back, and nobody knows how old it is.
    return newest is not None and -FUTURE_MARGIN <= now - newest <= OLDEST


def between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[Telemetry]:
    """All stored readings with `begin <= measured_at <= end`, in order of time."""
    with db.session() as session:
        rows = session.execute(_BETWEEN, {"site_id": site_id, "begin": begin, "end": end})
        return [_telemetry(*row) for row in rows]


def frame(readings: list[Telemetry], channel: Channel) -> pd.DataFrame:
    """The readings of one channel as a frame indexed by `measured_at` (UTC); a missing value is NaN."""
    rows = [
        {
            "measured_at": reading.measured_at,
            **{name: getattr(reading, name) for name in READINGS},
            **{name: getattr(reading.registers, name) for name in REGISTERS},
        }
        for reading in readings
        if reading.channel is channel
    ]
    columns = ["measured_at", *READINGS, *REGISTERS]
    table = pd.DataFrame(rows, columns=columns)
    table["measured_at"] = pd.to_datetime(table["measured_at"], utc=True)
    return table.set_index("measured_at")


def keep(db: Database, received_at: dt.datetime, site_id: int, reading: Telemetry) -> None:
    """Keep a reading; one with a time stamp that is kept already changes nothing.

    Raises:
        VendorUnavailableError: It is of the future.
    """
    _refuse_future(received_at, reading)
    with db.write() as session:
        _insert(session, [_row(site_id, received_at, reading)])


def keep_all(db: Database, heard: Sequence[Heard]) -> None:
    """Keep what came of asking for many readings, and when that was, in one transaction."""
    if not heard:
        return
    rows = [_row(one.site_id, one.at, one.reading) for one in heard if one.reading is not None]
    asked = [
        {"site_id": one.site_id, "channel": one.channel.value, "tried_at": one.at, "error": one.problem}
        for one in heard
    ]
    with db.write() as session:
        if rows:
            _insert(session, rows)
        upsert = _insert_of(session)(ReadRow)
        session.execute(
            upsert.on_conflict_do_update(
                index_elements=[ReadRow.site_id, ReadRow.channel],
                set_={"tried_at": upsert.excluded.tried_at, "error": upsert.excluded.error},
            ),
            asked,
        )


def _refuse_future(received_at: dt.datetime, reading: Telemetry) -> None:
    if reading.measured_at > received_at + FUTURE_MARGIN:
        raise VendorUnavailableError(
            f"measured_at: {reading.measured_at.isoformat()} is in the future (now {received_at.isoformat()}); "
            "check the account's time zone setting and this machine's clock"
        )


def _insert(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    # Vendors show a reading until they have a new one: the first copy is kept.
    session.execute(_insert_of(session)(TelemetryRow).on_conflict_do_nothing(), rows)


def _insert_of(session: Session) -> Callable[..., Any]:
    return postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert


def _row(site_id: int, received_at: dt.datetime, reading: Telemetry) -> dict[str, Any]:
    return {
        "site_id": site_id,
        "channel": reading.channel.value,
        "measured_at": reading.measured_at,
        "received_at": received_at,
        **{name: getattr(reading, name) for name in READINGS},
        **{name: getattr(reading.registers, name) for name in REGISTERS},
    }


def _telemetry(channel: str, measured_at: dt.datetime, *values: Any) -> Telemetry:
    return Telemetry(
        Channel(channel),
        measured_at,
        **dict(zip(READINGS, values, strict=False)),
        registers=Registers(*values[len(READINGS) :]),
    )
