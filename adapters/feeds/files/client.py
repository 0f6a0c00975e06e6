"""Reading a file of prices anew each time that it is asked for."""

from __future__ import annotations

import asyncio
import datetime as dt
from pathlib import Path
from typing import Literal

import pandas as pd

from adapters.contract import Clock, ConfigurationError
from adapters.feeds.acceptance import accepted
from adapters.feeds.contract import DayPrices, Fault, FeedError
from adapters.feeds.files import mapping
from adapters.feeds.markets import AGILE, SDAC
from adapters.settings import AccountSettings

MARKETS = {market.name: market for market in (SDAC, AGILE)}


class Settings(AccountSettings):
    """Which file, and whose rules hold for what is in it."""

    path: Path
    """A `.csv` or `.parquet`; `{day}` in it stands for the day, as 2026-02-03."""
    market: Literal["sdac", "agile"] = "sdac"
    """Which market's days, resolution and limits its prices have."""
    may_repeat: bool = False
    """Whether a day may have the prices of the one before, as a fixed tariff has; then no unit is guessed at either."""


class PriceFile:
    """`PriceFeed` of a file that somebody else writes."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._settings, self._clock = settings, clock

    async def day_ahead(self, area: str, day: dt.date, before: DayPrices | None = None) -> DayPrices:
        """Prices of a day as the file has them; see `PriceFeed`."""
        market = MARKETS[self._settings.market]
        market.require(area, mapping.SOURCE)
        path = Path(str(self._settings.path).replace("{day}", day.isoformat()))
        table = await asyncio.to_thread(_read, path)
        quotes = mapping.quotes(table, area, path.name)
        may_repeat = self._settings.may_repeat
        return accepted(mapping.SOURCE, market, area, day, quotes, self._clock(), before, may_repeat)

    async def close(self) -> None:
        """Nothing is held."""


def _read(path: Path) -> pd.DataFrame:
    try:
        if path.suffix == ".parquet":
            return pd.read_parquet(path)
        if path.suffix == ".csv":
            return pd.read_csv(path, dtype=str, skipinitialspace=True)
    except FileNotFoundError:
        raise FeedError(Fault.LATE, f"{mapping.SOURCE}: {path.name} is not there yet") from None
    except (OSError, ValueError) as error:  # also what pandas and Arrow say of a file that is none of theirs
        raise FeedError(
            Fault.UNREACHABLE, f"{mapping.SOURCE}: {path.name} cannot be read ({type(error).__name__})"
        ) from None
    raise ConfigurationError(f"{mapping.SOURCE}: {path.name} is neither .csv nor .parquet; name one that is")
