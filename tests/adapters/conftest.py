"""What the adapter tests share: clocks, servers, and AlphaESS as the vendor that stands for any other."""

from __future__ import annotations

import contextlib
import datetime as dt
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import hypothesis
import pandas as pd
import pytest
import stamina
from pydantic import SecretStr

from adapters.alphaess.adapter import AlphaEssAdapter
from adapters.alphaess.client import AlphaEssClient, Settings
from adapters.alphaess.emulator import CADENCES_S, Account, AlphaEssCloud
from adapters.contract import Device
from adapters.emulation import EmulatedClock, EmulatedSite, EventLog, FaultBox, House, listen
from engine import Battery
from engine.plant import Plant
from tests.adapters.alphaess.world import API_ACCOUNT, API_SECRET, PASSWORD, SERIAL_NUMBER, USERNAME, World
from tests.adapters.loopback import LoopbackServer
from tests.adapters.scripted_vendor import Reply, ScriptedVendor
from tests.intents import START

# The same examples each time: a red run can be run again.
hypothesis.settings.register_profile("adapters", derandomize=True, deadline=None)
hypothesis.settings.load_profile("adapters")


@pytest.fixture(autouse=True)
def _no_backoff() -> Iterator[None]:
    """Retries happen as often as in production, without the pauses between them."""
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture(autouse=True, scope="module")
def _no_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Loading the certificates of the world takes each new client 20 ms, and nothing here speaks TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", str(tmp_path_factory.mktemp("no-certificates")))
        yield


@pytest.fixture(autouse=True)
def _quiet_libraries() -> Iterator[None]:
    """What a test changes about log levels must not outlive it."""
    levels = {name: logging.getLogger(name).level for name in ("", "httpx", "httpcore", "stamina", "uvicorn")}
    yield
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


class ManualClock:
    """A client's clock that stands until it is moved."""

    def __init__(self, time: dt.datetime = START) -> None:
        self.time = time

    def __call__(self) -> dt.datetime:
        return self.time


@pytest.fixture
def manual_clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(scope="session")
def start() -> dt.datetime:
    return START


@pytest.fixture(scope="session")
def settings() -> Callable[..., Settings]:
    """Settings of the one account that emulator and scripted vendor know."""

    def build(**changes: Any) -> Settings:
        account = {"api_account": API_ACCOUNT, "api_secret": API_SECRET, "username": USERNAME, "password": PASSWORD}
        return Settings.model_validate({**account, "timeout_s": 5.0, **changes})

    return build


@pytest.fixture(scope="session")
def connect(settings: Callable[..., Settings]) -> Callable[..., contextlib.AbstractAsyncContextManager[AlphaEssClient]]:
    """Context managers of an open client, from an address, a clock and changed settings."""

    @contextlib.asynccontextmanager
    async def open_client(url: str, clock: Callable[[], dt.datetime], **changes: Any) -> AsyncIterator[AlphaEssClient]:
        client = AlphaEssClient(settings(base_url=url, **changes), clock)
        try:
            yield client
        finally:
            await client.close()

    return open_client


@pytest.fixture(scope="session")
def adapt(
    connect: Callable[..., contextlib.AbstractAsyncContextManager[AlphaEssClient]],
) -> Callable[..., contextlib.AbstractAsyncContextManager[AlphaEssAdapter]]:
    """Context managers of an open adapter, from an address, a clock and changed settings."""

    @contextlib.asynccontextmanager
    async def open_adapter(
        url: str, clock: Callable[[], dt.datetime], **changes: Any
    ) -> AsyncIterator[AlphaEssAdapter]:
        async with connect(url, clock, **changes) as client:
            yield AlphaEssAdapter(client, changes.get("upload_time_zone", "UTC"))

    return open_adapter


@pytest.fixture(scope="session")
def device() -> Callable[..., Device]:
    def build(
        serial_number: str = SERIAL_NUMBER,
        charge_kw: float = 5.0,
        discharge_kw: float = 4.0,
        min_soc: float = 0.1,
        max_soc: float = 0.9,
        capacity_kwh: float = 10.0,
    ) -> Device:
        battery = Battery(
            capacity_kwh=capacity_kwh,
            max_charge_kw=charge_kw,
            max_discharge_kw=discharge_kw,
            min_soc=min_soc,
            max_soc=max_soc,
        )
        return Device(serial_number, battery)

    return build


@pytest.fixture(scope="session")
def loopback_server() -> Iterator[LoopbackServer]:
    server = LoopbackServer()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def emulate(loopback_server: LoopbackServer) -> Callable[..., World]:
    """Build an emulated cloud and serve it: `emulate(load_kw=1, pv_kw=0, soc=0.5, ...)`."""

    def build(
        load_kw: float = 1.0,
        pv_kw: float = 0.0,
        soc: float = 0.5,
        battery: Battery | None = None,
        serial_numbers: tuple[str, ...] = (SERIAL_NUMBER,),
        start: dt.datetime = START,
        zone: str = "UTC",
        house: pd.DataFrame | None = None,
        log: EventLog | None = None,
        speed: float | None = None,
        largest_page: int = 100,
    ) -> World:
        log = log or EventLog()
        clock, faults = EmulatedClock(start, speed), FaultBox()
        battery = battery or Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
        lived_in = House.constant(load_kw, pv_kw) if house is None else House(house)
        sites = [
            EmulatedSite(serial_number, Plant(battery, soc), lived_in, start, CADENCES_S, log, faults)
            for serial_number in serial_numbers
        ]
        account = Account(
            api_account=API_ACCOUNT,
            api_secret=SecretStr(API_SECRET),
            username=USERNAME,
            password=SecretStr(PASSWORD),
        )
        cloud = AlphaEssCloud(sites, clock, log, faults, account, zone, largest_page)
        loopback_server.app = cloud.app
        systems = [cloud.system(serial_number) for serial_number in serial_numbers]
        return World(cloud, clock, log, faults, loopback_server.url, systems)

    return build


@pytest.fixture
def vendor() -> Iterator[ScriptedVendor]:
    server = ScriptedVendor()
    yield server
    server.close()


@pytest.fixture(scope="session")
def reply() -> type[Reply]:
    return Reply


@pytest.fixture
def closed_port_url() -> str:
    """Where nobody listens."""
    listener = listen()
    port = listener.getsockname()[1]
    listener.close()
    return f"http://127.0.0.1:{port}"
