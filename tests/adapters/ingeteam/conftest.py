"""Builders for the Ingeteam tests: the document's examples, a served device, a scripted stream, open adapters."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, House
from adapters.ingeteam.adapter import IngeteamAdapter
from adapters.ingeteam.client import IngeteamClient, Settings
from adapters.ingeteam.emulator import CADENCES_S, IngeteamCloud
from engine import Battery
from engine.plant import Plant
from tests.adapters.served import Served

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
EXAMPLES = Path(__file__).parent / "examples"


@pytest.fixture(scope="session")
def examples() -> Callable[[str], Any]:
    """The JSON of the document's examples: `properties` (3.2, 4.2, 5.2, 6.2), `stream` (7.3), `datalogger` (7.6)."""
    return lambda name: json.loads((EXAMPLES / f"{name}.json").read_text(encoding="utf-8"))


@pytest.fixture
def account() -> dict[str, Any]:
    return {"username": "installer", "password": "zwitscher-1", "time_zone": "Europe/Madrid", "timeout_s": 5.0}


@pytest.fixture
def connect(account: dict[str, Any], manual_clock: Any) -> Callable[..., Any]:
    """Context managers of an open client, from an address and changed settings."""

    @contextlib.asynccontextmanager
    async def open_client(url: str, clock: Any = manual_clock, **changes: Any) -> AsyncIterator[IngeteamClient]:
        client = IngeteamClient(Settings.model_validate({**account, "base_url": url, **changes}), clock)
        try:
            yield client
        finally:
            await client.close()

    return open_client


@pytest.fixture
def adapt(account: dict[str, Any], manual_clock: Any) -> Callable[..., Any]:
    """Context managers of an open adapter, from an address and changed settings; pauses are noted and not made."""

    @contextlib.asynccontextmanager
    async def open_adapter(
        url: str, clock: Any = manual_clock, *, sleep: Any = None, **changes: Any
    ) -> AsyncIterator[IngeteamAdapter]:
        settings = Settings.model_validate({**account, "base_url": url, **changes})
        options = {} if sleep is None else {"sleep": sleep}
        adapter = IngeteamAdapter(IngeteamClient(settings, clock), settings, clock, jitter=lambda: 0.0, **options)
        try:
            yield adapter
        finally:
            await adapter.close()

    return open_adapter


@dataclass
class World(Served):
    """One emulated device."""

    cloud: IngeteamCloud
    site: EmulatedSite


@pytest.fixture
def device_world(loopback_server: Any) -> Iterator[Callable[..., World]]:
    """Build an emulated device and serve it: `device_world(load_kw=1, pv_kw=3, soc=0.5, model=..., shape=...)`."""
    built = []

    def build(
        load_kw: float = 1.0,
        pv_kw: float = 3.0,
        soc: float = 0.5,
        start: dt.datetime = START,
        **options: Any,
    ) -> World:
        clock, log, faults = EmulatedClock(start, None), EventLog(), FaultBox()
        house = House.constant(load_kw, pv_kw)
        plant = Plant(Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5), soc)
        site = EmulatedSite("ING1", plant, house, start, CADENCES_S, log, faults)
        cloud = IngeteamCloud(site, clock, log, faults, heartbeat_s=0.05, **options)
        loopback_server.app = cloud.app
        world = World(cloud, clock, log, faults, loopback_server.url, site)
        world.step(10)  # the inverter has ramped up
        built.append(cloud)
        return world

    yield build
    for cloud in built:
        cloud.stop()


class ScriptedStream:
    """An ASGI application: each connection is answered with the next script; a script is bytes, or awaited."""

    def __init__(self) -> None:
        self.scripts: list[Any] = []
        self.status = 200
        self.requests: list[dict[str, str]] = []
        self.open = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        self.requests.append({"path": scope["path"], "method": scope["method"], **headers})
        start = {"status": self.status, "headers": [(b"content-type", b"text/event-stream")]}
        await send({"type": "http.response.start", **start})
        self.open += 1
        playing = asyncio.create_task(self._play(self.scripts.pop(0) if self.scripts else [], send))
        leaving = asyncio.create_task(self._wait_for_disconnect(receive))
        await asyncio.wait({playing, leaving}, return_when=asyncio.FIRST_COMPLETED)
        for task in (playing, leaving):
            task.cancel()
        await asyncio.wait({playing, leaving})
        self.open -= 1
        await send({"type": "http.response.body", "body": b""})

    async def _play(self, script: Any, send: Any) -> None:
        for piece in script:
            if callable(piece):
                await piece()
            else:
                await send({"type": "http.response.body", "body": piece, "more_body": True})

    async def _wait_for_disconnect(self, receive: Any) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass


@pytest.fixture
def scripted_stream(loopback_server: Any) -> ScriptedStream:
    stream = ScriptedStream()
    loopback_server.app = stream
    return stream


@pytest.fixture(scope="session")
def plant_event() -> Callable[..., bytes]:
    """The bytes of one event of the plant: `plant_event(W=100, name="/ems/sse/phases")`."""

    def build(name: str = "/ems/sse/phases", **values: Any) -> bytes:
        element = {"Phase": 4, "W": 1000, "PacCharge": 0, "PacDischarge": 500, "pv": 0, "cons": 1500, "soc": 50}
        head = f"event: {name}\n" if name else ""
        return f"{head}data: {json.dumps({'Phases': [{**element, **values}]})}\n\n".encode()

    return build
