"""Transactions of two workers at once, each in the midst of the other's: SQLite has them take turns, PostgreSQL not."""

from __future__ import annotations

import datetime as dt
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from sqlalchemy import event, select
from sqlalchemy.exc import DBAPIError

from engine.intent import Intent, IntentMode
from schedules import journal, leases
from schedules.plans import put_intents_in_force
from schedules.store import AccountRow, CommandRow, CommandState, Database, IntentRow, SiteRow, database
from schedules.store.models import CommandKind
from tests.schedules.plans import plan_by_hand

PATIENCE_S = 20.0


@pytest.fixture
def site_id(store, account_id):
    with store.write() as session:
        row = SiteRow(name="home", assets={}, adapter="huawei", device_id="1", account_id=account_id)
        session.add(row)
        session.flush()
        return row.id


@contextmanager
def meanwhile(store: Database, act: Callable[[], object]) -> Iterator[list[object]]:
    """Have a thread begin something, and end it once what is inside is over; gives what it returned or raised."""
    results: list[object] = []
    asked = threading.Event()

    def run() -> None:
        event.listen(store.engine, "before_cursor_execute", note)
        try:
            results.append(act())
        except Exception as error:
            results.append(error)

    def note(*_: object) -> None:
        if threading.current_thread() is thread:
            asked.set()

    thread = threading.Thread(target=run)
    thread.start()
    # On SQLite it does not even get to ask.
    asked.wait(0.5)
    thread.join(0.3)
    yield results
    event.remove(store.engine, "before_cursor_execute", note)


def test_what_became_of_a_call_is_written_once_though_two_find_out_at_once(store, clock, site_id):
    with store.write() as session:
        row = CommandRow(
            site_id=site_id, kind=CommandKind.START, battery_kw=2.0, payload={}, state=CommandState.UNKNOWN,
            sent_at=clock(),
        )  # fmt: skip
        session.add(row)
    with store.write() as session:
        session.get_one(CommandRow, row.id).state = CommandState.ACCEPTED
        session.flush()
        with meanwhile(store, lambda: journal.close(store, clock, row.id, CommandState.NOT_SEEN, "late")) as results:
            session.commit()
    assert isinstance(wait_for(results), journal.SettledError)
    with store.session() as session:
        assert session.get_one(CommandRow, row.id).state is CommandState.ACCEPTED


def test_of_two_plans_at_once_one_supersedes_the_other(store, clock, site_id):
    begin, hour = clock(), dt.timedelta(hours=1)

    def put(session, power_kw):
        hours = [begin + number * hour for number in range(4)]
        intents = [Intent(IntentMode.CHARGE, power_kw, at, at + hour) for at in hours]
        put_intents_in_force(session, plan_by_hand(site_id, begin, begin, begin + 4 * hour), intents)
        session.flush()

    def put_another():
        with store.write() as session:
            put(session, 2.0)

    with store.write() as session:
        put(session, 1.0)
        with meanwhile(store, put_another) as results:
            session.commit()
    assert wait_for(results) is None
    with store.session() as session:
        wanted = session.scalars(select(IntentRow.power_kw).where(IntentRow.superseded.is_(False))).all()
    assert wanted == [2.0] * 4


def test_a_worker_that_stalls_in_a_transaction_keeps_no_account_from_the_others(postgresql, clock, monkeypatch):
    """Stopped, or cut off, between two statements: its lock is on the row that taking over changes."""
    monkeypatch.setattr(database, "IDLE_TRANSACTION_S", 1)
    url = postgresql.new_database()
    store = Database(url)
    with store.write() as session:
        account = AccountRow(name="barn", adapter="huawei")
        session.add(account)
    lease = leases.take(store, clock, account.id, "one")
    stalled, later = store.session(), clock() + dt.timedelta(hours=1)
    assert leases.extend(stalled, clock, lease)
    with meanwhile(store, lambda: leases.take(store, lambda: later, account.id, "two")) as results:
        assert wait_for(results).epoch == lease.epoch + 1
    with pytest.raises(DBAPIError):
        stalled.scalar(select(AccountRow.epoch))
    stalled.close()
    store.close()
    postgresql.drop(url)


def wait_for(results: list[object]) -> object:
    """What a thread came to."""
    step = threading.Event()
    for _ in range(int(PATIENCE_S / 0.05)):
        if results:
            return results[0]
        step.wait(0.05)
    raise AssertionError("the other transaction never ended")
