"""Whether telemetry can be true: signs, units, values that do not move, states of charge that no battery can have.

Power, state of charge and the energy balance say the same thing in three ways; where they contradict each other beyond
what meters, sampling and efficiencies explain, nothing should be driven by them. Each bound below leaves room for what
was seen in ordinary site-days; the suite holds both sides, prompt detection and no false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from itertools import pairwise

import numpy as np

from adapters.contract import Channel, Telemetry
from engine import Battery
from engine.arrays import Array

# How far back readings say something of now [s].
WINDOW_S = 7200.0
# Over a longer gap nobody knows what the battery did [s].
LONGEST_GAP_S = 1200.0
# So much of the rating is driving, less may be idle consumption or a rounded zero [fraction].
USEFUL_SHARE = 0.05
# One direction at this many readings in a row is no coincidence of sampling.
SAMPLES = 3
# What power must have moved before the state of charge can contradict it [fraction of the store].
SLOPE_SOC = 0.015
# The opposite of at least this part of what power says is no drift of a gauge.
OPPOSITE_SHARE = 0.5
# What power must have moved before a state of charge that stands still is frozen [fraction of the store].
FROZEN_SOC = 0.03
# So close to full or empty the last of the store goes in or out without a gauge showing it [fraction].
EDGE_SOC = 0.02
# An inverter gives no more than this many times its nameplate; a nameplate that was put in wrong is not that far off.
OVER_NAMEPLATE = 3.0
# W for kW are a thousand; this much either side is left for efficiencies and capacities.
THOUSAND_WITHIN = 3.0
# A gauge that is recalibrated jumps; below this it is drift [fraction of the store].
JUMP_SOC = 0.05
# Telemetry may report a state of charge a little outside 0..1.
SOC_MARGIN = 0.05
# Meters that show single watts do not show the same ones for so long [s].
REPEATED_S = 900.0
# Coarser meters may [kW].
FINE_KW = 0.01
# Meters on two sides of an inverter, read at slightly different moments.
BALANCE_KW, BALANCE_SHARE = 0.15, 0.15


class Doubt(Enum):
    """What cannot be true."""

    SIGN = "sign"
    UNIT = "unit"
    FROZEN = "frozen"
    STATE_OF_CHARGE = "state of charge"


@dataclass(frozen=True)
class Finding:
    """One contradiction, in words that a person can check."""

    doubt: Doubt
    text: str

    def __str__(self) -> str:
        return f"{self.doubt.value}: {self.text}"


def findings(readings: Sequence[Telemetry], battery: Battery, soc_resolution: float = 0.01) -> list[Finding]:
    """What in a site's latest readings cannot be true.

    Args:
        readings: Of both channels, in order of the vendor's time, over about `WINDOW_S`.
        battery: The site's battery.
        soc_resolution: The step in which the vendor shows the state of charge [fraction].

    Returns:
        Contradictions that stand now; none while readings are too few.
    """
    found = [*_beyond_nameplate(readings, battery), *_unbalanced(readings, battery), *_repeated(readings)]
    state = [reading for reading in readings if reading.soc is not None]
    if state and not _is_soc(state[-1].soc):
        found.append(Finding(Doubt.STATE_OF_CHARGE, f"it reads {state[-1].soc:g}, outside 0..1"))
    track = _Track.of(readings, battery, soc_resolution)
    if track is not None:
        found += [*track.jump, *track.against_slope(), *track.stands_still(), *track.moves_unpowered()]
    return found


@dataclass(frozen=True, eq=False)
class _Track:
    """Power and state of charge since the last gap or jump, by time [s]."""

    battery: Battery
    resolution: float
    jump: tuple[Finding, ...]
    power_at: Array
    battery_kw: Array
    soc_at: Array
    soc: Array
    expected_soc: Array
    """Where power says that the state of charge went, up to a constant; at `soc_at`."""

    @classmethod
    def of(cls, readings: Sequence[Telemetry], battery: Battery, resolution: float) -> _Track | None:
        power_at, battery_kw = _series(readings, lambda reading: reading.battery_kw, math.isfinite)
        soc_at, soc = _series(readings, lambda reading: reading.soc, _is_soc)
        if len(power_at) < SAMPLES or len(soc_at) == 0:
            return None
        gaps = np.flatnonzero(np.diff(power_at) > LONGEST_GAP_S)
        begin = power_at[gaps[-1] + 1] if len(gaps) else power_at[0]
        inside = (soc_at >= begin) & (soc_at <= power_at[-1])
        soc_at, soc = soc_at[inside], soc[inside]
        # Beyond what the rating moves, with room for a nameplate that is too low.
        rated = max(battery.max_charge_kw, battery.max_discharge_kw) / battery.discharge_efficiency
        movable = 1.5 * rated / battery.capacity_kwh * np.diff(soc_at) / 3600
        jumps = np.flatnonzero(np.abs(np.diff(soc)) > movable + JUMP_SOC)
        jump: tuple[Finding, ...] = ()
        if len(jumps):
            at = jumps[-1]
            text = f"it jumped from {soc[at]:.1%} to {soc[at + 1]:.1%} in {soc_at[at + 1] - soc_at[at]:.0f} s"
            jump, begin = (Finding(Doubt.STATE_OF_CHARGE, text),), soc_at[at + 1]
            soc_at, soc = soc_at[at + 1 :], soc[at + 1 :]
        recent = power_at >= begin
        power_at, battery_kw = power_at[recent], battery_kw[recent]
        per_kw = np.where(battery_kw < 0, battery.charge_efficiency, 1 / battery.discharge_efficiency)
        rate = -battery_kw * per_kw / battery.capacity_kwh / 3600
        moved = np.concatenate([[0.0], np.cumsum((rate[1:] + rate[:-1]) / 2 * np.diff(power_at))])
        expected = np.interp(soc_at, power_at, moved[: len(power_at)]) if len(power_at) else soc_at
        return cls(battery, resolution, jump, power_at, battery_kw, soc_at, soc, expected)

    def against_slope(self) -> list[Finding]:
        """The state of charge goes the other way than the power that now flows."""
        way = math.copysign(1.0, self.battery_kw[-1]) if len(self.battery_kw) else 1.0
        driven = self.battery_kw * way >= _useful_kw(self.battery)
        others = np.flatnonzero(~driven)
        first = others[-1] + 1 if len(others) else 0
        if len(driven) - first < SAMPLES:
            return []
        during = self.soc_at >= self.power_at[first]
        if during.sum() < 2:
            return []
        expected, seen = np.ptp(self.expected_soc[during]) * -way, self.soc[during][-1] - self.soc[during][0]
        if abs(expected) < max(SLOPE_SOC, 3 * self.resolution):
            return []
        if seen * -way > -max(OPPOSITE_SHARE * abs(expected), 2 * self.resolution):
            return []
        mean_kw = float(self.battery_kw[first:].mean())
        text = (
            f"battery_kw {mean_kw:+.2f} (+ discharges) should have moved the store {expected:+.1%}, it went {seen:+.1%}"
        )
        return [Finding(Doubt.SIGN, text)]

    def stands_still(self) -> list[Finding]:
        """The state of charge stays where it is though power flowed one way for a while.

        By the least power shown in that while: one reading in five minutes may be a peak.
        """
        if len(self.soc) < 2:
            return []
        others = np.flatnonzero(np.abs(self.soc - self.soc[-1]) > 1e-9)
        since, until = self.soc_at[others[-1] + 1 if len(others) else 0], self.soc_at[-1]
        during = (self.power_at >= since) & (self.power_at <= until)
        at, battery_kw, soc = self.power_at[during], self.battery_kw[during], float(self.soc[-1])
        way = np.where(np.abs(battery_kw) >= _useful_kw(self.battery), np.sign(battery_kw), 0.0)
        for run in np.split(np.arange(len(way)), np.flatnonzero(np.diff(way)) + 1):
            if len(run) < SAMPLES or way[run[0]] == 0:
                continue
            # What must have moved since each reading of the run: by the least power that came after it.
            least_kw = np.minimum.accumulate(np.abs(battery_kw[run])[::-1])[::-1][: 1 - SAMPLES]
            hours = (at[run[-1]] - at[run[: 1 - SAMPLES]]) / 3600
            best = int((least_kw * hours).argmax())
            charging = way[run[0]] < 0
            factor = self.battery.charge_efficiency if charging else 1 / self.battery.discharge_efficiency
            moved = least_kw[best] * hours[best] * factor / self.battery.capacity_kwh
            # The last of the store goes in or out unseen.
            at_edge = soc >= self.battery.max_soc - EDGE_SOC if charging else soc <= self.battery.min_soc + EDGE_SOC
            if moved >= max(FROZEN_SOC, 3 * self.resolution) and not at_edge:
                text = (
                    f"soc stayed {soc:.1%} while {least_kw[best]:.2f} kW for {hours[best] * 60:.0f} min "
                    f"moved the store {moved:.1%}"
                )
                return [Finding(Doubt.FROZEN, text)]
        return []

    def moves_unpowered(self) -> list[Finding]:
        """The state of charge moves steadily while next to no power is shown."""
        late = self.soc_at >= self.soc_at[-1] - LONGEST_GAP_S if len(self.soc_at) else self.soc_at > 0
        soc, at = self.soc[late], self.soc_at[late]
        if len(soc) < SAMPLES:
            return []
        seen, steps = float(soc[-1] - soc[0]), np.abs(np.diff(soc))
        implied_kw = abs(seen) * self.battery.capacity_kwh / ((at[-1] - at[0]) / 3600)
        shown_kw = float(np.abs(self.battery_kw[self.power_at >= at[0]]).max())
        steady = steps.max() <= 0.6 * abs(seen) and implied_kw >= _useful_kw(self.battery)
        if abs(seen) < max(FROZEN_SOC, 4 * self.resolution) or not steady or shown_kw * 100 > implied_kw:
            return []
        text = f"the store went {seen:+.1%} as by {implied_kw:.2f} kW, battery_kw shows at most {shown_kw:.4f}"
        thousandth = 1 / THOUSAND_WITHIN <= shown_kw * 1000 / implied_kw <= THOUSAND_WITHIN
        return [Finding(Doubt.UNIT if thousandth else Doubt.FROZEN, text)]


def _beyond_nameplate(readings: Sequence[Telemetry], battery: Battery) -> list[Finding]:
    rated_kw = max(battery.max_charge_kw, battery.max_discharge_kw)
    _, powers = _series(readings, lambda reading: reading.battery_kw, math.isfinite)
    # Once may be a glitch of one message.
    if len(powers) < 2 or np.abs(powers[-2:]).min() <= OVER_NAMEPLATE * rated_kw + 1.0:
        return []
    return [Finding(Doubt.UNIT, f"battery_kw reads {powers[-1]:+g}, the nameplate is {rated_kw:g} kW")]


def _repeated(readings: Sequence[Telemetry]) -> list[Finding]:
    """Every power of the site is the same to the watt for long, whatever its time stamps say.

    By the site's own powers: a battery at rest shows the same for hours.
    """
    for channel in Channel:
        shown = [(each.measured_at, (each.grid_kw, each.load_kw)) for each in readings if each.channel is channel]
        if not shown or not any(_is_fine(value) for value in shown[-1][1]):
            continue
        until, values = shown[-1]
        since = next((after for (_, one), (after, _) in reversed(list(pairwise(shown))) if one != values), shown[0][0])
        if (until - since).total_seconds() >= REPEATED_S:
            text = f"grid_kw and load_kw have been {values[0]} and {values[1]} since {since.isoformat()}"
            return [Finding(Doubt.FROZEN, text)]
    return []


def _is_fine(value: float | None) -> bool:
    """Whether a value shows single watts."""
    return value is not None and math.isfinite(value) and abs(value / FINE_KW - round(value / FINE_KW)) > 1e-6


def _unbalanced(readings: Sequence[Telemetry], battery: Battery) -> list[Finding]:
    """The balance `load = grid + pv + battery` holds only with one of its signs turned round."""
    latest: dict[float, Telemetry] = {}
    for reading in reversed(readings):
        powers = (reading.load_kw, reading.grid_kw, reading.pv_kw, reading.battery_kw)
        if all(power is not None and math.isfinite(power) for power in powers):
            latest.setdefault(reading.measured_at.timestamp(), reading)
            if len(latest) == SAMPLES:
                break
    if len(latest) < SAMPLES:
        return []
    least_kw = max(4 * BALANCE_KW, _useful_kw(battery))
    return [
        Finding(Doubt.SIGN, f"load = grid + pv + battery holds only with {name} turned round, {SAMPLES} times in a row")
        for name in ("battery_kw", "grid_kw")
        if all(_is_turned(reading, name, least_kw) for reading in latest.values())
    ]


def _is_turned(reading: Telemetry, name: str, least_kw: float) -> bool:
    assert reading.load_kw is not None
    assert reading.grid_kw is not None
    assert reading.pv_kw is not None
    assert reading.battery_kw is not None
    value: float = getattr(reading, name)
    left_kw = reading.load_kw - reading.grid_kw - reading.pv_kw - reading.battery_kw
    allowed_kw = BALANCE_KW + BALANCE_SHARE * abs(value)
    return abs(value) >= least_kw and abs(left_kw) > abs(value) and abs(left_kw + 2 * value) <= allowed_kw


def _series(
    readings: Sequence[Telemetry], of: Callable[[Telemetry], float | None], is_sound: Callable[[float], bool]
) -> tuple[Array, Array]:
    """Times and values; one moment shown on two channels counts once."""
    values = {
        reading.measured_at.timestamp(): value
        for reading in readings
        if (value := of(reading)) is not None and is_sound(value)
    }
    return np.array(list(values.keys()), dtype=float), np.array(list(values.values()), dtype=float)


def _is_soc(value: float | None) -> bool:
    return value is not None and -SOC_MARGIN <= value <= 1 + SOC_MARGIN  # NaN is in no band


def _useful_kw(battery: Battery) -> float:
    return max(0.1, USEFUL_SHARE * max(battery.max_charge_kw, battery.max_discharge_kw))
