"""One site in a linear program: its variables, its rows, what they cost, and the answer read back.

Knows the problem and nothing of the library that solves it: rows are arithmetic on the variables that a `Program` gives
out. Variables are AC-side powers in kW, the store is in kWh,

    import + (pv - curtailment) + discharge = load + charge + export
    stored[t] = kept * stored[t-1] + h * (charge * charge_efficiency - discharge / discharge_efficiency)

minimise  h * sum(import_price * import - export_price * export + wear * discharge)
          + demand charges - terminal worth of stored[T] + breach prices * breaches
          + commitments (`engine.commitments`) - what balancing capacity earns.

Where the plain LP is exact (Al Taha and Bitar, "When are lossy energy storage optimization models
convex?", arXiv 2403.14010, for the general theory; `_may_cheat` gives the argument used here) it stays
an LP; a binary per direction is added, up front, on the other intervals only.

Limits are soft only where an idle battery would break them, so that an ordinary problem has no slack
variables at all, and one that starts outside its band or draws above its fuse still gets a plan.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any, Protocol

import numpy as np

from engine.arrays import Array, Mask
from engine.breaches import BreachPrices
from engine.commitments import settled_eur
from engine.decisions import Decisions
from engine.demand import PeakPeriod
from engine.problem import DispatchProblem

# How exactly rows are kept; a power below it is the solver's dust [kW].
FEASIBILITY_TOLERANCE = 1e-9
# Leeway of a prescribed set-point, so that the dust of one solve is no fault in the next [kW].
PRESCRIBED_WITHIN_KW = 1e-8
# Breaks ties in favour of resting, so that burning energy for nothing is never as good as leaving it.
# Never part of a reported cost; at most a cent per GWh discharged.
REST_PREFERENCE_EUR_PER_KWH = 1e-8
# Power levels that a smoother plan avoids, of the most that is allowed.
SMOOTH_LEVELS = (0.25, 0.5, 0.75)

# What a kW of capacity keeps free: discharging and charging power, energy in store, room in it.
HEADROOM = ("up_kw", "down_kw", "up_h", "down_h")

Expression = Any  # sums of variables; the library that makes them ships no types
Terms = list[tuple[Any, float]]
"""Variables and what a unit of each counts for."""


class Program(Protocol):
    """What a site needs of the program that it is laid out in."""

    def variable(self, name: str, low: float | None, high: float | None) -> Any:
        """A continuous variable; None is no bound."""

    def binary(self, name: str) -> Any:
        """A decision."""

    def require(self, row: Any) -> Any:
        """Add a constraint; returns it."""

    def total(self, parts: Iterable[Expression]) -> Expression:
        """The sum of many, built in one walk over them."""

    def value(self, expression: Expression) -> float:
        """What a variable or a sum of them came to."""

    def shadow_price(self, row: Any) -> float:
        """What the minimum rises by when the right of a row does by one."""


class SiteModel:
    """Variables and rows of one problem, its cost terms, and its answer."""

    def __init__(self, program: Program, problem: DispatchProblem, prefix: str) -> None:
        self._program, self._problem, self._prefix = program, problem, prefix
        self.money: Terms = []
        """What is bought and sold: (variable, EUR per unit); a reserve that has a price of its own included."""
        self.step_fees: Terms = []
        """What the steps of demand charges cost: (variable, EUR)."""
        self.breaches: Terms = []
        """What no fee excuses: (variable, kWh short at the end that a unit of it counts for)."""
        # What breaches weigh against a kWh short at the end.
        self._weight = BreachPrices(*(price / problem.breach.final for price in problem.breach))
        self._store_rows: list[Any] = []
        self._over_import: dict[int, Any] = {}
        self._over_export: dict[int, Any] = {}
        self._outside: dict[tuple[str, int], Any] = {}
        battery = problem.battery
        self._most_kw = most_kw = {
            "charge": np.minimum(problem.max_charge_kw, _most_at_any_soc(battery.charge_kw_at_soc)),
            "discharge": np.minimum(problem.max_discharge_kw, _most_at_any_soc(battery.discharge_kw_at_soc)),
            "import": problem.most_import_kw,
            "export": problem.most_export_kw,
            "curtailment": problem.pv_kw * problem.pv_curtailable,
        }
        self.of = {
            name: [self._variable(f"{name}_{t}", 0, float(most[t])) for t in range(problem.intervals)]
            for name, most in most_kw.items()
        }
        self._energy_terms()
        self._store()
        self._ends()
        self._balance()
        self._commitments()
        self.balancing: dict[str, list[Any]] = {}
        """Capacity held by product, a variable for each block, repeated over its intervals."""
        self._balancing()
        self._power_at_soc()
        self._budgets()
        for number, peak in enumerate(problem.peaks):
            self._peak(f"peak_{number}", peak)
        self._directions()
        self._solar_guard()

    @property
    def terms(self) -> Terms:
        """What is minimised: (variable, EUR per unit); a variable may come twice."""
        return self.terms_without_step_fees + self.step_fees

    @property
    def terms_without_step_fees(self) -> Terms:
        """The same if every step cost nothing."""
        price = self._problem.breach.final
        return self.money + [(variable, kwh * price) for variable, kwh in self.breaches]

    def decisions(self, worth: Array) -> Decisions:
        """The solved powers, shape (1, T)."""
        charge, discharge = _one_direction(self._problem, self._values("charge"), self._values("discharge"))
        rows = (charge, discharge, self._values("curtailment"), worth)
        charge, discharge, curtailment, worth = (row[np.newaxis, :] for row in rows)
        held = {
            name: np.array([[max(0.0, self._program.value(kw)) for kw in kws]]) for name, kws in self.balancing.items()
        }
        return Decisions(charge, discharge, curtailment, worth, held)

    def marginal_value(self) -> Array:
        """Shadow price of the store after each interval [EUR/kWh]; a saving counts as positive."""
        return np.array([-self._program.shadow_price(row) for row in self._store_rows], dtype=np.float64)

    def prescribe(self, charge_kw: Array, discharge_kw: Array) -> None:
        """Hold the first intervals to set-points, each of shape (first intervals,)."""
        for name, powers_kw in (("charge", charge_kw), ("discharge", discharge_kw)):
            for variable, kw in zip(self.of[name], powers_kw.tolist(), strict=False):
                self._program.require(variable >= kw - PRESCRIBED_WITHIN_KW)
                self._program.require(variable <= kw + PRESCRIBED_WITHIN_KW)

    def preference(self, prefer: str) -> Expression:
        """What to make small among plans of equal cost."""
        charge, discharge = self.of["charge"], self.of["discharge"]
        if prefer == "later_charging":
            return self._program.total((1 - t / len(charge)) * variable for t, variable in enumerate(charge))
        if prefer == "smoother_power":
            return self._program.total(self._above_levels("charge") + self._above_levels("discharge"))
        changes = []
        for t, (one, other) in enumerate(zip(charge, discharge, strict=True)):
            change = self._variable(f"change_{t}", 0, None)
            before = charge[t - 1] - discharge[t - 1] if t else 0
            self._program.require(change >= one - other - before)
            self._program.require(change >= before - one + other)
            changes.append(change)
        return self._program.total(changes)

    def _above_levels(self, name: str) -> list[Any]:
        """How far each power is above each of a few levels."""
        above = []
        for (t, variable), share in itertools.product(enumerate(self.of[name]), SMOOTH_LEVELS):
            above.append(self._variable(f"{name}_{t}_above_{share:g}", 0, None))
            self._program.require(above[-1] >= variable - share * float(self._most_kw[name][t]))
        return above

    def _values(self, name: str) -> Array:
        """The solved values of one variable [kW], shape (T,), with the solver's dust swept off."""
        raw = np.array([self._program.value(variable) for variable in self.of[name]], dtype=np.float64)
        return np.clip(np.where(raw < FEASIBILITY_TOLERANCE, 0.0, raw), 0.0, self._most_kw[name])

    def _variable(self, name: str, low: float | None, high: float | None) -> Any:
        return self._program.variable(self._prefix + name, low, high)

    def _breach(self, name: str, kwh_per_unit: float, most: float | None = None) -> Any:
        """A way around a limit, as far as `most`; a unit counts for so many kWh short at the end."""
        variable = self._variable(name, 0, most)
        self.breaches.append((variable, kwh_per_unit))
        return variable

    def _energy_terms(self) -> None:
        problem, h = self._problem, self._problem.step_h
        prices = {
            "import": problem.decision_import_price,
            "export": -problem.decision_export_price,
            "discharge": np.full(problem.intervals, problem.decision_wear + REST_PREFERENCE_EUR_PER_KWH),
        }
        for name, series in prices.items():
            self.money += [(variable, h * float(eur)) for variable, eur in zip(self.of[name], series, strict=True)]

    def _store(self) -> None:
        problem, battery = self._problem, self._problem.battery
        capacity, start, h, kept = battery.capacity_kwh, problem.initial_soc, problem.step_h, problem.kept
        # A store that loses energy can only be held in its band from outside.
        sinks = start < battery.min_soc or kept < 1
        floor = min(battery.min_soc if kept == 1 else 0.0, battery.min_soc, start) * capacity
        ceiling = max(battery.max_soc, start) * capacity
        self._lowest, self._highest = floor, ceiling
        self._stored = [self._variable(f"stored_{t}", floor, ceiling) for t in range(problem.intervals)]
        before: Expression = start * capacity
        for t, after in enumerate(self._stored):
            gain = h * battery.charge_efficiency * self.of["charge"][t]
            loss = h / battery.discharge_efficiency * self.of["discharge"][t]
            self._store_rows.append(self._program.require(after == kept * before + gain - loss))
            if sinks:
                below = self._breach(f"below_{t}", self._weight.band)
                self._program.require(after + below >= battery.min_soc * capacity)
                if start < 0:
                    self._outside["discharge", t] = below
            if start > battery.max_soc:
                above = self._breach(f"above_{t}", self._weight.overfull)
                self._program.require(after - above <= battery.max_soc * capacity)
                if start > 1:
                    self._outside["charge", t] = above
            reserve = float(problem.reserve_soc[t]) * capacity
            if reserve > floor:
                self._program.require(after + self._below_reserve(t) >= reserve)
            before = after

    def _below_reserve(self, t: int) -> Any:
        if self._problem.strategy.reserve_breach_price is None:
            return self._breach(f"reserve_{t}", self._weight.reserve)
        variable = self._variable(f"reserve_{t}", 0, None)
        self.money.append((variable, self._problem.breach.reserve))
        return variable

    def _ends(self) -> None:
        """The final state of charge and what it is worth."""
        problem, last = self._problem, self._stored[-1]
        capacity = problem.battery.capacity_kwh
        if problem.final_soc_min > -np.inf:
            short = self._breach("final", 1.0)
            self._program.require(last + short >= problem.final_soc_min * capacity)
        if len(problem.terminal_value) == 1:
            self.money.append((last, -float(problem.terminal_value[0])))
            return
        edges = problem.terminal_up_to_soc * capacity
        widths = [None, *np.diff(edges[:-1]), None]
        pieces = [self._variable("worth_0", None, float(edges[0]))]
        pieces += [self._variable(f"worth_{k}", 0, width) for k, width in enumerate(widths[1:], 1)]
        self._program.require(self._program.total(pieces) == last)
        self.money += [(piece, -float(eur)) for piece, eur in zip(pieces, problem.terminal_value, strict=True)]

    def _balance(self) -> None:
        problem, of = self._problem, self.of
        over_import, over_export, h = problem.idle_over_import_kw, problem.idle_over_export_kw, problem.step_h
        for t in range(problem.intervals):
            given = of["import"][t] + of["discharge"][t]
            taken = of["charge"][t] + of["export"][t] + of["curtailment"][t]
            if over_import[t] > 0:
                self._over_import[t] = self._breach(f"over_import_{t}", h * self._weight.limit, over_import[t])
                self.money.append((self._over_import[t], h * float(problem.decision_import_price[t])))
                given += self._over_import[t]
            if over_export[t] > 0:
                over = self._breach(f"over_export_{t}", h * self._weight.limit, over_export[t])
                self.money.append((over, -h * float(problem.decision_export_price[t])))
                self._over_export[t] = over
                taken += over
            self._program.require(given - taken == -float(problem.surplus_kw[t]))

    def _drawn(self, of: str, t: int) -> Terms:
        """What grid or battery draws in an interval."""
        if of == "battery":
            return [(self.of["charge"][t], 1.0), (self.of["discharge"][t], -1.0)]
        over = [(self._over_import[t], 1.0)] if t in self._over_import else []
        over += [(self._over_export[t], -1.0)] if t in self._over_export else []
        return [(self.of["import"][t], 1.0), (self.of["export"][t], -1.0), *over]

    def _commitments(self) -> None:
        """What a draw above or below each commitment costs; a price alike both ways needs no variable."""
        problem, h = self._problem, self._problem.step_h
        if problem.commitments:
            # What no decision changes counts where futures are compared.
            self.money.append((self._variable("settled", 1, 1), settled_eur(problem)))
        for number, commitment in enumerate(problem.commitments):
            name, promise = f"commitment_{number}", commitment.role == "promise"
            prices = zip(commitment.at_kw, commitment.above_eur_per_kwh, commitment.below_eur_per_kwh, strict=True)
            for t, (at, above, below) in enumerate(map(float, row) for row in prices):
                drawn = self._drawn(commitment.of, t)
                self.money += [(variable, -h * below * sign) for variable, sign in drawn if not promise and below]
                if above + below <= 0:
                    continue
                # A promise has one price only: it ranks among the breaches.
                side = -1.0 if promise and below > 0 else 1.0
                beyond = self._breach_or_variable(f"{name}_{t}", h * self._weight.promise, promise)
                total = self._program.total(sign * variable for variable, sign in drawn)
                self._program.require(beyond >= side * (total - at))
                if not promise:
                    self.money.append((beyond, h * (above + below)))

    def _breach_or_variable(self, name: str, kwh_per_unit: float, breach: bool) -> Any:
        return self._breach(name, kwh_per_unit) if breach else self._variable(name, 0, None)

    def _balancing(self) -> None:
        """Power, connection and energy that capacity held keeps free, at both ends of each interval it is held in."""
        problem, battery, h = self._problem, self._problem.battery, self._problem.step_h
        if not problem.balancing:
            return
        for offer in problem.balancing:
            blocks = [
                self._variable(f"{offer.name}_{number}", 0, float(offer.most_kw[offer.block == number].max()))
                for number in range(int(offer.block[-1]) + 1)
            ]
            self.balancing[offer.name] = [blocks[number] for number in offer.block]
            for t, kw in enumerate(self.balancing[offer.name]):
                self.money.append((kw, -h * float(offer.price_eur_per_kw_h[t])))
                if offer.sold_kw[t] > 0:
                    short = self._breach(f"{offer.name}_short_{t}", h * self._weight.promise)
                    self._program.require(kw + short >= float(offer.sold_kw[t]))
        capacity = battery.capacity_kwh
        before: Expression = problem.initial_soc * capacity
        for t, after in enumerate(self._stored):
            up_kw, down_kw, up_kwh, down_kwh = (self._headroom(figure, t) for figure in HEADROOM)
            charge, discharge = self.of["charge"][t], self.of["discharge"][t]
            self._program.require(discharge - charge + up_kw <= float(problem.max_discharge_kw[t]))
            self._program.require(charge - discharge + down_kw <= float(problem.max_charge_kw[t]))
            drawn = self.of["import"][t] - self.of["export"][t]
            if np.isfinite(problem.import_limit_kw[t]):
                self._program.require(drawn + down_kw <= float(problem.import_limit_kw[t]))
            if np.isfinite(problem.export_limit_kw[t]):
                self._program.require(up_kw - drawn <= float(problem.export_limit_kw[t]))
            floor, top = float(problem.headroom_floor_soc[t]) * capacity, battery.max_soc * capacity
            for edge, stored in (("begin", before), ("end", after)):
                left, room = stored - floor, top - stored
                up = up_kwh * (1 / battery.discharge_efficiency)
                self._backed(f"no_energy_{edge}_{t}", up, left, floor - self._lowest)
                self._backed(f"no_room_{edge}_{t}", down_kwh * battery.charge_efficiency, room, self._highest - top)
            before = after

    def _backed(self, name: str, kwh: Expression, there: Expression, most_lacking_kwh: float) -> None:
        """Energy that is kept free is there; where less than nothing may be there, nothing is to be kept free."""
        if most_lacking_kwh <= 0:
            self._program.require(kwh <= there)
            return
        none = self._program.binary(f"{self._prefix}{name}")
        self._program.require(kwh <= there + most_lacking_kwh * none)
        self._program.require(kwh <= 2 * self._problem.battery.capacity_kwh * (1 - none))

    def _headroom(self, figure: str, t: int) -> Expression:
        """What all capacity held in an interval keeps free together."""
        return self._program.total(
            getattr(offer.product, figure) * self.balancing[offer.name][t] for offer in self._problem.balancing
        )

    def _power_at_soc(self) -> None:
        """Power limited by the state of charge at the interval's end, a line for each piece of the limit."""
        battery = self._problem.battery
        for name, points in (("charge", battery.charge_kw_at_soc), ("discharge", battery.discharge_kw_at_soc)):
            lines = [
                ((next_kw - kw) / (next_soc - soc), kw - soc * (next_kw - kw) / (next_soc - soc))
                for (soc, kw), (next_soc, next_kw) in itertools.pairwise(points)
            ]
            for t, (variable, stored) in enumerate(zip(self.of[name], self._stored, strict=True)):
                # Beyond 0..1, where telemetry may start, the limit is that of the band's edge: rest must be allowed.
                beyond = self._outside.get((name, t), 0.0)
                for slope, at_empty in lines:
                    per_kwh = slope / battery.capacity_kwh
                    most = per_kwh * stored + abs(per_kwh) * beyond + at_empty
                    self._program.require(variable <= most)
                    if self.balancing:
                        other = self.of["discharge" if name == "charge" else "charge"][t]
                        free_kw = self._headroom("down_kw" if name == "charge" else "up_kw", t)
                        self._program.require(variable - other + free_kw <= most)

    def _budgets(self) -> None:
        problem = self._problem
        per_kw, capacity = problem.step_h / problem.battery.discharge_efficiency, problem.battery.capacity_kwh
        for number, budget in enumerate(problem.budgets):
            over = self._breach(f"over_budget_{number}", self._weight.budget)
            taken = self._program.total(
                per_kw * variable for variable in self.of["discharge"][budget.first : budget.last]
            )
            self._program.require(taken <= float(budget.most_kwh(capacity)) + over)

    def _peak(self, name: str, peak: PeakPeriod) -> None:
        """The billed peak and its fee; the fee of what came before the horizon is sunk and left out."""
        charge, count = peak.charge, peak.charge.largest_daily_peaks
        days = [self._variable(f"{name}_day_{d}", float(so_far), None) for d, so_far in enumerate(peak.day_so_far_kw)]
        for day, slot, intervals, so_far in zip(
            peak.slot_day, peak.slots, peak.slot_intervals, peak.slot_so_far_kw, strict=True
        ):
            flows = [self.of["import"][t] for t in slot] + [
                self._over_import[t] for t in slot.tolist() if t in self._over_import
            ]
            self._program.require(days[day] >= self._program.total(flows) * (1 / float(intervals)) + float(so_far))
        # The sum of the N largest is the least over q of N * q + the sum of what exceeds q.
        threshold = self._variable(f"{name}_threshold", 0, None)
        exceeding = []
        for number, value in enumerate([*days, *peak.earlier_kw]):
            exceeding.append(self._variable(f"{name}_above_{number}", 0, None))
            self._program.require(exceeding[-1] >= value - threshold)
        billed = threshold + self._program.total(exceeding) * (1 / count)
        if charge.steps_eur:
            highest = float(self._problem.load_kw.max() + self._problem.max_charge_kw.max()) + float(peak.billed_kw())
            steps = [self._program.binary(f"{self._prefix}{name}_step_{k}") for k in range(len(charge.steps_eur))]
            self._program.require(self._program.total(steps) == 1)
            bounds = [highest if bound is None else bound for bound, _ in charge.steps_eur]
            self._program.require(
                billed <= self._program.total(b * step for b, step in zip(bounds, steps, strict=True))
            )
            self.step_fees += [(step, eur) for step, (_, eur) in zip(steps, charge.steps_eur, strict=True)]
            return
        starts = [start for start, _ in charge.eur_per_kw]
        widths = [*np.diff(starts), None]
        tiers = [self._variable(f"{name}_tier_{k}", 0, width) for k, width in enumerate(widths)]
        self._program.require(billed <= self._program.total(tiers))
        self.money += [(tier, eur) for tier, (_, eur) in zip(tiers, charge.eur_per_kw, strict=True)]

    def _directions(self) -> None:
        charge_or_discharge, import_or_export = _may_cheat(self._problem)
        for t in np.flatnonzero(charge_or_discharge):
            self._either(t, "charge", "discharge")
        for t in np.flatnonzero(import_or_export):
            self._either(t, "import", "export")

    def _either(self, t: int | np.integer, one: str, other: str) -> None:
        one_most, other_most = float(self._most_kw[one][t]), float(self._most_kw[other][t])
        if one_most <= 0 or other_most <= 0:
            return
        binary = self._program.binary(f"{self._prefix}{one}_not_{other}_{t}")
        self._program.require(self.of[one][t] <= one_most * binary)
        self._program.require(self.of[other][t] <= other_most * (1 - binary))

    def _solar_guard(self) -> None:
        """Where buying costs nothing or less: what is charged comes out of the surplus that is not curtailed.

        At other prices curtailing and buying at once is dearer than neither, and the bound on charging is enough.
        """
        problem = self._problem
        for t in np.flatnonzero(problem.solar_guard_binds & (problem.max_charge_kw > 0)):
            charging = self._program.binary(f"{self._prefix}solar_{t}")
            used = self.of["charge"][t] + self.of["curtailment"][t]
            self._program.require(self.of["charge"][t] <= float(problem.max_charge_kw[t]) * charging)
            self._program.require(used <= float(problem.surplus_kw[t]) + float(problem.pv_kw[t]) * (1 - charging))


