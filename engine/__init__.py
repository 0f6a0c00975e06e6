"""Plans for batteries: arrays and frames in, proved plans out. No network, no database, no wall clock.

    from engine import Battery, GridConnection, PvArray, Site, optimise
    site = Site(battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5),
                grid=GridConnection(import_limit_kw=17, export_limit_kw=10), pv=PvArray(curtailable=True))
    plan = optimise(site, import_price=p, export_price=q, load=l, pv=v, initial_soc=0.5)
    plan.cost_eur; plan.table; plan.explain("2026-02-03 17:15"); plan.plot()

Importing this package loads no solver; that happens with the first plan.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.assets import Battery, GridConnection, PvArray, Site
from engine.demand import DemandCharge
from engine.errors import InputError, PlanRejectedError, SolveError, TidewattError
from engine.fleet import FleetPlan, optimise_fleet
from engine.plan import Plan
from engine.planner import optimise
from engine.prices import PriceCurve
from engine.scenarios import Scenario, ScenarioPlan, optimise_scenarios
from engine.strategy import Strategy

if TYPE_CHECKING:
    from engine.backtesting.backtest import backtest
    from engine.backtesting.result import BacktestResult

__all__ = [
    "BacktestResult",
    "Battery",
    "DemandCharge",
    "FleetPlan",
    "GridConnection",
    "InputError",
    "Plan",
    "PlanRejectedError",
    "PriceCurve",
    "PvArray",
    "Scenario",
    "ScenarioPlan",
    "Site",
    "SolveError",
    "Strategy",
    "TidewattError",
    "backtest",
    "optimise",
    "optimise_fleet",
    "optimise_scenarios",
]


def __getattr__(name: str) -> Any:
    """Load backtests, and the compiled kernels that they stand on, when they are asked for."""
    if name == "backtest":
        from engine.backtesting.backtest import backtest

        return backtest
    if name == "BacktestResult":
        from engine.backtesting.result import BacktestResult

        return BacktestResult
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
