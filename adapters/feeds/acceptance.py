"""What a source says of a day becomes prices here, or is refused with the reason. No feed has another way.

Published failures that this stands against: an extra hour appended so that all later prices shifted, an hour dropped,
quarters collapsed to hours, wrong quarters on a clock change from the transparency platform itself, yesterday's prices
with today's dates, prices per kWh where per MWh were meant.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from adapters.feeds.contract import DayPrices, Fault, FeedError, Kind, Side
from adapters.feeds.markets import HALF_HOUR, HOUR, QUARTER, Market
from engine.prices import PriceCurve

# From one day to the next the largest price of the European zones on record changed by a factor of 44 at most; units
# that are mistaken change it by 1000, for pence by 100.
LARGEST_LEAP = 100.0 * 0.999


# Sources round to a hundredth per MWh.
ROUNDING_PER_KWH = 2e-5


@dataclass(frozen=True)
class Quoted:
    """One column of prices as a source gave it; nobody has judged it yet."""

    side: Side
    currency: str
    area: str
    """As our list has it; what the answer says, where it says."""
    prices: pd.Series
    """Per kWh, on an aware index in any order; may reach beyond the day, and into the one before."""
    step: pd.Timedelta | None = None
    """What the answer says of its resolution."""

    @property
    def kind(self) -> Kind:
        """Side and currency."""
        return self.side, self.currency


def accepted(
    source: str,
    market: Market,
    area: str,
    day: dt.date,
    quotes: Sequence[Quoted],
    known_at: dt.datetime,
    before: DayPrices | None = None,
    may_repeat: bool = False,
) -> DayPrices:
    """The prices of a day, if the answer is whole and can be true.

    Args:
        source: Who answered.
        market: Whose rules hold.
        area: What was asked for.
        day: What was asked for.
        quotes: The columns of the answer, at least one.
        known_at: Our time of the answer.
        before: What is known of the day before: the answer must not say something else of it, nor repeat it. Without
            it what the answer has of that day is compared, where it is whole.
        may_repeat: Whether prices may be those of the day before, as in a file of fixed tariffs.

    Raises:
        FeedError: Count, order, resolution, area, finiteness, limits, level, or likeness to the day before.
    """
    where = f"{source}: {area} {day}"
    if not quotes or not any(len(quote.prices) for quote in quotes):
        raise FeedError(Fault.LATE, f"{where}: no prices yet")
    curves = {}
    for quote in quotes:
        if quote.area != area:
            raise FeedError(Fault.WRONG_AREA, f"{where}: the answer is about {quote.area or 'no area at all'}")
        of_day = _whole(f"{where} {quote.side.value} {quote.currency}", market, day, quote)
        earlier = _day_before(market, day, quote)
        if before is not None and quote.kind in before.curves:
            earlier = before.curves[quote.kind]
            _refuse_contradiction(f"{where} {quote.side.value} {quote.currency}", quote, earlier)
        _refuse_implausible(f"{where} {quote.side.value} {quote.currency}", market, of_day, earlier, may_repeat)
        curves[quote.kind] = of_day
    return DayPrices(source, area, day, curves, known_at)


def _whole(where: str, market: Market, day: dt.date, quote: Quoted) -> PriceCurve:
    """A day's prices, none missing and none twice."""
    wanted, step = market.index(day), market.step(day)
    index = pd.DatetimeIndex(quote.prices.index).tz_convert("UTC").as_unit("ns")
    prices = quote.prices.set_axis(index).sort_index(kind="stable")
    inside = prices[(prices.index >= wanted[0]) & (prices.index < wanted[-1] + step)]
    starts = pd.DatetimeIndex(inside.index)
    if inside.empty:
        raise FeedError(Fault.LATE, f"{where}: no prices yet")
    if starts.has_duplicates:
        at = starts[starts.duplicated()][0]
        raise FeedError(Fault.DUPLICATED, f"{where}: {_stamp(at)} is there twice")
    spacing = _spacing(starts)
    if (quote.step or step) != step or (spacing in (QUARTER, HALF_HOUR, HOUR) and spacing != step):
        seen = quote.step if quote.step not in (None, step) else spacing
        raise FeedError(Fault.WRONG_RESOLUTION, f"{where}: in steps of {_minutes(seen)}, wanted {_minutes(step)}")
    odd = starts.difference(wanted)
    if len(odd):
        raise FeedError(Fault.WRONG_RESOLUTION, f"{where}: {_stamp(odd[0])} begins no interval of {_minutes(step)}")
    missing = wanted.difference(pd.DatetimeIndex(inside.dropna().index))
    if len(missing):
        problem = f"{len(wanted) - len(missing)} of {len(wanted)} prices, the first missing at {_stamp(missing[0])}"
        raise FeedError(Fault.PARTIAL, f"{where}: {problem}")
    infinite = ~np.isfinite(inside.to_numpy(dtype=float))
    if infinite.any():
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: {_stamp(starts[int(infinite.argmax())])} is infinite")
    return PriceCurve(inside.astype(float), quote.currency)


def _day_before(market: Market, day: dt.date, quote: Quoted) -> PriceCurve | None:
    try:
        return _whole("", market, day - dt.timedelta(days=1), quote)
    except FeedError:
        return None


def _refuse_contradiction(where: str, quote: Quoted, known: PriceCurve) -> None:
    """What the answer says of the day before is what we know; else its times, or its prices, are moved."""
    index = pd.DatetimeIndex(quote.prices.index).tz_convert("UTC").as_unit("ns")
    told = quote.prices.set_axis(index).dropna()
    told = told[told.index.isin(known.index)]
    off = (told - known.series.reindex(told.index)).abs() > ROUNDING_PER_KWH
    if off.any():
        at = pd.DatetimeIndex(told.index[off.to_numpy()])[0]
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: it says something else of {_stamp(at)} than is known")


def _refuse_implausible(
    where: str, market: Market, prices: PriceCurve, before: PriceCurve | None, may_repeat: bool
) -> None:
    values, limits = prices.series.to_numpy(), market.limits.get(prices.currency)
    if limits is None:
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: the market has no prices in {prices.currency}")
    beyond = (values < limits.least) | (values > limits.most)
    if beyond.any():
        at = int(beyond.argmax())
        found = f"{values[at]:g} {prices.currency}/kWh at {_stamp(prices.index[at])}"
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: {found} is outside {limits.least:g} .. {limits.most:g}")
    peak = float(np.abs(values).max())
    if may_repeat:
        return
    if peak < limits.least_peak:
        problem = f"no price is above {peak:g} {prices.currency}/kWh; are they in another unit?"
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: {problem}")
    if before is None:
        return
    older = before.series.to_numpy()
    alike = min(len(values), len(older))
    if np.array_equal(values[:alike], older[:alike]):
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: these are the prices of the day before")
    peak_before = float(np.abs(older).max())
    if not peak_before / LARGEST_LEAP < peak < peak_before * LARGEST_LEAP:
        problem = f"the largest is {peak:g} {prices.currency}/kWh, the day before {peak_before:g}"
        raise FeedError(Fault.IMPLAUSIBLE, f"{where}: {problem}; are they in another unit?")


def _spacing(index: pd.DatetimeIndex) -> pd.Timedelta | None:
    """The most frequent distance of neighbours; None for one alone."""
    return None if len(index) < 2 else pd.Timedelta(pd.Series(index[1:] - index[:-1]).mode()[0])


def _stamp(time: pd.Timestamp) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


def _minutes(step: pd.Timedelta | None) -> str:
    return "unknown length" if step is None else f"{step / pd.Timedelta(minutes=1):g} min"
