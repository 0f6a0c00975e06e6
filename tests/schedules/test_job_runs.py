from __future__ import annotations

import datetime as dt
import threading
import time
from itertools import pairwise
from pathlib import Path

import pytest
from sqlalchemy import select

from schedules import job_runs, work
from schedules.beat import JOBS
from schedules.clock import SimulatedClock
from schedules.job_runs import Claim
from schedules.store import AccountRow, Database, EventRow, JobRunRow
from tests.processes import wait_until

NOW = dt.datetime(2026, 2, 3, 10, 0, 7, tzinfo=dt.UTC)
SLOT = dt.datetime(2026, 2, 3, 10, 0, tzinfo=dt.UTC)
JOB = "reconcile/1"


@pytest.fixture
def db(tmp_path: Path) -> Database:
    db = Database.at(tmp_path / "store.sqlite")
    yield db
    db.close()


@pytest.fixture
def clock() -> SimulatedClock:
    return SimulatedClock(NOW)


def claim(db: Database, clock: SimulatedClock, message: str = "m1", slot: dt.datetime = SLOT, job: str = JOB) -> Claim:
    return job_runs.claim(db, clock, job, slot, message, "worker")


def test_one_of_many_beats_gets_the_slot(db: Database, clock: SimulatedClock) -> None:
    got = [claim(db, clock, f"beat {number}") for number in range(3)]
    assert got == [Claim.OURS, Claim.TAKEN, Claim.TAKEN]
    job_runs.finish(db, clock, JOB, SLOT, "worker", "done")
    assert claim(db, clock, slot=SLOT + dt.timedelta(seconds=15)) is Claim.OURS


def test_one_of_many_at_once_gets_the_slot(db: Database, clock: SimulatedClock) -> None:
    got: list[Claim] = []
    start = threading.Barrier(8)

    def one(number: int) -> None:
        start.wait()
        got.append(claim(db, clock, f"beat {number}"))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(one.value for one in got) == ["ours", *["taken"] * 7]


def test_a_message_that_comes_again_begins_an_unfinished_slot_again(db: Database, clock: SimulatedClock) -> None:
    assert claim(db, clock) is Claim.OURS
    assert claim(db, clock) is Claim.OURS
    assert claim(db, clock, "another") is Claim.TAKEN
    job_runs.finish(db, clock, JOB, SLOT, "worker", "done")
    assert claim(db, clock) is Claim.TAKEN


def test_what_nobody_shows_to_be_at_is_taken_over(db: Database, clock: SimulatedClock) -> None:
    assert claim(db, clock) is Claim.OURS
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.SILENT_S - 1))
    assert claim(db, clock, "later") is Claim.TAKEN
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.SILENT_S))
    assert claim(db, clock, "later") is Claim.OURS


def test_who_shows_to_be_alive_keeps_a_slot_and_holds_up_the_next(
    db: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runs, "SIGN_EVERY_S", 0.01)
    following = SLOT + dt.timedelta(seconds=15)
    assert claim(db, clock) is Claim.OURS
    with job_runs.showing_life(db, clock, JOB, SLOT, "worker"):
        clock.move_to(NOW + dt.timedelta(seconds=80))
        wait_until(lambda: seen_at(db) == clock(), "a sign of life")
        assert claim(db, clock, "later") is Claim.TAKEN
        assert claim(db, clock, "m2", following) is Claim.TAKEN
    clock.move_to(clock() + dt.timedelta(seconds=job_runs.SILENT_S))
    assert seen_at(db) < clock(), "no more signs than work"
    assert claim(db, clock, "m2", following) is Claim.OURS


def test_who_was_taken_for_dead_ends_nothing_and_shows_nothing(
    db: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_runs, "SIGN_EVERY_S", 0.01)
    assert claim(db, clock) is Claim.OURS
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.SILENT_S))
    assert job_runs.claim(db, clock, JOB, SLOT, "later", "another") is Claim.OURS
    taken_at = clock()
    clock.move_to(taken_at + dt.timedelta(seconds=5))
    with job_runs.showing_life(db, clock, JOB, SLOT, "worker"):
        time.sleep(0.2)
    assert seen_at(db) == taken_at
    assert not job_runs.finish(db, clock, JOB, SLOT, "worker", "woke up")
    assert job_runs.finish(db, clock, JOB, SLOT, "another", "done")
    assert not job_runs.finish(db, clock, JOB, SLOT, "another", "twice")


def test_what_ends_its_worker_three_times_is_left_alone_for_an_hour(db: Database, clock: SimulatedClock) -> None:
    assert [claim(db, clock) for _ in range(4)] == [*[Claim.OURS] * 3, Claim.LEFT_ALONE]
    following = SLOT + dt.timedelta(seconds=15)
    assert claim(db, clock, "m2", following) is Claim.LEFT_ALONE
    assert claim(db, clock, "m3", job="reconcile/2") is Claim.OURS, "others are not held up"
    with db.session() as session:
        event = session.scalars(select(EventRow)).one()
    assert event.kind == "job.left_alone"
    assert JOB in event.text
    clock.move_to(NOW + job_runs.LEFT_ALONE + dt.timedelta(seconds=1))
    assert claim(db, clock, "m4", SLOT + dt.timedelta(hours=1)) is Claim.OURS


