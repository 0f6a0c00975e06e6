"""Return codes, failures and the serial number, as the client takes them."""

from __future__ import annotations

import datetime as dt
import pickle

import pytest

from adapters.contract import AdapterError, ConfigurationError, VendorUnavailableError
from adapters.vendor_codes import VendorCodeError
from tests.adapters.alphaess.calls import DISPATCH, read
from tests.adapters.alphaess.world import SERIAL_NUMBER

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
