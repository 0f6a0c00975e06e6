"""The dispatch problem as a linear program, with binaries only where its relaxation could cheat.

The only module that imports PuLP; HiGHS runs in this process. The model is reference form: variables
are AC-side powers in kW, the store is in kWh,

    import + (pv - curtailment) + discharge = load + charge + export
    stored[t] = kept * stored[t-1] + h * (charge * charge_efficiency - discharge / discharge_efficiency)

minimise  h * sum(import_price * import - export_price * export + wear * discharge)
          + demand charges - terminal worth of stored[T] + breach prices * breaches.

Where the plain LP is exact (Al Taha and Bitar, "When are lossy energy storage optimization models
convex?", arXiv 2403.14010, for the general theory; `_may_cheat` gives the argument used here) it stays
an LP; a binary per direction is added, up front, on the other intervals only.

Limits are soft only where an idle battery would break them, so that an ordinary problem has no slack
variables at all, and one that starts outside its band or draws above its fuse still gets a plan.
"""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pulp

from engine.decisions import Decisions
from engine.demand import PeakPeriod
from engine.effort import Effort
from engine.errors import SolveError
from engine.plan import Solution
from engine.problem import Array, DispatchProblem, Mask

# HiGHS stops at 1e-7 by default; money is compared at 1e-6 EUR, so ask for more.
FEASIBILITY_TOLERANCE = 1e-9
# Below the preference for rest times five minutes.
OPTIMALITY_TOLERANCE = 1e-10
# Breaks ties in favour of resting, so that burning energy for nothing is never as good as leaving it.
# Never part of a reported cost; at most a cent per GWh discharged.
REST_PREFERENCE_EUR_PER_KWH = 1e-8
# How far rounding may set an answer above its bound, relative to the money at stake.
SAME_MONEY = 1e-8
# A preference is added to the money at this price per kW; what it really costs is checked, relative to the money at
# stake, and a taste that costs more is dropped.
PREFERENCE_EUR_PER_KW = 1e-7
PREFERENCE_TOLERANCE = 1e-10
# Power levels that a smoother plan avoids, of the most that is allowed.
SMOOTH_LEVELS = (0.25, 0.5, 0.75)
# What HiGHS reports for a bound or a plan that it does not have is infinite, or above this.
INFINITE = 1e30

Expression = Any  # PuLP ships no types


def solve(problem: DispatchProblem, effort: Effort, why_not: str = "") -> Solution:
    """Find the cheapest plan and accept it only with a proof of optimality.

    Args:
        problem: The site's problem.
        effort: Longest solve, and accepted gap between a MILP's answer and its proved bound.
        why_not: Why no faster path was taken; put before this one's own reason.

    Raises:
        SolveError: HiGHS ended without a proved optimum (time, numerics); nothing is returned then.
    """
    begin = time.perf_counter()
    program = _Program(effort)
    site = _SiteModel(program, problem, "")
    program.minimise(site.terms)
    worth = site.marginal_value()
    if problem.strategy.prefer:
        program.prefer(site.preference(problem.strategy.prefer))
    return Solution(
        decisions=site.decisions(worth),
        solver=program.name,
        why=why_not + program.why,
        seconds=time.perf_counter() - begin,
        gap_eur=program.gap_eur,
    )


