"""Confirmation by effect: what telemetry says a battery did, held against what it was asked to do.

A receipt proves nothing. An intent is CONFIRMED when the latest two readings, taken by the vendor's clock after the
command could have worked, show its power, nearly all before them did too, and the state of charge moves the way that
power must move it. What the battery does instead tells why not: it can do no more (DEVICE_LIMITED), somebody else told
it otherwise (EXTERNAL), a sign is turned round (OPPOSITE), or it does not obey (NOT_EFFECTIVE).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

from adapters.contract import Abilities, Telemetry
from engine import Battery
from engine.intent import Intent, IntentMode, self_consumption_kw
from schedules.store import Verdict

# Readings this many in a row decide.
SAMPLES = 2
# Only this many in a row tell of a sign turned round: that takes the site off the grid until a person looks.
OPPOSITE_SAMPLES = 3
# Less than this many tolerances of power, asked for and seen with opposite signs, may be one idle battery.
OPPOSITE_TOLERANCES = 4
# A state of charge this old still belongs to a power: many vendors tell it more seldom than power.
SOC_HOLDS = dt.timedelta(minutes=10)


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

    @classmethod
    def of(cls, abilities: Abilities) -> Tolerance:
        """What a vendor's meters and gauges need."""
        return cls(power_kw=abilities.power_tolerance_kw, soc_resolution=abilities.soc_resolution)

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
    let_go: bool = False,
) -> Verdict | None:
    """Judge an intent by what the device was seen to do.

    Args:
        intent: What was asked.
        battery: The site's battery, with what it was seen to allow near full and empty.
        readings: Telemetry in order of the vendor's time; of those outside the intent's time only the state of charge
            counts that the battery began with.
        in_force_at: When the device was told, or found doing it.
        settling_s: From a command to the first reading that can show its effect [s].
        tolerance: How far apart asked and seen may be.
        let_go: Whether the device has said that nobody drives it since our last command that did.

    Returns:
        A verdict, or None while readings are too few, or the latest contradict each other.
    """
    settled = in_force_at + dt.timedelta(seconds=settling_s)
    powers = [reading for reading in powers_of(readings) if settled <= reading.measured_at <= intent.not_after]
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
    if let_go and not intent.has_set_point and all(reading.dispatch_active for reading in tail):
        return Verdict.EXTERNAL  # it is driven, and not by us
    if not any(inside[-SAMPLES:]):
        if _is_limited(intent, battery, tail, _state_at(tail[-1].measured_at, readings), tolerance):
            # A battery that follows the house and is full or empty does exactly what it should.
            return Verdict.DEVICE_LIMITED if intent.has_set_point else Verdict.CONFIRMED
        if _is_opposite(intent, battery, powers, inside, tolerance):
            return Verdict.OPPOSITE
        return Verdict.EXTERNAL if _is_external(battery, tail, inside, tolerance) else Verdict.NOT_EFFECTIVE
    if not all(inside[-SAMPLES:]):
        return None
    if inside.count(True) < tolerance.share_inside * len(inside):
        return Verdict.NOT_EFFECTIVE
    slope = _slope_agrees(intent, battery, states, tolerance)
    if slope is None:
        return None
    return Verdict.CONFIRMED if slope else Verdict.NOT_EFFECTIVE


def powers_of(readings: Sequence[Telemetry]) -> list[Telemetry]:
    """Those that tell a power; one moment shown on two channels is one reading."""
    return list({reading.measured_at: reading for reading in readings if reading.battery_kw is not None}.values())


def _is_inside(intent: Intent, battery: Battery, reading: Telemetry, tolerance: Tolerance) -> bool | None:
    miss_kw = _miss_kw(intent, battery, reading)
    return None if miss_kw is None else abs(miss_kw) <= tolerance.power(intent.power_kw)


def _miss_kw(intent: Intent, battery: Battery, reading: Telemetry) -> float | None:
    """Seen less asked [kW, + more discharge]; None when the reading cannot tell."""
    if intent.has_set_point:
        return _battery_kw(reading) - intent.battery_kw
    if reading.load_kw is None or reading.pv_kw is None:
        return None
    followed_kw = self_consumption_kw(reading.load_kw, reading.pv_kw, battery.max_charge_kw, battery.max_discharge_kw)
    return _battery_kw(reading) - followed_kw


