"""What workers do when a message wakes them: load, call a job, note what came of it.

Everything is read from the store and written there; a process that does it may end at any line.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import functools
import json
import os
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from adapters.contract import Clock
from engine.errors import TidewattError
from schedules import forecasting, heartbeats, job_runs, price_fetching, price_sources, retention, weather
from schedules.account_runner import AccountRunner, Report
from schedules.accounts import open_account
from schedules.beat import Job
from schedules.clock import RealClock
from schedules.connections import Connections
from schedules.job_runs import Claim
from schedules.seal import Sealer
from schedules.settings import Settings
from schedules.store import AccountRow, Database

CLOCK: Clock = RealClock()
# Of many failures alike the first ones tell what is the matter.
FAILURES_KEPT = 3


@dataclass(frozen=True)
class Turn:
    """One account's turn."""

    account_id: int
    adapter: str
    slot: dt.datetime


def turns(job: Job, message: str) -> list[Turn]:
    """All accounts whose slot nobody has begun, or who began it fell silent; none where another heard the same ring.

    What is asked is what is still to be done, not what was rung for: a message that was lost costs a ring.
    """
    db, now = database(), CLOCK()
    ring, name, by = job.ring(now), f"{job.name}/all", worker()
    # Calling up takes a moment and may overlap: one that the store's restart broke off must not hold up the next ring.
    if job_runs.claim(db, CLOCK, name, ring, message, by, waits=False) is not Claim.OURS:
        return []
    with db.session() as session:
        accounts = session.execute(select(AccountRow.id, AccountRow.adapter).order_by(AccountRow.id)).all()
        slots = {_name(job, id): job.slot(now, id) for id, _ in accounts}
        begun = job_runs.begun(session, now, slots)
    found = [Turn(id, adapter, slots[_name(job, id)]) for id, adapter in accounts if _name(job, id) not in begun]
    job_runs.finish(db, CLOCK, name, ring, by, f"{len(found)} accounts")
    return found


def run(job: Job, message: str, slot: dt.datetime | None = None, account_id: int | None = None) -> None:
    """Do a job's slot unless somebody has it, and note what came of it.

    Args:
        job: The job.
        message: What asked for it.
        slot: When its slot began; None: the one that it is.
        account_id: For which account; None: as a whole.
    """
    db, by = database(), worker()
    slot = slot or job.slot(CLOCK(), account_id)
    name = _name(job, account_id)
    if job_runs.claim(db, CLOCK, name, slot, message, by, account_id) is not Claim.OURS:
        return
    with job_runs.showing_life(db, CLOCK, name, slot, by):
        try:
            outcome = FUNCTIONS[job.name](db, account_id)
        except Exception as error:
            # Our own errors hold no secrets; what others quote is not known.
            said = str(error) if isinstance(error, TidewattError) else type(error).__name__
            job_runs.finish(db, CLOCK, name, slot, by, f"failed: {said}")
            raise
    job_runs.finish(db, CLOCK, name, slot, by, outcome)


def _name(job: Job, account_id: int | None) -> str:
    """What a job is called in the rows of slots."""
    return job.name if account_id is None else f"{job.name}/{account_id}"


def beat(queue: str, message: str) -> None:
    """Note that the messages of a queue are done."""
    heartbeats.beat(database(), CLOCK, queue, message, worker())


def worker() -> str:
    """Who this process is, in the store's rows."""
    return f"{socket.gethostname()}:{os.getpid()}"


def database() -> Database:
    """The store, opened by this process itself: connections do not outlive a fork."""
    return _database(os.getpid())


def connections() -> Connections:
    """The adapters that this process has opened."""
    return _connections(os.getpid())


@functools.cache
def _database(_pid: int) -> Database:
    return Database(Settings.from_environment().store_url)


@functools.cache
def _connections(_pid: int) -> Connections:
    return Connections(database(), open_adapter)


def open_adapter(account_id: int) -> Any:
    """Build the adapter of an account from its settings in the store; nothing is contacted.

    Raises:
        ConfigurationError: The store has no settings for it, or they cannot be opened with the key at hand.
    """
    return open_account(database(), Sealer.from_environment(), CLOCK, account_id)


