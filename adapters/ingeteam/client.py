"""The device's calls: properties of the inverter, the EMS's stream of events, days of its datalogger.

Source: "API for INGECON SUN inverters", sections 2.1, 7.1 and 7.4.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime as dt
import json
import logging
from collections.abc import AsyncGenerator
from ipaddress import ip_address, ip_network
from typing import Annotated, cast
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, SecretStr, field_validator

from adapters.contract import Clock, ConfigurationError, VendorUnavailableError
from adapters.ingeteam import datalogger, mapping, properties
from adapters.ingeteam.sse import EventDecoder
from adapters.ingeteam.values import is_error
from adapters.settings import AccountSettings, Seconds, checked_address
from adapters.transport import Answer, NoAnswerError, RefusedRequestError, Request, Transport
from engine.timeline import TimeZoneName

# After refused credentials nothing is asked for so long: the device's owner uses the same account.
REFUSED_PAUSE_S = 60.0
REFUSALS = (401, 403)
# Where the device's plain HTTP stays on the site's own network: private, loopback and link-local addresses.
LOCAL_NETWORKS = tuple(
    map(
        ip_network,
        (
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ),
    )
)
_log = logging.getLogger(__name__)


class DeviceError(VendorUnavailableError):
    """The device answered with HTTP 200 and `{"code": "error"}`, which is how it refuses."""


def _is_local(host: str) -> bool:
    """Whether a host is an address on the site's own network; a name could be looked up to anywhere."""
    if host == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    return any(address in network for network in LOCAL_NETWORKS)


def _checked_address(value: str) -> str:
    return checked_address(value, _is_local)


class Settings(AccountSettings):
    """One device on its site's network, and the user of its web pages."""

    base_url: Annotated[str, AfterValidator(_checked_address)]
    """Address of the device, like `http://192.168.1.20`."""
    username: Annotated[str, Field(min_length=1)]
    password: SecretStr
    time_zone: TimeZoneName | None = None
    """Zone of the datalogger's `Date`, which carries none; without it no history is read."""
    pv_measured: bool = True
    """Whether the EMS's strategy uses PV; values that it does not use are 0 (section 7.2)."""
    battery_from_flows: bool = False
    """Whether the datalogger's battery power is made up from its flows, which leave out what went to the grid."""
    silence_s: Seconds = 30.0
    """The stream is opened anew after so long without a reading of the plant [s]."""
    frozen_after_s: Seconds = 300.0
    """Readings that repeat each other to the bit for so long count as one that grows old [s]."""
    timeout_s: Seconds = 10.0

    @field_validator("username")
    @classmethod
    def _has_no_colon(cls, value: str) -> str:
        if ":" in value:
            raise ValueError("HTTP Basic knows no user with a colon")
        return value


