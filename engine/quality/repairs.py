"""The repairs, each under its name; what each may touch is what its rule finds, nothing else.

A repair *restates* where it says exactly the same in another way (order, clock, unit); else it replaces what was
measured, and the samples that it replaces are marked as changed.
"""

from __future__ import annotations

import inspect as python_inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask
from engine.errors import InputError
from engine.quality import values
from engine.quality.clock import checked_zone, local_to_utc
from engine.quality.quantity import About, factor_of
from engine.quality.reading import Grid, Numbers, numbers_if_all, numbers_of, runs, step_of
from engine.quality.rows import out_of_order, repeated
from engine.quality.scale import scale_ratio
from engine.timeline import ONE_HOUR

RESETS = ("never", "day", "hour")
METHODS = ("linear", "previous", "last_week")


@dataclass(frozen=True, eq=False)
class Data:
    """Samples on their way through repairs: columns `value` and `changed`, by time."""

    table: pd.DataFrame
    about: About
    known_step: pd.Timedelta | None = None

    @property
    def index(self) -> pd.DatetimeIndex:
        """Times of the rows."""
        return pd.DatetimeIndex(self.table.index)

    @property
    def step(self) -> pd.Timedelta:
        """What lies between two rows."""
        return step_of(self.index, self.known_step)

    def numbers(self) -> Numbers:
        """The values as numbers."""
        return numbers_of(self.table["value"])

    def grid(self) -> Grid:
        """The values on their grid.

        Raises:
            InputError: Some are text, or have no time.
        """
        if not pd.api.types.is_float_dtype(self.table["value"].dtype) or self.index.hasnans:
            raise InputError(
                "raw",
                "there are rows that are text or have no time",
                "begin with decimal_comma_to_point, unreadable_to_missing or drop_rows_without_time",
            )
        return Grid.of(self.table["value"], self.step)

    def on(self, index: pd.DatetimeIndex, value: object, changed: object) -> Data:
        """The same with other rows."""
        return replace(self, table=pd.DataFrame({"value": value, "changed": changed}, index=index))

    def with_values(self, value: object, changing: Mask) -> Data:
        """The same rows with other values, some of them marked as changed."""
        return self.on(self.index, value, self.table["changed"].to_numpy() | changing)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a repair did."""

    data: Data
    touched: pd.DatetimeIndex
    """Times of the rows that it concerned."""
    note: str = ""


@dataclass(frozen=True)
class Repair:
    """One repair: what it does, what it is told, and whether it only restates."""

    name: str
    apply: Callable[..., Outcome]
    restates: bool

    @property
    def parameters(self) -> tuple[str, ...]:
        """What stands behind the colon."""
        return tuple(python_inspect.signature(self.apply).parameters)[1:]

    @property
    def meaning(self) -> str:
        """First line of its description."""
        return (self.apply.__doc__ or "").partition("\n")[0]

    @property
    def usage(self) -> str:
        """How it is written, as ``fill_gaps_up_to:MINUTES,METHOD``."""
        return self.name + (":" + ",".join(self.parameters).upper() if self.parameters else "")


REPAIRS: dict[str, Repair] = {}


def _named(*, restates: bool) -> Callable[[Callable[..., Outcome]], Callable[..., Outcome]]:
    def register(function: Callable[..., Outcome]) -> Callable[..., Outcome]:
        REPAIRS[function.__name__] = Repair(function.__name__, function, restates)
        return function

    return register


@_named(restates=True)
def decimal_comma_to_point(data: Data) -> Outcome:
    """Read text with a decimal comma as numbers."""
    read = data.numbers()
    text = data.table["value"].astype(object).to_numpy(copy=True)
    text[read.with_comma] = read.values[read.with_comma]
    return Outcome(data.with_values(numbers_if_all(pd.Series(text)), _none(data)), data.index[read.with_comma])


@_named(restates=True)
def unreadable_to_missing(data: Data) -> Outcome:
    """Take what is no number, by all means, as missing."""
    read = data.numbers()
    text = data.table["value"].astype(object).to_numpy(copy=True)
    text[read.unreadable] = np.nan
    return Outcome(data.with_values(numbers_if_all(pd.Series(text)), _none(data)), data.index[read.unreadable])


@_named(restates=True)
def drop_rows_without_time(data: Data) -> Outcome:
    """Leave out rows that have no time."""
    lacking = np.asarray(data.index.isna())
    return Outcome(replace(data, table=data.table[~lacking]), data.index[lacking])


@_named(restates=True)
def sort_by_time(data: Data) -> Outcome:
    """Put rows in order of time; rows of one time stay in theirs."""
    touched = data.index[out_of_order(data.index)]
    return Outcome(replace(data, table=data.table.sort_index(kind="stable")), touched)


@_named(restates=True)
def drop_equal_duplicates(data: Data) -> Outcome:
    """Keep one of the rows that have one time and one value."""
    equal, _ = repeated(data.table[["value"]])
    dropped = equal & np.asarray(data.index.duplicated())
    return Outcome(replace(data, table=data.table[~dropped]), data.index[dropped])


@_named(restates=False)
def mean_of_conflicting_duplicates(data: Data) -> Outcome:
    """Put the mean in place of rows that have one time and several values."""
    data.grid()
    _, conflicting = repeated(data.table[["value"]])
    kept = ~(conflicting & np.asarray(data.index.duplicated()))
    means = data.table.loc[conflicting, "value"].groupby(level=0).mean()
    mended = data.with_values(data.table["value"], conflicting).table[kept].copy()
    place = mended.index.isin(means.index)
    mended.loc[place, "value"] = means.reindex(mended.index[place]).to_numpy()
    return Outcome(replace(data, table=mended), data.index[conflicting])


@_named(restates=True)
def naive_is_utc(data: Data) -> Outcome:
    """Say that times without a zone are UTC."""
    if data.index.tz is not None:
        return _nothing(data)
    index = data.index.tz_localize("UTC")
    return Outcome(replace(data, table=data.table.set_axis(index)), index)


@_named(restates=True)
def local_clock_to_utc(data: Data, zone: str) -> Outcome:
    """Read times as those of a local clock, whatever zone they claim; of an hour shown twice the first comes first."""
    index = local_to_utc(data.index, checked_zone(zone))
    real = ~np.asarray(index.isna())
    if data.index.tz is not None and index.equals(data.index):
        return _nothing(data)
    note = "" if real.all() else f"{int((~real).sum())} rows of an hour that the clock left out are dropped"
    return Outcome(replace(data, table=data.table.set_axis(index)[real]), index[real], note)


@_named(restates=True)
def end_labels_to_start(data: Data) -> Outcome:
    """Label intervals by their begin instead of their end."""
    index = data.index - data.step
    return Outcome(replace(data, table=data.table.set_axis(index)), index)


@_named(restates=True)
def scale_unit(data: Data, from_unit: str, to_unit: str) -> Outcome:
    """Express all values, which are in one unit, in another."""
    step = data.step
    (from_factor, from_base), (to_factor, to_base) = factor_of(from_unit, step), factor_of(to_unit, step)
    if from_base != to_base:
        raise InputError("scale_unit", f"{from_unit} is none of {to_unit}", "name two units of one quantity")
    if from_unit == to_unit:
        return _nothing(data)
    data.grid()
    scaled = data.with_values(data.table["value"] * (from_factor / to_factor), _none(data))
    return Outcome(replace(scaled, about=replace(data.about, unit=to_unit)), data.index)


@_named(restates=False)
def rescale_changed_stretch(data: Data) -> Outcome:
    """Bring stretches in another unit to the scale of the rest."""
    grid = data.grid()
    ratio = pd.Series(scale_ratio(grid, data.about), grid.index).reindex(data.index).fillna(1.0).to_numpy()
    return _replaced(data, ratio != 1, data.table["value"].to_numpy() / ratio)


@_named(restates=True)
def difference_register(data: Data, reset: str) -> Outcome:
    """Turn a register of energy into mean powers [kW].

    One that is never reset holds readings at instants; one that is reset, the energy since then, its interval included.
    """
    if reset not in RESETS:
        raise InputError("difference_register", f"value {reset!r} is no reset", f"write one of {', '.join(RESETS)}")
    _refuse_disorder(data)
    grid = data.grid()
    per_kw = grid.step / ONE_HOUR / (factor_of(data.about.unit, ONE_HOUR)[0] if data.about.unit else 1.0)
    if reset == "never":
        rise = np.append(np.diff(grid.values), np.nan)
        back = rise < 0
    else:
        clock = grid.index if data.about.timezone is None else _local(grid.index, data.about.timezone)
        period = clock.tz_localize(None).floor("h" if reset == "hour" else "D").asi8
        rise = np.append(np.nan, np.diff(grid.values))
        starts = np.append(False, np.diff(period) != 0)
        rise = np.where(starts, grid.values, rise)
        back = rise < 0
    kept = grid.has_row.copy()
    kept[-1 if reset == "never" else 0] &= reset != "never" and bool(np.isfinite(rise[0]))
    changed = data.table["changed"].reindex(grid.index, fill_value=False).to_numpy() | back
    mended = data.on(grid.index[kept], np.where(back, np.nan, rise / per_kw)[kept], changed[kept])
    note = f"{int(back.sum())} steps back are missing now" if back.any() else ""
    return Outcome(replace(mended, about=replace(data.about, unit="kW")), mended.index, note)


@_named(restates=False)
def clip_negative_up_to(data: Data, kw: float) -> Outcome:
    """Take values a little below 0 as 0; what is further below stays."""
    grid = data.grid()
    value = data.table["value"].to_numpy()
    little = (value < 0) & (value * data.about.factor(grid.step) >= -kw)
    note = f"{int((value < 0).sum() - little.sum())} below -{kw:g} kW stay"
    return replace(_replaced(data, little, 0.0), note=note if (value < 0).sum() > little.sum() else "")


@_named(restates=False)
def mask_spikes(data: Data) -> Outcome:
    """Take values far above all others as missing."""
    return _masked(data, values.spike(data.grid(), data.about))


@_named(restates=False)
def mask_stuck(data: Data, hours: float) -> Outcome:
    """Take values that do not move for so long as missing."""
    _refuse_fewer(hours, values.STUCK_H, "mask_stuck")
    return _masked(data, values.stuck(data.grid(), data.about, hours))


@_named(restates=False)
def mask_interpolated(data: Data, hours: float) -> Outcome:
    """Take values that lie on a straight line for so long as missing."""
    _refuse_fewer(hours, values.INTERPOLATED_H, "mask_interpolated")
    return _masked(data, values.interpolated(data.grid(), data.about, hours))


@_named(restates=False)
def fill_gaps_up_to(data: Data, minutes: float, method: str) -> Outcome:
    """Fill what is missing for no longer: on a line, by the value before, or by that of last week at the local time."""
    if method not in METHODS:
        raise InputError("fill_gaps_up_to", f"value {method!r} is no method", f"write one of {', '.join(METHODS)}")
    _refuse_disorder(data)
    grid = data.grid()
    filled, stay = np.zeros(len(grid.values), dtype=bool), 0
    known = pd.Series(grid.values)
    if method == "linear":
        source = known.interpolate(limit_area="inside").to_numpy()
    elif method == "previous":
        source = known.ffill().to_numpy()
    else:
        source = known.set_axis(grid.index).reindex(_week_before(grid.index, data.about.timezone)).to_numpy()
    for first, last in runs(np.isnan(grid.values)):
        gap = slice(first, last + 1)
        if (last - first + 1) * grid.step <= pd.Timedelta(minutes=minutes) and np.isfinite(source[gap]).all():
            filled[gap] = True
        else:
            stay += 1
    new = pd.DataFrame({"value": source[filled], "changed": True}, index=grid.index[filled])
    old = data.table[~data.table.index.isin(new.index)]
    table = pd.concat([old, new]).sort_index(kind="stable") if len(new) else data.table
    note = f"{stay} gaps stay: longer, or with nothing to fill them from" if stay else ""
    return Outcome(replace(data, table=table), pd.DatetimeIndex(new.index), note)


def parsed(text: str) -> tuple[Repair, tuple[str | float, ...]]:
    """A repair as people write it, ``name:argument,argument``, and what it is told.

    Raises:
        InputError: There is no such repair, or it is told too little, too much or nonsense.
    """
    name, _, rest = text.strip().partition(":")
    if name not in REPAIRS:
        raise InputError("repair", f"{name!r} is unknown", f"write one of {', '.join(REPAIRS)}")
    rule = REPAIRS[name]
    given = [each.strip() for each in rest.split(",")] if rest else []
    if len(given) != len(rule.parameters):
        raise InputError("repair", f"{text!r} has {len(given)} arguments", f"write it as {rule.usage}")
    annotations = python_inspect.signature(rule.apply).parameters
    return rule, tuple(
        _number(rule, each) if annotations[parameter].annotation == "float" else each
        for parameter, each in zip(rule.parameters, given, strict=True)
    )


def _number(rule: Repair, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise InputError(rule.name, f"value {text!r} is no number above 0", f"write it as {rule.usage}")
    return number


def _replaced(data: Data, where: Mask, value: float | Array) -> Outcome:
    """Put values in place of those of some rows."""
    return Outcome(data.with_values(np.where(where, value, data.table["value"].to_numpy()), where), data.index[where])


def _masked(data: Data, mask: Mask) -> Outcome:
    marks = pd.Series(mask, data.grid().index).reindex(data.index, fill_value=False).to_numpy()
    return _replaced(data, marks, np.nan)


def _refuse_fewer(hours: float, found_from: float, name: str) -> None:
    if hours < found_from:
        raise InputError(
            name, f"value {hours:g} h is below {found_from:g} h, from which on it is a finding", "give more"
        )


def _week_before(index: pd.DatetimeIndex, timezone: str | None) -> pd.DatetimeIndex:
    week = pd.Timedelta(days=7)
    if timezone is None or index.tz is None:
        return index - week
    wall = _local(index, timezone).tz_localize(None) - week
    return wall.tz_localize(timezone, ambiguous=np.ones(len(wall), bool), nonexistent="shift_forward").tz_convert("UTC")


def _local(index: pd.DatetimeIndex, timezone: str) -> pd.DatetimeIndex:
    return index if index.tz is None else index.tz_convert(timezone)


def _refuse_disorder(data: Data) -> None:
    if not data.index.is_monotonic_increasing or not data.index.is_unique:
        raise InputError(
            "raw.index", "times go back or repeat", "begin with sort_by_time, and the repairs of duplicates"
        )


def _none(data: Data) -> Mask:
    return np.zeros(len(data.table), dtype=bool)


def _nothing(data: Data) -> Outcome:
    return Outcome(data, data.index[:0])
