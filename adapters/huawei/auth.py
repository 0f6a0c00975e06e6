"""Two ways in: OAuth Connect with rotating tokens, and API accounts with one session each.

Source: SmartPVMS 24.5.0 NBI Reference, sections 3.1.2 (OAuth), 3.2.2 (login, logout), 8.1.2 (errors of the token call).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from adapters.contract import Clock, ConfigurationError, VendorUnavailableError
from adapters.huawei.codes import OVER_LIMIT, SYSTEM_OVER_LIMIT, FailCode
from adapters.huawei.errors import error_of
from adapters.huawei.flow import FlowControl
from adapters.huawei.mapping import AUTHORIZE_PATH, TOKEN_PATH, Call
from adapters.huawei.wire import envelope, fields, text
from adapters.transport import Request, Transport
from adapters.values import number

LOG = logging.getLogger(__name__)
# A token this close to its end is renewed before it is used [s].
RENEW_BEFORE_S = 60.0
_COOKIE = re.compile(r"XSRF-TOKEN=([^;,\s]+)", re.IGNORECASE)


@dataclass(frozen=True)
class Tokens:
    """What an owner's consent or an API account's login gave; replaced as a whole, never in part."""

    access: SecretStr
    refresh: SecretStr | None = None
    """None: an API account has none."""
    expires_at: dt.datetime | None = None
    """None: not known; the vendor will say when it is over."""
    scope: frozenset[str] = frozenset()
    """What the owner granted; empty: not known."""


class TokenStore(Protocol):
    """Where tokens are kept, for one owner or API account, by all processes that call in its name.

    A refresh makes the earlier access token void, and a second login the first session: whoever wants to renew holds
    `exclusive` first, looks at what is stored, and renews only if nobody else has.
    """

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Held by one process at a time."""
        ...

    async def load(self) -> Tokens | None:
        """The tokens last saved, or None."""
        ...

    async def save(self, tokens: Tokens) -> None:
        """Replace the tokens, all of them at once."""
        ...


class MemoryTokenStore:
    """Tokens of one process, gone with it."""

    def __init__(self, tokens: Tokens | None = None) -> None:
        self._tokens = tokens

    @contextlib.asynccontextmanager
    async def exclusive(self) -> AsyncIterator[None]:
        """Nobody else to wait for: the session has a lock of its own."""
        yield

    async def load(self) -> Tokens | None:
        """The tokens last saved."""
        return self._tokens

    async def save(self, tokens: Tokens) -> None:
        """Replace the tokens."""
        self._tokens = tokens


class LoopLock:
    """One at a time within the running loop: workers run each task in a loop of its own, one after the other.

    An asyncio.Lock that was once waited for in one loop raises in the next.
    """

    def __init__(self) -> None:
        self._held: tuple[asyncio.AbstractEventLoop, asyncio.Lock] | None = None

    @contextlib.asynccontextmanager
    async def __call__(self) -> AsyncIterator[None]:
        """Wait for the turn."""
        loop = asyncio.get_running_loop()
        if self._held is None or self._held[0] is not loop:
            self._held = (loop, asyncio.Lock())
        async with self._held[1]:
            yield


class Session(Protocol):
    """How calls prove whose they are."""

    async def tokens(self, refused: Tokens | None) -> Tokens:
        """Tokens to call with, new ones where the vendor refused these.

        Raises:
            AdapterError: None could be had.
        """
        ...

    def headers(self, tokens: Tokens) -> Mapping[str, str]:
        """The headers that carry them."""
        ...


