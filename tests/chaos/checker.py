"""The judge: the journal, the vendors' own logs and the workers' traces held against each other.

It shares nothing with what it judges but the names of the journal's columns.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

from sqlalchemy import select

from schedules.store import CommandRow, Database, IntentRow, SiteRow

# Two processes' clocks of one machine, and the time to log a call.
SLACK = dt.timedelta(seconds=0.5)
# A call on its way when its time is over may arrive this much later: the vendors' latency, and a little.
ON_ITS_WAY = dt.timedelta(seconds=1.5)
# A call without an answer is looked for so long after it was written down.
LONGEST_CALL = dt.timedelta(seconds=60)
FAR = dt.datetime.max.replace(tzinfo=dt.UTC)
RECOVERED_WITHIN_S = 60.0
HALTED_WITHIN = dt.timedelta(seconds=5)
ARRIVALS = ("started", "renewed", "stopped", "task", "setting", "command")
POWER_TOLERANCE_KW = 0.05


@dataclass(frozen=True)
class Call:
    """A row of the journal."""

    id: int
    device: str
    kind: str
    state: str
    battery_kw: float
    sent_at: dt.datetime
    answered_at: dt.datetime | None = None
    resolved_at: dt.datetime | None = None
    not_after: dt.datetime | None = None
    epoch: int = 0
    intent: int | None = None
    outcome: str = ""

    @property
    def held_back(self) -> bool:
        """Whether it was stopped at the last line."""
        return self.state == "rejected" and self.outcome.startswith("not sent")

    @property
    def settled_at(self) -> dt.datetime:
        """When it was known what became of it."""
        settled = self.answered_at if self.state in ("accepted", "rejected") else self.resolved_at
        return settled or FAR


@dataclass(frozen=True)
class Arrival:
    """A call that changes something, as the vendor's side logged it."""

    device: str
    at: dt.datetime
    what: str
    battery_kw: float | None
    """What it asks for, + discharges; None: the log does not tell."""
    releases: bool | None
    """None: it may be part of a release."""


@dataclass
class Findings:
    """Violations, by invariant, in words."""

    violations: dict[str, list[str]] = field(default_factory=dict)
    calls: int = 0
    arrivals: int = 0
    recoveries_s: list[float] = field(default_factory=list)
    driven_again_s: list[float] = field(default_factory=list)
    runs: int = 0

    def note(self, invariant: str, found: Iterable[str]) -> None:
        self.violations.setdefault(invariant, []).extend(found)

    @property
    def is_clean(self) -> bool:
        return not any(self.violations.values())


def calls_of(db: Database) -> list[Call]:
    """The journal, in its order."""
    with db.session() as session:
        devices = {row.id: row.device_id for row in session.scalars(select(SiteRow))}
        return [
            Call(
                row.id,
                devices[row.site_id],
                row.kind.value,
                row.state.value,
                row.battery_kw,
                row.sent_at,
                row.answered_at,
                row.resolved_at,
                row.not_after,
                row.epoch or 0,
                row.intent_id,
                row.outcome,
            )
            for row in session.scalars(select(CommandRow).order_by(CommandRow.id))
        ]


def arrivals_of(log: Sequence[Mapping[str, Any]]) -> list[Arrival]:
    """What of a vendor's log changes something."""
    return [_arrival(event) for event in log if event["event"] in ARRIVALS]


def starts_of(db: Database, until: dt.datetime) -> dict[str, list[tuple[int, str, float]]]:
    """What each site was told to begin of what begins before a time: which of its intents, mode, power [kW]."""
    with db.session() as session:
        names = {row.id: row.name for row in session.scalars(select(SiteRow))}
        intents = {row.id: row for row in session.scalars(select(IntentRow).order_by(IntentRow.not_before))}
        place: dict[int, int] = {}
        counts: dict[int, int] = defaultdict(int)
        for row in intents.values():
            place[row.id] = counts[row.site_id]
            counts[row.site_id] += 1
        found: dict[str, list[tuple[int, str, float]]] = {name: [] for name in names.values()}
        for call in session.scalars(select(CommandRow).order_by(CommandRow.id)):
            if call.kind.value != "start" or call.state.value != "accepted" or call.intent_id is None:
                continue
            intent = intents[call.intent_id]
            start = (place[intent.id], intent.mode, intent.power_kw)
            if intent.not_before < until and start not in found[names[call.site_id]]:
                found[names[call.site_id]].append(start)
    return found


