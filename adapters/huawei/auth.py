"""Two ways in: OAuth Connect with rotating tokens, and API accounts with one session each.

Source: SmartPVMS 24.5.0 NBI Reference, sections 3.1.2 (OAuth), 3.2.2 (login, logout), 8.1.2 (errors of the token call).
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import hashlib
import logging
import re
from collections.abc import AsyncIterator, Coroutine, Mapping
from dataclasses import replace
from typing import Any, Protocol
from urllib.parse import quote, urlencode

from pydantic import SecretStr

from adapters.contract import Clock, ConfigurationError, VendorUnavailableError
from adapters.huawei.codes import OVER_LIMIT, SYSTEM_OVER_LIMIT, FailCode
from adapters.huawei.errors import error_of
from adapters.huawei.flow import FlowControl
from adapters.huawei.mapping import AUTHORIZE_PATH, TOKEN_PATH, Call
from adapters.huawei.wire import envelope, fields, text
from adapters.tokens import NewerTokensError, Tokens, TokenStore
from adapters.transport import Request, Transport
from adapters.values import number

LOG = logging.getLogger(__name__)
# A token this close to its end is renewed before it is used [s].
RENEW_BEFORE_S = 60.0
_COOKIE = re.compile(r"XSRF-TOKEN=([^;,\s]+)", re.IGNORECASE)


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
        return replace(fresh, refresh=fresh.refresh or tokens.refresh, begun_with=tokens.begun_with)

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


async def to_its_end(work: Coroutine[Any, Any, Tokens]) -> Tokens:
    """Wait for work that must not be cut short: between the vendor's answer and the store tokens are nowhere else.

    A cancellation counts when the work is over; the time-out of its call bounds that.
    """
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        while not task.done():
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # nobody is left to hear of it
        raise


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
                stored = self._now if self._unsaved else await self._stored()
                if stored is not None and stored != refused and not self._is_over(stored):
                    self._now = stored  # somebody else has renewed them
                    return stored
                if self._refusal is not None and self._refusal[0] == stored:
                    raise self._refusal[1]
                try:
                    return await to_its_end(self._renew(stored))
                except ConfigurationError as error:
                    self._refusal = (stored, error)
                    raise

    async def _renew(self, stored: Tokens | None) -> Tokens:
        fresh = await self._renewed(stored)
        self._now = fresh
        try:
            await self._store.save(fresh)
            self._unsaved = False
        except NewerTokensError:
            self._now = await self._stored() or fresh
        except Exception:
            self._unsaved = True  # the old ones are void, so these must not be lost from memory too
            LOG.exception("new tokens could not be stored; they are kept in memory")
        return self._now

    async def _stored(self) -> Tokens | None:
        return await self._store.load()

    def _is_over(self, tokens: Tokens) -> bool:
        raise NotImplementedError

    async def _renewed(self, tokens: Tokens | None) -> Tokens:
        raise NotImplementedError


class OAuthSession(_Renewing):
    """An owner's consent: bearer tokens of an hour, renewed by one refresher (section 3.1.2).

    A refresh spends the refresh token, and until the new one is stored it exists in this process only. Dying there
    costs the consent, so everything that can fail is done before, and nothing is done in between.
    """

    def __init__(self, oauth: OAuthClient, store: TokenStore, clock: Clock, begin: SecretStr) -> None:
        """Contact nobody yet.

        Args:
            oauth: The service.
            store: Where tokens are kept.
            clock: The time.
            begin: The refresh token of the settings; counts where no tokens are stored that began with it.
        """
        super().__init__(store)
        self._oauth, self._clock, self._begin = oauth, clock, begin
        self._begun_with = hashlib.sha256(begin.get_secret_value().encode()).hexdigest()[:16]

    def headers(self, tokens: Tokens) -> Mapping[str, str]:
        """Section 3.1.3."""
        return {"Authorization": f"Bearer {tokens.access.get_secret_value()}"}

    async def consent(self, code: SecretStr) -> Tokens:
        """Begin with a new authorisation code; earlier tokens of the owner become void.

        Raises:
            AdapterError: As `OAuthClient.exchange`.
            OSError: The tokens could not be stored; this process goes on with them.
        """
        async with self._lock(), self._store.exclusive():
            return await to_its_end(self._consent(code))

    async def _consent(self, code: SecretStr) -> Tokens:
        fresh = replace(await self._oauth.exchange(code), begun_with=self._begun_with)
        self._now, self._refusal, self._unsaved = fresh, None, True
        await self._store.save(fresh)
        self._unsaved = False
        return self._now

    async def _stored(self) -> Tokens | None:
        stored = await self._store.load()
        if self._begin.get_secret_value() and (stored is None or stored.begun_with != self._begun_with):
            return Tokens(SecretStr(""), self._begin, begun_with=self._begun_with)
        return stored

    def _is_over(self, tokens: Tokens) -> bool:
        if not tokens.access.get_secret_value():
            return True
        left = None if tokens.expires_at is None else tokens.expires_at - self._clock()
        return left is not None and left <= dt.timedelta(seconds=RENEW_BEFORE_S)

    async def _renewed(self, tokens: Tokens | None) -> Tokens:
        if tokens is None:
            raise ConfigurationError(f"{TOKEN_PATH}: the owner has not authorised yet; open the authorisation link")
        try:
            # What is there already, once more; tokens to begin with must not take its place before they have worked.
            await self._store.save(tokens if self._unsaved else await self._store.load() or tokens)
        except Exception as error:
            raise VendorUnavailableError(
                f"tokens: the place where they are kept cannot be written ({type(error).__name__}), so they are not "
                "renewed: the new ones would be lost with this process; mend it"
            ) from None
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
