"""The adapter against the emulated device over HTTP: every call, every shape; and what the device refuses."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import urllib.error
import urllib.request

import pytest

from adapters.contract import Channel
from adapters.emulation import EmulatedClock, EmulatorControl, EventLog, FaultBox
from adapters.ingeteam.adapter import create
from adapters.ingeteam.client import DeviceError
from adapters.ingeteam.emulated_words import MODELS, SHAPES
from adapters.ingeteam.emulator import build
from engine import InputError
from tests.adapters.ingeteam.readings import CLOSE_KW, assert_true, days, options, read, truth
from tests.intents import START

# --- the account and the address ---


def test_the_account_of_an_emulated_device_builds_an_adapter(device_world, device):
    world = device_world()

    async def session():
        adapter = create({"base_url": world.url, **world.cloud.account()}, world.clock.now)
        try:
            return await adapter.read(device(), Channel.POWER)
        finally:
            await adapter.close()

    assert_true(asyncio.run(session()), world)


def test_every_device_has_credentials_of_its_own(device_world):
    assert device_world().cloud.account() != device_world().cloud.account()


def test_a_device_is_one_site(device_world):
    world = device_world()
    rest = (EmulatedClock(START, None), EventLog(), FaultBox())

    assert build([world.site], *rest).state()["systems"].keys() == {"ING1"}
    for sites in ([], [world.site, world.site]):
        with pytest.raises(InputError, match="one for each site"):
            build(sites, *rest)


# --- the stream ---


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("names_events", [True, False])
@pytest.mark.parametrize(("load_kw", "pv_kw"), [(1.0, 4.0), (2.5, 0.5), (9.0, 0.0), (0.5, 12.0)])
def test_every_shape_of_event_says_the_same(device_world, adapt, device, shape, names_events, load_kw, pv_kw):
    world = device_world(load_kw=load_kw, pv_kw=pv_kw, shape=shape, names_events=names_events)

    reading = read(adapt, world, device)

    assert_true(reading, world)
    assert reading.channel is Channel.POWER
    balance = reading.grid_kw + reading.pv_kw + reading.battery_kw
    assert reading.load_kw == pytest.approx(balance, abs=0.003)


def test_a_battery_that_is_not_there_is_unknown_and_never_0(device_world, adapt, device):
    world = device_world(has_battery=False)

    reading = read(adapt, world, device)

    assert (reading.battery_kw, reading.soc) == (None, None)
    assert reading.grid_kw == pytest.approx(truth(world).grid_kw, abs=CLOSE_KW)
    assert reading.load_kw == pytest.approx(1.0, abs=CLOSE_KW)


def test_once_the_ems_has_said_so_a_battery_that_is_not_there_is_unknown_on_both_channels(device_world, adapt, device):
    world = device_world(has_battery=False)

    async def session():
        async with adapt(world.url, **options(world)) as adapter:
            return [await adapter.read(device(), channel) for channel in (Channel.STATE, Channel.POWER, Channel.STATE)]

    unasked, _, state = asyncio.run(session())

    assert (unasked.battery_kw, unasked.soc) == (0.0, 0.0), "the properties alone cannot tell"
    assert (state.battery_kw, state.soc) == (None, None)
    assert state.pv_kw is not None


def test_an_empty_battery_is_empty_and_not_unknown(device_world, adapt, device):
    reading = read(adapt, device_world(pv_kw=1.0, soc=0.0), device)

    assert (reading.battery_kw, reading.soc) == (0.0, 0.0)


def test_a_watched_device_gives_one_reading_per_step(device_world, adapt, device):
    world = device_world()

    async def session():
        found = []
        async with adapt(world.url, **options(world)) as adapter:
            readings = adapter.watch(device())
            found.append(await anext(readings))
            for _ in range(5):
                world.step(1)
                found.append(await anext(readings))
            await readings.aclose()
        return found

    found = asyncio.run(session())

    assert [reading.measured_at for reading in found] == [
        START + dt.timedelta(seconds=10 + place) for place in range(6)
    ]


def test_a_stream_is_closed_when_nobody_watches(device_world, adapt, device):
    world = device_world()

    async def session():
        async with adapt(world.url, **options(world)) as adapter:
            readings = adapter.watch(device())
            await anext(readings)
            assert world.cloud.streams == 1
            await readings.aclose()
            async with asyncio.timeout(5):
                while world.cloud.streams:
                    await asyncio.sleep(0.01)

    asyncio.run(session())


def test_a_stream_ends_when_the_device_stops(device_world, adapt, device):
    world = device_world()

    async def session():
        async with adapt(world.url, **options(world)) as adapter:
            await anext(adapter.watch(device()))
            world.cloud.stop()
            async with asyncio.timeout(5):
                while world.cloud.streams:
                    await asyncio.sleep(0.01)

    asyncio.run(session())


def test_heart_beats_of_a_standing_clock_do_not_keep_the_stream(device_world, adapt, device):
    world = device_world()
    pauses = []

    async def sleep(seconds):
        pauses.append(seconds)
        await asyncio.sleep(0.01)

    async def session():
        async with adapt(world.url, sleep=sleep, **options(world, silence_s=0.3)) as adapter:
            readings = adapter.watch(device())
            await anext(readings)
            second = await anext(readings)
            await readings.aclose()
            return second

    assert_true(asyncio.run(session()), world)
    assert pauses == [1]


# --- properties ---


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("odd", [False, True])
def test_properties_of_every_inverter(device_world, adapt, device, model, odd):
    world = device_world(model=model, load_kw=2.0, pv_kw=0.5)
    world.switch(odd_json=odd)

    reading = read(adapt, world, device, Channel.STATE)

    assert (reading.channel, reading.measured_at) == (Channel.STATE, world.clock.now())
    assert reading.pv_kw == pytest.approx(0.5, abs=0.001)
    assert (reading.grid_kw, reading.load_kw) == (None, None), "the inverter's meter is not the grid's"
    assert reading.battery_kw == (pytest.approx(1.5, abs=0.001) if model == "storage 1Play" else None)
    assert reading.soc == (pytest.approx(0.5, abs=0.006) if model.startswith("storage") else None)


def test_flags_with_names_and_without(device_world, connect):
    world = device_world(model="1Play")

    async def state(**faults):
        world.switch(**faults)
        async with connect(world.url, **options(world)) as client:
            return await client.get_properties()

    plain, odd = asyncio.run(state()), asyncio.run(state(odd_json=True))

    assert (plain.flags["WarningCode"].names, plain.flags["WarningCode"].bits) == ((), (5,))
    assert odd.flags["AlarmCode"].names == ("Alarm of the device's own naming",)
    assert odd.flags["AlarmCode"].bits == (0,)
    assert odd.numbers["WorkingHours"] == plain.numbers["WorkingHours"] == 28251


# --- the datalogger ---


@pytest.mark.parametrize("shape", SHAPES)
def test_an_hour_of_the_datalogger(device_world, adapt, device, shape):
    world = device_world(shape=shape, load_kw=2.0, pv_kw=0.5)
    world.step(3600)

    (found,) = days(adapt, world, device, START.date())

    assert [reading.measured_at for reading in found] == [
        START + dt.timedelta(minutes=3 * place) for place in range(21)
    ]
    for reading in found[1:]:
        assert reading.grid_kw == pytest.approx(0.0, abs=CLOSE_KW)
        assert reading.pv_kw == pytest.approx(0.5, abs=CLOSE_KW)
        assert reading.load_kw == pytest.approx(2.0, abs=CLOSE_KW)
        assert reading.battery_kw is None
        assert 0.3 < reading.soc < 0.51


def test_the_battery_by_flows_is_had_on_demand(device_world, adapt, device):
    world = device_world(load_kw=2.0, pv_kw=0.5)
    world.step(3600)

    (found,) = days(adapt, world, device, START.date(), battery_from_flows=True)

    assert found[-1].battery_kw == pytest.approx(1.5, abs=CLOSE_KW)


@pytest.mark.parametrize(
    ("begin", "day", "count"),
    [
        (dt.datetime(2024, 10, 26, 21, 57, tzinfo=dt.UTC), dt.date(2024, 10, 27), 500),
        (dt.datetime(2024, 3, 30, 22, 57, tzinfo=dt.UTC), dt.date(2024, 3, 31), 460),
    ],
    ids=["the long day", "the short day"],
)
def test_a_whole_day_on_which_the_clocks_change(device_world, adapt, device, begin, day, count):
    world = device_world(start=begin, time_zone="Europe/Madrid")
    world.step(26 * 3600)

    before, found, after = days(adapt, world, device, day - dt.timedelta(days=1), day, day + dt.timedelta(days=1))

    first = begin + dt.timedelta(minutes=3)
    assert [reading.measured_at for reading in found] == [
        first + dt.timedelta(minutes=3 * place) for place in range(count)
    ]
    assert before[-1].measured_at == begin
    assert after[0].measured_at == found[-1].measured_at + dt.timedelta(minutes=3)


def test_a_day_that_the_device_has_forgotten_is_an_error(device_world, adapt, device):
    world = device_world()

    with pytest.raises(DeviceError):
        days(adapt, world, device, START.date() - dt.timedelta(days=60))
    assert days(adapt, world, device, START.date() - dt.timedelta(days=59)) == [[]]


# --- what the device refuses ---


def ask(world, method, path, body=b"", credentials=None):
    account = world.cloud.account()
    pair = credentials or f"{account['username']}:{account['password']}"
    headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
    request = urllib.request.Request(world.url + path, body or None, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


PROPERTIES = "/inverter/properties/read/1"


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b"{", b'{"readdb": false}', b'{"readdb": "true"}', b"null"])
def test_a_read_that_does_not_ask_for_the_cache_is_an_error(device_world, body):
    assert ask(device_world(), "POST", PROPERTIES, body) == (200, {"code": "error"})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", PROPERTIES),
        ("GET", "/ems/datalogger/samples/20240501/3"),
        ("POST", "/system/events/sse/stream"),
    ],
)
def test_the_other_method_is_not_supported(device_world, method, path):
    assert ask(device_world(), method, path)[0] == 405


@pytest.mark.parametrize("path", ["/inverter/properties/read/2", "/inverter/holding/write/1"])
def test_what_the_document_does_not_have_is_not_there(device_world, path):
    assert ask(device_world(), "POST", path, b"{}")[0] == 404


@pytest.mark.parametrize("path", ["20240532/3", "2024501/3", "1/3", "20240501/1", "2024-05-01/3", "soon/3"])
def test_a_day_that_is_none_is_an_error(device_world, path):
    assert ask(device_world(), "POST", f"/ems/datalogger/samples/{path}") == (200, {"code": "error"})


@pytest.mark.parametrize("credentials", ["nobody:nothing", ":", "installer:installer"])
def test_nobody_else_is_let_in(device_world, credentials):
    world = device_world()

    for method, path in (("POST", PROPERTIES), ("GET", "/system/events/sse/stream")):
        assert ask(world, method, path, credentials=credentials)[0] == 401
    assert "call" not in {event["event"] for event in world.log.events}


def test_neither_log_nor_state_has_the_password(device_world, adapt, device):
    world = device_world()
    read(adapt, world, device)

    seen = json.dumps(world.log.events) + json.dumps(world.cloud.state())
    assert world.cloud.account()["password"] not in seen


def test_it_is_driven_like_every_emulator(device_world):
    world = device_world()

    async def session():
        control = EmulatorControl(world.url)
        await control.step_to(START + dt.timedelta(minutes=5))
        state = await control.state()
        await control.switch(frozen=True)
        await control.stop()
        await control.close()
        return state

    state = asyncio.run(session())

    assert state["now"] == "2024-05-01T12:05:00+00:00"
    assert state["systems"]["ING1"]["released"] is True
    assert world.faults.now.frozen
    assert world.cloud.stopped