def _forget_runs(db: Database, _account_id: int | None) -> str:
    return f"{job_runs.forget(db, CLOCK)} rows"


def _retention(db: Database, _account_id: int | None) -> str:
    now, settings = CLOCK(), Settings.from_environment()
    keep, keep_plans, keep_journal = (
        dt.timedelta(days=days) for days in (settings.keep_days, settings.keep_plans_days, settings.keep_journal_days)
    )
    gone = retention.forget(db, now, keep, open_since=now - keep)
    plans = retention.forget_plans(db, now, keep_plans)
    calls = retention.forget_journal(db, now, keep_journal)
    return f"{gone.readings} readings, {gone.renewals} renewals, {plans} plans, {calls} calls"


def _fetch_prices(db: Database, _account_id: int | None) -> str:
    """Fetch the prices that are missing; without markets nobody is asked, and no key is needed."""
    if not price_sources.market_rows(db):
        return "no markets"
    report = asyncio.run(price_fetching.fetch(db, CLOCK, Sealer.from_environment(), worker()))
    done = {
        "accepted": report.accepted,
        "estimated": report.estimated,
        "refused": report.refused[:FAILURES_KEPT],
        "sites": report.published,
    }
    return json.dumps({name: value for name, value in done.items() if value})


def _fetch_weather(db: Database, _account_id: int | None) -> str:
    settings = Settings.from_environment()
    if settings.weather == "off":
        return "off"
    report = asyncio.run(weather.fetch(db, CLOCK, weather.feed_of(settings, CLOCK)))
    done = {"places": report.places, "sites": report.sites, "refused": report.refused[:FAILURES_KEPT]}
    return json.dumps({name: value for name, value in done.items() if value})


def _forecast(db: Database, _account_id: int | None) -> str:
    """Forecast what nobody publishes."""
    report = forecasting.run(db, CLOCK, Settings.from_environment().load_forecaster, worker())
    done = {
        "sites": report.forecast,
        "waiting": report.waiting[:FAILURES_KEPT],
        "failures": report.failures[:FAILURES_KEPT],
    }
    return json.dumps({name: value for name, value in done.items() if value})


def _reconcile(db: Database, account_id: int | None) -> str:
    """See where the batteries of an account are, and tell them what is due."""

    async def act(runner: AccountRunner, report: Report) -> None:
        await runner.read(report)
        await runner.dispatch(report)

    return _with_runner(db, account_id, act)


def _dispatch(db: Database, account_id: int | None) -> str:
    """Tell the batteries of an account what is due: the next interval's set-point, a lease that is to be renewed."""
    return _with_runner(db, account_id, lambda runner, report: runner.dispatch(report))


def _plan(db: Database, account_id: int | None) -> str:
    """Plan the sites of an account that want it."""

    async def act(runner: AccountRunner, report: Report) -> None:
        runner.plan(report)

    return _with_runner(db, account_id, act)


def _with_runner(
    db: Database, account_id: int | None, act: Callable[[AccountRunner, Report], Coroutine[Any, Any, None]]
) -> str:
    assert account_id is not None, "a job of accounts was asked for without one"
    open_ones = connections()
    sites = open_ones.sites(account_id)
    if not sites:
        return "no sites"
    report = Report()
    open_ones.run(act(AccountRunner(db, CLOCK, sites, worker()), report))
    return _summary(report)


def _summary(report: Report) -> str:
    counts = Counter(outcome.value for outcome in report.outcomes.values())
    done = {"read": report.read, "planned": report.planned, **counts, "failures": report.failures[:FAILURES_KEPT]}
    return json.dumps({name: value for name, value in done.items() if value})


FUNCTIONS: dict[str, Callable[[Database, int | None], str]] = {
    "reconcile": _reconcile,
    "dispatch": _dispatch,
    "plan": _plan,
    "fetch_prices": _fetch_prices,
    "fetch_weather": _fetch_weather,
    "forecast": _forecast,
    "forget_runs": _forget_runs,
    "retention": _retention,
}
