"""Perfect foresight: the optimum of a whole history at once, which no way of planning and acting beats.

Plans keep budgets and falling power by whole intervals, a battery goes by the minute: one that follows the house may
use a little more of a day's budget, or charge more before its power falls than the interval's end would let it. The
bound is given as much.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Battery, PowerAtSoc, Site
from engine.backtesting import valuation
from engine.backtesting.deals import Deals
from engine.backtesting.reality import Reality
from engine.backtesting.rolling import Rolling, request_of
from engine.backtesting.valuation import Account
from engine.balancing import most_kw
from engine.decisions import reckon
from engine.effort import MONEY_TOLERANCE_EUR, Effort
from engine.inputs import build_stack
from engine.plan import assemble
from engine.planner import optimise, solve
from engine.request import Request


def perfect_foresight(
    rolling: Rolling, reality: Reality, initial_soc: float, worth: float, discharged_kwh: Array
) -> Account:
    """The optimum of the whole history, all of it known; by the means of its intervals.

    Args:
        rolling: Site, strategy, charges on peaks.
        reality: What was.
        initial_soc: State of charge at the start [fraction].
        worth: Of a kWh left in store [EUR/kWh].
        discharged_kwh: What the battery that the bound is for gave by interval, shape (T,); no budget is smaller than
            what that took.

    Raises:
        SolveError: No proved optimum was found in time.
    """
    battery, strategy = rolling.site.battery, rolling.strategy
    site = rolling.site.model_copy(update={"battery": _of_an_interval(battery, reality.step_h)})
    request = replace(
        request_of(replace(rolling, site=site), reality),
        initial_soc=initial_soc,
        terminal_value_eur_per_kwh=worth,
        demand_charges=rolling.charges,
    )
    taken_kwh = discharged_kwh / battery.discharge_efficiency
    table = _with_budgets_of(site, request, taken_kwh) if strategy.budgeted else optimise(site, **vars(request)).table
    initial_kwh = initial_soc * battery.capacity_kwh
    account = valuation.of_plan(table, reality.step_h, battery.capacity_kwh, initial_kwh)
    deals = Deals(
        trade_kw=table["trade_kw"].to_numpy() if strategy.intraday else None,
        sold_kw={name: table[f"{name}_kw"].to_numpy() for name in most_kw(strategy)},
    )
    return valuation.settled(account, deals, reality, rolling.site, strategy, initial_kwh)


def _with_budgets_of(site: Site, request: Request, taken_kwh: Array) -> pd.DataFrame:
    """The optimum where each budget is no smaller than what was taken in its time; no searches know of such."""
    stack = build_stack([site], request)
    problem, capacity = stack.site(0), site.battery.capacity_kwh
    budgets = tuple(
        replace(budget, cycles=max(budget.cycles, (float(budget.used_kwh(taken_kwh)) - (budget.kwh or 0.0)) / capacity))
        for budget in problem.budgets
    )
    effort = Effort.of(None, MONEY_TOLERANCE_EUR, problem.intervals)
    solution = solve(replace(problem, budgets=budgets), "lp", effort)
    return assemble(problem, solution, reckon(stack, solution.decisions)).table


def _of_an_interval(battery: Battery, step_h: float) -> Battery:
    """A battery whose power falls so much later that no interval ends before a minute of it was there."""
    rise = battery.max_charge_kw * battery.charge_efficiency * step_h / battery.capacity_kwh
    fall = battery.max_discharge_kw / battery.discharge_efficiency * step_h / battery.capacity_kwh
    changed = {
        "charge_kw_at_soc": _shifted(battery.charge_kw_at_soc, rise),
        "discharge_kw_at_soc": _shifted(battery.discharge_kw_at_soc, -fall),
    }
    return battery.model_copy(update=changed)


def _shifted(points: PowerAtSoc, by: float) -> PowerAtSoc:
    """The same line at states of charge so much higher, within 0..1."""
    if not points:
        return ()
    soc, kw = np.array(points).T
    inside = [(at + by, power) for at, power in points if 0 < at + by < 1]
    edges = [(edge, float(np.interp(edge - by, soc, kw))) for edge in (0.0, 1.0)]
    return (edges[0], *inside, edges[1])
