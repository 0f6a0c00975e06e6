"""The problems that benchmarks run on, taken from the sample home so that anybody can repeat them."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pandas as pd

from console.sample import DEFAULT_DAY, sample_series, sample_site
from engine import Site


@dataclass(frozen=True, eq=False)
class BenchmarkProblem:
    """One site, one horizon, and where it starts and must end."""

    name: str
    site: Site
    series: pd.DataFrame
    initial_soc: float = 0.5
    final_soc_min: float = 0.5


def one_day() -> BenchmarkProblem:
    """96 quarter-hours at ordinary prices: a linear program."""
    return BenchmarkProblem("one day, 96 x 15 min", sample_site(), sample_series(DEFAULT_DAY))


def two_days() -> BenchmarkProblem:
    """192 quarter-hours."""
    second = DEFAULT_DAY + dt.timedelta(days=1)
    series = pd.concat([sample_series(DEFAULT_DAY), sample_series(second)])
    return BenchmarkProblem("two days, 192 x 15 min", sample_site(), series)


def negative_day() -> BenchmarkProblem:
    """96 quarter-hours whose mid-day prices are below zero, wear or not: binaries are needed there."""
    series = sample_series(dt.date(2024, 4, 14)).copy()
    for column in ("import_price_eur_per_kwh", "export_price_eur_per_kwh"):
        series[column] -= 0.16
    site = sample_site()
    free = site.battery.model_copy(update={"wear_eur_per_kwh": 0.0})
    return BenchmarkProblem("negative mid-day, 96 x 15 min", site.model_copy(update={"battery": free}), series)


PROBLEMS = (one_day, two_days, negative_day)
