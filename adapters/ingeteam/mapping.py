"""Every sign, scale and word of Ingeteam, and nothing else; nothing here touches the network.

Source: "API for INGECON SUN inverters", sections 2 to 6 (properties of the inverters), 7.1 to 7.3 (EMS stream), 7.4 to
7.6 (datalogger). Where the document is silent or contradicts itself, the comment says what was taken instead.

Vendor field              canonical                               note
EMS, one element of `Phases`:
W                         grid_kw = + W / 1000                    + imports
PacDischarge, PacCharge   battery_kw = (discharge - charge) / 1000
pv, else Pac              pv_kw = W / 1000                        Pac on the plain EMS shape, which has no `pv`
cons                      load_kw = W / 1000                      without `cons`: the balance; never total_cons
soc, EMS_SOC              soc = percent / 100                     repeated in every phase, never summed
StatusBat                 7: the battery's values are unknown     soc shows 0 then
Inverter properties:
Pbatt                     battery_kw = + W / 1000                 + discharges
Sbatt, SOC                soc = percent / 100
Pdc1, Pdc2                pv_kw = sum / 1000
PacGrid                   not used                                the inverter's own meter, + towards the grid
Datalogger:               as the EMS, without the battery's power; see `battery_from_flows`
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any, TypeVar

from adapters.contract import VendorUnavailableError
from adapters.ingeteam.values import member, not_negative, rows, text_of
from adapters.values import fraction, kilo, number

Code = TypeVar("Code", bound=IntEnum)

# Section 2.1. The last part is the inverter's Modbus node; the document knows node 1 only.
PROPERTIES_PATH = "/inverter/properties/read/1"
PROPERTIES_BODY = {"readdb": True}
# Section 7.1.
STREAM_PATH = "/system/events/sse/stream"
# What the plant's events are called where they have a name; seen on devices, not in the document.
PLANT_EVENT = "/ems/sse/phases"
# Section 7.4; 3 is the number of minutes between samples, and AAAAMMDD is the Spanish YYYYMMDD.
DATALOGGER_PATH = "/ems/datalogger/samples/{day:%Y%m%d}/3"

# Section 7.1: an event per second. Properties come from a cache of unknown age; a poll faster than this wins nothing.
STREAM_CADENCE_S = 1.0
PROPERTIES_CADENCE_S = 15.0
DATALOGGER_CADENCE_S = 180.0


class Phase(IntEnum):
    """`Phase`, section 7.2."""

    R = 1
    S = 2
    T = 3
    ALL = 4
    """The aggregate: never summed with the others."""


class BatteryStatus(IntEnum):
    """`StatusBat`; the document leaves the codes open, public users of the devices agree on them."""

    STANDBY = 0
    DISCHARGING = 1
    CONSTANT_CURRENT_CHARGING = 2
    CONSTANT_VOLTAGE_CHARGING = 3
    FLOATING = 4
    EQUALIZING = 5
    BMS_COMMUNICATION_ERROR = 6
    NOT_CONFIGURED = 7
    """Nothing is known of a battery, although its state of charge reads 0."""
    CAPACITY_CALIBRATION_1 = 8
    CAPACITY_CALIBRATION_2 = 9
    STANDBY_MANUAL = 10


class InverterStatus(IntEnum):
    """`S1P_StatusCode`; as for `BatteryStatus`."""

    STOPPED = 0
    STARTING = 1
    OFF_GRID = 2
    ON_GRID = 3
    ON_GRID_STANDBY_BATTERY = 4
    WAITING_TO_CONNECT = 5
    CRITICAL_LOADS_BYPASSED = 6
    EMERGENCY_CHARGE_FROM_PV = 7
    EMERGENCY_CHARGE_FROM_GRID = 8
    LOCKED = 9
    ERROR = 10
    OFF_GRID_OTHER = 11
    """Seen on devices away from the grid; what sets it apart from OFF_GRID is unknown."""


@dataclass(frozen=True)
class PlantReading:
    """What the EMS says of the plant, in canonical signs and units."""

    grid_kw: float | None
    battery_kw: float | None
    pv_kw: float | None
    load_kw: float | None
    soc: float | None
    battery_status: BatteryStatus | None = None
    """None: not given, or a code that nobody has named."""
    inverter_status: InverterStatus | None = None
    inverter_status_text: str = ""
    alarms: tuple[str, ...] = ()
    """Alarms as the EMS words them."""
    alarm_codes: tuple[str, ...] = ()
    numbers: Mapping[str, float] = field(default_factory=dict)
    """Every number given, under the document's name and in its unit; powers are sums where there is no aggregate."""


# Sections 7.2 and 7.6: quantities that add up over phases, and what else they are called in the examples.
SUMMED: dict[str, tuple[str, ...]] = {
    "W": (),
    "VAr": (),
    "QacPV": (),
    "Pac": (),
    "pv": (),
    "cons": (),
    "PacCharge": (),
    "PacDischarge": (),
    "PacPVBatt": (),
    "PdcPVStorage": ("PdePVStorage",),
    "PacRev": (),
    "PacCLoads": (),
    "total_cons": (),
    "total_grid_cons": (),
    "_pv_grid": (),
    "_diesel_cons": (),
    "_grid_cons": (),
    "_grid_sto": (),
    "_pv_cons": (),
    "_pv_sto": (),
    "_plant_rev": (),
    "_publicgrid_cons": ("_pubgrid_cons",),
    "_sto_cons": (),
}
# What belongs to the plant as a whole, and is repeated in every phase.
REPEATED: dict[str, tuple[str, ...]] = {
    "soc": ("EMS_SOC",),
    "vbat": ("EMS_VBAT",),
    "sc_ratio": (),
    "WattDigitalInput": ("WatDigitalInput",),
    "StatusBat": (),
    "S1P_StatusCode": (),
    "S1P_Setpoint": ("S1P_SetPoint",),
}


