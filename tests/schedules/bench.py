"""A site with a scripted vendor, its store in a file, and a clock: nothing sleeps, time passes when a test says so."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import select, update

from adapters.contract import Channel, Command
from engine.intent import Intent, IntentMode
from schedules import halts
from schedules.clock import SimulatedClock
from schedules.dispatch import Dispatcher, Outcome
from schedules.egress import Egress
from schedules.plans import newest_plan
from schedules.replanning import soc_deviation
from schedules.sites import register_site
from schedules.store import AccountRow, CommandRow, Database, IntentRow, PlanRow, TelemetryRow
from schedules.telemetry import keep, latest, read_telemetry
from tests.schedules.fake_battery import SITE, FakeBattery
from tests.schedules.plans import put_plan
from tests.schedules.scripted_vendor import Answer, Crash, ScriptedVendor, Sent

T0 = dt.datetime(2024, 4, 10, 10, 0, tzinfo=dt.UTC)
CHARGE_KW = 2.0


@cache
def _empty_store() -> bytes:
    """A store that has been migrated once, so that each bench need not do it again."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.sqlite"
        Database.at(path).close()
        return path.read_bytes()


class Bench:
    """A site, its scripted vendor, its store in a file, and a clock that a test moves."""

    Crash = Crash
    T0 = T0

    def __init__(self, folder: Path, soc: float = 0.5) -> None:
        self.path = folder / "store.sqlite"
        self.path.write_bytes(_empty_store())
        self.clock = SimulatedClock(T0)
        self.battery = FakeBattery(self.clock, soc)
        self.is_watched = True
        self.vendor = ScriptedVendor(self.clock, self.battery, self._witness)
        self._start_process()

    def at(self, seconds: float) -> dt.datetime:
        """A time, by its distance from the start of the bench."""
        return T0 + dt.timedelta(seconds=seconds)

    def intent(
        self, mode: str, power_kw: float, begin_s: float, end_s: float, until_soc: float | None = None
    ) -> Intent:
        return Intent(IntentMode(mode), power_kw, self.at(begin_s), self.at(end_s), until_soc)

    def plan(self, *intents: Intent) -> None:
        """Put a plan in force that replaces every intent that begins with it or later."""
        put_plan(self.db, self.target.id, intents)

    def move(self, seconds: float) -> None:
        self.clock.move_to(self.clock() + dt.timedelta(seconds=seconds))
        self.battery.catch_up()

    def tick(self) -> Outcome:
        self.watch()
        return asyncio.run(self.dispatcher.tick())[self.target.id]

    def watch(self) -> None:
        """Keep what the battery last reported, as the job that reads telemetry does all the time."""
        if self.is_watched:
            self.battery.catch_up()
            keep(self.db, self.clock(), self.target.id, replace(self.battery.rows[-1], channel=Channel.POWER, soc=None))

    def run(self, seconds: float, every_s: float = 15.0) -> None:
        """Tick now and every so often, the end included."""
        self.tick()
        for _ in range(int(seconds / every_s)):
            self.move(every_s)
            self.tick()

    @contextmanager
    def hooked(
        self, before: Callable[[], None] = lambda: None, after: Callable[[], None] = lambda: None, step: str = "_open"
    ) -> Iterator[None]:
        """Have something happen before or after a step of every call: its journal row opened, or closed."""
        original = getattr(Egress, step)

        def wrapped(*arguments: Any, **options: Any) -> Any:
            before()
            result = original(*arguments, **options)
            after()
            return result

        setattr(Egress, step, wrapped)
        try:
            yield
        finally:
            setattr(Egress, step, original)

    def die(self) -> None:
        raise Crash

    def restart(self) -> None:
        """What is left after a crash: the file, and a new process that knows nothing else."""
        self.close()
        self._start_process()

    def read(self, *channels: Channel) -> None:
        """Read the device and keep what it shows, by default on every channel."""
        for channel in channels or Channel:
            asyncio.run(read_telemetry(self.db, self.clock, self.target, channel))

    def keep_state(self, soc: float | None, age_s: float = 0.0) -> None:
        """Keep a state of charge as if it had been read."""
        now = self.clock()
        seen = {"channel": "state", "measured_at": now - dt.timedelta(seconds=age_s), "received_at": now, "soc": soc}
        with self.db.write() as session:
            session.add(TelemetryRow(site_id=self.target.id, **seen))

    def sent(self) -> list[tuple[float, str, float]]:
        """What went out: seconds since the start, kind, power."""
        return [((sent.at - T0).total_seconds(), sent.kind, sent.command.battery_kw) for sent in self.vendor.wire]

    def kinds(self) -> list[str]:
        """Of what went out: start, renew, release."""
        return [sent.kind for sent in self.vendor.wire]

    def journal(self) -> list[CommandRow]:
        with self.db.session() as session:
            return list(session.scalars(select(CommandRow).order_by(CommandRow.id)))

    def states(self) -> list[str]:
        return [row.state.value for row in self.journal()]

    def intents(self) -> list[IntentRow]:
        with self.db.session() as session:
            return list(session.scalars(select(IntentRow).order_by(IntentRow.id)))

    def plans(self) -> list[PlanRow]:
        with self.db.session() as session:
            return list(session.scalars(select(PlanRow).order_by(PlanRow.id)))

    def deviation(self) -> float | None:
        """How far the site is off the plan in force [fraction]."""
        plan = newest_plan(self.db, self.target.id)
        return soc_deviation(plan, latest(self.db, self.target.id, Channel.STATE))

    def close(self) -> None:
        self.db.close()

    def _start_process(self) -> None:
        self.db = Database.at(self.path)
        self.target = register_site(self.db, SITE, self.vendor, "scripted", "B1")
        halts.arm(self.db, self.clock, "scripted", "test")
        with self.db.write() as session:
            # The lease of a process that died has run out by now.
            session.execute(update(AccountRow).values(lease_until=None))
        self.dispatcher = Dispatcher(self.db, self.clock, [self.target])

    def _witness(self, command: Command, answer: Answer) -> Sent:
        # A connection of its own sees what is committed, and nothing else.
        with closing(sqlite3.connect(self.path)) as outside:
            rows = outside.execute(
                "SELECT command.state, kind, intent.not_before, intent.not_after"
                " FROM command LEFT JOIN intent ON intent.id = intent_id ORDER BY command.id"
            ).fetchall()
        assert rows, "a call without a row in the journal"
        state, kind, begin, end = rows[-1]
        older = sum(row[0] in ("sending", "unknown") for row in rows[:-1])
        window = None if begin is None else (_aware(begin), _aware(end))
        return Sent(self.clock(), command, answer, kind, state, older, window)


def _aware(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)
