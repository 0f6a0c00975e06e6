"""The journal held against itself and against what the vendors' side logged: was each call made once, and in time?"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from sqlalchemy import select
from sqlalchemy.orm import Session

from schedules.store import CommandRow, CommandState, SiteRow
from schedules.store.models import UNRESOLVED, CommandKind

# Two clocks of one machine, and the time that a call needs to be logged.
SLACK = dt.timedelta(seconds=1)
# A call without an answer may have arrived this long after it was sent.
LONGEST_CALL = dt.timedelta(seconds=60)


@dataclass(frozen=True)
class Receipt:
    """A call that changes something, as the vendor's side logged it."""

    device_id: str
    at: dt.datetime
    what: str


@dataclass
class Tally:
    """What came of the calls to one site."""

    site: str
    vendor: str
    sent: int = 0
    accepted: int = 0
    rejected: int = 0
    unresolved: int = 0
    """Calls whose fate is not known yet."""
    overlapping: int = 0
    """Calls that were made while another worker's call to the site was under way."""
    too_late: int = 0
    """Calls that drive, made or received after their intent was over."""
    received: int | None = None
    """By the vendor's log; None: there is none for this site, and what follows is not known."""
    doubled: int = 0
    """Calls that the vendor had more than once."""
    lost: int = 0
    """Calls in the journal as accepted that the vendor never had."""
    foreign: int = 0
    """Calls that the vendor had, and the journal does not know."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing went wrong."""
        return not (self.overlapping or self.too_late or self.doubled or self.lost or self.foreign)


def audit(session: Session, logs: Sequence[Sequence[Receipt]], since: dt.datetime | None = None) -> list[Tally]:
    """Hold the journal against itself and against logs.

    Args:
        session: The store.
        logs: What each vendor's side logged; a device's calls before the first of its log are left out.
        since: Leave out earlier calls; None: none.
    """
    begins: dict[str, dt.datetime] = {}
    received: dict[str, list[Receipt]] = {}
    for log in logs:
        for receipt in log:
            begins[receipt.device_id] = min(begins.get(receipt.device_id, receipt.at), receipt.at)
            if since is None or receipt.at >= since:
                received.setdefault(receipt.device_id, []).append(receipt)
    found = []
    for site in session.scalars(select(SiteRow).order_by(SiteRow.name)):
        query = select(CommandRow).where(CommandRow.site_id == site.id).order_by(CommandRow.id)
        rows = [row for row in session.scalars(query) if since is None or row.sent_at >= since]
        tally = _of_journal(site, rows)
        if site.device_id in begins:
            _compare(tally, rows, received.get(site.device_id, []), begins[site.device_id])
        found.append(tally)
    return found


def _of_journal(site: SiteRow, rows: Sequence[CommandRow]) -> Tally:
    states = Counter(row.state for row in rows)
    pairs = pairwise(rows)
    return Tally(
        site.name,
        site.adapter,
        sent=len(rows),
        accepted=states[CommandState.ACCEPTED],
        rejected=states[CommandState.REJECTED],
        unresolved=sum(states[state] for state in UNRESOLVED),
        overlapping=sum(
            one.worker != two.worker and two.sent_at < (one.answered_at or one.sent_at) for one, two in pairs
        ),
        too_late=sum(_is_late(row, row.sent_at) for row in rows if row.state is not CommandState.REJECTED),
    )


def _compare(tally: Tally, rows: Sequence[CommandRow], receipts: Sequence[Receipt], begins: dt.datetime) -> None:
    tally.received = len(receipts)
    seen: Counter[tuple[int, str]] = Counter()
    by_id = {row.id: row for row in rows}
    for receipt in receipts:
        row = _call_of(rows, receipt)
        if row is None:
            tally.foreign += 1
            continue
        seen[row.id, receipt.what] += 1
        tally.too_late += not _is_late(row, row.sent_at) and _is_late(row, receipt.at - SLACK)
    tally.doubled = sum(count - 1 for count in seen.values())
    arrived = {number for number, _ in seen}
    tally.lost = sum(
        row.state is CommandState.ACCEPTED and row.sent_at >= begins and number not in arrived
        for number, row in by_id.items()
    )


def _call_of(rows: Sequence[CommandRow], receipt: Receipt) -> CommandRow | None:
    """The newest call that was under way when the vendor logged it."""
    for row in reversed(rows):
        ends = row.answered_at or row.sent_at + LONGEST_CALL
        if row.sent_at - SLACK <= receipt.at <= ends + SLACK:
            return row
    return None


def _is_late(row: CommandRow, at: dt.datetime) -> bool:
    return row.kind is not CommandKind.RELEASE and row.not_after is not None and at >= row.not_after


def receipt_of(event: Mapping[str, object]) -> Receipt | None:
    """An emulator's log entry as a receipt; None: it is of something else."""
    what, device_id = event.get("event"), event.get("sn")
    if what not in RECEIVED or not isinstance(device_id, str):
        return None
    # One call of ours may be several of the vendor's, each another thing: a running task stopped, the next one started.
    details = (str(event[name]) for name in ("kind", "name", "switch") if name in event)
    kind = "sent" if what in LEASED else " ".join([str(what), *details])
    return Receipt(device_id, dt.datetime.fromisoformat(str(event["at"])), kind)


# What the emulators call it when they take a call: AlphaESS' dispatch, Huawei's tasks and settings, Xolta's commands.
LEASED = ("started", "renewed", "stopped")
RECEIVED = (*LEASED, "task", "setting", "command")
