"""A decision leans on nothing that was not known when it was made: to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import DemandCharge, Strategy
from engine.backtesting.deals import Deals
from engine.forecast import GradientBoosting, PerfectForesight, Persistence, SeasonalNaive
from engine.storage_kernels import Trace

# What was decided, as against what came of it.
DECIDED = ("planned_kw", "curtailed_kw", "follows", "set_point_kw", "export_limit_kw", "worth")
# Shortly before and after prices are told, at night, and where a replan of three hours begins.
DECISIONS = (99, 165, 186, 207, 261)
CHARGE = DemandCharge(eur_per_kw=((0.0, 3.0),), period="day", largest_daily_peaks=1, measured_over_minutes=60)
WAYS: dict[str, dict[str, Any]] = {
    "many futures": {"futures": 6},
    "one future": {"futures": 1},
    "every three hours": {"futures": 4, "every": 3},
    "persistence": {"load_forecaster": Persistence(), "pv_forecaster": Persistence()},
    "boosting": {"load_forecaster": GradientBoosting(least_training_days=3)},
    "seasonal": {"load_forecaster": SeasonalNaive(), "modes": False},
    "a charge on the peak": {"charges": (CHARGE,)},
}
# Of what is not known with the prices: quotes as their interval begins, settlement prices an hour after its end.
KNOWN_AT: dict[str, Callable[[pd.DatetimeIndex], pd.DatetimeIndex]] = {
    "bid_price": lambda index: index,
    "ask_price": lambda index: index,
    "imbalance_price": lambda index: index + pd.Timedelta(hours=2),
}
MARKETS: dict[str, tuple[Strategy, tuple[str, ...]]] = {
    "imbalance": (Strategy(imbalance_kw=2), ("position_kw", "imbalance_price")),
    "trades": (
        Strategy(intraday=True, imbalance_kw=1),
        ("position_kw", "imbalance_price", "bid_price", "ask_price"),
    ),
    "schedule": (Strategy(follow="grid", follow_price_eur_per_kwh=0.3), ("schedule_kw",)),
    "carbon": (Strategy(carbon_eur_per_kg=0.2), ("carbon_kg_per_kwh",)),
    "capacity": (Strategy(fcr_n_kw=2, fcr_d_up_kw=1), ("balancing_price.fcr_n", "balancing_price.fcr_d_up")),
    "capacity sold": (Strategy(fcr_n_kw=1), ("balancing_price.fcr_n", "balancing_sold_kw.fcr_n")),
    "a budget": (Strategy(cycles_per_day=0.8, cycles_per_year=40), ()),
}


def with_another_future(home: Any, at: int) -> Any:
    """The same until the start of an interval: other loads and suns from it on, other prices where yet unknown."""
    rng = np.random.default_rng(at)
    later = np.arange(len(home.load)) >= at
    unknown = home.prices["known_at"] > home.load.index[at]
    prices = home.prices.copy()
    for name in ("import_price", "export_price"):
        prices.loc[unknown, name] = rng.uniform(-0.5, 2.0) - 0.1 * (name == "export_price")
    load, pv = (series.where(~later, rng.gamma(1, 5, len(series))) for series in (home.load, home.pv))
    others = {}
    for name, series in home.others.items():
        known_at = KNOWN_AT[name](series.index) if name in KNOWN_AT else home.prices["known_at"]
        others[name] = series.where(known_at <= series.index[at], rng.uniform(0.3, 0.8))
    if "bid_price" in others:
        others["ask_price"] = others["ask_price"].clip(lower=others["bid_price"])
    return replace(home, prices=prices, load=load, pv=pv, others=others)


def first_that_looks_ahead(home: Any, decisions: tuple[int, ...] = DECISIONS, **how: Any) -> int | None:
    found, every = home.rolled(**how), how.get("every", 1)
    for at in decisions:
        other = with_another_future(home, at).rolled(**how)
        # The decision's own orders and deals included.
        if not same(found.trace, other.trace, at + every) or not same_deals(found.deals, other.deals, at + every):
            return at
    return None


def same_deals(one: Deals, other: Deals, until: int) -> bool:
    pairs = [(sold, other.sold_kw[name]) for name, sold in one.sold_kw.items()]
    if one.trade_kw is not None and other.trade_kw is not None:
        pairs.append((one.trade_kw, other.trade_kw))
    return all(np.array_equal(mine[:until], its[:until]) for mine, its in pairs)


def same(one: Trace, other: Trace, until: int) -> bool:
    return all(np.array_equal(getattr(one, name)[:until], getattr(other, name)[:until]) for name in DECIDED)


@pytest.mark.parametrize("least_price", [-0.1, 0.02])
@pytest.mark.parametrize("way", WAYS)
def test_no_decision_knows_what_comes(build_home: Callable[..., Any], way: str, least_price: float) -> None:
    """Below 0 plans are not convex, and take another way through the kernel."""
    assert first_that_looks_ahead(build_home(least_price=least_price), **WAYS[way]) is None


@pytest.mark.parametrize(
    ("market", "curtails"),
    [(market, market not in ("schedule", "carbon")) for market in MARKETS] + [("imbalance", False), ("trades", False)],
)
def test_no_decision_knows_what_markets_will_pay(build_home: Callable[..., Any], market: str, curtails: bool) -> None:
    """With PV that can be curtailed plans are solved one by one, without the kernel plans most of them."""
    strategy, names = MARKETS[market]
    home = build_home(days=4, least_price=0.02).on_markets(*names, curtails=curtails)
    how = {"strategy": strategy, "horizon": 30, "every": 3, "load_forecaster": SeasonalNaive()}
    assert first_that_looks_ahead(home, (51, 60, 81), **how) is None


@pytest.mark.parametrize("name", ["bid_price", "imbalance_price", "schedule_kw", "balancing_price.fcr_n"])
def test_what_markets_told_is_used(build_home: Callable[..., Any], name: str) -> None:
    """Another figure that is known at a decision is another decision."""
    market = {"bid_price": "trades", "imbalance_price": "imbalance", "schedule_kw": "schedule"}.get(name, "capacity")
    strategy, names = MARKETS[market]
    home = build_home(days=3, least_price=0.02).on_markets(*names, curtails=False)
    told = home.others[name].copy()
    told.iloc[24:50] += -0.3 if name == "bid_price" else 0.3
    other = replace(home, others=home.others | {name: told})
    how = {"strategy": strategy, "horizon": 30, "every": 3}
    assert not same_deals(home.rolled(**how).deals, other.rolled(**how).deals, 72) or not same(
        home.run(**how), other.run(**how), 72
    )


def test_no_decision_knows_prices_that_are_told_after_the_fact(build_home: Callable[..., Any]) -> None:
    """As those of imbalance are: they are unknown to whoever learns from earlier prices, too."""
    home = build_home(least_price=0.02)
    late = np.random.default_rng(5).random(len(home.prices)) < 0.3
    told = home.prices["known_at"].where(~late, home.prices.index + pd.Timedelta(hours=30))
    assert first_that_looks_ahead(replace(home, prices=home.prices.assign(known_at=told)), futures=6) is None


@pytest.mark.parametrize("name", ["load_forecaster", "pv_forecaster"])
def test_the_search_finds_one_that_knows_what_comes(twelve_days: Any, name: str) -> None:
    assert first_that_looks_ahead(twelve_days, **{name: PerfectForesight()}) == DECISIONS[0]


def test_a_price_counts_from_the_moment_it_is_known_and_not_before(twelve_days: Any) -> None:
    """One day's dearest hour is told late: until then nothing is done about it, from then on it is."""
    prices = twelve_days.prices.copy()
    dear, told = prices.index[230], prices.index[224]
    prices.loc[dear, "known_at"] = told
    late = replace(twelve_days, prices=prices)
    prices = prices.copy()
    prices.loc[dear, ["import_price", "export_price"]] = [5.0, 4.9]
    dearer = replace(twelve_days, prices=prices)
    assert same(late.run(), dearer.run(), 224)
    assert not same(late.run(), dearer.run(), 230)
    # Known a night earlier, the same price is planned for earlier.
    early = prices.copy()
    early.loc[dear, "known_at"] = early.index[200]
    assert not same(replace(twelve_days, prices=early).run(), dearer.run(), 224)


def test_what_was_known_is_used(twelve_days: Any) -> None:
    """Another load in the hour before a decision is another plan."""
    load = twelve_days.load.copy()
    load.iloc[200] += 3.0
    assert not same(twelve_days.run(), replace(twelve_days, load=load).run(), 203)
