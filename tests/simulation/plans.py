"""What the sites are to do, drawn at random, and what was wanted at any moment whatever the store says."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, replace
from random import Random

from engine.assets import Battery
from engine.intent import Intent, IntentMode
from tests.simulation.device import QUARTER_S
from tests.simulation.faults import DAY_S
from tests.simulation.scheduler import moment, seconds_of
from tests.simulation.vendors import Make

# Stretches of a day that move the battery, and their longest length in quarters of an hour. A lapsing order is sent
# again every 45 s: days of such sites are shorter, so that they do not take all the time there is.
STRETCHES = 4
LONGEST = {True: 1, False: 4}
# Of a full day, as an optimiser plans it: the longest stretch in quarters of an hour, and how many leave the battery to
# the house.
LONGEST_OF_FULL_DAY = 8
FOLLOWING_SHARE = 0.2

MOVES = (IntentMode.CHARGE, IntentMode.DISCHARGE, IntentMode.DISCHARGE, IntentMode.HOLD)


@dataclass(frozen=True)
class Wanted:
    """A stretch of a plan."""

    begin: float
    end: float
    power_kw: float | None
    """The set-point [kW, + discharges]; None: follow the house."""


NOTHING = Wanted(float("-inf"), float("inf"), None)


@dataclass
class Wish:
    """What a person wants, whatever plans say."""

    made: float
    wanted: Wanted
    cancelled: float = float("inf")

    @property
    def stretch(self) -> Wanted:
        """For how long it was wanted in the end."""
        return replace(self.wanted, end=min(self.wanted.end, self.cancelled))

    def holds_at(self, time: float, known_at: float) -> bool:
        """Whether it is in force at a time, by what was known at another [s]."""
        known = self.stretch if self.cancelled <= known_at else self.wanted
        return self.made <= known_at and known.begin <= time < known.end


@dataclass
class Demand:
    """All that is wanted of one site."""

    plans: list[tuple[float, float, list[Wanted]]] = field(default_factory=list)
    """When made, from when on, and what [s]."""
    wishes: list[Wish] = field(default_factory=list)
    """What persons wanted, in the order in which they said so."""

    def add(self, made: float, begin: float, intents: list[Intent]) -> None:
        self.plans.append((made, begin, [wanted(intent) for intent in intents]))

    def timeline(self, end: float) -> list[Wanted]:
        """What was wanted, without gaps: of each moment, by the newest plan that had begun."""
        whole: list[Wanted] = []
        for place, (_, begin, stretches) in enumerate(self.plans):
            until = self.plans[place + 1][1] if place + 1 < len(self.plans) else end
            time = begin
            for one in stretches:
                if one.begin >= until:
                    break
                if one.begin > time:
                    whole.append(Wanted(time, one.begin, None))
                whole.append(Wanted(one.begin, min(one.end, until), one.power_kw))
                time = min(one.end, until)
            if time < until:
                whole.append(Wanted(time, until, None))
        if whole and whole[0].begin > 0:
            whole.insert(0, Wanted(0.0, whole[0].begin, None))
        for override in (wish.stretch for wish in self.wishes):
            before = [replace(one, end=min(one.end, override.begin)) for one in whole if one.begin < override.begin]
            after = [replace(one, begin=max(one.begin, override.end)) for one in whole if one.end > override.end]
            whole = [*before, replace(override, end=min(override.end, end)), *after]
        return whole

    def next_edge(self, now: float) -> float:
        """The next time at which something else is wanted."""
        edges = sorted(edge for one in self._stretches(self.plans) for edge in (one.begin, one.end))
        place = bisect_right(edges, now)
        return edges[place] if place < len(edges) else float("inf")

    def moves_soon(self, now: float, ahead_s: float) -> bool:
        """Whether a set-point is wanted now or soon."""
        return any(
            one.power_kw is not None and one.begin - ahead_s <= now < one.end
            for one in self._stretches(self.plans[-2:])
        )

    def _stretches(self, plans: list[tuple[float, float, list[Wanted]]]) -> list[Wanted]:
        return [*(wish.stretch for wish in self.wishes), *(one for _, _, stretches in plans for one in stretches)]

    def wanted_at(self, time: float, known_at: float | None = None) -> Wanted:
        """What is wanted at a time, by what was known at another, or then [s]."""
        known_at = time if known_at is None else known_at
        for wish in reversed(self.wishes):
            if wish.holds_at(time, known_at):
                return wish.wanted
        for made, begin, stretches in reversed(self.plans):
            if begin <= time and made <= known_at:
                return next((one for one in stretches if one.begin <= time < one.end), NOTHING)
        return NOTHING


def wanted(intent: Intent) -> Wanted:
    """An intent, as a stretch."""
    begin, end = seconds_of(intent.not_before), seconds_of(intent.not_after)
    return Wanted(begin, end, intent.battery_kw if intent.has_set_point else None)


def full_pattern(rng: Random) -> list[tuple[int, int, IntentMode]]:
    """A day that is planned from end to end: one stretch follows on another [quarters]."""
    drawn: list[tuple[int, int, IntentMode]] = []
    first = 0
    while first < 96:
        end = min(96, first + rng.randint(1, LONGEST_OF_FULL_DAY))
        if rng.random() >= FOLLOWING_SHARE:
            drawn.append((first, end, rng.choice(MOVES)))
        first = end
    return drawn


def pattern(rng: Random, make: Make, quarters: int) -> list[tuple[int, int, IntentMode]]:
    """When the batteries of an account move in a day: prices are the same for all of them [quarters]."""
    drawn = []
    lapses = make.abilities.renew_after_s is not None
    for _ in range(2 if lapses else STRETCHES):
        first = rng.randrange(1, quarters - 1)
        mode = rng.choice(MOVES)
        drawn.append((first, min(96, first + rng.randint(1, LONGEST[lapses])), mode))
    return drawn


def day_plan(
    rng: Random,
    make: Make,
    battery: Battery,
    day: int,
    begin: float,
    drawn: list[tuple[int, int, IntentMode]],
    merged: bool = False,
) -> list[Intent]:
    """One site's intents from a time to the end of a day, one for each quarter of an hour or merged into stretches."""
    quarters: list[tuple[IntentMode, float] | None] = [None] * 96
    for first, end, drawn_mode in drawn:
        if rng.random() < 0.1:
            continue
        mode = drawn_mode if drawn_mode in make.abilities.modes else IntentMode.CHARGE
        rated_kw = battery.max_charge_kw if mode is IntentMode.CHARGE else battery.max_discharge_kw
        power_kw = 0.0 if mode is IntentMode.HOLD else round(rng.uniform(0.2, 1.0) * rated_kw, 2)
        for quarter in range(first, end):
            quarters[quarter] = mode, power_kw
    intents = []
    follows = rng.random() < 0.15  # one plan says so in words, another just has nothing
    start = day * DAY_S
    quarter = max(0, int((begin - start) // QUARTER_S))
    while quarter < 96:
        wanted = quarters[quarter]
        end = quarter + 1
        if wanted is None or merged:
            while end < 96 and quarters[end] == wanted:
                end += 1
        times = moment(start + quarter * QUARTER_S), moment(start + end * QUARTER_S)
        if wanted is not None:
            intents.append(Intent(wanted[0], wanted[1], *times))
        elif follows:
            intents.append(Intent(IntentMode.SELF_CONSUMPTION, 0.0, *times))
        quarter = end
    return intents
