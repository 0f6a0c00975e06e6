from __future__ import annotations

import pandas as pd
import pytest

from adapters.contract import Channel, Telemetry
from engine.errors import InputError
from schedules.jobs import StaleTelemetryError, plan_site
from schedules.plans import intents_between, plans_between
from schedules.sites import register_site
from schedules.store import Verdict
from schedules.telemetry import keep
from schedules.verdicts import confirm


def plan(bench, series, why="test", **options):
    return plan_site(bench.db, bench.clock, bench.target, series, why, **{"threshold": None, **options})


# Planning


def test_without_a_state_of_charge_nothing_is_planned(bench, series):
    with pytest.raises(StaleTelemetryError, match="soc: never seen"):
        plan(bench, series)
    assert bench.plans() == []
    assert bench.intents() == []


def test_a_state_without_its_state_of_charge_is_not_enough(bench, series):
    bench.keep_state(None)
    with pytest.raises(StaleTelemetryError, match="never seen"):
        plan(bench, series)


def test_a_power_reading_is_not_enough(bench, series):
    bench.read(Channel.POWER)
    with pytest.raises(StaleTelemetryError, match="never seen"):
        plan(bench, series)


def test_a_stale_state_of_charge_is_refused_with_its_time(bench, series):
    bench.move(3600)
    bench.keep_state(0.5, 901)
    with pytest.raises(StaleTelemetryError, match="seen at 2024-04-10T10:44:59"):
        plan(bench, series)
    assert bench.intents() == []


def test_a_state_of_charge_of_a_quarter_of_an_hour_is_just_fresh_enough(bench, series):
    bench.move(3600)
    bench.keep_state(0.5, 900)
    assert plan(bench, series).problem.initial_soc == 0.5


def test_age_is_the_vendors_time_however_often_the_reading_was_fetched(bench, series):
    bench.read(Channel.STATE)
    bench.move(1800)
    frozen = [row for row in bench.battery.rows if row.measured_at == bench.T0]
    bench.battery.rows[:] = frozen
    bench.read(Channel.STATE)  # the call succeeds; what it shows is half an hour old
    with pytest.raises(StaleTelemetryError):
        plan(bench, series)


def test_a_state_of_charge_from_the_future_is_not_fresh(bench, series):
    # The vendor's local time taken for UTC: the reading's real age is not known.
    bench.move(1800)
    bench.keep_state(0.5, -7200)
    with pytest.raises(StaleTelemetryError):
        plan(bench, series)


def test_a_plan_starts_from_the_state_of_charge_that_was_seen(bench, series):
    bench.keep_state(0.37, 120)
    plan(bench, series)
    assert bench.plans()[0].initial_soc == 0.37


def test_a_plan_on_the_boundary_begins_now(bench, series):
    bench.read(Channel.STATE)
    made = plan(bench, series)
    assert made.table.index[0] == pd.Timestamp(bench.T0)
    assert len(made.table) == 12


def test_between_boundaries_a_plan_begins_with_the_next_interval(bench, series):
    bench.move(901)
    bench.read(Channel.STATE)
    plan(bench, series)
    (row,) = bench.plans()
    assert (row.begins_at, row.ends_at) == (bench.at(1800), bench.at(3 * 3600))
    assert bench.intents()[0].not_before == bench.at(1800)


def test_the_record_of_a_plan_says_when_why_and_at_what_cost(bench, series):
    bench.read(Channel.STATE)
    bench.move(60)
    made = plan(bench, series, "a reason")
    (row,) = bench.plans()
    assert (row.made_at, row.why, row.solver) == (bench.at(60), "a reason", made.solver)
    assert row.cost_eur == made.cost_eur
    # 0.6 kW are bought whatever the hour: the interval that has begun is not in it.
    assert row.cost_without_battery_eur == pytest.approx(0.6 * 0.25 * (3 * 0.10 + 8 * 0.45))
    assert row.cost_eur < row.cost_without_battery_eur
    assert [entry["soc"] for entry in row.intervals] == list(made.table["soc"])


