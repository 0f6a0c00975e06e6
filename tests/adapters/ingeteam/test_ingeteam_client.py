"""Requests as the document wants them, refusals by type, addresses and secrets (sections 2.1, 7.1, 7.4)."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import logging
import traceback

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import (
    AdapterError,
    Channel,
    Closable,
    ConfigurationError,
    Dispatchable,
    IntentRefusedError,
    Readable,
    VendorUnavailableError,
    Watchable,
    dispatchable,
)
from adapters.ingeteam.adapter import create
from adapters.ingeteam.client import DeviceError, IngeteamClient, Settings
from adapters.ingeteam.sse import EventDecoder
from adapters.transport import NoAnswerError, RefusedRequestError

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
SONG = "witsch"
BASIC = base64.b64encode(b"installer:zwitscher-1").decode()
DAY = dt.date(2023, 9, 5)


def run(connect, url, *calls, **options):
    """Results of calls on one client, errors among them."""

    async def session():
        results = []
        async with connect(url, **options) as client:
            for call in calls:
                try:
                    results.append(await call(client))
                except AdapterError as error:
                    results.append(error)
        return results

    return asyncio.run(session())


def properties(client):
    return client.get_properties()


def day(client):
    return client.get_day(DAY)


def one(client):
    return client.one_plant_reading()


# --- requests ---


def test_the_request_of_2_1(connect, vendor, examples):
    vendor.on("1", examples("properties")["5.2 STORAGE 1Play TLM"])

    (state,) = run(connect, vendor.url, properties)

    (call,) = vendor.calls
    assert (call.method, call.path) == ("POST", "/inverter/properties/read/1")
    assert call.body == {"readdb": True}
    assert call.headers["Content-Type"] == "application/json"
    assert call.headers["Authorization"] == f"Basic {BASIC}"
    assert state.numbers["SOC"] == 55


def test_the_request_of_7_4(connect, vendor, examples):
    vendor.on("3", examples("datalogger"))

    (samples,) = run(connect, vendor.url, day)

    (call,) = vendor.calls
    assert (call.method, call.path, call.text) == ("POST", "/ems/datalogger/samples/20230905/3", "")
    assert call.headers["Authorization"] == f"Basic {BASIC}"
    assert len(samples) == 4


def test_the_request_of_7_1(connect, scripted_stream, loopback_server, plant_event):
    scripted_stream.scripts = [[plant_event()]]

    (reading,) = run(connect, loopback_server.url, one)

    (request,) = scripted_stream.requests
    assert (request["method"], request["path"]) == ("GET", "/system/events/sse/stream")
    assert request["authorization"] == f"Basic {BASIC}"
    assert "last-event-id" not in request
    assert reading.grid_kw == 1.0


def test_a_user_and_a_password_of_any_letters_are_encoded(connect, vendor):
    run(connect, vendor.url, properties, username="señor", password="pass:wörd €")

    expected = base64.b64encode("señor:pass:wörd €".encode()).decode()
    assert vendor.calls[0].headers["Authorization"] == f"Basic {expected}"


# --- answers that are none ---


@pytest.mark.parametrize(("name", "call"), [("1", properties), ("3", day)])
@pytest.mark.parametrize("answer", [{"code": "error"}, {"CODE": " Error "}, {"code": "error", "Data": []}])
def test_an_error_in_a_good_answer_is_an_error(connect, vendor, name, call, answer):
    vendor.on(name, answer)

    (error,) = run(connect, vendor.url, call)

    assert isinstance(error, DeviceError)
    assert error.retryable
    assert vendor.count(name) == 1


@pytest.mark.parametrize(("name", "call"), [("1", properties), ("3", day)])
@pytest.mark.parametrize("answer", [{}, 5, None, "x", {"code": "ok"}, {"Data": 5}])
def test_an_answer_of_another_shape_is_refused(connect, vendor, name, call, answer):
    vendor.on(name, answer)

    (error,) = run(connect, vendor.url, call)

    assert isinstance(error, VendorUnavailableError)


@pytest.mark.parametrize(("name", "call"), [("1", properties), ("3", day)])
def test_a_read_is_tried_three_times(connect, vendor, reply, name, call):
    vendor.on(name, reply(b"", 503))

    (error,) = run(connect, vendor.url, call)

    assert isinstance(error, NoAnswerError)
    assert vendor.count(name) == 3


@pytest.mark.parametrize("call", [properties, day, one])
def test_nobody_there(connect, closed_port_url, call):
    (error,) = run(connect, closed_port_url, call)

    assert isinstance(error, VendorUnavailableError)


def test_an_inverter_without_ems_refuses_the_stream(connect, vendor, reply):
    vendor.on("stream", reply(b"", 404))

    (error,) = run(connect, vendor.url, one)

    assert isinstance(error, RefusedRequestError)
    assert error.status == 404


# --- credentials ---


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("call", [properties, day, one])
def test_refused_credentials_are_not_tried_again_for_a_minute(connect, vendor, reply, manual_clock, status, call):
    for name in ("1", "3", "stream"):
        vendor.on(name, reply(b"", status))

    async def wait(seconds):
        manual_clock.time += dt.timedelta(seconds=seconds)

    errors = run(connect, vendor.url, call, properties, day, one, lambda _: wait(59), call, lambda _: wait(1), call)

    assert len(vendor.calls) == 2
    refusals = [error for error in errors if error is not None]
    assert [type(error) for error in refusals] == [ConfigurationError] * 6
    assert "not tried again before" in str(refusals[1])


def test_credentials_that_are_right_again_are_taken(connect, vendor, reply, manual_clock, examples):
    vendor.on("1", reply(b"", 401), examples("properties")["3.2 1Play"])

    async def wait(_):
        manual_clock.time += dt.timedelta(seconds=61)

    refused, _, state = run(connect, vendor.url, properties, wait, properties)

    assert isinstance(refused, ConfigurationError)
    assert state.firmware == "ABE1000_Q"


# --- one at a time ---


def test_calls_wait_for_each_other(connect, loopback_server, examples):
    running, most = 0, 0
    content = json.dumps(examples("properties")["3.2 1Play"]).encode()

    async def app(_, receive, send):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await receive()
        await asyncio.sleep(0.01)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        running -= 1
        await send({"type": "http.response.body", "body": content})

    loopback_server.app = app

    async def session():
        async with connect(loopback_server.url) as client:
            return await asyncio.gather(*[client.get_properties() for _ in range(5)])

    states = asyncio.run(session())

    assert len(states) == 5
    assert most == 1


def test_single_readings_of_the_stream_wait_for_each_other_and_hold_up_no_call(
    connect, scripted_stream, loopback_server, plant_event, examples
):
    content = json.dumps(examples("properties")["3.2 1Play"]).encode()

    async def slowly():
        await asyncio.sleep(0.2)

    async def session():
        async with connect(loopback_server.url) as client:
            scripted_stream.scripts = [[slowly, plant_event(W=1)], [plant_event(W=2)]]
            reading = asyncio.gather(client.one_plant_reading(), client.one_plant_reading())
            while not scripted_stream.requests:
                await asyncio.sleep(0.01)
            scripted_stream.scripts.insert(0, [content])
            state = await client.get_properties()
            assert not reading.done()
            return state, await reading

    state, readings = asyncio.run(session())

    assert state.firmware == "ABE1000_Q"
    assert [reading.grid_kw for reading in readings] == [0.001, 0.002]


def test_a_client_serves_one_event_loop_after_another(vendor, examples, account, manual_clock):
    vendor.on("1", examples("properties")["3.2 1Play"])
    adapter = create({**account, "base_url": vendor.url}, manual_clock)

    async def session():
        states = await asyncio.gather(*[adapter._client.get_properties() for _ in range(3)])
        await adapter.close()
        return states

    assert len(asyncio.run(session())) == len(asyncio.run(session())) == 3


# --- history needs a zone ---


def test_without_zone_no_history_is_read(connect, vendor):
    (error,) = run(connect, vendor.url, day, time_zone=None)

    assert isinstance(error, ConfigurationError)
    assert "time_zone" in str(error)
    assert vendor.calls == []


# --- settings ---


@pytest.mark.parametrize(
    "url",
    [
        "http://172.19.1.75",
        "http://10.1.2.3:8080",
        "http://192.168.1.20/",
        "http://127.0.0.1:1",
        "http://localhost:1",
        "http://169.254.3.4",
        "http://[fd00::5]",
        "http://[fe80::1]",
        "http://[::1]:80",
        "https://ems.example.com",
        "https://8.8.8.8",
    ],
)
def test_an_address_on_the_sites_network_may_be_plain(account, manual_clock, url):
    asyncio.run(create({**account, "base_url": url}, manual_clock).close())


@pytest.mark.parametrize(
    "url",
    [
        "http://8.8.8.8",
        "http://172.15.0.1",
        "http://172.32.0.1",
        "http://192.169.0.1",
        "http://11.0.0.1",
        "http://ems.example.com",
        "http://localhost.example.com",
        "http://10.0.0.1.example.com",
        "http://127.1",
        "http://0x7f000001",
        "http://2130706433",
        "http://0.0.0.0",
        "http://[::ffff:8.8.8.8]",
        "http://[2001:db8::1]",
        "http://ems.local",
        "http://user:zwitscher-2@10.0.0.1",
        "https://user@10.0.0.1",
        "http://10.0.0.1/?a=1",
        "http://10.0.0.1/#a",
        "ftp://10.0.0.1",
        "10.0.0.1",
        "",
        "http://[::1",
    ],
)
def test_an_address_where_credentials_would_be_seen_is_refused(account, manual_clock, url):
    with pytest.raises(ConfigurationError, match="base_url") as caught:
        create({**account, "base_url": url}, manual_clock)

    assert SONG not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("field", ["base_url", "username", "password"])
def test_each_credential_must_be_given(account, manual_clock, field):
    given = {**account, "base_url": "http://10.0.0.1"}
    del given[field]

    with pytest.raises(ConfigurationError, match=field):
        create(given, manual_clock)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pasword", "a misspelt name"),
        ("username", "with:colon"),
        ("username", ""),
        ("password", ["zwitscher-1"]),
        ("time_zone", "Mars/Olympus"),
        ("time_zone", ""),
        ("silence_s", 0),
        ("frozen_after_s", -1),
        ("timeout_s", float("inf")),
        ("pv_measured", "perhaps"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_its_name(account, manual_clock, field, value):
    with pytest.raises(ConfigurationError, match=field) as caught:
        create({**account, "base_url": "http://10.0.0.1", field: value}, manual_clock)

    assert SONG not in "".join(traceback.format_exception(caught.value))


def test_settings_and_adapter_do_not_show_the_password(account, manual_clock):
    settings = Settings.model_validate({**account, "base_url": "http://10.0.0.1"})
    adapter = create(settings.model_dump(), manual_clock)

    texts = [str(settings), repr(settings), settings.model_dump_json(), repr(adapter), repr(adapter._client)]
    assert not [text for text in texts if SONG in text or BASIC in text]


ECHO = json.dumps({"echo": ["zwitscher-1", BASIC], "code": "zwitscher-1", "Data": "zwitscher-1"}).encode()


@pytest.mark.parametrize("fault", ["401", "404", "503", "302", "no JSON", "cut", "echo", "error"])
def test_no_failure_lets_the_password_out(adapt, vendor, reply, device, caplog, fault):
    for name in ("", "httpx", "httpcore", "adapters", "stamina"):
        caplog.set_level(logging.DEBUG, logger=name)
    replies = {
        "no JSON": reply(b"<p>" + ECHO),
        "cut": reply(ECHO, cuts=True),
        "echo": reply(ECHO),
        "error": reply(b'{"code": "error", "why": "zwitscher-1"}'),
    }
    answer = replies.get(fault) or reply(ECHO, int(fault), {"Location": "/elsewhere"})
    for name in ("1", "3", "stream"):
        vendor.on(name, answer)
    words = []

    async def session():
        async with adapt(vendor.url, silence_s=0.2) as adapter:
            for call in (
                adapter.read(device(), Channel.STATE),
                adapter.read(device(), Channel.POWER),
                adapter.day(device(), DAY),
            ):
                try:
                    await call
                except AdapterError as error:
                    logging.getLogger("adapters").exception("a call failed")
                    words.extend([str(error), repr(error), repr(error.args)])

    asyncio.run(session())

    assert len(words) == 9
    assert not [word for word in [*words, caplog.text] if SONG in word or BASIC in word]


# --- whatever comes over the stream ---

names = st.sampled_from(["", "message", "/ems/sse/phases", "/ems/sse/stream"])
texts = st.text(max_size=30) | st.sampled_from(
    ['{"Phases": [{"Phase": 4, "W": NaN}]}', '{"Phases": [{"Phase": 4, "W": 1e999}]}', "[" * 100_000, "9" * 5000, ""]
)


@settings(max_examples=2000)
@given(events=st.lists(st.tuples(names, texts), max_size=4), noise=st.binary(max_size=40))
def test_no_bytes_of_the_stream_do_more_than_being_skipped(events, noise):
    client = IngeteamClient(Settings(base_url="http://10.0.0.1", username="u", password="p"), lambda: START)
    told = ""
    for name, text in events:
        told += f"event: {name}\n" + "".join(f"data: {line}\n" for line in text.splitlines()) + "\n"
    decoder = EventDecoder()

    for event in decoder.feed(told.encode("utf-8", "surrogatepass") + noise) + decoder.feed(b"\n\n"):
        reading = client._reading(event.name, event.data)
        assert reading is None or reading.grid_kw is None


# --- what it can and cannot do ---


def test_it_can_be_watched_and_not_driven(account, manual_clock):
    adapter = create({**account, "base_url": "http://10.0.0.1"}, manual_clock)

    assert isinstance(adapter, Readable)
    assert isinstance(adapter, Watchable)
    assert isinstance(adapter, Closable)
    assert not isinstance(adapter, Dispatchable)
    assert adapter.abilities.modes == frozenset()
    with pytest.raises(IntentRefusedError, match="telemetry only"):
        dispatchable(adapter, "ingeteam")
