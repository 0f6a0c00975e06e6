"""Kill switches and arming: in force at the next call, whatever is under way; releases always pass."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from engine.errors import InputError
from schedules import halts
from schedules.dispatch import Outcome
from schedules.egress import Egress
from schedules.sites import register_site
from schedules.store import EventRow, HaltScope

SCOPES = [
    (HaltScope.GLOBAL, ""),
    (HaltScope.VENDOR, "scripted"),
    (HaltScope.ACCOUNT, "scripted"),
    (HaltScope.SITE, "bench"),
]


@pytest.fixture
def charging(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 1800))
    return bench


def pull(bench, scope=HaltScope.GLOBAL, name=""):
    return halts.pull(bench.db, bench.clock, scope, name, "smoke in the cellar", "ann")


@pytest.mark.parametrize(("scope", "name"), SCOPES)
def test_a_halt_lets_go_of_what_is_driven_and_sends_nothing_else(charging, scope, name):
    charging.run(60)
    pull(charging, scope, name)
    charging.run(600)
    assert charging.kinds() == ["start", "renew", "release"]
    assert charging.tick() is Outcome.HELD


@pytest.mark.parametrize(("scope", "name"), SCOPES)
def test_a_halt_before_the_first_call_leaves_the_device_alone(charging, scope, name):
    pull(charging, scope, name)
    assert charging.tick() is Outcome.HELD
    assert charging.vendor.wire == []
    assert charging.journal() == []


def test_a_halt_that_is_pulled_between_journal_and_socket_is_in_force(charging):
    with charging.hooked(after=lambda: pull(charging)):
        charging.tick()
    assert charging.vendor.wire == []
    assert charging.journal()[0].outcome == "not sent: halted by ann: smoke in the cellar"


def test_without_the_guard_it_goes_out(charging, monkeypatch, without_guard):
    monkeypatch.setattr(Egress, "_objection", without_guard(Egress._objection, "halted"))
    with charging.hooked(after=lambda: pull(charging)):
        charging.tick()
    assert charging.kinds() == ["start"]


def test_a_halt_somewhere_else_stops_nothing_here(charging, site):
    renamed = site.model_copy(update={"name": "elsewhere"})
    register_site(charging.db, renamed, charging.vendor, "other", "B9", "elsewhere")
    for scope, name in ((HaltScope.VENDOR, "other"), (HaltScope.ACCOUNT, "elsewhere"), (HaltScope.SITE, "elsewhere")):
        pull(charging, scope, name)
    assert charging.tick() is Outcome.SENT


def test_once_lifted_the_plan_goes_on(charging):
    number = pull(charging)
    charging.tick()
    halts.lift(charging.db, charging.clock, number, "bob")
    assert charging.tick() is Outcome.SENT


def test_each_halt_is_lifted_by_itself(charging):
    first, _ = pull(charging), pull(charging, HaltScope.SITE, "bench")
    halts.lift(charging.db, charging.clock, first, "bob")
    assert charging.tick() is Outcome.HELD


def test_nothing_is_sent_to_an_account_that_is_not_armed(charging):
    halts.disarm(charging.db, charging.clock, "scripted", "ann")
    assert charging.tick() is Outcome.HELD
    assert charging.vendor.wire == []


def test_disarming_releases_and_arming_takes_up_again(charging):
    charging.run(60)
    halts.disarm(charging.db, charging.clock, "scripted", "ann")
    charging.run(120)
    assert charging.kinds() == ["start", "renew", "release"]
    halts.arm(charging.db, charging.clock, "scripted", "ann")
    charging.run(15)
    assert charging.kinds()[-1] == "start"


def test_a_release_by_hand_passes_a_halt(charging):
    charging.tick()
    pull(charging)
    assert asyncio.run(charging.dispatcher.release())


@pytest.mark.parametrize(
    ("scope", "name", "reason", "says"),
    [
        (HaltScope.VENDOR, "acme", "x", "choose one of scripted"),
        (HaltScope.SITE, "nowhere", "x", "choose one of bench"),
        (HaltScope.GLOBAL, "", " ", "reason"),
    ],
)
def test_a_halt_that_would_stop_nothing_is_refused(bench, scope, name, reason, says):
    with pytest.raises(InputError, match=says):
        halts.pull(bench.db, bench.clock, scope, name, reason, "ann")
    assert halts.in_force(bench.db) == []


def test_what_was_done_and_by_whom_can_be_found_again(bench):
    number = pull(bench)
    halts.lift(bench.db, bench.clock, number, "bob")
    with pytest.raises(InputError, match="no halt"):
        halts.lift(bench.db, bench.clock, number, "bob")
    with bench.db.session() as session:
        found = [(row.kind, row.by) for row in session.scalars(select(EventRow).order_by(EventRow.id))]
    assert found[-2:] == [("halt.pulled", "ann"), ("halt.lifted", "bob")]