def _is_opposite(
    intent: Intent, battery: Battery, powers: Sequence[Telemetry], inside: Sequence[bool | None], tolerance: Tolerance
) -> bool:
    """Whether the battery has done the very opposite ever since it was told, and not by following the house."""
    asked_kw, latest = intent.battery_kw, powers[-OPPOSITE_SAMPLES:]
    if abs(asked_kw) < OPPOSITE_TOLERANCES * tolerance.power_kw or any(inside) or len(latest) < OPPOSITE_SAMPLES:
        return False
    allowed_kw = tolerance.power(asked_kw)
    turned = all(abs(_battery_kw(reading) + asked_kw) <= allowed_kw for reading in latest)
    return turned and not all(is_at_rest(battery, reading, tolerance) for reading in latest)


def _is_external(
    battery: Battery, tail: Sequence[Telemetry], inside: Sequence[bool | None], tolerance: Tolerance
) -> bool:
    """Whether somebody else has the battery: it did as told, and now neither does that nor rests."""
    obeyed = any(all(inside[at : at + SAMPLES]) for at in range(len(inside) - 2 * SAMPLES + 1))
    return obeyed and not any(is_at_rest(battery, reading, tolerance) for reading in tail)


def is_at_rest(battery: Battery, reading: Telemetry, tolerance: Tolerance) -> bool:
    """Whether the battery does what it would if nobody told it anything: nothing, or following the house."""
    seen_kw = _battery_kw(reading)
    if abs(seen_kw) <= tolerance.power_kw or reading.load_kw is None or reading.pv_kw is None:
        return True  # nobody can say that it does not
    followed_kw = self_consumption_kw(reading.load_kw, reading.pv_kw, battery.max_charge_kw, battery.max_discharge_kw)
    return abs(seen_kw - followed_kw) <= tolerance.power(followed_kw)


def _battery_kw(reading: Telemetry) -> float:
    assert reading.battery_kw is not None
    return reading.battery_kw


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
        # Too slow for the vendor's resolution to show a direction; a clear move the other way is none the less wrong.
        return abs(seen) <= noise or seen * expected > 0
    return seen * expected > 0


def _state_at(time: dt.datetime, readings: Sequence[Telemetry]) -> Telemetry | None:
    """The newest state of charge near a time."""
    near = (
        reading
        for reading in reversed(readings)
        if reading.soc is not None and time - SOC_HOLDS <= reading.measured_at <= time + SOC_HOLDS
    )
    return next(near, None)


def _is_limited(
    intent: Intent, battery: Battery, tail: Sequence[Telemetry], last: Telemetry | None, tolerance: Tolerance
) -> bool:
    """Whether the device does less of what was asked because it can do no more."""
    charging = _direction_kw(intent, tail[-1]) < 0
    way = -1.0 if charging else 1.0
    for reading in tail:
        forward_kw = _battery_kw(reading) * way
        if not -tolerance.power_kw <= forward_kw < abs(_direction_kw(intent, reading)) + tolerance.power_kw:
            return False
    if last is None or last.soc is None:
        return False
    if charging:
        edge = min(battery.max_soc, intent.until_soc if intent.until_soc is not None else 1.0)
        at_edge = last.soc >= edge - tolerance.edge_soc
        reported_kw, learned_kw = last.charge_limit_kw, battery.charge_limit_kw(last.soc)
    else:
        edge = max(battery.min_soc, intent.until_soc if intent.until_soc is not None else 0.0)
        at_edge = last.soc <= edge + tolerance.edge_soc
        reported_kw, learned_kw = last.discharge_limit_kw, battery.discharge_limit_kw(last.soc)
    asked_kw = abs(_direction_kw(intent, tail[-1]))
    allowed_kw = learned_kw if reported_kw is None else min(learned_kw, reported_kw)
    return at_edge or allowed_kw < asked_kw - tolerance.power_kw


def _direction_kw(intent: Intent, reading: Telemetry) -> float:
    if intent.has_set_point or reading.load_kw is None or reading.pv_kw is None:
        return intent.battery_kw
    return reading.load_kw - reading.pv_kw
