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
from functools import lru_cache
from typing import Annotated, Any, Literal, Self

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from engine.arrays import Array
from engine.errors import InputError
from engine.timeline import ONE_HOUR, ClockIntervals

IntArray = npt.NDArray[np.int64]
# No power [kW], energy [kWh] or money [EUR] of a demand charge is larger.
LARGEST = 1e7
Kw = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Kwh = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]
Eur = Annotated[float, Field(ge=0, le=LARGEST, allow_inf_nan=False)]


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
    """The meter averages import over this long, from the local full hour on; None: over the plan's own interval.

    Of a measuring interval that the horizon ends in, the mean of its part inside is billed: the rest is not known yet.
    """
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
    """Peak of the day that the horizon begins in, of the measuring intervals that end before it."""
    measured_so_far_kwh: Kwh = 0.0
    """Energy imported in the measuring interval that the horizon begins in, before it begins [kWh].

    The mean of that interval is taken over its whole length, of this energy and the plan's.
    """

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
        return float(self.fees_eur(np.array(peak_kw)))

    def fees_eur(self, peaks_kw: Array) -> Array:
        """What billed peaks cost for the whole period, each by itself, in the shape given [EUR]."""
        if self.steps_eur:
            bounds = [math.inf if bound is None else bound for bound, _ in self.steps_eur]
            # A peak on a bound within arithmetic dust is still in the cheaper step.
            step = np.searchsorted(np.array(bounds) + PEAK_DUST_KW, peaks_kw)
            return np.array([eur for _, eur in self.steps_eur])[step]
        fees = np.zeros_like(peaks_kw)
        highs = [low for low, _ in self.eur_per_kw[1:]] + [math.inf]
        for (low, price), high in zip(self.eur_per_kw, highs, strict=True):
            fees += price * np.clip(peaks_kw - low, 0.0, high - low)
        return fees


# Below this a difference between two peaks is arithmetic dust [kW]; part of the definition of a stepped fee.
PEAK_DUST_KW = 1e-7


@dataclass(frozen=True, eq=False)
class PeakPeriod:
    """One demand charge on one period of a horizon of T intervals: S measuring intervals on D days.

    The mean import of measuring interval s is `slot_so_far_kw[s]` plus the sum of what its intervals import over
    `slot_intervals[s]`.
    """

    charge: DemandCharge
    start: pd.Timestamp
    """First interval of the period in the horizon [UTC]."""
    inside: IntArray
    """Numbers of the intervals whose import counts, measuring interval by measuring interval."""
    slot_first: IntArray
    """Where in `inside` each measuring interval begins, shape (S,)."""
    slot_intervals: Array
    """How many intervals each measuring interval has, those before the horizon included, shape (S,)."""
    slot_so_far_kw: Array
    """What import before the horizon makes of each mean, shape (S,); above 0 for the first alone."""
    slot_day: IntArray
    """Day of each measuring interval, rising, shape (S,)."""
    day_so_far_kw: Array
    """Peak of each day that is certain when the horizon begins, shape (D,)."""
    earlier_kw: tuple[float, ...]
    """Daily peaks of days before the horizon, the largest first; no more than `largest_daily_peaks`."""

    @property
    def slots(self) -> list[IntArray]:
        """The intervals of each measuring interval that are in the horizon; S arrays."""
        return np.split(self.inside, self.slot_first[1:])

    def daily_peaks_kw(self, import_kw: Array) -> Array:
        """Peak import of each day, shape (D,), or (N, D) of imports of shape (N, T)."""
        sums_kw = np.add.reduceat(import_kw[..., self.inside], self.slot_first, axis=-1)
        means_kw = self.slot_so_far_kw + sums_kw / self.slot_intervals
        day_first = np.searchsorted(self.slot_day, np.arange(len(self.day_so_far_kw)))
        return np.maximum(np.maximum.reduceat(means_kw, day_first, axis=-1), self.day_so_far_kw)

    def billed_kw(self, import_kw: Array | None = None) -> Array:
        """The peak that is billed with the horizon's import, or what is certain of it before [kW].

        A number, or of shape (N,) with imports of shape (N, T).
        """
        days = self.day_so_far_kw if import_kw is None else self.daily_peaks_kw(import_kw)
        earlier = np.broadcast_to(self.earlier_kw, (*days.shape[:-1], len(self.earlier_kw)))
        count = self.charge.largest_daily_peaks
        largest = np.sort(np.concatenate([days, earlier], axis=-1), axis=-1)[..., ::-1][..., :count]
        return np.asarray(largest.sum(axis=-1) / count)

    def added_eur(self, import_kw: Array) -> Array:
        """What the horizon's import adds to the charge [EUR]; a number, or (N,) for imports of shape (N, T)."""
        return self.charge.fees_eur(self.billed_kw(import_kw)) - self.charge.fees_eur(self.billed_kw())


