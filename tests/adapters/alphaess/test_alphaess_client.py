"""Login, token, clock and return codes, against the emulated cloud and against a vendor that says what it is told."""

from __future__ import annotations

import asyncio
import datetime as dt
import pickle
from email.utils import format_datetime

import pytest

from adapters.alphaess import mapping
from adapters.contract import AdapterError, ConfigurationError, VendorUnavailableError
from adapters.vendor_codes import VendorCodeError

SERIAL_NUMBER = "AL0000000000001"
DISPATCH = mapping.dispatch_fields(SERIAL_NUMBER, 1.0, 0.2)


@pytest.fixture
def session(connect):
    """Run a coroutine with an open client: `session(url, clock, lambda client: ...)`."""

    def run(url, clock, work, **changes):
        async def main():
            async with connect(url, clock, **changes) as client:
                return await work(client)

        return asyncio.run(main())

    return run


def read(client):
    return client.get_running_data(SERIAL_NUMBER)


# --- login ---


def test_the_first_call_logs_in_and_the_next_ones_do_not(session, emulate):
    world = emulate()

    async def work(client):
        first = await read(client)
        await client.get_last_power_data(SERIAL_NUMBER)
        await client.remote_dispatch(DISPATCH)
        return first

    (row,) = session(world.url, world.clock.now, work)

    assert row["Sn"] == SERIAL_NUMBER
    assert len(world.events("login")) == 1


def test_nothing_is_contacted_before_the_first_call(session, vendor, manual_clock):
    async def work(_):
        pass

    session(vendor.url, manual_clock, work)

    assert vendor.calls == []


def test_concurrent_first_calls_share_one_login(session, emulate):
    world = emulate()

    async def work(client):
        return await asyncio.gather(*[read(client) for _ in range(8)])

    rows = session(world.url, world.clock.now, work)

    assert [len(answer) for answer in rows] == [1] * 8
    assert len(world.events("login")) == 1


WRONG_CREDENTIALS = [
    pytest.param({"password": "pass1235"}, 11, id="password"),
    pytest.param({"username": "installer02"}, 9, id="user"),
    pytest.param({"api_secret": "f" * 32}, 4, id="secret"),
    pytest.param({"api_account": "apiacct02"}, 8, id="account"),
    pytest.param({"encryption_key": "api_secret"}, 11, id="encryption key"),
]


@pytest.mark.parametrize(("wrong", "code"), WRONG_CREDENTIALS)
def test_wrong_credentials_are_a_configuration_error_after_one_attempt(session, emulate, wrong, code):
    world = emulate()

    with pytest.raises(ConfigurationError, match=f"Login: ReturnCode {code} ") as caught:
        session(world.url, world.clock.now, read, **wrong)

    assert caught.value.retryable is False
    assert [event["code"] for event in world.events("login refused")] == [code]


@pytest.mark.parametrize(("wrong", "code"), WRONG_CREDENTIALS)
def test_refused_credentials_are_not_hammered(session, emulate, wrong, code):
    """Nothing has changed since the vendor refused them, and its lock-out policy is unknown."""
    world = emulate()

    async def work(client):
        for _ in range(10):
            with pytest.raises(ConfigurationError, match=f"ReturnCode {code} "):
                await read(client)

    session(world.url, world.clock.now, work, **wrong)

    assert len(world.events("login refused")) == 1


def test_concurrent_calls_with_refused_credentials_try_them_once(session, emulate):
    world = emulate()

    async def work(client):
        return await asyncio.gather(*[read(client) for _ in range(8)], return_exceptions=True)

    errors = session(world.url, world.clock.now, work, password="wrong")

    assert {type(error) for error in errors} == {ConfigurationError}
    assert len(world.events("login refused")) == 1


