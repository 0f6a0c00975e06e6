"""An independent judge of plans: no plan leaves the engine that it faults.

Written from the definition of the problem alone, sharing no code with the solvers, with what lays their input out or
with what reckons plans: what they get wrong, this must not get wrong in the same way. It judges any number of
sites at once; `check` is for one plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.assets import Battery, Site
from engine.demand import PEAK_DUST_KW, DemandCharge
from engine.errors import InputError
from engine.request import Figure, Request, Series
from engine.strategy import Strategy

Array = npt.NDArray[np.float64]

POWER_TOLERANCE_KW = 1e-6
SOC_TOLERANCE = 1e-6
MONEY_TOLERANCE_EUR = 1e-6
POWERS = ("charge_kw", "discharge_kw", "import_kw", "export_kw", "pv_kw", "curtailment_kw")
COLUMNS = (*POWERS, "load_kw", "soc", "cost_eur")


@dataclass(frozen=True)
class Fault:
    """One thing wrong with a plan; of a rule broken in several intervals, the first."""

    rule: str
    start: str
    detail: str
    site: str = ""

    def __str__(self) -> str:
        return f"{self.rule} at {self.start}{f' of {self.site}' if self.site else ''}: {self.detail}"


@dataclass(frozen=True, eq=False)
class Asked:
    """What the plans were asked for: arrays of shape (N, T), or (1, T) where all sites share one."""

    sites: Sequence[Site]
    index: pd.DatetimeIndex
    step_h: float
    import_price: Array
    export_price: Array
    load_kw: Array
    offered_kw: Array
    initial_soc: Array
    """Shape (N,)."""
    final_soc_min: Array
    """Shape (N,); minus infinity where none is asked for."""
    import_limit_kw: Array
    """What a grid company allows, besides the connection; infinite where no limit binds."""
    export_limit_kw: Array
    charge_available_kw: Array
    discharge_available_kw: Array
    strategy: Strategy = field(default_factory=Strategy)
    demand_charges: tuple[DemandCharge, ...] = ()

    @classmethod
    def of(cls, sites: Sequence[Site], request: Request) -> Asked:
        """Read what was asked anew, whatever the solvers' input made of it.

        Raises:
            InputError: A series is not on the index of the others.
        """
        given = request.import_price.index
        index = _in_utc(given)

        def rows(name: str, series: Series | None, default: float) -> Array:
            if series is None:
                return np.full((1, len(index)), default)
            if series.index is not given and not _in_utc(series.index).equals(index):
                raise InputError(f"{name}.index", "it is not that of import_price", "put all series on one index")
            values = series.to_numpy(dtype=np.float64)
            return values.T if values.ndim > 1 else values[np.newaxis, :]

        def figures(figure: Figure | None) -> Array:
            values = np.asarray(-math.inf if figure is None else figure, dtype=np.float64)
            return np.broadcast_to(values, len(sites))

        return cls(
            sites=sites,
            index=index,
            step_h=_step_h(index),
            import_price=rows("import_price", request.import_price, 0.0),
            export_price=rows("export_price", request.export_price, 0.0),
            load_kw=rows("load", request.load, 0.0),
            offered_kw=rows("pv", request.pv, 0.0),
            initial_soc=figures(request.initial_soc),
            final_soc_min=figures(request.final_soc_min),
            import_limit_kw=rows("import_limit_kw", request.import_limit_kw, math.inf),
            export_limit_kw=rows("export_limit_kw", request.export_limit_kw, math.inf),
            charge_available_kw=rows("max_charge_kw", request.max_charge_kw, math.inf),
            discharge_available_kw=rows("max_discharge_kw", request.max_discharge_kw, math.inf),
            strategy=request.strategy or Strategy(),
            demand_charges=tuple(request.demand_charges),
        )

    def some(self, first: int, last: int) -> Asked:
        """What was asked for the sites from `first` to before `last`."""
        cut: dict[str, Any] = {
            name: values if len(values) == 1 else values[first:last]
            for name, values in vars(self).items()
            if isinstance(values, np.ndarray)
        }
        return replace(self, sites=self.sites[first:last], **cut)


def check(site: Site, table: pd.DataFrame, cost_eur: float, request: Request) -> tuple[Fault, ...]:
    """Judge a plan against the site and what was asked for it.

    Limits are taken as broken lawfully only where no plan could keep them: a state of charge that
    starts outside its band may stay outside but never move further out by power; import above the limit is lawful up
    to what the load alone draws beyond it, and only where the battery cannot help; export likewise, up to what
    uncurtailable PV feeds in.

    Args:
        site: The site.
        table: The plan, as `Plan.table`.
        cost_eur: The cost reported for it [EUR].
        request: What was asked; steering alone (terminal value, reserve, carbon) is not judged.

    Returns:
        The faults found; empty for a sound plan.

    Raises:
        InputError: A series is not on the index of the others.
    """
    asked = Asked.of((site,), request)
    if len(table) != len(asked.index) or any(a != b for a, b in zip(table.index, asked.index, strict=True)):
        return (Fault("horizon", str(asked.index[0]), "the plan's intervals are not those asked for"),)
    missing = [name for name in COLUMNS if name not in table]
    if missing:
        return (Fault("columns", str(asked.index[0]), f"the plan lacks {', '.join(missing)}"),)
    columns = {name: table[name].to_numpy(dtype=np.float64)[np.newaxis, :] for name in COLUMNS}
    return check_many(asked, columns, np.array([cost_eur], dtype=np.float64))


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
    if judge.finite():
        judge.powers()
        judge.connection()
        judge.guards()
        judge.state_of_charge()
        judge.money(cost_eur)
    return tuple(judge.faults)


class _Judge:
    """Collects the faults of some plans."""

    def __init__(self, asked: Asked, columns: dict[str, Array]) -> None:
        self._asked, self._of = asked, columns
        self.faults: list[Fault] = []
        self._batteries = [site.battery for site in asked.sites]
        self._curtailable = np.array([[site.pv is not None and site.pv.curtailable] for site in asked.sites])

    def _figure(self, name: str) -> Array:
        """A figure of every battery, shape (N, 1)."""
        values = (getattr(battery, name) for battery in self._batteries)
        return np.fromiter(values, dtype=np.float64, count=len(self._batteries))[:, np.newaxis]

    def _at_most(self, rule: str, what: str, value: Array, bound: Array | float, tolerance: float) -> None:
        """Fault the first place where a value is above its bound."""
        # One subtraction and one reduction: nearly all plans are sound.
        excess = value - bound
        if excess.max() > tolerance:
            self._refuse(rule, what, excess > tolerance, value, bound)

    def _equal(self, rule: str, what: str, value: Array, expected: Array, tolerance: float) -> None:
        """Fault the first place where a value is not what is expected."""
        excess = np.abs(value - expected)
        if excess.max() > tolerance:
            self._refuse(rule, what, excess > tolerance, value, expected)

    def _refuse(self, rule: str, what: str, broken: npt.NDArray[np.bool_], value: Array, bound: Array | float) -> None:
        site, t = (int(place) for place in np.argwhere(broken)[0])
        numbers = [np.broadcast_to(array, broken.shape)[site, t] for array in (value, np.asarray(bound))]
        name = self._asked.sites[site].name if len(self._asked.sites) > 1 else ""
        detail = f"{what} is {numbers[0]:.6f}, the bound {numbers[1]:.6f}"
        self.faults.append(Fault(rule, str(self._asked.index[t]), detail, name))

    def finite(self) -> bool:
        """Every value is a number."""
        for name, values in self._of.items():
            # A sum is a number only if all its terms are.
            if not np.isfinite(values.sum()):
                self._refuse("finite", name, ~np.isfinite(values), values, 0.0)
        return not self.faults

    def powers(self) -> None:
        """Signs, ratings, both directions at once, curtailment, balance."""
        of, asked, eps = self._of, self._asked, POWER_TOLERANCE_KW
        for name in POWERS:
            if of[name].min() < -eps:
                self._refuse("sign", name, of[name] < -eps, of[name], 0.0)
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
        draw = self._asked.load_kw - self._asked.offered_kw
        unavoidable = {"import_kw": draw, "export_kw": np.where(self._curtailable, 0.0, -draw)}
        for name, limits in self._limits.items():
            most = np.maximum(limits, unavoidable[name])
            self._at_most(name.replace("_kw", " limit"), name, self._of[name], most, POWER_TOLERANCE_KW)

    @cached_property
    def _limits(self) -> dict[str, Array]:
        asked = self._asked
        own = {
            name: np.array(
                [[math.inf if (limit := getattr(site.grid, name)) is None else limit] for site in asked.sites]
            )
            for name in ("import_limit_kw", "export_limit_kw")
        }
        return {
            "import_kw": np.minimum(own["import_limit_kw"], asked.import_limit_kw),
            "export_kw": np.minimum(own["export_limit_kw"], asked.export_limit_kw),
        }

    def guards(self) -> None:
        """What the strategy forbids."""
        of, asked, eps = self._of, self._asked, POWER_TOLERANCE_KW
        if not asked.strategy.grid_charging:
            spare = np.maximum(asked.offered_kw - asked.load_kw, 0.0)
            both = np.minimum(of["charge_kw"], of["import_kw"])
            self._at_most("grid charging", "import while charging", both, 0.0, eps)
            self._at_most("grid charging", "charge_kw", of["charge_kw"], spare, eps)
        if asked.strategy.battery_export == "behind_pv":
            self._at_most("battery export", "discharge_kw", of["discharge_kw"], asked.load_kw, eps)
        if asked.strategy.battery_export == "never":
            draw = np.maximum(asked.load_kw - asked.offered_kw, 0.0)
            self._at_most("battery export", "discharge_kw", of["discharge_kw"], draw, eps)

    def state_of_charge(self) -> None:
        """The powers make the state of charge, which keeps its band, its budgets and its end."""
        of, asked, eps = self._of, self._asked, SOC_TOLERANCE
        capacity, h = self._figure("capacity_kwh"), asked.step_h
        kept = (1 - self._figure("standing_loss_per_h")) ** h
        taken_kwh = of["discharge_kw"] * h / self._figure("discharge_efficiency")
        change = (of["charge_kw"] * h * self._figure("charge_efficiency") - taken_kwh) / capacity
        after = _accumulated(asked.initial_soc, kept[:, 0], change)
        idle = np.concatenate([asked.initial_soc[:, np.newaxis], after[:, :-1]], axis=1) * kept
        self._equal("physics", "soc", of["soc"], after, eps)
        floor, ceiling = np.minimum(self._figure("min_soc"), idle), np.maximum(self._figure("max_soc"), idle)
        self._at_most("soc band", "soc below the band", floor, after, eps)
        self._at_most("soc band", "soc", after, ceiling, eps)
        self._power_at_soc(after, idle)
        for number in np.flatnonzero(after[:, -1] < asked.final_soc_min - eps).tolist():
            bound = min(float(asked.final_soc_min[number]), self._reachable_soc(number))
            if after[number, -1] < bound - eps:
                short = np.zeros(after.shape, dtype=np.bool_)
                short[number, -1] = True
                self._refuse("final_soc", "soc that can be higher", short, after, bound)
        if asked.strategy.cycles_per_day is not None or asked.strategy.cycles_per_year is not None:
            for number in range(len(asked.sites)):
                self._budgets(number, taken_kwh[number])

    def _power_at_soc(self, after: Array, idle: Array) -> None:
        """Where the cells limit power by state of charge, the interval's end keeps it."""
        for number, battery in enumerate(self._batteries):
            if not battery.charge_kw_at_soc and not battery.discharge_kw_at_soc:
                continue
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
        """The fullest that a battery can be at the end if it only charges.

        Where a connection limit cannot be kept, keeping it as far as possible comes first and nothing is demanded of
        the final state of charge: minus infinity.
        """
        asked, battery = self._asked, self._asked.sites[number].battery
        limits = self._limits
        shape = self._of["soc"].shape
        draw, most_import, most_export, available, price = (
            np.broadcast_to(array, shape)[number]
            for array in (
                asked.load_kw - asked.offered_kw,
                limits["import_kw"],
                limits["export_kw"],
                asked.charge_available_kw,
                asked.import_price,
            )
        )
        kept = (1 - battery.standing_loss_per_h) ** asked.step_h
        soc = float(asked.initial_soc[number])
        for t in range(shape[1]):
            room_kw = most_import[t] - draw[t]
            if room_kw < 0 or (-draw[t] > most_export[t] and not self._curtailable[number, 0]):
                return -math.inf
            if not asked.strategy.grid_charging:
                # Charging with PV there may cost the whole array's curtailment: it is all or nothing, and not demanded.
                paid_to_buy = price[t] <= 0 and self._curtailable[number, 0]
                room_kw = 0.0 if paid_to_buy else min(room_kw, max(-draw[t], 0.0))
            if soc > battery.max_soc:  # above its band it must come down first
                soc -= battery.max_discharge_kw / battery.discharge_efficiency * asked.step_h / battery.capacity_kwh
                soc = max(soc, battery.max_soc) if kept == 1 else min(soc, battery.max_soc) * kept
            else:
                most_kw = min(battery.max_charge_kw, available[t], room_kw)
                soc = _charged(battery, soc * kept, most_kw, asked.step_h)
        return soc

    def _budgets(self, number: int, taken_kwh: Array) -> None:
        """Cycles per local day and year, unless the battery had to work to keep a limit or return to its band."""
        asked, strategy, site = self._asked, self._asked.strategy, self._asked.sites[number]
        limits = self._limits
        shape = self._of["soc"].shape
        draw = np.broadcast_to(asked.load_kw - asked.offered_kw, shape)[number]
        forced = (
            asked.initial_soc[number] > site.battery.max_soc
            or (draw > np.broadcast_to(limits["import_kw"], shape)[number]).any()
            or (
                (-draw > np.broadcast_to(limits["export_kw"], shape)[number]).any()
                and not self._curtailable[number, 0]  # what can be curtailed forces nothing
            )
        )
        if forced:
            return
        local = asked.index.tz_convert(site.timezone)
        budgets = (
            (strategy.cycles_per_day, strategy.cycles_today_so_far, [str(time.date()) for time in local]),
            (strategy.cycles_per_year, strategy.cycles_this_year_so_far, [str(time.year) for time in local]),
        )
        for cycles, so_far, labels in budgets:
            if cycles is None:
                continue
            used = dict.fromkeys(labels, 0.0)
            used[labels[0]] = so_far
            for label, kwh in zip(labels, taken_kwh, strict=True):
                used[label] += float(kwh) / site.battery.capacity_kwh
            for label, value in used.items():
                bound = max(cycles, so_far) if label == labels[0] else cycles
                if value > bound + SOC_TOLERANCE:
                    self.faults.append(Fault("cycle budget", label, f"{value:.6f} cycles, the bound {bound:.6f}"))

    def money(self, cost_eur: Array) -> None:
        """The interval's cost is that of its flows, and the plan's is their sum with its demand charges."""
        of, asked = self._of, self._asked
        wear = of["discharge_kw"] * self._figure("wear_eur_per_kwh")
        eur = asked.step_h * (of["import_kw"] * asked.import_price - of["export_kw"] * asked.export_price + wear)
        self._equal("cost", "cost_eur", of["cost_eur"], eur, MONEY_TOLERANCE_EUR)
        total = eur.sum(axis=1)
        for number, site in enumerate(asked.sites if asked.demand_charges else ()):
            local = asked.index.tz_convert(site.timezone)
            imported = np.broadcast_to(of["import_kw"], of["soc"].shape)[number]
            total[number] += sum(_added_fee(charge, local, imported) for charge in asked.demand_charges)
        wrong = ~(np.abs(total - cost_eur) <= MONEY_TOLERANCE_EUR * np.maximum(1.0, np.abs(total)))  # NaN is wrong
        if wrong.any():
            self._refuse("cost", "cost reported", wrong[:, np.newaxis], cost_eur[:, np.newaxis], total[:, np.newaxis])