class IngeteamClient:
    """Calls to one device, one at a time beside the stream: such a device serves very few connections.

    Every call raises `ConfigurationError` when the credentials are refused, and for `REFUSED_PAUSE_S` after that
    without asking; `VendorUnavailableError` when the device cannot be reached or answers what it should not.
    """

    def __init__(self, settings: Settings, clock: Clock, transport: Transport | None = None) -> None:
        self._settings, self._clock = settings, clock
        self._transport = transport or Transport(settings.base_url, clock, settings.timeout_s)
        pair = f"{settings.username}:{settings.password.get_secret_value()}"
        self._headers = {"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"}
        self._turns: dict[str, tuple[asyncio.AbstractEventLoop, asyncio.Lock]] = {}
        self._refused_until: dt.datetime | None = None
        self._is_skipping = False

    async def get_properties(self) -> properties.InverterState:
        """The inverter's properties (section 2.1), as its board has them.

        Raises:
            AdapterError: See the class.
        """
        answer = await self._read(Request("POST", mapping.PROPERTIES_PATH, mapping.PROPERTIES_BODY))
        return properties.inverter_state(answer.content)

    async def get_day(self, day: dt.date) -> list[datalogger.Sample]:
        """The samples of one local day, in order (section 7.4).

        Raises:
            ConfigurationError: The zone of the device's clock is not set, or the credentials are refused.
            VendorUnavailableError: See the class.
        """
        if self._settings.time_zone is None:
            raise ConfigurationError("time_zone: not set, and the datalogger's times carry none; set the device's zone")
        answer = await self._read(Request("POST", mapping.DATALOGGER_PATH.format(day=day)))
        zone = ZoneInfo(self._settings.time_zone)
        return datalogger.samples(answer.content, zone, pv_measured=self._settings.pv_measured)

    async def plant_readings(self) -> AsyncGenerator[mapping.PlantReading, None]:
        """Readings of the plant from one connection to the stream (section 7.1), until it breaks.

        Of readings that arrive together only the last is given: none carries a time, so the others would seem newer
        than they are. Events that cannot be read are skipped.

        Raises:
            ConfigurationError: The credentials are refused.
            VendorUnavailableError: No connection, or no reading for `silence_s`.
        """
        self._refuse_again()
        decoder, loop = EventDecoder(), asyncio.get_running_loop()
        request = Request("GET", mapping.STREAM_PATH, headers={**self._headers, "Accept": "text/event-stream"})
        silence_s = self._settings.silence_s
        stream = cast(AsyncGenerator[bytes, None], self._transport.stream(request, silence_s))
        async with contextlib.aclosing(stream) as chunks:
            deadline = loop.time() + silence_s
            while True:
                try:
                    async with asyncio.timeout_at(deadline):
                        chunk = await anext(chunks)
                except TimeoutError:
                    raise NoAnswerError(f"{request.path}: no reading of the plant for {silence_s:g} s") from None
                except RefusedRequestError as error:
                    raise self._refusal(error) from None
                readings = [
                    reading for event in decoder.feed(chunk) if (reading := self._reading(event.name, event.data))
                ]
                if readings:
                    yield readings[-1]
                    # Only a reading proves that the stream lives: heart-beats and other events do not.
                    deadline = loop.time() + silence_s

    async def one_plant_reading(self) -> mapping.PlantReading:
        """One reading of the plant, by a connection of its own, within `timeout_s` once it is its turn.

        Raises:
            AdapterError: See the class.
        """
        timeout_s = self._settings.timeout_s
        async with self._own_turn("stream"), contextlib.aclosing(self.plant_readings()) as readings:
            # The stream's own patience is that of a watcher; who asks for one reading waits as for any answer.
            try:
                async with asyncio.timeout(timeout_s):
                    return await anext(readings)
            except TimeoutError:
                raise NoAnswerError(f"{mapping.STREAM_PATH}: no reading of the plant for {timeout_s:g} s") from None

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def _reading(self, name: str, data: str) -> mapping.PlantReading | None:
        try:
            elements = mapping.plant_elements(name, json.loads(data))
            if elements is None:
                return None
            reading = mapping.plant_reading(elements, pv_measured=self._settings.pv_measured)
        except (ValueError, RecursionError):
            self._note_skipped("not JSON")
            return None
        except VendorUnavailableError as error:
            self._note_skipped(str(error))
            return None
        self._is_skipping = False
        return reading

    def _note_skipped(self, reason: str) -> None:
        """Say why an event is of no use: aloud once, then quietly, for the next comes in a second."""
        level = logging.DEBUG if self._is_skipping else logging.WARNING
        _log.log(level, "%s: an event was skipped: %s", mapping.STREAM_PATH, reason)
        self._is_skipping = True

    async def _read(self, request: Request) -> Answer:
        async with self._own_turn("call"):
            self._refuse_again()
            try:
                answer = await self._transport.ask(
                    Request(request.method, request.path, request.json, headers=self._headers)
                )
            except RefusedRequestError as error:
                raise self._refusal(error) from None
        if is_error(answer.content):
            raise DeviceError(f"{request.path}: the device answered that something is in error")
        return answer

    def _refuse_again(self) -> None:
        if self._refused_until is not None and self._clock() < self._refused_until:
            raise ConfigurationError(
                f"credentials: refused, and not tried again before {self._refused_until:%Y-%m-%dT%H:%M:%SZ}; "
                "check user and password of the device's web pages"
            )

    def _refusal(self, error: RefusedRequestError) -> Exception:
        if error.status not in REFUSALS:
            return error
        self._refused_until = self._clock() + dt.timedelta(seconds=REFUSED_PAUSE_S)
        return ConfigurationError(f"{error}; check user and password of the device's web pages")

    def _own_turn(self, kind: str) -> asyncio.Lock:
        """A lock of the running loop: workers run each task in a loop of its own."""
        loop = asyncio.get_running_loop()
        if kind not in self._turns or self._turns[kind][0] is not loop:
            self._turns[kind] = (loop, asyncio.Lock())
        return self._turns[kind][1]