def check_calls(calls: Sequence[Call], arrivals: Sequence[Arrival], findings: Findings) -> dict[int, list[Arrival]]:
    """Hold the journal against the wire; which arrivals belong to which row."""
    findings.calls += len(calls)
    findings.arrivals += len(arrivals)
    matched, doubled, foreign = match(calls, arrivals)
    late = [
        f"{arrival.what} at {arrival.device} {(arrival.at - call.not_after).total_seconds():.1f} s late (row {call.id})"
        for call in calls
        for arrival in matched.get(call.id, ())
        if call.kind != "release" and call.not_after is not None and arrival.at > call.not_after + ON_ITS_WAY
    ]
    lost = [f"row {call.id} of {call.device}" for call in calls if call.state == "accepted" and call.id not in matched]
    findings.note("doubled on the wire", (str(each) for each in doubled))
    findings.note("unknown to the journal", (str(each) for each in foreign))
    findings.note("accepted, unknown to the vendor", lost)
    findings.note("arrived after its time", late)
    by_device: dict[str, list[Call]] = defaultdict(list)
    for call in calls:
        if not call.held_back:
            by_device[call.device].append(call)
    for rows in by_device.values():
        findings.note("epochs overlap in flight", overlaps(rows, matched))
        findings.note("sent past an unresolved one", past_unresolved(rows))
    return matched


def match(
    calls: Sequence[Call], arrivals: Sequence[Arrival]
) -> tuple[dict[int, list[Arrival]], list[Arrival], list[Arrival]]:
    """Which row each arrival belongs to: the newest that was under way, asks for the same, and has not arrived yet."""
    matched: dict[int, list[Arrival]] = defaultdict(list)
    doubled, foreign = [], []
    for arrival in sorted(arrivals, key=lambda each: each.at):
        fitting = [
            call
            for call in calls
            if call.device == arrival.device
            and not call.held_back
            and call.sent_at - SLACK <= arrival.at <= (call.answered_at or call.sent_at + LONGEST_CALL) + SLACK
            and _fits(call, arrival)
        ]
        free = [call for call in fitting if all(each.what != arrival.what for each in matched.get(call.id, ()))]
        if free:
            matched[free[-1].id].append(arrival)
        elif fitting:
            doubled.append(arrival)
        else:
            foreign.append(arrival)
    return dict(matched), doubled, foreign


def overlaps(rows: Sequence[Call], matched: Mapping[int, list[Arrival]]) -> list[str]:
    """Calls to one site, of different epochs, that were under way at the same time."""
    spans = []
    for row in rows:
        arrived = [each.at for each in matched.get(row.id, ())]
        spans.append((row, row.sent_at, max([row.answered_at or row.sent_at, *arrived])))
    return [
        f"rows {one.id} (epoch {one.epoch}) and {two.id} (epoch {two.epoch}) of {one.device}"
        for (one, begin, end), (two, other_begin, other_end) in combinations(spans, 2)
        if one.epoch != two.epoch and begin < other_end and other_begin < end
    ]


def past_unresolved(rows: Sequence[Call]) -> list[str]:
    """Calls to one site, other than releases, that went out while nobody knew what became of an older one."""
    return [
        f"row {newer.id} ({newer.kind}) past row {older.id} ({older.state}) of {newer.device}"
        for older, newer in combinations(rows, 2)
        # A limit of export is absolute and beside the battery: it waits for nothing, and nothing for it.
        if newer.kind != "release"
        and "limit" not in (older.kind, newer.kind)
        and older.sent_at <= newer.sent_at < older.settled_at
    ]


