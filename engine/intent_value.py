"""What intents come to in money on a plan's own forecast: the measure of translating and merging them.

A plan is optimal in free powers per interval. A vendor carries intents: few modes, few calls, long stretches. What
that loses is found by carrying the intents out on the same prices, load and PV, minding the store's edges.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
from numba import njit

from engine.arrays import Array
from engine.intent import Intent, IntentMode
from engine.plan import Plan
from engine.problem import DispatchProblem

Stretch = tuple[int, int, Intent]
"""First and last interval, both included, and what is done there."""


@dataclass(frozen=True, eq=False)
class Course:
    """What intents for a plan's whole time come to on its forecast."""

    excess_eur: float
    """The cost above that of the plan's own intents, the store's content at the end valued [EUR]."""
    soc: Array
    """State of charge at the end of each interval [fraction], shape (T,)."""
    import_kw: Array
    """What is drawn from the grid in each interval [kW], shape (T,)."""


class IntentValue:
    """Carries intents out on the forecast of one plan, its carbon weighed in as the plan did."""

    def __init__(self, plan: Plan, intents: Sequence[Intent], *, limits_export: bool = True) -> None:
        """Take the plan and its intents, one per interval.

        Args:
            plan: A checked plan.
            intents: What it becomes on a device that can do everything.
            limits_export: Whether the device can limit export, so that a stretch has a choice.
        """
        problem, battery = plan.problem, plan.site.battery
        self._problem, self._battery = problem, battery
        given = (
            problem.surplus_kw,
            problem.decision_import_price,
            problem.decision_export_price,
            problem.max_charge_kw,
            problem.max_discharge_kw,
            problem.export_limit_kw,
        )
        self._series = np.array([np.broadcast_to(series, problem.intervals) for series in given])
        self._commitments = _laid_out(problem)
        # For this what is missing can be had at any time; a limit that hangs on it has no price in money.
        self._dearest = max(0.0, float(problem.decision_import_price.max())) / battery.charge_efficiency
        self._worth_at_end = min(float(plan.marginal_value.iloc[-1]), self._dearest)
        count = problem.intervals
        # What the plan's own intents do: the course that merging departs from.
        self._eur, self._stored_kwh = np.zeros(count), np.zeros(count + 1)
        self._import_kw = np.zeros(count)
        self._stored_kwh[0] = problem.initial_soc * battery.capacity_kwh
        # What leaving out a limit of export costs, and what is sold within the limits that a stretch could have.
        self._dropped_eur, self._limited = np.zeros(count), self._series.copy()
        for t, intent in enumerate(intents):
            course = (self._stored_kwh[t], self._import_kw)
            self._eur[t], self._stored_kwh[t + 1] = self._carry_out(t, t, intent, *course)
            if limits_export and intent.export_limit_kw is not None:
                unlimited_eur, _ = self._carry_out(t, t, replace(intent, export_limit_kw=None), *course)
                self._dropped_eur[t] = unlimited_eur - self._eur[t]
                self._limited[-1, t] = min(self._limited[-1, t], intent.export_limit_kw)
        self._demand_eur = self._demand(self._import_kw)

    def loss_eur(self, first: int, last: int, merged: Intent) -> float:
        """What one intent over a stretch costs at most more than the plan's own there, >= 0 [EUR].

        The store arrives as the plan's own intents leave it. What it then lacks is to be bought at the dearest price,
        and what it has more is worth nothing: by the plan's own worth of stored energy, which is that of the next kWh
        alone, one stretch after the other would seem to cost nothing. A limit of export that is left out likewise costs
        what it saves on the plan's own course, for each stretch would have the same room for what is not curtailed.

        Args:
            first: First interval of the stretch.
            last: Last interval, included.
            merged: What is done all along it.
        """
        import_kw = self._import_kw.copy()
        eur, stored_kwh = self._carry_out(first, last, merged, self._stored_kwh[first], import_kw, self._limited)
        more_eur = eur - self._eur[first : last + 1].sum()
        if merged.export_limit_kw is None:
            more_eur += self._dropped_eur[first : last + 1].sum()
        left_eur = self._dearest * max(0.0, self._stored_kwh[last + 1] - stored_kwh)
        return max(0.0, float(more_eur + left_eur + self._demand(import_kw) - self._demand_eur))

    def carry_out(self, stretches: Iterable[Stretch]) -> Course:
        """What carrying out a whole plan, or other intents for its time, costs more than its own, and what it leads to.

        Other than the sum of the losses of its stretches it minds that each leaves the store otherwise to the next.

        Args:
            stretches: What is done from the first interval to the last, in order.
        """
        import_kw, total_eur, stored_kwh = np.zeros_like(self._import_kw), 0.0, np.empty_like(self._import_kw)
        before_kwh = float(self._stored_kwh[0])
        for first, last, intent in stretches:
            for t in range(first, last + 1):
                eur, before_kwh = self._carry_out(t, t, intent, before_kwh, import_kw)
                stored_kwh[t], total_eur = before_kwh, total_eur + eur
        left_eur = self._worth_at_end * (self._stored_kwh[-1] - before_kwh)
        excess_eur = total_eur - self._eur.sum() + left_eur + self._demand(import_kw) - self._demand_eur
        return Course(float(excess_eur), stored_kwh / self._battery.capacity_kwh, import_kw)

    def _carry_out(
        self,
        first: int,
        last: int,
        intent: Intent,
        stored_kwh: float,
        import_kw: Array,
        series: Array | None = None,
    ) -> tuple[float, float]:
        """Money and store after a stretch; `import_kw` is written into."""
        battery = self._battery
        floor, ceiling = battery.min_soc, battery.max_soc
        if intent.until_soc is not None:
            if intent.mode is IntentMode.CHARGE:
                ceiling = min(ceiling, intent.until_soc)
            else:
                floor = max(floor, intent.until_soc)
        edges_kwh = np.array([floor, ceiling]) * battery.capacity_kwh
        figures = (self._problem.step_h, self._problem.kept, battery.charge_efficiency, battery.discharge_efficiency)
        eur, stored = _carry_out(
            not intent.has_set_point,
            intent.battery_kw,
            stored_kwh,
            edges_kwh,
            (*figures, self._problem.decision_wear),
            (self._series if series is None else series)[:, first : last + 1],
            self._commitments[:, :, first : last + 1],
            import_kw[first : last + 1],
            np.inf if intent.export_limit_kw is None else intent.export_limit_kw,
        )
        return float(eur), float(stored)

    def _demand(self, import_kw: Array) -> float:
        if not self._problem.peaks:
            return 0.0
        return float(self._problem.stack.demand_eur(import_kw[np.newaxis])[0])


