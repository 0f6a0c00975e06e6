"""The yardsticks by the local clock, over gaps, and the contract of what goes in and comes out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from engine import InputError
from engine.forecast import Forecaster, Observed, PerfectForesight, Persistence, SeasonalNaive

COPENHAGEN = "Europe/Copenhagen"


def by_the_clock(first: str, days: int, value: Callable[[pd.DatetimeIndex], pd.Index], step: str = "15min") -> Observed:
    """A load that is a function of what the local clock shows."""
    start = pd.Timestamp(first, tz="UTC")
    index = pd.date_range(start, start + pd.Timedelta(days=days), freq=step, inclusive="left")
    return Observed(pd.Series(value(index.tz_convert(COPENHAGEN)), index), timezone=COPENHAGEN)


@pytest.mark.parametrize("forecaster", [Persistence(), SeasonalNaive("day"), SeasonalNaive()], ids=lambda f: f.name)
@pytest.mark.parametrize(("first", "changes"), [("2024-03-01", "2024-03-31"), ("2024-10-01", "2024-10-27")])
def test_clock_changes_do_not_shift_the_day(forecaster: Forecaster, first: str, changes: str) -> None:
    observed = by_the_clock(first, 40, lambda wall: wall.hour + wall.minute / 60)
    wall = observed.index.tz_convert(COPENHAGEN)
    around = abs(wall.tz_localize(None) - pd.Timestamp(changes)) <= pd.Timedelta(days=2)
    decisions = observed.index[around & (wall.hour % 3 == 0)]
    forecasts = forecaster.forecast(observed, decisions, 144)
    truth = PerfectForesight().forecast(observed, decisions, 144)
    hours = np.array([truth.row(number).index.tz_convert(COPENHAGEN).hour for number in range(len(truth))])
    # From 2 to 3 is what one day has twice or not at all: there is no like hour.
    plain = hours != 2
    assert np.array_equal(forecasts.mean[plain], truth.mean[plain])
    assert np.abs(forecasts.mean - truth.mean).max() <= 1


def test_a_workday_is_forecast_from_a_workday_and_a_sunday_from_one() -> None:
    observed = by_the_clock("2024-05-01", 40, lambda wall: wall.day_of_week + 1.0, "h")
    # Sunday evening: Monday is like the newest workday, which was Friday, or like Monday a week ago.
    sunday = pd.DatetimeIndex(["2024-06-02T22:00Z"])
    assert set(SeasonalNaive("day").forecast(observed, sunday, 24).mean[0]) == {5.0}
    assert set(SeasonalNaive().forecast(observed, sunday, 24).mean[0]) == {1.0}
    assert set(Persistence().forecast(observed, sunday, 24).mean[0]) == {7.0}


def test_over_a_gap_the_newest_like_day_is_taken() -> None:
    observed = by_the_clock("2024-05-01", 40, lambda wall: wall.day_of_year * 1.0, "h")
    decision = pd.DatetimeIndex(["2024-06-03T22:00Z"])
    values = observed.values.copy()
    values["2024-05-27T22:00Z":"2024-05-28T21:00Z"] = np.nan  # the Tuesday before
    told = SeasonalNaive().forecast(replace(observed, values=values), decision, 24).mean[0]
    # 4 June is the 156th day; two weeks before was the 142nd.
    assert set(told) == {142.0}


def test_where_nothing_is_known_nothing_is_forecast(forecaster: Forecaster) -> None:
    index = pd.date_range("2024-05-01T00:15Z", periods=40 * 96, freq="15min")
    load = pd.Series(np.maximum(0, 6 - abs(index.hour.to_numpy() - 12.0)), index)
    place = {"latitude": 10.0, "longitude": 10.0}
    for decisions in (index[:0], index[:1], index[[-1]]):
        for nothing in (Observed(load * np.nan, **place), Observed(load, delay=pd.Timedelta(days=60), **place)):
            told = forecaster.forecast(nothing, decisions, 144)
            assert told.mean.shape == (len(decisions), 144)
            assert np.isnan(told.mean).all()
    # An idle site is another matter.
    assert (forecaster.forecast(Observed(load * 0, **place), index[[-1]], 144).mean == 0).all()


def test_a_second_day_is_enough_for_some() -> None:
    observed = by_the_clock("2024-05-01", 3, lambda wall: wall.hour * 1.0, "h")
    told = Persistence().forecast(observed, observed.index[[0, 24]], 24)
    assert np.isnan(told.mean[0]).all()
    assert np.isfinite(told.mean[1]).all()


def test_the_present_is_forecast_beyond_what_is_measured(forecaster: Forecaster) -> None:
    index = pd.date_range("2024-05-01", periods=40 * 24, freq="h", tz="UTC")
    hour = index.hour.to_numpy()
    observed = Observed(pd.Series(np.maximum(0, 6 - abs(hour - 12.0)), index), latitude=0.0, longitude=0.0)
    now = index[[-1]] + observed.step
    told = forecaster.forecast(observed, now, 36)
    row = told.row(0)
    assert (row.index[0], row.index[-1]) == (now[0], now[0] + 35 * observed.step)
    assert row.iloc[12] == pytest.approx(6, abs=0.7)
    assert np.isfinite(row).all()
    assert (row >= 0).all()


def test_a_row_is_the_intervals_from_the_decision_on() -> None:
    observed = by_the_clock("2024-05-01", 20, lambda wall: wall.day_of_year + wall.hour / 100)
    decisions = observed.index[500:503]
    told = PerfectForesight().forecast(observed, decisions, 8)
    assert told.row(2).equals(observed.values.iloc[502:510].rename_axis("start"))
    with pytest.raises(InputError, match=r"level: value 0\.5 is not among \(\)"):
        told.row(0, 0.5)


HOURS = pd.date_range("2024-05-01", periods=48, freq="h", tz="UTC")
LOAD = pd.Series(1.0, HOURS)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"values": LOAD.where(HOURS[3] != HOURS, -0.1)}, r"values: -0\.1 kW at 2024-05-01T03:00:00\+00:00; give"),
        ({"values": LOAD.where(HOURS[3] != HOURS, np.inf)}, "values: inf kW at"),
        ({"values": LOAD.tz_localize(None)}, "values.index: times have no zone"),
        ({"values": LOAD.drop(HOURS[3])}, "values.index: after 2024-05-01T02:00:00Z comes"),
        ({"values": LOAD.astype(str) + "x"}, "values: dtype .* is no number"),
        ({"values": [1.0]}, "values: it is list"),
        ({"delay": pd.Timedelta(hours=-1)}, r"delay: value -1 days \+23:00:00 is negative"),
        ({"timezone": "Mars/Olympus"}, "timezone: .*'Mars/Olympus'"),
        ({"excluded": LOAD.iloc[1:] > 0}, "excluded.index: it is not that of values"),
        ({"weather": LOAD.to_frame("wind")}, r"weather: unknown columns \['wind'\]"),
        ({"weather": LOAD.iloc[1:].to_frame("temperature_c")}, "weather.index: it is not that of values"),
    ],
)
def test_what_cannot_be_observed_is_refused(given: dict[str, object], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Observed(**{"values": LOAD, **given})


@pytest.mark.parametrize(
    ("decisions", "steps", "complaint"),
    [
        (HOURS[:1] - pd.Timedelta(hours=1), 4, "decisions: 2024-04-30T23:00:00.00:00 is not at or after 2024-05-01"),
        (HOURS[:1] + pd.Timedelta(minutes=5), 4, "is not at or after .* on its grid of 0 days 01:00:00"),
        (HOURS[:1].tz_localize(None), 4, "decisions: they are not aware times"),
        (HOURS[:1], 0, "steps: value 0 is not 1 or more"),
    ],
)
def test_what_cannot_be_decided_is_refused(decisions: pd.DatetimeIndex, steps: int, complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Persistence().forecast(Observed(LOAD), decisions, steps)
