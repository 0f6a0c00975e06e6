"""A plan in intents is the same plan: no gap, the right words and signs, and hardware that obeys them reproduces it."""

from __future__ import annotations

import dataclasses
import datetime as dt
import math
from typing import Any

import numpy as np
import pytest

from console.sample import DEFAULT_DAY
from engine import Battery, GridConnection, PvArray, Site
from engine.intent import Intent, IntentMode, intents_of, self_consumption_kw
from engine.plant import Plant, PlantCommand, PlantMode
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD

BEGIN = dt.datetime(2026, 2, 3, 17, tzinfo=dt.UTC)
QUARTER_HOUR = dt.timedelta(minutes=15)


def modes(plan: Any) -> list[IntentMode]:
    return [intent.mode for intent in intents_of(plan)]


@pytest.mark.parametrize("day", [DEFAULT_DAY, dt.date(2024, 3, 31)], ids=str)
def test_intents_cover_the_horizon_without_gap_or_overlap(sample_case, day):
    plan = sample_case(day).plan()
    intents = intents_of(plan)
    index = plan.table.index
    assert [intent.not_before for intent in intents] == list(index)
    assert [intent.not_after for intent in intents] == [*index[1:], index[-1] + QUARTER_HOUR]
    assert {intent.not_before.utcoffset() for intent in intents} == {dt.timedelta(0)}


@pytest.mark.parametrize("seed", range(40))
def test_every_intent_says_what_its_interval_does(random_case, seed):
    plan = random_case(seed, 12).plan()
    battery = plan.site.battery
    for intent, planned_kw, (_, row) in zip(intents_of(plan), plan.battery_kw, plan.table.iterrows(), strict=True):
        if intent.mode is FOLLOW:
            # The rest of the rule is where the store is full or empty.
            wanted_kw = row["load_kw"] - row["pv_kw"] - row["curtailment_kw"]
            assert min(0, wanted_kw) - 0.01 <= planned_kw <= max(0, wanted_kw) + 0.01
            continue
        assert intent.battery_kw == pytest.approx(planned_kw, abs=0.05)
        expected = CHARGE if planned_kw <= -0.05 else DISCHARGE if planned_kw >= 0.05 else HOLD
        assert intent.mode is expected
        assert intent.until_soc == {CHARGE: battery.max_soc, DISCHARGE: battery.min_soc, HOLD: None}[expected]


def test_a_plan_that_follows_the_house_is_left_to_the_device(case):
    """Next to nothing to sell, less sun than the evening needs, no price worth waiting for: take it, then give it."""
    site = Site(battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5), pv=PvArray())
    plan = case(
        site,
        import_price=np.linspace(0.5, 0.4, 8),
        export_price=0.01,
        load=[0.5] * 4 + [3.0] * 4,
        pv=[2.5] * 4 + [0.0] * 4,
        initial_soc=0.0,
    ).plan()
    assert plan.table["charge_kw"].tolist() == pytest.approx([2.0] * 4 + [0.0] * 4)
    assert plan.table["discharge_kw"].tolist() == pytest.approx([0.0] * 4 + [3.0, 3.0, 2.0, 0.0])
    # Also where less is left than the house takes: what is found there after all is best spent at once.
    assert modes(plan) == [FOLLOW] * 8


def test_following_at_its_rating_is_following_and_so_is_being_empty_where_waiting_never_pays(case):
    site = Site(
        battery=Battery(capacity_kwh=5, max_charge_kw=5, max_discharge_kw=2, min_soc=0.1, max_soc=0.9), pv=PvArray()
    )
    plan = case(
        site,
        # Falling, so that waiting never pays.
        import_price=np.linspace(0.5, 0.4, 9),
        export_price=0.01,
        load=[0, 0, 3, 3, 3, 3, 3, 3, 3],
        pv=[4, 4, 0, 0, 0, 0, 0, 0, 0],
        initial_soc=0.1,
    ).plan()
    assert plan.table["soc"].iloc[1] == pytest.approx(0.5)
    assert plan.table["soc"].iloc[-1] == pytest.approx(0.1)
    assert modes(plan) == [FOLLOW] * 9


def test_resting_that_is_not_following_is_a_hold(case):
    """What is stored is kept for the dear hour, though the house draws now."""
    site = Site(battery=Battery(capacity_kwh=1, max_charge_kw=5, max_discharge_kw=5))
    plan = case(site, import_price=[0.4] * 4 + [0.5] * 4, export_price=0.01, load=1.0, initial_soc=1.0).plan()
    assert modes(plan) == [HOLD] * 4 + [FOLLOW] * 4