def _may_cheat(problem: DispatchProblem) -> tuple[Mask, Mask]:
    """Intervals on which the relaxation could gain from using both directions at once.

    Import with export: cutting both by one kWh changes the cost by export price - import price, so it
    pays to use both only where the export price is the higher.

    Charge with discharge: cut charge by e and discharge by e * rte (round-trip efficiency), which leaves
    the store as it is and adds e * (1 - rte) to what the site gives. That changes the cost by
    -e * ((1 - rte) * price + rte * wear), a gain unless a price is so negative that wear does not
    cover it. The extra power must have somewhere to go: to less import, to curtailed PV, or to the grid. Only
    where the export limit blocks the last and there is no PV to curtail can the pair stay, and then only
    if emptying the store is worth money, that is, if a negative price or too full a store is about.

    Every other rule (guards, budgets, demand charges, power by state of charge) is kept by less power and less import.
    """
    battery = problem.battery
    rte = battery.round_trip_efficiency
    blocked = (
        problem.max_discharge_kw + (0.0 if problem.pv_curtailable else problem.pv_kw) - problem.load_kw
        > problem.export_limit_kw
    )
    emptying_pays = (
        problem.initial_soc > battery.max_soc
        or bool((problem.terminal_value < 0).any())
        or bool((problem.lowest_price < 0).any())
        or bool(problem.idle_over_export_kw.any())
    )
    can_burn = (problem.max_charge_kw > 0) & (problem.max_discharge_kw > 0) & (rte < 1)
    # Capacity pays for room in the store, and for power that burning instead of discharging leaves free.
    charge_or_discharge = (problem.burning_pays | (blocked & emptying_pays) | bool(problem.balancing)) & can_burn
    return charge_or_discharge, problem.selling_beats_buying


def _most_at_any_soc(points: tuple[tuple[float, float], ...]) -> float:
    """The highest power that the cells take or give [kW]; infinite where they set no limit."""
    return max((kw for _, kw in points), default=np.inf)


def _one_direction(problem: DispatchProblem, charge_kw: Array, discharge_kw: Array) -> tuple[Array, Array]:
    """Undo charge with discharge where it was free of cost, leaving the store as it is."""
    rte = problem.battery.round_trip_efficiency
    cancelled = np.minimum(charge_kw, discharge_kw / rte)
    charge, discharge = charge_kw - cancelled, discharge_kw - cancelled * rte
    charge[charge < FEASIBILITY_TOLERANCE] = 0.0
    discharge[discharge < FEASIBILITY_TOLERANCE] = 0.0
    return charge, discharge
