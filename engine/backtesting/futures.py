"""What may come, besides what is expected: forecasts that turn out as wrong as earlier ones did.

A plan on the expected load alone misjudges what a stored kWh is worth: loads are spiky, and the mean is rarely what
happens. The errors of an earlier day are taken as a whole, so that they keep their course over time, and load, PV and
the prices not known yet are wrong together as they were then.
"""

from __future__ import annotations

import math

import numpy as np

from engine.arrays import Array


def possible(forecast: Array, actual: Array, rows: slice, every: int, day: int, count: int) -> Array:
    """Futures of a series at some decisions: the forecast, then that with the errors of the newest days that are over.

    Args:
        forecast: At every decision of a history, NaN where nobody can tell yet, shape (D, H).
        actual: What came, NaN where it was not known by the interval's end, shape (T,); a decision's futures lean on
            nothing that came after it.
        rows: Which decisions.
        every: Intervals from one decision to the next.
        day: Intervals in a day.
        count: How many futures, the first included.

    Returns:
        Shape (decisions * count, H), those of a decision together; none is below 0 where the forecast is not. Before
        the first day whose errors are known all are the forecast.
    """
    horizon = forecast.shape[1]
    own = np.arange(rows.start, rows.stop)
    futures = np.repeat(forecast[rows, np.newaxis], count, axis=1)
    # Decisions that repeat at the same time of day are so many intervals apart.
    turn = math.lcm(every, day)
    for number in range(1, count):
        earlier = own - (-(-horizon // turn) + number - 1) * (turn // every)
        there = earlier >= 0
        if there.any():
            came = np.lib.stride_tricks.sliding_window_view(actual, horizon)[earlier[there] * every]
            futures[there, number] += np.nan_to_num(came - forecast[earlier[there]])
    # Powers never fall below 0, and prices no one has foreseen there would be no convex ones any more.
    futures = np.maximum(futures, np.minimum(forecast[rows, np.newaxis], 0.0))
    return np.nan_to_num(futures).reshape(-1, horizon)
