"""One valuer for every account of the same history, so that their differences add up.

Import and export are separate registers. What is left in the store counts at one worth in all accounts, so that nobody
gains by ending empty.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Site
from engine.backtesting.deals import Deals, Earned, earned
from engine.backtesting.reality import Reality
from engine.balancing import most_kw
from engine.storage_kernels import Trace
from engine.strategy import Strategy


@dataclass(frozen=True, eq=False)
class Account:
    """What one account of a history says by interval, shape (T,) each; energies at the AC side [kWh]."""

    imported: Array
    exported: Array
    charged: Array
    discharged: Array
    stored_change: Array
    """What the store gained [kWh]."""
    earned: Earned | None = None
    """What markets paid for it; None where the strategy has none."""

    def cost_eur(self, reality: Reality, site: Site, stored_worth: float) -> Array:
        """Energy bought less sold plus wear, less what markets paid and the store gained, by interval [EUR].

        Args:
            reality: The prices.
            site: The battery's wear.
            stored_worth: What a stored kWh counts [EUR/kWh].
        """
        money: Array = reality.import_price * self.imported - reality.export_price * self.exported
        if self.earned is not None:
            money = money - self.earned.total_eur
        return money + site.battery.wear_eur_per_kwh * self.discharged - stored_worth * self.stored_change


def settled(
    account: Account, deals: Deals, reality: Reality, site: Site, strategy: Strategy, initial_kwh: float
) -> Account:
    """The account with what markets paid for it, where the strategy has any."""
    if not (strategy.trades or most_kw(strategy)):
        return account
    flows = account.imported, account.exported, account.charged, account.discharged
    stored = initial_kwh + np.concatenate([[0.0], np.cumsum(account.stored_change)])
    return replace(account, earned=earned(deals, flows, stored, reality, site, strategy))


def metered(trace: Trace, initial_kwh: float) -> Account:
    """By the registers: import and export of every minute counted apart."""
    change = np.diff(trace.stored, prepend=initial_kwh)
    return Account(trace.imported, trace.exported, trace.charged, trace.discharged, change)


def acted(trace: Trace, reality: Reality, initial_kwh: float) -> Account:
    """By the mean power that the battery really had."""
    net = reality.mean_load_kw * reality.step_h - trace.generated + trace.charged - trace.discharged
    change = np.diff(trace.stored, prepend=initial_kwh)
    return Account(np.maximum(net, 0.0), np.maximum(-net, 0.0), trace.charged, trace.discharged, change)


def commanded(trace: Trace, reality: Reality, site: Site, initial_kwh: float) -> Account:
    """By the orders, were they carried out to the letter on the interval's mean load and PV."""
    battery, h = site.battery, reality.step_h
    before = np.concatenate([[initial_kwh], trace.stored[:-1]])
    room_kw = np.maximum(battery.max_soc * battery.capacity_kwh - before, 0.0) / battery.charge_efficiency / h
    held_kw = np.maximum(before - battery.min_soc * battery.capacity_kwh, 0.0) * battery.discharge_efficiency / h
    follow_kw = np.clip(
        reality.mean_load_kw - reality.mean_pv_kw,
        -np.minimum(room_kw, battery.max_charge_kw),
        np.minimum(held_kw, battery.max_discharge_kw),
    )
    wanted_kw = np.where(trace.follows, follow_kw, trace.set_point_kw)
    return _ideal(wanted_kw, trace.export_limit_kw, reality, site)


def planned(trace: Trace, reality: Reality, site: Site) -> Account:
    """By the plans made on forecasts, were their powers held on the real load and PV."""
    curtailed_kw = np.minimum(trace.curtailed_kw, reality.mean_pv_kw)
    return _flows(trace.planned_kw, curtailed_kw, reality, site)


def idle(reality: Reality, site: Site) -> Account:
    """Without a battery; PV gives way to the connection's limit of export only."""
    surplus_kw = reality.pv_kw - reality.load_kw
    sold_kw = np.maximum(surplus_kw, 0.0)
    if site.grid.export_limit_kw is not None and site.pv is not None and site.pv.curtailable:
        sold_kw = np.minimum(sold_kw, site.grid.export_limit_kw)
    none = np.zeros(len(reality))
    h = reality.step_h
    return Account(np.maximum(-surplus_kw, 0.0).mean(axis=1) * h, sold_kw.mean(axis=1) * h, none, none, none)


def of_plan(table: pd.DataFrame, step_h: float, capacity_kwh: float, initial_kwh: float) -> Account:
    """By a plan's table."""
    stored = table["soc"].to_numpy() * capacity_kwh
    imported, exported, charged, discharged = (
        table[name].to_numpy() * step_h for name in ("import_kw", "export_kw", "charge_kw", "discharge_kw")
    )
    return Account(imported, exported, charged, discharged, np.diff(stored, prepend=initial_kwh))


def _ideal(battery_kw: Array, export_limit_kw: Array, reality: Reality, site: Site) -> Account:
    surplus_kw = reality.mean_pv_kw - reality.mean_load_kw
    over_kw = np.maximum(surplus_kw + battery_kw - export_limit_kw, 0.0)
    can = site.pv is not None and site.pv.curtailable
    curtailed_kw = np.minimum(over_kw, reality.mean_pv_kw) if can else np.zeros_like(over_kw)
    return _flows(battery_kw, curtailed_kw, reality, site)


def _flows(battery_kw: Array, curtailed_kw: Array, reality: Reality, site: Site) -> Account:
    h, battery = reality.step_h, site.battery
    net = (reality.mean_load_kw - reality.mean_pv_kw + curtailed_kw - battery_kw) * h
    charged, discharged = np.maximum(-battery_kw, 0.0) * h, np.maximum(battery_kw, 0.0) * h
    change = charged * battery.charge_efficiency - discharged / battery.discharge_efficiency
    return Account(np.maximum(net, 0.0), np.maximum(-net, 0.0), charged, discharged, change)