class OAuthClient:
    """The OAuth service: authorisation link, code and refresh (section 3.1.2)."""

    def __init__(
        self, transport: Transport, url: str, client_id: str, client_secret: SecretStr, redirect_url: str, clock: Clock
    ) -> None:
        self._transport, self._url, self._clock = transport, url, clock
        self._client_id, self._client_secret, self._redirect_url = client_id, client_secret, redirect_url

    def authorize_url(self, scopes: tuple[str, ...] = (), locale: str = "", state: str = "") -> str:
        """The link that an owner opens to log in and consent.

        The code comes back to the redirect URL and lives five minutes.

        Args:
            scopes: What to ask for; nothing asks for all that the client may have.
            locale: Language of the pages, as in "de-de"; "" takes the browser's.
            state: Comes back with the code where the service keeps to OAuth; the document does not mention it.
        """
        query = {
            "response_type": "code",
            "client_id": self._client_id,
            "redirect_uri": self._redirect_url,
            **({"scope": " ".join(scopes)} if scopes else {}),
            **({"locale": locale} if locale else {}),
            **({"state": state} if state else {}),
        }
        return f"{self._url.rstrip('/')}{AUTHORIZE_PATH}?{urlencode(query, quote_via=quote)}"

    async def exchange(self, code: SecretStr) -> Tokens:
        """Tokens for an authorisation code.

        Raises:
            ConfigurationError: The code is too old or used, or the client is unknown.
            VendorUnavailableError: No answer, or nonsense.
        """
        form = {
            "grant_type": "authorization_code",
            "code": code.get_secret_value(),
            "redirect_uri": self._redirect_url,
        }
        return await self._ask(form, "let the owner authorise again, and bring the code within five minutes")

    async def refresh(self, tokens: Tokens) -> Tokens:
        """New tokens; the earlier access token is void from now on.

        Raises:
            ConfigurationError: The refresh token or the client is refused.
            VendorUnavailableError: No answer, or nonsense.
        """
        if tokens.refresh is None:
            raise ConfigurationError(f"{TOKEN_PATH}: no refresh token; let the owner authorise")
        form = {"grant_type": "refresh_token", "refresh_token": tokens.refresh.get_secret_value()}
        fresh = await self._ask(form, "let the owner authorise again")
        return (
            fresh if fresh.refresh is not None else Tokens(fresh.access, tokens.refresh, fresh.expires_at, fresh.scope)
        )

    async def _ask(self, form: Mapping[str, str], way_out: str) -> Tokens:
        secret = self._client_secret.get_secret_value()
        request = Request(
            "POST",
            TOKEN_PATH,
            form={**form, "client_id": self._client_id, "client_secret": secret},
            answers_with=frozenset({200, 400, 401}),
        )
        answer = await self._transport.tell(request)
        content = fields(answer.content)
        if answer.status != 200:
            # invalid_client comes as 401, invalid_grant and unsupported_grant_type as 400.
            what = "client_id or client_secret is refused; correct them" if answer.status == 401 else way_out
            raise ConfigurationError(f"{TOKEN_PATH}: HTTP {answer.status}: {what}")
        access, refresh = text(content.get("access_token")), text(content.get("refresh_token"))
        if not access:
            raise VendorUnavailableError(f"{TOKEN_PATH}: the answer has no access token")
        lives_s = number(content.get("expires_in"))
        expires_at = None
        if lives_s is not None and 0 <= lives_s <= 10**9:
            expires_at = self._clock() + dt.timedelta(seconds=lives_s)
        scope = frozenset(text(content.get("scope")).split())
        return Tokens(SecretStr(access), SecretStr(refresh) if refresh else None, expires_at, scope)


class _Renewing:
    """One renewal at a time, in this process and beyond, and what was refused once is not tried again."""

    def __init__(self, store: TokenStore) -> None:
        self._store = store
        self._now: Tokens | None = None
        self._unsaved = False
        self._lock = LoopLock()
        self._refusal: tuple[Tokens | None, ConfigurationError] | None = None

    async def tokens(self, refused: Tokens | None) -> Tokens:
        """Tokens to call with; see `Session`."""
        async with self._lock():
            if self._now is not None and self._now != refused and not self._is_over(self._now):
                return self._now
            async with self._store.exclusive():
                stored = await self._store.load()
                if self._unsaved:
                    stored = self._now
                if stored is not None and stored != refused and not self._is_over(stored):
                    self._now = stored  # somebody else has renewed them
                    return stored
                if self._refusal is not None and self._refusal[0] == stored:
                    raise self._refusal[1]
                try:
                    fresh = await self._renewed(stored)
                except ConfigurationError as error:
                    self._refusal = (stored, error)
                    raise
                self._now = fresh
                await self._save(fresh)
            return fresh

    def _is_over(self, tokens: Tokens) -> bool:
        raise NotImplementedError

    async def _renewed(self, tokens: Tokens | None) -> Tokens:
        raise NotImplementedError

    async def _save(self, tokens: Tokens) -> None:
        """Keep new tokens; the old ones are void, so a store that fails must not lose them from memory too."""
        try:
            await self._store.save(tokens)
            self._unsaved = False
        except Exception:
            self._unsaved = True
            LOG.exception("new tokens could not be stored; they are kept in memory")


