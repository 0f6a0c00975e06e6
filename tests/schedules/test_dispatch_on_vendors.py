"""The dispatcher with vendors whose commands last, over HTTP, against their emulated clouds and batteries.

Huawei: forced tasks that end by themselves, and rests that are working modes. Xolta: maps of set-points.
"""

from __future__ import annotations

import asyncio

import pytest

from adapters.emulation import Faults
from engine.intent import Intent
from schedules import verdicts
from schedules.dispatch import Outcome
from schedules.store import Verdict
from tests.schedules.on_vendor import OnVendor
from tests.schedules.served_vendor import LOAD_KW

MINUTE_S, HALF_HOUR = 60, 30
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


class Minutely(OnVendor):
    """Ticks each minute, reads each five."""

    def plan_half_hours(self, wishes) -> list[Intent]:
        length_s = HALF_HOUR * MINUTE_S
        return self.plan(*((*wish, place * length_s, (place + 1) * length_s) for place, wish in enumerate(wishes)))

    @property
    def minutes(self) -> int:
        return int((self.clock() - self.begin).total_seconds() // MINUTE_S)

    async def tick(self) -> Outcome:
        if self.minutes % 5 == 0:
            await self.read()
            verdicts.confirm(self.db, self.clock, [self.target])
        return await super().tick()

    async def run(self, minutes: int, restarts=()) -> list[float]:
        """The end excluded; what the battery does in the middle of each half hour [kW]."""
        seen_kw = []
        for _ in range(minutes):
            if self.minutes in restarts:
                await self.restart()
            await self.tick()
            if self.minutes % HALF_HOUR == HALF_HOUR // 2:
                seen_kw.append(round(self.vendor.battery_kw, 2))
            self.vendor.after(MINUTE_S)
        return seen_kw

    def control_calls(self) -> int:
        return sum("async-task" in event["path"] for event in self.vendor.events("call"))


@pytest.fixture
def on_vendor(tmp_path, site, serve_vendor):
    """Tell a story with a vendor's emulator: `on_vendor(vendor, story)`."""

    def run(vendor, story):
        async def tell():
            bench = Minutely(tmp_path, serve_vendor(vendor), site, timeout_s=0.5, **COMMISSIONED.get(vendor, {}))
            try:
                return await story(bench)
            finally:
                await bench.end_process()

        return asyncio.run(tell())

    return run


def done_kw(wishes):
    return [LOAD_KW if mode == "self_consumption" else SHOWN_KW.get(mode, 0.0) * kw for mode, kw in wishes]


@pytest.mark.parametrize("restarts", [(), (10, 30, 45, 61, 100, 120, 135, 151, 170, 200)], ids=["one process", "many"])
@pytest.mark.parametrize("vendor", ["huawei", "xolta"])
def test_the_battery_does_each_intent_whoever_dies_in_between(on_vendor, vendor, restarts):
    wishes = STORY[vendor]

    async def story(bench):
        bench.plan_half_hours(wishes)
        seen_kw = await bench.run(HALF_HOUR * len(wishes), restarts)
        await bench.run(16)
        return seen_kw, bench.states(), bench.verdicts(), bench.vendor.battery_kw

    seen_kw, states, verdicts, last_kw = on_vendor(vendor, story)

    assert seen_kw == pytest.approx(done_kw(wishes), abs=0.01)
    assert last_kw == pytest.approx(LOAD_KW, abs=0.01), "let go at the end"
    let_go_at_the_end = wishes[-1][0] != "self_consumption"
    assert states == ["accepted"] * (len(wishes) + let_go_at_the_end)
    assert verdicts == [Verdict.CONFIRMED] * len(wishes)


@pytest.mark.parametrize("restarts", [(), (10, 30, 45, 61, 100, 120, 135, 151, 170, 200)], ids=["one process", "many"])
def test_a_plan_takes_the_control_calls_that_its_costs_say(on_vendor, restarts):
    async def story(bench):
        intents = bench.plan_half_hours(STORY["huawei"])
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
        bench.plan_half_hours(wishes)
        await bench.run(HALF_HOUR * place)
        before = len(bench.states())
        bench.vendor.faults.switch(Faults(lost_answers=1))
        calls = bench.control_calls()
        assert await bench.tick() is Outcome.SENT
        assert bench.control_calls() == calls + 1, "nothing more on top of an open question"
        assert bench.states()[before:] == ["unknown"]
        bench.vendor.faults.switch(Faults())
        bench.vendor.after(MINUTE_S)
        await bench.run(HALF_HOUR - 6)
        return bench.vendor.battery_kw, bench.states()[before:]

    battery_kw, states = on_vendor("huawei", story)

    assert battery_kw == pytest.approx(done_kw(wishes)[place], abs=0.01)
    assert states[0] in ("seen", "not_seen")
    assert not {"unknown", "sending"} & set(states)


def test_what_rests_below_a_task_that_has_ended_is_not_forgotten(on_vendor):
    """The task ends by itself, and then the plant idles: following the house has to be said."""

    async def story(bench):
        bench.plan_half_hours([("hold", 0.0), ("charge", 2.0), ("hold", 0.0), ("self_consumption", 0.0)])
        await bench.run(40)
        bench.vendor.after(60 * MINUTE_S)  # nobody is there for an hour
        idle_kw = bench.vendor.battery_kw
        await bench.restart()
        await bench.run(10)
        return idle_kw, bench.vendor.battery_kw

    assert on_vendor("huawei", story) == (pytest.approx(0.0, abs=0.01), pytest.approx(LOAD_KW, abs=0.01))
