"""Markets along a history: what was traded, delivered and held is settled at what was paid, in every account."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import InputError, Strategy
from engine.backtesting.knowledge import at_decisions
from engine.backtesting.result import STEPS
from engine.forecast import PerfectForesight
from tests.engine.backtesting.conftest import Home

TRADES = ("position_kw", "imbalance_price", "bid_price", "ask_price")
CAPACITY = ("balancing_price.fcr_n", "balancing_price.fcr_d_up")
KNOWS = {"load_forecaster": PerfectForesight(), "pv_forecaster": PerfectForesight()}


@pytest.fixture(scope="module")
def trading(build_home: Callable[..., Home]) -> Any:
    home = build_home(days=4, least_price=0.02).on_markets(*TRADES, curtails=False)
    return home, home.backtest(strategy=Strategy(intraday=True, imbalance_kw=1))


@pytest.fixture(scope="module")
def holding(build_home: Callable[..., Home]) -> Any:
    home = build_home(days=3, least_price=0.02).on_markets(*CAPACITY)
    return home, home.backtest(strategy=Strategy(fcr_n_kw=2, fcr_d_up_kw=1, balancing_price_floor_eur_per_kw_h=0.01))


def test_what_is_delivered_besides_position_and_trade_is_settled_as_imbalance(trading: Any) -> None:
    home, result = trading
    table, paid = result.table, home.others
    beyond_kw = table["export_kw"] - table["import_kw"] - paid["position_kw"] - table["trade_kw"]
    assert table["imbalance_kw"].to_numpy() == pytest.approx(beyond_kw.to_numpy())
    quote = np.where(table["trade_kw"] > 0, paid["bid_price"], paid["ask_price"])
    trading_eur, imbalance_eur = table["trade_kw"] * quote, beyond_kw * paid["imbalance_price"]
    assert table["market_eur"].to_numpy() == pytest.approx((trading_eur + imbalance_eur).to_numpy())
    meter_eur = table["import_kw"] * table["import_price"] - table["export_kw"] * table["export_price"]
    wear_eur = table["discharge_kw"] * home.site.battery.wear_eur_per_kwh
    assert table["cost_eur"].to_numpy() == pytest.approx((meter_eur + wear_eur - table["market_eur"]).to_numpy())
    assert result.markets["trading_eur"] == pytest.approx(trading_eur.sum())
    assert result.markets["imbalance_eur"] == pytest.approx(imbalance_eur.sum())
    assert result.markets["imbalance_kwh"] == pytest.approx(beyond_kw.abs().sum())
    assert f"{trading_eur.sum():,.2f} EUR" in result.summary()
    assert abs(table["trade_kw"]).max() > 0.5


def test_who_plans_nothing_trades_nothing_and_pays_for_the_position_as_imbalance(trading: Any) -> None:
    home, result = trading
    net_kw = home.pv - home.load
    imbalance_eur = (net_kw - home.others["position_kw"]) * home.others["imbalance_price"]
    meter_eur = net_kw.clip(upper=0) * -0.03
    assert result.costs_eur["no battery"] == pytest.approx((meter_eur - imbalance_eur).sum())


def test_what_was_lost_adds_up_with_markets_too(trading: Any, holding: Any) -> None:
    for _, result in (trading, holding):
        lost = result.attribution
        assert lost.drop(columns="total_eur").sum(axis=1).to_numpy() == pytest.approx(lost["total_eur"].to_numpy())
        assert lost["total_eur"].sum() == pytest.approx(result.cost_eur)
        assert len(STEPS) == 4


def test_who_foresees_his_house_is_out_of_balance_only_as_he_wishes(build_home: Callable[..., Home]) -> None:
    home = build_home(days=3, least_price=0.02).on_markets(*TRADES, curtails=False)
    none = home.backtest(strategy=Strategy(intraday=True), modes=False, **KNOWS).table["imbalance_kw"]
    # A set-point too small to be worth a call is none.
    assert none.abs().max() < 0.051
    table = home.backtest(
        strategy=Strategy(intraday=True, imbalance_kw=1, imbalance_side="long", imbalance_from_hour=6),
        modes=False,
        **KNOWS,
    ).table
    local = table.index.tz_convert(home.site.timezone)
    assert table["imbalance_kw"].min() > -0.051
    assert table["imbalance_kw"].max() == pytest.approx(1, abs=0.051)
    assert table["imbalance_kw"][local.hour < 6].abs().max() < 0.051


def test_trades_earn_more_than_leaving_the_position_to_imbalance(build_home: Callable[..., Home]) -> None:
    home = build_home(days=5, least_price=0.02).on_markets(*TRADES)
    result = home.backtest(strategy=Strategy(intraday=True), **KNOWS)
    assert result.cost_eur < result.costs_eur["self-consumption rule"] < result.costs_eur["no battery"]


def test_capacity_is_paid_as_far_as_it_was_there(holding: Any) -> None:
    """Headroom is reckoned anew, for FCR-N and FCR-D up together, by the hour."""
    home, result = holding
    table, battery = result.table, home.site.battery
    fcr_n, fcr_d = table["fcr_n_kw"], table["fcr_d_up_kw"]
    soc = np.concatenate([[0.5], table["soc"]])
    least, most = np.minimum(soc[1:], soc[:-1]), np.maximum(soc[1:], soc[:-1])
    kwh_left = (least - battery.min_soc) * battery.capacity_kwh * battery.discharge_efficiency
    kwh_room = (battery.max_soc - most) * battery.capacity_kwh / battery.charge_efficiency
    drawn_kw = table["import_kw"] - table["export_kw"]
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = [
            (battery.max_discharge_kw - table["battery_kw"]) / (1.34 * fcr_n + fcr_d),
            (battery.max_charge_kw + table["battery_kw"]) / (1.34 * fcr_n + 0.2 * fcr_d),
            kwh_left / (fcr_n + fcr_d / 3),
            kwh_room / fcr_n,
            (home.site.grid.export_limit_kw + drawn_kw) / (1.34 * fcr_n + fcr_d),
        ]
    sold = fcr_n + fcr_d > 0
    there = np.clip(np.nanmin(shares, axis=0), 0, 1)[sold]
    assert table["backed"][sold].to_numpy() == pytest.approx(there, abs=1e-9)
    paid = fcr_n * home.others["balancing_price.fcr_n"] + fcr_d * home.others["balancing_price.fcr_d_up"]
    assert table["market_eur"].to_numpy() == pytest.approx((paid * table["backed"]).to_numpy())
    assert result.markets["balancing_eur"] == pytest.approx(table["market_eur"].sum())
    assert table["backed"][sold].mean() > 0.9
    assert 0.2 < sold.mean() < 1
    assert (table["mode"][fcr_n > 0] != "self_consumption").all()
    assert result.cost_eur >= result.costs_eur["perfect foresight"] - 1e-6


def test_capacity_is_sold_by_auction_and_for_no_less_than_the_floor(holding: Any) -> None:
    home, result = holding
    prices, table = home.others["balancing_price.fcr_n"], result.table
    assert (prices[table["fcr_n_kw"] > 0] >= 0.01).all()
    # Prices of the first days were told before the history began: whatever they are, it was too late to sell.
    too_late = home.prices["known_at"] <= home.load.index[0]
    assert too_late.any()
    assert (table["fcr_n_kw"][too_late] == 0).all()


def test_what_can_no_longer_be_sold_is_not_kept_free(build_home: Callable[..., Home]) -> None:
    home = build_home(days=2, least_price=0.02).on_markets("balancing_price.fcr_n", curtails=False)
    late = replace(home, prices=home.prices.assign(known_at=home.load.index[0]))
    result = late.backtest(strategy=Strategy(fcr_n_kw=2), modes=False)
    assert not result.table["fcr_n_kw"].any()
    free = replace(late, others={}).backtest(modes=False, futures=1)
    assert result.cost_eur == pytest.approx(free.cost_eur, abs=1e-3)


def test_capacity_that_was_sold_is_held_and_no_more_is_sold(build_home: Callable[..., Home]) -> None:
    names = "balancing_price.fcr_n", "balancing_sold_kw.fcr_n"
    home = build_home(days=2, least_price=0.02).on_markets(*names)
    result = home.backtest(strategy=Strategy(fcr_n_kw=2), **KNOWS)
    sold = home.others["balancing_sold_kw.fcr_n"]
    assert result.table["fcr_n_kw"].to_numpy() == pytest.approx(sold.to_numpy())
    assert result.markets["backed"] > 0.95
    free = replace(home, others={}).backtest(**KNOWS)
    soc = result.table["soc"]
    assert soc.min() > free.table["soc"].min()


def test_a_schedule_is_followed_where_missing_it_weighs_more_than_money(build_home: Callable[..., Home]) -> None:
    home = build_home(days=3, least_price=0.02).on_markets("schedule_kw", curtails=False)
    index = home.load.index
    wanted = pd.Series(np.where(index.hour % 2 == 0, 0.95, -1.1), index)  # losses made good
    home = replace(home, others={"schedule_kw": wanted})
    result = home.backtest(strategy=Strategy(follow="battery", follow_price_eur_per_kwh=5.0), modes=False)
    missed_kw = (result.table["battery_kw"] - wanted).abs()
    assert missed_kw.iloc[:24].max() < 0.1
    assert result.markets["schedule_deviation_kwh"] == pytest.approx(missed_kw.sum())
    little = home.backtest(strategy=Strategy(follow="battery", follow_price_eur_per_kwh=0.001))
    assert little.markets["schedule_deviation_kwh"] > 10 * result.markets["schedule_deviation_kwh"]


def test_carbon_weighs(build_home: Callable[..., Home]) -> None:
    home = build_home(days=6, least_price=0.02).on_markets("carbon_kg_per_kwh")

    def emitted_kg(weight: float) -> float:
        bare = home if weight else replace(home, others={})
        table = bare.backtest(strategy=Strategy(carbon_eur_per_kg=weight), futures=4).table
        return float((table["import_kw"] * home.others["carbon_kg_per_kwh"]).sum())

    assert emitted_kg(0.5) < 0.95 * emitted_kg(0.0)


def test_what_nobody_knows_is_taken_to_be_as_lately(build_home: Callable[..., Home]) -> None:
    """At one decision on the fourth day, by hand."""
    home = build_home(days=5).on_markets("imbalance_price", "bid_price", "position_kw", "balancing_price.fcr_n")
    reality, now = home.reality(), 80
    price, bid, position = (home.others[name].to_numpy() for name in ("imbalance_price", "bid_price", "position_kw"))

    def at(name: str) -> Any:
        return at_decisions(name, reality, np.array([now]), 36)[0]

    # An hour after its end: the interval two before the decision is the newest that is known.
    assert at("imbalance_price")[0] == pytest.approx(price[[8, 32, 56]].mean())
    assert at("imbalance_price")[22] == pytest.approx(price[[6, 30, 54, 78]].mean())
    assert at("imbalance_price")[23] == pytest.approx(price[[7, 31, 55]].mean())
    assert at("bid_price")[0] == bid[now]
    assert at("bid_price")[24] == pytest.approx(bid[[8, 32, 56, 80]].mean())
    told = (home.prices["known_at"] <= home.load.index[now]).to_numpy()[now : now + 36]
    assert at("position_kw")[told] == pytest.approx(position[now : now + 36][told])
    assert told.any()
    assert not told.all()
    later = now + np.flatnonzero(~told)
    assert at("position_kw")[~told] == pytest.approx(position[later - 24])


@pytest.mark.parametrize(
    ("names", "strategy", "field"),
    [
        (("position_kw",), Strategy(imbalance_kw=1), "imbalance_price"),
        (("position_kw", "bid_price", "ask_price"), Strategy(intraday=True), "imbalance_price"),
        (("imbalance_price", "bid_price"), Strategy(intraday=True), "ask_price"),
        (("schedule_kw",), Strategy(), "schedule_kw"),
        ((), Strategy(follow="grid", follow_price_eur_per_kwh=1), "schedule_kw"),
        (("balancing_price.fcr_n",), Strategy(fcr_d_up_kw=1), "balancing_price.fcr_n"),
        ((), Strategy(carbon_eur_per_kg=1), "strategy.carbon_eur_per_kg"),
    ],
)
def test_a_series_that_is_missing_or_not_asked_for_is_refused(
    twelve_days: Home, names: tuple[str, ...], strategy: Strategy, field: str
) -> None:
    with pytest.raises(InputError) as error:
        twelve_days.on_markets(*names).backtest(strategy=strategy)
    assert error.value.field == field


def test_a_gap_in_a_series_is_refused_by_its_place(twelve_days: Home) -> None:
    home = twelve_days.on_markets("schedule_kw")
    gap = home.others["schedule_kw"].where(np.arange(len(home.load)) != 40)
    with pytest.raises(InputError, match=f"^schedule_kw.*{re.escape(home.load.index[40].isoformat())}"):
        replace(home, others={"schedule_kw": gap}).backtest(
            strategy=Strategy(follow="grid", follow_price_eur_per_kwh=1)
        )


def test_capacity_of_a_site_without_local_control_is_refused(twelve_days: Home) -> None:
    home = twelve_days.on_markets("balancing_price.fcr_n")
    site = home.site.model_copy(update={"local_control": False})
    with pytest.raises(InputError, match=r"^strategy\.fcr_n_kw"):
        replace(home, site=site).backtest(strategy=Strategy(fcr_n_kw=1))
