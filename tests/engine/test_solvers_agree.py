"""The dynamic program and the linear program reach the same objective, breaches and terminal value included.

Harsher than what an oracle with hard limits can judge: states outside the band, loads above the fuse, sun above the
export limit, limits and ratings of zero, final states out of reach.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine import Battery, GridConnection, Plan, PvArray, Site, SolveError
from engine.problem import BAND_PRIORITY, LIMIT_PRIORITY


def harsh_case(case, rng: np.random.Generator, intervals: int, extreme: bool):
    def one_of(*values):
        return values[int(rng.integers(len(values)))]

    bought = one_of(0.25, 0.05, 0.0) + one_of(0.02, 0.1, 0.3) * rng.normal(size=intervals)
    if extreme:
        bought = rng.uniform(-0.5, 4.0, intervals)
    if rng.random() < 0.2:
        bought = np.round(bought, 1)  # many equal prices
    sold = one_of(
        bought * 0.3,
        bought - rng.uniform(0, 0.2),
        bought + rng.normal(size=intervals) * 0.05,
        np.full(intervals, one_of(0.0, 0.08)),
        bought,
    )
    site = Site(
        battery=Battery(
            capacity_kwh=float(rng.uniform(2, 12)),
            max_charge_kw=one_of(0.0, 3.0, 5.0),
            max_discharge_kw=one_of(0.0, 2.0, 5.0),
            charge_efficiency=one_of(1.0, 0.95, 0.6),
            discharge_efficiency=one_of(1.0, 0.93),
            min_soc=one_of(0.0, 0.1),
            max_soc=one_of(0.9, 1.0),
            wear_eur_per_kwh=one_of(0.0, 0.02, 0.1),
        ),
        grid=GridConnection(import_limit_kw=one_of(None, 0.0, 4.0, 17.0), export_limit_kw=one_of(None, 0.0, 1.0, 10.0)),
        pv=PvArray(curtailable=bool(rng.integers(2))),
    )
    return case(
        site,
        import_price=bought,
        export_price=sold,
        load=rng.uniform(0, 3, intervals) * one_of(0, 1, 10),
        pv=np.maximum(0, rng.normal(size=intervals) * 3) * one_of(0, 1, 4),
        step=one_of("5min", "15min", "60min"),
        initial_soc=float(rng.uniform(-0.05, 1.05)),
        final_soc_min=one_of(None, 0.3, 0.9),
        terminal_value=one_of(None, 0.1, -0.05),
    )


def soft_objective_eur(plan: Plan, final_soc_min: float | None) -> float:
    """What both minimise, worked out from the plan's table: money, terminal value and the price of every breach."""
    problem, battery, table = plan.problem, plan.site.battery, plan.table
    h, capacity, breach = problem.step_h, battery.capacity_kwh, problem.breach_price_eur_per_kwh
    soc = table["soc"].to_numpy()
    over = np.maximum(table["import_kw"] - problem.import_limit_kw, 0).sum()
    over += np.maximum(table["export_kw"] - problem.export_limit_kw, 0).sum()
    outside = np.maximum(battery.min_soc - soc, 0).sum() * (problem.initial_soc < battery.min_soc)
    outside += np.maximum(soc - battery.max_soc, 0).sum() * (problem.initial_soc > battery.max_soc)
    short = 0.0 if final_soc_min is None else max(0.0, final_soc_min - soc[-1])
    penalty = LIMIT_PRIORITY * h * over + BAND_PRIORITY * h * capacity * outside + capacity * short
    return plan.cost_eur - problem.terminal_worth_eur(soc[-1]) + breach * penalty


@pytest.mark.parametrize("extreme", [False, True], ids=["ordinary prices", "-500 to 4000 EUR/MWh"])
@pytest.mark.parametrize("batch", range(8))
def test_both_solvers_reach_the_same_objective(case, batch, extreme):
    rng = np.random.default_rng([batch, extreme])
    kinds = set()
    for _ in range(40):
        asked = harsh_case(case, rng, 16, extreme)
        fast, reference = asked.plan("dp"), asked.plan("lp")
        kinds.add(fast.why.split()[0])
        expected = soft_objective_eur(reference, asked.final_soc_min)
        found = soft_objective_eur(fast, asked.final_soc_min)
        assert found == pytest.approx(expected, rel=1e-9, abs=1e-9), asked
    assert kinds == {"every", "some"}, "a batch must have both convex and other problems"


def test_days_of_96_intervals_agree_too(case):
    rng = np.random.default_rng(7)
    for extreme in (False, True):
        for _ in range(10):
            asked = harsh_case(case, rng, 96, extreme)
            found = soft_objective_eur(asked.plan("dp"), asked.final_soc_min)
            assert found == pytest.approx(soft_objective_eur(asked.plan("lp"), asked.final_soc_min), rel=1e-9), asked


def test_too_many_pieces_fall_to_the_mixed_integer_program(case, monkeypatch):
    from engine import storage_dp

    rng = np.random.default_rng(1)
    prices = rng.uniform(-0.5, 0.3, 24)
    site = Site(battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5, charge_efficiency=0.9))
    asked = case(site, import_price=prices, export_price=prices - 0.01, load=1.0)
    exact = asked.plan("dp")
    monkeypatch.setattr(storage_dp, "MOST_VALUE_PIECES", 3)
    with pytest.raises(SolveError, match="more than 3 pieces; use solver='lp'"):
        asked.plan("dp")
    fallen = asked.plan("auto")
    assert fallen.solver.startswith("HiGHS MILP")
    assert fallen.cost_eur == pytest.approx(exact.cost_eur, abs=1e-9)
    pd.testing.assert_index_equal(fallen.table.index, exact.table.index)
