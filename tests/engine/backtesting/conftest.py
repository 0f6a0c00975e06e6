"""A home that does not exist, with all that makes its history hard to plan for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import Battery, GridConnection, PvArray, Site, Strategy
from engine.backtesting.backtest import backtest
from engine.backtesting.reality import Reality
from engine.backtesting.result import BacktestResult
from engine.backtesting.rolling import Rolled, Rolling, run
from engine.forecast import PvRegression, SimilarDay
from engine.storage_kernels import Trace

ZONE = "Europe/Copenhagen"


@dataclass(frozen=True)
class Home:
    """A site and its history."""

    site: Site
    prices: pd.DataFrame
    load: pd.Series
    pv: pd.Series
    others: dict[str, pd.Series] = field(default_factory=dict)
    """Of markets, as `Reality.others`."""

    def reality(self) -> Reality:
        return Reality.read(self.prices, self.load, self.pv, timezone=self.site.timezone, others=self.others)

    def run(self, **changes: Any) -> Trace:
        """Roll through the history; as `Rolling`."""
        return self.rolled(**changes).trace

    def rolled(self, **changes: Any) -> Rolled:
        """The same with all that plans did."""
        how: dict[str, Any] = {
            "site": self.site,
            "strategy": Strategy(),
            "horizon": 36,
            "every": 1,
            "load_forecaster": SimilarDay(),
            "pv_forecaster": PvRegression(),
            "futures": 5,
        }
        return run(Rolling(**(how | changes)), self.reality(), 0.5)

    def backtest(self, **changes: Any) -> BacktestResult:
        how: dict[str, Any] = {"load_forecaster": SimilarDay(), "futures": 3, "yardsticks": False}
        for name, series in self.others.items():
            field, _, product = name.partition(".")
            how[field] = how.get(field, {}) | {product: series} if product else series
        return backtest(self.site, prices=self.prices, load=self.load, pv=self.pv, **(how | changes))

    def on_markets(self, *names: str, curtails: bool = True, seed: int = 7) -> Home:
        """The same with series of markets of these names, energy being paid for there and not at the meter."""
        rng, index = np.random.default_rng(seed), self.load.index
        spot = self.prices["export_price"]
        made = {
            "position_kw": pd.Series(np.where(index.hour > 16, 1.0, -1.0) * rng.uniform(0.5, 1.5, len(index)), index),
            "schedule_kw": pd.Series(np.where(index.hour > 16, -0.5, 1.0), index),
            "bid_price": spot - 0.01,
            "ask_price": spot + 0.01,
            "imbalance_price": spot * rng.uniform(0.2, 2.0, len(index)),
            "carbon_kg_per_kwh": pd.Series(rng.uniform(0, 0.8, len(index)), index),
            "balancing_price.fcr_n": pd.Series(rng.gamma(1, 0.03, len(index)), index),
            "balancing_price.fcr_d_up": pd.Series(rng.gamma(1, 0.02, len(index)), index),
            "balancing_sold_kw.fcr_n": pd.Series(rng.uniform(0, 1, len(index)), index),
        }
        prices = self.prices
        if "imbalance_price" in names:
            prices = prices.assign(import_price=0.03, export_price=0.0)
        site = self.site.model_copy(update={"local_control": True, "pv": PvArray(curtailable=curtails)})
        return replace(self, site=site, prices=prices, others={name: made[name] for name in names})


def _build_home(
    days: int = 12,
    seed: int = 1,
    step: str = "h",
    begin: str = "2024-05-01",
    least_price: float = -0.1,
    site: Site | None = None,
) -> Home:
    """Prices that fall below 0 at times and are known at an hour of their own, a spiky load, a cloudy sun."""
    rng = np.random.default_rng(seed)
    first = pd.Timestamp(begin, tz=ZONE)
    last = first + pd.DateOffset(days=days)
    index = pd.date_range(first, last, freq=step, inclusive="left").tz_convert("UTC")
    hour = np.asarray(index.tz_convert(ZONE).hour + index.tz_convert(ZONE).minute / 60)
    spot = 0.12 + 0.12 * np.cos((hour - 19) / 12 * np.pi) + rng.normal(0, 0.08, len(index))
    spot = np.maximum(spot, least_price)
    midnight = index.tz_convert(ZONE).normalize()
    prices = pd.DataFrame(
        {
            "import_price": spot + 0.08,
            "export_price": spot - 0.01,
            "known_at": midnight.tz_convert("UTC") - pd.to_timedelta(rng.integers(1, 9, 400)[midnight.day], "h"),
        },
        index,
    )
    load = 0.4 + 0.4 * (hour > 16) + rng.gamma(0.3, 2.0, len(index))
    pv = np.maximum(0.0, np.sin((hour - 6) / 12 * np.pi)) * 4 * rng.uniform(0.1, 1, len(index))
    battery = Battery(
        capacity_kwh=8,
        max_charge_kw=3,
        max_discharge_kw=4,
        charge_efficiency=0.94,
        discharge_efficiency=0.96,
        min_soc=0.1,
        wear_eur_per_kwh=0.01,
    )
    site = site or Site(
        battery=battery, grid=GridConnection(export_limit_kw=5), pv=PvArray(curtailable=True), timezone=ZONE
    )
    return Home(site, prices, pd.Series(load, index), pd.Series(pv, index))


@pytest.fixture(scope="session")
def build_home() -> Callable[..., Home]:
    return _build_home


@pytest.fixture(scope="session")
def twelve_days() -> Home:
    return _build_home()
