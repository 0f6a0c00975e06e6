"""The one way out: reads are tried again, writes never; the vendor's clock is measured; nothing is followed."""

from __future__ import annotations

import asyncio
import datetime as dt
import gc
import logging
import logging.config
import traceback
import warnings
from email.utils import format_datetime

import pytest

from adapters.contract import AdapterError
from adapters.emulation import STATE_PATH
from adapters.transport import READ_ATTEMPTS, NoAnswerError, NotSentError, RefusedRequestError, Request, Transport

PATH = "/ras/v2/GetRunningData"
NAME = "GetRunningData"


@pytest.fixture
def ask(manual_clock):
    """Ask a vendor on one transport: `ask(url, "read", "write", ...)` gives the last answer and the transport."""

    def run(url, *verbs, timeout_s=2.0, body=None, before_each=lambda: None):
        async def session():
            transport = Transport(url, manual_clock, timeout_s)
            try:
                for verb in verbs:
                    before_each()
                    answer = await getattr(transport, verb)(PATH, body or {})
            finally:
                await transport.close()
            return answer, transport

        return asyncio.run(session())

    return run


def broken(reply):
    return {
        "500": reply(b"oops", 500),
        "502 with a page": reply(b"<html>Bad gateway</html>", 502),
        "503": reply(b"", 503),
        "not JSON": reply(b"<html>Sign in</html>"),
        "nothing": reply(b""),
        "half a body": reply(b'{"ReturnCode": 0, "Result": null}', cuts=True),
        "not UTF-8": reply(b'{"a": "\xff\xfe"}'),
        "no content": reply(b"", 204),
    }


BROKEN = list(broken(lambda *_, **__: None))


def test_a_read_gives_the_decoded_answer(ask, vendor):
    vendor.on(NAME, {"ReturnCode": 0, "Result": [1]})

    answer, _ = ask(vendor.url, "read", body={"Sn": "AL1"})

    assert answer == {"ReturnCode": 0, "Result": [1]}
    assert vendor.bodies(NAME) == [{"Sn": "AL1"}]


@pytest.mark.parametrize("failures", range(READ_ATTEMPTS))
@pytest.mark.parametrize("fault", BROKEN)
def test_a_read_is_tried_again_until_it_succeeds(ask, vendor, reply, fault, failures):
    vendor.on(NAME, *[broken(reply)[fault]] * failures, {"ReturnCode": 0})

    answer, _ = ask(vendor.url, "read")

    assert answer == {"ReturnCode": 0}
    assert vendor.count(NAME) == failures + 1


@pytest.mark.parametrize("fault", BROKEN)
def test_a_read_is_given_up_after_three_attempts(ask, vendor, reply, fault):
    vendor.on(NAME, broken(reply)[fault])

    with pytest.raises(NoAnswerError):
        ask(vendor.url, "read")

    assert vendor.count(NAME) == 3


def test_a_read_that_times_out_is_tried_three_times(ask, vendor, reply):
    vendor.on(NAME, reply(stalls=True))

    with pytest.raises(NoAnswerError):
        ask(vendor.url, "read", timeout_s=0.25)

    assert vendor.count(NAME) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 429])
def test_a_read_that_the_server_refuses_is_not_tried_again(ask, vendor, reply, status):
    vendor.on(NAME, reply(b"no", status))

    with pytest.raises(RefusedRequestError, match=f"HTTP {status}") as caught:
        ask(vendor.url, "read")

    assert caught.value.retryable is False
    assert vendor.count(NAME) == 1


@pytest.mark.parametrize("status", [201, 202, 206])
@pytest.mark.parametrize("verb", ["read", "write"])
def test_only_200_is_an_answer(ask, vendor, reply, verb, status):
    vendor.on(NAME, reply.of({"ReturnCode": 0}, status=status))

    with pytest.raises(NoAnswerError, match=f"HTTP {status}"):
        ask(vendor.url, verb)


@pytest.mark.parametrize("fault", BROKEN)
def test_a_write_is_sent_once_and_its_fate_is_open(ask, vendor, reply, fault):
    vendor.on(NAME, broken(reply)[fault], {"ReturnCode": 0})

    with pytest.raises(NoAnswerError):
        ask(vendor.url, "write")

    assert vendor.count(NAME) == 1


