"""Plans for batteries: arrays and frames in, proved plans out. No network, no database, no wall clock.

    from engine import Battery, GridConnection, PvArray, Site, optimise
    site = Site(battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5),
                grid=GridConnection(import_limit_kw=17, export_limit_kw=10), pv=PvArray(curtailable=True))
    plan = optimise(site, import_price=p, export_price=q, load=l, pv=v, initial_soc=0.5)
    plan.cost_eur; plan.table; plan.explain("2026-02-03 17:15"); plan.plot()

Importing this package loads no solver; that happens with the first plan.
"""

from engine.assets import Battery, GridConnection, PvArray, Site
from engine.demand import DemandCharge
from engine.errors import InputError, PlanRejectedError, SolveError, TidewattError
from engine.fleet import FleetPlan, optimise_fleet
from engine.plan import Plan
from engine.planner import optimise
from engine.prices import PriceCurve
from engine.scenarios import Scenario, ScenarioPlan, optimise_scenarios
from engine.strategy import Strategy

__all__ = [
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
    "optimise",
    "optimise_fleet",
    "optimise_scenarios",
]
