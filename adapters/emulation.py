"""What every vendor emulator shares: a clock that can run fast or be stepped, a house, a log, an HTTP server.

An emulator is a real HTTP server on loopback with physics behind it. Its own log is the witness that tests and
demonstrations compare Tidewatt's journal with.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import socket
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.contract import VendorUnavailableError
from adapters.transport import Transport
from engine.errors import InputError
from engine.timeline import utc_index

LOOPBACK = "127.0.0.1"
CLOCK_PATH = "/_emulator/clock"
STATE_PATH = "/_emulator/state"
STOP_PATH = "/_emulator/stop"
LARGEST_HOUSE_KW = 1000.0
KEPT_EVENTS = 100_000


class EmulatedClock:
    """The emulator's time: stepped by whoever drives it, or running at a multiple of real time."""

    def __init__(self, start: dt.datetime, speed: float | None) -> None:
        self._start = start
        self._speed = speed
        self._begun = time.monotonic()
        self._stepped_to = start

    @property
    def is_stepped(self) -> bool:
        """Whether time stands still until somebody steps it."""
        return self._speed is None

    def now(self) -> dt.datetime:
        """The emulated time, aware UTC."""
        if self._speed is None:
            return self._stepped_to
        return self._start + dt.timedelta(seconds=(time.monotonic() - self._begun) * self._speed)

    def step_to(self, target: dt.datetime) -> None:
        """Move a stepped clock forward.

        Raises:
            ValueError: The clock runs by itself, or the target lies in its past.
        """
        if not self.is_stepped:
            raise ValueError("clock: it runs by itself; start the emulator with --stepped to drive it")
        if target < self._stepped_to:
            raise ValueError(f"clock: {target.isoformat()} is before {self._stepped_to.isoformat()}")
        self._stepped_to = target


