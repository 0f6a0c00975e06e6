"""Old readings and renewals go, in bounded batches; what is unresolved, in force or yet to be settled stays."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import event, select

from schedules.retention import Forgotten, forget
from schedules.store import CommandRow, PlanRow, SiteRow, TelemetryRow
from schedules.store.models import CommandKind, CommandState

NOW = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
KEEP = dt.timedelta(days=30)
RENEW, START, RELEASE = CommandKind.RENEW, CommandKind.START, CommandKind.RELEASE


def ago(days: float) -> dt.datetime:
    return NOW - dt.timedelta(days=days)


@pytest.fixture(autouse=True)
def _sites(store):
    with store.session() as session, session.begin():
        session.add_all(SiteRow(name=name, assets={}, adapter="alphaess", device_id=name) for name in ("home", "barn"))


def add(store, *rows):
    with store.session() as session, session.begin():
        for row in rows:  # in this order
            session.add(row)
            session.flush()


def reading(days, site_id=1, channel="power"):
    return TelemetryRow(site_id=site_id, channel=channel, measured_at=ago(days), received_at=ago(days))


def command(kind, days, state=CommandState.ACCEPTED, site_id=1):
    kw = 0.0 if kind is RELEASE else 2.0
    return CommandRow(site_id=site_id, kind=kind, battery_kw=kw, payload={}, state=state, sent_at=ago(days))


def left(store, time):
    with store.session() as session:
        return sorted(((NOW - moment) / dt.timedelta(days=1) for moment in session.scalars(select(time))), reverse=True)


def test_readings_older_than_that_go(store):
    add(store, reading(40), reading(31), reading(31, channel="state"), reading(30), reading(0), reading(31, site_id=2))
    assert forget(store, NOW, KEEP, NOW) == Forgotten(4, 0)
    assert left(store, TelemetryRow.measured_at) == [30, 0]


def test_what_an_open_period_needs_stays(store):
    add(store, reading(50), reading(40), command(RENEW, 40), command(RENEW, 50), command(RELEASE, 1))
    assert forget(store, NOW, KEEP, ago(45)) == Forgotten(1, 1)
    assert left(store, TelemetryRow.measured_at) == [40]
    assert left(store, CommandRow.sent_at) == [40, 1]


def test_what_a_plan_needs_that_is_not_over_stays(store):
    plan = {"site_id": 1, "made_at": ago(60), "initial_soc": 0.5, "cost_eur": 0.0, "cost_without_battery_eur": 0.0,
            "solver": "lp", "intervals": [], "why": "test"}  # fmt: skip
    add(
        store,
        PlanRow(begins_at=ago(60), ends_at=ago(50), **plan),
        PlanRow(begins_at=ago(40), ends_at=ago(-1), **plan),
        reading(45),
        reading(35),
    )
    forget(store, NOW, KEEP, NOW)
    assert left(store, TelemetryRow.measured_at) == [35]


def test_only_renewals_go_and_no_other_command(store):
    add(store, command(START, 50), command(RENEW, 49), command(RELEASE, 48), command(RENEW, 5), command(RELEASE, 4))
    assert forget(store, NOW, KEEP, NOW) == Forgotten(0, 1)
    assert left(store, CommandRow.sent_at) == [50, 48, 5, 4]


@pytest.mark.parametrize("state", [CommandState.SENDING, CommandState.UNKNOWN])
def test_an_unresolved_renewal_stays_however_old(store, state):
    add(store, command(RENEW, 50, state), command(RENEW, 49), command(RELEASE, 48))
    assert forget(store, NOW, KEEP, NOW) == Forgotten(0, 1)
    assert left(store, CommandRow.sent_at) == [50, 48]


@pytest.mark.parametrize("state", [CommandState.REJECTED, CommandState.UNKNOWN, CommandState.SENDING])
def test_a_renewal_stays_until_the_site_was_let_go_of_after_it(store, state):
    add(store, command(RELEASE, 60), command(RENEW, 50), command(RELEASE, 40, state), command(RELEASE, 1, site_id=2))
    assert forget(store, NOW, KEEP, NOW) == Forgotten(0, 0)


def test_it_goes_in_bounded_batches(store):
    add(store, *(reading(40 + number / 100) for number in range(25)))
    sizes = []

    def note(_, cursor, statement, *__):
        if statement.startswith("DELETE"):
            sizes.append(cursor.rowcount)

    event.listen(store.engine, "after_cursor_execute", note)
    assert forget(store, NOW, KEEP, NOW, batch_rows=10) == Forgotten(25, 0)
    assert max(sizes) == 10


def test_less_than_a_day_is_never_kept(store):
    with pytest.raises(ValueError, match="keep: 23:00:00 is shorter than 1 day"):
        forget(store, NOW, dt.timedelta(hours=23), NOW)
