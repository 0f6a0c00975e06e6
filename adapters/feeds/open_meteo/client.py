"""Calls to Open-Meteo; a key only for paying customers, who have addresses of their own."""

from __future__ import annotations

import datetime as dt

from pydantic import SecretStr

from adapters.contract import Clock
from adapters.feeds.contract import Weather
from adapters.feeds.http import FeedClient, FeedSettings
from adapters.feeds.open_meteo import mapping
from adapters.settings import WebAddress


class Settings(FeedSettings):
    """Where the service is."""

    base_url: WebAddress = "https://api.open-meteo.com"
    archive_url: WebAddress = "https://archive-api.open-meteo.com"
    api_key: SecretStr | None = None
    """Of a customer, whose addresses begin with `customer-`."""


class OpenMeteo:
    """`WeatherFeed` of any place, by the hour."""

    def __init__(self, settings: Settings, clock: Clock) -> None:
        self._clock = clock
        self._key = {} if settings.api_key is None else {"apikey": settings.api_key.get_secret_value()}
        self._forecast = FeedClient(mapping.SOURCE, settings.base_url, clock, settings.timeout_s)
        self._archive = FeedClient(mapping.SOURCE, settings.archive_url, clock, settings.timeout_s)

    async def forecast(self, latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime) -> Weather:
        """What is expected, 16 days ahead at most; see `WeatherFeed`."""
        return await self._ask(self._forecast, mapping.FORECAST_PATH, latitude, longitude, begin, end)

    async def archive(self, latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime) -> Weather:
        """What it was by reanalysis, until about five days ago; see `WeatherFeed`."""
        return await self._ask(self._archive, mapping.ARCHIVE_PATH, latitude, longitude, begin, end)

    async def close(self) -> None:
        """Let go of connections."""
        await self._forecast.close()
        await self._archive.close()

    async def _ask(
        self, client: FeedClient, path: str, latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime
    ) -> Weather:
        params = {**mapping.query(latitude, longitude, begin, end), **self._key}
        answer = await client.get(path, params)
        frame = mapping.weather(answer, latitude, longitude, begin, end)
        return Weather(mapping.SOURCE, frame, self._clock())
