"""All sites of one account: what is due at a moment, done in the right order.

Whoever owns time calls it again and again: a loop that steps a simulated clock, or a worker on a real one. It remembers
nothing, so calling it late, twice, after a crash or from another process is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from adapters.contract import AdapterError, Channel, Clock, QuotaExceededError
from engine import TidewattError
from schedules import export_limits, inputs, jobs, safety
from schedules.dispatch import Dispatcher, Outcome
from schedules.plans import newest_plan, overridden_since_plan
from schedules.sites import ControlledSite, WatchedSite
from schedules.store import Database, ReadRow
from schedules.telemetry import read_telemetry

# No vendor is asked more often, whatever its cadence [s].
READ_EVERY_S = 60.0
READS_AT_ONCE = 16
# Further from the plan than this, plan again from what is seen [fraction].
REPLAN_BEYOND_SOC = 0.05


@dataclass
class Report:
    """What a tick did."""

    read: int = 0
    """Readings that were asked for."""
    planned: int = 0
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    """What the dispatcher did, by site."""
    failures: list[str] = field(default_factory=list)
    """What went wrong and was survived: reads that failed, plans that could not be made."""


class AccountRunner:
    """Reads, judges, plans and dispatches the sites of one account."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        targets: Sequence[WatchedSite],
        worker: str = "",
        final_soc_min: float | None = None,
    ) -> None:
        """Take the sites of one account.

        Args:
            db: The store.
            clock: The time.
            targets: Its sites, driven or only watched.
            worker: What this process is called, for the journal.
            final_soc_min: Least state of charge at a plan's end [fraction].
        """
        self._db, self._clock = db, clock
        self._targets = list(targets)
        self._driven = [target for target in targets if isinstance(target, ControlledSite)]
        self._dispatcher = Dispatcher(db, clock, self._driven, worker) if self._driven else None
        self._worker = worker
        self._final_soc_min = final_soc_min

    async def tick(self) -> Report:
        """Everything that is due now."""
        report = Report()
        await self.read(report)
        self.plan(report)
        await self.dispatch(report)
        return report

    async def read(self, report: Report) -> None:
        """Read what the vendor may have news of, keep it, and judge the sites by it."""
        at_once = asyncio.Semaphore(READS_AT_ONCE)

        async def one(target: WatchedSite, channel: Channel) -> None:
            async with at_once:
                report.read += 1
                problem = ""
                try:
                    await read_telemetry(self._db, self._clock, target, channel)
                except QuotaExceededError as error:
                    # Nobody was asked: it stays due, and is asked for once the vendor's limit allows.
                    report.failures.append(str(error))
                    return
                except AdapterError as error:
                    # Missing is missing: the gap shows, and nothing is planned from a guess.
                    problem = str(error)
                    report.failures.append(problem)
                self._note_read(target, channel, problem)

        due = self._due_reads()
        await asyncio.gather(*(one(*each) for each in due))
        # No news is news, too: what was not heard of for long is trusted less.
        for target in {target.id: target for target, _ in due}.values():
            self._judge(target)

    def _judge(self, target: WatchedSite) -> None:
        """Hold what was seen against what was asked for, and trust the site as far as that allows."""
        if isinstance(target, ControlledSite):
            jobs.confirm(self._db, self._clock, target, self._worker)
            export_limits.note_exceeded(self._db, self._clock, target, self._worker)
        safety.apply(self._db, self._clock, target.id, safety.signs_of(self._db, self._clock, target), self._worker)

    def plan(self, report: Report) -> None:
        """Plan the sites that have no plan, are off it, or of whose inputs there is news."""
        for target in self._driven:
            why = self._why_plan(target)
            series = None if why is None else inputs.known(self._db, target.id, self._clock())
            if why is None or series is None or self._clock() > series.index[-1]:
                continue
            try:
                jobs.plan_site(self._db, self._clock, target, series, why, self._final_soc_min)
                report.planned += 1
            except TidewattError as error:
                # The plan in force stays; without one the battery is left to itself.
                report.failures.append(f"{target.site.name}: {error}")

    async def dispatch(self, report: Report) -> None:
        """Send what is due; all that has to be done often, and light."""
        if self._dispatcher is None:
            return
        try:
            report.outcomes = await self._dispatcher.tick()
        except AdapterError as error:
            report.failures.append(str(error))

    async def release(self) -> bool:
        """Let go of all batteries; whether the vendor took it for each."""
        return self._dispatcher is None or await self._dispatcher.release()

    def _due_reads(self) -> list[tuple[WatchedSite, Channel]]:
        with self._db.session() as session:
            found = session.scalars(select(ReadRow).where(ReadRow.site_id.in_([target.id for target in self._targets])))
            tried = {(row.site_id, row.channel): row.tried_at for row in found}
        now = self._clock()
        due = []
        for target in self._targets:
            abilities = target.adapter.abilities
            for channel, cadence_s in (
                (Channel.POWER, abilities.power_cadence_s),
                (Channel.STATE, abilities.state_cadence_s),
            ):
                every_s = max(READ_EVERY_S, cadence_s)
                last = tried.get((target.id, channel.value))
                # A new multiple of the period has begun since the last read: readings then fall on boundaries.
                if last is None or now.timestamp() // every_s > last.timestamp() // every_s:
                    due.append((target, channel))
        return due

    def _note_read(self, target: WatchedSite, channel: Channel, problem: str) -> None:
        with self._db.write() as session:
            session.merge(ReadRow(site_id=target.id, channel=channel.value, tried_at=self._clock(), error=problem))

    def _why_plan(self, target: ControlledSite) -> str | None:
        plan = newest_plan(self._db, target.id, adopted=False)
        if plan is None:
            return "start"
        known_at = inputs.newest_known_at(self._db, target.id)
        if known_at is not None and known_at > plan.made_at:
            return "news of prices or forecasts"
        if overridden_since_plan(self._db, target.id):
            return "an override"
        deviation = jobs.soc_deviation(self._db, target)
        if deviation is not None and abs(deviation) > REPLAN_BEYOND_SOC:
            return f"state of charge {deviation:+.1%} off the plan"
        return None
