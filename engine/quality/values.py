"""Which values of a series cannot be, or are not what a meter would show.

Each function takes a grid and what is known of the series, and says which samples it finds. The bounds leave room for
what real homes, plants and markets show; docs/data-quality.md has them with the figures they were set by.
"""

from __future__ import annotations

import numpy as np

from engine.arrays import Array, Mask
from engine.inputs import LARGEST_PRICE_EUR_PER_KWH
from engine.quality.quantity import POWERS, About
from engine.quality.reading import Grid, long_runs
from engine.quality.sun import dark

STUCK_H = 6.0
# Markets and tariffs do repeat a price for long.
STUCK_PRICE_H = 24.0
INTERPOLATED_H = 6.0
# On fewer samples a straight line is no surprise.
INTERPOLATED_SAMPLES = 8
# A tariff of some steps is meant to stand still.
TARIFF_PRICES = 24
# The largest real sample seen was 3.9 times the level that 99 % of a load's samples stay below.
SPIKE_FACTOR = 5.0
# What clouds and cold cells add to a nameplate.
RATING_FACTOR = 1.3
# Standby and noise of a meter at night [fraction of the peak].
NIGHT_SHARE = 0.02
# Around solar midnight it is dark at any season up to 60 degrees, and near enough to it beyond.
NIGHT_EACH_SIDE_H = 2.0
NO_PRODUCTION_H = 72.0


def negative(grid: Grid, about: About) -> Mask:
    """Loads and production below 0."""
    return grid.values < 0 if about.kind in POWERS else _none(grid)


def spike(grid: Grid, about: About) -> Mask:
    """Beyond what 99 % of the samples, the rating or any market allow."""
    size: Array = np.abs(grid.values)
    if about.kind == "price":
        return np.asarray(size * about.factor(grid.step) > LARGEST_PRICE_EUR_PER_KWH)
    if about.kind not in POWERS or not (size > 0).any():
        return _none(grid)
    bound = SPIKE_FACTOR * float(np.quantile(size[size > 0], 0.99))
    if about.rated_kw is not None:
        bound = min(bound, RATING_FACTOR * about.rated_kw / about.factor(grid.step))
    return size > bound


def stuck(grid: Grid, about: About, hours: float = 0.0) -> Mask:
    """The same value for long. PV and wind at 0 rest, a tariff of some steps is meant to."""
    if about.kind == "other":
        return _none(grid)
    if about.kind == "price" and len(np.unique(grid.values[np.isfinite(grid.values)])) <= TARIFF_PRICES:
        return _none(grid)
    same = np.diff(grid.values) == 0
    if about.kind in ("pv", "wind"):
        same &= grid.values[1:] != 0
    steps = grid.steps(max(hours, STUCK_PRICE_H if about.kind == "price" else STUCK_H))
    return _samples_of(long_runs(same, max(steps - 1, 2)))


def interpolated(grid: Grid, about: About, hours: float = 0.0) -> Mask:
    """On a straight line for long, as something that fills gaps draws it; flat ones are `stuck`."""
    if about.kind not in POWERS:
        return _none(grid)
    rise = np.diff(grid.values)
    straight = np.abs(np.diff(rise)) <= 2.01 * _resolution(grid.values)
    straight &= (rise[1:] != 0) & (rise[:-1] != 0)
    steps = max(grid.steps(max(hours, INTERPOLATED_H)), INTERPOLATED_SAMPLES)
    return _samples_of(_samples_of(long_runs(straight, steps - 2)))


def pv_at_night(grid: Grid, about: About) -> Mask:
    """PV while it is dark: by the sun where the place is known, else around the midnight that the PV itself implies."""
    if about.kind != "pv" or not (grid.values > 0).any():
        return _none(grid)
    produces = grid.values > NIGHT_SHARE * np.nanquantile(grid.values[grid.values > 0], 0.99)
    if about.latitude is not None and about.longitude is not None and grid.index.tz is not None:
        return produces & dark(grid.index, grid.step, about.latitude, about.longitude)
    middle_h = hour_of_day(grid) + grid.step.total_seconds() / 7200
    from_noon_h = np.abs((middle_h - solar_noon_h(grid) + 12) % 24 - 12)
    return produces & (from_noon_h > 12 - NIGHT_EACH_SIDE_H)


def no_production(grid: Grid, about: About) -> Mask:
    """PV at 0 for days."""
    return long_runs(grid.values == 0, grid.steps(NO_PRODUCTION_H)) if about.kind == "pv" else _none(grid)


def hour_of_day(grid: Grid) -> Array:
    """Hour of the day at which each interval begins [h], by the clock of the index."""
    nanoseconds = 3_600_000_000_000
    return np.asarray(grid.index.asi8 % (24 * nanoseconds) / nanoseconds)


def solar_noon_h(grid: Grid, begin: int = 0, power: Array | None = None) -> float:
    """The hour around which production lies [h], as a mean on the circle of a day.

    Args:
        grid: The series.
        begin: Position of the first sample that counts.
        power: What counts instead of the samples, from there on.
    """
    power = grid.values[begin:] if power is None else power
    middle_h = hour_of_day(grid)[begin : begin + len(power)] + grid.step.total_seconds() / 7200
    where = (np.nan_to_num(np.maximum(power, 0)) * np.exp(2j * np.pi * middle_h / 24)).sum()
    return float(np.angle(where) / (2 * np.pi) * 24 % 24)


def _resolution(values: Array) -> float:
    """The last decimal that nearly all values keep to; next to nothing where they are not rounded."""
    finite = values[np.isfinite(values)]
    for decimals in range(8):
        if (np.abs(finite - np.round(finite, decimals)) < 1e-9).mean() > 0.95:
            return float(10.0**-decimals)
    return float(1e-9 * max(1.0, np.abs(finite).max(initial=0.0)))


def _samples_of(between: Mask) -> Mask:
    """The samples on either side of marked differences."""
    marked = np.zeros(len(between) + 1, dtype=bool)
    marked[1:] |= between
    marked[:-1] |= between
    return marked


def _none(grid: Grid) -> Mask:
    return np.zeros(len(grid.values), dtype=bool)
