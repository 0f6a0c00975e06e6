"""Tokens in the store: sealed, one renewal at a time over all processes, and whoever saves first wins."""

from __future__ import annotations

import asyncio

import pytest
from pydantic import SecretStr
from sqlalchemy import select

import schedules.tokens
from adapters.contract import ConfigurationError, VendorUnavailableError
from adapters.tokens import NewerTokensError, Tokens
from schedules.store import AccountRow, Database, TokenRow
from schedules.tokens import TURN, DatabaseTokenStore
from tests.schedules.bench import T0

FIRST = Tokens(SecretStr("canary-access"), SecretStr("canary-refresh"), T0, frozenset({"read"}), "digest")
SECOND = Tokens(SecretStr("second"))


@pytest.fixture
def open_tokens(store, sealer, clock, account_id):
    """The tokens as one process has them."""
    return lambda: DatabaseTokenStore(store, sealer, clock, account_id)


async def replaced(tokens: DatabaseTokenStore, new: Tokens) -> None:
    async with tokens.exclusive():
        await tokens.save(new)


def test_tokens_come_back_whole_in_another_process_and_are_sealed(open_tokens, store):
    assert asyncio.run(open_tokens().load()) is None
    asyncio.run(replaced(open_tokens(), FIRST))
    assert asyncio.run(open_tokens().load()) == FIRST
    asyncio.run(replaced(open_tokens(), SECOND))
    assert asyncio.run(open_tokens().load()) == SECOND
    with store.session() as session:
        row = session.scalars(select(TokenRow)).one()
    assert row.version == 2
    assert b"second" not in row.sealed


def test_tokens_sealed_with_a_lost_key_are_refused_and_not_taken_for_none(open_tokens, store):
    asyncio.run(replaced(open_tokens(), FIRST))
    with store.session() as session, session.begin():
        session.scalars(select(TokenRow)).one().sealed = b"\x01" + bytes(60)
    with pytest.raises(ConfigurationError, match="not in the ring"):
        asyncio.run(open_tokens().load())


def test_a_turn_is_one_processs_until_it_is_given_back(open_tokens):
    order = []

    async def first(tokens):
        async with tokens.exclusive():
            order.append("first begins")
            await asyncio.sleep(0.3)
            order.append("first ends")

    async def second(tokens):
        await asyncio.sleep(0.05)
        async with tokens.exclusive():
            order.append("second begins")

    async def both():
        await asyncio.gather(first(open_tokens()), second(open_tokens()))

    asyncio.run(both())
    assert order == ["first begins", "first ends", "second begins"]


def test_no_transaction_is_held_during_a_turn(open_tokens, store):
    async def write_meanwhile():
        async with open_tokens().exclusive():
            with store.write() as session:
                session.add(AccountRow(name="other", adapter="solax"))

    asyncio.run(asyncio.wait_for(write_meanwhile(), 3))


def test_who_waits_in_vain_is_told_to_wait(open_tokens, monkeypatch):
    monkeypatch.setattr(schedules.tokens, "LONGEST_WAIT_S", 0.3)

    async def two():
        async with open_tokens().exclusive(), open_tokens().exclusive():
            raise AssertionError("two turns at once")

    with pytest.raises(VendorUnavailableError, match="another process has been renewing"):
        asyncio.run(two())


def test_a_dead_holders_turn_ends_by_itself(open_tokens, clock):
    async def two():
        async with open_tokens().exclusive():
            clock.move_to(T0 + TURN)
            async with asyncio.timeout(3), open_tokens().exclusive():
                return True

    assert asyncio.run(two())


def test_who_stalled_beyond_its_turn_does_not_overwrite_newer_tokens(open_tokens, clock):
    asyncio.run(replaced(open_tokens(), FIRST))
    stalled = open_tokens()

    async def stall():
        async with stalled.exclusive():
            clock.move_to(T0 + TURN)
            await replaced(open_tokens(), SECOND)
            with pytest.raises(NewerTokensError):
                await stalled.save(FIRST)

    asyncio.run(stall())
    assert asyncio.run(open_tokens().load()) == SECOND


def test_a_stalled_holder_does_not_end_the_turn_of_the_next(open_tokens, clock, store):
    async def stall():
        stalled = open_tokens().exclusive()
        await stalled.__aenter__()
        clock.move_to(T0 + TURN)
        async with open_tokens().exclusive():
            await stalled.__aexit__(None, None, None)
            with store.session() as session:
                return session.scalars(select(AccountRow.tokens_held_by)).one()

    assert asyncio.run(stall()) is not None


def test_a_store_that_is_gone_is_told_as_such(tmp_path, sealer, clock):
    db = Database.at(tmp_path / "other.sqlite")
    tokens = DatabaseTokenStore(db, sealer, clock, 1)
    with db.engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE token RENAME TO gone")
    with pytest.raises(VendorUnavailableError, match="the store cannot be used"):
        asyncio.run(tokens.load())
    with pytest.raises(OSError, match="cannot be written"):
        asyncio.run(tokens.save(FIRST))
    db.close()


def test_two_processes_that_find_the_token_over_refresh_it_once_and_none_is_locked_out(serve_vendor, start_worker):
    vendor = serve_vendor("huawei")
    both = [start_worker(vendor), start_worker(vendor)]
    for hour in range(1, 5):
        for worker in both:
            worker.ask(vendor.clock.now(), "adapter.client.plants()")
        assert [worker.hear() for worker in both] == ["list", "list"]
        assert len(vendor.events("token")) == hour
        vendor.after(3600)


def test_a_worker_that_comes_later_goes_on_with_what_the_first_left(serve_vendor, start_worker):
    vendor = serve_vendor("huawei")
    for _ in range(2):
        worker = start_worker(vendor)  # the refresh token of its settings is spent the second time
        worker.ask(vendor.clock.now(), "adapter.client.plants()")
        assert worker.hear() == "list"
        worker.kill()
        vendor.after(3600)