def plant_elements(name: str, content: Any) -> list[dict[str, Any]] | None:
    """The elements of `Phases` in an event, or None where the event is about something else.

    Args:
        name: What the event is called; empty where it has no name.
        content: Its decoded JSON.

    Raises:
        VendorUnavailableError: It is the plant's event by its name, and has no list of phases.
    """
    is_named = name not in ("", "message")
    if is_named and name != PLANT_EVENT:
        return None
    phases = member(content, "phases")
    if phases is None and not is_named:
        return None
    return rows(phases, "Phases")


def plant_reading(elements: Sequence[Mapping[str, Any]], *, pv_measured: bool = True) -> PlantReading:
    """What the elements of one moment say of the plant.

    The aggregate alone where there is one; else the sum of the phases.

    Args:
        elements: Objects of `Phases` or of one moment of the datalogger, names in lower case.
        pv_measured: Whether the EMS's strategy uses PV; where it does not, the document says, 0 is shown.

    Raises:
        VendorUnavailableError: There are several aggregates, a phase twice, two of three phases, or none.
    """
    parts = _parts(elements)
    numbers = {name: value for name in SUMMED if (value := _summed(parts, name)) is not None}
    numbers |= {name: value for name in REPEATED if (value := _repeated(parts, name)) is not None}
    grid_w, battery_w = numbers.get("W"), _difference(numbers.get("PacDischarge"), numbers.get("PacCharge"))
    soc = fraction(numbers.get("soc"))
    statuses = {_coded(BatteryStatus, _field(part, "StatusBat", ())) for part in parts}
    has_battery = BatteryStatus.NOT_CONFIGURED not in statuses
    pv_w = numbers.get("pv" if any("pv" in part for part in parts) else "Pac") if pv_measured else None
    pv_w = not_negative(pv_w)
    if any("cons" in part for part in parts):
        load_w = numbers.get("cons")
    elif grid_w is None or pv_w is None or battery_w is None or not has_battery:
        load_w = None
    else:
        load_w = grid_w + pv_w + battery_w
    return PlantReading(
        grid_kw=kilo(grid_w),
        battery_kw=kilo(battery_w) if has_battery else None,
        pv_kw=kilo(pv_w),
        load_kw=kilo(not_negative(load_w)),
        soc=soc if has_battery else None,
        battery_status=_coded(BatteryStatus, numbers.get("StatusBat")) if has_battery else BatteryStatus.NOT_CONFIGURED,
        inverter_status=_coded(InverterStatus, numbers.get("S1P_StatusCode")),
        inverter_status_text=next(iter(_words(parts, "s1p_status")), ""),
        alarms=_words(parts, "s1p_alarms"),
        alarm_codes=_words(parts, "s1p_alarmscodes", "s1p_alarmcodes"),
        numbers=numbers,
    )


def battery_kw_from_flows(numbers: Mapping[str, float]) -> float | None:
    """The battery's power by the flows of the datalogger [kW, + discharges].

    Only an approximation: what the battery gave to the grid is among none of the flows.
    """
    flows = [numbers.get(name) for name in ("_sto_cons", "_pv_sto", "_grid_sto")]
    if any(flow is None for flow in flows):
        return None
    given, from_pv, from_grid = (flow or 0.0 for flow in flows)
    return (given - from_pv - from_grid) / 1000


def _parts(elements: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    by_phase: dict[int, list[Mapping[str, Any]]] = {}
    for element in elements:
        phase = number(element.get("phase"))
        if phase in set(Phase):
            by_phase.setdefault(int(phase), []).append(element)
    chosen = {Phase.ALL: by_phase[Phase.ALL]} if Phase.ALL in by_phase else by_phase
    if len(chosen) not in (1, 3) or any(len(found) > 1 for found in chosen.values()):
        given = ", ".join(f"{int(phase)} x{len(found)}" for phase, found in sorted(by_phase.items())) or "none"
        raise VendorUnavailableError(f"Phases: {given}; one aggregate, one phase or all three are readable")
    return [found for (found,) in chosen.values()]


def _field(part: Mapping[str, Any], name: str, aliases: tuple[str, ...]) -> float | None:
    """The first number under one of a field's names."""
    values = (number(part.get(alias.lower())) for alias in (name, *aliases))
    return next((value for value in values if value is not None), None)


def _summed(parts: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The sum over phases; unknown where one of them is."""
    values = [_field(part, name, SUMMED[name]) for part in parts]
    known = [value for value in values if value is not None]
    return number(sum(known)) if len(known) == len(values) else None


def _repeated(parts: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """The value that all phases repeat; unknown where they differ."""
    values = {_field(part, name, REPEATED[name]) for part in parts} - {None}
    return values.pop() if len(values) == 1 else None


def _words(parts: Sequence[Mapping[str, Any]], *names: str) -> tuple[str, ...]:
    """Text, or a list of texts; each once."""
    found: dict[str, None] = {}
    for part in parts:
        value = next((part[name] for name in names if name in part), None)
        for text in value if isinstance(value, list) else [value]:
            if text_of(text):
                found[text_of(text)] = None
    return tuple(found)


def _coded(codes: type[Code], value: float | None) -> Code | None:
    try:
        return None if value is None else codes(int(value)) if value == int(value) else None
    except ValueError:
        return None


def _difference(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one - other
