"""Every sign, scale and word of Xolta, and nothing else.

Source: API Manual, sections 2 (endpoints), 3 (signals) and 4 (fair use). The document names its calls and signals and
shows neither parameters nor answers; what servers were seen to take and give stands in for them, and what nobody has
seen is a setting.

Vendor signal                        canonical                  note
inverterActivePower                  battery_kw = + kW          + discharges; AC side
batteryPower                         not used                   DC side, sign not stated, "needs to be changed"
meterGridActivePower                 grid_kw = + kW             + imports
meterPvActivePower                   pv_kw = + kW               standby of the array's inverter is negative: cut at 0
meterConsumptionActivePower          load_kw = + kW             measured; includes auxiliaries
calculatedConsumption                load_kw = + kW             where no meter measures it; else the balance
bmsSocRawArrayCloudTrimmed           soc = % / 100
inverterActivePowerSetPoint          set_point_kw = + kW        the read-back of a command
state                                Running, or not: then no power is known, for the cloud repeats old ones
mode                                 dispatch_active = mode is ExternalControl
batteryActivePower (sent)            battery_kw x unit x sign   both found by commissioning, never assumed
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal

from adapters.contract import Channel, Telemetry, VendorUnavailableError
from adapters.values import fraction, lowered, number
from adapters.xolta.shapes import (
    carriers,
    first_of,
    records,
    same,
    shallowest_text,
    text_of,
    time_of,
    walk,
)
from adapters.xolta.signals import Over, Signal, Source, parse

# Section 4: samples every 10 s, sent once a minute; nobody needs to ask more often.
SAMPLE_S = 10.0
UPLOAD_S = 60.0

DEVICE_STATUS_PATH = "/api/deviceStatus"
RAW_PATH = "/api/GetTelemetryRaw"
SUMMARY_PATH = "/api/GetTelemetrySummary"
SUMMARY_ALIAS_PATH = "/api/GetDataSummary"
META_DATA_PATH = "/api/GetMetaData"
COMMAND_PATH = "/api/SendStateModeCommand"
SCOPE = "https://Xolta.onmicrosoft.com/TelemetryAPI/.default"
RESOLUTIONS_MIN = (1, 10, 60)

Unit = Literal["kW", "W"]
Sign = Literal[1, -1]
PER_KW: Mapping[str, float] = {"kW": 1.0, "W": 1000.0}
"""What one kW is in each unit that `batteryActivePower` may have."""


class State(Enum):
    """Whether a device works at all; `GoToState_...`."""

    RUNNING = "Running"
    IDLING = "Idling"


class Mode(Enum):
    """Whom a running device obeys; `GoToMode_...`."""

    SELF_CONSUMPTION = "SelfConsumption"
    EXTERNAL_CONTROL = "ExternalControl"


@dataclass(frozen=True)
class Names:
    """What fields are called that the document does not name; the first found counts, case does not."""

    device: tuple[str, ...] = ("deviceId", "id")
    state: tuple[str, ...] = ("state", "deviceState", "currentState")
    mode: tuple[str, ...] = ("mode", "deviceMode", "currentMode")
    time: tuple[str, ...] = ("utcTime", "utcEndTime", "timestamp", "utcTimestamp", "time")


@dataclass(frozen=True)
class Status:
    """One device as DeviceStatus shows it, its values as they came; + discharges, + imports."""

    device_id: str
    state: str | None
    mode: str | None
    measured_at: dt.datetime | None
    signals: Mapping[Signal, float]

    @property
    def is_running(self) -> bool:
        """Whether it works, so that its powers are of now and it can be driven."""
        return same(self.state, State.RUNNING.value)

    @property
    def is_driven(self) -> bool | None:
        """Whether it obeys commands from outside, ours or anybody's; None: the vendor does not say."""
        return None if self.mode is None else same(self.mode, Mode.EXTERNAL_CONTROL.value)

    @property
    def set_point_kw(self) -> float | None:
        """What the inverter is told [kW]; None where it is not running."""
        return self.signals.get(Signal(Source.INVERTER, "activepowersetpoint")) if self.is_running else None


