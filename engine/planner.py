"""`optimise`: input in, proved and checked plan out."""

from __future__ import annotations

from typing import Literal

import pandas as pd

from engine import checker
from engine.assets import Site
from engine.errors import InputError, PlanRejectedError
from engine.plan import Plan, Solution, assemble
from engine.problem import DispatchProblem, build_problem


def optimise(
    site: Site,
    *,
    import_price: pd.Series,
    export_price: pd.Series,
    load: pd.Series | None = None,
    pv: pd.Series | None = None,
    initial_soc: float,
    final_soc_min: float | None = None,
    terminal_value_eur_per_kwh: float | None = None,
    solver: Literal["auto", "dp", "lp"] = "auto",
) -> Plan:
    """Compute the cheapest plan for one site.

    All series are pandas Series on one aware, regular index, labelled by the start of the interval.

    Args:
        site: Battery, grid connection and PV array.
        import_price: All-in price of a bought kWh [EUR/kWh].
        export_price: All-in price of a sold kWh [EUR/kWh].
        load: Mean consumption [kW], never negative. None is no load.
        pv: Mean power that the sun offers [kW], never negative. None is no PV.
        initial_soc: State of charge at the start [fraction]. A little outside the band is allowed and the
            plan returns into it.
        final_soc_min: Least state of charge at the end [fraction]. None: only the band binds there.
        terminal_value_eur_per_kwh: What a kWh in store is worth at the end [EUR/kWh]. None: nothing. Steers the
            plan; never part of its cost.
        solver: ``"dp"`` for the dynamic program, ``"lp"`` for the linear program or MILP, ``"auto"`` for the first that
            is exact and fast. Both are exact; `Plan.solver` and `Plan.why` say which answered, and why.

    Returns:
        A plan with a proof of optimality that the independent checker has passed.

    Raises:
        InputError: The input cannot become a plan; names field, value, bound and way out.
        SolveError: The solver found no proved optimum in its time.
        PlanRejectedError: The checker found fault with the plan.
    """
    if solver not in ("auto", "dp", "lp"):
        raise InputError("solver", f"value {solver!r} is unknown", "choose 'auto', 'dp' or 'lp'")
    problem = build_problem(
        site,
        import_price=import_price,
        export_price=export_price,
        load=load,
        pv=pv,
        initial_soc=initial_soc,
        final_soc_min=final_soc_min,
        terminal_value_eur_per_kwh=terminal_value_eur_per_kwh,
    )
    plan = assemble(site, problem, _solve(problem, solver))
    faults = checker.check(
        site,
        plan.table,
        plan.cost_eur,
        import_price=import_price,
        export_price=export_price,
        load=load,
        pv=pv,
        initial_soc=initial_soc,
        final_soc_min=final_soc_min,
    )
    if faults:
        raise PlanRejectedError(
            f"plan: {len(faults)} faults, first {faults[0]}; the plan is withheld, report it with its input"
        )
    return plan


def _solve(problem: DispatchProblem, solver: str) -> Solution:
    # Solvers are loaded when asked for: `import engine` stays free of them.
    if solver != "lp":
        from engine import storage_dp

        try:
            return storage_dp.solve(problem)
        except storage_dp.TooManyPiecesError:
            if solver == "dp":
                raise
    from engine import linear_program

    return linear_program.solve(problem)
