"""Reading telemetry into the store, and out of it again."""

from __future__ import annotations

import datetime as dt

import pandas as pd
from sqlalchemy import func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from adapters.contract import Channel, Clock, Registers, Telemetry, VendorUnavailableError
from schedules.sites import WatchedSite
from schedules.store import Database, TelemetryRow

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


async def read_telemetry(db: Database, clock: Clock, target: WatchedSite, channel: Channel) -> Telemetry | None:
    """Fetch a device's latest reading and keep it.

    A reading that the vendor repeats (same time stamp) is kept once: its age is its own, not that of the call.

    Returns:
        The reading, or None when the vendor has none.

    Raises:
        AdapterError: The reading could not be had.
    """
    reading = await target.adapter.read(target.device, channel)
    if reading is not None:
        keep(db, clock(), target.id, reading)
    return reading


def latest(db: Database, site_id: int, channel: Channel) -> Telemetry | None:
    """The newest stored reading of a site on a channel."""
    with db.session() as session:
        row = session.scalar(
            select(TelemetryRow)
            .where(TelemetryRow.site_id == site_id, TelemetryRow.channel == channel.value)
            .order_by(TelemetryRow.measured_at.desc())
            .limit(1)
        )
    return None if row is None else _from_row(row)


def is_fresh(session: Session, site_id: int, now: dt.datetime) -> bool:
    """Whether a site was seen lately, by the vendor's time."""
    newest = session.scalar(select(func.max(TelemetryRow.measured_at)).where(TelemetryRow.site_id == site_id))
    return newest is not None and now - newest <= OLDEST


def between(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime) -> list[Telemetry]:
    """All stored readings with `begin <= measured_at <= end`, in order of time."""
    with db.session() as session:
        rows = session.scalars(
            select(TelemetryRow)
            .where(TelemetryRow.site_id == site_id, TelemetryRow.measured_at.between(begin, end))
            .order_by(TelemetryRow.measured_at)
        )
        return [_from_row(row) for row in rows]


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
    if reading.measured_at > received_at + FUTURE_MARGIN:
        raise VendorUnavailableError(
            f"measured_at: {reading.measured_at.isoformat()} is in the future (now {received_at.isoformat()}); "
            "check the account's time zone setting and this machine's clock"
        )
    row = {
        "site_id": site_id,
        "channel": reading.channel.value,
        "measured_at": reading.measured_at,
        "received_at": received_at,
        **{name: getattr(reading, name) for name in READINGS},
        **{name: getattr(reading.registers, name) for name in REGISTERS},
    }
    # Vendors show a reading until they have a new one: the first copy is kept.
    insert = postgresql.insert if db.engine.dialect.name == "postgresql" else sqlite.insert
    with db.write() as session:
        session.execute(insert(TelemetryRow).values(row).on_conflict_do_nothing())


def _from_row(row: TelemetryRow) -> Telemetry:
    return Telemetry(
        channel=Channel(row.channel),
        measured_at=row.measured_at,
        **{name: getattr(row, name) for name in READINGS},
        registers=Registers(**{name: getattr(row, name) for name in REGISTERS}),
    )
