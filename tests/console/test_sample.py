from __future__ import annotations

import datetime as dt
import hashlib
from importlib.resources import files

import pandas as pd
import pytest

from console.sample import sample_days, sample_hours, sample_market, sample_series
from console.sample_year import sample_year
from engine import InputError


def test_the_file_is_the_one_whose_origin_is_recorded() -> None:
    folder = files("console.sample_data")
    digest = hashlib.sha256(folder.joinpath("home_spring_2024.csv").read_bytes()).hexdigest()
    assert digest in folder.joinpath("ORIGIN.md").read_text()


def test_it_has_five_weeks_of_complete_days() -> None:
    days = sample_days()
    assert len(days) == 35
    lengths = {day: len(sample_series(day)) for day in days}
    assert lengths.pop(dt.date(2024, 3, 31)) == 92
    assert set(lengths.values()) == {96}
    for day in days:
        assert not sample_series(day).isna().to_numpy().any()


def test_an_unknown_day_is_refused_with_the_days_there_are() -> None:
    with pytest.raises(InputError, match="2024-03-18 to 2024-04-21"):
        sample_series(dt.date(2020, 1, 1))


def test_the_market_price_is_the_one_that_all_in_prices_are_made_of() -> None:
    day = sample_series(dt.date(2024, 4, 6), pd.Timedelta("1h"))
    spot = sample_market().series[day.index]
    assert spot.min() == -0.1253
    assert day["export_price_eur_per_kwh"].tolist() == pytest.approx(((spot + 0.1088) * 1.21).tolist())


@pytest.mark.parametrize(("year", "hours"), [(2024, 8784), (2025, 8760)])
def test_a_year_laid_out_has_every_hour_and_the_real_ones_of_like_weekdays(year: int, hours: int) -> None:
    laid, real = sample_year(year), sample_hours().tz_convert("Europe/Amsterdam")
    prices = laid.prices.series.tz_convert("Europe/Amsterdam")
    load = laid.load.resample("1h").mean().tz_convert("Europe/Amsterdam")
    assert len(prices) == len(load) == hours
    assert str(prices.index[0].date()) == f"{year}-01-01"
    for day in (f"{year}-02-01", f"{year}-06-30", f"{year}-12-31"):
        monday = real.index[0].tz_localize(None)
        weeks = [monday + pd.Timedelta(days=7 * week + pd.Timestamp(day).weekday()) for week in range(5)]
        candidates = [real.loc[str(start.date())] for start in weeks]
        (source,) = (one for one in candidates if (one["spot_eur_per_mwh"] / 1000).tolist() == prices[day].tolist())
        assert load[day].tolist() == pytest.approx(source["load_kw"].tolist())


def test_the_sun_of_a_year_laid_out_is_that_of_the_year() -> None:
    pv = sample_year(2025).pv.resample("1h").mean().tz_convert("Europe/Amsterdam")
    by_month = pv.groupby(pv.index.month).sum()
    # Of a flat roof under a clear sky at 52 degrees north, June has about eight times what December has.
    assert 6 < by_month[6] / by_month[12] < 10
    # The sun is up from 5:18 to 22:06 and from 8:48 to 16:28; an hour has it where its middle has.
    assert (pv["2025-06-21"] > 0).sum() == 17
    assert (pv["2025-12-21"] > 0).sum() == 7
    assert pv.max() < 4.0
