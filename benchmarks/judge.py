"""What a plan is worth, worked out from its charge and discharge alone, by one piece of code for every solver.

No solver's own account of its cost is compared: the cost is recomputed here, from physics and prices, and what a solver
claims is only held against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.problems import Array, BenchmarkProblem, limits

# Solvers stop within 1e-6 of their rows, and some hand over printed decimals.
SAME_EUR = 1e-6
SAME_KW = 1e-5
ROUNDING_KW = 1e-9


@dataclass(frozen=True)
class Verdict:
    """What a plan costs, and what is wrong with it."""

    cost_eur: float
    """Bought less sold plus wear, with each interval's best curtailment [EUR]."""
    excess: float
    """How far the plan goes beyond its worst-kept limit [kW, or kWh of the store]."""
    both_ways_kwh: float
    """Energy charged and discharged at once, as no battery can [kWh]."""

    @property
    def physical(self) -> bool:
        """Whether the plan could be carried out."""
        return self.excess <= SAME_KW and self.both_ways_kwh <= SAME_KW


def judge(problem: BenchmarkProblem, charge_kw: Array, discharge_kw: Array) -> Verdict:
    """Recompute cost and feasibility of a plan.

    Args:
        problem: What was solved.
        charge_kw: AC power into the battery, shape (T,).
        discharge_kw: AC power out of the battery, shape (T,).
    """
    battery, h = problem.site.battery, problem.step_h
    import_limit, export_limit = limits(problem)
    buy, sell, load, sun = problem.arrays.values()
    capacity = battery.capacity_kwh
    stored = problem.initial_soc * capacity + h * np.cumsum(
        charge_kw * battery.charge_efficiency - discharge_kw / battery.discharge_efficiency
    )
    draw = load + charge_kw - discharge_kw
    # The cost of an interval is piecewise linear in the PV used: its least value is at an end or at a kink.
    least = np.zeros_like(sun) if problem.curtailable else sun
    used = np.clip([sun, least, draw, draw + export_limit, draw - import_limit], least, sun)
    net = draw - used
    beyond = np.maximum(np.maximum(net - import_limit, -net - export_limit), 0.0)
    # Where no curtailment keeps the limits, the plan is at fault, and its cost is that of the least breach.
    breach = beyond.min(axis=0)
    cost = h * np.where(net > 0, buy * net, sell * net)
    cost = np.where(beyond <= breach + ROUNDING_KW, cost, np.inf).min(axis=0)
    wear = h * battery.wear_eur_per_kwh * discharge_kw
    faults = (
        breach,
        charge_kw - battery.max_charge_kw,
        discharge_kw - battery.max_discharge_kw,
        -charge_kw,
        -discharge_kw,
        battery.min_soc * capacity - stored,
        stored - battery.max_soc * capacity,
        problem.final_soc_min * capacity - stored[-1:],
    )
    return Verdict(
        cost_eur=float(np.sum(cost + wear)),
        excess=max(0.0, *(float(fault.max()) for fault in faults)),
        both_ways_kwh=float(h * np.sum(np.maximum(np.minimum(charge_kw, discharge_kw), 0.0))),
    )
