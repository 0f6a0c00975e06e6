"""The grammar of Xolta's signal names, `Device_Signal_Function_Function`, read rather than tabulated.

Source: API Manual, section 3 (the formula), 3.1 (functions), 3.2 (raw) and 3.3 (summary). In words:

    name       = device quantity [racks] [time] [site]
    racks      = "RawArray" [["Cloud"] ("Min" | "Max" | "Avg" | "Total" | "Trimmed")]
    time       = "Agg" ("Min" | "Max" | "Avg" | "Std" | "Count")
    site       = "Site" ("Single" | "Sum" | "Avg" | "Min" | "Max")

The document's examples begin with a capital and its lists with a small letter, so case does not count. Section 3.3 has
"RawArrayTotal" where section 3.2 has "RawArrayCloudTotal": "Cloud" may be missing. The site suffix is in no document;
servers add it where a whole site is asked for.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass
from enum import Enum

LONGEST_NAME = 120
"""A name longer than this is none of the document's, the longest of which has 51 letters."""


class Source(Enum):
    """The device of a signal: what measures or makes it."""

    BATTERY = "battery"
    BMS = "bms"
    INVERTER = "inverter"
    CONSUMPTION_METER = "meterconsumption"
    GRID_METER = "metergrid"
    HEAT_PUMP_METER = "meterheatpump"
    INVERTER_METER = "meterinverter"
    PV_METER = "meterpv"
    CALCULATED = "calculated"
    """No instrument: worked out by the cloud."""


class Over(Enum):
    """How many values became one."""

    MIN = "min"
    MAX = "max"
    AVG = "avg"
    TOTAL = "total"
    TRIMMED = "trimmed"
    """The mean, cut to 0..100."""
    STD = "std"
    COUNT = "count"
    SINGLE = "single"
    """There is only one."""
    SUM = "sum"


@dataclass(frozen=True)
class Signal:
    """One signal, taken apart."""

    source: Source
    quantity: str
    """What is measured, in small letters: `activepower`, `soc`, `voltagep1`."""
    per_rack: bool = False
    """Whether each rack of the battery has a value of its own; `racks` says what became of them."""
    racks: Over | None = None
    """None: nothing, so the value is a list where `per_rack`."""
    time: Over | None = None
    """What became of the values of an interval; None: it is a sample."""
    site: Over | None = None
    """What became of the values of a site's devices; None: it is one device's own."""


# Inside a quantity these are functions that the grammar does not have: better unknown than misread.
_FUNCTION_WORDS = ("rawarray", "agg", "site")
_NAME = re.compile(
    r"""
    (?P<source> meter(?:consumption|grid|heatpump|inverter|pv) | battery | bms | inverter | calculated )
    (?P<quantity> [a-z0-9]+? )
    (?: (?P<per_rack> rawarray ) (?: (?:cloud)? (?P<racks> min|max|avg|total|trimmed ) )? )?
    (?: agg (?P<time> min|max|avg|std|count ) )?
    (?: site (?P<site> single|sum|avg|min|max ) )?
    """,
    re.VERBOSE,
)


@functools.lru_cache(maxsize=4096)
def parse(name: str) -> Signal | None:
    """Take a signal's name apart; None where it is none."""
    if len(name) > LONGEST_NAME or not name.isascii():
        return None
    match = _NAME.fullmatch(name.lower())
    if match is None or any(word in match["quantity"] for word in _FUNCTION_WORDS):
        return None
    return Signal(
        source=Source(match["source"]),
        quantity=match["quantity"],
        per_rack=match["per_rack"] is not None,
        racks=_over(match["racks"]),
        time=_over(match["time"]),
        site=_over(match["site"]),
    )


def _over(word: str | None) -> Over | None:
    return None if word is None else Over(word)
