"""Whoever plans, on whatever he knew: nobody does better than the optimum of what really was."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine import Battery, DemandCharge, GridConnection, PvArray, Site, Strategy
from engine.forecast import PerfectForesight, Persistence, PvRegression, SimilarDay

# What was planned or ordered, taken at its word, may sell more than the connection lets through.
REAL = ("no battery", "self-consumption rule", "acted", "metered")
FORECASTERS = st.sampled_from([Persistence(), SimilarDay(), PerfectForesight()])


@st.composite
def sites(draw: Any) -> Site:
    # No standing loss: a minute knows it finer than an interval does.
    battery = Battery(
        capacity_kwh=draw(st.sampled_from([2.0, 9.0])),
        max_charge_kw=draw(st.sampled_from([1.0, 4.0])),
        max_discharge_kw=draw(st.sampled_from([0.8, 5.0])),
        charge_efficiency=draw(st.sampled_from([0.9, 1.0])),
        discharge_efficiency=draw(st.sampled_from([0.92, 1.0])),
        min_soc=draw(st.sampled_from([0.0, 0.2])),
        wear_eur_per_kwh=draw(st.sampled_from([0.0, 0.03])),
    )
    limit_kw = draw(st.none() | st.sampled_from([0.0, 3.0]))
    curtailable = limit_kw is not None or draw(st.booleans())
    return Site(battery=battery, grid=GridConnection(export_limit_kw=limit_kw), pv=PvArray(curtailable=curtailable))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    site=sites(),
    seed=st.integers(0, 10**6),
    least_price=st.sampled_from([-0.4, -0.05, 0.05]),
    sells_dearer=st.booleans(),
    how=st.fixed_dictionaries(
        {
            "load_forecaster": FORECASTERS,
            "pv_forecaster": st.sampled_from([Persistence(), PvRegression(), PerfectForesight()]),
            "replan_every": st.sampled_from(["1h", "2h", "5h"]),
            "horizon": st.sampled_from(["12h", "36h"]),
            "futures": st.sampled_from([1, 4]),
            "modes": st.booleans(),
        }
    ),
)
def test_perfect_foresight_is_never_beaten(
    build_home: Callable[..., Any], site: Site, seed: int, least_price: float, sells_dearer: bool, how: dict[str, Any]
) -> None:
    home = build_home(days=5, seed=seed, least_price=least_price, site=site)
    if sells_dearer:
        home.prices["export_price"] = home.prices["import_price"] + 0.02
    costs = home.backtest(**how).costs_eur
    for name in REAL:
        assert costs[name] >= costs["perfect foresight"] - 1e-6, name


@pytest.mark.parametrize("strategy", [Strategy(), Strategy(grid_charging=False), Strategy(battery_export="never")])
@pytest.mark.parametrize("futures", [1, 5])
def test_nor_where_a_strategy_forbids_or_a_peak_is_charged(
    build_home: Callable[..., Any], strategy: Strategy, futures: int
) -> None:
    home = build_home(days=6)
    charge = DemandCharge(eur_per_kw=((0.0, 1.5),), period="day", measured_over_minutes=60)
    charges = (charge,) if strategy == Strategy() else ()
    result = home.backtest(strategy=strategy, demand_charges=charges, futures=futures)
    assert result.costs_eur["perfect foresight"] <= result.cost_eur + 1e-6
    assert result.saved_eur > 0


@pytest.mark.parametrize("futures", [1, 16])
def test_who_knows_everything_comes_close(twelve_days: Any, futures: int) -> None:
    """Prices of the day after tomorrow are all that he does not know."""
    knowing = {"load_forecaster": PerfectForesight(), "pv_forecaster": PerfectForesight()}
    assert twelve_days.backtest(**knowing, futures=futures).capture_rate() > 0.93


def test_many_futures_earn_more_than_the_expected_one_alone(build_home: Callable[..., Any]) -> None:
    home = build_home(days=90, seed=3, least_price=0.02)
    alone, many = (home.backtest(futures=futures).capture_rate() for futures in (1, 16))
    assert many > alone + 0.01
