"""One site, watched or under control: what is due at a moment, done in the right order.

Whoever owns time calls `act` again and again: a loop that steps a simulated clock, or a worker on a real one.
Calling it late, twice, or after a crash is harmless.
"""

from __future__ import annotations

import datetime as dt

import pandas as pd

from adapters.contract import AdapterError, Channel, Clock
from engine import TidewattError
from schedules import jobs, telemetry
from schedules.dispatch import Dispatcher
from schedules.plans import newest_plan
from schedules.sites import ControlledSite, WatchedSite
from schedules.store import Database

# No vendor is asked more often, whatever its cadence [s].
READ_EVERY_S = 60.0
# Further from the plan than this, plan again from what is seen [fraction].
REPLAN_BEYOND_SOC = 0.05
TAKE_UP_ATTEMPTS = 3


class SiteWatcher:
    """Reads one site as often as its vendor has news, and keeps what it reads."""

    def __init__(self, db: Database, clock: Clock, target: WatchedSite) -> None:
        self.db = db
        self.clock = clock
        self.failures: list[str] = []
        """What went wrong and was survived: reads that failed, plans that could not be made."""
        self._watched = target
        self._read_at: dict[Channel, dt.datetime] = {}

    async def take_up(self) -> None:
        """Read the device for the first time.

        Raises:
            AdapterError: The device cannot be read.
        """
        for attempt in range(TAKE_UP_ATTEMPTS):
            try:
                await self._look()
            except AdapterError:
                if attempt == TAKE_UP_ATTEMPTS - 1:
                    raise
            else:
                return

    async def act(self) -> None:
        """Everything that is due now."""
        await self._read_if_due()

    async def _look(self) -> None:
        for channel in Channel:
            await self._read(channel)

    async def _read_if_due(self) -> bool:
        """Read what is due; whether the state was asked for."""
        abilities = self._watched.adapter.abilities
        if self._is_due(Channel.POWER, abilities.power_cadence_s):
            await self._try_to_read(Channel.POWER)
        state_is_due = self._is_due(Channel.STATE, abilities.state_cadence_s)
        if state_is_due:
            await self._try_to_read(Channel.STATE)
        return state_is_due

    def _is_due(self, channel: Channel, cadence_s: float) -> bool:
        """Whether a new multiple of the period has begun since the last read: readings then fall on boundaries."""
        every_s = max(READ_EVERY_S, cadence_s)
        last, now = self._read_at.get(channel), self.clock()
        return last is None or now.timestamp() // every_s > last.timestamp() // every_s

    async def _try_to_read(self, channel: Channel) -> None:
        try:
            await self._read(channel)
        except AdapterError as error:
            # Missing is missing: the gap shows, and nothing is planned from a guess.
            self.failures.append(str(error))

    async def _read(self, channel: Channel) -> None:
        await telemetry.read_telemetry(self.db, self.clock, self._watched, channel)
        self._read_at[channel] = self.clock()


class SiteRunner(SiteWatcher):
    """Reads, plans, dispatches and confirms one site."""

    def __init__(
        self, db: Database, clock: Clock, target: ControlledSite, series: pd.DataFrame, final_soc_min: float | None
    ) -> None:
        """Take a site and its prices and forecasts, as `jobs.plan_site` wants them."""
        super().__init__(db, clock, target)
        self.target = target
        self.series = series
        self._final_soc_min = final_soc_min
        self._dispatcher = Dispatcher(db, clock, [target])

    async def take_up(self) -> None:
        """Read the device before anything is sent, settle what an earlier process left open, and plan.

        Raises:
            AdapterError: The device cannot be read; nothing was sent.
        """
        await super().take_up()
        earlier = newest_plan(self.db, self.target.id)
        if self.clock() <= self.series.index[-1]:
            self._plan("start" if earlier is None else "taken up after a stop")

    async def act(self) -> None:
        """Everything that is due now."""
        if await self._read_if_due():
            jobs.confirm(self.db, self.clock, self.target)
            self._replan_if_off()
        try:
            await self._dispatcher.tick()
        except AdapterError as error:
            self.failures.append(str(error))

    async def release(self) -> bool:
        """Let go of the battery; whether the vendor took it."""
        return await self._dispatcher.release()

    async def _look(self) -> None:
        await super()._look()
        await self._dispatcher.resolve_unknown()

    def _replan_if_off(self) -> None:
        now = self.clock()
        if now > self.series.index[-1] or now not in self.series.index:
            return
        deviation = jobs.soc_deviation(self.db, self.target)
        if deviation is not None and abs(deviation) > REPLAN_BEYOND_SOC:
            self._plan(f"state of charge {deviation:+.1%} off the plan")

    def _plan(self, why: str) -> None:
        try:
            jobs.plan_site(self.db, self.clock, self.target, self.series, why, self._final_soc_min)
        except TidewattError as error:
            # The plan in force stays; without one the battery is left to itself.
            self.failures.append(str(error))
