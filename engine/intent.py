"""Intents: what one site should do in one stretch of time, in words that no vendor owns.

An interval whose optimum is what the battery would do by itself, following the house, becomes
SELF_CONSUMPTION rather than a frozen number: the device follows the real load better than any forecast.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Set
from dataclasses import dataclass
from enum import Enum

import numpy as np

from engine.arrays import Mask
from engine.errors import InputError
from engine.plan import Plan
from engine.problem import ProblemStack
from engine.storage_dp import NO_STEERING, inverter_of, kernel_input
from engine.storage_kernels import Habits, where_to_follow

HABITS = Habits(
    follows_within_kw=0.01,
    covers_more=True,
    # Inverters idle with a few tens of watts anyway.
    smallest_set_point_kw=0.05,
    # Less sun is not worth a vendor's call.
    smallest_curtailment_kw=0.05,
    planned_anew_h=1.0,
    least_export_price=0.0,
)


class IntentMode(Enum):
    """What a site is to do."""

    CHARGE = "charge"
    DISCHARGE = "discharge"
    HOLD = "hold"
    """Neither charge nor discharge; not the same as letting go of the battery."""
    SELF_CONSUMPTION = "self_consumption"
    """Let go: the battery follows the house by its own controller."""


@dataclass(frozen=True)
class Intent:
    """One stretch of a plan, absolute in time and power, ending by itself.

    Raises:
        ValueError: Times are naive or reversed, the power is negative or does not belong to the mode.
    """

    mode: IntentMode
    power_kw: float
    """AC power in the mode's direction [kW], >= 0; 0 for HOLD and SELF_CONSUMPTION."""
    not_before: dt.datetime
    not_after: dt.datetime
    until_soc: float | None = None
    """The state of charge not to be passed [fraction]: upper when charging, lower when discharging."""
    export_limit_kw: float | None = None
    """Most that may be fed into the grid meanwhile [kW], PV giving way, in any mode; None: as the connection allows."""

    def __post_init__(self) -> None:
        if self.not_before.tzinfo is None or self.not_after.tzinfo is None:
            raise ValueError("intent: times have no zone; use aware times")
        if self.not_after <= self.not_before:
            raise ValueError(f"intent: not_after {self.not_after} is not after not_before {self.not_before}")
        moving = self.mode in (IntentMode.CHARGE, IntentMode.DISCHARGE)
        if not 0 <= self.power_kw < math.inf or (self.power_kw > 0) != moving:
            raise ValueError(f"intent: power_kw {self.power_kw} does not belong to {self.mode.value}")
        if self.until_soc is not None and not 0 <= self.until_soc <= 1:
            raise ValueError(f"intent: until_soc {self.until_soc} is outside 0..1")
        if self.export_limit_kw is not None and not 0 <= self.export_limit_kw < math.inf:
            raise ValueError(f"intent: export_limit_kw {self.export_limit_kw} is no power from 0 up")

    @property
    def battery_kw(self) -> float:
        """The set-point with its sign [kW], + discharges."""
        return -self.power_kw if self.mode is IntentMode.CHARGE else self.power_kw

    @property
    def has_set_point(self) -> bool:
        """Whether the intent asks for a power, zero included."""
        return self.mode is not IntentMode.SELF_CONSUMPTION


def self_consumption_kw(load_kw: float, pv_kw: float, charge_limit_kw: float, discharge_limit_kw: float) -> float:
    """What a battery that follows the house does [kW], + discharges."""
    return max(-charge_limit_kw, min(discharge_limit_kw, load_kw - pv_kw))


