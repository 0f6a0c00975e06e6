"""Each fault of the emulated cloud ends in the right outcome; clocks that part; lists that come in small pages."""

from __future__ import annotations

import asyncio
import datetime as dt
import logging

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from adapters.alphaess import mapping
from adapters.alphaess.adapter import create
from adapters.alphaess.client import AlphaEssClient
from adapters.alphaess.emulator import CADENCES_S, build
from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    ConfigurationError,
    Discoverable,
    Found,
    Rejected,
    VendorUnavailableError,
)
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, House
from engine import Battery
from engine.intent import Intent, IntentMode
from engine.plant import Plant

SERIAL_NUMBER = "AL0000000000001"


def intent(world, mode, power_kw=0.0, until_soc=None):
    now = world.clock.now()
    return Intent(mode, power_kw, now, now + dt.timedelta(minutes=15), until_soc)


@pytest.fixture
def session(adapt):
    """Run a coroutine with an open adapter for a world."""

    def run(world, work, **changes):
        async def main():
            async with adapt(world.url, world.clock.now, **changes) as adapter:
                return await work(adapter)

        return asyncio.run(main())

    return run


@pytest.fixture(scope="module")
def account_settings(settings):
    return settings()


def discharge(world, adapter, device, power_kw=2.0):
    return adapter.send(adapter.translate(intent(world, IntentMode.DISCHARGE, power_kw, 0.1), device(), None))


# --- the builder ---


def test_the_builder_gives_an_account_that_the_adapter_takes(loopback_server, start, device):
    log, faults, clock = EventLog(), FaultBox(), EmulatedClock(start, None)
    plant = Plant(Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5), 0.5)
    site = EmulatedSite(SERIAL_NUMBER, plant, House.constant(1.0, 0.0), start, CADENCES_S, log, faults)
    cloud, other = build([site], clock, log, faults), build([], clock, log, faults)
    loopback_server.app = cloud.app

    async def session():
        adapter = create({"base_url": loopback_server.url, **cloud.account()}, clock.now)
        try:
            return await adapter.read(device(), Channel.POWER), await adapter.read(device(), Channel.STATE)
        finally:
            await adapter.close()

    power, state = asyncio.run(session())

    assert (power.battery_kw, state.soc) == (pytest.approx(0.001, abs=0.001), 0.5)
    assert cloud.account()["api_secret"] != other.account()["api_secret"]


# --- faults ---


@pytest.mark.parametrize("fault", ["session_stolen", "tokens_expired"])
def test_a_session_that_is_lost_for_good_is_given_up_after_one_new_login(emulate, session, device, fault):
    world = emulate()

    async def work(adapter):
        await adapter.read(device(), Channel.POWER)
        world.switch(**{fault: True})
        with pytest.raises(VendorUnavailableError, match="ReturnCode 14 "):
            await adapter.read(device(), Channel.POWER)
        logins = len(world.events("login"))
        receipt = await discharge(world, adapter, device)
        world.switch()
        return logins, receipt, await adapter.read(device(), Channel.POWER)

    logins, receipt, reading = session(world, work)

    assert logins == 2
    assert isinstance(receipt, Rejected)
    assert receipt.retryable
    assert reading.battery_kw is not None
    assert world.log.count("started", SERIAL_NUMBER) == 0


@pytest.mark.parametrize("skew_s", [-200, -45, 45, 200])
def test_a_cloud_whose_clock_is_off_is_served_in_its_own_time(emulate, session, device, skew_s):
    world = emulate()
    world.switch(clock_skew_s=skew_s)

    async def work(adapter):
        return await discharge(world, adapter, device), adapter.clock_offset_s, adapter.clock_alarm

    receipt, offset_s, alarm = session(world, work)

    assert receipt == Accepted()
    assert offset_s == pytest.approx(skew_s, abs=1)
    assert alarm


