"""No plan charges while it discharges or buys while it sells, and binaries stand only where that has to be forced."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.sample import sample_days
from engine import Battery, GridConnection, PlanRejectedError, PvArray, Site, site_model

INTERVALS = 8
any_price = st.floats(-0.5, 4.0, allow_nan=False).map(lambda price: round(price, 3))
any_prices = st.lists(any_price, min_size=INTERVALS, max_size=INTERVALS)


@st.composite
def sites(draw):
    battery = Battery(
        capacity_kwh=10,
        max_charge_kw=5,
        max_discharge_kw=4,
        charge_efficiency=draw(st.sampled_from([1.0, 0.95, 0.6])),
        discharge_efficiency=draw(st.sampled_from([1.0, 0.9])),
        wear_eur_per_kwh=draw(st.sampled_from([0.0, 0.05])),
    )
    limits = st.sampled_from([None, 0.0, 2.0])
    grid = GridConnection(import_limit_kw=draw(limits), export_limit_kw=draw(limits))
    return Site(battery=battery, grid=grid, pv=PvArray(curtailable=draw(st.booleans())))


@settings(derandomize=True, deadline=None, max_examples=150)
@given(
    site=sites(),
    bought=any_prices,
    sold=any_prices,
    sun_kw=st.sampled_from([0.0, 3.0]),
    initial_soc=st.sampled_from([-0.05, 0.0, 0.5, 1.0, 1.05]),
)
def test_no_interval_uses_both_directions_at_any_prices(case, site, bought, sold, sun_kw, initial_soc):
    asked = case(site, import_price=bought, export_price=sold, load=1.0, pv=sun_kw, initial_soc=initial_soc)
    for solver in ("dp", "lp"):
        table = asked.plan(solver).table
        assert not ((table["charge_kw"] > 0) & (table["discharge_kw"] > 0)).any()
        assert not ((table["import_kw"] > 0) & (table["export_kw"] > 0)).any()


@pytest.mark.parametrize("step", ["5min", "15min", "30min", "60min"])
def test_energy_that_nobody_wants_is_not_burnt_into_the_export_limit(case, step):
    """What the horizon cannot use is worth nothing, so burning it costs nothing either: still it must not happen."""
    site = Site(
        battery=Battery(
            capacity_kwh=8, max_charge_kw=3, max_discharge_kw=2, charge_efficiency=0.95, discharge_efficiency=0.95
        ),
        grid=GridConnection(import_limit_kw=0.5, export_limit_kw=0.5),
    )
    plan = case(site, import_price=0.1, export_price=0.1, intervals=3, step=step, initial_soc=0.9).plan("lp")
    assert plan.table["export_kw"].tolist() == pytest.approx([0.5] * 3)
    assert plan.table["charge_kw"].tolist() == [0.0] * 3


def test_ordinary_tariffs_are_solved_without_binaries(sample_case):
    assert {sample_case(day).plan("lp").solver.split(" (")[0] for day in sample_days()} == {"HiGHS LP"}


def test_one_price_for_both_directions_needs_no_binaries(case, home):
    assert (
        case(home, import_price=[0.1, 0.4, 0.0, 0.3], export_price=[0.1, 0.4, 0.0, 0.3])
        .plan("lp")
        .solver.startswith("HiGHS LP")
    )


@pytest.mark.parametrize("export_limit_kw", [0.0, 1.0])
def test_an_export_limit_below_the_rating_needs_no_binaries_at_positive_prices(case, home, export_limit_kw):
    """A pair there could only waste what is worth something."""
    site = home.model_copy(update={"grid": GridConnection(export_limit_kw=export_limit_kw)})
    plan = case(site, import_price=[0.1, 0.4, 0.2, 0.3], export_price=0.05, load=1.0).plan("lp")
    assert plan.solver.startswith("HiGHS LP")


@pytest.mark.parametrize(
    ("wear_eur_per_kwh", "binaries"),
    [
        pytest.param(0.0, 3, id="every negative interval"),
        # Burning pays below -wear * rte / (1 - rte) = -0.05 * 0.81 / 0.19 = -0.213 EUR/kWh.
        pytest.param(0.05, 1, id="only where burning pays for the wear"),
        pytest.param(0.5, 0, id="none where wear outweighs every price"),
    ],
)
def test_negative_prices_get_a_binary_each_where_burning_could_pay(case, home, wear_eur_per_kwh, binaries):
    site = home.model_copy(
        update={"battery": home.battery.model_copy(update={"wear_eur_per_kwh": wear_eur_per_kwh})},
    )
    prices = np.array([0.2, -0.01, -0.2, -0.3, 0.3, 0.25])
    plan = case(site, import_price=prices, export_price=prices - 0.001, load=1.0).plan("lp")
    assert plan.solver.startswith("HiGHS MILP" if binaries else "HiGHS LP")
    assert plan.why.startswith(f"{binaries} binaries" if binaries else "no interval")


def test_selling_above_the_buying_price_gets_a_binary_on_that_interval_alone(case, home):
    plan = case(home, import_price=[0.2, 0.2, 0.2], export_price=[0.1, 0.3, 0.2], load=1.0).plan("lp")
    assert plan.why.startswith("1 binaries")


def test_a_lossless_battery_needs_no_binary_at_negative_prices(case, home):
    lossless = home.battery.model_copy(update={"charge_efficiency": 1.0, "discharge_efficiency": 1.0})
    site = home.model_copy(update={"battery": lossless})
    assert (
        case(site, import_price=[-0.5, -0.1, 0.2], export_price=[-0.5, -0.1, 0.2])
        .plan("lp")
        .solver.startswith("HiGHS LP")
    )


GUARDED = {
    "burning at negative prices": {"import_price": [-0.5] * 4, "export_price": [-0.5] * 4},
    "buying to sell at a price clamped to 0": {"import_price": [-0.3, -0.3, 0.3, 0.3], "export_price": [0.0] * 4},
    "selling above the buying price": {"import_price": [0.3, 0.2, 0.3, 0.2], "export_price": [0.25, 0.3, 0.25, 0.3]},
}


@pytest.mark.parametrize("name", GUARDED)
def test_without_the_guard_the_plan_is_dearer(case, monkeypatch, name):
    """The relaxation plans on gains that no battery and no meter can make, and so misses the real ones."""
    site = Site(
        battery=Battery(
            capacity_kwh=2, max_charge_kw=4, max_discharge_kw=4, charge_efficiency=0.9, discharge_efficiency=0.9
        ),
        grid=GridConnection(import_limit_kw=5, export_limit_kw=5),
    )
    asked = case(site, **GUARDED[name], load=1.0, initial_soc=0.5, final_soc_min=0.5)
    guarded = asked.plan("lp")

    monkeypatch.setattr(site_model, "_may_cheat", _never)
    unguarded = asked.plan("lp")
    assert guarded.solver.startswith("HiGHS MILP")
    assert unguarded.solver.startswith("HiGHS LP")
    assert unguarded.cost_eur > guarded.cost_eur + 0.01


def test_without_the_guard_a_plan_that_breaks_the_export_limit_is_withheld(case, monkeypatch):
    """A store that is better empty is burnt by the relaxation; undone, the power has nowhere to go."""
    site = Site(
        battery=Battery(
            capacity_kwh=2, max_charge_kw=4, max_discharge_kw=4, charge_efficiency=0.9, discharge_efficiency=0.9
        ),
        grid=GridConnection(import_limit_kw=3, export_limit_kw=0),
    )
    asked = case(site, import_price=0.2, export_price=0.1, load=1.0, intervals=2, initial_soc=1.0, terminal_value=-5.0)
    assert asked.plan("lp").table["discharge_kw"].tolist() == pytest.approx([1.0, 1.0])
    monkeypatch.setattr(site_model, "_may_cheat", _never)
    with pytest.raises(PlanRejectedError, match="export limit"):
        asked.plan("lp")


def _never(problem):
    return np.zeros(problem.intervals, dtype=bool), np.zeros(problem.intervals, dtype=bool)
