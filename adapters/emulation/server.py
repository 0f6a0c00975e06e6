"""An emulator's HTTP server on loopback."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from engine.errors import InputError

LOOPBACK = "127.0.0.1"


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
    app: Any,
    listener: socket.socket,
    advance: Callable[[], None],
    idle_exit_s: float | None,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Serve until told to stop or, with `idle_exit_s`, until nobody has asked anything for that long.

    Whoever still receives an answer, such as a stream, is not idle.

    Args:
        app: The emulator's application.
        listener: From `listen`.
        advance: Called about once a second, so that physics go on while nobody asks.
        idle_exit_s: Longest silence [s of real time]; None serves until stopped.
        stop: Asked about once a second.
    """
    last_request = time.monotonic()
    answering = 0

    async def note_request(
        scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        nonlocal last_request, answering
        answering += 1
        try:
            await app(scope, receive, send)
        finally:
            answering -= 1
            last_request = time.monotonic()

    server = uvicorn.Server(
        uvicorn.Config(note_request, log_level="error", lifespan="off", access_log=False, date_header=False)
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not serving.done():
        await asyncio.wait({serving}, timeout=0.5)
        advance()
        idle_s = 0.0 if answering else time.monotonic() - last_request
        if stop() or (idle_exit_s is not None and idle_s > idle_exit_s):
            server.should_exit = True
    await serving
