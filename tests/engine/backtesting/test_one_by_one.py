"""What the kernel cannot plan is solved plan by plan: the same where both can, budgets kept, power that falls."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from engine import Battery, DemandCharge, GridConnection, InputError, PvArray, Site, Strategy
from engine.backtesting import rolling
from engine.backtesting.result import BacktestResult
from engine.forecast import PerfectForesight, Persistence, SimilarDay
from tests.engine.backtesting.conftest import Home

TAPER = ((0.0, 4.0), (0.6, 4.0), (1.0, 0.5))
FADE = ((0.0, 0.3), (0.3, 5.0), (1.0, 5.0))


def a_battery(**changes: Any) -> Battery:
    figures = {"capacity_kwh": 6, "max_charge_kw": 3, "max_discharge_kw": 4, "charge_efficiency": 0.94}
    return Battery(**figures | {"discharge_efficiency": 0.96, "min_soc": 0.1, "wear_eur_per_kwh": 0.01} | changes)


@st.composite
def sites(draw: Any) -> Site:
    battery = a_battery(
        max_charge_kw=draw(st.sampled_from([1.0, 4.0])),
        charge_efficiency=draw(st.sampled_from([0.9, 1.0])),
        standing_loss_per_h=draw(st.sampled_from([0.0, 0.01])),
        wear_eur_per_kwh=draw(st.sampled_from([0.0, 0.03])),
    )
    limit_kw = draw(st.none() | st.sampled_from([0.0, 3.0]))
    pv = PvArray(curtailable=limit_kw is not None or draw(st.booleans()))
    return Site(battery=battery, grid=GridConnection(export_limit_kw=limit_kw), pv=pv, timezone="Europe/Copenhagen")


WISHES = (
    Strategy(),
    Strategy(reserve_soc=0.3, reserve_breach_price=0.2),
    Strategy(battery_export="never", throughput_price_eur_per_kwh=0.02),
    Strategy(grid_charging=False),
    Strategy(export_floor_eur_per_kwh=0.05, export_guard="hold_battery"),
    Strategy(import_target_kw=1.5),
    Strategy(objective="self_consumption"),
)
CHARGE = DemandCharge(eur_per_kw=((0.0, 1.5),), period="day", measured_over_minutes=60)


def both_ways(home: Home, **how: Any) -> tuple[BacktestResult, BacktestResult]:
    """By the kernel, and one by one although it could."""
    fast = home.backtest(**how)
    assert not fast.rolled.one_by_one
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rolling, "reason", lambda *_: "asked")
        return fast, home.backtest(**how)


@settings(
    max_examples=25, deadline=None, phases=[Phase.generate], suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    site=sites(),
    seed=st.integers(0, 10**6),
    least_price=st.sampled_from([-0.3, 0.05]),
    wish=st.sampled_from(WISHES),
    how=st.fixed_dictionaries(
        {
            "load_forecaster": st.sampled_from([Persistence(), SimilarDay(), PerfectForesight()]),
            "replan_every": st.sampled_from(["1h", "3h"]),
            "horizon": st.sampled_from(["12h", "36h"]),
            "modes": st.booleans(),
        }
    ),
)
def test_one_by_one_is_the_same_where_the_kernel_can_plan(
    build_home: Callable[..., Home],
    site: Site,
    seed: int,
    least_price: float,
    wish: Strategy,
    how: dict[str, Any],
) -> None:
    home = build_home(days=4, seed=seed, least_price=least_price, site=site)
    how = how | {"strategy": wish, "futures": 1}
    fast, slow = both_ways(home, **how)
    assert "because asked" in slow.summary()
    assert slow.cost_eur == pytest.approx(fast.cost_eur, abs=1e-9)
    for name in fast.trace._fields:
        if name != "worth":  # between two slopes any will do
            assert getattr(slow.trace, name) == pytest.approx(getattr(fast.trace, name), abs=1e-7), name


@pytest.mark.parametrize(
    ("why", "strategy", "battery"),
    [
        ("budget", Strategy(cycles_per_day=1), {}),
        ("budget", Strategy(warranty_throughput_mwh=20, warranty_years=10), {}),
        ("state of charge", Strategy(), {"charge_kw_at_soc": TAPER}),
        ("smoother", Strategy(prefer="smoother_power"), {}),
        ("curtailed", Strategy(import_target_kw=1, import_target_price_eur_per_kwh=0.1), {}),
    ],
)
def test_the_result_says_why_plans_were_solved_one_by_one(
    build_home: Callable[..., Home], why: str, strategy: Strategy, battery: dict[str, Any]
) -> None:
    site = Site(battery=a_battery(**battery), pv=PvArray(curtailable=True))
    result = build_home(days=1, site=site).backtest(strategy=strategy, futures=1)
    assert why in result.rolled.one_by_one
    assert f"one by one because {result.rolled.one_by_one}" in result.summary()


def cycles(home: Home, result: Any, by: str) -> pd.Series:
    """Full cycles by local day or year, by the battery's own counter."""
    battery = home.site.battery
    taken = result.trace.discharged / battery.discharge_efficiency / battery.capacity_kwh
    local = result.reality.index.tz_convert(home.site.timezone)
    return pd.Series(taken).groupby(local.date if by == "day" else local.year).sum()


