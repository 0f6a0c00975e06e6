"""Tokens, fair use and calls: against a scripted vendor for what it says, against the emulator for what it does."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import json
import logging
import traceback
from unittest.mock import Mock
from urllib.parse import parse_qs, urlsplit

import pytest

from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    ConfigurationError,
    QuotaExceededError,
    Rejected,
    Unknown,
    VendorUnavailableError,
)
from adapters.xolta import mapping
from adapters.xolta.adapter import create
from adapters.xolta.client import Settings, XoltaClient

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
SECRET = "zwitscher-secret"
TOKEN = "zwitscher-token"
SONG = "witscher"
STATUS = [
    {
        "deviceId": "BAT-80-0001",
        "state": "Running",
        "mode": "SelfConsumption",
        "utcTime": "2024-05-01T11:59:00Z",
        "inverterActivePower": 1.5,
    }
]


@pytest.fixture
def scripted(vendor):
    """The scripted vendor, with an authority that works."""
    host = vendor.url.removeprefix("http://")
    base = f"https://{host}/tenant-1"
    vendor.on(
        "openid-configuration",
        {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        },
    )
    vendor.on("token", {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN})
    vendor.on("deviceStatus", STATUS)
    return vendor


@pytest.fixture
def account():
    def build(url, **changes):
        return {
            "base_url": url,
            "authority": "/tenant-1",
            "client_id": "client-1",
            "client_secret": SECRET,
            "timeout_s": 2.0,
            "commissioned": True,
            "setpoint_unit": "kW",
            "setpoint_sign": 1,
            **changes,
        }

    return build


@pytest.fixture
def session(manual_clock):
    """Run a coroutine function with an open client: `session(settings, work)`."""

    def run(settings, work, clock=manual_clock):
        async def inner():
            client = XoltaClient(Settings.model_validate(settings), clock)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(inner())

    return run


async def status_of(client):
    return await client.device_status()


# --- requests as they go over the wire ---


def test_the_token_is_asked_for_as_section_1_does(scripted, account, session):
    """Lines 36 to 50 of the manual's text, without their slips: 40 wants a list, and 48 binds the token too deep."""
    session(account(scripted.url), status_of)

    discovery, token, status = scripted.calls
    assert (discovery.method, discovery.path) == ("GET", "/tenant-1/v2.0/.well-known/openid-configuration")
    assert (token.method, token.path) == ("POST", "/tenant-1/oauth2/v2.0/token")
    form = {name: values for name, values in parse_qs(token.text).items() if name != "client_info"}
    assert form == {
        "grant_type": ["client_credentials"],
        "client_id": ["client-1"],
        "client_secret": [SECRET],
        "scope": ["https://Xolta.onmicrosoft.com/TelemetryAPI/.default"],
    }
    assert (status.method, status.path) == ("GET", "/api/deviceStatus")
    assert status.headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize(
    ("path", "asked"), [(None, "/api/GetTelemetrySummary"), ("/api/GetDataSummary", "/api/GetDataSummary")]
)
def test_a_summary_is_asked_for_as_servers_take_it(scripted, account, session, path, asked):
    changes = {} if path is None else {"summary_path": path}

    async def work(client):
        begin = dt.datetime(2024, 5, 1, 10, 0, 0, 123456, tzinfo=dt.timezone(dt.timedelta(hours=2)))
        return await client.get_telemetry_summary(begin, NOW, 10, site_id="S1")

    assert session(account(scripted.url, **changes), work) == []

    address = urlsplit(scripted.calls[-1].path)
    assert address.path == asked
    assert parse_qs(address.query) == {
        "SiteId": ["S1"],
        "CalculateConsumptionNeeded": ["true"],
        "resolutionMin": ["10"],
        "fromDateTime": ["2024-05-01T08:00:00Z"],
        "toDateTime": ["2024-05-01T12:00:00Z"],
    }


