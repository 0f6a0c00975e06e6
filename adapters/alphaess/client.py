"""The AlphaESS API: login, signature, clock, and one method per call.

Source: Web Monitoring API Specification V2.1, sections 1 to 8.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import SecretStr

from adapters.alphaess.mapping import CONFIGURATION_FAULTS, LOGIN_AGAIN, PATHS, ReturnCode, Status, describe_code
from adapters.alphaess.signing import encrypt_password, sign
from adapters.contract import Clock, ConfigurationError, VendorUnavailableError
from adapters.settings import AccountSettings, CallSeconds, WebAddress
from adapters.transport import NotSentError, RefusedRequestError, Transport
from adapters.values import lowered
from adapters.vendor_codes import VendorCodeError
from engine.timeline import TimeZoneName

log = logging.getLogger(__name__)

# An answer may take so long: a difference of the clocks below it may be no more than that.
CLOCK_NOISE_S = 10.0
# Clocks kept by NTP agree far better than this; one that does not will soon be refused.
ALARMING_CLOCK_OFFSET_S = 30.0
# Section 1: a request more than 300 s off the server's clock is refused. We sign with the server's time, so a wrong
# clock does no harm at once; but with one so far off, deadlines mean nothing and nothing may be driven.
LARGEST_CLOCK_OFFSET_S = 240.0
PAGE_SIZE = 50
MOST_PAGES = 2000


class Settings(AccountSettings):
    """One AlphaESS account and how to reach it."""

    base_url: WebAddress = "https://api.alphaess.com"
    api_account: str
    api_secret: SecretStr
    username: str
    password: SecretStr
    encryption_key: Literal["username", "api_secret"] = "username"
    """What the password is encrypted with; the document leaves it open, servers were seen to use the user name."""
    upload_time_zone: TimeZoneName = "UTC"
    """Zone of the vendor's `UploadTime`, which the document does not state; settled at commissioning."""
    full_soc_raw: Literal[250, 252] = 250
    """What 100 % is on the wire: 250 by the document's 0.4 % a bit; some devices end a full charge early then and need
    252. Settled at commissioning."""
    timeout_s: CallSeconds = 5.0
    """A lost call is noticed, read back and made again well inside a command's lifetime, for thousands of sites."""