@pytest.mark.parametrize("modes", [True, False])
def test_a_budget_of_a_day_holds_but_for_what_one_interval_can_take(
    build_home: Callable[..., Home], modes: bool
) -> None:
    home = build_home(days=5, seed=4, begin="2024-03-29")  # the clock changes on the way
    result = home.backtest(strategy=Strategy(cycles_per_day=0.6), modes=modes)
    battery, by_day = home.site.battery, cycles(home, result, "day")
    once = battery.max_discharge_kw * result.reality.step_h / battery.discharge_efficiency / battery.capacity_kwh
    assert by_day.max() <= 0.6 + (once if modes else 1e-6)
    assert by_day.median() == pytest.approx(0.6, abs=0.05)  # it binds: without it there would be more
    assert cycles(home, home.backtest(futures=1), "day").median() > 1.0


def test_a_budget_of_a_year_begins_anew_with_the_local_year(build_home: Callable[..., Home]) -> None:
    home = build_home(days=6, begin="2024-12-29")
    strategy = Strategy(cycles_per_year=1.5, cycles_this_year_so_far=0.8)
    result = home.backtest(strategy=strategy, modes=False)
    by_year = cycles(home, result, "year")
    assert by_year[2024] == pytest.approx(0.7, abs=1e-6)
    assert by_year[2025] == pytest.approx(1.5, abs=1e-6)


def test_what_was_used_today_before_the_history_counts(build_home: Callable[..., Home]) -> None:
    home = build_home(days=3, seed=2)
    result = home.backtest(strategy=Strategy(cycles_per_day=0.6, cycles_today_so_far=0.5), modes=False)
    by_day = cycles(home, result, "day")
    assert by_day.iloc[0] == pytest.approx(0.1, abs=1e-6)
    assert by_day.iloc[1:].tolist() == pytest.approx([0.6, 0.6], abs=1e-6)


def test_what_a_warranty_leaves_is_spread_over_what_is_left_of_it(build_home: Callable[..., Home]) -> None:
    """Ten days before its end, 20 kWh of it left: each day may use its part of what the days before left over."""
    home = build_home(days=4, seed=2)
    second = home.load.index.tz_convert(home.site.timezone).day == 2
    # On the second day nothing can be earned.
    flat = home.prices.assign(
        **{name: home.prices[name].where(~second, 0.0) for name in ("import_price", "export_price")}
    )
    home = replace(home, prices=flat, load=home.load.where(~second, 0.0), pv=home.pv.where(~second, 0.0))
    left_days, left_kwh = 10, 20.0
    strategy = Strategy(
        warranty_throughput_mwh=30,
        warranty_years=10,
        warranty_used_mwh=30 - left_kwh / 1e3,
        warranty_elapsed_years=10 - left_days / 365.25,
    )
    by_day = cycles(home, home.backtest(strategy=strategy, modes=False), "day") * home.site.battery.capacity_kwh
    for used, kwh in enumerate(by_day):
        assert kwh <= left_kwh / (left_days - used) + 1e-6
        left_kwh -= kwh
        if used != 1:
            assert kwh > 1.9
    assert by_day.iloc[2] > 2.1


def test_a_warranty_that_ends_on_the_way_binds_no_longer(build_home: Callable[..., Home]) -> None:
    home = build_home(days=4, seed=2)
    strategy = Strategy(
        warranty_throughput_mwh=30,
        warranty_years=10,
        warranty_used_mwh=30 - 2e-3,
        warranty_elapsed_years=10 - 2 / 365.25,
    )
    by_day = cycles(home, home.backtest(strategy=strategy, modes=False), "day") * home.site.battery.capacity_kwh
    assert by_day.iloc[:2].sum() <= 2.0 + 1e-6
    assert by_day.iloc[2:].min() > 4.0


@pytest.mark.parametrize(
    ("strategy", "battery"),
    [
        (Strategy(cycles_per_day=0.7), {}),
        (Strategy(cycles_per_day=0.7), {"charge_kw_at_soc": TAPER, "discharge_kw_at_soc": FADE}),
        (Strategy(cycles_per_year=2.5), {}),
        (Strategy(warranty_throughput_mwh=15, warranty_years=10), {}),
        (Strategy(), {"charge_kw_at_soc": TAPER}),
        (Strategy(), {"discharge_kw_at_soc": FADE}),
    ],
)
@pytest.mark.parametrize(("least_price", "knows"), [(-0.1, False), (0.02, True)])
def test_perfect_foresight_is_never_beaten(
    build_home: Callable[..., Home], strategy: Strategy, battery: dict[str, Any], least_price: float, knows: bool
) -> None:
    site = Site(battery=a_battery(**battery), pv=PvArray(curtailable=True), timezone="Europe/Copenhagen")
    home = build_home(days=3, seed=5, least_price=least_price, site=site)
    forecasters = {"load_forecaster": PerfectForesight(), "pv_forecaster": PerfectForesight()} if knows else {}
    result = home.backtest(strategy=strategy, horizon="24h", replan_every="2h", **forecasters)
    for name in ("no battery", "acted", "metered"):
        assert result.costs_eur[name] >= result.costs_eur["perfect foresight"] - 1e-6, name


