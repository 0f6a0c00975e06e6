"""The runner of an account: each thing when it is due, none of it remembered, one failure no other's."""

from __future__ import annotations

import asyncio

import pytest
from sqlalchemy import select

from adapters.contract import QuotaExceededError
from engine.errors import SolveError
from schedules import account_runner, inputs, jobs
from schedules.account_runner import AccountRunner
from schedules.dispatch import Outcome
from schedules.plans import newest_plan
from schedules.replanning import FAILED_EVENT
from schedules.sites import register_site, register_watched
from schedules.store import EventRow, ReadRow, SafetyState, SiteRow, TelemetryRow
from tests.schedules.frames import POWERS, PRICES, hours


@pytest.fixture
def street(bench):
    """A bench whose prices make charging now and discharging later worth it, and no telemetry of its own."""
    bench.is_watched = False
    frame = hours("2024-04-10T10:00", 12, **PRICES, **POWERS)
    frame.iloc[:2, 0], frame.iloc[2:, 0] = 0.02, 0.6
    inputs.publish(bench.db, bench.clock, frame)
    return bench


def tick(bench):
    return asyncio.run(AccountRunner(bench.db, bench.clock, [bench.target]).tick())


def reads(bench) -> int:
    return bench.vendor.calls.count("read")


def test_the_first_tick_reads_plans_and_sends(street):
    report = tick(street)
    assert (report.read, report.planned, report.failures) == (2, 1, [])
    assert report.outcomes == {street.target.id: Outcome.SENT}
    assert street.vendor.wire[0].command.battery_kw < 0


def test_what_is_not_due_is_not_done_again_by_anybody(street):
    tick(street)
    for _ in range(3):
        street.move(15)
        assert tick(street).read == 0
    street.move(15)
    assert tick(street).read == 1, "the state comes each five minutes only"
    assert reads(street) == 3


def test_a_read_that_fails_is_told_not_repeated_at_once_and_stops_no_renewal(street):
    tick(street)
    street.vendor.telemetry_fails = True
    street.move(60)
    report = tick(street)
    assert report.failures == ["scripted: no telemetry"]
    assert report.outcomes == {street.target.id: Outcome.SENT}
    street.move(15)
    assert tick(street).read == 0
    with street.db.session() as session:
        assert "scripted: no telemetry" in {row.error for row in session.scalars(select(ReadRow))}


def test_a_read_that_the_vendors_limit_forbids_stays_due_until_it_allows(street, monkeypatch):
    async def refused(*_: object) -> None:
        raise QuotaExceededError("read", street.at(20))

    with monkeypatch.context() as limited:
        limited.setattr(street.vendor, "read", refused)
        assert tick(street).read == 2
        with street.db.session() as session:
            assert session.scalars(select(ReadRow)).all() == []
    street.move(20)
    report = tick(street)
    assert (report.read, report.failures) == (2, [])


def test_news_of_prices_makes_a_new_plan(street):
    tick(street)
    street.move(60)
    assert tick(street).planned == 0
    inputs.publish(street.db, street.clock, hours("2024-04-10T10:00", 12, import_price_eur_per_kwh=0.01))
    street.move(15)
    assert tick(street).planned == 1
    assert newest_plan(street.db, street.target.id).why == "news of prices or forecasts"


def test_without_a_state_of_charge_nothing_is_planned_and_nothing_sent(street):
    street.vendor.telemetry_is_empty = True
    report = tick(street)
    assert (report.planned, street.vendor.wire) == (0, [])
    assert "never seen" in report.failures[0]


def trust(street) -> SafetyState:
    with street.db.session() as session:
        return session.get_one(SiteRow, street.target.id).safety


def never_seen(street) -> SafetyState:
    street.vendor.telemetry_is_empty = True
    tick(street)
    return trust(street)


def test_reading_judges_the_site_and_one_never_seen_is_trusted_from_its_first_reading_on(street):
    assert never_seen(street) is SafetyState.DEGRADED
    street.vendor.telemetry_is_empty = False
    street.move(3600)
    report = tick(street)
    assert trust(street) is SafetyState.NORMAL
    assert report.outcomes == {street.target.id: Outcome.SENT}


def test_without_judging_it_would_be_trusted_blindly(street, monkeypatch):
    monkeypatch.setattr(AccountRunner, "_judge", lambda *_: None)
    assert never_seen(street) is SafetyState.NORMAL


def test_a_site_that_is_only_watched_is_read(street, site):
    watched = register_watched(street.db, site.model_copy(update={"name": "w"}), street.vendor, "scripted", "B1")
    report = asyncio.run(AccountRunner(street.db, street.clock, [watched]).tick())
    assert (report.read, report.outcomes) == (2, {})
    with street.db.session() as session:
        assert {row.site_id for row in session.scalars(select(TelemetryRow))} == {watched.id}


