"""Faults that were found once, each held by the smallest case that showed it."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from engine import (
    Battery,
    DemandCharge,
    GridConnection,
    InputError,
    Scenario,
    Site,
    Strategy,
    optimise,
    optimise_fleet,
    optimise_scenarios,
)
from engine.alternatives import next_best


@pytest.mark.parametrize("solver", ["auto", "lp"])
def test_a_saturday_does_not_count(ask, solver):
    asked = ask(
        import_price=[0.22, 0.21, 0.2],
        load=[0.0, 0.0, 4.0],
        start="2026-02-07T05:00Z",
        demand_charges=[DemandCharge(eur_per_kw=10, weekdays_only=True)],
    )
    plan = asked.plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([0, 0, 4])
    assert plan.breakdown.demand_eur == 0
    monday = ask(
        import_price=[0.22, 0.21, 0.2],
        load=[0.0, 0.0, 4.0],
        start="2026-02-09T05:00Z",
        demand_charges=[DemandCharge(eur_per_kw=10, weekdays_only=True)],
    )
    assert monday.plan(solver).breakdown.demand_eur == pytest.approx(10 * 4 / 3)


@pytest.mark.parametrize("solver", ["auto", "lp"])
def test_the_peak_of_today_counts_for_the_month_after_the_window_has_closed(ask, solver):
    """21:00: 5 kW were had before 20:00. Tomorrow's 4 kW cost nothing more."""
    charge = DemandCharge(eur_per_kw=10, from_hour=6, to_hour=20, peak_today_so_far_kw=5)
    asked = ask(import_price=0.2, load=4.0, start="2026-02-03T21:00Z", intervals=24, demand_charges=[charge])
    plan = asked.plan(solver)
    assert plan.breakdown.demand_eur == 0


def test_dp_finds_the_cap_of_a_third(ask):
    asked = ask(
        import_price=[0.22, 0.21, 0.2],
        load=[0.0, 0.0, 4.0],
        battery={"max_charge_kw": 4},
        demand_charges=[DemandCharge(eur_per_kw=10)],
    )
    assert asked.plan("dp").breakdown.demand_eur == pytest.approx(10 * 4 / 3)