def test_a_plan_has_one_intent_per_interval_without_gaps(bench, series):
    bench.read(Channel.STATE)
    plan(bench, series)
    intents = bench.intents()
    assert len(intents) == 12
    assert [row.not_before for row in intents] == [bench.at(900 * n) for n in range(12)]
    assert [row.not_after for row in intents] == [bench.at(900 * (n + 1)) for n in range(12)]
    assert {row.mode for row in intents} >= {"charge"}, "cheap hours come first"
    assert not any(row.superseded for row in intents)
    assert all(row.in_force_at is None and row.verdict is None for row in intents)


def test_a_least_final_state_of_charge_is_kept(bench, series):
    bench.read(Channel.STATE)
    free = plan(bench, series).table["soc"].iloc[-1]
    bound = plan(bench, series, final_soc_min=0.8).table["soc"].iloc[-1]
    assert free < 0.8
    assert bound == pytest.approx(0.8)


def test_a_new_plan_supersedes_what_has_not_begun_and_nothing_else(bench, series):
    bench.read(Channel.STATE)
    plan(bench, series)
    bench.move(1000)
    bench.read(Channel.STATE)
    plan(bench, series, "again")
    old, new = bench.intents()[:12], bench.intents()[12:]
    assert [row.superseded for row in old] == [False, False] + [True] * 10
    assert [row.not_before for row in new] == [bench.at(900 * n) for n in range(2, 12)]
    assert not any(row.superseded for row in new)


def test_a_plan_that_fails_leaves_the_old_one_in_force(bench, series):
    bench.read(Channel.STATE)
    plan(bench, series)
    before = bench.intents()
    broken = series.assign(load_kw=float("nan"))
    with pytest.raises(InputError, match="load"):
        plan(bench, broken)
    assert len(bench.plans()) == 1
    assert [row.superseded for row in bench.intents()] == [row.superseded for row in before]


def test_a_horizon_that_is_over_is_refused(bench, series):
    bench.move(4 * 3600)
    bench.keep_state(0.5)
    with pytest.raises(InputError, match="no rows"):
        plan(bench, series)


@pytest.mark.parametrize("freq", ["15min", None], ids=["index with a freq", "index from a file or a database"])
def test_the_last_interval_alone_can_still_be_planned(bench, series, freq):
    series.index = pd.DatetimeIndex(list(series.index), freq=freq)
    bench.move(9500)  # in the interval before the last
    bench.keep_state(0.5)
    plan(bench, series)
    (intent,) = bench.intents()
    assert (intent.not_before, intent.not_after) == (bench.at(9900), bench.at(10800))


def test_a_plan_of_one_site_does_not_touch_another(bench, series, site):
    other = register_site(bench.db, site.model_copy(update={"name": "other"}), bench.vendor, "scripted", "B2")
    bench.read(Channel.STATE)
    plan(bench, series)
    keep(bench.db, bench.T0, other.id, Telemetry(Channel.STATE, bench.T0, soc=0.9))
    plan_site(bench.db, bench.clock, other, series, "other")
    assert [row.superseded for row in bench.intents()] == [False] * 24


# Looking plans and intents up


def test_plans_between_are_those_that_begin_in_the_half_open_time_as_they_were_made(bench, series):
    bench.read(Channel.STATE)
    assert plans_between(bench.db, bench.target.id, bench.T0, bench.at(1)) == []
    plan(bench, series, "first")
    plan(bench, series, "second, for the same horizon")
    bench.move(900)
    bench.read(Channel.STATE)
    plan(bench, series, "for a later one")

    def between(begin_s, end_s):
        return [row.why for row in plans_between(bench.db, bench.target.id, bench.at(begin_s), bench.at(end_s))]

    assert between(0, 900) == ["first", "second, for the same horizon"]
    assert between(1, 901) == ["for a later one"]
    assert plans_between(bench.db, bench.target.id + 1, bench.T0, bench.at(1)) == []


