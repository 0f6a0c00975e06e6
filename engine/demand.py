"""Demand charges: what a grid company or supplier asks for the highest import of a period.

Two kinds of price: per kW of the billed peak, with tiers (a kW above 10 may cost more than one below), or stepped (a
peak of up to 5 kW costs so much, up to 10 kW so much). The billed peak is the highest mean import over the measuring
interval, or the mean of the N largest daily peaks, as Norwegian grid companies bill since 2022.

`PeakPeriod` is one charge laid on one calendar period of one horizon: what solvers and plans reckon with.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.errors import InputError

Array = npt.NDArray[np.float64]
Kw = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Eur = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class DemandCharge(BaseModel):
    """A charge on the peak import of a calendar period.

    Raises:
        pydantic.ValidationError: Neither or both of `eur_per_kw` and `steps_eur` are given, or their order is wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "demand charge"
    eur_per_kw: tuple[tuple[Kw, Eur], ...] = ()
    """Tiers (from kW, EUR/kW): what each kW of the billed peak above that bound costs, rising. A number is one tier."""
    steps_eur: tuple[tuple[Kw | None, Eur], ...] = ()
    """Steps (up to kW, EUR): what a billed peak of up to that bound costs in total, rising; the last bound is None."""
    period: Literal["day", "month", "year", "horizon"] = "month"
    """Calendar period in the site's time zone that one peak is billed for."""
    measured_over_minutes: Annotated[int, Field(ge=5, le=60)] | None = None
    """The meter averages import over this long; None: over the plan's own interval."""
    largest_daily_peaks: Annotated[int, Field(ge=1, le=31)] = 1
    """The billed peak is the mean of this many largest daily peaks, each of another day."""
    from_hour: Annotated[int, Field(ge=0, le=23)] = 0
    """Only import from this local hour on counts."""
    to_hour: Annotated[int, Field(ge=1, le=24)] = 24
    """Only import before this local hour counts."""
    weekdays_only: bool = False
    """Only import from Monday to Friday counts."""
    daily_peaks_so_far_kw: tuple[Kw, ...] = ()
    """Daily peaks of earlier days of the period that the horizon begins in."""
    peak_today_so_far_kw: Kw = 0.0
    """Peak of the day that the horizon begins in, before it begins."""

    @field_validator("eur_per_kw", mode="before")
    @classmethod
    def _one_tier(cls, value: Any) -> Any:
        return ((0.0, value),) if isinstance(value, int | float) else value

    @model_validator(mode="after")
    def _is_rising(self) -> Self:
        if bool(self.eur_per_kw) == bool(self.steps_eur):
            raise ValueError("one of eur_per_kw and steps_eur must be given, not both; choose how the peak is priced")
        if self.from_hour >= self.to_hour:
            raise ValueError(f"from_hour {self.from_hour} is not before to_hour {self.to_hour}; swap them")
        if self.eur_per_kw and self.eur_per_kw[0][0] != 0:
            raise ValueError("the first tier does not begin at 0 kW; add (0, price)")
        for (low, price), (high, next_price) in itertools.pairwise(self.eur_per_kw):
            if high <= low or next_price < price:
                raise ValueError(
                    f"tier from {high:g} kW at {next_price:g} EUR/kW after tier from {low:g} kW at {price:g} EUR/kW; "
                    "bounds and prices must rise (a falling price per kW is a stepped charge: use steps_eur)"
                )
        bounds = [math.inf if bound is None else bound for bound, _ in self.steps_eur]
        if bounds and bounds[-1] != math.inf:
            raise ValueError(f"the last step ends at {bounds[-1]:g} kW; give it the bound None, for any higher peak")
        for (low, (_, eur)), (high, (_, next_eur)) in itertools.pairwise(zip(bounds, self.steps_eur, strict=True)):
            if high <= low or next_eur < eur:
                raise ValueError(
                    f"step to {high:g} kW for {next_eur:g} EUR after step to {low:g} kW for {eur:g} EUR; "
                    "bounds and fees must rise"
                )
        return self

    def fee_eur(self, peak_kw: float) -> float:
        """What a billed peak costs for the whole period [EUR]."""
        if self.steps_eur:
            # A peak on a bound within arithmetic dust is still in the cheaper step.
            return next(eur for bound, eur in self.steps_eur if bound is None or peak_kw <= bound + PEAK_DUST_KW)
        upper = [low for low, _ in self.eur_per_kw[1:]] + [math.inf]
        return sum(
            price * max(0.0, min(peak_kw, high) - low)
            for (low, price), high in zip(self.eur_per_kw, upper, strict=True)
        )


# Below this a difference between two peaks is arithmetic dust [kW]; part of the definition of a stepped fee.
PEAK_DUST_KW = 1e-7


