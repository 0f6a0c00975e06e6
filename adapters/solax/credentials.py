"""How SolaX knows us: a scheme of its own, so that the vendor can change it without touching the calls.

Today that is a token in a header (section 5.1). New accounts are said to get another kind of credentials from the
vendor's developer portal, which the document does not describe.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from pydantic import SecretStr

from adapters.solax.mapping import CREDENTIAL_HEADER


class Credentials(Protocol):
    """What makes a request ours."""

    async def headers(self) -> Mapping[str, str]:
        """Headers for one request; may fetch or renew what they are made of.

        Raises:
            AdapterError: They could not be had; the request is not sent.
        """
        ...


class TokenId:
    """The token of the portal's page for the API, as it is."""

    def __init__(self, token: SecretStr) -> None:
        self._token = token

    async def headers(self) -> Mapping[str, str]:
        """The one header."""
        return {CREDENTIAL_HEADER: self._token.get_secret_value()}