def test_intents_between_are_those_in_force_that_last_in_any_part_of_the_half_open_time(bench, series):
    bench.read(Channel.STATE)
    plan(bench, series)
    bench.move(900)
    bench.read(Channel.STATE)
    plan(bench, series)
    found = intents_between(bench.db, bench.target.id, bench.at(900), bench.at(3600))
    assert [row.not_before for row in found] == [bench.at(900), bench.at(1800), bench.at(2700)]
    assert {row.plan_id for row in found} == {2}
    assert [row.plan_id for row in intents_between(bench.db, bench.target.id, bench.T0, bench.at(901))] == [1, 2]
    assert intents_between(bench.db, bench.target.id + 1, bench.T0, bench.at(3600)) == []


# How far the state of charge is from the plan


def test_the_deviation_is_seen_less_planned_at_the_end_of_an_interval(bench, series):
    bench.read(Channel.STATE)
    made = plan(bench, series)
    bench.move(1800)
    planned = float(made.table["soc"].iloc[1])
    bench.keep_state(planned - 0.04)
    assert bench.deviation() == pytest.approx(-0.04)


def test_a_battery_fuller_than_planned_deviates_upwards(bench, series):
    bench.read(Channel.STATE)
    made = plan(bench, series)
    bench.move(900)
    bench.keep_state(float(made.table["soc"].iloc[0]) + 0.03)
    assert bench.deviation() == pytest.approx(0.03)


def test_a_plan_begins_without_deviation_and_after_its_horizon_none_can_be_told(bench, series):
    bench.read(Channel.STATE)
    plan(bench, series)
    assert bench.deviation() == pytest.approx(0.0)
    bench.move(3 * 3600 + 300)
    bench.keep_state(0.2)
    assert bench.deviation() is None


def test_the_deviation_within_an_interval_is_from_the_straight_line_between_its_ends(bench, series):
    bench.read(Channel.STATE)
    planned = plan(bench, series)
    bench.move(300)
    bench.keep_state(0.2)
    start, end = planned.problem.initial_soc, float(planned.table["soc"].iloc[0])
    assert bench.deviation() == pytest.approx(0.2 - (start + (end - start) / 3))


def test_the_end_of_the_last_interval_can_be_compared(bench, series):
    bench.read(Channel.STATE)
    made = plan(bench, series)
    bench.move(12 * 900)
    bench.keep_state(0.6)
    assert bench.deviation() == pytest.approx(0.6 - float(made.table["soc"].iloc[-1]))


def test_without_a_plan_or_a_reading_there_is_no_deviation(bench, series):
    assert bench.deviation() is None
    bench.read(Channel.STATE)
    assert bench.deviation() is None
    plan(bench, series)
    bench.move(900)
    bench.keep_state(None)
    assert bench.deviation() is None


def test_the_deviation_is_from_the_newest_plan(bench, series):
    bench.read(Channel.STATE)
    plan(bench, series)
    bench.move(900)
    bench.keep_state(0.30)
    newer = plan(bench, series)
    assert newer.problem.initial_soc == 0.30
    bench.move(900)
    bench.keep_state(float(newer.table["soc"].iloc[0]))
    assert bench.deviation() == pytest.approx(0.0)


# Confirming


def run_minutes(bench, minutes: int) -> None:
    """The loop of a demonstration: powers each minute, a state and a judgement each five, a tick each quarter."""
    for quarter in range(4 * minutes + 1):
        if quarter:
            bench.move(15)
        if quarter % 4 == 0:
            bench.read(Channel.POWER)
        if quarter % 20 == 0:
            bench.read(Channel.STATE)
            confirm(bench.db, bench.clock, [bench.target])
        bench.tick()


