"""Reading and driving the emulated cloud, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.commissioning import Commissionable
from adapters.contract import (
    Accepted,
    Channel,
    Closable,
    ConfigurationError,
    Discoverable,
    Dispatchable,
    IntentRefusedError,
    Readable,
    Schedulable,
)
from adapters.emulation import EmulatorControl
from adapters.xolta.mapping import State
from tests.adapters.xolta.given import MINUTE


@pytest.mark.parametrize("capability", [Readable, Dispatchable, Schedulable, Discoverable, Commissionable, Closable])
def test_the_adapter_has_each_capability(using, emulate, capability):
    world = emulate()

    async def work(adapter):
        return isinstance(adapter, capability)

    assert using(world.settings(), world.clock.now, work)
    assert world.log.events == []


# --- reading ---


def test_a_reading_is_canonical(using, emulate, device):
    world = emulate(load_kw=6.0, pv_kw=2.5, soc=0.42)
    world.step(130)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    assert reading.measured_at == dt.datetime(2024, 5, 1, 12, 2, tzinfo=dt.UTC)
    assert (reading.battery_kw, reading.pv_kw, reading.load_kw) == pytest.approx((3.5, 2.5, 6.0))
    assert reading.grid_kw == pytest.approx(0.0, abs=1e-6)
    assert reading.soc == pytest.approx(world.device.site.plant.soc, abs=2e-4)
    assert reading.dispatch_active is False


def test_a_hundred_devices_and_both_channels_cost_one_call(using, emulate, device):
    names = tuple(f"D{number}" for number in range(100))
    world = emulate(device_ids=names)

    async def work(adapter):
        return await asyncio.gather(
            *(adapter.read(device(name), channel) for name in names for channel in (Channel.POWER, Channel.STATE))
        )

    readings = using(world.settings(), world.clock.now, work)

    assert len(readings) == 200
    assert None not in readings
    assert len(world.events("call", call="deviceStatus")) == 1
    assert len(world.events("login")) == 1


def test_after_a_minute_the_question_is_asked_again_and_never_before(using, emulate, device):
    world = emulate()

    async def work(adapter):
        ages = []
        for _ in range(30):
            reading = await adapter.read(device(), Channel.POWER)
            ages.append((world.clock.now() - reading.measured_at).total_seconds())
            world.step(20)
        return ages

    ages = using(world.settings(), world.clock.now, work)

    assert len(world.events("call", call="deviceStatus")) == 10
    assert world.events("unfair") == []
    assert max(ages) < 120


def test_a_device_that_the_vendor_does_not_show_has_no_reading(using, emulate, device):
    world = emulate()

    assert using(world.settings(), world.clock.now, lambda a: a.read(device("other"), Channel.POWER)) is None


def test_the_devices_are_listed(using, emulate):
    world = emulate(device_ids=("A", "B"))
    settings = world.settings(commissioned_devices=["B"])

    found = using(settings, world.clock.now, lambda adapter: adapter.devices())

    assert [(one.device_id, one.controllable) for one in found] == [("A", False), ("B", True)]


def test_while_a_device_idles_its_powers_are_unknown_and_it_cannot_be_driven(using, emulate, device, intent):
    world = emulate(load_kw=6.0)
    world.step(120)

    async def work(adapter):
        await adapter.send(adapter.go_to(device(), State.IDLING))
        world.step(120)
        reading = await adapter.read(device(), Channel.POWER)
        with pytest.raises(IntentRefusedError, match="Idling"):
            adapter.translate(intent("charge", 5), device(), None)
        with pytest.raises(IntentRefusedError, match="Idling"):
            adapter.schedule([intent("charge", 5)], device(), None)
        assert adapter.release(device()).releases
        await adapter.send(adapter.go_to(device(), State.RUNNING))
        world.step(120)
        awake = await adapter.read(device(), Channel.POWER)
        return reading, awake, adapter.translate(intent("charge", 5), device(), awake)

    reading, awake, command = using(world.settings(), world.clock.now, work)

    # The cloud still shows the 6 kW from before, under a fresh time stamp.
    assert world.clock.now() - reading.measured_at < 3 * MINUTE
    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw) == (None,) * 4
    assert reading.soc is not None
    assert awake.battery_kw == pytest.approx(6.0)
    assert command.battery_kw == -5


def test_a_reading_without_power_is_no_ground_to_drive_on(using, emulate, device, intent):
    world = emulate()
    world.switch(numbers_as="n/a")

    async def work(adapter):
        reading = await adapter.read(device(), Channel.STATE)
        with pytest.raises(IntentRefusedError, match="no power"):
            adapter.translate(intent("hold"), device(), reading)
        return reading

    assert using(world.settings(), world.clock.now, work).battery_kw is None


# --- driving ---


@pytest.mark.parametrize(("unit", "sign"), [("kW", 1), ("kW", -1), ("W", 1), ("W", -1)])
@pytest.mark.parametrize(
    ("mode", "power_kw", "expected_kw"), [("charge", 7.5, -7.5), ("discharge", 4, 4), ("hold", 0, 0)]
)
def test_an_intent_is_done_whatever_the_vendors_unit_and_sign(
    using, emulate, device, intent, unit, sign, mode, power_kw, expected_kw
):
    world = emulate(unit=unit, sign=sign)

    async def work(adapter):
        command = adapter.translate(intent(mode, power_kw), device(), None)
        receipt = await adapter.send(command)
        world.step(120)
        return command, receipt, await adapter.read(device(), Channel.POWER)

    command, receipt, reading = using(world.settings(), world.clock.now, work)

    assert receipt == Accepted("")
    assert command.battery_kw == expected_kw
    assert not command.releases
    assert reading.battery_kw == pytest.approx(expected_kw, abs=1e-6)
    assert reading.dispatch_active is True
    points = command.payload["Payload"]["setPoint"]
    assert points["1"]["batteryActivePower"] == expected_kw * sign * (1000 if unit == "W" else 1)
    assert list(points) == ["1", "2"]
    assert points["2"] == {"utcTime": "2024-05-01T12:15:00Z", "batteryActivePower": 0.0}


def test_a_command_ends_at_rest_by_itself(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        await adapter.send(adapter.translate(intent("discharge", 5), device(), None))

    using(world.settings(), world.clock.now, work)
    world.step(14 * 60)
    assert world.battery_kw == pytest.approx(5)
    world.step(2 * 60)
    assert world.battery_kw == pytest.approx(0)


def test_letting_go_is_seen(using, emulate, device, intent):
    world = emulate(load_kw=2.0)

    async def work(adapter):
        await adapter.send(adapter.translate(intent("charge", 5), device(), None))
        world.step(60)
        command = adapter.translate(intent("self_consumption"), device(), None)
        assert command == adapter.release(device())
        receipt = await adapter.send(command)
        world.step(120)
        return receipt, await adapter.read(device(), Channel.STATE)

    receipt, reading = using(world.settings(), world.clock.now, work)

    assert receipt == Accepted("")
    assert reading.dispatch_active is False
    assert reading.battery_kw == pytest.approx(2.0)


def test_an_order_just_above_the_rating_is_clamped_and_a_wrong_unit_is_refused(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        assert adapter.translate(intent("charge", 31.0), device(), None).battery_kw == -30
        assert adapter.translate(intent("discharge", 10 / 3), device(), None).battery_kw == 3.333
        for refused in (31.6, 5000.0):
            with pytest.raises(IntentRefusedError, match="rating"):
                adapter.translate(intent("discharge", refused), device(), None)
        with pytest.raises(IntentRefusedError, match="device_id"):
            adapter.translate(intent("hold"), device(" "), None)
        with pytest.raises(IntentRefusedError, match="device_id"):
            adapter.release(device(""))

    using(world.settings(), world.clock.now, work)
    assert world.log.events == []


@pytest.mark.parametrize(
    ("mode", "until", "soc", "expected"),
    [
        ("charge", 0.5, 0.5, 0.0),
        ("charge", 0.6, 0.5, -5.0),
        ("discharge", 0.5, 0.5, 0.0),
        ("discharge", 0.4, 0.5, 5.0),
        ("charge", None, 0.99, -5.0),
    ],
)
def test_a_bound_on_the_charge_that_is_reached_becomes_rest(using, emulate, device, intent, mode, until, soc, expected):
    world = emulate(soc=soc)

    async def work(adapter):
        latest = await adapter.read(device(), Channel.STATE)
        return adapter.translate(intent(mode, 5, until_soc=until), device(), latest)

    assert using(world.settings(), world.clock.now, work).battery_kw == expected


@pytest.mark.parametrize(
    "changes",
    [{"commissioned": False}, {"commissioned_devices": ["another"]}],
)
def test_control_is_off_until_commissioned(using, emulate, device, intent, changes):
    world = emulate()

    async def work(adapter):
        for mode, power in (("charge", 1), ("discharge", 1), ("hold", 0), ("self_consumption", 0)):
            with pytest.raises(IntentRefusedError, match="tidewatt devices commission"):
                adapter.translate(intent(mode, power), device(), None)
            with pytest.raises(IntentRefusedError, match="tidewatt devices commission"):
                adapter.schedule([intent(mode, power)], device(), None)
        assert adapter.release(device()).releases

    using(world.settings(**changes), world.clock.now, work)
    assert world.log.events == []


def test_commissioned_without_what_was_found_is_no_setting(using, emulate):
    world = emulate()
    for missing in ("setpoint_unit", "setpoint_sign"):
        with pytest.raises(ConfigurationError, match="setpoint_unit and setpoint_sign"):
            using(world.settings(**{missing: None}), world.clock.now, None)


def test_the_emulator_is_driven_over_http_too(emulate):
    world = emulate()

    async def session():
        control = EmulatorControl(world.url)
        try:
            await control.step_to(world.clock.now() + MINUTE)
            await control.switch(frozen=True)
            state = await control.state()
            await control.stop()
            return state
        finally:
            await control.close()

    state = asyncio.run(session())
    assert state["systems"]["BAT-80-0001"]["mode"] == "SelfConsumption"
    assert world.faults.now.frozen
    assert world.cloud.stopped
