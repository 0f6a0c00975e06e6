"""The last line: what else may not go out, however it was decided."""

from __future__ import annotations

import asyncio

import pytest

from adapters import last_line
from schedules import halts, ramp
from schedules.dispatch import Dispatcher, Outcome
from schedules.egress import Egress
from schedules.overrides import set_override
from schedules.sites import register_site
from schedules.store import IntentRow, SafetyState, SiteRow
from schedules.telemetry import OLDEST, keep
from tests.schedules.plans import put_plan


@pytest.fixture
def charging(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 1800), bench.intent("discharge", 1.0, 1800, 3600))
    return bench


def trust(bench, state: SafetyState) -> None:
    with bench.db.write() as session:
        session.get_one(SiteRow, bench.target.id).safety = state


# Telemetry


def test_nothing_is_begun_on_telemetry_that_is_too_old(charging):
    charging.watch()
    charging.is_watched = False
    charging.move(OLDEST.total_seconds() + 10)
    assert charging.tick() is Outcome.HELD
    assert charging.vendor.wire == []


def test_nothing_is_begun_where_there_never_was_any(charging):
    charging.is_watched = False
    assert charging.tick() is Outcome.HELD
    assert charging.vendor.wire == []


def test_without_the_guard_it_is_begun(charging, monkeypatch, without_guard):
    monkeypatch.setattr(Egress, "_objection", without_guard(Egress._objection, "is_fresh"))
    charging.is_watched = False
    charging.tick()
    assert charging.kinds() == ["start"]


def test_what_runs_goes_on_without_telemetry_to_its_end_and_nothing_new_begins(charging):
    charging.tick()
    charging.is_watched = False
    charging.run(3000)
    ends = [sent.at for sent in charging.vendor.wire if sent.kind == "release"]
    assert ends == [charging.at(1800)]
    assert {sent.command.battery_kw for sent in charging.vendor.wire} == {-2.0, 0.0}


# How far the site is trusted


def test_in_a_degraded_site_what_runs_may_run_out_and_nothing_new_begins(charging):
    charging.tick()
    trust(charging, SafetyState.DEGRADED)
    charging.run(3000)
    assert {sent.command.battery_kw for sent in charging.vendor.wire} == {-2.0, 0.0}
    assert charging.battery.lapses == []


@pytest.mark.parametrize("state", [SafetyState.FALLBACK, SafetyState.QUARANTINED])
def test_further_down_what_is_ours_is_ended_and_nothing_else_done(charging, state):
    charging.tick()
    trust(charging, state)
    charging.run(3000)
    assert charging.kinds() == ["start", "release"]


@pytest.mark.parametrize("state", [SafetyState.FALLBACK, SafetyState.QUARANTINED])
def test_a_device_that_we_do_not_drive_is_not_touched_there(charging, state):
    trust(charging, state)
    charging.run(3000)
    assert charging.vendor.calls == []


# Plans that changed meanwhile


def test_an_intent_that_a_newer_plan_replaced_does_not_go_out(charging):
    def replace():
        with charging.db.write() as session:
            session.get_one(IntentRow, charging.intents()[0].id).superseded = True

    with charging.hooked(after=replace):
        charging.tick()
    assert charging.vendor.wire == []
    assert charging.journal()[0].outcome == "not sent: something else is wanted by now, of a newer plan or a person"


def test_an_intent_that_a_person_overrides_meanwhile_does_not_go_out(charging):
    def override():
        wish = charging.intent("hold", 0.0, 0, 900)
        set_override(charging.db, charging.clock, "bench", wish, by="ann", reason="visitors")

    with charging.hooked(after=override):
        charging.tick()
    assert charging.vendor.wire == []
    charging.tick()
    assert [sent.command.battery_kw for sent in charging.vendor.wire] == [0.0]


def test_without_the_guard_what_was_overridden_goes_out(charging, monkeypatch):
    monkeypatch.setattr(Egress, "_is_wanted", lambda *_: True)
    with pytest.raises(AssertionError):
        test_an_intent_that_a_person_overrides_meanwhile_does_not_go_out(charging)


# Directly before the socket


def test_the_guard_is_asked_where_the_vendor_is_written_to(charging, monkeypatch):
    # A login inside `send` takes so long that the intent is over when the adapter comes to its write; the lease is not.
    charging.move(1795)
    send = charging.vendor.send
    said = []

    async def send_after_a_login(command):
        charging.move(5)
        said.append(last_line.objection())
        return await send(command)

    monkeypatch.setattr(charging.vendor, "send", send_after_a_login)
    charging.tick()
    assert said == ["the intent's time is over before the call could be on the wire"]
    assert last_line.objection() is None, "outside of a call nothing is guarded"


# The fleet's ramp


@pytest.fixture
def street(bench, site):
    """Ten sites of 5 kW on one account that all want to charge with 2 kW now."""
    targets = [bench.target]
    for number in range(9):
        renamed = site.model_copy(update={"name": f"home {number}"})
        targets.append(register_site(bench.db, renamed, bench.vendor, "scripted", "B1"))
    for target in targets:
        put_plan(bench.db, target.id, [bench.intent("charge", 2.0, 0, 1800)])
    bench.dispatcher = Dispatcher(bench.db, bench.clock, targets)
    return targets


def watch_all(bench, targets):
    bench.battery.catch_up()
    for target in targets:
        keep(bench.db, bench.clock(), target.id, bench.battery.rows[-1])


def per_minute(bench) -> list[float]:
    """How far set-points moved in each minute [kW]."""
    steps = {}
    for row in bench.journal():
        if row.kind.value == "start":
            minute = int((row.sent_at - bench.T0).total_seconds() // 60)
            steps[minute] = steps.get(minute, 0.0) + abs(row.battery_kw)
    return [steps.get(minute, 0.0) for minute in range(max(steps) + 1)]


def run_street(bench, targets, seconds):
    for _ in range(int(seconds / 15)):
        watch_all(bench, targets)
        asyncio.run(bench.dispatcher.tick())
        bench.move(15)


@pytest.mark.parametrize("limit", [{"kw_per_min": 4.0}, {"share_per_min": 0.08}])
def test_the_fleet_moves_no_faster_than_its_limit_and_gets_there(bench, street, limit):
    ramp.set_limit(bench.db, bench.clock, "ann", **limit)
    run_street(bench, street, 600)
    assert max(per_minute(bench)) <= 4.0
    assert sum(per_minute(bench)) == 20.0


def test_without_a_limit_all_move_at_once(bench, street):
    run_street(bench, street, 15)
    assert per_minute(bench) == [20.0]


def test_releases_are_not_held_back_by_it(bench, street):
    run_street(bench, street, 15)
    ramp.set_limit(bench.db, bench.clock, "ann", kw_per_min=1.0)
    halts.disarm(bench.db, bench.clock, "scripted", "ann")
    asyncio.run(bench.dispatcher.tick())
    assert [row.kind.value for row in bench.journal()][-10:] == ["release"] * 10


@pytest.mark.parametrize("limit", [{"kw_per_min": 0.0}, {"share_per_min": 1.5}, {"kw_per_min": float("nan")}])
def test_a_limit_that_makes_no_sense_is_refused(bench, limit):
    with pytest.raises(ValueError, match="outside 0"):
        ramp.set_limit(bench.db, bench.clock, "ann", **limit)
