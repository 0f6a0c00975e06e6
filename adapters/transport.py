"""HTTP, for all adapters: time-outs, retries for reads only, the vendor's clock, nothing secret in any message.

The only module that imports httpx.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import logging
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import stamina

from adapters.contract import Clock, VendorUnavailableError

READ_ATTEMPTS = 3
# Their debug logs hold headers, and with them cookies.
for name in ("httpx", "httpcore"):
    logging.getLogger(name).setLevel(logging.WARNING)


class NotSentError(VendorUnavailableError):
    """No connection was made: the request certainly did not arrive."""


class NoAnswerError(VendorUnavailableError):
    """The request may or may not have arrived; no usable answer came back."""


class RefusedRequestError(VendorUnavailableError):
    """The server answered with an HTTP error, so it did not act on the request."""

    retryable = False


class Transport:
    """One connection pool to one vendor.

    Bodies and headers never enter a message: an error names the path and what happened, nothing more.
    """

    def __init__(self, base_url: str, clock: Clock, timeout_s: float = 10.0) -> None:
        self._base_url = base_url
        self._timeout_s = timeout_s
        self._pool: tuple[asyncio.AbstractEventLoop, httpx.AsyncClient] | None = None
        self._clock = clock
        self.clock_offset_s: float | None = None
        """Vendor's clock less ours [s], by the Date header of the latest answer."""

    async def read(self, path: str, body: dict[str, Any]) -> Any:
        """POST a call that changes nothing; tried again when the network or the server fails.

        Args:
            path: Path below the base URL.
            body: The JSON body.

        Returns:
            The decoded JSON answer.

        Raises:
            VendorUnavailableError: It failed each time.
        """
        async for attempt in stamina.retry_context(on=_may_retry, attempts=READ_ATTEMPTS, wait_max=2.0):
            with attempt:
                return await self._post(path, body)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def write(self, path: str, body: dict[str, Any]) -> Any:
        """POST a call that changes something: sent once, whatever happens.

        Raises:
            NotSentError: It certainly did not arrive.
            NoAnswerError: It may have arrived.
            RefusedRequestError: The server refused it.
        """
        return await self._post(path, body)

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None and self._pool[0] is asyncio.get_running_loop():
            await self._pool[1].aclose()
        self._pool = None

    def _http(self) -> httpx.AsyncClient:
        """The connection pool of the running loop: workers run each task in a loop of its own."""
        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool[0] is not loop:
            client = httpx.AsyncClient(base_url=self._base_url, timeout=self._timeout_s, follow_redirects=False)
            self._pool = (loop, client)
        return self._pool[1]

    async def _post(self, path: str, body: dict[str, Any]) -> Any:
        try:
            response = await self._http().post(path, json=body)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
            raise NotSentError(f"{path}: no connection ({type(error).__name__})") from None
        except httpx.HTTPError as error:
            raise NoAnswerError(f"{path}: no answer ({type(error).__name__})") from None
        self._note_vendor_clock(response)
        if 400 <= response.status_code < 500:
            raise RefusedRequestError(f"{path}: HTTP {response.status_code}")
        if response.status_code != 200:
            raise NoAnswerError(f"{path}: HTTP {response.status_code}")
        try:
            return response.json()
        except (ValueError, RecursionError):
            raise NoAnswerError(f"{path}: the answer is not JSON") from None

    def _note_vendor_clock(self, response: httpx.Response) -> None:
        stamp = response.headers.get("Date")
        if stamp is None:
            return
        try:
            vendor_time = parsedate_to_datetime(stamp)
        except ValueError:
            return
        if vendor_time.tzinfo is None:
            vendor_time = vendor_time.replace(tzinfo=dt.UTC)
        # The header has whole seconds; take the middle of the second that it names.
        middle = vendor_time + dt.timedelta(milliseconds=500)
        self.clock_offset_s = (middle - self._clock()).total_seconds()


def _may_retry(error: Exception) -> bool:
    return isinstance(error, VendorUnavailableError) and error.retryable
