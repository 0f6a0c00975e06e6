"""Calls are counted in sliding windows, and a pause that the vendor asks for is kept."""

from __future__ import annotations

import contextlib
import datetime as dt
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.contract import QuotaExceededError
from adapters.quota import MemoryLedger, Meter, Quota

MINUTE = dt.timedelta(minutes=1)


def after(clock, seconds: float) -> None:
    clock.time += dt.timedelta(seconds=seconds)


def test_a_call_beyond_the_quota_is_refused_and_told_when_it_may_be_made(manual_clock):
    meter = Meter({"control": (Quota(2, MINUTE),)}, manual_clock)
    begin = manual_clock.time
    meter.take("control")
    after(manual_clock, 10)
    meter.take("control")
    assert meter.left("control") == 0
    with pytest.raises(QuotaExceededError) as refusal:
        meter.take("control")
    assert refusal.value.free_at == begin + MINUTE
    after(manual_clock, 50)
    meter.take("control")
    assert meter.left("control") == 0, "the second of the first two still counts"


def test_the_tightest_of_several_quotas_decides(manual_clock):
    meter = Meter({"control": (Quota(1, MINUTE), Quota(3, dt.timedelta(days=1)))}, manual_clock)
    for _ in range(3):
        meter.take("control")
        after(manual_clock, 60)
    with pytest.raises(QuotaExceededError):
        meter.take("control")
    after(manual_clock, 24 * 3600 - 3 * 60)
    meter.take("control")


def test_other_quotas_count_the_calls_that_were_made(manual_clock):
    meter = Meter({"read": (Quota(1, MINUTE),)}, manual_clock)
    meter.take("read")
    assert meter.left("read") == 0
    meter.allow("read", (Quota(3, MINUTE),))
    assert meter.left("read") == 2
    meter.allow("new", (Quota(1, MINUTE),))
    meter.take("new")
    with pytest.raises(QuotaExceededError):
        meter.take("new")


def test_calls_of_a_kind_without_quota_are_free(manual_clock):
    meter = Meter({}, manual_clock)
    for _ in range(1000):
        meter.take("read")
    assert meter.left("read") is None


def test_a_pause_is_kept_and_only_ever_made_longer(manual_clock):
    meter = Meter({"read": (Quota(100, MINUTE),)}, manual_clock)
    until = manual_clock.time + dt.timedelta(hours=1)
    meter.pause("read", until)
    meter.pause("read", manual_clock.time + MINUTE)
    with pytest.raises(QuotaExceededError, match=f"read: .* until {until:%Y-%m-%dT%H:%M:%SZ}; wait") as refusal:
        meter.take("read")
    assert meter.left("read") == 0
    assert str(pickle.loads(pickle.dumps(refusal.value))) == str(refusal.value)
    manual_clock.time = until
    meter.take("read")


def test_what_is_reserved_is_for_urgent_calls(manual_clock):
    meter = Meter({"control": (Quota(5, MINUTE, reserved=1),)}, manual_clock)
    begin = manual_clock.time
    for _ in range(4):
        meter.take("control")
        after(manual_clock, 1)
    assert meter.left("control") == 0
    assert meter.free_at("control") == begin + MINUTE
    with pytest.raises(QuotaExceededError):
        meter.take("control")
    meter.take("control", urgent=True)
    with pytest.raises(QuotaExceededError):
        meter.take("control", urgent=True)


def test_two_meters_with_one_ledger_share_a_quota(manual_clock):
    ledger = MemoryLedger()
    one, other = (Meter({"read": (Quota(1, MINUTE),)}, manual_clock, ledger) for _ in range(2))
    one.take("read")
    assert other.left("read") == 0
    other.pause("read", manual_clock.time + 2 * MINUTE)
    assert one.free_at("read") == manual_clock.time + 2 * MINUTE


def test_the_time_of_a_call_is_taken_when_its_turn_has_come(manual_clock):
    """Who waited for the turn made its call after that, and the window begins there."""

    class Slow(MemoryLedger):
        @contextlib.contextmanager
        def turn(self):
            after(manual_clock, 10)
            yield self

    meter = Meter({"read": (Quota(1, MINUTE),)}, manual_clock, Slow())
    meter.take("read")
    assert meter.free_at("read") == manual_clock.time + MINUTE


@given(st.lists(st.floats(0, 90), max_size=60), st.integers(1, 5))
def test_no_window_ever_holds_more_calls_than_its_quota(waits, calls):
    time = [dt.datetime(2026, 1, 1, tzinfo=dt.UTC)]
    meter = Meter({"x": (Quota(calls, MINUTE),)}, lambda: time[0])
    made = []
    for wait in waits:
        time[0] += dt.timedelta(seconds=wait)
        if meter.left("x"):
            meter.take("x")
            made.append(time[0])
        else:
            assert meter.free_at("x") > time[0]
            with pytest.raises(QuotaExceededError):
                meter.take("x")
    assert all(sum(begin <= other < begin + MINUTE for other in made) <= calls for begin in made)


def test_a_clock_that_runs_between_two_looks_at_it_makes_no_call_early():
    times = (dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(microseconds=step) for step in range(10_000))
    meter = Meter({"x": (Quota(2, MINUTE),)}, lambda: next(times))
    meter.take("x")
    meter.take("x")
    with pytest.raises(QuotaExceededError):
        meter.take("x")
