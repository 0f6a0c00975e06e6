"""Adapters stay open from tick to tick; only what was broken off half done is thrown away."""

from __future__ import annotations

import asyncio
import signal

import pytest

from schedules.connections import Connections
from schedules.store import SiteRow


@pytest.fixture
def connections(store, account_id, site):
    with store.write() as session:
        session.add(
            SiteRow(name="a", assets=site.model_dump(mode="json"), adapter="x", device_id="1", account_id=account_id)
        )
    made = Connections(store, lambda _: object())
    yield made
    made._loop.close()


async def fail() -> None:
    raise ZeroDivisionError


async def hang() -> None:
    await asyncio.sleep(30)


def adapter_of(connections, account_id) -> object:
    (found,) = connections.sites(account_id)
    return found.adapter


def test_what_fails_at_one_account_logs_no_other_out(connections, account_id):
    adapter = adapter_of(connections, account_id)
    with pytest.raises(ZeroDivisionError):
        connections.run(fail())
    assert adapter_of(connections, account_id) is adapter


def test_what_a_time_limit_breaks_off_is_thrown_away(connections, account_id):
    adapter = adapter_of(connections, account_id)
    before = signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(ZeroDivisionError):
            connections.run(hang())
    finally:
        signal.signal(signal.SIGALRM, before)
    assert adapter_of(connections, account_id) is not adapter
