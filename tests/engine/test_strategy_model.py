"""The strategy as data: its schema makes a form, a stored one reads back, and contradictions name both fields."""

from __future__ import annotations

import json

import pydantic
import pytest

from engine import InputError, Strategy
from engine.balancing import PRODUCTS, refuse_uncontrollable
from engine.strategy import next_throughput_price

EVERYTHING = Strategy(
    export_floor_eur_per_kwh=0.01,
    export_guard="hold_battery",
    import_target_kw=4.0,
    import_target_price_eur_per_kwh=0.3,
    reserve_soc=0.2,
    cycles_per_day=1.5,
    warranty_throughput_mwh=30,
    warranty_years=10,
    warranty_used_mwh=3,
    warranty_elapsed_years=1,
    throughput_price_eur_per_kwh=0.02,
    carbon_eur_per_kg=0.1,
    intraday=True,
    imbalance_kw=2,
    imbalance_side="long",
    imbalance_from_hour=6,
    imbalance_to_hour=22,
    fcr_n_kw=1,
    fcr_d_up_kw=2,
    balancing_price_floor_eur_per_kw_h=0.01,
    prefer="fewer_switches",
)


def test_every_field_has_what_a_form_needs():
    properties = Strategy.model_json_schema()["properties"]
    assert set(properties) == set(Strategy.model_fields)
    for name, of in properties.items():
        assert of["title"].strip(), name
        assert of["title"] != name.replace("_", " ").title() or " " not in of["title"], (
            f"{name} has no title of its own"
        )
        assert len(of["description"]) > 20, name
        assert of["group"], name
        assert isinstance(of["unit"], str), name
        unit = next((unit for unit in ("eur_per_kwh", "eur_per_kw_h", "kw", "mwh") if name.endswith(unit)), None)
        written = {"eur_per_kwh": "EUR/kWh", "eur_per_kw_h": "EUR/kW/h", "kw": "kW", "mwh": "MWh", None: of["unit"]}
        assert of["unit"] == written[unit], name


@pytest.mark.parametrize("strategy", [Strategy(), EVERYTHING, Strategy(objective="self_consumption")])
def test_a_stored_strategy_reads_back(strategy):
    stored = json.dumps(strategy.model_dump(mode="json"))
    assert Strategy.model_validate_json(stored) == strategy
    assert json.loads(stored)["version"] == 1


def test_one_from_before_versions_reads_as_the_first_and_one_of_a_later_is_refused():
    assert Strategy.model_validate_json('{"reserve_soc": 0.2}').version == 1
    with pytest.raises(pydantic.ValidationError, match="version"):
        Strategy.model_validate_json('{"version": 2}')


CONTRADICTIONS = [
    *(
        ("objective", name, {"objective": "self_consumption", name: value, **more})
        for name, value, more in (
            ("carbon_eur_per_kg", 0.1, {}),
            ("throughput_price_eur_per_kwh", 0.1, {}),
            ("intraday", True, {}),
            ("imbalance_kw", 1.0, {}),
            ("follow", "grid", {"follow_price_eur_per_kwh": 1.0}),
            ("fcr_n_kw", 1.0, {}),
            ("fcr_d_up_kw", 1.0, {}),
            ("fcr_d_down_kw", 1.0, {}),
            ("afrr_up_kw", 1.0, {}),
            ("afrr_down_kw", 1.0, {}),
        )
    ),
    *(
        ("grid_charging", name, {"grid_charging": False, name: 1.0})
        for name in ("fcr_n_kw", "fcr_d_down_kw", "afrr_down_kw")
    ),
    *(
        ("battery_export", name, {"battery_export": "never", name: 1.0})
        for name in ("fcr_n_kw", "fcr_d_up_kw", "afrr_up_kw")
    ),
    ("battery_export", "fcr_n_kw", {"battery_export": "behind_pv", "fcr_n_kw": 1.0}),
    ("follow", "intraday", {"follow": "battery", "follow_price_eur_per_kwh": 1.0, "intraday": True}),
    ("follow", "imbalance_kw", {"follow": "grid", "follow_price_eur_per_kwh": 1.0, "imbalance_kw": 1.0}),
    ("imbalance_from_hour", "imbalance_to_hour", {"imbalance_kw": 1, "imbalance_from_hour": 8, "imbalance_to_hour": 8}),
    (
        "warranty_elapsed_years",
        "warranty_years",
        {"warranty_throughput_mwh": 1, "warranty_years": 5, "warranty_elapsed_years": 5},
    ),
    ("import_target_price_eur_per_kwh", "import_target_kw", {"import_target_price_eur_per_kwh": 0.1}),
    ("follow_price_eur_per_kwh", "follow", {"follow_price_eur_per_kwh": 0.1}),
    ("follow", "follow_price_eur_per_kwh", {"follow": "grid"}),
    ("warranty_throughput_mwh", "warranty_years", {"warranty_throughput_mwh": 10}),
    ("warranty_years", "warranty_throughput_mwh", {"warranty_years": 10}),
    ("warranty_used_mwh", "warranty_throughput_mwh", {"warranty_used_mwh": 1}),
    ("warranty_elapsed_years", "warranty_throughput_mwh", {"warranty_elapsed_years": 1}),
    ("export_guard", "export_floor_eur_per_kwh", {"export_guard": "hold_battery"}),
    ("imbalance_side", "imbalance_kw", {"imbalance_side": "long"}),
    ("imbalance_from_hour", "imbalance_kw", {"imbalance_from_hour": 3}),
    ("imbalance_to_hour", "imbalance_kw", {"imbalance_to_hour": 3}),
]


