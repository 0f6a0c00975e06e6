"""Which clock the times are of: UTC, the local one, begins or ends of intervals."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from pydantic import TypeAdapter, ValidationError

from engine.arrays import Array, Mask
from engine.errors import InputError
from engine.quality.findings import Finding, Severity, Stretch
from engine.quality.quantity import About
from engine.quality.reading import Grid
from engine.quality.sun import dark
from engine.quality.values import solar_noon_h
from engine.timeline import ONE_HOUR, TimeZoneName

# Days on either side of a clock change from which PV tells where noon is.
NOON_DAYS, LEAST_NOON_DAYS = 21, 10
# What chance may do to look like an hour that was filled.
CHANCE_OF_REPEATS = 0.05
# Of all PV, in intervals that are dark: more than twilight gives, and this many times what ends of intervals leave.
DARK_SHARE, DARK_RATIO = 1e-4, 5.0


@dataclass(frozen=True)
class ClockChange:
    """One moment at which the local clock is put forward or back."""

    at: pd.Timestamp
    """[UTC]"""
    before: pd.Timedelta
    after: pd.Timedelta
    """What the local clock shows beyond UTC."""

    @property
    def shift(self) -> pd.Timedelta:
        """How much of the local day is left out, or shown twice."""
        return abs(self.after - self.before)

    @property
    def wall(self) -> tuple[pd.Timestamp, pd.Timestamp]:
        """The times that the local clock leaves out, or shows twice; without a zone."""
        begin = (self.at + min(self.before, self.after)).tz_localize(None)
        return begin, begin + self.shift

    @property
    def is_forward(self) -> bool:
        """Whether an hour is left out."""
        return self.after > self.before


def checked_zone(timezone: str) -> str:
    """The name of a zone.

    Raises:
        InputError: There is no such zone.
    """
    try:
        return TypeAdapter(TimeZoneName).validate_python(timezone)
    except ValidationError as error:
        problem, _, way_out = error.errors()[0]["msg"].removeprefix("Value error, ").partition("; ")
        raise InputError("timezone", problem, way_out) from None


def clock_changes(begin: pd.Timestamp, end: pd.Timestamp, timezone: str) -> list[ClockChange]:
    """All changes of a zone's clock between two times [UTC or none]."""
    first, last = (time if time.tz is not None else time.tz_localize("UTC") for time in (begin, end))
    hours = pd.date_range(first.floor("h"), last.ceil("h"), freq="h")
    ahead = hours.tz_convert(timezone).tz_localize(None).asi8 - hours.tz_localize(None).asi8
    at = np.flatnonzero(np.diff(ahead)) + 1
    return [
        ClockChange(hours[i], pd.Timedelta(int(ahead[i - 1]), unit="ns"), pd.Timedelta(int(ahead[i]), unit="ns"))
        for i in at.tolist()
    ]


def shows_local_clock(index: pd.DatetimeIndex, step: pd.Timedelta, timezone: str) -> bool:
    """Whether the times leave out the hour that the local clock leaves out, and double the one that it doubles."""
    wall = index.tz_localize(None)
    seen = wall.sort_values()
    yes = no = False
    for change in clock_changes(index.min(), index.max(), timezone):
        begin, end = change.wall
        inside = seen[seen.searchsorted(begin) : seen.searchsorted(end)]
        around = seen.searchsorted(begin - step) < seen.searchsorted(begin) and seen.searchsorted(
            end
        ) < seen.searchsorted(end + step)
        if not around:
            continue
        if change.is_forward:
            yes, no = yes or len(inside) == 0, no or len(inside) > 0
        else:
            # An hour that is there once proves nothing: many sources write 24 rows a day.
            yes = yes or (len(inside) > 0 and len(inside) == 2 * len(inside.unique()))
    return yes and not no


