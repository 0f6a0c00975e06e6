"""`tidewatt emulate` for sources of prices and weather: each on loopback, and a file of markets that asks them."""

from __future__ import annotations

import asyncio
import datetime as dt
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from adapters.emulation import LOOPBACK, Cloud, EmulatedClock, listen
from adapters.feeds.emulation import EmulatedMarket, PriceEmulator
from adapters.feeds.energi_data_service.emulator import EnergiDataServiceCloud
from adapters.feeds.entsoe.emulator import EntsoeCloud
from adapters.feeds.octopus.emulator import OctopusCloud
from adapters.feeds.open_meteo.emulator import OpenMeteoCloud
from console.emulate import serve_all

FEEDS: dict[str, Callable[[EmulatedClock, EmulatedMarket], Cloud]] = {
    "energi_data_service": EnergiDataServiceCloud,
    "entsoe": EntsoeCloud,
    "octopus": OctopusCloud,
    "open_meteo": lambda clock, _market: OpenMeteoCloud(clock),
}
# An area that every source of a market has.
AREA_OF = {"sdac": "DK1", "agile": "A"}


@dataclass(frozen=True)
class ServedFeed:
    """One source that listens."""

    source: str
    base_url: str
    account: dict[str, Any]
    """What a client needs besides the address; throw-away credentials."""
    market: str | None
    """Of which market its prices are; None: it has none."""


def run_feeds(
    wanted: Sequence[str],
    seed: int,
    port: int,
    idle_exit_s: float | None,
    announce: Callable[[list[ServedFeed]], None],
) -> None:
    """Serve sources in this process, a port for each, until interrupted, told to stop, or idle for too long.

    All have one market's prices, published by this machine's clock.

    Args:
        wanted: Which of `FEEDS`.
        seed: Of the prices.
        port: Of the first, the others have the ports after it; 0 takes free ones.
        idle_exit_s: After so long without a request it ends [s].
        announce: Called once all listen.

    Raises:
        InputError: A port is taken.
    """
    clock, market = EmulatedClock(dt.datetime.now(dt.UTC), 1.0), EmulatedMarket(seed)
    clouds = [FEEDS[name](clock, market) for name in wanted]
    listeners: list[socket.socket] = []
    try:
        for place in range(len(clouds)):
            listeners.append(listen(port + place if port else 0))
        served = [_served(*each) for each in zip(wanted, clouds, listeners, strict=True)]
        asyncio.run(serve_all(clouds, listeners, idle_exit_s, lambda: announce(served)))
    finally:
        for listener in listeners:
            listener.close()


def markets(served: Sequence[ServedFeed]) -> list[dict[str, Any]]:
    """Markets of these sources, as `tidewatt prices import` takes them; sites are to be added."""
    found: dict[str, dict[str, Any]] = {}
    for each in served:
        if each.market is not None:
            market = {"name": f"emulated {each.market}", "area": AREA_OF[each.market], "sources": []}
            settings = {"base_url": each.base_url, **each.account}
            found.setdefault(each.market, market)["sources"].append({"source": each.source, "settings": settings})
    return list(found.values())


def _served(source: str, cloud: Cloud, listener: socket.socket) -> ServedFeed:
    market = cloud.market.name if isinstance(cloud, PriceEmulator) else None
    return ServedFeed(source, f"http://{LOOPBACK}:{listener.getsockname()[1]}", cloud.account(), market)
