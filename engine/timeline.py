"""Time: the contract that every series keeps, local days, and changes of step.

A series is regular, complete, aware, and labelled by the start of half-open intervals [start, end).
Inside the engine its index is UTC. A local day may have 23, 24 or 25 hours; nothing here assumes 24.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np
import numpy.typing as npt
import pandas as pd
from pydantic import AfterValidator

from engine.errors import InputError

ONE_HOUR = pd.Timedelta(hours=1)
SHORTEST_STEP = pd.Timedelta(seconds=1)
# Names that stand for whatever the machine is set to.
ZONES_OF_THE_MACHINE = frozenset({"localtime", "Factory", "posixrules"})


def _is_known_zone(name: str) -> str:
    try:
        if name in ZONES_OF_THE_MACHINE:
            raise ValueError(name)
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"value {name!r} is no IANA time zone; write one like 'Europe/Copenhagen'") from error
    return name


TimeZoneName = Annotated[str, AfterValidator(_is_known_zone)]


def utc_index(name: str, index: pd.Index) -> pd.DatetimeIndex:
    """Check that an index keeps the contract and return it in UTC.

    Args:
        name: What to call the series in an error.
        index: The index of a series; shape (T,).

    Returns:
        The same instants in UTC, named ``start``.

    Raises:
        InputError: The index is naive, unsorted, repeated, has a gap, or a step that does not divide the hour.
    """
    if not isinstance(index, pd.DatetimeIndex):
        raise InputError(f"{name}.index", f"it is {type(index).__name__}", "index the series by time (DatetimeIndex)")
    if len(index) == 0:
        raise InputError(f"{name}.index", "it has no rows", "give at least one interval")
    if index.tz is None:
        raise InputError(
            f"{name}.index",
            f"times have no zone (first: {index[0].isoformat()})",
            "add the offset, for example 2026-02-03T00:00:00+01:00, or use tz_localize",
        )
    if index.hasnans:
        position = int(index.isna().argmax())
        after = f", after {index[position - 1].isoformat()}" if position else ""
        raise InputError(
            f"{name}.index", f"the time of interval {position} is missing (NaT){after}", "give every interval its start"
        )
    try:
        utc = index.tz_convert("UTC").as_unit("ns")
    except pd.errors.OutOfBoundsDatetime:
        raise InputError(f"{name}.index", f"{index[0]} or a later time is out of range", "correct the year") from None
    if len(utc) > 1:
        _refuse_irregular(name, utc)
    return pd.DatetimeIndex(utc, name="start")


def _refuse_irregular(name: str, utc: pd.DatetimeIndex) -> None:
    differences = np.diff(utc.asi8)
    if differences.min() <= 0:
        position = int((differences <= 0).argmax())
        fault = "is repeated" if differences[position] == 0 else "comes after a later one"
        raise InputError(
            f"{name}.index",
            f"{_stamp(utc[position + 1])} {fault}",
            "give each interval once, in order of time",
        )
    lengths, counts = np.unique(differences, return_counts=True)
    step = pd.Timedelta(int(lengths[counts.argmax()]), unit="ns")
    if len(lengths) > 1:
        position = int((differences != step.value).argmax())
        raise InputError(
            f"{name}.index",
            f"after {_stamp(utc[position])} comes {_stamp(utc[position + 1])}, but the step is {_minutes(step)}",
            "fill the gap or resample to one step",
        )
    _refuse_odd_step(f"{name}.index", utc[0], step)


def _refuse_odd_step(field: str, first: pd.Timestamp, step: pd.Timedelta) -> None:
    if step < SHORTEST_STEP or ONE_HOUR % step != pd.Timedelta(0):
        raise InputError(
            field,
            f"the step {_minutes(step)} from {_stamp(first)} on does not divide the hour",
            "use 5, 10, 15, 30 or 60 minutes",
        )


def step_hours(index: pd.DatetimeIndex) -> float:
    """Length of the intervals of a checked index [h].

    Raises:
        InputError: There is one interval only and the index carries no `freq` that tells its length.
    """
    if len(index) > 1:
        return float((index[1] - index[0]) / ONE_HOUR)
    if index.freq is None:
        raise InputError("start", "one interval alone does not tell its length", "give two or more")
    step = index[0] + index.freq - index[0]
    _refuse_odd_step("start", index[0], step)
    return float(step / ONE_HOUR)


def local_day(day: dt.date, timezone: str, step: pd.Timedelta) -> pd.DatetimeIndex:
    """Starts of the intervals of one local calendar day, in UTC.

    Args:
        day: The local date.
        timezone: IANA name of the zone.
        step: Length of an interval.

    Returns:
        92, 96 or 100 quarter-hours (23, 24 or 25 hours) as a UTC index named ``start``.
    """
    zone = ZoneInfo(timezone)
    begin = dt.datetime.combine(day, dt.time(), zone)
    end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone)
    return pd.date_range(
        begin.astimezone(dt.UTC), end.astimezone(dt.UTC), freq=step, inclusive="left", name="start", unit="ns"
    )


@dataclass(frozen=True, eq=False)
class ClockIntervals:
    """Full hours, half-hours or quarters of a local clock, and which of them T shorter intervals are in.

    They begin where the wall clock shows a full one, which 30 or 45 minutes off UTC is no full hour there, and where it
    is put forward or back: an hour that is shown twice is two of them.
    """

    number: npt.NDArray[np.int64]
    """Which of them each interval is in, from 0 on and rising by time, shape (T,)."""
    before: int
    """How many steps of the first lie before the index."""
    after: int
    """How many steps of the last lie behind the index."""

    @classmethod
    def read(
        cls, name: str, index: pd.DatetimeIndex, step: pd.Timedelta, timezone: str, length: pd.Timedelta
    ) -> ClockIntervals:
        """Lay the clock's intervals over an index.

        Args:
            name: The field that asks for them, for errors.
            index: Starts of regular intervals [UTC]; shape (T,).
            step: Length of these; it divides `length`.
            timezone: IANA name of the zone.
            length: What the clock's intervals last; it divides the hour.

        Raises:
            InputError: One of them begins inside an interval of the index.
        """
        steps = length // step
        around = pd.date_range(index[0] - steps * step, periods=len(index) + 2 * steps, freq=step, unit="ns")
        wall = around.tz_convert(timezone).tz_localize(None)
        offset = wall.asi8 - around.asi8
        whole, into = np.divmod(wall.asi8, length.value)
        own = slice(steps, steps + len(index))
        straddling = into[own] + step.value > length.value
        if straddling.any():
            raise InputError(
                name,
                f"an interval of {_minutes(length)} by the clock of {timezone} begins inside that of {_minutes(step)} "
                f"from {_stamp(index[int(straddling.argmax())])}",
                "use shorter intervals, or such as begin with it",
            )
        number = np.concatenate([[0], np.cumsum((np.diff(whole) != 0) | (np.diff(offset) != 0))])
        first, last = number[own][[0, -1]]
        return cls(
            number=number[own] - first,
            before=int((number[: own.start] == first).sum()),
            after=int((number[own.stop :] == last).sum()),
        )


def hold(series: pd.Series, step: pd.Timedelta) -> pd.Series:
    """Split the intervals of a price or a mean power into shorter ones of equal value.

    Args:
        series: Price or mean power on a checked UTC index.
        step: The new step; it divides the old one.

    Returns:
        The series on the finer index, covering the same time.

    Raises:
        InputError: The new step does not divide the old one.
    """
    index = utc_index("series", series.index)
    old = pd.Timedelta(hours=step_hours(index))
    if step <= pd.Timedelta(0) or old % step != pd.Timedelta(0):
        raise InputError("step", f"{_minutes(step)} does not divide {_minutes(old)}", "choose a divisor")
    fine = pd.date_range(index[0], index[-1] + old, freq=step, inclusive="left", name="start", unit="ns")
    return series.set_axis(index).reindex(fine, method="ffill")


def _stamp(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _minutes(step: pd.Timedelta) -> str:
    return f"{step / pd.Timedelta(minutes=1):g} min"
