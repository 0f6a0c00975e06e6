"""Huawei's emulated cloud, and adapters that talk to it over real HTTP."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pytest

from adapters.contract import Device
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, Faults, House
from adapters.huawei.adapter import create
from adapters.huawei.emulated_plant import EmulatedPlant
from adapters.huawei.emulator import CADENCES_S, HuaweiCloud
from engine import Battery
from engine.intent import Intent, IntentMode
from engine.plant import Plant

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)


@dataclass
class World:
    """An emulated cloud that is served, and its time."""

    cloud: HuaweiCloud
    clock: EmulatedClock
    log: EventLog
    faults: FaultBox
    url: str

    def after(self, seconds: float) -> None:
        self.clock.step_to(self.clock.now() + dt.timedelta(seconds=seconds))
        self.cloud.advance()

    def switch(self, **faults: Any) -> None:
        self.faults.switch(Faults(**faults))

    def plant(self, code: str = "NE=1") -> EmulatedPlant:
        return self.cloud.plants[code]

    def battery_kw(self, code: str = "NE=1") -> float:
        return self.plant(code).site.plant.sample.battery_kw

    def calls(self, ending: str) -> int:
        return sum(event["event"] == "call" and event["path"].endswith(ending) for event in self.log.events)

    @contextlib.asynccontextmanager
    async def adapter(self, store: Any = None, api_account: bool = False, **changes: Any) -> AsyncIterator[Any]:
        account = self.cloud.api_account() if api_account else self.cloud.account()
        adapter = create({**account, "base_url": self.url, **changes}, self.clock.now, store)
        try:
            yield adapter
        finally:
            await adapter.close()

    def run(self, session: Callable[[Any], Any], **changes: Any) -> Any:
        """Run a coroutine function with an open adapter."""

        async def open_and_run() -> Any:
            async with self.adapter(**changes) as adapter:
                return await session(adapter)

        return asyncio.run(open_and_run())


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
        index = pd.date_range("2024-01-01", periods=2, freq="1h", tz="UTC")
        house = House(pd.DataFrame({"load_kw": [load_kw] * 2, "pv_kw": [pv_kw] * 2}, index=index))
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
