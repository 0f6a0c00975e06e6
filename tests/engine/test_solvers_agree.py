"""The dynamic program and the linear program reach the same objective, breaches and terminal value included.

Harsher than what an oracle with hard limits can judge: states outside the band, loads above the fuse, sun above the
export limit, limits and ratings of zero, final states out of reach.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Battery, Site, SolveError
from tests.engine.conftest import EVERY_STEP, PRICES, Case

SAME = 1e-9
seeds, steps, prices_of = st.integers(0, 2**32), st.sampled_from(EVERY_STEP), st.sampled_from(PRICES)
seeded = settings(derandomize=True, deadline=None, database=None)


def assert_agreed(case: Case) -> None:
    assert case.disagreement(case.plan("dp"), case.plan("lp")) <= SAME, case


# Numbers come from the seed, so that a day of them costs no more than one draw; a failure shrinks in the others.
@settings(seeded, max_examples=1500)
@given(seed=seeds, intervals=st.integers(1, 16), step=steps, prices=prices_of)
def test_short_horizons_agree(harsh_case, seed, intervals, step, prices):
    assert_agreed(harsh_case(np.random.default_rng(seed), intervals, step=step, prices=prices))


@settings(seeded, max_examples=300)
@given(seed=seeds, intervals=st.integers(17, 95), step=steps, prices=prices_of)
def test_longer_horizons_agree(harsh_case, seed, intervals, step, prices):
    assert_agreed(harsh_case(np.random.default_rng(seed), intervals, step=step, prices=prices))


@settings(seeded, max_examples=200)
@given(seed=seeds, step=steps, prices=prices_of)
def test_days_of_96_intervals_agree(harsh_case, seed, step, prices):
    assert_agreed(harsh_case(np.random.default_rng(seed), 96, step=step, prices=prices))


def test_harsh_problems_are_of_every_kind(harsh_case):
    plans = [harsh_case(np.random.default_rng(seed), 8).plan("dp") for seed in range(200)]
    whys = [plan.why.split()[0] for plan in plans]
    assert whys.count("every") >= 20
    assert whys.count("some") >= 50
    broken = {breach.limit for plan in plans for breach in plan.breaches}
    assert broken == {"min_soc", "max_soc", "import_limit_kw", "export_limit_kw", "final_soc_min"}


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
