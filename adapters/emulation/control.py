"""How an emulator is driven: routes beside the vendor's own, and the client of them."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from typing import Any, Protocol

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.contract import VendorUnavailableError
from adapters.emulation.clock import EmulatedClock
from adapters.emulation.faults import FaultBox, Faults
from adapters.transport import Transport

CONTROL_PREFIX = "/_emulator/"
CLOCK_PATH = f"{CONTROL_PREFIX}clock"
STATE_PATH = f"{CONTROL_PREFIX}state"
FAULTS_PATH = f"{CONTROL_PREFIX}faults"
WRONG_PATH = f"{CONTROL_PREFIX}wrong"
STOP_PATH = f"{CONTROL_PREFIX}stop"


class Cloud(Protocol):
    """One vendor's emulated cloud."""

    app: Any
    """The ASGI application: the vendor's routes and `control_routes`."""
    stopped: bool
    """Whether whoever serves it should end."""

    def advance(self) -> None:
        """Bring everything to the emulated time."""

    def state(self) -> dict[str, Any]:
        """Its own account of itself: `systems`, by device."""

    def account(self) -> dict[str, Any]:
        """Settings of an adapter for it, throw-away credentials included; without `base_url`."""


def control_routes(
    clock: EmulatedClock,
    advance: Callable[[], None],
    state: Callable[[], dict[str, Any]],
    stop: Callable[[], None],
    faults: FaultBox | None = None,
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

    async def switch(request: Request) -> Response:
        assert faults is not None
        try:
            faults.switch(Faults.model_validate(await request.json()))
        except (ValueError, ValidationError) as error:
            return JSONResponse({"error": str(error)}, status_code=400)
        return JSONResponse(faults.now.model_dump())

    async def end(_: Request) -> Response:
        stop()
        return JSONResponse({"now": clock.now().isoformat()})

    return [
        *([] if faults is None else [Route(FAULTS_PATH, switch, methods=["POST"])]),
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

    async def switch(self, **faults: Any) -> None:
        """Put these faults in force instead of the others; none of them: all is well again."""
        await self._transport.read(FAULTS_PATH, faults)

    async def spoil(self, **wrong: Any) -> None:
        """The same for what is wrong with the answers of a price feed."""
        await self._transport.read(WRONG_PATH, wrong)

    async def stop(self) -> None:
        """Let the emulator end itself."""
        await self._transport.read(STOP_PATH, {})

    async def close(self) -> None:
        """Close the connection."""
        await self._transport.close()
