"""Feeds and their emulators on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from adapters.emulation import EmulatedClock
from adapters.feeds.contract import DayPrices, Side
from adapters.feeds.emulation import PriceEmulator, Wrong
from adapters.feeds.energi_data_service.emulator import EnergiDataServiceCloud
from adapters.feeds.entsoe.emulator import EntsoeCloud
from adapters.feeds.octopus.emulator import OctopusCloud
from adapters.feeds.registry import open_feed
from tests.adapters.loopback import LoopbackServer

SPRING, AUTUMN, SUMMER = dt.date(2026, 3, 29), dt.date(2026, 10, 25), dt.date(2026, 6, 1)
LONG_AFTER = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
CLOUDS: dict[str, type[PriceEmulator]] = {
    "energi_data_service": EnergiDataServiceCloud,
    "entsoe": EntsoeCloud,
    "octopus": OctopusCloud,
}
AREAS = {"energi_data_service": "DK1", "entsoe": "DE_LU", "octopus": "A", "csv": "DK1", "parquet": "DK1"}


@dataclass
class ServedFeed:
    """A feed, and the emulator that it asks."""

    source: str
    area: str
    cloud: PriceEmulator
    clock: EmulatedClock
    url: str
    settings: dict[str, Any]

    def ask(self, day: dt.date, before: DayPrices | None = None, **wrong: bool) -> DayPrices:
        self.cloud.wrong = Wrong(**wrong)
        self.prepare(day)
        return self.read(day, before)

    def prepare(self, day: dt.date) -> None:
        """What has to happen before the source can be asked."""

    def read(self, day: dt.date, before: DayPrices | None = None) -> DayPrices:
        """Ask the source as it is."""

        async def once() -> DayPrices:
            feed, _ = open_feed(self.source, self.settings, self.clock.now)
            try:
                return await feed.day_ahead(self.area, day, before)
            finally:
                await feed.close()

        return asyncio.run(once())

    def truth(self, day: dt.date) -> pd.Series:
        """What a sound answer has, per kWh."""
        return self.cloud.truth(self.area, day) / (100 if self.source == "octopus" else 1000)

    @property
    def kind(self) -> tuple[Side, str]:
        return (Side.IMPORT, "GBP") if self.source == "octopus" else (Side.SPOT, "EUR")


class FileFeed(ServedFeed):
    """The same with a file in between, which is written anew for each question."""

    path: Path

    def prepare(self, day: dt.date) -> None:
        market = self.cloud.market
        begin, end = (market.begin(day + dt.timedelta(days=number)) for number in (-1, 1))
        rows = self.cloud.rows(self.area, begin, end)
        table = pd.DataFrame(
            {
                "start": pd.DatetimeIndex([row.start for row in rows], tz="UTC"),
                "spot_eur_per_mwh": pd.Series([row.eur_per_mwh for row in rows], dtype=float),
            }
        )
        if self.path.suffix == ".csv":
            table["start"] = [start.tz_convert("Europe/Copenhagen").isoformat() for start in table["start"]]
            table.to_csv(self.path, index=False)
        else:
            table.to_parquet(self.path)
        if self.cloud.wrong.broken:
            content = self.path.read_bytes()
            self.path.write_bytes(content[: len(content) // 2])


@pytest.fixture
def serve(loopback_server: LoopbackServer, tmp_path: Path) -> Iterator[Callable[..., ServedFeed]]:
    """Serve a source: `serve("entsoe")`; "csv" and "parquet" are files."""

    def start(name: str, now: dt.datetime = LONG_AFTER, **settings: Any) -> ServedFeed:
        clock = EmulatedClock(now, None)
        if name in ("csv", "parquet"):
            path = tmp_path / f"prices.{name}"
            feed = FileFeed("file", AREAS[name], EnergiDataServiceCloud(clock), clock, "", {"path": str(path)})
            feed.path = path
            return feed
        cloud = CLOUDS[name](clock)
        loopback_server.app = cloud.app
        account = {**cloud.account(), "base_url": loopback_server.url, "timeout_s": 5.0, **settings}
        return ServedFeed(name, AREAS[name], cloud, clock, loopback_server.url, account)

    yield start
    loopback_server.app = None


@pytest.fixture(params=sorted(AREAS))
def feed(request: pytest.FixtureRequest, serve: Callable[..., ServedFeed]) -> ServedFeed:
    """Each source in turn."""
    return serve(request.param)


@pytest.fixture(scope="session")
def clock_changes() -> tuple[dt.date, dt.date]:
    """The days on which clocks go forward and back."""
    return SPRING, AUTUMN
