"""Calls and fair use: against a scripted vendor for what it says, against the emulator for what it does."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from urllib.parse import parse_qs, urlsplit

import pytest

from adapters.contract import (
    Accepted,
    AdapterError,
    ConfigurationError,
    QuotaExceededError,
    Rejected,
    Unknown,
    VendorUnavailableError,
)
from adapters.xolta import mapping
from adapters.xolta.adapter import create
from tests.adapters.xolta.given import NOW, SECRET, STATUS, TOKEN


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


def test_errors_share_a_base():
    assert issubclass(QuotaExceededError, AdapterError)
