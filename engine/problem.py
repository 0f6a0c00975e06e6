"""What the solvers are given: plain arrays of one site (`DispatchProblem`) or of many (`ProblemStack`).

The stack is the one place where limits, guards and prices become what a solver reckons with; a single site is a stack
of one. `engine.inputs` builds it and refuses what cannot become a plan.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array, Mask
from engine.assets import Battery, Site
from engine.balancing import BalancingOffer, ProductName, most_kw, offers
from engine.breaches import BreachPrices, breach_prices
from engine.budgets import CycleBudget, cycle_budgets
from engine.commitments import Commitment, money_commitments, promises, wishes
from engine.demand import DemandCharge, PeakPeriod, peak_periods
from engine.figures import SiteFigures
from engine.strategy import Strategy

# Below this a price is none to a solver with tolerances [EUR/kWh].
NEXT_TO_NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class DispatchProblem:
    """One site over one horizon; arrays of shape (T,), powers in kW at the AC side, prices in EUR/kWh."""

    stack: ProblemStack
    """The same site as a stack of one."""
    site: Site
    strategy: Strategy
    index: pd.DatetimeIndex
    step_h: float
    import_price: Array
    export_price: Array
    decision_import_price: Array
    """`import_price` with the carbon of a bought kWh weighed in; what solvers go by. Self-consumption has its own."""
    decision_export_price: Array
    decision_wear: float
    """Wear and what a discharged kWh must earn besides."""
    lowest_price: Array
    """The least that a kWh drawn may cost at the margin, commitments included."""
    load_kw: Array
    pv_kw: Array
    """Power that the sun offers."""
    pv_curtailable: bool
    import_limit_kw: Array
    """Infinite where no limit binds."""
    export_limit_kw: Array
    max_charge_kw: Array
    """What rating, availability and guards leave."""
    max_discharge_kw: Array
    reserve_soc: Array
    """Soft floor of the state of charge at the end of the interval."""
    initial_soc: float
    final_soc_min: float
    """Minus infinity where none is asked for."""
    terminal_up_to_soc: Array
    """Upper edges of the pieces of the terminal value, shape (K,); the last is infinite."""
    terminal_value: Array
    """What a kWh of that piece is worth at the end, shape (K,), falling [EUR/kWh]."""
    surplus_kw: Array
    idle_over_import_kw: Array
    idle_over_export_kw: Array
    most_import_kw: Array
    most_export_kw: Array
    breach: BreachPrices[float]
    burning_pays: Mask
    selling_beats_buying: Mask
    solar_guard_binds: Mask
    budgets: tuple[CycleBudget, ...]
    peaks: tuple[PeakPeriod, ...]
    commitments: tuple[Commitment, ...]
    balancing: tuple[BalancingOffer, ...]

    @property
    def intervals(self) -> int:
        """Number of intervals T."""
        return len(self.index)

    @property
    def battery(self) -> Battery:
        """The site's battery."""
        return self.site.battery

    @property
    def headroom_floor_soc(self) -> Array:
        """Store below this carries no balancing capacity: the band's edge, and a reserve that no money gives up."""
        priced = self.strategy.reserve_breach_price is not None
        return np.maximum(self.battery.min_soc, 0.0 if priced else self.reserve_soc) + np.zeros(self.intervals)

    @property
    def kept(self) -> float:
        """Part of the store that is left after an interval at rest."""
        return self.battery.kept_after(self.step_h)

    def terminal_worth_eur(self, soc: float) -> float:
        """What a store filled so far is worth at the end [EUR]."""
        return float(self.stack.terminal_worth_eur(np.array([soc]))[0])


@dataclass(frozen=True, eq=False)
class Zone:
    """The sites of one time zone, and what its calendar couples over the horizon."""

    numbers: npt.NDArray[np.int64]
    """Which sites they are, rising."""
    budgets: tuple[CycleBudget, ...]
    peaks: tuple[PeakPeriod, ...]


