"""What forecasters that learn share: when they learn, what the last hours add, and the libraries they need."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.arrays import Array
from engine.errors import TidewattError
from engine.forecast.history import ONE_DAY, History, Positions
from engine.timeline import ONE_HOUR

# What the last hours say of the next is learnt from so many days.
CORRECTION_DAYS = 56
# With so many days only half of it is believed.
UNSURE_DAYS = 4
# Errors smaller than this teach nothing.
SMALLEST_ERROR = 1e-3
TINY = 1e-12


@dataclass(frozen=True, eq=False)
class Lesson:
    """A date on which a forecaster learns anew, and the decisions that lean on it."""

    rows: Positions
    """Numbers of the decisions, at the date or after it."""
    known: int
    """How many of the first intervals were known on that date."""

    def past(self, history: History, days: int) -> slice:
        """The intervals known on that date, of the last so many days."""
        return slice(max(0, self.known - days * history.day), self.known)


def lessons(history: History, every_days: int) -> Iterator[Lesson]:
    """The dates of learning, counted from 1970 on: the same ones whatever decisions are asked for.

    Args:
        history: Whose decisions.
        every_days: Days from one date to the next.
    """
    observed = history.observed
    period = every_days * ONE_DAY.value
    dates = history.decisions.asi8 // period * period
    for date in np.unique(dates):
        known = (date - observed.delay.value - history.index[0].value) // observed.step.value
        yield Lesson(np.flatnonzero(dates == date), max(0, int(known)))


def correction(history: History, lesson: Lesson, error: Array, recent_hours: tuple[float, ...]) -> Array:
    """What the newest known errors add to the forecasts after them, less and less with the lead.

    How much of an error is left after each lead is fitted to the errors known at the lesson.

    Args:
        history: The past.
        lesson: Which decisions, and what is learnt from.
        error: Value less forecast, NaN where there is none; shape (P,). For a decision only the known ones are used.
        recent_hours: Over how many of the last hours errors are averaged [h]; each is a sign of its own.

    Returns:
        Shape (D, H) for the decisions of the lesson.
    """
    per_hour = ONE_HOUR / history.observed.step
    counts = dict.fromkeys(max(1, round(hours * per_hour)) for hours in recent_hours)
    signs = np.stack([_trailing_mean(error, count) for count in counts], axis=1)
    past = lesson.past(history, CORRECTION_DAYS)
    seen_then, outcome = signs[past], error[past]
    # The first forecast interval lies so many behind the newest known one.
    gap = 1 - int(-history.observed.delay // history.observed.step)
    weights = np.zeros((len(counts), history.steps))
    for lead in range(gap, min(gap + history.steps, len(outcome))):
        there = ~np.isnan(outcome[lead:])
        before, after = seen_then[:-lead][there], outcome[lead:][there]
        moments = before.T @ before
        # Few days do not tell how long an error lasts; and signs that say the same are kept apart.
        ridge = (0.01 + UNSURE_DAYS * history.day / len(outcome)) * np.trace(moments)
        moments += np.eye(len(moments)) * (ridge + len(before) * SMALLEST_ERROR**2 + TINY)
        weights[:, lead - gap] = np.linalg.solve(moments, before.T @ after)
    known = history.known[lesson.rows, np.newaxis]
    newest = np.where(known > 0, signs[np.maximum(known[:, 0] - 1, 0)], 0.0)
    # No matrix product: how that sums depends on how many rows there are.
    return np.asarray(sum(newest[:, [sign]] * weights[sign] for sign in range(len(counts))))


def _trailing_mean(values: Array, count: int) -> Array:
    """Mean of the last `count` values that are there, each one's own included; 0 where there is none."""
    there = ~np.isnan(values)
    sums = np.cumsum(np.concatenate([np.zeros((count, 2)), np.stack([np.where(there, values, 0.0), there], 1)]), axis=0)
    total, number = (sums[count:] - sums[:-count]).T
    return np.asarray(total / np.maximum(number, 1.0))


def need(module: str) -> Any:
    """Import a library that only some forecasters need.

    Raises:
        TidewattError: It is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise TidewattError(
            f"{module.partition('.')[0]} is not installed; install it with pip install 'tidewatt[forecast]'"
        ) from error
