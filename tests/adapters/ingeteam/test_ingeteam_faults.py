"""What the adapter makes of each fault of the emulated device, over HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.contract import AdapterError, Channel, ConfigurationError, VendorUnavailableError
from adapters.ingeteam.client import DeviceError
from adapters.ingeteam.emulated_words import SHAPES
from tests.adapters.ingeteam.readings import CLOSE_KW, assert_true, days, options, read, truth
from tests.intents import START


@pytest.mark.parametrize("channel", Channel)
def test_wrong_credentials(device_world, adapt, device, channel):
    world = device_world()

    with pytest.raises(ConfigurationError, match="check user and password"):
        read(adapt, world, device, channel, password="wrong")


def test_a_frozen_device_grows_old(device_world, adapt, device):
    world = device_world()
    world.switch(frozen=True)

    async def session():
        times = []
        async with adapt(world.url, **options(world)) as adapter:
            readings = adapter.watch(device())
            for _ in range(40):
                times.append(
                    ((await anext(readings)).measured_at, world.clock.now(), adapter.frozen_since(Channel.POWER))
                )
                world.step(10)
            world.switch()
            world.step(10)
            async with asyncio.timeout(5):
                while adapter.frozen_since(Channel.POWER) is not None:
                    last = await anext(readings)
            await readings.aclose()
        return times, last

    times, last = asyncio.run(session())

    begin = times[0][1]
    assert all(measured_at == now for measured_at, now, _ in times[:30])
    stopped = begin + dt.timedelta(seconds=290)
    assert {measured_at for measured_at, _, _ in times[30:]} == {stopped}
    assert {since for _, _, since in times[30:]} == {begin}
    assert last.measured_at == world.clock.now()


@pytest.mark.parametrize("channel", Channel)
def test_a_polled_frozen_device_grows_old_too(device_world, adapt, device, channel):
    world = device_world()
    world.switch(frozen=True)

    async def session():
        ages = []
        async with adapt(world.url, **options(world)) as adapter:
            for _ in range(10):
                reading = await adapter.read(device(), channel)
                ages.append((world.clock.now() - reading.measured_at).total_seconds())
                world.step(60)
        return ages

    assert asyncio.run(session()) == [0, 0, 0, 0, 0, 60, 120, 180, 240, 300]


@pytest.mark.parametrize("channel", Channel)
def test_a_living_device_never_seems_frozen(device_world, adapt, device, channel):
    world = device_world()

    async def session():
        async with adapt(world.url, **options(world)) as adapter:
            for _ in range(30):
                assert (await adapter.read(device(), channel)).measured_at == world.clock.now()
                world.step(60)

    asyncio.run(session())


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("numbers_as", ["null", "n/a"])
def test_numbers_that_are_none_are_unknown(device_world, adapt, device, channel, numbers_as):
    world = device_world()
    world.switch(numbers_as=numbers_as)

    reading = read(adapt, world, device, channel)

    assert [reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw, reading.soc] == [None] * 5


def test_numbers_may_be_text(device_world, adapt, device):
    world = device_world()
    world.switch(numbers_as="text")

    assert_true(read(adapt, world, device), world)
    assert read(adapt, world, device, Channel.STATE).soc == pytest.approx(0.5, abs=0.006)


@pytest.mark.parametrize("shape", SHAPES)
def test_malformed_frames_hide_no_reading_and_make_none(device_world, adapt, device, shape):
    world = device_world(shape=shape)
    world.switch(odd_json=True)

    async def session():
        found = []
        async with adapt(world.url, **options(world)) as adapter:
            readings = adapter.watch(device())
            for _ in range(3):
                found.append(await anext(readings))
                world.step(1)
            await readings.aclose()
        return found

    for reading in asyncio.run(session()):
        assert reading.grid_kw == pytest.approx(truth(world).grid_kw, abs=CLOSE_KW)
        assert reading.load_kw == pytest.approx(1.0, abs=CLOSE_KW)


def test_a_busy_device_is_unavailable(device_world, adapt, device):
    world = device_world()
    world.switch(rate_limited=True)

    with pytest.raises(DeviceError):
        read(adapt, world, device, Channel.STATE)
    with pytest.raises(DeviceError):
        days(adapt, world, device, START.date())
    with pytest.raises(VendorUnavailableError):
        read(adapt, world, device)


def test_a_server_in_trouble_is_asked_until_it_recovers(device_world, adapt, device):
    world = device_world()
    world.switch(server_error_share=1.0)
    for channel in Channel:
        with pytest.raises(VendorUnavailableError):
            read(adapt, world, device, channel)
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        if len(pauses) == 4:
            world.switch()
        await asyncio.sleep(0.001)

    async def session():
        async with adapt(world.url, sleep=sleep, **options(world)) as adapter:
            readings = adapter.watch(device())
            reading = await anext(readings)
            await readings.aclose()
            return reading

    assert_true(asyncio.run(session()), world)
    assert pauses == [1, 2, 4, 8]


@pytest.mark.parametrize(
    "faults",
    [
        {"session_stolen": True},
        {"tokens_expired": True},
        {"lost_answers": 3},
        {"commands_ignored": True},
        {"clock_skew_s": 5000.0},
        {"latency_s": 0.02},
        {"apply_delay_s": 5.0},
        {"pv_throttled": True},
    ],
    ids=str,
)
def test_faults_of_sessions_commands_and_clocks_do_not_touch_what_is_read(device_world, adapt, device, faults):
    world = device_world()
    world.switch(**faults)

    assert_true(read(adapt, world, device), world)
    assert read(adapt, world, device, Channel.STATE).measured_at == world.clock.now()


def test_physical_faults_show(device_world, adapt, device):
    world = device_world()
    before = read(adapt, world, device)
    world.switch(battery_sign_flipped=True, power_factor=1000.0, soc_jump=0.2)
    world.step(1)

    after = read(adapt, world, device)

    assert after.battery_kw == pytest.approx(-1000 * before.battery_kw, rel=0.02)
    assert after.soc == pytest.approx(before.soc + 0.2, abs=0.011)


def test_a_wrong_clock_of_the_device_moves_its_history_only(device_world, adapt, device):
    world = device_world()
    world.step(600)
    world.switch(clock_skew_s=3600.0)

    (found,) = days(adapt, world, device, START.date())

    assert found[0].measured_at == START + dt.timedelta(hours=1)


EVERY_FAULT = [
    {"latency_s": 0.3},
    {"server_error_share": 1.0},
    {"rate_limited": True},
    {"odd_json": True},
    {"frozen": True},
    {"numbers_as": "null"},
    {"numbers_as": "n/a"},
]


@pytest.mark.parametrize("faults", EVERY_FAULT, ids=str)
@pytest.mark.parametrize("call", ["POWER", "STATE", "day"])
def test_every_fault_ends_typed_and_soon(device_world, adapt, device, faults, call):
    world = device_world()
    world.switch(**faults)

    async def session():
        async with adapt(world.url, **options(world, timeout_s=0.2, silence_s=0.2)) as adapter, asyncio.timeout(5):
            try:
                if call == "day":
                    return await adapter.day(device(), START.date())
                return await adapter.read(device(), Channel[call])
            except AdapterError as error:
                return error

    outcome = asyncio.run(session())

    assert outcome is not None
    fails = "latency_s" in faults or "server_error_share" in faults or "rate_limited" in faults
    assert isinstance(outcome, AdapterError) == fails