@dataclass(frozen=True, eq=False)
class ProblemStack:
    """N sites over one horizon: series of shape (N, T), figures of shape (N, 1).

    A series that all sites share has 1 in place of N, one that never changes 1 in place of T.
    """

    sites: Sequence[Site]
    figures: SiteFigures
    strategy: Strategy
    demand_charges: tuple[DemandCharge, ...]
    index: pd.DatetimeIndex
    step_h: float
    import_price: Array
    export_price: Array
    carbon_kg_per_kwh: Array
    load_kw: Array
    pv_kw: Array
    import_limit_kw: Array
    export_limit_kw: Array
    charge_available_kw: Array
    """Most charging power that is available besides the rating."""
    discharge_available_kw: Array
    reserve_soc: Array
    initial_soc: Array
    final_soc_min: Array
    terminal_up_to_soc: Array
    terminal_value: Array
    wanted: Mapping[str, Array] = field(default_factory=dict)
    """Series that only some strategies need, by their name in `Request`, those of a product as `balancing_price.fcr_n`,
    and the weights of self-consumption; empty for most."""
    breach_of_whole: BreachPrices[Array] | None = None
    """Of a part of a horizon: the breach prices of the whole, so that both weigh alike."""

    def __len__(self) -> int:
        return len(self.sites)

    def rows(self, first: int, last: int) -> ProblemStack:
        """The sites from `first` to before `last` as a stack of their own."""
        cut: dict[str, Any] = {
            name: _rows(getattr(self, name), first, last) for name in (*_GIVEN_SERIES, *_GIVEN_FIGURES)
        }
        cut["wanted"] = {name: _rows(series, first, last) for name, series in self.wanted.items()}
        return replace(self, sites=self.sites[first:last], figures=self.figures.some(first, last), **cut)

    def part(self, first: int, last: int, initial_soc: float) -> ProblemStack:
        """Intervals `first` to before `last`, starting at a state of charge; without the end's demands if it is cut."""
        changed: dict[str, Any] = {
            name: _columns(series, first, last)
            for name, series in ((name, getattr(self, name)) for name in _GIVEN_SERIES)
        }
        changed["wanted"] = {name: _columns(series, first, last) for name, series in self.wanted.items()}
        if last < len(self.index):
            changed["final_soc_min"] = np.full_like(self.final_soc_min, -np.inf)
            changed["terminal_value"] = np.zeros_like(self.terminal_value)
        start = np.full_like(self.initial_soc, initial_soc)
        return replace(self, index=self.index[first:last], initial_soc=start, breach_of_whole=self.breach, **changed)

    @property
    def capacity_kwh(self) -> Array:
        """Nominal energy."""
        return self.figures.capacity_kwh

    @property
    def charge_efficiency(self) -> Array:
        """Energy stored per AC energy taken."""
        return self.figures.charge_efficiency

    @property
    def discharge_efficiency(self) -> Array:
        """AC energy given per energy taken from the store."""
        return self.figures.discharge_efficiency

    @property
    def wear_eur_per_kwh(self) -> Array:
        """Cost of ageing per kWh discharged."""
        return self.figures.wear_eur_per_kwh

    @cached_property
    def kept(self) -> Array:
        """Part of the store that is left after an interval at rest."""
        return np.asarray((1.0 - self.figures.standing_loss_per_h) ** self.step_h)

    @cached_property
    def pv_curtailable(self) -> Mask:
        """Whether a plan may use less than the sun offers."""
        return self.figures.pv_curtailable > 0

    @cached_property
    def decision_import_price(self) -> Array:
        """Import price with carbon weighed in; of self-consumption what a bought kWh weighs."""
        if self.strategy.objective == "self_consumption":
            return self.wanted["weight_of_import"]
        if not self.strategy.carbon_eur_per_kg:
            return self.import_price
        return self.import_price + self.strategy.carbon_eur_per_kg * self.carbon_kg_per_kwh

    @cached_property
    def decision_export_price(self) -> Array:
        """Export price, or of self-consumption what a kWh fed in weighs."""
        if self.strategy.objective == "self_consumption":
            return self.wanted["weight_of_export"]
        return self.export_price

    @cached_property
    def decision_wear(self) -> Array:
        """What a discharged kWh must earn, shape (N, 1) [EUR/kWh]."""
        if self.strategy.objective == "self_consumption":
            return np.zeros_like(self.wear_eur_per_kwh)
        return self.wear_eur_per_kwh + self.strategy.throughput_price_eur_per_kwh

    @cached_property
    def commitments(self) -> tuple[Commitment, ...]:
        """What missing a power costs."""
        return (*money_commitments(self), *wishes(self), *promises(self))

    @cached_property
    def balancing(self) -> tuple[ProductName, ...]:
        """Products of balancing capacity that are offered."""
        return tuple(most_kw(self.strategy))

    @cached_property
    def lowest_price(self) -> Array:
        """The least that a kWh drawn may cost at the margin, commitments included."""
        below = sum(commitment.below_eur_per_kwh for commitment in self.commitments)
        return np.asarray(np.minimum(self.decision_import_price, self.decision_export_price) - below)

    @cached_property
    def surplus_kw(self) -> Array:
        """PV on offer less load; what the site would feed in with an idle battery (negative: draw)."""
        return self.pv_kw - self.load_kw

    @cached_property
    def max_charge_kw(self) -> Array:
        """Charging power that rating, availability and guards leave."""
        most = np.minimum(self.figures.max_charge_kw, self.charge_available_kw)
        return most if self.strategy.buys_to_charge else np.minimum(most, np.maximum(self.surplus_kw, 0.0))

    @cached_property
    def max_discharge_kw(self) -> Array:
        """Discharging power that rating, availability and guards leave."""
        most = np.minimum(self.figures.max_discharge_kw, self.discharge_available_kw)
        floor = self.strategy.export_floor_eur_per_kwh
        if self.strategy.stored_export == "behind_pv":
            most = np.minimum(most, self.load_kw)
        if self.strategy.stored_export == "never":
            return np.minimum(most, np.maximum(-self.surplus_kw, 0.0))
        if floor is not None and self.strategy.export_guard == "hold_battery":
            held = np.minimum(most, np.maximum(-self.surplus_kw, 0.0))
            return np.where(self.export_price < floor, held, most)
        return most

    @cached_property
    def idle_over_import_kw(self) -> Array:
        """How far the load exceeds the import limit with an idle battery; no plan may exceed it further."""
        return np.maximum(-self.surplus_kw - self.import_limit_kw, 0.0)

    @cached_property
    def idle_over_export_kw(self) -> Array:
        """How far uncurtailable PV exceeds the export limit with an idle battery; no plan may exceed it further."""
        over: Array = np.maximum(self.surplus_kw - self.export_limit_kw, 0.0)
        return np.where(self.pv_curtailable, 0.0, over)

    @cached_property
    def most_import_kw(self) -> Array:
        """What the site can draw within its limit; finite even where no limit binds."""
        return np.minimum(self.import_limit_kw, self.load_kw + self.max_charge_kw)

    @cached_property
    def most_export_kw(self) -> Array:
        """What the site can feed in within its limit; finite even where no limit binds."""
        return np.minimum(self.export_limit_kw, self.pv_kw + self.max_discharge_kw)

    @cached_property
    def breach(self) -> BreachPrices[Array]:
        """What limits cost that are not kept, each of shape (N, 1)."""
        if self.breach_of_whole is not None:
            return self.breach_of_whole
        prices = (self.decision_import_price, self.decision_export_price, self.terminal_value)
        dearest = reduce(np.maximum, (np.abs(price).max(axis=1, keepdims=True) for price in prices))
        # To charge a kWh within one interval may raise a peak by this much.
        dearest = dearest + sum(_steepest_eur_per_kw(charge) for charge in self.demand_charges) / self.step_h
        for commitment in (*money_commitments(self), *wishes(self)):
            slopes = np.maximum(np.abs(commitment.above_eur_per_kwh), np.abs(commitment.below_eur_per_kwh))
            dearest = dearest + slopes.max(axis=1, keepdims=True)
        # A kWh in store carries up to 3 kW of balancing capacity, all along.
        carried_kw_h = 3 * self.step_h * len(self.index)
        for name in self.balancing:
            dearest = dearest + carried_kw_h * np.abs(self.wanted[f"balancing_price.{name}"]).max(axis=1, keepdims=True)
        asked = self.strategy.reserve_breach_price
        return breach_prices(
            dearest,
            self.decision_wear,
            carried=self.charge_efficiency * self.discharge_efficiency * self.kept ** len(self.index),
            tapered=self.figures.tapered > 0,
            loses=self.kept < 1,
            reserve_price=None if asked is None else asked * self.step_h,
            reserved=bool(self.reserve_soc.any()),
            intervals=len(self.index),
            promised=self.strategy.trades or bool(self.balancing),
        )

    def terminal_worth_eur(self, soc: Array) -> Array:
        """What stores filled so far are worth at the end, shape (N,) [EUR].

        Counted from an empty store, and below it at the first price.
        """
        upper = self.terminal_up_to_soc
        lower = np.concatenate([[0.0], upper[:-1]])
        filled = np.clip(soc[:, np.newaxis], lower, upper) - lower
        filled[:, 0] = np.minimum(soc, upper[0])
        return np.asarray((filled * self.terminal_value).sum(axis=1) * self.capacity_kwh[:, 0])

    @cached_property
    def burning_pays(self) -> Mask:
        """Intervals so cheap that charging and discharging at once would pay: physics forbids what prices reward.

        Cutting both so that the store stays as it is changes the cost by -((1 - rte) * price + rte * wear) per kWh
        charged, rte being the round-trip efficiency.
        """
        rte = self.charge_efficiency * self.discharge_efficiency
        return (1 - rte) * self.lowest_price + rte * self.decision_wear < 0

    @cached_property
    def selling_beats_buying(self) -> Mask:
        """Intervals in which importing and exporting at once would pay."""
        return self.decision_export_price > self.decision_import_price

    @cached_property
    def solar_guard_binds(self) -> Mask:
        """Intervals in which it would pay to charge with PV and to buy, for next to nothing, for the load it leaves."""
        if self.strategy.buys_to_charge:
            return np.zeros((1, 1), dtype=np.bool_)
        price = self.lowest_price if self.commitments else self.decision_import_price
        return (price <= NEXT_TO_NOTHING) & self.pv_curtailable & (self.surplus_kw > 0)

    @cached_property
    def convex(self) -> Mask:
        """Sites whose interval costs are all convex in the change of the store, shape (N,)."""
        if self.commitments:
            return np.zeros(len(self), dtype=np.bool_)  # kinks are laid in by the general way alone
        odd = self.burning_pays | self.selling_beats_buying | self.solar_guard_binds | (self.idle_over_export_kw > 0)
        return np.array(np.broadcast_to(~odd.any(axis=1), (len(self),)))

    @cached_property
    def zones(self) -> dict[str, Zone]:
        """The sites by time zone.

        Raises:
            InputError: A demand charge cannot be laid on the horizon.
        """
        numbers: dict[str, list[int]] = {}
        for number, site in enumerate(self.sites):
            numbers.setdefault(site.timezone, []).append(number)
        horizon = self.index[0], len(self.index), pd.Timedelta(hours=self.step_h)
        return {
            timezone: Zone(
                numbers=np.array(own),
                budgets=cycle_budgets(self.strategy, *horizon, timezone),
                peaks=peak_periods(self.demand_charges, *horizon, timezone),
            )
            for timezone, own in numbers.items()
        }

    def demand_eur(self, import_kw: Array) -> Array:
        """What imports of shape (N, T) add to the demand charges, shape (N,) [EUR]."""
        added = np.zeros(len(self))
        for zone in self.zones.values() if self.demand_charges else ():
            for peak in zone.peaks:
                added[zone.numbers] += peak.added_eur(import_kw[zone.numbers])
        return added

    def site(self, number: int) -> DispatchProblem:
        """One site's problem."""
        site = self.sites[number]
        zone = self.zones[site.timezone]
        intervals = len(self.index)
        values: dict[str, Any] = {
            name: np.array(np.broadcast_to(_row(getattr(self, name), number), intervals)) for name in _SERIES
        }
        values |= {name: float(_row(getattr(self, name), number)[0]) for name in _FIGURES}
        return DispatchProblem(
            stack=self if len(self) == 1 else self.rows(number, number + 1),
            site=site,
            strategy=self.strategy,
            index=self.index,
            step_h=self.step_h,
            pv_curtailable=bool(self.pv_curtailable[number, 0]),
            terminal_up_to_soc=self.terminal_up_to_soc,
            terminal_value=_row(self.terminal_value, number),
            breach=BreachPrices(*(float(_row(np.asarray(price), number)[0]) for price in self.breach)),
            budgets=zone.budgets,
            peaks=zone.peaks,
            commitments=tuple(commitment.row(number, intervals) for commitment in self.commitments),
            balancing=offers(self.strategy, self.index, {n: _row(s, number) for n, s in self.wanted.items()}),
            **values,
        )


