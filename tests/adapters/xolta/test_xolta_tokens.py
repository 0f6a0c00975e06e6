"""Tokens: how they are asked for, what odd authorities say, where the secret goes."""

from __future__ import annotations

import asyncio
import logging
import traceback
from unittest.mock import Mock

import pytest

from adapters.contract import Channel, ConfigurationError, VendorUnavailableError
from adapters.xolta import mapping
from adapters.xolta.adapter import create
from tests.adapters.xolta.given import NOW, SECRET, SONG, TOKEN


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("invalid_client", 401),
        ("unauthorized_client", 400),
        ("invalid_scope", 400),
        ("invalid_request", 400),
        ("invalid_grant", 400),
        ("access_denied", 400),
        ("invalid_resource", 400),
        ("unsupported_grant_type", 400),
    ],
)
def test_refused_credentials_are_not_tried_again(scripted, account, session, reply, error, status):
    scripted.on("token", reply.of({"error": error, "error_description": SECRET}, status))

    async def work(client):
        errors = []
        for _ in range(3):
            with pytest.raises(ConfigurationError) as caught:
                await client.send_state_mode_command(mapping.self_consumption("D"), drives=False)
            errors.append(str(caught.value))
        return errors

    errors = session(account(scripted.url), work)

    assert all(error in text and SONG not in text for text in errors)
    assert scripted.count("token") == 1
    assert scripted.count("SendStateModeCommand") == 0


def odd_tokens(reply):
    return {
        "passing": reply.of({"error": "temporarily_unavailable"}, 400),
        "server": reply.of({"error": "server_error"}, 400),
        "unknown": reply.of({"error": SECRET}, 400),
        "list error": reply.of({"error": [SECRET]}, 400),
        "no token": reply.of({"token_type": "Bearer"}),
        "null": reply.of(None),
        "list": reply.of([SECRET]),
        "text": reply.of(SECRET),
        "number token": reply.of({"access_token": 3, "expires_in": 3599}),
        "odd life": reply.of({"access_token": TOKEN, "expires_in": {"a": SECRET}}),
        "page": reply(f"<html>{SECRET}</html>".encode()),
        "500": reply(b"", 500),
        "429": reply(b"", 429),
        "half": reply(b'{"access_token": "zwitscher', cuts=True),
    }


ODD_TOKENS = list(odd_tokens(Mock()))


@pytest.mark.parametrize("kind", ODD_TOKENS)
def test_an_odd_authority_ends_in_a_typed_error(scripted, account, session, reply, kind, caplog):
    caplog.set_level(logging.DEBUG)
    scripted.on("token", odd_tokens(reply)[kind])

    async def work(client):
        with pytest.raises(VendorUnavailableError) as caught:
            await client.device_status()
        return caught.value

    error = session(account(scripted.url), work)

    shown = str(error) + repr(error) + "".join(traceback.format_exception(error)) + caplog.text
    assert SONG not in shown
    assert scripted.count("deviceStatus") == 0


@pytest.mark.parametrize("status", [400, 401, 403, 404])
def test_an_authority_that_does_not_know_the_tenant_is_a_wrong_setting(scripted, account, session, reply, status):
    scripted.on("openid-configuration", reply.of({"error": "invalid_tenant"}, status))

    async def work(client):
        with pytest.raises(ConfigurationError, match="check the tenant"):
            await client.device_status()

    session(account(scripted.url), work)
    assert scripted.count("token") == 0


@pytest.mark.parametrize("configuration", [None, [], {}, {"token_endpoint": 3}, {"token_endpoint": "http://x/y"}, "x"])
def test_an_odd_openid_configuration_is_a_typed_error(scripted, account, session, configuration):
    scripted.on("openid-configuration", configuration)

    async def work(client):
        with pytest.raises(VendorUnavailableError, match="makes no sense"):
            await client.device_status()

    session(account(scripted.url), work)
    assert scripted.count("token") == 0


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:1@evil.example"])
def test_the_secret_goes_to_no_other_host(scripted, account, session, host):
    endpoint = f"https://{host}/tenant-1/oauth2/v2.0/token"
    scripted.on("openid-configuration", {"authorization_endpoint": endpoint, "token_endpoint": endpoint})

    async def work(client):
        with pytest.raises(ConfigurationError, match="another host"):
            await client.device_status()

    session(account(scripted.url), work)
    assert scripted.count("token") == 0


def test_a_login_does_not_hold_up_the_event_loop(emulate, device, using):
    world = emulate()
    world.switch(latency_s=0.3)

    async def work(adapter):
        ticks, reading = 0, asyncio.create_task(adapter.read(device(), Channel.POWER))
        while not reading.done():
            await asyncio.sleep(0.01)
            ticks += 1
        return ticks, await reading

    ticks, reading = using(world.settings(), world.clock.now, work)

    assert reading is not None
    assert ticks >= 30


def test_a_login_can_be_broken_off(scripted, account, reply):
    scripted.on("token", reply(stalls=True))

    async def work():
        adapter = create(account(scripted.url, timeout_s=1.0), lambda: NOW)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(adapter.devices(), 0.3)
        await adapter.close()

    asyncio.run(work())


def test_each_loop_may_use_the_adapter_in_turn(emulate, device):
    world = emulate()
    adapter = create(world.settings(), world.clock.now)

    async def task():
        try:
            return await adapter.read(device(), Channel.POWER)
        finally:
            await adapter.close()

    for _ in range(3):
        assert asyncio.run(task()) is not None
        world.step(3600)

    assert len(world.events("login")) == 3