@lru_cache(maxsize=32)
def peak_periods(
    charges: tuple[DemandCharge, ...], start: pd.Timestamp, intervals: int, step: pd.Timedelta, timezone: str
) -> tuple[PeakPeriod, ...]:
    """Lay demand charges on a horizon's local calendar.

    Args:
        charges: The contract's demand charges.
        start: Start of the first interval [UTC].
        intervals: Number of intervals.
        step: Length of an interval.
        timezone: IANA name; calendar periods, days, hours and measuring intervals are local.

    Raises:
        InputError: A measuring interval is no multiple of the plan's interval or begins inside one, or energy is given
            of one that the horizon does not begin in.
    """
    index = pd.date_range(start, periods=intervals, freq=step)
    local = index.tz_convert(timezone)
    days = _codes(local, "day")
    found = []
    for charge in charges:
        slots, missing = _measured(charge, index, step, timezone)
        counts = (local.hour >= charge.from_hour) & (local.hour < charge.to_hour)
        if charge.weekdays_only:
            counts &= local.day_of_week < 5
        periods = _codes(local, charge.period)
        for period in np.unique(periods[counts]):
            chosen = np.flatnonzero(counts & (periods == period))
            # By day first: a clock put back over midnight shows the day before once more.
            order = chosen[np.lexsort((slots[chosen], days[chosen]))]
            _, slot_first, per_slot = np.unique(
                days[order] * len(index) + slots[order], return_index=True, return_counts=True
            )
            day_ids, slot_day = np.unique(days[order][slot_first], return_inverse=True)
            slot_intervals, slot_so_far = per_slot.astype(np.float64), np.zeros(len(slot_first))
            so_far = np.zeros(len(day_ids))
            if day_ids[0] == days[0]:
                so_far[0] = charge.peak_today_so_far_kw
            if order[0] == 0:
                slot_intervals[0] += missing
                slot_so_far[0] = charge.measured_so_far_kwh / (slot_intervals[0] * (step / ONE_HOUR))
                so_far[0] = max(so_far[0], slot_so_far[0])
            begins_here = bool(period == periods[0])
            earlier = list(charge.daily_peaks_so_far_kw) if begins_here else []
            if begins_here and day_ids[0] != days[0]:
                # Nothing more of today counts, but its peak does.
                earlier.append(charge.peak_today_so_far_kw)
            earlier.sort(reverse=True)
            found.append(
                PeakPeriod(
                    charge=charge,
                    start=index[int(chosen[0])],
                    inside=order,
                    slot_first=slot_first,
                    slot_intervals=slot_intervals,
                    slot_so_far_kw=slot_so_far,
                    slot_day=slot_day,
                    day_so_far_kw=so_far,
                    earlier_kw=tuple(earlier[: charge.largest_daily_peaks]),
                )
            )
    return tuple(found)


def _measured(charge: DemandCharge, index: pd.DatetimeIndex, step: pd.Timedelta, timezone: str) -> tuple[IntArray, int]:
    """Number of the measuring interval that each interval is in, and how many intervals the first lacks before."""
    slots, missing = np.arange(len(index)), 0
    if charge.measured_over_minutes is not None:
        length = pd.Timedelta(minutes=charge.measured_over_minutes)
        if ONE_HOUR % length or length % step:
            raise InputError(
                "demand_charges.measured_over_minutes",
                f"value {charge.measured_over_minutes} min at {index[0].isoformat()} is no multiple of the interval of "
                f"{step / pd.Timedelta(minutes=1):g} min that divides the hour",
                "plan in intervals that divide it",
            )
        clock = ClockIntervals.read("demand_charges.measured_over_minutes", index, step, timezone, length)
        slots, missing = clock.number, clock.before
    if charge.measured_so_far_kwh and not missing:
        raise InputError(
            "demand_charges.measured_so_far_kwh",
            f"value {charge.measured_so_far_kwh:g} kWh, but in {timezone} a measuring interval begins with the first "
            f"interval, {index[0].isoformat()}, and nothing is measured of it yet",
            "leave it out; the peaks of earlier ones are peak_today_so_far_kw and daily_peaks_so_far_kw",
        )
    return slots, missing


def _codes(local: pd.DatetimeIndex, period: str) -> IntArray:
    """Number of the calendar period that each interval is in, rising."""
    if period == "horizon":
        return np.zeros(len(local), dtype=np.int64)
    if period == "day":
        return np.asarray(pd.factorize(local.tz_localize(None).normalize())[0], dtype=np.int64)
    number = local.year if period == "year" else local.year * 12 + local.month
    return np.asarray(pd.factorize(number)[0], dtype=np.int64)