def test_the_path_of_the_status_may_carry_the_query_that_a_server_wants(scripted, account, session):
    """Line 90 of the manual: "the queried devices"; 471: "provided with a list of all devices". It may want a list."""
    scripted.on("deviceStatus?deviceIds=A&deviceIds=B", STATUS)
    path = "/api/deviceStatus?deviceIds=A&deviceIds=B"

    session(account(scripted.url, device_status_path=path), status_of)

    assert scripted.calls[-1].path == path


def test_a_summary_is_of_one_thing_at_one_resolution(scripted, account, session):
    async def work(client):
        for more in ({}, {"site_id": "S", "device_id": "D"}):
            with pytest.raises(ValueError, match="give one"):
                await client.get_telemetry_summary(NOW, NOW, 10, **more)
        with pytest.raises(ValueError, match="resolution_min"):
            await client.get_telemetry_summary(NOW, NOW, 15, site_id="S")

    session(account(scripted.url), work)
    assert scripted.calls == []


def test_a_command_is_sent_as_the_vendors_sample_does(scripted, account, session):
    body = mapping.external_control("D", [mapping.SetPoint(NOW, -2.5)])

    async def work(client):
        return await client.send_state_mode_command(body, drives=True)

    scripted.on("SendStateModeCommand", {"commandId": "c-7"})
    assert session(account(scripted.url), work) == "c-7"

    call = scripted.calls[-1]
    assert (call.method, call.path) == ("POST", "/api/SendStateModeCommand")
    assert call.body == {
        "DeviceId": "D",
        "CommandName": "GoToMode_ExternalControl",
        "Payload": {"setPoint": {"1": {"utcTime": "2024-05-01T12:00:00Z", "batteryActivePower": -2.5}}},
    }


def test_a_command_to_nobody_is_not_sent(scripted, account, session):
    async def work(client):
        with pytest.raises(ConfigurationError, match="DeviceId"):
            await client.send_state_mode_command({**mapping.self_consumption(" ")}, drives=False)

    session(account(scripted.url), work)
    assert scripted.calls == []


# --- tokens ---


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("invalid_client", 401),
        ("unauthorized_client", 400),
        ("invalid_scope", 400),
        ("invalid_request", 400),
        ("invalid_grant", 400),
        ("access_denied", 400),
        ("invalid_resource", 400),
        ("unsupported_grant_type", 400),
    ],
)
def test_refused_credentials_are_not_tried_again(scripted, account, session, reply, error, status):
    scripted.on("token", reply.of({"error": error, "error_description": SECRET}, status))

    async def work(client):
        errors = []
        for _ in range(3):
            with pytest.raises(ConfigurationError) as caught:
                await client.send_state_mode_command(mapping.self_consumption("D"), drives=False)
            errors.append(str(caught.value))
        return errors

    errors = session(account(scripted.url), work)

    assert all(error in text and SONG not in text for text in errors)
    assert scripted.count("token") == 1
    assert scripted.count("SendStateModeCommand") == 0


def odd_tokens(reply):
    return {
        "passing": reply.of({"error": "temporarily_unavailable"}, 400),
        "server": reply.of({"error": "server_error"}, 400),
        "unknown": reply.of({"error": SECRET}, 400),
        "list error": reply.of({"error": [SECRET]}, 400),
        "no token": reply.of({"token_type": "Bearer"}),
        "null": reply.of(None),
        "list": reply.of([SECRET]),
        "text": reply.of(SECRET),
        "number token": reply.of({"access_token": 3, "expires_in": 3599}),
        "odd life": reply.of({"access_token": TOKEN, "expires_in": {"a": SECRET}}),
        "page": reply(f"<html>{SECRET}</html>".encode()),
        "500": reply(b"", 500),
        "429": reply(b"", 429),
        "half": reply(b'{"access_token": "zwitscher', cuts=True),
    }


ODD_TOKENS = list(odd_tokens(Mock()))