def verdicts(bench) -> list[Verdict | None]:
    return [row.verdict for row in bench.intents()]


def test_intents_that_the_device_follows_are_confirmed(bench):
    bench.plan(
        bench.intent("charge", 2.0, 0, 900),
        bench.intent("hold", 0.0, 900, 1800),
        bench.intent("self_consumption", 0.0, 1800, 2700),
        bench.intent("discharge", 3.0, 2700, 3600),
    )
    run_minutes(bench, 61)
    assert verdicts(bench) == [Verdict.CONFIRMED] * 4


def test_an_intent_is_not_judged_before_it_begins(bench):
    bench.plan(bench.intent("charge", 2.0, 600, 1500))
    run_minutes(bench, 5)
    assert verdicts(bench) == [None]


def test_an_intent_under_way_is_judged_as_soon_as_enough_is_seen(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    run_minutes(bench, 4)
    assert verdicts(bench) == [None]
    bench.move(60)
    bench.read(Channel.POWER)
    bench.read(Channel.STATE)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [Verdict.CONFIRMED]


def test_a_device_that_stores_commands_and_does_nothing_is_found_out(bench, monkeypatch):
    monkeypatch.setattr(bench.battery, "take", lambda _: None)
    bench.plan(bench.intent("charge", 2.0, 0, 900), bench.intent("discharge", 3.0, 900, 1800))
    run_minutes(bench, 31)
    assert set(bench.states()) == {"accepted"}, "the receipts were fine"
    assert verdicts(bench) == [Verdict.NOT_EFFECTIVE] * 2


def test_a_device_with_the_sign_turned_round_is_found_out(bench):
    bench.vendor.power_factor = -1.0
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    run_minutes(bench, 16)
    assert verdicts(bench) == [Verdict.OPPOSITE]


def test_a_verdict_follows_the_latest_readings(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    run_minutes(bench, 5)
    assert verdicts(bench) == [Verdict.CONFIRMED]
    bench.vendor.will_always("reject")  # the device lapses, and nobody can help it
    run_minutes(bench, 10)
    assert verdicts(bench) == [Verdict.NOT_EFFECTIVE]


def test_without_telemetry_an_intent_ends_unknown_and_not_before_its_end(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    bench.tick()
    bench.move(899)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [None]
    bench.move(1)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [Verdict.UNKNOWN]


def test_an_intent_that_was_never_sent_ends_unknown_however_well_the_battery_fits(bench):
    # The battery holds still by chance; nobody asked it to.
    bench.battery.load_kw = bench.battery.pv_kw
    bench.plan(bench.intent("hold", 0.0, 0, 900))
    bench.vendor.will_always("reject")
    run_minutes(bench, 16)
    assert verdicts(bench) == [Verdict.UNKNOWN]


def test_a_reading_that_comes_late_still_turns_unknown_into_a_verdict(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    bench.run(885)
    bench.read(Channel.STATE)
    bench.move(15)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [Verdict.UNKNOWN]
    bench.read(Channel.STATE)
    bench.read(Channel.POWER)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [Verdict.CONFIRMED]


def test_a_superseded_intent_is_not_judged(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    bench.plan(bench.intent("discharge", 2.0, 0, 900))
    run_minutes(bench, 16)
    assert verdicts(bench) == [None, Verdict.CONFIRMED]


def test_intents_that_ended_while_nobody_was_looking_are_closed_too(bench):
    # The process was down for an hour over the end of the intent.
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    run_minutes(bench, 2)
    bench.move(3600)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [Verdict.UNKNOWN]


def test_a_verdict_is_not_taken_back_when_its_time_is_long_over(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900))
    run_minutes(bench, 16)
    assert verdicts(bench) == [Verdict.CONFIRMED]
    bench.move(7200)
    confirm(bench.db, bench.clock, [bench.target])
    assert verdicts(bench) == [Verdict.CONFIRMED]
