"""`tidewatt devices`: what vendors list and measure, of many accounts at once, in canonical signs."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from adapters.contract import (
    AdapterError,
    Channel,
    Closable,
    Device,
    Discoverable,
    Found,
    Readable,
    Telemetry,
    Watchable,
)
from adapters.emulation import LOOPBACK, EmulatorControl
from console.accounts import VendorAccount, open_adapter
from engine import Battery
from schedules.clock import RealClock

# Reading needs no nameplate; one that allows nothing cannot be mistaken for permission.
NOTHING_ALLOWED = Battery(capacity_kwh=1.0, max_charge_kw=0.0, max_discharge_kw=0.0)
# A vendor's clock may be a little ahead of ours; a reading further ahead carries a wrong zone.
FUTURE_MARGIN_S = 60.0
# Losses between the sides of an inverter, and meters that read at different moments.
BALANCE_SHARE, BALANCE_KW = 0.1, 0.2
SHORTEST_SECRET = 6


@dataclass(frozen=True)
class Row:
    """One device and its reading, or why there is none."""

    account: str
    adapter: str
    device_id: str
    reading: Telemetry | None = None
    age_s: float | None = None
    error: str = ""

    @property
    def imbalance_kw(self) -> float | None:
        """`load - (grid + pv + battery)` [kW]; None where one of them is unknown."""
        reading = self.reading
        if reading is None:
            return None
        load, grid, pv, battery = reading.load_kw, reading.grid_kw, reading.pv_kw, reading.battery_kw
        if load is None or grid is None or pv is None or battery is None:
            return None
        return load - (grid + pv + battery)

    @property
    def balanced(self) -> bool | None:
        """Whether the powers add up, within losses; None where one of them is unknown."""
        reading, off_kw = self.reading, self.imbalance_kw
        if reading is None or off_kw is None:
            return None
        powers = (reading.load_kw, reading.grid_kw, reading.pv_kw, reading.battery_kw)
        largest_kw = max(abs(power) for power in powers if power is not None)
        return abs(off_kw) <= max(BALANCE_KW, BALANCE_SHARE * largest_kw)

    def as_json(self) -> dict[str, Any]:
        """The row for machines; what is unknown is null."""
        reading = self.reading
        values = ("battery_kw", "grid_kw", "pv_kw", "load_kw", "soc", "dispatch_active")
        return {
            "account": self.account,
            "adapter": self.adapter,
            "device_id": self.device_id,
            "channel": None if reading is None else reading.channel.value,
            "measured_at": None if reading is None else reading.measured_at.isoformat(),
            **{name: None if reading is None else getattr(reading, name) for name in values},
            "age_s": self.age_s,
            "imbalance_kw": self.imbalance_kw,
            "balanced": self.balanced,
            "error": self.error or None,
        }


@dataclass(frozen=True)
class Listing:
    """One device as the vendor lists it, or as the file of accounts names it."""

    account: str
    adapter: str
    found: Found | None
    listed_by_vendor: bool
    error: str = ""

    def as_json(self) -> dict[str, Any]:
        """The row for machines."""
        found = self.found
        names = ("device_id", "name", "model", "capacity_kwh", "rated_kw", "controllable")
        return {
            "account": self.account,
            "adapter": self.adapter,
            **{name: None if found is None else getattr(found, name) for name in names},
            "listed_by_vendor": self.listed_by_vendor,
            "error": self.error or None,
        }


class EmulatedTime:
    """The time of a running emulator, as of the last `sync` and at its own pace since; until then the real time."""

    def __init__(self, url: str, clock_factor: float | None) -> None:
        self._url, self._factor = url, clock_factor or 0.0
        self._known: tuple[dt.datetime, float] | None = None

    def __call__(self) -> dt.datetime:
        """Now, aware UTC."""
        if self._known is None:
            return RealClock()()
        then, since = self._known
        return then + dt.timedelta(seconds=(time.monotonic() - since) * self._factor)

    async def sync(self) -> None:
        """Ask the emulator; one that does not answer leaves the time as it was."""
        control = EmulatorControl(self._url)
        with contextlib.suppress(AdapterError, KeyError, TypeError, ValueError):
            state = await control.state()
            self._known = (dt.datetime.fromisoformat(state["now"]), time.monotonic())
        await control.close()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of the emulator's time; one whose clock is stepped is stepped."""
        if self._factor:
            await asyncio.sleep(seconds / self._factor)
            return
        await self.sync()
        control = EmulatorControl(self._url)
        try:
            await control.step_to(self() + dt.timedelta(seconds=seconds))
        finally:
            await control.close()
        await self.sync()


