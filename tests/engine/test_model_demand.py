"""Demand charges: hand-worked peaks, tiers, steps, daily peaks, windows and calendars."""

from __future__ import annotations

import pytest

from engine import DemandCharge

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])
# Where several peaks couple the days, the dynamic program hands over.
ANY = pytest.mark.parametrize("solver", ["auto", "lp"])


@pytest.fixture
def house(ask):
    """1 kW of load all the time, an empty battery, and a cheap hour first."""
    return ask(import_price=[0.1, 0.5, 0.6, 0.4], load=1.0)


@BOTH
def test_charging_stops_at_the_peak_that_was_had_already(house, solver):
    """At 10 EUR/kW no kWh is worth a new peak: 2 kW on top of the load, for the two dearest hours."""
    charge = DemandCharge(eur_per_kw=10, peak_today_so_far_kw=3)
    plan = house.but(demand_charges=[charge]).plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([3, 0, 0, 1])
    assert plan.breakdown.demand_eur == pytest.approx(0.0, abs=1e-9)
    assert plan.cost_eur == pytest.approx(3 * 0.1 + 1 * 0.4)


@BOTH
def test_a_cheap_peak_is_bought(house, solver):
    """A fourth kW saves 0.4 - 0.1 EUR and costs 0.2."""
    charge = DemandCharge(eur_per_kw=0.2, peak_today_so_far_kw=3)
    plan = house.but(demand_charges=[charge]).plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([4, 0, 0, 0], abs=1e-9)
    assert plan.breakdown.demand_eur == pytest.approx(0.2)
    assert plan.cost_eur == pytest.approx(4 * 0.1 + 0.2)


@BOTH
def test_without_a_peak_so_far_the_load_itself_is_billed(house, solver):
    plan = house.but(demand_charges=[DemandCharge(eur_per_kw=10)]).plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([1, 1, 1, 1])
    assert plan.cost_eur == pytest.approx(0.1 + 0.5 + 0.6 + 0.4 + 10)


def test_a_cost_without_its_demand_charge_is_killed(house):
    plan = house.plan()
    charged = house.but(demand_charges=[DemandCharge(eur_per_kw=10, peak_today_so_far_kw=3)])
    assert plan.table["import_kw"].max() == pytest.approx(4)
    assert charged.rules_of(plan) == {"cost"}
    assert charged.rules(plan.table, plan.cost_eur + 10) == set()


@pytest.fixture
def peaky(ask):
    """A peak of 6 kW in the cheapest hour, 1 kWh in store, and no charging."""
    return ask(import_price=[0.5, 0.2, 0.5], load=[1.0, 6.0, 1.0], initial_soc=0.1, battery={"max_charge_kw": 0})


# No import at all is billed as the first step, so a plan adds what is above its fee.
STEPS = ((2.0, 10.0), (5.0, 20.0), (None, 40.0))


@BOTH
def test_the_peak_is_cut_to_the_top_of_a_step(peaky, solver):
    """Using the kWh at the peak earns 0.2 instead of 0.5 EUR, and saves 40 - 20 EUR of fee."""
    plan = peaky.but(demand_charges=[DemandCharge(steps_eur=STEPS)]).plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([1, 5, 1])
    assert plan.breakdown.demand_eur == pytest.approx(20 - 10)
    assert plan.cost_eur == pytest.approx(0.5 + 5 * 0.2 + 0.5 + 20 - 10)


@BOTH
@pytest.mark.parametrize(
    ("initial_soc", "upper_eur"),
    [pytest.param(0.05, 40.0, id="out of reach"), pytest.param(0.1, 20.2, id="saves less than the energy is worth")],
)
def test_a_step_that_does_not_pay_is_left(peaky, solver, initial_soc, upper_eur):
    steps = (*STEPS[:2], (None, upper_eur))
    plan = peaky.but(demand_charges=[DemandCharge(steps_eur=steps)], initial_soc=initial_soc).plan(solver)
    assert plan.table["import_kw"].iloc[1] == pytest.approx(6)
    assert plan.breakdown.demand_eur == pytest.approx(upper_eur - 10)
    assert plan.table["discharge_kw"].sum() == pytest.approx(10 * initial_soc)