def test_deaths_in_several_slots_count_too(db: Database, clock: SimulatedClock) -> None:
    """A message that is too old when it comes again is dropped: its slot then stays unfinished for good."""
    got = []
    for number in range(20):
        slot = SLOT + dt.timedelta(seconds=15 * number)
        clock.move_to(slot + dt.timedelta(seconds=7))
        got.append(claim(db, clock, f"m{number}", slot))
    # Who began the slot before has been silent for just as long as it takes.
    assert got == [Claim.OURS] * 3 + [Claim.LEFT_ALONE] * 17


def test_a_slot_waits_for_the_one_before_while_that_lives(db: Database, clock: SimulatedClock) -> None:
    following = SLOT + dt.timedelta(seconds=5)
    assert claim(db, clock) is Claim.OURS
    assert claim(db, clock, "m2", following) is Claim.TAKEN
    assert claim(db, clock, "m2", following, job="reconcile/2") is Claim.OURS
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.SILENT_S))
    assert claim(db, clock, "m3", following) is Claim.OURS
    job_runs.finish(db, clock, JOB, following, "worker", "done")
    assert claim(db, clock, "m4", SLOT + dt.timedelta(seconds=30)) is Claim.OURS


def test_a_run_that_ends_wipes_out_earlier_deaths(db: Database, clock: SimulatedClock) -> None:
    for number in range(20):
        slot = SLOT + dt.timedelta(seconds=120 * number)
        clock.move_to(slot + dt.timedelta(seconds=7))
        assert claim(db, clock, f"m{number}", slot) is Claim.OURS
        if number % 3 == 2:
            job_runs.finish(db, clock, JOB, slot, "worker", "done")


def test_old_rows_are_forgotten_but_the_newest_of_each_job_stays(db: Database, clock: SimulatedClock) -> None:
    for number in range(3):
        slot = SLOT + dt.timedelta(seconds=15 * number)
        claim(db, clock, f"m{number}", slot)
        job_runs.finish(db, clock, JOB, slot, "worker", "done")
    clock.move_to(NOW + dt.timedelta(days=1))
    assert job_runs.forget(db, clock) == 2
    with db.session() as session:
        assert session.scalars(select(JobRunRow.slot)).all() == [SLOT + dt.timedelta(seconds=30)]


@pytest.fixture
def account(db: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job of one account, as its rows have it."""
    monkeypatch.setattr(work, "CLOCK", clock)
    monkeypatch.setattr(work, "database", lambda: db)
    with db.write() as session:
        session.add(AccountRow(id=1, name="one", adapter="alphaess"))
    return JOB


def ring(clock: SimulatedClock, seconds: float, name: str = "reconcile") -> list[dt.datetime]:
    """Let time pass, and ring; the slots that are called up."""
    clock.move_to(clock() + dt.timedelta(seconds=seconds))
    return [turn.slot for turn in work.turns(JOBS[name], clock().isoformat())]


@pytest.mark.usefixtures("account")
def test_an_account_is_called_up_until_somebody_does_its_slot_and_again_when_he_falls_silent(
    db: Database, clock: SimulatedClock
) -> None:
    slot = JOBS["plan"].slot(NOW, 1) + dt.timedelta(seconds=30)
    clock.move_to(slot)
    assert ring(clock, 0, "plan") == [slot]
    assert ring(clock, 10, "plan") == [slot], "nobody heard: its message was lost with its worker"
    assert claim(db, clock, slot=slot, job="plan/1") is Claim.OURS
    assert ring(clock, 10, "plan") == []
    assert job_runs.SILENT_S < 19
    assert ring(clock, 9, "plan") == [slot]


def test_an_account_is_called_up_once_a_slot(db: Database, clock: SimulatedClock, account: str) -> None:
    slots = []
    for _ in range(60):
        for slot in ring(clock, 5):
            assert claim(db, clock, slot.isoformat(), slot, account) is Claim.OURS
            job_runs.finish(db, clock, account, slot, "worker", "done")
            slots.append(slot)
    assert len(slots) in (20, 21)
    assert {later - slot for slot, later in pairwise(slots)} == {dt.timedelta(seconds=15)}


def test_accounts_have_slots_of_their_own() -> None:
    begins = {JOBS["reconcile"].slot(NOW, number) for number in range(1, 100)}
    assert len(begins) > 50
    assert all(NOW - dt.timedelta(seconds=15) < begin <= NOW for begin in begins)


@pytest.mark.usefixtures("account")
def test_one_of_many_beats_calls_up(clock: SimulatedClock) -> None:
    assert len(ring(clock, 5)) == 1
    assert ring(clock, 0.0) == []


@pytest.mark.usefixtures("account")
def test_a_call_up_that_broke_off_does_not_hold_up_the_next_ring(db: Database, clock: SimulatedClock) -> None:
    job = JOBS["reconcile"]
    assert claim(db, clock, slot=job.ring(clock()), job="reconcile/all") is Claim.OURS  # and then its worker was gone
    assert ring(clock, 0.0) == []
    assert len(ring(clock, 5)) == 1


def seen_at(db: Database) -> dt.datetime:
    with db.session() as session:
        return session.scalars(select(JobRunRow.seen_at).where(JobRunRow.job == JOB)).one()