@dataclass(frozen=True)
class Connection:
    """One account with its adapter."""

    account: VendorAccount
    adapter: Any
    clock: Callable[[], dt.datetime]

    async def sync(self) -> None:
        """Let an emulated clock catch up."""
        if isinstance(self.clock, EmulatedTime):
            await self.clock.sync()

    async def sleep(self, seconds: float) -> None:
        """Wait so many seconds of the account's time."""
        await (self.clock.sleep if isinstance(self.clock, EmulatedTime) else asyncio.sleep)(seconds)

    def row(self, device_id: str, **more: Any) -> Row:
        """A row of this account's."""
        return Row(self.account.label, self.account.adapter, device_id, **more)

    def said(self, error: Exception) -> str:
        """What a failure may say on a screen: an adapter's own words, none that hold a setting's value."""
        if isinstance(error, TimeoutError):
            return "no answer in time"
        if not isinstance(error, AdapterError):
            # Whatever an adapter did not foresee may quote what it was given.
            return f"the adapter failed ({type(error).__name__})"
        return self.masked(str(error))

    def masked(self, text: str) -> str:
        """A text without the values of this account's settings."""
        for name, value in self.account.account.items():
            if name != "base_url" and isinstance(value, str) and len(value) >= SHORTEST_SECRET:
                text = text.replace(value, "***")
        return text


@dataclass(frozen=True)
class Bounds:
    """How hard vendors are asked."""

    at_once: int = 8
    """So many questions at the same time, over all accounts."""
    timeout_s: float = 30.0
    """Longest wait for one of them [s]."""


@contextlib.asynccontextmanager
async def connected(path: Path, accounts: Sequence[VendorAccount], first: int = 1) -> AsyncIterator[list[Connection]]:
    """All accounts of a file with their adapters, closed again at the end.

    Args:
        path: The file, for messages.
        accounts: Accounts of it, one after the other.
        first: Which account of the file the first of them is, for messages.

    Raises:
        InputError: The settings of one of them are wrong; nothing has been contacted then.
    """
    connections: list[Connection] = []
    try:
        for place, account in enumerate(accounts, start=first):
            clock = _clock_of(account)
            connections.append(Connection(account, open_adapter(path, place, account, clock), clock))
        yield connections
    finally:
        for connection in connections:
            if isinstance(connection.adapter, Closable):
                await connection.adapter.close()


async def list_devices(connections: Sequence[Connection], bounds: Bounds) -> list[Listing]:
    """All devices of all accounts: the vendor's list, and where it has none the file's."""
    gate = asyncio.Semaphore(bounds.at_once)

    async def one(connection: Connection) -> list[Listing]:
        account = connection.account
        if not isinstance(connection.adapter, Discoverable):
            if not account.devices:
                return [Listing(account.label, account.adapter, None, False, _NO_LIST)]
            return [Listing(account.label, account.adapter, Found(device), False) for device in account.devices]
        try:
            async with gate, asyncio.timeout(bounds.timeout_s):
                await connection.sync()
                found = await connection.adapter.devices()
        except Exception as error:
            return [Listing(account.label, account.adapter, None, True, connection.said(error))]
        return [Listing(account.label, account.adapter, device, True) for device in found]

    return [row for rows in await asyncio.gather(*map(one, connections)) for row in rows]


async def probe(connections: Sequence[Connection], channel: Channel | None, bounds: Bounds) -> list[Row]:
    """One reading of each device, in the order of the file; a failure is a row, never an exception.

    Args:
        connections: The accounts.
        channel: Which reading; None: the full state, and where the vendor has none yet, the powers.
        bounds: How hard vendors are asked.
    """
    gate = asyncio.Semaphore(bounds.at_once)
    targets = await _targets(connections, bounds, gate)

    async def one(connection: Connection, target: str | Row) -> Row:
        if isinstance(target, Row):
            return target
        return await _read(connection, target, channel, bounds, gate)

    return list(await asyncio.gather(*(one(*target) for target in targets)))


async def watch(
    connections: Sequence[Connection],
    channel: Channel | None,
    bounds: Bounds,
    every_s: float,
    count: int | None,
    show: Callable[[Row], None],
) -> bool:
    """Show readings as they come: from vendors that send them by themselves, from the others every so often.

    Args:
        connections: The accounts.
        channel: What is read from vendors that are asked, as in `probe`.
        bounds: How hard they are asked.
        every_s: Between two readings of a device [s].
        count: So many of each device; None: until cancelled.
        show: Takes each row.

    Returns:
        Whether all rows had a reading.
    """
    gate = asyncio.Semaphore(bounds.at_once)
    all_well = True

    def pass_on(row: Row) -> None:
        nonlocal all_well
        all_well = all_well and not row.error
        show(row)

    async def follow(connection: Connection, target: str | Row) -> None:
        if isinstance(target, Row):
            pass_on(target)
        elif isinstance(connection.adapter, Watchable):
            await _stream(connection, target, count, pass_on)
        else:
            shown = 0
            while True:
                pass_on(await _read(connection, target, channel, bounds, gate))
                shown += 1
                if shown == count:
                    return
                await asyncio.sleep(every_s)

    await asyncio.gather(*(follow(*target) for target in await _targets(connections, bounds, gate)))
    return all_well


_NO_LIST = "this vendor lists no devices; name device_ids in the file of accounts"


def _clock_of(account: VendorAccount) -> Callable[[], dt.datetime]:
    url = account.account.get("base_url")
    # Only an emulator of ours is asked for its time, and those are on loopback.
    if account.is_emulated and isinstance(url, str) and urlsplit(url).hostname == LOOPBACK:
        return EmulatedTime(url, account.clock_factor)
    return RealClock()


async def _targets(
    connections: Sequence[Connection], bounds: Bounds, gate: asyncio.Semaphore
) -> list[tuple[Connection, str | Row]]:
    """The devices to read; a row with the reason for an account whose devices are not known."""

    async def of(connection: Connection) -> list[str | Row]:
        if not isinstance(connection.adapter, Readable):
            return [connection.row("", error="this vendor gives no telemetry")]
        if connection.account.devices:
            return list(connection.account.devices)
        if not isinstance(connection.adapter, Discoverable):
            return [connection.row("", error=_NO_LIST)]
        try:
            async with gate, asyncio.timeout(bounds.timeout_s):
                await connection.sync()
                found = await connection.adapter.devices()
        except Exception as error:
            return [connection.row("", error=connection.said(error))]
        return [device.device_id for device in found] or [connection.row("", error="the account has no devices")]

    found = await asyncio.gather(*map(of, connections))
    return [(connection, target) for connection, some in zip(connections, found, strict=True) for target in some]


async def _read(
    connection: Connection, device_id: str, channel: Channel | None, bounds: Bounds, gate: asyncio.Semaphore
) -> Row:
    try:
        async with gate, asyncio.timeout(bounds.timeout_s):
            await connection.sync()
            device = Device(device_id, NOTHING_ALLOWED)
            reading = await connection.adapter.read(device, channel or Channel.STATE)
            if channel is None and (reading is None or reading.grid_kw is None):
                reading = await _powers_or(reading, connection.adapter, device)
    except Exception as error:
        return connection.row(device_id, error=connection.said(error))
    if reading is None:
        return connection.row(device_id, error="the vendor has no reading of it")
    return _row_of(connection, device_id, reading)


async def _powers_or(state: Telemetry | None, adapter: Readable, device: Device) -> Telemetry | None:
    """The powers where there is no state, or one that knows no meter while the powers do."""
    try:
        powers = await adapter.read(device, Channel.POWER)
    except AdapterError:
        if state is None:
            raise
        return state
    return state if state is not None and (powers is None or powers.grid_kw is None) else powers


async def _stream(connection: Connection, device_id: str, count: int | None, show: Callable[[Row], None]) -> None:
    shown = 0
    try:
        await connection.sync()
        readings = connection.adapter.watch(Device(device_id, NOTHING_ALLOWED))
        async with contextlib.aclosing(readings):
            async for reading in readings:
                show(_row_of(connection, device_id, reading))
                shown += 1
                if shown == count:
                    return
    except Exception as error:
        show(connection.row(device_id, error=connection.said(error)))


def _row_of(connection: Connection, device_id: str, reading: Telemetry) -> Row:
    age_s = (connection.clock() - reading.measured_at).total_seconds()
    error = ""
    if age_s < -FUTURE_MARGIN_S:
        error = f"the reading is {-age_s:.0f} s ahead of now; set the zone of the vendor's times, or this clock"
    return connection.row(device_id, reading=reading, age_s=round(age_s, 1), error=error)
