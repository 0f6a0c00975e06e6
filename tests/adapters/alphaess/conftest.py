"""What the AlphaESS tests share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from adapters.alphaess.adapter import create
from tests.adapters.alphaess.intents import NOWHERE
from tests.adapters.alphaess.world import independent_decryption, independent_signature
from tests.intents import START


@pytest.fixture(scope="session")
def signature() -> Callable[[Mapping[str, Any], str], str]:
    return independent_signature


@pytest.fixture(scope="session")
def decryption() -> Callable[[str, str], str]:
    return independent_decryption


@pytest.fixture
def world(emulate):
    """One system at noon, half full, 10 kWh and 5 kW, in a house that draws 1 kW without sun; logged in."""
    world = emulate(load_kw=1.0, pv_kw=0.0, soc=0.5)
    world.login()
    return world


@pytest.fixture(scope="module")
def adapter():
    """An adapter whose vendor cannot be reached: translating must not need it."""
    return create(NOWHERE, lambda: START)


@pytest.fixture
def session(connect):
    """Run a coroutine with an open client: `session(url, clock, lambda client: ...)`."""

    def run(url, clock, work, **changes):
        async def main():
            async with connect(url, clock, **changes) as client:
                return await work(client)

        return asyncio.run(main())

    return run
