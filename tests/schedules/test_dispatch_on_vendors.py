"""The dispatcher with vendors whose commands last, over HTTP, against their emulated clouds and batteries.

Huawei: forced tasks that end by themselves, and rests that are working modes. Xolta: maps of set-points.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt

import pandas as pd
import pytest
import stamina
import uvicorn
from sqlalchemy import select

from adapters import registry
from adapters.contract import Channel
from adapters.emulation import (
    LOOPBACK,
    EmulatedClock,
    EmulatedSite,
    EventLog,
    FaultBox,
    Faults,
    House,
    emulator,
    listen,
)
from adapters.token_file import FileTokenStore
from engine.intent import Intent, IntentMode
from engine.plant import Plant
from schedules import halts, verdicts
from schedules.dispatch import Dispatcher, Outcome
from schedules.sites import register_site
from schedules.store import CommandRow, Database, IntentRow, Verdict
from schedules.telemetry import read_telemetry
from tests.schedules.conftest import put_plan

BEGIN = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
MINUTE, HALF_HOUR = dt.timedelta(minutes=1), 30
LOAD_KW = 1.0
# What commissioning finds with the emulator as it is.
COMMISSIONED = {"xolta": {"commissioned": True, "setpoint_unit": "kW", "setpoint_sign": 1}}
STORY = {
    "huawei": [
        ("charge", 2.0),
        ("hold", 0.0),
        ("self_consumption", 0.0),
        ("discharge", 3.0),
        ("charge", 1.5),
        ("charge", 2.5),
        ("hold", 0.0),
        ("charge", 1.0),
        ("self_consumption", 0.0),
    ],
    "xolta": [("charge", 2.0), ("hold", 0.0), ("self_consumption", 0.0), ("discharge", 3.0)],
}
SHOWN_KW = {"charge": -1.0, "discharge": 1.0}


class OnVendor:
    """One site on a vendor's emulated cloud; lives inside one event loop."""

    def __init__(self, folder, site, vendor) -> None:
        self.vendor, self._folder, self._site = vendor, folder, site
        self.clock, self.log, self.faults = EmulatedClock(BEGIN, None), EventLog(), FaultBox()
        index = pd.date_range(BEGIN - dt.timedelta(hours=1), periods=2, freq="1h")
        house = House(pd.DataFrame({"load_kw": [LOAD_KW] * 2, "pv_kw": [0.0] * 2}, index=index))
        make = emulator(vendor)
        self.place = EmulatedSite(
            "NE=1", Plant(site.battery, 0.5), house, BEGIN, make.cadences_s, self.log, self.faults
        )
        self.cloud = make.build([self.place], self.clock, self.log, self.faults)
        self._account = {**self.cloud.account(), "timeout_s": 0.5, **COMMISSIONED.get(vendor, {})}

    @contextlib.asynccontextmanager
    async def open(self):
        listener = listen()
        self._account["base_url"] = f"http://{LOOPBACK}:{listener.getsockname()[1]}"
        server = uvicorn.Server(
            uvicorn.Config(self.cloud.app, log_level="error", lifespan="off", access_log=False, date_header=False)
        )
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        self.start_process()
        try:
            yield self
        finally:
            await self.end_process()
            server.should_exit = True
            await serving

    def start_process(self) -> None:
        self.db = Database.at(self._folder / "store.sqlite")
        store = (FileTokenStore(self._folder / "tokens"),) if self.vendor == "huawei" else ()
        self.adapter = registry.factory(self.vendor)(self._account, self.clock.now, *store)
        self.target = register_site(self.db, self._site, self.adapter, self.vendor, "NE=1")
        halts.arm(self.db, self.clock.now, self.vendor, "test")
        self.dispatcher = Dispatcher(self.db, self.clock.now, [self.target])

    async def end_process(self) -> None:
        await self.adapter.close()
        self.db.close()

    async def restart(self) -> None:
        await self.end_process()
        self.start_process()

    def plan(self, wishes) -> list[Intent]:
        """Half an hour each."""
        intents = [
            Intent(IntentMode(mode), kw, BEGIN + place * HALF_HOUR * MINUTE, BEGIN + (place + 1) * HALF_HOUR * MINUTE)
            for place, (mode, kw) in enumerate(wishes)
        ]
        put_plan(self.db, self.target.id, intents)
        return intents

    def move(self, minutes: int) -> None:
        self.clock.step_to(self.clock.now() + minutes * MINUTE)
        self.cloud.advance()

    async def tick(self) -> Outcome:
        if (self.clock.now() - BEGIN) % (5 * MINUTE) == dt.timedelta(0):
            for channel in Channel:
                await read_telemetry(self.db, self.clock.now, self.target, channel)
            verdicts.confirm(self.db, self.clock.now, [self.target])
        return (await self.dispatcher.tick())[self.target.id]

    async def run(self, minutes: int, restarts=()) -> list[float]:
        """Tick each minute, the end excluded; what the battery does in the middle of each half hour [kW]."""
        seen_kw = []
        for _ in range(minutes):
            since = int((self.clock.now() - BEGIN) / MINUTE)
            if since in restarts:
                await self.restart()
            await self.tick()
            if since % HALF_HOUR == HALF_HOUR // 2:
                seen_kw.append(round(self.battery_kw, 2))
            self.move(1)
        return seen_kw

    @property
    def battery_kw(self) -> float:
        return self.place.plant.sample.battery_kw

    def control_calls(self) -> int:
        return sum(event["event"] == "call" and "async-task" in event["path"] for event in self.log.events)

    def journal(self) -> list[tuple[str, str]]:
        with self.db.session() as session:
            rows = session.scalars(select(CommandRow).order_by(CommandRow.id))
            return [(row.kind.value, row.state.value) for row in rows]

    def verdicts(self) -> list[Verdict | None]:
        with self.db.session() as session:
            return [row.verdict for row in session.scalars(select(IntentRow).order_by(IntentRow.not_before))]


