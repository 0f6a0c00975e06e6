from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest

from schedules.clock import RealClock, SimulatedClock

NOON = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)


def test_a_simulated_clock_stands_still_until_it_is_moved():
    clock = SimulatedClock(NOON)
    assert clock() == NOON
    assert clock() == NOON
    clock.move_to(NOON + dt.timedelta(seconds=15))
    assert clock() == NOON + dt.timedelta(seconds=15)


def test_a_simulated_clock_may_be_moved_to_where_it_is():
    clock = SimulatedClock(NOON)
    clock.move_to(NOON)
    assert clock() == NOON


def test_a_simulated_clock_never_goes_back():
    clock = SimulatedClock(NOON)
    with pytest.raises(ValueError, match=r"2024-04-10T11:59:59\.999999\+00:00 is before 2024-04-10T12:00:00"):
        clock.move_to(NOON - dt.timedelta(microseconds=1))
    assert clock() == NOON


def test_a_simulated_clock_refuses_a_start_without_a_zone():
    with pytest.raises(ValueError, match="no zone"):
        SimulatedClock(NOON.replace(tzinfo=None))


def test_a_simulated_clock_refuses_a_target_without_a_zone():
    clock = SimulatedClock(NOON)
    with pytest.raises(TypeError, match="offset-naive"):
        clock.move_to((NOON + dt.timedelta(hours=1)).replace(tzinfo=None))
    assert clock() == NOON


def test_a_simulated_clock_speaks_utc_whatever_zone_it_is_told():
    amsterdam = ZoneInfo("Europe/Amsterdam")
    clock = SimulatedClock(NOON.astimezone(amsterdam))
    assert (clock().tzinfo, clock().hour) == (dt.UTC, 12)
    clock.move_to((NOON + dt.timedelta(hours=1)).astimezone(amsterdam))
    assert (clock().tzinfo, clock().hour) == (dt.UTC, 13)


def test_a_simulated_clock_passes_the_hour_that_the_wall_shows_twice():
    amsterdam = ZoneInfo("Europe/Amsterdam")
    first = dt.datetime(2024, 10, 27, 2, 30, tzinfo=amsterdam, fold=0)
    second = dt.datetime(2024, 10, 27, 2, 30, tzinfo=amsterdam, fold=1)
    clock = SimulatedClock(first)
    clock.move_to(second)
    assert clock() - first.astimezone(dt.UTC) == dt.timedelta(hours=1)
    with pytest.raises(ValueError, match="is before"):
        clock.move_to(first)


def test_the_real_clock_tells_aware_utc_time():
    before = dt.datetime.now(dt.UTC)
    seen = RealClock()()
    assert seen.tzinfo is dt.UTC
    assert before <= seen <= dt.datetime.now(dt.UTC)
