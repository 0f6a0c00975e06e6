"""Driver for PyPSA (MIT).

Mapping. One AC bus with the load; a generator buys, a generator of negative sign sells, each with price as marginal
cost and limit as nominal power; a generator of PV, whose least output is the whole sun unless it can be curtailed.
The battery is a store behind two links, one per direction, each with its efficiency; band and least final state are
the store's energy bounds, wear is the marginal cost of the discharging link, counted at its AC side. A linear
program: nothing in it forbids both directions at once. HiGHS without a file in between.
"""

from __future__ import annotations

import logging

import numpy as np
import pandas as pd
import pypsa

from benchmarks.peers.driver import Case, PeerPlan, serve

logging.disable(logging.WARNING)


def solve(case: Case) -> PeerPlan:
    """Build the network, optimise it, read the links' flows."""
    network = pypsa.Network()
    network.set_snapshots(pd.RangeIndex(case.intervals))
    network.snapshot_weightings = 0.0 * network.snapshot_weightings + case.step_h
    network.add("Bus", ["ac", "cell"])
    network.add("Load", "load", bus="ac", p_set=case.load_kw)
    network.add("Generator", "buy", bus="ac", p_nom=case.import_limit_kw, marginal_cost=case.import_price)
    network.add("Generator", "sell", bus="ac", sign=-1, p_nom=case.export_limit_kw, marginal_cost=-case.export_price)
    sun_most = max(float(case.pv_kw.max()), 1e-9)
    sun = case.pv_kw / sun_most
    network.add(
        "Generator", "sun", bus="ac", p_nom=sun_most, p_max_pu=sun, p_min_pu=0.0 * sun if case.curtailable else sun
    )
    least = np.full(case.intervals, case.min_soc)
    least[-1] = max(case.min_soc, case.final_soc_min)
    network.add(
        "Store",
        "battery",
        bus="cell",
        e_nom=case.capacity_kwh,
        e_min_pu=least,
        e_max_pu=case.max_soc,
        e_initial=case.initial_soc * case.capacity_kwh,
    )
    network.add("Link", "charge", bus0="ac", bus1="cell", p_nom=case.max_charge_kw, efficiency=case.charge_efficiency)
    network.add(
        "Link",
        "discharge",
        bus0="cell",
        bus1="ac",
        p_nom=case.max_discharge_kw / case.discharge_efficiency,
        efficiency=case.discharge_efficiency,
        marginal_cost=case.wear_eur_per_kwh * case.discharge_efficiency,
    )
    status, condition = network.optimize(solver_name="highs", io_api="direct", log_to_console=False)
    if status != "ok":
        raise RuntimeError(f"{status}: {condition}")
    flows = network.links_t.p0
    return PeerPlan(
        charge_kw=flows["charge"].to_numpy(),
        discharge_kw=flows["discharge"].to_numpy() * case.discharge_efficiency,
        claimed_eur=network.objective,
        method="LP",
    )


if __name__ == "__main__":
    serve(solve, "pypsa", "linopy", "highspy")
