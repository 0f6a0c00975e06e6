"""The dispatcher with the real AlphaESS adapter, over HTTP, against the emulated cloud and its battery."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pandas as pd
import pytest

from adapters.alphaess.emulated_system import DISPATCH_EVENTS
from adapters.contract import Channel
from schedules import verdicts
from schedules.dispatch import Outcome
from schedules.store import Verdict
from tests.schedules.on_vendor import OnVendor

FOLLOW_KW = 0.6
WRITES = "RemoteDispatch"


class OnAlphaEss(OnVendor):
    async def run(self, seconds: int) -> None:
        """Ticks each 15 s, powers each minute, a state and a judgement each five; the end included."""
        for quarter in range(seconds // 15 + 1):
            if quarter:
                self.vendor.after(15)
            if quarter % 4 == 0:
                await self.read(Channel.POWER)
            if quarter % 20 == 0:
                await self.read(Channel.STATE)
                verdicts.confirm(self.db, self.clock, [self.target])
            await self.tick()

    def events(self) -> list[str]:
        """What became of the system's dispatches, as the vendor's cloud has it."""
        return [entry["event"] for entry in self.vendor.log.events if entry["event"] in DISPATCH_EVENTS]


@pytest.fixture
def on_emulator(tmp_path, serve_vendor, site) -> Callable[[Callable[[OnAlphaEss], Awaitable[None]]], None]:
    """Run a story on a fresh emulator, in one event loop."""
    house = pd.DataFrame({"load_kw": [0.3 + FOLLOW_KW], "pv_kw": [0.3]}, pd.DatetimeIndex(["2024-01-01"], tz="UTC"))
    vendor = serve_vendor("alphaess", house=house)

    def run(story: Callable[[OnAlphaEss], Awaitable[None]]) -> None:
        async def tell() -> None:
            bench = OnAlphaEss(tmp_path, vendor, site)
            try:
                await bench.read(Channel.POWER)
                await story(bench)
            finally:
                await bench.end_process()

        asyncio.run(tell())

    return run


def test_a_charge_is_at_the_battery_after_settling_and_confirmed(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        await bench.tick()
        bench.vendor.after(20)
        assert bench.vendor.battery_kw == pytest.approx(-2.0)
        bench.vendor.after(10)
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
            seen.append(round(bench.vendor.battery_kw, 3))
            bench.vendor.after(15)
        assert seen == [-1.5, 0.0, pytest.approx(FOLLOW_KW)]
        assert bench.vendor.place.released

    on_emulator(story)


def test_a_discharge_stops_at_the_state_of_charge_that_it_is_given(on_emulator):
    async def story(bench):
        bench.plan(("discharge", 3.0, 0, 900), until_soc=0.46)
        await bench.run(60)
        assert bench.vendor.battery_kw == pytest.approx(3.0)
        await bench.run(600)
        assert bench.vendor.battery_kw == 0.0
        assert bench.vendor.place.plant.soc == pytest.approx(0.46, abs=0.002)

    on_emulator(story)


def test_a_discharge_without_a_state_of_charge_to_stop_at_discharges(on_emulator):
    async def story(bench):
        bench.plan(("discharge", 3.0, 0, 900))
        await bench.run(60)
        assert bench.vendor.battery_kw == pytest.approx(3.0)

    on_emulator(story)


def test_a_hold_is_not_a_release(on_emulator):
    async def story(bench):
        bench.plan(("hold", 0.0, 0, 900))
        await bench.run(60)
        assert not bench.vendor.place.released
        assert bench.vendor.battery_kw == 0.0
        assert await bench.dispatcher.release()
        bench.vendor.after(20)
        assert bench.vendor.place.released
        assert bench.vendor.battery_kw == pytest.approx(FOLLOW_KW)

    on_emulator(story)


def test_a_lost_reply_is_read_back_and_the_battery_is_not_told_twice_unread(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        bench.vendor.loses_replies_of = WRITES
        assert await bench.tick() is Outcome.SENT
        bench.vendor.loses_replies_of = None
        assert bench.states() == ["unknown"]
        bench.vendor.after(15)
        assert await bench.tick() is Outcome.WAITING
        assert bench.events() == ["started"]
        bench.vendor.after(15)
        assert await bench.tick() is Outcome.SENT
        assert bench.states() == ["seen", "accepted"]
        assert bench.events() == ["started", "renewed"]

    on_emulator(story)


def test_replies_that_stay_lost_never_make_the_battery_lapse(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        bench.vendor.loses_replies_of = WRITES
        await bench.run(600)
        assert bench.events().count("lapsed") == 0
        assert bench.vendor.battery_kw == pytest.approx(-2.0)
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
            await bench.tick()
        await bench.restart()
        assert bench.states() == ["sending"]
        await bench.run(600)
        assert bench.states()[0] == "seen"
        assert not {"sending", "unknown"} & set(bench.states())
        assert bench.events().count("lapsed") == 0
        assert bench.vendor.battery_kw == pytest.approx(-2.0)

    on_emulator(story)


def test_a_cloud_that_is_gone_is_a_refusal_that_nothing_is_built_on(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 900))
        await bench.tick()
        bench.vendor.stop()
        bench.vendor.after(45)
        assert await bench.tick() is Outcome.SENT
        assert bench.states() == ["accepted", "rejected"]

    on_emulator(story)


def test_when_the_dispatcher_is_gone_the_battery_lets_go_by_itself(on_emulator):
    async def story(bench):
        bench.plan(("discharge", 4.0, 0, 900))
        await bench.run(45)
        bench.vendor.after(120)
        assert bench.events()[-1] == "lapsed"
        assert bench.vendor.place.released
        assert bench.vendor.battery_kw == pytest.approx(FOLLOW_KW)

    on_emulator(story)


def test_the_witness_and_the_journal_tell_the_same_story(on_emulator):
    async def story(bench):
        bench.plan(("charge", 2.0, 0, 300), ("self_consumption", 0.0, 300, 600), ("discharge", 1.0, 600, 900))
        await bench.run(930)
        journal = [(row.sent_at.isoformat(), row.kind.value == "release") for row in bench.journal()]
        witness = [
            (entry["at"], entry["event"] == "stopped")
            for entry in bench.vendor.log.events
            if entry["event"] in ("started", "renewed", "stopped")
        ]
        assert journal == witness
        assert len(journal) == 7 + 1 + 7 + 1

    on_emulator(story)