@ANY
@pytest.mark.parametrize(("above_kw", "fee_eur"), [(5e-8, 10.0), (5e-7, 20.0), (5e-6, 20.0)])
def test_a_peak_on_the_bound_of_a_step_is_billed_alike_by_plan_and_checker(ask, solver, above_kw, fee_eur):
    """Dust above the bound is in the step; more is not, though a meter could hardly tell."""
    charge = DemandCharge(steps_eur=((1.0, 0.0), (2.0, 10.0), (None, 20.0)))
    asked = ask(import_price=0.2, load=[1.0, 2.0 + above_kw], battery={"max_charge_kw": 0}, demand_charges=[charge])
    plan = asked.plan(solver)
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)
    assert asked.rules(plan.table, plan.cost_eur - 10) == {"cost"}


@BOTH
def test_what_was_billed_before_the_horizon_is_sunk(peaky, solver):
    """A peak of 5.5 kW was had: the third step is paid for, so the kWh goes where energy is dear."""
    charge = DemandCharge(steps_eur=STEPS, daily_peaks_so_far_kw=(5.5, 3.0))
    plan = peaky.but(demand_charges=[charge]).plan(solver)
    assert plan.table["import_kw"].iloc[1] == pytest.approx(6)
    assert plan.cost_eur == pytest.approx(0.5 + 6 * 0.2)


@BOTH
def test_each_tier_costs_its_own_price(peaky, solver):
    """5 kW: two at 1 EUR and three at 5 EUR."""
    plan = peaky.but(demand_charges=[DemandCharge(eur_per_kw=((0, 1), (2, 5)))]).plan(solver)
    assert plan.table["import_kw"].iloc[1] == pytest.approx(5)
    assert plan.breakdown.demand_eur == pytest.approx(2 * 1 + 3 * 5)


@BOTH
def test_of_three_daily_peaks_todays_counts_a_third_and_only_above_the_third_largest(ask, solver):
    """6, 4 and 2 kW so far, 9 EUR per kW of their mean: above 2 kW each kW of today adds 3 EUR, to 2 kW nothing."""
    charge = DemandCharge(eur_per_kw=9, largest_daily_peaks=3, daily_peaks_so_far_kw=(2.0, 6.0, 4.0, 1.0))
    asked = ask(
        import_price=[0.2, 0.5], load=[5.0, 2.0], initial_soc=0.1, battery={"max_charge_kw": 0}, demand_charges=[charge]
    )
    plan = asked.plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([4, 2])
    assert plan.breakdown.demand_eur == pytest.approx(3 * (4 - 2))
    quiet = asked.but(load=[2.0, 2.0]).plan(solver)
    # Nothing to save at the peak, so the kWh goes where energy is dear.
    assert quiet.table["import_kw"].tolist() == pytest.approx([2, 1])
    assert quiet.breakdown.demand_eur == 0


@ANY
@pytest.mark.parametrize(
    ("largest", "import_kw", "fee_eur"),
    [
        pytest.param(1, (5, 6), 10 * 6, id="the largest alone: the kWh goes to the day that has it"),
        pytest.param(2, (4, 7), 10 * (4 + 7) / 2, id="mean of two: a kW less counts the same on both days"),
    ],
)
def test_the_kwh_goes_to_the_day_that_the_bill_looks_at(ask, solver, largest, import_kw, fee_eur):
    """Peaks of 5 and 7 kW at noon, energy dearer on the first day."""
    load, price = [0.0] * 48, [0.2] * 48
    load[12], load[36], price[12] = 5.0, 7.0, 0.3
    charge = DemandCharge(eur_per_kw=10, largest_daily_peaks=largest)
    asked = ask(import_price=price, load=load, initial_soc=0.1, battery={"max_charge_kw": 0}, demand_charges=[charge])
    plan = asked.plan(solver)
    assert plan.table["import_kw"].iloc[[12, 36]].tolist() == pytest.approx(import_kw)
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)