@pytest.mark.parametrize(
    ("skew_s", "knows_the_vendor"),
    [(-400, False), (-250, False), (250, False), (400, False), (-302, True), (302, True)],
)
def test_beyond_the_bound_batteries_are_read_and_released_only(emulate, session, device, skew_s, knows_the_vendor):
    """Also where a session is open and only the refused time stamp tells that the clocks have parted."""
    world = emulate()

    async def work(adapter):
        if knows_the_vendor:
            await adapter.read(device(), Channel.POWER)
        world.switch(clock_skew_s=skew_s)
        receipts = await discharge(world, adapter, device), await adapter.send(adapter.release(device()))
        return receipts, await adapter.read(device(), Channel.POWER)

    (driven, released), reading = session(world, work)

    assert isinstance(driven, Rejected)
    assert "clock" in driven.reason
    assert released == Accepted()
    assert reading.battery_kw is not None
    assert world.log.count("started", SERIAL_NUMBER) == 0


@pytest.mark.parametrize("delay_s", [0, 30])
def test_a_dispatch_applies_as_late_as_the_fault_says_and_lapses_as_ever(emulate, delay_s):
    world = emulate()
    world.login()
    world.switch(apply_delay_s=delay_s)
    world.dispatch(2.0)

    if delay_s:
        world.step(delay_s - 1)
        assert world.plant.sample.battery_kw == 1.0
        world.step(1)
    world.step(5)
    assert world.plant.sample.battery_kw == 2.0
    world.step(200)
    assert [event["at"] for event in world.events("lapsed")] == [world.at(90)]


def test_a_dispatch_that_reaches_the_battery_after_its_lease_does_nothing(emulate):
    world = emulate()
    world.login()
    world.switch(apply_delay_s=120)
    world.dispatch(-2.0)

    seen = []
    for _ in range(20):
        world.step(10)
        seen.append(world.plant.sample.battery_kw)

    assert set(seen) == {1.0}


def test_a_battery_that_gives_less_shows_it(emulate, session, device):
    world = emulate()
    world.switch(applied_share=0.5)

    async def work(adapter):
        await discharge(world, adapter, device)
        world.step(20)
        return await adapter.read(device(), Channel.POWER)

    assert session(world, work).battery_kw == 1.0


def test_an_ignored_dispatch_is_accepted_and_never_seen(emulate, session, device):
    world = emulate()
    world.switch(commands_ignored=True)

    async def work(adapter):
        receipt = await discharge(world, adapter, device)
        world.step(300)
        return receipt, await adapter.read(device(), Channel.STATE)

    receipt, reading = session(world, work)

    assert receipt == Accepted()
    assert (reading.battery_kw, reading.dispatch_active) == (1.0, False)
    assert world.events("lapsed") == []


def test_a_stop_that_is_ignored_leaves_the_battery_driven_until_its_lease_ends(emulate):
    world = emulate()
    world.login()
    world.dispatch(2.0)
    world.step(20)
    world.switch(commands_ignored=True)
    world.stop()

    world.step(10)
    assert world.plant.sample.battery_kw == 2.0
    world.step(70)
    assert [event["at"] for event in world.events("lapsed")] == [world.at(90)]


def test_a_lease_may_be_made_shorter(emulate):
    world = emulate()
    world.login()
    world.switch(lapses_after_s=30)
    world.dispatch(2.0)
    world.step(60)

    assert [event["at"] for event in world.events("lapsed")] == [world.at(35)]


def test_a_frozen_cloud_repeats_its_last_rows_with_their_times(emulate, session, device):
    world = emulate()
    world.step(600)
    frozen_at = world.clock.now()
    world.switch(frozen=True)
    world.step(900)

    async def work(adapter):
        return [await adapter.read(device(), channel) for channel in Channel]

    assert [reading.measured_at for reading in session(world, work)] == [frozen_at] * 2


@pytest.mark.parametrize(("written", "known"), [("text", True), ("null", False), ("n/a", False)])
def test_numbers_may_be_texts_or_missing(emulate, session, device, written, known):
    world = emulate()
    world.switch(numbers_as=written)

    async def work(adapter):
        return await adapter.read(device(), Channel.STATE)

    reading = session(world, work)

    assert (reading.soc, reading.charge_limit_kw) == ((0.5, 5.0) if known else (None, None))
    assert (reading.battery_kw is not None) == (reading.load_kw is not None) == known


