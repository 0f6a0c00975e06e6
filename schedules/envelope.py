"""What a battery was seen to take near full and to give near empty: learned from telemetry, forgotten slowly.

Managements taper (some from 5 kW to 0.5 kW above 95 %), and no nameplate says so. Only what is seen near the edges is
learned: less than asked for in the middle is a failure that a person should hear of, not a property.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.contract import Telemetry
from engine import Battery
from engine.assets import PowerAtSoc
from engine.intent import Intent, IntentMode
from schedules.confirmation import SOC_HOLDS, Tolerance, is_at_rest

# Near full and near empty reach this far [fraction of the store].
EDGE_SOC = 0.2
# One figure is kept for each step of this width [fraction of the store].
BIN_SOC = 0.02
# How much of what is new is believed at once, so that one odd reading does not make the curve.
WEIGHT = 0.5
# What is not seen again is forgotten by so much of the rating in a day: a cold week does not last all year.
FORGOTTEN_PER_DAY = 0.02
# Less than this share of the rating is no taper but a stop.
LEAST_SHARE = 0.02
# Above this share of the rating nothing is worth planning around.
NEGLIGIBLE_SHARE = 0.97


@dataclass(frozen=True)
class Seen:
    """The most that a step of the store was seen to allow [kW], and when."""

    kw: float
    at: dt.datetime


@dataclass(frozen=True)
class Envelope:
    """What was learned, by number of the step from empty, and up to which reading."""

    near_full: Mapping[int, Seen]
    near_empty: Mapping[int, Seen]
    until: dt.datetime | None = None

    @classmethod
    def from_json(cls, stored: Mapping[str, Any] | None) -> Envelope:
        """As `as_json` gave it; None is an envelope that has learned nothing."""
        if stored is None:
            return cls({}, {})
        near_full, near_empty = (
            {int(step): Seen(kw, dt.datetime.fromisoformat(at)) for step, (kw, at) in stored[way].items()}
            for way in ("near_full", "near_empty")
        )
        return cls(near_full, near_empty, dt.datetime.fromisoformat(stored["until"]))

    def as_json(self) -> dict[str, Any] | None:
        """For the store."""
        if self.until is None:
            return None
        ways = {
            name: {str(step): [seen.kw, seen.at.isoformat()] for step, seen in sorted(way.items())}
            for name, way in (("near_full", self.near_full), ("near_empty", self.near_empty))
        }
        return {**ways, "until": self.until.isoformat()}


def learned(
    envelope: Envelope,
    battery: Battery,
    intent: Intent,
    readings: Sequence[Telemetry],
    settled: dt.datetime,
    tolerance: Tolerance,
) -> Envelope:
    """What the readings of one intent add to an envelope; each reading is learned from once.

    Args:
        envelope: What is known.
        battery: The site's battery as its owner wrote it down.
        intent: What was asked.
        readings: Telemetry of the intent's time, in order of the vendor's time.
        settled: From when on readings show the effect.
        tolerance: How far apart asked and seen may be.
    """
    if intent.mode not in (IntentMode.CHARGE, IntentMode.DISCHARGE):
        return envelope
    charging = intent.mode is IntentMode.CHARGE
    known = dict(envelope.near_full if charging else envelope.near_empty)
    rated_kw = battery.max_charge_kw if charging else battery.max_discharge_kw
    since = settled if envelope.until is None else max(settled, envelope.until)
    until = envelope.until
    for soc, reading, seen_kw in _steady(battery, intent, readings, settled, tolerance):
        if reading.measured_at <= since and envelope.until is not None:
            continue
        until = reading.measured_at
        step = int(soc / BIN_SOC + 1e-9)
        before = known.get(step)
        if seen_kw >= intent.power_kw - tolerance.power(intent.power_kw):
            if before is not None and seen_kw > before.kw:
                known[step] = Seen(seen_kw, reading.measured_at)
        elif seen_kw >= LEAST_SHARE * rated_kw and not is_at_rest(battery, reading, tolerance):
            kw = seen_kw if before is None else before.kw + WEIGHT * (seen_kw - before.kw)
            known[step] = Seen(kw, reading.measured_at)
    return replace(envelope, until=until, **{"near_full" if charging else "near_empty": known})


def _steady(
    battery: Battery, intent: Intent, readings: Sequence[Telemetry], settled: dt.datetime, tolerance: Tolerance
) -> Iterator[tuple[float, Telemetry, float]]:
    """Readings near the edge, before the order's own end, whose power is that of the reading before."""
    charging = intent.mode is IntentMode.CHARGE
    soc: float | None = None
    soc_at = before_at = settled
    before_kw: float | None = None
    for reading in readings:
        if reading.soc is not None:
            soc, soc_at = reading.soc, reading.measured_at
        if reading.battery_kw is None or reading.measured_at < settled or reading.measured_at == before_at:
            continue
        seen_kw = -reading.battery_kw if charging else reading.battery_kw
        steady = before_kw is not None and abs(seen_kw - before_kw) <= 2 * tolerance.power(seen_kw)
        before_kw, before_at = seen_kw, reading.measured_at
        if soc is None or not steady or reading.measured_at - soc_at > SOC_HOLDS:
            continue
        if charging:
            edge = min(battery.max_soc, 1.0 if intent.until_soc is None else intent.until_soc)
            near = 1 - EDGE_SOC <= soc < edge - tolerance.soc_resolution
        else:
            edge = max(battery.min_soc, 0.0 if intent.until_soc is None else intent.until_soc)
            near = edge + tolerance.soc_resolution < soc <= battery.min_soc + EDGE_SOC
        if near:
            yield soc, reading, seen_kw


