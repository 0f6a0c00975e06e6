"""A device that nothing is wanted of any more is let go, once; one that we do not drive is left alone."""

from __future__ import annotations

import pytest

from adapters.contract import IntentRefusedError
from schedules.dispatch import Outcome
from tests.schedules.bench import CHARGE_KW

# The end


def test_at_the_end_of_the_horizon_the_device_is_released_once(charging):
    charging.run(1800)
    assert charging.sent()[-1] == (900.0, "release", 0.0)
    assert charging.kinds().count("release") == 1
    assert charging.battery.lapses == []
    assert charging.battery.rows[-1].battery_kw == pytest.approx(charging.battery.follow_kw)


def test_a_device_that_was_never_driven_is_left_alone(bench):
    assert bench.tick() is Outcome.NOTHING_DUE
    bench.plan(bench.intent("self_consumption", 0.0, 0, 900))
    bench.run(1800)
    assert bench.vendor.wire == []


def test_a_device_that_would_not_follow_the_house_is_not_said_to(bench, monkeypatch):
    def refuse(*_):
        raise IntentRefusedError("mode: self_consumption: this one rests")

    monkeypatch.setattr(bench.vendor, "translate", refuse)
    bench.plan(bench.intent("self_consumption", 0.0, 0, 900))

    assert bench.tick() is Outcome.REFUSED
    (intent,) = bench.intents()
    assert ("rests" in intent.refusal, intent.in_force_at) == (True, None)
    assert bench.vendor.wire == []


def test_a_device_whose_only_order_was_refused_is_left_alone(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 30))
    bench.vendor.will("reject")
    bench.run(120)
    assert bench.kinds() == ["start"]


def test_a_device_that_has_lapsed_by_itself_is_not_released_again(charging):
    charging.move(890)
    charging.tick()
    charging.move(100)
    assert charging.tick() is Outcome.NOTHING_DUE
    assert charging.kinds() == ["start"]


def test_a_command_that_went_out_late_is_still_let_go_at_the_end_of_its_intent(bench):
    # The lease runs from when the vendor has the command, not from when its row was begun.
    bench.plan(bench.intent("discharge", 3.0, 0, 95))
    with bench.hooked(after=lambda: bench.move(4)):
        bench.tick()
    bench.move(91)
    bench.tick()
    assert bench.battery.lapses_at is None


def test_a_command_without_an_end_of_its_own_is_released_however_late(charging):
    charging.vendor.lets_orders_last()
    charging.tick()
    charging.move(36 * 3600)
    assert charging.tick() is Outcome.SENT
    assert charging.sent()[-1][1] == "release"


def test_a_gap_in_the_plan_releases_the_device(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("charge", CHARGE_KW, 120, 180))
    bench.run(150)
    assert bench.sent() == [(0, "start", -2.0), (45, "renew", -2.0), (60, "release", 0.0), (120, "start", -2.0)]


# Self-consumption


def test_self_consumption_lets_go_once_and_is_not_renewed(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 300), bench.intent("self_consumption", 0.0, 300, 1200))
    bench.run(1180)
    letting_go = [entry for entry in bench.sent() if entry[0] >= 300]
    assert letting_go == [(300.0, "release", 0.0)]
    assert bench.battery.lapses == []


def test_self_consumption_after_self_consumption_sends_nothing(bench):
    bench.plan(
        bench.intent("charge", CHARGE_KW, 0, 300),
        bench.intent("self_consumption", 0.0, 300, 600),
        bench.intent("self_consumption", 0.0, 600, 900),
    )
    bench.run(880)
    assert [when for when, _, _ in bench.sent() if when >= 300] == [300.0]


def test_self_consumption_is_in_force_from_the_release_or_from_when_it_was_found_so(bench):
    bench.plan(
        bench.intent("self_consumption", 0.0, 0, 300),
        bench.intent("charge", CHARGE_KW, 300, 600),
        bench.intent("self_consumption", 0.0, 600, 900),
    )
    bench.move(7)
    bench.run(880)
    found, _, let_go = bench.intents()
    assert found.in_force_at == bench.at(7)
    assert let_go.in_force_at is not None
    assert bench.at(600) <= let_go.in_force_at < bench.at(615)


def test_a_release_that_was_lost_is_sent_again(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("self_consumption", 0.0, 60, 900))
    bench.vendor.will("accept", "accept", "lose request")
    bench.run(120)
    releases = [(sent.kind, sent.answer.value) for sent in bench.vendor.wire][2:]
    assert releases == [("release", "lose request"), ("release", "accept")]
    assert bench.battery.lapses_at is None


def test_letting_go_for_self_consumption_waits_for_no_telemetry_either(bench):
    """The order's answer was lost, nobody can see the battery, and it would go on past the end of its intent."""
    bench.vendor.lets_orders_last()
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("self_consumption", 0.0, 60, 3600))
    bench.vendor.will("lose reply")
    bench.tick()
    bench.is_watched, bench.vendor.telemetry_fails = False, True
    bench.move(60)
    assert bench.tick() is Outcome.SENT
    assert bench.states() == ["superseded", "accepted"]
    bench.run(300)
    assert bench.kinds() == ["start", "release"]
    assert bench.battery.rows[-1].battery_kw == pytest.approx(bench.battery.follow_kw, abs=0.01)
