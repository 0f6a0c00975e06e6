"""What SmartPVMS puts on the wire, read without trust: names in any case, numbers as text, braces misplaced.

Source: SmartPVMS 24.5.0 NBI Reference; its examples contradict each other in the places that this module tolerates.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.values import lowered, number

# The document prints these names with a wrong letter or under two names.
SAME_NAME = {
    "devtypeld": "devtypeid",
    "causeld": "causeid",
    "deviceid": "devid",
    "execstarttime": "starttime",
    "execendtime": "endtime",
}
_WHOLE = re.compile(r"-?[0-9]{1,19}")


def fields(value: Any) -> dict[str, Any]:
    """An object with its names folded; anything else is an empty one. A name that is printed right wins."""
    if not isinstance(value, Mapping):
        return {}
    folded = lowered(value)
    aliases = {SAME_NAME[key]: item for key, item in folded.items() if key in SAME_NAME}
    return {**aliases, **folded}


def rows(value: Any) -> list[dict[str, Any]]:
    """A list of objects, folded; one object alone counts as a list of one."""
    items = value if isinstance(value, list) else [value]
    return [fields(item) for item in items if isinstance(item, Mapping)]


def whole(value: Any) -> int | None:
    """A 64-bit integer, also as text. Never from a float: request IDs exceed what a double holds exactly."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        value = int(value) if _WHOLE.fullmatch(value.strip()) else None
    if not isinstance(value, int) or not -(2**63) <= value < 2**63:
        return None
    return value


def text(value: Any) -> str:
    """Text, or whole numbers as text; "" for everything else."""
    if isinstance(value, str):
        return value.strip()
    found = whole(value)
    return "" if found is None else str(found)


def time_of_ms(value: Any) -> dt.datetime | None:
    """Milliseconds since 1970 as a time, or None."""
    found = number(value)
    if found is None or not 0 < found < 32_503_680_000_000:  # the year 3000
        return None
    return dt.datetime.fromtimestamp(found / 1000, dt.UTC)


def time_of_text(value: Any) -> dt.datetime | None:
    """A time with its zone, as in 2020-02-06T00:00:00+08:00, in UTC, or None."""
    try:
        found = dt.datetime.fromisoformat(text(value))
        return None if found.tzinfo is None else found.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None


def ms(time: dt.datetime) -> int:
    """A time as the vendor takes it."""
    return round(time.timestamp() * 1000)


@dataclass(frozen=True)
class Envelope:
    """What every answer has around its data."""

    fail_code: int | None
    """None: the answer has none and does not say that it succeeded."""
    message: str
    data: Any
    params: Mapping[str, Any]
    top: Mapping[str, Any]
    """All of the answer: some examples have parts of the data beside it."""
    exception: str = ""
    """Which check of the framework refused the request, with its words (section 6.4); "": none did."""

    @property
    def current_time(self) -> dt.datetime | None:
        """The vendor's time, where the answer tells it."""
        return time_of_ms(self.params.get("currenttime"))


def envelope(answer: Any) -> Envelope:
    """Read what is around the data; code and message may have slipped into it (section 5.2.1, example 3)."""
    top = fields(answer)
    inner = fields(top.get("data"))
    code = whole(top.get("failcode", inner.get("failcode")))
    success = top.get("success", inner.get("success"))
    if code is None and success is True:
        code = 0
    message = text(top.get("message", inner.get("message")))
    exception = ""
    if text(top.get("exceptionid")):
        details = top.get("detailargs")
        words = [text(word) for word in details] if isinstance(details, list) else []
        exception = "; ".join(word for word in [text(top["exceptionid"]), *words] if word)
    return Envelope(code, message, top.get("data"), fields(top.get("params")), top, exception)
