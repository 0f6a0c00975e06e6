"""A house and an array that do not exist, with all that makes forecasting hard; whatever forecasts them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine.forecast import (
    Forecaster,
    GradientBoosting,
    Observed,
    Persistence,
    PvPhysical,
    PvRegression,
    SeasonalNaive,
    SimilarDay,
    WithLatest,
    WithQuantiles,
)

PLACE = {"timezone": "Europe/Copenhagen", "latitude": 55.7, "longitude": 12.6}
FORECASTERS: dict[str, Forecaster] = {
    "persistence": Persistence(),
    "seasonal by day": SeasonalNaive("day"),
    "seasonal by week": SeasonalNaive(),
    "similar day": SimilarDay(),
    "boosting": GradientBoosting(least_training_days=14),
    "PV regression": PvRegression(),
    "PV physical": PvPhysical(),
    "latest": WithLatest(SimilarDay()),
    "quantiles": WithQuantiles(SimilarDay(), (0.1, 0.5, 0.9)),
    "latest quantiles": WithLatest(WithQuantiles(SimilarDay(), (0.1, 0.5, 0.9))),
    "PV quantiles": WithQuantiles(PvPhysical(), (0.1, 0.5, 0.9), zero_is_certain=True),
}
OF_PV = {"PV regression", "PV physical", "PV quantiles"}


def _index(days: int, step: str) -> pd.DatetimeIndex:
    first = pd.Timestamp("2024-02-01", tz="UTC")
    return pd.date_range(first, first + pd.Timedelta(days=days), freq=step, inclusive="left", unit="ns")


def _weather(index: pd.DatetimeIndex, rng: np.random.Generator) -> pd.DataFrame:
    """Clouds that come and go in hours over a sun that is Haurwitz's."""
    import pvlib

    middle = index + (index[1] - index[0]) / 2
    zenith = pvlib.solarposition.get_solarposition(middle, PLACE["latitude"], PLACE["longitude"])["apparent_zenith"]
    clear = pvlib.clearsky.haurwitz(zenith)["ghi"].to_numpy()
    clouds = pd.Series(rng.uniform(0, 1, len(index))).ewm(halflife=6).mean().to_numpy()
    temperature = 8 + 6 * np.sin(np.arange(len(index)) / len(index) * 9) + rng.normal(0, 1, len(index))
    return pd.DataFrame({"temperature_c": temperature, "ghi_w_per_m2": clear * (1.3 - clouds).clip(0.1, 1)}, index)


def _house(days: int = 101, step: str = "h", seed: int = 1) -> Observed:
    """A load with mornings, evenings, weekends, heating and moods; the clock is put forward on 31 March."""
    rng, index = np.random.default_rng(seed), _index(days, step)
    weather, wall = _weather(index, rng), index.tz_convert(PLACE["timezone"])
    hour, weekend = wall.hour + wall.minute / 60, wall.day_of_week >= 5
    shape = 0.4 + np.exp(-((hour - 19) ** 2) / 6) + 0.7 * np.exp(-((hour - np.where(weekend, 10, 7)) ** 2) / 3)
    # Moods of hours.
    mood = pd.Series(rng.normal(0, 0.3, len(index))).ewm(halflife=3).mean().to_numpy()
    values = (shape + 0.03 * (18 - weather["temperature_c"]) + 2 * mood + rng.gamma(1, 0.1, len(index))).clip(0.05)
    return Observed(pd.Series(values.to_numpy(), index), weather=weather, **PLACE)


def _array(days: int = 101, step: str = "h", seed: int = 2) -> Observed:
    """5 kWp to the south-east at 35 degrees, by pvlib's own chain."""
    import pvlib

    rng, index = np.random.default_rng(seed), _index(days, step)
    weather = _weather(index, rng)
    sun = pvlib.solarposition.get_solarposition(
        index + (index[1] - index[0]) / 2, PLACE["latitude"], PLACE["longitude"]
    ).set_index(index)
    ghi = weather["ghi_w_per_m2"]
    parts = pvlib.irradiance.erbs(ghi, sun["zenith"], index.day_of_year.to_numpy())
    plane = pvlib.irradiance.get_total_irradiance(
        35, 135, sun["apparent_zenith"], sun["azimuth"], parts["dni"], ghi, parts["dhi"]
    )
    values = (5 * plane["poa_global"].fillna(0.0) / 1000).where(sun["apparent_elevation"] > 0, 0.0)
    return Observed(values, weather=weather, **PLACE)


@pytest.fixture(scope="session")
def house() -> Callable[..., Observed]:
    return _house


@pytest.fixture(scope="session")
def array() -> Callable[..., Observed]:
    return _array


@pytest.fixture(params=FORECASTERS)
def forecaster(request: pytest.FixtureRequest) -> Forecaster:
    """Each forecaster, but the one that knows the truth."""
    return FORECASTERS[request.param]


@pytest.fixture(scope="session")
def its_own() -> Callable[[Forecaster], Observed]:
    """What a forecaster is made for, with a gap and a stretch that says nothing: a load, or a PV power."""
    observed = {True: _worn(_array()), False: _worn(_house())}
    return lambda forecaster: observed[any(FORECASTERS[name] is forecaster for name in OF_PV)]


def _worn(observed: Observed) -> Observed:
    values = observed.values.copy()
    values.iloc[1500:1530] = np.nan
    excluded = pd.Series(False, values.index)
    excluded.iloc[1200:1260] = True
    return replace(observed, values=values, excluded=excluded)
