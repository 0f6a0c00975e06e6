"""What really was: prices and when they were known, load and PV by the minute, laid on one grid of intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array
from engine.errors import InputError
from engine.prices import PriceCurve
from engine.tariffs import Tariff
from engine.timeline import hold, step_hours, utc_index

MINUTE = pd.Timedelta(minutes=1)
QUARTER = pd.Timedelta(minutes=15)
# Day-ahead results are out at about 12:55 in Europe; by then every feed has them.
PUBLISHED_AT = pd.Timedelta(hours=13)
LOCATION = ("latitude", "longitude")
MARKET_ZONE = "Europe/Brussels"


def day_ahead_known_at(
    index: pd.DatetimeIndex, timezone: str = MARKET_ZONE, published_at: pd.Timedelta = PUBLISHED_AT
) -> pd.DatetimeIndex:
    """When day-ahead prices were known: all of a local day at one time of the day before.

    Args:
        index: Starts of the intervals [UTC], shape (T,).
        timezone: The market's zone; its clock bounds the days.
        published_at: Time since midnight of the day before.

    Returns:
        Times in UTC, shape (T,).
    """
    days = index.tz_convert(timezone).tz_localize(None).normalize()
    told = days - pd.Timedelta(days=1) + published_at
    zoned = told.tz_localize(timezone, ambiguous=np.zeros(len(told), dtype=bool), nonexistent="shift_forward")
    return pd.DatetimeIndex(zoned.tz_convert("UTC")).as_unit("ns")


@dataclass(frozen=True, eq=False)
class Reality:
    """One site's history over T intervals of M minutes each."""

    index: pd.DatetimeIndex
    """Starts of the intervals [UTC], shape (T,)."""
    step: pd.Timedelta
    import_price: Array
    """All-in [EUR/kWh], shape (T,)."""
    export_price: Array
    known_at: npt.NDArray[np.int64]
    """When the prices of an interval were known [ns since 1970 UTC], shape (T,)."""
    load_kw: Array
    """Shape (T, M)."""
    pv_kw: Array
    """What the sun offered, shape (T, M)."""
    place: dict[str, Any]
    """`timezone` of the site, whose clock people live by, `latitude` and `longitude` where they are known."""
    weather: pd.DataFrame | None = None
    """`temperature_c`, `ghi_w_per_m2` on the same index, as they were forecast."""
    others: Mapping[str, Array] = field(default_factory=dict)
    """Series of markets, schedules and carbon by their name in `Request`, those of a product as
    `balancing_price.fcr_n`, shape (T,) each."""

    @classmethod
    def read(
        cls,
        prices: pd.DataFrame | pd.Series | PriceCurve,
        load: pd.Series | None,
        pv: pd.Series | None,
        *,
        tariff: Tariff | None = None,
        step: pd.Timedelta | None = None,
        timezone: str = "UTC",
        weather: pd.DataFrame | None = None,
        location: tuple[float, float] | None = None,
        others: Mapping[str, pd.Series] | None = None,
    ) -> Reality:
        """Lay series of whatever resolution on one grid.

        Args:
            prices: `import_price` and `export_price` [EUR/kWh] as columns, with `known_at` where it is not that of
                the day-ahead market; or the market price, which counts both ways or goes through the tariff.
            load: Consumption [kW] at any step from a minute up. None: no load.
            pv: What the sun offered [kW]. None: no PV.
            tariff: What makes a market price an import and an export price.
            step: Of plans; None: the finest of the series, but no less than a quarter of an hour or the prices' own.
            timezone: IANA name of the site's zone.
            weather: `temperature_c`, `ghi_w_per_m2` as they were forecast, on a regular index that covers the rest.
            location: Latitude, north positive, and longitude, east positive [degrees].
            others: Series of markets, schedules and carbon that cover the rest, as `Reality.others`.

        Raises:
            InputError: A value is missing or no number, an index is irregular, or the series do not overlap.
        """
        table = _prices(prices, tariff)
        powers = {name: _power(name, series) for name, series in (("load", load), ("pv", pv)) if series is not None}
        steps = {name: _step(series) for name, series in powers.items()}
        own = _step(table)
        step = step or max(min([own, *steps.values()]), min(own, QUARTER))
        ends = {name: series.index[-1] + steps[name] for name, series in powers.items()}
        begin = max([table.index[0], *(series.index[0] for series in powers.values())]).ceil(max(own, step))
        end = min([table.index[-1] + own, *ends.values()]).floor(max(own, step))
        if begin >= end:
            spans = "; ".join(
                f"{name} {series.index[0].isoformat()} to {ends[name].isoformat()}" for name, series in powers.items()
            )
            raise InputError(
                "prices.index",
                f"{table.index[0].isoformat()} to {(table.index[-1] + own).isoformat()} does not overlap with {spans}",
                "give prices, load and PV of the same time",
            )
        index = pd.date_range(begin, end, freq=step, inclusive="left", name="start", unit="ns")
        held = {
            name: _at_step(table[name], own, step).reindex(index)
            for name in ("import_price", "export_price", "known_at")
        }
        minutes = step // MINUTE
        fine = {name: _minutes(series, steps[name], index, minutes) for name, series in powers.items()}
        none = np.zeros((len(index), minutes))
        return cls(
            index=index,
            step=step,
            import_price=held["import_price"].to_numpy(np.float64),
            export_price=held["export_price"].to_numpy(np.float64),
            known_at=held["known_at"].to_numpy(np.int64),
            load_kw=fine.get("load", none),
            pv_kw=fine.get("pv", none),
            place={"timezone": timezone} | ({} if location is None else dict(zip(LOCATION, location, strict=True))),
            weather=None if weather is None else _weather(weather, index, step),
            others={name: _other(name, series, index, step) for name, series in (others or {}).items()},
        )

    def __len__(self) -> int:
        return len(self.index)

    @property
    def step_h(self) -> float:
        """Length of an interval [h]."""
        return float(self.step / pd.Timedelta(hours=1))

    @property
    def minutes(self) -> int:
        """Minutes in an interval."""
        return int(self.load_kw.shape[1])

    @cached_property
    def mean_load_kw(self) -> Array:
        """Mean of each interval, shape (T,)."""
        return np.asarray(self.load_kw.mean(axis=1))

    @cached_property
    def mean_pv_kw(self) -> Array:
        """Mean of each interval, shape (T,)."""
        return np.asarray(self.pv_kw.mean(axis=1))

    def series(self, values: Array, name: str) -> pd.Series:
        """Figures of all intervals with their times."""
        return pd.Series(values, self.index, name=name)