_GIVEN_SERIES = (
    *("import_price", "export_price", "carbon_kg_per_kwh", "load_kw", "pv_kw", "reserve_soc"),
    *("import_limit_kw", "export_limit_kw", "charge_available_kw", "discharge_available_kw"),
)
_GIVEN_FIGURES = ("initial_soc", "final_soc_min", "terminal_value")
_FIGURES = ("initial_soc", "final_soc_min", "decision_wear")
_SERIES = (
    *("import_price", "export_price", "decision_import_price", "decision_export_price", "lowest_price", "load_kw"),
    *("pv_kw", "surplus_kw", "reserve_soc"),
    *("import_limit_kw", "export_limit_kw", "max_charge_kw", "max_discharge_kw", "most_import_kw", "most_export_kw"),
    *("idle_over_import_kw", "idle_over_export_kw", "burning_pays", "selling_beats_buying", "solar_guard_binds"),
)


def _rows(array: Array, first: int, last: int) -> Array:
    return array if len(array) == 1 else array[first:last]


def _columns(array: Array, first: int, last: int) -> Array:
    return array[:, first:last] if array.shape[1] > 1 else array


def _row(array: Array, number: int) -> Array:
    """One site's row of an array that all sites may share."""
    row: Array = array[number if len(array) > 1 else 0]
    return row


def _steepest_eur_per_kw(charge: DemandCharge) -> float:
    """The most that a kW of peak can cost at the margin; the fee of a whole step is ranked apart, after breaches."""
    return charge.eur_per_kw[-1][1] if charge.eur_per_kw else 0.0
