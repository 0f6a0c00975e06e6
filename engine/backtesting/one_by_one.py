"""The slower way along a history: every plan solved by itself, as live planning does, where the kernel cannot plan.

Forecasts, orders, the battery and the trace are those of `engine.storage_kernels.roll`; each plan begins with what the
battery has used of its budgets and with the capacity that was sold before.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine import storage_dp
from engine.arrays import Array
from engine.backtesting.reality import Reality
from engine.balancing import BLOCK_MINUTES, ProductName
from engine.budgets import counted, local_midnight, spent
from engine.effort import MONEY_TOLERANCE_EUR, Effort
from engine.errors import SolveError
from engine.planner import solve
from engine.problem import ProblemStack
from engine.storage_kernels import Caps, Habits, House, Inverter, Trace, act, most_import
from engine.strategy import DAYS_PER_YEAR, Strategy

if TYPE_CHECKING:
    from engine.backtesting.rolling import Rolling

# No floor of prices lies below it: capacity of an hour that is past its auction is not offered [EUR/kW/h].
NOT_FOR_SALE = -1e-9
# Less is not sold [kW].
SMALLEST_BID_KW = 1e-6


def reason(template: ProblemStack, reality: Reality) -> str:
    """Why the plans of a history are to be solved one by one; empty where the kernel can plan them."""
    strategy, battery = template.strategy, template.sites[0].battery
    if strategy.budgeted:
        return "a budget of cycles or energy ties intervals together"
    if battery.tapered:
        return "power falls with the state of charge"
    if strategy.prefer == "smoother_power":
        return "smoother power is sought among plans of one cost"
    sunny = replace(template, pv_kw=np.full((1, 1), reality.mean_pv_kw.max(initial=0.0)))
    beyond, why = storage_dp.beyond(sunny)
    return why if beyond[0] else ""


@dataclass(frozen=True, eq=False)
class OneByOne:
    """What plans and battery go by along the way, and what they leave behind."""

    rolling: Rolling
    reality: Reality
    house: House
    inverter: Inverter
    habits: Habits
    outlook: Array
    """Worth of a stored kWh by time of day, as for `roll`."""
    trace: Trace
    sold_kw: dict[ProductName, Array] = field(default_factory=dict)
    """Balancing capacity sold, by product, shape (T,) each."""

    def roll(self, stack: ProblemStack, first: int, caps: Caps, stored: float) -> float:
        """Plan and act from interval `first` on, a row of `stack` for each plan; returns the store at the end.

        Args:
            stack: The problems.
            first: Interval of the first plan.
            caps: What import is to be held to.
            stored: Energy in store at the first [kWh].

        Raises:
            SolveError: A plan found no proved optimum in its time.
        """
        every = self.rolling.every
        for row in range(len(stack)):
            begin = first + row * every
            count = min(every, len(self.reality) - begin)
            one = self._as_it_is(stack.rows(row, row + 1), begin, caps, stored)
            problem = one.site(0)
            try:
                decisions = solve(problem, "auto", Effort.of(None, MONEY_TOLERANCE_EUR, problem.intervals)).decisions
            except SolveError as error:
                raise SolveError(f"the plan of {self.reality.index[begin].isoformat()}: {error}") from error
            charged, discharged = one.step_h * decisions.charge_kw[0], one.step_h * decisions.discharge_kw[0]
            taken = discharged / self.inverter.eta_out
            # Who follows the house takes what it asks for, whatever is left of a budget or sold as capacity.
            holds = spent(problem.budgets, taken, self.inverter.capacity)
            for held in decisions.balancing_kw.values():
                holds |= held[0] > SMALLEST_BID_KW
            stored = act(
                storage_dp.kernel_input(one, storage_dp.NO_STEERING),
                charged * self.inverter.eta_in - taken,
                one.step_h * decisions.curtailment_kw[0],
                decisions.marginal_value_eur_per_kwh[0],
                *(holds, begin, count, self.house, self.inverter, self.habits, stored, self.outlook, self.trace),
            )
            for name in one.balancing:
                self._sell(name, decisions.balancing_kw[name][0], begin)
        return stored

    def _as_it_is(self, one: ProblemStack, begin: int, caps: Caps, stored: float) -> ProblemStack:
        """The problem of a decision from where the battery really is."""
        horizon, reality = self.rolling.horizon, self.reality
        changed: dict[str, Any] = {
            "index": pd.date_range(reality.index[begin], periods=horizon, freq=reality.step),
            "strategy": self._counted(begin),
            "initial_soc": np.full((1, 1), stored / self.inverter.capacity),
            # As for `roll`: what is left was valued by an earlier plan, and must not raise what a breach costs in this.
            "breach_of_whole": one.breach,
            "terminal_up_to_soc": np.full(1, np.inf),
            "terminal_value": np.full((1, 1), self.outlook[(begin + horizon) % len(self.outlook)]),
            "wanted": {**one.wanted, **self._capacity(one, begin)},
        }
        if len(caps.import_kw):
            most_kw = most_import(caps, begin, horizon, reality.step_h, self.trace.imported) / reality.step_h
            changed["import_limit_kw"] = np.minimum(one.import_limit_kw, most_kw)
        return replace(one, **changed)

    def _counted(self, begin: int) -> Strategy:
        """What is wanted, with what was used of budgets before an interval."""
        strategy, index, timezone = self.rolling.strategy, self.reality.index, self.rolling.site.timezone
        if not strategy.budgeted:
            return strategy
        first_day = local_midnight(index[0].to_pydatetime(), timezone)
        full_kwh = self.inverter.eta_out * self.inverter.capacity

        def cycles_since(start: Any, until: int = begin) -> float:
            of_before = strategy.cycles_today_so_far if start >= first_day else strategy.cycles_this_year_so_far
            used = self.trace.discharged[index.searchsorted(pd.Timestamp(start)) : until].sum() / full_kwh
            return float(used) + (of_before if start <= index[0] else 0.0)

        now = index[begin].to_pydatetime()
        today = local_midnight(now, timezone)
        found = counted(strategy, now, timezone, cycles_since)
        if strategy.warranty_years is None:
            return found
        elapsed = strategy.warranty_elapsed_years + (today.date() - first_day.date()).days / DAYS_PER_YEAR
        used_mwh = strategy.warranty_used_mwh
        if today > first_day:
            used = cycles_since(first_day, int(index.searchsorted(pd.Timestamp(today))))
            used_mwh += used * self.inverter.capacity / 1e3
        over = {"warranty_throughput_mwh": None, "warranty_years": None}
        left = {"warranty_used_mwh": used_mwh, "warranty_elapsed_years": elapsed}
        return found.model_copy(update=left if elapsed < strategy.warranty_years else over)

    @cached_property
    def _gate(self) -> npt.NDArray[np.int64]:
        """When the auction of each interval's hour was over: when its prices were told, at the latest when it began."""
        hours = self.reality.index.floor(f"{BLOCK_MINUTES}min").asi8
        return np.asarray(np.minimum(self.reality.known_at, hours))

    def _capacity(self, one: ProblemStack, begin: int) -> dict[str, Array]:
        """Capacity that is sold, and prices of what can still be."""
        found = {}
        ahead = begin + np.arange(self.rolling.horizon)
        inside = np.minimum(ahead, len(self.reality) - 1)
        over = (self._gate[inside] <= self.reality.index.asi8[begin]) & (ahead < len(self.reality))
        for name in one.balancing:
            price, sold = f"balancing_price.{name}", f"balancing_sold_kw.{name}"
            if sold in one.wanted:
                over = np.ones_like(over)
            else:
                found[sold] = np.where(over, self.sold_kw[name][inside], 0.0)[np.newaxis]
            found[price] = np.where(over, NOT_FOR_SALE, one.wanted[price])
        return found

    def _sell(self, name: ProductName, held_kw: Array, begin: int) -> None:
        """Sell what a plan holds in hours whose auction is over before the next plan, where the price is enough."""
        reality, floor = self.reality, self.rolling.strategy.balancing_price_floor_eur_per_kw_h
        if f"balancing_sold_kw.{name}" in reality.others:
            return
        now = reality.index.asi8[begin]
        gate = self._gate[begin : begin + self.rolling.horizon]
        hours = reality.index[begin : begin + len(gate)].floor(f"{BLOCK_MINUTES}min")
        end = reality.index[begin] + self.rolling.horizon * reality.step
        whole = hours + pd.Timedelta(minutes=BLOCK_MINUTES) <= end
        due = whole & (now < gate) & (gate <= now + self.rolling.every * reality.step.value)
        price = pd.Series(reality.others[f"balancing_price.{name}"][begin : begin + len(gate)])
        paid = price.groupby(hours).transform("mean").to_numpy() >= floor
        wanted = due & paid & (held_kw[: len(gate)] > SMALLEST_BID_KW)
        self.sold_kw[name][begin : begin + len(gate)][wanted] = held_kw[: len(gate)][wanted]