def _accumulated(initial: Array, kept: Array, change: Array) -> Array:
    """State of charge after each interval, shape (N, T)."""
    if (kept == 1).all():
        return np.cumsum(np.column_stack([initial, change]), axis=1)[:, 1:]
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


def _added_fee(charge: DemandCharge, local: pd.DatetimeIndex, import_kw: Array) -> float:
    """What a plan's import adds to a demand charge, by walking its measuring intervals one by one."""
    step_minutes = _step_h(local) * 60
    minutes = charge.measured_over_minutes or step_minutes
    means: dict[tuple[str, str, str], list[float]] = {}
    for time, kw in zip(local, import_kw, strict=True):
        if not charge.from_hour <= time.hour < charge.to_hour or (charge.weekdays_only and time.weekday() > 4):
            continue
        slot = str(time.tz_convert("UTC").floor(f"{round(minutes)}min"))
        means.setdefault((_period(charge, time), str(time.date()), slot), []).append(float(kw))
    first_period, first_day = _period(charge, local[0]), str(local[0].date())
    added = 0.0
    for period in {period for period, _, _ in means}:
        so_far = list(charge.daily_peaks_so_far_kw) if period == first_period else []
        days: dict[str, float] = {}
        for (own, day, _), values in means.items():
            if own == period:
                days[day] = max(days.get(day, 0.0), sum(values) / len(values))
        today = charge.peak_today_so_far_kw if period == first_period else 0.0
        with_plan = dict(days)
        if today:
            with_plan[first_day] = max(days.get(first_day, 0.0), today)
        added += _fee(charge, [*so_far, *with_plan.values()]) - _fee(charge, [*so_far, today])
    return added


def _period(charge: DemandCharge, time: pd.Timestamp) -> str:
    return {"day": str(time.date()), "month": f"{time.year}-{time.month}", "year": str(time.year), "horizon": ""}[
        charge.period
    ]


def _fee(charge: DemandCharge, daily_peaks: list[float]) -> float:
    """The fee for the mean of the largest daily peaks."""
    largest = sorted(daily_peaks, reverse=True)[: charge.largest_daily_peaks]
    peak = sum(largest) / charge.largest_daily_peaks
    for bound, eur in charge.steps_eur:
        if bound is None or peak <= bound + PEAK_DUST_KW:
            return eur
    fee = 0.0
    for position, (start, price) in enumerate(charge.eur_per_kw):
        later = charge.eur_per_kw[position + 1 :]
        end = later[0][0] if later else math.inf
        if peak > start:
            fee += price * (min(peak, end) - start)
    return fee


def _in_utc(index: pd.Index) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(index).tz_convert("UTC").as_unit("ns")


def _step_h(index: pd.DatetimeIndex) -> float:
    if len(index) > 1:
        return (index[1] - index[0]).total_seconds() / 3600
    assert index.freq is not None
    return float((index[0] + index.freq - index[0]).total_seconds() / 3600)
