"""Login, token and clock, against the emulated cloud and against a vendor that says what it is told."""

from __future__ import annotations

import asyncio
import datetime as dt
from email.utils import format_datetime

import pytest

from adapters.contract import ConfigurationError, VendorUnavailableError
from adapters.vendor_codes import VendorCodeError
from tests.adapters.alphaess.calls import DISPATCH, read
from tests.adapters.alphaess.world import SERIAL_NUMBER

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
