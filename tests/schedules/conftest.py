"""Benches for the tests of `schedules`, handed out as fixtures.

`bench` is a vendor that does as scripted, with a battery behind it and a store in a file; `cloud` is the AlphaESS
emulator on loopback with a stepped clock. Nothing here sleeps: time passes when a test says so.
"""

from __future__ import annotations

import ast
import asyncio
import datetime as dt
import inspect
import json
import sqlite3
import textwrap
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd
import pytest
import stamina
import uvicorn
from sqlalchemy import select, update

from adapters import registry
from adapters.alphaess.emulator import CADENCES_S, AlphaEssCloud
from adapters.contract import (
    Abilities,
    Accepted,
    Channel,
    Command,
    Device,
    Receipt,
    Registers,
    Rejected,
    Telemetry,
    Unknown,
    VendorUnavailableError,
)
from adapters.emulation import LOOPBACK, EmulatedClock, EmulatedSite, EventLog, FaultBox, House, listen
from engine import Battery, GridConnection, PvArray, Site
from engine.intent import Intent, IntentMode
from engine.plant import Plant, PlantCommand, PlantMode
from schedules import halts
from schedules.clock import SimulatedClock
from schedules.dispatch import Dispatcher, Outcome
from schedules.egress import Egress
from schedules.sites import register_site
from schedules.store import AccountRow, CommandRow, Database, IntentRow, PlanRow
from schedules.telemetry import keep

T0 = dt.datetime(2024, 4, 10, 10, 0, tzinfo=dt.UTC)
LIFETIME_S = 90.0
ABILITIES = Abilities(
    modes=frozenset(IntentMode),
    command_lifetime_s=LIFETIME_S,
    renew_after_s=LIFETIME_S / 2,
    settling_s=20.0,
    power_cadence_s=10.0,
    state_cadence_s=300.0,
)
SITE = Site(
    name="bench",
    battery=Battery(
        capacity_kwh=10.0,
        max_charge_kw=5.0,
        max_discharge_kw=4.0,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        min_soc=0.1,
        wear_eur_per_kwh=0.02,
    ),
    grid=GridConnection(import_limit_kw=17.0, export_limit_kw=10.0),
    pv=PvArray(),
)


class Crash(BaseException):
    """The process is gone: no handler of the product may catch this, no line after it runs."""


class Answer(Enum):
    """What the scripted vendor does with one call."""

    ACCEPT = "accept"
    REJECT = "reject"
    """Refused, or no connection: nothing changed, and the caller knows it."""
    LOSE_REQUEST = "lose request"
    """It never arrives, and the caller cannot know."""
    LOSE_REPLY = "lose reply"
    """It arrives and is obeyed, and the caller cannot know."""
    FAIL = "fail"
    """An adapter that raises, though its contract says that it never does."""
    CRASH_BEFORE = "crash before"
    """Our process dies before the vendor has it."""
    CRASH_AFTER = "crash after"
    """Our process dies after the vendor has it, before the answer."""


@cache
def _empty_store() -> bytes:
    """A store that has been migrated once, so that each bench need not do it again."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "empty.sqlite"
        Database.at(path).close()
        return path.read_bytes()


class FakeBattery:
    """A battery that lapses 90 s after the last command it took, and reports itself every 10 s."""

    def __init__(self, clock: SimulatedClock, soc: float) -> None:
        self.plant = Plant(SITE.battery, soc)
        self.load_kw, self.pv_kw = 0.9, 0.3
        self.lapses_at: dt.datetime | None = None
        self.lapses: list[dt.datetime] = []
        self._clock = clock
        self._now = clock()
        self.plant.run(5.0, self.load_kw, self.pv_kw)
        self.rows: list[Telemetry] = [self._row()]

    @property
    def follow_kw(self) -> float:
        """What it does when nobody drives it [kW]."""
        return self.load_kw - self.pv_kw

    def take(self, command: Command) -> None:
        self.catch_up()
        if command.releases:
            self.plant.command, self.lapses_at = PlantCommand(), None
            return
        self.plant.command = PlantCommand(PlantMode.SET_POINT, command.battery_kw)
        self.lapses_at = self._now + dt.timedelta(seconds=LIFETIME_S)

    def catch_up(self) -> None:
        while self._now < self._clock():
            second = int(self._now.timestamp())
            next_row = dt.datetime.fromtimestamp(second - second % 10 + 10, dt.UTC)
            until = min(moment for moment in (self._clock(), next_row, self.lapses_at) if moment is not None)
            self.plant.run((until - self._now).total_seconds(), self.load_kw, self.pv_kw)
            self._now = until
            if self.lapses_at is not None and self.lapses_at <= until:
                self.lapses.append(until)
                self.plant.command, self.lapses_at = PlantCommand(), None
            if until == next_row:
                self.rows.append(self._row())

    def _row(self) -> Telemetry:
        sample, registers = self.plant.sample, self.plant.registers
        return Telemetry(
            channel=Channel.STATE,
            measured_at=self._now,
            battery_kw=round(sample.battery_kw, 3),
            grid_kw=round(sample.grid_kw, 3),
            pv_kw=sample.pv_kw,
            load_kw=sample.load_kw,
            soc=round(sample.soc, 3),
            registers=Registers(
                registers.import_kwh, registers.export_kwh, registers.charge_kwh, registers.discharge_kwh
            ),
        )


@dataclass(frozen=True)
class Sent:
    """One call as the vendor saw it come, and what a second connection to the store saw at that moment."""

    at: dt.datetime
    command: Command
    answer: Answer
    kind: str
    """Of the newest journal row: start, renew, release."""
    state: str
    """Of the newest journal row, as committed."""
    older_unresolved: int
    """Other rows that are SENDING or UNKNOWN."""
    window: tuple[dt.datetime, dt.datetime] | None
    """The intent's time, when the row names an intent."""


