"""What forecasters that learn have learnt: of the house, of the array, of their own errors."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine import InputError, TidewattError
from engine.forecast import (
    Forecaster,
    GradientBoosting,
    Observed,
    PerfectForesight,
    Persistence,
    PvPhysical,
    PvRegression,
    SimilarDay,
    WithQuantiles,
)

STEPS = 36


def mae_kw(forecaster: Forecaster, observed: Observed, decisions: pd.DatetimeIndex, steps: int = STEPS) -> float:
    told, truth = (of.forecast(observed, decisions, steps) for of in (forecaster, PerfectForesight()))
    return float(np.abs(told.mean - truth.mean).mean())


@pytest.mark.parametrize("forecaster", [SimilarDay(), GradientBoosting()], ids=lambda f: f.name)
def test_a_load_is_forecast_better_than_by_the_day_before(
    forecaster: Forecaster, house: Callable[..., Observed]
) -> None:
    observed = house()
    decisions = observed.index[60 * 24 : -48 : 5]
    assert mae_kw(forecaster, observed, decisions) < 0.75 * mae_kw(Persistence(), observed, decisions)


@pytest.mark.parametrize("forecaster", [SimilarDay(), GradientBoosting()], ids=lambda f: f.name)
def test_the_weather_and_the_last_hours_count(forecaster: Forecaster, house: Callable[..., Observed]) -> None:
    observed = house()
    decisions = observed.index[60 * 24 : -48 : 5]
    assert mae_kw(forecaster, observed, decisions) < mae_kw(forecaster, replace(observed, weather=None), decisions)
    late = replace(observed, delay=pd.Timedelta(hours=12))
    assert mae_kw(forecaster, observed, decisions, 3) < 0.95 * mae_kw(forecaster, late, decisions, 3)


@pytest.mark.parametrize("forecaster", [PvPhysical(), PvRegression()], ids=lambda f: f.name)
def test_an_array_under_a_known_irradiance_is_forecast_closely(
    forecaster: Forecaster, array: Callable[..., Observed]
) -> None:
    observed = array()
    decisions = observed.index[60 * 24 : -48 : 5]
    assert mae_kw(forecaster, observed, decisions) < 0.12 * observed.values.iloc[60 * 24 :].mean()
    blind = replace(observed, weather=None)
    assert mae_kw(forecaster, blind, decisions) < 0.95 * mae_kw(Persistence(), blind, decisions)


def elevation(times: pd.DatetimeIndex, latitude: float, longitude: float) -> np.ndarray:
    """The sun over the horizon to about half a degree, by Cooper's declination [degrees]."""
    day, hour = times.day_of_year.to_numpy(), (times.hour + times.minute / 60).to_numpy()
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + day) / 365)
    b = 2 * np.pi * (day - 81) / 364
    solar_hour = hour + longitude / 15 + (9.87 * np.sin(2 * b) - 7.53 * np.cos(b) - 1.5 * np.sin(b)) / 60
    high = np.sin(np.radians(latitude)) * np.sin(declination)
    high += np.cos(np.radians(latitude)) * np.cos(declination) * np.cos(np.pi * (solar_hour - 12) / 12)
    return np.degrees(np.arcsin(high))


@pytest.mark.parametrize("weather", [True, False])
@pytest.mark.parametrize("forecaster", [PvPhysical(), PvRegression()], ids=lambda f: f.name)
def test_there_is_no_power_at_night(forecaster: Forecaster, array: Callable[..., Observed], weather: bool) -> None:
    observed = array(step="30min") if weather else replace(array(step="30min"), weather=None)
    assert observed.latitude is not None
    assert observed.longitude is not None
    decisions = observed.index[50 * 48 : -96 : 11]
    told = WithQuantiles(forecaster, (0.1, 0.5, 0.99), zero_is_certain=True).forecast(observed, decisions, 72)
    assert told.quantiles is not None
    starts = pd.DatetimeIndex(np.concatenate([told.row(number).index.asi8 for number in range(len(told))]), tz="UTC")
    along = [starts + pd.Timedelta(minutes=minutes) for minutes in range(0, 31, 10)]
    highest = np.max([elevation(at, observed.latitude, observed.longitude) for at in along], axis=0)
    highest = highest.reshape(told.mean.shape)
    night = highest < -1.5
    assert 0.2 < night.mean() < 0.8
    assert (told.mean[night] == 0).all()
    assert (told.quantiles[:, night] == 0).all()
    assert (told.mean >= 0).all()
    assert (told.mean[highest > 5] > 0).all()


def test_quantiles_rise_and_hold_what_they_say(house: Callable[..., Observed]) -> None:
    observed, levels = house(300), (0.05, 0.25, 0.5, 0.75, 0.95)
    decisions = observed.index[80 * 24 : -48 : 7]
    told = WithQuantiles(SimilarDay(), levels).forecast(observed, decisions, STEPS)
    truth = PerfectForesight().forecast(observed, decisions, STEPS)
    assert told.quantiles is not None
    assert (np.diff(told.quantiles, axis=0) >= 0).all()
    assert (told.quantiles >= 0).all()
    assert told.row(3, 0.95).equals(pd.Series(told.quantiles[-1, 3], told.row(3).index))
    below = (truth.mean <= told.quantiles).mean(axis=(1, 2))
    assert below == pytest.approx(levels, abs=0.04)
    # At each time of day too, not only on the whole.
    hour = (decisions.hour.to_numpy()[:, None] + np.arange(STEPS)) % 24
    for part in range(0, 24, 6):
        some = (hour >= part) & (hour < part + 6)
        assert (truth.mean <= told.quantiles)[:, some].mean(axis=1) == pytest.approx(levels, abs=0.07)


def test_quantiles_leave_the_mean_alone_and_wait_for_errors(house: Callable[..., Observed]) -> None:
    observed = house()
    decisions = observed.index[[10 * 24, 60 * 24]]
    told = WithQuantiles(Persistence()).forecast(observed, decisions, STEPS)
    assert told.quantiles is not None
    assert np.array_equal(told.mean, Persistence().forecast(observed, decisions, STEPS).mean)
    assert np.isnan(told.quantiles[:, 0]).any()
    assert np.isfinite(told.quantiles[:, 1]).all()


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.0, 0.5), (0.5, 1.0), (0.5, 0.5)])
def test_levels_that_do_not_rise_are_refused(levels: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match=r"levels: .* do not rise between 0 and 1"):
        WithQuantiles(Persistence(), levels)


def test_the_sun_needs_coordinates(array: Callable[..., Observed]) -> None:
    observed = replace(array(), longitude=None)
    with pytest.raises(InputError, match="latitude: the coordinates are missing; give latitude and longitude"):
        PvPhysical().forecast(observed, observed.index[[500]], STEPS)


@pytest.mark.parametrize(
    ("forecaster", "module", "library"),
    [(GradientBoosting(), "sklearn.ensemble", "sklearn"), (PvPhysical(), "pvlib.solarposition", "pvlib")],
    ids=["trees", "sun"],
)
def test_a_missing_library_is_named_with_the_extra_that_brings_it(
    forecaster: Forecaster, module: str, library: str, array: Callable[..., Observed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    observed = array()
    with pytest.raises(TidewattError, match=rf"{library} is not installed; .*tidewatt\[forecast\]"):
        forecaster.forecast(observed, observed.index[[1500]], STEPS)