def check_runs(traces: Sequence[Mapping[str, Any]], findings: Findings) -> None:
    """Each slot of a job came to one end; who was taken for dead wrote nothing more about it."""
    slots: dict[tuple[str, str], list[Mapping[str, Any]]] = defaultdict(list)
    for trace in sorted(traces, key=lambda each: each["at"]):
        slots[trace["job"], trace["slot"]].append(trace)
    findings.runs += len(slots)
    for (job, slot), lines in slots.items():
        ended = [line for line in lines if line["what"] == "ended"]
        begun = [line["pid"] for line in lines if line["what"] == "began"]
        if len(ended) > 1:
            findings.note("slot run more than once", [f"{job} {slot}: {len(ended)} times"])
        elif ended and begun and ended[0]["pid"] != begun[-1]:
            findings.note("slot run more than once", [f"{job} {slot}: ended by a process that had lost it"])
    findings.violations.setdefault("slot run more than once", [])


def check_recovery(
    disturbances: Sequence[tuple[str, float]], traces: Sequence[Mapping[str, Any]], accounts: int, findings: Findings
) -> None:
    """After each disturbance every account is reconciled within `RECOVERED_WITHIN_S`.

    How long it took until a worker had each account to itself, the leases of dead ones included, is measured beside it.
    """
    late = []
    for kind, at in disturbances:
        recovered, driven = {}, []
        for number in range(1, accounts + 1):
            ended = [
                trace
                for trace in traces
                if trace["what"] == "ended" and trace["at"] >= at and not trace["came"].startswith("failed")
            ]
            reconciled = [trace["at"] for trace in ended if trace["job"] == f"reconcile/{number}"]
            jobs = (f"reconcile/{number}", f"dispatch/{number}")
            had = [trace["at"] for trace in ended if trace["job"] in jobs and "another worker" not in trace["came"]]
            recovered[f"reconcile/{number}"] = min(reconciled, default=float("inf")) - at
            driven.append(min(had, default=float("inf")) - at)
        findings.recoveries_s.append(max(recovered.values()))
        findings.driven_again_s.append(max(driven))
        late += [
            f"{kind}: {job} after {seconds:.1f} s" for job, seconds in recovered.items() if seconds > RECOVERED_WITHIN_S
        ]
    findings.note(f"recovery over {RECOVERED_WITHIN_S:g} s", late)


def check_halt(
    pulled_at: dt.datetime,
    ended_at: dt.datetime,
    matched: Mapping[int, list[Arrival]],
    calls: Sequence[Call],
    findings: Findings,
) -> None:
    """From some seconds after the kill switch on, nothing but releases arrives."""
    found = [
        f"{arrival.what} at {arrival.device} {(arrival.at - pulled_at).total_seconds():.1f} s after"
        for call in calls
        for arrival in matched.get(call.id, ())
        if call.kind != "release" and pulled_at + HALTED_WITHIN < arrival.at <= ended_at
    ]
    findings.note("not a release after the kill switch", found)


def _arrival(event: Mapping[str, Any]) -> Arrival:
    what, at = event["event"], dt.datetime.fromisoformat(event["at"])
    power_kw: float | None = None
    releases: bool | None = False
    if what in ("started", "renewed"):
        what, power_kw = "dispatch", event["power_kw"]
    elif what == "stopped":
        power_kw, releases = 0.0, True
    elif what == "task":
        switch = event["switch"]
        what = f"task {switch}"
        # A stop goes before another task, too; a charge is positive there.
        power_kw, releases = (None, None) if switch == 0 else (-(event["power_w"] or 0) / 1000, False)
    elif what == "setting":
        power_kw, releases = 0.0, None
    elif event["name"] == "GoToMode_SelfConsumption":
        power_kw, releases = 0.0, True
    else:
        power_kw = event["payload"]["setPoint"]["1"]["batteryActivePower"]
    return Arrival(event["sn"], at, what, power_kw, releases)


def _fits(call: Call, arrival: Arrival) -> bool:
    if arrival.releases is not None and arrival.releases != (call.kind == "release"):
        return False
    return arrival.battery_kw is None or abs(arrival.battery_kw - call.battery_kw) <= POWER_TOLERANCE_KW
