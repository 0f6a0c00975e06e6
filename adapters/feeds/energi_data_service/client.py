"""Calls to Energi Data Service; no credentials."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence

from adapters.contract import Clock
from adapters.feeds.acceptance import accepted
from adapters.feeds.contract import DayPrices
from adapters.feeds.energi_data_service import mapping
from adapters.feeds.http import FeedClient, FeedSettings, rows_of
from adapters.feeds.markets import SDAC
from adapters.settings import WebAddress
from engine.tariffs import Charge

ONE_DAY = dt.timedelta(days=1)


class Settings(FeedSettings):
    """Where the service is."""

    base_url: WebAddress = "https://api.energidataservice.dk"


class EnergiDataService:
    """`PriceFeed` of SDAC's Danish zones and their neighbours, and the price lists of DataHub."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._client = FeedClient(mapping.SOURCE, settings.base_url, clock, settings.timeout_s)

    async def day_ahead(self, area: str, day: dt.date, before: DayPrices | None = None) -> DayPrices:
        """Prices of a day in euros, and in kroner where they are out; see `PriceFeed`."""
        SDAC.require(area, mapping.SOURCE)
        query = mapping.prices_query(area, day - ONE_DAY, day + ONE_DAY)
        rows = rows_of(await self._client.get(mapping.PRICES_PATH, query), "records", mapping.SOURCE)
        quotes = mapping.quotes(rows) if rows else []
        return accepted(mapping.SOURCE, SDAC, area, day, quotes, self._clock(), before)

    async def charges(self, gln: str, codes: Sequence[str], sign: int = 1) -> tuple[Charge, ...]:
        """The tariffs of a grid company, or of Energinet, as registered in DataHub, past and future ones.

        Args:
            gln: Global Location Number of the owner.
            codes: Charge codes; all that hold together are wanted, discounts too.
            sign: -1 for what is taken off a sold kWh.

        Returns:
            A charge for each code [DKK/kWh without VAT].

        Raises:
            FeedError: There is no usable answer, or a code is not in it.
        """
        query = mapping.price_list_query(gln, codes)
        rows = rows_of(await self._client.get(mapping.PRICE_LIST_PATH, query), "records", mapping.SOURCE)
        return mapping.charges(rows, gln, codes, sign)

    async def close(self) -> None:
        """Let go of connections."""
        await self._client.close()
