"""Settings that are wrong are named, and no secret is ever shown."""

from __future__ import annotations

import asyncio
import json
import logging

import pytest

from adapters.contract import Channel, ConfigurationError
from adapters.xolta.adapter import create
from adapters.xolta.client import Settings
from tests.adapters.xolta.given import NOW, SECRET, SONG, TOKEN

# --- secrets ---


def test_no_secret_in_any_log_error_or_repr(scripted, account, reply, device, caplog, capfd):
    for name in ("", "msal", "msal.application", "msal.token_cache", "msal.oauth2cli.oauth2", "httpx", "httpcore"):
        caplog.set_level(logging.DEBUG, logger=name)
    echo = json.dumps({"error": SECRET, "message": [TOKEN, SECRET]}).encode()
    shown = []

    async def work():
        adapter = create(account(scripted.url), lambda: NOW)
        shown.extend([repr(adapter), str(adapter._client), repr(adapter._client._tokens)])
        await adapter.read(device(), Channel.POWER)
        shown.append(repr(adapter._client._tokens._token))
        for status in (200, 400, 401, 403, 404, 429, 500):
            scripted.on("SendStateModeCommand", reply(echo, status))
            shown.append(repr(await adapter.send(adapter.release(device()))))
        scripted.on("token", reply(echo, 400))
        adapter._client._tokens._token = None
        shown.append(repr(await adapter.send(adapter.release(device()))))
        await adapter.close()

    asyncio.run(work())

    logged = "\n".join(f"{record.getMessage()} {vars(record)!r}" for record in caplog.records)
    printed = "".join(capfd.readouterr())
    assert SONG not in "".join([*shown, logged, printed])
    assert any(call.headers.get("Authorization") == f"Bearer {TOKEN}" for call in scripted.calls)
    assert any(SECRET in call.text for call in scripted.calls)


# --- settings ---


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"base_url": "http://external.xolta.com"}, "base_url"),
        ({"base_url": "external.xolta.com"}, "base_url"),
        ({"base_url": "https://me:pw@external.xolta.com"}, "base_url"),
        ({"authority": "http://login.microsoftonline.com/t"}, "authority"),
        ({"authority": "https://login.microsoftonline.com/"}, "authority"),
        ({"authority": "tenant"}, "authority"),
        ({"base_url": "https://external.xolta.com", "authority": "/tenant"}, "authority"),
        ({"authority": 3}, "authority"),
        ({"client_secret": None}, "client_secret"),
        ({"client_id": ""}, "client_id"),
        ({"scopes": []}, "scopes"),
        ({"scopes": "one"}, "scopes"),
        ({"summary_path": "GetDataSummary"}, "summary_path"),
        ({"summary_path": "/api/GetDataSummary?last=3000"}, "summary_path"),
        ({"device_status_path": "/api/deviceStatus#top"}, "device_status_path"),
        ({"device_status_path": "/api/device status"}, "device_status_path"),
        ({"setpoint_unit": "MW"}, "setpoint_unit"),
        ({"setpoint_sign": 0}, "setpoint_sign"),
        ({"reads_per_minute": 0}, "reads_per_minute"),
        ({"time_fields": []}, "time_fields"),
        ({"timeout_s": float("inf")}, "timeout_s"),
        ({"clientid": "x"}, "clientid"),
    ],
)
def test_a_wrong_setting_is_named_and_never_shown(account, changes, field):
    with pytest.raises(ConfigurationError) as caught:
        create(account("http://127.0.0.1:1", **changes), lambda: NOW)

    assert field in str(caught.value)
    assert SONG not in str(caught.value) + repr(caught.value)


def test_the_defaults_are_the_vendors_and_control_is_off():
    settings = Settings(
        authority="https://login.microsoftonline.com/11111111-2222-3333-4444-555555555555",
        client_id="c",
        client_secret=SECRET,
    )

    assert settings.base_url == "https://external.xolta.com"
    assert not settings.commissioned
    assert settings.setpoint_unit is None
    assert settings.setpoint_sign is None
    assert SONG not in repr(settings) + settings.model_dump_json()
