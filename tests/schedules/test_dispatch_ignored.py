"""What a vendor takes and its device does not do is told again, once that is seen, and a few times at most."""

from __future__ import annotations

from schedules import halts, verdicts
from schedules.dispatch import Outcome
from schedules.site_dispatch import TOLD_AT_MOST, SiteDispatch
from schedules.store import HaltScope
from tests.schedules.bench import CHARGE_KW

MINUTES = 60.0


def disarmed(bench) -> None:
    halts.pull(bench.db, bench.clock, HaltScope.GLOBAL, "", "smoke", "operator")


def watched_for(bench, minutes: int) -> None:
    """Ticks with a judgement a minute, as the jobs of an account give them."""
    for _ in range(minutes):
        bench.move(MINUTES)
        bench.watch()
        verdicts.confirm(bench.db, bench.clock, [bench.target])
        bench.tick()


def test_a_release_that_is_ignored_is_told_again_once_it_is_seen(charging):
    charging.vendor.lets_orders_last()
    charging.battery.lapses = []
    charging.tick()
    charging.battery.lapses_at = None
    charging.move(30)
    disarmed(charging)
    charging.vendor.will("ignore")
    assert charging.tick() is Outcome.SENT
    assert charging.kinds() == ["start", "release"]
    charging.move(15)
    assert charging.tick() is Outcome.HELD, "no reading can show it yet"
    charging.move(30)
    assert charging.tick() is Outcome.SENT
    assert charging.kinds() == ["start", "release", "release"]
    watched_for(charging, 5)
    assert charging.kinds() == ["start", "release", "release"], "it has let go, and is left alone"


def test_a_device_that_never_lets_go_is_not_told_for_ever(charging):
    charging.vendor.lets_orders_last()
    charging.tick()
    charging.battery.lapses_at = None
    disarmed(charging)
    charging.vendor.will_always("ignore")
    watched_for(charging, 20)
    assert charging.kinds() == ["start", *["release"] * TOLD_AT_MOST]


def test_a_release_that_is_obeyed_is_not_repeated(charging):
    charging.tick()
    disarmed(charging)
    watched_for(charging, 10)
    assert charging.kinds() == ["start", "release"]


def test_an_order_that_is_ignored_is_told_again_once_it_is_judged(charging):
    charging.vendor.lets_orders_last()
    charging.vendor.will("ignore")
    charging.tick()
    watched_for(charging, 1)
    assert charging.kinds() == ["start"], "one reading is not enough"
    watched_for(charging, 2)
    assert charging.kinds() == ["start", "renew"]
    assert charging.battery.plant.sample.battery_kw == -CHARGE_KW


def test_an_order_that_was_told_again_and_obeyed_is_judged_by_what_came_after_it(charging):
    charging.vendor.lets_orders_last()
    charging.vendor.will("ignore")
    charging.tick()
    watched_for(charging, 3)
    assert charging.kinds() == ["start", "renew"]
    # It did as told for a minute, and is full now; the verdict is still that of the minutes before.
    charging.battery.lapses_at = None
    charging.battery.plant.soc = 1.0
    charging.move(MINUTES)
    assert charging.tick() is Outcome.NOTHING_DUE
    charging.keep_state(1.0)
    watched_for(charging, 5)
    assert charging.kinds() == ["start", "renew"]


def test_a_device_that_never_obeys_is_not_told_for_ever(charging):
    charging.vendor.lets_orders_last()
    charging.vendor.will_always("ignore")
    charging.tick()
    watched_for(charging, 14)
    assert len(charging.kinds()) == TOLD_AT_MOST


def test_without_the_look_at_what_is_done_an_ignored_order_is_lost(charging, monkeypatch):
    monkeypatch.setattr(SiteDispatch, "_is_order_ignored", lambda *_: False)
    charging.vendor.lets_orders_last()
    charging.vendor.will("ignore")
    charging.tick()
    watched_for(charging, 10)
    assert charging.kinds() == ["start"]
    assert charging.battery.plant.sample.battery_kw > -CHARGE_KW