def test_buying_to_sell_is_charging_then_discharging_at_set_points(case):
    site = Site(
        battery=Battery(capacity_kwh=4, max_charge_kw=4, max_discharge_kw=4, min_soc=0.1, max_soc=0.9),
        grid=GridConnection(export_limit_kw=3),
    )
    plan = case(site, import_price=[0.1] * 2 + [0.9] * 4, export_price=[0.05] * 2 + [0.8] * 4, load=0.5).plan()
    intents = intents_of(plan)
    charging, discharging = intents[:2], [intent for intent in intents if intent.mode is DISCHARGE]
    assert {intent.mode for intent in charging} == {CHARGE}
    assert sum(intent.battery_kw for intent in charging) * 0.25 == pytest.approx(-(0.9 - 0.5) * 4)
    assert {intent.until_soc for intent in charging} == {0.9}
    assert max(intent.battery_kw for intent in discharging) == pytest.approx(3.5)
    assert {intent.until_soc for intent in discharging} == {0.1}


def test_following_the_house_is_its_need_within_the_ratings():
    assert self_consumption_kw(3.0, 1.0, 5.0, 4.0) == 2.0
    assert self_consumption_kw(9.0, 1.0, 5.0, 4.0) == 4.0
    assert self_consumption_kw(1.0, 3.0, 5.0, 4.0) == -2.0
    assert self_consumption_kw(1.0, 9.0, 5.0, 4.0) == -5.0


def a_sunny_day(case, grid: GridConnection, export_price: float) -> Any:
    """A full battery, 5 kW of sun, 1 kW of load in the first two of four quarter-hours."""
    site = Site(
        battery=Battery(capacity_kwh=5, max_charge_kw=5, max_discharge_kw=5), grid=grid, pv=PvArray(curtailable=True)
    )
    return case(
        site, import_price=0.3, export_price=export_price, load=1.0, pv=[5.0, 5.0, 0.0, 0.0], initial_soc=1.0
    ).plan()


def test_where_a_plan_curtails_pv_its_export_is_the_limit(case):
    plan = a_sunny_day(case, GridConnection(), -0.1)
    assert plan.table["curtailment_kw"].tolist() == pytest.approx([4.0, 4.0, 0.0, 0.0])
    assert [intent.export_limit_kw for intent in intents_of(plan)] == [0.0, 0.0, None, None]
    assert {intent.export_limit_kw for intent in intents_of(plan, limits_export=False)} == {None}


def test_where_selling_costs_money_export_is_limited_though_nothing_is_curtailed_yet(case):
    """There is room for all of the sun; a store that fills sooner or a forecast that is wrong would sell it."""
    site = Site(battery=Battery(capacity_kwh=50, max_charge_kw=5, max_discharge_kw=5), pv=PvArray(curtailable=True))
    given = {"import_price": 0.3, "export_price": [-0.1, 0.1, -0.1, -0.1], "load": 1.0, "pv": [5.0, 5.0, 5.0, 0.0]}
    plan = case(site, **given, initial_soc=0.0, terminal_value=0.3).plan()
    assert plan.table["curtailment_kw"].max() == pytest.approx(0.0)
    assert [intent.export_limit_kw for intent in intents_of(plan)] == [0.0, None, 0.0, None]
    fixed = case(site.model_copy(update={"pv": PvArray()}), **given, initial_soc=0.0).plan()
    assert {intent.export_limit_kw for intent in intents_of(fixed)} == {None}


def test_what_the_connection_does_not_let_through_is_no_limit_of_the_plan(case):
    plan = a_sunny_day(case, GridConnection(export_limit_kw=3), 0.1)
    assert plan.table["curtailment_kw"].iloc[0] == pytest.approx(1.0)
    assert {intent.export_limit_kw for intent in intents_of(plan)} == {None}