@dataclass
class ScriptedVendor:
    """`Readable` and `Dispatchable`; accepts everything unless scripted otherwise."""

    clock: SimulatedClock
    battery: FakeBattery
    witness: Callable[[Command, Answer], Sent]
    abilities: Abilities = ABILITIES
    wire: list[Sent] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """`read` and `send`, in the order they came."""
    always: Answer = Answer.ACCEPT
    rejects_orders: bool = False
    """Refuses whatever drives the battery, and lets go of it when asked."""
    telemetry_fails: bool = False
    telemetry_is_empty: bool = False
    time_stamps_ahead: dt.timedelta = dt.timedelta(0)
    power_factor: float = 1.0
    """What a wrong translation multiplies powers with."""
    charge_limit_kw: float | None = None
    orders_end_after_s: float | None = None
    """Orders carry their own end, as a vendor's that does not lapse."""
    script: deque[Answer] = field(default_factory=deque)

    def will(self, *answers: str) -> None:
        """Script the next calls; after them it accepts again."""
        self.script.extend(Answer(answer) for answer in answers)

    def will_always(self, answer: str) -> None:
        self.always = Answer(answer)

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        assert device.device_id == "B1"
        self.calls.append("read")
        if self.telemetry_fails:
            raise VendorUnavailableError("scripted: no telemetry")
        if self.telemetry_is_empty:
            return None
        self.battery.catch_up()
        rows = self.battery.rows
        if channel is Channel.STATE:
            rows = [row for row in rows if row.measured_at.timestamp() % 300 == 0]
        row = rows[-1]
        is_state = channel is Channel.STATE
        return Telemetry(
            channel=channel,
            measured_at=row.measured_at + self.time_stamps_ahead,
            battery_kw=row.battery_kw,
            grid_kw=row.grid_kw,
            pv_kw=row.pv_kw,
            load_kw=row.load_kw,
            soc=row.soc if is_state else None,
            charge_limit_kw=self.charge_limit_kw if is_state else None,
            registers=row.registers if is_state else Registers(),
        )

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        power_kw = intent.battery_kw * self.power_factor
        if latest is not None and latest.charge_limit_kw is not None:
            power_kw = max(power_kw, -latest.charge_limit_kw)
        ends_at = None
        if self.orders_end_after_s is not None:
            ends_at = self.clock() + dt.timedelta(seconds=self.orders_end_after_s)
        return Command(device.device_id, False, power_kw, {"kw": power_kw}, ends_at)

    def release(self, device: Device) -> Command:
        return Command(device.device_id, True, 0.0, {"release": True})

    async def send(self, command: Command) -> Receipt:
        answer = self.script.popleft() if self.script else self.always
        if self.rejects_orders and not command.releases:
            answer = Answer.REJECT
        self.calls.append("send")
        self.wire.append(self.witness(command, answer))
        if answer is Answer.CRASH_BEFORE:
            raise Crash(answer.value)
        if answer is Answer.REJECT:
            return Rejected("scripted: refused")
        if answer is Answer.LOSE_REQUEST:
            return Unknown("scripted: time-out")
        self.battery.take(command)
        if answer is Answer.CRASH_AFTER:
            raise Crash(answer.value)
        if answer is Answer.FAIL:
            raise RuntimeError("scripted: an adapter that breaks its contract")
        if answer is Answer.LOSE_REPLY:
            return Unknown("scripted: time-out")
        return Accepted("scripted")


