"""Quantiles for any forecaster, from how far off it has been."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.errors import InputError
from engine.forecast.history import History, Positions
from engine.forecast.learning import Lesson, lessons
from engine.forecast.series import Forecaster, Forecasts, Observed
from engine.timeline import ONE_HOUR

# Errors of leads within the same of these are of one kind [h].
LEAD_EDGES_H = (1, 3, 6, 12, 24, 48)
# Fewer errors than this say nothing of a quantile.
FEWEST_ERRORS = 20


@dataclass(frozen=True)
class WithQuantiles:
    """A forecaster with quantiles: its mean plus those of its own past errors at the hour and the lead.

    The forecasts that it would have made in the last weeks are held against what was known at the date of learning.
    """

    forecaster: Forecaster
    levels: tuple[float, ...] = (0.1, 0.5, 0.9)
    """Rising, between 0 and 1."""
    days: int = 56
    """How far back errors are looked at."""
    zero_is_certain: bool = False
    """For PV: where the mean is 0, as at night, every quantile is."""
    retrain_days: int = 7
    """How often errors are gathered anew."""

    def __post_init__(self) -> None:
        rising = all(low < high for low, high in zip((0.0, *self.levels), (*self.levels, 1.0), strict=True))
        if not self.levels or not rising:
            raise InputError(
                "levels", f"{self.levels} do not rise between 0 and 1", "give fractions like (0.1, 0.5, 0.9)"
            )

    @property
    def name(self) -> str:
        """That of the forecaster."""
        return self.forecaster.name

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Forecast, and add quantiles; NaN where there are too few errors. See `Forecaster.forecast`."""
        given = self.forecaster.forecast(observed, decisions, steps)
        history = History.read(observed, decisions, steps)
        judged = self._judged(history)
        past = History.read(observed, judged, steps)
        error = past.windows(past.usable) - self.forecaster.forecast(observed, judged, steps).mean
        quantiles = np.empty((len(self.levels), *given.mean.shape))
        for lesson in lessons(history, self.retrain_days):
            offsets = self._offsets(past, error, lesson)
            hours = history.windows(history.wall.hour.to_numpy(), lesson.rows)
            quantiles[:, lesson.rows] = offsets[:, hours, _kind_of_lead(history)]
        np.maximum(quantiles + given.mean, 0.0, out=quantiles)
        if self.zero_is_certain:
            quantiles[:, given.mean == 0] = 0.0
        return replace(given, levels=self.levels, quantiles=quantiles)

    def _judged(self, history: History) -> pd.DatetimeIndex:
        """The decisions that are judged, one an hour: the same ones whatever is asked for."""
        every = ONE_HOUR // history.observed.step
        first = max(0, int(history.at.min(initial=0)) - (self.days + self.retrain_days) * history.day)
        index = history.index[first : int(history.at.max(initial=0)) + 1]
        return pd.DatetimeIndex(index[(index.asi8 // history.observed.step.value) % every == 0])

    def _offsets(self, past: History, error: Array, lesson: Lesson) -> Array:
        """Quantiles of the errors known at a lesson, shape (Q, hours, kinds of lead) [kW]."""
        rows = slice(*np.searchsorted(past.at, [lesson.known - self.days * past.day, lesson.known]))
        known = past.windows(np.arange(len(past.index)), rows) < lesson.known
        seen = np.where(known, error[rows], np.nan)
        hours, kinds = past.windows(past.wall.hour.to_numpy(), rows), _kind_of_lead(past)
        offsets = np.full((len(self.levels), 24, len(LEAD_EDGES_H) + 1), np.nan)
        for kind in np.unique(kinds):
            of_kind, at_hour = seen[:, kinds == kind], hours[:, kinds == kind]
            for hour in range(24):
                errors = of_kind[at_hour == hour]
                errors = errors[~np.isnan(errors)]
                if len(errors) >= FEWEST_ERRORS:
                    offsets[:, hour, kind] = np.quantile(errors, self.levels)
        return offsets


def _kind_of_lead(history: History) -> Positions:
    """Which kind of lead each column is of, shape (H,)."""
    lead_h = np.arange(history.steps) * (history.observed.step / ONE_HOUR)
    return np.searchsorted(LEAD_EDGES_H, lead_h, side="right")