@pytest.mark.parametrize(
    "answer", [{"ReturnCode": 0}, {"ReturnCode": 0, "Token": None}, {"ReturnCode": 0, "Token": ""}]
)
def test_a_login_without_a_token_is_no_login(session, vendor, manual_clock, answer):
    vendor.on("Login", answer)

    with pytest.raises(VendorUnavailableError, match="no token"):
        session(vendor.url, manual_clock, read)

    assert vendor.count("GetRunningData") == 0


def test_the_token_is_found_in_any_case(session, vendor, manual_clock):
    vendor.on("Login", {"returncode": 0, "token": "a-token"})

    session(vendor.url, manual_clock, read)

    assert vendor.bodies("GetRunningData")[0]["Token"] == "a-token"


# --- a token that is lost ---


def test_a_lost_token_costs_one_login_and_one_repetition(session, emulate):
    world = emulate()

    async def work(client):
        await read(client)
        world.login()  # somebody else: the account has one session
        return await read(client)

    (row,) = session(world.url, world.clock.now, work)

    assert row["Sn"] == SERIAL_NUMBER
    assert len(world.events("login")) == 3
    assert [(event["call"], event["code"]) for event in world.events("call refused")] == [("GetRunningData", 14)]


def test_a_dispatch_whose_token_is_lost_is_done_once(session, emulate):
    world = emulate()

    async def work(client):
        await read(client)
        world.login()
        await client.remote_dispatch(DISPATCH)

    session(world.url, world.clock.now, work)

    assert [event["code"] for event in world.events("call refused")] == [14]
    assert world.log.count("started", SERIAL_NUMBER) == 1
    assert world.log.count("renewed", SERIAL_NUMBER) == 0


def test_concurrent_calls_whose_token_is_lost_share_one_login(session, emulate):
    world = emulate()

    async def work(client):
        await read(client)
        world.login()
        calls = [read(client) for _ in range(6)] + [client.remote_dispatch(DISPATCH) for _ in range(2)]
        return await asyncio.gather(*calls)

    answers = session(world.url, world.clock.now, work)

    assert [len(answer) for answer in answers[:6]] == [1] * 6
    assert len(world.events("login")) == 3
    assert world.log.count("started", SERIAL_NUMBER) + world.log.count("renewed", SERIAL_NUMBER) == 2


@pytest.mark.parametrize("code", [14, 16, 23])
def test_each_code_of_a_lost_token_leads_to_a_new_login(session, vendor, manual_clock, code):
    vendor.on("GetRunningData", {"ReturnCode": code}, {"ReturnCode": 0, "Result": [{"Sn": SERIAL_NUMBER}]})

    assert session(vendor.url, manual_clock, read) == [{"Sn": SERIAL_NUMBER}]
    assert (vendor.count("Login"), vendor.count("GetRunningData")) == (2, 2)


@pytest.mark.parametrize("code", [14, 16, 23])
@pytest.mark.parametrize(
    ("name", "call"),
    [
        pytest.param("GetRunningData", read, id="read"),
        pytest.param("RemoteDispatch", lambda client: client.remote_dispatch(DISPATCH), id="dispatch"),
    ],
)
def test_a_token_that_is_refused_again_is_given_up(session, vendor, manual_clock, name, call, code):
    vendor.on(name, {"ReturnCode": code})

    with pytest.raises(VendorCodeError) as caught:
        session(vendor.url, manual_clock, call)

    assert caught.value.code == code
    assert (vendor.count("Login"), vendor.count(name)) == (2, 2)


@pytest.mark.parametrize(("unused_s", "logins"), [(5399, 1), (5400, 1), (5401, 2)])
def test_a_token_lasts_90_minutes_without_use(session, emulate, unused_s, logins):
    world = emulate()

    async def work(client):
        await read(client)
        world.step(unused_s)
        await read(client)

    session(world.url, world.clock.now, work)

    assert len(world.events("login")) == logins


def test_use_keeps_a_token_alive(session, emulate):
    world = emulate()

    async def work(client):
        await read(client)
        for _ in range(3):
            world.step(80 * 60)
            await read(client)

    session(world.url, world.clock.now, work)

    assert len(world.events("login")) == 1