GOOD = {"mode": CHARGE, "power_kw": 2.0, "not_before": BEGIN, "not_after": BEGIN + QUARTER_HOUR, "until_soc": 0.9}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        pytest.param({"not_before": BEGIN.replace(tzinfo=None)}, "no zone", id="a naive beginning"),
        pytest.param({"not_after": BEGIN.replace(tzinfo=None, hour=18)}, "no zone", id="a naive end"),
        pytest.param({"not_after": BEGIN}, "not after", id="no time at all"),
        pytest.param({"not_after": BEGIN - QUARTER_HOUR}, "not after", id="an end before its beginning"),
        pytest.param({"power_kw": -2.0}, "power_kw -2.0", id="a negative power"),
        pytest.param({"power_kw": 0.0}, "power_kw 0.0 does not belong to charge", id="charging with nothing"),
        pytest.param({"mode": DISCHARGE, "power_kw": 0.0}, "discharge", id="discharging with nothing"),
        pytest.param({"mode": HOLD}, "power_kw 2.0 does not belong to hold", id="holding with a power"),
        pytest.param({"mode": FOLLOW}, "does not belong to self_consumption", id="following with a power"),
        pytest.param({"power_kw": math.nan}, "power_kw nan", id="a power that is no number"),
        pytest.param({"power_kw": math.inf}, "power_kw inf", id="a power without bound"),
        pytest.param({"until_soc": 90}, "until_soc 90 is outside 0..1", id="a state in percent"),
        pytest.param({"until_soc": -0.01}, "until_soc -0.01", id="a state below empty"),
        pytest.param({"export_limit_kw": -0.1}, "export_limit_kw -0.1", id="a limit that wants a draw"),
        pytest.param({"export_limit_kw": math.nan}, "export_limit_kw nan", id="a limit that is no number"),
        pytest.param({"export_limit_kw": math.inf}, "export_limit_kw inf", id="a limit that is none"),
        pytest.param({"until_soc": math.nan}, "until_soc nan", id="a state that is no number"),
    ],
)
def test_an_impossible_intent_is_refused_naming_what_is_wrong(changes, named):
    Intent(**GOOD)
    with pytest.raises(ValueError, match=r"^intent: ") as refused:
        Intent(**{**GOOD, **changes})
    assert named in str(refused.value)
    assert "\n" not in str(refused.value)


def test_an_intent_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Intent(**GOOD).power_kw = 5.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("mode", "power_kw", "battery_kw", "has_set_point"),
    [(CHARGE, 2.0, -2.0, True), (DISCHARGE, 2.0, 2.0, True), (HOLD, 0.0, 0.0, True), (FOLLOW, 0.0, 0.0, False)],
)
def test_the_set_point_discharges_positively(mode, power_kw, battery_kw, has_set_point):
    intent = Intent(mode, power_kw, BEGIN, BEGIN + QUARTER_HOUR)
    assert (intent.battery_kw, intent.has_set_point) == (battery_kw, has_set_point)


def command_of(intent: Intent) -> PlantCommand:
    if not intent.has_set_point:
        return PlantCommand(PlantMode.SELF_CONSUMPTION)
    return PlantCommand(PlantMode.SET_POINT, intent.battery_kw, intent.until_soc)


def run_open_loop(plan: Any) -> tuple[np.ndarray, float]:
    """Give the intents to the plant under the load and sun of the plan; the states of charge and the bill."""
    problem = plan.problem
    plant = Plant(problem.battery, problem.initial_soc)
    states, bill_eur = [], 0.0
    for position, intent in enumerate(intents_of(plan)):
        plant.command = command_of(intent)
        before = vars(plant.registers).copy()
        plant.run(problem.step_h * 3600, float(problem.load_kw[position]), float(problem.pv_kw[position]))
        passed = {name: after - before[name] for name, after in vars(plant.registers).items()}
        bill_eur += (
            passed["import_kwh"] * problem.import_price[position]
            - passed["export_kwh"] * problem.export_price[position]
            + passed["discharge_kwh"] * problem.battery.wear_eur_per_kwh
        )
        states.append(plant.soc)
    return np.array(states), bill_eur


@pytest.mark.parametrize(
    "day", [dt.date(2024, 3, 18), dt.date(2024, 3, 31), dt.date(2024, 4, 6), DEFAULT_DAY, dt.date(2024, 4, 18)], ids=str
)
def test_a_plant_that_obeys_the_intents_reproduces_the_plan(sample_case, day):
    plan = sample_case(day).plan()
    states, bill_eur = run_open_loop(plan)
    assert states == pytest.approx(plan.table["soc"].to_numpy(), abs=0.01)
    turnover_eur = abs(plan.breakdown.import_eur) + abs(plan.breakdown.export_eur) + plan.breakdown.wear_eur
    assert bill_eur == pytest.approx(plan.cost_eur, abs=0.01 * turnover_eur)


def test_a_plant_left_to_itself_does_not_reproduce_a_plan_that_trades(sample_case):
    """So the test above could fail."""
    plan = sample_case(dt.date(2024, 4, 6)).plan()
    plant = Plant(plan.problem.battery, plan.problem.initial_soc)
    states = []
    for load_kw, pv_kw in zip(plan.problem.load_kw, plan.problem.pv_kw, strict=True):
        plant.run(900, float(load_kw), float(pv_kw))
        states.append(plant.soc)
    assert np.abs(np.array(states) - plan.table["soc"]).max() > 0.1
