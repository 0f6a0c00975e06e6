"""Forecasters of what a site consumes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.forecast.history import History, Positions
from engine.forecast.learning import CORRECTION_DAYS, Lesson, correction, lessons, need
from engine.forecast.naive import repeated
from engine.forecast.recent_days import like_days
from engine.forecast.series import Forecasts, Observed

# What a day of another weekday counts for, and one of another kind (weekend or not), beside one of the same weekday.
OTHER_WEEKDAY, OTHER_KIND = 0.5, 0.1
# Mean temperatures this far apart make a day count for 60 % [K].
TEMPERATURE_SPREAD_K = 3.0
# The last hours that tell of the next [h]: what has just begun, and what kind of day it is.
RECENT_HOURS = (0.25, 1, 6)
# Homes are noisy: many small steps, and no leaf that says something of a few days only, beat fewer and bolder ones.
LEAVES, ROUNDS, LEARNING_RATE, LEAF_DAYS = 8, 80, 0.04, 8


@dataclass(frozen=True)
class SimilarDay:
    """The mean of like days, newer ones weighing more, corrected by the errors of the last hours.

    Days are alike by weekday and, where `Observed.weather` has it, by mean temperature.
    """

    retrain_days: int = 7
    """How often it is learnt anew what the last hours say of the next."""
    name: str = "similar day"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Weigh like days and correct them; see `Forecaster.forecast`."""
        history = History.read(observed, decisions, steps)
        by_age = similar_days(history)
        mean = history.newest_known(by_age)
        for lesson in lessons(history, self.retrain_days):
            mean[lesson.rows] += correction(history, lesson, history.usable - by_age[0], RECENT_HOURS)
        return history.forecasts(mean)


@dataclass(frozen=True)
class GradientBoosting:
    """What trees on lags, calendar and weather make of `SimilarDay`, corrected by the last hours; needs scikit-learn.

    Until there is enough to learn from it forecasts as that does.
    """

    retrain_days: int = 28
    """How often the trees are grown anew."""
    training_days: int = 365
    """How far back they look."""
    least_training_days: int = 28
    """With less than this there are no trees."""
    name: str = "gradient boosting"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Grow trees on the dates of learning and ask them; see `Forecaster.forecast`.

        Raises:
            TidewattError: scikit-learn is not installed.
        """
        history = History.read(observed, decisions, steps)
        mean = np.empty((len(decisions), steps))
        features = _Features(history)
        for lesson in lessons(history, self.retrain_days):
            by_age = self._predicted(features, lesson)
            mean[lesson.rows] = history.newest_known(by_age, lesson.rows)
            mean[lesson.rows] += correction(history, lesson, history.usable - by_age[0], RECENT_HOURS)
        return history.forecasts(mean)

    def _predicted(self, features: _Features, lesson: Lesson) -> Array:
        """What the trees of one lesson say of the intervals that its decisions need, shape (M, P) [kW]."""
        history = features.history
        by_age = features.similar_days.copy()
        past = lesson.past(history, self.training_days)
        learnt = np.flatnonzero(~np.isnan(history.usable[past])) + past.start
        if len(learnt) < self.least_training_days * history.day:
            return by_age
        asked = slice(lesson.past(history, CORRECTION_DAYS).start, int(history.at[lesson.rows].max()) + history.steps)
        trees = need("sklearn.ensemble").HistGradientBoostingRegressor(
            max_iter=ROUNDS,
            max_leaf_nodes=LEAVES,
            learning_rate=LEARNING_RATE,
            min_samples_leaf=LEAF_DAYS * history.day,
            max_features=0.5,
            early_stopping=False,
            random_state=0,
        )
        for days in range(history.most_days):
            table, target = features.table(days + 1), history.usable - features.similar_days[days]
            seen = learnt[~np.isnan(target[learnt])]
            # Nothing can be learnt from a column that has been empty so far.
            table = table[:, ~np.isnan(table[seen]).all(axis=0)]
            # Threads would wait for each other at every leaf, and sum in an order of their own.
            with need("threadpoolctl").threadpool_limits(1):
                by_age[days, asked] += trees.fit(table[seen], target[seen]).predict(table[asked])
        return by_age


class _Features:
    """What the trees are told of each interval."""

    def __init__(self, history: History) -> None:
        self.history = history
        self.similar_days = similar_days(history)
        self._newest, self._same_weekday = repeated(history), repeated(history, "week")
        wall, temperature = history.wall, history.weather("temperature_c")
        self._calendar = np.stack(
            [
                wall.hour + wall.minute / 60,
                wall.day_of_week,
                history.weekend,
                temperature,
                _day_mean(history, temperature),
                history.weather("ghi_w_per_m2"),
            ],
            axis=1,
        )
        self._day_kw = pd.Series(history.usable).rolling(history.day, min_periods=history.day // 2).mean().to_numpy()

    def table(self, days: int) -> Array:
        """Everything that is known so many days before, shape (P, F)."""
        positions = self.history.days_before(days)
        day_kw = np.where(positions >= 0, self._day_kw[np.maximum(positions, 0)], np.nan)
        lags = (self.similar_days[days - 1], self._newest[days - 1], self._same_weekday[days - 1], day_kw)
        return np.concatenate([np.stack(lags, axis=1), self._calendar], axis=1)


def similar_days(history: History) -> Array:
    """Mean of the usable values at the same local time on like days at least so old, shape (M, P) [kW]."""
    temperature = _day_mean(history, history.weather("temperature_c"))

    def likeness(days: int, then: Positions) -> Array:
        if days % 7 == 0:
            alike = np.ones(len(then))
        else:
            alike = np.where(history.weekend[then] == history.weekend, OTHER_WEEKDAY, OTHER_KIND)
        apart = np.nan_to_num((temperature - temperature[then]) / TEMPERATURE_SPREAD_K)
        return np.asarray(alike * np.exp(-0.5 * apart**2))

    return like_days(history, likeness)


def _day_mean(history: History, series: Array) -> Array:
    """Mean over the local day of each interval, of what is there; shape (P,)."""
    day = (history.wall.normalize() - history.wall[0].normalize()).days.to_numpy()
    there = ~np.isnan(series)
    total, number = np.bincount(day, np.where(there, series, 0.0)), np.bincount(day, there)
    return np.asarray(np.divide(total, number, out=np.full(len(total), np.nan), where=number > 0)[day])
