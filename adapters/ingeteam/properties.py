"""The properties of the four inverters, in the document's words.

Source: "API for INGECON SUN inverters", sections 3 to 6. The values come decoded: nothing here scales them again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from adapters.ingeteam.values import member, not_negative, rows, text_of
from adapters.values import fraction, kilo, number

# Sections 3.1, 4.1, 5.1, 6.1: names with their units, and what else they are called in examples. 1 and l look alike in
# the document: Iac1 is also Iacl, while Vcl and Pcl (critical loads) are also Vc1 and Pc1. Eparc is an energy whose
# unit the document gives as W.
NUMBERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "Eparc1": ("unknown", ()),
    "Eparc2": ("unknown", ()),
    "CosPhi": ("", ()),
    "WorkingHours": ("h", ("WorkingHour",)),
    "Vbatt": ("V", ()),
    "Ibatt": ("A", ()),
    "Pbatt": ("W", ()),
    "SOC": ("%", ("Sbatt",)),
    "Vdc1": ("V", ("Vdcl",)),
    "Idc1": ("A", ("Idcl",)),
    "Pdc1": ("W", ("Pdcl",)),
    "Vdc2": ("V", ()),
    "Idc2": ("A", ()),
    "Pdc2": ("W", ()),
    "Pac": ("W", ()),
    "Qac": ("var", ()),
    "Iac1": ("A", ("Iacl",)),
    "Iac2": ("A", ()),
    "Iac3": ("A", ()),
    "Vac": ("V", ()),
    "Vac1": ("V", ("Vacl",)),
    "Vac2": ("V", ()),
    "Vac3": ("V", ()),
    "Vcl": ("V", ("Vc1",)),
    "Pcl": ("W", ("Pc1",)),
    "Freq": ("Hz", ("Fac",)),
    "PacGrid": ("W", ()),
}
# Four times the longest that the document shows.
LONGEST_HEX = 64
FLAGS = ("AlarmCode", "WarningCode", "InverterCode1", "InverterCode2", "InverterCode3", "BmsAlarms")
_PROPERTY = {alias.lower(): name for name, (_, aliases) in NUMBERS.items() for alias in (name, *aliases)} | {
    name.lower(): name for name in FLAGS
}


@dataclass(frozen=True)
class Flags:
    """A field of bits: alarms, warnings, codes of the inverter or of the battery management.

    Which bit means what is in other documents of the vendor (AAA0030IMB07, ABH2010IMC14), so a name is known only where
    the device gives it. An empty list of names does not mean that no bit is set: sections 3.2 and 6.2 have examples.
    """

    names: tuple[str, ...] = ()
    """What the device itself calls the bits that are set."""
    raw: int | None = None
    """All bits; None: the device gave names only."""

    @property
    def bits(self) -> tuple[int, ...]:
        """Which bits are set, the lowest being 0."""
        raw = self.raw or 0
        return tuple(bit for bit in range(raw.bit_length()) if raw >> bit & 1)

    def __bool__(self) -> bool:
        return bool(self.names or self.raw)


@dataclass(frozen=True)
class InverterState:
    """An inverter's properties (sections 3 to 6), in the document's spelling of their names.

    What an inverter does not have, or did not read successfully, is absent. Units are in `NUMBERS`.
    """

    firmware: str = ""
    numbers: Mapping[str, float] = field(default_factory=dict)
    flags: Mapping[str, Flags] = field(default_factory=dict)
    unread: frozenset[str] = frozenset()
    """Properties that the inverter has and could not read."""


def inverter_state(content: Any) -> InverterState:
    """The answer to a read of properties; its values are decoded already and only rounded to their digits.

    Raises:
        VendorUnavailableError: It has no list `Data`.
    """
    numbers: dict[str, float] = {}
    flags: dict[str, Flags] = {}
    unread = set()
    for item in rows(member(content, "data"), "Data"):
        name = _PROPERTY.get(text_of(item.get("name")).lower())
        if name is None or name in numbers or name in flags:
            continue
        success = item.get("success", True)
        if success is not True and text_of(success).lower() != "true":
            unread.add(name)
        elif name in FLAGS:
            found = _flags(item)
            if found is None:
                unread.add(name)
            else:
                flags[name] = found
        else:
            value = number(item.get("value"))
            if value is None:
                unread.add(name)
            else:
                numbers[name] = _rounded(value, item.get("digits"))
    return InverterState(
        firmware=text_of(member(content, "firmware")),
        numbers=numbers,
        flags=flags,
        unread=frozenset(unread - numbers.keys() - flags.keys()),
    )


def inverter_powers(state: InverterState) -> tuple[float | None, float | None, float | None]:
    """Battery [kW, + discharges], PV [kW] and state of charge [fraction] of an inverter.

    The STORAGE 3Play does not give the battery's power; its inverter's power is not the battery's.
    """
    numbers = state.numbers
    arrays = [name for name in ("Pdc1", "Pdc2") if name in numbers]
    # A string that could not be read may give anything: the sum is unknown then.
    pv_w = None if {"Pdc1", "Pdc2"} & state.unread or not arrays else sum(numbers[name] for name in arrays)
    return kilo(numbers.get("Pbatt")), kilo(not_negative(pv_w)), fraction(numbers.get("SOC"))


def _flags(item: Mapping[str, Any]) -> Flags | None:
    """Bits by `hex-value`, names by `value`; None where it has neither."""
    listed, text = item.get("value"), item.get("hex-value")
    names = tuple(name for name in map(text_of, listed) if name) if isinstance(listed, list) else ()
    try:
        raw = int(text, 16) if isinstance(text, str) and len(text) <= LONGEST_HEX else None
    except ValueError:
        raw = None
    if raw is not None and raw < 0:
        raw = None
    return None if raw is None and not isinstance(listed, list) else Flags(names, raw)


def _rounded(value: float, digits: Any) -> float:
    places = number(digits)
    return round(value, int(places)) if places is not None and 0 <= places <= 9 else value
