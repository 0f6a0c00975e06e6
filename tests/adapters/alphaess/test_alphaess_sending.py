"""Answers to receipts: accepted, certainly rejected, or unknown."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from adapters.contract import Accepted, Rejected, Unknown
from tests.adapters.alphaess.calls import NO_USABLE_ANSWER
from tests.adapters.alphaess.intents import charge, discharge


@pytest.fixture
def send(vendor, adapt, manual_clock, device):
    """Send one discharge to the scripted vendor, or to another address."""

    def run(url=None, command=None, **changes):
        async def session():
            async with adapt(url or vendor.url, manual_clock, **changes) as adapter:
                return await adapter.send(command or adapter.translate(discharge(2.5, 0.38), device(), None))

        return asyncio.run(session())

    return run


def test_code_0_is_a_receipt(send, vendor):
    vendor.on("RemoteDispatch", {"ReturnCode": 0})

    assert send() == Accepted()
    assert vendor.count("RemoteDispatch") == 1


def test_what_was_translated_is_what_goes_over_the_wire(send, vendor, adapter, device):
    command = adapter.translate(discharge(2.5, 0.38), device(), None)

    send(command=command)

    (body,) = vendor.bodies("RemoteDispatch")
    assert {name: body[name] for name in command.payload} == dict(command.payload)


@pytest.mark.parametrize("code", [2, 4, 8, 9, 11, 12, 13, 15])
def test_a_code_that_says_nothing_was_stored_is_a_rejection(send, vendor, code):
    vendor.on("RemoteDispatch", {"ReturnCode": code})

    receipt = send()

    assert isinstance(receipt, Rejected)
    assert f"ReturnCode {code} " in receipt.reason
    assert vendor.count("RemoteDispatch") == 1


@pytest.mark.parametrize("code", [3, 14, 16, 23])
def test_a_code_that_refuses_unread_is_answered_once_more_and_then_a_rejection(send, vendor, code):
    vendor.on("RemoteDispatch", {"ReturnCode": code})

    receipt = send()

    assert isinstance(receipt, Rejected)
    assert f"ReturnCode {code} " in receipt.reason
    assert vendor.count("RemoteDispatch") == 2


@pytest.mark.parametrize("code", [-1, 1, 5, 17, 31, 38, 6001])
def test_a_code_that_says_nothing_about_the_command_leaves_it_unknown(send, vendor, code):
    vendor.on("RemoteDispatch", {"ReturnCode": code})

    receipt = send()

    assert isinstance(receipt, Unknown)
    assert f"ReturnCode {code} " in receipt.reason
    assert vendor.count("RemoteDispatch") == 1


@pytest.mark.parametrize("fault", NO_USABLE_ANSWER)
def test_no_usable_answer_leaves_the_command_unknown_and_it_is_sent_once(send, vendor, reply, fault):
    vendor.on("RemoteDispatch", reply(**NO_USABLE_ANSWER[fault]), {"ReturnCode": 0})

    assert isinstance(send(), Unknown)
    assert vendor.count("RemoteDispatch") == 1


def test_silence_after_the_vendor_took_it_leaves_the_command_unknown_and_it_is_sent_once(send, vendor, reply):
    vendor.on("RemoteDispatch", reply(stalls=True))

    assert isinstance(send(timeout_s=0.4), Unknown)
    assert vendor.count("RemoteDispatch") == 1


@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_request_that_the_server_refuses_is_a_rejection(send, vendor, reply, status):
    vendor.on("RemoteDispatch", reply(b"", status))

    receipt = send()

    assert isinstance(receipt, Rejected)
    assert f"HTTP {status}" in receipt.reason
    assert vendor.count("RemoteDispatch") == 1


def test_a_refused_connection_is_a_rejection(send, closed_port_url):
    assert isinstance(send(closed_port_url), Rejected)


@pytest.mark.parametrize("code", [4, 8, 9, 11])
def test_refused_credentials_are_a_rejection_and_nothing_is_dispatched(send, vendor, code):
    vendor.on("Login", {"ReturnCode": code})

    assert isinstance(send(), Rejected)
    assert vendor.count("RemoteDispatch") == 0


LOGIN_FAULTS = {
    "503": {"status": 503},
    "not JSON": {"body": b"<html>Sign in</html>"},
    "half a body": {"body": b'{"ReturnCode": 0}', "cuts": True},
    "no token": {"body": b'{"ReturnCode": 0}'},
    "code 1": {"body": b'{"ReturnCode": 1}'},
    "code -1": {"body": b'{"ReturnCode": -1}'},
}


@pytest.mark.parametrize("fault", LOGIN_FAULTS)
def test_a_command_that_never_left_because_the_login_failed_is_a_rejection(send, vendor, reply, fault):
    """Unknown is for commands that may have arrived; this one was never sent."""
    vendor.on("Login", reply(**LOGIN_FAULTS[fault]))

    receipt = send()

    assert vendor.count("RemoteDispatch") == 0
    assert isinstance(receipt, Rejected)


def test_a_command_that_was_refused_for_its_token_and_not_sent_again_is_a_rejection(send, vendor, reply):
    vendor.on("RemoteDispatch", {"ReturnCode": 14})
    vendor.on("Login", {"ReturnCode": 0, "Token": "first"}, reply(b"", 503))

    receipt = send()

    assert vendor.count("RemoteDispatch") == 1
    assert isinstance(receipt, Rejected)


@pytest.mark.parametrize("serial_number", ["", " ", None])
def test_a_command_without_a_serial_number_is_rejected_before_any_socket_opens(
    send, vendor, adapter, device, serial_number
):
    command = adapter.translate(charge(1), device(), None)
    broken = replace(command, payload={**command.payload, "Sn": serial_number})

    receipt = send(command=broken)

    assert isinstance(receipt, Rejected)
    assert "Sn" in receipt.reason
    assert vendor.calls == []
