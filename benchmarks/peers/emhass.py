"""Driver for EMHASS (MIT): its class `Optimization`, without the web server and Home Assistant around it.

Mapping, in its W and Wh. It bounds discharging by discharge_efficiency times `battery_discharge_power_max`, so that
is given as the AC limit divided by the efficiency; charging it bounds on the AC side as we do. The final state of
charge is held by a price of a hundred times the dearest tariff for missing it on either side: the same optimum
wherever leaving more in the store earns nothing, which the comparison of costs would tell. Wear is
`weight_battery_discharge`. No deferrable loads; battery to grid allowed. Binaries everywhere, as it always has them,
and the gap set to 1e-9: its default of 1 % is faster and not exact, and 0 means that of HiGHS, 1e-4.

With the argument `kept`, the object is kept while the site stays the same and only data are put into its compiled
problem, as its server does. That flatters it here: the next round brings the same data, and it starts from its last
answer. Without, every plan has a new object.
"""

from __future__ import annotations

import logging
import pathlib
import sys

import numpy as np
import pandas as pd
from emhass.optimization import Optimization

from benchmarks.peers.driver import Case, PeerPlan, serve

MIP_GAP = 1e-9
TIME_LIMIT_S = 120
logging.disable(logging.WARNING)
_kept: dict[tuple[object, ...], Optimization] = {}


def solve(case: Case) -> PeerPlan:
    """Make the site's optimisation object, put the data in, solve."""
    return _solve(_optimization(case), case)


def solve_kept(case: Case) -> PeerPlan:
    """Take the site's optimisation object if there is one, put the data in, solve."""
    structure = (
        case.intervals,
        case.step_h,
        case.curtailable,
        case.wear_eur_per_kwh,
        case.import_limit_kw,
        case.export_limit_kw,
    )
    if structure not in _kept:
        _kept[structure] = _optimization(case)
    return _solve(_kept[structure], case)


def _solve(optimization: Optimization, case: Case) -> PeerPlan:
    index = pd.date_range(case.start, periods=case.intervals, freq=f"{case.minutes}min")
    data = pd.DataFrame({"pv": case.pv_kw * 1000, "load": case.load_kw * 1000}, index=index)
    data["buy"], data["sell"] = case.import_price, case.export_price
    stages: dict[str, float] = {}
    result = optimization.perform_optimization(
        data,
        data["pv"].to_numpy(),
        data["load"].to_numpy(),
        case.import_price,
        case.export_price,
        soc_init=case.initial_soc,
        soc_final=case.final_soc_min,
        stage_times=stages,
    )
    if optimization.optim_status != "Optimal":
        raise RuntimeError(f"status {optimization.optim_status}")
    battery_kw = result["P_batt"].to_numpy() / 1000
    discharge_kw = np.maximum(battery_kw, 0.0)
    wear_eur = case.step_h * case.wear_eur_per_kwh * float(discharge_kw.sum())
    return PeerPlan(
        charge_kw=np.maximum(-battery_kw, 0.0),
        discharge_kw=discharge_kw,
        claimed_eur=wear_eur - float(result["cost_profit"].sum()),
        method="MILP",
        stages_s={name.removeprefix("optim_solve."): seconds for name, seconds in stages.items()},
    )


def _optimization(case: Case) -> Optimization:
    time = pd.Timedelta(minutes=case.minutes)
    home = {
        "optimization_time_step": time,
        "time_zone": "UTC",
        "sensor_power_photovoltaics": "pv",
        "sensor_power_load_no_var_loads": "load",
    }
    choices = {
        "set_use_battery": True,
        "set_total_pv_sell": False,
        "set_nocharge_from_grid": False,
        "set_nodischarge_to_grid": False,
        "set_battery_dynamic": False,
        "set_battery_first_priority": False,
        "weight_battery_discharge": case.wear_eur_per_kwh,
        "weight_battery_charge": 0.0,
        "number_of_deferrable_loads": 0,
        "nominal_power_of_deferrable_loads": [],
        "minimum_power_of_deferrable_loads": [],
        "operating_hours_of_each_deferrable_load": [],
        "start_timesteps_of_each_deferrable_load": [],
        "end_timesteps_of_each_deferrable_load": [],
        "treat_deferrable_load_as_semi_cont": [],
        "set_deferrable_load_single_constant": [],
        "set_deferrable_startup_penalty": [],
        "set_deferrable_max_startups": [],
        "def_minimum_on_time": [],
        "def_minimum_off_time": [],
        "delta_forecast_daily": time * case.intervals,
        "lp_solver_timeout": TIME_LIMIT_S,
        "lp_solver_mip_rel_gap": MIP_GAP,
        "num_threads": 0,
    }
    plant = {
        "maximum_power_from_grid": case.import_limit_kw * 1000,
        "maximum_power_to_grid": case.export_limit_kw * 1000,
        "inverter_is_hybrid": False,
        "compute_curtailment": case.curtailable,
        "number_of_batteries": 1,
        "battery_nominal_energy_capacity": case.capacity_kwh * 1000,
        "battery_charge_power_max": case.max_charge_kw * 1000,
        "battery_discharge_power_max": case.max_discharge_kw * 1000 / case.discharge_efficiency,
        "battery_charge_efficiency": case.charge_efficiency,
        "battery_discharge_efficiency": case.discharge_efficiency,
        "battery_minimum_state_of_charge": case.min_soc,
        "battery_maximum_state_of_charge": case.max_soc,
        "battery_target_state_of_charge": case.final_soc_min,
        "battery_stress_cost": 0.0,
        "inverter_stress_cost": 0.0,
    }
    return Optimization(
        home,
        choices,
        plant,
        "buy",
        "sell",
        "profit",
        {"root_path": pathlib.Path(), "data_path": pathlib.Path()},
        logging.getLogger("emhass"),
        num_timesteps=case.intervals,
    )


if __name__ == "__main__":
    serve(solve_kept if sys.argv[1:] == ["kept"] else solve, "emhass", "cvxpy", "highspy")
