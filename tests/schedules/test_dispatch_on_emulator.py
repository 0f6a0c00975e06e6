"""The dispatcher with the real AlphaESS adapter, over HTTP, against the emulated cloud and its battery."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable

import pandas as pd
import pytest
from sqlalchemy import select

from adapters.alphaess.emulated_system import DISPATCH_EVENTS
from adapters.contract import Channel
from adapters.emulation import EmulatorControl
from engine.intent import Intent, IntentMode
from schedules import halts, verdicts
from schedules.clock import SimulatedClock
from schedules.dispatch import Dispatcher, Outcome
from schedules.sites import register_site
from schedules.store import CommandRow, Database, IntentRow, Verdict
from schedules.telemetry import read_telemetry
from tests.schedules.conftest import put_plan

BEGIN = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)


class OnEmulator:
    """One site on the emulated cloud; lives inside one event loop."""

    def __init__(self, folder, cloud, site) -> None:
        self.cloud = cloud
        self.clock = SimulatedClock(BEGIN)
        self.control = EmulatorControl(cloud.url)
        self._folder, self._site = folder, site
        self.start_process()

    def start_process(self) -> None:
        self.db = Database.at(self._folder / "store.sqlite")
        self.adapter = self.cloud.adapter(self.clock)
        self.target = register_site(self.db, self._site, self.adapter, "alphaess", self.cloud.serial_number)
        halts.arm(self.db, self.clock, "alphaess", "test")
        self.dispatcher = Dispatcher(self.db, self.clock, [self.target])

    async def end_process(self) -> None:
        await self.adapter.close()
        self.db.close()

    async def close(self) -> None:
        await self.end_process()
        await self.control.close()

    def plan(self, *wishes: tuple[str, float, float, float], until_soc: float | None = None) -> None:
        intents = [
            Intent(IntentMode(mode), power_kw, *(BEGIN + dt.timedelta(seconds=at) for at in times), until_soc)
            for mode, power_kw, *times in wishes
        ]
        put_plan(self.db, self.target.id, intents)

    async def move(self, seconds: float) -> None:
        target = self.clock() + dt.timedelta(seconds=seconds)
        await self.control.step_to(target)
        self.clock.move_to(target)

    async def run(self, seconds: int) -> None:
        """Ticks each 15 s, powers each minute, a state and a judgement each five; the end included."""
        for quarter in range(seconds // 15 + 1):
            if quarter:
                await self.move(15)
            if quarter % 4 == 0:
                await read_telemetry(self.db, self.clock, self.target, Channel.POWER)
            if quarter % 20 == 0:
                await read_telemetry(self.db, self.clock, self.target, Channel.STATE)
                verdicts.confirm(self.db, self.clock, [self.target])
            await self.dispatcher.tick()

    def states(self) -> list[str]:
        with self.db.session() as session:
            return [row.state.value for row in session.scalars(select(CommandRow).order_by(CommandRow.id))]

    def verdicts(self) -> list[Verdict | None]:
        with self.db.session() as session:
            return [row.verdict for row in session.scalars(select(IntentRow).order_by(IntentRow.not_before))]

    def events(self) -> list[str]:
        """What became of the system's dispatches, as the vendor's cloud has it."""
        system = [entry["event"] for entry in self.cloud.log.events if entry.get("sn") == self.cloud.serial_number]
        return [event for event in system if event in DISPATCH_EVENTS]

    @property
    def battery_kw(self) -> float:
        return self.cloud.system.site.plant.sample.battery_kw


@pytest.fixture
def on_emulator(tmp_path, make_cloud, site) -> Callable[[Callable[[OnEmulator], Awaitable[None]]], None]:
    """Run a story on a fresh emulator, in one event loop."""
    index = pd.date_range(BEGIN, periods=2, freq="1h", name="start")
    house = pd.DataFrame({"load_kw": 0.9, "pv_kw": 0.3}, index=index)

    def run(story: Callable[[OnEmulator], Awaitable[None]]) -> None:
        async def tell() -> None:
            bench = OnEmulator(tmp_path, make_cloud(site, house, BEGIN, 0.5), site)
            try:
                await read_telemetry(bench.db, bench.clock, bench.target, Channel.POWER)
                await story(bench)
            finally:
                await bench.close()

        asyncio.run(tell())

    return run


def test_a_charge_is_at_the_battery_after_settling_and_confirmed(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        await bench.dispatcher.tick()
        await bench.move(20)
        assert bench.battery_kw == pytest.approx(-2.0)
        await bench.move(10)
        await bench.run(870)
        assert bench.events().count("lapsed") == 0
        assert bench.events()[-1] == "stopped"
        assert bench.verdicts() == [Verdict.CONFIRMED]

    on_emulator(story)


def test_each_mode_becomes_what_it_says_at_the_battery(on_emulator):
    async def story(bench):
        bench.plan(
            ("charge", 1.5, 0, 300),
            ("hold", 0.0, 300, 600),
            ("self_consumption", 0.0, 600, 900),
        )
        seen = []
        for _ in range(3):
            await bench.run(285)
            seen.append(round(bench.battery_kw, 3))
            await bench.move(15)
        assert seen == [-1.5, 0.0, pytest.approx(0.6)]
        assert bench.cloud.system.site.released

    on_emulator(story)


def test_a_discharge_stops_at_the_state_of_charge_that_it_is_given(on_emulator):
    async def story(bench):
        bench.plan(("discharge", 3.0, 0, 900), until_soc=0.46)
        await bench.run(60)
        assert bench.battery_kw == pytest.approx(3.0)
        await bench.run(600)
        assert bench.battery_kw == 0.0
        assert bench.cloud.system.site.plant.soc == pytest.approx(0.46, abs=0.002)

    on_emulator(story)


def test_a_discharge_without_a_state_of_charge_to_stop_at_discharges(on_emulator):
    async def story(bench):
        bench.plan(("discharge", 3.0, 0, 900))
        await bench.run(60)
        assert bench.battery_kw == pytest.approx(3.0)

    on_emulator(story)


def test_a_hold_is_not_a_release(on_emulator):
    async def story(bench):
        bench.plan(("hold", 0.0, 0, 900))
        await bench.run(60)
        assert not bench.cloud.system.site.released
        assert bench.battery_kw == 0.0
        assert await bench.dispatcher.release()
        await bench.move(20)
        assert bench.cloud.system.site.released
        assert bench.battery_kw == pytest.approx(0.6)

    on_emulator(story)


def test_a_lost_reply_is_read_back_and_the_battery_is_not_told_twice_unread(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        bench.cloud.loses_replies = True
        assert (await bench.dispatcher.tick())[bench.target.id] is Outcome.SENT
        bench.cloud.loses_replies = False
        assert bench.states() == ["unknown"]
        await bench.move(15)
        assert (await bench.dispatcher.tick())[bench.target.id] is Outcome.WAITING
        assert bench.events() == ["started"]
        await bench.move(15)
        assert (await bench.dispatcher.tick())[bench.target.id] is Outcome.SENT
        assert bench.states() == ["seen", "accepted"]
        assert bench.events() == ["started", "renewed"]

    on_emulator(story)


def test_replies_that_stay_lost_never_make_the_battery_lapse(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        bench.cloud.loses_replies = True
        await bench.run(600)
        assert bench.events().count("lapsed") == 0
        assert bench.battery_kw == pytest.approx(-2.0)
        assert set(bench.states()[:-1]) == {"seen"}

    on_emulator(story)


def test_a_process_that_dies_with_its_command_at_the_vendor_is_replaced_without_a_lapse(on_emulator, monkeypatch):
    class Crash(BaseException):
        pass

    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        send = bench.adapter.send

        async def send_and_die(command):
            await send(command)
            raise Crash

        monkeypatch.setattr(bench.adapter, "send", send_and_die)
        with pytest.raises(Crash):
            await bench.dispatcher.tick()
        await bench.end_process()
        bench.start_process()
        assert bench.states() == ["sending"]
        await bench.run(600)
        assert bench.states()[0] == "seen"
        assert not {"sending", "unknown"} & set(bench.states())
        assert bench.events().count("lapsed") == 0
        assert bench.battery_kw == pytest.approx(-2.0)

    on_emulator(story)


def test_a_cloud_that_is_gone_is_a_refusal_that_nothing_is_built_on(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        await bench.dispatcher.tick()
        bench.cloud.stop()
        bench.clock.move_to(bench.clock() + dt.timedelta(seconds=45))
        assert (await bench.dispatcher.tick())[bench.target.id] is Outcome.SENT
        assert bench.states() == ["accepted", "rejected"]

    on_emulator(story)


def test_when_the_dispatcher_is_gone_the_battery_lets_go_by_itself(on_emulator):
    async def story(bench):
        bench.plan(("discharge", 4.0, 0, 900))
        await bench.run(45)
        await bench.move(120)
        assert bench.events()[-1] == "lapsed"
        assert bench.cloud.system.site.released
        assert bench.battery_kw == pytest.approx(0.6)

    on_emulator(story)


def test_the_witness_and_the_journal_tell_the_same_story(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 300), ("self_consumption", 0.0, 300, 600), ("discharge", 1.0, 600, 900))
        await bench.run(930)
        with bench.db.session() as session:
            rows = list(session.scalars(select(CommandRow).order_by(CommandRow.id)))
        journal = [(row.sent_at.isoformat(), row.kind.value == "release") for row in rows]
        witness = [
            (entry["at"], entry["event"] == "stopped")
            for entry in bench.cloud.log.events
            if entry["event"] in ("started", "renewed", "stopped")
        ]
        assert journal == witness
        assert len(journal) == 7 + 1 + 7 + 1

    on_emulator(story)