def test_a_write_that_times_out_is_sent_once_and_its_fate_is_open(ask, vendor, reply):
    vendor.on(NAME, reply(stalls=True))

    with pytest.raises(NoAnswerError):
        ask(vendor.url, "write", timeout_s=0.25)

    assert vendor.count(NAME) == 1


def test_a_write_that_drips_in_byte_by_byte_is_given_up_in_its_time(ask, loopback_server):
    dripped = 0

    async def drip(_scope, receive, send):
        nonlocal dripped
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(100):
            dripped += 1
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.sleep(0.05)
        await send({"type": "http.response.body", "body": b"{}"})

    loopback_server.app = drip
    with pytest.raises(NoAnswerError, match="TimeoutError"):
        ask(loopback_server.url, "write", timeout_s=0.5)
    assert 1 < dripped < 100


@pytest.mark.parametrize("status", [400, 404, 429])
def test_a_write_that_the_server_refuses_did_not_happen(ask, vendor, reply, status):
    vendor.on(NAME, reply(b"no", status))

    with pytest.raises(RefusedRequestError):
        ask(vendor.url, "write")

    assert vendor.count(NAME) == 1


@pytest.mark.parametrize("verb", ["read", "write"])
def test_without_a_connection_nothing_was_sent(ask, closed_port_url, verb):
    with pytest.raises(NotSentError):
        ask(closed_port_url, verb)


@pytest.mark.parametrize("verb", ["read", "write"])
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_not_followed(ask, vendor, reply, verb, status):
    vendor.on(NAME, reply(b"", status, {"Location": f"{vendor.url}/elsewhere"}))

    with pytest.raises(AdapterError, match=str(status)):
        ask(vendor.url, verb)

    assert vendor.count("elsewhere") == 0


@pytest.mark.parametrize("verb", ["read", "write"])
def test_an_answer_nested_beyond_reason_is_no_answer(ask, vendor, reply, verb):
    vendor.on(NAME, reply(b"[" * 200_000))

    with pytest.raises(NoAnswerError):
        ask(vendor.url, verb)


def test_errors_name_the_path_and_what_happened_and_nothing_else(ask, vendor, reply):
    vendor.on(NAME, reply(b"server-words", 500, {"X-Header": "header-words"}))

    with pytest.raises(NoAnswerError) as caught:
        ask(vendor.url, "write", body={"Token": "body-words"})

    assert str(caught.value) == f"{PATH}: HTTP 500"


def test_a_transport_serves_one_event_loop_after_another(emulate):
    """Each task of a worker runs a loop of its own; the emulated cloud keeps connections open, as real ones do."""
    world = emulate()

    def ask_from_three_loops():
        transport = Transport(world.url, world.clock.now)

        async def ask_once():
            return await transport.write(STATE_PATH, {})

        try:
            return [asyncio.run(ask_once())["now"] for _ in range(3)]
        except RuntimeError as error:
            return str(error)

    with warnings.catch_warnings():
        # What a dead loop left open complains whenever the collector finds it: neither here nor in some later test.
        warnings.simplefilter("ignore", ResourceWarning)
        answers = ask_from_three_loops()
        gc.collect()

    assert answers == ["2024-05-01T12:00:00+00:00"] * 3


# --- the vendor's clock ---


@pytest.mark.parametrize("seconds", [-1200, -90, -1, 0, 1, 90, 1200])
def test_the_offset_is_the_vendors_clock_less_ours(ask, vendor, reply, start, seconds):
    vendor.on(NAME, reply.of({}, Date=format_datetime(start + dt.timedelta(seconds=seconds), usegmt=True)))

    _, transport = ask(vendor.url, "read")

    # The header has whole seconds, so half a second is the best estimate of what it leaves out.
    assert transport.clock_offset_s == seconds + 0.5


def test_the_offset_follows_the_latest_answer(ask, vendor, reply, start, manual_clock):
    vendor.on(NAME, reply.of({}, Date=format_datetime(start, usegmt=True)))

    def later():
        manual_clock.time += dt.timedelta(seconds=60)

    _, transport = ask(vendor.url, "read", "write", before_each=later)

    assert transport.clock_offset_s == -119.5


def test_the_date_of_an_error_counts_too(ask, vendor, reply, start):
    stamp = format_datetime(start + dt.timedelta(seconds=77), usegmt=True)
    vendor.on(NAME, reply(b"", 500, {"Date": stamp}), {})

    _, transport = ask(vendor.url, "read")

    assert transport.clock_offset_s == 77.5


