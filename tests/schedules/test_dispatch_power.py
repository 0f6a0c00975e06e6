"""No power goes out that the battery cannot have, however the translation came to it."""

from __future__ import annotations

import pytest

from adapters.contract import Channel
from schedules import egress, site_dispatch
from schedules.dispatch import Outcome
from tests.schedules.bench import CHARGE_KW


def test_a_command_above_the_nameplate_is_never_sent(charging):
    charging.vendor.power_factor = 1000.0  # W for kW
    assert charging.tick() is Outcome.REFUSED
    assert charging.vendor.wire == []
    assert charging.journal() == []
    (intent,) = charging.intents()
    assert "above the nameplate of 5 kW" in intent.refusal
    assert intent.in_force_at is None


@pytest.mark.parametrize(
    ("mode", "rating_kw"), [("charge", 5.0), ("discharge", 4.0)], ids=["rated charge", "rated discharge"]
)
@pytest.mark.parametrize(("excess_kw", "sent"), [(-0.5, True), (0.0, True), (0.001, True), (0.01, False), (1.0, False)])
def test_each_direction_has_its_own_nameplate(bench, mode, rating_kw, excess_kw, sent):
    bench.plan(bench.intent(mode, rating_kw + excess_kw, 0, 900))
    assert bench.tick() is (Outcome.SENT if sent else Outcome.REFUSED)
    assert len(bench.vendor.wire) == int(sent)


def test_a_power_that_is_no_number_is_never_sent(charging):
    charging.vendor.power_factor = float("nan")
    assert charging.tick() is Outcome.REFUSED
    assert charging.vendor.wire == []


def test_without_the_nameplate_check_the_wrong_unit_goes_out(charging, monkeypatch):
    charging.vendor.power_factor = 1000.0
    for module in (egress, site_dispatch):
        monkeypatch.setattr(module, "above_nameplate", lambda *_: None)
    charging.tick()
    assert charging.sent() == [(0.0, "start", -CHARGE_KW * 1000)]


def test_when_the_next_order_is_refused_the_last_one_is_let_go(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("discharge", 4.5, 60, 900))
    bench.run(45)
    bench.move(15)
    assert bench.tick() is Outcome.REFUSED
    assert bench.sent()[-1] == (60.0, "release", 0.0)
    assert bench.battery.lapses_at is None
    bench.run(300)
    assert bench.sent()[-1] == (60.0, "release", 0.0), "once is enough"


def test_what_the_battery_management_allows_now_reaches_the_translation(charging):
    charging.vendor.charge_limit_kw = 1.25
    charging.read(Channel.STATE)
    charging.tick()
    assert charging.sent() == [(0.0, "start", -1.25)]


def test_what_it_allowed_long_ago_says_nothing_of_now(bench):
    bench.vendor.charge_limit_kw = 0.0
    bench.read(Channel.STATE)
    bench.plan(bench.intent("charge", CHARGE_KW, 1200, 2100))
    bench.move(1200)
    bench.tick()
    assert bench.sent() == [(1200.0, "start", -CHARGE_KW)]
