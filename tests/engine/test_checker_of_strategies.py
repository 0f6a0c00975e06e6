"""The checker passes what keeps a wish and rejects what breaks it, by the rule that the wish is.

Plans that break one are made by leaving the wish out, or by hand with everything else agreeing: powers, store, money.
"""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from engine import PvArray, Strategy


@pytest.fixture
def traded(ask):
    """4 kWh of 10 sold for the second of four quarter-hours; imbalance of up to 1 kW may be left."""
    return ask(
        step="15min",
        import_price=0.0,
        initial_soc=0.5,
        position_kw=[0, 4, 0, 0],
        bid_price=[0.1, 0.2, 0.5, 0.1],
        ask_price=[0.15, 0.25, 0.6, 0.15],
        imbalance_price=[0.12, 0.22, 0.55, 0.3],
        strategy=Strategy(intraday=True, imbalance_kw=1),
    )


@pytest.fixture
def held(ask):
    """Half full for two hours of quarters, with an hour that is not worth selling capacity in."""
    return ask(
        step="15min",
        import_price=0.1,
        intervals=8,
        initial_soc=0.5,
        final_soc_min=0.5,
        grid={"export_limit_kw": 6, "import_limit_kw": 6},
        local_control=True,
        strategy=Strategy(fcr_n_kw=4, fcr_d_up_kw=4, balancing_price_floor_eur_per_kw_h=0.02),
        balancing_price={"fcr_n": [0.05] * 4 + [0.01] * 4, "fcr_d_up": [0.03] * 8},
    )


def moved(asked: Any, by: dict[str, Any], of: pd.DataFrame | None = None) -> tuple[pd.DataFrame, float]:
    """A plan with market columns changed, and its money made to agree with them."""
    table = asked.plan().table if of is None else of
    table = table.copy()
    for column, change in by.items():
        table[column] = table[column] + change
    given, h, strategy = asked.given, asked.step_h, asked.given["strategy"]
    eur = h * (table["import_kw"] * given["import_price"] - table["export_kw"] * given["export_price"])
    if strategy.intraday:
        sold, bought = table["trade_kw"].clip(lower=0), (-table["trade_kw"]).clip(lower=0)
        eur -= h * (sold * given["bid_price"] - bought * given["ask_price"])
    if strategy.imbalance_kw is not None:
        eur -= h * table["imbalance_kw"] * given["imbalance_price"]
    for product, price in given.get("balancing_price", {}).items():
        eur -= h * table[f"{product}_kw"] * price
    table["cost_eur"] = eur
    return table, float(eur.sum())


def test_sound_plans_pass(traded, held):
    for asked in (traded, held):
        table, cost = moved(asked, {})
        assert asked.rules(table, cost) == set()
        assert cost == pytest.approx(asked.plan().cost_eur)


def test_columns_of_markets_are_asked_for(traded, held):
    for asked, column in ((traded, "trade_kw"), (traded, "imbalance_kw"), (held, "fcr_n_kw")):
        plan = asked.plan()
        assert asked.rules(plan.table.drop(columns=column), plan.cost_eur) == {"columns"}


BROKEN_TRADES = {
    "sold and not delivered": ("position", {"trade_kw": [1, 0, 0, 0]}),
    "delivered and not sold": ("position", {"imbalance_kw": [0, 0, -0.5, 0]}),
    "more imbalance than is allowed": ("imbalance", {"imbalance_kw": [0, 0, 0.2, 0], "trade_kw": [0, 0, -0.2, 0]}),
    "and on the other side": ("imbalance", {"imbalance_kw": [-0.2, 0, 0, 0], "trade_kw": [0.2, 0, 0, 0]}),
}


@pytest.mark.parametrize("case", BROKEN_TRADES)
def test_trades_that_do_not_add_up_are_rejected(traded, case):
    rule, by = BROKEN_TRADES[case]
    assert asked_rules(traded, by) == {rule}


def asked_rules(asked: Any, by: dict[str, Any]) -> set[str]:
    return asked.rules(*moved(asked, by))


@pytest.mark.parametrize(
    "wish",
    [
        {"imbalance_side": "short"},
        {"imbalance_from_hour": 1},
        {"imbalance_kw": 0.5},
        {"imbalance_kw": None, "imbalance_price": None},
    ],
    ids=str,
)
def test_imbalance_that_the_strategy_does_not_allow_is_rejected(traded, wish):
    plan = traded.but(imbalance_price=[0.12, 0.22, 0.55, 0.3]).plan()
    assert plan.table["imbalance_kw"].max() == pytest.approx(1)
    wish = dict(wish)
    more = {"imbalance_price": wish.pop("imbalance_price")} if "imbalance_price" in wish else {}
    other = traded.but(strategy=Strategy(**{"intraday": True, "imbalance_kw": 1, **wish}), **more)
    assert "imbalance" in other.rules(plan.table, plan.cost_eur)


def test_a_trade_without_a_market_is_rejected(traded):
    plan = traded.plan()
    no_market = traded.but(strategy=Strategy(imbalance_kw=10), bid_price=None, ask_price=None)
    assert "trade" in no_market.rules(plan.table, plan.cost_eur)


def test_money_of_trades_is_that_of_the_side_taken(traded):
    """Bought at the bid, or an imbalance that is paid twice."""
    plan = traded.plan()
    for column, gain in (("trade_kw", 0.05), ("imbalance_kw", 0.1)):
        cheaper = plan.table.assign(cost_eur=plan.table["cost_eur"] - 0.25 * gain * plan.table[column].abs())
        assert traded.rules(cheaper, cheaper["cost_eur"].sum()) == {"cost"}