class AlphaEssClient:
    """Signed calls for one account.

    A token lives 90 minutes, is renewed by use and belongs to one address; a lost one is replaced by one
    new login and the call is repeated once.
    """

    def __init__(self, settings: Settings, clock: Clock, transport: Transport | None = None) -> None:
        self._settings = settings
        self._clock = clock
        self._transport = transport or Transport(settings.base_url, clock, settings.timeout_s)
        self._token: str | None = None
        self._login_lock = asyncio.Lock()
        self._refused: ConfigurationError | None = None
        self._clock_warned = False
        self._row_offset_s = 0.0

    @property
    def clock_offset_s(self) -> float | None:
        """The vendor's clock less ours [s], by its latest answer; None before the first."""
        return self._transport.clock_offset_s

    async def get_system_list(self) -> list[dict[str, Any]]:
        """All systems that the account can see (section 2), over all pages."""
        systems: list[dict[str, Any]] = []
        known: set[str] = set()
        for page in range(1, MOST_PAGES + 1):
            result = await self._read("GetSystemList", {"pageindex": page, "pagesize": PAGE_SIZE})
            fields = lowered(result) if isinstance(result, dict) else {}
            rows = _rows(fields.get("systems") or fields.get("items"))
            systems += [row for row in rows if _serial_number(row) not in known]
            fresh = {_serial_number(row) for row in rows} - known - {""}
            known |= fresh
            # A page that brings nothing new is the last, or one that the server repeats for ever.
            if not fresh or _is_last_page(fields, page, len(rows), len(systems)):
                break
        return systems

    async def get_energy_summary(self, serial_number: str, day: dt.date) -> list[dict[str, Any]]:
        """Energy sums of one day (section 3)."""
        return _rows(await self._read("GetEnergySummary", {"Sn": serial_number, "TheDate": day.isoformat()}))

    async def get_running_data(self, serial_number: str) -> list[dict[str, Any]]:
        """The latest full state (section 4), one row per 5 minutes."""
        return _rows(await self._read("GetRunningData", {"Sn": serial_number}))

    async def get_history_running_data(
        self, serial_number: str, begin: dt.datetime, end: dt.datetime
    ) -> list[dict[str, Any]]:
        """The states of up to one day (section 5).

        Args:
            serial_number: Which system.
            begin: First moment, aware; sent as the zone of `UploadTime` has it.
            end: Last moment, aware.

        Raises:
            ValueError: The vendor would refuse it: the end before the begin, or more than a day.
            AdapterError: The call failed.
        """
        zone = ZoneInfo(self._settings.upload_time_zone)
        local_begin, local_end = (moment.astimezone(zone).replace(tzinfo=None) for moment in (begin, end))
        # By the clock on the wall, which is what the vendor sees: days have 23 to 25 hours.
        if not dt.timedelta(0) <= local_end - local_begin <= dt.timedelta(days=1):
            raise ValueError(f"end: {end} is before {begin} or more than a day after it; ask for one day at a time")
        stamp = "%Y/%m/%d %H:%M:%S"
        fields = {"Sn": serial_number, "Starttime": local_begin.strftime(stamp), "endtime": local_end.strftime(stamp)}
        return _rows(await self._read("GetHistoryRunningData", fields))

    async def get_last_power_data(self, serial_number: str) -> list[dict[str, Any]]:
        """The latest powers (section 6), one row per 10 seconds; without the state of charge."""
        return _rows(await self._read("GetLastPowerData", {"Sn": serial_number}))

    async def remote_dispatch(self, fields: Mapping[str, Any]) -> None:
        """Send a dispatch (section 7), once.

        Args:
            fields: As `mapping.dispatch_fields` makes them.

        Raises:
            ConfigurationError: No serial number: the vendor would take the call for every system of the account; or
                clocks too far apart.
            AdapterError: It was refused, or nobody knows; see the transport's errors.
        """
        if not str(fields.get("Sn") or "").strip():
            raise ConfigurationError(
                "Sn: empty, and a dispatch without it drives every system of the account; name one system"
            )
        await self._call("RemoteDispatch", fields, write=True)

    def now(self) -> dt.datetime:
        """The vendor's time, as well as we know it."""
        return self._clock() + dt.timedelta(seconds=self._transport.clock_offset_s or 0.0)

    def by_our_clock(self, vendor_time: dt.datetime) -> dt.datetime:
        """A time that the vendor's clock gave, as our clock would have: else ages are as wrong as the clocks are apart.

        The difference is taken anew only when it has changed by more than `CLOCK_NOISE_S`, so that a row keeps its time
        however often it is read.
        """
        offset_s = self.clock_offset_s or 0.0
        if abs(offset_s - self._row_offset_s) > CLOCK_NOISE_S:
            self._row_offset_s = offset_s
        return vendor_time - dt.timedelta(seconds=self._row_offset_s)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    def _watch_clock(self) -> None:
        """Warn once when the clocks part, and be ready to warn again once they have met."""
        offset_s = self.clock_offset_s or 0.0
        is_off = abs(offset_s) > ALARMING_CLOCK_OFFSET_S
        if is_off and not self._clock_warned:
            log.warning(
                "clock: %+.0f s off the vendor's; beyond %g s batteries are no longer driven; set this machine's clock",
                -offset_s,
                LARGEST_CLOCK_OFFSET_S,
            )
        self._clock_warned = is_off

    async def _read(self, name: str, fields: Mapping[str, Any]) -> Any:
        return lowered(await self._call(name, fields, write=False)).get("result")

    async def _call(self, name: str, fields: Mapping[str, Any], *, write: bool) -> dict[str, Any]:
        token = self._token or await self._login_before(None)
        answer = await self._signed(name, {**fields, "Token": token}, write=write)
        if _code(name, answer) in LOGIN_AGAIN:
            # The token was refused, so nothing was done: one new login and one repetition are safe for writes too.
            token = await self._login_before(token)
            answer = await self._signed(name, {**fields, "Token": token}, write=write)
        _raise_for(name, _code(name, answer))
        return answer

    async def _login_before(self, refused: str | None) -> str:
        """Get a token for a call; where that fails the call itself was certainly not sent."""
        try:
            return await self._login(refused)
        except RefusedRequestError:
            raise
        except VendorUnavailableError as error:
            raise NotSentError(str(error)) from None

    async def _login(self, refused: str | None) -> str:
        """Get a token; several callers whose token was refused share one login."""
        async with self._login_lock:
            if self._token is not None and self._token != refused:
                return self._token
            if self._refused is not None:
                # Credentials that were refused once would only lock the account.
                raise self._refused
            settings = self._settings
            seed = (
                settings.username if settings.encryption_key == "username" else settings.api_secret.get_secret_value()
            )
            encrypted = encrypt_password(settings.password.get_secret_value(), seed)
            answer = await self._signed("Login", {"username": settings.username, "password": encrypted}, write=False)
            try:
                _raise_for("Login", _code("Login", answer))
            except ConfigurationError as error:
                self._refused = error
                raise
            token = lowered(answer).get("token")
            if not isinstance(token, str) or not token or not token.isprintable():
                raise VendorUnavailableError("Login: accepted, but no token came with it")
            self._token = token
            return token

    async def _signed(self, name: str, fields: Mapping[str, Any], *, write: bool) -> dict[str, Any]:
        answer = await self._send(name, fields, write=write)
        if _code(name, answer) == ReturnCode.TIMESTAMP:
            # Refused unread, and its Date header has just told the vendor's time: sign anew with that, once.
            answer = await self._send(name, fields, write=write)
        return answer

    async def _send(self, name: str, fields: Mapping[str, Any], *, write: bool) -> dict[str, Any]:
        offset_s = self.clock_offset_s or 0.0
        # Looked at before each attempt: the answer to a login, or to a refused time stamp, tells the vendor's time.
        if write and abs(offset_s) > LARGEST_CLOCK_OFFSET_S and fields.get("Status") != Status.STOP:
            raise ConfigurationError(
                f"clock: {-offset_s:+.0f} s off the vendor's, beyond {LARGEST_CLOCK_OFFSET_S:g} s; "
                "set this machine's clock, until then batteries are only read and released"
            )
        body = {"api_account": self._settings.api_account, "timestamp": int(self.now().timestamp()), **fields}
        body["sign"] = sign(body, self._settings.api_secret.get_secret_value())
        path = PATHS[name]
        answer = await (self._transport.write(path, body) if write else self._transport.read(path, body))
        self._watch_clock()
        if not isinstance(answer, dict):
            raise VendorUnavailableError(f"{path}: the answer is no JSON object")
        return answer


