"""Calls to the Octopus REST API; its prices are open."""

from __future__ import annotations

import datetime as dt
from typing import Annotated

from pydantic import Field

from adapters.contract import Clock
from adapters.feeds.acceptance import accepted
from adapters.feeds.contract import DayPrices, Side
from adapters.feeds.http import FeedClient, FeedSettings, rows_of
from adapters.feeds.markets import AGILE
from adapters.feeds.octopus import mapping
from adapters.settings import WebAddress

ONE_DAY = dt.timedelta(days=1)
Product = Annotated[str, Field(pattern=r"^[A-Z0-9-]{1,60}$")]


class Settings(FeedSettings):
    """The products of a contract; older customers have older ones."""

    base_url: WebAddress = "https://api.octopus.energy"
    import_product: Product = "AGILE-24-10-01"
    export_product: Product | None = None
    """As AGILE-OUTGOING-19-05-13; None: nothing is sold, or not at a price by half-hours."""


class Octopus:
    """`PriceFeed` of Agile; areas are the regions A to P."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock
        self._client = FeedClient(mapping.SOURCE, settings.base_url, clock, settings.timeout_s)

    async def day_ahead(self, area: str, day: dt.date, before: DayPrices | None = None) -> DayPrices:
        """Rates from 23:00 to 23:00 British time, VAT included; see `PriceFeed`."""
        AGILE.require(area, mapping.SOURCE)
        query = mapping.rates_query(AGILE.begin(day - ONE_DAY), AGILE.begin(day + ONE_DAY))
        products = {Side.IMPORT: self._settings.import_product, Side.EXPORT: self._settings.export_product}
        quotes = []
        for side, product in products.items():
            if product is not None:
                answer = await self._client.get(mapping.rates_path(product, area), query)
                quotes.append(mapping.quote(rows_of(answer, "results", mapping.SOURCE), side, area))
        return accepted(mapping.SOURCE, AGILE, area, day, quotes, self._clock(), before)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()
