"""The emulated cloud on its own: it refuses what the vendor refuses, asked without our client."""

from __future__ import annotations

import asyncio
import datetime as dt
import json

import httpx
import pytest

from adapters.emulation import Cloud, EmulatedClock, EmulatedSite, EventLog, FaultBox
from adapters.xolta.adapter import create
from adapters.xolta.emulator import CADENCES_S, build
from adapters.xolta.mapping import State

SCOPE = "https://Xolta.onmicrosoft.com/TelemetryAPI/.default"
DEVICE_ID = "BAT-80-0001"


class Caller:
    """Whoever speaks HTTP."""

    def __init__(self, world):
        self.world, self.http = world, httpx.Client(base_url=world.url, timeout=5)
        self.token = None

    def login(self, **changes):
        form = {
            "grant_type": "client_credentials",
            "client_id": "client-1",
            "client_secret": "secret-1",
            "scope": SCOPE,
            **changes,
        }
        return self.http.post("/tenant-1/oauth2/v2.0/token", data=form)

    def call(self, method, path, **more):
        if self.token is None:
            self.token = self.login().json()["access_token"]
        return self.http.request(method, path, headers={"Authorization": f"Bearer {self.token}"}, **more)

    def command(self, name, payload, device_id=DEVICE_ID, **more):
        body = {"DeviceId": device_id, "CommandName": name, "Payload": payload, **more}
        return self.call("POST", "/api/SendStateModeCommand", json=body)

    def points(self, *points):
        entries = {
            str(place): {"utcTime": at, "batteryActivePower": value} for place, (at, value) in enumerate(points, 1)
        }
        return self.command("GoToMode_ExternalControl", {"setPoint": entries})


@pytest.fixture
def caller(emulate):
    callers = []

    def make(**words):
        callers.append(Caller(emulate(**words)))
        return callers[-1]

    yield make
    for one in callers:
        one.http.close()


def test_discovery_leads_to_https(caller):
    one = caller()
    answer = one.http.get("/tenant-1/v2.0/.well-known/openid-configuration").json()

    assert answer["token_endpoint"] == f"https://{one.http.base_url.netloc.decode()}/tenant-1/oauth2/v2.0/token"
    assert one.http.get("/tenant-2/v2.0/.well-known/openid-configuration").status_code == 404


@pytest.mark.parametrize(
    ("changes", "status", "error"),
    [
        ({}, 200, None),
        ({"grant_type": "password"}, 400, "unsupported_grant_type"),
        ({"client_id": "another"}, 400, "unauthorized_client"),
        ({"client_secret": "guess"}, 401, "invalid_client"),
        ({"client_secret": ""}, 401, "invalid_client"),
        ({"scope": "https://graph.microsoft.com/.default"}, 400, "invalid_scope"),
    ],
)
def test_the_authority_knows_one_client(caller, changes, status, error):
    answer = caller().login(**changes)

    assert answer.status_code == status
    assert answer.json().get("error") == error
    assert ("access_token" in answer.json()) is (error is None)


@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer x"}, {"Authorization": "Basic eDp5"}])
def test_without_a_token_nothing_is_told(caller, header):
    assert caller().http.get("/api/deviceStatus", headers=header).status_code == 401


def test_a_token_ends_after_an_hour(caller):
    one = caller()
    assert one.call("GET", "/api/deviceStatus").status_code == 200
    one.world.step(3600)
    assert one.call("GET", "/api/deviceStatus").status_code == 401


def test_samples_arrive_once_a_minute(caller):
    one = caller()
    one.world.step(59)
    assert one.call("GET", "/api/deviceStatus").json()[0]["utcTime"] == "2024-05-01T12:00:00Z"
    one.world.step(61)
    assert one.call("GET", "/api/deviceStatus").json()[0]["utcTime"] == "2024-05-01T12:02:00Z"


def test_who_asks_too_often_is_warned_then_locked_out_and_longer_for_asking(caller):
    one = caller()
    one.world.switch(ban_s=120)
    statuses = []
    for _ in range(6):
        statuses.append(one.call("GET", "/api/deviceStatus").status_code)
        one.world.step(10)
    assert statuses == [200, 200, 200, 200, 429, 429]
    assert one.call("GET", "/api/GetMetaData").status_code == 200
    one.world.step(100)
    refused = one.call("GET", "/api/deviceStatus")
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "120")
    one.world.step(121)
    assert one.call("GET", "/api/deviceStatus").status_code == 200


@pytest.mark.parametrize(
    ("at", "value", "status"),
    [
        ("2024-05-01T12:00:00Z", 1.0, 200),
        ("2024-05-01T12:00:00Z", 1, 200),
        ("2024-05-01T12:00:00.000Z", 1.0, 400),
        ("2024-05-01T12:00:00+00:00", 1.0, 400),
        ("2024-05-01T12:00:00", 1.0, 400),
        ("2024-05-01 12:00:00Z", 1.0, 400),
        ("2024-13-01T12:00:00Z", 1.0, 400),
        (1714564800, 1.0, 400),
        ("2024-05-01T12:00:00Z", "1.0", 400),
        ("2024-05-01T12:00:00Z", True, 400),
        ("2024-05-01T12:00:00Z", None, 400),
        ("2024-05-01T12:00:00Z", 1e9, 400),
    ],
)
def test_a_set_point_is_checked(caller, at, value, status):
    one = caller()

    assert one.points((at, value)).status_code == status
    assert len(one.world.events("command")) == (status == 200)