def test_names_in_the_other_case_are_the_same_names(emulate, session, device):
    world = emulate()
    world.switch(odd_json=True)

    async def work(adapter):
        receipt = await discharge(world, adapter, device)
        return receipt, await adapter.read(device(), Channel.STATE), await adapter.devices()

    receipt, reading, devices = session(world, work)

    assert receipt == Accepted()
    assert reading.soc == 0.5
    assert [found.device_id for found in devices] == [SERIAL_NUMBER]


@pytest.mark.parametrize(
    ("fault", "name", "value"),
    [
        ({"battery_sign_flipped": True}, "battery_kw", -1.0),
        ({"power_factor": 1000}, "battery_kw", 1000.0),
        ({"soc_jump": 0.25}, "soc", pytest.approx(0.742, abs=0.001)),
    ],
)
def test_wrong_readings_are_wrong_in_telemetry_and_not_in_the_plant(emulate, session, device, fault, name, value):
    world = emulate()
    world.switch(**fault)
    world.step(300)

    async def work(adapter):
        return await adapter.read(device(), Channel.STATE)

    assert getattr(session(world, work), name) == value
    assert world.plant.sample.battery_kw == 1.0


def test_a_cloud_that_is_down_is_a_typed_error_and_a_command_is_not_known(emulate, session, device):
    world = emulate()

    async def work(adapter):
        await adapter.read(device(), Channel.POWER)
        world.switch(server_error_share=1)
        with pytest.raises(AdapterError):
            await adapter.read(device(), Channel.POWER)
        return await discharge(world, adapter, device)

    assert "HTTP 503" in session(world, work).reason


# --- clocks that part ---


def test_the_clock_alarm_is_logged_once_until_the_clocks_have_met_again(emulate, session, device, caplog):
    world = emulate()
    caplog.set_level(logging.WARNING, logger="adapters")
    counts = []

    async def work(adapter):
        assert adapter.clock_offset_s is None
        for skew_s in (0, 29, 32, 60, 0, -32, -60):
            world.switch(clock_skew_s=skew_s)
            await adapter.read(device(), Channel.POWER)
            counts.append((skew_s, sum("clock" in record.message for record in caplog.records), adapter.clock_alarm))

    session(world, work)

    assert counts == [
        (0, 0, False),
        (29, 0, False),
        (32, 1, True),
        (60, 1, True),
        (0, 1, False),
        (-32, 2, True),
        (-60, 2, True),
    ]


@pytest.mark.parametrize("channel", Channel)
@pytest.mark.parametrize("skew_s", [-7200, -200, -45, 45, 200, 7200])
def test_readings_are_as_old_as_they_are_under_clocks_that_part(emulate, session, device, channel, skew_s):
    world = emulate()
    world.switch(clock_skew_s=skew_s)
    world.step(607)

    async def work(adapter):
        return [(await adapter.read(device(), channel)).measured_at for _ in range(3)]

    times = session(world, work)

    cadence_s = 10 if channel is Channel.POWER else 300
    assert (world.clock.now() - times[0]).total_seconds() == pytest.approx(607 % cadence_s, abs=1)
    assert len(set(times)) == 1, "a row keeps its time"


def test_clocks_that_agree_but_for_a_slow_answer_leave_the_vendors_times_alone(emulate, session, device):
    world = emulate()
    world.step(607)

    async def work(adapter):
        seen = []
        for skew_s in (0, 9, -9, 9):
            world.switch(clock_skew_s=skew_s)
            seen.append((await adapter.read(device(), Channel.POWER)).measured_at)
        return seen

    assert set(session(world, work)) == {world.clock.now() - dt.timedelta(seconds=7)}


# --- lists ---


