"""Order, repetition and gaps of the times that all series of a file share."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from engine.arrays import Mask
from engine.quality.findings import Finding, Stretch
from engine.quality.reading import on_grid, runs, stretches_of
from engine.timeline import ONE_HOUR, SHORTEST_STEP


def out_of_order(index: pd.DatetimeIndex) -> Mask:
    """Which rows come after a later one."""
    return np.asarray(index.asi8 < np.maximum.accumulate(index.asi8))


def repeated(frame: pd.DataFrame) -> tuple[Mask, Mask]:
    """Which rows repeat the time of another: with equal values, and with others."""
    again = np.asarray(frame.index.duplicated(keep=False))
    conflicting = np.zeros(len(frame), dtype=bool)
    if again.any():
        rows = frame[again]
        differing = rows.groupby(level=0).nunique(dropna=False).gt(1).any(axis=1)
        conflicting[again] = differing.reindex(rows.index).to_numpy()
    return again & ~conflicting, conflicting


def row_findings(frame: pd.DataFrame, step: pd.Timedelta) -> Iterator[Finding]:
    """Everything that is wrong with the times themselves.

    Args:
        frame: Numbers by their times, as they came.
        step: What lies between two rows.
    """
    index = pd.DatetimeIndex(frame.index)
    total = len(index)
    if step < SHORTEST_STEP or ONE_HOUR % step != pd.Timedelta(0):
        minutes = step / pd.Timedelta(minutes=1)
        whole = (Stretch(index.min(), index.max() + step, total),)
        yield Finding.of("odd_step", "", whole, total, worst=minutes, worst_unit="min")
    disorder = out_of_order(index)
    if disorder.any():
        back_min = (np.maximum.accumulate(index.asi8) - index.asi8).max() / pd.Timedelta(minutes=1).value
        blocks = tuple(
            Stretch(index[first : last + 1].min(), index[first : last + 1].max() + step, last - first + 1)
            for first, last in runs(disorder)
        )
        yield Finding.of("unsorted", "", blocks, total, worst=back_min, worst_unit="min")
    equal, conflicting = repeated(frame)
    for rule, mask in (("equal_duplicates", equal), ("conflicting_duplicates", conflicting)):
        if mask.any():
            most = float(np.unique(index.asi8[mask], return_counts=True)[1].max())
            found = stretches_of(index[mask], step)
            yield Finding.of(rule, "", found, total, worst=most, worst_unit="rows of one time")
    stray = ~on_grid(index, step)
    if stray.any():
        yield Finding.of("off_grid", "", stretches_of(index[stray], step), total)
    times = index[~stray].unique().sort_values()
    lacking = np.diff(times.asi8) // step.value - 1
    if lacking.any():
        found = tuple(
            Stretch(times[at] + step, times[at + 1], int(lacking[at])) for at in np.flatnonzero(lacking).tolist()
        )
        longest_min = float(lacking.max() * (step / pd.Timedelta(minutes=1)))
        samples = total + int(lacking.sum())
        yield Finding.of("missing_rows", "", found, samples, worst=longest_min, worst_unit="min")
