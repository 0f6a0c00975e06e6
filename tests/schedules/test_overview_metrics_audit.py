"""What people and alarms see of the store."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import delete

from engine.intent import Intent, IntentMode
from schedules import audit, halts, heartbeats, overrides, overview
from schedules.audit import Receipt
from schedules.clock import SimulatedClock
from schedules.metrics import StoreCollector
from schedules.sites import register_site
from schedules.store import CommandRow, CommandState, Database, HaltScope, IntentRow, SafetyState, SiteRow, TelemetryRow
from schedules.store.models import CommandKind
from tests.schedules.fake_battery import SITE
from tests.schedules.plans import put_plan

NOW = dt.datetime(2026, 2, 3, 10, 0, tzinfo=dt.UTC)
DEVICE = "AL0000000000001"


def seconds(number: float) -> dt.timedelta:
    return dt.timedelta(seconds=number)


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    db = Database.at(tmp_path / "store.sqlite")
    yield db
    db.close()


@pytest.fixture
def site_id(db: Database) -> int:
    return register_site(db, SITE, None, "alphaess", DEVICE).id  # type: ignore[arg-type]


def add_command(db: Database, site_id: int, sent_at: dt.datetime, **more: object) -> None:
    values = {
        "kind": CommandKind.START,
        "battery_kw": 1.0,
        "payload": {},
        "state": CommandState.ACCEPTED,
        "answered_at": sent_at + seconds(0.3),
        "not_after": NOW + seconds(900),
        "worker": "one",
        **more,
    }
    with db.write() as session:
        session.add(CommandRow(site_id=site_id, sent_at=sent_at, **values))


def figures(db: Database) -> dict[str, float]:
    registry = CollectorRegistry()
    registry.register(StoreCollector(db, SimulatedClock(NOW)))
    lines = generate_latest(registry).decode().splitlines()
    return {line.rsplit(" ", 1)[0]: float(line.rsplit(" ", 1)[1]) for line in lines if not line.startswith("#")}


def test_a_site_at_a_glance(db: Database, site_id: int) -> None:
    with db.write() as session:
        session.add_all(
            [
                IntentRow(site_id=site_id, mode="charge", power_kw=2.0, not_before=NOW, not_after=NOW + seconds(900)),
                IntentRow(site_id=site_id, mode="hold", power_kw=0.0, not_before=NOW - seconds(900), not_after=NOW),
                TelemetryRow(
                    site_id=site_id, channel="state", measured_at=NOW - seconds(120), received_at=NOW, soc=0.4
                ),
                TelemetryRow(site_id=site_id, channel="power", measured_at=NOW - seconds(20), received_at=NOW),
            ]
        )
    add_command(db, site_id, NOW - seconds(5))
    add_command(db, site_id, NOW - seconds(1), state=CommandState.UNKNOWN)
    with db.session() as session:
        (status,) = overview.sites(session, NOW)
    assert status.intent is not None
    assert status.intent.mode == "charge"
    assert status.command is not None
    assert status.command.state is CommandState.UNKNOWN
    assert status.state is not None
    assert status.state.soc == 0.4
    assert status.age_s(NOW) == 20
    assert not status.armed


def test_what_is_wanted_is_a_persons_wish_though_a_plan_was_made_after_it(db: Database, site_id: int) -> None:
    clock = SimulatedClock(NOW - seconds(60))
    discharge = Intent(IntentMode.DISCHARGE, 1.0, NOW, NOW + seconds(900))
    made = overrides.set_override(db, clock, SITE.name, discharge, "me", "test")
    put_plan(db, site_id, [Intent(IntentMode.CHARGE, 2.0, NOW, NOW + seconds(1800))])
    with db.session() as session:
        (status,) = overview.sites(session, NOW)
    assert status.intent is not None
    assert (status.intent.mode, status.intent.override_id) == ("discharge", made.id)


def test_a_journal_that_forgets_is_no_burst_of_calls(db: Database, site_id: int) -> None:
    add_command(db, site_id, NOW - seconds(7200), state=CommandState.REJECTED)
    add_command(db, site_id, NOW - seconds(60), state=CommandState.REJECTED)
    before = figures(db)
    with db.write() as session:
        session.execute(delete(CommandRow).where(CommandRow.sent_at < NOW - seconds(3600)))
    assert figures(db) == before
    assert before['tidewatt_commands_last_hour{state="rejected",vendor="alphaess"}'] == 1


def test_figures_tell_of_sites_calls_queues_and_halts(db: Database, site_id: int) -> None:
    clock = SimulatedClock(NOW - seconds(40))
    heartbeats.beat(db, clock, "plan", "m", "one")
    halts.pull(db, clock, HaltScope.GLOBAL, "", "drill", "me")
    halts.arm(db, clock, "alphaess", "me")
    add_command(db, site_id, NOW - seconds(5))
    add_command(db, site_id, NOW - seconds(1), state=CommandState.SENDING)
    with db.write() as session:
        session.get_one(SiteRow, site_id).safety = SafetyState.QUARANTINED
    found = figures(db)
    assert found['tidewatt_sites{armed="yes",safety="quarantined",vendor="alphaess"}'] == 1
    assert found['tidewatt_commands_last_hour{state="accepted",vendor="alphaess"}'] == 1
    assert found['tidewatt_commands_unresolved{vendor="alphaess"}'] == 1
    assert found['tidewatt_queue_heartbeat_age_seconds{queue="plan"}'] == 40
    assert found['tidewatt_telemetry_age_seconds{vendor="alphaess"}'] == float("inf")
    assert found["tidewatt_halts"] == 1
    assert found["tidewatt_store_up"] == 1
    assert not any(SITE.name in name for name in found), "names of sites are addresses"


def test_a_store_that_cannot_be_read_is_a_figure_too(db: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> None:
        raise OSError

    monkeypatch.setattr(db, "session", away)
    assert figures(db) == {"tidewatt_store_up": 0}


def tally(db: Database, *receipts: Receipt) -> audit.Tally:
    with db.session() as session:
        (found,) = audit.audit(session, [receipts] if receipts else [])
    return found


def test_a_journal_that_agrees_with_the_vendors_log_is_clean(db: Database, site_id: int) -> None:
    add_command(db, site_id, NOW)
    add_command(db, site_id, NOW + seconds(45), kind=CommandKind.RENEW)
    add_command(db, site_id, NOW + seconds(90), state=CommandState.UNKNOWN, answered_at=None)
    found = tally(db, *(Receipt(DEVICE, NOW + seconds(at), "sent") for at in (0.2, 45.1, 90.4)))
    assert (found.sent, found.accepted, found.unresolved, found.received) == (3, 2, 1, 3)
    assert found.is_clean


def test_without_a_log_the_journal_speaks_alone(db: Database, site_id: int) -> None:
    add_command(db, site_id, NOW)
    found = tally(db)
    assert found.received is None
    assert found.is_clean


@pytest.mark.parametrize(
    ("fault", "receipts"),
    [("doubled", (0.1, 0.2, 45.1)), ("lost", (0.1,)), ("foreign", (0.1, 20.0, 45.1)), ("too_late", (0.1, 45.1, 899.0))],
)
def test_what_does_not_agree_is_told(db: Database, site_id: int, fault: str, receipts: tuple[float, ...]) -> None:
    add_command(db, site_id, NOW)
    add_command(db, site_id, NOW + seconds(45))
    if fault == "too_late":
        sent_at = NOW + seconds(898.9)
        add_command(db, site_id, sent_at, not_after=NOW + seconds(897), answered_at=sent_at + seconds(1))
    found = tally(db, *(Receipt(DEVICE, NOW + seconds(at), "sent") for at in receipts))
    assert getattr(found, fault) == 1
    assert not found.is_clean


def test_calls_of_two_workers_at_once_are_told(db: Database, site_id: int) -> None:
    add_command(db, site_id, NOW, answered_at=NOW + seconds(5))
    add_command(db, site_id, NOW + seconds(2), worker="two")
    assert tally(db).overlapping == 1


def test_what_a_vendor_logs_of_one_call_is_told_apart(db: Database, site_id: int) -> None:
    """A call that replaces a running task stops that first; the same thing twice is doubled all the same."""
    add_command(db, site_id, NOW)
    stop, start = (
        audit.receipt_of({"event": "task", "sn": DEVICE, "switch": switch, "at": (NOW + seconds(0.1)).isoformat()})
        for switch in (0, 1)
    )
    assert stop is not None
    assert start is not None
    assert tally(db, stop, start).is_clean
    assert tally(db, stop, start, start).doubled == 1
