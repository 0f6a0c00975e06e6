"""Raw samples become numbers, and lie on the regular grid that their times imply."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array, Mask
from engine.errors import InputError
from engine.quality.findings import Stretch

NO_VALUE = frozenset({"", "nan", "na", "n/a", "null", "none", "-"})
# A stamp of another decade must not become millions of missing rows.
LARGEST_GRID = 20_000_000
_COMMA = re.compile(r"^\s*[+-]?(\d+|\d{1,3}([.\s]\d{3})+)?,\d+\s*$")


def times_of(raw: pd.Series | pd.DataFrame) -> pd.DatetimeIndex:
    """The times of raw samples: UTC where they carry a zone, else as they are.

    Raises:
        InputError: The index holds no times, or no rows.
    """
    if not isinstance(raw.index, pd.DatetimeIndex):
        raise InputError("raw.index", f"it is {type(raw.index).__name__}", "index the samples by time (DatetimeIndex)")
    if len(raw) == 0:
        raise InputError("raw", "it has no rows", "give some samples")
    index = raw.index.as_unit("ns")
    return index if index.tz is None else index.tz_convert("UTC")


@dataclass(frozen=True, eq=False)
class Numbers:
    """Samples as floats, NaN where there is none, and which of them were no plain numbers."""

    values: Array
    with_comma: Mask
    unreadable: Mask
    first_unreadable: str = ""


def numbers_of(samples: pd.Series) -> Numbers:
    """Read samples as numbers; text with a decimal comma too, without keeping quiet about it."""
    none = np.zeros(len(samples), dtype=bool)
    if pd.api.types.is_bool_dtype(samples.dtype):
        return Numbers(np.full(len(samples), np.nan), none, ~none, str(samples.iloc[0]))
    if pd.api.types.is_numeric_dtype(samples.dtype) and not pd.api.types.is_complex_dtype(samples.dtype):
        values = samples.to_numpy(dtype=np.float64, na_value=np.nan)
        return Numbers(values, none, ~np.isfinite(values) & ~np.isnan(values), "inf")
    text = ["" if value is None or value is pd.NA else str(value).strip() for value in samples]
    with_comma = np.array([bool(_COMMA.match(each)) for each in text])
    plain = [
        re.sub(r"[.\s]", "", each).replace(",", ".") if comma else each
        for each, comma in zip(text, with_comma, strict=True)
    ]
    empty = np.array([each.lower() in NO_VALUE for each in text])
    values = pd.to_numeric(pd.Series(plain, dtype=object).mask(empty), errors="coerce").to_numpy(np.float64)
    unreadable = ~np.isfinite(values) & ~empty
    first = text[int(unreadable.argmax())] if unreadable.any() else ""
    return Numbers(np.where(unreadable, np.nan, values), with_comma, unreadable, first)


def numbers_if_all(samples: pd.Series) -> npt.NDArray[Any]:
    """Samples as floats if all of them are plain numbers or missing, else as they came."""
    read = numbers_of(samples)
    as_they_came = read.with_comma.any() or read.unreadable.any()
    return samples.astype(object).to_numpy() if as_they_came else read.values


def step_of(index: pd.DatetimeIndex, step: pd.Timedelta | None = None) -> pd.Timedelta:
    """The step that times keep most often, or the one that somebody knows.

    Raises:
        InputError: There are fewer than two different times, or the step is not above 0.
    """
    if step is not None:
        if not step > pd.Timedelta(0):
            raise InputError("step", f"value {step} is not above 0", "write one like '15min'")
        return step
    differences = np.diff(np.unique(index.dropna().asi8))
    if len(differences) == 0:
        raise InputError("step", "one time alone does not tell it", "give two or more, or the step")
    lengths, counts = np.unique(differences, return_counts=True)
    return pd.Timedelta(int(lengths[counts.argmax()]), unit="ns")


def on_grid(index: pd.DatetimeIndex, step: pd.Timedelta) -> Mask:
    """Which times are whole steps away from most others."""
    phase = index.asi8 % step.value
    phases, counts = np.unique(phase, return_counts=True)
    return np.asarray(phase == phases[counts.argmax()])


@dataclass(frozen=True, eq=False)
class Grid:
    """A series on the regular grid from its first time to its last: each time once, NaN where there is nothing."""

    index: pd.DatetimeIndex
    values: Array
    step: pd.Timedelta
    has_row: Mask
    """Which of these times the samples have at all."""

    @classmethod
    def of(cls, samples: pd.Series, step: pd.Timedelta) -> Grid:
        """Lay samples on their grid; of repeated times the first counts.

        Raises:
            InputError: The times span more steps than anybody means.
        """
        kept = samples[on_grid(pd.DatetimeIndex(samples.index), step)]
        kept = kept[~kept.index.duplicated()]
        begin, end = kept.index.min(), kept.index.max()
        steps = (end - begin) // step
        if steps > LARGEST_GRID:
            raise InputError(
                "raw.index", f"{begin} to {end} are {steps} steps of {step}", "remove the stray time, or give the step"
            )
        index = pd.date_range(begin, end, freq=step)
        return cls(index, kept.reindex(index).to_numpy(np.float64), step, np.asarray(index.isin(kept.index)))

    @property
    def whole(self) -> tuple[Stretch, ...]:
        """All of it as one stretch."""
        return (Stretch(self.index[0], self.index[-1] + self.step, len(self.index)),)

    @property
    def steps_per_day(self) -> int:
        """Intervals in 24 h."""
        return max(1, round(pd.Timedelta(days=1) / self.step))

    def steps(self, hours: float) -> int:
        """Intervals in some hours, at least one."""
        return max(1, round(pd.Timedelta(hours=hours) / self.step))

    def stretches(self, mask: Mask) -> tuple[Stretch, ...]:
        """The runs of a mask over the grid."""
        return tuple(
            Stretch(self.index[first], self.index[last] + self.step, last - first + 1) for first, last in runs(mask)
        )


def stretches_of(times: pd.DatetimeIndex, step: pd.Timedelta) -> tuple[Stretch, ...]:
    """Times as stretches of those that follow each other; of one time every row counts."""
    numbers, counts = np.unique(times.asi8, return_counts=True)
    each = times.unique().sort_values()
    parts = np.split(np.arange(len(numbers)), np.flatnonzero(np.diff(numbers) > step.value) + 1)
    return tuple(Stretch(each[part[0]], each[part[-1]] + step, int(counts[part].sum())) for part in parts if len(part))


def runs(mask: Mask) -> list[tuple[int, int]]:
    """First and last position of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(first), int(last) - 1) for first, last in zip(edges[::2], edges[1::2], strict=True)]


def long_runs(mask: Mask, least: int) -> Mask:
    """The runs of True that last at least so many samples."""
    kept = np.zeros(len(mask), dtype=bool)
    for first, last in runs(mask):
        kept[first : last + 1] = last - first + 1 >= least
    return kept
