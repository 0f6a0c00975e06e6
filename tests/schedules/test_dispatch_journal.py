"""The journal is written before the socket opens, is never rewritten, and is enough to recover from any crash."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import Channel, VendorUnavailableError
from schedules import journal
from schedules.dispatch import Outcome
from schedules.egress import Egress
from schedules.site_dispatch import SiteDispatch
from schedules.store import CommandState
from schedules.store.models import UNRESOLVED
from schedules.telemetry import latest

CHARGE_KW = 2.0


@pytest.fixture
def charging(bench):
    """A bench with one intent: charge with 2 kW for half an hour."""
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 1800))
    return bench


def unresolved(bench) -> list[str]:
    return [row.state.value for row in bench.journal() if row.state in UNRESOLVED]


# Before the socket


def test_the_row_is_committed_as_sending_before_send_is_entered(charging):
    charging.tick()
    (sent,) = charging.vendor.wire
    assert (sent.kind, sent.state) == ("start", "sending")
    assert charging.states() == ["accepted"]


def test_every_call_of_an_hour_was_journalled_before_it_was_made(bench):
    bench.plan(
        bench.intent("charge", 2.0, 0, 900),
        bench.intent("hold", 0.0, 900, 1800),
        bench.intent("self_consumption", 0.0, 1800, 2700),
        bench.intent("discharge", 3.0, 2700, 3600),
    )
    bench.run(3600 + 30)
    assert len(bench.vendor.wire) > 40
    assert {sent.state for sent in bench.vendor.wire} == {"sending"}
    assert {sent.kind for sent in bench.vendor.wire} == {"start", "renew", "release"}
    assert len(bench.journal()) == len(bench.vendor.wire)


def test_a_release_is_journalled_before_it_is_made_too(charging):
    charging.tick()
    assert asyncio.run(charging.dispatcher.release())
    assert (charging.vendor.wire[-1].kind, charging.vendor.wire[-1].state) == ("release", "sending")


def test_nothing_is_sent_when_the_journal_cannot_be_written(charging, monkeypatch):
    def full_disk(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(Egress, "_open", full_disk)
    with pytest.raises(OSError, match="no space"):
        charging.tick()
    assert charging.vendor.wire == []


def test_the_journal_says_what_was_sent_why_and_what_came_of_it(charging):
    charging.tick()
    (row,) = charging.journal()
    (intent,) = charging.intents()
    assert (row.intent_id, row.kind.value, row.battery_kw) == (intent.id, "start", -CHARGE_KW)
    assert row.payload == {"kw": -CHARGE_KW}
    assert row.sent_at == row.answered_at == charging.clock()
    assert row.outcome == "scripted"


def test_the_answer_decides_what_the_row_becomes(bench):
    bench.plan(*[bench.intent("charge", CHARGE_KW, 300 * number, 300 * number + 300) for number in range(3)])
    bench.vendor.will("accept", "reject", "lose reply")
    for _ in range(3):
        bench.tick()
        bench.move(300)
    assert bench.states() == ["accepted", "rejected", "unknown"]
    assert [row.outcome for row in bench.journal()] == ["scripted", "scripted: refused", "scripted: time-out"]


# Never rewritten


def test_closing_a_row_twice_raises_and_changes_nothing(charging):
    charging.tick()
    (row,) = charging.journal()
    with pytest.raises(RuntimeError, match="accepted already; the journal is not rewritten"):
        journal.close(charging.db, charging.clock, row.id, CommandState.REJECTED, "second thoughts")
    (after,) = charging.journal()
    assert (after.state, after.outcome, after.answered_at) == (row.state, row.outcome, row.answered_at)


@pytest.mark.parametrize("final", [state for state in CommandState if state not in UNRESOLVED])
def test_no_final_state_can_be_left(charging, final):
    charging.vendor.will("lose reply")
    charging.tick()
    (row,) = charging.journal()
    journal.close(charging.db, charging.clock, row.id, final, "settled")
    for other in CommandState:
        with pytest.raises(RuntimeError, match="not rewritten"):
            journal.close(charging.db, charging.clock, row.id, other, "again")


def test_what_was_sent_is_never_touched_when_a_row_is_closed(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    (before,) = charging.journal()
    charging.move(40)
    charging.tick()
    after = charging.journal()[0]
    assert after.state is CommandState.SEEN
    for name in ("id", "site_id", "intent_id", "kind", "battery_kw", "payload", "sent_at"):
        assert getattr(after, name) == getattr(before, name)
    assert after.outcome == "scripted: time-out; read back -2.000 kW at 2024-04-10T10:00:40+00:00"


# Crashes


def crash_before_journal(bench, monkeypatch):
    def die(*_):
        raise bench.Crash

    monkeypatch.setattr(Egress, "_open", die)


def crash_between_journal_and_socket(bench, monkeypatch):
    write = Egress._open

    def write_and_die(*arguments):
        write(*arguments)
        raise bench.Crash

    monkeypatch.setattr(Egress, "_open", write_and_die)


def crash_before_the_vendor_has_it(bench, _):
    bench.vendor.will("crash before")


def crash_after_the_vendor_took_it(bench, _):
    bench.vendor.will("crash after")


def crash_after_the_answer_before_commit(bench, monkeypatch):
    def die(*_):
        raise bench.Crash

    monkeypatch.setattr(Egress, "_close", die)


def crash_after_commit_before_the_intent_is_noted(bench, monkeypatch):
    def die(*_):
        raise bench.Crash

    monkeypatch.setattr(SiteDispatch, "_note_in_force", die)


CRASHES = [
    crash_before_journal,
    crash_between_journal_and_socket,
    crash_before_the_vendor_has_it,
    crash_after_the_vendor_took_it,
    crash_after_the_answer_before_commit,
    crash_after_commit_before_the_intent_is_noted,
]
LEAVE_A_TRACE = CRASHES[1:5]
# Whether the vendor has the command of that moment.
TAKEN = {
    crash_after_the_vendor_took_it,
    crash_after_the_answer_before_commit,
    crash_after_commit_before_the_intent_is_noted,
}


def crash_and_restart(bench, crash, monkeypatch):
    crash(bench, monkeypatch)
    with pytest.raises(bench.Crash):
        bench.tick()
    monkeypatch.undo()
    bench.restart()
    bench.vendor.calls.clear()


@pytest.mark.parametrize("crash", CRASHES)
def test_after_a_crash_the_device_is_at_plan_and_nothing_is_left_open(charging, crash, monkeypatch):
    crash_and_restart(charging, crash, monkeypatch)
    charging.run(120)
    assert unresolved(charging) == []
    assert charging.battery.rows[-1].battery_kw == -CHARGE_KW
    assert charging.battery.lapses == []


@pytest.mark.parametrize("crash", LEAVE_A_TRACE)
def test_a_crash_leaves_a_trace_that_is_read_back_before_anything_is_sent(charging, crash, monkeypatch):
    crash_and_restart(charging, crash, monkeypatch)
    assert unresolved(charging) == ["sending"]
    charging.run(120)
    assert "send" in charging.vendor.calls
    assert charging.vendor.calls[0] == "read"
    assert {sent.older_unresolved for sent in charging.vendor.wire} == {0}


@pytest.mark.parametrize("crash", CRASHES)
def test_right_after_a_crash_a_tick_repeats_nothing_that_may_have_arrived(charging, crash, monkeypatch):
    crash_and_restart(charging, crash, monkeypatch)
    before = len(charging.vendor.wire)
    outcome = charging.tick()
    sent = charging.vendor.wire[before:]
    if crash is crash_before_journal:
        assert (outcome, len(sent)) == (Outcome.SENT, 1)
    elif crash is crash_after_commit_before_the_intent_is_noted:
        assert (outcome, len(sent)) == (Outcome.NOTHING_DUE, 0)
    else:
        assert (outcome, len(sent)) == (Outcome.WAITING, 0)


@pytest.mark.parametrize("crash", LEAVE_A_TRACE)
def test_the_read_back_tells_what_arrived_from_what_did_not(charging, crash, monkeypatch):
    crash_and_restart(charging, crash, monkeypatch)
    charging.move(40)
    charging.tick()
    expected = CommandState.SEEN if crash in TAKEN else CommandState.NOT_SEEN
    assert charging.journal()[0].state is expected


@pytest.mark.parametrize("crash", CRASHES)
@pytest.mark.parametrize("down_s", [30, 100, 3600])
def test_a_crash_at_the_end_of_the_horizon_leaves_the_device_released(bench, crash, down_s, monkeypatch):
    bench.plan(bench.intent("discharge", 3.0, 0, 60))
    bench.move(45)
    crash_and_restart(bench, crash, monkeypatch)
    bench.move(down_s)  # the intent is over when somebody looks again
    bench.run(60)
    assert unresolved(bench) == []
    assert bench.battery.lapses_at is None
    assert bench.battery.rows[-1].battery_kw == pytest.approx(bench.battery.follow_kw)
    assert all(sent.command.releases or sent.at < bench.at(60) for sent in bench.vendor.wire)


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_while_renewing_recovers_before_the_device_lapses(charging, crash, monkeypatch):
    charging.run(30)
    charging.move(15)
    crash_and_restart(charging, crash, monkeypatch)
    charging.run(300)
    assert unresolved(charging) == []
    assert charging.battery.lapses == []
    assert charging.battery.rows[-1].battery_kw == -CHARGE_KW


@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_while_letting_go_ends_with_the_device_let_go(bench, crash, monkeypatch):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("self_consumption", 0.0, 60, 900))
    bench.run(45)
    bench.move(15)
    crash_and_restart(bench, crash, monkeypatch)
    bench.run(120)
    assert unresolved(bench) == []
    assert bench.battery.lapses_at is None
    assert bench.battery.rows[-1].battery_kw == pytest.approx(bench.battery.follow_kw)
    assert bench.intents()[1].in_force_at is not None


def test_a_crash_of_every_second_tick_still_ends_at_plan(charging):
    for _ in range(6):
        charging.vendor.will("crash after")
        with pytest.raises(charging.Crash):
            charging.tick()
        charging.restart()
        charging.move(30)
        charging.battery.catch_up()
    charging.run(60)
    assert unresolved(charging) == []
    assert {sent.older_unresolved for sent in charging.vendor.wire} == {0}
    assert charging.battery.lapses == []
    assert charging.battery.rows[-1].battery_kw == -CHARGE_KW


def test_an_adapter_that_raises_against_its_contract_leaves_the_same_trace_as_a_crash(charging):
    charging.vendor.will("fail")
    with pytest.raises(RuntimeError, match="breaks its contract"):
        charging.tick()
    assert charging.states() == ["sending"]
    assert charging.tick() is Outcome.WAITING
    charging.move(40)
    charging.tick()
    assert charging.states() == ["seen", "accepted"]


# Waiting for the read-back


def test_while_telemetry_cannot_be_had_an_open_row_stays_open_and_nothing_is_sent(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    charging.vendor.telemetry_fails = True
    charging.move(40)
    with pytest.raises(VendorUnavailableError):
        charging.tick()
    assert charging.states() == ["unknown"]
    assert len(charging.vendor.wire) == 1
    charging.vendor.telemetry_fails = False
    assert charging.tick() is Outcome.SENT


def test_while_the_vendor_has_no_reading_an_open_row_stays_open_and_nothing_is_sent(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    charging.vendor.telemetry_is_empty = True
    charging.move(40)
    assert charging.tick() is Outcome.WAITING
    assert (charging.states(), len(charging.vendor.wire)) == (["unknown"], 1)


def test_what_was_read_back_is_kept_as_telemetry(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    charging.move(40)
    charging.tick()
    reading = latest(charging.db, charging.target.id, Channel.POWER)
    assert (reading.measured_at, reading.battery_kw) == (charging.at(40), -CHARGE_KW)


# The guard


def send_after_a_crash(bench) -> list[int]:
    """Crash with the vendor obeying, start again, and say how many open rows each later call went out over."""
    bench.vendor.will("crash after")
    with pytest.raises(bench.Crash):
        bench.tick()
    bench.restart()
    bench.vendor.calls.clear()
    before = len(bench.vendor.wire)
    bench.run(60)
    return [sent.older_unresolved for sent in bench.vendor.wire[before:]]


def test_with_the_guard_nothing_goes_out_over_an_open_row(charging):
    over = send_after_a_crash(charging)
    assert over
    assert set(over) == {0}
    assert charging.vendor.calls[0] == "read"


def test_without_the_guard_calls_go_out_over_an_open_row_unread(charging, monkeypatch):
    async def nothing_is_unknown(_) -> bool:
        return True

    monkeypatch.setattr(SiteDispatch, "resolve_unknown", nothing_is_unknown)
    over = send_after_a_crash(charging)
    assert set(over) == {1}, "the crashed row stays open under every later call"
    assert "read" not in charging.vendor.calls
    assert charging.states()[0] == "sending"
