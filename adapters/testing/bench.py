"""One adapter connected over real HTTP on loopback to the emulator of its vendor; every request is witnessed."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import stamina
import uvicorn

from adapters.contract import Abilities, Channel, Closable, Device, Dispatchable, QuotaExceededError, Telemetry
from adapters.emulation import (
    CONTROL_PREFIX,
    LOOPBACK,
    EmulatedClock,
    EmulatedSite,
    EventLog,
    FaultBox,
    Faults,
    House,
    listen,
)
from adapters.testing.subject import Subject
from engine.assets import Battery
from engine.intent import Intent, IntentMode
from engine.plant import Plant

START = dt.datetime(2026, 3, 2, 12, 0, tzinfo=dt.UTC)
# Ratings differ, so that a direction taken for the other shows.
BATTERY = Battery(capacity_kwh=20.0, max_charge_kw=4.0, max_discharge_kw=5.0, min_soc=0.1, max_soc=1.0)
TIMEOUT_S = 0.4
READ_PATIENCE = 3
SECRET_NAME = re.compile(r"secret|password|token|key|authorization|cookie|systemcode", re.IGNORECASE)


@dataclass
class Seen:
    """One request as it came to the vendor's server."""

    method: str
    path: str
    status: int | None = None
    """None: never answered."""


