"""Forecasters that learn nothing: yardsticks, and the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.forecast.history import OLDEST_DAYS, History
from engine.forecast.series import Forecasts, Observed


@dataclass(frozen=True)
class Persistence:
    """Every day is like the newest one that is known: the yardstick that others must beat."""

    name: str = "persistence"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Repeat the newest known value of the same local time; see `Forecaster.forecast`."""
        history = History.read(observed, decisions, steps)
        return history.forecasts(history.newest_known(repeated(history)))


@dataclass(frozen=True)
class SeasonalNaive:
    """Every day is like the newest known one of its kind."""

    season: Literal["day", "week"] = "week"
    """``"week"``: the same day of the week. ``"day"``: the newest of Monday to Friday, or of the weekend."""
    name: str = "seasonal naive"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Repeat the newest known value of such a day at that local time, else of any; see `Forecaster.forecast`."""
        history = History.read(observed, decisions, steps)
        by_age = repeated(history, self.season)
        return history.forecasts(history.newest_known(np.where(np.isnan(by_age), repeated(history), by_age)))


@dataclass(frozen=True)
class PerfectForesight:
    """The truth, excluded values included: the bound that no forecaster passes. It alone breaks the contract."""

    name: str = "perfect foresight"

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """What was measured, NaN where it is missing; see `Forecaster.forecast`."""
        history = History.read(observed, decisions, steps)
        truth = np.full(len(history.index), np.nan)
        truth[: len(observed.index)] = observed.values
        return history.forecasts(history.windows(truth))


def repeated(history: History, season: Literal["day", "week"] | None = None) -> Array:
    """The newest usable value at the same local time that is at least so many days old, shape (M, P) [kW].

    Args:
        history: The past.
        season: On which days, as `SeasonalNaive.season`; None: on any.
    """
    by_age = np.full((history.most_days, len(history.index)), np.nan)
    newest = np.full(len(history.index), np.nan)
    for days in range(history.most_days + OLDEST_DAYS, 0, -1):
        positions = history.days_before(days)
        value = history.values_at(positions)
        alike = ~np.isnan(value)
        if season == "week":
            alike &= days % 7 == 0
        elif season == "day":
            alike &= history.weekend[np.maximum(positions, 0)] == history.weekend
        newest[alike] = value[alike]
        if days <= history.most_days:
            by_age[days - 1] = newest
    return by_age
