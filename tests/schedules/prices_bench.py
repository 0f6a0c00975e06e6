"""A store, a clock, and two sources of prices on loopback, all on one time."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import Any

import pandas as pd
from sqlalchemy import select

from adapters.emulation import EmulatedClock, Faults
from adapters.feeds.emulation import Wrong
from adapters.feeds.energi_data_service.emulator import EnergiDataServiceCloud
from adapters.feeds.entsoe.emulator import EntsoeCloud
from adapters.feeds.markets import SDAC
from schedules import price_fetching
from schedules.clock import SimulatedClock
from schedules.price_fetching import Report
from schedules.price_sources import put_market, put_terms
from schedules.price_terms import Terms
from schedules.seal import Sealer
from schedules.store import AccountRow, Database, EventRow, MarketDayRow, MarketRow, SeriesRow, SiteRow
from tests.adapters.loopback import LoopbackServer

SPOT = Terms.model_validate({"contract": {"kind": "spot", "fee_per_kwh": 0.1, "vat": 0.25, "export_fee_per_kwh": 0.01}})


class PricesBench:
    """One market, DK1, of two sources, and a site that lives by it."""

    def __init__(self, db: Database, start: dt.datetime, sealer: Sealer, site: str = "home") -> None:
        self.db, self.clock, self.sealer = db, SimulatedClock(start), sealer
        self._emulated = EmulatedClock(start, None)
        self.first, self.second = EnergiDataServiceCloud(self._emulated), EntsoeCloud(self._emulated)
        self._servers = [LoopbackServer(), LoopbackServer()]
        for server, cloud in zip(self._servers, (self.first, self.second), strict=True):
            server.app = cloud.app
        self.draw = 0.5
        self.site = site
        with db.write() as session:
            if session.scalar(select(SiteRow).where(SiteRow.name == site)) is None:
                account = AccountRow(name="barn", adapter="huawei")
                session.add(account)
                session.flush()
                session.add(SiteRow(name=site, assets={}, adapter="huawei", device_id="1", account_id=account.id))

    def configure(self, terms: Terms = SPOT, sources: int = 2) -> None:
        told = [
            ("energi_data_service", {"base_url": self._servers[0].url, "timeout_s": 2.0}),
            ("entsoe", {**self.second.account(), "base_url": self._servers[1].url, "timeout_s": 2.0}),
        ]
        put_market(self.db, self.sealer, self.clock, "DK1", "DK1", told[:sources], "test")
        put_terms(self.db, self.clock, "DK1", self.site, terms, "test")

    def run(self) -> Report:
        """The job, once."""
        return asyncio.run(price_fetching.fetch(self.db, self.clock, self.sealer, "w", lambda: self.draw))

    def run_until(self, end: dt.datetime, every_min: float = 1.0) -> None:
        """The job, every minute as its rings come, or less often."""
        while self.clock() < end:
            self.move_to(min(end, self.clock() + dt.timedelta(minutes=every_min)))
            self.run()

    def url(self, source: int) -> str:
        return self._servers[source].url

    def move(self, by: dt.timedelta) -> None:
        self.move_to(self.clock() + by)

    def move_to(self, time: dt.datetime) -> None:
        self.clock.move_to(time)
        self._emulated.step_to(time)

    def break_down(self, *clouds: Any) -> None:
        for cloud in clouds:
            cloud.faults.switch(Faults(server_error_share=1.0))

    def mend(self) -> None:
        for cloud in (self.first, self.second):
            cloud.faults.switch(Faults())
            cloud.wrong = Wrong()

    @property
    def calls(self) -> tuple[int, int]:
        return self.first.calls, self.second.calls

    def days(self) -> list[MarketDayRow]:
        with self.db.session() as session:
            return list(session.scalars(select(MarketDayRow).order_by(MarketDayRow.id)))

    def series(self, name: str = "import_price_eur_per_kwh") -> list[SeriesRow]:
        with self.db.session() as session:
            return list(session.scalars(select(SeriesRow).where(SeriesRow.name == name).order_by(SeriesRow.id)))

    def events(self, kind: str) -> list[str]:
        with self.db.session() as session:
            return list(session.scalars(select(EventRow.text).where(EventRow.kind == kind).order_by(EventRow.id)))

    def market(self) -> MarketRow:
        with self.db.session() as session:
            return session.scalars(select(MarketRow)).one()

    def truth(self, *days: dt.date) -> pd.Series:
        """Spot prices [EUR/kWh]."""
        return pd.concat([self.first.truth("DK1", day) for day in days]) / 1000

    def stop(self) -> None:
        for server in self._servers:
            server.stop()


def central(day: dt.date, hour: int, minute: int = 0) -> dt.datetime:
    """A time of the market's clock."""
    return SDAC.at(day, dt.time(hour, minute))