@pytest.mark.parametrize("zone", ["GMT", "-0000", "+0000", "UT"])
def test_the_date_is_understood_in_every_way_to_write_utc(ask, vendor, reply, zone):
    vendor.on(NAME, reply.of({}, Date=f"Wed, 01 May 2024 12:00:10 {zone}"))

    _, transport = ask(vendor.url, "read")

    assert transport.clock_offset_s == 10.5


@pytest.mark.parametrize("stamp", [None, "", "yesterday", "Wed, 41 May 2024 12:00:00 GMT", "1714564800"])
def test_without_a_readable_date_the_offset_stays_unknown(ask, vendor, reply, stamp):
    vendor.on(NAME, reply.of({}, **({} if stamp is None else {"Date": stamp})))

    _, transport = ask(vendor.url, "read")

    assert transport.clock_offset_s is None


def test_an_answer_without_a_date_keeps_the_offset_that_is_known(ask, vendor, reply, start):
    vendor.on(NAME, reply.of({}, Date=format_datetime(start + dt.timedelta(seconds=5), usegmt=True)), {})

    _, transport = ask(vendor.url, "read", "read")

    assert vendor.count(NAME) == 2
    assert transport.clock_offset_s == 5.5


@pytest.mark.parametrize("fault", ["nothing", "not JSON", "no content"])
def test_where_the_body_is_left_open_the_status_is_the_answer(vendor, reply, manual_clock, fault):
    vendor.on(NAME, broken(reply)[fault])

    async def session():
        transport = Transport(vendor.url, manual_clock, 2.0)
        try:
            request = Request("POST", PATH, json={}, answers_with=frozenset({200, 204}), needs_json=False)
            return await transport.tell(request)
        finally:
            await transport.close()

    answer = asyncio.run(session())

    assert answer.status in (200, 204)
    assert answer.content is None


# --- what libraries log ---

CANARY = "zwitscher-9"


@pytest.mark.parametrize("how", ["root", "library", "each", "config"])
def test_headers_stay_out_of_logs_however_debugging_is_switched_on_later(vendor, reply, manual_clock, caplog, how):
    names = [name for name in logging.root.manager.loggerDict if name.partition(".")[0] in ("httpx", "httpcore")]
    debug = {"root": [""], "library": ["", "httpx", "httpcore"], "each": ["", *names], "config": [""]}[how]
    for name in debug:
        caplog.set_level(logging.DEBUG, logger=name)
    if how == "config":
        loud = {"level": "DEBUG"}
        logging.config.dictConfig({"version": 1, "incremental": True, "loggers": dict.fromkeys(names, loud)})
    vendor.on(NAME, reply(b"{}", headers={"Set-Cookie": f"session={CANARY}", "XSRF-TOKEN": CANARY}))

    async def session():
        transport = Transport(vendor.url, manual_clock, 2.0)
        try:
            await transport.ask(Request("POST", PATH, json={}, params={"token": CANARY}))
        finally:
            await transport.close()

    asyncio.run(session())

    assert {"httpcore.http11", "httpcore.connection"} <= set(names)
    assert CANARY not in "".join(f"{vars(record)!r}" for record in caplog.records)
    assert not [record for record in caplog.records if record.name.startswith("http")]


def test_what_libraries_warn_of_is_heard(caplog):
    logging.getLogger("httpcore.http11").warning("something is wrong")

    assert "something is wrong" in caplog.text


@pytest.mark.parametrize("verb", ["read", "write"])
@pytest.mark.parametrize(("header", "path"), [("\x80", PATH), ("", f"{PATH}\x00"), ("", "/x" * 40_000)])
def test_what_http_does_not_carry_is_certainly_not_sent(vendor, manual_clock, verb, header, path):
    async def session():
        transport = Transport(vendor.url, manual_clock, 2.0)
        request = Request("POST", path, json={}, headers={"Authorization": f"Bearer {CANARY}{header}"})
        try:
            await (transport.ask if verb == "read" else transport.tell)(request)
        finally:
            await transport.close()

    with pytest.raises(NotSentError) as caught:
        asyncio.run(session())

    assert CANARY not in "".join(traceback.format_exception(caught.value))
    assert not vendor.calls
