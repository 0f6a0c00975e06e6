"""An independent judge of plans: no plan leaves the engine that it faults.

Written from the definition of the problem alone, sharing no code with the solvers, with what lays their input out or
with what reckons plans: what they get wrong, this must not get wrong in the same way. It judges any number of
sites at once; `check` is for one plan.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import itemgetter

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array, Mask
from engine.assets import Battery, GridConnection, Site
from engine.checker_fees import Calendar, added_fees
from engine.checker_input import Asked
from engine.checker_markets import columns_of_markets, earned_per_h, rules_of_capacity, rules_of_trades, spare_soc
from engine.request import Request

POWER_TOLERANCE_KW = 1e-6
SOC_TOLERANCE = 1e-6
MONEY_TOLERANCE_EUR = 1e-6
# Where the cells take more the emptier they are, or lose what they hold, hardly any of what is spent early lacks at
# the end; so little may.
FADED_SOC = 0.01
# So much in store could help.
SPARE_SOC = 1e-5
POWERS = ("charge_kw", "discharge_kw", "import_kw", "export_kw", "pv_kw", "curtailment_kw")
COLUMNS = (*POWERS, "load_kw", "soc", "cost_eur")
BATTERY_FIGURES = (
    *("capacity_kwh", "max_charge_kw", "max_discharge_kw", "charge_efficiency", "discharge_efficiency"),
    *("min_soc", "max_soc", "wear_eur_per_kwh", "standing_loss_per_h"),
)


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a plan; of a rule broken in several intervals, the first."""

    rule: str
    start: str
    detail: str
    site: str = ""

    def __str__(self) -> str:
        return f"{self.rule} at {self.start}{f' of {self.site}' if self.site else ''}: {self.detail}"


def check(
    site: Site, table: pd.DataFrame, cost_eur: float, request: Request, *, shared_intervals: int = 0
) -> tuple[Fault, ...]:
    """Judge a plan against the site and what was asked for it.

    Limits are taken as broken lawfully only where no plan could keep them: a state of charge that
    starts outside its band may stay outside but never move further out by power; import above the limit is lawful up
    to what the load alone draws beyond it, and only where the battery cannot help; export likewise, up to what
    uncurtailable PV feeds in.

    Args:
        site: The site.
        table: The plan, as `Plan.table`.
        cost_eur: The cost reported for it [EUR].
        request: What was asked; terminal value, carbon, an import target with a price and a schedule to follow, which
            steer only, are not judged.
        shared_intervals: So many intervals at the start were decided for several futures at once: that the battery
            could have done more in them for this one is no fault.

    Returns:
        The faults found; empty for a sound plan.

    Raises:
        InputError: A series is not on the index of the others.
    """
    asked = replace(Asked.of((site,), request), shared_intervals=shared_intervals)
    if len(table) != len(asked.index) or any(a != b for a, b in zip(table.index, asked.index, strict=True)):
        return (Fault("horizon", str(asked.index[0]), "the plan's intervals are not those asked for"),)
    names = (*COLUMNS, *columns_of_markets(asked))
    missing = [name for name in names if name not in table]
    if missing:
        return (Fault("columns", str(asked.index[0]), f"the plan lacks {', '.join(missing)}"),)
    columns = {name: table[name].to_numpy(dtype=np.float64)[np.newaxis, :] for name in names}
    faults = check_many(asked, columns, np.array([cost_eur], dtype=np.float64))
    return tuple(replace(fault, site="") for fault in faults)


def check_many(asked: Asked, columns: dict[str, Array], cost_eur: Array) -> tuple[Fault, ...]:
    """Judge the plans of N sites.

    Args:
        asked: What they were asked for.
        columns: The plans, `COLUMNS` as arrays of shape (N, T).
        cost_eur: The cost reported for each, shape (N,) [EUR].

    Returns:
        The faults found, at most one per rule; empty where all plans are sound.
    """
    judge = _Judge(asked, columns)
    with np.errstate(invalid="ignore"):  # what is no number breaks every rule that it is in
        judge.powers()
        judge.connection()
        judge.guards()
        judge.state_of_charge()
        judge.markets()
        judge.money(cost_eur)
        return tuple(judge.faults and (judge.not_finite() or judge.faults))


