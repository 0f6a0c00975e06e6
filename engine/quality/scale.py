"""Figures in another unit than they claim: all of them, a stretch of them, or a register that counts up."""

from __future__ import annotations

import numpy as np

from engine.arrays import Array, Mask
from engine.inputs import LARGEST_TYPICAL_PRICE_EUR_PER_KWH, POWER_PLAUSIBILITY_FACTOR, POWER_PLAUSIBILITY_FLOOR_KW
from engine.quality.findings import Finding, Severity
from engine.quality.quantity import ENERGY_KWH, POWER_KW, POWERS, About
from engine.quality.reading import Grid
from engine.quality.values import hour_of_day
from engine.timeline import ONE_HOUR

# Nothing that is planned for stays below this all the time [kW].
SMALLEST_PEAK_KW = 0.02
# Nor is half of any market's time cheaper than this [EUR/kWh].
SMALLEST_TYPICAL_PRICE_EUR_PER_KWH = 0.0005
# Below this many days PV may not have had a clear one.
DAYS_WITH_A_CLEAR_ONE = 60
# W for kW, and per MWh for per kWh.
THOUSAND = 1000.0
# Four days on either side tell a thousand within this factor; 14 tell kWh per interval for kW.
THOUSAND_DAYS, THOUSAND_WITHIN = 4, 8.0
ENERGY_DAYS, ENERGY_WITHIN = 14, 1.6
# Of the best of its day: dawn and dusk say nothing of the scale [fraction].
DAYLIGHT_SHARE = 0.2
# A register rises nearly always where it moves at all.
RISING_SHARE = 0.97
RISES = 20
# How bad, why, and the repair.
Doubt = tuple[Severity, str, str]


def unit_finding(series: str, grid: Grid, about: About, usual: Mask) -> Finding | None:
    """Whether the figures fit what they should be; by those that are `usual`, of one scale."""
    size = np.abs(grid.values[np.isfinite(grid.values) & usual]) * about.factor(grid.step)
    if not size.any():
        return None
    if about.kind == "price":
        doubt, figure, unit = _price_doubt(size, about), float(np.median(size)), f"{_money(about)}/kWh"
    elif about.kind in POWERS:
        doubt, figure, unit = _power_doubt(size, grid, about), float(np.quantile(size, 0.99)), "kW"
    else:
        return None
    if doubt is None:
        return None
    severity, detail, way_out = doubt
    if about.unit in POWER_KW and about.unit != "kW":
        way_out = ""  # the unit that it claims is wrong; another scale would not mend the claim
    return Finding.of(
        "unit",
        series,
        grid.whole,
        len(grid.values),
        worst=figure,
        worst_unit=unit,
        detail=detail,
        severity=severity,
        repair=way_out,
    )


def scale_ratio(grid: Grid, about: About) -> Array:
    """How many times too large each sample is against the rest; 1 where nothing changes. Shape (T,)."""
    ratio = np.ones(len(grid.values))
    if about.kind not in ("load", "pv", "price"):
        return ratio  # between a storm and a calm lie thousands
    log = _logarithms(grid, about)
    for factor, days, within, levels in _candidates(grid, about):
        for position, way in _changes(log, grid.steps_per_day, factor, days, within, levels):
            ratio[position:] *= factor**way
    states, counts = np.unique(np.round(np.log(ratio[np.isfinite(grid.values)]), 6), return_counts=True)
    usual = np.exp(states[counts.argmax()]) if len(states) else 1.0
    relative = ratio / usual
    return np.where(np.isclose(relative, 1.0), 1.0, relative)


def register_reset(grid: Grid, about: About) -> str | None:
    """Whether the values count up: ``never`` reset, every ``hour`` or every ``day``; None where they do not."""
    if about.kind not in POWERS:
        return None
    rise = np.diff(grid.values)
    moves = np.isfinite(rise) & (rise != 0)
    hour = np.floor(hour_of_day(grid)).astype(int)
    local = grid.index if about.timezone is None or grid.index.tz is None else grid.index.tz_convert(about.timezone)
    day = local.tz_localize(None).normalize().asi8
    for reset, period in (("day", day), ("hour", hour), ("never", np.zeros(len(grid.values)))):
        if reset == "hour" and grid.step * 3 > ONE_HOUR:
            continue
        inside = moves & (np.diff(period) == 0)
        across = moves & (np.diff(period) != 0)
        if inside.sum() < RISES or (rise[inside] > 0).mean() < RISING_SHARE:
            continue
        if reset == "never" or (across.any() and (rise[across] < 0).mean() > 0.5):
            return reset
    return None


def _money(about: About) -> str:
    return about.unit.partition("/")[0] or "EUR"


def _price_doubt(size: Array, about: About) -> Doubt | None:
    typical, money = float(np.median(size)), _money(about)
    said = f"per kWh a typical price of {typical:g} is none"
    if typical > LARGEST_TYPICAL_PRICE_EUR_PER_KWH:
        return Severity.ERROR, said, f"scale_unit:{money}/MWh,{money}/kWh"
    if 0 < typical < SMALLEST_TYPICAL_PRICE_EUR_PER_KWH:
        return Severity.ERROR, f"{said}; it seems to be per kWh already", ""
    return None


