"""Confirmation by effect: what telemetry says a battery did, held against what it was asked to do.

A receipt proves nothing. An intent is CONFIRMED when the latest two readings, taken by the vendor's clock after the
command could have worked, show its power, nearly all before them did too, and the state of charge moves the way that
power must move it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.contract import Telemetry
from engine import Battery
from engine.intent import Intent, IntentMode, self_consumption_kw
from schedules.store import Verdict

# Readings this many in a row decide.
SAMPLES = 2


@dataclass(frozen=True)
class Tolerance:
    """How far apart asked and seen may be."""

    power_kw: float = 0.15
    """Meters, rounding, idle consumption [kW]."""
    power_share: float = 0.05
    """Of the power asked for [fraction]."""
    soc_resolution: float = 0.001
    """The step in which vendors report the state of charge [fraction]."""
    share_inside: float = 0.8
    """Of all readings of an interval, how many must agree before it is confirmed [fraction]."""
    edge_soc: float = 0.02
    """So close to full or empty, batteries take or give less [fraction]."""

    def power(self, asked_kw: float) -> float:
        """Allowed difference for a power [kW]."""
        return max(self.power_kw, self.power_share * abs(asked_kw))


def judge(
    intent: Intent,
    battery: Battery,
    readings: Sequence[Telemetry],
    in_force_at: dt.datetime,
    settling_s: float,
    tolerance: Tolerance = Tolerance(),
) -> Verdict | None:
    """Judge an intent by what the device was seen to do.

    Args:
        intent: What was asked.
        battery: The site's battery.
        readings: Telemetry in order of the vendor's time; readings outside the intent's time are ignored.
        in_force_at: When the device was told, or found doing it.
        settling_s: From a command to the first reading that can show its effect [s].
        tolerance: How far apart asked and seen may be.

    Returns:
        A verdict, or None while readings are too few, or the latest contradict each other.
    """
    settled = in_force_at + dt.timedelta(seconds=settling_s)
    # One moment shown on two channels is one reading.
    powers = list(
        {
            reading.measured_at: reading
            for reading in readings
            if settled <= reading.measured_at <= intent.not_after and reading.battery_kw is not None
        }.values()
    )
    if len(powers) < SAMPLES:
        return None
    inside = [_is_inside(intent, battery, reading, tolerance) for reading in powers]
    if inside[-SAMPLES:].count(None):
        return None
    tail = powers[-SAMPLES:]
    states = [
        reading
        for reading in readings
        if in_force_at <= reading.measured_at <= intent.not_after and reading.soc is not None
    ]
    if not any(inside[-SAMPLES:]):
        if not _is_limited(intent, battery, tail, states, tolerance):
            return Verdict.NOT_EFFECTIVE
        # A battery that follows the house and is full or empty does exactly what it should.
        return Verdict.DEVICE_LIMITED if intent.has_set_point else Verdict.CONFIRMED
    if not all(inside[-SAMPLES:]):
        return None
    if inside.count(True) < tolerance.share_inside * len(inside):
        return Verdict.NOT_EFFECTIVE
    slope = _slope_agrees(intent, battery, states, tolerance)
    if slope is None:
        return None
    return Verdict.CONFIRMED if slope else Verdict.NOT_EFFECTIVE


def _is_inside(intent: Intent, battery: Battery, reading: Telemetry, tolerance: Tolerance) -> bool | None:
    miss_kw = _miss_kw(intent, battery, reading)
    return None if miss_kw is None else abs(miss_kw) <= tolerance.power(intent.power_kw)


def _miss_kw(intent: Intent, battery: Battery, reading: Telemetry) -> float | None:
    """Seen less asked [kW, + more discharge]; None when the reading cannot tell."""
    assert reading.battery_kw is not None
    if intent.has_set_point:
        return reading.battery_kw - intent.battery_kw
    if reading.load_kw is None or reading.pv_kw is None:
        return None
    followed_kw = self_consumption_kw(reading.load_kw, reading.pv_kw, battery.max_charge_kw, battery.max_discharge_kw)
    return reading.battery_kw - followed_kw


def _slope_agrees(intent: Intent, battery: Battery, states: Sequence[Telemetry], tolerance: Tolerance) -> bool | None:
    """Whether the state of charge moves as the power asked for must move it; None while nobody can say."""
    if not intent.has_set_point:
        return True  # the power follows the house, whatever that is; there is no slope to expect
    if len(states) < SAMPLES:
        return None
    first, last = states[0], states[-1]
    assert first.soc is not None
    assert last.soc is not None
    hours = (last.measured_at - first.measured_at).total_seconds() / 3600
    asked_kw = intent.battery_kw
    stored_kw = -asked_kw * (battery.charge_efficiency if asked_kw < 0 else 1 / battery.discharge_efficiency)
    expected = stored_kw * hours / battery.capacity_kwh
    seen = last.soc - first.soc
    noise = 2 * tolerance.soc_resolution
    if intent.mode is IntentMode.HOLD:
        return abs(seen) <= noise + tolerance.power_kw * hours / battery.capacity_kwh
    if abs(expected) <= noise:
        return True  # too slow for the vendor's resolution to show a direction
    return seen * expected > 0


def _is_limited(
    intent: Intent,
    battery: Battery,
    tail: Sequence[Telemetry],
    states: Sequence[Telemetry],
    tolerance: Tolerance,
) -> bool:
    """Whether the device does less of what was asked because it can do no more."""
    charging = _direction_kw(intent, tail[-1]) < 0
    way = -1.0 if charging else 1.0
    for reading in tail:
        assert reading.battery_kw is not None
        forward_kw = reading.battery_kw * way
        if not -tolerance.power_kw <= forward_kw < abs(_direction_kw(intent, reading)) + tolerance.power_kw:
            return False
    last = states[-1] if states else None
    if last is None or last.soc is None:
        return False
    if charging:
        edge = min(battery.max_soc, intent.until_soc if intent.until_soc is not None else 1.0)
        at_edge = last.soc >= edge - tolerance.edge_soc
        allowed_kw = last.charge_limit_kw
    else:
        edge = max(battery.min_soc, intent.until_soc if intent.until_soc is not None else 0.0)
        at_edge = last.soc <= edge + tolerance.edge_soc
        allowed_kw = last.discharge_limit_kw
    asked_kw = abs(_direction_kw(intent, tail[-1]))
    return at_edge or (allowed_kw is not None and allowed_kw < asked_kw - tolerance.power_kw)


def _direction_kw(intent: Intent, reading: Telemetry) -> float:
    if intent.has_set_point or reading.load_kw is None or reading.pv_kw is None:
        return intent.battery_kw
    return reading.load_kw - reading.pv_kw
