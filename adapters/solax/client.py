"""The SolaX Cloud API: its one call, within its limits.

Source: SolaXCloud User API V2.0, sections 4, 5 and 7.1.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, SecretStr, field_validator

from adapters.contract import (
    AdapterError,
    Clock,
    ConfigurationError,
    QuotaExceededError,
    VendorUnavailableError,
)
from adapters.quota import Ledger, Meter, Quota
from adapters.settings import AccountSettings, Seconds, WebAddress
from adapters.solax.credentials import Credentials, TokenId
from adapters.solax.mapping import (
    REALTIME_PATH,
    SHORT_PAUSE,
    ErrorCode,
    Meter2,
    code_of,
    describe_code,
    pause_for,
)
from adapters.transport import NotSentError, RefusedRequestError, Request, Transport
from adapters.values import lowered
from adapters.vendor_codes import VendorCodeError
from engine.timeline import TimeZoneName

KIND = "solax calls"
# Fewer than 10 a minute and fewer than 10,000 a day, says the vendor's portal; the document says nothing.
QUOTAS = (Quota(9, dt.timedelta(minutes=1)), Quota(9_999, dt.timedelta(days=1)))
UNAUTHORIZED = frozenset({401, 403})


class Settings(AccountSettings):
    """One SolaX Cloud account and how to reach it."""

    base_url: WebAddress = "https://global.solaxcloud.com"
    token_id: SecretStr
    upload_time_zone: TimeZoneName | None = None
    """Zone of `uploadTime`, which comes without one: the plants'. None: only readings with `utcDateTime` are taken."""
    meter_2: Meter2 = Meter2.IGNORED
    """What `feedinpowerM2` measures; the document does not say, settled at commissioning."""
    poll_s: Annotated[float, Field(ge=10, allow_inf_nan=False)] = 150.0
    """An inverter is asked no more often than this [s]; in between the last answer is given again."""
    timeout_s: Seconds = 10.0

    @field_validator("token_id")
    @classmethod
    def _fits_a_header(cls, value: SecretStr) -> SecretStr:
        token = value.get_secret_value()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("no token; copy it from the portal's page for the API, without blanks")
        return value


@dataclass(frozen=True)
class _Kept:
    """What came of the last call for an inverter."""

    asked_at: dt.datetime
    outcome: dict[str, Any] | AdapterError | None


