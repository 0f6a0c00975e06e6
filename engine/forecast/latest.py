"""What is on now stays on for a while: a forecast brought to the newest value."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.errors import InputError
from engine.forecast.history import History
from engine.forecast.series import Forecaster, Forecasts, Observed
from engine.timeline import ONE_HOUR


@dataclass(frozen=True)
class WithLatest:
    """A forecaster whose first intervals begin at the newest value and come back to its own in a few hours.

    Over a day it errs as the forecaster does; what it tells is the hour that has begun, and so its peak.
    """

    forecaster: Forecaster
    fades_h: float = 2.0
    """After so long, two thirds of what the newest value said are gone [h]."""

    def __post_init__(self) -> None:
        if not 0 < self.fades_h < np.inf:
            raise InputError("fades_h", f"value {self.fades_h:g} is not above 0", "give some hours")

    @property
    def name(self) -> str:
        """That of the forecaster."""
        return self.forecaster.name

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Forecast, and begin at the newest value where it is usable. See `Forecaster.forecast`."""
        given = self.forecaster.forecast(observed, decisions, steps)
        history = History.read(observed, decisions, steps)
        off_kw = np.nan_to_num(history.values_at(history.known - 1) - given.mean[:, 0])
        age = (history.at - history.known)[:, np.newaxis] + np.arange(steps)
        shift_kw = off_kw[:, np.newaxis] * np.exp(-age * (observed.step / ONE_HOUR) / self.fades_h)
        shifted = history.forecasts(given.mean + shift_kw)
        if given.quantiles is None:
            return shifted
        return replace(shifted, levels=given.levels, quantiles=np.maximum(given.quantiles + shift_kw, 0.0))
