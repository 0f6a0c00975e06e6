"""What goes over the wire, field by field against the document, as a server on loopback received it."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.alphaess import mapping

SERIAL_NUMBER = "AL0000000000001"
DAY = dt.date(2023, 11, 14)

EVERYWHERE = {"api_account": str, "timestamp": int, "sign": str}
WITH_TOKEN = {**EVERYWHERE, "Token": str}

# Sections 1 to 7: every request parameter with the type that the document gives it.
DOCUMENT = {
    "Login": {**EVERYWHERE, "username": str, "password": str},
    "GetSystemList": {**WITH_TOKEN, "pageindex": int, "pagesize": int},
    "GetEnergySummary": {**WITH_TOKEN, "Sn": str, "TheDate": str},
    "GetRunningData": {**WITH_TOKEN, "Sn": str},
    "GetHistoryRunningData": {**WITH_TOKEN, "Sn": str, "Starttime": str, "endtime": str},
    "GetLastPowerData": {**WITH_TOKEN, "Sn": str},
    "RemoteDispatch": {
        **WITH_TOKEN,
        "Sn": str,
        "ActivePower": int,
        "ReactivePower": int,
        "SOC": int,
        "Status": int,
        "ControlMode": int,
    },
}

CALLS = {
    "Login": lambda client: client.get_running_data(SERIAL_NUMBER),
    "GetSystemList": lambda client: client.get_system_list(),
    "GetEnergySummary": lambda client: client.get_energy_summary(SERIAL_NUMBER, DAY),
    "GetRunningData": lambda client: client.get_running_data(SERIAL_NUMBER),
    "GetHistoryRunningData": lambda client: client.get_history_running_data(
        SERIAL_NUMBER, dt.datetime(2023, 11, 14, tzinfo=dt.UTC), dt.datetime(2023, 11, 14, 23, 59, 59, tzinfo=dt.UTC)
    ),
    "GetLastPowerData": lambda client: client.get_last_power_data(SERIAL_NUMBER),
    "RemoteDispatch": lambda client: client.remote_dispatch(mapping.dispatch_fields(SERIAL_NUMBER, 2.5, 0.38)),
}

WITH_SERIAL_NUMBER = [name for name, fields in DOCUMENT.items() if "Sn" in fields]

# Made by hand with other tools, of the second 1700000000.
SIGNATURES = {
    "Login": "17a3ded38dd07ba863f597fcfb3637d9",
    "GetSystemList": "4d823ccbc84118ce154e5dffbedd07b4",
    "GetEnergySummary": "6498ec1c22a103ebc540f2a0b5a79c2d",
    "GetRunningData": "b324f5e497ded97b062ea43250bb16b3",
    "GetHistoryRunningData": "ca7c4e8a40084c5822e1729ece0412eb",
    "RemoteDispatch": "8479119a63579f2b91c452840690daca",
}


@pytest.fixture
def sent(vendor, connect, manual_clock):
    """The one request of a name that a call leads to."""

    def send(name, **changes):
        async def session():
            async with connect(vendor.url, manual_clock, **changes) as client:
                await CALLS[name](client)

        asyncio.run(session())
        (request,) = [call for call in vendor.calls if call.name == name]
        return request

    return send


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_call_is_posted_to_the_documents_address(sent, name):
    request = sent(name)

    assert (request.method, request.path) == ("POST", f"/ras/v2/{name}")


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_call_carries_json(sent, name):
    assert sent(name).headers["Content-Type"] == "application/json"


@pytest.mark.parametrize("name", DOCUMENT)
def test_a_call_has_the_documents_fields_in_its_casing_and_types_and_no_others(sent, name):
    assert {key: type(value) for key, value in sent(name).body.items()} == DOCUMENT[name]


@pytest.mark.parametrize("name", DOCUMENT)
def test_the_signature_is_what_an_independent_implementation_makes_of_the_body(sent, signature, name):
    body = sent(name).body

    assert body["sign"] == signature(body, "0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize("name", SIGNATURES)
def test_the_signature_is_the_vectors(sent, manual_clock, name):
    manual_clock.time = dt.datetime.fromtimestamp(1_700_000_000, dt.UTC)

    assert sent(name).body["sign"] == SIGNATURES[name]


@pytest.mark.parametrize("name", DOCUMENT)
def test_the_timestamp_is_whole_seconds_of_utc(sent, manual_clock, name):
    manual_clock.time = dt.datetime(2024, 5, 1, 14, 0, 0, 900_000, dt.timezone(dt.timedelta(hours=2)))

    assert sent(name).body["timestamp"] == 1_714_564_800


@pytest.mark.parametrize("name", [name for name in DOCUMENT if name != "Login"])
def test_the_token_of_the_login_comes_along(sent, vendor, name):
    vendor.token = "a-token-of-this-test"

    assert sent(name).body["Token"] == "a-token-of-this-test"


@pytest.mark.parametrize("name", WITH_SERIAL_NUMBER)
def test_the_serial_number_is_always_there(sent, name):
    assert sent(name).body["Sn"] == SERIAL_NUMBER


@pytest.mark.parametrize("name", DOCUMENT)
def test_the_secret_and_the_password_stay_at_home(sent, vendor, name):
    sent(name, password="a plain password", api_secret="an api secret")

    everything = "".join(f"{call.path}{call.headers}{call.text}" for call in vendor.calls)
    assert "a plain password" not in everything
    assert "an api secret" not in everything
    assert "secretkey" not in everything.lower()


@pytest.mark.parametrize(
    ("encryption_key", "seed"), [("username", "installer01"), ("api_secret", "0123456789abcdef0123456789abcdef")]
)
def test_the_password_is_encrypted_with_the_key_that_the_settings_name(sent, decryption, encryption_key, seed):
    body = sent("Login", encryption_key=encryption_key).body

    assert body["username"] == "installer01"
    assert decryption(body["password"], seed) == "pass1234"


def test_a_dispatch_carries_the_documents_example(sent):
    body = sent("RemoteDispatch").body

    dispatch = {name: body[name] for name in ("ActivePower", "ReactivePower", "SOC", "Status", "ControlMode")}
    assert dispatch == {"ActivePower": 34_500, "ReactivePower": 32_000, "SOC": 95, "Status": 1, "ControlMode": 2}


def test_the_day_of_an_energy_summary_is_written_with_dashes(sent):
    assert sent("GetEnergySummary").body["TheDate"] == "2023-11-14"


def test_the_times_of_a_history_are_written_with_slashes(sent):
    body = sent("GetHistoryRunningData").body

    assert (body["Starttime"], body["endtime"]) == ("2023/11/14 00:00:00", "2023/11/14 23:59:59")


def test_the_times_of_a_history_are_in_the_zone_of_the_upload_times(sent):
    body = sent("GetHistoryRunningData", upload_time_zone="Asia/Shanghai").body

    assert (body["Starttime"], body["endtime"]) == ("2023/11/14 08:00:00", "2023/11/15 07:59:59")


@pytest.mark.parametrize("length", [dt.timedelta(seconds=-1), dt.timedelta(days=1, seconds=1)])
def test_a_history_that_is_no_part_of_one_day_is_not_asked_for(vendor, connect, manual_clock, length):
    async def session():
        async with connect(vendor.url, manual_clock) as client:
            await client.get_history_running_data(SERIAL_NUMBER, manual_clock(), manual_clock() + length)

    with pytest.raises(ValueError, match="one day at a time"):
        asyncio.run(session())
    assert vendor.calls == []


def test_a_day_of_25_hours_is_one_day(vendor, connect, manual_clock):
    async def session():
        async with connect(vendor.url, manual_clock, upload_time_zone="Europe/Copenhagen") as client:
            begin = dt.datetime(2024, 10, 26, 22, tzinfo=dt.UTC)
            await client.get_history_running_data(SERIAL_NUMBER, begin, begin + dt.timedelta(hours=25))

    asyncio.run(session())
    (body,) = vendor.bodies("GetHistoryRunningData")
    assert (body["Starttime"], body["endtime"]) == ("2024/10/27 00:00:00", "2024/10/28 00:00:00")


def systems(first, count):
    return [{"Sn": f"AL{number}"} for number in range(first, first + count)]


@pytest.mark.parametrize("key", ["Systems", "Items"])
def test_the_system_list_is_read_page_by_page_in_both_spellings(vendor, connect, manual_clock, key):
    pages = [systems(0, 50), systems(50, 50), systems(100, 7)]
    vendor.on(
        "GetSystemList",
        *[
            {"ReturnCode": 0, "Result": {"TotalPageCount": 3, "PageIndex": page, "TotalCount": 107, key: rows}}
            for page, rows in enumerate(pages, start=1)
        ],
    )

    async def session():
        async with connect(vendor.url, manual_clock) as client:
            return await client.get_system_list()

    assert asyncio.run(session()) == systems(0, 107)
    assert [(body["pageindex"], body["pagesize"]) for body in vendor.bodies("GetSystemList")] == [
        (1, 50),
        (2, 50),
        (3, 50),
    ]


@pytest.mark.parametrize(
    ("rows", "pages", "calls"),
    [
        pytest.param(systems(0, 50), 1, 1, id="a full last page"),
        pytest.param(systems(0, 49), 0, 1, id="a page that is not full"),
        pytest.param(systems(0, 49), 9, 2, id="a page that is repeated, whatever the count says"),
        pytest.param([], 0, 1, id="nothing at all"),
    ],
)
def test_the_last_page_of_the_system_list_is_noticed(vendor, connect, manual_clock, rows, pages, calls):
    vendor.on("GetSystemList", {"ReturnCode": 0, "Result": {"TotalPageCount": pages, "PageIndex": 1, "Systems": rows}})

    async def session():
        async with connect(vendor.url, manual_clock) as client:
            return await client.get_system_list()

    assert asyncio.run(session()) == rows
    assert vendor.count("GetSystemList") == calls
