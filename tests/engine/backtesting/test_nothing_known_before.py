"""A decision leans on nothing that was not known when it was made: to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import DemandCharge
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


def with_another_future(home: Any, at: int) -> Any:
    """The same until the start of an interval: other loads and suns from it on, other prices where yet unknown."""
    rng = np.random.default_rng(at)
    later = np.arange(len(home.load)) >= at
    unknown = home.prices["known_at"] > home.load.index[at]
    prices = home.prices.copy()
    for name in ("import_price", "export_price"):
        prices.loc[unknown, name] = rng.uniform(-0.5, 2.0) - 0.1 * (name == "export_price")
    load, pv = (series.where(~later, rng.gamma(1, 5, len(series))) for series in (home.load, home.pv))
    return replace(home, prices=prices, load=load, pv=pv)


def first_that_looks_ahead(home: Any, **how: Any) -> int | None:
    trace, every = home.run(**how), how.get("every", 1)
    for at in DECISIONS:
        other = with_another_future(home, at).run(**how)
        # The decision's own orders included.
        if not same(trace, other, at + every):
            return at
    return None


def same(one: Trace, other: Trace, until: int) -> bool:
    return all(np.array_equal(getattr(one, name)[:until], getattr(other, name)[:until]) for name in DECIDED)


@pytest.mark.parametrize("least_price", [-0.1, 0.02])
@pytest.mark.parametrize("way", WAYS)
def test_no_decision_knows_what_comes(build_home: Callable[..., Any], way: str, least_price: float) -> None:
    """Below 0 plans are not convex, and take another way through the kernel."""
    assert first_that_looks_ahead(build_home(least_price=least_price), **WAYS[way]) is None


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
