"""Demand charges: hand-worked peaks, tiers, steps, daily peaks, windows and calendars."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine import DemandCharge, InputError, SolveError, optimise, optimise_fleet

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


@pytest.fixture
def metered(ask):
    """A site with an idle battery: what it imports is its load, by the quarter-hour; a peak costs 1 EUR/kW."""

    def build(start, load, zone="UTC", step="15min", **charge):
        charges = [DemandCharge(**{"eur_per_kw": 1, "measured_over_minutes": 60, **charge})]
        still = {"max_charge_kw": 0, "max_discharge_kw": 0}
        return ask(
            import_price=0.2, load=load, start=start, step=step, timezone=zone, battery=still, demand_charges=charges
        )

    return build


HOURS_OF_THE_CLOCK = {
    "India: 8 kW from 10:30 to 11:30 are half of two hours": (
        "Asia/Kolkata",
        "2026-02-03T04:30Z",
        [0, 0] + [8] * 4 + [0, 0],
        4,
    ),
    "Nepal: 8 kW from 10:45 to 11:45 are three quarters of one": (
        *("Asia/Kathmandu", "2026-02-03T04:15Z"),
        *([0] * 3 + [8] * 4 + [0], 6),
    ),
    "Adelaide: 8 kW from 10:30 to 11:30": ("Australia/Adelaide", "2026-01-31T23:30Z", [0, 0] + [8] * 4 + [0, 0], 4),
    "an hour that comes twice is two": ("Europe/Copenhagen", "2026-10-25T00:00Z", [8] * 4 + [0] * 4, 8),
    "Lord Howe's clock goes back half an hour: 01:30 to 02:00 comes once more, by itself": (
        *("Australia/Lord_Howe", "2026-04-04T14:00Z"),
        *([4] * 4 + [6] * 2 + [2] * 4, 6),
    ),
    "Lord Howe's clock goes forward half an hour: what is left of 02:00 to 03:00": (
        *("Australia/Lord_Howe", "2026-10-03T14:30Z"),
        *([4] * 4 + [6] * 2 + [2] * 4, 6),
    ),
    "Lord Howe on the other half-hours": ("Australia/Lord_Howe", "2026-06-03T00:30Z", [0, 0] + [8] * 4 + [0, 0], 4),
}


@ANY
@pytest.mark.parametrize("name", HOURS_OF_THE_CLOCK)
def test_the_meter_counts_the_hours_of_the_local_clock(metered, solver, name):
    zone, start, load, peak_kw = HOURS_OF_THE_CLOCK[name]
    asked = metered(start, np.array(load, dtype=float), zone)
    assert asked.plan(solver).breakdown.demand_eur == pytest.approx(peak_kw)
    energy_eur = sum(load) * 0.25 * 0.2
    assert asked.rules(asked.table(), energy_eur + peak_kw) == set()
    assert asked.rules(asked.table(), energy_eur + peak_kw + 0.1) == {"cost"}


@ANY
@pytest.mark.parametrize(
    ("start", "load", "fee_eur"),
    [
        # 23:00 comes twice on the Saturday, and each is an hour of its own; then Sunday.
        pytest.param("2026-10-24T20:00Z", [4] * 4 + [6] * 4 + [2] * 4, 6 + 2, id="back to 23:00 of the day before"),
        # 23:00 on the Saturday is followed by 01:00 on the Sunday.
        pytest.param("2026-03-28T21:00Z", [4] * 4 + [6] * 4, 4 + 6, id="forward, the day begins at 01:00"),
    ],
)
def test_where_the_clock_changes_at_midnight_days_keep_their_own_hours(metered, solver, start, load, fee_eur):
    plan = metered(start, np.array(load, dtype=float), "Asia/Beirut", period="day").plan(solver)
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)


@pytest.mark.parametrize("start", ["2026-02-03T04:00Z", "2026-02-03T04:20Z"])
def test_a_measuring_interval_that_begins_inside_one_of_the_plan_is_refused(metered, start):
    asked = metered(start, np.ones(4), "Asia/Kolkata", step="60min")
    first = start.replace("Z", ":00Z")
    with pytest.raises(InputError, match=f"60 min by the clock of Asia/Kolkata begins inside that .* {first}; use"):
        asked.plan()
    # Measured over the plan's own intervals, whatever they begin with.
    own = asked.but(demand_charges=[DemandCharge(eur_per_kw=1)])
    assert own.plan().breakdown.demand_eur == pytest.approx(1)


@ANY
@pytest.mark.parametrize(
    ("given", "added_eur"),
    [
        # 1 kWh in each half of 10:00 to 11:00, of which the first is known.
        pytest.param({}, 2, id="nothing before: 2 kWh over the whole hour"),
        pytest.param({"measured_so_far_kwh": 2}, (2 + 2) - 2, id="2 kWh before make 2 kW by themselves"),
        pytest.param({"measured_so_far_kwh": 2, "peak_today_so_far_kw": 3}, 4 - 3, id="a peak of 3 kW before"),
        pytest.param({"measured_so_far_kwh": 2, "daily_peaks_so_far_kw": (5,)}, 0, id="yesterday's was higher"),
        pytest.param({"measured_so_far_kwh": 9, "from_hour": 11}, 1, id="an hour that does not count"),
    ],
)
def test_a_horizon_may_begin_within_a_measuring_interval(metered, solver, given, added_eur):
    """4 kW from 10:30 to 11:00, then 1 kW for an hour."""
    asked = metered("2026-02-03T10:30Z", np.array([4.0] * 2 + [1.0] * 4), **given)
    plan = asked.plan(solver)
    assert plan.breakdown.demand_eur == pytest.approx(added_eur)
    assert asked.rules(plan.table, plan.cost_eur + 0.1) == {"cost"}


@ANY
def test_of_a_measuring_interval_cut_by_the_end_the_part_inside_is_billed(metered, solver):
    plan = metered("2026-02-03T10:00Z", np.array([1.0] * 4 + [4.0] * 2)).plan(solver)
    assert plan.breakdown.demand_eur == pytest.approx(4)
    inside = metered("2026-02-03T10:15Z", np.array([2.0] * 2), measured_so_far_kwh=1).plan(solver)
    # 2 kWh in the three quarters that are known, 1 of them before.
    assert inside.breakdown.demand_eur == pytest.approx(2 / 0.75 - 1 / 0.75)


@ANY
def test_what_is_measured_so_far_leaves_less_room_below_the_peak(ask, solver):
    """3 kW were had today and 2 kWh this hour: 1 kWh more is free of a new peak and charged for the hour after."""
    charge = DemandCharge(eur_per_kw=10, measured_over_minutes=60, peak_today_so_far_kw=3, measured_so_far_kwh=2)
    asked = ask(
        import_price=[0.1] * 2 + [0.5] * 4,
        load=[0.0] * 2 + [2.0] * 4,
        start="2026-02-03T10:30Z",
        step="15min",
        demand_charges=[charge],
    )
    plan = asked.plan(solver)
    assert plan.breakdown.demand_eur == pytest.approx(0, abs=1e-6)
    assert plan.table["import_kw"].iloc[:2].sum() * 0.25 == pytest.approx(1)
    assert plan.cost_eur == pytest.approx(1 * 0.1 + 1 * 0.5)


def test_the_dynamic_program_leaves_an_interval_begun_earlier_to_the_linear_program(ask):
    """Two measuring intervals of one quarter each: 4.8 kW from 10:45 are 1.2 kW over the hour, as are 2 kW less 0.8."""
    charge = DemandCharge(eur_per_kw=10, measured_over_minutes=60)
    asked = ask(import_price=0.2, load=[4.0, 2.0], start="2026-02-03T10:45Z", step="15min", demand_charges=[charge])
    assert asked.plan().breakdown.demand_eur == pytest.approx(10 * 1.2)
    with pytest.raises(SolveError, match="measured over several intervals"):
        asked.plan("dp")


@pytest.mark.parametrize("minutes", [None, 15, 60])
def test_energy_of_a_measuring_interval_that_has_not_begun_is_refused(metered, minutes):
    asked = metered("2026-02-03T04:30Z", np.ones(8), "Asia/Kolkata", measured_over_minutes=minutes)
    charge = DemandCharge(eur_per_kw=1, measured_over_minutes=minutes, measured_so_far_kwh=0.5)
    with pytest.raises(
        InputError, match=r"^demand_charges.measured_so_far_kwh: value 0.5 kWh, but in Asia/Kolkata .*04"
    ):
        asked.but(demand_charges=[charge]).plan()


ODD_CLOCKS = {
    "Asia/Kolkata": "2026-02-03T15:30Z",
    "Asia/Kathmandu": "2026-01-31T16:00Z",
    "Australia/Adelaide": "2026-10-03T13:15Z",
    "Australia/Lord_Howe": "2026-04-04T12:15Z",
    "Asia/Beirut": "2026-10-24T19:45Z",
    "America/Havana": "2026-11-01T02:30Z",
    # Until 2011 the clock went back at 00:01: a minute of the next day came before the last hour of the day.
    "America/St_Johns": "2010-11-07T00:30Z",
}


@pytest.mark.parametrize("zone", ODD_CLOCKS)
def test_the_checker_bills_as_the_engine_does_by_every_clock(metered, zone):
    """`plan` refuses what the checker faults; the two share no code."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        minutes = [None, 15, 30, 60][seed % 4]
        start = pd.Timestamp(ODD_CLOCKS[zone]) + pd.Timedelta(minutes=15 * int(rng.integers(4)))
        charge = {
            "measured_over_minutes": minutes,
            "period": ("day", "month", "horizon")[int(rng.integers(3))],
            "largest_daily_peaks": int(rng.integers(1, 3)),
            "daily_peaks_so_far_kw": (2.0, 3.0),
            "peak_today_so_far_kw": float(rng.uniform(0, 5)),
            "from_hour": int(rng.choice([0, 1])),
        }
        asked = metered(str(start), rng.uniform(0, 8, 40), zone, **charge)
        try:
            asked = asked.but(demand_charges=[DemandCharge(eur_per_kw=1, **charge, measured_so_far_kwh=1.5)])
            asked.plan()
        except InputError:  # it begins with a measuring interval
            metered(str(start), rng.uniform(0, 8, 40), zone, **charge).plan()


def test_a_fleet_in_several_zones_is_billed_by_each_ones_calendar(ask):
    zones = ["Asia/Kolkata", "Europe/Copenhagen", "Australia/Lord_Howe", "Asia/Kolkata", "UTC"]
    charges = [
        DemandCharge(eur_per_kw=0.5, measured_over_minutes=30, period="day", from_hour=1),
        DemandCharge(steps_eur=((2, 1), (3, 3), (None, 9)), peak_today_so_far_kw=2.5),
    ]
    asked = ask(import_price=np.tile([0.1, 0.1, 0.5, 0.4], 12), start="2026-02-03T15:00Z", step="15min")
    sites = [asked.site.model_copy(update={"timezone": zone, "name": f"{n}"}) for n, zone in enumerate(zones)]
    load = pd.DataFrame(np.random.default_rng(1).uniform(0, 4, (48, 5)), asked.index)
    shared = {name: asked.given[name] for name in ("import_price", "export_price")} | {"demand_charges": charges}
    fleet = optimise_fleet(sites, **shared, load=load, initial_soc=0)
    alone = [optimise(site, **shared, load=load[n], initial_soc=0).cost_eur for n, site in enumerate(sites)]
    assert fleet.cost_eur.tolist() == pytest.approx(alone)
