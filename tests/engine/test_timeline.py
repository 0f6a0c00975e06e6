"""Local days have 23, 24 or 25 hours, and a change of step keeps time and values."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import InputError
from engine.timeline import hold, local_day, step_hours, utc_index

ZONES = ("Europe/Amsterdam", "Europe/Copenhagen", "Europe/London")
QUARTER_HOUR, HALF_HOUR = pd.Timedelta(minutes=15), pd.Timedelta(minutes=30)
DAYS = [dt.date(2024, 1, 1) + dt.timedelta(days=number) for number in range(366 + 3 * 365)]
# The last Sundays of March and October.
SPRING = [dt.date(2024, 3, 31), dt.date(2025, 3, 30), dt.date(2026, 3, 29), dt.date(2027, 3, 28)]
AUTUMN = [dt.date(2024, 10, 27), dt.date(2025, 10, 26), dt.date(2026, 10, 25), dt.date(2027, 10, 31)]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("step", "per_hour"), [(QUARTER_HOUR, 4), (HALF_HOUR, 2)])
def test_every_day_of_four_years_has_23_24_or_25_hours(zone, step, per_hour):
    hours = {day: len(local_day(day, zone, step)) / per_hour for day in DAYS}
    assert [day for day, length in hours.items() if length == 23] == SPRING
    assert [day for day, length in hours.items() if length == 25] == AUTUMN
    assert Counter(hours.values()) == {23: 4, 24: len(DAYS) - 8, 25: 4}


@pytest.mark.parametrize("zone", [*ZONES, "UTC", "Asia/Kolkata", "America/Havana", "Africa/Cairo"])
def test_the_days_of_a_year_follow_on_without_gap_or_overlap(zone):
    """Havana and Cairo change their clocks at midnight: their days may begin at 1 o'clock, or at the first of two."""
    year = [local_day(day, zone, HALF_HOUR) for day in DAYS[:366]]
    together = year[0].append(year[1:])
    assert ((together[1:] - together[:-1]) == HALF_HOUR).all()


@settings(derandomize=True, deadline=None, max_examples=300)
@given(
    day=st.sampled_from([*DAYS, *SPRING * 20, *AUTUMN * 20]),
    zone=st.sampled_from(ZONES),
    minutes=st.sampled_from([5, 15, 30, 60]),
)
def test_a_local_day_is_exactly_the_intervals_that_carry_its_date(day, zone, minutes):
    step = pd.Timedelta(minutes=minutes)
    starts = local_day(day, zone, step)
    local = starts.tz_convert(zone)
    assert set(local.date) == {day}
    assert (starts[0] - step).tz_convert(zone).date() == day - dt.timedelta(days=1)
    assert (starts[-1] + step).tz_convert(zone).date() == day + dt.timedelta(days=1)
    assert local[0].time() == dt.time()
    assert ((starts[1:] - starts[:-1]) == step).all()


def test_a_local_day_keeps_the_contract_of_an_index():
    starts = local_day(SPRING[0], "Europe/Copenhagen", QUARTER_HOUR)
    assert (starts.name, str(starts.tz), starts.unit) == ("start", "UTC", "ns")
    assert starts[0] == pd.Timestamp("2024-03-30T23:00Z")
    pd.testing.assert_index_equal(utc_index("day", starts), starts)


def test_the_hour_that_comes_twice_is_there_twice():
    local = local_day(AUTUMN[0], "Europe/Amsterdam", QUARTER_HOUR).tz_convert("Europe/Amsterdam")
    twice = local[local.hour == 2]
    assert len(twice) == 8
    assert {time.utcoffset() for time in twice} == {dt.timedelta(hours=2), dt.timedelta(hours=1)}


def test_the_hour_that_is_left_out_is_not_there():
    local = local_day(SPRING[0], "Europe/Amsterdam", QUARTER_HOUR).tz_convert("Europe/Amsterdam")
    assert 2 not in set(local.hour)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    values=st.lists(st.floats(-500, 4000, allow_nan=False), min_size=2, max_size=30),
    old_minutes=st.sampled_from([15, 30, 60]),
    parts=st.sampled_from([1, 2, 3, 5]),
    day=st.sampled_from([*SPRING, *AUTUMN, DAYS[0]]),
    zone=st.sampled_from(ZONES),
)
def test_holding_keeps_every_value_over_the_time_that_it_covered(values, old_minutes, parts, day, zone):
    old = pd.Timedelta(minutes=old_minutes)
    begin = pd.Timestamp(dt.datetime.combine(day, dt.time(), ZoneInfo(zone)))
    coarse = pd.Series(values, pd.date_range(begin, periods=len(values), freq=old))
    fine = hold(coarse, old / parts)
    assert fine.tolist() == np.repeat(values, parts).tolist()
    assert fine.index[0] == coarse.index[0]
    assert fine.index[-1] + old / parts == coarse.index[-1] + old
    assert ((fine.index[1:] - fine.index[:-1]) == old / parts).all()


def test_holding_keeps_energy():
    coarse = pd.Series([1.0, 3.0, 0.0], pd.date_range("2026-02-03T00:00Z", periods=3, freq="h"))
    assert hold(coarse, QUARTER_HOUR).sum() * 0.25 == coarse.sum()


def test_holding_leaves_what_is_missing_missing():
    coarse = pd.Series([1.0, np.nan, 2.0], pd.date_range("2026-02-03T00:00Z", periods=3, freq="h"))
    assert hold(coarse, HALF_HOUR).isna().tolist() == [False, False, True, True, False, False]


@pytest.mark.parametrize("minutes", [7, 8, 30, 60, 0, -5])
def test_a_step_that_does_not_divide_the_old_one_is_refused(minutes):
    quarters = pd.Series(0.2, pd.date_range("2026-02-03T00:00Z", periods=4, freq="15min"))
    with pytest.raises(InputError, match=r"^step: .* does not divide .*; choose a divisor$"):
        hold(quarters, pd.Timedelta(minutes=minutes))


def test_a_gapped_series_is_not_held_over_its_gap():
    hours = pd.date_range("2026-02-03T00:00Z", periods=4, freq="h").delete(2)
    with pytest.raises(InputError, match="fill the gap"):
        hold(pd.Series(0.2, hours), QUARTER_HOUR)


@pytest.mark.parametrize(("freq", "hours"), [("5min", 1 / 12), ("15min", 0.25), ("30min", 0.5), ("h", 1.0)])
def test_the_length_of_intervals_is_in_hours(freq, hours):
    assert step_hours(pd.date_range("2026-02-03T00:00Z", periods=3, freq=freq)) == hours


def test_local_times_over_a_clock_change_are_regular_in_utc():
    local = pd.date_range("2026-03-29", periods=23, freq="h", tz="Europe/Copenhagen")
    utc = utc_index("load", local)
    assert str(utc.tz) == "UTC"
    assert utc.name == "start"
    assert (utc == local).all()
