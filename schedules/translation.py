"""A plan becomes the intents that a device's vendor can carry, at the least loss."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from adapters.contract import ExportLimiting, Sparing
from engine import Plan
from engine.arrays import Array
from engine.intent import Intent, IntentMode, intents_of
from engine.intent_merging import merge
from engine.intent_value import IntentValue
from schedules.sites import ControlledSite

SET_POINTS = frozenset({IntentMode.CHARGE, IntentMode.DISCHARGE, IntentMode.HOLD})


@dataclass(frozen=True)
class Translation:
    """What a device is to do, and what that loses against the plan."""

    intents: list[Intent]
    loss_eur: float
    """On the plan's own forecast, the store's content at the end valued; a device that can do everything loses 0."""
    soc: Array
    """The state of charge that they lead to on the forecast, at the end of each of the plan's intervals [fraction]."""


def translate(plan: Plan, target: ControlledSite) -> Translation:
    """Turn a plan into intents of the modes that the device has, as few as its vendor's calls allow.

    Args:
        plan: A checked plan.
        target: The site that it is for.

    Raises:
        InputError: The device cannot do what the plan needs.
    """
    adapter = target.adapter
    limits_export = isinstance(adapter, ExportLimiting) and adapter.limits_export(target.device)
    value = IntentValue(plan, intents_of(plan), limits_export=limits_export)
    if isinstance(adapter, Sparing):
        end = plan.table.index[-1].to_pydatetime() + dt.timedelta(hours=plan.problem.step_h)
        budget = adapter.call_budget(target.device, end)
        asked = intents_of(plan, SET_POINTS, limits_export=limits_export)
        # Powers are merged; following the house is an option for every stretch, and the loss tells where it fits.
        merging = merge(asked, budget.calls, budget.costs, value.loss_eur)
        stretches = [(segment.first, segment.last, segment.intent) for segment in merging.segments]
    else:
        asked = intents_of(plan, adapter.abilities.modes, limits_export=limits_export)
        stretches = [(t, t, intent) for t, intent in enumerate(asked)]
    course = value.carry_out(stretches)
    return Translation([intent for *_, intent in stretches], course.excess_eur, course.soc)
