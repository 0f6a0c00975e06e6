"""One worker drives an account; one that stalled is found out at the last line, whatever its clock says."""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from threading import Thread

import pytest

from schedules import egress, leases
from schedules.dispatch import Dispatcher, Outcome
from schedules.egress import CALL_S, Egress, Order
from schedules.leases import LEASE_S, LOST
from schedules.store.models import CommandKind


@pytest.fixture
def charging(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 1800))
    bench.watch()
    return bench


def take(bench, worker="one"):
    return leases.take(bench.db, bench.clock, bench.target.account_id, worker)


def order(bench):
    command = bench.vendor.translate(bench.intent("charge", 2.0, 0, 1800), bench.target.device, None)
    return Order(bench.target, command, CommandKind.START, bench.intents()[0].id)


def test_a_second_worker_gets_no_lease_while_the_first_has_it(bench):
    assert take(bench) is not None
    assert take(bench, "two") is None
    bench.move(LEASE_S - 1)
    assert take(bench, "two") is None


def test_a_lease_that_ran_out_is_anybodys_under_a_new_epoch(bench):
    first = take(bench)
    bench.move(LEASE_S)
    second = take(bench, "two")
    assert second.epoch == first.epoch + 1


def test_a_lease_given_back_is_anybodys_at_once_and_only_its_own(bench):
    first = take(bench)
    leases.give_back(bench.db, first)
    second = take(bench, "two")
    leases.give_back(bench.db, first)  # the first again, late
    assert take(bench, "three") is None
    leases.give_back(bench.db, second)
    assert take(bench, "three") is not None


def test_a_clock_that_was_set_back_does_not_keep_an_account_for_ever(bench):
    bench.move(3 * 3600)
    take(bench)
    back = bench.clock() - dt.timedelta(hours=2)
    assert leases.take(bench.db, lambda: back, bench.target.account_id, "two") is not None


def test_while_another_worker_has_the_account_a_tick_does_nothing(charging):
    take(charging, "other")
    assert charging.tick() is Outcome.NOT_OURS
    assert charging.vendor.calls == []


def test_a_worker_that_was_killed_holds_the_account_no_longer_than_its_lease(charging):
    charging.vendor.will("crash after")
    with pytest.raises(charging.Crash):
        charging.tick()
    other = Dispatcher(charging.db, charging.clock, [charging.target], "other")
    assert asyncio.run(other.tick()) == {charging.target.id: Outcome.NOT_OURS}
    charging.move(LEASE_S)
    asyncio.run(other.tick())
    assert charging.states()[0] == "seen"


def tick_beside(dispatcher: Dispatcher) -> None:
    """A tick in a thread, as another process would make it."""
    thread = Thread(target=lambda: asyncio.run(dispatcher.tick()))
    thread.start()
    thread.join()


def test_a_worker_that_slept_past_its_lease_sends_nothing_when_it_wakes(charging):
    other = Dispatcher(charging.db, charging.clock, [charging.target], "other")

    def sleep():
        if charging.vendor.calls:
            return  # the other's own call
        charging.vendor.calls.append("asleep")
        charging.move(LEASE_S + 30)
        charging.watch()
        tick_beside(other)

    with charging.hooked(after=sleep):
        charging.tick()
    # The other read back that nothing had gone out, and sent; the sleeper then found the account taken.
    assert charging.vendor.calls == ["asleep", "read", "send"]
    assert [(row.state.value, row.worker) for row in charging.journal()] == [("not_seen", ""), ("accepted", "other")]


def test_a_worker_whose_lease_ends_within_the_call_sends_nothing(charging):
    with charging.hooked(after=lambda: charging.move(LEASE_S - CALL_S)):
        charging.tick()
    assert charging.vendor.wire == []


def test_a_command_is_never_journalled_under_an_epoch_that_is_over(charging):
    lease = take(charging)
    charging.move(LEASE_S)
    take(charging, "two")
    sender = Egress(charging.db, charging.clock, lease, "one")
    assert asyncio.run(sender.carry_out(order(charging))) == LOST
    assert charging.journal() == []


def send_after_a_stall(bench) -> None:
    """A call that waits after its row was written until another worker has the account."""
    sender = Egress(bench.db, bench.clock, take(bench), "one")

    def stall():
        bench.move(LEASE_S + 1)
        take(bench, "two")

    with bench.hooked(after=stall):
        asyncio.run(sender.carry_out(order(bench)))


def test_a_worker_that_stalled_before_the_socket_sends_nothing_once_another_has_the_account(charging):
    send_after_a_stall(charging)
    assert charging.vendor.wire == []
    assert charging.journal()[0].outcome == f"not sent: {LOST}"


def test_without_the_fence_it_would(charging, monkeypatch, without_guard):
    monkeypatch.setattr(Egress, "_objection", without_guard(Egress._objection, "is_in_force"))
    monkeypatch.setattr(egress, "SOCKET_WITHIN_S", math.inf)
    send_after_a_stall(charging)
    assert charging.kinds() == ["start"]


def test_the_journal_says_who_sent_under_which_epoch(charging):
    charging.dispatcher = Dispatcher(charging.db, charging.clock, [charging.target], "worker-7")
    charging.tick()
    (row,) = charging.journal()
    assert (row.worker, row.epoch, row.not_after) == ("worker-7", 1, charging.at(1800))
