"""A machine whose clock is set back goes on at once: nothing waits until the time comes again that it has noted."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from schedules import job_runs, tokens
from schedules.account_runner import AccountRunner, Report
from schedules.beat import JOBS
from schedules.dispatch import Dispatcher, Outcome
from schedules.job_runs import AHEAD_S, Claim
from schedules.safety import called_for
from schedules.signs import signs_of
from schedules.store import AccountRow, SafetyState
from schedules.tokens import DatabaseTokenStore
from tests.schedules.bench import CHARGE_KW

SET_BACK_S = 4000.0


@pytest.fixture
def back(bench):
    """The bench's clock, more than an hour behind what has been noted."""
    return lambda: bench.clock() - dt.timedelta(seconds=SET_BACK_S)


@pytest.fixture
def long_charging(bench):
    """A bench with one intent: charge for four hours, of which two are over."""
    bench.plan(bench.intent("charge", CHARGE_KW, -7200, 7200))
    return bench


@pytest.mark.parametrize("died", [False, True])
def test_slots_that_come_again_are_done_again(store, clock, died):
    job, start, step = JOBS["dispatch"], clock(), dt.timedelta(seconds=5)

    def claim(at: dt.datetime) -> Claim:
        return job_runs.claim(store, lambda: at, "dispatch/1", job.slot(at), at.isoformat(), "worker")

    for number in range(60):
        at = start + number * step
        assert claim(at) is Claim.OURS
        if not (died and number == 59):
            job_runs.finish(store, clock, "dispatch/1", job.slot(at), "worker", "")
    waits = [number for number in range(60) if claim(start + number * step + dt.timedelta(seconds=1)) is Claim.OURS]
    assert waits[0] * 5 <= AHEAD_S + 5


def test_a_reading_of_the_future_begins_nothing(long_charging, back):
    long_charging.watch()
    dispatcher = Dispatcher(long_charging.db, back, [long_charging.target])
    assert asyncio.run(dispatcher.tick()) == {long_charging.target.id: Outcome.HELD}
    assert long_charging.sent() == []


def test_how_old_a_reading_of_the_future_is_nobody_knows(bench, back):
    bench.keep_state(0.5)
    signs = signs_of(bench.db, back, [bench.target])[bench.target.id]
    assert called_for(signs)[0] is SafetyState.FALLBACK


def test_a_lapsing_command_is_renewed(long_charging, back):
    long_charging.tick()
    dispatcher = Dispatcher(long_charging.db, back, [long_charging.target])
    for _ in range(3):
        asyncio.run(dispatcher.tick())
        long_charging.move(15)
    assert long_charging.kinds() == ["start", "renew"]


def test_readings_are_asked_for(bench, back):
    for clock in (bench.clock, back):
        report = Report()
        asyncio.run(AccountRunner(bench.db, clock, [bench.target]).read(report))
        assert report.read == 2


def test_the_turn_of_one_who_died_ends(store, sealer, clock, account_id, monkeypatch):
    monkeypatch.setattr(tokens, "LONGEST_WAIT_S", 0.5)
    with store.write() as session:
        account = session.get_one(AccountRow, account_id)
        account.tokens_held_by, account.tokens_held_until = "one that died", clock() + dt.timedelta(hours=1)
    asyncio.run(renewed(DatabaseTokenStore(store, sealer, clock, account_id)))


async def renewed(mine: DatabaseTokenStore) -> None:
    async with mine.exclusive():
        pass