@dataclass(frozen=True)
class SetPoint:
    """One entry of a set-point map."""

    at: dt.datetime
    value: float
    """In the vendor's unit and sign."""


# --- what is sent ---


def utc_text(moment: dt.datetime) -> str:
    """A time as servers take it: whole seconds and a literal Z; anything else was answered with 400."""
    return moment.astimezone(dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def set_point_value(battery_kw: float, unit: Unit, sign: Sign) -> float:
    """A battery power as the wire has it.

    Args:
        battery_kw: AC power [kW], + discharges.
        unit: What the vendor counts in, as commissioning found it.
        sign: +1 where the vendor's + discharges too, -1 where it charges.

    Returns:
        Whole watts in either unit, cut towards zero so that rounding exceeds no bound.
    """
    watts = math.floor(round(abs(battery_kw) * 1000, 6))
    value = math.copysign(watts, battery_kw) * sign
    return (value if unit == "W" else value / 1000) or 0.0


def power_of_value(value: float, unit: Unit, sign: Sign) -> float:
    """The inverse of `set_point_value` [kW, + discharges]."""
    return (value * sign / PER_KW[unit]) or 0.0


def external_control(device_id: str, points: Sequence[SetPoint]) -> dict[str, Any]:
    """The body that drives a device by a map of set-points, counted from "1"."""
    points_by_key = {
        str(place): {"utcTime": utc_text(point.at), "batteryActivePower": point.value}
        for place, point in enumerate(points, start=1)
    }
    return _command(device_id, f"GoToMode_{Mode.EXTERNAL_CONTROL.value}", {"setPoint": points_by_key})


def self_consumption(device_id: str) -> dict[str, Any]:
    """The body that lets go of a device."""
    return _command(device_id, f"GoToMode_{Mode.SELF_CONSUMPTION.value}", "")


def go_to_state(device_id: str, state: State) -> dict[str, Any]:
    """The body that wakes a device or lays it to rest."""
    return _command(device_id, f"GoToState_{state.value}", "")


def _command(device_id: str, name: str, payload: Any) -> dict[str, Any]:
    return {"DeviceId": device_id, "CommandName": name, "Payload": payload}


# --- what comes back ---


def statuses(answer: Any, names: Names = Names()) -> dict[str, Status]:
    """The devices in an answer of DeviceStatus, whatever its shape: every object that names a device is one."""
    found: dict[str, Status] = {}
    for record in records(answer, names.device):
        device_id = text_of(first_of(record, names.device))
        if device_id is None:
            continue
        signals, measured_at = _signals(record, names)
        found[device_id] = Status(
            device_id=device_id,
            state=shallowest_text(record, names.state),
            mode=shallowest_text(record, names.mode),
            measured_at=measured_at,
            signals=signals,
        )
    return found


def telemetry_of_status(status: Status, channel: Channel) -> Telemetry:
    """A device's status in canonical signs and units; while it is not running no power is known.

    Raises:
        VendorUnavailableError: It has no readable time, so nothing can be said of its age.
    """
    if status.measured_at is None:
        raise VendorUnavailableError(
            f"{status.device_id}: no readable time in DeviceStatus, so its age is unknown; set time_fields"
        )
    return _telemetry(status.signals, status.measured_at, channel, status.is_running, status.is_driven, of_site=False)


def telemetry_rows(answer: Any, names: Names = Names(), *, of_site: bool = False) -> list[Telemetry]:
    """The rows of raw or summary telemetry in canonical signs and units, in order of time.

    Args:
        answer: What the call gave.
        names: What the vendor calls its fields.
        of_site: Whether a whole site was asked for. Its figures already hold those of its devices: one of both is
            taken, they are never added.

    Returns:
        Rows without a readable time are left out: nothing can be said of their age. A summary is stamped with the end
        of its interval.
    """
    rows: list[Telemetry] = []
    for row in carriers(answer):
        moment = time_of(first_of(row, names.time))
        if moment is not None:
            rows.append(_telemetry(_values(row), moment, Channel.STATE, running=True, driven=None, of_site=of_site))
    return sorted(rows, key=lambda row: row.measured_at)


def signal_names(answer: Any) -> list[str]:
    """The signals that GetMetaData lists, in order of appearance, whatever its shape."""
    texts: list[Any] = []
    for value in walk(answer):
        if isinstance(value, dict):
            texts += [*value.keys(), *value.values()]
        else:
            texts += value
    names = (text for text in texts if isinstance(text, str) and parse(text) is not None)
    return list(dict.fromkeys(names))


def fault_of(body: Any) -> str | None:
    """What the body of an accepted command complains of; None: nothing that can be read as a complaint.

    The document does not say what such a body holds.
    """
    if not isinstance(body, dict):
        return None
    fields = lowered(body)
    for name in ("success", "succeeded", "ok"):
        if fields.get(name) is False:
            return f"{name} is false"
    for name in ("error", "errors"):
        if fields.get(name):
            return f"it has {name}"
    return None


def reference_of(body: Any) -> str:
    """What an accepted command's body calls it; empty where it does not."""
    fields = lowered(body) if isinstance(body, dict) else {}
    return next((text for name in ("commandid", "requestid", "id") if (text := text_of(fields.get(name)))), "")


def _telemetry(
    signals: Mapping[Signal, float],
    measured_at: dt.datetime,
    channel: Channel,
    running: bool,
    driven: bool | None,
    *,
    of_site: bool,
) -> Telemetry:
    battery_kw = _pick(signals, Source.INVERTER, "activepower", of_site)
    # A meter at the connection stands for the site and for each of its devices.
    grid_kw = _pick(signals, Source.GRID_METER, "activepower", of_site, single=True)
    pv_kw = _pick(signals, Source.PV_METER, "activepower", of_site, single=True)
    load_kw = _pick(signals, Source.CONSUMPTION_METER, "activepower", of_site, single=True)
    pv_kw = None if pv_kw is None else max(0.0, pv_kw)
    if load_kw is None:
        load_kw = _pick(signals, Source.CALCULATED, "consumption", of_site, single=True)
    if load_kw is None and grid_kw is not None and pv_kw is not None and battery_kw is not None:
        load_kw = grid_kw + pv_kw + battery_kw
    percent = _pick(signals, Source.BMS, "soc", of_site, racks=Over.TRIMMED)
    return Telemetry(
        channel=channel,
        measured_at=measured_at,
        battery_kw=battery_kw if running else None,
        grid_kw=grid_kw if running else None,
        pv_kw=pv_kw if running else None,
        load_kw=load_kw if running else None,
        soc=fraction(percent),
        dispatch_active=driven,
    )


def _pick(
    signals: Mapping[Signal, float],
    source: Source,
    quantity: str,
    of_site: bool,
    *,
    single: bool = False,
    racks: Over | None = None,
) -> float | None:
    """One value of a quantity: a sample before a mean; the device's own before the site's, or the other way round."""
    site_words = (Over.SUM, Over.SINGLE, Over.AVG)
    if of_site:
        scopes: tuple[Over | None, ...] = (*site_words, None)
    else:
        scopes = (None, Over.SINGLE) if single else (None,)
    for scope in scopes:
        for time in (None, Over.AVG):
            value = signals.get(Signal(source, quantity, racks is not None, racks, time, scope))
            if value is not None:
                return value
    return None


def _signals(record: Mapping[str, Any], names: Names) -> tuple[dict[Signal, float], dt.datetime | None]:
    """The newest values in a record and their time, wherever in it they lie."""
    rows = carriers(record)
    timed = [(moment, row) for row in rows if (moment := time_of(first_of(row, names.time))) is not None]
    if timed:
        newest = max(moment for moment, _ in timed)
        merged: dict[Signal, float] = {}
        for moment, row in timed:
            if moment == newest:
                merged |= _values(row)
        return merged, newest
    merged = {}
    for row in rows:
        merged |= _values(row)
    times = [time_of(first_of(part, names.time)) for part in walk(record) if isinstance(part, dict)]
    return merged, next((moment for moment in times if moment is not None), None)


def _values(row: Mapping[str, Any]) -> dict[Signal, float]:
    pairs = ((parse(str(key)), number(value)) for key, value in row.items())
    return {signal: value for signal, value in pairs if signal is not None and value is not None}