def solve_scenarios(
    problems: Sequence[DispatchProblem],
    probabilities: Array,
    first_stage: int,
    cvar_weight: float,
    cvar_level: float,
    effort: Effort,
) -> list[Solution]:
    """Plan several futures at once whose first intervals share one battery set-point each.

    Minimises (1 - weight) * expected cost + weight * CVaR; the conditional value at risk is that of Rockafellar and
    Uryasev, "Optimization of conditional value-at-risk", Journal of Risk 2 (2000): the mean of the worst 1 - level.

    Args:
        problems: One per scenario, on one index.
        probabilities: Shape (S,), adding to 1.
        first_stage: Number of intervals whose battery power all scenarios share.
        cvar_weight: 0 for the expected cost alone, 1 for the CVaR alone.
        cvar_level: Share of outcomes that are not in the tail [fraction].
        effort: As for `solve`.

    Returns:
        A solution per scenario; marginal values are in that scenario's own money.

    Raises:
        SolveError: HiGHS ended without a proved optimum.
    """
    begin = time.perf_counter()
    program = _Program(effort)
    models = [_SiteModel(program, problem, f"s{number}_") for number, problem in enumerate(problems)]
    for name, model in itertools.product(("charge", "discharge"), models[1:]):
        for t in range(first_stage):
            program.require(model.of[name][t] == models[0].of[name][t])
    terms = [
        (variable, (1 - cvar_weight) * p * eur)
        for model, p in zip(models, probabilities, strict=True)
        for variable, eur in model.terms
    ]
    tail_rows = []
    if cvar_weight > 0:
        value_at_risk = program.variable("value_at_risk", None, None)
        terms.append((value_at_risk, cvar_weight))
        for number, (model, p) in enumerate(zip(models, probabilities, strict=True)):
            excess = program.variable(f"excess_{number}", 0, None)
            tail_rows.append(program.require(excess >= pulp.LpAffineExpression(model.terms) - value_at_risk))
            terms.append((excess, cvar_weight * p / (1 - cvar_level)))
    program.minimise(terms)
    # What a scenario's money counts for: its share of the expectation, and of the tail by the dual of its row.
    weights = (1 - cvar_weight) * probabilities + np.array([row.pi for row in tail_rows] or 0.0)
    seconds = time.perf_counter() - begin
    return [
        Solution(
            decisions=model.decisions(
                model.marginal_value() / weight if weight > 0 else np.zeros(len(model.of["charge"]))
            ),
            solver=program.name,
            why=f"one of {len(models)} scenarios planned together; {program.why}",
            seconds=seconds,
            gap_eur=program.gap_eur,
        )
        for model, weight in zip(models, weights, strict=True)
    ]


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
        or bool((np.minimum(problem.decision_import_price, problem.export_price) < 0).any())
        or bool(problem.idle_over_export_kw.any())
    )
    can_burn = (problem.max_charge_kw > 0) & (problem.max_discharge_kw > 0) & (rte < 1)
    charge_or_discharge = (problem.burning_pays | (blocked & emptying_pays)) & can_burn
    return charge_or_discharge, problem.selling_beats_buying


class _Program:
    """A PuLP model with its binaries, and how it was solved."""

    def __init__(self, effort: Effort) -> None:
        self._lp = pulp.LpProblem("dispatch", pulp.LpMinimize)
        self._binaries: list[Any] = []
        self._effort = effort
        self._objective: Expression = None
        self.gap_eur = 0.0
        self.objective_eur = 0.0

    @property
    def name(self) -> str:
        """What solved it."""
        return f"HiGHS {'MILP' if self._binaries else 'LP'} (PuLP {pulp.__version__})"

    @property
    def why(self) -> str:
        """Why its answer is exact."""
        if not self._binaries:
            return "no interval rewards using both directions at once, so the linear program is exact"
        return f"{len(self._binaries)} binaries where the relaxation could gain by doing two things at once"

    def variable(self, name: str, low: float | None, high: float | None) -> Any:
        """A continuous variable."""
        return self._lp.add_variable(name, low, high)

    def binary(self, name: str) -> Any:
        """A decision."""
        self._binaries.append(self._lp.add_variable(name, cat=pulp.LpBinary))
        return self._binaries[-1]

    def require(self, row: Any) -> Any:
        """Add a constraint."""
        self._lp += row
        return row

    def minimise(self, terms: list[tuple[Any, float]]) -> None:
        """Solve to a proved optimum."""
        self._objective = pulp.LpAffineExpression(terms)
        self._lp += self._objective
        self._run()
        if self._binaries:
            bound_eur = float(self._lp.solverModel.getInfo().mip_dual_bound)
            # Only a linear program has prices, and exact ones: fix the directions found and solve once more.
            for binary in self._binaries:
                direction = round(binary.value())
                binary.cat = pulp.LpContinuous
                binary.lowBound = binary.upBound = direction
            self._run()
            self._prove(bound_eur)
        self.objective_eur = self._found_eur()

    def _prove(self, bound_eur: float) -> None:
        """Hold the answer with exact directions to the bound of the search."""
        self.gap_eur = max(0.0, self._found_eur() - bound_eur)
        if self.gap_eur > self._effort.money_tolerance_eur + SAME_MONEY * max(1.0, abs(self._found_eur())):
            raise SolveError(
                f"solver: the answer {self._found_eur():.6f} EUR is {self.gap_eur:.6f} EUR above the proved bound; "
                "accept a gap (money_tolerance_eur) or report it with its input"
            )

    def _found_eur(self) -> float:
        return float(self._lp.objective.value())

    def prefer(self, taste: Expression) -> None:
        """Among the optimal plans take the one with the least `taste`; if it cannot be had for nothing, the first."""
        first = [(variable, variable.varValue) for variable in self._lp.variables()]
        self._lp.setObjective(self._objective + PREFERENCE_EUR_PER_KW * taste)
        try:
            self._run()
            free = self._objective.value() <= self.objective_eur + PREFERENCE_TOLERANCE * max(
                1.0, abs(self.objective_eur)
            )
        except SolveError:
            free = False
        if not free:
            for variable, value in first:
                variable.varValue = value

    def _run(self) -> None:
        self._solve()
        if self._binaries and self._lp.sol_status == pulp.LpSolutionInfeasible:
            # Limits are soft, so nothing here is infeasible; at these tolerances HiGHS's presolve may think so.
            self._solve(presolve="off")
        # PuLP calls a truncated solve "Optimal"; only the status of the solution tells a proof.
        if self._lp.sol_status != pulp.LpSolutionOptimal:
            raise SolveError(self._failure())

    def _solve(self, **options: Any) -> None:
        # No `threads`: in HiGHS it is one setting per process, and a second value makes later solves return
        # "not solved" without an exception.
        solver = pulp.HiGHS(
            msg=False,
            timeLimit=self._effort.time_limit_s,
            gapRel=0.0,
            gapAbs=self._effort.money_tolerance_eur,
            primal_feasibility_tolerance=FEASIBILITY_TOLERANCE,
            dual_feasibility_tolerance=OPTIMALITY_TOLERANCE,
            # At the default of 1e-6 a binary leaks a millionth of its big-M. On some real days that fixed a wrong
            # direction, a microeuro dearer, and the search's own bound did not tell.
            mip_feasibility_tolerance=FEASIBILITY_TOLERANCE,
            **options,
        )
        # PuLP has no word for some of HiGHS's statuses; they are no proof either, and told below in HiGHS's words.
        with contextlib.suppress(KeyError):
            self._lp.solve(solver)

    def _failure(self) -> str:
        highs = self._lp.solverModel
        status = highs.modelStatusToString(highs.getModelStatus())
        info = highs.getInfo()
        found, bound = float(info.objective_function_value), float(info.mip_dual_bound)
        gap = "no plan and no bound"
        if self._binaries and abs(bound) < INFINITE:
            gap = f"a bound of {bound:.6f} EUR and no plan"
            if abs(found) < INFINITE:
                gap = f"a gap of {found - bound:.6f} EUR (plan {found:.6f}, bound {bound:.6f})"
        return (
            f"solver: HiGHS ended with {status!r} within {self._effort.time_limit_s:g} s, {gap} and no proved optimum; "
            "allow more time (time_limit_s), accept a gap (money_tolerance_eur) or shorten the horizon"
        )


