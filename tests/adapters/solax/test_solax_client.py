"""The one call of SolaX: what goes over the wire, what every answer becomes, and how seldom it is made."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import traceback

import pytest
from pydantic import SecretStr, ValidationError

from adapters.contract import (
    AdapterError,
    ConfigurationError,
    QuotaExceededError,
    VendorUnavailableError,
)
from adapters.solax.adapter import SolaxAdapter, create
from adapters.solax.client import KIND, Settings, SolaxClient
from adapters.solax.mapping import ErrorCode
from adapters.transport import NoAnswerError, NotSentError, RefusedRequestError
from adapters.vendor_codes import VendorCodeError

WIFI_SN = "SR00000001"
CANARY = "zwitscher-1"
PATH = "/api/v2/dataAccess/realtimeInfo/get"
ROW = {"sn": WIFI_SN, "soc": 50, "uploadTime": "2024-05-01 13:59:00"}
OK = {"success": True, "exception": "Query success!", "result": ROW, "code": 0}


def refusal(code, text="", **more):
    return {"success": False, "exception": text, "result": None, "code": code, **more}


def settings(url, **changes):
    return Settings.model_validate({"base_url": url, "token_id": CANARY, "timeout_s": 2.0, **changes})


@pytest.fixture
def talk(vendor, manual_clock):
    """Run `job(client)` against the scripted vendor."""

    def run(job, url=None, credentials=None, **changes):
        async def session():
            client = SolaxClient(settings(url or vendor.url, **changes), manual_clock, credentials=credentials)
            try:
                return await job(client)
            finally:
                await client.close()

        return asyncio.run(session())

    return run


@pytest.fixture
def ask(talk):
    """One question; the result or the error."""

    def run(sn=WIFI_SN, **changes):
        return talk(lambda client: client.realtime_info(sn), **changes)

    return run


# --- over the wire ---


def test_the_request_is_that_of_section_7_1(vendor, ask):
    vendor.on("get", OK)

    assert ask() == ROW

    (call,) = vendor.calls
    headers = {name.lower(): value for name, value in call.headers.items()}
    assert (call.method, call.path, call.body) == ("POST", PATH, {"wifiSn": WIFI_SN})
    assert headers["tokenid"] == CANARY
    assert headers["content-type"] == "application/json"
    assert CANARY not in call.path + call.text


def test_credentials_of_another_kind_take_the_place_of_the_token(vendor, ask):
    class Portal:
        async def headers(self):
            return {"Authorization": "Bearer abc"}

    vendor.on("get", OK)
    ask(credentials=Portal())

    headers = {name.lower() for name in vendor.calls[0].headers}
    assert "authorization" in headers
    assert "tokenid" not in headers


@pytest.mark.parametrize("sn", ["", " ", "\t"])
def test_an_empty_number_is_refused_before_a_socket_opens(vendor, ask, sn):
    with pytest.raises(ConfigurationError, match="wifiSn"):
        ask(sn)

    assert vendor.calls == []


# --- answers ---


@pytest.mark.parametrize(
    "result",
    [
        ROW,
        [ROW],
        {**ROW, "sn": WIFI_SN.lower()},
        {"uploadTime": "x"},
        [{**ROW, "sn": "SROTHER"}, ROW],
        [None, ROW],
        {"SN": WIFI_SN},
    ],
)
def test_the_result_may_be_an_object_or_a_list(vendor, ask, result):
    vendor.on("get", {**OK, "result": result})

    row = ask()

    assert {str(key).lower(): value for key, value in row.items()}.get("sn", WIFI_SN).upper() == WIFI_SN


@pytest.mark.parametrize("answer", [{**OK, "code": "0"}, {**OK, "success": "true"}, {"code": 0, "result": ROW}])
def test_success_may_be_written_in_other_ways(vendor, ask, answer):
    vendor.on("get", answer)

    assert ask() == ROW


def test_names_of_the_answer_come_in_any_case(vendor, ask):
    vendor.on("get", {"SUCCESS": True, "Code": 0, "Result": ROW})

    assert ask() == ROW


@pytest.mark.parametrize("answer", [{**OK, "result": None}, {**OK, "result": []}, refusal(2002, "Data not found")])
def test_no_data_is_no_reading(vendor, ask, answer):
    vendor.on("get", answer)

    assert ask() is None


@pytest.mark.parametrize("result", [{**ROW, "sn": "SROTHER"}, [{"sn": "SR1"}, {"sn": "SR2"}], [{}, {}]])
def test_an_answer_about_another_inverter_is_none_of_ours(vendor, ask, result):
    vendor.on("get", {**OK, "result": result})

    with pytest.raises(VendorUnavailableError, match="another inverter"):
        ask()


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1001, ConfigurationError),
        (1002, ConfigurationError),
        (1003, ConfigurationError),
        (1004, VendorCodeError),
        (2001, VendorCodeError),
        (4711, VendorCodeError),
        ("2001", VendorCodeError),
        (1, QuotaExceededError),
        (3, QuotaExceededError),
        (104, QuotaExceededError),
    ],
)
def test_every_code_has_its_type(vendor, ask, code, kind):
    vendor.on("get", refusal(code))

    with pytest.raises(AdapterError) as caught:
        ask()

    assert type(caught.value) is kind


def test_a_success_is_none_where_the_code_says_otherwise(vendor, ask):
    vendor.on("get", {**OK, "code": 2001})

    with pytest.raises(VendorCodeError) as caught:
        ask()

    assert caught.value.code == ErrorCode.FAILED
    assert "failed" in str(caught.value)


@pytest.mark.parametrize(
    "answer", [[], "ok", 7, None, {}, {"result": ROW}, {"success": False}, {**OK, "success": False}]
)
def test_an_answer_that_is_none_is_told_as_such(vendor, ask, answer):
    vendor.on("get", answer)

    with pytest.raises(VendorUnavailableError):
        ask()


# --- limits ---

TOO_OFTEN = refusal(104, "Request calls within the current minute > threshold")
BAN = refusal(3, "There have been several violations in a row, and the system will prohibit calls within the next hour")


@pytest.mark.parametrize(("answer", "minutes"), [(TOO_OFTEN, 5), (BAN, 60)])
def test_a_refusal_as_too_frequent_silences_the_account(vendor, talk, manual_clock, answer, minutes):
    vendor.on("get", answer, OK)

    async def job(client):
        with pytest.raises(QuotaExceededError) as first:
            await client.realtime_info(WIFI_SN)
        assert first.value.free_at == manual_clock() + dt.timedelta(minutes=minutes)
        manual_clock.time += dt.timedelta(minutes=minutes, seconds=-1)
        for sn in (WIFI_SN, "SROTHER"):
            with pytest.raises(QuotaExceededError):
                await client.realtime_info(sn)
        assert vendor.count("get") == 1
        manual_clock.time += dt.timedelta(seconds=1)
        return await client.realtime_info(WIFI_SN)

    assert talk(job) == ROW
    assert vendor.count("get") == 2


@pytest.mark.parametrize(
    ("retry_after", "minutes"), [({}, 5), ({"Retry-After": "1200"}, 20), ({"Retry-After": "x"}, 5)]
)
def test_http_429_is_a_limit_too(vendor, reply, ask, manual_clock, retry_after, minutes):
    vendor.on("get", reply(status=429, headers=retry_after))

    with pytest.raises(QuotaExceededError) as caught:
        ask()

    assert caught.value.free_at == manual_clock() + dt.timedelta(minutes=minutes)


def test_an_answer_is_given_again_until_the_next_poll(vendor, talk, manual_clock):
    vendor.on("get", OK, {**OK, "result": {**ROW, "soc": 51}})

    async def job(client):
        seen = []
        for _ in range(6):
            seen.append((await client.realtime_info(WIFI_SN))["soc"])
            manual_clock.time += dt.timedelta(seconds=30)
        return seen

    assert talk(job) == [50, 50, 50, 50, 50, 51]
    assert vendor.count("get") == 2


def test_the_time_between_polls_is_a_setting(vendor, talk, manual_clock):
    vendor.on("get", OK)

    async def job(client):
        for _ in range(3):
            await client.realtime_info(WIFI_SN)
            manual_clock.time += dt.timedelta(seconds=300)

    talk(job, poll_s=700)

    assert vendor.count("get") == 1


def test_callers_at_the_same_time_share_one_call(vendor, talk):
    vendor.on("get", OK)

    async def job(client):
        return await asyncio.gather(*(client.realtime_info(WIFI_SN) for _ in range(5)))

    assert talk(job) == [ROW] * 5
    assert vendor.count("get") == 1


def test_each_inverter_has_an_answer_of_its_own(vendor, talk):
    rows = [{**ROW, "sn": sn} for sn in ("SR1", "SR2")]
    vendor.on("get", *[{**OK, "result": row} for row in rows])

    async def job(client):
        return [await client.realtime_info(sn) for sn in ("SR1", "SR2", "SR1")]

    assert talk(job) == [rows[0], rows[1], rows[0]]
    assert vendor.count("get") == 2


def test_nine_calls_a_minute_and_no_more(vendor, talk, manual_clock):
    vendor.on("get", refusal(2002))

    async def job(client):
        for number in range(9):
            await client.realtime_info(f"SR{number}")
        with pytest.raises(QuotaExceededError) as caught:
            await client.realtime_info("SR9")
        assert (caught.value.kind, caught.value.free_at) == (KIND, manual_clock() + dt.timedelta(minutes=1))
        manual_clock.time += dt.timedelta(minutes=1)
        await client.realtime_info("SR9")

    talk(job)

    assert vendor.count("get") == 10


def test_a_failure_is_kept_until_the_next_poll_as_well(vendor, reply, talk, manual_clock):
    vendor.on("get", reply(status=503), OK)

    async def job(client):
        for _ in range(3):
            with pytest.raises(NoAnswerError):
                await client.realtime_info(WIFI_SN)
        assert vendor.count("get") == 1, "a repetition would count against the vendor's limit"
        manual_clock.time += dt.timedelta(seconds=150)
        return await client.realtime_info(WIFI_SN)

    assert talk(job) == ROW


def test_without_a_connection_the_next_call_tries_again(talk, closed_port_url):
    async def job(client):
        for _ in range(2):
            with pytest.raises(NotSentError):
                await client.realtime_info(WIFI_SN)

    talk(job, url=closed_port_url)


def test_a_clock_set_back_does_not_keep_an_answer_for_ever(vendor, talk, manual_clock):
    vendor.on("get", OK)

    async def job(client):
        await client.realtime_info(WIFI_SN)
        manual_clock.time -= dt.timedelta(days=1)
        await client.realtime_info(WIFI_SN)

    talk(job)

    assert vendor.count("get") == 2


# --- credentials ---


@pytest.mark.parametrize("status", [401, 403, None])
def test_a_refused_token_is_not_tried_again(vendor, reply, talk, manual_clock, status):
    vendor.on("get", refusal(1001, "Interface Unauthorized") if status is None else reply(status=status))

    async def job(client):
        for sn in (WIFI_SN, "SR2", WIFI_SN):
            with pytest.raises(ConfigurationError, match="token_id"):
                await client.realtime_info(sn)
            manual_clock.time += dt.timedelta(hours=1)

    talk(job)

    assert vendor.count("get") == 1


def test_an_inverter_of_somebody_else_does_not_shut_the_account(vendor, talk):
    vendor.on("get", refusal(1003, "Data Unauthorized"), {**OK, "result": {**ROW, "sn": "SR2"}})

    async def job(client):
        with pytest.raises(ConfigurationError, match="registration number"):
            await client.realtime_info(WIFI_SN)
        return await client.realtime_info("SR2")

    assert talk(job)["sn"] == "SR2"


@pytest.mark.parametrize(
    "change",
    [
        {"token_id": ""},
        {"token_id": f"{CANARY} "},
        {"token_id": f"{CANARY}\n"},
        {"token_id": f"{CANARY}é"},
        {"token_id": [CANARY]},
        {"token_id": None, "tokenId": CANARY},
        {"pasword": CANARY},
        {"base_url": "http://global.solaxcloud.com"},
        {"base_url": f"ftp://{CANARY}"},
        {"base_url": "global.solaxcloud.com"},
        {"upload_time_zone": "Mars/Olympus"},
        {"upload_time_zone": ""},
        {"meter_2": "both"},
        {"poll_s": 1},
        {"poll_s": float("inf")},
        {"timeout_s": 0},
    ],
    ids=str,
)
def test_wrong_settings_are_refused_by_name_without_their_values(manual_clock, change):
    given_settings = {"token_id": CANARY, **change}
    given_settings = {name: value for name, value in given_settings.items() if value is not None}

    with pytest.raises(ConfigurationError) as caught:
        create(given_settings, manual_clock)

    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
    assert "solax account" in text
    assert next(name for name, value in change.items() if value is not None) in text
    assert CANARY not in text


def test_settings_and_objects_do_not_show_the_token(manual_clock):
    checked = settings("http://127.0.0.1:1")
    client = SolaxClient(checked, manual_clock)

    shown = [str(thing) + repr(thing) for thing in (checked, client, SolaxAdapter(client))]
    assert CANARY not in "".join(shown) + checked.model_dump_json()
    assert checked.token_id == SecretStr(CANARY)
    with pytest.raises(ValidationError) as caught:
        settings("http://127.0.0.1:1", poll_s=CANARY)
    assert CANARY not in str(caught.value)


FAULTS = {
    "503": {"status": 503},
    "400": {"status": 400},
    "401": {"status": 401},
    "429": {"status": 429},
    "302": {"status": 302, "headers": {"Location": "/elsewhere"}},
    "not JSON": {"body": f"<p>{CANARY}".encode()},
    "half a body": {"body": json.dumps(OK).encode(), "cuts": True},
    "silence": {"stalls": True},
    **{
        f"code {code}": {"body": json.dumps(refusal(code, CANARY, echo=CANARY)).encode()}
        for code in (1, 1001, 1002, 1003, 1004, 2001, 99, CANARY)
    },
    "another inverter": {"body": json.dumps({**OK, "result": {"sn": CANARY}}).encode()},
}


@pytest.mark.parametrize("fault", FAULTS)
def test_no_failure_lets_the_token_out(vendor, reply, ask, caplog, fault):
    for name in ("", "httpx", "httpcore", "stamina", "adapters"):
        caplog.set_level(logging.DEBUG, logger=name)
    vendor.on("get", reply(**{"body": CANARY.encode(), **FAULTS[fault]}))

    with pytest.raises(AdapterError) as caught:
        ask(timeout_s=0.3)

    logging.getLogger("adapters").error("a call failed", exc_info=caught.value)
    text = "".join(traceback.format_exception(caught.value)) + repr(caught.value) + str(caught.value.args)
    assert CANARY not in text
    assert CANARY not in caplog.text


def test_an_http_error_keeps_its_type(vendor, reply, ask):
    vendor.on("get", reply(status=404))

    with pytest.raises(RefusedRequestError) as caught:
        ask()

    assert caught.value.status == 404
