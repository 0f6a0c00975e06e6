"""Price feeds by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from adapters.contract import Clock, ConfigurationError
from adapters.feeds.contract import PriceFeed
from adapters.feeds.energi_data_service import client as energi_data_service
from adapters.feeds.entsoe import client as entsoe
from adapters.feeds.files import client as files
from adapters.feeds.markets import AGILE, SDAC, Market
from adapters.feeds.octopus import client as octopus
from adapters.settings import AccountSettings, checked


@dataclass(frozen=True)
class Source:
    """How to open one source."""

    settings: type[AccountSettings]
    feed: Callable[[Any, Clock], PriceFeed]
    market: Callable[[Any], Market]
    """Whose days and times hold, from its settings."""


SOURCES = {
    "energi_data_service": Source(
        energi_data_service.Settings, energi_data_service.EnergiDataService, lambda _settings: SDAC
    ),
    "entsoe": Source(entsoe.Settings, entsoe.Entsoe, lambda _settings: SDAC),
    "octopus": Source(octopus.Settings, octopus.Octopus, lambda _settings: AGILE),
    "file": Source(files.Settings, files.PriceFile, lambda settings: files.MARKETS[settings.market]),
}


def open_feed(name: str, settings: Mapping[str, Any], clock: Clock) -> tuple[PriceFeed, Market]:
    """Build a feed; nothing is contacted.

    Args:
        name: One of `SOURCES`.
        settings: Address, credentials, products; what is not given has a default.
        clock: The time.

    Raises:
        ConfigurationError: There is no such source, its library is not installed, or a setting is wrong; no value is
            shown.
    """
    source = SOURCES.get(name)
    if source is None:
        raise ConfigurationError(f"feed: {name!r} is unknown; choose one of {', '.join(SOURCES)}")
    account = checked(source.settings, settings, name)
    return source.feed(account, clock), source.market(account)
