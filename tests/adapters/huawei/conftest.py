"""What the Huawei tests share: an emulated cloud, and adapters that talk to it over real HTTP."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable
from typing import Any

import pytest

from adapters.contract import Device
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, House
from adapters.huawei.adapter import create
from adapters.huawei.emulated_plant import EmulatedPlant
from adapters.huawei.emulator import CADENCES_S, HuaweiCloud
from engine import Battery
from engine.intent import Intent, IntentMode
from engine.plant import Plant
from tests.adapters.huawei.world import NOWHERE, World
from tests.intents import START

TOKENS = {"access_token": "a*****t", "refresh_token": "r*****t", "expires_in": 3600, "token_type": "Bearer"}


@pytest.fixture
def emulate_huawei(loopback_server: Any) -> Callable[..., World]:
    """Build an emulated cloud and serve it: `emulate_huawei(load_kw=1, pv_kw=0, soc=0.5, plants=1)`."""

    def build(
        load_kw: float = 1.0,
        pv_kw: float = 0.0,
        soc: float = 0.5,
        plants: int = 1,
        commercial: bool = False,
        start: dt.datetime = START,
    ) -> World:
        clock, log, faults = EmulatedClock(start, None), EventLog(), FaultBox()
        house = House.constant(load_kw, pv_kw)
        battery = Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
        emulated = [
            EmulatedPlant(
                EmulatedSite(f"NE={number}", Plant(battery, soc), house, start, CADENCES_S, log, faults),
                number,
                faults,
                commercial,
            )
            for number in range(1, plants + 1)
        ]
        cloud = HuaweiCloud(emulated, clock, log, faults)
        loopback_server.app = cloud.app
        return World(cloud, clock, log, faults, loopback_server.url)

    return build


@pytest.fixture
def plant_device() -> Callable[..., Device]:
    def build(code: str = "NE=1", charge_kw: float = 5.0, discharge_kw: float = 5.0, **battery: Any) -> Device:
        return Device(code, Battery(capacity_kwh=10, max_charge_kw=charge_kw, max_discharge_kw=discharge_kw, **battery))

    return build


@pytest.fixture
def intent_for() -> Callable[..., Intent]:
    def build(
        mode: IntentMode,
        power_kw: float = 0.0,
        minutes: float = 60,
        begin: dt.datetime = START,
        until_soc: float | None = None,
    ) -> Intent:
        return Intent(mode, power_kw, begin, begin + dt.timedelta(minutes=minutes), until_soc)

    return build


@pytest.fixture
def offline():
    def build(**changes):
        return create({**NOWHERE, **changes}, lambda: START)

    return build


@pytest.fixture
def talk(vendor, manual_clock):
    """Run a coroutine function with an adapter of the scripted vendor."""
    vendor.on("token", TOKENS)

    def run(session, **changes):
        settings = {
            "base_url": vendor.url,
            "oauth_url": "same",
            "client_id": "123456789",
            "client_secret": "A*****A",
            "redirect_url": "https://www.example.com/cn/",
            "refresh_token": "r*****t",
            "timeout_s": 0.5,
            **changes,
        }

        async def open_and_run():
            adapter = create(settings, manual_clock)
            try:
                return await session(adapter)
            finally:
                await adapter.close()

        return asyncio.run(open_and_run())

    return run
