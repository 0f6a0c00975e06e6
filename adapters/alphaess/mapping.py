"""Every sign, scale and word of AlphaESS, and nothing else.

Source: Web Monitoring API Specification V2.1, sections 4 (running data), 6 (power data), 7 (dispatch), 8 (return
codes). Where the document is silent or contradicts itself, the comment says what was taken instead.

Vendor field         canonical                       note
Pbat                 battery_kw = + Pbat / 1000      + discharges; W
PmeterL1..L3         grid_kw = + sum / 1000          + imports; single-phase systems fill L1 only
Ppv1, Ppv2, PmeterDC pv_kw = sum / 1000              PmeterDC is an AC-coupled array's meter; negative is its standby
SOC                  soc = SOC / 100                 percent; on the wire also "Soc"
Pcharge              charge_limit_kw = W / 1000      the document calls both "allowed discharging power" (misprint)
Pdischarge           discharge_limit_kw = W / 1000
Einput, Eoutput      import_kwh, export_kwh
Echarge, EDischarge  charge_kwh, discharge_kwh
DispatchSwitch       dispatch_active           0 is off
Cobat, Poinv         capacity_kwh, rated_kw    section 2 gives no unit; kWh and kW
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from decimal import Decimal
from enum import IntEnum
from typing import Any

from adapters.contract import Channel, Found, IntentRefusedError, Registers, Telemetry, VendorUnavailableError
from adapters.values import fraction, in_utc, kilo, lowered, number, time_of
from adapters.vendor_codes import described

# Section 7: "The command will automatically stop after 90 seconds".
DISPATCH_LIFETIME_S = 90.0
# Section 7: 1 W/bit, offset 32000, below it charges, above it discharges.
POWER_OFFSET = 32_000
# Section 7: 0.4 %/bit, so the raw 95 of the document's example is 38 %.
SOC_PERCENT_PER_BIT = Decimal("0.4")
FULL_SOC_RAW = 250
# Sections 4 and 6: one row per 5 minutes, one per 10 seconds.
RUNNING_CADENCE_S = 300.0
POWER_CADENCE_S = 10.0

PATHS = {
    name: f"/ras/v2/{name}"
    for name in (
        "Login",
        "GetSystemList",
        "GetEnergySummary",
        "GetRunningData",
        "GetHistoryRunningData",
        "GetLastPowerData",
        "RemoteDispatch",
    )
}


class Status(IntEnum):
    """`Status` of a dispatch."""

    STOP = 0
    START = 1


class ControlMode(IntEnum):
    """`ControlMode` of a dispatch; the document names three."""

    PV_CHARGE_ONLY = 1
    STATE_OF_CHARGE = 2
    """Drive the battery with the power given until the state of charge given; with 0 W it holds still."""
    LOAD_FOLLOWING = 3


class ReturnCode(IntEnum):
    """Section 8; servers also answer with codes beyond the document's list."""

    UNKNOWN_MISTAKE = -1
    OK = 0
    ERROR = 1
    FIELD_MISSING = 2
    TIMESTAMP = 3
    SIGNATURE = 4
    USER_NAME_TAKEN = 5
    LICENSE_TAKEN = 6
    SERIAL_NUMBER_TAKEN = 7
    API_ACCOUNT = 8
    USER = 9
    E_MAIL = 10
    PASSWORD = 11
    SERIAL_NUMBER = 12
    DISPATCH_FAILED = 13
    LOGIN_TIMEOUT = 14
    PERMISSION = 15
    ABNORMAL_LOGIN = 16
    TOKEN_TIMEOUT = 23
    """Not in the document; what newer servers say for 14."""


LOGIN_AGAIN = frozenset({ReturnCode.LOGIN_TIMEOUT, ReturnCode.ABNORMAL_LOGIN, ReturnCode.TOKEN_TIMEOUT})
CONFIGURATION_FAULTS = frozenset(
    {
        ReturnCode.FIELD_MISSING,
        ReturnCode.SIGNATURE,
        ReturnCode.API_ACCOUNT,
        ReturnCode.USER,
        ReturnCode.PASSWORD,
        ReturnCode.SERIAL_NUMBER,
        ReturnCode.PERMISSION,
    }
)
# Of the codes that remain, those after which the vendor has certainly stored nothing.
NOTHING_DONE = LOGIN_AGAIN | {ReturnCode.TIMESTAMP, ReturnCode.DISPATCH_FAILED}


def describe_code(code: int) -> str:
    """A return code with its name, for messages."""
    return described("ReturnCode", ReturnCode, code)


def raw_power(battery_kw: float) -> int:
    """A battery power as the wire has it.

    Args:
        battery_kw: AC power [kW], + discharges.

    Returns:
        Watts with the offset: 32000 is 0, 34500 discharges 2.5 kW.

    Raises:
        IntentRefusedError: The power is beyond what the offset can carry, or no number.
    """
    # So that what is no number is refused too.
    if not abs(battery_kw) * 1000 < POWER_OFFSET + 0.5:
        raise IntentRefusedError(
            f"battery_kw: {battery_kw:+g} is beyond +-{POWER_OFFSET / 1000:g} kW, which the vendor's offset can carry; "
            "check the units"
        )
    return POWER_OFFSET + round(battery_kw * 1000)