@pytest.mark.parametrize("kind", ODD_TOKENS)
def test_an_odd_authority_ends_in_a_typed_error(scripted, account, session, reply, kind, caplog):
    caplog.set_level(logging.DEBUG)
    scripted.on("token", odd_tokens(reply)[kind])

    async def work(client):
        with pytest.raises(VendorUnavailableError) as caught:
            await client.device_status()
        return caught.value

    error = session(account(scripted.url), work)

    shown = str(error) + repr(error) + "".join(traceback.format_exception(error)) + caplog.text
    assert SONG not in shown
    assert scripted.count("deviceStatus") == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_authority_that_does_not_know_the_tenant_is_a_wrong_setting(scripted, account, session, reply, status):
    scripted.on("openid-configuration", reply.of({"error": "invalid_tenant"}, status))

    async def work(client):
        with pytest.raises(ConfigurationError, match="check the tenant"):
            await client.device_status()

    session(account(scripted.url), work)
    assert scripted.count("token") == 0


@pytest.mark.parametrize("configuration", [None, [], {}, {"token_endpoint": 3}, {"token_endpoint": "http://x/y"}, "x"])
def test_an_odd_openid_configuration_is_a_typed_error(scripted, account, session, configuration):
    scripted.on("openid-configuration", configuration)

    async def work(client):
        with pytest.raises(VendorUnavailableError, match="makes no sense"):
            await client.device_status()

    session(account(scripted.url), work)
    assert scripted.count("token") == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1@evil.example"])
def test_the_secret_goes_to_no_other_host(scripted, account, session, host):
    endpoint = f"https://{host}/tenant-1/oauth2/v2.0/token"
    scripted.on("openid-configuration", {"authorization_endpoint": endpoint, "token_endpoint": endpoint})

    async def work(client):
        with pytest.raises(ConfigurationError, match="another host"):
            await client.device_status()

    session(account(scripted.url), work)
    assert scripted.count("token") == 0


def test_a_login_does_not_hold_up_the_event_loop(emulate, device, using):
    world = emulate()
    world.switch(latency_s=0.3)

    async def work(adapter):
        ticks, reading = 0, asyncio.create_task(adapter.read(device(), Channel.POWER))
        while not reading.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks, await reading

    ticks, reading = using(world.settings(), world.clock.now, work)

    assert reading is not None
    assert ticks >= 30


def test_a_login_can_be_broken_off(scripted, account, reply):
    scripted.on("token", reply(stalls=True))

    async def work():
        adapter = create(account(scripted.url, timeout_s=1.0), lambda: NOW)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(adapter.devices(), 0.3)
        await adapter.close()

    asyncio.run(work())


def test_each_loop_may_use_the_adapter_in_turn(emulate, device):
    world = emulate()
    adapter = create(world.settings(), world.clock.now)

    async def task():
        try:
            return await adapter.read(device(), Channel.POWER)
        finally:
            await adapter.close()

    for _ in range(3):
        assert asyncio.run(task()) is not None
        world.step(3600)

    assert len(world.events("login")) == 3


