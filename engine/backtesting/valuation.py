"""One valuer for every account of the same history, so that their differences add up.

Import and export are separate registers. What is left in the store counts at one worth in all accounts, so that nobody
gains by ending empty.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Site
from engine.backtesting.reality import Reality
from engine.storage_kernels import INFINITE, Trace


@dataclass(frozen=True, eq=False)
class Account:
    """What one account of a history says by interval, shape (T,) each; energies at the AC side [kWh]."""

    imported: Array
    exported: Array
    charged: Array
    discharged: Array
    stored_change: Array
    """What the store really gained [kWh]."""
    left_eur: Array | float = 0.0
    """What would have been left in store besides, by the plan's own worth of it [EUR]."""

    def cost_eur(self, reality: Reality, site: Site, stored_worth: float) -> Array:
        """Energy bought less sold plus wear, less what the store gained, by interval [EUR].

        Args:
            reality: The prices.
            site: The battery's wear.
            stored_worth: What a stored kWh counts [EUR/kWh].
        """
        money: Array = reality.import_price * self.imported - reality.export_price * self.exported
        worn = site.battery.wear_eur_per_kwh * self.discharged
        return money + worn - stored_worth * self.stored_change - self.left_eur


def metered(trace: Trace, initial_kwh: float) -> Account:
    """By the registers: import and export of every minute counted apart."""
    change = np.diff(trace.stored, prepend=initial_kwh)
    return Account(trace.imported, trace.exported, trace.charged, trace.discharged, change)


def acted(trace: Trace, reality: Reality, initial_kwh: float) -> Account:
    """By the mean power that the battery really had."""
    net = reality.mean_load_kw * reality.step_h - trace.generated + trace.charged - trace.discharged
    change = np.diff(trace.stored, prepend=initial_kwh)
    return Account(np.maximum(net, 0.0), np.maximum(-net, 0.0), trace.charged, trace.discharged, change)


@dataclass(frozen=True, eq=False)
class Orders:
    """What orders would have come to, each for its interval alone and from where the store really was at its start.

    What they would have left in store more, or less, than really was counts by the plan's own worth of a stored kWh:
    it is there for the hours that the plan keeps it for, not for the mean of all times.
    """

    trace: Trace
    reality: Reality
    site: Site
    initial_kwh: float
    worth: Array
    """Of a kWh in store after each interval [EUR/kWh], shape (T,)."""

    def commanded(self) -> Account:
        """By the orders given, as far as rating and store allow on the interval's mean load and PV."""
        told_kw = np.where(self.trace.follows, self._net_kw, self.trace.set_point_kw)
        return self._carried_out(told_kw, self.trace.export_limit_kw)

    def planned(self) -> Account:
        """By the plans, had each known the mean load and PV of its interval: the cheapest of three.

        They are the order given, the plan's power and following the house, nothing being sold at a loss that may be
        curtailed.
        """
        limit_kw = np.where(self.reality.export_price < 0, 0.0, INFINITE)
        best = self.commanded()
        for wanted_kw in (self.trace.planned_kw, self._net_kw):
            best = self._cheaper(best, self._carried_out(wanted_kw, limit_kw))
        return best

    @property
    def _net_kw(self) -> Array:
        return self.reality.mean_load_kw - self.reality.mean_pv_kw

    def _cheaper(self, one: Account, other: Account) -> Account:
        """The cheaper of two in each interval."""
        costs_eur = [each.cost_eur(self.reality, self.site, 0.0) for each in (one, other)]
        takes = costs_eur[1] < costs_eur[0]
        return Account(*(np.where(takes, vars(other)[name], value) for name, value in vars(one).items()))

    def _carried_out(self, wanted_kw: Array, export_limit_kw: Array) -> Account:
        battery, grid, pv_kw, h = self.site.battery, self.site.grid, self.reality.mean_pv_kw, self.reality.step_h
        before = np.concatenate([[self.initial_kwh], self.trace.stored[:-1]])
        room_kw = np.maximum(battery.max_soc * battery.capacity_kwh - before, 0.0) / battery.charge_efficiency / h
        held_kw = np.maximum(before - battery.min_soc * battery.capacity_kwh, 0.0) * battery.discharge_efficiency / h
        battery_kw = np.clip(
            wanted_kw, -np.minimum(room_kw, battery.max_charge_kw), np.minimum(held_kw, battery.max_discharge_kw)
        )
        if grid.export_limit_kw is not None:
            export_limit_kw = np.minimum(export_limit_kw, grid.export_limit_kw)
        over_kw = np.maximum(battery_kw - self._net_kw - export_limit_kw, 0.0)
        can = self.site.pv is not None and self.site.pv.curtailable
        curtailed_kw = np.minimum(over_kw, pv_kw) if can else np.zeros_like(over_kw)
        battery_kw = battery_kw - np.minimum(np.maximum(battery_kw, 0.0), over_kw - curtailed_kw)
        bought = (self._net_kw + curtailed_kw - battery_kw) * h
        charged, discharged = np.maximum(-battery_kw, 0.0) * h, np.maximum(battery_kw, 0.0) * h
        change = charged * battery.charge_efficiency - discharged / battery.discharge_efficiency
        change = change - before * (1 - battery.kept_after(h))
        real = np.diff(self.trace.stored, prepend=self.initial_kwh)
        left_eur = self.worth * (change - real)
        return Account(np.maximum(bought, 0.0), np.maximum(-bought, 0.0), charged, discharged, real, left_eur)


def worth_by_plans(trace: Trace, reality: Reality, site: Site, otherwise: float) -> Array:
    """What the plans held a kWh in store for after each interval, shape (T,) [EUR/kWh].

    Args:
        trace: The history.
        reality: Its prices: what a missing limit or reserve was held for beyond them is no money.
        site: The battery.
        otherwise: Where no plan says [EUR/kWh].
    """
    dearest = float(reality.import_price.max()) / site.battery.charge_efficiency
    least = min(0.0, float(reality.export_price.min()))
    worth: Array = np.clip(np.where(np.isnan(trace.worth), otherwise, trace.worth), least, dearest)
    return worth


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