@pytest.mark.parametrize("largest_page", [1, 7, 10, 49, 50])
def test_all_systems_are_listed_however_small_the_servers_pages_are(emulate, session, largest_page):
    numbers = tuple(f"AL{number:02}" for number in range(21))
    world = emulate(serial_numbers=numbers, largest_page=largest_page)

    async def work(adapter):
        return await adapter.devices()

    found = session(world, work)

    assert [device.device_id for device in found] == list(numbers)
    assert len(world.events("call")) == -(-len(numbers) // largest_page)


@pytest.mark.parametrize(
    "says",
    [
        pytest.param({"TotalCount": 21, "PageSize": 10, "TotalPageCount": 3}, id="all"),
        pytest.param({"TotalCount": "21"}, id="the number, as text"),
        pytest.param({"TotalPageCount": 3, "PageSize": 50}, id="the pages, with the size that was asked for"),
        pytest.param({"PageSize": 10}, id="the size"),
        pytest.param({"TotalPageCount": 10, "TotalCount": 21}, id="pages that mean something else"),
    ],
)
def test_small_pages_are_all_asked_for_whatever_the_server_says_of_them(vendor, adapt, manual_clock, says):
    pages = [[{"Sn": f"AL{n:02}"} for n in range(begin, min(begin + 10, 21))] for begin in (0, 10, 20)]
    vendor.on(
        "GetSystemList", *[{"ReturnCode": 0, "Result": {**says, "Systems": page}} for page in pages], {"ReturnCode": 0}
    )

    async def work():
        async with adapt(vendor.url, manual_clock) as adapter:
            return await adapter.devices()

    assert len(asyncio.run(work())) == 21


def test_a_device_is_found_with_what_the_list_says_of_it(vendor, adapt, manual_clock):
    rows = [
        {"sn": "AL1", "SystemModel": "SMILE5", "Cobat": "10.3", "Poinv": 5, "Remark": "cellar"},
        {"SN": "AL2", "Cobat": "N/A", "Poinv": None, "SystemModel": None},
        {"Sn": ""},
        {"Cobat": 1},
    ]
    vendor.on("GetSystemList", {"ReturnCode": 0, "Result": {"Systems": rows, "TotalCount": 4}})

    async def work():
        async with adapt(vendor.url, manual_clock) as adapter:
            assert isinstance(adapter, Discoverable)
            return await adapter.devices()

    assert asyncio.run(work()) == [Found("AL1", "cellar", "SMILE5", 10.3, 5.0), Found("AL2")]


texts = (
    st.sampled_from(["Sn", "SN", "Systems", "items", "TotalCount", "TotalPageCount", "PageSize", "Cobat"]) | st.text()
)
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@hypothesis_settings(max_examples=2000)
@given(row=st.dictionaries(texts, anything, max_size=5))
def test_no_row_of_a_list_crashes_the_mapping(row):
    found = mapping.found(row)

    assert found is None or found.device_id


class Echo:
    """A transport that answers everything with the same."""

    clock_offset_s = None

    def __init__(self, result):
        self.result, self.calls = result, 0

    async def read(self, path, body):
        del body
        self.calls += 1
        return {"ReturnCode": 0, "Token": "t", "Result": self.result} if path else None


@hypothesis_settings(max_examples=500)
@given(
    result=anything
    | st.fixed_dictionaries({"Systems": st.lists(st.dictionaries(texts, anything, max_size=4), max_size=4)})
)
def test_no_list_crashes_the_client_or_keeps_it_asking(account_settings, result):
    transport = Echo(result)
    client = AlphaEssClient(account_settings, lambda: dt.datetime(2024, 5, 1, tzinfo=dt.UTC), transport)

    rows = asyncio.run(client.get_system_list())

    assert all(isinstance(row, dict) for row in rows)
    assert transport.calls <= 3, "a login, a page, and the same page again"


# --- a full charge ---


@pytest.mark.parametrize(("setting", "raw"), [({}, 250), ({"full_soc_raw": 250}, 250), ({"full_soc_raw": 252}, 252)])
def test_what_full_is_on_the_wire_is_a_setting(emulate, device, setting, raw):
    world = emulate()
    adapter = create({**world.cloud.account(), "base_url": "http://127.0.0.1:1", **setting}, world.clock.now)

    full = adapter.translate(intent(world, IntentMode.CHARGE, 1.0, 1.0), device(), None)
    nearly = adapter.translate(intent(world, IntentMode.CHARGE, 1.0, 0.996), device(), None)

    assert (full.payload["SOC"], nearly.payload["SOC"]) == (raw, 249)


@pytest.mark.parametrize("value", [0, 249, 251, 255, "full"])
def test_another_full_is_refused(emulate, value):
    account = {**emulate().cloud.account(), "full_soc_raw": value}

    with pytest.raises(ConfigurationError, match="full_soc_raw"):
        create(account, lambda: None)
