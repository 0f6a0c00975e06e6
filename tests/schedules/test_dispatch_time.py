"""A command goes out within its intent's time, and not a moment beside it."""

from __future__ import annotations

from adapters.contract import CONNECTED_WITHIN_S
from schedules.dispatch import Outcome
from schedules.egress import Egress
from tests.schedules.bench import CHARGE_KW


def test_nothing_is_sent_before_an_intent_begins(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 60, 900))
    assert bench.tick() is Outcome.NOTHING_DUE
    bench.move(59.999)
    assert bench.tick() is Outcome.NOTHING_DUE
    bench.move(0.001)
    assert bench.tick() is Outcome.SENT
    assert bench.sent() == [(60.0, "start", -CHARGE_KW)]


def test_an_intent_whose_time_is_over_is_not_sent(charging):
    charging.move(900)
    assert charging.tick() is Outcome.NOTHING_DUE
    assert charging.sent() == []


def test_an_intent_is_sent_as_long_as_the_call_is_on_the_wire_before_its_end(charging):
    charging.move(899.999 - CONNECTED_WITHIN_S)
    assert charging.tick() is Outcome.SENT


def test_an_intent_is_not_sent_when_opening_the_connection_may_outlast_it(charging):
    charging.move(900 - CONNECTED_WITHIN_S)
    assert charging.tick() is Outcome.HELD
    assert charging.sent() == []


def test_nothing_is_sent_when_the_journal_took_so_long_that_the_intent_is_over(charging):
    charging.move(890)
    with charging.hooked(after=lambda: charging.move(10)):
        assert charging.tick() is Outcome.REFUSED
    assert charging.vendor.wire == []
    (row,) = charging.journal()
    said = "not sent: the intent's time is over before the call could be on the wire"
    assert (row.state.value, row.outcome) == ("rejected", said)


def test_a_slow_journal_that_is_still_in_time_does_not_stop_a_command(charging):
    charging.move(892)
    with charging.hooked(after=lambda: charging.move(4)):
        assert charging.tick() is Outcome.SENT


def test_without_the_fence_a_command_goes_out_after_its_time(charging, monkeypatch, without_guard):
    charging.move(897)
    monkeypatch.setattr(Egress, "_objection", without_guard(Egress._objection, "not_after"))
    monkeypatch.setattr(Egress, "_is_wanted", lambda *_: True)
    with charging.hooked(after=lambda: charging.move(4)):
        assert charging.tick() is Outcome.SENT
    (sent,) = charging.vendor.wire
    assert sent.window is not None
    assert sent.at >= sent.window[1]


def test_a_renewal_that_is_too_late_is_not_sent_either(charging):
    charging.move(840)
    charging.tick()
    charging.move(50)
    with charging.hooked(after=lambda: charging.move(10)):
        assert charging.tick() is Outcome.REFUSED
    assert charging.sent() == [(840.0, "start", -CHARGE_KW)]
