"""The signs: what the store knows that speaks against trusting a site."""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from sqlalchemy import bindparam, func, select

from adapters.contract import Clock
from engine.intent import IntentMode
from schedules import journal, plausibility, telemetry
from schedules.plausibility import Finding
from schedules.sites import WatchedSite
from schedules.store import SITE_IDS, CommandRow, Database, EventRow, IntentRow, SiteRow, TelemetryRow, Verdict
from schedules.store.models import UNRESOLVED

EXTERNAL_EVENT = "site.changed_by_others"
# A device that did not obey is tried again after this [s].
INEFFECTIVE_REST_S = 3600.0
# So many verdicts in a row are looked at; no stretches so long that they began earlier follow each other.
VERDICTS, VERDICTS_WITHIN = 6, dt.timedelta(days=2)
# No local day is longer.
LONGEST_DAY = dt.timedelta(hours=25)


@dataclass(frozen=True)
class Signs:
    """What speaks against trusting a site now."""

    state_age_s: float | None
    """Age of the newest state of charge by the vendor's own time [s]; None: there is none."""
    state_cadence_s: float
    """How often the vendor has a new one [s]."""
    findings: tuple[Finding, ...] = ()
    """What in its telemetry cannot be true."""
    ineffective: int = 0
    """Stretches in a row, the latest lately, in which the device did not obey."""
    opposite: bool = False
    """Whether the device did the very opposite of what it was told."""
    unknown_s: float = 0.0
    """For how long the fate of a command has been unknown [s]."""
    external: int = 0
    """Changes by others on this local day."""


_STANDING = select(
    SiteRow.id,
    SiteRow.safety_cleared_at,
    select(TelemetryRow.measured_at)
    .where(TelemetryRow.site_id == SiteRow.id, TelemetryRow.soc.is_not(None))
    .order_by(TelemetryRow.measured_at.desc())
    .limit(1)
    .correlate(SiteRow)
    .scalar_subquery(),
    select(func.min(CommandRow.sent_at))
    .where(CommandRow.site_id == SiteRow.id, CommandRow.state.in_(UNRESOLVED), journal.OF_BATTERY)
    .correlate(SiteRow)
    .scalar_subquery(),
).where(SiteRow.id.in_(SITE_IDS))
_ORDERED = (
    select(
        IntentRow.site_id,
        IntentRow.not_before,
        IntentRow.not_after,
        IntentRow.verdict,
        func.row_number()
        .over(partition_by=IntentRow.site_id, order_by=(IntentRow.not_before.desc(), IntentRow.id.desc()))
        .label("place"),
    )
    .where(
        IntentRow.site_id.in_(SITE_IDS),
        IntentRow.superseded.is_(False),
        IntentRow.not_before >= bindparam("since"),
        IntentRow.mode != IntentMode.SELF_CONSUMPTION.value,
        IntentRow.verdict.is_not(None),
        IntentRow.verdict != Verdict.UNKNOWN,
    )
    .subquery()
)
_JUDGED = (
    select(_ORDERED.c.site_id, _ORDERED.c.not_before, _ORDERED.c.not_after, _ORDERED.c.verdict)
    .where(_ORDERED.c.place <= VERDICTS)
    .order_by(_ORDERED.c.site_id, _ORDERED.c.place)
)
_EXTERNAL = select(EventRow.site_id, EventRow.at).where(
    EventRow.site_id.in_(SITE_IDS), EventRow.kind == EXTERNAL_EVENT, EventRow.at >= bindparam("since")
)


def signs_of(db: Database, clock: Clock, targets: Sequence[WatchedSite]) -> dict[int, Signs]:
    """Gather what the store knows against each of some sites; what a person has cleared counts no more."""
    now, ids = clock(), [target.id for target in targets]
    judged, external = defaultdict(list), defaultdict(list)
    with db.session() as session:
        standing = {row[0]: row[1:] for row in session.execute(_STANDING, {"site_ids": ids})}
        for site_id, *verdict in session.execute(_JUDGED, {"site_ids": ids, "since": now - VERDICTS_WITHIN}):
            judged[site_id].append(verdict)
        for site_id, at in session.execute(_EXTERNAL, {"site_ids": ids, "since": now - LONGEST_DAY}):
            external[site_id].append(at)
    signs = {}
    for target in targets:
        cleared, seen_at, unknown_since = standing[target.id]
        since = cleared or dt.datetime.min.replace(tzinfo=dt.UTC)
        verdicts = [(verdict, until) for begin, until, verdict in judged[target.id] if begin >= since]
        today = max(since, local_midnight(now, target.site.timezone))
        begin = max(since, now - dt.timedelta(seconds=plausibility.WINDOW_S))
        signs[target.id] = Signs(
            # A clock that was set back makes no reading young.
            state_age_s=None if seen_at is None else abs((now - seen_at).total_seconds()),
            state_cadence_s=target.adapter.abilities.state_cadence_s,
            findings=tuple(
                plausibility.findings(
                    telemetry.between(db, target.id, begin, now + telemetry.FUTURE_MARGIN),
                    target.site.battery,
                    target.adapter.abilities.soc_resolution,
                )
            ),
            ineffective=_ineffective(verdicts, now),
            opposite=bool(verdicts) and verdicts[0][0] is Verdict.OPPOSITE,
            unknown_s=0.0 if unknown_since is None else (now - unknown_since).total_seconds(),
            external=sum(at >= today for at in external[target.id]),
        )
    return signs


def local_midnight(now: dt.datetime, timezone: str) -> dt.datetime:
    """When the local day of a time began."""
    zone = ZoneInfo(timezone)
    return dt.datetime.combine(now.astimezone(zone).date(), dt.time(), zone)


def _ineffective(judged: list[tuple[Verdict | None, dt.datetime]], now: dt.datetime) -> int:
    """How many of the latest verdicts in a row say that nothing happened; none once the device has rested."""
    if not judged or judged[0][1] < now - dt.timedelta(seconds=INEFFECTIVE_REST_S):
        return 0
    obeyed = (number for number, (verdict, _) in enumerate(judged) if verdict is not Verdict.NOT_EFFECTIVE)
    return next(obeyed, len(judged))
