"""Driver for energy-py-linear (GPL-3.0; run in its own environment, never imported by Tidewatt).

Mapping. Its battery has one efficiency, on the way in, and no least state of charge. With the store counted in energy
that can still be discharged, s' = discharge_efficiency * (s - min), the same battery has exactly that form:
efficiency charge_efficiency * discharge_efficiency, capacity discharge_efficiency * (max - min). Its final charge is
an equality, here the least allowed: the same optimum wherever leaving more in the store earns nothing, which the
comparison of costs would tell. Wear is a term of its custom objective. Its "MW" and "MWh" are fed kW and kWh and
EUR/kWh, because CBC's absolute tolerances would otherwise be large against a home's thousandths of a MWh. CBC as it
sets it: gap 0, 180 s.
"""

from __future__ import annotations

import energypylinear as epl

from benchmarks.peers.driver import Case, PeerPlan, serve


def solve(case: Case) -> PeerPlan:
    """Build the site, optimise it, read the battery's rows of the result."""
    usable_kwh = case.discharge_efficiency * case.capacity_kwh
    battery = epl.Battery(
        power_mw=case.max_charge_kw,
        discharge_power_mw=case.max_discharge_kw,
        capacity_mwh=usable_kwh * (case.max_soc - case.min_soc),
        efficiency_pct=case.charge_efficiency * case.discharge_efficiency,
        initial_charge_mwh=usable_kwh * (case.initial_soc - case.min_soc),
        final_charge_mwh=usable_kwh * (case.final_soc_min - case.min_soc),
        freq_mins=case.minutes,
    )
    sun = epl.RenewableGenerator(
        electric_generation_mwh=case.pv_kw * case.step_h,
        electric_generation_lower_bound_pct=0.0 if case.curtailable else 1.0,
        name="solar",
        freq_mins=case.minutes,
    )
    site = epl.Site(
        assets=[battery, sun],
        electricity_prices=case.import_price,
        export_electricity_prices=case.export_price,
        electric_load_mwh=case.load_kw * case.step_h,
        import_limit_mw=case.import_limit_kw,
        export_limit_mw=case.export_limit_kw,
        freq_mins=case.minutes,
    )
    result = site.optimize(
        objective={
            "terms": [
                {"asset_type": "site", "variable": "import_power_mwh", "interval_data": "electricity_prices"},
                {
                    "asset_type": "site",
                    "variable": "export_power_mwh",
                    "interval_data": "export_electricity_prices",
                    "coefficient": -1.0,
                },
                {
                    "asset_type": "battery",
                    "variable": "electric_discharge_mwh",
                    "coefficient": case.wear_eur_per_kwh,
                },
            ]
        },
        verbose=False,
    )
    rows = result.results
    return PeerPlan(
        charge_kw=rows["battery-electric_charge_mwh"].to_numpy() / case.step_h,
        discharge_kw=rows["battery-electric_discharge_mwh"].to_numpy() / case.step_h,
        claimed_eur=result.status.objective,
        method="MILP",
    )


if __name__ == "__main__":
    serve(solve, "energypylinear", "pulp")