# --- a clock that is wrong ---


def shifted(clock, seconds):
    return lambda: clock() + dt.timedelta(seconds=seconds)


@pytest.mark.parametrize("wrong_by_s", [-239, -200, -30, -1, 0, 1, 30, 200, 239])
def test_a_clock_that_is_a_little_wrong_does_no_harm(session, emulate, wrong_by_s):
    world = emulate()

    async def work(client):
        await read(client)
        await client.remote_dispatch(DISPATCH)

    session(world.url, shifted(world.clock.now, wrong_by_s), work)

    assert world.log.count("started", SERIAL_NUMBER) == 1
    assert world.events("call refused") == world.events("login refused") == []


@pytest.mark.parametrize("wrong_by_s", [-239, -30, -1, 0, 1, 30, 239])
def test_calls_are_signed_with_the_vendors_time(session, vendor, reply, manual_clock, start, signature, wrong_by_s):
    date = format_datetime(start, usegmt=True)
    vendor.on("Login", reply.of({"ReturnCode": 0, "Token": "t"}, Date=date))
    manual_clock.time = start + dt.timedelta(seconds=wrong_by_s)

    session(vendor.url, manual_clock, read)

    (body,) = vendor.bodies("GetRunningData")
    assert body["timestamp"] == int(start.timestamp())
    assert body["sign"] == signature(body, "0123456789abcdef0123456789abcdef")


@pytest.mark.parametrize("wrong_by_s", [-1200, -301, -250, 250, 301, 1200])
def test_a_clock_that_is_far_wrong_is_a_configuration_error_and_nothing_is_dispatched(session, emulate, wrong_by_s):
    world = emulate()

    with pytest.raises(ConfigurationError, match="clock"):
        session(world.url, shifted(world.clock.now, wrong_by_s), lambda client: client.remote_dispatch(DISPATCH))

    assert world.log.count("started", SERIAL_NUMBER) == 0
    assert len(world.events("login refused")) <= 1


@pytest.mark.parametrize("wrong_by_s", [-1200, 250, 1200])
def test_a_clock_that_is_far_wrong_still_reads_and_releases_and_drives_again_once_put_right(
    session, emulate, wrong_by_s
):
    world = emulate()
    error_s = wrong_by_s

    async def work(client):
        nonlocal error_s
        with pytest.raises(ConfigurationError, match="clock"):
            await client.remote_dispatch(DISPATCH)
        await client.remote_dispatch({**DISPATCH, "Status": 0})
        rows = await read(client)
        error_s = 0
        await read(client)
        await client.remote_dispatch(DISPATCH)
        return rows

    rows = session(world.url, lambda: world.clock.now() + dt.timedelta(seconds=error_s), work)

    assert len(rows) == 1
    assert [world.log.count(event, SERIAL_NUMBER) for event in ("stopped", "started")] == [1, 1]


def test_a_refused_timestamp_is_signed_anew_with_the_time_that_came_with_the_refusal(
    session, vendor, reply, manual_clock, start
):
    date = format_datetime(start + dt.timedelta(seconds=200), usegmt=True)
    vendor.on("GetRunningData", reply.of({"ReturnCode": 3}, Date=date), {"ReturnCode": 0, "Result": []})

    session(vendor.url, manual_clock, read)

    first, second = vendor.bodies("GetRunningData")
    assert second["timestamp"] - first["timestamp"] == 200


@pytest.mark.parametrize(
    ("name", "call"),
    [
        pytest.param("GetRunningData", read, id="read"),
        pytest.param("RemoteDispatch", lambda client: client.remote_dispatch(DISPATCH), id="dispatch"),
    ],
)
def test_a_timestamp_that_is_refused_again_is_given_up(session, vendor, manual_clock, name, call):
    vendor.on(name, {"ReturnCode": 3})

    with pytest.raises(VendorCodeError, match="ReturnCode 3 "):
        session(vendor.url, manual_clock, call)

    assert vendor.count(name) == 2


