"""Each strategy on hours that can be worked out by hand: 10 kWh, 10 kW, no losses, unless a test says otherwise."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine import InputError, Scenario, Strategy, optimise, optimise_fleet, optimise_scenarios
from engine.intent import Intent, IntentMode, intents_of
from engine.intent_value import IntentValue

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])


def kw(plan, column):
    return plan.table[column].tolist()


# Intraday re-optimisation.


@pytest.fixture
def sold(ask):
    """4 kWh in store, sold for the second of three hours; the meter costs nothing besides the market."""
    return ask(
        import_price=0.0,
        initial_soc=0.4,
        position_kw=[0, 4, 0],
        bid_price=[0.1, 0.2, 0.5],
        ask_price=[0.15, 0.25, 0.6],
        strategy=Strategy(intraday=True),
    )


@BOTH
def test_what_is_sold_is_bought_back_and_sold_where_it_earns_more(sold, solver):
    plan = sold.plan(solver)
    assert kw(plan, "trade_kw") == pytest.approx([-6, -4, 10])
    assert kw(plan, "imbalance_kw") == pytest.approx([0, 0, 0])
    assert plan.breakdown.trading_eur == pytest.approx(-6 * 0.15 - 4 * 0.25 + 10 * 0.5)
    assert plan.cost_eur == pytest.approx(-3.1)


@BOTH
def test_nothing_is_traded_across_a_wide_spread(sold, solver):
    plan = sold.but(bid_price=0.2, ask_price=0.4).plan(solver)
    assert kw(plan, "trade_kw") == pytest.approx([0, 0, 0], abs=1e-9)
    assert kw(plan, "discharge_kw") == pytest.approx([0, 4, 0], abs=1e-9)
    assert plan.cost_eur == pytest.approx(0, abs=1e-9)


@BOTH
def test_fees_of_the_meter_come_on_top_of_the_market(sold, solver):
    """Charging for the last hour costs 0.15 at the market and 0.4 at the meter: more than it earns."""
    plan = sold.but(import_price=0.4).plan(solver)
    assert kw(plan, "trade_kw") == pytest.approx([0, -4, 4])
    assert plan.cost_eur == pytest.approx(4 * 0.25 - 4 * 0.5)


@BOTH
def test_what_is_not_deliverable_is_bought_back(sold, solver):
    plan = sold.but(initial_soc=0.1, bid_price=0.2, ask_price=[0.6, 0.3, 0.6]).plan(solver)
    assert kw(plan, "trade_kw") == pytest.approx([0, -3, 0], abs=1e-9)
    assert plan.cost_eur == pytest.approx(3 * 0.3)


@pytest.mark.parametrize("seed", range(25))
def test_reoptimising_is_never_dearer_than_keeping_the_position(ask, seed):
    """Rolling intrinsic: whatever bid and ask come after, a position that can be delivered can be kept at least."""
    rng = np.random.default_rng(seed)
    spot, wear = rng.uniform(-0.1, 0.4, 24), 0.02
    day_ahead = ask(
        import_price=spot,
        export_price=spot,
        initial_soc=0.5,
        final_soc_min=0.5,
        battery={"charge_efficiency": 0.93, "discharge_efficiency": 0.95, "wear_eur_per_kwh": wear},
    )
    kept = day_ahead.plan()
    position = kept.table["export_kw"] - kept.table["import_kw"]
    asked = day_ahead.but(import_price=0.0, export_price=0.0, position_kw=position, strategy=Strategy(intraday=True))
    gained = []
    for _ in range(4):
        middle, half = rng.uniform(-0.1, 0.4, 24), rng.uniform(0, 0.05)
        plan = asked.but(bid_price=middle - half, ask_price=middle + half).plan()
        gained.append(kept.breakdown.wear_eur - plan.cost_eur)
    assert min(gained) >= -1e-9
    assert max(gained) > 0.1, "and there is something to gain"


# Imbalance.


@pytest.fixture
def short_and_long(ask):
    """2 kWh in store, sold for the second hour."""
    return ask(
        import_price=0.0,
        initial_soc=0.2,
        position_kw=[0, 2],
        imbalance_price=[0.3, 0.1],
        strategy=Strategy(imbalance_kw=1),
    )


@BOTH
def test_imbalance_moves_delivery_to_the_dearer_hour_as_far_as_it_may(short_and_long, solver):
    plan = short_and_long.plan(solver)
    assert kw(plan, "imbalance_kw") == pytest.approx([1, -1])
    assert kw(plan, "discharge_kw") == pytest.approx([1, 1])
    assert plan.breakdown.imbalance_eur == pytest.approx(0.3 - 0.1)
    assert plan.cost_eur == pytest.approx(-0.2)


@BOTH
@pytest.mark.parametrize(
    "wish",
    [
        {"imbalance_side": "long"},
        {"imbalance_side": "short"},
        {"imbalance_to_hour": 1},
        {"imbalance_from_hour": 1},
        {"imbalance_kw": 0},
    ],
    ids=str,
)
def test_side_and_hours_forbid_it(short_and_long, solver, wish):
    """More in the first hour is less in the second, so one side or one hour alone leaves nothing to do."""
    plan = short_and_long.but(strategy=Strategy(**{"imbalance_kw": 1, **wish}), battery={"max_charge_kw": 0}).plan(
        solver
    )
    assert kw(plan, "imbalance_kw") == pytest.approx([0, 0], abs=1e-9)


@BOTH
def test_what_cannot_be_delivered_is_imbalance_and_told(short_and_long, solver):
    plan = short_and_long.but(position_kw=[0, 5], battery={"max_charge_kw": 0}).plan(solver)
    assert kw(plan, "discharge_kw") == pytest.approx([0, 2], abs=1e-9)
    assert plan.breakdown.imbalance_eur == pytest.approx(-3 * 0.1)
    (breach,) = plan.breaches
    assert (breach.limit, breach.value, breach.bound) == ("position_kw", pytest.approx(2), pytest.approx(5 - 1))


@BOTH
def test_imbalance_and_trades_together_take_the_better_of_both(sold, solver):
    """In the last hour short is dearer than long is: 1 kWh is left over at 0.7, the rest is sold at 0.5."""
    asked = sold.but(imbalance_price=[0.12, 0.22, 0.55], strategy=Strategy(intraday=True, imbalance_kw=1))
    plan = asked.plan(solver)
    # 0.12 and 0.22 lie between bid and ask: a kWh bought there is left short instead; 0.55 is better than the bid.
    assert kw(plan, "imbalance_kw") == pytest.approx([-1, -1, 1])
    assert kw(plan, "trade_kw") == pytest.approx([-5, -3, 9])
    assert plan.cost_eur == pytest.approx(5 * 0.15 + 3 * 0.25 - 9 * 0.5 + 0.12 + 0.22 - 0.55)


# Self-consumption.


@BOTH
def test_self_consumption_buys_least_whatever_it_costs(ask, solver):
    """3 kWh of sun for 4 kWh of load: neither the cheap hours nor the dear export tempt, and money is told as it is."""
    asked = ask(
        import_price=[0.5, 0.01, 0.5, 0.5],
        export_price=[0.9, 0, 0.9, 0],
        load=[0, 0, 2, 2],
        pv=[3, 0, 0, 0],
        battery={"wear_eur_per_kwh": 0.7},
        strategy=Strategy(objective="self_consumption"),
    )
    plan = asked.plan(solver)
    assert kw(plan, "charge_kw") == pytest.approx([3, 0, 0, 0])
    assert plan.table["discharge_kw"].sum() == pytest.approx(3)
    assert plan.cost_eur == pytest.approx(1 * 0.5 + 3 * 0.7)
    assert asked.rules_of(asked.but(strategy=Strategy()).plan()) == {"grid charging", "battery export"}


@BOTH
def test_surplus_is_stored_before_it_is_fed_in_and_never_curtailed_for_nothing(ask, solver):
    asked = ask(
        import_price=0.3,
        export_price=-0.2,
        pv=[8, 8],
        curtailable=True,
        strategy=Strategy(objective="self_consumption"),
    )
    plan = asked.plan(solver)
    assert plan.table["charge_kw"].sum() == pytest.approx(10)
    assert kw(plan, "curtailment_kw") == pytest.approx([0, 0], abs=1e-9)
    assert plan.cost_eur == pytest.approx(0.2 * 6), "a negative price stays in the money"


@BOTH
def test_self_consumption_is_what_a_battery_does_when_it_is_left_alone(ask, solver):
    """Charging with the first surplus and covering the first load, hour by hour, so that every intent is to let go."""
    rng = np.random.default_rng(5)
    load, pv = rng.uniform(0, 3, 48), np.maximum(0, 6 * np.sin((np.arange(48) - 6) / 12 * np.pi))
    asked = ask(
        import_price=rng.uniform(0, 0.5, 48),
        export_price=rng.uniform(-0.1, 0.5, 48),
        load=load,
        pv=pv,
        initial_soc=0.3,
        curtailable=True,
        battery={"min_soc": 0.1, "max_charge_kw": 4, "max_discharge_kw": 2, "charge_efficiency": 0.9},
        strategy=Strategy(objective="self_consumption"),
    )
    stored, done = 3.0, []
    for surplus in pv - load:
        charge = min(max(surplus, 0), 4, (10 - stored) / 0.9)
        discharge = min(max(-surplus, 0), 2, stored - 1)
        stored += 0.9 * charge - discharge
        done.append(discharge - charge)
    plan = asked.plan(solver)
    assert plan.battery_kw.tolist() == pytest.approx(done, abs=1e-6)


# Peak shaving.


@pytest.fixture
def peak(ask):
    """5 kW of load after an hour of 1 kW, at one price; each kWh through the battery costs 0.08 of wear."""
    return ask(import_price=0.1, load=[1, 5], battery={"wear_eur_per_kwh": 0.08})


@BOTH
@pytest.mark.parametrize(
    ("price", "import_kw"),
    [
        pytest.param(0.07, [1, 5], id="above the target for less than the wear"),
        pytest.param(0.09, [3, 3], id="more than the wear"),
        pytest.param(None, [3, 3], id="at any price"),
    ],
)
def test_import_keeps_its_target_where_that_is_worth_it(peak, solver, price, import_kw):
    plan = peak.but(strategy=Strategy(import_target_kw=3, import_target_price_eur_per_kwh=price)).plan(solver)
    assert kw(plan, "import_kw") == pytest.approx(import_kw)
    assert plan.cost_eur == pytest.approx(0.1 * 6 + 0.08 * (5 - import_kw[1])), "the price is no cost"


@BOTH
def test_a_target_out_of_reach_is_missed_by_as_little_as_can_be(peak, solver):
    plan = peak.but(strategy=Strategy(import_target_kw=2)).plan(solver)
    assert kw(plan, "import_kw") == pytest.approx([2, 4])
    assert [(breach.limit, breach.bound) for breach in plan.breaches] == [("import_limit_kw", 2)]


# Export guard.


@BOTH
def test_below_the_floor_sun_is_curtailed(ask, solver):
    asked = ask(
        import_price=0.5,
        export_price=[0.01, 0.06],
        pv=[5, 5],
        curtailable=True,
        battery={"max_charge_kw": 0},
    )
    assert asked.plan(solver).cost_eur == pytest.approx(-0.05 - 0.3)
    plan = asked.but(strategy=Strategy(export_floor_eur_per_kwh=0.05)).plan(solver)
    assert kw(plan, "curtailment_kw") == pytest.approx([5, 0])
    assert plan.cost_eur == pytest.approx(-0.3)


@BOTH
def test_below_the_floor_the_battery_is_held_back_and_sun_is_sold(ask, solver):
    """All that is in store would go at 0.04, the best price there is, were it not below the floor."""
    asked = ask(
        import_price=0.5,
        export_price=[0.04, -0.1],
        load=[1, 0],
        pv=[4, 2],
        initial_soc=0.5,
        battery={"max_charge_kw": 0},
    )
    assert asked.plan(solver).table["discharge_kw"].sum() == pytest.approx(5)
    guard = Strategy(export_floor_eur_per_kwh=0.05, export_guard="hold_battery")
    plan = asked.but(strategy=guard).plan(solver)
    assert plan.table["discharge_kw"].sum() == pytest.approx(0, abs=1e-9)
    assert plan.cost_eur == pytest.approx(-3 * 0.04 + 2 * 0.1), "what is sold at a loss costs what it costs"


# Warranty.


@BOTH
@pytest.mark.parametrize(
    ("used_mwh", "so_far", "kwh"),
    [
        pytest.param(0, 0, 10, id="10 kWh a day"),
        pytest.param(18.2625, 0, 5, id="half of it is used up"),
        pytest.param(18.2625, 0.2, 3, id="and 2 kWh today already"),
        pytest.param(40, 0, 0, id="all of it"),
    ],
)
def test_a_warranty_leaves_so_much_for_a_day(ask, solver, used_mwh, so_far, kwh):
    strategy = Strategy(
        warranty_throughput_mwh=36.525, warranty_years=10, warranty_used_mwh=used_mwh, cycles_today_so_far=so_far
    )
    asked = ask(import_price=0.5, export_price=[0.1, 0.3], initial_soc=1.0, strategy=strategy)
    plan = asked.plan(solver)
    assert plan.table["discharge_kw"].sum() == pytest.approx(kwh, abs=1e-9)
    assert plan.cost_eur == pytest.approx(-0.3 * kwh, abs=1e-9)


@BOTH
@pytest.mark.parametrize(("price", "kwh"), [(0.19, 10), (0.21, 0)])
def test_a_spread_below_the_price_of_throughput_is_left(ask, solver, price, kwh):
    asked = ask(import_price=[0.1, 0.5], export_price=[0.0, 0.3], strategy=Strategy(throughput_price_eur_per_kwh=price))
    plan = asked.plan(solver)
    assert plan.table["discharge_kw"].sum() == pytest.approx(kwh, abs=1e-9)
    assert plan.cost_eur == pytest.approx(-0.2 * kwh, abs=1e-9), "the price is no cost"


# Schedules.


@BOTH
def test_the_battery_follows_its_schedule_as_far_as_money_does_not_outweigh_it(ask, solver):
    asked = ask(import_price=[0.1, 0.3], export_price=[0.1, 0.3], initial_soc=0.5, schedule_kw=[2, -2])
    strict = asked.but(strategy=Strategy(follow="battery", follow_price_eur_per_kwh=1)).plan(solver)
    assert strict.battery_kw.tolist() == pytest.approx([2, -2])
    assert strict.cost_eur == pytest.approx(-0.2 + 0.6), "the price of a deviation is no cost"
    loose = asked.but(strategy=Strategy(follow="battery", follow_price_eur_per_kwh=0.05)).plan(solver)
    # Another kWh at 0.1 for 0.3 gains 0.2 and deviates by two: up to what the store holds.
    assert loose.battery_kw.tolist() == pytest.approx([-5, 10])


@BOTH
def test_the_grid_follows_its_schedule_around_the_house(ask, solver):
    asked = ask(
        import_price=0.2,
        load=[1, 4],
        initial_soc=0.5,
        schedule_kw=[3, -1],
        strategy=Strategy(follow="grid", follow_price_eur_per_kwh=1),
    )
    plan = asked.plan(solver)
    assert (plan.table["import_kw"] - plan.table["export_kw"]).tolist() == pytest.approx([3, -1])
    assert plan.battery_kw.tolist() == pytest.approx([-2, 5])


@BOTH
def test_a_schedule_out_of_reach_is_missed_by_as_little_as_can_be(ask, solver):
    """Full, the battery cannot charge, and burning what comes in is not physical."""
    asked = ask(
        import_price=0.2,
        initial_soc=1.0,
        schedule_kw=[-4, 6],
        battery={"charge_efficiency": 0.9, "discharge_efficiency": 0.9},
        strategy=Strategy(follow="battery", follow_price_eur_per_kwh=5),
    )
    assert asked.plan(solver).battery_kw.tolist() == pytest.approx([0, 6], abs=1e-9)


# Balancing capacity.


@pytest.fixture
def reserve(ask):
    """Half full, on flat prices: nothing to earn but capacity."""
    return ask(import_price=0.1, export_price=0.0, intervals=2, initial_soc=0.5, final_soc_min=0.5, local_control=True)


def held_of(asked, strategy, prices, **more):
    plan = asked.but(strategy=strategy, balancing_price=prices, **more).plan()
    assert plan.solver.startswith("HiGHS")
    assert "balancing capacity ties" in plan.why
    return plan


def test_fcr_n_is_bound_by_energy_both_ways(reserve):
    plan = held_of(reserve, Strategy(fcr_n_kw=10), {"fcr_n": 0.02})
    assert kw(plan, "fcr_n_kw") == pytest.approx([5, 5])
    assert plan.breakdown.balancing_eur == pytest.approx(2 * 5 * 0.02)
    assert plan.cost_eur == pytest.approx(-0.2)


def test_fcr_n_is_bound_by_134_percent_of_its_power(reserve):
    plan = held_of(reserve, Strategy(fcr_n_kw=10), {"fcr_n": 0.02}, battery={"max_charge_kw": 4})
    assert kw(plan, "fcr_n_kw") == pytest.approx([4 / 1.34] * 2)


@pytest.mark.parametrize(
    ("product", "soc", "efficiency", "held_kw"),
    [
        pytest.param("fcr_d_up", 0.2, 1.0, 6, id="20 minutes of 2 kWh"),
        pytest.param("fcr_d_up", 0.2, 0.9, 5.4, id="of which losses leave 1.8"),
        pytest.param("fcr_d_up", 0.5, 1.0, 10, id="power"),
        pytest.param("fcr_d_down", 0.8, 1.0, 6, id="20 minutes of room"),
        pytest.param("fcr_d_down", 0.8, 0.9, 2 * 3 / 0.9, id="that losses make larger"),
        pytest.param("afrr_up", 0.2, 1.0, 2, id="an hour"),
        pytest.param("afrr_down", 0.7, 1.0, 3, id="an hour of room"),
    ],
)
def test_a_product_is_backed_by_its_energy_and_power(reserve, product, soc, efficiency, held_kw):
    asked = reserve.but(
        initial_soc=soc,
        final_soc_min=soc,
        battery={"charge_efficiency": efficiency, "discharge_efficiency": efficiency},
    )
    plan = held_of(asked, Strategy(**{f"{product}_kw": 20}), {product: 0.001})
    assert kw(plan, f"{product}_kw") == pytest.approx([held_kw] * 2)


def test_fcr_d_keeps_a_fifth_of_its_power_free_the_other_way(reserve):
    asked = reserve.but(battery={"max_charge_kw": 1})
    plan = held_of(asked, Strategy(fcr_d_up_kw=10), {"fcr_d_up": 0.02})
    assert kw(plan, "fcr_d_up_kw") == pytest.approx([5, 5])


def test_the_connection_bears_an_activation(ask):
    asked = ask(
        import_price=0.1,
        intervals=2,
        load=1.0,
        initial_soc=0.5,
        final_soc_min=0.5,
        local_control=True,
        grid={"export_limit_kw": 3},
    )
    plan = held_of(asked, Strategy(fcr_d_up_kw=10), {"fcr_d_up": 0.02})
    assert kw(plan, "fcr_d_up_kw") == pytest.approx([4, 4])


def test_arbitrage_and_capacity_share_the_power(reserve):
    """Selling 5 kWh at 0.3 earns more than an hour of capacity at 0.1 for each kW that discharging takes from it."""
    asked = reserve.but(export_price=[0.1, 0.3], import_price=0.4, final_soc_min=None)
    plan = held_of(asked, Strategy(fcr_d_up_kw=10), {"fcr_d_up": 0.1})
    # 5 kWh: each kWh sold in the second hour earns 0.3 and costs 0.1 for its power, or 0.3 for its backing of 3 kW.
    assert kw(plan, "fcr_d_up_kw")[0] == pytest.approx(10)
    second, sold_kw = kw(plan, "fcr_d_up_kw")[1], kw(plan, "discharge_kw")[1]
    assert second / 3 == pytest.approx(5 - sold_kw)
    assert second + sold_kw == pytest.approx(10)


def test_capacity_is_the_same_over_its_hour_and_not_sold_below_its_floor(ask):
    asked = ask(import_price=0.1, intervals=8, step="15min", initial_soc=0.5, final_soc_min=0.5, local_control=True)
    strategy = Strategy(fcr_n_kw=10, balancing_price_floor_eur_per_kw_h=0.02)
    plan = held_of(asked, strategy, {"fcr_n": [0.04, 0.02, 0.02, 0.02, 0.01, 0.01, 0.02, 0.02]})
    assert kw(plan, "fcr_n_kw") == pytest.approx([5] * 4 + [0] * 4, abs=1e-9)
    assert plan.breakdown.balancing_eur == pytest.approx(5 * 0.25 * 0.1)


def test_capacity_sold_already_outranks_money_and_what_is_missing_of_it_is_told(reserve):
    dear = reserve.but(export_price=[2.0, 2.0], import_price=2.5, final_soc_min=None)
    plan = held_of(dear, Strategy(afrr_up_kw=5), {"afrr_up": 0.0}, balancing_sold_kw={"afrr_up": [3, 0]})
    assert kw(plan, "afrr_up_kw")[0] == pytest.approx(3)
    assert kw(plan, "discharge_kw") == pytest.approx([2, 3])
    assert plan.breaches == ()
    discharging_only = dear.but(battery={"max_charge_kw": 0})
    plan = held_of(discharging_only, Strategy(afrr_up_kw=5), {"afrr_up": 0.0}, balancing_sold_kw={"afrr_up": [7, 0]})
    assert [(breach.limit, breach.value) for breach in plan.breaches] == [("balancing_sold_kw", pytest.approx(5))]


def test_a_reserve_that_no_money_gives_up_backs_no_capacity(reserve):
    strategy = Strategy(afrr_up_kw=5, reserve_soc=0.3)
    assert kw(held_of(reserve, strategy, {"afrr_up": 0.0001}), "afrr_up_kw") == pytest.approx([2, 2])
    priced = strategy.model_copy(update={"reserve_breach_price": 0.1})
    assert kw(held_of(reserve, priced, {"afrr_up": 0.0001}), "afrr_up_kw") == pytest.approx([5, 5])


# In words.


SAID = {
    "nothing is fed in below 0.3000 EUR/kWh": {"export_floor_eur_per_kwh": 0.3},
    "no stored energy is fed in below": {"export_floor_eur_per_kwh": 0.3, "export_guard": "hold_battery"},
    "import is at its target of 1.00 kW": {"import_target_kw": 1},
    "import is 1.00 kW above its target of 1.00 kW": {"import_target_kw": 1, "import_target_price_eur_per_kwh": 0.0001},
    "the battery is as scheduled": {"follow": "battery", "follow_price_eur_per_kwh": 9},
    "the grid is +2.00 kW off its schedule of 0.00 kW": {"follow": "grid", "follow_price_eur_per_kwh": 0.001},
    "self-consumption minds neither": {"objective": "self_consumption"},
    "what the warranty allows for a day is used up": {"warranty_throughput_mwh": 0, "warranty_years": 10},
    "1.00 kW are sold already; at a bid of 0.0100 and an ask of 0.0200 EUR/kWh 3.00 kW more are bought": {
        "intraday": True
    },
    "imbalance is at what the strategy allows": {"imbalance_kw": 0},
    "5.00 kW of FCR-N are held at 0.0500 EUR/kW/h": {"fcr_n_kw": 9},
    "all that is in store backs capacity held upwards": {"fcr_n_kw": 9},
    "all room in the store backs capacity held downwards": {"fcr_n_kw": 9},
}
NEEDED = {
    "follow": {"schedule_kw": 0.0},
    "intraday": {"position_kw": 1.0, "bid_price": 0.01, "ask_price": 0.02, "import_price": 0.0},
    "imbalance_kw": {"position_kw": 0.0, "imbalance_price": 0.1},
    "fcr_n_kw": {"balancing_price": {"fcr_n": 0.05}},
}


@pytest.mark.parametrize("sentence", SAID)
def test_an_explanation_names_the_wish_that_binds(ask, sentence):
    wishes = SAID[sentence]
    asked = ask(
        import_price=0.2,
        export_price=0.0,
        load=2.0,
        intervals=2,
        initial_soc=0.5,
        final_soc_min=0.5,
        curtailable=True,
        local_control=True,
        strategy=Strategy(**wishes),
    )
    for field in wishes:
        asked = asked.but(**NEEDED.get(field, {}))
    if "at its target" in sentence:
        asked = asked.but(final_soc_min=None, import_price=[0.2, 0.3], load=[0.0, 7.0])
    if wishes.get("objective"):
        asked = asked.but(final_soc_min=None)
    plan = asked.plan()
    said = plan.explain("2026-02-03 00:00")
    assert sentence in said, said


def test_the_summary_tells_what_markets_earn(sold):
    plan = sold.plan()
    assert "trades -3.1000" in plan.summary()
    assert "without the battery 1.0000 EUR, so it saves 4.1000 EUR" in plan.summary()


def test_a_fleet_has_the_same_plans_as_its_sites(ask):
    index = pd.date_range("2026-02-03T00:00Z", periods=2, freq="60min")
    sites = [
        ask(import_price=0.1, intervals=2, local_control=True, battery={"capacity_kwh": capacity}).site
        for capacity in (10, 20)
    ]

    def series(*values):
        return pd.Series(values, index)

    shared = {"import_price": series(0.1, 0.1), "export_price": series(0.1, 0.1), "initial_soc": 0.5}
    for strategy, more in (
        (Strategy(fcr_n_kw=50), {"balancing_price": {"fcr_n": series(0.02, 0.02)}}),
        (
            Strategy(intraday=True),
            {"bid_price": series(0.1, 0.9), "ask_price": series(0.1, 0.9), "position_kw": series(1.0, 2.0)},
        ),
        (Strategy(objective="self_consumption"), {"load": pd.DataFrame({0: [1.0, 3.0], 1: [2.0, 9.0]}, index)}),
    ):
        fleet = optimise_fleet(sites, strategy=strategy, **shared, **more)
        for number, site in enumerate(sites):
            single = {name: given[number] if name == "load" else given for name, given in more.items()}
            own = optimise(site, strategy=strategy, **shared, **single)
            assert fleet.cost_eur[number] == pytest.approx(own.cost_eur)
            assert fleet.plan(number).cost_eur == pytest.approx(own.cost_eur)
            assert fleet.plan(number).breakdown.balancing_eur == pytest.approx(own.breakdown.balancing_eur)


def test_merging_intents_counts_what_a_deviation_from_the_schedule_weighs(ask):
    """Resting instead of -2 and 2 kW: 4 kWh off the schedule, and nothing bought at 0.1 or sold at 0.3."""
    asked = ask(
        import_price=[0.1, 0.3],
        export_price=[0.1, 0.3],
        initial_soc=0.5,
        schedule_kw=[-2, 2],
        strategy=Strategy(follow="battery", follow_price_eur_per_kwh=1),
    )
    plan = asked.plan()
    intents = intents_of(plan)
    rest = Intent(IntentMode.HOLD, 0.0, intents[0].not_before, intents[-1].not_after)
    assert IntentValue(plan, intents).loss_eur(0, 1, rest) == pytest.approx(4 + 2 * 0.3 - 2 * 0.1)


def test_what_the_guard_holds_back_the_device_is_told_to_hold_back(ask):
    asked = ask(
        import_price=0.5,
        export_price=[0.01, 0.1],
        pv=[5, 5],
        curtailable=True,
        strategy=Strategy(export_floor_eur_per_kwh=0.05),
    )
    told = [intent.export_limit_kw for intent in intents_of(asked.plan())]
    assert told == [0.0, None]


# Several futures.


def test_the_worst_future_is_the_worst_with_what_is_settled_anyway(ask):
    """In one future 20 kW were bought that earn 10 EUR and stored energy nothing; in the other it earns 0.3 EUR/kWh.

    The second is the worse one, so minding it alone means to charge.
    """
    asked = ask(
        import_price=0.0,
        intervals=3,
        bid_price=[0.1, 0.0, 0.5],
        ask_price=[0.1, 0.0, 0.5],
        position_kw=[0, 0, -20],
        max_discharge_kw=[5, 5, 0],
        max_charge_kw=[5, 5, 0],
        strategy=Strategy(intraday=True),
    )
    rich = asked.given
    poor = asked.but(bid_price=[0.1, 0.3, 0.5], ask_price=[0.1, 0.3, 0.5], position_kw=0.0).given
    names = (
        "import_price",
        "export_price",
        "bid_price",
        "ask_price",
        "position_kw",
        "max_charge_kw",
        "max_discharge_kw",
    )
    futures = [Scenario(probability=0.5, **{name: given[name] for name in names}) for given in (rich, poor)]
    plan = optimise_scenarios(
        asked.site,
        futures,
        initial_soc=0.0,
        strategy=asked.given["strategy"],
        cvar_weight=1.0,
        cvar_level=0.5,
    )
    assert plan.now["charge_kw"].tolist() == pytest.approx([5])
    assert plan.outcome_eur.tolist() == pytest.approx([0.5 - 10, 0.5 - 1.5])
    assert plan.cvar_eur == pytest.approx(-1.0)


def test_capacity_is_not_sold_for_several_futures(ask):
    asked = ask(import_price=[0.1, 0.2], local_control=True)
    future = Scenario(
        probability=1.0, import_price=asked.given["import_price"], export_price=asked.given["export_price"]
    )
    with pytest.raises(InputError, match="fcr_n_kw"):
        optimise_scenarios(asked.site, [future], initial_soc=0.5, strategy=Strategy(fcr_n_kw=1))
