"""HTTP, for all adapters: time-outs, retries for reads only, the vendor's clock, nothing secret in any message.

The only module that imports httpx.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import Any, Literal

import httpx
import stamina

from adapters import last_line
from adapters.contract import CONNECTED_WITHIN_S, Clock, VendorUnavailableError
from adapters.quiet import hush

READ_ATTEMPTS = 3
# Their debug logs hold headers, and with them cookies and tokens.
hush("httpx")
hush("httpcore", *(f"httpcore.{part}" for part in ("connection", "http11", "http2", "proxy", "socks")))


class NotSentError(VendorUnavailableError):
    """No connection was made: the request certainly did not arrive."""


class NoAnswerError(VendorUnavailableError):
    """The request may or may not have arrived; no usable answer came back."""


class RefusedRequestError(VendorUnavailableError):
    """The server answered with an HTTP error, so it did not act on the request.

    Attributes:
        status: The HTTP status.
        retry_after_s: How long the server asks to be left alone [s]; None: it does not say.
    """

    retryable = False

    def __init__(self, message: str, status: int, retry_after_s: float | None = None) -> None:
        super().__init__(message, status, retry_after_s)  # all of them, so that it can be stored and come back
        self.status = status
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True)
class Request:
    """One request, below a vendor's base URL; its headers, form and body may hold secrets and are never shown."""

    method: Literal["GET", "POST"]
    path: str
    json: Any = field(default=None, repr=False)
    """The JSON body; None sends none."""
    form: Mapping[str, str] | None = field(default=None, repr=False)
    params: Mapping[str, str | int] | None = field(default=None, repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    answers_with: frozenset[int] = frozenset({200})
    """Statuses whose body is an answer; an OAuth server tells in a 400 what was wrong."""
    needs_json: bool = True
    """Whether an answer without JSON is none; where a vendor leaves the body open, the status is the answer."""


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    content: Any = field(repr=False)
    """The decoded JSON; None where there is none and none was needed."""
    headers: Mapping[str, str] = field(repr=False)
    """Names in lower case."""


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
        """POST a JSON body to a call that changes nothing and return the decoded answer; see `ask`."""
        return (await self.ask(Request("POST", path, json=body))).content

    async def write(self, path: str, body: dict[str, Any]) -> Any:
        """POST a JSON body to a call that changes something and return the decoded answer; see `tell`."""
        return (await self.tell(Request("POST", path, json=body))).content

    async def ask(self, request: Request) -> Answer:
        """Make a call that changes nothing; tried again when the network or the server fails.

        Raises:
            VendorUnavailableError: It failed each time.
        """
        async for attempt in stamina.retry_context(on=_may_retry, attempts=READ_ATTEMPTS, wait_max=2.0):
            with attempt:
                return await self.tell(request)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def tell(self, request: Request) -> Answer:
        """Make a call that changes something: sent once, whatever happens.

        Raises:
            NotSentError: It certainly did not arrive, or the guard of `adapters.last_line` held it back.
            NoAnswerError: It may have arrived.
            RefusedRequestError: The server refused it.
        """
        path = request.path
        objection = last_line.objection()
        if objection is not None:
            raise NotSentError(f"{path}: not sent: {objection}")
        with _named(path):
            # One bound for the whole call: a server that sends a byte now and then would keep it open for ever.
            async with asyncio.timeout(self._timeout_s):
                response = await self._http().request(
                    request.method,
                    path,
                    json=request.json,
                    data=request.form,
                    params=request.params or None,  # none at all, or httpx takes off those in the path
                    headers=request.headers,
                )
        self._note_vendor_clock(response)
        if response.status_code not in request.answers_with:
            raise _refusal(path, response)
        try:
            content = response.json()
        except (ValueError, RecursionError):
            if request.needs_json:
                raise NoAnswerError(f"{path}: the answer is not JSON") from None
            content = None
        return Answer(response.status_code, content, _lower_case(response.headers))

    async def stream(self, request: Request, silence_s: float) -> AsyncIterator[bytes]:
        """The body of an answer that does not end, as it comes.

        Args:
            request: What to ask.
            silence_s: Longest time without a byte [s].

        Raises:
            VendorUnavailableError: No connection, an HTTP error, silence, or the server closed.
        """
        path = request.path
        timeout = httpx.Timeout(self._timeout_s, read=silence_s)
        with _named(path):
            async with self._http().stream(
                request.method, path, params=request.params, headers=request.headers, timeout=timeout
            ) as response:
                if response.status_code not in request.answers_with:
                    raise _refusal(path, response)
                async for chunk in response.aiter_bytes():
                    yield chunk
        raise NoAnswerError(f"{path}: the stream ended")

    async def close(self) -> None:
        """Close the connections."""
        if self._pool is not None and self._pool[0] is asyncio.get_running_loop():
            await self._pool[1].aclose()
        self._pool = None

    def _http(self) -> httpx.AsyncClient:
        """The connection pool of the running loop: workers run each task in a loop of its own."""
        loop = asyncio.get_running_loop()
        if self._pool is None or self._pool[0] is not loop:
            # A connection that comes later than this would carry what the guard allowed too long ago.
            soon_s = min(self._timeout_s, CONNECTED_WITHIN_S)
            timeout = httpx.Timeout(self._timeout_s, connect=soon_s, pool=soon_s)
            client = httpx.AsyncClient(base_url=self._base_url, timeout=timeout, follow_redirects=False)
            self._pool = (loop, client)
        return self._pool[1]

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


@contextlib.contextmanager
def _named(path: str) -> Iterator[None]:
    """Turn failures of the network into errors that say whether the request can have arrived."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol) as error:
        raise NotSentError(f"{path}: no connection ({type(error).__name__})") from None
    except (UnicodeError, httpx.InvalidURL):
        # What the vendor gave as a token, say, fits no header, or a setting no address; the error quotes it.
        raise NotSentError(f"{path}: the request has characters that HTTP does not carry") from None
    except (httpx.HTTPError, TimeoutError) as error:
        raise NoAnswerError(f"{path}: no answer ({type(error).__name__})") from None


def _refusal(path: str, response: httpx.Response) -> VendorUnavailableError:
    status = response.status_code
    if not 400 <= status < 500:
        return NoAnswerError(f"{path}: HTTP {status}")
    try:
        retry_after_s = float(response.headers.get("Retry-After", ""))
    except ValueError:
        retry_after_s = None
    return RefusedRequestError(f"{path}: HTTP {status}", status, retry_after_s)


def _lower_case(headers: httpx.Headers) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def _may_retry(error: Exception) -> bool:
    return isinstance(error, VendorUnavailableError) and error.retryable
