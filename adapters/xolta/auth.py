"""Access tokens by MSAL's client credentials flow.

Source: API Manual, section 1.1, with its slips put right: the scope is a list, and the token is taken whether or not
it came from the cache.

MSAL is not asynchronous, so it runs in a thread; its HTTP goes through `Transport` by the `http_client` that MSAL
takes for that purpose. So tokens obey the rules of all other calls: time-outs, nothing secret in a message, and never
to another host than the one that the settings name, whatever its discovery document says.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import msal
from pydantic import SecretStr

from adapters.contract import AdapterError, Clock, ConfigurationError, VendorUnavailableError
from adapters.quiet import hush
from adapters.transport import Request, Transport
from adapters.values import number

# Its debug log shows requests and cache entries.
hush("msal")

# A token is renewed so long before its end [s], or at half its life if that is shorter.
MARGIN_S = 300.0
LONGEST_LIFE_S = 86_400.0
UNTOLD_LIFE_S = 600.0
# RFC 6749, section 5.2, and the two that only time can heal.
REFUSALS = frozenset(
    {"invalid_request", "invalid_client", "invalid_grant", "invalid_scope", "unauthorized_client", "access_denied"}
    | {"unsupported_grant_type", "invalid_resource"}
)
PASSING = frozenset({"temporarily_unavailable", "server_error"})
# An authority tells in the body of these what was wrong.
ANSWERS = frozenset({200, 400, 401})


@dataclass(frozen=True)
class _Token:
    text: str = field(repr=False)
    renew_at: dt.datetime


class AccessTokens:
    """Access tokens of one client: one login at a time, and none after credentials were refused."""

    def __init__(
        self,
        authority: str,
        client_id: str,
        client_secret: SecretStr,
        scopes: Sequence[str],
        clock: Clock,
        timeout_s: float,
    ) -> None:
        """Contact nobody yet.

        Args:
            authority: `https://login.microsoftonline.com/<tenant>`; http on loopback only, which the settings check.
            client_id: Who we are.
            client_secret: Proof of it.
            scopes: What the token is for.
            clock: The time, by which a token grows old.
            timeout_s: Longest wait for one answer [s].
        """
        parts = urlsplit(authority)
        self._host, self._tenant_path = parts.netloc, parts.path.rstrip("/")
        self._transport = Transport(f"{parts.scheme}://{parts.netloc}", clock, timeout_s)
        self._client_id, self._secret, self._scopes = client_id, client_secret, list(scopes)
        self._clock, self._timeout_s = clock, timeout_s
        self._token: _Token | None = None
        self._lock = asyncio.Lock()
        self._refused: ConfigurationError | None = None

    @property
    def clock_offset_s(self) -> float | None:
        """The authority's clock less ours [s], by its latest answer; None before the first."""
        return self._transport.clock_offset_s

    async def token(self, refused: str | None = None) -> str:
        """A token that should be good; several callers whose token was refused share one login.

        Args:
            refused: A token that the vendor has just refused.

        Raises:
            ConfigurationError: Client, secret, scope or authority are wrong; not tried again.
            VendorUnavailableError: The authority could not be reached or answered nonsense.
        """
        async with self._lock:
            held = self._token
            if held is not None and held.text != refused and self._clock() < held.renew_at:
                return held.text
            if self._refused is not None:
                # Credentials that were refused once would only lock the account.
                raise self._refused
            self._token = None
            asked_at = self._clock()
            try:
                answer = await self._acquire()
                self._token = _token_of(answer, asked_at)
            except ConfigurationError as error:
                self._refused = error
                raise
            return self._token.text

    async def close(self) -> None:
        """Close the connections."""
        await self._transport.close()

    async def _acquire(self) -> Mapping[str, Any]:
        bridge = _Bridge(self._transport, self._host, asyncio.get_running_loop(), self._timeout_s)
        return await asyncio.to_thread(self._acquire_in_thread, bridge)

    def _acquire_in_thread(self, bridge: _Bridge) -> Mapping[str, Any]:
        """What MSAL does; a new application each time, for its cache grows old by the wall clock instead of ours."""
        try:
            application = msal.ConfidentialClientApplication(
                self._client_id,
                client_credential=self._secret.get_secret_value(),
                # MSAL takes https only; on loopback the bridge speaks http to the same host.
                authority=f"https://{self._host}{self._tenant_path}",
                http_client=bridge,
                # The host is the operator's word: nobody is asked whether it is one of Microsoft's.
                instance_discovery=False,
            )
            answer = application.acquire_token_for_client(self._scopes)
        except AdapterError:
            raise
        except Exception as error:
            # MSAL lets out whatever its reading of an odd answer ran into, with the answer's text in it.
            if bridge.refused_discovery:
                raise ConfigurationError(
                    f"authority: no OpenID configuration under {self._tenant_path}; check the tenant"
                ) from None
            raise VendorUnavailableError(
                f"{self._tenant_path}: the authority's answer makes no sense ({type(error).__name__})"
            ) from None
        if not isinstance(answer, Mapping):
            raise VendorUnavailableError(f"{self._tenant_path}: the authority's answer is no JSON object")
        return answer