@pytest.mark.parametrize(
    ("one", "other", "given"), CONTRADICTIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_contradiction_names_both_fields_and_the_way_out(one, other, given):
    with pytest.raises(pydantic.ValidationError) as refusal:
        Strategy(**given)
    (error,) = refusal.value.errors()
    said = error["msg"]
    assert said.startswith(f"Value error, {one} ")
    assert f" with {other} " in said
    assert said.rpartition("; ")[2], "there is a way out"
    Strategy(**{name: value for name, value in given.items() if name not in (one, other, *PARTNERS)})


# What is left out together with a contradiction, as it means nothing alone.
PARTNERS = (
    *("follow_price_eur_per_kwh", "follow", "imbalance_from_hour", "imbalance_to_hour", "warranty_throughput_mwh"),
    "warranty_years",
)


def test_what_is_left_of_a_warranty_is_spread_over_what_is_left_of_its_time():
    strategy = Strategy(warranty_throughput_mwh=30, warranty_years=10, warranty_used_mwh=12, warranty_elapsed_years=5)
    assert strategy.pace_kwh_per_day == pytest.approx(18_000 / (5 * 365.25))
    used_up = strategy.model_copy(update={"warranty_used_mwh": 40.0})
    assert used_up.pace_kwh_per_day == 0
    assert Strategy().pace_kwh_per_day is None


def test_the_price_of_a_warranty_rises_ahead_of_its_pace_and_falls_behind_it():
    assert next_throughput_price(0.05, used_kwh=12, pace_kwh=10, step=0.01) == pytest.approx(0.07)
    assert next_throughput_price(0.05, used_kwh=8, pace_kwh=10, step=0.01) == pytest.approx(0.03)
    assert next_throughput_price(0.05, used_kwh=0, pace_kwh=10, step=0.01) == 0.0


@pytest.mark.parametrize("product", PRODUCTS)
def test_capacity_is_refused_where_only_a_cloud_controls(product, ask):
    strategy = Strategy(**{f"{product}_kw": 1.0})
    with pytest.raises(InputError) as refusal:
        refuse_uncontrollable(strategy, local_control=False, site="Home 7")
    assert refusal.value.field == f"strategy.{product}_kw"
    assert PRODUCTS[product].title in refusal.value.problem
    assert "Home 7 is controlled through its vendor's cloud alone" in refusal.value.problem
    refuse_uncontrollable(strategy, local_control=True)
    refuse_uncontrollable(Strategy(), local_control=False)
    asked = ask(import_price=[0.1, 0.2], strategy=strategy, balancing_price={product: 0.01})
    with pytest.raises(InputError, match="cloud alone"):
        asked.plan()


REFUSED = {
    "position_kw": (Strategy(), {"position_kw": 1.0}),
    "schedule_kw": (Strategy(follow="grid", follow_price_eur_per_kwh=1), {}),
    "ask_price": (Strategy(intraday=True), {"bid_price": 0.1}),
    "bid_price": (Strategy(intraday=True), {"bid_price": 0.2, "ask_price": 0.1}),
    "imbalance_price": (Strategy(imbalance_kw=1), {}),
    "balancing_price.fcr_n": (Strategy(fcr_n_kw=1), {}),
    "balancing_price.afrr_up": (Strategy(fcr_n_kw=1), {"balancing_price": {"fcr_n": 0.1, "afrr_up": 0.1}}),
    "balancing_price": (Strategy(fcr_n_kw=1), {"balancing_price": {"fcr": 0.1}}),
    "balancing_sold_kw.fcr_n": (
        Strategy(fcr_n_kw=1),
        {"balancing_price": {"fcr_n": 0.1}, "balancing_sold_kw": {"fcr_n": -1}},
    ),
    "strategy.export_guard": (Strategy(export_floor_eur_per_kwh=0), {}),
}


@pytest.mark.parametrize("field", REFUSED)
def test_a_series_that_is_missing_wrong_or_unused_is_refused(field, ask):
    strategy, given = REFUSED[field]
    asked = ask(import_price=[0.1, 0.2], local_control=True, strategy=strategy).but(**given)
    with pytest.raises(InputError) as refusal:
        asked.plan()
    assert refusal.value.field == field
    assert refusal.value.way_out


def test_powers_in_watts_and_prices_per_mwh_are_refused(ask):
    asked = ask(import_price=[0.1, 0.2], strategy=Strategy(intraday=True), bid_price=0.1, ask_price=0.1)
    with pytest.raises(InputError, match="divide it by 1000"):
        asked.but(position_kw=4000.0).plan()
    with pytest.raises(InputError, match="divide it by 1000"):
        asked.but(ask_price=100.0).plan()