class House:
    """Load and PV over time, held constant within each row of a frame, which repeats for ever."""

    def __init__(self, frame: pd.DataFrame) -> None:
        """Take a frame with columns `load_kw` and `pv_kw` on an aware, regular index.

        Raises:
            InputError: The frame does not keep the contract.
        """
        index = utc_index("house", frame.index)
        for column in ("load_kw", "pv_kw"):
            if column not in frame:
                raise InputError(column, "missing from the house", "give load_kw and pv_kw")
            values = frame[column].to_numpy(dtype=float)
            bad = ~((values >= 0) & (values <= LARGEST_HOUSE_KW))
            if bad.any():
                raise InputError(
                    column,
                    f"value {values[bad][0]:g} kW at {index[int(bad.argmax())].isoformat()} "
                    f"is outside 0..{LARGEST_HOUSE_KW:g} kW",
                    "fill or correct it; if it is in W, divide it by 1000",
                )
        self._begin_s = index[0].timestamp()
        self._step_s = (index[1] - index[0]).total_seconds() if len(index) > 1 else 3600.0
        self._load: list[float] = frame["load_kw"].astype(float).tolist()
        self._pv: list[float] = frame["pv_kw"].astype(float).tolist()

    def at(self, moment: dt.datetime) -> tuple[float, float]:
        """Load and PV [kW] at a moment."""
        row = int((moment.timestamp() - self._begin_s) // self._step_s)
        row %= len(self._load)
        return self._load[row], self._pv[row]


def with_fluctuation(frame: pd.DataFrame, step: pd.Timedelta, seed: int) -> pd.DataFrame:
    """Spread means over shorter intervals the way houses and clouds do, keeping every mean.

    A first-order autoregressive factor (log-normal; standard deviation 0.4 for load, 0.25 for PV; time constant
    five steps) is laid over each mean and rescaled to it.

    Args:
        frame: `load_kw` and `pv_kw` on an aware, regular index.
        step: The shorter step; it divides the frame's.
        seed: Seed of the fluctuation; the same seed gives the same house.
    """
    rng = np.random.default_rng(seed)
    index = utc_index("house", frame.index)
    old = index[1] - index[0]
    parts = int(old / step)
    fine = pd.date_range(index[0], periods=len(index) * parts, freq=step, name="start")
    columns = {}
    for column, deviation in (("load_kw", 0.4), ("pv_kw", 0.25)):
        noise = np.empty(len(fine))
        level = 0.0
        keep = float(np.exp(-1 / 5))
        shocks = rng.normal(size=len(fine)) * np.sqrt(1 - keep**2)
        for position, shock in enumerate(shocks):
            level = keep * level + shock
            noise[position] = level
        factor = np.exp(deviation * noise).reshape(len(index), parts)
        factor /= factor.mean(axis=1, keepdims=True)
        columns[column] = (frame[column].to_numpy()[:, None] * factor).reshape(-1)
    return pd.DataFrame(columns, index=fine)


class EventLog:
    """What the emulator saw and did, in its own time; also written to a file, line by line.

    In memory it keeps the latest events only, and how often each happened.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open the file, so that a path that cannot be written is known at once."""
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._path = path
        if path is not None:
            path.touch()

    def add(self, at: dt.datetime, event: str, **details: Any) -> None:
        """Append one event."""
        entry = {"at": at.isoformat(), "event": event, **details}
        self._events.append(entry)
        self._counts[event, details.get("sn")] += 1
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The latest events."""
        return list(self._events)

    def count(self, event: str, serial_number: str) -> int:
        """How often an event happened to a system."""
        return self._counts[event, serial_number]


def control_routes(
    clock: EmulatedClock,
    advance: Callable[[], None],
    state: Callable[[], dict[str, Any]],
    stop: Callable[[], None],
) -> list[Route]:
    """Routes beside the vendor's own, for whoever drives the emulator; served on loopback only."""

    async def step(request: Request) -> Response:
        try:
            body = await request.json()
            clock.step_to(dt.datetime.fromisoformat(body["to"]))
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        advance()
        return JSONResponse({"now": clock.now().isoformat()})

    async def show(_: Request) -> Response:
        advance()
        return JSONResponse({"now": clock.now().isoformat(), **state()})

    async def end(_: Request) -> Response:
        stop()
        return JSONResponse({"now": clock.now().isoformat()})

    return [
        Route(CLOCK_PATH, step, methods=["POST"]),
        Route(STATE_PATH, show, methods=["GET", "POST"]),
        Route(STOP_PATH, end, methods=["POST"]),
    ]


class EmulatorControl:
    """The other end of `control_routes`: steps a running emulator and asks it for its own account."""

    def __init__(self, url: str) -> None:
        self._transport = Transport(url, lambda: dt.datetime.now(dt.UTC))

    async def step_to(self, target: dt.datetime) -> None:
        """Move a stepped emulator's clock; asking for the same time again does nothing."""
        await self._transport.read(CLOCK_PATH, {"to": target.isoformat()})

    async def state(self) -> dict[str, Any]:
        """The emulator's time (`now`) and its account of each system (`systems`)."""
        answer = await self._transport.read(STATE_PATH, {})
        if not isinstance(answer, dict):
            raise VendorUnavailableError(f"{STATE_PATH}: no emulator answers there")
        return answer

    async def stop(self) -> None:
        """Let the emulator end itself."""
        await self._transport.read(STOP_PATH, {})

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()


def listen(port: int = 0) -> socket.socket:
    """A listening socket on loopback; port 0 takes a free one.

    Raises:
        InputError: The port is taken.
    """
    # asyncio turns Nagle's algorithm off only where the protocol is named; with it every answer waits 40 ms.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise InputError(
            "port", f"value {port} cannot be used ({error.strerror})", "choose another, or 0 for a free one"
        ) from None
    listener.listen(128)
    return listener


async def serve(
    app: Starlette,
    listener: socket.socket,
    advance: Callable[[], None],
    idle_exit_s: float | None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until told to stop or, with `idle_exit_s`, until nobody has asked anything for that long.

    Args:
        app: The emulator's application.
        listener: From `listen`.
        advance: Called about once a second, so that physics go on while nobody asks.
        idle_exit_s: Longest silence [s of real time]; None serves until stopped.
        stop: Asked about once a second.
    """
    last_request = time.monotonic()

    async def note_request(
        scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        nonlocal last_request
        last_request = time.monotonic()
        await app(scope, receive, send)

    server = uvicorn.Server(
        uvicorn.Config(note_request, log_level="error", lifespan="off", access_log=False, date_header=False)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not serving.done():
        await asyncio.wait({serving}, timeout=0.5)
        advance()
        if stop() or (idle_exit_s is not None and time.monotonic() - last_request > idle_exit_s):
            server.should_exit = True
    await serving