# --- what a command's answer means ---


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (200, b"", Accepted("")),
        (200, b"{}", Accepted("")),
        (200, b'"OK"', Accepted("")),
        (200, b"OK", Accepted("")),
        (201, b'{"id": "7"}', Accepted("7")),
        (202, b'{"success": true}', Accepted("")),
        (204, b"", Accepted("")),
        (200, b'{"success": false}', Unknown),
        (200, b'{"error": "device offline"}', Unknown),
        (400, b"", Rejected),
        (403, b"", Rejected),
        (404, b"", Rejected),
        (409, b"", Rejected),
        (429, b"", Rejected),
        (301, b"", Unknown),
        (500, b"", Unknown),
        (503, b"", Unknown),
    ],
)
def test_a_receipt_is_what_the_status_says(scripted, account, reply, device, status, body, expected):
    scripted.on("SendStateModeCommand", reply(body, status))

    async def work():
        adapter = create(account(scripted.url), lambda: NOW)
        try:
            return await adapter.send(adapter.release(device()))
        finally:
            await adapter.close()

    receipt = asyncio.run(work())

    assert receipt == expected if isinstance(expected, Accepted) else isinstance(receipt, expected)
    assert scripted.count("SendStateModeCommand") == 1
    if status == 429:
        assert receipt.retryable


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (401, ConfigurationError, "fresh token"),
        (403, ConfigurationError, "agreement"),
        (404, ConfigurationError, "device_status_path"),
        (400, VendorUnavailableError, "HTTP 400"),
        (429, QuotaExceededError, "wait"),
        (500, VendorUnavailableError, "HTTP 500"),
    ],
)
def test_a_reads_refusal_names_the_way_out(scripted, account, session, reply, status, error, words):
    scripted.on("deviceStatus", reply(b"{}", status))

    async def work(client):
        with pytest.raises(error, match=words):
            await client.device_status()

    session(account(scripted.url), work)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [({"Retry-After": "120"}, 120), ({}, 300), ({"Retry-After": "soon"}, 300), ({"Retry-After": "-5"}, 300)],
)
def test_a_penalty_lasts_as_long_as_the_vendor_says(scripted, account, session, reply, manual_clock, header, wait_s):
    scripted.on("deviceStatus", reply(b"{}", 429, header), STATUS)

    async def work(client):
        with pytest.raises(QuotaExceededError) as caught:
            await client.device_status()
        assert caught.value.free_at == manual_clock.time + dt.timedelta(seconds=wait_s)
        manual_clock.time += dt.timedelta(seconds=wait_s - 1)
        with pytest.raises(QuotaExceededError):
            await client.device_status()
        manual_clock.time += dt.timedelta(seconds=1)
        return await client.device_status()

    assert list(session(account(scripted.url), work)) == ["BAT-80-0001"]
    assert scripted.count("deviceStatus") == 2


# --- history and fair use, on the emulator ---


def test_history_comes_in_samples_and_means_and_one_call_a_minute(emulate, session):
    world = emulate(load_kw=6.0, pv_kw=1.0)
    world.step(1800)
    begin = NOW + dt.timedelta(minutes=10)

    async def work(client):
        raw = await client.get_telemetry_raw("BAT-80-0001", begin, begin + dt.timedelta(minutes=5))
        with pytest.raises(QuotaExceededError):
            await client.get_telemetry_summary(begin, begin + dt.timedelta(minutes=20), 10, device_id="BAT-80-0001")
        world.step(60)
        means = await client.get_telemetry_summary(begin, begin + dt.timedelta(minutes=20), 10, device_id="BAT-80-0001")
        world.step(60)
        of_site = await client.get_telemetry_summary(
            begin, begin + dt.timedelta(minutes=20), 10, site_id="site-BAT-80-0001"
        )
        world.step(60)
        return raw, means, of_site, await client.get_meta_data()

    raw, means, of_site, names = session(world.settings(), work, world.clock.now)

    assert len(raw) == 31
    assert {round(row.battery_kw, 6) for row in raw} == {5.0}
    assert [row.measured_at for row in means] == [begin + dt.timedelta(minutes=10), begin + dt.timedelta(minutes=20)]
    assert [row.battery_kw for row in means] == [row.battery_kw for row in of_site] == pytest.approx([5.0, 5.0])
    assert [row.load_kw for row in means] == pytest.approx([6.0, 6.0])
    assert means[0].soc == pytest.approx(of_site[0].soc)
    assert "inverterActivePowerSetPoint" in names
    assert world.events("unfair") == []
    assert world.events("bad request") == []


def test_a_hole_in_the_history_stays_a_hole(emulate, session):
    world = emulate()
    hole = (NOW + dt.timedelta(minutes=5), NOW + dt.timedelta(minutes=8))
    world.device.lost_uploads.append(hole)
    world.step(900)

    rows = session(
        world.settings(),
        lambda client: client.get_telemetry_raw("BAT-80-0001", NOW, NOW + dt.timedelta(minutes=15)),
        world.clock.now,
    )

    times = [row.measured_at for row in rows]
    assert not any(hole[0] <= time < hole[1] for time in times)
    assert max(later - earlier for earlier, later in itertools.pairwise(times)) == dt.timedelta(seconds=190)