def local_to_utc(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    """Times of the local clock as UTC: of an hour shown twice the first comes first; NaT where the clock never was."""
    wall = pd.DatetimeIndex(index.tz_localize(None))
    is_first = ~wall.duplicated()
    local = wall.tz_localize(timezone, ambiguous=is_first, nonexistent="NaT")
    return local.tz_convert("UTC")


def read_clock(
    index: pd.DatetimeIndex, step: pd.Timedelta, timezone: str | None
) -> tuple[pd.DatetimeIndex, list[Finding]]:
    """Say which clock times are of, and turn those of the local clock to UTC for what is looked at next.

    Args:
        index: Times, UTC or without a zone, as they came.
        step: What lies between them.
        timezone: Zone of the place, if known.
    """
    is_local = timezone is not None and shows_local_clock(index, step, timezone)
    seen = local_to_utc(index, str(timezone)) if is_local else index
    whole = (Stretch(seen.min(), seen.max() + step, len(index)),)
    found = []
    if index.tz is None:
        detail = "give the zone of the place to see whether they follow its clock"
        if timezone is not None:
            detail = f"they {'leave out and double hours as' if is_local else 'do not follow'} the clock of {timezone}"
        way_out = f"local_clock_to_utc:{timezone}" if is_local else None
        found.append(Finding.of("naive_stamps", "", whole, len(index), detail=detail, repair=way_out))
    elif is_local:
        detail = f"they leave out and double hours as the clock of {timezone}"
        found.append(
            Finding.of("local_clock", "", whole, len(index), detail=detail, repair=f"local_clock_to_utc:{timezone}")
        )
    return seen, found


def clock_findings(series: str, grid: Grid, about: About) -> Iterator[Finding]:
    """What the values tell about the clock; on times of UTC."""
    if grid.index.tz is not None and about.timezone is not None:
        changes = clock_changes(grid.index[0], grid.index[-1], about.timezone)
        yield from _odd_changes(series, grid, changes)
        if about.kind == "pv":
            yield from _noon_jumps(series, grid, changes, about.timezone)
    if about.kind == "pv":
        yield from _off_by_a_step(series, grid, about)


def ends_by_first_and_last(index: pd.DatetimeIndex, step: pd.Timedelta, timezone: str | None) -> bool:
    """Whether whole days seem to be labelled by ends: the first time is one step into a day, the last is midnight."""
    first, last = index.min(), index.max()
    if last - first <= step or (first == first.normalize() and last + step == (last + step).normalize()):
        return False  # nothing to tell it by, or whole days by their begins
    if timezone is not None and index.tz is not None:
        first, last = first.tz_convert(timezone), last.tz_convert(timezone)
    return bool(first - step == first.normalize() and last == last.normalize())


def _odd_changes(series: str, grid: Grid, changes: list[ClockChange]) -> Iterator[Finding]:
    """The hour that a clock put back shows twice: sources with 24 rows a day lack one of both, or fill it."""
    lacking, filled = np.zeros(len(grid.values), bool), np.zeros(len(grid.values), bool)
    missing = np.isnan(grid.values)
    repeats = np.concatenate([[False], np.diff(grid.values) == 0])
    usual = float(repeats.mean())
    for change in (each for each in changes if not each.is_forward):
        hours = [_between(grid, begin, begin + change.shift) for begin in (change.at - change.shift, change.at)]
        both = hours[0] | hours[1]
        ahead = _between(grid, change.at - 2 * change.shift, change.at - change.shift)
        behind = _between(grid, change.at + change.shift, change.at + 2 * change.shift)
        if missing[both].any() and not (missing[ahead] | missing[behind]).any():
            lacking |= both & missing
        for hour in hours:
            at = np.flatnonzero(hour)
            held = len(at) > 0 and repeats[at].all() and usual ** len(at) < CHANCE_OF_REPEATS
            # Unless the value stands still around it anyway.
            if held and at[0] > 0 and at[-1] + 1 < len(repeats) and not (repeats[at[0] - 1] and repeats[at[-1] + 1]):
                filled |= hour
    for mask, detail in ((lacking, "lacking"), (filled, "filled with the value before")):
        if mask.any():
            yield Finding.of("clock_change", series, grid.stretches(mask), len(grid.values), detail=detail)


def _between(grid: Grid, begin: pd.Timestamp, end: pd.Timestamp) -> Mask:
    return np.asarray((grid.index >= begin) & (grid.index < end))


def _noon_jumps(series: str, grid: Grid, changes: list[ClockChange], timezone: str) -> Iterator[Finding]:
    """PV knows no clock change: if its noon jumps by what the clock is put, the times are those of the clock."""
    jumps = []
    for change in changes:
        span = NOON_DAYS * grid.steps_per_day
        at = int(grid.index.searchsorted(change.at))
        sides = [grid.values[max(0, at - span) : at], grid.values[at : at + span]]
        if min(np.isfinite(side).sum() for side in sides) < LEAST_NOON_DAYS * grid.steps_per_day:
            continue
        before, after = (
            _clear_noon_h(grid, begin, side) for begin, side in zip((max(0, at - span), at), sides, strict=True)
        )
        moved_h = (after - before + 12) % 24 - 12
        jumps.append(moved_h / ((change.after - change.before) / ONE_HOUR))
    if jumps and float(np.mean(jumps)) > 0.5:
        detail = f"noon of PV moves by {np.mean(jumps):.2f} of each change of the clock of {timezone}"
        yield Finding.of(
            "local_clock",
            series,
            grid.whole,
            len(grid.values),
            worst=float(np.mean(jumps)),
            worst_unit="h",
            detail=detail,
            repair=f"local_clock_to_utc:{timezone}",
        )


def _clear_noon_h(grid: Grid, begin: int, values: Array) -> float:
    """Noon by the best days: the level at each time of day that one day in ten reaches."""
    per_day = grid.steps_per_day
    days = len(values) // per_day
    envelope = np.nanquantile(np.nan_to_num(values[: days * per_day]).reshape(days, per_day), 0.9, axis=0)
    return solar_noon_h(grid, begin, envelope)


def _off_by_a_step(series: str, grid: Grid, about: About) -> Iterator[Finding]:
    """PV in the first dark interval of the evening, none in the last of the morning: times are ends. Or the reverse."""
    if about.latitude is None or about.longitude is None or grid.index.tz is None:
        return
    power = np.nan_to_num(np.maximum(grid.values, 0))
    if not power.any():
        return
    in_the_dark = {
        steps: float(power[dark(grid.index + steps * grid.step, grid.step, about.latitude, about.longitude)].sum())
        / float(power.sum())
        for steps in (-1, 0, 1)
    }
    share = in_the_dark[0]
    for rule, steps, remedy in (("end_labels", -1, "if they are ends"), ("early_labels", 1, "a step later")):
        if share > DARK_SHARE and share > DARK_RATIO * in_the_dark[steps]:
            yield Finding.of(
                rule,
                series,
                grid.whole,
                len(grid.values),
                worst=100 * share,
                worst_unit="% of the energy in the dark",
                detail=f"{share:.3%} of the PV falls in the dark, {in_the_dark[steps]:.3%} {remedy}",
                severity=Severity.WARNING,
            )