# --- return codes ---


@pytest.mark.parametrize("code", [2, 4, 8, 9, 11, 12, 15])
def test_a_code_that_only_people_can_mend_is_a_configuration_error(session, vendor, manual_clock, code):
    vendor.on("GetRunningData", {"ReturnCode": code})

    with pytest.raises(ConfigurationError, match=f"ReturnCode {code} "):
        session(vendor.url, manual_clock, read)

    assert vendor.count("GetRunningData") == 1


@pytest.mark.parametrize("code", [-1, 1, 5, 6, 7, 10, 13, 17, 31, 38, 6001, -7])
def test_every_other_code_is_a_failure_that_carries_its_number(session, vendor, manual_clock, code):
    vendor.on("GetRunningData", {"ReturnCode": code, "Result": [{"Sn": SERIAL_NUMBER}]})

    with pytest.raises(VendorCodeError) as caught:
        session(vendor.url, manual_clock, read)

    assert (caught.value.code, caught.value.retryable) == (code, True)


def test_a_code_may_come_as_text_and_in_any_case(session, vendor, manual_clock):
    vendor.on("GetRunningData", {"RETURNCODE": "0", "Result": [{"Sn": SERIAL_NUMBER}]})

    assert len(session(vendor.url, manual_clock, read)) == 1


@pytest.mark.parametrize(
    "answer", [{}, {"ReturnCode": None}, {"ReturnCode": "fine"}, {"ReturnCode": True}, {"ReturnCode": []}]
)
def test_an_answer_without_a_code_is_nonsense(session, vendor, manual_clock, answer):
    vendor.on("GetRunningData", answer)

    with pytest.raises(VendorUnavailableError, match="no ReturnCode"):
        session(vendor.url, manual_clock, read)


@pytest.mark.parametrize(
    "answer", [{"ReturnCode": 0, "Result": None}, {"ReturnCode": 0}, {"ReturnCode": 0, "Result": []}]
)
@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("GetRunningData", read),
        ("GetLastPowerData", lambda client: client.get_last_power_data(SERIAL_NUMBER)),
        ("GetEnergySummary", lambda client: client.get_energy_summary(SERIAL_NUMBER, dt.date(2024, 5, 1))),
        ("GetSystemList", lambda client: client.get_system_list()),
    ],
)
def test_no_result_is_no_data(session, vendor, manual_clock, name, call, answer):
    vendor.on(name, answer)

    assert session(vendor.url, manual_clock, call) == []


@pytest.mark.parametrize(
    ("result", "rows"),
    [({"Sn": "AL1"}, [{"Sn": "AL1"}]), ([None, 5, {"Sn": "AL1"}, "x"], [{"Sn": "AL1"}]), ("nothing", []), (7, [])],
)
def test_only_rows_are_taken_for_rows(session, vendor, manual_clock, result, rows):
    vendor.on("GetRunningData", {"ReturnCode": 0, "Result": result})

    assert session(vendor.url, manual_clock, read) == rows


@pytest.mark.parametrize(
    "result",
    [
        pytest.param([{"Sn": "AL1"}], id="a bare list"),
        pytest.param("nothing", id="a text"),
        pytest.param({"Systems": [{"Sn": str(n)} for n in range(50)], "TotalPageCount": "N/A"}, id="no page count"),
        pytest.param({"Systems": 7}, id="a number of systems"),
    ],
)
def test_a_system_list_of_another_shape_is_a_typed_error_or_a_list(session, vendor, manual_clock, result):
    vendor.on("GetSystemList", {"ReturnCode": 0, "Result": result}, {"ReturnCode": 0, "Result": None})

    try:
        answer = session(vendor.url, manual_clock, lambda client: client.get_system_list())
    except AdapterError:
        return

    assert all(isinstance(row, dict) for row in answer)


# --- failures of network and server ---

