"""Commissioning on the emulated battery: unit and sign are found on the device, and it is always let go of."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import replace

import pytest

from adapters.commissioning import CommissioningRefusedError, commission
from adapters.contract import Accepted, Rejected, Unknown
from adapters.xolta.adapter import create

WORDS = [("kW", 1), ("kW", -1), ("W", 1), ("W", -1)]
UNCOMMISSIONED = {"commissioned": None, "setpoint_unit": None, "setpoint_sign": None}


class Breaking:
    """An adapter whose next calls go wrong as a test wants it."""

    def __init__(self, adapter, receipts=(), on_read=None):
        self._adapter, self._receipts, self._on_read, self.sent = adapter, list(receipts), on_read, []

    def __getattr__(self, name):
        return getattr(self._adapter, name)

    async def read_back(self, device):
        if self._on_read is not None and self.sent:
            await self._on_read()
        return await self._adapter.read_back(device)

    async def send(self, command):
        self.sent.append(command)
        receipt = self._receipts.pop(0) if self._receipts else None
        if isinstance(receipt, BaseException):
            raise receipt
        return receipt if receipt is not None else await self._adapter.send(command)


@pytest.fixture
def run(using, device):
    """Commission the emulated device: `run(world, step_kw=2.0, ...)`."""

    def commission_it(world, step_kw=2.0, **options):
        async def work(adapter):
            return await commission(adapter, device(), world.clock.now, world.sleep, step_kw, **options)

        return using(world.settings(**UNCOMMISSIONED), world.clock.now, work)

    return commission_it


def is_let_go(world):
    world.step(60)
    return world.cloud.state()["systems"]["BAT-80-0001"]["released"]


@pytest.mark.parametrize("load_kw", [0.3, 2.0, 1.1])
@pytest.mark.parametrize(("unit", "sign"), WORDS)
def test_unit_and_sign_are_found(run, emulate, unit, sign, load_kw):
    world = emulate(unit=unit, sign=sign, load_kw=load_kw)
    world.step(60)

    result = run(world)

    assert result.proved, result.reason
    assert (result.unit, result.sign) == (unit, sign)
    assert result.released
    assert is_let_go(world)
    # No number was ever one that would be large if it were in kW before W was shown.
    numbers = [figure.sent for figure in result.figures]
    assert abs(numbers[0]) <= 2.0
    assert len(numbers) == (2 if unit == "kW" else 3)
    assert world.events("unfair") == []


@pytest.mark.parametrize(("unit", "sign"), WORDS)
def test_a_battery_that_rests_at_just_the_first_number_in_the_small_unit(run, emulate, unit, sign):
    world = emulate(unit=unit, sign=sign, load_kw=0.002)
    world.step(60)

    result = run(world, step_kw=2.0)

    assert (result.unit, result.sign) == (unit, sign), result.reason
    assert result.figures[0].sent == pytest.approx(1.4)


def test_what_is_found_makes_the_device_drivable(run, using, emulate, device, intent):
    world = emulate(unit="W", sign=-1)
    world.step(60)
    result = run(world)
    found = {"commissioned": True, "setpoint_unit": result.unit, "setpoint_sign": result.sign}
    begin_min = (world.clock.now() - intent("hold").not_before).total_seconds() / 60

    async def work(adapter):
        await adapter.send(adapter.translate(intent("charge", 8, begin_min, begin_min + 15), device(), None))

    using(world.settings(**found), world.clock.now, work)
    world.step(60)
    assert world.battery_kw == pytest.approx(-8)


@pytest.mark.parametrize(("unit", "sign"), WORDS)
def test_the_battery_is_never_driven_harder_than_the_step(run, emulate, unit, sign, monkeypatch):
    world = emulate(unit=unit, sign=sign, load_kw=0.2)
    world.step(60)
    powers = []
    sample = world.device._sample
    monkeypatch.setattr(world.device, "_sample", lambda at: (powers.append(world.battery_kw), sample(at)))

    assert run(world).proved
    assert max(map(abs, powers)) <= 2.0 + 1e-6
    assert max(powers) > 1.0
    assert min(powers) < -1.0


def test_a_device_that_ignores_commands_proves_nothing(run, emulate):
    world = emulate(load_kw=1.0)
    world.step(60)
    world.switch(commands_ignored=True)

    result = run(world)

    assert not result.proved
    assert (result.unit, result.sign) == (None, None)
    assert "sent 2;" in result.reason
    assert "+1 kW" in result.reason
    assert result.released


def test_a_device_that_happens_to_do_the_step_already_proves_nothing(run, emulate):
    world = emulate(load_kw=2.0)
    world.step(60)
    world.switch(commands_ignored=True)

    assert not run(world, 2.0).proved


def test_a_house_that_comes_to_draw_just_the_step_proves_nothing(emulate, using, device):
    """The device ignores commands, and while it is watched the load becomes what was asked for."""
    world = emulate(load_kw=0.4)
    world.step(60)
    world.switch(commands_ignored=True)
    house = world.device.site.house

    async def sleep(seconds):
        house._load = [2.0, 2.0]
        world.step(seconds)

    class WithoutMode(Breaking):
        """A vendor that does not say whether somebody drives."""

        async def read_back(self, device):
            return replace(await super().read_back(device), driven=None)

    async def work(adapter):
        return await commission(WithoutMode(adapter), device(), world.clock.now, sleep, 2.0)

    result = using(world.settings(**UNCOMMISSIONED), world.clock.now, work)

    assert not result.proved
    assert [figure.sent for figure in result.figures] == [2.0, -1.4]


def test_a_tiny_set_point_that_is_not_ours_does_not_make_the_number_grow(using, emulate, device):
    """A house that draws two watts, and a device that ignores commands: nothing passes for W, no number grows."""
    world = emulate(load_kw=0.002)
    world.step(60)
    world.switch(commands_ignored=True)

    class WithoutMode(Breaking):
        async def read_back(self, device):
            return replace(await super().read_back(device), driven=None)

    async def work(adapter):
        told = await commission(adapter, device(), world.clock.now, world.sleep, 2.0)
        return told, await commission(WithoutMode(adapter), device(), world.clock.now, world.sleep, 2.0)

    for result in using(world.settings(**UNCOMMISSIONED), world.clock.now, work):
        assert not result.proved
        assert [figure.sent for figure in result.figures] == [1.4]


def test_a_set_point_under_the_vendors_own_mode_is_not_ours(using, emulate, device):
    world = emulate(load_kw=0.4)
    world.step(60)
    world.switch(commands_ignored=True)
    house = world.device.site.house

    async def sleep(seconds):
        house._load = [0.002, 0.002]
        world.step(seconds)

    async def work(adapter):
        return await commission(adapter, device(), world.clock.now, sleep, 2.0)

    result = using(world.settings(**UNCOMMISSIONED), world.clock.now, work)
    assert [figure.sent for figure in result.figures] == [2.0]


@pytest.mark.parametrize("late_s", [150, 400])
def test_a_late_device_is_waited_for(run, emulate, late_s):
    world = emulate(unit="W", sign=-1)
    world.step(60)
    world.switch(apply_delay_s=late_s)

    result = run(world)

    assert result.proved, result.reason
    assert (result.unit, result.sign) == ("W", -1)
    assert result.released


def test_the_wait_has_an_end(run, emulate):
    world = emulate()
    world.step(60)
    world.switch(apply_delay_s=5000)
    begun = world.clock.now()

    result = run(world, longest_wait_s=300)

    assert not result.proved
    assert "after 300 s" in result.reason
    assert (world.clock.now() - begun).total_seconds() <= 400
    assert result.released


@pytest.mark.parametrize("unit", ["kW", "W"])
def test_a_third_of_the_power_is_no_proof(run, emulate, unit):
    world = emulate(unit=unit, load_kw=0.3)
    world.step(60)
    world.switch(applied_share=1 / 3)

    result = run(world)

    assert not result.proved
    assert "the set-point shows +2 kW" in result.reason
    assert "the battery +0.6667 kW" in result.reason
    assert is_let_go(world)


def test_a_command_that_lapses_at_once_proves_nothing(run, emulate):
    world = emulate(load_kw=0.3)
    world.step(60)
    world.switch(lapses_after_s=15)

    assert not run(world).proved


@pytest.mark.parametrize(
    ("world_words", "before", "message"),
    [
        ({"soc": 0.15}, {}, "soc: 0.15"),
        ({"soc": 0.85}, {}, "soc: 0.85"),
        ({}, {"frozen": True}, "600 s old"),
        ({}, {"numbers_as": "n/a"}, "unknown"),
    ],
)
def test_it_does_not_start_from_a_bad_state(run, emulate, world_words, before, message):
    world = emulate(load_kw=0.0, **world_words)
    world.step(60)
    world.switch(**before)
    world.step(600)

    with pytest.raises(CommissioningRefusedError, match=message):
        run(world)

    assert world.events("command") == []


@pytest.mark.parametrize("step_kw", [0.0, -1.0, 0.4, 15.1, 1000.0, float("nan")])
def test_the_step_is_small_and_seen(run, emulate, step_kw):
    world = emulate()
    world.step(60)

    with pytest.raises(CommissioningRefusedError, match="step_kw"):
        run(world, step_kw)

    assert world.log.events == []


def test_it_does_not_start_while_somebody_drives_or_the_device_rests(run, using, emulate, device, intent):
    world = emulate()

    async def drive(adapter):
        await adapter.send(adapter.translate(intent("charge", 5, 0, 600), device(), None))

    using(world.settings(), world.clock.now, drive)
    world.step(120)
    with pytest.raises(CommissioningRefusedError, match="somebody drives"):
        run(world)
    assert not world.cloud.state()["systems"]["BAT-80-0001"]["released"]

    world.device.go_to_state(world.device.state.IDLING)
    world.step(120)
    with pytest.raises(CommissioningRefusedError, match="running"):
        run(world)


def test_a_refused_number_ends_it(run, emulate):
    world = emulate()
    world.step(60)
    world.switch(rate_limited=True)

    # Even telemetry is refused then.
    with pytest.raises(Exception, match="limit of calls"):
        run(world)
    assert world.events("command") == []


@pytest.mark.parametrize(
    ("receipts", "released", "calls"),
    [
        ([Rejected("no")], True, 2),
        ([Rejected("no"), Unknown("lost"), Rejected("busy", True)], True, 4),
        ([Rejected("no"), *[Unknown("lost")] * 5], False, 6),
    ],
)
def test_letting_go_is_tried_until_it_is_taken(using, emulate, device, receipts, released, calls):
    world = emulate()
    world.step(60)

    async def work(adapter):
        breaking = Breaking(adapter, receipts)
        result = await commission(breaking, device(), world.clock.now, world.sleep, 2.0)
        return result, breaking.sent

    result, sent = using(world.settings(**UNCOMMISSIONED), world.clock.now, work)

    assert not result.proved
    assert "refused: no" in result.reason
    assert result.released is released
    assert ("release it by hand" in result.reason) is not released
    assert len(sent) == calls
    assert all(command.releases for command in sent[1:])


def test_an_error_under_way_lets_go_and_comes_out(using, emulate, device):
    world = emulate()
    world.step(60)

    async def fail():
        raise RuntimeError("torn")

    async def work(adapter):
        breaking = Breaking(adapter, on_read=fail)
        with pytest.raises(RuntimeError, match="torn"):
            await commission(breaking, device(), world.clock.now, world.sleep, 2.0)
        stuck = Breaking(adapter, [Accepted(), *[Rejected("no")] * 9], on_read=fail)
        with pytest.raises(RuntimeError) as caught:
            await commission(stuck, device(), world.clock.now, world.sleep, 2.0)
        return breaking.sent, caught.value

    sent, error = using(world.settings(**UNCOMMISSIONED), world.clock.now, work)

    assert [command.releases for command in sent] == [False, True]
    assert "release it by hand" in error.__notes__[0]


@pytest.mark.parametrize("cancellations", [1, 3])
def test_a_cancellation_under_way_lets_go_before_it_is_passed_on(using, emulate, device, cancellations):
    world = emulate()
    world.step(60)
    under_way = asyncio.Event()

    async def sleep(seconds):
        world.step(seconds)
        under_way.set()
        await asyncio.sleep(0.05)

    async def work(adapter):
        task = asyncio.create_task(commission(adapter, device(), world.clock.now, sleep, 2.0))
        await under_way.wait()
        for _ in range(cancellations):
            task.cancel()
            await asyncio.sleep(0)
        with contextlib.suppress(asyncio.CancelledError):
            await task
        assert task.cancelled()

    using(world.settings(**UNCOMMISSIONED), world.clock.now, work)

    assert [entry["name"] for entry in world.events("command")] == [
        "GoToMode_ExternalControl",
        "GoToMode_SelfConsumption",
    ]
    assert is_let_go(world)


def test_a_telemetry_gap_under_way_is_sat_out(run, emulate):
    world = emulate(unit="kW", sign=-1)
    world.step(60)
    begin = world.clock.now()
    world.device.lost_uploads.append((begin, begin.replace(minute=begin.minute + 5)))

    result = run(world)

    assert (result.unit, result.sign) == ("kW", -1)


def test_creating_contacts_nobody(emulate):
    world = emulate()
    create(world.settings(), world.clock.now)
    assert world.log.events == []
