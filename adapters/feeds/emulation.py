"""What the emulators of price feeds share: a market of the emulator's own, and what can be wrong with an answer.

For tests and sandboxes only. No price here is anybody's: the market is a model, the same for the same seed.
"""

from __future__ import annotations

import datetime as dt
import zlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from adapters.emulation import EmulatedClock, EmulatedCloud, FaultBox
from adapters.emulation.control import WRONG_PATH
from adapters.feeds.markets import HOUR, QUARTER, Market

ONE_DAY = dt.timedelta(days=1)
# Results are out so long after they may be.
AFTER_OPENING = dt.timedelta(minutes=5)
MEMORY_DAYS = 30
REVERSION = 0.8


class EmulatedMarket:
    """Spot prices of any zone at any time, in EUR/MWh to the cent.

    Lucia and Schwartz, "Electricity prices and power derivatives" (2002), model 1: a seasonal mean of day, week and
    year, and a deviation that reverts to it. On sunny summer noons prices fall below zero.
    """

    def __init__(self, seed: int = 1) -> None:
        self._seed = seed

    def eur_per_mwh(self, area: str, index: pd.DatetimeIndex, step: pd.Timedelta) -> pd.Series:
        """Mean prices of intervals that begin at an index [UTC]; shape (T,)."""
        parts = round(step / QUARTER)
        starts = index.tz_localize(None).to_numpy()[:, None] + np.arange(parts) * QUARTER.to_timedelta64()
        quarters = pd.DatetimeIndex(starts.ravel(), tz="UTC")
        values = self._mean(quarters) + self._deviation(area, quarters)
        return pd.Series(values.reshape(len(index), parts).mean(axis=1).round(2), index)

    def _mean(self, times: pd.DatetimeIndex) -> Any:
        hour = (times.hour + times.minute / 60).to_numpy()
        year = 2 * np.pi * times.day_of_year.to_numpy() / 365.25
        weekend = times.day_of_week.to_numpy() >= 5
        morning, noon, evening = (
            np.exp(-(((hour - at) / width) ** 2)) for at, width in ((7.0, 2.0), (12.0, 3.0), (17.0, 2.5))
        )
        sun = np.clip(-np.cos(year), 0, None)
        return 70 + 20 * np.cos(year) + 45 * evening + 30 * morning - 95 * sun * noon - 15 * weekend

    def _deviation(self, area: str, times: pd.DatetimeIndex) -> Any:
        ordinals = np.array([time.toordinal() for time in times])
        slots = (times.hour * 4 + times.minute // 15).to_numpy()
        found = np.zeros(len(times))
        for ordinal in np.unique(ordinals):
            of_day = ordinals == ordinal
            level = sum(REVERSION**back * self._shocks(area, ordinal - back)[0] for back in range(MEMORY_DAYS))
            found[of_day] = 12 * level + 4 * self._shocks(area, ordinal)[1:][slots[of_day]]
        return found

    def _shocks(self, area: str, ordinal: int) -> Any:
        return np.random.default_rng([self._seed, zlib.crc32(area.encode()), ordinal]).normal(size=97)


class Wrong(BaseModel):
    """What is wrong with the newest day of an answer; all of it off until somebody switches it on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    late: bool = False
    """It is not there."""
    partial: bool = False
    """Its last quarter is not there."""
    missing_values: bool = False
    """Its first interval has no price."""
    duplicated: bool = False
    """An interval of it is there twice; all of them, where the source's format has no other way."""
    wrong_resolution: bool = False
    """It is in hours where shorter intervals are meant, else in quarters."""
    wrong_area: bool = False
    """It is about another area."""
    stale: bool = False
    """Its prices are those of the day before."""
    wrong_unit: bool = False
    """Its prices are divided by 1000, the day before's are not."""
    extreme: bool = False
    """One price is ten times the market's limit."""
    shifted: bool = False
    """Its times are an hour late."""
    day_of_24_hours: bool = False
    """It has 24 hours whatever the clock does."""
    broken: bool = False
    """It is cut off in the middle of a word."""


@dataclass(frozen=True)
class Row:
    """One interval of an answer."""

    start: dt.datetime
    step: pd.Timedelta
    eur_per_mwh: float | None


class PriceEmulator(EmulatedCloud):
    """A `Cloud` of prices: what is published by the emulated time, and wrong as somebody says."""

    def __init__(self, market: Market, clock: EmulatedClock, model: EmulatedMarket | None = None) -> None:
        self.market, self.clock, self.model = market, clock, model or EmulatedMarket()
        self.faults, self.wrong, self.calls = FaultBox(), Wrong(), 0

    def serve(self, routes: Iterable[BaseRoute]) -> None:
        """Make the application of the source's routes."""
        self._offer([*routes, Route(WRONG_PATH, self._spoil, methods=["POST"])], self.clock, self.faults)

    async def _spoil(self, request: Request) -> Response:
        try:
            self.wrong = Wrong.model_validate(await request.json())
        except ValueError as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(self.wrong.model_dump())

    def advance(self) -> None:
        """Nothing moves but the clock."""

    def state(self) -> dict[str, Any]:
        """How often prices were asked for."""
        return {"calls": self.calls, "wrong": self.wrong.model_dump()}

    def answered_area(self, area: str, other: str) -> str:
        """Which area the answer is about."""
        return other if self.wrong.wrong_area else area

    def rows(self, area: str, begin: dt.datetime, end: dt.datetime) -> list[Row]:
        """What there is of [begin, end) now."""
        self.calls += 1
        first, last = self.market.day_of(begin), self.market.day_of(end - dt.timedelta(seconds=1))
        found: list[Row] = []
        for day in (first + number * ONE_DAY for number in range((last - first).days + 1)):
            if self.clock.now() >= self.market.at(day - ONE_DAY, self.market.opens) + AFTER_OPENING:
                found += self._spoiled(area, day) if day == last else self._true(area, day, self.market.step(day))
        last_start = end + HOUR.to_pytimedelta() * self.wrong.shifted
        return [row for row in found if begin <= row.start < last_start]

    def answer(self, content: dict[str, Any]) -> Response:
        """JSON, or the beginning of it."""
        response = JSONResponse(content)
        if not self.wrong.broken:
            return response
        return Response(response.body[: len(response.body) // 2], media_type="application/json")

    def truth(self, area: str, day: dt.date) -> pd.Series:
        """The day's prices as a sound answer has them [EUR/MWh]."""
        return self.model.eur_per_mwh(area, self.market.index(day), self.market.step(day))

    def _true(self, area: str, day: dt.date, step: pd.Timedelta, hours: float | None = None) -> list[Row]:
        begin = self.market.begin(day)
        end = self.market.begin(day + ONE_DAY) if hours is None else begin + dt.timedelta(hours=hours)
        index = pd.date_range(begin, end, freq=step, inclusive="left", tz="UTC")
        prices = self.model.eur_per_mwh(area, index, step)
        return [Row(start.to_pydatetime(), step, price) for start, price in prices.items()]  # type: ignore[attr-defined]

    def _spoiled(self, area: str, day: dt.date) -> list[Row]:
        wrong, step = self.wrong, self.market.step(day)
        if wrong.late:
            return []
        if wrong.wrong_resolution:
            step = HOUR if step < HOUR else QUARTER
        rows = self._true(area, day, step, 24.0 if wrong.day_of_24_hours else None)
        if wrong.stale:
            older = self._true(area, day - ONE_DAY, step)
            rows = [replace(row, eur_per_mwh=old.eur_per_mwh) for row, old in zip(rows, older, strict=False)]
        if wrong.wrong_unit:
            rows = [replace(row, eur_per_mwh=(row.eur_per_mwh or 0.0) / 1000) for row in rows]
        if wrong.shifted:
            rows = [replace(row, start=row.start + HOUR.to_pytimedelta()) for row in rows]
        middle = len(rows) // 2
        if wrong.missing_values:
            rows[0] = replace(rows[0], eur_per_mwh=None)
        if wrong.extreme:
            rows[middle] = replace(rows[middle], eur_per_mwh=50_000.0)
        if wrong.partial:
            rows = rows[: len(rows) * 3 // 4]
        if wrong.duplicated:
            rows.insert(middle, rows[middle])
        return rows