@pytest.mark.parametrize(
    "body",
    [
        [],
        {},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_SelfConsumption"},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_SelfConsumption", "Payload": {}},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_SelfConsumption", "Payload": "", "More": 1},
        {"DeviceId": DEVICE_ID, "CommandName": "SelfConsumption", "Payload": ""},
        {"DeviceId": DEVICE_ID, "CommandName": ["x"], "Payload": ""},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_ExternalControl", "Payload": ""},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_ExternalControl", "Payload": {"setPoint": {}}},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_ExternalControl", "Payload": {"setPoint": {"0": {}}}},
        {"DeviceId": DEVICE_ID, "CommandName": "GoToMode_ExternalControl", "Payload": {"setPoint": {"1": {}}}},
    ],
)
def test_a_command_of_another_shape_is_refused(caller, body):
    one = caller()
    answer = one.call("POST", "/api/SendStateModeCommand", content=json.dumps(body))

    assert answer.status_code == 400
    assert one.world.events("command") == []


def test_a_command_to_another_device_is_refused(caller):
    assert caller().command("GoToMode_SelfConsumption", "", device_id="other").status_code == 404


def test_set_points_take_hold_at_their_times(caller):
    one = caller()
    one.points(("2024-05-01T12:01:00Z", -3.0), ("2024-05-01T12:02:00Z", 4.0), ("2024-05-01T12:03:00Z", 0.0))
    seen = []
    for _ in range(5):
        one.world.step(50)
        seen.append(round(one.world.battery_kw, 3))
        one.world.step(10)
    assert seen == [2.0, -3.0, 4.0, 0.0, 0.0]


def test_a_new_map_replaces_the_old(caller):
    one = caller()
    one.points(("2024-05-01T12:00:00Z", -3.0), ("2024-05-01T12:05:00Z", 5.0))
    one.world.step(60)
    one.points(("2024-05-01T12:01:00Z", 1.0))
    one.world.step(600)
    assert one.world.battery_kw == pytest.approx(1.0)


def test_power_beyond_the_rating_is_clipped(caller):
    one = caller(load_kw=0.0)
    one.points(("2024-05-01T12:00:00Z", 1000.0))
    one.world.step(120)
    assert one.world.battery_kw == pytest.approx(30.0)


def test_an_idling_device_takes_commands_that_come_to_nothing_and_shows_old_numbers_as_new(caller):
    one = caller(load_kw=6.0)
    one.world.step(120)
    one.command("GoToState_Idling", "")
    one.points(("2024-05-01T12:02:00Z", -5.0))
    one.world.step(120)
    row = one.call("GET", "/api/deviceStatus").json()[0]

    assert one.world.battery_kw == pytest.approx(0.0)
    assert row["state"] == "Idling"
    assert row["utcTime"] == "2024-05-01T12:04:00Z"
    assert row["inverterActivePower"] == pytest.approx(6.0)

    one.command("GoToState_Running", "")
    one.world.step(20)
    assert one.world.device.state is State.IDLING
    one.world.step(60)
    assert one.world.device.state is State.RUNNING
    assert one.world.battery_kw == pytest.approx(6.0)


@pytest.mark.parametrize(
    "query",
    [
        {"toDateTime": "2024-05-01T12:10:00Z"},
        {"fromDateTime": "2024-05-01T12:00:00.5Z"},
        {"fromDateTime": "2024-05-01T13:00:00Z"},
        {"fromDateTime": "2024-04-01T00:00:00Z"},
        {"DeviceId": "other"},
    ],
)
def test_a_history_call_is_checked(caller, query):
    good = {
        "DeviceId": DEVICE_ID,
        "fromDateTime": "2024-05-01T12:00:00Z",
        "toDateTime": "2024-05-01T12:10:00Z",
    }
    one = caller()
    one.world.step(600)
    assert one.call("GET", "/api/GetTelemetryRaw", params=good).status_code == 200
    wrong = query if query.keys() == {"toDateTime"} else {**good, **query}
    assert one.call("GET", "/api/GetTelemetryRaw", params=wrong).status_code == 400


@pytest.mark.parametrize(
    "query", [{"resolutionMin": "15"}, {"resolutionMin": "x"}, {"CalculateConsumptionNeeded": "yes"}, {"SiteId": "s"}]
)
def test_a_summary_call_is_checked(caller, query):
    good = {
        "DeviceId": DEVICE_ID,
        "fromDateTime": "2024-05-01T12:00:00Z",
        "toDateTime": "2024-05-01T12:10:00Z",
        "resolutionMin": "10",
        "CalculateConsumptionNeeded": "false",
    }
    one = caller()
    one.world.step(600)
    assert one.call("GET", "/api/GetDataSummary", params=good).status_code == 200
    assert one.call("GET", "/api/GetDataSummary", params={**good, **query}).status_code == 400


def test_a_cloud_is_built_with_throw_away_credentials_that_an_adapter_takes(emulate, loopback_server):
    world = emulate()
    site = world.device.site
    clock, log, faults = EmulatedClock(dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC), None), EventLog(), FaultBox()
    own = EmulatedSite("D2", site.plant, site.house, clock.now(), CADENCES_S, log, faults)
    cloud: Cloud = build([own], clock, log, faults)
    other = build([own], clock, log, faults)
    loopback_server.app = cloud.app

    async def work():
        adapter = create({"base_url": loopback_server.url, **cloud.account()}, clock.now)
        found = await adapter.devices()
        await adapter.close()
        return found

    assert [device.device_id for device in asyncio.run(work())] == ["D2"]
    assert cloud.account()["client_secret"] != other.account()["client_secret"]
    assert cloud.account()["client_secret"] not in repr(cloud._account)
