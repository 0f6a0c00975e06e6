"""Merges neighbouring intents, so that a plan fits a budget of calls and loses as little as possible.

An exact dynamic program over where segments end and how many calls are used. For n intents and a budget of b calls it
looks at n * (n + 1) / 2 stretches, each with a few merged intents, and at b levels each in one vector step.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engine.intent import Intent, IntentMode

Loss = Callable[[int, int, Intent], float]
"""What it costs to put one intent over the stretch from the first to the last position, both included; >= 0 in EUR, or
whatever else is to be kept small."""

# Holding still where following the house was wanted, or the other way round, counts as so much power in the wrong
# place [kW]: somewhere between nothing and the house's load, and small against any set-point.
REST_MISMATCH_KW = 0.2
LONGEST = dt.timedelta(hours=24)


@dataclass(frozen=True)
class Segment:
    """One stretch of the merged plan."""

    first: int
    last: int
    """Position of the last intent, included."""
    intent: Intent
    loss: float
    calls: int


@dataclass(frozen=True)
class Merging:
    """A plan within a budget of calls, and what that cost."""

    segments: tuple[Segment, ...]
    loss: float
    """In the unit of the cost function: EUR, or kWh by default."""
    calls: int
    calls_unmerged: int
    """Calls of the same plan without a budget, like neighbours put together."""
    deviation_kwh: float
    """Energy that goes in or out at another time than planned, by the default measure."""


def energy_deviation(intents: Sequence[Intent]) -> Loss:
    """The default cost function: energy [kWh] between what was planned and what is done."""
    hours = np.array([(intent.not_after - intent.not_before).total_seconds() / 3600 for intent in intents])
    planned_kw = np.array([intent.battery_kw for intent in intents])
    driven = np.array([intent.has_set_point for intent in intents], dtype=bool)

    def loss(first: int, last: int, merged: Intent) -> float:
        part = slice(first, last + 1)
        apart_kw = np.abs(planned_kw[part] - merged.battery_kw)
        unlike = driven[part] != merged.has_set_point
        apart_kw[unlike] = np.maximum(apart_kw[unlike], REST_MISMATCH_KW)
        return float(apart_kw @ hours[part])

    return loss


def merge(
    intents: Sequence[Intent],
    budget: int,
    calls: Callable[[Intent], int],
    rests: Sequence[IntentMode] = (IntentMode.SELF_CONSUMPTION,),
    loss: Loss | None = None,
) -> Merging:
    """Put neighbours together so that the calls fit the budget, at the least loss.

    Args:
        intents: A plan, in order.
        budget: Calls that may be used, >= 0.
        calls: Calls that carrying an intent costs; resting should cost none, or a plan may not fit.
        rests: What a stretch may rest in.
        loss: What a merged stretch costs; None takes `energy_deviation`.

    Returns:
        Segments that cover all intents once, in order. Stretches with a gap between them are never merged, none is
        longer than a day.

    Raises:
        ValueError: Not even resting all the time fits the budget.
    """
    deviation = energy_deviation(intents)
    loss = loss or deviation
    count = len(intents)
    levels = max(0, budget) + 1
    # best[i][c]: least loss for the first i intents with exactly c calls; came[i][c]: the segment that ends there.
    best = np.full((count + 1, levels), np.inf)
    best[0, 0] = 0.0
    came: list[list[Segment | None]] = [[None] * levels for _ in range(count + 1)]
    for first in range(count):
        if not np.isfinite(best[first]).any():
            continue
        for last in range(first, count):
            if not _may_join(intents, first, last):
                break
            for segment in _options(intents, first, last, calls, rests, loss):
                if segment.calls >= levels:
                    continue
                reached = best[first, : levels - segment.calls] + segment.loss
                target = best[last + 1, segment.calls :]
                # Fewer, longer segments win where the loss is the same but for rounding.
                for better in np.flatnonzero(reached < target - 1e-12):
                    target[better] = reached[better]
                    came[last + 1][int(better) + segment.calls] = segment
    if not np.isfinite(best[count]).any():
        raise ValueError(f"budget: {budget} calls are too few for any plan; allow more, or let resting cost none")
    level = int(np.argmin(np.round(best[count], 9)))  # the fewest calls among the best
    segments: list[Segment] = []
    place = count
    while place > 0:
        reached_by = came[place][level]
        assert reached_by is not None
        segments.append(reached_by)
        place, level = reached_by.first, level - reached_by.calls
    segments.reverse()
    return Merging(
        segments=tuple(segments),
        loss=sum(segment.loss for segment in segments),
        calls=sum(segment.calls for segment in segments),
        calls_unmerged=_calls_unmerged(intents, calls),
        deviation_kwh=sum(deviation(segment.first, segment.last, segment.intent) for segment in segments),
    )


def _may_join(intents: Sequence[Intent], first: int, last: int) -> bool:
    joined = last == first or intents[last - 1].not_after == intents[last].not_before
    return joined and intents[last].not_after - intents[first].not_before <= LONGEST


def _options(
    intents: Sequence[Intent],
    first: int,
    last: int,
    calls: Callable[[Intent], int],
    rests: Sequence[IntentMode],
    loss: Loss,
) -> list[Segment]:
    """What one stretch may become, at most one for each number of calls."""
    cheapest: dict[int, Segment] = {}
    for intent in _merged(intents[first : last + 1], rests):
        option = Segment(first, last, intent, loss(first, last, intent), calls(intent))
        known = cheapest.get(option.calls)
        if known is None or option.loss < known.loss:
            cheapest[option.calls] = option
    return list(cheapest.values())


def _merged(part: Sequence[Intent], rests: Sequence[IntentMode]) -> list[Intent]:
    begin, end = part[0].not_before, part[-1].not_after
    found = [Intent(mode, 0.0, begin, end) for mode in rests]
    hours = [(intent.not_after - intent.not_before).total_seconds() / 3600 for intent in part]
    net_kwh = sum(intent.battery_kw * length for intent, length in zip(part, hours, strict=True))
    for mode, sign in ((IntentMode.CHARGE, -1.0), (IntentMode.DISCHARGE, 1.0)):
        members = [(intent, length) for intent, length in zip(part, hours, strict=True) if intent.mode is mode]
        if not members:
            continue
        bounds = [intent.until_soc for intent, _ in members if intent.until_soc is not None]
        until_soc = None
        if bounds:
            until_soc = min(bounds) if mode is IntentMode.CHARGE else max(bounds)
        # The mean keeps the energy, the median keeps most of the plan as it was.
        powers_kw = {round(sign * net_kwh / sum(hours), 6), _median_kw(part, hours, sign)}
        found += [Intent(mode, power_kw, begin, end, until_soc) for power_kw in sorted(powers_kw) if power_kw > 1e-6]
    return found


def _median_kw(part: Sequence[Intent], hours: Sequence[float], sign: float) -> float:
    """The power that half of the time is not passed: what the energy deviation is least at."""
    powers = sorted((sign * intent.battery_kw, length) for intent, length in zip(part, hours, strict=True))
    half, passed = sum(hours) / 2, 0.0
    for power_kw, length in powers:
        passed += length
        if passed >= half:
            return power_kw
    return powers[-1][0]


def _calls_unmerged(intents: Sequence[Intent], calls: Callable[[Intent], int]) -> int:
    total, previous = 0, None
    for intent in intents:
        same = (
            previous is not None
            and previous.not_after == intent.not_before
            and (previous.mode, previous.power_kw, previous.until_soc)
            == (intent.mode, intent.power_kw, intent.until_soc)
        )
        total += 0 if same else calls(intent)
        previous = intent
    return total
