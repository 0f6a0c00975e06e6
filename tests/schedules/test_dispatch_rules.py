"""What is sent, when, and what is never sent."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from itertools import pairwise

import pytest

from adapters.contract import CONNECTED_WITHIN_S, AdapterError, Channel, IntentRefusedError
from schedules import egress, site_dispatch
from schedules.dispatch import RELEASE_ATTEMPTS, Outcome
from schedules.egress import SOCKET_WITHIN_S, Egress
from schedules.site_dispatch import JITTER
from schedules.telemetry import read_telemetry

CHARGE_KW = 2.0


@pytest.fixture
def charging(bench):
    """A bench with one intent: charge with 2 kW for a quarter of an hour."""
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 900))
    return bench


def wire(bench) -> list[tuple[float, str, float]]:
    """What went out: seconds since the start, kind, power."""
    return [((sent.at - bench.T0).total_seconds(), sent.kind, sent.command.battery_kw) for sent in bench.vendor.wire]


# Time


def test_nothing_is_sent_before_an_intent_begins(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 60, 900))
    assert bench.tick() is Outcome.NOTHING_DUE
    bench.move(59.999)
    assert bench.tick() is Outcome.NOTHING_DUE
    bench.move(0.001)
    assert bench.tick() is Outcome.SENT
    assert wire(bench) == [(60.0, "start", -CHARGE_KW)]


def test_an_intent_whose_time_is_over_is_not_sent(charging):
    charging.move(900)
    assert charging.tick() is Outcome.NOTHING_DUE
    assert wire(charging) == []


def test_an_intent_is_sent_as_long_as_the_call_is_on_the_wire_before_its_end(charging):
    charging.move(899.999 - CONNECTED_WITHIN_S)
    assert charging.tick() is Outcome.SENT


def test_an_intent_is_not_sent_when_opening_the_connection_may_outlast_it(charging):
    charging.move(900 - CONNECTED_WITHIN_S)
    assert charging.tick() is Outcome.HELD
    assert wire(charging) == []


def test_nothing_is_sent_when_the_journal_took_so_long_that_the_intent_is_over(charging):
    charging.move(890)
    with charging.hooked(after=lambda: charging.move(10)):
        assert charging.tick() is Outcome.REFUSED
    assert charging.vendor.wire == []
    (row,) = charging.journal()
    assert (row.state.value, row.outcome) == (
        "rejected",
        "not sent: the intent's time is over before the call could be on the wire",
    )


def test_a_slow_journal_that_is_still_in_time_does_not_stop_a_command(charging):
    charging.move(892)
    with charging.hooked(after=lambda: charging.move(4)):
        assert charging.tick() is Outcome.SENT


def test_without_the_fence_a_command_goes_out_after_its_time(charging, monkeypatch, without_guard):
    charging.move(897)
    monkeypatch.setattr(Egress, "_objection", without_guard(Egress._objection, "not_after"))
    monkeypatch.setattr(Egress, "_is_wanted", lambda *_: True)
    with charging.hooked(after=lambda: charging.move(4)):
        assert charging.tick() is Outcome.SENT
    (sent,) = charging.vendor.wire
    assert sent.window is not None
    assert sent.at >= sent.window[1]


def test_a_renewal_that_is_too_late_is_not_sent_either(charging):
    charging.move(840)
    charging.tick()
    charging.move(50)
    with charging.hooked(after=lambda: charging.move(10)):
        assert charging.tick() is Outcome.REFUSED
    assert wire(charging) == [(840.0, "start", -CHARGE_KW)]


# Power


def test_a_command_above_the_nameplate_is_never_sent(charging):
    charging.vendor.power_factor = 1000.0  # W for kW
    assert charging.tick() is Outcome.REFUSED
    assert charging.vendor.wire == []
    assert charging.journal() == []
    (intent,) = charging.intents()
    assert "above the nameplate of 5 kW" in intent.refusal
    assert intent.in_force_at is None


@pytest.mark.parametrize(
    ("mode", "rating_kw"), [("charge", 5.0), ("discharge", 4.0)], ids=["rated charge", "rated discharge"]
)
@pytest.mark.parametrize(("excess_kw", "sent"), [(-0.5, True), (0.0, True), (0.001, True), (0.01, False), (1.0, False)])
def test_each_direction_has_its_own_nameplate(bench, mode, rating_kw, excess_kw, sent):
    bench.plan(bench.intent(mode, rating_kw + excess_kw, 0, 900))
    assert bench.tick() is (Outcome.SENT if sent else Outcome.REFUSED)
    assert len(bench.vendor.wire) == int(sent)


def test_a_power_that_is_no_number_is_never_sent(charging):
    charging.vendor.power_factor = float("nan")
    assert charging.tick() is Outcome.REFUSED
    assert charging.vendor.wire == []


def test_without_the_nameplate_check_the_wrong_unit_goes_out(charging, monkeypatch):
    charging.vendor.power_factor = 1000.0
    for module in (egress, site_dispatch):
        monkeypatch.setattr(module, "above_nameplate", lambda *_: None)
    charging.tick()
    assert wire(charging) == [(0.0, "start", -CHARGE_KW * 1000)]


def test_when_the_next_order_is_refused_the_last_one_is_let_go(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("discharge", 4.5, 60, 900))
    bench.run(45)
    bench.move(15)
    assert bench.tick() is Outcome.REFUSED
    assert wire(bench)[-1] == (60.0, "release", 0.0)
    assert bench.battery.lapses_at is None
    bench.run(300)
    assert wire(bench)[-1] == (60.0, "release", 0.0), "once is enough"


def test_what_the_battery_management_allows_now_reaches_the_translation(charging):
    charging.vendor.charge_limit_kw = 1.25
    asyncio.run(read_telemetry(charging.db, charging.clock, charging.target, Channel.STATE))
    charging.tick()
    assert wire(charging) == [(0.0, "start", -1.25)]


def test_what_it_allowed_long_ago_says_nothing_of_now(bench):
    bench.vendor.charge_limit_kw = 0.0
    asyncio.run(read_telemetry(bench.db, bench.clock, bench.target, Channel.STATE))
    bench.plan(bench.intent("charge", CHARGE_KW, 1200, 2100))
    bench.move(1200)
    bench.tick()
    assert wire(bench) == [(1200.0, "start", -CHARGE_KW)]


# Renewal


def test_a_lapsing_command_is_renewed_at_half_its_life_while_its_intent_lasts(charging):
    charging.run(870)
    times = [when for when, _, _ in wire(charging)]
    assert times == [45.0 * number for number in range(20)]
    assert [kind for _, kind, _ in wire(charging)] == ["start"] + ["renew"] * 19
    assert charging.battery.lapses == []


@pytest.mark.parametrize("every_s", [1.0, 7.0, 15.0, 30.0])
def test_whatever_the_rhythm_of_ticks_renewals_come_well_inside_the_lifetime(charging, every_s):
    charging.run(870, every_s)
    times = [when for when, _, _ in wire(charging)]
    gaps = [after - before for before, after in pairwise(times)]
    assert min(gaps) >= 45.0 * (1 - JITTER)
    assert max(gaps) < 45.0 + every_s
    assert charging.battery.lapses == []


def test_nothing_is_renewed_before_it_is_due(charging):
    charging.tick()
    charging.move(45.0 * (1 - JITTER) - 0.001)
    assert charging.tick() is Outcome.NOTHING_DUE
    charging.move(45.0 * JITTER + 0.001)
    assert charging.tick() is Outcome.SENT


def test_nothing_is_renewed_once_its_intent_is_over(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 105), bench.intent("hold", 0.0, 105, 200))
    bench.run(240, every_s=15.0)
    driving = [(when, power) for when, kind, power in wire(bench) if kind != "release"]
    assert driving == [(0.0, -2.0), (45.0, -2.0), (90.0, -2.0), (105.0, 0.0), (150.0, 0.0), (195.0, 0.0)]


def test_a_command_that_ends_by_itself_is_not_renewed(charging):
    charging.vendor.abilities = replace(charging.vendor.abilities, command_lifetime_s=None, renew_after_s=None)
    charging.run(870)
    assert wire(charging) == [(0.0, "start", -CHARGE_KW)]


def test_after_an_outage_an_intent_that_still_lasts_is_taken_up_again(charging):
    charging.run(30)
    charging.move(300)
    assert len(charging.battery.lapses) == 1
    assert charging.tick() is Outcome.SENT
    charging.move(10)
    assert charging.battery.rows[-1].battery_kw == -CHARGE_KW


def test_a_lost_renewal_is_made_good_before_the_device_lapses(charging):
    charging.vendor.will("accept", "lose request")
    charging.run(870)
    assert charging.battery.lapses == []
    assert charging.states()[1] == "seen", "the lease of the call before it still holds the power"


# The end


def test_at_the_end_of_the_horizon_the_device_is_released_once(charging):
    charging.run(1800)
    assert wire(charging)[-1] == (900.0, "release", 0.0)
    assert [kind for _, kind, _ in wire(charging)].count("release") == 1
    assert charging.battery.lapses == []
    assert charging.battery.rows[-1].battery_kw == pytest.approx(charging.battery.follow_kw)


def test_a_device_that_was_never_driven_is_left_alone(bench):
    assert bench.tick() is Outcome.NOTHING_DUE
    bench.plan(bench.intent("self_consumption", 0.0, 0, 900))
    bench.run(1800)
    assert bench.vendor.wire == []


def test_a_device_that_would_not_follow_the_house_is_not_said_to(bench, monkeypatch):
    def refuse(*_):
        raise IntentRefusedError("mode: self_consumption: this one rests")

    monkeypatch.setattr(bench.vendor, "translate", refuse)
    bench.plan(bench.intent("self_consumption", 0.0, 0, 900))

    assert bench.tick() is Outcome.REFUSED
    (intent,) = bench.intents()
    assert ("rests" in intent.refusal, intent.in_force_at) == (True, None)
    assert bench.vendor.wire == []


def test_a_device_whose_only_order_was_refused_is_left_alone(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 30))
    bench.vendor.will("reject")
    bench.run(120)
    assert [kind for _, kind, _ in wire(bench)] == ["start"]


def test_a_device_that_has_lapsed_by_itself_is_not_released_again(charging):
    charging.move(890)
    charging.tick()
    charging.move(100)
    assert charging.tick() is Outcome.NOTHING_DUE
    assert [kind for _, kind, _ in wire(charging)] == ["start"]


def test_a_command_that_went_out_late_is_still_let_go_at_the_end_of_its_intent(bench):
    # The lease runs from when the vendor has the command, not from when its row was begun.
    bench.plan(bench.intent("discharge", 3.0, 0, 95))
    with bench.hooked(after=lambda: bench.move(4)):
        bench.tick()
    bench.move(91)
    bench.tick()
    assert bench.battery.lapses_at is None


def test_a_command_without_an_end_of_its_own_is_released_however_late(charging):
    charging.vendor.abilities = replace(charging.vendor.abilities, command_lifetime_s=None, renew_after_s=None)
    charging.tick()
    charging.move(36 * 3600)
    assert charging.tick() is Outcome.SENT
    assert wire(charging)[-1][1] == "release"


def test_a_gap_in_the_plan_releases_the_device(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("charge", CHARGE_KW, 120, 180))
    bench.run(150)
    assert wire(bench) == [(0, "start", -2.0), (45, "renew", -2.0), (60, "release", 0.0), (120, "start", -2.0)]


# Self-consumption


def test_self_consumption_lets_go_once_and_is_not_renewed(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 300), bench.intent("self_consumption", 0.0, 300, 1200))
    bench.run(1180)
    letting_go = [entry for entry in wire(bench) if entry[0] >= 300]
    assert letting_go == [(300.0, "release", 0.0)]
    assert bench.battery.lapses == []


def test_self_consumption_after_self_consumption_sends_nothing(bench):
    bench.plan(
        bench.intent("charge", CHARGE_KW, 0, 300),
        bench.intent("self_consumption", 0.0, 300, 600),
        bench.intent("self_consumption", 0.0, 600, 900),
    )
    bench.run(880)
    assert [when for when, _, _ in wire(bench) if when >= 300] == [300.0]


def test_self_consumption_is_in_force_from_the_release_or_from_when_it_was_found_so(bench):
    bench.plan(
        bench.intent("self_consumption", 0.0, 0, 300),
        bench.intent("charge", CHARGE_KW, 300, 600),
        bench.intent("self_consumption", 0.0, 600, 900),
    )
    bench.move(7)
    bench.run(880)
    found, _, let_go = bench.intents()
    assert found.in_force_at == bench.at(7)
    assert let_go.in_force_at is not None
    assert bench.at(600) <= let_go.in_force_at < bench.at(615)


def test_a_release_that_was_lost_is_sent_again(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 60), bench.intent("self_consumption", 0.0, 60, 900))
    bench.vendor.will("accept", "accept", "lose request")
    bench.run(120)
    releases = [(sent.kind, sent.answer.value) for sent in bench.vendor.wire][2:]
    assert releases == [("release", "lose request"), ("release", "accept")]
    assert bench.battery.lapses_at is None


# Replanning


def test_a_new_plan_takes_over_from_its_first_interval_and_leaves_the_one_that_runs(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 300), bench.intent("charge", 1.5, 300, 600))
    bench.run(60)
    bench.plan(bench.intent("discharge", 3.0, 300, 600))
    bench.run(300)
    powers = {when: power for when, _, power in wire(bench)}
    assert {power for when, power in powers.items() if when < 300} == {-1.0}
    assert {power for when, power in powers.items() if when >= 300} == {3.0}


def test_a_superseded_intent_is_never_sent(bench):
    bench.plan(bench.intent("charge", 1.0, 300, 600))
    bench.plan(bench.intent("self_consumption", 0.0, 300, 600))
    bench.run(700)
    assert bench.vendor.wire == []


def test_what_a_new_plan_leaves_open_is_not_filled_from_the_old_one(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 300), bench.intent("discharge", 3.0, 300, 600))
    bench.plan(bench.intent("charge", 1.0, 0, 300))
    bench.run(600)
    assert wire(bench)[-1] == (300.0, "release", 0.0)


def test_where_two_plans_overlap_the_newer_one_counts(bench):
    # The new plan begins inside an old interval: what is older and still lasts gives way.
    bench.plan(bench.intent("charge", 1.0, 0, 900))
    bench.plan(bench.intent("discharge", 3.0, 300, 600))
    bench.move(300)
    bench.tick()
    assert wire(bench) == [(300.0, "start", 3.0)]


def test_a_new_plan_that_begins_now_replaces_what_was_just_sent(bench):
    bench.plan(bench.intent("charge", 1.0, 0, 300))
    bench.tick()
    bench.plan(bench.intent("discharge", 3.0, 0, 300))
    assert bench.tick() is Outcome.SENT
    assert wire(bench) == [(0.0, "start", -1.0), (0.0, "start", 3.0)]


# Refusals


def test_what_was_refused_is_not_hammered(charging):
    charging.vendor.will_always("reject")
    charging.run(180, every_s=1.0)
    assert [when for when, _, _ in wire(charging)] == [0.0, 45.0, 90.0, 135.0, 180.0]


def test_what_was_refused_is_not_hammered_where_nothing_is_renewed_either(charging):
    charging.vendor.abilities = replace(charging.vendor.abilities, command_lifetime_s=None, renew_after_s=None)
    charging.vendor.will_always("reject")
    charging.run(180, every_s=1.0)
    assert [when for when, _, _ in wire(charging)] == [0.0, 60.0, 120.0, 180.0]


def test_a_release_that_is_refused_is_not_hammered(charging):
    charging.run(855)
    charging.vendor.will_always("reject")
    charging.move(45)
    charging.run(40, every_s=1.0)
    releases = [when for when, kind, _ in wire(charging) if kind == "release"]
    assert releases == [900.0]


def test_a_release_that_is_refused_is_tried_again_while_the_device_is_driven(charging):
    charging.vendor.abilities = replace(charging.vendor.abilities, command_lifetime_s=None, renew_after_s=None)
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
    bench.vendor.abilities = replace(bench.vendor.abilities, command_lifetime_s=None, renew_after_s=None)
    bench.plan(bench.intent("discharge", 4.0, 0, 900), bench.intent("charge", CHARGE_KW, 900, 1800))
    bench.tick()
    bench.vendor.rejects_orders = True
    bench.move(900)
    bench.run(120)
    assert wire(bench)[1] == (900.0, "start", -CHARGE_KW)
    kinds = [kind for _, kind, _ in wire(bench)]
    assert kinds.count("release") == 1
    assert kinds.count("start") <= 4, "the refused order is not hammered either: at 900, 960, 1020 s"


def test_a_refused_intent_is_not_taken_for_one_in_force(charging):
    charging.vendor.will_always("reject")
    charging.run(120)
    assert charging.intents()[0].in_force_at is None


# Unknown


def test_an_unknown_command_waits_for_telemetry_newer_than_itself_and_settling(charging):
    charging.move(5)
    charging.vendor.will("lose request")
    charging.tick()
    for _ in range(24):
        charging.move(1)
        # Rows come each 10 s: that of 20 s is too early, that of 30 s decides.
        assert charging.tick() is Outcome.WAITING
    charging.move(1)
    assert charging.tick() is Outcome.SENT
    assert charging.states() == ["not_seen", "accepted"]
    assert "10:00:30" in charging.journal()[0].outcome


def test_a_reading_exactly_at_the_end_of_settling_decides(charging):
    charging.vendor.abilities = replace(charging.vendor.abilities, settling_s=20.0 - SOCKET_WITHIN_S)
    charging.vendor.will("lose request")
    charging.tick()
    charging.move(20)
    assert charging.tick() is Outcome.SENT
    assert charging.states() == ["not_seen", "accepted"]


def test_frozen_telemetry_resolves_nothing_however_often_it_is_served(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    stuck = charging.battery.rows[-1]
    for _ in range(40):
        charging.move(15)
        charging.battery.rows[:] = [stuck]
        assert charging.tick() is Outcome.WAITING
    assert (charging.states(), len(charging.vendor.wire)) == (["unknown"], 1)


def test_a_reading_stamped_in_the_future_resolves_nothing(charging):
    # A vendor's local time taken for UTC makes every row look newer than any command.
    charging.vendor.time_stamps_ahead = dt.timedelta(hours=2)
    charging.vendor.will("lose reply")
    charging.tick()
    charging.move(1)
    with pytest.raises(AdapterError, match="future"):
        charging.tick()
    assert charging.states() == ["unknown"]


def test_a_command_that_was_seen_at_work_is_in_force(bench):
    # The reply is lost, and nothing has been sent again yet: it is in force all the same.
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 600))
    bench.vendor.will("lose reply")
    bench.tick()
    assert bench.intents()[0].in_force_at is None
    bench.vendor.will("reject")
    bench.move(40)
    bench.tick()
    assert bench.states()[0] == "seen"
    assert bench.intents()[0].in_force_at is not None


def test_an_unknown_command_outlives_its_intent_and_is_still_read_first(bench):
    bench.plan(bench.intent("charge", CHARGE_KW, 0, 10), bench.intent("discharge", 3.0, 10, 900))
    bench.vendor.will("lose reply")
    bench.tick()
    bench.move(15)
    assert bench.tick() is Outcome.WAITING
    bench.move(15)
    assert bench.tick() is Outcome.SENT
    assert {sent.older_unresolved for sent in bench.vendor.wire} == {0}


# Release by hand


def release(bench) -> bool:
    return asyncio.run(bench.dispatcher.release())


def test_release_lets_go_at_once(charging):
    charging.run(30)
    assert release(charging)
    assert charging.battery.lapses_at is None
    assert wire(charging)[-1] == (30.0, "release", 0.0)


def test_release_goes_out_over_an_unknown_command_and_settles_it(charging):
    charging.vendor.will("lose reply")
    charging.tick()
    assert release(charging)
    assert charging.vendor.calls == ["send", "send"], "a release does not wait for a reading"
    assert charging.states() == ["superseded", "accepted"]
    assert charging.journal()[0].outcome == "scripted: time-out; released by command 2"


@pytest.mark.parametrize("answer", ["reject", "lose request", "lose reply"])
def test_release_is_repeated_a_few_times_and_no_more(charging, answer):
    charging.run(30)
    charging.vendor.calls.clear()
    charging.vendor.will_always(answer)
    assert not release(charging)
    assert charging.vendor.calls == ["send"] * RELEASE_ATTEMPTS


def test_release_stops_at_the_first_receipt(charging):
    charging.run(30)
    charging.vendor.will("lose request")
    assert release(charging)
    assert [sent.answer.value for sent in charging.vendor.wire][-2:] == ["lose request", "accept"]
    assert charging.states()[-2:] == ["superseded", "accepted"]


def test_a_release_that_nobody_confirmed_leaves_rows_that_are_read_back_later(charging):
    charging.run(30)
    charging.vendor.will(*["lose request"] * RELEASE_ATTEMPTS)
    assert not release(charging)
    charging.vendor.calls.clear()
    charging.run(45)
    assert charging.vendor.calls[0] == "read"
    assert "unknown" not in charging.states()


def test_release_harms_nobody_when_nothing_is_driven(bench):
    assert release(bench)
    assert release(bench)
    assert bench.states() == ["accepted", "accepted"]
    assert bench.tick() is Outcome.NOTHING_DUE


# Redelivery


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
    sent = wire(bench)[before:]
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
        sent.append(wire(made))
        made.close()
    assert sent[0] == sent[1]
    assert len(sent[0]) == 8


def test_an_account_of_every_outcome_is_given(charging):
    assert charging.tick() is Outcome.SENT
    assert charging.tick() is Outcome.NOTHING_DUE
    charging.move(45)
    charging.vendor.will("lose reply")
    assert charging.tick() is Outcome.SENT
    assert charging.tick() is Outcome.WAITING
    charging.move(45)
    charging.vendor.power_factor = 1000.0
    assert charging.tick() is Outcome.REFUSED


# Commands that carry their own end


@pytest.fixture
def self_ending(bench):
    """A vendor whose orders last ten minutes and are never renewed."""
    bench.vendor.abilities = replace(bench.vendor.abilities, command_lifetime_s=None, renew_after_s=None)
    bench.vendor.orders_end_after_s = 600.0
    return bench


def test_a_command_that_has_ended_by_itself_is_not_ended_again(self_ending):
    self_ending.plan(self_ending.intent("charge", CHARGE_KW, 0, 600))
    self_ending.run(599)
    self_ending.move(5)
    assert self_ending.tick() is Outcome.NOTHING_DUE
    assert [kind for _, kind, _ in wire(self_ending)] == ["start"]
    assert self_ending.journal()[0].ends_at == self_ending.at(600)


def test_a_command_that_goes_on_when_its_intent_is_over_is_ended(self_ending):
    self_ending.plan(self_ending.intent("charge", CHARGE_KW, 0, 300))
    self_ending.run(300)
    assert [kind for _, kind, _ in wire(self_ending)] == ["start", "release"]


def test_a_command_says_whether_it_comes_on_top_of_another(self_ending):
    """Some vendors must stop the one before it first, and only the journal knows of it."""
    plan = (("charge", 1.0, 0, 300), ("discharge", 1.0, 300, 900), ("charge", 2.0, 1200, 1500))
    self_ending.plan(*(self_ending.intent(*stretch) for stretch in plan))
    self_ending.run(600)
    self_ending.restart()
    self_ending.run(800)
    assert [(at, kind) for at, kind, _ in wire(self_ending)] == [
        (0.0, "start"),
        (300.0, "start"),
        (1200.0, "start"),
    ]
    assert [sent.command.replaces for sent in self_ending.vendor.wire] == [False, True, False]