def test_spreading_power_ends_for_a_battery_of_megawatts():
    code = (
        "import numpy as np, pandas as pd\n"
        "from engine import *\n"
        "b = Battery(capacity_kwh=7287, max_charge_kw=3643.5, max_discharge_kw=3643.5, charge_efficiency=.95)\n"
        "i = pd.date_range('2026-01-01', periods=24, freq='h', tz='UTC')\n"
        "p = pd.Series(np.sin(np.arange(24)) * .1 + .2, i)\n"
        "optimise(Site(battery=b), import_price=p, export_price=p * .9, initial_soc=.5,\n"
        "    strategy=Strategy(prefer='smoother_power'))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], timeout=60, cwd=os.getcwd(), check=False)  # noqa: PTH109
    assert done.returncode == 0


def tied(ask, seed):
    rng = np.random.default_rng(seed)
    price = np.round(rng.uniform(0, 0.4, 24), 1)
    return ask(
        import_price=price,
        export_price=np.maximum(price - 0.1, 0) * (seed % 2),
        load=rng.uniform(0, 3, 24),
        pv=np.maximum(0, rng.normal(size=24) * 2),
        initial_soc=0.5,
        battery={"max_charge_kw": 3, "max_discharge_kw": 3},
    )


def earliness(plan):
    return float(np.arange(24, 0, -1) @ plan.table["charge_kw"])


def test_later_charging_charges_no_earlier_than_without_it(ask):
    plain = [tied(ask, seed).plan("dp") for seed in range(60)]
    later = [tied(ask, seed).but(strategy=Strategy(prefer="later_charging")).plan("dp") for seed in range(60)]
    worse = [seed for seed in range(60) if earliness(later[seed]) > earliness(plain[seed]) + 1e-6]
    assert worse == []


@pytest.mark.parametrize("prefer", ["fewer_switches", "smoother_power", "later_charging"])
def test_the_linear_program_survives_a_preference(ask, prefer):
    for seed in range(60):
        tied(ask, seed).but(strategy=Strategy(prefer=prefer)).plan("lp")


def test_next_best_quotes_money_not_the_price_of_a_breach(ask):
    """At its floor the store loses 5 Wh in an hour of rest: that is no 5 EUR."""
    asked = ask(
        import_price=[0.05, 0.5],
        load=[0.0, 10.0],
        initial_soc=0.05,
        battery={"min_soc": 0.05, "max_charge_kw": 3, "standing_loss_per_h": 0.01},
    )
    plan = asked.plan()
    # To rest would let the store sink below its floor: no price in money.
    best = next_best(plan, 0)
    assert best is None or (best.charge_kw > 0 and best.extra_eur < 1.5)


def test_next_best_keeps_the_taper(ask):
    """To charge is not offered harder than the cells take it, which the rating would allow."""
    asked = ask(
        import_price=[0.1, 0.1, 0.3, 0.5],
        export_price=[0.1, 0.1, 0.3, 0.5],
        initial_soc=0.5,
        battery={"max_charge_kw": 5, "max_discharge_kw": 5, "charge_kw_at_soc": ((0.5, 5.0), (1.0, 0.5))},
    )
    plan = asked.plan()
    for position in range(4):
        best = next_best(plan, position)
        assert best is not None
        before = plan.table["soc"].iloc[position - 1] if position else 0.5
        assert best.charge_kw <= np.interp(before + best.charge_kw / 10, [0.5, 1.0], [5.0, 0.5]) + 1e-6
    assert "at what the cells take at this state of charge" in plan.explain(asked.index[0])


@pytest.mark.parametrize("solver", ["auto", "lp"])
def test_a_reserve_of_hours_does_not_outrank_the_fuse(ask, solver):
    asked = ask(
        import_price=0.2,
        export_price=0.1,
        load=[8.0, 5.0],
        initial_soc=0.5,
        strategy=Strategy(reserve_soc=0.5),
        import_limit_kw=[5.0, 5.0],
    )
    assert asked.plan(solver).table["import_kw"].max() <= 5 + 1e-9


def test_a_store_below_its_band_is_lifted_at_the_cheapest_peak(ask):
    asked = ask(
        import_price=0.3,
        export_price=0.05,
        load=[3.0, 4.0],
        initial_soc=0.05,
        battery={"min_soc": 0.1},
        demand_charges=[DemandCharge(eur_per_kw=1)],
    )
    assert asked.plan().cost_eur == pytest.approx(asked.plan("lp").cost_eur, abs=1e-9)


@pytest.mark.parametrize("solver", ["auto", "lp"])
@pytest.mark.parametrize("intervals", [4, 96, 672])
@pytest.mark.parametrize("cycles", [0.0, 0.05])
def test_neither_a_cycle_budget_nor_a_reserve_breaks_the_fuse(ask, solver, intervals, cycles):
    """3 kW above the fuse for a quarter of an hour; the battery may not work, and shall not, but for this."""
    load = np.where(np.arange(intervals) == intervals // 2, 8.0, 1.0)
    asked = ask(
        import_price=0.2,
        load=load,
        step="15min",
        initial_soc=0.5,
        final_soc_min=0.5,
        battery={"max_charge_kw": 5, "max_discharge_kw": 5, "discharge_efficiency": 0.9, "standing_loss_per_h": 0.001},
        grid={"import_limit_kw": 5},
        strategy=Strategy(cycles_per_day=cycles, reserve_soc=0.5),
    )
    plan = asked.plan(solver)
    assert plan.table["import_kw"].max() <= 5 + 1e-9
    over = [breach.value - breach.bound for breach in plan.breaches if breach.limit == "cycle_budget_kwh"]
    assert sum(over) == pytest.approx(3 * 0.25 / 0.9 - 10 * cycles, abs=1e-6)


@pytest.mark.parametrize("solver", ["auto", "lp"])
def test_no_money_buys_the_reserve_however_long_the_horizon(ask, solver):
    """0.9 EUR/kWh for one quarter of an hour in a week, and a reserve that nobody set a price on."""
    price = np.where(np.arange(672) == 300, 0.9, 0.1)
    asked = ask(
        import_price=price,
        export_price=price,
        step="15min",
        initial_soc=0.6,
        strategy=Strategy(reserve_soc=0.6),
    )
    assert asked.plan(solver).table["soc"].min() >= 0.6 - 1e-9


@pytest.mark.parametrize("solver", ["dp", "lp"])
def test_energy_before_a_peak_is_worth_what_a_lower_peak_saves(ask, solver):
    """A stored kWh lowers the cap of 2.85 kW that two hours share: 3 EUR/kW over 2 h * 0.9, and the price of a kWh."""
    asked = ask(
        import_price=[0.1, 0.2, 0.3, 0.2, 0.3, 0.1, 0.2, 0.3],
        export_price=0.05,
        load=[1.0, 1, 1, 6, 6, 1, 1, 1],
        initial_soc=0.2,
        battery={"max_charge_kw": 5, "max_discharge_kw": 5, "charge_efficiency": 0.9, "discharge_efficiency": 0.9},
        demand_charges=[DemandCharge(eur_per_kw=3)],
    )
    plan = asked.plan(solver)
    more = asked.but(initial_soc=0.2001).plan(solver)
    saved_eur_per_kwh = (plan.cost_eur - more.cost_eur) / 0.001
    assert plan.marginal_value.iloc[:5].tolist() == pytest.approx([saved_eur_per_kwh] * 5, rel=1e-6)


def test_energy_is_worth_what_it_is_at_the_price_of_a_cycle(ask):
    rng = np.random.default_rng(5)
    for _ in range(20):
        price = rng.uniform(0.05, 0.4, 48)
        asked = ask(
            import_price=price,
            export_price=price * 0.5,
            load=rng.uniform(0, 4, 48),
            initial_soc=0.4,
            battery={"charge_efficiency": 0.9, "discharge_efficiency": 0.9, "max_charge_kw": 5, "max_discharge_kw": 5},
            strategy=Strategy(cycles_per_year=0.5),
        )
        plan, worth = asked.plan("dp"), []
        for step in (1e-4, -1e-4):
            worth.append((plan.cost_eur - asked.but(initial_soc=0.4 + step).plan("dp").cost_eur) / (step * 10))
        if 0.01 < plan.table["soc"].iloc[0] < 0.99:
            assert min(worth) - 1e-6 <= plan.marginal_value.iloc[0] <= max(worth) + 1e-6


@pytest.mark.parametrize("solver", ["dp", "lp"])
def test_a_store_that_loses_is_not_charged_above_its_band_ahead_of_losses(ask, solver):
    asked = ask(
        import_price=0.2,
        export_price=0.1,
        intervals=24,
        battery={
            "min_soc": 0.7,
            "max_soc": 0.9,
            "standing_loss_per_h": 0.02,
            "max_charge_kw": 5,
            "max_discharge_kw": 5,
        },
        initial_soc=0.95,
        max_charge_kw=[5.0] + [0.0] * 23,
    )
    assert asked.plan(solver).table["soc"].iloc[0] <= 0.95 * 0.98 + 1e-9


def test_another_act_is_weighed_by_the_breach_prices_of_the_plan(random_ask):
    for seed in (31, 82, *range(200, 230)):
        plan = random_ask(seed, 12).plan()
        for position in range(12):
            other = next_best(plan, position)
            assert other is None or other.extra_eur >= 0


def test_what_futures_share_may_leave_one_of_them_at_its_limit(ask):
    index = ask(import_price=0.2, intervals=2, load=0.0).index
    site = Site(
        battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5), grid=GridConnection(import_limit_kw=5)
    )
    price = pd.Series(0.2, index)
    futures = [Scenario(0.5, price, price * 0.5, load=pd.Series(load, index)) for load in ([2.0, 2.0], [8.0, 0.0])]
    result = optimise_scenarios(site, futures, initial_soc=0.5, strategy=Strategy(battery_export="never"))
    assert result.now["discharge_kw"].iloc[0] == pytest.approx(2.0), "as much as the first future's load takes"
    assert result.plans[1].breaches


@pytest.mark.parametrize("freq", ["-1h", "1ns"])
def test_one_interval_of_no_length_is_refused(ask, freq):
    index = pd.date_range("2026-02-03", periods=1, freq=freq, tz="UTC")
    price, site = pd.Series(0.2, index), ask(import_price=0.2, intervals=2).site
    with pytest.raises(InputError, match="the step"):
        optimise(site, import_price=price, export_price=price, initial_soc=0.5)


def test_a_fleet_keeps_its_sites_whatever_becomes_of_the_callers_list(ask):
    small, index = ask(import_price=0.2, intervals=4), ask(import_price=0.2, intervals=4).index
    sites = [small.site.model_copy(update={"name": name}) for name in "ab"]
    price = pd.Series(0.2, index)
    fleet = optimise_fleet(sites, import_price=price, export_price=price, initial_soc=0.5)
    sites.reverse()
    assert [fleet.plan(number).site.name for number in range(2)] == ["a", "b"]
