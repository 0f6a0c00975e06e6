from __future__ import annotations

import datetime as dt
import threading
from pathlib import Path

import pytest
from sqlalchemy import select

from schedules import job_runs, work
from schedules.beat import JOBS
from schedules.clock import SimulatedClock
from schedules.job_runs import Claim
from schedules.store import AccountRow, Database, EventRow, JobRunRow

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
    job_runs.finish(db, clock, JOB, SLOT, "done")
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
    job_runs.finish(db, clock, JOB, SLOT, "done")
    assert claim(db, clock) is Claim.TAKEN


def test_what_nobody_can_be_at_any_more_is_taken_over(db: Database, clock: SimulatedClock) -> None:
    assert claim(db, clock) is Claim.OURS
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.HARD_LIMIT_S - 1))
    assert claim(db, clock, "later") is Claim.TAKEN
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.HARD_LIMIT_S + 1))
    assert claim(db, clock, "later") is Claim.OURS


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
    # Every second slot waits for the one before; the third is certainly dead the hard limit after its begin at 60 s.
    left_alone = got.index(Claim.LEFT_ALONE)
    assert got[:left_alone] == [Claim.OURS, Claim.TAKEN] * 6
    assert set(got[left_alone:]) == {Claim.LEFT_ALONE}


def test_a_slot_waits_for_the_one_before_but_not_for_long(db: Database, clock: SimulatedClock) -> None:
    following = SLOT + dt.timedelta(seconds=15)
    assert claim(db, clock) is Claim.OURS
    assert claim(db, clock, "m2", following) is Claim.TAKEN
    assert claim(db, clock, "m2", following, job="reconcile/2") is Claim.OURS
    clock.move_to(NOW + dt.timedelta(seconds=job_runs.BUSY_S))
    assert claim(db, clock, "m3", following) is Claim.OURS
    job_runs.finish(db, clock, JOB, following, "done")
    assert claim(db, clock, "m4", SLOT + dt.timedelta(seconds=30)) is Claim.OURS


def test_a_run_that_ends_wipes_out_earlier_deaths(db: Database, clock: SimulatedClock) -> None:
    for number in range(20):
        slot = SLOT + dt.timedelta(seconds=120 * number)
        clock.move_to(slot + dt.timedelta(seconds=7))
        assert claim(db, clock, f"m{number}", slot) is Claim.OURS
        if number % 3 == 2:
            job_runs.finish(db, clock, JOB, slot, "done")


def test_old_rows_are_forgotten_but_the_newest_of_each_job_stays(db: Database, clock: SimulatedClock) -> None:
    for number in range(3):
        slot = SLOT + dt.timedelta(seconds=15 * number)
        claim(db, clock, f"m{number}", slot)
        job_runs.finish(db, clock, JOB, slot, "done")
    clock.move_to(NOW + dt.timedelta(days=1))
    assert job_runs.forget(db, clock) == 2
    with db.session() as session:
        assert session.scalars(select(JobRunRow.slot)).all() == [SLOT + dt.timedelta(seconds=30)]


def test_a_call_up_that_broke_off_does_not_hold_up_the_next_slot(
    db: Database, clock: SimulatedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(work, "CLOCK", clock)
    monkeypatch.setattr(work, "database", lambda: db)
    with db.write() as session:
        session.add(AccountRow(name="one", adapter="alphaess"))
    assert claim(db, clock, job="reconcile/all") is Claim.OURS  # and then its worker was gone
    assert work.turns(JOBS["reconcile"], "of the same slot") == []
    clock.move_to(SLOT + dt.timedelta(seconds=15))
    assert len(work.turns(JOBS["reconcile"], "of the next slot")) == 1
