"""What a vendor refuses is neither hammered nor taken for done."""

from __future__ import annotations

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