def power_from_raw(raw: int) -> float:
    """The inverse of `raw_power` [kW, + discharges]."""
    return (raw - POWER_OFFSET) / 1000


def raw_soc(soc: float, full_raw: int = FULL_SOC_RAW) -> int:
    """A state of charge as the wire has it: percent / 0.4, so 0.38 is 95.

    Args:
        soc: The fraction.
        full_raw: What 1.0 is; 250 by the scale, more where a device would end a full charge early.

    Raises:
        IntentRefusedError: It is outside 0..1, or no number.
    """
    if not 0 <= soc <= 1:
        raise IntentRefusedError(f"until_soc: {soc:g} is outside 0..1; give a fraction, not percent")
    if soc == 1:
        return full_raw
    return round(Decimal(str(soc)) * 100 / SOC_PERCENT_PER_BIT)


def soc_from_raw(raw: float) -> float:
    """The inverse of `raw_soc` [fraction]."""
    return float(Decimal(str(raw)) * SOC_PERCENT_PER_BIT / 100)


def dispatch_fields(
    serial_number: str, battery_kw: float, until_soc: float, full_soc_raw: int = FULL_SOC_RAW
) -> dict[str, Any]:
    """The fields of a dispatch that drives the battery, or with 0 kW holds it still."""
    return {
        "Sn": serial_number,
        "ActivePower": raw_power(battery_kw),
        "ReactivePower": POWER_OFFSET,
        "SOC": raw_soc(until_soc, full_soc_raw),
        "Status": int(Status.START),
        "ControlMode": int(ControlMode.STATE_OF_CHARGE),
    }


def release_fields(serial_number: str) -> dict[str, Any]:
    """The fields of the call that stops a dispatch."""
    return {**dispatch_fields(serial_number, 0.0, 0.0), "Status": int(Status.STOP)}


def telemetry(row: Mapping[str, Any], channel: Channel, zone: dt.tzinfo, now: dt.datetime | None = None) -> Telemetry:
    """Bring one row of running or power data into canonical signs and units.

    Args:
        row: The vendor's row; names in any case, numbers as numbers or text, anything missing or null.
        channel: Where it came from.
        zone: The zone of `UploadTime`, which the document does not state.
        now: The time, to tell the two hours apart that a clock change makes alike; None takes the first.

    Raises:
        VendorUnavailableError: The row has no readable `UploadTime`, so nothing can be said of its age.
    """
    fields = lowered(row)
    grid_w = _sum(fields, "pmeterl1", "pmeterl2", "pmeterl3")
    array_meter_w = number(fields.get("pmeterdc"))
    pv_w = _sum(fields, "ppv1", "ppv2")
    if array_meter_w is not None:
        pv_w = (pv_w or 0.0) + max(array_meter_w, 0.0)
    battery_w = number(fields.get("pbat"))
    load_w = None if grid_w is None or pv_w is None or battery_w is None else grid_w + pv_w + battery_w
    switch = number(fields.get("dispatchswitch"))
    return Telemetry(
        channel=channel,
        measured_at=_time(fields, zone, now),
        battery_kw=kilo(battery_w),
        grid_kw=kilo(grid_w),
        pv_kw=kilo(pv_w),
        load_kw=kilo(load_w),
        soc=fraction(number(fields.get("soc"))),
        charge_limit_kw=kilo(number(fields.get("pcharge"))),
        discharge_limit_kw=kilo(number(fields.get("pdischarge"))),
        registers=Registers(
            import_kwh=number(fields.get("einput")),
            export_kwh=number(fields.get("eoutput")),
            charge_kwh=number(fields.get("echarge")),
            discharge_kwh=number(fields.get("edischarge")),
        ),
        dispatch_active=None if switch is None else switch != 0,
    )


def found(row: Mapping[str, Any]) -> Found | None:
    """One row of the system list (section 2); None where it names no system.

    `controllable` stays open: the list does not say whether a system takes dispatches.
    """
    fields = lowered(row)
    serial_number = _text(fields, "sn")
    if not serial_number:
        return None
    return Found(
        device_id=serial_number,
        name=_text(fields, "remark"),
        model=_text(fields, "systemmodel"),
        capacity_kwh=number(fields.get("cobat")),
        rated_kw=number(fields.get("poinv")),
    )


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    return value.strip() if isinstance(value, str) else ""


def _sum(fields: Mapping[str, Any], *names: str) -> float | None:
    present = [value for value in (number(fields.get(name)) for name in names) if value is not None]
    return sum(present) if present else None


def _time(fields: Mapping[str, Any], zone: dt.tzinfo, now: dt.datetime | None) -> dt.datetime:
    local = time_of(fields.get("uploadtime"))
    time = None if local is None else in_utc(local, zone, now)
    if time is None:
        raise VendorUnavailableError("UploadTime: missing or unreadable; the row's age is unknown")
    return time
