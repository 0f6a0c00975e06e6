"""Tokens that a consent or a login brought, and where they are kept.

A vendor that rotates them makes the earlier ones void, so all who call in one owner's name share one store.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from pydantic import SecretStr, TypeAdapter


@dataclass(frozen=True)
class Tokens:
    """What an owner's consent or a login gave; replaced as a whole, never in part."""

    access: SecretStr
    refresh: SecretStr | None = None
    """None: the vendor gives none."""
    expires_at: dt.datetime | None = None
    """None: not known; the vendor will say when it is over."""
    scope: frozenset[str] = frozenset()
    """What the owner granted; empty: not known."""
    begun_with: str = ""
    """Digest of the refresh token in the settings when these began: another one there begins anew."""


_TOKENS = TypeAdapter(Tokens)


def tokens_to_json(tokens: Tokens) -> str:
    """Tokens as text, secrets and all."""
    content = {
        "access": tokens.access.get_secret_value(),
        "refresh": None if tokens.refresh is None else tokens.refresh.get_secret_value(),
        "expires_at": None if tokens.expires_at is None else tokens.expires_at.isoformat(),
        "scope": sorted(tokens.scope),
        "begun_with": tokens.begun_with,
    }
    return json.dumps(content)


def tokens_from_json(content: bytes) -> Tokens:
    """Tokens from that text.

    Raises:
        ValueError: There are none in it; its message may show the text, so raise another one `from None`.
    """
    return _TOKENS.validate_json(content)


class NewerTokensError(OSError):
    """Others saved tokens during a turn that had become too long; theirs stay."""


class TokenStore(Protocol):
    """Where tokens are kept, for one owner or API account, by all processes that call in its name.

    Whoever wants to renew holds `exclusive` first, looks at what is stored, and renews only if nobody else has.
    """

    def exclusive(self) -> AbstractAsyncContextManager[None]:
        """Held by one process at a time.

        Raises:
            AdapterError: The turn does not come, or the place cannot be used.
        """
        ...

    async def load(self) -> Tokens | None:
        """The tokens last saved, or None.

        Raises:
            ConfigurationError: There are some, and they cannot be read.
        """
        ...

    async def save(self, tokens: Tokens) -> None:
        """Replace the tokens, all of them at once; they outlast this process from then on.

        Raises:
            NewerTokensError: Others were saved during this turn; go on with them.
            OSError: They could not be saved; the earlier ones are as they were.
        """
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
