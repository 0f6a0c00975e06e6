"""Whether a new plan replaces the older one: only if it gains enough on what is now known.

A plan that is changed for cents makes batteries and vendors' quotas work for nothing, and nobody can follow it. Both
figures are kept with every plan that is made.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engine import Plan
from engine.arrays import Array
from engine.intent import Intent, intents_of
from engine.intent_value import Course, IntentValue
from schedules.translation import Translation

# Set-points that store this much less or more than they ask for do not fit the true state of charge [of the store].
INFEASIBLE_SOC = 0.05
# A limit that is exceeded by less is arithmetic [kW].
DUST_KW = 1e-3
# The same for the state of charge that is asked for at the end or as a reserve, and for cycles [fraction].
SHORT_SOC = 0.01


@dataclass(frozen=True)
class Threshold:
    """What a new plan has to gain; both must be exceeded."""

    eur: float = 0.02
    """[EUR] over its horizon."""
    share: float = 0.01
    """Of what going on with the older one costs [fraction]."""


USUAL = Threshold()


@dataclass(frozen=True, eq=False)
class Choice:
    """Which plan is followed from now on."""

    adopted: bool
    """Whether it is the new one."""
    older_cost_eur: float | None
    """What going on with the older one would cost on the new forecast, with what the store then lacks [EUR]; None:
    there is none that fits."""
    soc: Array
    """The state of charge that following the chosen one leads to at the end of each interval [fraction], shape (T,)."""


def choose(plan: Plan, translated: Translation, older: Sequence[Intent], threshold: Threshold | None) -> Choice:
    """Weigh a new plan against what is in force for its time, on its own prices and forecast.

    The new one is taken in any case where the older leaves time uncovered, is infeasible from the state of charge that
    the new one begins with, or breaks a limit, a reserve or a budget of cycles that the new one keeps.

    Args:
        plan: The new plan.
        translated: What it becomes on the device.
        older: What is in force, in order, without overlaps.
        threshold: What the new one has to gain; None: nothing.
    """
    at_every_interval = _by_interval(plan, older)
    if at_every_interval is None:
        return Choice(True, None, translated.soc)
    value = IntentValue(plan, intents_of(plan))
    course = value.carry_out((t, t, intent) for t, intent in enumerate(at_every_interval))
    older_cost_eur = plan.cost_eur + course.excess_eur
    gain_eur = course.excess_eur - translated.loss_eur
    adopted = (
        threshold is None
        or gain_eur > max(threshold.eur, threshold.share * abs(older_cost_eur))
        or _misfit_soc(plan, at_every_interval, course) > INFEASIBLE_SOC
        or _breaks_a_limit(plan, course, translated)
        or _breaks_a_wish(plan, course, translated)
    )
    return Choice(adopted, older_cost_eur, translated.soc if adopted else course.soc)


def _by_interval(plan: Plan, older: Sequence[Intent]) -> list[Intent] | None:
    """The older intent at each interval of the plan; None where one is missing."""
    found = []
    step = dt.timedelta(hours=plan.problem.step_h)
    for start in plan.problem.index:
        begin = start.to_pydatetime()
        covering = [intent for intent in older if intent.not_before <= begin and begin + step <= intent.not_after]
        if not covering:
            return None
        found.append(covering[-1])
    return found


def _misfit_soc(plan: Plan, intents: Sequence[Intent], course: Course) -> float:
    """How much of the store the set-points ask for in vain, because it is full or empty then."""
    battery, problem = plan.site.battery, plan.problem
    before = np.concatenate([[problem.initial_soc], course.soc[:-1]]) * problem.kept
    asked_kw = np.array([intent.battery_kw if intent.has_set_point else np.nan for intent in intents])
    per_kw = np.where(asked_kw < 0, battery.charge_efficiency, 1 / battery.discharge_efficiency)
    wanted = -asked_kw * per_kw * problem.step_h / battery.capacity_kwh
    return float(np.nansum(np.abs(wanted - (course.soc - before))))


def _breaks_a_limit(plan: Plan, course: Course, translated: Translation) -> bool:
    problem = plan.problem
    over = course.import_kw - np.maximum(problem.import_limit_kw, plan.table["import_kw"].to_numpy())
    end, own_end = course.soc[-1], translated.soc[-1]
    ends_short = end < min(problem.final_soc_min, own_end) - SHORT_SOC
    return bool((over > DUST_KW).any() or ends_short)


def _breaks_a_wish(plan: Plan, course: Course, translated: Translation) -> bool:
    """Whether it leaves less in reserve, or takes more of a budget of cycles, than the new one must."""
    problem = plan.problem
    short, own_short = (np.maximum(0.0, problem.reserve_soc - soc) for soc in (course.soc, translated.soc))
    before, own_before = (
        np.concatenate([[problem.initial_soc], soc[:-1]]) * problem.kept for soc in (course.soc, translated.soc)
    )
    cycled, own_cycled = np.maximum(0.0, before - course.soc), np.maximum(0.0, own_before - translated.soc)
    return bool((short > own_short + SHORT_SOC).any()) or any(
        budget.over_kwh(cycled, 1.0) > max(0.0, float(budget.over_kwh(own_cycled, 1.0))) + SHORT_SOC
        for budget in problem.budgets
    )