class OAuthSession(_Renewing):
    """An owner's consent: bearer tokens of an hour, renewed by one refresher (section 3.1.2)."""

    def __init__(self, oauth: OAuthClient, store: TokenStore, clock: Clock) -> None:
        super().__init__(store)
        self._oauth, self._clock = oauth, clock

    def headers(self, tokens: Tokens) -> Mapping[str, str]:
        """Section 3.1.3."""
        return {"Authorization": f"Bearer {tokens.access.get_secret_value()}"}

    async def consent(self, code: SecretStr) -> Tokens:
        """Begin with a new authorisation code; earlier tokens of the owner become void.

        Raises:
            AdapterError: As `OAuthClient.exchange`.
        """
        async with self._lock(), self._store.exclusive():
            fresh = await self._oauth.exchange(code)
            self._now, self._refusal = fresh, None
            await self._save(fresh)
            return fresh

    def _is_over(self, tokens: Tokens) -> bool:
        if not tokens.access.get_secret_value():
            return True
        left = None if tokens.expires_at is None else tokens.expires_at - self._clock()
        return left is not None and left <= dt.timedelta(seconds=RENEW_BEFORE_S)

    async def _renewed(self, tokens: Tokens | None) -> Tokens:
        if tokens is None:
            raise ConfigurationError(f"{TOKEN_PATH}: the owner has not authorised yet; open the authorisation link")
        return await self._oauth.refresh(tokens)


class AccountSession(_Renewing):
    """An API account: one session at a time, its token slides 30 minutes with every use (section 3.2.2)."""

    def __init__(
        self, transport: Transport, user_name: str, system_code: SecretStr, store: TokenStore, flow: FlowControl
    ) -> None:
        super().__init__(store)
        self._transport, self._flow = transport, flow
        self._user_name, self._system_code = user_name, system_code

    def headers(self, tokens: Tokens) -> Mapping[str, str]:
        """Section 3.2.3."""
        return {"XSRF-TOKEN": tokens.access.get_secret_value()}

    async def logout(self) -> None:
        """End the session, so that its token is void at once (section 3.2.2.2).

        Raises:
            AdapterError: It could not be ended.
        """
        async with self._lock():
            if self._now is None:
                return
            self._flow.take(Call.LOGOUT)
            token = self._now.access.get_secret_value()
            request = Request("POST", Call.LOGOUT.value, json={"xsrftoken": token}, headers=self.headers(self._now))
            answer = envelope((await self._transport.tell(request)).content)
            if answer.fail_code != FailCode.OK:
                raise _fault(self._flow, Call.LOGOUT, answer.fail_code)
            self._now = None

    def _is_over(self, tokens: Tokens) -> bool:
        return not tokens.access.get_secret_value()

    async def _renewed(self, tokens: Tokens | None) -> Tokens:  # noqa: ARG002 a login needs no earlier token
        self._flow.take(Call.LOGIN)
        body = {"userName": self._user_name, "systemCode": self._system_code.get_secret_value()}
        answer = await self._transport.tell(Request("POST", Call.LOGIN.value, json=body))
        content = envelope(answer.content)
        if content.fail_code != FailCode.OK:
            raise _fault(self._flow, Call.LOGIN, content.fail_code)
        self._flow.worked(Call.LOGIN)
        token = answer.headers.get("xsrf-token", "").strip()
        if not token:
            cookie = _COOKIE.search(answer.headers.get("set-cookie", ""))
            token = "" if cookie is None else cookie.group(1)
        if not token:
            raise VendorUnavailableError(f"{Call.LOGIN.value}: the answer has no XSRF-TOKEN")
        return Tokens(SecretStr(token))


def _fault(flow: FlowControl, call: Call, code: int | None) -> Exception:
    if code is None:
        return VendorUnavailableError(f"{call.value}: the answer has no failCode")
    if code in OVER_LIMIT | SYSTEM_OVER_LIMIT:
        return flow.refused(call, by_system=code in SYSTEM_OVER_LIMIT)
    return error_of(call.value, code)