@dataclass(frozen=True, eq=False)
class PeakPeriod:
    """One demand charge on one period of a horizon."""

    charge: DemandCharge
    start: pd.Timestamp
    """First interval of the period in the horizon [UTC]."""
    slot: npt.NDArray[np.int64]
    """Measuring interval that each interval belongs to, shape (T,); -1 where import does not count."""
    slot_day: npt.NDArray[np.int64]
    """Day of each measuring interval, shape (S,)."""
    day_so_far_kw: Array
    """Peak of each day before the horizon, shape (D,)."""
    earlier_kw: tuple[float, ...]
    """Daily peaks of days before the horizon, the largest first; no more than `largest_daily_peaks`."""

    def daily_peaks_kw(self, import_kw: Array) -> Array:
        """Peak import of each day, shape (D,)."""
        inside = self.slot >= 0
        slots, count = self.slot[inside], len(self.slot_day)
        mean_kw = np.bincount(slots, import_kw[inside], count) / np.bincount(slots, minlength=count)
        peaks = self.day_so_far_kw.copy()
        np.maximum.at(peaks, self.slot_day, mean_kw)
        return peaks

    def billed_kw(self, import_kw: Array | None = None) -> float:
        """The peak that is billed [kW]: with the horizon's import, or of what came before it alone."""
        days = self.day_so_far_kw if import_kw is None else self.daily_peaks_kw(import_kw)
        largest = np.sort(np.concatenate([days, self.earlier_kw]))[::-1][: self.charge.largest_daily_peaks]
        return float(largest.sum()) / self.charge.largest_daily_peaks

    def added_eur(self, import_kw: Array) -> float:
        """What the horizon's import adds to the charge [EUR]."""
        return self.charge.fee_eur(self.billed_kw(import_kw)) - self.charge.fee_eur(self.billed_kw())


def peak_periods(
    charges: tuple[DemandCharge, ...], index: pd.DatetimeIndex, step_h: float, timezone: str
) -> tuple[PeakPeriod, ...]:
    """Lay demand charges on a horizon's local calendar.

    Args:
        charges: The contract's demand charges.
        index: Starts of the intervals [UTC].
        step_h: Length of an interval [h].
        timezone: IANA name; calendar periods, days and hours are local.

    Raises:
        InputError: A measuring interval is no multiple of the plan's interval.
    """
    local = index.tz_convert(timezone)
    found = []
    for charge in charges:
        minutes = charge.measured_over_minutes or round(step_h * 60)
        if 60 % minutes or minutes < round(step_h * 60) or minutes % round(step_h * 60):
            raise InputError(
                "demand_charges.measured_over_minutes",
                f"value {minutes} min at {index[0].isoformat()} is no multiple of the interval of {step_h * 60:g} min "
                "that divides the hour",
                "plan in intervals that divide it",
            )
        counts = (local.hour >= charge.from_hour) & (local.hour < charge.to_hour)
        if charge.weekdays_only:
            counts &= local.day_of_week < 5
        days = _codes(local, "day")
        slots = pd.factorize(index.floor(f"{minutes}min"))[0]
        periods = _codes(local, charge.period)
        for period in np.unique(periods[counts]):
            chosen = counts & (periods == period)
            slot_ids, slot = np.unique(slots[chosen], return_inverse=True)
            first_of_slot = np.searchsorted(slots, slot_ids)
            day_ids, slot_day = np.unique(days[first_of_slot], return_inverse=True)
            begins_here = bool(period == periods[0])
            so_far = np.zeros(len(day_ids))
            if day_ids[0] == days[0]:
                so_far[0] = charge.peak_today_so_far_kw
            earlier = list(charge.daily_peaks_so_far_kw) if begins_here else []
            if begins_here and day_ids[0] != days[0]:
                # Nothing more of today counts, but its peak does.
                earlier.append(charge.peak_today_so_far_kw)
            earlier.sort(reverse=True)
            place = np.full(len(index), -1, dtype=np.int64)
            place[chosen] = slot
            found.append(
                PeakPeriod(
                    charge=charge,
                    start=index[int(chosen.argmax())],
                    slot=place,
                    slot_day=slot_day.astype(np.int64),
                    day_so_far_kw=so_far,
                    earlier_kw=tuple(earlier[: charge.largest_daily_peaks]),
                )
            )
    return tuple(found)


def _codes(local: pd.DatetimeIndex, period: str) -> npt.NDArray[np.int64]:
    """Number of the calendar period that each interval is in, rising."""
    if period == "horizon":
        return np.zeros(len(local), dtype=np.int64)
    if period == "day":
        return np.asarray(pd.factorize(local.tz_localize(None).normalize())[0], dtype=np.int64)
    number = local.year if period == "year" else local.year * 12 + local.month
    return np.asarray(pd.factorize(number)[0], dtype=np.int64)
