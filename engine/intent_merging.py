"""Merges neighbouring intents, so that a plan fits a budget of calls and loses as little as possible.

An exact dynamic program over where segments end and how many calls are used. For n intents and a budget of b calls it
looks at n * (n + 1) / 2 stretches, each with a few merged intents, and at b levels each in one vector step.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from engine.intent import Intent, IntentMode

MOVES = (IntentMode.CHARGE, IntentMode.DISCHARGE)
RESTS = (IntentMode.SELF_CONSUMPTION, IntentMode.HOLD)


@dataclass(frozen=True)
class CallCosts:
    """What carrying intents takes of a vendor's calls."""

    per_intent: Mapping[IntentMode, int]
    """Calls for one intent, by mode; a mode that is not named is beyond the device."""
    behind_another: int = 0
    """Calls more for an intent that follows directly on a set-point, as for stopping that first."""
    stopped_for: Set[IntentMode] = frozenset(MOVES)
    """The modes that `behind_another` is for."""
    per_limit: int = 0
    """Calls for another limit of export, or for lifting it."""

    def calls(self, intent: Intent, after: IntentMode | None, limit_before_kw: float | None = None) -> int:
        """Calls for an intent directly behind one of a mode (None: behind a gap), and behind a limit of export [kW]."""
        calls = self.per_intent.get(intent.mode, 0)
        if intent.mode in self.stopped_for and after in MOVES:
            calls += self.behind_another
        if intent.export_limit_kw != limit_before_kw:
            calls += self.per_limit
        return calls


Loss = Callable[[int, int, Intent], float]
"""What it costs to put one intent over the stretch from the first to the last position, both included; >= 0 in EUR, or
whatever else is to be kept small."""

# Holding still where following the house was wanted, or the other way round, counts as so much power in the wrong
# place [kW]: somewhere between nothing and the house's load, and small against any set-point.
REST_MISMATCH_KW = 0.2
# Export that is not limited where it was to be, as an array's typical power: what it gives is not known here [kW].
LIMIT_MISMATCH_KW = 2.0
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
    limits_kw = np.array([_or_inf(intent.export_limit_kw) for intent in intents])

    def loss(first: int, last: int, merged: Intent) -> float:
        part = slice(first, last + 1)
        apart_kw = np.abs(planned_kw[part] - merged.battery_kw)
        unlike = driven[part] != merged.has_set_point
        apart_kw[unlike] = np.maximum(apart_kw[unlike], REST_MISMATCH_KW)
        apart_kw[limits_kw[part] != _or_inf(merged.export_limit_kw)] += LIMIT_MISMATCH_KW
        return float(apart_kw @ hours[part])

    return loss


