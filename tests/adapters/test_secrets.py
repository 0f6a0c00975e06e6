"""No secret in any text that a person or a log may get to see.

Every secret is a canary that sings the same word, so that half of one is noticed too; the scripted vendor even echoes
them in its error pages.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import logging
import traceback

import pytest

from adapters.alphaess import mapping
from adapters.alphaess.adapter import AlphaEssAdapter, create
from adapters.alphaess.client import AlphaEssClient
from adapters.alphaess.emulator import Account
from adapters.alphaess.signing import encrypt_password
from adapters.contract import Channel, Rejected, Unknown
from engine.intent import Intent, IntentMode

SERIAL_NUMBER = "AL0000000000001"
SONG = "witsch"
API_SECRET = "zwitscher-1"
PASSWORD = "zwitscher-2"
TOKEN = "zwitscher-3"
USERNAME = "installer01"
CANARIES = (API_SECRET, PASSWORD, TOKEN, encrypt_password(PASSWORD, USERNAME))
ECHO = json.dumps({"ReturnCode": 99, "Message": CANARIES, "Result": CANARIES}).encode()
DISPATCH = mapping.dispatch_fields(SERIAL_NUMBER, 1.0, 0.2)

LOGGERS = ("", "httpx", "httpcore", "stamina", "uvicorn", "uvicorn.error", "uvicorn.access", "asyncio", "adapters")


def clean(*texts):
    """Whether none of the texts lets a canary out, not even in part."""
    return not any(canary in text for canary in (SONG, *CANARIES) for text in texts)


def words_of(error):
    """All that a log or a screen might show of an error."""
    return str(error), repr(error), repr(error.args), "".join(traceback.format_exception(error))


@pytest.fixture
def account(settings):
    def build(url="http://127.0.0.1:1", **changes):
        return settings(base_url=url, api_secret=API_SECRET, password=PASSWORD, **changes)

    return build


@pytest.fixture
def log(caplog):
    """Everything that is logged at DEBUG level, message and extra fields alike."""
    for name in LOGGERS:
        caplog.set_level(logging.DEBUG, logger=name)

    def text():
        return "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records) + caplog.text

    return text


def test_the_check_itself_sees_a_canary():
    assert not clean("fine", f"oh: {PASSWORD}")
    assert not clean(f"oh: ...{TOKEN[1:]}")
    assert clean("fine")


# --- things ---


def test_settings_do_not_show_their_secrets(account):
    settings = account()

    assert clean(str(settings), repr(settings), settings.model_dump_json(), repr(settings.model_dump()))
    assert settings.password.get_secret_value() == PASSWORD


def test_the_emulators_account_does_not_show_its_secrets():
    account = Account(api_account="apiacct01", api_secret=API_SECRET, username=USERNAME, password=PASSWORD)

    assert clean(str(account), repr(account), account.model_dump_json())
    assert account.password.get_secret_value() == PASSWORD


def test_client_and_adapter_do_not_show_their_secrets_even_when_logged_in(vendor, account, manual_clock, device):
    vendor.token = TOKEN

    async def session():
        client = AlphaEssClient(account(vendor.url), manual_clock)
        adapter = AlphaEssAdapter(client)
        await adapter.read(device(), Channel.POWER)
        try:
            return [show(thing) for thing in (client, adapter) for show in (str, repr)]
        finally:
            await adapter.close()

    texts = asyncio.run(session())

    assert vendor.bodies("GetLastPowerData")[0]["Token"] == TOKEN
    assert clean(*texts)


def test_a_command_carries_no_secrets_and_nothing_of_the_session(account, manual_clock, device):
    adapter = AlphaEssAdapter(AlphaEssClient(account(), manual_clock))
    begin = dt.datetime(2024, 5, 1, tzinfo=dt.UTC)

    for mode in IntentMode:
        power_kw = 1.0 if mode in (IntentMode.CHARGE, IntentMode.DISCHARGE) else 0.0
        command = adapter.translate(Intent(mode, power_kw, begin, begin + dt.timedelta(hours=1)), device(), None)

        assert clean(repr(command), json.dumps(dict(command.payload)))
        assert command.payload.keys() == {"Sn", "ActivePower", "ReactivePower", "SOC", "Status", "ControlMode"}


# --- settings that are wrong ---


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"api_account": None}, id="another field is missing"),
        pytest.param({"api_secret": None, "api_secert": API_SECRET}, id="a misspelt secret"),
        pytest.param({"pasword": PASSWORD}, id="a second, misspelt password"),
        pytest.param({"password": [PASSWORD]}, id="a password in a list"),
        pytest.param({"api_secret": {"value": API_SECRET}}, id="a secret in a table"),
        pytest.param({"timeout_s": "soon"}, id="a time-out that is none"),
        pytest.param({"upload_time_zone": "Mars/Olympus"}, id="a zone that is none"),
    ],
)
def test_a_refusal_of_settings_does_not_quote_secrets(manual_clock, change):
    given = {"api_account": "apiacct01", "username": USERNAME, "api_secret": API_SECRET, "password": PASSWORD, **change}
    given = {name: value for name, value in given.items() if value is not None}

    try:
        create(given, manual_clock)
    except Exception as error:
        words = words_of(error)
    else:
        pytest.fail("the settings were taken")

    assert clean(*words)


# --- failures ---

FAULTS = {
    "500": {"status": 500},
    "503": {"status": 503},
    "302": {"status": 302, "headers": {"Location": "/elsewhere"}},
    "400": {"status": 400},
    "401": {"status": 401, "headers": {"WWW-Authenticate": "Basic"}},
    "not JSON": {"body": b"<p>" + ECHO},
    "half a body": {"cuts": True},
    "an unknown code": {},
    "no code": {"body": json.dumps({"Message": CANARIES}).encode()},
    "a code of secrets": {"body": json.dumps({"ReturnCode": PASSWORD}).encode()},
    "a list": {"body": json.dumps(CANARIES).encode()},
    **{f"code {code}": {"body": ECHO.replace(b"99", str(code).encode())} for code in (-1, 1, 3, 4, 11, 12, 13, 14)},
}


@pytest.mark.parametrize("name", ["Login", "GetRunningData", "RemoteDispatch"])
@pytest.mark.parametrize("fault", FAULTS)
def test_no_failure_lets_a_secret_out(vendor, reply, account, manual_clock, device, log, fault, name):
    vendor.token = TOKEN
    vendor.on(name, reply(**{"body": ECHO, **FAULTS[fault]}))
    errors, receipts = [], []

    async def session():
        client = AlphaEssClient(account(vendor.url), manual_clock)
        adapter = AlphaEssAdapter(client)
        for call in (client.get_running_data(SERIAL_NUMBER), client.remote_dispatch(DISPATCH)):
            try:
                await call
            except Exception as error:
                errors.append(error)
                logging.getLogger("adapters").exception("a call failed")
        receipts.append(await adapter.send(adapter.release(device())))
        await adapter.close()

    asyncio.run(session())

    assert vendor.count(name) >= 1
    assert errors, "the fault showed"
    assert clean(*[words for error in errors for words in words_of(error)])
    assert clean(repr(receipts))
    if name != "GetRunningData":
        assert isinstance(receipts[0], Rejected | Unknown)
    assert "a call failed" in log(), "logs are looked at"
    assert clean(log())


@pytest.mark.parametrize("fault", ["silence", "no connection"])
def test_no_silence_lets_a_secret_out(vendor, reply, closed_port_url, account, manual_clock, log, fault):
    vendor.on("Login", reply(stalls=True))

    async def session():
        url = vendor.url if fault == "silence" else closed_port_url
        client = AlphaEssClient(account(url, timeout_s=0.1), manual_clock)
        try:
            await client.get_running_data(SERIAL_NUMBER)
        except Exception as error:
            logging.getLogger("adapters").exception("a call failed")
            return words_of(error)
        finally:
            await client.close()

    words = asyncio.run(session())

    assert words is not None
    assert clean(*words, log())


# --- the emulator ---


def test_neither_log_nor_state_of_the_emulator_has_secrets(emulate, connect, log):
    world = emulate()

    async def session():
        async with connect(world.url, world.clock.now) as client:
            await client.remote_dispatch(DISPATCH)
            await client.get_running_data(SERIAL_NUMBER)
        async with connect(world.url, world.clock.now, password="wrong-password") as client:
            await asyncio.gather(client.get_running_data(SERIAL_NUMBER), return_exceptions=True)

    asyncio.run(session())
    token = world.login()

    seen = json.dumps(world.log.events) + json.dumps(world.cloud.state()) + log()
    assert "login refused" in seen
    secrets = (token, "0123456789abcdef0123456789abcdef", "pass1234", "wrong-password", "S+QtkJNDR5d82NFl7czJ2A==")
    assert not [secret for secret in secrets if secret in seen]
