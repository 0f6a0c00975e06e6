"""Commands that lapse are renewed while their intents last, others are not."""

from __future__ import annotations

from itertools import pairwise

import pytest

from schedules.dispatch import Outcome
from schedules.site_dispatch import JITTER
from schedules.store import SafetyState, SiteRow
from tests.schedules.bench import CHARGE_KW

# Renewal


def test_a_lapsing_command_is_renewed_at_half_its_life_while_its_intent_lasts(charging):
    charging.run(870)
    times = [when for when, _, _ in charging.sent()]
    assert times == [45.0 * number for number in range(20)]
    assert charging.kinds() == ["start"] + ["renew"] * 19
    assert charging.battery.lapses == []


@pytest.mark.parametrize("every_s", [1.0, 7.0, 15.0, 30.0])
def test_whatever_the_rhythm_of_ticks_renewals_come_well_inside_the_lifetime(charging, every_s):
    charging.run(870, every_s)
    times = [when for when, _, _ in charging.sent()]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) >= 45.0 * (1 - JITTER)
    assert max(gaps) < 45.0 + every_s
    assert charging.battery.lapses == []


def test_nothing_is_renewed_before_it_is_due(charging):
    charging.tick()
    charging.move(45.0 * (1 - JITTER) - 0.001)
    assert charging.tick() is Outcome.NOTHING_DUE
    charging.move(45.0 * JITTER + 0.001)
    assert charging.tick() is Outcome.SENT


def test_nothing_is_renewed_once_its_intent_is_over(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 105), bench.intent("hold", 0.0, 105, 200))
    bench.run(240, every_s=15.0)
    driving = [(when, power) for when, kind, power in bench.sent() if kind != "release"]
    assert driving == [(0.0, -2.0), (45.0, -2.0), (90.0, -2.0), (105.0, 0.0), (150.0, 0.0), (195.0, 0.0)]


def test_a_command_that_ends_by_itself_is_not_renewed(charging):
    charging.vendor.lets_orders_last()
    charging.run(870)
    assert charging.sent() == [(0.0, "start", -CHARGE_KW)]


def test_after_an_outage_an_intent_that_still_lasts_is_taken_up_again(charging):
    charging.run(30)
    charging.move(300)
    assert len(charging.battery.lapses) == 1
    assert charging.tick() is Outcome.SENT
    charging.move(10)
    assert charging.battery.rows[-1].battery_kw == -CHARGE_KW


@pytest.mark.parametrize("safety", [SafetyState.NORMAL, SafetyState.DEGRADED])
def test_what_has_lapsed_is_begun_anew_so_not_on_old_telemetry_nor_where_nothing_may_begin(bench, safety):
    """Half an hour without a worker: the state of charge is anybody's guess, and the battery has let go by itself."""
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 7200))
    bench.run(30)
    bench.move(1800)
    with bench.db.write() as session:
        session.get_one(SiteRow, bench.target.id).safety = safety
    bench.is_watched = safety is SafetyState.DEGRADED
    assert bench.tick() is Outcome.HELD
    assert bench.kinds() == ["start"]
    with bench.db.write() as session:
        session.get_one(SiteRow, bench.target.id).safety = SafetyState.NORMAL
    bench.is_watched = True
    assert bench.tick() is Outcome.SENT
    assert bench.kinds() == ["start", "start"]


def test_a_lost_renewal_is_made_good_before_the_device_lapses(charging):
    charging.vendor.will("accept", "lose request")
    charging.run(870)
    assert charging.battery.lapses == []
    assert charging.states()[1] == "seen", "the lease of the call before it still holds the power"


# Commands that carry their own end


@pytest.fixture
def self_ending(bench):
    """A vendor whose orders last ten minutes and are never renewed."""
    bench.vendor.lets_orders_last()
    bench.vendor.orders_end_after_s = 600.0
    return bench


def test_a_command_that_has_ended_by_itself_is_not_ended_again(self_ending):
    self_ending.plan(self_ending.intent("charge", CHARGE_KW, 0, 600))
    self_ending.run(599)
    self_ending.move(5)
    assert self_ending.tick() is Outcome.NOTHING_DUE
    assert self_ending.kinds() == ["start"]
    assert self_ending.journal()[0].ends_at == self_ending.at(600)


def test_a_command_that_goes_on_when_its_intent_is_over_is_ended(self_ending):
    self_ending.plan(self_ending.intent("charge", CHARGE_KW, 0, 300))
    self_ending.run(300)
    assert self_ending.kinds() == ["start", "release"]


def test_a_command_says_whether_it_comes_on_top_of_another(self_ending):
    """Some vendors must stop the one before it first, and only the journal knows of it."""
    plan = (("charge", 1.0, 0, 300), ("discharge", 1.0, 300, 900), ("charge", 2.0, 1200, 1500))
    self_ending.plan(*(self_ending.intent(*stretch) for stretch in plan))
    self_ending.run(600)
    self_ending.restart()
    self_ending.run(800)
    assert [(at, kind) for at, kind, _ in self_ending.sent()] == [
        (0.0, "start"),
        (300.0, "start"),
        (1200.0, "start"),
    ]
    assert [sent.command.replaces for sent in self_ending.vendor.wire] == [False, True, False]
