"""What the emulated device says: properties, phases and frames, in an independent reading of the document.

Source: "API for INGECON SUN inverters", sections 3 to 7. Shares nothing with what reads it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any, Literal, get_args

from adapters.emulation import Reading

Model = Literal["1Play", "3Play", "storage 1Play", "storage 3Play"]
Shape = Literal["aggregate and phases", "aggregate", "three phases", "single phase", "plain"]
SHAPES = get_args(Shape)
MODELS: dict[str, str] = {
    "1Play": "ABE1000_Q",
    "3Play": "ABI1000_M",
    "storage 1Play": "ABH1006_G",
    "storage 3Play": "ABS1008_E",
}
"""The inverters, with the firmware of the document's examples."""
Written = Callable[[float | int | None], Any]
# A frame larger than any reader should hold.
OVERSIZE = 300 * 1024
# How the load of a house is spread over its phases.
SPREAD = (0.5, 0.3)


def flicker(reading: Reading) -> int:
    """What a real meter's last digit does [W]: a device that repeats itself to the bit has stopped measuring."""
    return zlib.crc32(reading.at.isoformat().encode()) % 11 - 5


def property_items(
    model: str, reading: Reading, written: Written, *, odd: bool, has_battery: bool = True
) -> list[dict[str, Any]]:
    """`Data` of a read of properties: by the examples' spelling, with `odd` by that of the tables."""
    pv_w, battery_w = round(reading.pv_kw * 1000), round(reading.battery_kw * 1000) if has_battery else 0
    percent = round(reading.soc * 100) if has_battery else 0
    grid_w, pac_w = round(reading.grid_kw * 1000) + flicker(reading), pv_w + battery_w
    volts, hertz = 230.0 + flicker(reading) / 10, 49.98 + flicker(reading) / 100
    one, critical = ("1", "1") if odd else ("l", "l")
    three = model in ("3Play", "storage 3Play")
    storage = model in ("storage 1Play", "storage 3Play")
    strings = (pv_w, 0) if model == "storage 3Play" else (pv_w - pv_w // 3, pv_w // 3)
    numbers: dict[str, tuple[float, int]] = {}
    for place, power_w in enumerate(strings[:1] if model == "storage 3Play" else strings, start=1):
        numbers |= {f"Vdc{place}": (400, 0), f"Idc{place}": (power_w / 400, 2), f"Pdc{place}": (power_w, 0)}
    numbers |= {"Pac": (pac_w, 0), "Qac": (-39, 0)}
    if model == "storage 1Play":
        numbers |= {
            "Vbatt": (51.899999999999999, 1),
            "Ibatt": (battery_w / 51.9, 2),
            "Pbatt": (battery_w, 0),
            "Sbatt": (percent, 0),
            f"Vc{critical}": (231, 0),
            f"Pc{critical}": (0, 0),
            "Vac": (volts, 0),
            "Fac": (hertz, 2),
            # The inverter's own meter counts towards the grid.
            "PacGrid": (-grid_w, 0),
        }
    else:
        numbers |= {"WorkingHour" if odd else "WorkingHours": (28251, 0), "CosPhi": (1, 3), "Freq": (hertz, 2)}
        for phase in ("1", "2", "3") if three else (one,):
            numbers |= {f"Iac{phase}": (abs(pac_w) / volts, 2), f"Vac{phase}": (volts, 1)}
        if storage:
            numbers |= {"Vbatt": (400, 0), "SOC": (percent, 0)}
        else:
            numbers["Eparc1"] = (20677000, 0)
            if not three:
                numbers["Eparc2"] = (2021, 0)
    hexes = {"AlarmCode": "0000000000000000", "WarningCode": "0020"}
    if model == "storage 1Play":
        hexes = {"AlarmCode": "00000000", "InverterCode1": "0000", "InverterCode2": "0000", "InverterCode3": "0000"}
        hexes["BmsAlarms"] = "0000"
    common = {"mask": "", "db": True, "success": True}
    items = [{"name": name, **common, "type": "flags", "value": [], "hex-value": text} for name, text in hexes.items()]
    items += [
        {"name": name, **common, "type": "number", "value": written(value), "digits": digits}
        for name, (value, digits) in numbers.items()
    ]
    if odd:
        items += [
            {"name": "Qac", **common, "success": False, "type": "number", "value": 0, "digits": 0},
            {"name": "NotInTheDocument", **common, "type": "number", "value": 1, "digits": 0},
        ]
        items[0] |= {"value": ["Alarm of the device's own naming"], "hex-value": "00000001"}
    return items


def phases(
    shape: str, reading: Reading, written: Written, *, has_battery: bool = True, logged: bool = False
) -> list[dict[str, Any]]:
    """`Phases` of an event, or the rows of one moment of the datalogger."""
    watts = _watts(reading, has_battery=has_battery)
    parts: list[tuple[int, dict[str, int]]] = []
    if shape in ("aggregate", "aggregate and phases"):
        parts.append((4, watts))
    if shape == "single phase":
        parts.append((1, watts))
    if shape in ("three phases", "aggregate and phases", "plain"):
        first, second = ({name: round(value * share) for name, value in watts.items()} for share in SPREAD)
        third = {name: value - first[name] - second[name] for name, value in watts.items()}
        parts += [(1, first), (2, second), (3, third)]
    percent = round(reading.soc * 100) if has_battery else 0
    make = _logged if logged else _plain if shape == "plain" else _storage
    return [make(phase, part, percent, written) | _status(make, watts, has_battery) for phase, part in parts]


def frames(elements: list[dict[str, Any]], *, names: bool, odd: bool, first: bool) -> list[bytes]:
    """The bytes of one second on the stream, in the pieces in which they are sent."""

    def event(name: str, data: str, end: str = "\n") -> bytes:
        lines = [f"event: {name}"] if names else []
        lines += [f"data: {line}" for line in data.split("\n")]
        return (end.join(lines) + 2 * end).encode()

    plant = json.dumps({"Phases": elements})
    other = event("/ems/sse/stream", json.dumps({"Devices": [{"name": "Meter", "W": 99999}]}))
    if not odd:
        return [other, event("/ems/sse/phases", plant)]
    spread_out = json.dumps({"Phases": elements, "note": "Señal µ"}, indent=1, ensure_ascii=False)
    whole = event("/ems/sse/phases", spread_out, "\r\n")
    cut = whole.index("ñ".encode()) + 1
    twice = [{**elements[0], "Phase": 4}, {**elements[0], "Phase": 4, "W": 77777}]
    return [
        *([b"\xef\xbb\xbf"] if first else []),
        b": comment\r",
        other,
        event("/ems/sse/phases", plant[: len(plant) // 2]),
        event("/ems/sse/phases", json.dumps({"Phases": twice}), "\r"),
        event("/ems/sse/phases", json.dumps({"Phases": elements, "padding": "x" * OVERSIZE})),
        whole[:cut],
        whole[cut:],
    ]


def _watts(reading: Reading, *, has_battery: bool) -> dict[str, int]:
    """Powers of the plant and their flows [W]."""
    last_digit = flicker(reading)
    pv, load = round(reading.pv_kw * 1000), max(0, round(reading.load_kw * 1000) + last_digit)
    battery = round(reading.battery_kw * 1000) if has_battery else 0
    charge, discharge, grid = max(-battery, 0), max(battery, 0), round(reading.grid_kw * 1000) + last_digit
    pv_cons = min(pv, load)
    pv_sto = min(pv - pv_cons, charge)
    sto_cons = min(discharge, load - pv_cons)
    return {
        "W": grid,
        "Pac": pv,
        "PacCharge": charge,
        "PacDischarge": discharge,
        "pv": pv,
        "cons": load,
        "_pv_grid": pv - pv_cons - pv_sto,
        "_grid_cons": load - pv_cons - sto_cons,
        "_grid_sto": charge - pv_sto,
        "_pv_cons": pv_cons,
        "_pv_sto": pv_sto,
        "_sto_cons": sto_cons,
        "total_cons": load + charge,
        "total_grid_cons": max(grid, 0),
    }


_FLOWS = ("_pv_grid", "_grid_cons", "_grid_sto", "_pv_cons", "_pv_sto", "_sto_cons", "total_cons", "total_grid_cons")


def _plain(phase: int, watts: dict[str, int], percent: int, written: Written) -> dict[str, Any]:
    """The first example of section 7.3."""
    return {
        "Phase": phase,
        **{name: written(watts[name]) for name in ("W", "Pac", "PacCharge", "PacDischarge")},
        "PacPVBatt": written(0),
        "PdcPVStorage": written(0),
        "EMS_SOC": written(percent),
        "EMS_VBAT": written(49),
        "WatDigitalInput": written(0),
        "PacRev": written(0),
    }


def _storage(phase: int, watts: dict[str, int], percent: int, written: Written) -> dict[str, Any]:
    """The second example of section 7.3."""
    return {
        "Phase": phase,
        **{name: written(watts[name]) for name in ("W", "Pac", "PacCharge", "PacDischarge")},
        "PacPVBatt": written(-1),
        "PdePVStorage": written(3),
        "EMS_SOC": written(percent),
        "EMS_VBAT": written(414),
        **{name: written(watts[name]) for name in ("pv", "cons", *_FLOWS)},
        "_diesel_cons": written(0),
        "_plant_rev": written(0),
        "_pubgrid_cons": written(watts["_grid_cons"]),
        "sc_ratio": written(round(100 * watts["_pv_cons"] / max(1, watts["cons"]), 2)),
        "soc": written(percent),
        "vbat": written(414),
        "PacCLoads": written(0),
    }


def _logged(phase: int, watts: dict[str, int], percent: int, written: Written) -> dict[str, Any]:
    """The example of section 7.6."""
    return {
        "Phase": phase,
        "W": written(watts["W"]),
        "VAr": written(0),
        "PF": written(1.0),
        "QacPV": written(0),
        **{name: written(float(watts[name])) for name in ("pv", "cons", *_FLOWS)},
        "_diesel_cons": written(0.0),
        "_plant_rev": written(0),
        "int_rev": True,
        "_pubgrid_cons": written(float(watts["_grid_cons"])),
        "sc_ratio": written(0.0),
        "soc": written(percent),
        "vbat": written(99),
    }


def _status(make: object, watts: dict[str, int], has_battery: bool) -> dict[str, Any]:
    """The states that only the second example of section 7.3 has."""
    if make is not _storage:
        return {}
    charge, discharge = watts["PacCharge"], watts["PacDischarge"]
    status = 7 if not has_battery else 2 if charge else 1 if discharge else 0
    return {
        "S1P_Status": "On-grid",
        "S1P_StatusCode": 3,
        "StatusBat": status,
        "S1P_Alarms": "",
        "S1P_AlarmCodes": "",
        "S1P_SetPoint": discharge - charge,
    }
