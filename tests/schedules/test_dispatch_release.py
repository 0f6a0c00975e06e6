"""Release by hand: at once, whatever is open, and journalled."""

from __future__ import annotations

import asyncio

import pytest

from schedules.dispatch import RELEASE_ATTEMPTS, Outcome


def release(bench) -> bool:
    return asyncio.run(bench.dispatcher.release())


def test_release_lets_go_at_once(charging):
    charging.run(30)
    assert release(charging)
    assert charging.battery.lapses_at is None
    assert charging.sent()[-1] == (30.0, "release", 0.0)


def test_release_goes_out_over_an_unknown_command_and_settles_it(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    assert release(charging)
    assert charging.vendor.calls == ["send", "send"], "a release does not wait for a reading"
    assert charging.states() == ["superseded", "accepted"]
    assert charging.journal()[0].outcome == "scripted: time-out; released by command 2"


@pytest.mark.parametrize("answer", ["reject", "lose request", "lose reply"])
def test_release_is_repeated_a_few_times_and_no_more(charging, answer):
    charging.run(30)
    charging.vendor.calls.clear()
    charging.vendor.will_always(answer)
    assert not release(charging)
    assert charging.vendor.calls == ["send"] * RELEASE_ATTEMPTS


def test_release_stops_at_the_first_receipt(charging):
    charging.run(30)
    charging.vendor.will("lose request")
    assert release(charging)
    assert [sent.answer.value for sent in charging.vendor.wire][-2:] == ["lose request", "accept"]
    assert charging.states()[-2:] == ["superseded", "accepted"]


def test_a_release_that_nobody_confirmed_leaves_rows_that_are_read_back_later(charging):
    charging.run(30)
    charging.vendor.will(*["lose request"] * RELEASE_ATTEMPTS)
    assert not release(charging)
    charging.vendor.calls.clear()
    charging.run(45)
    assert charging.vendor.calls[0] == "read"
    assert "unknown" not in charging.states()


def test_release_harms_nobody_when_nothing_is_driven(bench):
    assert release(bench)
    assert release(bench)
    assert bench.states() == ["accepted", "accepted"]
    assert bench.tick() is Outcome.NOTHING_DUE
