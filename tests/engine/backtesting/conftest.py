"""A home that does not exist, with all that makes its history hard to plan for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import Battery, GridConnection, PvArray, Site, Strategy
from engine.backtesting.backtest import backtest
from engine.backtesting.reality import Reality
from engine.backtesting.result import BacktestResult
from engine.backtesting.rolling import Rolling, run
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

    def reality(self) -> Reality:
        return Reality.read(self.prices, self.load, self.pv, timezone=self.site.timezone)

    def run(self, **changes: Any) -> Trace:
        """Roll through the history; as `Rolling`."""
        how: dict[str, Any] = {
            "site": self.site,
            "strategy": Strategy(),
            "horizon": 36,
            "every": 1,
            "load_forecaster": SimilarDay(),
            "pv_forecaster": PvRegression(),
            "futures": 5,
        }
        return run(Rolling(**(how | changes)), self.reality(), 0.5).trace

    def backtest(self, **changes: Any) -> BacktestResult:
        how: dict[str, Any] = {"load_forecaster": SimilarDay(), "futures": 3, "yardsticks": False}
        return backtest(self.site, prices=self.prices, load=self.load, pv=self.pv, **(how | changes))


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
