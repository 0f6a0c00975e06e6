"""`tidewatt emulate`: a vendor's cloud and its batteries on loopback, for demonstrations, tests and sandboxes."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from adapters.alphaess.emulator import CADENCES_S, build
from adapters.emulation import LOOPBACK, EmulatedClock, EmulatedSite, EventLog, FaultBox, House, listen, serve
from engine import Site
from engine.plant import Plant

DEFAULT_SERIAL_NUMBER = "AL0000000000001"


@dataclass(frozen=True)
class EmulatorOptions:
    """What to emulate, and how its time runs."""

    site: Site
    house: pd.DataFrame
    """`load_kw` and `pv_kw` on an aware, regular index; repeats for ever."""
    initial_soc: float
    start: dt.datetime
    speed: float | None
    """Emulated seconds per second; None: the clock is stepped from outside."""
    port: int = 0
    serial_number: str = DEFAULT_SERIAL_NUMBER
    log_file: Path | None = None
    idle_exit_s: float | None = None


def run_alphaess(options: EmulatorOptions, announce: Callable[[dict[str, Any]], None]) -> None:
    """Serve until interrupted, or idle for too long.

    Args:
        options: What to emulate.
        announce: Called once the server listens, with what a client needs: `adapter`, `device_id`, `account`.
    """
    log, faults = EventLog(options.log_file), FaultBox()
    clock = EmulatedClock(options.start, options.speed)
    plant = Plant(options.site.battery, options.initial_soc)
    place = EmulatedSite(options.serial_number, plant, House(options.house), options.start, CADENCES_S, log, faults)
    cloud = build([place], clock, log, faults)
    listener = listen(options.port)
    announce(
        {
            "adapter": "alphaess",
            "device_id": options.serial_number,
            "account": {"base_url": f"http://{LOOPBACK}:{listener.getsockname()[1]}", **cloud.account()},
        }
    )
    asyncio.run(serve(cloud.app, listener, cloud.advance, options.idle_exit_s, lambda: cloud.stopped))


def write_private(path: Path, content: dict[str, Any]) -> None:
    """Write credentials so that only their owner can read them, and nobody sees half a file."""
    draft = path.with_suffix(".part")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(content, file)
    draft.replace(path)
