"""Look at data as it came, and say everything that is wrong with it. Nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from engine.arrays import Mask
from engine.errors import InputError
from engine.quality import values
from engine.quality.clock import checked_zone, clock_findings, ends_by_first_and_last, read_clock
from engine.quality.findings import Finding, Severity, Stretch
from engine.quality.quantity import About, checked_kind, factor_of, named
from engine.quality.reading import Grid, Numbers, numbers_of, step_of, stretches_of, times_of
from engine.quality.report import Coverage, QualityReport
from engine.quality.rows import row_findings
from engine.quality.scale import register_reset, scale_ratio, unit_finding
from engine.timeline import ONE_HOUR

# How bad the worst of some samples is: the largest by size, or how long the longest stretch is.
_SIZE, _HOURS = "size", "h"


class ValueRule(NamedTuple):
    """A rule that says of each sample whether it is at fault."""

    find: Callable[[Grid, About], Mask]
    worst: str


VALUE_RULES: dict[str, ValueRule] = {
    "negative": ValueRule(values.negative, _SIZE),
    "spike": ValueRule(values.spike, _SIZE),
    "stuck": ValueRule(values.stuck, _HOURS),
    "interpolated": ValueRule(values.interpolated, _HOURS),
    "pv_at_night": ValueRule(values.pv_at_night, _SIZE),
    "no_production": ValueRule(values.no_production, _HOURS),
}
_ORDER = {Severity.ERROR: 0, Severity.WARNING: 1, Severity.HINT: 2}


def inspect(
    raw: pd.Series | pd.DataFrame,
    kind: str | Mapping[str, str] | None = None,
    *,
    unit: str | Mapping[str, str] | None = None,
    step: str | pd.Timedelta | None = None,
    timezone: str | None = None,
    rated_kw: float | None = None,
    latitude: float | None = None,
    longitude: float | None = None,
) -> QualityReport:
    """Look at data as it came from a file or a meter.

    Args:
        raw: Samples by time, with or without a zone, in any order; numbers, or text as a file has it. A frame has one
            series per column.
        kind: ``load``, ``pv``, ``wind``, ``price`` or ``other``, for all columns or by column. Unset: as the names say
            (``load_kw``, ``price_eur_per_mwh``), else ``other``, of which only times, gaps and text are judged.
        unit: Unit of the samples, for all or by column: ``kW``, ``W``, ``kWh`` (per interval), ``EUR/kWh``,
            ``EUR/MWh`` and the like. Unset: as the names say, else kW and money per kWh.
        step: What lies between two times. Unset: what most often does.
        timezone: Zone of the place; without it no clock change can be looked at.
        rated_kw: Nameplate of the PV or wind, or what the connection of a load carries.
        latitude: Of the place, north is positive [degrees].
        longitude: East is positive [degrees].

    Returns:
        What was found, worst first.

    Raises:
        InputError: There are no times or no rows, or an argument is none of what it may be.
    """
    about = about_of(raw, kind, unit, timezone, rated_kw, latitude, longitude)
    frame = raw.to_frame() if isinstance(raw, pd.Series) else raw
    frame = frame.set_axis(list(about), axis=1).set_axis(times_of(raw))
    found: list[Finding] = []
    if frame.index.hasnans:
        found.append(_without_time(frame))
        frame = frame[frame.index.notna()]
    length = step_of(pd.DatetimeIndex(frame.index), duration(step))
    read = {name: numbers_of(frame[name]) for name in about}
    index, about_clock = read_clock(pd.DatetimeIndex(frame.index), length, timezone)
    found += about_clock
    numbers = pd.DataFrame({name: each.values for name, each in read.items()}, index=index)
    for name, each in read.items():
        found += _text_findings(name, each, index, length)
    never = np.asarray(index.isna())  # hours that the local clock does not have
    numbers = numbers[~never]
    found += row_findings(numbers, length)
    index = pd.DatetimeIndex(numbers.index)
    if ends_by_first_and_last(index, length, timezone):
        whole = (Stretch(index.min(), index.max() + length, len(index)),)
        detail = f"the first is {index.min():%H:%M}, the last midnight"
        found.append(Finding.of("end_labels", "", whole, len(index), detail=detail))
    coverage = {}
    for name, known in about.items():
        grid = Grid.of(numbers[name], length)
        coverage[name] = _coverage(grid, known)
        found += _series_findings(name, grid, known)
    return QualityReport(
        findings=tuple(sorted(found, key=lambda each: (_ORDER[each.severity], each.series, each.start, each.rule))),
        begin=index.min(),
        end=index.max() + length,
        step=length,
        coverage=coverage,
        not_looked_at=tuple(_not_looked_at(about)),
        frame=numbers,
    )


def about_of(
    raw: pd.Series | pd.DataFrame,
    kind: str | Mapping[str, str] | None,
    unit: str | Mapping[str, str] | None,
    timezone: str | None,
    rated_kw: float | None,
    latitude: float | None,
    longitude: float | None,
) -> dict[str, About]:
    """What is known of each series, by its name.

    Raises:
        InputError: Something is none of what it may be.
    """
    if not isinstance(raw, pd.Series | pd.DataFrame):
        raise InputError("raw", f"it is {type(raw).__name__}", "give a pandas Series or DataFrame indexed by time")
    names = [str(raw.name or "values")] if isinstance(raw, pd.Series) else [str(name) for name in raw.columns]
    if len(set(names)) < len(names) or not names:
        raise InputError("raw.columns", f"they are {', '.join(names) or 'none'}", "give each series a name of its own")
    if timezone is not None:
        checked_zone(timezone)
    if rated_kw is not None and not 0 < rated_kw < float("inf"):
        raise InputError("rated_kw", f"value {rated_kw!r} is not above 0", "give the nameplate in kW")
    if (latitude is None) != (longitude is None):
        raise InputError("latitude", "latitude and longitude come together", "give both or none")
    known = {}
    for name in names:
        own_kind, own_unit = named(name)
        told_kind = kind.get(name) if isinstance(kind, Mapping) else kind
        told_unit = unit.get(name) if isinstance(unit, Mapping) else unit
        chosen = own_kind if told_kind is None else checked_kind(told_kind)
        # A unit by name belongs to the kind by name.
        chosen_unit = (own_unit if chosen == own_kind or told_kind is None else "") if told_unit is None else told_unit
        if chosen_unit:
            _refuse_other_unit(chosen, chosen_unit)
        known[name] = About(chosen, chosen_unit, timezone, rated_kw, latitude, longitude)
    return known


def _refuse_other_unit(kind: str, unit: str) -> None:
    canonical = factor_of(unit, ONE_HOUR)[1]
    if (kind == "price") == (canonical == "kW") and kind != "other":
        raise InputError("unit", f"{unit} is none of a {kind}", "write kW, kWh, EUR/kWh or the like")


def duration(step: str | pd.Timedelta | None) -> pd.Timedelta | None:
    """A step, as people write it.

    Raises:
        InputError: It is none.
    """
    try:
        return None if step is None else pd.Timedelta(step)
    except ValueError:
        raise InputError("step", f"value {step!r} is no duration", "write one like '15min'") from None


def _without_time(frame: pd.DataFrame) -> Finding:
    known = frame.index[frame.index.notna()]
    lacking = len(frame) - len(known)
    if len(known) == 0:
        raise InputError("raw.index", "no row has a time", "give every row its time")
    return Finding.of("missing_stamps", "", (Stretch(known.min(), known.max(), lacking),), len(frame))


def _text_findings(name: str, read: Numbers, index: pd.DatetimeIndex, step: pd.Timedelta) -> Iterator[Finding]:
    first = f"the first is {read.first_unreadable!r}" if read.first_unreadable else ""
    for rule, mask, detail in (("decimal_comma", read.with_comma, ""), ("unreadable", read.unreadable, first)):
        if mask.any():
            found = stretches_of(index[mask & np.asarray(index.notna())], step)
            yield Finding.of(rule, name, found, len(index), detail=detail)


def _series_findings(name: str, grid: Grid, about: About) -> Iterator[Finding]:
    lacking = np.isnan(grid.values) & grid.has_row
    if lacking.any():
        yield _value_finding("missing_values", name, grid, about, lacking, _HOURS)
    reset = register_reset(grid, about)
    if reset is not None:
        detail = "it is never reset" if reset == "never" else f"it starts anew every {reset}"
        yield Finding.of(
            "register", name, grid.whole, len(grid.values), detail=detail, repair=f"difference_register:{reset}"
        )
        return
    ratio = scale_ratio(grid, about)
    unit = unit_finding(name, grid, about, ratio == 1)
    if unit is not None:
        yield unit
    if (ratio != 1).any():
        yield Finding.of(
            "scale_change",
            name,
            grid.stretches(ratio != 1),
            len(ratio),
            worst=float(ratio[np.abs(np.log(ratio)).argmax()]),
            worst_unit="times the rest",
        )
    yield from clock_findings(name, grid, about)
    for rule, (find, worst) in VALUE_RULES.items():
        if rule == "spike" and unit is not None and unit.severity is Severity.ERROR:
            continue  # in another unit everything is beyond every bound
        mask = find(grid, about)
        if mask.any():
            yield _value_finding(rule, name, grid, about, mask, worst)


def _value_finding(rule: str, name: str, grid: Grid, about: About, mask: Mask, worst: str) -> Finding:
    found = grid.stretches(mask)
    if worst == _HOURS:
        figure, unit = max(each.count for each in found) * (grid.step / ONE_HOUR), "h"
    else:
        sizes = grid.values[mask]
        figure, unit = (
            float(sizes[np.abs(sizes).argmax()]),
            about.unit or ("per kWh" if about.kind == "price" else "kW"),
        )
    return Finding.of(rule, name, found, len(grid.values), worst=figure, worst_unit=unit)


def _coverage(grid: Grid, about: About) -> Coverage:
    known = np.isfinite(grid.values)
    there = set(grid.index.month[known].tolist())
    without = tuple(month for month in range(1, 13) if month not in there)
    return Coverage(about.kind, about.unit, len(known), float(1 - known.mean()), without)


def _not_looked_at(about: Mapping[str, About]) -> Iterator[str]:
    first = next(iter(about.values()))
    if first.timezone is None:
        yield "clock changes; give the time zone of the place"
    if first.latitude is None and any(each.kind == "pv" for each in about.values()):
        yield "PV against the sun; give latitude and longitude"
    for name, each in about.items():
        if each.kind == "other":
            yield f"the values of {name}; give its kind"
