"""Figures for Prometheus, read from the store when they are asked for: no worker counts anything, none is lost.

One process serves them for all workers. Names of sites are addresses, so labels are vendors, states and queues.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from adapters.contract import Clock
from schedules import heartbeats, job_runs, overview
from schedules.store import (
    AccountRow,
    CommandRow,
    CommandState,
    Database,
    EventRow,
    HaltRow,
    PlanRow,
    QuotaCallRow,
    QuotaPauseRow,
    SiteRow,
)
from schedules.store.models import UNRESOLVED

Figures = Mapping[tuple[str, ...], float]
"""By the values of labels."""
HOUR, DAY = dt.timedelta(hours=1), dt.timedelta(days=1)


class StoreCollector(Collector):
    """Reads all figures; `tidewatt_store_up` alone where the store cannot be read."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db, self._clock = db, clock

    def collect(self) -> Iterator[Metric]:
        """All figures."""
        try:
            with self._db.session() as session:
                found = list(_figures(session, self._clock()))
        except Exception:
            yield GaugeMetricFamily("tidewatt_store_up", "Whether the store can be read", 0)
            return
        yield GaugeMetricFamily("tidewatt_store_up", "Whether the store can be read", 1)
        yield from found

    def describe(self) -> list[Metric]:
        """Nothing ahead of time, so that starting needs no store."""
        return []


def _figures(session: Session, now: dt.datetime) -> Iterator[Metric]:
    yield from _of_sites(session, now)
    yield from _of_commands(session, now)
    yield from _of_plans(session, now)
    yield from _of_jobs(session, now)
    yield from _of_quotas(session, now)
    halts = session.scalar(select(func.count(HaltRow.id)).where(HaltRow.lifted_at.is_(None)))
    yield GaugeMetricFamily("tidewatt_halts", "Kill switches in force", halts or 0)
    events = session.execute(
        select(EventRow.kind, func.count(EventRow.id)).where(EventRow.at > now - HOUR).group_by(EventRow.kind)
    )
    yield _gauge("tidewatt_events_last_hour", "Events by kind", ("kind",), {(kind,): n for kind, n in events})


def _of_sites(session: Session, now: dt.datetime) -> Iterator[Metric]:
    by_state: Counter[tuple[str, ...]] = Counter()
    by_verdict: Counter[tuple[str, ...]] = Counter()
    oldest: dict[tuple[str, ...], float] = defaultdict(float)
    for status in overview.sites(session, now):
        by_state[status.vendor, status.site.safety.value, "yes" if status.armed else "no"] += 1
        if status.intent is not None:
            verdict = status.intent.verdict
            by_verdict[status.vendor, verdict.value if verdict else "none yet"] += 1
        age_s = status.age_s(now)
        oldest[(status.vendor,)] = max(oldest[(status.vendor,)], float("inf") if age_s is None else age_s)
    yield _gauge("tidewatt_sites", "Sites", ("vendor", "safety", "armed"), by_state)
    yield _gauge("tidewatt_intents", "Intents in force", ("vendor", "verdict"), by_verdict)
    text = "Age of the newest reading of the site that is known least, by the vendor's clock"
    yield _gauge("tidewatt_telemetry_age_seconds", text, ("vendor",), oldest)


def _of_commands(session: Session, now: dt.datetime) -> Iterator[Metric]:
    by_vendor = select(SiteRow.adapter).join(CommandRow, SiteRow.id == CommandRow.site_id).group_by(SiteRow.adapter)
    # Of a while, and no totals: the journal forgets, and a total that falls looks like a process that began anew.
    lately = (
        by_vendor.add_columns(CommandRow.state, func.count(CommandRow.id))
        .where(CommandRow.sent_at > now - HOUR)
        .group_by(CommandRow.state)
    )
    counts: Figures = {(vendor, state.value): number for vendor, state, number in session.execute(lately)}
    yield _gauge("tidewatt_commands_last_hour", "Calls in the journal", ("vendor", "state"), counts)
    open_ones = by_vendor.add_columns(func.count(CommandRow.id)).where(CommandRow.state.in_(UNRESOLVED))
    unresolved: Figures = {(vendor,): number for vendor, number in session.execute(open_ones)}
    yield _gauge("tidewatt_commands_unresolved", "Calls whose fate nobody knows", ("vendor",), unresolved)
    newest = by_vendor.add_columns(func.max(CommandRow.sent_at)).where(
        CommandRow.state == CommandState.ACCEPTED, CommandRow.sent_at > now - DAY
    )
    text = "When a vendor last took a call, if that was within a day"
    taken: Figures = {(vendor,): at.timestamp() for vendor, at in session.execute(newest)}
    yield _gauge("tidewatt_command_accepted_timestamp_seconds", text, ("vendor",), taken)


def _of_plans(session: Session, now: dt.datetime) -> Iterator[Metric]:
    made = session.execute(
        select(func.count(PlanRow.id), func.coalesce(func.sum(PlanRow.translation_loss_eur), 0.0)).where(
            PlanRow.made_at > now - HOUR
        )
    ).one()
    yield GaugeMetricFamily("tidewatt_plans_last_hour", "Plans that were made", made[0])
    text = "What the plans of the last hour lose in vendors' modes and calls"
    yield GaugeMetricFamily("tidewatt_translation_loss_eur_last_hour", text, made[1])


def _of_jobs(session: Session, now: dt.datetime) -> Iterator[Metric]:
    ages: dict[tuple[str, ...], float] = {}
    ticks: dict[tuple[str, ...], float] = {}
    for job, at in job_runs.last_finished(session).items():
        kind, _, of = job.partition("/")
        age_s = (now - at).total_seconds()
        if job.startswith(heartbeats.PREFIX):
            ticks[(of,)] = age_s
        else:
            ages[(kind,)] = min(ages.get((kind,), age_s), age_s)
    yield _gauge("tidewatt_queue_heartbeat_age_seconds", "Since a queue's worker last did a message", ("queue",), ticks)
    yield _gauge("tidewatt_job_age_seconds", "Since a job was last done, for any account", ("job",), ages)


def _of_quotas(session: Session, now: dt.datetime) -> Iterator[Metric]:
    calls = session.execute(
        select(AccountRow.adapter, QuotaCallRow.kind, func.count(QuotaCallRow.id))
        .join(AccountRow, AccountRow.id == QuotaCallRow.account_id)
        .where(QuotaCallRow.made_at > now - DAY)
        .group_by(AccountRow.adapter, QuotaCallRow.kind)
    )
    text = "Calls that count against a vendor's limit"
    yield _gauge("tidewatt_quota_calls_last_day", text, ("vendor", "kind"), {(v, kind): n for v, kind, n in calls})
    paused = session.execute(
        select(AccountRow.adapter, func.count(AccountRow.id.distinct()))
        .join(QuotaPauseRow, AccountRow.id == QuotaPauseRow.account_id)
        .where(QuotaPauseRow.until > now)
        .group_by(AccountRow.adapter)
    )
    yield _gauge(
        "tidewatt_accounts_paused", "Accounts that a vendor asked to wait", ("vendor",), {(v,): n for v, n in paused}
    )


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Figures) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
