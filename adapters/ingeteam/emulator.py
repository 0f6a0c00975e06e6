"""An INGECON SUN inverter with its EMS on loopback, over real HTTP.

Follows "API for INGECON SUN inverters", sections 2 to 7, and where that is silent what public users of the devices
report: HTTP Basic on the stream too, several kinds of events on it, errors as HTTP 200 with `{"code": "error"}`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import hmac
import math
import secrets
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from email.utils import format_datetime
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from adapters.emulation import (
    EmulatedClock,
    EmulatedCloud,
    EmulatedSite,
    EventLog,
    FaultBox,
    Reading,
)
from adapters.ingeteam.emulated_words import MODELS, SHAPES, Model, Shape, phases, property_items
from adapters.ingeteam.emulated_words import frames as event_frames
from engine.errors import InputError

STREAM_S, PROPERTIES_S, DATALOGGER_S = 1.0, 5.0, 180.0
CADENCES_S = (STREAM_S, PROPERTIES_S, DATALOGGER_S)
# Each device has an address of its own.
MOST_SITES = 1
# The datalogger reaches back about two months.
KEPT_DAYS = 59
# How often a silent stream looks at the clock, and how often it shows that it is alive [s of real time].
LOOK_S, HEARTBEAT_S = 0.01, 1.0


class IngeteamCloud(EmulatedCloud):
    """One device and the battery behind it."""

    def __init__(
        self,
        site: EmulatedSite,
        clock: EmulatedClock,
        log: EventLog,
        faults: FaultBox,
        *,
        model: Model = "storage 1Play",
        shape: Shape = "aggregate and phases",
        has_battery: bool = True,
        names_events: bool = True,
        time_zone: str = "UTC",
        heartbeat_s: float = HEARTBEAT_S,
    ) -> None:
        """Build a device with throw-away credentials.

        Args:
            site: What is behind it; with the cadences `CADENCES_S`.
            clock: The emulated time.
            log: What it saw and did.
            faults: What goes wrong.
            model: Which inverter's properties it has.
            shape: Which elements its events have.
            has_battery: Whether the EMS knows of the battery; `StatusBat` is 7 otherwise.
            names_events: Whether the stream's events carry names.
            time_zone: Zone of the device's clock.
            heartbeat_s: How often a silent stream shows that it is alive [s of real time].
        """
        if model not in MODELS or shape not in SHAPES:
            raise InputError("model, shape", f"values {model!r}, {shape!r} are unknown", "choose one of the document's")
        self._site, self._clock, self._log, self._faults = site, clock, log, faults
        self._model, self._shape, self._has_battery = model, shape, has_battery
        self._names_events, self._zone, self._heartbeat_s = names_events, ZoneInfo(time_zone), heartbeat_s
        self._username, self._password = f"user{secrets.token_hex(4)}", secrets.token_urlsafe(12)
        self._samples: deque[Reading] = deque([site.reading(DATALOGGER_S)], maxlen=KEPT_DAYS * 480)
        self.streams = 0
        """How many streams are open."""
        routes = [
            Route("/inverter/properties/read/1", self._properties, methods=["POST"]),
            Route("/system/events/sse/stream", self._stream, methods=["GET"]),
            Route("/ems/datalogger/samples/{date}/{minutes}", self._datalogger, methods=["POST"]),
        ]
        self._offer(routes, clock, faults)

    def advance(self) -> None:
        """Bring everything to the emulated time, with a sample of the datalogger every 3 minutes."""
        target = self._clock.now()
        while self._site.now < target:
            stamp = (self._site.now.timestamp() // DATALOGGER_S + 1) * DATALOGGER_S
            self._site.advance(min(target, dt.datetime.fromtimestamp(stamp, dt.UTC)))
            if self._site.now.timestamp() == stamp:
                self._samples.append(self._site.reading(DATALOGGER_S))

    def state(self) -> dict[str, Any]:
        """Its own account of itself; nothing can be ordered of it, so it is always released."""
        return {"systems": {self._site.device_id: {**self._site.state(), "released": True}}}

    def account(self) -> dict[str, Any]:
        """Settings of an adapter for it, without `base_url`."""
        return {"username": self._username, "password": self._password, "time_zone": str(self._zone)}

    async def _properties(self, request: Request) -> Response:
        self.advance()
        refusal = self._refusal(request, "properties")
        if refusal is not None:
            return refusal
        try:
            body = await request.json()
        except ValueError:
            return self._error("the body is no JSON")
        if not isinstance(body, dict) or body.get("readdb") is not True:
            return self._error("the body asks for nothing")
        odd = self._faults.now.odd_json
        items = property_items(
            self._model, self._site.reading(PROPERTIES_S), self._faults.written, odd=odd, has_battery=self._has_battery
        )
        head = {"Modbusnode": 1, "canid": -1, "firmware": MODELS[self._model]}
        # One of the document's examples has no "connection".
        return self._answer({**head, **({} if odd else {"connection": ""}), "Data": items})

    async def _datalogger(self, request: Request) -> Response:
        self.advance()
        refusal = self._refusal(request, "datalogger")
        if refusal is not None:
            return refusal
        text = request.path_params["date"]
        try:
            day = dt.datetime.strptime(text, "%Y%m%d").replace(tzinfo=self._zone).date()
        except ValueError:
            return self._error("no date")
        today = self._local(self._clock.now()).date()
        if len(text) != 8 or request.path_params["minutes"] != "3" or today - day > dt.timedelta(days=KEPT_DAYS):
            return self._error("no such samples")
        rows = []
        for sample in self._samples:
            local = self._local(sample.at)
            if local.date() == day:
                rows += [
                    {"Date": f"{local:%Y-%m-%d %H:%M:%S}", **row, "sp": 3, "n": 1, "vs": "2.0.2"}
                    for row in phases(self._shape, sample, self._faults.written, logged=True)
                ]
        return self._answer(rows)

    async def _stream(self, request: Request) -> Response:
        self.advance()
        refusal = self._refusal(request, "stream")
        return refusal or StreamingResponse(self._events(), media_type="text/event-stream", headers=self._date())

    async def _events(self) -> AsyncIterator[bytes]:
        """One event per second of emulated time, or per step of the clock, and heart-beats while it stands."""
        self.streams += 1
        try:
            told, spoke_at, first = -1, time.monotonic(), True
            while not self.stopped:
                self.advance()
                second = math.floor(self._clock.now().timestamp())
                if second != told:
                    for piece in self._frames(first):
                        yield piece
                    told, spoke_at, first = second, time.monotonic(), False
                elif time.monotonic() - spoke_at >= self._heartbeat_s:
                    yield b": heart-beat\n\n"
                    spoke_at = time.monotonic()
                await asyncio.sleep(LOOK_S)
        finally:
            self.streams -= 1

    def _frames(self, first: bool) -> list[bytes]:
        elements = phases(
            self._shape, self._site.reading(STREAM_S), self._faults.written, has_battery=self._has_battery
        )
        return event_frames(elements, names=self._names_events, odd=self._faults.now.odd_json, first=first)

    def _refusal(self, request: Request, call: str) -> Response | None:
        """The answer to a call that is not carried out; None where it may be."""
        scheme, _, text = request.headers.get("Authorization", "").partition(" ")
        try:
            given = base64.b64decode(text, validate=True)
        except binascii.Error:
            given = b""
        expected = f"{self._username}:{self._password}".encode()
        if scheme.lower() != "basic" or not hmac.compare_digest(given, expected):
            self._log.add(self._clock.now(), "call refused", call=call, sn=self._site.device_id)
            headers = {"WWW-Authenticate": 'Basic realm="INGECON SUN"', **self._date()}
            return Response(status_code=401, headers=headers)
        if self._faults.now.rate_limited:
            return self._error("too busy")
        self._log.add(self._clock.now(), "call", call=call, sn=self._site.device_id)
        return None

    def _error(self, reason: str) -> Response:
        self._log.add(self._clock.now(), "call in error", reason=reason, sn=self._site.device_id)
        return self._answer({"code": "error"})

    def _answer(self, content: Any) -> Response:
        return JSONResponse(content, headers=self._date())

    def _date(self) -> dict[str, str]:
        return {"Date": format_datetime(self._device_time(self._clock.now()), usegmt=True)}

    def _device_time(self, at: dt.datetime) -> dt.datetime:
        return at + dt.timedelta(seconds=self._faults.now.clock_skew_s)

    def _local(self, at: dt.datetime) -> dt.datetime:
        return self._device_time(at).astimezone(self._zone)


def build(sites: Sequence[EmulatedSite], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> IngeteamCloud:
    """The device of one site; every site has an address of its own, so it is served apart from others.

    Raises:
        InputError: Not exactly one site.
    """
    if len(sites) != 1:
        raise InputError("sites", f"{len(sites)} of them behind one Ingeteam device", "build one for each site")
    return IngeteamCloud(sites[0], clock, log, faults)