class _SiteModel:
    """Variables and rows of one problem, its cost terms, and its answer."""

    def __init__(self, program: _Program, problem: DispatchProblem, prefix: str) -> None:
        self._program, self._problem, self._prefix = program, problem, prefix
        self.terms: list[tuple[Any, float]] = []
        """What is minimised: (variable, EUR per unit)."""
        self._store_rows: list[Any] = []
        self._over_import: dict[int, Any] = {}
        self._outside: dict[tuple[str, int], Any] = {}
        most_kw = {
            "charge": problem.max_charge_kw,
            "discharge": problem.max_discharge_kw,
            "import": problem.most_import_kw,
            "export": problem.most_export_kw,
            "curtailment": problem.pv_kw * problem.pv_curtailable,
        }
        self._most_kw = most_kw
        self.of = {
            name: [self._variable(f"{name}_{t}", 0, float(most[t])) for t in range(problem.intervals)]
            for name, most in most_kw.items()
        }
        self._energy_terms()
        self._store()
        self._ends()
        self._balance()
        self._power_at_soc()
        self._budgets()
        for number, peak in enumerate(problem.peaks):
            self._peak(f"peak_{number}", peak)
        self._directions()
        self._solar_guard()

    def decisions(self, worth: Array) -> Decisions:
        """The solved powers, shape (1, T)."""
        charge, discharge = _one_direction(self._problem, self._values("charge"), self._values("discharge"))
        rows = (charge, discharge, self._values("curtailment"), worth)
        return Decisions(*(row[np.newaxis, :] for row in rows))

    def marginal_value(self) -> Array:
        """Shadow price of the store after each interval [EUR/kWh]; a saving counts as positive."""
        return np.array([-row.pi for row in self._store_rows], dtype=np.float64)

    def preference(self, prefer: str) -> Expression:
        """What to make small among plans of equal cost."""
        charge, discharge = self.of["charge"], self.of["discharge"]
        if prefer == "later_charging":
            return pulp.lpSum((1 - t / len(charge)) * variable for t, variable in enumerate(charge))
        if prefer == "smoother_power":
            return pulp.lpSum(self._above_levels("charge") + self._above_levels("discharge"))
        changes = []
        for t, (one, other) in enumerate(zip(charge, discharge, strict=True)):
            change = self._variable(f"change_{t}", 0, None)
            before = charge[t - 1] - discharge[t - 1] if t else 0
            self._program.require(change >= one - other - before)
            self._program.require(change >= before - one + other)
            changes.append(change)
        return pulp.lpSum(changes)

    def _above_levels(self, name: str) -> list[Any]:
        """How far each power is above each of a few levels."""
        above = []
        for (t, variable), share in itertools.product(enumerate(self.of[name]), SMOOTH_LEVELS):
            above.append(self._variable(f"{name}_{t}_above_{share:g}", 0, None))
            self._program.require(above[-1] >= variable - share * float(self._most_kw[name][t]))
        return above

    def _values(self, name: str) -> Array:
        """The solved values of one variable [kW], shape (T,), with the solver's dust swept off."""
        raw = np.array([variable.value() for variable in self.of[name]], dtype=np.float64)
        return np.clip(np.where(raw < FEASIBILITY_TOLERANCE, 0.0, raw), 0.0, self._most_kw[name])

    def _variable(self, name: str, low: float | None, high: float | None) -> Any:
        return self._program.variable(self._prefix + name, low, high)

    def _breach(self, name: str, eur_per_unit: float, most: float | None = None) -> Any:
        """A way around a limit, as far as `most`, at a price."""
        variable = self._variable(name, 0, most)
        self.terms.append((variable, eur_per_unit))
        return variable

    def _energy_terms(self) -> None:
        problem, h = self._problem, self._problem.step_h
        wear = problem.battery.wear_eur_per_kwh
        prices = {
            "import": problem.decision_import_price,
            "export": -problem.export_price,
            "discharge": np.full(problem.intervals, wear + REST_PREFERENCE_EUR_PER_KWH),
        }
        for name, series in prices.items():
            self.terms += [(variable, h * float(eur)) for variable, eur in zip(self.of[name], series, strict=True)]

    def _store(self) -> None:
        problem, battery = self._problem, self._problem.battery
        capacity, start, h, kept = battery.capacity_kwh, problem.initial_soc, problem.step_h, problem.kept
        band_price = problem.breach.band
        # A store that loses energy can only be held in its band from outside.
        sinks = start < battery.min_soc or kept < 1
        floor = min(battery.min_soc if kept == 1 else 0.0, battery.min_soc, start) * capacity
        ceiling = max(battery.max_soc, start) * capacity
        self._stored = [self._variable(f"stored_{t}", floor, ceiling) for t in range(problem.intervals)]
        before: Expression = start * capacity
        for t, after in enumerate(self._stored):
            gain = h * battery.charge_efficiency * self.of["charge"][t]
            loss = h / battery.discharge_efficiency * self.of["discharge"][t]
            self._store_rows.append(self._program.require(after == kept * before + gain - loss))
            if sinks:
                below = self._breach(f"below_{t}", band_price)
                self._program.require(after + below >= battery.min_soc * capacity)
                if start < 0:
                    self._outside["discharge", t] = below
            if start > battery.max_soc:
                above = self._breach(f"above_{t}", band_price)
                self._program.require(after - above <= battery.max_soc * capacity)
                if start > 1:
                    self._outside["charge", t] = above
            reserve = float(problem.reserve_soc[t]) * capacity
            if reserve > floor:
                short = self._breach(f"reserve_{t}", problem.breach.reserve)
                self._program.require(after + short >= reserve)
            before = after

    def _ends(self) -> None:
        """The final state of charge and what it is worth."""
        problem, last = self._problem, self._stored[-1]
        capacity = problem.battery.capacity_kwh
        if problem.final_soc_min > -np.inf:
            short = self._breach("final", problem.breach.final)
            self._program.require(last + short >= problem.final_soc_min * capacity)
        if len(problem.terminal_value) == 1:
            self.terms.append((last, -float(problem.terminal_value[0])))
            return
        edges = problem.terminal_up_to_soc * capacity
        widths = [None, *np.diff(edges[:-1]), None]
        pieces = [self._variable("worth_0", None, float(edges[0]))]
        pieces += [self._variable(f"worth_{k}", 0, width) for k, width in enumerate(widths[1:], 1)]
        self._program.require(pulp.lpSum(pieces) == last)
        self.terms += [(piece, -float(eur)) for piece, eur in zip(pieces, problem.terminal_value, strict=True)]

    def _balance(self) -> None:
        problem, of = self._problem, self.of
        over_import, over_export, h = problem.idle_over_import_kw, problem.idle_over_export_kw, problem.step_h
        price = problem.breach.limit
        for t in range(problem.intervals):
            given = of["import"][t] + of["discharge"][t]
            taken = of["charge"][t] + of["export"][t] + of["curtailment"][t]
            if over_import[t] > 0:
                eur = h * (price + problem.decision_import_price[t])
                self._over_import[t] = self._breach(f"over_import_{t}", eur, over_import[t])
                given += self._over_import[t]
            if over_export[t] > 0:
                taken += self._breach(f"over_export_{t}", h * (price - problem.export_price[t]), over_export[t])
            self._program.require(given - taken == -float(problem.surplus_kw[t]))

    def _power_at_soc(self) -> None:
        """Power limited by the state of charge at the interval's end, a line for each piece of the limit."""
        battery = self._problem.battery
        for name, points in (("charge", battery.charge_kw_at_soc), ("discharge", battery.discharge_kw_at_soc)):
            lines = [
                ((next_kw - kw) / (next_soc - soc), kw - soc * (next_kw - kw) / (next_soc - soc))
                for (soc, kw), (next_soc, next_kw) in itertools.pairwise(points)
            ]
            level = max((kw for _, kw in points), default=np.inf)
            for t, (variable, stored) in enumerate(zip(self.of[name], self._stored, strict=True)):
                variable.upBound = min(variable.upBound, level)
                # Beyond 0..1, where telemetry may start, the limit is that of the band's edge: rest must be allowed.
                beyond = self._outside.get((name, t), 0.0)
                for slope, at_empty in lines:
                    per_kwh = slope / battery.capacity_kwh
                    self._program.require(variable <= per_kwh * stored + abs(per_kwh) * beyond + at_empty)
                self._most_kw[name][t] = min(self._most_kw[name][t], level)

    def _budgets(self) -> None:
        problem = self._problem
        per_kw, capacity = problem.step_h / problem.battery.discharge_efficiency, problem.battery.capacity_kwh
        for number, budget in enumerate(problem.budgets):
            over = self._breach(f"over_budget_{number}", problem.breach.budget)
            taken = pulp.lpSum(per_kw * variable for variable in self.of["discharge"][budget.first : budget.last])
            self._program.require(taken <= budget.cycles * capacity + over)

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
            self._program.require(days[day] >= pulp.lpSum(flows) * (1 / float(intervals)) + float(so_far))
        # The sum of the N largest is the least over q of N * q + the sum of what exceeds q.
        threshold = self._variable(f"{name}_threshold", 0, None)
        exceeding = []
        for number, value in enumerate([*days, *peak.earlier_kw]):
            exceeding.append(self._variable(f"{name}_above_{number}", 0, None))
            self._program.require(exceeding[-1] >= value - threshold)
        billed = threshold + pulp.lpSum(exceeding) * (1 / count)
        if charge.steps_eur:
            highest = float(self._problem.load_kw.max() + self._problem.max_charge_kw.max()) + float(peak.billed_kw())
            steps = [self._program.binary(f"{self._prefix}{name}_step_{k}") for k in range(len(charge.steps_eur))]
            self._program.require(pulp.lpSum(steps) == 1)
            bounds = [highest if bound is None else bound for bound, _ in charge.steps_eur]
            self._program.require(billed <= pulp.lpSum(b * step for b, step in zip(bounds, steps, strict=True)))
            self.terms += [(step, eur) for step, (_, eur) in zip(steps, charge.steps_eur, strict=True)]
            return
        starts = [start for start, _ in charge.eur_per_kw]
        widths = [*np.diff(starts), None]
        tiers = [self._variable(f"{name}_tier_{k}", 0, width) for k, width in enumerate(widths)]
        self._program.require(billed <= pulp.lpSum(tiers))
        self.terms += [(tier, eur) for tier, (_, eur) in zip(tiers, charge.eur_per_kw, strict=True)]

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


def _one_direction(problem: DispatchProblem, charge_kw: Array, discharge_kw: Array) -> tuple[Array, Array]:
    """Undo charge with discharge where it was free of cost, leaving the store as it is."""
    rte = problem.battery.round_trip_efficiency
    cancelled = np.minimum(charge_kw, discharge_kw / rte)
    charge, discharge = charge_kw - cancelled, discharge_kw - cancelled * rte
    charge[charge < FEASIBILITY_TOLERANCE] = 0.0
    discharge[discharge < FEASIBILITY_TOLERANCE] = 0.0
    return charge, discharge
