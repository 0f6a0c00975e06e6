"""What is old goes, in bounded batches; what is unresolved, in force or yet to be settled stays."""

from __future__ import annotations

import datetime as dt

import pytest
from sqlalchemy import event, select

from schedules import journal, work
from schedules.beat import JOBS
from schedules.retention import Forgotten, forget, forget_journal, forget_plans
from schedules.store import (
    CommandRow,
    EventRow,
    HaltRow,
    HaltScope,
    IntentRow,
    JobRunRow,
    OverrideRow,
    PlanRow,
    SeriesRow,
    SiteRow,
    TelemetryRow,
)
from schedules.store.models import CommandKind, CommandState
from tests.schedules.plans import plan_by_hand

NOW = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
KEEP = dt.timedelta(days=30)
RENEW, START, RELEASE, LIMIT = CommandKind.RENEW, CommandKind.START, CommandKind.RELEASE, CommandKind.LIMIT


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


def command(kind, days, state=CommandState.ACCEPTED, site_id=1, intent_id=None):
    kw = 0.0 if kind in (RELEASE, LIMIT) else 2.0
    return CommandRow(
        site_id=site_id, kind=kind, battery_kw=kw, payload={}, state=state, sent_at=ago(days), intent_id=intent_id
    )


def plan(days, lasts=1.0):
    return plan_by_hand(1, ago(days), ago(days), ago(days - lasts))


def intent(days, plan_id=None, override_id=None):
    return IntentRow(
        site_id=1, plan_id=plan_id, override_id=override_id, mode="charge", power_kw=2.0, not_before=ago(days),
        not_after=ago(days - 0.1),
    )  # fmt: skip


def override(days):
    return OverrideRow(site_id=1, reason="test", by="me", made_at=ago(days))


def series(days, name="load_kw", site_id=None):
    return SeriesRow(site_id=site_id, name=name, begins_at=ago(days), step_s=900, numbers={}, known_at=ago(days))


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


def test_plans_that_ended_longer_ago_go_and_what_the_journal_needs_of_them_stays(store):
    add(store, plan(40), plan(30.5), plan(60, lasts=100), intent(40, 1), intent(39.9, 1), intent(30.5, 2))
    add(store, command(START, 40, intent_id=2))
    assert forget_plans(store, NOW, KEEP) == 1
    assert left(store, PlanRow.begins_at) == [60, 30.5]
    with store.session() as session:
        kept = session.execute(select(IntentRow.id, IntentRow.plan_id).order_by(IntentRow.id)).all()
        assert session.scalars(select(CommandRow.intent_id)).one() == 2
    assert kept == [(2, None), (3, 2)]


def test_many_plans_go_in_bounded_batches(store):
    add(store, *(plan(40 + number) for number in range(5)))
    assert forget_plans(store, NOW, KEEP, batch_plans=2) == 5


def test_series_go_once_a_newer_one_has_replaced_them(store):
    """Of each site's own and of everybody's the newest stays however old: it is what plans are made from."""
    add(store, series(60), series(50), series(45, site_id=1), series(44, site_id=2), series(50, "pv_kw"), series(5))
    forget_plans(store, NOW, KEEP)
    assert left(store, SeriesRow.known_at) == [50, 45, 44, 5]


def test_the_record_goes_at_last_and_where_a_device_stands_stays(store):
    add(store, override(60), override(50), override(5))
    add(store, intent(60, override_id=1), intent(50, override_id=2), intent(5, override_id=3), intent(49))
    add(
        store,
        command(START, 60, intent_id=1),
        command(LIMIT, 59),
        command(LIMIT, 58),
        command(START, 50, CommandState.UNKNOWN, intent_id=2),
        command(RELEASE, 48),
        command(START, 47),
    )
    with store.session() as session:
        before = journal.standings(session, [1], NOW)[1]
    add(store, *(HaltRow(scope=HaltScope.GLOBAL, reason="r", by="me", since=ago(70), lifted_at=at) for at in
        (ago(60), ago(5), None)))  # fmt: skip
    add(store, *(EventRow(at=ago(days), kind="k", by="me", text="t") for days in (60, 5)))
    assert forget_journal(store, NOW, KEEP) == 2
    assert left(store, CommandRow.sent_at) == [58, 50, 48, 47]
    assert left(store, IntentRow.not_before) == [50, 5]
    assert left(store, OverrideRow.made_at) == [50, 5]
    assert left(store, EventRow.at) == [5]
    with store.session() as session:
        assert session.scalars(select(HaltRow.id).order_by(HaltRow.id)).all() == [2, 3]
        assert journal.standings(session, [1], NOW)[1].newest.id == before.newest.id


def test_the_record_is_kept_for_a_month_at_least(store):
    with pytest.raises(ValueError, match="keep: 29 days, 0:00:00 is shorter than 30 days"):
        forget_journal(store, NOW, dt.timedelta(days=29))


def test_the_job_forgets_each_kind_after_its_own_while(store, monkeypatch):
    monkeypatch.setenv("TIDEWATT_KEEP_DAYS", "10")
    monkeypatch.setenv("TIDEWATT_KEEP_PLANS_DAYS", "20")
    monkeypatch.setenv("TIDEWATT_KEEP_JOURNAL_DAYS", "36500")
    monkeypatch.setattr(work, "CLOCK", lambda: NOW)
    monkeypatch.setattr(work, "database", lambda: store)
    add(
        store,
        reading(11),
        reading(9),
        plan(22),
        plan(20.5),
        command(RENEW, 11),
        command(START, 90),
        command(RELEASE, 1),
    )
    work.run(JOBS["retention"], "m")
    assert left(store, TelemetryRow.measured_at) == [9]
    assert left(store, PlanRow.begins_at) == [20.5]
    assert left(store, CommandRow.sent_at) == [90, 1]
    with store.session() as session:
        assert session.scalars(select(JobRunRow.outcome)).one() == "1 readings, 1 renewals, 1 plans, 0 calls"
