"""The checker's own reading of calendars and demand charges; see `engine.checker` for why it is its own."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array
from engine.demand import PEAK_DUST_KW, DemandCharge


class Calendar:
    """What the clock of a time zone shows at the start of every interval."""

    def __init__(self, index: pd.DatetimeIndex, timezone: str) -> None:
        local = index.tz_convert(timezone)
        self._index, self._timezone = index, timezone
        self.hour = local.hour.to_numpy()
        self.weekday = local.day_of_week.to_numpy()
        self.day = (local.year * 10_000 + local.month * 100 + local.day).to_numpy()
        """As 20260203."""
        self.of = {
            "day": self.day,
            "month": self.day // 100,
            "year": self.day // 10_000,
            "horizon": np.zeros_like(self.day),
        }
        """By the name of a calendar period, a number that it alone has."""

    def measured(self, minutes: int, step_h: float) -> tuple[npt.NDArray[np.int64], int]:
        """A number that each measuring interval alone has, and how many intervals of the first are over already."""
        # An hour back is as far as a measuring interval may have begun.
        before = round(1 / step_h)
        times = pd.date_range(self._index[0] - pd.Timedelta(hours=1), self._index[-1], freq=pd.Timedelta(hours=step_h))
        local = times.tz_convert(self._timezone)
        ahead = (local.tz_localize(None) - times.tz_localize(None)) // pd.Timedelta(seconds=1)
        hour = (local.year.astype(np.int64) * 400 + local.day_of_year) * 24 + local.hour
        # The same hour by another distance from UTC is another one.
        label = np.asarray((hour * 60 + local.minute // minutes) * 1_000_000 + ahead, dtype=np.int64)
        return label[before:], int((label[:before] == label[before]).sum())


def added_fees(charge: DemandCharge, calendar: Calendar, step_h: float, import_kw: Array) -> Array:
    """What the import of plans adds to a demand charge, shape (N,), by labels of the intervals."""
    if charge.measured_over_minutes is None:
        label, over = np.arange(import_kw.shape[1]), 0
    else:
        label, over = calendar.measured(charge.measured_over_minutes, step_h)
    _, first, slot, lengths = np.unique(label, return_index=True, return_inverse=True, return_counts=True)
    # In a table of plans by measuring intervals every import has its place.
    place = np.arange(len(import_kw))[:, np.newaxis] * len(first) + slot
    energy_kwh = step_h * np.bincount(place.ravel(), import_kw.ravel(), len(import_kw) * len(first))
    energy_kwh = energy_kwh.reshape(len(import_kw), len(first))
    energy_kwh[:, slot[0]] += charge.measured_so_far_kwh
    lengths[slot[0]] += over
    mean_kw = energy_kwh / (lengths * step_h)
    hour, day, period = calendar.hour[first], calendar.day[first], calendar.of[charge.period][first]
    counts = (charge.from_hour <= hour) & (hour < charge.to_hour)
    if charge.weekdays_only:
        counts &= calendar.weekday[first] < 5
    today = charge.peak_today_so_far_kw
    if counts[slot[0]]:
        today = max(today, charge.measured_so_far_kwh / float(lengths[slot[0]] * step_h))
    added = np.zeros(len(import_kw))
    for number in np.unique(period[counts]):
        inside = counts & (period == number)
        peaks = {name: mean_kw[:, inside & (day == name)].max(axis=1) for name in np.unique(day[inside]).tolist()}
        sunk: list[float] = []
        if number == period[slot[0]]:
            sunk = [*charge.daily_peaks_so_far_kw, today]
            now = int(day[slot[0]])
            peaks[now] = np.maximum(peaks.get(now, 0.0), np.full(len(import_kw), today))
        known = np.tile(sunk[:-1], (len(import_kw), 1))
        added += _fees(charge, np.column_stack([known, *peaks.values()])) - _fees(charge, np.array([sunk]))
    return added


def _fees(charge: DemandCharge, daily_peaks_kw: Array) -> Array:
    """The fee for the mean of the largest daily peaks of each row, shape (N,)."""
    count = charge.largest_daily_peaks
    peak = -np.sort(-daily_peaks_kw, axis=1)[:, :count].sum(axis=1) / count
    fee: Array = np.zeros_like(peak)
    for bound, eur in reversed(charge.steps_eur):
        fee[peak <= (math.inf if bound is None else bound + PEAK_DUST_KW)] = eur
    for position, (start, price) in enumerate(charge.eur_per_kw):
        later = charge.eur_per_kw[position + 1 :]
        fee += price * np.maximum(np.minimum(peak, later[0][0] if later else math.inf) - start, 0.0)
    return fee
