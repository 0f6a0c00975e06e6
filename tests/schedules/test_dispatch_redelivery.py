"""However often a tick is delivered, and to whom, nothing goes out twice."""

from __future__ import annotations

import pytest

from schedules.dispatch import Outcome
from tests.schedules.bench import CHARGE_KW


@pytest.mark.parametrize("answer", ["accept", "reject", "lose request", "lose reply"])
@pytest.mark.parametrize("moment_s", [0.0, 45.0, 300.0, 900.0])
def test_ticks_at_one_moment_send_nothing_twice(bench, answer, moment_s):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 300), bench.intent("discharge", 3.0, 300, 900))
    if moment_s:
        bench.run(moment_s - 15)
        bench.move(15)
    before = len(bench.vendor.wire)
    bench.vendor.will_always(answer)
    for _ in range(10):
        bench.tick()
    sent = bench.sent()[before:]
    assert sent
    assert len(set(sent)) == len(sent)


@pytest.mark.parametrize("answer", ["accept", "reject", "lose request", "lose reply"])
def test_ticks_of_several_processes_one_after_the_other_send_at_most_once(charging, answer):
    charging.vendor.will_always(answer)
    for _ in range(5):
        charging.tick()
        charging.restart()
    assert len(charging.vendor.wire) == 1


def test_ten_times_the_ticks_send_no_more_than_one_times(make_bench, tmp_path):
    sent = []
    for repeats in (1, 10):
        (tmp_path / str(repeats)).mkdir()
        made = make_bench(tmp_path / str(repeats))
        made.plan(made.intent("charge", CHARGE_KW, 0, 300), made.intent("self_consumption", 0.0, 300, 600))
        for _ in range(60):
            for _ in range(repeats):
                made.tick()
            made.move(15)
        sent.append(made.sent())
        made.close()
    assert sent[0] == sent[1]
    assert len(sent[0]) == 8


def test_each_tick_tells_what_came_of_it(charging):
    assert charging.tick() is Outcome.SENT
    assert charging.tick() is Outcome.NOTHING_DUE
    charging.move(45)
    charging.vendor.will("lose reply")
    assert charging.tick() is Outcome.SENT
    assert charging.tick() is Outcome.WAITING
    charging.move(45)
    charging.vendor.power_factor = 1000.0
    assert charging.tick() is Outcome.REFUSED
