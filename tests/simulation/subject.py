"""The code under test, and how it is put together: the one file that knows the product's classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from sqlalchemy import event

from engine.intent import Intent
from schedules import halts, overrides
from schedules.account_runner import AccountRunner, Report
from schedules.plans import put_intents_in_force
from schedules.quota_ledger import DatabaseLedger
from schedules.sites import ControlledSite, register_site
from schedules.store import Database, HaltScope
from tests.schedules.plans import plan_by_hand
from tests.simulation import steps
from tests.simulation.scheduler import Process, ProcessClock, moment
from tests.simulation.vendors import Cloud, adapter_of


def open_store(path: Path, empty: bytes) -> Database:
    """A store in a file in memory: no disc to wait for, and no waiting for a lock in real time."""
    path.write_bytes(empty)
    db = Database.at(path)
    db.engine.dispose()
    steps.watch_the_database()

    @event.listens_for(db.engine, "connect")
    def _(connection, _record):
        connection.execute("PRAGMA synchronous=OFF")
        connection.execute("PRAGMA busy_timeout=0")

    return db


class Worker:
    """What one process holds in memory for one account."""

    def __init__(self, db: Database, cloud: Cloud, process: Process, targets: Sequence[ControlledSite]) -> None:
        adapter = adapter_of(cloud, process, DatabaseLedger(db, targets[0].account_id))
        self._runner = AccountRunner(
            db, process.clock, [replace(target, adapter=adapter) for target in targets], process.name
        )

    async def tick(self, reads: bool) -> list[str]:
        """One delivery of the account's tick, the whole or the light one; what went wrong and was survived."""
        if reads:
            return (await self._runner.tick()).failures
        report = Report()
        await self._runner.dispatch(report)
        return report.failures

    async def release(self) -> None:
        """Somebody has all batteries let go of by hand."""
        await self._runner.release()


def register(db: Database, clock: ProcessClock, cloud: Cloud, process: Process) -> list[ControlledSite]:
    """Put an account with its sites into the store, and arm it."""
    targets = [
        register_site(db, device.site, adapter_of(cloud, process), cloud.make.name, name, cloud.name)
        for name, device in cloud.devices.items()
    ]
    halts.arm(db, clock, cloud.name, "simulation")
    return targets


def pull(db: Database, clock: ProcessClock, scope: HaltScope, name: str) -> int:
    """A person stops what is in a scope."""
    return halts.pull(db, clock, scope, name, "simulated", "simulation")


def lift(db: Database, clock: ProcessClock, halt: int) -> None:
    halts.lift(db, clock, halt, "simulation")


def override(db: Database, clock: ProcessClock, site: str, intent: Intent) -> int:
    """A person wants something else than the plan."""
    return overrides.set_override(db, clock, site, intent, "simulated", "simulation").id


def cancel(db: Database, clock: ProcessClock, number: int) -> None:
    overrides.cancel(db, clock, number, "simulated")


def put_plan(db: Database, site_id: int, made_at: float, begin: float, end: float, intents: Sequence[Intent]) -> None:
    """Put a plan in force without solving for it."""
    with db.write() as session:
        put_intents_in_force(session, plan_by_hand(site_id, moment(made_at), moment(begin), moment(end)), intents)