class _Response:
    """An answer in the shape that MSAL reads (`msal.oauth2cli.http.Response`)."""

    def __init__(self, status_code: int, text: str, headers: Mapping[str, str]) -> None:
        self.status_code, self.text, self.headers = status_code, text, dict(headers)

    def raise_for_status(self) -> None:
        """Complain about an HTTP error."""
        if self.status_code >= 400:
            raise VendorUnavailableError(f"the authority answered with HTTP {self.status_code}")


class _Bridge:
    """The HTTP client that MSAL calls from its thread (`msal.oauth2cli.http.HttpClient`)."""

    def __init__(self, transport: Transport, host: str, loop: asyncio.AbstractEventLoop, timeout_s: float) -> None:
        self._transport, self._host, self._loop = transport, host, loop
        # Connecting, writing, reading and waiting for the pool each have the transport's time-out.
        self._patience_s = 5 * timeout_s
        self.refused_discovery = False

    def get(
        self, url: str, params: Mapping[str, str] | None = None, headers: Mapping[str, str] | None = None, **_: Any
    ) -> _Response:
        """What MSAL asks for the OpenID configuration."""
        request = Request(
            "GET", self._path(url), params=params, headers=headers or {}, answers_with=ANSWERS | {403, 404}
        )
        response = self._run(request)
        self.refused_discovery = response.status_code >= 400
        return response

    def post(
        self,
        url: str,
        params: Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_: Any,
    ) -> _Response:
        """What MSAL asks for a token."""
        request = Request(
            "POST", self._path(url), form=data, params=params or None, headers=headers or {}, answers_with=ANSWERS
        )
        return self._run(request)

    def close(self) -> None:
        """Leave the transport open: it belongs to whoever made the bridge."""

    def _path(self, url: str) -> str:
        parts = urlsplit(url)
        if parts.netloc.lower() != self._host.lower():
            raise ConfigurationError(
                f"authority: its configuration leads to another host than {self._host}; credentials go to no other"
            )
        return parts.path + (f"?{parts.query}" if parts.query else "")

    def _run(self, request: Request) -> _Response:
        # A login changes nothing at the vendor, but refused ones lock accounts: sent once.
        waiting = asyncio.run_coroutine_threadsafe(self._transport.tell(request), self._loop)
        answer = waiting.result(self._patience_s)
        return _Response(answer.status, json.dumps(answer.content), answer.headers)


def _token_of(answer: Mapping[str, Any], asked_at: dt.datetime) -> _Token:
    """The token in MSAL's answer; of an error only its name is shown, and only a name that the protocol has."""
    text = answer.get("access_token")
    if not isinstance(text, str) or not text:
        error = answer.get("error")
        if not isinstance(error, str):
            error = None
        if error in REFUSALS:
            raise ConfigurationError(f"token: the authority says {error}; check client_id, client_secret and scopes")
        if error in PASSING:
            raise VendorUnavailableError(f"token: the authority says {error}")
        raise VendorUnavailableError("token: the authority gave none, and says nothing that the protocol knows")
    told_s = number(answer.get("expires_in")) or 0.0
    # Where no life is told, a refused call will tell.
    life_s = told_s if 0 < told_s <= LONGEST_LIFE_S else UNTOLD_LIFE_S
    return _Token(text, asked_at + dt.timedelta(seconds=max(life_s - MARGIN_S, life_s / 2)))
