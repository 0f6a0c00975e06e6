"""What SmartPVMS tells of plants, devices, alarms and reports, in canonical names.

Source: SmartPVMS 24.5.0 NBI Reference, section 5.1. Rows that cannot be placed (no plant, no device, no time) are left
out; values that the vendor did not give are not in a row.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.huawei.mapping import PLANT_POINTS, REPORT_POINTS, Signs, device_values, named_values
from adapters.huawei.wire import Envelope, fields, rows, text, time_of_ms, time_of_text, whole
from adapters.values import number


@dataclass(frozen=True)
class Plant:
    """A plant of the plant list (section 5.1.1.1)."""

    plant_code: str
    name: str
    array_kwp: float | None
    connected_at: dt.datetime | None


@dataclass(frozen=True)
class PlantDevice:
    """A device of the device list (section 5.1.1.2)."""

    device_id: str
    """`id`, a 64-bit integer as text."""
    plant_code: str
    device_type: int
    serial_number: str
    name: str
    model: str
    software: str


@dataclass(frozen=True)
class DeviceReading:
    """One device's values at one moment (sections 5.1.2.2, 5.1.2.3)."""

    device_id: str
    device_type: int
    at: dt.datetime | None
    """History: when it was measured. Real time: the vendor's clock when it answered; values may be 5 minutes older."""
    values: Mapping[str, float]
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    """`dataItemMap`, its names folded; to see whether anything changes at all."""


@dataclass(frozen=True)
class PlantNow:
    """A plant's counters (section 5.1.2.1): energies only, no power."""

    plant_code: str
    at: dt.datetime | None
    values: Mapping[str, float]


@dataclass(frozen=True)
class Alarm:
    """An active alarm (section 5.1.3.1)."""

    plant_code: str
    alarm_id: int | None
    name: str
    severity: int | None
    """1 critical, 2 major, 3 minor, 4 warning."""
    kind: int | None
    """`alarmType`: 0 other, 1 transposition, 2 exception, 3 protection, 4 notification, 5 information."""
    device_name: str
    device_type: int | None
    serial_number: str
    raised_at: dt.datetime | None
    cause_id: int | None
    cause: str
    suggestion: str


@dataclass(frozen=True)
class Report:
    """Energies of an hour, day, month or year of a plant or a device (section 5.1.4)."""

    owner: str
    """Plant code or device ID."""
    begins_at: dt.datetime
    values: Mapping[str, float]


def plants_of(answer: Envelope) -> tuple[list[Plant], int]:
    """Plants of one page, and how many pages there are."""
    data = fields(answer.data)
    found = [
        Plant(
            plant_code=text(row.get("plantcode")),
            name=text(row.get("plantname")),
            array_kwp=number(row.get("capacity")),
            connected_at=time_of_text(row.get("gridconnectiondate")),
        )
        for row in rows(data.get("list"))
        if text(row.get("plantcode"))
    ]
    return found, max(1, whole(data.get("pagecount")) or 1)


def devices_of(answer: Envelope) -> list[PlantDevice]:
    """Devices of the device list."""
    found = []
    for row in rows(answer.data):
        device_type = whole(row.get("devtypeid"))
        if device_type is None or not text(row.get("id")) or not text(row.get("stationcode")):
            continue
        found.append(
            PlantDevice(
                device_id=text(row["id"]),
                plant_code=text(row["stationcode"]),
                device_type=device_type,
                serial_number=text(row.get("esncode")),
                name=text(row.get("devname")),
                model=text(row.get("invtype")),
                software=text(row.get("softwareversion")),
            )
        )
    return found


def readings_of(answer: Envelope, device_type: int, signs: Signs) -> list[DeviceReading]:
    """Real-time or historical values of devices of one type."""
    found = []
    for row in rows(answer.data):
        device_id, raw = text(row.get("devid")), fields(row.get("dataitemmap"))
        if device_id:
            at = time_of_ms(row.get("collecttime")) or answer.current_time
            found.append(DeviceReading(device_id, device_type, at, device_values(device_type, raw, signs), raw))
    return found


def plants_now_of(answer: Envelope) -> list[PlantNow]:
    """Counters of plants."""
    return [
        PlantNow(
            text(row.get("stationcode")),
            answer.current_time,
            named_values(fields(row.get("dataitemmap")), PLANT_POINTS),
        )
        for row in rows(answer.data)
        if text(row.get("stationcode"))
    ]


def alarms_of(answer: Envelope) -> list[Alarm]:
    """Active alarms."""
    return [
        Alarm(
            plant_code=text(row.get("stationcode")),
            alarm_id=whole(row.get("alarmid")),
            name=text(row.get("alarmname")),
            severity=whole(row.get("lev")),
            kind=whole(row.get("alarmtype")),
            device_name=text(row.get("devname")),
            device_type=whole(row.get("devtypeid")),
            serial_number=text(row.get("esncode")),
            raised_at=time_of_ms(row.get("raisetime")),
            cause_id=whole(row.get("causeid", row.get("causeld"))),  # the document prints both
            cause=text(row.get("alarmcause")),
            suggestion=text(row.get("repairsuggestion")),
        )
        for row in rows(answer.data)
        if text(row.get("stationcode"))
    ]


def reports_of(answer: Envelope) -> list[Report]:
    """Rows of a report of plants or devices."""
    found = []
    for row in rows(answer.data):
        owner = text(row.get("stationcode")) or text(row.get("devid"))
        begins_at = time_of_ms(row.get("collecttime"))
        if owner and begins_at is not None:
            found.append(Report(owner, begins_at, named_values(fields(row.get("dataitemmap")), REPORT_POINTS)))
    return found