FAULTS = {
    "not JSON": {"body": b"<html>Bad gateway</html>"},
    "empty": {"body": b""},
    "half a body": {"body": b'{"ReturnCode": 0, "Result": null}', "cuts": True},
    "a list": {"body": b"[]"},
    "null": {"body": b"null"},
    "500": {"status": 500},
    "503": {"status": 503},
    "302": {"status": 302, "headers": {"Location": "/ras/v2/GetLastPowerData"}},
}


@pytest.mark.parametrize("name", ["Login", "GetRunningData"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_read_that_gets_no_usable_answer_says_that_the_vendor_is_unavailable(
    session, vendor, reply, manual_clock, fault, name
):
    vendor.on(name, reply(**FAULTS[fault]))

    with pytest.raises(VendorUnavailableError, match=name) as caught:
        session(vendor.url, manual_clock, read)

    assert caught.value.retryable is True
    assert vendor.count("GetLastPowerData") == 0


@pytest.mark.parametrize("name", ["Login", "GetRunningData"])
@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_request_that_the_server_refuses_is_not_repeated(session, vendor, reply, manual_clock, name, status):
    vendor.on(name, reply(b"", status))

    with pytest.raises(VendorUnavailableError, match=f"{name}: HTTP {status}") as caught:
        session(vendor.url, manual_clock, read)

    assert caught.value.retryable is False
    assert vendor.count(name) == 1


@pytest.mark.parametrize("name", ["Login", "GetRunningData"])
def test_silence_is_a_typed_error(session, vendor, reply, manual_clock, name):
    vendor.on(name, reply(stalls=True))

    with pytest.raises(VendorUnavailableError, match=name):
        session(vendor.url, manual_clock, read, timeout_s=0.2)


def test_a_refused_connection_is_a_typed_error(session, closed_port_url, manual_clock):
    with pytest.raises(VendorUnavailableError, match="no connection"):
        session(closed_port_url, manual_clock, read)


def test_a_failed_login_is_tried_again_by_the_next_call(session, vendor, reply, manual_clock):
    vendor.on("Login", *[reply(b"", 503)] * 3, {"ReturnCode": 0, "Token": "t"})

    async def work(client):
        with pytest.raises(VendorUnavailableError):
            await read(client)
        return await read(client)

    assert session(vendor.url, manual_clock, work) == []
    assert vendor.count("Login") == 4


@pytest.mark.parametrize(
    "answer", [{"body": b'{"ReturnCode": 99}'}, {"body": b'{"ReturnCode": 4}'}, {"status": 500}, {"status": 400}]
)
def test_an_error_can_be_stored_and_comes_back_the_same(session, vendor, reply, manual_clock, answer):
    """Task queues and process pools hand errors on by pickling them."""
    vendor.on("GetRunningData", reply(**answer))

    with pytest.raises(AdapterError) as caught:
        session(vendor.url, manual_clock, read)

    copy = pickle.loads(pickle.dumps(caught.value))
    assert (type(copy), str(copy), vars(copy)) == (type(caught.value), str(caught.value), vars(caught.value))


# --- the serial number ---


@pytest.mark.parametrize("serial_number", [None, "", "  ", "\t\n"])
def test_a_dispatch_without_a_serial_number_never_reaches_a_socket(session, vendor, manual_clock, serial_number):
    with pytest.raises(ConfigurationError, match="Sn"):
        session(vendor.url, manual_clock, lambda client: client.remote_dispatch({**DISPATCH, "Sn": serial_number}))

    assert vendor.calls == []


def test_a_dispatch_without_even_the_name_of_the_serial_number_never_reaches_a_socket(session, vendor, manual_clock):
    fields = {name: value for name, value in DISPATCH.items() if name != "Sn"}

    with pytest.raises(ConfigurationError, match="Sn"):
        session(vendor.url, manual_clock, lambda client: client.remote_dispatch(fields))

    assert vendor.calls == []