@pytest.fixture
def on_vendor(tmp_path, site):
    """Tell a story with a vendor's emulator: `on_vendor(vendor, story)`."""

    def run(vendor, story):
        async def tell():
            async with OnVendor(tmp_path, site, vendor).open() as bench:
                return await story(bench)

        with stamina.set_testing(True):
            return asyncio.run(tell())

    return run


def done_kw(wishes):
    return [LOAD_KW if mode == "self_consumption" else SHOWN_KW.get(mode, 0.0) * kw for mode, kw in wishes]


@pytest.mark.parametrize("restarts", [(), (10, 30, 45, 61, 100, 120, 135, 151, 170, 200)], ids=["one process", "many"])
@pytest.mark.parametrize("vendor", ["huawei", "xolta"])
def test_the_battery_does_each_intent_whoever_dies_in_between(on_vendor, vendor, restarts):
    wishes = STORY[vendor]

    async def story(bench):
        bench.plan(wishes)
        seen_kw = await bench.run(HALF_HOUR * len(wishes), restarts)
        await bench.run(16)
        return seen_kw, bench.journal(), bench.verdicts(), bench.battery_kw

    seen_kw, journal, verdicts, last_kw = on_vendor(vendor, story)

    assert seen_kw == pytest.approx(done_kw(wishes), abs=0.01)
    assert last_kw == pytest.approx(LOAD_KW, abs=0.01), "let go at the end"
    let_go_at_the_end = wishes[-1][0] != "self_consumption"
    assert [state for _, state in journal] == ["accepted"] * (len(wishes) + let_go_at_the_end)
    assert verdicts == [Verdict.CONFIRMED] * len(wishes)


@pytest.mark.parametrize("restarts", [(), (10, 30, 45, 61, 100, 120, 135, 151, 170, 200)], ids=["one process", "many"])
def test_a_plan_takes_the_control_calls_that_its_costs_say(on_vendor, restarts):
    async def story(bench):
        intents = bench.plan(STORY["huawei"])
        costs = bench.adapter.call_budget(bench.target.device, intents[-1].not_after).costs
        expected, taken, after = [], [], None
        for intent in intents:
            before = bench.control_calls()
            await bench.run(HALF_HOUR, restarts)
            taken.append(bench.control_calls() - before)
            expected.append(costs.calls(intent, after))
            after = intent.mode
        return taken, expected

    taken, expected = on_vendor("huawei", story)

    assert taken == expected == [1, 2, 1, 1, 2, 2, 2, 1, 2]


@pytest.mark.parametrize("place", range(5))
def test_a_lost_answer_is_settled_by_telemetry_and_the_battery_does_its_intent(on_vendor, place):
    wishes = STORY["huawei"][:5]

    async def story(bench):
        bench.plan(wishes)
        await bench.run(HALF_HOUR * place)
        before = len(bench.journal())
        bench.faults.switch(Faults(lost_answers=1))
        calls = bench.control_calls()
        assert await bench.tick() is Outcome.SENT
        assert bench.control_calls() == calls + 1, "nothing more on top of an open question"
        assert [state for _, state in bench.journal()[before:]] == ["unknown"]
        bench.faults.switch(Faults())
        bench.move(1)
        await bench.run(HALF_HOUR - 6)
        return bench.battery_kw, [state for _, state in bench.journal()[before:]]

    battery_kw, states = on_vendor("huawei", story)

    assert battery_kw == pytest.approx(done_kw(wishes)[place], abs=0.01)
    assert states[0] in ("seen", "not_seen")
    assert not {"unknown", "sending"} & set(states)


def test_what_rests_below_a_task_that_has_ended_is_not_forgotten(on_vendor):
    """The task ends by itself, and then the plant idles: following the house has to be said."""

    async def story(bench):
        bench.plan([("hold", 0.0), ("charge", 2.0), ("hold", 0.0), ("self_consumption", 0.0)])
        await bench.run(40)
        bench.move(60)  # nobody is there for an hour
        idle_kw = bench.battery_kw
        await bench.restart()
        await bench.run(10)
        return idle_kw, bench.battery_kw

    assert on_vendor("huawei", story) == (pytest.approx(0.0, abs=0.01), pytest.approx(LOAD_KW, abs=0.01))