@pytest.mark.parametrize(
    ("strategy", "battery"),
    [(Strategy(cycles_per_day=0.1), {}), (Strategy(), {"charge_kw_at_soc": ((0.0, 4.0), (0.2, 4.0), (1.0, 0.2))})],
)
def test_nor_by_a_battery_that_does_within_an_interval_what_no_plan_may(
    build_home: Callable[..., Home], strategy: Strategy, battery: dict[str, Any]
) -> None:
    """Where nothing is better than to follow the house by the minute."""
    site = Site(battery=a_battery(**battery), pv=PvArray(curtailable=True), timezone="Europe/Copenhagen")
    home = build_home(days=3, seed=5, site=site)
    home = replace(home, prices=home.prices.assign(import_price=0.3, export_price=0.05))
    if strategy.budgeted:
        # On the first day nobody expects a load; who follows it in its dear hour takes more than the day may.
        dear = home.load.index.tz_convert(home.site.timezone).hour == 0
        prices = home.prices.assign(import_price=np.where(dear, 0.6, 0.3))
        home = replace(home, prices=prices, load=home.load * 0 + 0.7, pv=home.pv * 0)
    result = home.backtest(strategy=strategy)
    assert result.cost_eur >= result.costs_eur["perfect foresight"] - 1e-6
    if not strategy.budgeted:
        assert result.costs_eur["self-consumption rule"] >= result.costs_eur["perfect foresight"] - 1e-6


def test_power_that_falls_with_the_state_of_charge_is_planned_for(build_home: Callable[..., Home]) -> None:
    """Plans that know of it are carried out to the letter, others not."""
    tapered = Site(battery=a_battery(charge_kw_at_soc=TAPER), pv=PvArray(curtailable=True))
    home = build_home(days=5, site=tapered)
    result = home.backtest(load_forecaster=PerfectForesight(), pv_forecaster=PerfectForesight(), modes=False)
    missed = np.abs(result.table["battery_kw"] - result.table["planned_kw"])
    assert missed[np.abs(result.table["planned_kw"]) > 0.05].max() < 0.1


def test_plans_with_too_many_pieces_are_counted(
    build_home: Callable[..., Home], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = build_home(days=2, least_price=-0.5)
    assert home.backtest(futures=1).rolled.too_many_pieces == 0
    monkeypatch.setattr(rolling, "MOST_VALUE_PIECES", 3)
    result = home.backtest(futures=1)
    assert result.rolled.too_many_pieces > 0
    assert f"{result.rolled.too_many_pieces} of {result.plans} plans had too many pieces" in result.summary()


def test_an_export_floor_goes_by_the_prices_of_each_decision(build_home: Callable[..., Home]) -> None:
    home = build_home(days=6)
    result = home.backtest(strategy=Strategy(export_floor_eur_per_kwh=0.1), futures=1)
    table = result.table
    below = table["export_price"] < 0.1
    assert 0.1 < below.mean() < 0.9
    # On the first day nobody expects the sun. At night a set-point may sell what the house takes less than expected.
    sunny = table["pv_kw"] + table["curtailment_kw"] > 0.1
    assert table["export_kw"].iloc[24:][(below & sunny).iloc[24:]].max() < 0.06
    assert table["export_kw"][~below].max() > 1


def test_a_budget_too_small_for_one_cycle_leaves_the_battery_alone(build_home: Callable[..., Home]) -> None:
    home = build_home(days=2)
    result = home.backtest(strategy=Strategy(cycles_per_day=0), modes=True)
    assert math.fsum(result.trace.discharged) == pytest.approx(0, abs=1e-9)


def test_a_charge_on_peaks_is_kept_one_by_one_too(build_home: Callable[..., Home]) -> None:
    home = build_home(days=4)
    fast, slow = both_ways(home, demand_charges=(CHARGE,))
    assert slow.cost_eur == pytest.approx(fast.cost_eur, rel=1e-6)
    result = home.backtest(strategy=Strategy(cycles_per_day=1.0), demand_charges=(CHARGE,))
    assert result.fees_eur["metered"] < result.fees_eur["no battery"]


def test_a_position_with_a_charge_on_peaks_is_refused(build_home: Callable[..., Home]) -> None:
    home = build_home(days=2)
    with pytest.raises(InputError, match=r"^demand_charges"):
        replace(home).backtest(
            strategy=Strategy(imbalance_kw=1), demand_charges=(CHARGE,), imbalance_price=home.prices["export_price"]
        )
