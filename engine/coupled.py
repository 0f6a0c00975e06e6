"""One-dimensional searches around the dynamic program, for what couples intervals other than through the store.

Every coupling (a cycle budget, a demand charge, power limited by state of charge) is first left out: if the cheapest
schedule without it keeps it at no cost, that schedule is the optimum. If just one of them binds, it is searched for:

* a cycle budget by its price per kWh taken from the store: the dual function is concave and piecewise linear, its
  slopes are the overrun, and the optimum is a blend of the two schedules that meet there;
* a demand charge by a cap on import: the cost is convex and piecewise linear in the cap, so chords through evaluated
  points bound it from below (Kelley's cutting planes in one dimension), and the search ends where bound and value meet;
  with stepped fees only the top of each step can be best, convex or not, and of these only what breaches limits least.

Whatever is left over is told in words, and the linear program takes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from engine import storage_dp
from engine.arrays import Mask
from engine.budgets import CycleBudget
from engine.decisions import BREACH_DUST_KWH, Decisions, Outcome, objective_eur, reckon, taken_kwh, unlawful_kwh
from engine.demand import PeakPeriod
from engine.problem import DispatchProblem, ProblemStack

# Values this close, relative to the money at stake, are equal.
SAME = 1e-11
# How far beside the best cap energy's worth is read, relative to the cap.
BESIDE = 1e-5
# A cap exceeded by less than this is kept.
DUST_KW = 1e-11
# The best cap is not sought more closely than this.
NEAREST_KW = 1e-9
# So much of a gap between two caps is left on either side of the next.
NEAREST_SHARE = 0.1
MOST_STEPS = 100
# Slack within which a coupling counts as kept.
SLACK = 1e-9
# Spreading power may cost this much per kWh while it is sought; what it really costs is checked afterwards.
SMOOTHING_EUR_PER_KWH = 1e-7


Coupling = CycleBudget | PeakPeriod | str


class NotExactHereError(Exception):
    """This path cannot prove an optimum; the message says why, for `Plan.why`."""


@dataclass(frozen=True, eq=False)
class Answer:
    """Decisions of shape (1, T), what they come to, and why they are the optimum."""

    decisions: Decisions
    outcome: Outcome
    why: str


def solve(problem: DispatchProblem) -> Answer:
    """Find the cheapest decisions of one site, couplings included.

    Args:
        problem: The site's problem.

    Raises:
        NotExactHereError: More than one coupling binds, or one that cannot be searched for.
    """
    return _Search(problem).answer()


def binding(stack: ProblemStack, decisions: Decisions, outcome: Outcome) -> list[tuple[Coupling, Mask]]:
    """The couplings that schedules made without them do not keep, or not for nothing, and at which sites.

    Args:
        stack: N sites.
        decisions: Their schedules.
        outcome: What these come to.

    Returns:
        Couplings with masks of shape (N,), each of at least one site.
    """
    found: list[tuple[Coupling, Mask]] = []

    def note(coupling: Coupling, sites: npt.NDArray[np.int64], broken: Mask) -> None:
        if broken.any():
            found.append((coupling, np.isin(np.arange(len(stack)), sites[broken])))

    for zone in stack.zones.values() if stack.demand_charges or stack.strategy.budgeted else ():
        here = zone.numbers
        if zone.budgets:
            taken, capacity = taken_kwh(stack, decisions)[here], stack.capacity_kwh[here, 0]
            for budget in zone.budgets:
                note(budget, here, budget.over_kwh(taken, capacity) > SLACK * capacity)
        for peak in zone.peaks:
            note(peak, here, peak.added_eur(outcome.import_kw[here]) > SLACK)
    for number in np.flatnonzero(stack.figures.tapered).tolist():
        site = stack.sites[number]
        for points, power_kw in (
            (site.battery.charge_kw_at_soc, decisions.charge_kw),
            (site.battery.discharge_kw_at_soc, decisions.discharge_kw),
        ):
            if points:
                over = power_kw[number] > np.interp(outcome.soc[number], *np.array(points).T) + SLACK
                note("power limited by state of charge", np.array([number]), over.any(keepdims=True))
    return found


class _Search:
    def __init__(self, problem: DispatchProblem) -> None:
        self._stack, self._problem = problem.stack, problem
        self._convex = bool(self._stack.convex[0])

    def answer(self) -> Answer:
        beyond, what = storage_dp.beyond(self._stack)
        if beyond[0]:
            raise NotExactHereError(what)
        free, why = self._dp()
        binding = self._binding(free)
        if not binding:
            return self._smoothed(free, why)
        if len(binding) > 1:
            raise NotExactHereError(_bind_together(binding))
        coupling = binding[0]
        if isinstance(coupling, CycleBudget):
            found = self._budget(coupling, free)
        elif isinstance(coupling, PeakPeriod):
            found = self._peak(coupling, free)
        else:
            raise NotExactHereError("power limited by state of charge binds")
        others = [other for other in self._binding(found) if other is not coupling]
        if others:
            raise NotExactHereError(_bind_together([coupling, *others]))
        return Answer(found.decisions, found.outcome, f"{why}; {found.why}")

    def _dp(self, **steering: Any) -> tuple[Answer, str]:
        decisions, pieces = storage_dp.solve(self._stack, storage_dp.Steering(**steering))
        if pieces[0] < 0:
            raise NotExactHereError(f"a value function has more than {storage_dp.MOST_VALUE_PIECES} pieces")
        why = storage_dp.why(int(pieces[0]))
        return Answer(decisions, reckon(self._stack, decisions), why), why

    def _binding(self, answer: Answer) -> list[Coupling]:
        return [coupling for coupling, _ in binding(self._stack, answer.decisions, answer.outcome)]

    def _smoothed(self, answer: Answer, why: str) -> Answer:
        """Spread power, if that is wanted and truly free."""
        if self._stack.strategy.prefer != "smoother_power" or not self._convex:
            return answer
        spread, _ = self._dp(smooth=SMOOTHING_EUR_PER_KWH)
        cost, spread_cost = (float(objective_eur(self._stack, one.outcome)[0]) for one in (answer, spread))
        free = spread_cost <= cost + SAME * max(1.0, abs(cost)) and not self._binding(spread)
        return (
            Answer(spread.decisions, spread.outcome, f"{why}; power is spread where that is free") if free else answer
        )

    def _budget(self, budget: CycleBudget, free: Answer) -> Answer:
        if not self._convex:
            raise NotExactHereError("a cycle budget binds where costs are not convex")
        within = np.zeros(self._problem.intervals)
        within[budget.first : budget.last] = 1.0

        def at(price: float) -> tuple[Answer, float, float]:
            """Schedule, overrun and dual value at a price of use."""
            answer, _ = self._dp(price_of_use=price * within)
            over = self._over_kwh(budget, answer)
            return answer, over, float(objective_eur(self._stack, answer.outcome)[0]) + price * over

        dear_price = self._problem.breach.budget
        dear, dear_over, dear_dual = at(dear_price)
        if dear_over > 0:
            return replace(dear, why=f"the {budget.name} cannot be kept, and is exceeded as little as possible")
        cheap, cheap_price = free, 0.0
        cheap_over = self._over_kwh(budget, free)
        cheap_dual = float(objective_eur(self._stack, free.outcome)[0])
        for step in range(1, MOST_STEPS):
            # Where the two tangents of the dual meet, which no dual value exceeds.
            price = (dear_dual - cheap_dual + cheap_over * cheap_price - dear_over * dear_price) / (
                cheap_over - dear_over
            )
            bound = cheap_dual + cheap_over * (price - cheap_price)
            answer, over, dual = at(price)
            if bound - dual <= SAME * max(1.0, abs(bound)):
                share = dear_over / (dear_over - cheap_over)
                mixed = storage_dp.blend(self._stack, cheap.decisions, dear.decisions, share)
                # What energy is worth is its worth at the price found, not a mean of its worth at two others.
                mixed = replace(mixed, marginal_value_eur_per_kwh=answer.decisions.marginal_value_eur_per_kwh)
                why = f"a cycle costs {price * self._problem.battery.capacity_kwh:.4g} EUR, found in {step} steps"
                return Answer(mixed, reckon(self._stack, mixed), why)
            if over > 0:
                cheap, cheap_price, cheap_over, cheap_dual = answer, price, over, dual
            else:
                dear, dear_price, dear_over, dear_dual = answer, price, over, dual
        raise NotExactHereError(f"the price of a cycle was not found in {MOST_STEPS} steps")

    def _over_kwh(self, budget: CycleBudget, answer: Answer) -> float:
        taken = taken_kwh(self._stack, answer.decisions)[0]
        return float(budget.over_kwh(taken, self._problem.battery.capacity_kwh))

    def _peak(self, peak: PeakPeriod, free: Answer) -> Answer:
        counted = np.zeros(self._problem.intervals, dtype=np.bool_)
        counted[peak.inside] = True
        charge = peak.charge
        if (peak.slot_intervals > 1).any():
            raise NotExactHereError("the demand charge is measured over several intervals")
        if charge.largest_daily_peaks > 1 and len(peak.day_so_far_kw) > 1:
            raise NotExactHereError("the demand charge counts the peaks of several days")
        if (self._problem.idle_over_import_kw[counted] > 0).any():
            raise NotExactHereError("a demand charge binds where the load exceeds the import limit")
        # Peaks of other days that are billed together with this one's.
        others = sorted(peak.earlier_kw, reverse=True)[: charge.largest_daily_peaks - 1]
        ranked_below = max(sorted(peak.earlier_kw, reverse=True)[charge.largest_daily_peaks - 1 :], default=0.0)
        least = max(float(peak.day_so_far_kw.max()), ranked_below)

        def fee(cap_kw: float) -> float:
            return charge.fee_eur((sum(others) + cap_kw) / charge.largest_daily_peaks)

        answers: dict[float, Answer] = {}

        def value(cap_kw: float) -> float:
            # Above the cap each kWh costs more than any fee, but is not forbidden: so there is a value for every cap,
            # and it is convex in the cap where the intervals' costs are.
            answers[cap_kw], _ = self._dp(import_cap_kw=np.where(counted, cap_kw, np.inf))
            outcome = answers[cap_kw].outcome
            total_eur = float(objective_eur(self._stack, outcome)[0]) + self._problem.breach.limit * over_kwh(cap_kw)
            return total_eur + fee(cap_kw)

        def over_kwh(cap_kw: float) -> float:
            over_kw = answers[cap_kw].outcome.import_kw[0, counted] - cap_kw
            return float(over_kw[over_kw > DUST_KW].sum()) * self._problem.step_h

        most = float(free.outcome.import_kw[0][counted].max())
        if charge.steps_eur:
            tops = [
                charge.largest_daily_peaks * bound - sum(others) for bound, _ in charge.steps_eur if bound is not None
            ]
            caps = [*(top for top in tops if least <= top < most), most]
            if least < min(caps):
                caps.append(least)
            total_eur = {cap: value(cap) for cap in caps}
            # A step's fee is no price per kWh, which alone the breach price outranks: limits first, then money.
            broken_kwh = {
                cap: float(unlawful_kwh(self._stack, answers[cap].outcome)[0]) + over_kwh(cap) for cap in caps
            }
            least_kwh = min(broken_kwh.values())
            lawful = [cap for cap in caps if broken_kwh[cap] <= least_kwh + BREACH_DUST_KWH]
            best = min(lawful, key=lambda cap: total_eur[cap])
            why = f"the cheapest of {len(caps)} steps of the demand charge"
        elif self._convex:
            best = least_of_convex(value, least, most)
            why = f"import is capped at {best:.4g} kW by the demand charge, found in {len(answers)} steps"
        else:
            raise NotExactHereError("a demand charge binds where costs are not convex")
        found = answers[best]
        if found.outcome.import_kw[0][counted].max() > best + SLACK:
            raise NotExactHereError("a demand charge binds where the load exceeds every cap")
        # At the best cap itself the dynamic program sees the wall above it, no price. Beside it there are the worths
        # of energy under a cap a little higher and a little lower; that mean of them is right under which the cap's own
        # slope vanishes. A step's fee has no slope, and below what was drawn before a cap changes nothing.
        beside = BESIDE * max(1.0, most)
        higher, lower = best + beside, best - beside
        rising = max(0.0, value(higher) - value(best))
        falling = max(0.0, value(lower) - value(best)) if not charge.steps_eur and lower > least else np.inf
        share = rising / (rising + falling) if rising + falling > 0 else 0.0
        worth = (1 - share) * answers[higher].decisions.marginal_value_eur_per_kwh
        if share > 0:
            worth = worth + share * answers[lower].decisions.marginal_value_eur_per_kwh
        return replace(found, decisions=replace(found.decisions, marginal_value_eur_per_kwh=worth), why=why)


def least_of_convex(value: Callable[[float], float], low: float, high: float) -> float:
    """The place in [low, high] where a convex piecewise-linear function is least, proved by chords.

    A chord through two points lies below a convex function outside them. The least value on a gap between points is
    therefore at or above where the chords from both sides meet; the search goes there until value and bound agree.

    Raises:
        NotExactHereError: The bound was not met, or the values are not those of a convex function.
    """
    if high - low <= SLACK:
        value(high)
        return high
    places = [low, low + (high - low) / 3, high - (high - low) / 3, high]
    values = [value(place) for place in places]
    best = min(zip(values, places, strict=True))
    for _ in range(MOST_STEPS):
        number = int(np.argmin(values))
        gaps = [gap for gap in (number - 1, number) if 0 <= gap < len(places) - 1]
        bound, place, gap = min((*_least_in_gap(places, values, gap), gap) for gap in gaps)
        left, width = places[gap], places[gap + 1] - places[gap]
        best = min(best, (value(place), place))
        if best[0] - bound <= SAME * max(1.0, abs(best[0])):
            return best[1]
        if width <= NEAREST_KW:
            break
        # Chords through points close together magnify rounding.
        inside = min(max(place, left + NEAREST_SHARE * width), left + (1 - NEAREST_SHARE) * width)
        places.insert(gap + 1, inside)
        values.insert(gap + 1, value(inside))
    raise NotExactHereError(f"the cap of the demand charge was not found in {MOST_STEPS} steps")


def _least_in_gap(places: list[float], values: list[float], gap: int) -> tuple[float, float]:
    """A lower bound on a convex function between points `gap` and `gap + 1`, and where it is taken."""
    left, right = places[gap], places[gap + 1]
    lines = []
    if gap > 0:
        lines.append((left, values[gap], (values[gap] - values[gap - 1]) / (left - places[gap - 1])))
    if gap + 2 < len(places):
        lines.append((right, values[gap + 1], (values[gap + 2] - values[gap + 1]) / (places[gap + 2] - right)))
    ends = [max(value + slope * (end - place) for place, value, slope in lines) for end in (left, right)]
    if len(lines) == 2 and lines[0][2] != lines[1][2]:
        (a, value_a, slope_a), (b, value_b, slope_b) = lines
        meet = (value_b - value_a + slope_a * a - slope_b * b) / (slope_a - slope_b)
        if left < meet < right:
            return value_a + slope_a * (meet - a), meet
    # At the edge of the search only one chord is known: halve the gap.
    return min(*ends, values[gap], values[gap + 1]), (left + right) / 2


def _bind_together(couplings: list[Coupling]) -> str:
    names = Counter(_name(coupling) for coupling in couplings)
    return " and ".join(f"{count} x {name}" if count > 1 else name for name, count in names.items()) + " bind together"


def _name(coupling: Coupling) -> str:
    if isinstance(coupling, CycleBudget):
        return f"the {coupling.name}"
    return coupling.charge.name if isinstance(coupling, PeakPeriod) else coupling
