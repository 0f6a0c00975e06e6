"""What can go wrong in an emulated cloud, all of it off until somebody switches it on.

What HTTP can do wrong is done by `with_faults`, what a battery can do wrong by `adapters.emulation.site`; what only one
vendor can do wrong (sessions, tokens, rate limits in its own words, odd JSON) by that vendor's emulator, which reads
the switches here.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Share = Annotated[float, Field(ge=0, le=1)]
# Beyond a year times would leave the calendar, and a fault of the emulator would pass for one of the vendor.
YEAR_S = 31_536_000
Seconds = Annotated[float, Field(ge=0, le=YEAR_S)]
App = Callable[[Any, Callable[[], Awaitable[Any]], Callable[[Any], Awaitable[None]]], Awaitable[None]]


class Faults(BaseModel):
    """The switches."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    latency_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Real seconds before each answer."""
    latency_tail_s: Annotated[float, Field(ge=0, le=60)] = 0.0
    """Real seconds before the slowest hundredth of answers, others falling off as waits do (exponentially)."""
    server_error_share: Share = 0.0
    """Calls that are answered 503 and do nothing."""
    lost_answers: Annotated[int, Field(ge=0)] = 0
    """The next so many control calls are carried out and never answered."""
    lost_share: Share = 0.0
    """Control calls that get no answer, half of them without having been carried out."""
    rate_limited: bool = False
    """Every call is refused as too frequent, in the vendor's words, and lengthens the ban."""
    ban_s: Seconds = 60.0
    """How long a ban lasts after the last call in it [s]."""
    session_stolen: bool = False
    """Somebody else logs in before every call."""
    tokens_expired: bool = False
    """Every token is taken as expired."""
    clock_skew_s: Annotated[float, Field(ge=-YEAR_S, le=YEAR_S)] = 0.0
    """The cloud's clock less the true time [s]."""
    apply_delay_s: Seconds | None = None
    """From receipt to effect [s]; None: as the vendor usually takes."""
    applied_share: Share = 1.0
    """How much of the power asked for the battery gives."""
    commands_ignored: bool = False
    """Commands are accepted and nothing happens."""
    lapses_after_s: Seconds | None = None
    """Commands end by themselves so soon [s]."""
    frozen: bool = False
    """The cloud repeats its last readings, time stamps included."""
    numbers_as: Literal["number", "text", "null", "n/a"] = "number"
    """How numbers of readings are written."""
    battery_sign_flipped: bool = False
    power_factor: Annotated[float, Field(gt=0, le=1e9)] = 1.0
    """All powers of readings are so many times too large: 1000 is W where kW are meant."""
    soc_jump: Annotated[float, Field(ge=-1, le=1)] = 0.0
    """Added to every state of charge that is shown [fraction]."""
    pv_throttled: bool = False
    """A forced charge below what the array gives becomes the array's ceiling."""
    odd_json: bool = False
    """Braces and names misplaced as the vendor's document prints them; malformed frames where there are streams."""


class FaultBox:
    """The faults in force, for whoever looks and whoever switches."""

    def __init__(self, seed: int = 0) -> None:
        self.now = Faults()
        self._random = random.Random(seed)
        self._answers_to_lose = 0

    def switch(self, faults: Faults) -> None:
        """Put these in force instead of the others."""
        self.now = faults
        self._answers_to_lose = faults.lost_answers

    def hits(self, share: float) -> bool:
        """Whether one call of so many is hit."""
        return self._random.random() < share

    def latency_s(self) -> float:
        """How long this answer takes [s]."""
        faults = self.now
        tail_s = self._random.expovariate(math.log(100) / faults.latency_tail_s) if faults.latency_tail_s else 0.0
        return faults.latency_s + tail_s

    def loses_answer(self) -> bool:
        """Whether the answer to this control call is lost; counts it."""
        if self._answers_to_lose <= 0:
            return False
        self._answers_to_lose -= 1
        return True

    def written(self, value: float | int | None) -> Any:
        """A number as the cloud writes it now."""
        if value is None or self.now.numbers_as == "number":
            return value
        return {"text": str(value), "null": None, "n/a": "N/A"}[self.now.numbers_as]


def with_faults(app: App, box: FaultBox, is_control: Callable[[str], bool], exempt: str) -> App:
    """An application that is late, down, or silent as the box says.

    Args:
        app: The vendor's application.
        box: The faults in force.
        is_control: Whether a path changes something; the answers to those can be lost.
        exempt: Paths that begin so are left alone.
    """

    async def faulty(scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]) -> None:
        if scope["type"] != "http" or scope["path"].startswith(exempt):
            await app(scope, receive, send)
            return
        faults = box.now
        latency_s = box.latency_s()
        if latency_s:
            await asyncio.sleep(latency_s)
        if box.hits(faults.server_error_share):
            await send({"type": "http.response.start", "status": 503, "headers": []})
            await send({"type": "http.response.body", "body": b""})
            return
        if is_control(scope["path"]) and (box.loses_answer() or box.hits(faults.lost_share)):
            if not faults.lost_share or box.hits(0.5):
                await app(scope, receive, _swallow)
            while (await receive())["type"] != "http.disconnect":
                pass
            return
        await app(scope, receive, send)

    return faulty


async def _swallow(_: Any) -> None:
    """Where a lost answer goes."""
