"""The problems that benchmarks run on, made from the sample home so that anybody can repeat them.

Each has a name, a length and a reason to be here; `PROBLEMS` is the registry. A problem can be written as JSON, because
other libraries solve it in an environment of their own.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from console.sample import DEFAULT_DAY, sample_days, sample_series, sample_site
from engine import Battery, GridConnection, PvArray, Site

Array = npt.NDArray[np.float64]
Tier = Literal["smoke", "default", "full"]
COLUMNS = ("import_price_eur_per_kwh", "export_price_eur_per_kwh", "load_kw", "pv_kw")
PRICES = list(COLUMNS[:2])


@dataclass(frozen=True, eq=False)
class BenchmarkProblem:
    """One site, one horizon, and where it starts and must end. Every site here has both connection limits and PV."""

    name: str
    site: Site
    series: pd.DataFrame
    """`COLUMNS` by `start` (UTC): prices in EUR/kWh, powers in kW."""
    initial_soc: float = 0.5
    final_soc_min: float = 0.5

    @property
    def intervals(self) -> int:
        """Number of intervals T."""
        return len(self.series)

    @property
    def size(self) -> str:
        """Length in words, for tables."""
        return f"{self.intervals:,} x {self.step_h * 60:.0f} min"

    @cached_property
    def step_h(self) -> float:
        """Length of an interval [h]."""
        index = self.series.index
        return float((index[1] - index[0]) / pd.Timedelta(hours=1))

    @cached_property
    def arrays(self) -> dict[str, Array]:
        """The series as arrays of shape (T,), so that no solver's time holds their conversion."""
        return {name: self.series[name].to_numpy(dtype=np.float64) for name in COLUMNS}

    @property
    def curtailable(self) -> bool:
        """Whether a plan may use less than the sun offers."""
        return self.site.pv is not None and self.site.pv.curtailable

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON; floats keep all their digits."""
        return {
            "name": self.name,
            "start": self.series.index[0].isoformat(),
            "step_h": self.step_h,
            "site": self.site.model_dump(mode="json"),
            "initial_soc": self.initial_soc,
            "final_soc_min": self.final_soc_min,
            "series": {name: values.tolist() for name, values in self.arrays.items()},
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> BenchmarkProblem:
        """Read what `to_dict` wrote."""
        count = len(data["series"][COLUMNS[0]])
        index = pd.date_range(
            data["start"], periods=count, freq=pd.Timedelta(hours=data["step_h"]), name="start", unit="ns"
        )
        return cls(
            name=data["name"],
            site=Site.model_validate(data["site"]),
            series=pd.DataFrame(data["series"], index=index),
            initial_soc=data["initial_soc"],
            final_soc_min=data["final_soc_min"],
        )


def limits(problem: BenchmarkProblem) -> tuple[float, float]:
    """Import and export limit of the connection [kW]."""
    grid = problem.site.grid
    if grid.import_limit_kw is None or grid.export_limit_kw is None:
        raise ValueError(f"{problem.name}: benchmark sites have both connection limits; give the site its limits")
    return grid.import_limit_kw, grid.export_limit_kw


def sample_run(first: dt.date, days: int) -> pd.DataFrame:
    """Consecutive days of the sample on quarter-hours."""
    return pd.concat([sample_series(first + dt.timedelta(days=day)) for day in range(days)])


def _without_wear(site: Site) -> Site:
    return _with(site, battery=site.battery.model_copy(update={"wear_eur_per_kwh": 0.0}))


def _with(site: Site, **parts: Battery | GridConnection | PvArray) -> Site:
    return Site.model_validate(site.model_dump() | {name: part.model_dump() for name, part in parts.items()})


def _day() -> BenchmarkProblem:
    return BenchmarkProblem("day", sample_site(), sample_run(DEFAULT_DAY, 1))


def _two_days() -> BenchmarkProblem:
    return BenchmarkProblem("two-days", sample_site(), sample_run(DEFAULT_DAY, 2))


def _week() -> BenchmarkProblem:
    return BenchmarkProblem("week", sample_site(), sample_run(dt.date(2024, 4, 8), 7))


def _negative_day() -> BenchmarkProblem:
    """A Sunday, 0.16 EUR/kWh cheaper, no wear: burning energy at mid-day would pay, if it could be done."""
    series = sample_run(dt.date(2024, 4, 14), 1)
    series[PRICES] -= 0.16
    return BenchmarkProblem("negative-day", _without_wear(sample_site()), series)


def _export_above_import_day() -> BenchmarkProblem:
    """The grid operator pays 0.10 EUR/kWh on top for evening export: buying and selling at once would pay then."""
    series = sample_run(DEFAULT_DAY, 1)
    evening = pd.DatetimeIndex(series.index).tz_convert(sample_site().timezone).hour.isin((18, 19, 20))
    series.loc[evening, "export_price_eur_per_kwh"] += 0.10
    return BenchmarkProblem("export-above-import-day", sample_site(), series)


def _feed_in_tariff_day() -> BenchmarkProblem:
    """A fixed feed-in tariff above the market most of the day. Not convex all day: hardest for branch and bound."""
    series = sample_run(DEFAULT_DAY, 1)
    series["export_price_eur_per_kwh"] = 0.30
    return BenchmarkProblem("feed-in-tariff-day", sample_site(), series)


def _tight_limits_day() -> BenchmarkProblem:
    """A connection barely above the load, and a feed-in limit under the PV peak, with PV that can be curtailed."""
    site = _with(
        sample_site(), grid=GridConnection(import_limit_kw=3.0, export_limit_kw=1.0), pv=PvArray(curtailable=True)
    )
    return BenchmarkProblem("tight-limits-day", site, sample_run(DEFAULT_DAY, 1))


def _year() -> BenchmarkProblem:
    """8,760 hours: days of the sample in a seeded order, with the sun of the season and a load that varies by day."""
    random = np.random.default_rng(2024)
    index = pd.date_range("2024-01-01", periods=8760, freq="h", tz="UTC", name="start", unit="ns")
    hour = pd.Timedelta(hours=1)
    whole = [series for series in (sample_series(day, hour) for day in sample_days()) if len(series) == 24]
    days = []
    for day in range(365):
        series = whole[random.integers(len(whole))].copy()
        series["pv_kw"] *= 1 - 0.7 * np.cos(2 * np.pi * (day + 10) / 365)
        series["load_kw"] *= random.uniform(0.7, 1.3)
        days.append(series)
    return BenchmarkProblem("year", sample_site(), pd.concat(days).set_axis(index))


@dataclass(frozen=True)
class Entry:
    """A line of the registry."""

    make: Callable[[], BenchmarkProblem]
    tier: Tier
    """The smallest mode that runs it."""


PROBLEMS: dict[str, Entry] = {
    "day": Entry(_day, "smoke"),
    "two-days": Entry(_two_days, "default"),
    "week": Entry(_week, "default"),
    "negative-day": Entry(_negative_day, "smoke"),
    "export-above-import-day": Entry(_export_above_import_day, "smoke"),
    "tight-limits-day": Entry(_tight_limits_day, "smoke"),
    "feed-in-tariff-day": Entry(_feed_in_tariff_day, "full"),
    "year": Entry(_year, "full"),
}