def _serial_number(row: Mapping[Any, Any]) -> str:
    value = lowered(row).get("sn")
    return str(value) if isinstance(value, str | int) else ""


def _is_last_page(fields: Mapping[str, Any], page: int, on_page: int, so_far: int) -> bool:
    """Whether the list ends here, by the surest thing that the answer says of itself.

    A server may give smaller pages than were asked for, and the document has TotalPageCount twice with different
    meanings: the number of systems decides where it is given, then the pages, then a page that is not full.
    """
    total, pages, size = (_count(fields.get(name)) for name in ("totalcount", "totalpagecount", "pagesize"))
    if total is not None:
        return so_far >= total
    if pages is not None:
        return page >= pages
    return on_page < min(size or PAGE_SIZE, PAGE_SIZE)


def _count(value: Any) -> int | None:
    """A number of things, where it is one."""
    text = str(value).strip()
    return int(text) or None if text.isascii() and text.isdigit() and len(text) < 10 else None


def _rows(result: Any) -> list[dict[str, Any]]:
    """`Result` as a list of rows; code 0 with null is the vendor's way to say that there is nothing."""
    if result is None:
        return []
    rows = result if isinstance(result, list) else [result]
    return [row for row in rows if isinstance(row, dict)]


def _code(name: str, answer: Mapping[str, Any]) -> int:
    value = lowered(answer).get("returncode")
    try:
        return int(str(value))
    except ValueError:
        raise VendorUnavailableError(f"{name}: the answer has no ReturnCode") from None


def _raise_for(name: str, code: int) -> None:
    if code == ReturnCode.OK:
        return
    if code in CONFIGURATION_FAULTS:
        raise ConfigurationError(f"{name}: {describe_code(code)}; check account, secret, user and serial number")
    raise VendorCodeError(name, code, describe_code(code))
