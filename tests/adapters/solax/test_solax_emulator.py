"""The adapter against the emulated cloud over HTTP, and the emulator against the document."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import urllib.error
import urllib.request

import pytest

from adapters import registry
from adapters.contract import (
    AdapterError,
    Channel,
    Closable,
    ConfigurationError,
    Dispatchable,
    IntentRefusedError,
    QuotaExceededError,
    Readable,
    VendorUnavailableError,
    dispatchable,
)
from adapters.emulation import CONTROL_PREFIX, EmulatedClock, EmulatedSite, EventLog, FaultBox, House
from adapters.solax import adapter as solax_adapter
from adapters.solax import emulator as solax_emulator
from adapters.solax.adapter import SolaxAdapter, create
from adapters.transport import NoAnswerError
from engine.plant import PlantCommand, PlantMode

PATH = "/api/v2/dataAccess/realtimeInfo/get"
WIFI_SN = "SR00000001"
TOKEN = "2024082012345678901"


@pytest.fixture
def read(connect_solax, inverter):
    """One reading through a fresh adapter; the adapter's error is the test's."""

    def run(world, sn=WIFI_SN, channel=Channel.STATE, **changes):
        async def session():
            async with connect_solax(world.url, world.clock.now, **changes) as adapter:
                return await adapter.read(inverter(sn), channel)

        return asyncio.run(session())

    return run


def post(world, body, token=TOKEN, content_type="application/json", path=PATH, method="POST"):
    """A request without the product's client; HTTP status and answer."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": content_type, **({} if token is None else {"tokenId": token})}
    request = urllib.request.Request(world.url + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, None


def ask(world, sn=WIFI_SN, **more):
    status, answer = post(world, {"wifiSn": sn}, **more)
    assert status == 200
    return answer


# --- readings ---


@pytest.mark.parametrize(("load_kw", "pv_kw"), [(3.0, 0.0), (1.0, 4.0), (0.5, 9.0), (9.0, 0.0)])
@pytest.mark.parametrize("channel", Channel)
def test_a_reading_is_what_the_plant_does(solax, read, load_kw, pv_kw, channel):
    world = solax(load_kw=load_kw, pv_kw=pv_kw)
    world.step(300)
    sample = world.sites[0].plant.sample

    seen = read(world, channel=channel)

    assert seen.channel is channel
    assert seen.measured_at == world.clock.now()
    for name in ("battery_kw", "grid_kw", "pv_kw", "load_kw"):
        assert getattr(seen, name) == pytest.approx(getattr(sample, name), abs=0.002), name
    assert abs(sample.battery_kw) > 0.5
    assert seen.soc == pytest.approx(sample.soc, abs=0.0051)
    assert seen.dispatch_active is False


def test_registers_follow_the_meter(solax, read):
    world = solax(load_kw=9.0)
    world.step(3600)
    registers = world.sites[0].plant.registers

    seen = read(world).registers

    assert seen.import_kwh == pytest.approx(registers.import_kwh, abs=0.006)
    assert seen.import_kwh > 3
    assert seen.export_kwh == 0
    assert (seen.charge_kwh, seen.discharge_kwh) == (None, None)


def test_a_reading_is_as_old_as_its_upload(solax, read):
    world = solax()
    world.step(299)

    assert (world.clock.now() - read(world).measured_at).total_seconds() == 299


@pytest.mark.parametrize("gives_utc", [False, True])
@pytest.mark.parametrize(
    "start",
    [
        dt.datetime(2024, 1, 10, 23, 55, tzinfo=dt.UTC),
        dt.datetime(2024, 8, 20, 22, 5, tzinfo=dt.UTC),
        dt.datetime(2024, 10, 27, 0, 30, tzinfo=dt.UTC),
        dt.datetime(2024, 10, 27, 1, 30, tzinfo=dt.UTC),
        dt.datetime(2024, 3, 31, 1, 0, tzinfo=dt.UTC),
    ],
)
def test_times_are_right_in_summer_winter_and_when_the_clock_changes(solax, read, start, gives_utc):
    world = solax(start=start, gives_utc=gives_utc)

    assert read(world).measured_at == start


def test_a_server_that_gives_utc_needs_no_zone(solax, read):
    world = solax(gives_utc=True)

    assert read(world, upload_time_zone=None).measured_at == world.clock.now()


def test_without_a_zone_the_setting_is_named(solax, read):
    with pytest.raises(ConfigurationError, match="upload_time_zone"):
        read(solax(), upload_time_zone=None)


def test_somebody_else_driving_the_battery_is_seen(solax, read):
    world = solax(load_kw=1)
    world.sites[0].receive(PlantCommand(PlantMode.SET_POINT, -3.0), after_s=0)
    world.step(300)

    seen = read(world)

    assert seen.dispatch_active is True
    assert seen.battery_kw == pytest.approx(-3.0, abs=0.01)


def test_a_fleet_is_told_apart(solax, connect_solax, inverter):
    world = solax(sns=("SR1", "SR2"))
    world.sites[1].receive(PlantCommand(PlantMode.SET_POINT, 2.0), after_s=0)
    world.step(300)

    async def session():
        async with connect_solax(world.url, world.clock.now) as adapter:
            return [(await adapter.read(inverter(sn), Channel.STATE)).battery_kw for sn in ("SR1", "SR2")]

    one, other = asyncio.run(session())
    assert (one, other) == (pytest.approx(1.0, abs=0.01), pytest.approx(2.0, abs=0.01))


def test_polling_every_15_seconds_for_an_hour_breaks_no_limit(solax, connect_solax, inverter):
    world = solax(sns=("SR1", "SR2", "SR3"))

    async def session():
        stamps = set()
        async with connect_solax(world.url, world.clock.now) as adapter:
            for _ in range(240):
                world.step(15)
                for sn in ("SR1", "SR2", "SR3"):
                    stamps.add((await adapter.read(inverter(sn), Channel.POWER)).measured_at)
        return stamps

    stamps = asyncio.run(session())

    assert world.count("call refused") == 0
    assert world.count("call") == 3 * 24
    assert len(stamps) >= 12, "no upload was missed"


# --- what the adapter is ---


def test_it_is_found_by_its_entry_point():
    assert registry.factory("solax") is create


def test_it_reads_and_closes_and_nothing_else():
    adapter = create({"token_id": TOKEN}, lambda: dt.datetime(2024, 5, 1, tzinfo=dt.UTC))

    assert isinstance(adapter, Readable)
    assert isinstance(adapter, Closable)
    assert not isinstance(adapter, Dispatchable)
    assert adapter.abilities.modes == frozenset()
    with pytest.raises(IntentRefusedError, match="telemetry only"):
        dispatchable(adapter, "solax")


def test_building_it_contacts_nobody(vendor):
    adapter = create({"token_id": TOKEN, "base_url": vendor.url}, lambda: dt.datetime(2024, 5, 1, tzinfo=dt.UTC))
    asyncio.run(adapter.close())

    assert vendor.calls == []


def test_an_adapter_serves_one_loop_after_another(solax, inverter):
    world = solax()
    settings = {"base_url": world.url, "token_id": TOKEN, "upload_time_zone": "Europe/Copenhagen"}
    adapter = create(settings, world.clock.now)

    async def task():
        try:
            return await adapter.read(inverter(), Channel.STATE)
        finally:
            await adapter.close()

    for _ in range(2):
        world.step(300)
        assert asyncio.run(task()).measured_at == world.clock.now()


# --- faults ---


@pytest.mark.parametrize(
    ("faults", "outcome"),
    [
        ({"server_error_share": 1.0}, NoAnswerError),
        ({"latency_s": 1.0}, NoAnswerError),
        ({"tokens_expired": True}, ConfigurationError),
        ({"rate_limited": True}, QuotaExceededError),
        ({"session_stolen": True}, None),
        ({"odd_json": True}, None),
        ({"clock_skew_s": 3600.0}, None),
        ({"lost_answers": 3}, None),
    ],
    ids=str,
)
def test_every_fault_of_the_cloud_ends_in_its_typed_outcome(solax, read, faults, outcome):
    world = solax(load_kw=2)
    world.step(300)
    world.switch(**faults)

    if outcome is None:
        assert read(world).battery_kw == pytest.approx(2.0, abs=0.01)
        return
    with pytest.raises(AdapterError) as caught:
        read(world, timeout_s=0.3)
    assert type(caught.value) is outcome


def test_a_clock_that_is_off_shows_in_the_time_stamp(solax, read):
    world = solax()
    world.switch(clock_skew_s=-7200.0)

    assert read(world).measured_at == world.clock.now() - dt.timedelta(hours=2)


@pytest.mark.parametrize(("numbers_as", "battery_kw"), [("number", 2.0), ("text", 2.0), ("null", None), ("n/a", None)])
def test_numbers_in_any_writing(solax, read, numbers_as, battery_kw):
    world = solax(load_kw=2)
    world.step(300)
    world.switch(numbers_as=numbers_as)

    seen = read(world)

    assert seen.battery_kw == (None if battery_kw is None else pytest.approx(battery_kw, abs=0.01))
    assert (seen.load_kw is None, seen.soc is None) == (battery_kw is None,) * 2
    assert seen.dispatch_active is False


def test_a_frozen_cloud_shows_by_the_age_of_its_readings(solax, read):
    world = solax()
    world.switch(frozen=True)
    begin = world.clock.now()
    world.step(3600)

    assert read(world).measured_at == begin


@pytest.mark.parametrize(
    ("faults", "battery_kw", "soc"),
    [
        ({"battery_sign_flipped": True}, -2.0, 0.48),
        ({"power_factor": 1000.0}, 2000.0, 0.48),
        ({"soc_jump": 0.3}, 2.0, 0.78),
    ],
    ids=str,
)
def test_faults_of_the_instruments_reach_the_reading(solax, read, faults, battery_kw, soc):
    world = solax(load_kw=2)
    world.switch(**faults)
    world.step(300)

    seen = read(world)

    assert seen.battery_kw == pytest.approx(battery_kw, rel=0.01)
    assert seen.soc == pytest.approx(soc, abs=0.02)


def test_a_ban_ends_and_the_adapter_comes_back_by_itself(solax, connect_solax, inverter):
    world = solax()

    async def session():
        async with connect_solax(world.url, world.clock.now) as adapter:
            world.switch(rate_limited=True, ban_s=3600)
            for _ in range(30):
                with pytest.raises(QuotaExceededError):
                    await adapter.read(inverter(), Channel.STATE)
                world.step(60)
            assert world.count("call refused") == 1, "nothing is asked within a ban, for that would lengthen it"
            world.switch()
            world.step(1800)
            return await adapter.read(inverter(), Channel.STATE)

    assert asyncio.run(session()).measured_at == world.clock.now()


# --- the emulator against the document ---


def test_the_answer_has_the_fields_of_section_7_1_and_no_others(solax):
    answer = ask(solax())

    assert answer["success"] is True
    assert (answer["code"], answer["exception"]) == (0, "Query success!")
    assert list(answer["result"]) == [
        *("inverterSN", "sn", "acpower", "yieldtoday", "yieldtotal", "feedinpower", "feedinenergy", "consumeenergy"),
        *("feedinpowerM2", "soc", "peps1", "peps2", "peps3", "inverterType", "inverterStatus", "uploadTime"),
        *("batPower", "powerdc1", "powerdc2", "powerdc3", "powerdc4", "batStatus"),
    ]
    assert answer["result"]["uploadTime"] == "2024-08-20 12:00:00", "local time without a zone"
    assert isinstance(answer["result"]["inverterStatus"], str)


def test_the_yield_of_the_day_begins_at_local_midnight(solax):
    world = solax(pv_kw=2.0, start=dt.datetime(2024, 8, 20, 20, 0, tzinfo=dt.UTC))
    for _ in range(8):
        world.step(1800)  # to midnight UTC, two hours into the local day

    row = ask(world)["result"]

    assert row["yieldtoday"] == pytest.approx(4.0, abs=0.2)
    assert row["yieldtotal"] == pytest.approx(8.0, abs=0.2)


@pytest.mark.parametrize(
    ("request_of", "code"),
    [
        ({"token": None}, 1001),
        ({"token": "wrong"}, 1001),
        ({"body": {}}, 1002),
        ({"body": {"wifiSn": ""}}, 1002),
        ({"body": {"wifiSn": 7}}, 1002),
        ({"body": {"wifisn": WIFI_SN}}, 1002),
        ({"body": []}, 1002),
        ({"body": b"{"}, 1002),
        ({"content_type": "text/plain"}, 1002),
        ({"body": {"wifiSn": "SROTHER"}}, 1003),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_with_the_documents_code(solax, request_of, code):
    status, answer = post(solax(), **{"body": {"wifiSn": WIFI_SN}, **request_of})

    assert status == 200
    assert (answer["success"], answer["code"], answer["result"]) == (False, code, None)
    assert answer["exception"]


def test_only_post_is_in_the_document(solax):
    assert post(solax(), {"wifiSn": WIFI_SN}, method="GET")[0] == 405
    assert post(solax(), {"wifiSn": WIFI_SN}, path="/api/v1/dataAccess/realtimeInfo/get")[0] == 404


def test_fewer_than_ten_calls_a_minute(solax):
    world = solax()

    codes = [ask(world)["code"] for _ in range(11)]

    assert codes == [0] * 9 + [104, 104]
    world.step(60)
    assert ask(world)["code"] == 0


def test_several_violations_shut_the_account_for_an_hour(solax):
    world = solax()
    answers = [ask(world) for _ in range(12)]

    assert "prohibit calls within the next hour" in answers[-1]["exception"]
    world.step(3599)
    assert ask(world)["code"] == 3
    world.step(59)
    assert ask(world)["code"] == 3, "a call within the ban lengthens it"
    world.step(60)
    assert ask(world)["code"] == 0


def test_fewer_than_ten_thousand_calls_a_day(solax):
    world = solax()
    now = world.clock.now()
    world.cloud._calls.extend(itertools.repeat(now - dt.timedelta(hours=1), 9_998))

    assert [ask(world)["code"] for _ in range(2)] == [0, 104]
    world.step(23 * 3600)
    assert ask(world)["code"] == 0


def test_the_builder_makes_a_cloud_that_its_own_account_opens(loopback_server, inverter):

    from engine.plant import Plant

    start = dt.datetime(2024, 8, 20, 10, 0, tzinfo=dt.UTC)
    clock, log, faults = EmulatedClock(start, None), EventLog(), FaultBox()
    plant = Plant(inverter().battery, 0.5)
    sites = [EmulatedSite(WIFI_SN, plant, House.constant(1.0, 0.0), start, solax_emulator.CADENCES_S, log, faults)]
    clouds = [solax_emulator.build(sites, clock, log, faults) for _ in range(2)]
    loopback_server.app = clouds[0].app
    adapter = solax_adapter.create({**clouds[0].account(), "base_url": loopback_server.url}, clock.now)

    async def session():
        try:
            return await adapter.read(inverter(), Channel.STATE)
        finally:
            await adapter.close()

    assert asyncio.run(session()).soc == pytest.approx(0.5, abs=0.01)
    assert isinstance(adapter, SolaxAdapter)
    assert clouds[0].account()["token_id"] != clouds[1].account()["token_id"], "thrown away with its cloud"
    assert clouds[0].account()["token_id"] not in json.dumps(log.events) + json.dumps(clouds[0].state())


def test_faults_are_switched_from_outside(solax, read):
    world = solax()

    assert post(world, {"rate_limited": True}, path=f"{CONTROL_PREFIX}faults")[0] == 200
    with pytest.raises(QuotaExceededError):
        read(world)
    assert post(world, {"rate_limitted": True}, path=f"{CONTROL_PREFIX}faults")[0] == 400


def test_no_silence_is_longer_than_the_time_out(solax, read):
    world = solax()
    world.switch(latency_s=5.0)
    begin = dt.datetime.now(dt.UTC)

    with pytest.raises(VendorUnavailableError):
        read(world, timeout_s=0.2)

    assert (dt.datetime.now(dt.UTC) - begin).total_seconds() < 3
