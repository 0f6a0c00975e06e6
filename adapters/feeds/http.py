"""What the clients of feeds share: one GET, and its failures in the words of feeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.contract import Clock, ConfigurationError, VendorUnavailableError
from adapters.feeds.contract import Fault, FeedError
from adapters.settings import AccountSettings, Seconds
from adapters.transport import RefusedRequestError, Request, Transport

REFUSED_FOR_GOOD = frozenset({401, 403})


class FeedSettings(AccountSettings):
    """What all feeds over HTTP have."""

    timeout_s: Seconds = 10.0
    """Longest wait for a whole answer [s]."""


class FeedClient:
    """One source over HTTP."""

    def __init__(self, source: str, base_url: str, clock: Clock, timeout_s: float) -> None:
        self.source = source
        self._transport = Transport(base_url, clock, timeout_s)

    async def get(self, path: str, params: Mapping[str, str | int]) -> dict[str, Any]:
        """Ask for a JSON object; tried again where the network or the server fails.

        Raises:
            FeedError: There is no usable answer.
            ConfigurationError: The source refuses us, or knows nothing of what we ask for.
        """
        try:
            content = (await self._transport.ask(Request("GET", path, params=params))).content
        except RefusedRequestError as error:
            if error.status in REFUSED_FOR_GOOD:
                raise ConfigurationError(f"{self.source}: {error}; check its key") from None
            if error.status in (400, 404):
                raise ConfigurationError(f"{self.source}: {error}; check area, product and place") from None
            raise FeedError(Fault.UNREACHABLE, f"{self.source}: {error}") from None
        except VendorUnavailableError as error:
            raise FeedError(Fault.UNREACHABLE, f"{self.source}: {error}") from None
        if not isinstance(content, dict):
            raise FeedError(Fault.UNREACHABLE, f"{self.source}: {path}: the answer is no JSON object")
        return content

    async def close(self) -> None:
        """Let go of connections."""
        await self._transport.close()


def rows_of(answer: Mapping[str, Any], name: str, source: str) -> list[Mapping[str, Any]]:
    """The list of objects in an answer.

    Raises:
        FeedError: There is none.
    """
    rows = answer.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise FeedError(Fault.UNREACHABLE, f"{source}: the answer has no {name}")
    return rows
