"""A dispatcher that drives the device of a served vendor over HTTP, through the vendor's own adapter."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

from sqlalchemy import select

from adapters import registry
from adapters.contract import Channel
from adapters.token_file import FileTokenStore
from engine import Site
from engine.intent import Intent, IntentMode
from schedules import halts
from schedules.dispatch import Dispatcher, Outcome
from schedules.sites import register_site
from schedules.store import CommandRow, Database, IntentRow, Verdict
from schedules.telemetry import read_telemetry
from tests.schedules.plans import put_plan
from tests.schedules.served_vendor import ServedVendor


class OnVendor:
    """One process and its store, from when the vendor's clock stands on; lives inside one event loop."""

    def __init__(self, folder: Path, vendor: ServedVendor, site: Site, **settings: Any) -> None:
        self.vendor, self.clock, self.begin = vendor, vendor.clock.now, vendor.clock.now()
        self._folder, self._site = folder, site
        self._settings = {**vendor.settings, **settings}
        self.start_process()

    def start_process(self) -> None:
        name, tokens = self.vendor.vendor, FileTokenStore(self._folder / "tokens")
        self.db = Database.at(self._folder / "store.sqlite")
        self.adapter = registry.build(name, self._settings, self.clock, store=tokens)
        self.target = register_site(self.db, self._site, self.adapter, name, self.vendor.place.device_id)
        halts.arm(self.db, self.clock, name, "test")
        self.dispatcher = Dispatcher(self.db, self.clock, [self.target])

    async def end_process(self) -> None:
        await self.adapter.close()
        self.db.close()

    async def restart(self) -> None:
        await self.end_process()
        self.start_process()

    def plan(self, *wishes: tuple[str, float, float, float], until_soc: float | None = None) -> list[Intent]:
        """Put in force: mode, power [kW], begin and end [s]."""
        intents = [
            Intent(IntentMode(mode), power_kw, *(self.begin + dt.timedelta(seconds=at) for at in times), until_soc)
            for mode, power_kw, *times in wishes
        ]
        put_plan(self.db, self.target.id, intents)
        return intents

    async def read(self, *channels: Channel) -> None:
        for channel in channels or Channel:
            await read_telemetry(self.db, self.clock, self.target, channel)

    async def tick(self) -> Outcome:
        return (await self.dispatcher.tick())[self.target.id]

    def journal(self) -> list[CommandRow]:
        with self.db.session() as session:
            return list(session.scalars(select(CommandRow).order_by(CommandRow.id)))

    def states(self) -> list[str]:
        return [row.state.value for row in self.journal()]

    def verdicts(self) -> list[Verdict | None]:
        with self.db.session() as session:
            return [row.verdict for row in session.scalars(select(IntentRow).order_by(IntentRow.not_before))]
