"""Forecasters of what an array gives: the sun is known, the array is learnt.

They go by UTC, as the sun does not put its clock forward.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.errors import InputError
from engine.forecast.history import History
from engine.forecast.learning import TINY, Lesson, correction, lessons, need
from engine.forecast.recent_days import like_days
from engine.forecast.series import Forecasts, Observed
from engine.forecast.sun import Sun

# The last hours that tell of the next [h]: what has just come up, and what kind of day it is.
RECENT_HOURS = (2, 24)
# Below this part of what the array has ever given a relative error says nothing.
DIM = 0.05
# Added to a clear sky: at dawn, where it grows manyfold within weeks, power is rather what it was [W/m2].
EVEN_W_PER_M2 = 200.0
# Cells lose this part of their power with each kelvin above 25 C, and warm up so far by each W/m2.
LOSS_PER_K, WARMING_K_M2_PER_W = 0.004, 0.03
# What is learnt of the array's directions, and of its shade by the hour, is learnt from so many days.
ARRAY_DAYS = 56


@dataclass(frozen=True)
class PvRegression:
    """Power per irradiance at each time of day, from recent days, corrected by the last hours.

    The irradiance is that of `ghi_w_per_m2` in `Observed.weather`, else that of a clear sky. Without coordinates, which
    need pvlib, it is not known when the sun is up: then there is none where there has been none of late.
    """

    retrain_days: int = 7
    """How often it is learnt anew what the last hours say of the next."""
    name: str = "PV regression"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Regress on recent days and correct; see `Forecaster.forecast`."""
        history = History.read(replace(observed, timezone="UTC"), decisions, steps)
        by_age = like_days(history, lambda _, then: np.ones(len(then)), _irradiance(history))
        mean = history.newest_known(by_age)
        for lesson in lessons(history, self.retrain_days):
            mean[lesson.rows] *= _corrected(history, lesson, by_age[0])
        return history.forecasts(mean)


@dataclass(frozen=True)
class PvPhysical:
    """Irradiance on planes of many directions, as much of each as the past shows; needs pvlib and coordinates.

    The irradiance is that of `ghi_w_per_m2` in `Observed.weather`, else that of a clear sky. The array's directions and
    sizes are fitted, then its shade by the hour, then the last hours correct what is left.
    """

    retrain_days: int = 7
    """How often the array is fitted anew."""
    name: str = "PV physical"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Fit the array on the dates of learning and put it in the sun; see `Forecaster.forecast`.

        Raises:
            InputError: `Observed` has no coordinates.
            TidewattError: pvlib is not installed.
        """
        if observed.latitude is None or observed.longitude is None:
            raise InputError(
                "latitude", "the coordinates are missing", "give latitude and longitude, or use PvRegression"
            )
        history = History.read(replace(observed, timezone="UTC"), decisions, steps)
        planes = _plane_kw_per_kwp(history, Sun.over(history))
        mean = np.full((len(decisions), steps), np.nan)
        for lesson in lessons(history, self.retrain_days):
            expected = _fitted(history, lesson, planes)
            mean[lesson.rows] = history.windows(expected, lesson.rows) * _corrected(history, lesson, expected)
        return history.forecasts(mean)


def _irradiance(history: History) -> Array | None:
    """What the array is taken to be proportional to, 0 while the sun is down, shape (P,) [W/m2]; None: unknown."""
    ghi = history.weather("ghi_w_per_m2")
    told = None if np.isnan(ghi).all() else ghi
    if history.observed.latitude is None or history.observed.longitude is None:
        return told
    sun = Sun.over(history)
    return np.where(sun.down, 0.0, sun.clear_sky_ghi + EVEN_W_PER_M2 if told is None else told)


def _plane_kw_per_kwp(history: History, sun: Sun) -> Array:
    """What each plane gives [kW per kWp], 0 while the sun is down, shape (P, planes)."""
    ghi, temperature = history.weather("ghi_w_per_m2"), history.weather("temperature_c")
    irradiance = sun.on_planes(sun.clear_sky_ghi if np.isnan(ghi).all() else ghi)
    cells = np.nan_to_num(temperature, nan=25.0)[:, np.newaxis] + WARMING_K_M2_PER_W * irradiance
    return np.asarray(irradiance / 1000 * (1 - LOSS_PER_K * (cells - 25.0)))


def _fitted(history: History, lesson: Lesson, planes: Array) -> Array:
    """What the array gives by what is known at a lesson, shape (P,) [kW]; NaN with nothing to fit it to."""
    past = lesson.past(history, ARRAY_DAYS)
    # NaN is not above 0 either: where the irradiance is missing nothing is learnt.
    lit = planes[past].sum(axis=1) > 0
    seen = np.flatnonzero(lit & ~np.isnan(history.usable[past])) + past.start
    if not len(seen):
        return np.full(len(planes), np.nan)
    kwp, _ = need("scipy.optimize").nnls(planes[seen], history.usable[seen])
    expected = np.einsum("pk,k->p", planes, kwp)
    # Trees and chimneys: what is missing at an hour of the day; few days say little of it.
    hour = history.wall.hour.to_numpy()
    given, told = (np.bincount(hour[seen], series[seen], 24) for series in (history.usable, expected))
    trust = max(told.sum() / 100, TINY)
    return np.asarray(expected * ((given + trust) / (told + trust))[hour])


def _corrected(history: History, lesson: Lesson, expected: Array) -> Array:
    """By what the last hours' relative errors multiply the forecasts after them, shape (D, H)."""
    largest = np.nanmax(history.usable[: lesson.known], initial=0.0)
    bright = expected > DIM * largest
    error = np.where(bright, history.usable / np.where(bright, expected, 1.0) - 1, np.nan)
    return 1 + correction(history, lesson, error, RECENT_HOURS)
