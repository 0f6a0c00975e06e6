"""Values of vendors' JSON, read without trust: what is none of its kind is None, and nothing raises."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

# A state of charge outside this is no reading; a little beyond empty and full is what meters do.
LOWEST_PERCENT, HIGHEST_PERCENT = -5.0, 105.0


def number(value: Any) -> float | None:
    """A finite number, plain or as text; None for everything else: null, true, "N/A", a list."""
    if not isinstance(value, int | float | str) or isinstance(value, bool):
        return None
    try:
        found = float(Decimal(str(value).strip()))
    except (InvalidOperation, OverflowError, ValueError):
        return None
    return found if math.isfinite(found) else None


def lowered(record: Mapping[Any, Any]) -> dict[str, Any]:
    """An object with its names in lower case; servers do not keep to their documents'."""
    return {str(key).lower(): value for key, value in record.items()}


def kilo(watts: float | None) -> float | None:
    """W as kW; sums of what came may be beyond all numbers."""
    if watts is None or not math.isfinite(watts):
        return None
    return watts / 1000 + 0.0  # no minus before a zero


def fraction(percent: float | None) -> float | None:
    """A state of charge in percent as a fraction, 0..1; None where it is none."""
    if percent is None or not LOWEST_PERCENT <= percent <= HIGHEST_PERCENT:
        return None
    return min(1.0, max(0.0, percent / 100))


def time_of(text: Any) -> dt.datetime | None:
    """An ISO time, also with slashes, with or without its zone."""
    try:
        return dt.datetime.fromisoformat(text.strip().replace("/", "-")) if isinstance(text, str) else None
    except ValueError:
        return None


def in_utc(time: dt.datetime, zone: dt.tzinfo, now: dt.datetime | None = None) -> dt.datetime | None:
    """A time in UTC; None where it is off the calendar.

    Args:
        time: As it came; its own zone counts where it has one.
        zone: Else the zone that it is in.
        now: The time, to tell the two hours apart that a clock change makes alike; None takes the first.
    """
    folds = [time] if time.tzinfo is not None else [time.replace(tzinfo=zone, fold=fold) for fold in (0, 1)]
    try:
        candidates = [candidate.astimezone(dt.UTC) for candidate in folds]
    except (ValueError, OverflowError):
        return None
    return candidates[0] if now is None else min(candidates, key=lambda candidate: abs(candidate - now))