def _prices(prices: pd.DataFrame | pd.Series | PriceCurve, tariff: Tariff | None) -> pd.DataFrame:
    if isinstance(prices, pd.DataFrame):
        lacking = {"import_price", "export_price"} - set(prices.columns)
        if lacking:
            raise InputError("prices", f"column {min(lacking)!r} is missing", "give import_price and export_price")
        table = prices.copy(deep=False)
    else:
        market = prices if isinstance(prices, PriceCurve) else PriceCurve(prices, "EUR")
        sides = (market, market) if tariff is None else (tariff.import_price(market), tariff.export_price(market))
        foreign = [side.currency for side in sides if side.currency != "EUR"]
        if foreign:
            raise InputError("prices", f"they are in {foreign[0]}", "convert them with .to('EUR', rate)")
        table = pd.DataFrame({"import_price": sides[0].series, "export_price": sides[1].series})
    table.index = utc_index("prices", table.index)
    for name in ("import_price", "export_price"):
        _refuse_missing(f"prices.{name}", table[name])
    known_at = table["known_at"] if "known_at" in table else pd.Series(day_ahead_known_at(table.index), table.index)
    if known_at.isna().any():
        first = table.index[int(known_at.isna().to_numpy().argmax())]
        raise InputError("prices.known_at", f"it is missing at {first.isoformat()}", "give it")
    table["known_at"] = pd.DatetimeIndex(known_at).tz_convert("UTC").as_unit("ns").asi8
    return table


def _step(table: pd.Series | pd.DataFrame) -> pd.Timedelta:
    return pd.Timedelta(hours=step_hours(pd.DatetimeIndex(table.index)))


def _power(name: str, series: pd.Series) -> pd.Series:
    series = series.set_axis(utc_index(name, series.index))
    _refuse_missing(name, series)
    negative = series.to_numpy() < 0
    if negative.any():
        at = int(negative.argmax())
        problem = f"value {series.iloc[at]:g} kW at {series.index[at].isoformat()} is below 0"
        raise InputError(name, problem, "give powers from 0 up")
    return series.astype(np.float64)


def _refuse_missing(name: str, series: pd.Series) -> None:
    bad = ~np.isfinite(series.to_numpy(np.float64))
    if bad.any():
        first = series.index[int(bad.argmax())]
        raise InputError(
            name,
            f"{int(bad.sum())} values are missing or no numbers, the first at {first.isoformat()}",
            "cut the series there or repair it by a named rule; a missing value is never taken as 0",
        )


def _weather(weather: pd.DataFrame, index: pd.DatetimeIndex, step: pd.Timedelta) -> pd.DataFrame:
    weather = weather.set_axis(utc_index("weather", weather.index))
    columns = {name: _at_step(weather[name], _step(weather), step).reindex(index) for name in weather}
    table = pd.DataFrame(columns, index=index)
    for name in table:
        _refuse_missing(f"weather.{name}", table[name])
    return table


def _other(name: str, series: pd.Series, index: pd.DatetimeIndex, step: pd.Timedelta) -> Array:
    if not isinstance(series, pd.Series):
        raise InputError(name, f"it is {type(series).__name__}", "give a pandas Series indexed by time")
    series = series.set_axis(utc_index(name, series.index))
    laid = _at_step(series.astype(np.float64), _step(series), step).reindex(index)
    _refuse_missing(name, laid)
    return laid.to_numpy(np.float64)


def _at_step(series: pd.Series, own: pd.Timedelta, step: pd.Timedelta) -> pd.Series:
    if own == step:
        return series
    if own > step:
        return hold(series, step)
    return series.resample(step).mean()


def _minutes(series: pd.Series, own: pd.Timedelta, index: pd.DatetimeIndex, minutes: int) -> Array:
    """A power by the minute over the grid, shape (T, M)."""
    if own < MINUTE:
        series, own = series.resample(MINUTE).mean(), MINUTE
    first = int((index[0] - series.index[0]) // own)
    values = series.to_numpy()[first : first + int(len(index) * minutes * MINUTE // own)]
    return np.repeat(values, own // MINUTE).reshape(len(index), minutes)
