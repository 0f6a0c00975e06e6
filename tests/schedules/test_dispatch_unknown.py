"""A command of unknown fate is settled by telemetry that is newer than it, and by nothing else."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from adapters.contract import AdapterError
from schedules.dispatch import Outcome
from schedules.egress import SOCKET_WITHIN_S
from tests.schedules.bench import CHARGE_KW


def test_an_unknown_command_waits_for_telemetry_newer_than_itself_and_settling(charging):
    charging.move(5)
    charging.vendor.will("lose request")
    charging.tick()
    for _ in range(24):
        charging.move(1)
        # Rows come each 10 s: that of 20 s is too early, that of 30 s decides.
        assert charging.tick() is Outcome.WAITING
    charging.move(1)
    assert charging.tick() is Outcome.SENT
    assert charging.states() == ["not_seen", "accepted"]
    assert "10:00:30" in charging.journal()[0].outcome


def test_a_reading_exactly_at_the_end_of_settling_decides(charging):
    charging.vendor.abilities = replace(charging.vendor.abilities, settling_s=20.0 - SOCKET_WITHIN_S)
    charging.vendor.will("lose request")
    charging.tick()
    charging.move(20)
    assert charging.tick() is Outcome.SENT
    assert charging.states() == ["not_seen", "accepted"]


def test_frozen_telemetry_resolves_nothing_however_often_it_is_served(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    stuck = charging.battery.rows[-1]
    for _ in range(40):
        charging.move(15)
        charging.battery.rows[:] = [stuck]
        assert charging.tick() is Outcome.WAITING
    assert (charging.states(), len(charging.vendor.wire)) == (["unknown"], 1)


def test_a_reading_stamped_in_the_future_resolves_nothing(charging):
    # A vendor's local time taken for UTC makes every row look newer than any command.
    charging.vendor.time_stamps_ahead = dt.timedelta(hours=2)
    charging.vendor.will("lose reply")
    charging.tick()
    charging.move(1)
    with pytest.raises(AdapterError, match="future"):
        charging.tick()
    assert charging.states() == ["unknown"]


def test_a_command_that_was_seen_at_work_is_in_force(bench):
    # The reply is lost, and nothing has been sent again yet: it is in force all the same.
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 600))
    bench.vendor.will("lose reply")
    bench.tick()
    assert bench.intents()[0].in_force_at is None
    bench.vendor.will("reject")
    bench.move(40)
    bench.tick()
    assert bench.states()[0] == "seen"
    assert bench.intents()[0].in_force_at is not None


def test_an_unknown_command_outlives_its_intent_and_is_still_read_first(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 10), bench.intent("discharge", 3.0, 10, 900))
    bench.vendor.will("lose reply")
    bench.tick()
    bench.move(15)
    assert bench.tick() is Outcome.WAITING
    bench.move(15)
    assert bench.tick() is Outcome.SENT
    assert {sent.older_unresolved for sent in bench.vendor.wire} == {0}
