"""Driver for oemof-solph (MIT).

Mapping. One bus; a source buys and a sink sells, each with its price as variable cost and its limit as nominal
capacity; load and PV are fixed flows, or PV an upper bound where it can be curtailed. A generic storage with its
flows on the bus: both efficiencies, the band as storage levels, the least final state as a higher level at the last
point in time, wear as variable cost of the outflow. A linear program: nothing in it forbids both directions at once.
Its solver "highs" is HiGHS in the same process.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from oemof import solph

from benchmarks.peers.driver import Case, PeerPlan, serve


def solve(case: Case) -> PeerPlan:
    """Build the energy system, solve it, read the storage's flows."""
    points = pd.date_range(case.start, periods=case.intervals + 1, freq=f"{case.minutes}min")
    system = solph.EnergySystem(timeindex=points, infer_last_interval=False)
    bus = solph.Bus(label="ac")
    sun_most = max(float(case.pv_kw.max()), 1e-9)
    profile = {"maximum" if case.curtailable else "fix": case.pv_kw / sun_most}
    load_most = max(float(case.load_kw.max()), 1e-9)
    least = np.full(case.intervals + 1, case.min_soc)
    least[-1] = max(case.min_soc, case.final_soc_min)
    storage = solph.components.GenericStorage(
        label="battery",
        inputs={bus: solph.Flow(nominal_capacity=case.max_charge_kw)},
        outputs={bus: solph.Flow(nominal_capacity=case.max_discharge_kw, variable_costs=case.wear_eur_per_kwh)},
        nominal_capacity=case.capacity_kwh,
        initial_storage_level=case.initial_soc,
        balanced=False,
        min_storage_level=least,
        max_storage_level=case.max_soc,
        inflow_conversion_factor=case.charge_efficiency,
        outflow_conversion_factor=case.discharge_efficiency,
    )
    system.add(
        bus,
        solph.components.Source(
            label="buy",
            outputs={bus: solph.Flow(nominal_capacity=case.import_limit_kw, variable_costs=case.import_price)},
        ),
        solph.components.Sink(
            label="sell",
            inputs={bus: solph.Flow(nominal_capacity=case.export_limit_kw, variable_costs=-case.export_price)},
        ),
        solph.components.Source(label="sun", outputs={bus: solph.Flow(nominal_capacity=sun_most, **profile)}),
        solph.components.Sink(
            label="load", inputs={bus: solph.Flow(nominal_capacity=load_most, fix=case.load_kw / load_most)}
        ),
        storage,
    )
    results = solph.Model(system).solve(solver="highs")
    flow = results["flow"]
    return PeerPlan(
        charge_kw=flow[(bus, storage)].to_numpy()[: case.intervals],
        discharge_kw=flow[(storage, bus)].to_numpy()[: case.intervals],
        claimed_eur=results["objective"],
        method="LP",
    )


if __name__ == "__main__":
    serve(solve, "oemof.solph", "pyomo", "highspy")
