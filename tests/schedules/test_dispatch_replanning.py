"""A newer plan takes over where it begins, and nowhere else."""

from __future__ import annotations

from schedules.dispatch import Outcome
from schedules.store import IntentRow


def test_a_new_plan_takes_over_from_its_first_interval_and_leaves_the_one_that_runs(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 300), bench.intent("charge", 1.5, 300, 600))
    bench.run(60)
    bench.plan(bench.intent("discharge", 3.0, 300, 600))
    bench.run(300)
    powers = {when: power for when, _, power in bench.sent()}
    assert {power for when, power in powers.items() if when < 300} == {-1.0}
    assert {power for when, power in powers.items() if when >= 300} == {3.0}


def test_a_superseded_intent_is_never_sent(bench):
    bench.plan(bench.intent("charge", 1.0, 300, 600))
    bench.plan(bench.intent("self_consumption", 0.0, 300, 315))
    bench.move(300)
    for _ in range(20):
        assert bench.tick() is Outcome.NOTHING_DUE, "not even begun and held back"
        bench.move(15)
    assert bench.vendor.wire == []


def test_what_a_new_plan_cuts_off_does_not_come_back_after_it(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 900))
    bench.plan(bench.intent("discharge", 3.0, 300, 600))
    bench.run(900)
    assert bench.sent()[-1] == (600.0, "release", 0.0)


def test_what_a_new_plan_leaves_open_is_not_filled_from_the_old_one(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 300), bench.intent("discharge", 3.0, 300, 600))
    bench.plan(bench.intent("charge", 1.0, 0, 300))
    bench.run(600)
    assert bench.sent()[-1] == (300.0, "release", 0.0)


def test_where_two_plans_overlap_the_newer_one_counts(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 900))
    bench.plan(bench.intent("discharge", 3.0, 300, 600))
    with bench.db.write() as session:
        session.get_one(IntentRow, 1).not_after = bench.at(900)  # as if it had not been cut off
    bench.move(300)
    bench.tick()
    assert bench.sent() == [(300.0, "start", 3.0)]


def test_a_new_plan_that_begins_now_replaces_what_was_just_sent(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 300))
    bench.tick()
    bench.plan(bench.intent("discharge", 3.0, 0, 300))
    assert bench.tick() is Outcome.SENT
    assert bench.sent() == [(0.0, "start", -1.0), (0.0, "start", 3.0)]
