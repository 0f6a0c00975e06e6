"""One site under control: what is due at a moment, done in the right order.

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
from schedules.sites import ControlledSite
from schedules.store import Database

READ_POWER_EVERY = dt.timedelta(seconds=60)
# Further from the plan than this, plan again from what is seen [fraction].
REPLAN_BEYOND_SOC = 0.05
TAKE_UP_ATTEMPTS = 3


class SiteRunner:
    """Reads, plans, dispatches and confirms one site."""

    def __init__(
        self, db: Database, clock: Clock, target: ControlledSite, series: pd.DataFrame, final_soc_min: float | None
    ) -> None:
        """Take a site and its prices and forecasts, as `jobs.plan_site` wants them."""
        self.db = db
        self.clock = clock
        self.target = target
        self.series = series
        self.step: pd.Timedelta = series.index[1] - series.index[0]
        self.end: dt.datetime = (series.index[-1] + self.step).to_pydatetime()
        self.failures: list[str] = []
        """What went wrong and was survived: reads that failed, plans that could not be made."""
        self._final_soc_min = final_soc_min
        self._dispatcher = Dispatcher(db, clock, target)
        self._read_at: dict[Channel, dt.datetime] = {}

    async def take_up(self) -> None:
        """Read the device before anything is sent, settle what an earlier process left open, and plan.

        Raises:
            AdapterError: The device cannot be read; nothing was sent.
        """
        for attempt in range(TAKE_UP_ATTEMPTS):
            try:
                for channel in Channel:
                    await self._read(channel)
                await self._dispatcher.resolve_unknown()
                break
            except AdapterError:
                if attempt == TAKE_UP_ATTEMPTS - 1:
                    raise
        earlier = newest_plan(self.db, self.target.id)
        if self.clock() <= self.series.index[-1]:
            self._plan("start" if earlier is None else "taken up after a stop")

    async def act(self) -> None:
        """Everything that is due now."""
        if self._is_due(Channel.POWER, READ_POWER_EVERY):
            await self._try_to_read(Channel.POWER)
        state_every = dt.timedelta(seconds=self.target.adapter.abilities.state_cadence_s)
        if self._is_due(Channel.STATE, state_every):
            await self._try_to_read(Channel.STATE)
            jobs.confirm(self.db, self.clock, self.target)
            self._replan_if_off()
        try:
            await self._dispatcher.tick()
        except AdapterError as error:
            self.failures.append(str(error))

    async def release(self) -> bool:
        """Let go of the battery; whether the vendor took it."""
        return await self._dispatcher.release()

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

    def _is_due(self, channel: Channel, every: dt.timedelta) -> bool:
        """Whether a new multiple of the period has begun since the last read: readings then fall on boundaries."""
        last, now = self._read_at.get(channel), self.clock()
        return last is None or now.timestamp() // every.total_seconds() > last.timestamp() // every.total_seconds()

    async def _try_to_read(self, channel: Channel) -> None:
        try:
            await self._read(channel)
        except AdapterError as error:
            # Missing is missing: the gap shows, and nothing is planned from a guess.
            self.failures.append(str(error))

    async def _read(self, channel: Channel) -> None:
        await telemetry.read_telemetry(self.db, self.clock, self.target, channel)
        self._read_at[channel] = self.clock()
