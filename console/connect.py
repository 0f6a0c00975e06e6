"""`tidewatt devices connect`: an owner's consent, from the vendor's link to the tokens that are kept."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from pydantic import SecretStr

from adapters.contract import Connectable
from console.accounts import VendorAccount
from console.devices import Connection, connected
from engine.errors import InputError

PASTE = "paste the whole address that the browser was sent to after the consent"


@dataclass(frozen=True)
class Candidate:
    """An account that an owner can connect."""

    place: int
    """Which account of the file, from 1."""
    account: VendorAccount
    state: str
    """What must come back with the code; empty: nothing is sent that could."""
    url: str
    """What the owner opens."""


async def candidate_of(path: Path, accounts: Sequence[VendorAccount], name: str | None, with_state: bool) -> Candidate:
    """The account that is meant, and the link for its owner; nothing is contacted.

    Args:
        path: The file, for messages.
        accounts: All accounts of it.
        name: The account's name; None: the only one that can be connected.
        with_state: Whether the link carries a state that the vendor must send back.

    Raises:
        InputError: None can be connected, or more than one, or its settings are wrong.
    """
    found = []
    state = secrets.token_urlsafe(16) if with_state else ""
    async with connected(path, accounts) as connections:
        for place, connection in enumerate(connections, start=1):
            if isinstance(connection.adapter, Connectable) and name in (None, connection.account.label):
                url = connection.adapter.authorize_url(state)
                found.append(Candidate(place, connection.account, state, url))
    if not found:
        raise InputError(
            "account", "none of that name is given access by an owner's consent", "choose one that is, as Huawei's"
        )
    if len(found) > 1:
        labels = ", ".join(one.account.label for one in found)
        raise InputError("account", f"the file has {len(found)} ({labels})", "choose one by --account NAME")
    return found[0]


def code_in(address: str, state: str) -> SecretStr:
    """The code in the address that the vendor sent the browser to.

    Args:
        address: What the owner pasted.
        state: What must have come back with it.

    Raises:
        InputError: There is none, or it answers another link: whoever made that would have us drive their plants.
    """
    query = {key: values[-1] for key, values in parse_qs(urlsplit(address.strip()).query).items()}
    if "error" in query:
        raise InputError("address", "the vendor refused, or the owner did", "open the link again")
    if "code" not in query:
        raise InputError("address", "has no code in it", PASTE)
    came = query.get("state", "")
    if state and not came:
        raise InputError(
            "address",
            "the vendor sent no state back, so the code may be another link's",
            "if this vendor never does, use --no-state, and only a link that you opened yourself",
        )
    if state and not secrets.compare_digest(came.encode(), state.encode()):
        raise InputError("address", "answers another link", "open the link of this run")
    return SecretStr(query["code"])


async def take_consent(path: Path, candidate: Candidate, code: SecretStr) -> Path:
    """Exchange the code for tokens.

    Returns:
        The file that keeps them.

    Raises:
        AdapterError: The vendor refuses the code, or does not answer.
        OSError: The tokens cannot be kept.
    """
    async with connected(path, [candidate.account], candidate.place) as connections:
        connection: Connection = connections[0]
        await connection.sync()
        await connection.adapter.consent(code)
    return candidate.account.tokens_beside(path)