def merge(intents: Sequence[Intent], budget: int, costs: CallCosts, loss: Loss | None = None) -> Merging:
    """Put neighbours together so that the calls fit the budget, at the least loss.

    Args:
        intents: A plan, in order.
        budget: Calls that may be used, >= 0.
        costs: What carrying an intent takes. One of HOLD and SELF_CONSUMPTION should cost none, or a plan may not fit.
        loss: What a merged stretch costs; None takes `energy_deviation`.

    Returns:
        Segments that cover all intents once, in order. Stretches with a gap between them are never merged, and no
        set-point lasts longer than a day. A segment limits export only where all of its intents do so alike; one that
        does not, though some of them do, is told by its loss.

    Raises:
        ValueError: Not even resting all the time fits the budget.
    """
    deviation = energy_deviation(intents)
    loss = loss or deviation
    count, levels = len(intents), max(0, budget) + 1
    has_limits = any(intent.export_limit_kw is not None for intent in intents)
    # How a segment may end: its mode, and whether export is limited, by then as its last intent has it.
    ends = list(product(costs.per_intent, (False, True) if has_limits else (False,)))
    # least[i, e, c]: least loss for the first i intents, the last of them ending as e, with exactly c calls.
    least = np.full((count + 1, len(ends), levels), np.inf)
    least[0, 0, 0] = 0.0
    # How it was reached: the option that ends there, and the end before it.
    options: list[Segment] = []
    reached_by = np.full(least.shape, -1)
    end_before = np.full(least.shape, -1)

    def behind(first: int) -> list[tuple[IntentMode | None, float | None]]:
        """Mode and limit of export that each end leaves to what begins at a position."""
        if not _follows(intents, first):
            return [(None, None)] * len(ends)
        limit_kw = intents[first - 1].export_limit_kw
        return [(mode, limit_kw if is_limited else None) for mode, is_limited in ends]

    for first in range(count):
        befores = behind(first)
        for last in range(first, count):
            if last > first and not _follows(intents, last):
                break
            for option in _options(intents, first, last, costs, loss):
                end = ends.index(_end_of(option.intent))
                target = least[last + 1, end]
                for before, left in enumerate(befores):
                    calls = costs.calls(option.intent, *left)
                    if calls >= levels:
                        continue
                    total = least[first, before, : levels - calls] + option.loss
                    # Fewer, longer segments win where the loss is the same but for rounding.
                    better = np.flatnonzero(total < target[calls:] - 1e-12)
                    target[calls + better] = total[better]
                    reached_by[last + 1, end, calls + better] = len(options)
                    end_before[last + 1, end, calls + better] = before
                options.append(option)
    if not np.isfinite(least[count]).any():
        raise ValueError(f"budget: {budget} calls are too few for any plan; allow more, or let resting cost none")
    level = int(np.argmin(np.round(least[count].min(axis=0), 9)))  # the fewest calls among the best
    end = int(np.argmin(least[count, :, level]))
    segments: list[Segment] = []
    place = count
    while place > 0:
        option, before = options[reached_by[place, end, level]], int(end_before[place, end, level])
        segments.append(replace(option, calls=costs.calls(option.intent, *behind(option.first)[before])))
        place, end, level = option.first, before, level - segments[-1].calls
    segments.reverse()
    return Merging(
        segments=tuple(segments),
        loss=sum(segment.loss for segment in segments),
        calls=sum(segment.calls for segment in segments),
        calls_unmerged=_calls_unmerged(intents, costs),
        deviation_kwh=sum(deviation(segment.first, segment.last, segment.intent) for segment in segments),
    )


def _follows(intents: Sequence[Intent], place: int) -> bool:
    """Whether an intent begins when the one before it ends."""
    return place > 0 and intents[place - 1].not_after == intents[place].not_before


def _end_of(intent: Intent) -> tuple[IntentMode, bool]:
    return intent.mode, intent.export_limit_kw is not None


def _or_inf(limit_kw: float | None) -> float:
    return np.inf if limit_kw is None else limit_kw


def _options(intents: Sequence[Intent], first: int, last: int, costs: CallCosts, loss: Loss) -> list[Segment]:
    """What one stretch may become, the best of each mode, with its limit of export and without."""
    cheapest: dict[tuple[IntentMode, bool], Segment] = {}
    for intent in _merged(intents[first : last + 1], costs.per_intent.keys()):
        option = Segment(first, last, intent, loss(first, last, intent), costs.per_intent[intent.mode])
        known = cheapest.get(_end_of(intent))
        if known is None or option.loss < known.loss:
            cheapest[_end_of(intent)] = option
    return list(cheapest.values())


def _merged(part: Sequence[Intent], modes: Set[IntentMode]) -> list[Intent]:
    found = _unlimited(part, modes)
    limit_kw = part[0].export_limit_kw
    # Not to be limited is always possible; a limit is one that all of the stretch asks for.
    if limit_kw is not None and all(intent.export_limit_kw == limit_kw for intent in part):
        found += [replace(intent, export_limit_kw=limit_kw) for intent in found]
    return found


def _unlimited(part: Sequence[Intent], modes: Set[IntentMode]) -> list[Intent]:
    begin, end = part[0].not_before, part[-1].not_after
    found = [Intent(mode, 0.0, begin, end) for mode in RESTS if mode in modes]
    if end - begin > LONGEST:
        return found
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


def _calls_unmerged(intents: Sequence[Intent], costs: CallCosts) -> int:
    total = 0
    for place, intent in enumerate(intents):
        previous = intents[place - 1] if _follows(intents, place) else None
        if previous is None or _ask(previous) != _ask(intent):
            before = (None, None) if previous is None else (previous.mode, previous.export_limit_kw)
            total += costs.calls(intent, *before)
    return total


def _ask(intent: Intent) -> tuple[IntentMode, float, float | None, float | None]:
    return intent.mode, intent.power_kw, intent.until_soc, intent.export_limit_kw