def intents_of(
    plan: Plan, modes: Set[IntentMode] = frozenset(IntentMode), *, limits_export: bool = True
) -> list[Intent]:
    """Turn a plan into intents, one per interval.

    A device that cannot follow the house holds what the plan has there instead; one that cannot hold follows it. Where
    the plan curtails PV, and where selling it would cost money, what the plan feeds in is the limit of export.

    Args:
        plan: A checked plan.
        modes: What the device can do.
        limits_export: Whether the device can limit what is fed in, and so curtail PV.

    Returns:
        As many intents as the plan has intervals, in order, without gaps.

    Raises:
        InputError: The device can neither hold nor follow the house, or not charge or discharge where the plan does.
    """
    battery = plan.site.battery
    at_rest = IntentMode.HOLD if IntentMode.HOLD in modes else IntentMode.SELF_CONSUMPTION
    step = dt.timedelta(hours=plan.problem.step_h)
    # What the connection itself does not let through nobody needs to be told to curtail.
    allowed_kw = plan.site.grid.export_limit_kw
    connection_kw = math.inf if allowed_kw is None else allowed_kw - HABITS.follows_within_kw
    follows = _follows(plan) if IntentMode.SELF_CONSUMPTION in modes else np.zeros(plan.problem.intervals, dtype=bool)
    intents: list[Intent] = []
    rows = zip(plan.problem.index, plan.table.to_dict("records"), follows, _curtails(plan), strict=True)
    for start, row, following, limited in rows:
        begin = start.to_pydatetime()
        planned_kw = float(row["discharge_kw"] - row["charge_kw"])
        if following:
            asked: tuple[IntentMode, float, float | None] = (IntentMode.SELF_CONSUMPTION, 0.0, None)
        elif abs(planned_kw) < HABITS.smallest_set_point_kw:
            asked = (at_rest, 0.0, None)
        elif planned_kw < 0:
            asked = (IntentMode.CHARGE, -planned_kw, battery.max_soc)
        else:
            asked = (IntentMode.DISCHARGE, planned_kw, battery.min_soc)
        mode, power_kw, until_soc = asked
        limit_kw = None
        if limits_export and limited and row["export_kw"] < connection_kw:
            limit_kw = max(0.0, round(float(row["export_kw"]), 3))
        intents.append(Intent(mode, power_kw, begin, begin + step, until_soc, limit_kw))
    beyond = {intent.mode for intent in intents} - modes
    if beyond:
        names = ", ".join(sorted(mode.value for mode in beyond))
        raise InputError("modes", f"the device has no {names}, which the plan needs", "plan with the limits it has")
    return intents


def ties_powers(stack: ProblemStack) -> bool:
    """Whether more than prices and the store ties powers to each other: prices do not tell then what another one loses.

    What import is held to for a peak is among it: no price knows of the energy that a spike to come needs.
    """
    held = bool(stack.demand_charges) or bool((stack.import_limit_kw < stack.figures.import_limit_kw).any())
    return held or stack.strategy.budgeted or bool(stack.commitments) or bool(stack.balancing)


def _follows(plan: Plan) -> Mask:
    """Where the plan is carried out by following the house, by interval; the rule is that of the kernels."""
    problem, battery, table = plan.problem, plan.site.battery, plan.table
    taken = table["discharge_kw"] / battery.discharge_efficiency - table["charge_kw"] * battery.charge_efficiency
    data = kernel_input(problem.stack, NO_STEERING)
    habits = HABITS._replace(covers_more=not ties_powers(problem.stack))
    return np.asarray(where_to_follow(data, -taken.to_numpy() * problem.step_h, inverter_of(plan.site), habits))


def _curtails(plan: Plan) -> list[bool]:
    """Where PV must not be fed in beyond the plan, by interval.

    Not only where the plan curtails: at a negative price a store that fills sooner, or more sun than was forecast, has
    to be curtailed too. A plan may choose freely which of several such intervals it curtails.
    """
    curtailment_kw = plan.table["curtailment_kw"].to_numpy()
    sun_kw = plan.table["pv_kw"].to_numpy() + curtailment_kw
    strategy, least_eur_per_kwh = plan.problem.strategy, 0.0
    if strategy.export_guard == "curtail" and strategy.export_floor_eur_per_kwh is not None:
        least_eur_per_kwh = max(0.0, strategy.export_floor_eur_per_kwh)
    loses = (
        (plan.problem.export_price < least_eur_per_kwh)
        & (sun_kw > HABITS.smallest_curtailment_kw)
        & plan.problem.pv_curtailable
    )
    return list(loses | (curtailment_kw > HABITS.smallest_curtailment_kw))