class SolaxClient:
    """Calls for one account, as few as will do.

    An inverter uploads every 5 minutes, so an answer is good for `poll_s`, and so is a failure: every call counts
    against limits whose breach shuts the account out for an hour.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        transport: Transport | None = None,
        credentials: Credentials | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        self._clock = clock
        self._poll = dt.timedelta(seconds=settings.poll_s)
        self._transport = transport or Transport(settings.base_url, clock, settings.timeout_s)
        self._credentials = credentials or TokenId(settings.token_id)
        self._meter = Meter({KIND: QUOTAS}, clock, ledger)
        self._kept: dict[str, _Kept] = {}
        self._one_at_a_time = asyncio.Lock()
        self._refused: ConfigurationError | None = None

    async def realtime_info(self, wifi_sn: str) -> dict[str, Any] | None:
        """The latest real-time data of one inverter (section 7.1), at most `poll_s` old.

        Args:
            wifi_sn: Registration number of its Wi-Fi module.

        Returns:
            `result`, which is an object or a list of them; None: the vendor has no data (code 2002 or null).

        Raises:
            ConfigurationError: The number is empty, or the vendor refuses account or inverter.
            QuotaExceededError: A call would break a limit, or the vendor said that one did.
            VendorUnavailableError: No usable answer.
        """
        if not wifi_sn.strip():
            raise ConfigurationError("wifiSn: empty; give the registration number of the inverter's Wi-Fi module")
        # Callers that wait here find the answer of the first one kept.
        async with self._one_at_a_time:
            kept = self._kept.get(wifi_sn)
            if kept is None or not kept.asked_at <= self._clock() < kept.asked_at + self._poll:
                kept = await self._fresh(wifi_sn)
        if isinstance(kept.outcome, AdapterError):
            raise kept.outcome.with_traceback(None)  # it is raised again and again: let it not remember each time
        return kept.outcome

    def now(self) -> dt.datetime:
        """The vendor's time, as well as we know it."""
        return self._clock() + dt.timedelta(seconds=self._transport.clock_offset_s or 0.0)

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _fresh(self, wifi_sn: str) -> _Kept:
        if self._refused is not None:
            # A token that was refused once would only get the account shut out.
            raise self._refused.with_traceback(None)
        headers = await self._credentials.headers()
        self._meter.take(KIND)
        asked_at = self._clock()
        try:
            outcome: dict[str, Any] | AdapterError | None = await self._ask(wifi_sn, headers)
        except (NotSentError, QuotaExceededError):
            raise  # nothing reached the vendor, or the pause is kept by the meter
        except AdapterError as error:
            outcome = error
        kept = self._kept[wifi_sn] = _Kept(asked_at, outcome)
        return kept

    async def _ask(self, wifi_sn: str, headers: Mapping[str, str]) -> dict[str, Any] | None:
        request = Request("POST", REALTIME_PATH, json={"wifiSn": wifi_sn}, headers=headers)
        try:
            # `tell`, though it is a read: a silent repetition would count against the limit. The next poll repeats.
            answer = (await self._transport.tell(request)).content
        except RefusedRequestError as error:
            if error.status == 429:
                raise self._paused(max(SHORT_PAUSE, dt.timedelta(seconds=_bounded(error.retry_after_s)))) from None
            if error.status in UNAUTHORIZED:
                raise self._refuse(f"HTTP {error.status}") from None
            raise
        if not isinstance(answer, dict):
            raise VendorUnavailableError(f"{REALTIME_PATH}: the answer is no JSON object")
        return self._result(wifi_sn, lowered(answer))

    def _result(self, wifi_sn: str, answer: Mapping[str, Any]) -> dict[str, Any] | None:
        code, success = code_of(answer.get("code")), answer.get("success")
        failed = success is False or str(success).strip().lower() == "false"
        if code is None and (failed or success is None):
            raise VendorUnavailableError(f"{REALTIME_PATH}: the answer has no readable code")
        if code in (None, ErrorCode.OK) and not failed:
            # `exception` is not looked at: on success it says "Query success!".
            return _own_row(wifi_sn, answer.get("result"))
        pause = pause_for(code, answer.get("exception"))
        if pause is not None:
            raise self._paused(pause)
        if code == ErrorCode.NOT_FOUND:
            return None
        if code == ErrorCode.INTERFACE_UNAUTHORIZED:
            raise self._refuse(describe_code(code))
        if code in (ErrorCode.PARAMETER, ErrorCode.DATA_UNAUTHORIZED):
            raise ConfigurationError(
                f"{REALTIME_PATH}: {describe_code(code)}; check the registration number and whose account it is in"
            )
        if code is None or code == ErrorCode.OK:
            raise VendorUnavailableError(f"{REALTIME_PATH}: the answer tells of success and of failure at once")
        raise VendorCodeError(REALTIME_PATH, code, describe_code(code))

    def _paused(self, pause: dt.timedelta) -> QuotaExceededError:
        until = self._clock() + pause
        self._meter.pause(KIND, until)
        return QuotaExceededError(KIND, until)

    def _refuse(self, what: str) -> ConfigurationError:
        self._refused = ConfigurationError(f"{REALTIME_PATH}: {what}; check token_id, it is not tried again")
        return self._refused


def _own_row(wifi_sn: str, result: Any) -> dict[str, Any] | None:
    """The row of the inverter asked for; the document has an object, some servers answer with a list of one."""
    rows = [row for row in (result if isinstance(result, list) else [result]) if isinstance(row, dict)]
    if not rows:
        return None
    wanted = wifi_sn.strip().casefold()
    for row in rows:
        named = lowered(row).get("sn")
        if named is None and len(rows) == 1:
            return row
        if str(named).strip().casefold() == wanted:
            return row
    raise VendorUnavailableError(f"{REALTIME_PATH}: the answer is about another inverter than the one asked for")


def _bounded(seconds: float | None) -> float:
    """A `Retry-After` that can be believed [s]: none of weeks, none that is no number."""
    return seconds if seconds is not None and 0 <= seconds <= 86_400 else 0.0