def put_plan(db: Database, site_id: int, intents: Sequence[Intent]) -> None:
    """Put a plan made by hand in force; it replaces every intent that begins with it or later."""
    with db.session() as session, session.begin():
        plan = PlanRow(
            site_id=site_id,
            made_at=intents[0].not_before,
            begins_at=intents[0].not_before,
            ends_at=intents[-1].not_after,
            initial_soc=0.5,
            cost_eur=0.0,
            cost_without_battery_eur=0.0,
            solver="by hand",
            intervals=[],
            why="test",
        )
        session.add(plan)
        session.flush()
        session.execute(
            update(IntentRow)
            .where(IntentRow.site_id == site_id, IntentRow.not_before >= intents[0].not_before)
            .values(superseded=True)
        )
        session.add_all(
            IntentRow(
                site_id=site_id,
                plan_id=plan.id,
                mode=intent.mode.value,
                power_kw=intent.power_kw,
                until_soc=intent.until_soc,
                not_before=intent.not_before,
                not_after=intent.not_after,
                superseded=False,
            )
            for intent in intents
        )


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

    def journal(self) -> list[CommandRow]:
        with self.db.session() as session:
            return list(session.scalars(select(CommandRow).order_by(CommandRow.id)))

    def states(self) -> list[str]:
        return [row.state.value for row in self.journal()]

    def intents(self) -> list[IntentRow]:
        with self.db.session() as session:
            return list(session.scalars(select(IntentRow).order_by(IntentRow.id)))

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


class Cloud:
    """The AlphaESS emulator on loopback in a thread of its own, with a stepped clock and a fault on demand."""

    def __init__(self, site: Site, house: pd.DataFrame, start: dt.datetime, soc: float) -> None:
        self.log = EventLog()
        self.serial_number = "AL1"
        self.loses_replies = False
        faults = FaultBox()
        place = EmulatedSite(
            self.serial_number, Plant(site.battery, soc), House(house), start, CADENCES_S, self.log, faults
        )
        self._cloud = AlphaEssCloud([place], EmulatedClock(start, None), self.log, faults)
        self.system = self._cloud.system(self.serial_number)
        listener = listen()
        self.url = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        options = uvicorn.Config(
            self._answer, interface="asgi3", log_level="error", lifespan="off", access_log=False, date_header=False
        )
        self._server = uvicorn.Server(options)
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[listener]))
        self._thread.start()

    @property
    def ready(self) -> dict[str, Any]:
        """What `tidewatt emulate` announces."""
        return {
            "adapter": "alphaess",
            "device_id": self.serial_number,
            "account": {"base_url": self.url, **self._cloud.account()},
        }

    def adapter(self, clock: SimulatedClock) -> Any:
        return registry.factory("alphaess")(self.ready["account"], clock)

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if not (self.loses_replies and scope["path"].endswith("RemoteDispatch")):
            await self._cloud.app(scope, receive, send)
            return

        async def swallow(_: Any) -> None:
            return None

        await self._cloud.app(scope, receive, swallow)
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps("gateway").encode()})


def _without(method: Callable[..., Any], marker: str) -> Callable[..., Any]:
    """A copy of a method without the one `if` whose test mentions a marker."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(method)))
    removed: list[str] = []

    class Remover(ast.NodeTransformer):
        def visit_If(self, node: ast.If) -> ast.AST | None:
            if marker in ast.unparse(node.test):
                removed.append(ast.unparse(node))
                return None
            return self.generic_visit(node)

    tree = ast.fix_missing_locations(Remover().visit(tree))
    assert len(removed) == 1, f"{method.__qualname__} has {len(removed)} guards that mention {marker!r}"
    namespace = dict(method.__globals__)
    exec(compile(tree, f"<{method.__qualname__} without {marker}>", "exec"), namespace)
    return namespace[method.__name__]


@pytest.fixture
def bench(tmp_path):
    """A bench whose battery is half full."""
    made = Bench(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def make_bench():
    """For tests that need many benches: give a folder, get a bench; close it yourself."""
    return Bench


@pytest.fixture(scope="session")
def site():
    """The site of every bench."""
    return SITE


@pytest.fixture(scope="session")
def without_guard():
    """Take one guard out of a method, to show that a test notices."""
    return _without


@pytest.fixture
def make_cloud():
    """Start an emulator: `make_cloud(site, house, start, soc)`."""
    stamina.set_testing(True)  # reads that fail are tried again without waiting
    clouds: list[Cloud] = []

    def start(*arguments: Any) -> Cloud:
        clouds.append(Cloud(*arguments))
        return clouds[-1]

    yield start
    for cloud in clouds:
        cloud.stop()
    stamina.set_testing(False)
