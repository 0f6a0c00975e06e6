"""`optimise`: input in, proved and checked plan out."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Literal

import pandas as pd

from engine import checker
from engine.assets import Site
from engine.decisions import reckon
from engine.demand import DemandCharge
from engine.effort import MONEY_TOLERANCE_EUR, Effort
from engine.errors import InputError, PlanRejectedError, SolveError
from engine.inputs import build_stack, in_euros
from engine.plan import Plan, Solution, assemble
from engine.prices import PriceCurve
from engine.problem import DispatchProblem
from engine.request import Request, SeriesByProduct, TerminalValue
from engine.strategy import Strategy

SolverName = Literal["auto", "dp", "lp"]


def optimise(
    site: Site,
    *,
    import_price: pd.Series | PriceCurve,
    export_price: pd.Series | PriceCurve,
    load: pd.Series | None = None,
    pv: pd.Series | None = None,
    initial_soc: float,
    final_soc_min: float | None = None,
    terminal_value_eur_per_kwh: TerminalValue | None = None,
    strategy: Strategy | None = None,
    demand_charges: Sequence[DemandCharge] = (),
    import_limit_kw: pd.Series | None = None,
    export_limit_kw: pd.Series | None = None,
    max_charge_kw: pd.Series | None = None,
    max_discharge_kw: pd.Series | None = None,
    reserve_soc: pd.Series | None = None,
    carbon_kg_per_kwh: pd.Series | None = None,
    position_kw: pd.Series | None = None,
    bid_price: pd.Series | None = None,
    ask_price: pd.Series | None = None,
    imbalance_price: pd.Series | None = None,
    schedule_kw: pd.Series | None = None,
    balancing_price: SeriesByProduct | None = None,
    balancing_sold_kw: SeriesByProduct | None = None,
    solver: SolverName = "auto",
    time_limit_s: float | None = None,
    money_tolerance_eur: float = MONEY_TOLERANCE_EUR,
) -> Plan:
    """Compute the cheapest plan for one site.

    All series are pandas Series on one aware, regular index, labelled by the start of the interval.

    Args:
        site: Battery, grid connection and PV array.
        import_price: All-in price of a bought kWh [EUR/kWh]; a `PriceCurve` must be in euros.
        export_price: All-in price of a sold kWh [EUR/kWh].
        load: Mean consumption [kW], never negative. None is no load.
        pv: Mean power that the sun offers [kW], never negative. None is no PV.
        initial_soc: State of charge at the start [fraction], -0.05 to 1.05. From outside the band the plan returns into
            it as fast as it can.
        final_soc_min: Least state of charge at the end [fraction]. None: only the band binds there.
        terminal_value_eur_per_kwh: What a kWh in store is worth at the end [EUR/kWh], or (up to soc, EUR/kWh) pairs
            of falling worth, the last up to 1. None: nothing. Steers the plan; never part of its cost.
        strategy: Guards, budgets, reserve, carbon weight and preference. None: only the lowest cost.
        demand_charges: Charges on the peak import of a calendar period; what they add is part of the cost.
        import_limit_kw: What the grid company allows per interval, besides the connection (flexible connection,
            Paragraph 14a) [kW]; inf where no limit binds.
        export_limit_kw: The same for feed-in [kW].
        max_charge_kw: Charging power that is available per interval, besides the rating [kW].
        max_discharge_kw: Discharging power that is available per interval, besides the rating [kW].
        reserve_soc: State of charge to hold at the end of each interval [fraction], soft as `Strategy.reserve_soc`,
            of which it is a series.
        carbon_kg_per_kwh: Carbon intensity of bought energy [kg/kWh], weighed by `Strategy.carbon_eur_per_kg`.
        position_kw: Mean power that is sold already (+) or bought (-), for `Strategy.intraday` and `imbalance_kw` [kW].
            None: nothing is. Where there is one, `import_price` and `export_price` are what the meter costs and earns
            besides the market: grid fees, taxes, 0 for a battery that has none.
        bid_price: What one more kWh sold intraday earns [EUR/kWh].
        ask_price: What a kWh bought intraday costs [EUR/kWh]; never below the bid.
        imbalance_price: What a kWh of imbalance is expected to be settled at, either way [EUR/kWh].
        schedule_kw: Mean power to follow, of the grid (+ imports) or the battery (+ discharges) as `Strategy.follow`
            says [kW].
        balancing_price: What a kW of each product that is offered earns per hour [EUR/kW/h], as `{"fcr_n": series}`.
        balancing_sold_kw: What of each is sold already and has to be held [kW].
        solver: ``"dp"`` for the dynamic program, ``"lp"`` for the linear program or MILP, ``"auto"`` for the first that
            is exact and fast. Both are exact; `Plan.solver` and `Plan.why` say which answered, and why.
        time_limit_s: Longest time for a run of the linear program or MILP [s]. None: a minute, and for long horizons a
            minute for each week of quarter-hours.
        money_tolerance_eur: Gap to a proved lower bound that an answer of the MILP may have [EUR]; `Plan.gap_eur`
            says what it is.

    Returns:
        A plan with a proof of optimality that the independent checker has passed.

    Raises:
        InputError: The input cannot become a plan; names field, value, bound and way out.
        SolveError: The solver found no proved optimum in its time; says how far it was.
        PlanRejectedError: The checker found fault with the plan.
    """
    if not isinstance(solver, str) or solver not in ("auto", "dp", "lp"):
        raise InputError("solver", f"value {solver!r} is unknown", "choose 'auto', 'dp' or 'lp'")
    request = Request(
        import_price=in_euros("import_price", import_price),
        export_price=in_euros("export_price", export_price),
        load=load,
        pv=pv,
        initial_soc=initial_soc,
        final_soc_min=final_soc_min,
        terminal_value_eur_per_kwh=terminal_value_eur_per_kwh,
        strategy=strategy,
        demand_charges=demand_charges,
        import_limit_kw=import_limit_kw,
        export_limit_kw=export_limit_kw,
        max_charge_kw=max_charge_kw,
        max_discharge_kw=max_discharge_kw,
        reserve_soc=reserve_soc,
        carbon_kg_per_kwh=carbon_kg_per_kwh,
        position_kw=position_kw,
        bid_price=bid_price,
        ask_price=ask_price,
        imbalance_price=imbalance_price,
        schedule_kw=schedule_kw,
        balancing_price=balancing_price,
        balancing_sold_kw=balancing_sold_kw,
    )
    stack = build_stack([site], request)
    problem = stack.site(0)
    solution = solve(problem, solver, Effort.of(time_limit_s, money_tolerance_eur, problem.intervals))
    plan = assemble(problem, solution, reckon(stack, solution.decisions))
    refuse_faults(checker.check(site, plan.table, plan.cost_eur, request))
    return plan


def solve(problem: DispatchProblem, solver: SolverName, effort: Effort) -> Solution:
    """Solve one site by the first solver that is exact for it.

    Args:
        problem: The site's problem.
        solver: As in `optimise`.
        effort: What the linear program or MILP may take.

    Raises:
        SolveError: No proved optimum, or ``"dp"`` was asked for and is not exact here.
    """
    # Solvers are loaded when asked for: `import engine` stays free of them.
    begin = time.perf_counter()
    why_not = ""
    if solver != "lp":
        from engine import coupled

        try:
            answer = coupled.solve(problem)
        except coupled.NotExactHereError as error:
            if solver == "dp":
                raise SolveError(f"storage_dp: {error}; use solver='lp' or 'auto'") from None
            why_not = f"{error}, so the dynamic program is not exact; "
        else:
            return Solution(answer.decisions, "storage DP", answer.why, time.perf_counter() - begin)
    from engine import linear_program

    return linear_program.solve(problem, effort, why_not)


def refuse_faults(faults: tuple[checker.Fault, ...]) -> None:
    """Withhold plans that the checker finds fault with.

    Raises:
        PlanRejectedError: There are faults.
    """
    if faults:
        raise PlanRejectedError(
            f"plan: {len(faults)} faults, first {faults[0]}; the plan is withheld, report it with its input"
        )
