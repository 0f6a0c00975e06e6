"""What a vendor refuses is neither hammered nor taken for done."""

from __future__ import annotations

import pytest

from adapters.contract import Rejected
from schedules.dispatch import Outcome
from tests.schedules.bench import CHARGE_KW


def test_what_was_refused_is_not_hammered(charging):
    charging.vendor.will_always("reject")
    charging.run(180, every_s=1.0)
    assert [when for when, _, _ in charging.sent()] == [0.0, 45.0, 90.0, 135.0, 180.0]


def test_what_was_refused_is_not_hammered_where_nothing_is_renewed_either(charging):
    charging.vendor.lets_orders_last()
    charging.vendor.will_always("reject")
    charging.run(180, every_s=1.0)
    assert [when for when, _, _ in charging.sent()] == [0.0, 60.0, 120.0, 180.0]


def test_a_release_that_is_refused_is_not_hammered(charging):
    charging.run(855)
    charging.vendor.will_always("reject")
    charging.move(45)
    charging.run(40, every_s=1.0)
    releases = [when for when, kind, _ in charging.sent() if kind == "release"]
    assert releases == [900.0]


def test_a_release_that_is_refused_is_tried_again_while_the_device_is_driven(charging):
    charging.vendor.lets_orders_last()
    charging.run(60)
    charging.move(840)
    charging.vendor.will("reject")
    charging.run(120, every_s=1.0)
    releases = [(sent.at, sent.answer.value) for sent in charging.vendor.wire if sent.kind == "release"]
    assert releases[0] == (charging.at(900), "reject")
    assert releases[-1][1] == "accept"


def test_a_refusal_of_one_intent_does_not_delay_the_next(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 30), bench.intent("charge", CHARGE_KW, 30, 60))
    bench.vendor.will("reject")
    bench.run(30)
    answers = [(sent.at, sent.answer.value) for sent in bench.vendor.wire]
    assert answers == [(bench.at(0), "reject"), (bench.at(30), "accept")]


def test_when_the_vendor_refuses_the_next_order_the_last_one_is_let_go(bench):
    # No intent wants the old order any more, and this vendor's orders do not end by themselves.
    bench.vendor.lets_orders_last()
    bench.plan(bench.intent("discharge", 4.0, 0, 900), bench.intent("charge", CHARGE_KW, 900, 1800))
    bench.tick()
    bench.vendor.rejects_orders = True
    bench.move(900)
    bench.run(120)
    assert bench.sent()[1] == (900.0, "start", -CHARGE_KW)
    kinds = bench.kinds()
    assert kinds.count("release") == 1
    assert kinds.count("start") <= 4, "the refused order is not hammered either: at 900, 960, 1020 s"


def test_a_refused_intent_is_not_taken_for_one_in_force(charging):
    charging.vendor.will_always("reject")
    charging.run(120)
    assert charging.intents()[0].in_force_at is None


@pytest.fixture
def unreachable(bench, monkeypatch):
    """Have the vendor be out of reach, as often as is said: what is sent then may be taken a moment later."""
    original = bench.vendor.send
    tries = []

    def for_calls(number: int) -> list[float]:
        async def send(command):
            tries.append((bench.clock() - bench.T0).total_seconds())
            return Rejected("no connection", retryable=True) if len(tries) <= number else await original(command)

        monkeypatch.setattr(bench.vendor, "send", send)
        return tries

    return for_calls


def test_a_vendor_out_of_reach_is_tried_at_once_again_and_then_ever_less_often(bench, unreachable):
    """Else a day of it were 17,000 rows of the journal for each site."""
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 7200))
    tries = unreachable(1000)
    bench.run(600, every_s=5.0)
    assert tries == [0.0, 5.0, 10.0, 15.0, 25.0, 45.0, 85.0, *(145.0 + 60.0 * number for number in range(8))]


def test_after_one_call_in_vain_the_next_tick_tries_again(bench, unreachable):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 7200))
    unreachable(1)
    bench.tick()
    bench.move(5)
    assert bench.tick() is Outcome.SENT
    assert bench.intents()[0].in_force_at == bench.at(5)


def test_a_renewal_in_vain_does_not_wait_until_the_command_has_lapsed(bench, unreachable):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 7200))
    bench.tick()
    bench.move(40)
    unreachable(5)
    bench.run(60, every_s=5.0)
    assert bench.battery.lapses == []


@pytest.mark.parametrize("wanted", ["self_consumption", None])
def test_a_release_in_vain_is_tried_again_all_the_while(bench, unreachable, wanted):
    bench.vendor.lets_orders_last()
    after = [] if wanted is None else [bench.intent(wanted, 0.0, 60, 7200)]
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), *after)
    bench.run(55, every_s=5.0)
    tries = unreachable(1000)
    bench.run(300, every_s=5.0)
    assert tries == [60.0, 65.0, 70.0, 75.0, 85.0, *(100.0 + 15.0 * number for number in range(18))]
