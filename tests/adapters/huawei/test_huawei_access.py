"""The way in by API account; clouds that are down, event loops that end, settings that are wrong."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import (
    Channel,
    ConfigurationError,
    Dispatchable,
    IntentRefusedError,
    QuotaExceededError,
    VendorUnavailableError,
    dispatchable,
)
from adapters.huawei.adapter import HuaweiAdapter, create
from tests.adapters.huawei.world import STOP

# --- API account ---


@pytest.mark.parametrize("odd", [False, True], ids=["header", "cookie"])
def test_an_api_account_reads_and_is_refused_control(emulate_huawei, plant_device, odd):
    world = emulate_huawei()
    world.switch(odd_json=odd)

    async def session(reader):
        assert not isinstance(reader, Dispatchable)
        with pytest.raises(IntentRefusedError, match="telemetry only"):
            dispatchable(reader, "huawei")
        with pytest.raises(ConfigurationError, match="OAuth only"):
            await reader.client.charge([STOP])
        reading = await reader.read(plant_device(), Channel.STATE)
        await reader.client.logout()
        return reading

    reading = world.run(session, api_account=True)

    assert reading.soc == pytest.approx(0.5, abs=0.01)
    assert world.calls("async-task") == 0
    assert sum(event["event"] == "login" for event in world.log.events) == 1


def test_a_session_that_was_not_used_for_half_an_hour_is_renewed(emulate_huawei):
    world = emulate_huawei()

    async def session(reader):
        for pause_s in (0, 1700, 1700, 1900):
            world.after(pause_s)
            await reader.client.plants()

    world.run(session, api_account=True)

    assert sum(event["event"] == "login" for event in world.log.events) == 2


def test_a_wrong_password_is_tried_once(emulate_huawei):
    world = emulate_huawei()

    async def session(reader):
        for _ in range(4):
            with pytest.raises(ConfigurationError, match="login refused"):
                await reader.client.plants()

    world.run(session, api_account=True, system_code="wrong")

    assert sum(event["event"] == "login refused" for event in world.log.events) == 1


def test_five_logins_in_ten_minutes_and_no_more(emulate_huawei):
    world = emulate_huawei()

    async def session(reader):
        for _ in range(5):
            await reader.client.plants()
            world.cloud._session = None
        with pytest.raises(QuotaExceededError, match="login"):
            await reader.client.plants()
        world.after(600)
        return await reader.client.plants()

    assert world.run(session, api_account=True)


# --- faults ---


def test_an_adapter_outlives_its_event_loop(emulate_huawei, plant_device):
    """Workers run each task in a loop of its own, with many readings at once in each."""
    world = emulate_huawei(plants=3)
    adapter = create({**world.cloud.account(), "base_url": world.url}, world.clock.now)

    async def session():
        readings = [adapter.read(plant_device(f"NE={n}"), Channel.POWER) for n in (1, 2, 3)]
        try:
            return await asyncio.gather(*readings)
        finally:
            await adapter.close()

    for _ in range(3):
        assert all(reading is not None for reading in asyncio.run(session()))
        world.after(3600)


def test_a_cloud_that_is_down(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        await adapter.client.plants()
        world.switch(server_error_share=1.0)
        with pytest.raises(VendorUnavailableError):
            await adapter.client.plants()
        return await adapter.send(adapter.release(plant_device()))

    assert type(world.run(session)).__name__ == "Unknown"


def test_a_login_that_fails_inside_a_write_means_that_nothing_was_sent(emulate_huawei, plant_device):
    world = emulate_huawei()
    world.switch(server_error_share=1.0)

    async def session(adapter):
        return await adapter.send(adapter.release(plant_device()))

    receipt = world.run(session)

    assert (type(receipt).__name__, receipt.retryable) == ("Rejected", True)


def test_nobody_there(closed_port_url, manual_clock, plant_device):
    settings = {
        "base_url": closed_port_url,
        "oauth_url": "same",
        "client_id": "1",
        "client_secret": "s",
        "redirect_url": "https://r/",
        "refresh_token": "r",
    }

    async def session():
        adapter = create(settings, manual_clock)
        assert isinstance(adapter, HuaweiAdapter)
        receipt = await adapter.send(adapter.release(plant_device()))
        with pytest.raises(VendorUnavailableError):
            await adapter.read(plant_device(), Channel.POWER)
        await adapter.close()
        return receipt

    assert asyncio.run(session()).retryable


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"client_id": ""}, "access .* needs"),
        ({"base_url": "ftp://x"}, "base_url"),
        ({"base_url": "http://eu5.fusionsolar.huawei.com"}, "base_url"),
        ({"oauth_url": "nonsense"}, "oauth_url"),
        ({"acess": "oauth"}, "acess"),
        ({"access": "api_account"}, "access .* needs"),
        ({"control_reserve": -1}, "control_reserve"),
    ],
)
def test_wrong_settings_are_named_and_never_shown(manual_clock, change, named):
    given = {
        "base_url": "https://eu5.fusionsolar.huawei.com",
        "client_id": "1",
        "client_secret": "canary",
        "redirect_url": "https://r/",
        **change,
    }
    with pytest.raises(ConfigurationError, match=named) as error:
        create(given, manual_clock)
    assert "canary" not in repr(error.value)
