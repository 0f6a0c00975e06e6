"""The dispatch problem as a linear program, with binaries only where its relaxation could cheat.

The only module that imports PuLP; HiGHS runs in this process. The model is reference form: variables
are AC-side powers in kW, the store is in kWh,

    import + (pv - curtailment) + discharge = load + charge + export
    stored[t] = stored[t-1] + h * (charge * charge_efficiency - discharge / discharge_efficiency)

minimise  h * sum(import_price * import - export_price * export + wear * discharge)
          - terminal_value * stored[T] + breach_price * breaches.

Where the plain LP is exact (Al Taha and Bitar, "When are lossy energy storage optimization models
convex?", arXiv 2403.14010, for the general theory; `_may_cheat` gives the argument used here) it stays
an LP; a binary per direction is added, up front, on the other intervals only.

Limits are soft only where an idle battery would break them, so that an ordinary problem has no slack
variables at all, and one that starts outside its band or draws above its fuse still gets a plan.
"""

from __future__ import annotations

import contextlib
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import pulp

from engine.errors import SolveError
from engine.plan import Solution
from engine.problem import BAND_PRIORITY, LIMIT_PRIORITY, Array, DispatchProblem

# HiGHS stops at 1e-7 by default; money is compared at 1e-6 EUR, so ask for more.
FEASIBILITY_TOLERANCE = 1e-9
# Below the preference for rest times five minutes.
OPTIMALITY_TOLERANCE = 1e-10
TIME_LIMIT_S = 60.0
# Breaks ties in favour of resting, so that burning energy for nothing is never as good as leaving it.
# Never part of a reported cost; at most a cent per GWh discharged.
REST_PREFERENCE_EUR_PER_KWH = 1e-8

Mask = npt.NDArray[np.bool_]
Expression = Any  # PuLP ships no types


