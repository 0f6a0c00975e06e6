"""Price curves: money per kWh over time, with its currency.

A curve is made once, at the edge, from whatever a market or a contract says; from then on nobody can add kroner to
euros or read a price per MWh as one per kWh.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.arrays import is_number
from engine.errors import InputError
from engine.timeline import SHORTEST_STEP, hold, step_hours, utc_index

KWH_PER_MWH = 1000.0
_ISO_4217 = re.compile("[A-Z]{3}")


@dataclass(frozen=True, eq=False)
class PriceCurve:
    """Prices per kWh on a regular UTC index, in one currency. Immutable, its values included.

    Attributes:
        series: Prices [currency/kWh], shape (T,), indexed by ``start`` (UTC); any aware regular index is taken.
        currency: ISO 4217 code (``EUR``, ``DKK``, ``GBP``); always the main unit, never cent, øre or pence.

    Raises:
        InputError: The index breaks the contract of `engine.timeline.utc_index`, a price is missing or no number
            (named with its interval), or the currency is no ISO code.
    """

    series: pd.Series
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.series, pd.Series):
            raise InputError("price", f"it is {type(self.series).__name__}", "give a pandas Series indexed by time")
        if not isinstance(self.currency, str) or not _ISO_4217.fullmatch(self.currency):
            raise InputError("currency", f"{self.currency!r} is no ISO 4217 code", "write one like 'EUR' or 'DKK'")
        name = f"{self.currency.lower()}_per_kwh"
        index = utc_index(name, self.series.index)
        values = _numbers("price", self.series, index)
        values.flags.writeable = False
        object.__setattr__(self, "series", pd.Series(values, index=index, name=name, copy=False))

    @classmethod
    def per_mwh(cls, series: pd.Series, currency: str) -> PriceCurve:
        """Take prices as markets quote them.

        Args:
            series: Prices [currency/MWh] on an aware regular index; shape (T,).
            currency: ISO 4217 code.

        Returns:
            The same prices in currency/kWh.

        Raises:
            InputError: As for the class.
        """
        per_mwh = cls(series, currency)
        return cls(per_mwh.series / KWH_PER_MWH, currency)

    @property
    def index(self) -> pd.DatetimeIndex:
        """Starts of the intervals [UTC]; shape (T,)."""
        return pd.DatetimeIndex(self.series.index)

    @property
    def step(self) -> pd.Timedelta:
        """Length of the intervals.

        Raises:
            InputError: There is one interval only and its index carries no `freq`.
        """
        return pd.Timedelta(hours=step_hours(self.index))

    def to(self, currency: str, rate: float | pd.Series) -> PriceCurve:
        """Convert to another currency.

        Args:
            currency: ISO 4217 code of the new currency.
            rate: Units of the new currency per unit of the old: one number, or a series on a regular index that has
                every interval of this curve. Whoever knows when a daily fixing takes effect holds it on that index.

        Returns:
            The curve in the new currency.

        Raises:
            InputError: A rate is missing, not a number, or not above 0; its index has no zone or a gap; or the currency
                is no ISO code.
        """
        if isinstance(rate, pd.Series):
            rates = rate.set_axis(utc_index("rate", rate.index)).reindex(self.index)
        elif is_number(rate):
            rates = pd.Series(float(rate), index=self.index)
        else:
            raise InputError("rate", f"it is {type(rate).__name__}", "give a number or a pandas Series indexed by time")
        factors = _numbers("rate", rates, self.index)
        if not (factors > 0).all():
            at = int((factors <= 0).argmax())
            raise InputError(
                "rate", f"{factors[at]:g} at {_stamp(self.index[at])} is not above 0", "give new units per old unit"
            )
        return PriceCurve(self.series * factors, currency)

    def hold(self, step: str | pd.Timedelta) -> PriceCurve:
        """Split the intervals into shorter ones of equal price, so that curves of different steps can meet.

        Args:
            step: The new step, for example ``"15min"``; it divides the old one.

        Returns:
            The curve on the finer index, covering the same time.

        Raises:
            InputError: The new step does not divide the old one.
        """
        try:
            finer = pd.Timedelta(step)
        except (TypeError, ValueError):
            raise InputError("step", f"value {step!r} is no duration", "write one like '15min'") from None
        if not finer >= SHORTEST_STEP:
            raise InputError("step", f"value {step!r} is below {SHORTEST_STEP}", "write one like '15min'")
        return PriceCurve(hold(self.series, finer), self.currency)

    def __add__(self, other: PriceCurve) -> PriceCurve:
        return self._combined(other, "add", pd.Series.__add__)

    def __sub__(self, other: PriceCurve) -> PriceCurve:
        return self._combined(other, "subtract", pd.Series.__sub__)

    def _combined(
        self, other: PriceCurve, verb: str, operation: Callable[[pd.Series, pd.Series], pd.Series]
    ) -> PriceCurve:
        if not isinstance(other, PriceCurve):
            raise InputError("price", f"cannot {verb} {type(other).__name__}", "give another PriceCurve")
        if self.currency != other.currency:
            raise InputError(
                "currency",
                f"cannot {verb} {self.currency}/kWh and {other.currency}/kWh (first interval {_stamp(self.index[0])})",
                f"convert one of them, for example with .to({self.currency!r}, rate)",
            )
        if not self.index.equals(other.index):
            raise InputError(
                "index",
                f"cannot {verb} {_extent(self.index)} and {_extent(other.index)}",
                "hold the coarser curve to the finer step and cut both to the same time",
            )
        return PriceCurve(operation(self.series, other.series), self.currency)


def _numbers(field: str, series: pd.Series, index: pd.DatetimeIndex) -> np.ndarray:
    """Finite floats of a series, in a copy of their own; the first fault is named by its interval."""
    try:
        boxed = series.dtype == object and any(isinstance(one, bool | str) for one in series)
        if boxed or series.dtype.kind not in "iufO":
            raise TypeError
        values = series.to_numpy(dtype=np.float64, na_value=np.nan, copy=True)
    except (TypeError, ValueError):
        raise InputError(field, f"its values are no numbers (dtype {series.dtype})", "give numbers") from None
    if not np.isfinite(values).all():
        at = int((~np.isfinite(values)).argmax())
        raise InputError(
            field, f"{values[at]:g} at {_stamp(index[at])}", "give a number for every interval; missing is not 0"
        )
    return values


def _extent(index: pd.DatetimeIndex) -> str:
    return f"{len(index)} intervals from {_stamp(index[0])} to {_stamp(index[-1])}"


def _stamp(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
