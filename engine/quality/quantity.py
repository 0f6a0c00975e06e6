"""What a series is: load, PV, wind, a price or something else, and in which unit; by its name where nobody says."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, get_args

import pandas as pd

from engine.errors import InputError
from engine.timeline import ONE_HOUR

Kind = Literal["load", "pv", "wind", "price", "other"]
KINDS: tuple[Kind, ...] = get_args(Kind)
# Mean powers, never negative.
POWERS = frozenset({"load", "pv", "wind"})
POWER_KW = {"W": 1e-3, "kW": 1.0, "MW": 1e3, "kW/kWp": 1.0}
ENERGY_KWH = {"Wh": 1e-3, "kWh": 1.0, "MWh": 1e3}
HUNDREDTHS = {"ct": "EUR", "pence": "GBP", "ore": "DKK"}

_UNIT = re.compile(r"(?:^|_)(kw_per_kwp|k?wh_per_\d+min|[a-z]+_per_[km]wh|[km]?wh?)(?=$|_(?!per_))")
_SPELLINGS = {unit.lower(): unit for unit in (*POWER_KW, *ENERGY_KWH)}
_WORDS: dict[str, Kind] = {"load": "load", "consumption": "load", "pv": "pv", "solar": "pv", "wind": "wind"}


@dataclass(frozen=True)
class About:
    """What is known of a series beyond its samples."""

    kind: Kind = "other"
    unit: str = ""
    """Of the samples; empty: what the engine takes, kW or money per kWh."""
    timezone: str | None = None
    rated_kw: float | None = None
    latitude: float | None = None
    longitude: float | None = None

    def factor(self, step: pd.Timedelta) -> float:
        """What a sample is multiplied by to be in kW or money per kWh."""
        return factor_of(self.unit, step)[0] if self.unit else 1.0


def named(name: object) -> tuple[Kind, str]:
    """Kind and unit as a name tells them: ``load_kw``, ``pv_kwh_per_15min``, ``import_price_eur_per_mwh``."""
    text = str(name).lower()
    found_unit = _UNIT.search(text)
    if found_unit is None:
        return "other", ""
    found = found_unit[1]
    money, per, energy = found.partition("_per_")
    if per and energy in ("kwh", "mwh"):
        return "price", f"{money if money in HUNDREDTHS else money.upper()}/{_SPELLINGS[energy]}"
    kind: Kind = next((_WORDS[word] for word in text.split("_") if word in _WORDS), "other")
    return kind, "kW/kWp" if energy == "kwp" else _SPELLINGS[money]


def with_unit(name: str, unit: str) -> str:
    """A name that tells the unit, telling another; as it is where it tells none."""
    return _UNIT.sub(f"_{unit.lower().replace('/', '_per_')}", name.lower(), count=1) if _UNIT.search(name) else name


def factor_of(unit: str, step: pd.Timedelta) -> tuple[float, str]:
    """What a figure in a unit is multiplied by to be in the engine's, and what that is.

    Args:
        unit: ``W``, ``kW``, ``MW``, ``kW/kWp``; ``Wh``, ``kWh``, ``MWh`` per interval; ``EUR/kWh``, ``EUR/MWh``,
            ``ct/kWh``.
        step: Length of an interval.

    Returns:
        The factor, and ``kW`` or ``EUR/kWh`` (or another currency).

    Raises:
        InputError: No such unit.
    """
    if unit in POWER_KW:
        return POWER_KW[unit], "kW"
    if unit in ENERGY_KWH:
        return ENERGY_KWH[unit] * (ONE_HOUR / step), "kW"
    money, _, energy = unit.partition("/")
    if money and energy in ENERGY_KWH:
        return (0.01 if money in HUNDREDTHS else 1.0) / ENERGY_KWH[energy], f"{HUNDREDTHS.get(money, money)}/kWh"
    known = ", ".join((*POWER_KW, *ENERGY_KWH, "EUR/kWh", "EUR/MWh", "ct/kWh"))
    raise InputError("unit", f"value {unit!r} is unknown", f"write one of {known}")


def checked_kind(kind: str) -> Kind:
    """A kind, as people write it.

    Raises:
        InputError: It is none.
    """
    for known in KINDS:
        if kind == known:
            return known
    raise InputError("kind", f"value {kind!r} is unknown", f"write one of {', '.join(KINDS)}")