def test_a_site_is_judged_when_there_was_to_be_news_of_it(street):
    tick(street)
    street.vendor.telemetry_is_empty = True
    street.move(3 * 300 + 60)
    tick(street)
    with street.db.session() as session:
        assert session.get_one(SiteRow, street.target.id).safety is SafetyState.DEGRADED


def test_a_plan_that_cannot_be_made_is_tried_again_after_a_while_and_told(street, monkeypatch):
    made = []

    def fail(*_: object, **__: object) -> None:
        made.append(street.clock())
        raise SolveError("no optimum")

    monkeypatch.setattr(jobs, "plan_site", fail)
    for _ in range(21):
        tick(street)
        street.move(30)
    assert [(at - made[0]).total_seconds() for at in made] == [0, 300, 600]
    with street.db.session() as session:
        said = session.scalars(select(EventRow.text).where(EventRow.kind == FAILED_EVENT)).all()
    assert said == ["no optimum"] * 3


def test_news_of_prices_is_planned_with_at_once_though_the_last_plan_failed(street, monkeypatch):
    with monkeypatch.context() as failing:
        failing.setattr(jobs, "plan_site", raising(SolveError("no optimum")))
        tick(street)
    street.move(30)
    assert tick(street).planned == 0
    inputs.publish(street.db, street.clock, hours("2024-04-10T10:00", 12, **PRICES, **POWERS))
    street.move(30)
    assert tick(street).planned == 1


def test_what_a_vendor_answers_is_kept_though_another_read_never_ends_well(street):
    street.vendor.telemetry_is_empty = True
    assert tick(street).read == 2
    with street.db.session() as session:
        assert session.scalars(select(TelemetryRow)).all() == []
        assert [row.error for row in session.scalars(select(ReadRow))] == ["", ""]


@pytest.fixture
def neighbour(street, site):
    """A second site of the account; whatever is done to the first must not be to its harm."""
    return register_site(street.db, site.model_copy(update={"name": "n"}), street.vendor, "scripted", "B1")


def fails_at(bad, original):
    """A function of sites that fails, as nobody foresaw, whenever one of them is the bad one."""

    def function(*arguments, **options):
        for argument in arguments:
            targets = argument if isinstance(argument, list) else [argument]
            if any(getattr(target, "id", None) == bad.id for target in targets):
                raise ZeroDivisionError
        return original(*arguments, **options)

    return function


def survived(street, neighbour):
    with pytest.raises(ZeroDivisionError):
        asyncio.run(AccountRunner(street.db, street.clock, [street.target, neighbour]).tick())
    street.move(60)


def test_a_site_whose_reading_nobody_foresaw_stops_no_other_and_is_not_asked_again_at_once(
    street, neighbour, monkeypatch
):
    original = street.vendor.read
    answers = [ZeroDivisionError(), ZeroDivisionError()]

    async def read(*arguments):
        if answers:
            raise answers.pop()
        return await original(*arguments)

    monkeypatch.setattr(street.vendor, "read", read)
    survived(street, neighbour)
    with street.db.session() as session:
        assert {row.site_id for row in session.scalars(select(TelemetryRow))} == {neighbour.id}
        assert {(row.site_id, row.error) for row in session.scalars(select(ReadRow))} == {
            (street.target.id, "ZeroDivisionError"),
            (neighbour.id, ""),
        }
        assert session.get_one(SiteRow, neighbour.id).safety is SafetyState.NORMAL


def test_a_site_that_cannot_be_judged_stops_no_others_judgement(street, neighbour, monkeypatch):
    street.vendor.telemetry_is_empty = True
    monkeypatch.setattr(account_runner, "signs_of", fails_at(street.target, account_runner.signs_of))
    survived(street, neighbour)
    assert trust(street) is SafetyState.NORMAL, "which nobody could find out"
    with street.db.session() as session:
        assert session.get_one(SiteRow, neighbour.id).safety is SafetyState.DEGRADED


def test_a_site_that_cannot_be_planned_as_nobody_foresaw_stops_no_others_plan(street, neighbour, monkeypatch):
    monkeypatch.setattr(jobs, "plan_site", fails_at(street.target, jobs.plan_site))
    survived(street, neighbour)
    assert newest_plan(street.db, neighbour.id) is not None
    with street.db.session() as session:
        assert session.scalars(select(EventRow.text).where(EventRow.kind == FAILED_EVENT)).all() == [
            "ZeroDivisionError"
        ]


def raising(error: Exception):
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail
