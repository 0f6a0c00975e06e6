"""`tidewatt emulate`: vendors' clouds and their batteries on loopback, for demonstrations, tests and sandboxes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from adapters.emulation import (
    LOOPBACK,
    Cloud,
    EmulatedClock,
    EmulatedSite,
    EventLog,
    FaultBox,
    House,
    emulator,
    listen,
    serve,
)
from adapters.private_file import write_private
from engine import Site
from engine.errors import InputError
from engine.plant import Plant


@dataclass(frozen=True)
class EmulatorOptions:
    """What to emulate for each vendor, and how its time runs."""

    site: Site
    house: Callable[[int], pd.DataFrame]
    """`load_kw` and `pv_kw` of each site on an aware, regular index; repeats for ever. Sites are numbered from 0, those
    of the first vendor first."""
    initial_soc: float
    start: dt.datetime
    speed: float | None
    """Emulated seconds per second; None: the clock is stepped from outside."""
    sites: int = 1
    seed: int = 1
    port: int = 0
    """Of the first cloud, the others have the ports after it; 0 takes free ones."""
    log_file: Path | None = None
    idle_exit_s: float | None = None


def run_emulators(
    wanted: Sequence[str], options: EmulatorOptions, announce: Callable[[list[dict[str, Any]]], None]
) -> None:
    """Serve vendors in this process, a port for each cloud, until interrupted, told to stop, or idle for too long.

    Args:
        wanted: Which vendors.
        options: What each of them has.
        announce: Called once all listen, with what clients need, a cloud each: `adapter`, `device_id`, `device_ids`,
            `account`, `clock_factor`.

    Raises:
        InputError: No vendor, or a port is taken.
    """
    if not wanted:
        raise InputError("vendors", "no emulator is installed", "install the package again, so that it is found")
    clock = EmulatedClock(options.start, options.speed)
    found = [cloud for place, name in enumerate(wanted) for cloud in _clouds(name, place, len(wanted), options, clock)]
    listeners: list[socket.socket] = []
    try:
        for place in range(len(found)):
            listeners.append(listen(options.port + place if options.port else 0))
        records = [_record(*both, options.speed) for both in zip(found, listeners, strict=True)]
        clouds = [one.cloud for one in found]
        asyncio.run(serve_all(clouds, listeners, options.idle_exit_s, lambda: announce(records)))
    finally:
        for listener in listeners:
            listener.close()


def write_ready(path: Path, records: Sequence[dict[str, Any]]) -> None:
    """Write what clients need, a line each; it holds credentials."""
    write_private(path, "".join(json.dumps(record) + "\n" for record in records))


def device_id(name: str, number: int) -> str:
    """The serial number of an emulated system, counted from 0: the first letters of its vendor and a number."""
    return f"{name[:2].upper()}{number + 1:013d}"


@dataclass(frozen=True)
class _Served:
    """One cloud of a vendor's, and the devices that it knows."""

    vendor: str
    device_ids: list[str]
    cloud: Cloud


def _clouds(name: str, place: int, of: int, options: EmulatorOptions, clock: EmulatedClock) -> list[_Served]:
    """A vendor's clouds: one, unless it takes fewer sites than there are."""
    found = emulator(name)
    path = options.log_file
    if path is not None and of > 1:
        path = path.with_name(f"{path.stem}-{name}{path.suffix}")
    log = EventLog(path)
    numbers = range(options.sites)
    size = found.most_sites or options.sites
    served = []
    for share in (numbers[first : first + size] for first in range(0, options.sites, size)):
        faults = FaultBox(options.seed + place + share[0])
        sites = [
            EmulatedSite(
                device_id(name, number),
                Plant(options.site.battery, options.initial_soc),
                House(options.house(place * options.sites + number)),
                options.start,
                found.cadences_s,
                log,
                faults,
            )
            for number in share
        ]
        served.append(_Served(name, [site.device_id for site in sites], found.build(sites, clock, log, faults)))
    return served


def _record(served: _Served, listener: socket.socket, speed: float | None) -> dict[str, Any]:
    return {
        "adapter": served.vendor,
        "device_id": served.device_ids[0],
        "device_ids": served.device_ids,
        "account": {"base_url": f"http://{LOOPBACK}:{listener.getsockname()[1]}", **served.cloud.account()},
        "clock_factor": speed,
    }


async def serve_all(
    clouds: Sequence[Cloud],
    listeners: Sequence[socket.socket],
    idle_exit_s: float | None,
    announce: Callable[[], None],
) -> None:
    """Serve all until one is told to stop, or nobody has asked any of them for so long: they are one process."""
    # Not before the loop runs: whoever reads it may end us at once, and only the loop ends without a complaint.
    announce()
    latest = time.monotonic()

    def noting(app: Any) -> Any:
        async def noted(scope: Any, receive: Any, send: Any) -> None:
            nonlocal latest
            latest = time.monotonic()
            await app(scope, receive, send)

        return noted

    def over() -> bool:
        idle = idle_exit_s is not None and time.monotonic() - latest > idle_exit_s
        return idle or any(cloud.stopped for cloud in clouds)

    await asyncio.gather(
        *(
            serve(noting(cloud.app), listener, cloud.advance, None, over)
            for cloud, listener in zip(clouds, listeners, strict=True)
        )
    )
