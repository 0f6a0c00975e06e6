"""All sites of one account: what is due at a moment, done in the right order.

Whoever owns time calls it again and again: a loop that steps a simulated clock, or a worker on a real one. It remembers
nothing, so calling it late, twice, after a crash or from another process is harmless.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from celery.exceptions import SoftTimeLimitExceeded
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from adapters.contract import AdapterError, Channel, Clock, QuotaExceededError
from engine import TidewattError
from schedules import export_limits, inputs, jobs, replanning, safety, strategies, telemetry, verdicts
from schedules.dispatch import Dispatcher, Outcome
from schedules.signs import signs_of
from schedules.sites import ControlledSite, WatchedSite
from schedules.store import Database, EventRow, ReadRow
from schedules.telemetry import Heard

# No vendor is asked more often, whatever its cadence [s].
READ_EVERY_S = 60.0
READS_AT_ONCE = 16
# So many answers are kept together: each transaction costs more than what is in it.
KEPT_TOGETHER = 64
# The worker's time is over, or the store is away: going on with the next site would not be better.
NOT_OF_ONE_SITE = (SoftTimeLimitExceeded, SQLAlchemyError)


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
        """Read what the vendor may have news of, keep it, and judge the sites by it.

        Raises:
            Exception: What nobody foresaw at a site, once the others are read and judged.
        """
        at_once = asyncio.Semaphore(READS_AT_ONCE)
        heard: list[Heard] = []
        unforeseen: list[Exception] = []

        def keep() -> None:
            telemetry.keep_all(self._db, heard)
            heard.clear()

        async def one(target: WatchedSite, channel: Channel) -> None:
            async with at_once:
                report.read += 1
                reading, problem = None, ""
                try:
                    reading = await telemetry.fetch(self._clock, target, channel)
                except QuotaExceededError as error:
                    # Nobody was asked: it stays due, and is asked for once the vendor's limit allows.
                    report.failures.append(str(error))
                    return
                except AdapterError as error:
                    # Missing is missing: the gap shows, and nothing is planned from a guess.
                    problem = str(error)
                    report.failures.append(problem)
                except NOT_OF_ONE_SITE:
                    raise
                except Exception as error:
                    problem = type(error).__name__
                    unforeseen.append(error)
                heard.append(Heard(target.id, channel, self._clock(), reading, problem))
                if len(heard) >= KEPT_TOGETHER:
                    keep()

        due = self._due_reads()
        await asyncio.gather(*(one(*each) for each in due))
        keep()
        # No news is news, too: what was not heard of for long is trusted less.
        self._judge(list({target.id: target for target, _ in due}.values()), unforeseen)
        if unforeseen:
            raise unforeseen[0]

    def _judge(self, targets: Sequence[WatchedSite], unforeseen: list[Exception]) -> None:
        """Judge sites together, for that asks the store least; where that fails each alone, as the trouble is one's."""
        try:
            self._judge_together(targets)
        except NOT_OF_ONE_SITE:
            raise
        except Exception as error:
            if len(targets) == 1:
                unforeseen.append(error)
                return
            for target in targets:
                self._judge([target], unforeseen)

    def _judge_together(self, targets: Sequence[WatchedSite]) -> None:
        """Hold what was seen against what was asked for, and trust each site as far as that allows."""
        driven = [target for target in targets if isinstance(target, ControlledSite)]
        verdicts.confirm(self._db, self._clock, driven, self._worker)
        for target in driven:
            export_limits.note_exceeded(self._db, self._clock, target, self._worker)
        for site_id, signs in signs_of(self._db, self._clock, targets).items():
            safety.apply(self._db, self._clock, site_id, signs, self._worker)

    def plan(self, report: Report) -> None:
        """Plan the sites that have no plan, are off it, or of whose inputs there is news.

        Raises:
            Exception: What nobody foresaw at a site, once the others are planned.
        """
        unforeseen: list[Exception] = []
        reasons = replanning.reasons(self._db, self._clock(), self._driven)
        for target in self._driven:
            if target.id not in reasons:
                continue
            try:
                wanted = strategies.of_site(self._db, target.id).strategy
                series = inputs.known(self._db, target.id, self._clock(), wanted)
                if series is None or self._clock() > series.index[-1]:
                    continue
                jobs.plan_site(
                    self._db,
                    self._clock,
                    target,
                    series,
                    reasons[target.id],
                    self._final_soc_min,
                    estimated_from=inputs.estimated_from(self._db, target.id, self._clock()),
                    doubts=inputs.doubts(self._db, target.id, self._clock()),
                )
                report.planned += 1
            except jobs.StaleTelemetryError as error:
                # As soon as the site is seen there will be a plan.
                report.failures.append(f"{target.site.name}: {error}")
            except TidewattError as error:
                # The plan in force stays; without one the battery is left to itself.
                report.failures.append(f"{target.site.name}: {error}")
                self._note_failure(target, str(error))
            except NOT_OF_ONE_SITE:
                raise
            except Exception as error:
                self._note_failure(target, type(error).__name__)
                unforeseen.append(error)
        if unforeseen:
            raise unforeseen[0]

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
                # Another multiple of the period than at the last read: readings then fall on boundaries, and a clock
                # that was set back holds none up.
                if last is None or now.timestamp() // every_s != last.timestamp() // every_s:
                    due.append((target, channel))
        return due

    def _note_failure(self, target: ControlledSite, why: str) -> None:
        at, kind = self._clock(), replanning.FAILED_EVENT
        with self._db.write() as session:
            session.add(
                EventRow(at=at, kind=kind, by=self._worker, account_id=target.account_id, site_id=target.id, text=why)
            )