def test_a_position_that_the_battery_could_deliver_is_not_left_to_imbalance(ask):
    asked = ask(
        import_price=0.0,
        initial_soc=0.6,
        position_kw=[2, 2],
        imbalance_price=[0.1, 0.1],
        strategy=Strategy(imbalance_kw=0.5),
    )
    lazy = asked.table(discharge_kw=[1.0, 1.5]).assign(trade_kw=0.0, imbalance_kw=[-1.0, -0.5])
    assert asked.rules(*moved(asked, {}, lazy)) == {"imbalance"}
    eager = asked.table(discharge_kw=[2.0, 3.0]).assign(trade_kw=0.0, imbalance_kw=[0.0, 1.0])
    assert asked.rules(*moved(asked, {}, eager)) == {"imbalance"}
    sunny = asked.but(pv=4.0, position_kw=1.0, initial_soc=1.0)
    sunny = type(asked)(sunny.site.model_copy(update={"pv": PvArray(curtailable=True)}), sunny.given)
    wasteful = sunny.table(curtailment_kw=2.0).assign(trade_kw=0.0, imbalance_kw=1.0)
    assert sunny.rules(*moved(sunny, {}, wasteful)) == {"imbalance"}
    assert sunny.plan().table["curtailment_kw"].tolist() == pytest.approx([2.5, 2.5])
    empty = asked.but(initial_soc=0.1)
    honest = empty.table(discharge_kw=[0.5, 0.5]).assign(trade_kw=0.0, imbalance_kw=-1.5)
    assert empty.rules(*moved(empty, {}, honest)) == set()


FIRST_HOUR = [1] * 4 + [0] * 4
BROKEN_CAPACITY = {
    "more than is offered": ("capacity", {"fcr_n_kw": [0.5 * one for one in FIRST_HOUR]}),
    "below its floor": ("capacity", {"fcr_n_kw": [0.5 * (1 - one) for one in FIRST_HOUR]}),
    "in a part of its hour": ("capacity", {"fcr_d_up_kw": [-0.1, 0, 0, 0, 0, 0, 0, 0]}),
    "less than nothing": ("capacity", {"fcr_d_up_kw": [-9.0] * 8}),
}


@pytest.mark.parametrize("case", BROKEN_CAPACITY)
def test_capacity_that_may_not_be_sold_is_rejected(held, case):
    rule, by = BROKEN_CAPACITY[case]
    assert rule in asked_rules(held, by)


HEADROOM = {
    "energy": {"initial_soc": 0.3, "final_soc_min": 0.3},
    "room": {"initial_soc": 0.8, "final_soc_min": 0.8},
    "discharging power": {"max_discharge_kw": 5.0},
    "charging power": {"max_charge_kw": 4.0},
    "export limit": {"export_limit_kw": 5.0},
    "import limit": {"import_limit_kw": 4.0},
    "reserve": {"strategy": Strategy(fcr_n_kw=4, fcr_d_up_kw=4, reserve_soc=0.2)},
}


@pytest.mark.parametrize("case", HEADROOM)
def test_capacity_without_its_headroom_is_rejected(held, case):
    """What is held on the half-full battery with all its power is too much for one that has less of anything."""
    plan = held.plan()
    assert plan.table["fcr_n_kw"].iloc[0] == pytest.approx(3.5, abs=0.6)
    tighter = held.but(**HEADROOM[case])
    table = plan.table.assign(soc=plan.table["soc"] - 0.5 + tighter.given["initial_soc"])
    assert tighter.rules(table, plan.cost_eur) >= {"headroom"}
    assert tighter.plan().breaches == ()


def test_capacity_pays_what_is_held(held):
    plan = held.plan()
    richer = plan.table.assign(cost_eur=plan.table["cost_eur"] - 0.01)
    assert held.rules(richer, richer["cost_eur"].sum()) == {"cost"}


def test_guards_targets_and_warranties_are_judged(ask):
    """Plans that were made without the wish, judged by it."""
    sunny = ask(import_price=0.5, export_price=[0.02, 0.04], pv=[4, 0], curtailable=True, initial_soc=0.5)
    loaded = ask(import_price=0.1, load=[1, 5], initial_soc=0.5, battery={"wear_eur_per_kwh": 0.2})
    full = ask(import_price=0.5, export_price=[0.1, 0.3], initial_soc=1.0)
    warranty = {"warranty_throughput_mwh": 36.525, "warranty_years": 10, "warranty_used_mwh": 18.2625}
    for asked, wishes, rule in (
        (sunny, {"export_floor_eur_per_kwh": 0.05}, "export limit"),
        (sunny, {"export_floor_eur_per_kwh": 0.05, "export_guard": "hold_battery"}, "battery export"),
        (loaded, {"import_target_kw": 3}, "idle at the limit"),
        (full, warranty, "cycle budget"),
    ):
        wished = asked.but(strategy=Strategy(**wishes))
        assert rule in wished.rules_of(asked.plan()), wishes
        assert wished.rules_of(wished.plan()) == set(), wishes


def test_self_consumption_that_buys_with_energy_to_spare_is_rejected(ask):
    asked = ask(import_price=0.3, load=[2, 2], initial_soc=0.5, strategy=Strategy(objective="self_consumption"))
    assert asked.rules(asked.table(discharge_kw=[2, 2])) == set()
    assert asked.rules(asked.table(discharge_kw=[2, 1])) == {"self-consumption"}
    # What is spared for a dearer hour is bought all the same, only later: not this rule's business.
    assert asked.but(initial_soc=0.2).rules(asked.but(initial_soc=0.2).table(discharge_kw=[0, 2])) == set()