def test_a_path_that_the_vendor_does_not_have_names_its_setting(emulate, session):
    world = emulate()

    async def work(client):
        with pytest.raises(ConfigurationError, match="meta_data_path"):
            await client.get_meta_data()

    session(world.settings(meta_data_path="/api/GetMetadataOfAll"), work, world.clock.now)


# --- secrets ---


def test_no_secret_in_any_log_error_or_repr(scripted, account, reply, device, caplog, capfd):
    for name in ("", "msal", "msal.application", "msal.token_cache", "msal.oauth2cli.oauth2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    echo = json.dumps({"error": SECRET, "message": [TOKEN, SECRET]}).encode()
    shown = []

    async def work():
        adapter = create(account(scripted.url), lambda: NOW)
        shown.extend([repr(adapter), str(adapter._client), repr(adapter._client._tokens)])
        await adapter.read(device(), Channel.POWER)
        shown.append(repr(adapter._client._tokens._token))
        for status in (200, 400, 401, 403, 404, 429, 500):
            scripted.on("SendStateModeCommand", reply(echo, status))
            shown.append(repr(await adapter.send(adapter.release(device()))))
        scripted.on("token", reply(echo, 400))
        adapter._client._tokens._token = None
        shown.append(repr(await adapter.send(adapter.release(device()))))
        await adapter.close()

    asyncio.run(work())

    logged = "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records)
    printed = "".join(capfd.readouterr())
    assert SONG not in "".join([*shown, logged, printed])
    assert any(call.headers.get("Authorization") == f"Bearer {TOKEN}" for call in scripted.calls)
    assert any(SECRET in call.text for call in scripted.calls)


# --- settings ---


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"base_url": "http://external.xolta.com"}, "base_url"),
        ({"base_url": "external.xolta.com"}, "base_url"),
        ({"base_url": "https://me:pw@external.xolta.com"}, "base_url"),
        ({"authority": "http://login.microsoftonline.com/t"}, "authority"),
        ({"authority": "https://login.microsoftonline.com/"}, "authority"),
        ({"authority": "tenant"}, "authority"),
        ({"base_url": "https://external.xolta.com", "authority": "/tenant"}, "authority"),
        ({"authority": 3}, "authority"),
        ({"client_secret": None}, "client_secret"),
        ({"client_id": ""}, "client_id"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "one"}, "scopes"),
        ({"summary_path": "GetDataSummary"}, "summary_path"),
        ({"summary_path": "/api/GetDataSummary?last=3000"}, "summary_path"),
        ({"device_status_path": "/api/deviceStatus#top"}, "device_status_path"),
        ({"device_status_path": "/api/device status"}, "device_status_path"),
        ({"setpoint_unit": "MW"}, "setpoint_unit"),
        ({"setpoint_sign": 0}, "setpoint_sign"),
        ({"reads_per_minute": 0}, "reads_per_minute"),
        ({"time_fields": []}, "time_fields"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"clientid": "x"}, "clientid"),
    ],
)
def test_a_wrong_setting_is_named_and_never_shown(account, changes, field):
    with pytest.raises(ConfigurationError) as caught:
        create(account("http://127.0.0.1:1", **changes), lambda: NOW)

    assert field in str(caught.value)
    assert SONG not in str(caught.value) + repr(caught.value)


def test_the_defaults_are_the_vendors_and_control_is_off():
    settings = Settings(
        authority="https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555",
        client_id="c",
        client_secret=SECRET,
    )

    assert settings.base_url == "https://external.xolta.com"
    assert not settings.commissioned
    assert settings.setpoint_unit is None
    assert settings.setpoint_sign is None
    assert SONG not in repr(settings) + settings.model_dump_json()


def test_errors_share_a_base():
    assert issubclass(QuotaExceededError, AdapterError)
