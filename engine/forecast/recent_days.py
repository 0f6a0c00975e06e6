"""One figure from many days at the same time of day, newer days weighing more."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.arrays import Array
from engine.forecast.history import History, Positions

# Days that are looked at, and the age at which one counts for a third [d].
LIKE_DAYS = 56
FADING_DAYS = 14.0
SMALLEST_SQUARES = 1e-12


def like_days(history: History, likeness: Callable[[int, Positions], Array], driver: Array | None = None) -> Array:
    """What the usable values at the same local time on like days, at least so old, make expect.

    Args:
        history: The past.
        likeness: What each interval's day so many days ago counts for, given their number and the interval then.
        driver: What the power is proportional to, shape (P,); the weighted least squares of that. None: the mean.

    Returns:
        Shape (M, P) [kW], NaN where there is no such day.
    """
    if driver is None:
        driver = np.ones(len(history.index))
    by_age = np.full((history.most_days, len(history.index)), np.nan)
    products, squares = np.zeros((2, len(history.index)))
    counted = np.zeros(len(history.index), dtype=np.bool_)
    for days in range(history.most_days + LIKE_DAYS, 0, -1):
        positions = history.days_before(days)
        then = np.maximum(positions, 0)
        value, driven = history.values_at(positions), driver[then]
        weight = likeness(days, then) * np.exp(-days / FADING_DAYS)
        seen = ~np.isnan(value + driven)
        products[seen] += (weight * value * driven)[seen]
        squares[seen] += (weight * driven**2)[seen]
        counted |= seen
        if days <= history.most_days:
            # Where the driver has always been 0, as the sun at night, so is the power.
            expected = products * driver / np.maximum(squares, SMALLEST_SQUARES)
            by_age[days - 1] = np.where(counted, expected, np.nan)
    return by_age