class Bench:
    """A vendor's cloud with its sites, and an adapter for it."""

    def __init__(self, subject: Subject, load_kw: float, pv_kw: float, soc: float, sites: int) -> None:
        self.subject, self.expected = subject, subject.expected
        self.clock, self.log, self.faults = EmulatedClock(START, None), EventLog(), FaultBox()
        house = House.constant(load_kw, pv_kw)
        self.sites = [
            EmulatedSite(
                f"TW{number:013}", Plant(BATTERY, soc), house, START, subject.cadences_s, self.log, self.faults
            )
            for number in range(1, sites + 1)
        ]
        self.cloud = subject.build(self.sites, self.clock, self.log, self.faults)
        self.seen: list[Seen] = []
        self.secrets: set[str] = set()
        """Every secret of the account, and those that went over the wire."""
        self.adapter: Any = None
        self._made: list[Any] = []
        self._listener = listen()
        self.url = f"http://{LOOPBACK}:{self._listener.getsockname()[1]}"
        self._once = False
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._witness,
                interface="asgi3",
                log_level="critical",
                log_config=None,
                lifespan="off",
                access_log=False,
                date_header=False,
                timeout_graceful_shutdown=1,
            )
        )

    # --- the vendor's side ---

    @property
    def site(self) -> EmulatedSite:
        """The first site."""
        return self.sites[0]

    @property
    def battery_kw(self) -> float:
        """What the first battery really does [kW], + discharges."""
        return self.site.plant.sample.battery_kw

    @property
    def now(self) -> dt.datetime:
        """The emulated time."""
        return self.clock.now()

    @property
    def longest_cadence_s(self) -> float:
        """After so long every channel has something new to read [s].

        Rows of the site may come more often than the vendor's cloud has them or may be asked, which is what the adapter
        says: between those times it may well answer with what it has.
        """
        abilities: Abilities = self.adapter.abilities
        return max(*self.subject.cadences_s, abilities.power_cadence_s, abilities.state_cadence_s)

    @property
    def connections(self) -> int:
        """How many connections are open at the server."""
        return len(self._server.server_state.connections)

    def step(self, seconds: float) -> None:
        """Let emulated time pass."""
        self.clock.step_to(self.now + dt.timedelta(seconds=seconds))
        self.cloud.advance()

    def switch(self, **faults: Any) -> None:
        """Put these faults in force instead of the others; none of them: all is well."""
        self._once = False
        self.faults.switch(Faults(**faults))

    def once(self, **faults: Any) -> None:
        """The same for the next request only."""
        self.switch(**faults)
        self._once = True

    # --- the adapter's side ---

    def account(self, **changes: Any) -> dict[str, Any]:
        """Settings of an adapter for this cloud."""
        base = {**self.cloud.account(), "base_url": self.url, "timeout_s": TIMEOUT_S}
        return {**base, **self.expected.settings, **changes}

    def secret_settings(self) -> dict[str, str]:
        """Those settings of the account that are secret."""
        return {
            name: value
            for name, value in self.cloud.account().items()
            if isinstance(value, str) and (name in self.expected.secrets or SECRET_NAME.search(name))
        }

    def create(self, **changes: Any) -> Any:
        """Another adapter for this cloud, closed with the bench."""
        made = self.subject.create(self.account(**changes), self.clock.now)
        self._made.append(made)
        return made

    def device(self, number: int = 0, device_id: str | None = None) -> Device:
        """A site as the engine knows it."""
        return Device(self.sites[number].device_id if device_id is None else device_id, BATTERY)

    async def read(self, channel: Channel, adapter: Any = None, number: int = 0) -> Telemetry | None:
        """Read a device; where the vendor's limit of calls is used up, as soon as it allows."""
        for _ in range(READ_PATIENCE):
            try:
                reading: Telemetry | None = await (adapter or self.adapter).read(self.device(number), channel)
            except QuotaExceededError as error:
                self.step(max(1.0, (error.free_at - self.now).total_seconds()))
            else:
                return reading
        raise AssertionError("the adapter's own limit of calls does not let a single read through")

    async def read_all(self, adapter: Any = None) -> dict[Channel, Telemetry | None]:
        """Read all channels."""
        return {channel: await self.read(channel, adapter) for channel in Channel}

    def intent(self, mode: IntentMode, power_kw: float = 0.0, minutes: float = 15) -> Intent:
        """An intent from now on."""
        return Intent(mode, power_kw, self.now, self.now + dt.timedelta(minutes=minutes))

    def translate(self, mode: IntentMode, power_kw: float = 0.0, number: int = 0) -> Any:
        """An intent from now on, in the vendor's words."""
        command = self.driver.translate(self.intent(mode, power_kw), self.device(number), None)
        return dataclasses.replace(command, replaces=not self.sites[number].released)  # as a journal would know

    @property
    def driver(self) -> Dispatchable:
        """The adapter as one that drives."""
        assert isinstance(self.adapter, Dispatchable)
        return self.adapter

    # --- the wire ---

    @contextlib.asynccontextmanager
    async def open(self) -> AsyncIterator[Bench]:
        """Serve, connect, and leave nothing behind."""
        serving = asyncio.create_task(self._server.serve(sockets=[self._listener]))
        try:
            deadline = time.monotonic() + 10
            while not self._server.started:
                if serving.done() or time.monotonic() > deadline:
                    raise AssertionError("the emulator's server did not start")
                await asyncio.sleep(0.002)
            self.adapter = self.create()
            with stamina.set_testing(True, attempts=100, cap=True):
                yield self
        finally:
            for adapter in self._made:
                if isinstance(adapter, Closable):
                    await adapter.close()
            self._server.should_exit = True
            await serving
            self._listener.close()

    async def _witness(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        if scope["type"] != "http" or scope["path"].startswith(CONTROL_PREFIX):
            await self.cloud.app(scope, receive, send)
            return
        seen = Seen(scope["method"], scope["path"])
        self.seen.append(seen)
        self._note_secrets((name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"])

        async def overhear() -> Any:
            message = await receive()
            self._note_body(message.get("body", b""))
            return message

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                seen.status = message["status"]
                if self._once:
                    self.switch()
            await send(message)

        await self.cloud.app(scope, overhear, answer)

    def _note_body(self, body: bytes) -> None:
        text = body.decode("utf-8", "replace")
        try:
            content = json.loads(text)
        except ValueError:
            content = dict(parse_qsl(text))
        if isinstance(content, Mapping):
            self._note_secrets(content.items())

    def _note_secrets(self, pairs: Any) -> None:
        for name, value in pairs:
            if isinstance(value, str) and SECRET_NAME.search(str(name)) and len(value) >= 8:
                self.secrets.add(value.removeprefix("Bearer ").removeprefix("Basic "))