def _laid_out(problem: DispatchProblem) -> Array:
    """K commitments as power, price above, price below, and whether they are the battery's; shape (4, K, T)."""
    rows = [
        (c.at_kw, c.above_eur_per_kwh, c.below_eur_per_kwh, np.full(problem.intervals, float(c.of == "battery")))
        for c in problem.commitments
    ]
    return np.ascontiguousarray(np.array(rows).reshape(len(rows), 4, problem.intervals).swapaxes(0, 1))


@njit(cache=True)
def _carry_out(
    follows: bool,
    set_point_kw: float,
    stored_kwh: float,
    edges_kwh: npt.NDArray[np.float64],
    figures: tuple[float, float, float, float, float],
    series: Array,
    commitments: Array,
    import_kw: Array,
    most_sold_kw: float,
) -> tuple[float, float]:
    surplus_kw, import_price, export_price, max_charge_kw, max_discharge_kw, export_limit_kw = series
    step_h, kept, charge_efficiency, discharge_efficiency, wear = figures
    eur = 0.0
    for t in range(surplus_kw.shape[0]):
        stored_kwh *= kept
        wanted_kw = -surplus_kw[t] if follows else set_point_kw
        room_kw = max(0.0, edges_kwh[1] - stored_kwh) / charge_efficiency / step_h
        held_kw = max(0.0, stored_kwh - edges_kwh[0]) * discharge_efficiency / step_h
        charge_kw = min(max(0.0, -wanted_kw), max_charge_kw[t], room_kw)
        discharge_kw = min(max(0.0, wanted_kw), max_discharge_kw[t], held_kw)
        stored_kwh += step_h * (charge_kw * charge_efficiency - discharge_kw / discharge_efficiency)
        drawn_kw = charge_kw - discharge_kw - surplus_kw[t]
        import_kw[t] = max(0.0, drawn_kw)
        sold_kw = min(max(0.0, -drawn_kw), export_limit_kw[t], most_sold_kw)
        eur += step_h * (import_price[t] * import_kw[t] - export_price[t] * sold_kw + wear * discharge_kw)
        for k in range(commitments.shape[1]):
            at_kw, above, below, of_battery = commitments[:, k, t]
            beyond_kw = (charge_kw - discharge_kw if of_battery > 0 else import_kw[t] - sold_kw) - at_kw
            eur += step_h * (above * beyond_kw if beyond_kw > 0 else -below * beyond_kw)
    return eur, stored_kwh