def _power_doubt(size: Array, grid: Grid, about: About) -> Doubt | None:
    high_kw, peak_kw = (float(level) for level in np.quantile(size, (0.99, 0.999)))
    rated_kw, step_h = about.rated_kw, grid.step / ONE_HOUR
    if rated_kw is None:
        if high_kw > POWER_PLAUSIBILITY_FLOOR_KW and about.kind != "wind":
            said = f"up to {high_kw:g} kW is a large site, or W; the rating would tell"
            return Severity.WARNING, said, "scale_unit:W,kW"
        if high_kw < SMALLEST_PEAK_KW and about.unit != "kW/kWp":
            return Severity.WARNING, f"up to {high_kw:g} kW is next to nothing, or MW", "scale_unit:MW,kW"
        return None
    said = f"up to {high_kw:g} kW on a rating of {rated_kw:g} kW"
    if high_kw > POWER_PLAUSIBILITY_FACTOR * rated_kw:
        return Severity.ERROR, f"{said}; it seems to be W", "scale_unit:W,kW"
    if high_kw * THOUSAND < POWER_PLAUSIBILITY_FACTOR * rated_kw:
        return Severity.ERROR, f"{said}; it seems to be MW", "scale_unit:MW,kW"
    had_clear_days = len(grid.values) >= DAYS_WITH_A_CLEAR_ONE * grid.steps_per_day
    is_power_by_name = about.kind == "pv" and about.unit not in ENERGY_KWH
    if is_power_by_name and had_clear_days and step_h <= 0.5 and 0.5 < peak_kw / rated_kw / step_h < 1.05:
        said = f"the peak is {peak_kw / rated_kw:.0%} of the rating, as kWh in {step_h * 60:g} min would be"
        return Severity.WARNING, said, "scale_unit:kWh,kW"
    return None


def _logarithms(grid: Grid, about: About) -> Array:
    """Of the size of what says something of the scale; else NaN."""
    size, per_day = np.abs(grid.values), grid.steps_per_day
    known = size > 0
    if about.kind == "pv":
        days = np.arange(len(size)) // per_day
        best = np.zeros(days[-1] + 1)
        np.maximum.at(best, days, np.nan_to_num(size))
        known &= size >= DAYLIGHT_SHARE * best[days]
    return np.log(size, out=np.full(len(size), np.nan), where=known)


def _candidates(grid: Grid, about: About) -> list[tuple[float, int, float, tuple[float, ...]]]:
    """Factors that units differ by, the days it takes to tell, how closely, and the levels that must all change so."""
    found: list[tuple[float, int, float, tuple[float, ...]]] = [(THOUSAND, THOUSAND_DAYS, THOUSAND_WITHIN, (0.95,))]
    # From half hours on, twice as much is something that people do.
    if about.kind == "load" and grid.step * 4 <= ONE_HOUR:
        found.append((ONE_HOUR / grid.step, ENERGY_DAYS, ENERGY_WITHIN, (0.1, 0.5, 0.9)))
    return found


def _changes(
    log: Array, per_day: int, factor: float, days: int, within: float, levels: tuple[float, ...]
) -> list[tuple[int, int]]:
    """Where the level changes by a factor: position of the first sample behind it, and 1 for up or -1 for down."""
    window = days * per_day
    boundaries = np.arange(window, len(log) - window + 1, max(1, per_day // 4))
    if len(boundaries) == 0:
        return []
    differences = np.array([_difference(log[at - window : at], log[at : at + window], levels) for at in boundaries])
    way = np.sign(differences[:, 0])
    near = (np.abs(np.abs(differences) - np.log(factor)) < np.log(within)).all(axis=1)
    near &= (np.sign(differences) == way[:, np.newaxis]).all(axis=1)
    found: list[tuple[int, int]] = []
    hits = np.flatnonzero(near)
    groups = np.split(hits, np.flatnonzero((np.diff(hits) > 4 * days) | (np.diff(way[hits]) != 0)) + 1)
    for group in groups:
        if len(group):
            begin, end = boundaries[group[0]] - window, boundaries[group[-1]] + window
            upward = bool(way[group[0]] > 0)
            found.append((begin + _split(log[begin:end], upward), 1 if upward else -1))
    return found


def _difference(before: Array, after: Array, levels: tuple[float, ...]) -> Array:
    before, after = before[np.isfinite(before)], after[np.isfinite(after)]
    if min(len(before), len(after)) < 6:
        return np.zeros(len(levels))
    return np.asarray(np.quantile(after, levels) - np.quantile(before, levels))


def _split(log: Array, upward: bool) -> int:
    """The position that parts samples into the two most different halves (least squares, one change).

    Of samples that say nothing between both, those at the foot of the higher half are of the lower one.
    """
    known = np.flatnonzero(np.isfinite(log))
    values = log[known]
    count = np.arange(1, len(values))
    total = np.cumsum(values)
    left = total[:-1] / count
    right = (total[-1] - total[:-1]) / (len(values) - count)
    last_left = int((count * (len(values) - count) * (left - right) ** 2).argmax())
    return int(known[last_left + 1] if upward else known[last_left] + 1)
