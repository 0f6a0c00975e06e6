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
from engine.assets import Battery, PowerAtSoc
from engine.backtesting import valuation
from engine.backtesting.deals import Deals
from engine.backtesting.reality import Reality
from engine.backtesting.rolling import Rolling, request_of
from engine.backtesting.valuation import Account
from engine.balancing import most_kw
from engine.planner import optimise
from engine.strategy import Strategy


def perfect_foresight(
    rolling: Rolling, reality: Reality, initial_soc: float, worth: float, discharged_kwh: Array
) -> Account:
    """The optimum of the whole history, all of it known; by the means of its intervals.

    Args:
        rolling: Site, strategy, charges on peaks.
        reality: What was.
        initial_soc: State of charge at the start [fraction].
        worth: Of a kWh left in store [EUR/kWh].
        discharged_kwh: What the battery that the bound is for gave by interval, shape (T,); its budgets are no smaller
            than that needed.

    Raises:
        SolveError: No proved optimum was found in time.
    """
    battery = rolling.site.battery
    site = rolling.site.model_copy(update={"battery": _of_an_interval(battery, reality.step_h)})
    taken = reality.series(discharged_kwh / battery.discharge_efficiency / battery.capacity_kwh, "cycles")
    strategy = _no_less_than(rolling.strategy, taken, rolling.site.timezone, battery.capacity_kwh)
    request = request_of(replace(rolling, site=site, strategy=strategy), reality)
    asked = vars(request) | {"initial_soc": initial_soc, "terminal_value_eur_per_kwh": worth}
    table = optimise(site, **asked | {"demand_charges": rolling.charges}).table
    initial_kwh = initial_soc * battery.capacity_kwh
    account = valuation.of_plan(table, reality.step_h, battery.capacity_kwh, initial_kwh)
    deals = Deals(
        trade_kw=table["trade_kw"].to_numpy() if strategy.intraday else None,
        sold_kw={name: table[f"{name}_kw"].to_numpy() for name in most_kw(strategy)},
    )
    return valuation.settled(account, deals, reality, rolling.site, strategy, initial_kwh)


def _no_less_than(strategy: Strategy, cycles: pd.Series, timezone: str, capacity_kwh: float) -> Strategy:
    """Budgets of a day and a year that are no smaller than what was used of them; a warranty as one of each day."""
    if not strategy.budgeted:
        return strategy
    local = pd.DatetimeIndex(cycles.index).tz_convert(timezone)
    pace = strategy.pace_kwh_per_day
    changed: dict[str, float | None] = {"warranty_throughput_mwh": None, "warranty_years": None}
    by_day = cycles.groupby(local.date).sum()
    by_day.iloc[0] += strategy.cycles_today_so_far
    of_a_day = [strategy.cycles_per_day, None if pace is None else pace / capacity_kwh]
    if any(cap is not None for cap in of_a_day):
        asked = min(cap for cap in of_a_day if cap is not None)
        changed["cycles_per_day"] = max(asked, float(by_day.max()))
    if strategy.cycles_per_year is not None:
        by_year = cycles.groupby(local.year).sum()
        by_year.iloc[0] += strategy.cycles_this_year_so_far
        changed["cycles_per_year"] = max(strategy.cycles_per_year, float(by_year.max()))
    return strategy.model_copy(update=changed)


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