@ANY
def test_the_norwegian_fee_is_stepped_on_the_mean_of_three_daily_peaks(ask, solver):
    """Peaks of 4, 5 and 6.3 kW have the mean 5.1: to come down to 5 takes 0.3 kWh from the store."""
    load = [0.0] * 72
    load[12], load[36], load[60] = 4.0, 5.0, 6.3
    charge = DemandCharge(steps_eur=((2.0, 12.5), (5.0, 20.0), (10.0, 30.0), (None, 50.0)), largest_daily_peaks=3)
    asked = ask(import_price=0.2, load=load, battery={"max_charge_kw": 0}, demand_charges=[charge])
    for stored_kwh, fee_eur in ((0.2, 30.0), (0.31, 20.0)):
        plan = asked.but(initial_soc=stored_kwh / 10).plan(solver)
        assert plan.breakdown.demand_eur == pytest.approx(fee_eur - 12.5)
        assert plan.cost_eur == pytest.approx(0.2 * (15.3 - stored_kwh) + fee_eur - 12.5)


@ANY
def test_the_meter_averages_over_its_own_hour(ask, solver):
    """8 kW for a quarter of an hour are 2 kW over the hour: 1 EUR/kW makes 2 EUR and no quarter matters alone."""
    asked = ask(import_price=0.2, load=[8.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0], step="15min")
    hourly = asked.but(demand_charges=[DemandCharge(eur_per_kw=1, measured_over_minutes=60)]).plan(solver)
    assert hourly.breakdown.demand_eur == pytest.approx(2)
    quarterly = asked.but(demand_charges=[DemandCharge(eur_per_kw=1)]).plan(solver)
    assert quarterly.breakdown.demand_eur == pytest.approx(8)
    assert asked.but(demand_charges=[DemandCharge(eur_per_kw=1)]).rules_of(hourly) == {"cost"}


@pytest.fixture
def saturday(ask):
    """4 kWh of load at 08:00 in Copenhagen on a Saturday; the earlier it is bought, the dearer."""
    return ask(
        import_price=[0.22, 0.21, 0.2],
        load=[0.0, 0.0, 4.0],
        start="2026-02-07T05:00Z",
        timezone="Europe/Copenhagen",
        battery={"max_charge_kw": 4},
    )


@ANY
@pytest.mark.parametrize(
    ("changed", "import_kw", "peak_kw"),
    [
        pytest.param({}, [4 / 3] * 3, 4 / 3, id="spread over all hours"),
        pytest.param({"from_hour": 7}, [4, 0, 0], 0, id="charged before the window opens"),
        pytest.param({"from_hour": 8}, [0, 4, 0], 0, id="charged in the last hour before it opens"),
        pytest.param({"to_hour": 8}, [0, 0, 4], 0, id="bought after it closed"),
    ],
)
def test_only_hours_in_the_window_count(saturday, solver, changed, import_kw, peak_kw):
    plan = saturday.but(demand_charges=[DemandCharge(eur_per_kw=10, **changed)]).plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx(import_kw, abs=1e-6)
    assert plan.breakdown.demand_eur == pytest.approx(10 * peak_kw, abs=1e-6)


@ANY
def test_every_local_month_has_its_own_peak(ask, solver):
    """Midnight in Oslo is 23:00 UTC: the load of that hour is February's, and only January's peak so far is sunk."""
    charge = DemandCharge(eur_per_kw=10, peak_today_so_far_kw=2, daily_peaks_so_far_kw=(3.0,))
    asked = ask(
        import_price=0.2,
        load=[4.0, 5.0, 1.0],
        start="2026-01-31T22:00Z",
        timezone="Europe/Oslo",
        battery={"max_charge_kw": 0, "max_discharge_kw": 0},
        demand_charges=[charge],
    )
    plan = asked.plan(solver)
    assert plan.breakdown.demand_eur == pytest.approx(10 * (4 - 3) + 10 * 5)
    in_utc = asked.site.model_copy(update={"timezone": "UTC"})
    assert type(asked)(in_utc, asked.given).plan(solver).breakdown.demand_eur == pytest.approx(10 * (5 - 3) + 10 * 1)


@ANY
def test_two_charges_are_both_paid(ask, solver):
    charges = [
        DemandCharge(name="grid", eur_per_kw=10),
        DemandCharge(name="supplier", steps_eur=((3.0, 5.0), (None, 9.0))),
    ]
    asked = ask(
        import_price=0.2, load=[1.0, 4.0], initial_soc=0.1, battery={"max_charge_kw": 0}, demand_charges=charges
    )
    plan = asked.plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([1, 3])
    assert plan.breakdown.demand_eur == pytest.approx(10 * 3)
    assert asked.but(initial_soc=0).plan(solver).breakdown.demand_eur == pytest.approx(10 * 4 + 9 - 5)