class _Judge:
    """Collects the faults of some plans."""

    def __init__(self, asked: Asked, columns: dict[str, Array]) -> None:
        self._asked, self._of = asked, columns
        self.faults: list[Fault] = []
        sites = asked.sites
        self._batteries = [site.battery for site in sites]
        self._figures = _figures(BATTERY_FIGURES, self._batteries)
        curtailable = (site.pv is not None and site.pv.curtailable for site in sites)
        self._curtailable = np.fromiter(curtailable, dtype=np.bool_, count=len(sites))[:, np.newaxis]

    def _figure(self, name: str) -> Array:
        """A figure of every battery, shape (N, 1)."""
        return self._figures[name]

    def _at_most(self, rule: str, what: str, value: Array, bound: Array | float, tolerance: float) -> None:
        """Fault the first place where a value is above its bound."""
        # One subtraction and one reduction: nearly all plans are sound.
        excess = value - bound
        if not excess.max() <= tolerance:
            self._refuse(rule, what, ~(excess <= tolerance), value, bound)

    def _equal(self, rule: str, what: str, value: Array, expected: Array, tolerance: float) -> None:
        """Fault the first place where a value is not what is expected."""
        excess = value - expected
        if not (excess.max() <= tolerance and excess.min() >= -tolerance):
            self._refuse(rule, what, ~(np.abs(excess) <= tolerance), value, expected)

    def _refuse(self, rule: str, what: str, broken: Mask, value: Array, bound: Array | float) -> None:
        site, t = (int(place) for place in np.argwhere(broken)[0])
        numbers = [np.broadcast_to(array, broken.shape)[site, t] for array in (value, np.asarray(bound))]
        name = self._asked.sites[site].name
        detail = f"{what} is {numbers[0]:.6f}, the bound {numbers[1]:.6f}"
        self.faults.append(Fault(rule, str(self._asked.index[t]), detail, name))

    def not_finite(self) -> list[Fault]:
        """Faults of values that are no number; the others follow from them."""
        before = len(self.faults)
        for name, values in self._of.items():
            if not np.isfinite(values).all():
                self._refuse("finite", name, ~np.isfinite(values), values, 0.0)
        return self.faults[before:]

    def powers(self) -> None:
        """Signs, ratings, both directions at once, curtailment, balance."""
        of, asked, eps = self._of, self._asked, POWER_TOLERANCE_KW
        for name in POWERS:
            if not of[name].min() >= -eps:
                self._refuse("sign", name, ~(of[name] >= -eps), of[name], 0.0)
        for name, limit in (("charge_kw", asked.charge_available_kw), ("discharge_kw", asked.discharge_available_kw)):
            self._at_most("rating", name, of[name], np.minimum(self._figure(f"max_{name}"), limit), eps)
        charge, discharge, bought, sold = (of[f"{way}_kw"] for way in ("charge", "discharge", "import", "export"))
        self._at_most("both directions", "charge with discharge", np.minimum(charge, discharge), 0.0, eps)
        self._at_most("both directions", "import with export", np.minimum(bought, sold), 0.0, eps)
        self._equal("load", "load_kw", of["load_kw"], asked.load_kw, eps)
        self._equal("pv", "used and curtailed PV", of["pv_kw"] + of["curtailment_kw"], asked.offered_kw, eps)
        most = np.where(self._curtailable, math.inf, 0.0)
        self._at_most("curtailment", "curtailment of PV that cannot be", of["curtailment_kw"], most, eps)
        supply, use = bought + of["pv_kw"] + discharge, of["load_kw"] + sold + charge
        self._equal("balance", "supply", supply, use, eps)

    def connection(self) -> None:
        """Import and export keep their limits, as far as the house lets them."""
        for name in self._exceeded:
            most = np.maximum(self._limits[name], self._unavoidable[name])
            self._at_most(name.replace("_kw", " limit"), name, self._of[name], most, POWER_TOLERANCE_KW)

    @cached_property
    def _exceeded(self) -> dict[str, Mask]:
        """Where a connection limit is exceeded, shape (N, T); of import and export those that are anywhere."""
        over = {name: self._of[name] - limits for name, limits in self._limits.items()}
        return {name: kw > POWER_TOLERANCE_KW for name, kw in over.items() if kw.max() > POWER_TOLERANCE_KW}

    @cached_property
    def _unavoidable(self) -> dict[str, Array]:
        """What flows with an idle battery, as far as it cannot be curtailed."""
        draw = self._asked.load_kw - self._asked.offered_kw
        return {"import_kw": draw, "export_kw": np.where(self._curtailable, 0.0, -draw)}

    def _helped(self, after: Array) -> None:
        """Where a connection limit is exceeded the battery does what it can: nothing but the band outranks it."""
        for name, exceeded in self._exceeded.items():
            over = exceeded & (self._unavoidable[name] > self._limits[name])
            if name == "import_kw":
                way, room = "discharge_kw", after - self._figure("min_soc")
            else:
                way, room = "charge_kw", self._figure("max_soc") - after
            idle = self._most_kw(way) - self._of[way] > POWER_TOLERANCE_KW
            # What would never be missed later.
            spare = np.minimum.accumulate(room[:, ::-1], axis=1)[:, ::-1] > SPARE_SOC
            shy = over & idle & spare
            shy[:, : self._asked.shared_intervals] = False
            for number, battery in enumerate(self._batteries):
                if battery.tapered:
                    shy[number] = False  # less in store, less power later: what can be spared is another question
            if shy.any():
                self._refuse("idle at the limit", f"{way} where {name} is beyond its limit", shy, self._of[way], 0.0)

    def _most_kw(self, way: str) -> Array:
        """What rating, availability and guards leave, shape (N, T)."""
        asked, strategy = self._asked, self._asked.strategy
        available = asked.charge_available_kw if way == "charge_kw" else asked.discharge_available_kw
        surplus = asked.offered_kw - asked.load_kw
        guard: Array | float = math.inf
        if way == "charge_kw" and asked.solar_only:
            guard = np.maximum(surplus, 0.0)
        if way == "discharge_kw" and asked.stored_export != "allowed":
            guard = asked.load_kw if asked.stored_export == "behind_pv" else np.maximum(-surplus, 0.0)
        if way == "discharge_kw" and strategy.export_guard == "hold_battery":
            guard = np.where(asked.below_floor, np.minimum(guard, np.maximum(-surplus, 0.0)), guard)
        most = np.minimum(np.minimum(self._figure(f"max_{way}"), available), guard)
        return np.broadcast_to(most, self._of[way].shape)

    @cached_property
    def _limits(self) -> dict[str, Array]:
        asked = self._asked
        own = _figures(("import_limit_kw", "export_limit_kw"), [site.grid for site in asked.sites])
        own = {name: np.where(np.isnan(limit), math.inf, limit) for name, limit in own.items()}
        strategy = asked.strategy
        target = strategy.import_target_kw
        if target is None or strategy.import_target_price_eur_per_kwh is not None:
            target = math.inf
        sold_most = np.minimum(own["export_limit_kw"], asked.export_limit_kw)
        if strategy.export_guard == "curtail" and asked.below_floor.any():
            sold_most = np.where(asked.below_floor, 0.0, sold_most)
        return {
            "import_kw": np.minimum(np.minimum(own["import_limit_kw"], asked.import_limit_kw), target),
            "export_kw": sold_most,
        }

    def guards(self) -> None:
        """What the strategy forbids."""
        of, strategy, eps = self._of, self._asked.strategy, POWER_TOLERANCE_KW
        if self._asked.solar_only:
            both = np.minimum(of["charge_kw"], of["import_kw"])
            self._at_most("grid charging", "import while charging", both, 0.0, eps)
            self._at_most("grid charging", "charge_kw", of["charge_kw"], self._most_kw("charge_kw"), eps)
        if self._asked.stored_export != "allowed" or (strategy.export_guard == "hold_battery"):
            self._at_most("battery export", "discharge_kw", of["discharge_kw"], self._most_kw("discharge_kw"), eps)

    def state_of_charge(self) -> None:
        """The powers make the state of charge, which keeps its band, its budgets and its end."""
        of, asked, eps = self._of, self._asked, SOC_TOLERANCE
        capacity, h = self._figure("capacity_kwh"), asked.step_h
        kept = (1 - self._figure("standing_loss_per_h")) ** h
        gained_per_kw = self._figure("charge_efficiency") * h / capacity
        taken_per_kw = h / self._figure("discharge_efficiency") / capacity
        change = of["charge_kw"] * gained_per_kw - of["discharge_kw"] * taken_per_kw
        after = _accumulated(asked.initial_soc, kept[:, 0], change)
        self._equal("physics", "soc", of["soc"], after, eps)
        min_soc, max_soc = self._figure("min_soc"), self._figure("max_soc")
        if (min_soc - after).max() > eps or (after - max_soc).max() > eps:
            idle = self._idle_soc(after, kept)
            self._at_most("soc band", "soc below the band", np.minimum(min_soc, idle), after, eps)
            self._at_most("soc band", "soc", after, np.maximum(max_soc, idle), eps)
            self._returns(after)
        self._power_at_soc(after, kept)
        self._helped(after)
        for number in np.flatnonzero(after[:, -1] < asked.final_soc_min - eps).tolist():
            battery = self._batteries[number]
            fading = battery.tapered or battery.standing_loss_per_h > 0
            bound = min(float(asked.final_soc_min[number]), self._reachable_soc(number) - fading * FADED_SOC)
            if after[number, -1] < bound - eps:
                short = np.zeros(after.shape, dtype=np.bool_)
                short[number, -1] = True
                self._refuse("final_soc", "soc that can be higher", short, after, bound)
        self._self_consumption(after)
        sold_ahead = any(name.startswith("balancing_sold_kw") for name in asked.markets)
        if asked.strategy.budgeted and not sold_ahead:  # what is sold ahead may ask for any number of cycles
            self._budgets(of["discharge_kw"] * taken_per_kw)

    def _idle_soc(self, after: Array, kept: Array) -> Array:
        """State of charge after each interval if the battery rested in it."""
        return np.concatenate([self._asked.initial_soc[:, np.newaxis], after[:, :-1]], axis=1) * kept

    def _returns(self, after: Array) -> None:
        """A store outside its band comes back as fast as power and connection let it: nothing outranks the band."""
        of, asked = self._of, self._asked
        draw = asked.load_kw - asked.offered_kw
        curtailed = np.where(self._curtailable, asked.offered_kw, 0.0)
        ways = {
            "charge_kw": (self._figure("min_soc") - after, self._limits["import_kw"] - draw),
            "discharge_kw": (after - self._figure("max_soc"), self._limits["export_kw"] + draw + curtailed),
        }
        for way, (outside, room_kw) in ways.items():
            if way == "charge_kw" and asked.solar_only:
                continue  # what PV leaves for charging may cost its curtailment
            most = np.minimum(self._most_kw(way), np.maximum(room_kw, 0.0))
            idle = (outside > SPARE_SOC) & (most - of[way] > POWER_TOLERANCE_KW)
            idle[:, : asked.shared_intervals] = False
            idle[np.array([battery.tapered for battery in self._batteries])] = False
            if idle.any():
                self._refuse("soc band", f"{way} outside the band", idle, of[way], most)

    def _power_at_soc(self, after: Array, kept: Array) -> None:
        """Where the cells limit power by state of charge, the interval's end keeps it."""
        idle = None
        for number, battery in enumerate(self._batteries):
            if not battery.tapered:
                continue
            idle = self._idle_soc(after, kept) if idle is None else idle
            limits = {"charge_kw": battery.charge_kw_at_soc, "discharge_kw": battery.discharge_kw_at_soc}
            for name, points in limits.items():
                if not points:
                    continue
                socs, powers = np.array(points).T
                # The tolerance of a soc is one of power, too, where the limit is steep.
                steepest = np.abs(np.diff(powers) / np.diff(socs)).max(initial=0.0)
                most = np.interp(after[number], socs, powers)
                broken = np.zeros(after.shape, dtype=np.bool_)
                broken[number] = self._of[name][number] > most + POWER_TOLERANCE_KW + steepest * SOC_TOLERANCE
                broken[number] &= np.abs(after[number] - idle[number]) > SOC_TOLERANCE
                if broken.any():
                    self._refuse("power at soc", name, broken, self._of[name], most)

    def _reachable_soc(self, number: int) -> float:
        """The fullest that a battery can be at the end if it only charges, and helps where load exceeds the limit."""
        asked, battery = self._asked, self._asked.sites[number].battery
        shape = self._of["soc"].shape
        draw, most_import, available, price = (
            np.broadcast_to(array, shape)[number]
            for array in (
                asked.load_kw - asked.offered_kw,
                self._limits["import_kw"],
                asked.charge_available_kw,
                asked.import_price,
            )
        )
        if battery.charge_kw_at_soc and (self._unavoidable["export_kw"] > self._limits["export_kw"])[number].any():
            return -math.inf  # the emptier, the more of what cannot be fed in it takes: that comes first
        if asked.markets:
            return -math.inf  # what is sold comes first
        h, kept = asked.step_h, (1 - battery.standing_loss_per_h) ** asked.step_h
        per_kw = h / battery.discharge_efficiency / battery.capacity_kwh
        soc = float(asked.initial_soc[number])
        for t in range(shape[1]):
            room_kw = most_import[t] - draw[t]
            if asked.solar_only:
                # Charging with PV there may cost the whole array's curtailment: it is all or nothing, and not demanded.
                paid_to_buy = (price[t] <= 0 or asked.strategy.follow is not None) and self._curtailable[number, 0]
                room_kw = min(room_kw, 0.0 if paid_to_buy else max(-draw[t], 0.0))
            soc *= kept
            most_kw = battery.max_discharge_kw
            helped = max(soc - min(max(-room_kw, 0.0), most_kw) * per_kw, min(soc, battery.min_soc))
            if soc > battery.max_soc:  # above its band it must come down first
                soc = min(helped, max(soc - most_kw * per_kw, battery.max_soc))
            elif room_kw < 0:
                soc = helped
            else:
                soc = _charged(battery, soc, min(battery.max_charge_kw, available[t], room_kw), h)
        return soc

    def _budgets(self, cycles: Array) -> None:
        """Cycles per local day and year, beyond which the battery works only to keep a limit or return to its band."""
        strategy, shared = self._asked.strategy, self._asked.shared_intervals
        pace = self._pace_kwh_per_day()
        by_import, forced = self._forced_soc()
        by_import[:, :shared] += cycles[:, :shared]
        for calendar, sites in self._zones:
            own = cycles[sites]
            pace_cycles = None if pace is None else pace / self._figure("capacity_kwh")[sites, 0]
            for name, given, so_far in (
                ("day", strategy.cycles_per_day, strategy.cycles_today_so_far),
                ("year", strategy.cycles_per_year, strategy.cycles_this_year_so_far),
                ("day", pace_cycles, strategy.cycles_today_so_far),
            ):
                if given is None:
                    continue
                most = np.asarray(given)
                labels = calendar.of[name]
                for label in np.unique(labels):
                    begun = so_far if label == labels[0] else 0.0
                    inside = labels == label
                    used = begun + own[:, inside].sum(axis=1)
                    bound = np.maximum(most, begun) + forced[sites] + by_import[sites][:, inside].sum(axis=1)
                    broken = used > bound + SOC_TOLERANCE
                    if broken.any():
                        over = np.zeros(cycles.shape, dtype=np.bool_)
                        over[sites[broken], int(inside.argmax())] = True
                        value, most_of = np.zeros((len(cycles), 1)), np.zeros((len(cycles), 1))
                        value[sites, 0], most_of[sites, 0] = used, bound
                        self._refuse("cycle budget", f"cycles of a {name}", over, value, most_of)

    def _pace_kwh_per_day(self) -> float | None:
        """What a warranty leaves for each of its days, were all used alike."""
        wanted = self._asked.strategy
        if wanted.warranty_throughput_mwh is None or wanted.warranty_years is None:
            return None
        days_left = (wanted.warranty_years - wanted.warranty_elapsed_years) * 365.25
        return max(0.0, wanted.warranty_throughput_mwh - wanted.warranty_used_mwh) * 1000 / days_left

    def _self_consumption(self, after: Array) -> None:
        """Nothing is bought while the battery could give more of what it would never miss."""
        strategy, of = self._asked.strategy, self._of
        if strategy.objective != "self_consumption" or strategy.budgeted:
            return
        idle = self._most_kw("discharge_kw") - of["discharge_kw"] > POWER_TOLERANCE_KW
        shy = idle & (of["import_kw"] > POWER_TOLERANCE_KW) & (spare_soc(self._asked, after) > SPARE_SOC)
        shy[:, : self._asked.shared_intervals] = False
        shy[np.array([battery.tapered for battery in self._batteries])] = False
        if shy.any():
            self._refuse("self-consumption", "import with stored energy to spare", shy, of["import_kw"], 0.0)

    def markets(self) -> None:
        """What is traded and held comes with delivery, and with what the strategy allows of it."""
        asked, of = self._asked, self._of
        rules = [*rules_of_trades(asked, of), *rules_of_capacity(asked, of, self._most_kw, self._limits)]
        for rule, what, value, bound in rules:
            self._at_most(rule, what, value, bound, POWER_TOLERANCE_KW)

    def _forced_soc(self) -> tuple[Array, Array]:
        """What limits and band may make each battery give, whatever its budgets.

        By the import limit in each interval, shape (N, T); by the export limit and the band over the horizon, shape
        (N,), as room may be made long before it is needed.
        """
        asked, draw = self._asked, self._asked.load_kw - self._asked.offered_kw
        shape = self._of["soc"].shape
        over_import = np.maximum(draw - self._limits["import_kw"], 0.0)
        over_export = np.where(self._curtailable, 0.0, np.maximum(-draw - self._limits["export_kw"], 0.0))
        per_kw = asked.step_h / self._figure("capacity_kwh")
        by_import = np.array(np.broadcast_to(over_import / self._figure("discharge_efficiency") * per_kw, shape))
        by_export = np.broadcast_to(over_export * self._figure("charge_efficiency") * per_kw, shape).sum(axis=1)
        return by_import, by_export + np.maximum(asked.initial_soc - self._figure("max_soc")[:, 0], 0.0)

    @cached_property
    def _zones(self) -> list[tuple[Calendar, npt.NDArray[np.int64]]]:
        """The calendar of each time zone, and the numbers of the sites in it."""
        names = np.array([site.timezone for site in self._asked.sites])
        return [(Calendar(self._asked.index, str(name)), np.flatnonzero(names == name)) for name in np.unique(names)]

    def money(self, cost_eur: Array) -> None:
        """The interval's cost is that of its flows, and the plan's is their sum with its demand charges."""
        of, asked = self._of, self._asked
        h = asked.step_h
        eur = of["import_kw"] * (h * asked.import_price) - of["export_kw"] * (h * asked.export_price)
        eur += of["discharge_kw"] * (h * self._figure("wear_eur_per_kwh"))
        eur -= h * earned_per_h(asked, of)
        self._equal("cost", "cost_eur", of["cost_eur"], eur, MONEY_TOLERANCE_EUR)
        total = eur.sum(axis=1)
        if asked.demand_charges:
            for calendar, sites in self._zones:
                for charge in asked.demand_charges:
                    total[sites] += added_fees(charge, calendar, asked.step_h, of["import_kw"][sites])
        wrong = ~(np.abs(total - cost_eur) <= MONEY_TOLERANCE_EUR * np.maximum(1.0, np.abs(total)))  # NaN is wrong
        if wrong.any():
            self._refuse("cost", "cost reported", wrong[:, np.newaxis], cost_eur[:, np.newaxis], total[:, np.newaxis])


