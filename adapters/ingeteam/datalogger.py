"""Days of the EMS's datalogger: samples in local time without a zone, brought into aware UTC.

Source: "API for INGECON SUN inverters", sections 7.4 to 7.6.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.contract import VendorUnavailableError
from adapters.ingeteam.mapping import PlantReading, plant_reading
from adapters.ingeteam.values import rows, text_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One moment of a day."""

    at: dt.datetime
    """`Date` in aware UTC."""
    reading: PlantReading
    """Without the battery's power, which the datalogger does not have."""


def samples(content: Any, zone: dt.tzinfo, *, pv_measured: bool = True) -> list[Sample]:
    """The samples of a day, in order of time; what cannot be read or dated is left out.

    Args:
        content: The decoded answer: objects with `Date`, `Phase` and values, several per moment on three phases.
        zone: Zone of the device's clock.
        pv_measured: See `plant_reading`.

    Raises:
        VendorUnavailableError: It is no list.
    """
    moments: dict[dt.datetime, list[Mapping[str, Any]]] = {}
    previous: dict[str, dt.datetime] = {}
    undated = unread = 0
    for row in rows(content, "datalogger"):
        phase = text_of(row.get("phase"))
        at = _time(text_of(row.get("date")), zone, previous.get(phase))
        if at is None:
            undated += 1
            continue
        previous[phase] = at
        moments.setdefault(at, []).append(row)
    found = []
    for at, elements in sorted(moments.items(), key=lambda moment: moment[0]):
        try:
            found.append(Sample(at, plant_reading(elements, pv_measured=pv_measured)))
        except VendorUnavailableError:
            unread += 1
    if undated or unread:
        _log.warning("datalogger: %d rows without a readable time, %d moments without readable phases", undated, unread)
    return found


def _time(text: str, zone: dt.tzinfo, previous: dt.datetime | None) -> dt.datetime | None:
    """A local time in UTC; None where it is unreadable, or where the clock jumped over it.

    In the hour that a clock change repeats, the time is the first one unless the rows have come so far already.
    """
    try:
        local = dt.datetime.fromisoformat(text)
        if local.tzinfo is not None:
            return local.astimezone(dt.UTC)
        first, second = (local.replace(tzinfo=zone, fold=fold).astimezone(dt.UTC) for fold in (0, 1))
        skipped = first.astimezone(zone).replace(tzinfo=None) != local
    except (ValueError, OverflowError):
        return None
    if skipped:
        return None
    return second if previous is not None and first <= previous < second else first