def applied(envelope: Envelope, battery: Battery, now: dt.datetime) -> Battery:
    """A battery with what was learned as its limits by state of charge; what its owner wrote down is not touched."""
    limits: dict[str, PowerAtSoc] = {}
    if not battery.charge_kw_at_soc:
        points = _points(envelope.near_full, battery.max_charge_kw, now)
        if points:
            line = [(1 - EDGE_SOC, battery.max_charge_kw), *points]
            limits["charge_kw_at_soc"] = _concave([*line, _onwards(line[-2], line[-1], 1.0)])
    if not battery.discharge_kw_at_soc:
        points = _points(envelope.near_empty, battery.max_discharge_kw, now)
        if points:
            line = [*points, (min(1.0, battery.min_soc + EDGE_SOC + BIN_SOC), battery.max_discharge_kw)]
            limits["discharge_kw_at_soc"] = _concave([_onwards(line[1], line[0], 0.0), *line])
    return Battery.model_validate({**battery.model_dump(), **limits}) if limits else battery


def _points(known: Mapping[int, Seen], rated_kw: float, now: dt.datetime) -> list[tuple[float, float]]:
    """What is still believed, at the middle of each step, in order."""
    believed = (
        (
            (step + 0.5) * BIN_SOC,
            seen.kw + FORGOTTEN_PER_DAY * rated_kw * max(0.0, (now - seen.at) / dt.timedelta(days=1)),
        )
        for step, seen in sorted(known.items())
    )
    return [(soc, kw) for soc, kw in believed if 0 < soc < 1 and kw < NEGLIGIBLE_SHARE * rated_kw]


def _concave(points: Sequence[tuple[float, float]]) -> PowerAtSoc:
    """The lowest concave line above the points, as a battery's limits have to be: never less than was seen."""
    hull: list[tuple[float, float]] = []
    for soc, kw in sorted(points):
        while len(hull) > 1 and _rises(hull[-2], hull[-1]) <= _rises(hull[-1], (soc, kw)):
            hull.pop()
        hull.append((soc, kw))
    return tuple(hull)


def _onwards(before: tuple[float, float], last: tuple[float, float], soc: float) -> tuple[float, float]:
    """Where the line through two points goes beyond the last that was seen: on down, but not below nothing."""
    kw = last[1] + _rises(before, last) * (soc - last[0])
    return soc, min(last[1], max(0.0, kw))


def _rises(first: tuple[float, float], second: tuple[float, float]) -> float:
    return (second[1] - first[1]) / (second[0] - first[0])
