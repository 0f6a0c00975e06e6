"""An emulated SolaX cloud on loopback, and adapters and devices for it."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import SecretStr

from adapters.contract import Device
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, House
from adapters.solax.adapter import SolaxAdapter, create
from adapters.solax.emulator import CADENCES_S, SolaxCloud
from engine import Battery
from engine.plant import Plant
from tests.adapters.served import Served

START = dt.datetime(2024, 8, 20, 10, 0, tzinfo=dt.UTC)
WIFI_SN = "SR00000001"
TOKEN = "2024082012345678901"
BATTERY = Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)


@dataclass
class SolaxWorld(Served):
    """One emulated cloud and its inverters."""

    cloud: SolaxCloud
    sites: list[EmulatedSite]

    def count(self, event: str) -> int:
        """How often something happened, to whichever inverter."""
        return len(self.events(event))


@pytest.fixture(scope="session")
def solax(loopback_server: Any) -> Callable[..., SolaxWorld]:
    """Build an emulated cloud and serve it: `solax(load_kw=1, pv_kw=3, soc=0.5, ...)`."""

    def build(
        load_kw: float = 1.0,
        pv_kw: float = 0.0,
        soc: float = 0.5,
        sns: tuple[str, ...] = (WIFI_SN,),
        start: dt.datetime = START,
        zone: str = "Europe/Copenhagen",
        gives_utc: bool = False,
    ) -> SolaxWorld:
        log, clock, faults = EventLog(), EmulatedClock(start, None), FaultBox()
        house = House.constant(load_kw, pv_kw)
        sites = [EmulatedSite(sn, Plant(BATTERY, soc), house, start, CADENCES_S, log, faults) for sn in sns]
        cloud = SolaxCloud(SecretStr(TOKEN), sites, clock, log, faults, zone, gives_utc)
        loopback_server.app = cloud.app
        return SolaxWorld(cloud, clock, log, faults, loopback_server.url, sites)

    return build


@pytest.fixture(scope="session")
def connect_solax() -> Callable[..., contextlib.AbstractAsyncContextManager[SolaxAdapter]]:
    """Context managers of an open adapter, from an address, a clock and changed settings."""

    @contextlib.asynccontextmanager
    async def open_adapter(url: str, clock: Callable[[], dt.datetime], **changes: Any) -> AsyncIterator[SolaxAdapter]:
        settings = {"base_url": url, "token_id": TOKEN, "upload_time_zone": "Europe/Copenhagen", "timeout_s": 5.0}
        adapter = create({**settings, **changes}, clock)
        try:
            yield adapter
        finally:
            await adapter.close()

    return open_adapter


@pytest.fixture(scope="session")
def inverter() -> Callable[..., Device]:
    def build(sn: str = WIFI_SN) -> Device:
        return Device(sn, BATTERY)

    return build