def _figures(names: Sequence[str], assets: Sequence[Battery] | Sequence[GridConnection]) -> dict[str, Array]:
    """Figures of every site's asset by name, each of shape (N, 1), in one sweep; NaN where it is None."""
    rows = map(itemgetter(*names), map(vars, assets))
    table = np.array(list(itertools.chain.from_iterable(rows)), dtype=np.float64).reshape(len(assets), len(names))
    return {name: np.ascontiguousarray(table[:, number : number + 1]) for number, name in enumerate(names)}


def _accumulated(initial: Array, kept: Array, change: Array) -> Array:
    """State of charge after each interval, shape (N, T)."""
    if (kept == 1).all():
        return np.cumsum(change, axis=1) + initial[:, np.newaxis]
    after = np.empty_like(change)
    before = initial
    for t in range(change.shape[1]):
        before = after[:, t] = before * kept + change[:, t]
    return after


def _charged(battery: Battery, soc: float, most_kw: float, step_h: float) -> float:
    """State of charge after an interval of charging as hard as the cells take it at its end."""
    per_kw = battery.charge_efficiency * step_h / battery.capacity_kwh
    low, high = soc, max(soc, min(soc + most_kw * per_kw, battery.max_soc))
    if battery.charge_kw_at_soc:
        for _ in range(60):
            middle = (low + high) / 2
            keeps = (middle - soc) / per_kw <= battery.charge_limit_kw(middle) if per_kw > 0 else False
            low, high = (middle, high) if keeps else (low, middle)
        return low
    return high