def solve(problem: DispatchProblem, time_limit_s: float = TIME_LIMIT_S) -> Solution:
    """Find the cheapest plan and accept it only with a proof of optimality.

    Args:
        problem: The site's problem.
        time_limit_s: Longest solve [s].

    Raises:
        SolveError: HiGHS ended without a proved optimum (time, numerics); nothing is returned then.
    """
    begin = time.perf_counter()
    model = _Model(problem, *_may_cheat(problem))
    _run(model.lp, time_limit_s)
    binaries = model.binary_count
    if binaries:
        # Only a linear program has prices: fix the directions found and solve once more.
        model.fix_binaries()
        _run(model.lp, time_limit_s)
        why = f"{binaries} binaries where the relaxation could gain by using both directions at once"
    else:
        why = "no interval rewards using both directions at once, so the linear program is exact"
    charge_kw, discharge_kw = _one_direction(problem, model.values("charge"), model.values("discharge"))
    return Solution(
        charge_kw=charge_kw,
        discharge_kw=discharge_kw,
        curtailment_kw=model.values("curtailment"),
        marginal_value_eur_per_kwh=model.marginal_value(),
        solver=f"HiGHS {'MILP' if binaries else 'LP'} (PuLP {pulp.__version__})",
        why=why,
        seconds=time.perf_counter() - begin,
    )


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
    """
    battery = problem.battery
    rte = battery.round_trip_efficiency
    blocked = (
        battery.max_discharge_kw + (0.0 if problem.pv_curtailable else problem.pv_kw) - problem.load_kw
        > problem.export_limit_kw
    )
    emptying_pays = (
        problem.initial_soc > battery.max_soc
        or problem.terminal_value_eur_per_kwh < 0
        or bool((np.minimum(problem.import_price, problem.export_price) < 0).any())
        or bool(problem.idle_over_export_kw.any())
    )
    can_burn = battery.max_charge_kw > 0 and battery.max_discharge_kw > 0 and rte < 1
    charge_or_discharge = (problem.burning_pays | (blocked & emptying_pays)) & can_burn
    return charge_or_discharge, problem.selling_beats_buying


class _Model:
    """The PuLP model of one problem, and its variables by name."""

    def __init__(self, problem: DispatchProblem, charge_or_discharge: Mask, import_or_export: Mask) -> None:
        self._problem = problem
        self.lp = pulp.LpProblem("dispatch", pulp.LpMinimize)
        self._binaries: list[Any] = []
        self._store_rows: list[Any] = []
        self._breach_terms: list[tuple[Any, float]] = []
        battery, steps = problem.battery, range(problem.intervals)
        import_most, export_most = problem.most_import_kw, problem.most_export_kw
        most_kw = {
            "charge": np.full(problem.intervals, battery.max_charge_kw),
            "discharge": np.full(problem.intervals, battery.max_discharge_kw),
            "import": import_most,
            "export": export_most,
            "curtailment": problem.pv_kw * problem.pv_curtailable,
        }
        self._of = {name: [self._variable(f"{name}_{t}", 0, most[t]) for t in steps] for name, most in most_kw.items()}
        self._store()
        self._balance()
        for t in np.flatnonzero(charge_or_discharge):
            self._either(t, "charge", battery.max_charge_kw, "discharge", battery.max_discharge_kw)
        for t in np.flatnonzero(import_or_export):
            self._either(t, "import", import_most[t], "export", export_most[t])
        self._objective()

    @property
    def binary_count(self) -> int:
        """How many directions the model had to decide."""
        return len(self._binaries)

    def values(self, name: str) -> Array:
        """The solved values of one variable [kW], shape (T,), with the solver's dust swept off."""
        raw = np.array([variable.value() for variable in self._of[name]], dtype=np.float64)
        upper = np.array([variable.upBound for variable in self._of[name]], dtype=np.float64)
        return np.clip(np.where(raw < FEASIBILITY_TOLERANCE, 0.0, raw), 0.0, upper)

    def marginal_value(self) -> Array:
        """Shadow price of the store after each interval [EUR/kWh]; a saving counts as positive."""
        return np.array([-row.pi for row in self._store_rows], dtype=np.float64)

    def fix_binaries(self) -> None:
        """Turn the solved MILP into the linear program of its directions."""
        for binary in self._binaries:
            direction = round(binary.value())
            binary.cat = pulp.LpContinuous
            binary.lowBound = binary.upBound = direction

    def _variable(self, name: str, low: float, high: float | None) -> Any:
        return self.lp.add_variable(name, low, high)

    def _breach(self, name: str, weight: float, most: float | None = None, price: float = 0.0) -> Any:
        """A way around a limit, as far as `most`, at the breach price times `weight` and the energy's own price."""
        variable = self._variable(name, 0, most)
        self._breach_terms.append((variable, weight * self._problem.breach_price_eur_per_kwh + price))
        return variable

    def _store(self) -> None:
        problem, battery = self._problem, self._problem.battery
        capacity, start, h = battery.capacity_kwh, problem.initial_soc, problem.step_h
        floor = min(battery.min_soc, start) * capacity
        ceiling = max(battery.max_soc, start) * capacity
        self._stored = [self._variable(f"stored_{t}", floor, ceiling) for t in range(problem.intervals)]
        before: Expression = start * capacity
        for t, after in enumerate(self._stored):
            gain = h * battery.charge_efficiency * self._of["charge"][t]
            loss = h / battery.discharge_efficiency * self._of["discharge"][t]
            row = after == before + gain - loss
            self.lp += row
            self._store_rows.append(row)
            if start < battery.min_soc:
                self.lp += after + self._breach(f"below_{t}", BAND_PRIORITY * h) >= battery.min_soc * capacity
            if start > battery.max_soc:
                self.lp += after - self._breach(f"above_{t}", BAND_PRIORITY * h) <= battery.max_soc * capacity
            before = after
        if problem.final_soc_min is not None:
            self.lp += before + self._breach("final", 1.0) >= problem.final_soc_min * capacity

    def _balance(self) -> None:
        problem, of = self._problem, self._of
        over_import, over_export, h = problem.idle_over_import_kw, problem.idle_over_export_kw, problem.step_h
        for t in range(problem.intervals):
            given = of["import"][t] + of["discharge"][t]
            taken = of["charge"][t] + of["export"][t] + of["curtailment"][t]
            if over_import[t] > 0:
                given += self._breach(
                    f"over_import_{t}", LIMIT_PRIORITY * h, over_import[t], h * problem.import_price[t]
                )
            if over_export[t] > 0:
                taken += self._breach(
                    f"over_export_{t}", LIMIT_PRIORITY * h, over_export[t], -h * problem.export_price[t]
                )
            self.lp += given - taken == -float(problem.surplus_kw[t])

    def _either(self, t: int | np.integer, one: str, one_most: float, other: str, other_most: float) -> None:
        if one_most <= 0 or other_most <= 0:
            return
        binary = self.lp.add_variable(f"{one}_not_{other}_{t}", cat=pulp.LpBinary)
        self._binaries.append(binary)
        self.lp += self._of[one][t] <= one_most * binary
        self.lp += self._of[other][t] <= other_most * (1 - binary)

    def _objective(self) -> None:
        problem, h = self._problem, self._problem.step_h
        wear = problem.battery.wear_eur_per_kwh
        prices = {
            "import": problem.import_price,
            "export": -problem.export_price,
            "discharge": np.full(problem.intervals, wear + REST_PREFERENCE_EUR_PER_KWH),
        }
        terms = [
            (variable, h * float(price))
            for name, series in prices.items()
            for variable, price in zip(self._of[name], series, strict=True)
        ]
        terms.append((self._stored[-1], -problem.terminal_value_eur_per_kwh))
        self.lp += pulp.LpAffineExpression(terms + self._breach_terms)


def _run(lp: Any, time_limit_s: float) -> None:
    # No `threads`: in HiGHS it is one setting per process, and a second value makes later solves return
    # "not solved" without an exception.
    solver = pulp.HiGHS(
        msg=False,
        timeLimit=time_limit_s,
        gapRel=0.0,
        gapAbs=FEASIBILITY_TOLERANCE,
        primal_feasibility_tolerance=FEASIBILITY_TOLERANCE,
        dual_feasibility_tolerance=OPTIMALITY_TOLERANCE,
    )
    # PuLP has no word for some of HiGHS's statuses; they are no proof either, and told below in HiGHS's words.
    with contextlib.suppress(KeyError):
        lp.solve(solver)
    # PuLP calls a truncated solve "Optimal"; only the status of the solution tells a proof.
    if lp.sol_status != pulp.LpSolutionOptimal:
        raise SolveError(
            f"solver: HiGHS ended with {lp.solverModel.modelStatusToString(lp.solverModel.getModelStatus())!r} "
            f"within {time_limit_s:g} s and no proved optimum; shorten the horizon or allow more time"
        )


def _one_direction(problem: DispatchProblem, charge_kw: Array, discharge_kw: Array) -> tuple[Array, Array]:
    """Undo charge with discharge where it was free of cost, leaving the store as it is."""
    rte = problem.battery.round_trip_efficiency
    cancelled = np.minimum(charge_kw, discharge_kw / rte)
    charge, discharge = charge_kw - cancelled, discharge_kw - cancelled * rte
    charge[charge < FEASIBILITY_TOLERANCE] = 0.0
    discharge[discharge < FEASIBILITY_TOLERANCE] = 0.0
    return charge, discharge
