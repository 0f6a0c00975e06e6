"""What was known when: series of a history as they looked at each decision, guessed where nobody knew them yet."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array, Mask
from engine.backtesting.reality import Reality

DAY = pd.Timedelta(days=1)
# Settlement prices of imbalance are out within so long of the end of their interval.
IMBALANCE_PUBLISHED_AFTER = pd.Timedelta(hours=1)
# What nobody knows is guessed from so many days.
LATELY_DAYS = 7

Positions = npt.NDArray[np.int64]


def at_decisions(name: str, reality: Reality, at: Positions, horizon: int) -> Array:
    """A series as it was known at some decisions, shape (D, H).

    Prices, positions, schedules and carbon are known when `Reality.known_at` says, quotes when their interval begins,
    the price of imbalance an hour after its end, the price of capacity with the other prices. Until then prices of
    quotes, imbalance and capacity are taken to be their mean at that time of day lately, all else as on the newest
    known day.

    Args:
        name: `import_price`, `export_price`, or of `Reality.others`.
        reality: The history.
        at: The decisions' intervals, shape (D,).
        horizon: How far they look.
    """
    values = reality.others[name] if name in reality.others else np.asarray(getattr(reality, name))
    known_at, guess = reality.known_at, _repeated
    if name in ("bid_price", "ask_price"):
        known_at, guess = reality.index.asi8, _lately
    elif name == "imbalance_price":
        published = reality.step + IMBALANCE_PUBLISHED_AFTER
        known_at, guess = reality.index.asi8 + published.value, _lately
    elif name.startswith("balancing_price"):
        guess = _lately
    return _windows(values, known_at, guess, reality, at, horizon)


Guess = Callable[[Array, npt.NDArray[np.int64], Positions, Positions, int], Array]


def _windows(
    values: Array, known_at: npt.NDArray[np.int64], guess: Guess, reality: Reality, at: Positions, horizon: int
) -> Array:
    decided = reality.index.asi8[at][:, np.newaxis]
    rows = at[:, np.newaxis] + np.arange(horizon)
    inside = np.minimum(rows, len(values) - 1)
    told = (known_at[inside] <= decided) & (rows < len(values))
    return np.where(told, values[inside], guess(values, known_at, rows, decided, int(DAY // reality.step)))


def _repeated(values: Array, known_at: npt.NDArray[np.int64], rows: Positions, decided: Positions, day: int) -> Array:
    """For each interval the value of the newest known day at the same time, shape (D, H)."""

    def late(source: Positions) -> Mask:
        return (source >= len(values)) | (known_at[np.clip(source, 0, len(values) - 1)] > decided)

    source = rows.copy()
    for _ in range(int(rows.shape[1] // day) + 3):
        later = late(source) & (source >= day)
        if not later.any():
            break
        source[later] -= day
    found = values[np.clip(source, 0, len(values) - 1)]
    never = late(source)
    return np.where(never, _so_far(values, known_at, decided), found) if never.any() else found


def _lately(values: Array, known_at: npt.NDArray[np.int64], rows: Positions, decided: Positions, day: int) -> Array:
    """For each interval the mean at the same time of the newest known days, shape (D, H)."""
    total, count = np.zeros(rows.shape), np.zeros(rows.shape)
    for back in range(1, rows.shape[1] // day + LATELY_DAYS + 2):
        source = rows - back * day
        inside = np.clip(source, 0, len(values) - 1)
        there = (source >= 0) & (source < len(values)) & (known_at[inside] <= decided) & (count < LATELY_DAYS)
        total += np.where(there, values[inside], 0.0)
        count += there
    return np.where(count > 0, total / np.maximum(count, 1), _so_far(values, known_at, decided))


def _so_far(values: Array, known_at: npt.NDArray[np.int64], decided: Positions) -> Array:
    """The mean of all that is known, 0 where nothing is, shape (D, 1)."""
    known = np.searchsorted(np.maximum.accumulate(known_at), decided, side="right")
    return np.concatenate([[0.0], np.cumsum(values)])[known] / np.maximum(known, 1)
