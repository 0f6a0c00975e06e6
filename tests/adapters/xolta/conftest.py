"""An emulated Xolta organisation, served on loopback, and adapters for it."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.contract import Device
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, House
from adapters.xolta.adapter import XoltaAdapter, create
from adapters.xolta.client import Settings, XoltaClient
from adapters.xolta.emulated_device import EmulatedDevice
from adapters.xolta.emulator import CADENCES_S, Account, XoltaCloud
from engine import Battery
from engine.intent import Intent, IntentMode
from engine.plant import Plant
from tests.adapters.served import Served
from tests.adapters.xolta.given import SECRET, STATUS, TOKEN

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
DEVICE_ID = "BAT-80-0001"
BATTERY = Battery(capacity_kwh=80, max_charge_kw=30, max_discharge_kw=30, min_soc=0.1, max_soc=0.9)
CREDENTIALS = {"tenant": "tenant-1", "client_id": "client-1", "client_secret": "secret-1"}


@dataclass
class World(Served):
    """One emulated organisation."""

    cloud: XoltaCloud

    @property
    def device(self) -> EmulatedDevice:
        return next(iter(self.cloud.devices.values()))

    @property
    def battery_kw(self) -> float:
        return self.device.site.plant.sample.battery_kw

    async def sleep(self, seconds: float) -> None:
        self.step(seconds)

    def settings(self, **changes: Any) -> dict[str, Any]:
        account = {"base_url": self.url, "timeout_s": 5.0, **self.cloud.account()}
        return {name: value for name, value in {**account, **changes}.items() if value is not None}


@pytest.fixture
def emulate(loopback_server) -> Callable[..., World]:
    def build(
        load_kw: float = 2.0,
        pv_kw: float = 0.0,
        soc: float = 0.5,
        device_ids: tuple[str, ...] = (DEVICE_ID,),
        speed: float | None = None,
        **words: Any,
    ) -> World:
        clock, log, faults = EmulatedClock(START, speed), EventLog(), FaultBox()
        house = House.constant(load_kw, pv_kw)
        sites = [
            EmulatedSite(device_id, Plant(BATTERY, soc), house, START, CADENCES_S, log, faults)
            for device_id in device_ids
        ]
        account = Account(tenant="tenant-1", client_id="client-1", client_secret=SecretStr("secret-1"))
        cloud = XoltaCloud(account, sites, clock, log, faults, **words)
        loopback_server.app = cloud.app
        return World(cloud, clock, log, faults, loopback_server.url)

    return build


@pytest.fixture(scope="session")
def device() -> Callable[..., Device]:
    def build(device_id: str = DEVICE_ID, **changes: Any) -> Device:
        return Device(device_id, BATTERY.model_copy(update=changes))

    return build


@pytest.fixture
def using():
    """Run a coroutine function with an open adapter: `using(settings, clock, work)`."""

    def run(settings: dict[str, Any], clock: Callable[[], dt.datetime], work: Callable[[XoltaAdapter], Any]) -> Any:
        async def session() -> Any:
            async with contextlib.AsyncExitStack() as stack:
                adapter = create(settings, clock)
                stack.push_async_callback(adapter.close)
                return await work(adapter)

        return asyncio.run(session())

    return run


@pytest.fixture(scope="session")
def intent() -> Callable[..., Intent]:
    """An intent so many minutes after the start: `intent("charge", 5, 0, 15)`."""

    def build(mode: str, power_kw: float = 0.0, begin_min: float = 0, end_min: float = 15, **more: Any) -> Intent:
        begin, end = (START + dt.timedelta(minutes=minutes) for minutes in (begin_min, end_min))
        return Intent(IntentMode(mode), power_kw, begin, end, **more)

    return build


@pytest.fixture(scope="session")
def xolta_start() -> dt.datetime:
    return START


@pytest.fixture
def scripted(vendor):
    """The scripted vendor, with an authority that works."""
    host = vendor.url.removeprefix("http://")
    base = f"https://{host}/tenant-1"
    vendor.on(
        "openid-configuration",
        {
            "issuer": f"{base}/v2.0",
            "authorization_endpoint": f"{base}/oauth2/v2.0/authorize",
            "token_endpoint": f"{base}/oauth2/v2.0/token",
        },
    )
    vendor.on("token", {"token_type": "Bearer", "expires_in": 3599, "access_token": TOKEN})
    vendor.on("deviceStatus", STATUS)
    return vendor


@pytest.fixture
def account():
    def build(url, **changes):
        return {
            "base_url": url,
            "authority": "/tenant-1",
            "client_id": "client-1",
            "client_secret": SECRET,
            "timeout_s": 2.0,
            "commissioned": True,
            "setpoint_unit": "kW",
            "setpoint_sign": 1,
            **changes,
        }

    return build


@pytest.fixture
def session(manual_clock):
    """Run a coroutine function with an open client: `session(settings, work)`."""

    def run(settings, work, clock=manual_clock):
        async def inner():
            client = XoltaClient(Settings.model_validate(settings), clock)
            try:
                return await work(client)
            finally:
                await client.close()

        return asyncio.run(inner())

    return run
