"""Every sign, scale and word of SolaX, and nothing else.

Source: SolaXCloud User API V2.0, sections 5.2 (common answer), 7.1 (real-time data), 8.1 (device status), 8.2 (error
codes). The document states neither units nor signs: those below are what running systems were seen to send.

Vendor field          canonical                              note
batPower              battery_kw = - batPower / 1000         W, + charges; None without a connected battery
feedinpower           grid_kw = - feedinpower / 1000         W, + exports
powerdc1..powerdc4    pv_kw = sum / 1000                     W, at the panels' side; null where there is no string
acpower               load_kw = acpower / 1000 + grid_kw     W; with the conversion's losses, so load is a little
                                                             below grid + PV + battery; None while off the grid
feedinpowerM2         by setting only                        what meter 2 measures is up to the installation
soc                   soc = soc / 100                        percent, though called "battery capacity"
feedinenergy          export_kwh                             kWh
consumeenergy         import_kwh                             kWh
inverterStatus        dispatch_active                        130 to 133: somebody else drives the battery
uploadTime            measured_at                            without a zone; utcDateTime is taken where it is given
sn                    compared with the wifiSn asked for
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from enum import Enum, IntEnum
from typing import Any

from adapters.contract import Channel, ConfigurationError, Registers, Telemetry, VendorUnavailableError
from adapters.values import fraction, in_utc, kilo, lowered, number, time_of
from adapters.vendor_codes import described

# Section 7.1; the version in the path is v2 whatever the title pages say.
REALTIME_PATH = "/api/v2/dataAccess/realtimeInfo/get"
# Section 5.1: the token goes into this header.
CREDENTIAL_HEADER = "tokenId"
# How often inverters upload; the document does not say.
CADENCE_S = 300.0
STRINGS = ("powerdc1", "powerdc2", "powerdc3", "powerdc4")


class InverterStatus(IntEnum):
    """Section 8.1. The row of 133 is torn in print; the stray 400 in it is no code."""

    WAITING = 100
    SELF_TEST = 101
    NORMAL = 102
    RECOVERABLE_FAULT = 103
    PERMANENT_FAULT = 104
    FIRMWARE_UPGRADE = 105
    EPS_DETECTION = 106
    OFF_GRID = 107
    ITALIAN_SELF_TEST = 108
    SLEEP = 109
    STANDBY = 110
    PV_WAKES_BATTERY = 111
    GENERATOR_DETECTION = 112
    GENERATOR = 113
    FAST_SHUTDOWN_STANDBY = 114
    VPP = 130
    TOU_SELF_USE = 131
    TOU_CHARGING = 132
    TOU_DISCHARGING = 133


DRIVEN_BY_OTHERS = frozenset(
    {
        InverterStatus.VPP,
        InverterStatus.TOU_SELF_USE,
        InverterStatus.TOU_CHARGING,
        InverterStatus.TOU_DISCHARGING,
    }
)


class BatteryStatus(IntEnum):
    """`batStatus` of section 7.1."""

    NORMAL = 0
    FAULT = 1
    DISCONNECTED = 2


class ErrorCode(IntEnum):
    """Section 8.2, and those that servers were seen to give when called too often."""

    OK = 0
    LIMIT_1 = 1
    LIMIT_3 = 3
    LIMIT_104 = 104
    INTERFACE_UNAUTHORIZED = 1001
    PARAMETER = 1002
    DATA_UNAUTHORIZED = 1003
    DUPLICATE = 1004
    FAILED = 2001
    NOT_FOUND = 2002


LIMIT_CODES = frozenset({ErrorCode.LIMIT_1, ErrorCode.LIMIT_3, ErrorCode.LIMIT_104})
SHORT_PAUSE = dt.timedelta(minutes=5)
BAN = dt.timedelta(hours=1)
# Parts of the texts that came with a refusal as too frequent; the document has none of them.
_BAN_TEXT = "prohibit calls within the next hour"
_LIMIT_TEXTS = (
    "calls within the current minute",
    "call threshold",
    "maximum call",
    "requests within",
    "violations in a row",
    "too frequent",
)


class Meter2(Enum):
    """What the second meter measures; the document says only "Meter 2 power"."""

    IGNORED = "ignored"
    GRID = "grid"
    """A second connection to the grid, with the sign of `feedinpower`; added to it."""
    PV = "pv"
    """Another PV array on the AC side, + produces; added to the PV and to the load."""


def describe_code(code: int) -> str:
    """An error code with its name, for messages."""
    return described("code", ErrorCode, code)


def pause_for(code: int | None, text: object) -> dt.timedelta | None:
    """How long a refusal asks to be left alone; None: it is about something else.

    Args:
        code: `code` of the answer.
        text: `exception` of the answer.
    """
    words = str(text or "").casefold()
    if _BAN_TEXT in words:
        return BAN
    if any(part in words for part in _LIMIT_TEXTS) or (code in LIMIT_CODES and not words.strip()):
        return SHORT_PAUSE
    return None


def code_of(value: object) -> int | None:
    """A code or status as a number; the document prints them as numbers here and as text there."""
    found = number(value)
    return int(found) if found is not None and found.is_integer() else None


def telemetry(
    row: Mapping[str, Any],
    channel: Channel,
    zone: dt.tzinfo | None,
    meter_2: Meter2 = Meter2.IGNORED,
    now: dt.datetime | None = None,
) -> Telemetry:
    """Bring one `result` into canonical signs and units.

    Args:
        row: The vendor's object; names in any case, numbers as numbers or text, anything missing or null.
        channel: What was asked for; the vendor has one call for both.
        zone: The zone of `uploadTime`; None: unknown, so only `utcDateTime` will do.
        meter_2: What the second meter measures.
        now: The time, to tell the two hours apart that a clock change makes alike; None takes the first.

    Raises:
        VendorUnavailableError: No readable time, so nothing can be said of the reading's age.
        ConfigurationError: There is a time, but its zone was not set.
    """
    fields = lowered(row)
    second_w = number(fields.get("feedinpowerm2"))
    export_w, ac_w, pv_w = number(fields.get("feedinpower")), number(fields.get("acpower")), _sum(fields, *STRINGS)
    if meter_2 is Meter2.GRID:
        export_w = _plus(export_w, second_w)
    elif meter_2 is Meter2.PV:
        # Half of the array's power would be a wrong figure: without the one meter there is none.
        pv_w, ac_w = _plus(pv_w, second_w), _plus(ac_w, second_w)
    connected = code_of(fields.get("batstatus")) != BatteryStatus.DISCONNECTED
    charge_w = number(fields.get("batpower")) if connected else None
    status = code_of(fields.get("inverterstatus"))
    if status == InverterStatus.OFF_GRID:
        # The house hangs on the EPS outlets (`peps1` to `peps3`); whether `acpower` counts them is not in the document.
        ac_w = None
    return Telemetry(
        channel=channel,
        measured_at=_time(fields, zone, now),
        battery_kw=None if charge_w is None else kilo(-charge_w),
        grid_kw=None if export_w is None else kilo(-export_w),
        pv_kw=kilo(pv_w),
        load_kw=None if ac_w is None or export_w is None else kilo(ac_w - export_w),
        soc=fraction(number(fields.get("soc"))) if connected else None,
        registers=Registers(
            import_kwh=number(fields.get("consumeenergy")), export_kwh=number(fields.get("feedinenergy"))
        ),
        dispatch_active=status in DRIVEN_BY_OTHERS if status in set(InverterStatus) else None,
    )


def _sum(fields: Mapping[str, Any], *names: str) -> float | None:
    present = [value for value in (number(fields.get(name)) for name in names) if value is not None]
    return sum(present) if present else None


def _plus(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one + other


def _time(fields: Mapping[str, Any], zone: dt.tzinfo | None, now: dt.datetime | None) -> dt.datetime:
    told_utc = time_of(fields.get("utcdatetime"))
    utc = None if told_utc is None else in_utc(told_utc, dt.UTC)
    if utc is not None:
        return utc
    local = time_of(fields.get("uploadtime"))
    if local is not None and local.tzinfo is None and zone is None:
        raise ConfigurationError(
            "upload_time_zone: not set, and this vendor sends local times without a zone; "
            "give the plant's, like 'Europe/Copenhagen'"
        )
    time = None if local is None else in_utc(local, zone or dt.UTC, now)
    if time is None:
        raise VendorUnavailableError("uploadTime: missing or unreadable; the reading's age is unknown")
    return time
