"""Quotas that processes share by the store: never exceeded together, and what is kept for releases is left to them."""

from __future__ import annotations

import datetime as dt
import threading

import pytest
from sqlalchemy import func, select

from adapters.contract import QuotaExceededError
from adapters.quota import Meter, Quota
from adapters.transport import NotSentError
from schedules.quota_ledger import DatabaseLedger
from schedules.store import AccountRow, QuotaCallRow
from tests.schedules.bench import T0

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)


@pytest.fixture
def ledger(store, account_id):
    return DatabaseLedger(store, account_id)


def later(clock, seconds):
    clock.move_to(clock() + dt.timedelta(seconds=seconds))


def test_what_one_process_called_counts_for_the_other(ledger, clock):
    one, other = (Meter({"read": (Quota(2, MINUTE),)}, clock, ledger) for _ in range(2))
    one.take("read")
    later(clock, 10)
    other.take("read")
    for meter in (one, other):
        assert (meter.left("read"), meter.free_at("read")) == (0, T0 + MINUTE)
        with pytest.raises(QuotaExceededError) as refusal:
            meter.take("read")
        assert refusal.value.free_at == T0 + MINUTE
    later(clock, 50)
    one.take("read")
    assert other.left("read") == 0


def test_kinds_are_counted_apart_and_one_without_quota_is_free(ledger, clock):
    meter = Meter({"read": (Quota(1, MINUTE),), "write": (Quota(1, MINUTE),)}, clock, ledger)
    meter.take("read")
    meter.take("write")
    for _ in range(3):
        meter.take("release")
    assert meter.left("release") is None


def test_a_fifth_is_left_for_releases(ledger, clock):
    meter = Meter({"control": (Quota(10, DAY, reserved=2),)}, clock, ledger)
    for _ in range(8):
        meter.take("control")
        later(clock, 60)
    assert meter.left("control") == 0
    with pytest.raises(QuotaExceededError) as refusal:
        meter.take("control")
    assert refusal.value.free_at == T0 + DAY
    meter.take("control", urgent=True)
    meter.take("control", urgent=True)
    with pytest.raises(QuotaExceededError):
        meter.take("control", urgent=True)
    clock.move_to(T0 + DAY)
    with pytest.raises(QuotaExceededError):
        meter.take("control")  # nine are left of the last day: only releases may fill it up
    meter.take("control", urgent=True)


def test_a_pause_holds_for_all_and_is_only_ever_made_longer(ledger, clock):
    one, other = (Meter({"read": (Quota(9, MINUTE),)}, clock, ledger) for _ in range(2))
    one.pause("read", T0 + DAY)
    other.pause("read", T0 + MINUTE)
    assert other.left("read") == 0
    with pytest.raises(QuotaExceededError) as refusal:
        other.take("read", urgent=True)
    assert refusal.value.free_at == T0 + DAY
    clock.move_to(T0 + DAY)
    other.take("read")


def test_accounts_are_counted_apart(store, account_id, clock):
    with store.session() as session, session.begin():
        session.add(AccountRow(name="other", adapter="huawei"))
    quotas = {"read": (Quota(1, DAY),)}
    Meter(quotas, clock, DatabaseLedger(store, account_id)).take("read")
    Meter(quotas, clock, DatabaseLedger(store, account_id + 1)).take("read")


def test_calls_that_count_no_more_are_dropped(store, ledger, clock):
    meter = Meter({"read": (Quota(5, MINUTE), Quota(100, 10 * MINUTE))}, clock, ledger)
    for _ in range(60):
        meter.take("read")
        later(clock, 60)
    with store.session() as session:
        assert session.scalar(select(func.count(QuotaCallRow.id))) == 10


def test_without_the_store_nothing_is_called(store, account_id, clock):
    meter = Meter({"read": (Quota(5, MINUTE),)}, clock, DatabaseLedger(store, account_id))
    with store.engine.begin() as connection:
        connection.exec_driver_sql("DROP TABLE quota_call")
    with pytest.raises(NotSentError, match="quota: the store cannot be used"):
        meter.take("read")


def test_of_many_at_once_no_more_than_the_quota_get_through(store, account_id, clock):
    taken = []
    together = threading.Barrier(8)

    def call():
        meter = Meter({"read": (Quota(10, DAY),)}, clock, DatabaseLedger(store, account_id))
        together.wait()
        for _ in range(5):
            try:
                meter.take("read")
            except QuotaExceededError:
                continue
            taken.append(1)

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(taken) == 10


def test_two_processes_never_ask_xolta_twice_in_a_minute(serve_vendor, start_worker):
    vendor = serve_vendor("xolta")
    both = [start_worker(vendor), start_worker(vendor)]
    heard = []
    for _ in range(12):
        for worker in both:
            worker.ask(vendor.clock.now(), "adapter.devices()")
        heard += [worker.hear() for worker in both]
        vendor.after(20)
    assert vendor.events("unfair") == []
    assert len(vendor.events("call")) == 4
    assert set(heard) == {"list", "QuotaExceededError"}


def test_two_processes_keep_huaweis_hundred_a_day_and_a_fifth_for_releases(serve_vendor, start_worker):
    vendor = serve_vendor("huawei")
    both = [start_worker(vendor), start_worker(vendor)]

    def all_ask(what, times):
        heard = []
        for number in range(times):
            for worker in both:
                worker.ask(vendor.clock.now(), what.format(1 + number % 40 / 10))
            heard += [worker.hear() for worker in both]
            vendor.after(60)
        return heard

    assert all_ask("charge({})", 45)[-1] == "Rejected"
    assert len(vendor.events("call")) == 80
    released = all_ask("release()", 12)
    assert len(vendor.events("call")) == 100
    assert (released[0], released[-1]) == ("Accepted", "Rejected")
    assert vendor.events("refused as too frequent") == []
