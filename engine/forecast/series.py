"""What forecasters are given, what they give, and what they promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from engine.arrays import Array
from engine.errors import InputError, input_error_from
from engine.timeline import TimeZoneName, step_hours, utc_index

WEATHER_COLUMNS = ("temperature_c", "ghi_w_per_m2")
NO_DELAY = pd.Timedelta(0)
DECISIONS_PER_CHUNK = 4096


@dataclass(frozen=True, eq=False)
class Observed:
    """A measured load or PV power, and when each of its values came to be known.

    The index may reach past what is measured, with NaN there: where a forecast of the weather goes on, for example.

    Raises:
        InputError: Naming the field, the first offending time and the way out.
    """

    values: pd.Series
    """Mean power of each interval [kW], >= 0, on a regular aware index; NaN where it is missing."""
    delay: pd.Timedelta = NO_DELAY
    """The value of [start, end) is known at end + delay."""
    excluded: pd.Series | None = None
    """True where a value says nothing about the site (curtailed, doubtful): it is neither learnt from nor repeated."""
    weather: pd.DataFrame | None = None
    """`temperature_c`, `ghi_w_per_m2` or both, on the index of `values`: the forecast of the weather that was there
    when the decision was made. Measured weather may stand in for it, and flatters every forecaster that uses it."""
    timezone: str = "UTC"
    """IANA name of the zone whose clock people live by."""
    latitude: float | None = None
    """Degrees, north positive; for the sun."""
    longitude: float | None = None
    """Degrees, east positive; for the sun."""

    def __post_init__(self) -> None:
        if not isinstance(self.values, pd.Series):
            raise InputError("values", f"it is {type(self.values).__name__}", "give a Series of kW")
        index = utc_index("values", self.values.index)
        step_hours(index)
        try:
            values = self.values.astype(np.float64).set_axis(index)
            TypeAdapter(TimeZoneName).validate_python(self.timezone)
        except ValidationError as error:
            raise input_error_from(error, "timezone: ") from None
        except (TypeError, ValueError):
            raise InputError("values", f"dtype {self.values.dtype} is no number", "give kW as numbers") from None
        wrong = (values < 0) | np.isinf(values)
        if wrong.any():
            first = int(wrong.to_numpy().argmax())
            raise InputError(
                "values",
                f"{values.iloc[first]:g} kW at {index[first].isoformat()}",
                "give powers from 0 up, NaN where missing",
            )
        if self.delay < NO_DELAY:
            raise InputError(
                "delay", f"value {self.delay} is negative", "nothing is known before it ends; give 0 or more"
            )
        object.__setattr__(self, "values", values)
        if self.excluded is not None:
            self._refuse_other_index("excluded", self.excluded)
            object.__setattr__(self, "excluded", self.excluded.astype(bool).set_axis(index))
        if self.weather is not None:
            self._refuse_other_index("weather", self.weather)
            unknown = set(self.weather.columns) - set(WEATHER_COLUMNS)
            if unknown:
                raise InputError(
                    "weather", f"unknown columns {sorted(unknown)}", f"give {' or '.join(WEATHER_COLUMNS)}"
                )
            object.__setattr__(self, "weather", self.weather.astype(np.float64).set_axis(index))

    def _refuse_other_index(self, name: str, given: pd.Series | pd.DataFrame) -> None:
        if not utc_index(name, given.index).equals(self.values.index):
            raise InputError(f"{name}.index", "it is not that of values", "reindex it to values.index")

    @cached_property
    def index(self) -> pd.DatetimeIndex:
        """Starts of the intervals [UTC], shape (T,)."""
        return pd.DatetimeIndex(self.values.index)

    @cached_property
    def step(self) -> pd.Timedelta:
        """Length of an interval."""
        return pd.Timedelta(hours=step_hours(self.index))


@dataclass(frozen=True, eq=False)
class Forecasts:
    """Forecasts made at D decisions for H intervals each.

    Row d, column h is the interval that starts at ``decisions[d] + h * step``. NaN: nothing was known to tell it from.
    """

    decisions: pd.DatetimeIndex
    """When they were made [UTC], shape (D,)."""
    step: pd.Timedelta
    """Length of an interval."""
    mean: Array
    """Expected power [kW], shape (D, H)."""
    levels: tuple[float, ...] = ()
    """Which quantiles there are [fraction], rising, shape (Q,)."""
    quantiles: Array | None = None
    """Power that is not exceeded with the probability of each level [kW], shape (Q, D, H); None: there are none."""

    def __len__(self) -> int:
        return len(self.decisions)

    def row(self, number: int, level: float | None = None) -> pd.Series:
        """One decision's forecast [kW] on an index in UTC.

        Args:
            number: Which decision.
            level: Which of `levels`; None: the mean.

        Raises:
            InputError: There is no such level.
        """
        if level is None:
            values = self.mean[number]
        elif self.quantiles is None or level not in self.levels:
            raise InputError("level", f"value {level:g} is not among {self.levels}", "ask the forecaster for it")
        else:
            values = self.quantiles[self.levels.index(level), number]
        starts = pd.date_range(self.decisions[number], periods=len(values), freq=self.step, name="start", unit="ns")
        return pd.Series(values, starts)


class Forecaster(Protocol):
    """Whatever forecasts a load or a PV power.

    A row depends on its own decision and on what was known then, on nothing later and on no other row. So decisions
    may be asked for together or one by one; whatever must be learnt is learnt anew on fixed dates.
    """

    @property
    def name(self) -> str:
        """What tables call it."""
        ...

    def forecast(self, observed: Observed, decisions: pd.DatetimeIndex, steps: int) -> Forecasts:
        """Forecast at every decision.

        Args:
            observed: What was measured, and when it was known.
            decisions: Aware times on the grid of `observed`, at or after its first interval; shape (D,).
            steps: How many intervals from each decision on.

        Raises:
            InputError: A decision is off the grid, or something that the forecaster needs is not given.
        """
        ...


def in_chunks(
    forecaster: Forecaster,
    observed: Observed,
    decisions: pd.DatetimeIndex,
    steps: int,
    most: int = DECISIONS_PER_CHUNK,
) -> Iterator[Forecasts]:
    """The same forecasts, some decisions at a time, for where all of them would not fit in memory.

    Args:
        forecaster: Who forecasts.
        observed: As for `Forecaster.forecast`.
        decisions: As for `Forecaster.forecast`.
        steps: As for `Forecaster.forecast`.
        most: Decisions at a time. What learns does so anew for each chunk; let one span its retraining dates.
    """
    for first in range(0, len(decisions), most):
        yield forecaster.forecast(observed, decisions[first : first + most], steps)
