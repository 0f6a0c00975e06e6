from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from engine import InputError
from schedules import safety
from schedules.plausibility import Doubt, Finding
from schedules.safety import CALM_S, SEVERITY, apply, clear, note_external, step
from schedules.signs import EXTERNAL_EVENT, Signs, local_midnight, signs_of
from schedules.store import (
    CommandRow,
    CommandState,
    EventRow,
    IntentRow,
    SafetyState,
    SiteRow,
    TelemetryRow,
    Verdict,
)
from schedules.store.models import CommandKind
from schedules.verdicts import confirm

NORMAL, DEGRADED, FALLBACK, QUARANTINED = SEVERITY
NOW = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
WELL = Signs(state_age_s=60.0, state_cadence_s=300.0)
SIGN, UNIT, FROZEN, SOC = (Finding(doubt, "as seen") for doubt in Doubt)

# Signs, and what they call for.
TABLE = [
    pytest.param(WELL, NORMAL, id="well"),
    pytest.param(replace(WELL, state_age_s=900.0), NORMAL, id="three cadences old"),
    pytest.param(replace(WELL, state_age_s=901.0), DEGRADED, id="stale"),
    pytest.param(replace(WELL, state_age_s=3600.0), DEGRADED, id="an hour old"),
    pytest.param(replace(WELL, state_age_s=3601.0), FALLBACK, id="lost"),
    pytest.param(replace(WELL, state_age_s=None), DEGRADED, id="never seen"),
    pytest.param(replace(WELL, ineffective=2), NORMAL, id="two without effect"),
    pytest.param(replace(WELL, ineffective=3), DEGRADED, id="three without effect"),
    pytest.param(replace(WELL, ineffective=6), FALLBACK, id="six without effect"),
    pytest.param(replace(WELL, unknown_s=899.0), NORMAL, id="unknown for less than a quarter-hour"),
    pytest.param(replace(WELL, unknown_s=900.0), DEGRADED, id="unknown for a quarter-hour"),
    pytest.param(replace(WELL, unknown_s=3600.0), FALLBACK, id="unknown for an hour"),
    pytest.param(replace(WELL, external=2), NORMAL, id="changed twice"),
    pytest.param(replace(WELL, external=3), FALLBACK, id="changed three times"),
    pytest.param(replace(WELL, findings=(FROZEN,)), DEGRADED, id="frozen"),
    pytest.param(replace(WELL, findings=(SOC,)), DEGRADED, id="no state of charge"),
    pytest.param(replace(WELL, findings=(SIGN,)), QUARANTINED, id="sign"),
    pytest.param(replace(WELL, findings=(UNIT,)), QUARANTINED, id="unit"),
    pytest.param(replace(WELL, opposite=True), QUARANTINED, id="did the opposite"),
    pytest.param(replace(WELL, findings=(FROZEN, SIGN), external=3), QUARANTINED, id="the worst decides"),
]
SIGNS = st.builds(
    Signs,
    state_age_s=st.none() | st.floats(0, 7200),
    state_cadence_s=st.just(300.0),
    findings=st.lists(st.sampled_from([SIGN, UNIT, FROZEN, SOC]), max_size=2).map(tuple),
    ineffective=st.integers(0, 6),
    opposite=st.booleans(),
    unknown_s=st.floats(0, 7200),
    external=st.integers(0, 5),
)


@pytest.mark.parametrize(("signs", "state"), TABLE)
def test_what_signs_call_for_comes_at_once_and_with_a_reason(signs, state):
    found, reason = step(NORMAL, NOW, signs, NOW)
    assert found is state
    assert bool(reason) is (state is not NORMAL)


@pytest.mark.parametrize("state", [DEGRADED, FALLBACK])
def test_up_only_when_the_cause_has_been_gone_for_a_while(state):
    calm = dt.timedelta(seconds=CALM_S)
    assert step(state, NOW - calm + dt.timedelta(seconds=1), WELL, NOW)[0] is state
    assert step(state, NOW - calm, WELL, NOW)[0] is NORMAL


def test_from_fallback_to_degraded_waits_as_well():
    stale = replace(WELL, state_age_s=1000.0)
    assert step(FALLBACK, NOW, stale, NOW)[0] is FALLBACK
    assert step(FALLBACK, NOW - dt.timedelta(hours=1), stale, NOW)[0] is DEGRADED


@given(SIGNS, st.sampled_from(SEVERITY), st.none() | st.timedeltas(dt.timedelta(0), dt.timedelta(days=9)))
def test_a_site_is_never_trusted_more_than_its_signs_allow_and_leaves_quarantine_never(signs, state, ago):
    found, _ = step(state, None if ago is None else NOW - ago, signs, NOW)
    assert SEVERITY.index(found) >= SEVERITY.index(safety.called_for(signs)[0])
    assert state is not QUARANTINED or found is QUARANTINED
    again, _ = step(found, NOW, signs, NOW)
    assert again is found, "twice is as once"


# In the store


@pytest.fixture
def watched(bench):
    bench.read()
    return bench


def judge(bench) -> SafetyState:
    signs = signs_of(bench.db, bench.clock, [bench.target])[bench.target.id]
    return apply(bench.db, bench.clock, bench.target.id, signs, "test")


def site_row(bench) -> SiteRow:
    with bench.db.session() as session:
        return session.get_one(SiteRow, bench.target.id)


def events(bench) -> list[str]:
    with bench.db.session() as session:
        return list(
            session.scalars(select(EventRow.kind).where(EventRow.site_id == bench.target.id).order_by(EventRow.id))
        )


def run_minutes(bench, minutes: int) -> set[SafetyState]:
    """Tick, read, confirm and judge each minute; the states on the way."""
    seen = set()
    for _ in range(minutes):
        for _ in range(4):
            bench.tick()
            bench.move(15)
        bench.read()
        confirm(bench.db, bench.clock, [bench.target])
        seen.add(judge(bench))
    return seen


def test_a_site_that_was_never_read_is_degraded_and_a_fresh_one_normal(bench):
    assert judge(bench) is DEGRADED
    bench.read()
    bench.move(CALM_S)
    bench.read()
    assert judge(bench) is NORMAL
    assert events(bench) == ["site.degraded", "site.normal"]
    assert site_row(bench).safety_since == bench.clock()


def test_age_is_by_the_vendors_time(watched):
    assert judge(watched) is NORMAL
    row = watched.battery.rows[0]
    watched.move(1200)
    watched.battery.rows[:] = [row]
    watched.read()  # the call works; what it shows is twenty minutes old
    assert judge(watched) is DEGRADED
    assert "seen 20 min ago" in site_row(watched).safety_reason
    watched.move(3000)
    assert judge(watched) is FALLBACK
    assert events(watched) == ["site.degraded", "site.fallback"]


def test_a_cause_that_comes_and_goes_keeps_the_state(watched):
    stale = replace(WELL, state_age_s=1000.0)
    for _ in range(5):
        assert apply(watched.db, watched.clock, watched.target.id, stale, "test") is DEGRADED
        watched.move(CALM_S - 1)
        assert apply(watched.db, watched.clock, watched.target.id, WELL, "test") is DEGRADED
    watched.move(1)
    assert apply(watched.db, watched.clock, watched.target.id, WELL, "test") is NORMAL
    assert events(watched) == ["site.degraded", "site.normal"], "one change, one event"


def test_a_device_whose_sign_is_turned_round_is_quarantined_within_a_quarter_hour(bench):
    bench.vendor.power_factor = -1.0
    bench.plan(bench.intent("charge", 3.0, 0, 900))
    run_minutes(bench, 15)
    assert site_row(bench).safety is QUARANTINED
    assert "opposite" in site_row(bench).safety_reason


def test_telemetry_whose_sign_is_turned_round_is_quarantined_within_a_quarter_hour(bench, monkeypatch):
    honest = bench.battery._row
    monkeypatch.setattr(bench.battery, "_row", lambda: replace(row := honest(), battery_kw=-row.battery_kw))
    bench.plan(bench.intent("discharge", 3.0, 0, 900))
    run_minutes(bench, 15)
    assert site_row(bench).safety is QUARANTINED


def test_a_site_that_does_as_told_stays_normal(watched):
    watched.plan(
        watched.intent("charge", 3.0, 0, 1800),
        watched.intent("hold", 0.0, 1800, 2700),
        watched.intent("discharge", 2.0, 2700, 3600),
        watched.intent("self_consumption", 0.0, 3600, 5400),
    )
    assert run_minutes(watched, 90) == {NORMAL}


def test_a_device_that_does_not_obey_is_let_be_and_tried_again_after_an_hour(watched, monkeypatch):
    monkeypatch.setattr(watched.battery, "take", lambda _: None)
    watched.plan(*(watched.intent("charge", 3.0, 900 * n, 900 * n + 900) for n in range(3)))
    run_minutes(watched, 46)
    assert site_row(watched).safety is DEGRADED
    assert "3 stretches in a row" in site_row(watched).safety_reason
    run_minutes(watched, 58)
    assert site_row(watched).safety is DEGRADED
    run_minutes(watched, 15)
    assert site_row(watched).safety is NORMAL


def test_an_unknown_command_that_does_not_settle_degrades_and_then_releases(watched):
    watched.plan(watched.intent("charge", 3.0, 0, 7200))
    watched.vendor.will("lose request")
    watched.tick()
    for seconds, state in ((890, NORMAL), (10, DEGRADED), (2700, FALLBACK)):
        watched.move(seconds)
        watched.read()
        assert judge(watched) is state
    assert "unknown for 60 min" in site_row(watched).safety_reason


def test_three_changes_by_others_are_yielded_to_until_the_local_day_ends(watched):
    changed(watched)
    changed(watched)
    assert judge(watched) is NORMAL
    changed(watched)
    assert judge(watched) is FALLBACK
    assert "external" in site_row(watched).safety_reason
    watched.clock.move_to(dt.datetime(2024, 4, 10, 23, 59, tzinfo=dt.UTC))
    watched.read()
    assert judge(watched) is FALLBACK
    watched.move(60 + CALM_S)
    watched.read()
    assert judge(watched) is NORMAL


def changed(bench) -> None:
    note_external(bench.db, bench.clock, bench.target.id, "test", "by hand")


def test_the_local_day_is_the_sites():
    # In Copenhagen the day of 2024-04-10 began at 22:00 UTC of the day before.
    begun = local_midnight(NOW, "Europe/Copenhagen")
    assert begun == dt.datetime(2024, 4, 9, 22, 0, tzinfo=dt.UTC)
    spring = local_midnight(dt.datetime(2024, 3, 31, 12, tzinfo=dt.UTC), "Europe/Copenhagen")
    assert spring == dt.datetime(2024, 3, 30, 23, 0, tzinfo=dt.UTC)


def test_a_change_by_others_is_seen_within_two_reads_and_counted_once(watched):
    watched.plan(watched.intent("charge", 3.0, 0, 3600))
    run_minutes(watched, 5)
    assert [row.verdict for row in watched.intents()] == [Verdict.CONFIRMED]
    orders, watched.battery.lapses_at = watched.battery.plant, None
    for minute in range(3):
        orders.command = replace(orders.command, power_kw=2.0)  # by the owner's app
        watched.move(60)
        watched.read()
        confirm(watched.db, watched.clock, [watched.target])
        assert events(watched).count(EXTERNAL_EVENT) == (minute >= 1)
    assert [row.verdict for row in watched.intents()] == [Verdict.EXTERNAL]


def test_somebody_who_overrules_us_each_time_is_yielded_to_after_three(watched):
    """Another controller writes after each of our renewals."""
    watched.plan(watched.intent("charge", 3.0, 0, 3600))
    run_minutes(watched, 5)
    before = len(watched.vendor.wire)
    plant, minutes = watched.battery.plant, 0
    while site_row(watched).safety is NORMAL and minutes < 30:
        for _ in range(4):
            watched.tick()
            plant.command, watched.battery.lapses_at = replace(plant.command, power_kw=2.0), None
            watched.move(15)
        watched.read()
        confirm(watched.db, watched.clock, [watched.target])
        judge(watched)
        minutes += 1
    assert site_row(watched).safety is FALLBACK
    assert minutes <= 8
    assert events(watched).count(EXTERNAL_EVENT) == safety.EXTERNAL_YIELDS
    watched.run(900)
    kinds = [sent.kind for sent in watched.vendor.wire[before:]]
    assert kinds.count("renew") <= 12, "a renewal each 45 s until then"
    assert kinds[-1] == "release"


@pytest.mark.parametrize("ours_since", [False, True], ids=["nobody of us", "we drove it since"])
def test_a_device_that_is_driven_when_we_let_it_be_is_somebody_elses(bench, ours_since):
    """The readings fit the house: only the device's own word tells."""
    bench.plan(bench.intent("self_consumption", 0.0, 0, 900))
    bench.tick()
    readings = [(60, False), (120, False), (300, True), (360, True)]
    with bench.db.session() as session, session.begin():
        session.add_all(
            TelemetryRow(
                site_id=bench.target.id,
                channel="power",
                measured_at=bench.at(second),
                received_at=bench.at(second),
                battery_kw=0.6,
                load_kw=0.9,
                pv_kw=0.3,
                dispatch_active=active,
            )
            for second, active in readings
        )
        if ours_since:
            session.add(
                CommandRow(
                    site_id=bench.target.id,
                    kind=CommandKind.START,
                    battery_kw=1.0,
                    payload={},
                    state=CommandState.ACCEPTED,
                    sent_at=bench.at(200),
                )
            )
    bench.move(400)
    confirm(bench.db, bench.clock, [bench.target])
    assert [row.verdict for row in bench.intents()] == [Verdict.CONFIRMED if ours_since else Verdict.EXTERNAL]
    assert (EXTERNAL_EVENT in events(bench)) is not ours_since


def test_quarantine_is_left_only_by_a_person_and_what_was_before_counts_no_more(watched):
    twisted = replace(WELL, findings=(SIGN,))
    apply(watched.db, watched.clock, watched.target.id, twisted, "test")
    watched.move(10 * CALM_S)
    watched.read()
    assert judge(watched) is QUARANTINED
    with watched.db.session() as session, session.begin():
        session.add(opposite(watched))
    clear(watched.db, watched.clock, "bench", "ada", "meter was mounted backwards, turned round")
    assert site_row(watched).safety is DEGRADED
    assert "ada" in site_row(watched).safety_reason
    assert judge(watched) is DEGRADED
    watched.move(CALM_S)
    watched.read()
    assert judge(watched) is NORMAL
    assert events(watched) == ["site.quarantined", "site.cleared", "site.normal"]


def opposite(bench) -> IntentRow:
    return IntentRow(
        site_id=bench.target.id,
        mode="charge",
        power_kw=3.0,
        not_before=bench.at(0),
        not_after=bench.at(900),
        in_force_at=bench.at(0),
        verdict=Verdict.OPPOSITE,
    )


@pytest.mark.parametrize(
    ("site", "by", "reason", "names"),
    [
        ("nowhere", "ada", "fine", "site: value 'nowhere'"),
        ("bench", "", "fine", "reason"),
        ("bench", "ada", " ", "reason"),
    ],
)
def test_a_clearing_names_a_site_a_person_and_a_reason(watched, site, by, reason, names):
    with pytest.raises(InputError, match=names):
        clear(watched.db, watched.clock, site, by, reason)
    assert events(watched) == []


def test_frozen_values_degrade(watched):
    with watched.db.session() as session, session.begin():
        session.add_all(
            TelemetryRow(
                site_id=watched.target.id,
                channel="state",
                measured_at=watched.at(60 * minute),
                received_at=watched.at(60 * minute),
                battery_kw=3.0,
                soc=0.5,
            )
            for minute in range(1, 16)
        )
    watched.move(900)
    assert judge(watched) is DEGRADED
    assert "frozen" in site_row(watched).safety_reason


# The guards


def test_without_its_guard_quarantine_would_be_left_by_itself(without_guard):
    careless = without_guard(step, "SafetyState.QUARANTINED")
    assert careless(QUARANTINED, NOW - dt.timedelta(days=1), WELL, NOW)[0] is NORMAL


def test_without_its_guard_one_good_reading_would_send_a_site_to_and_fro(without_guard):
    careless = without_guard(step, "CALM_S")
    assert careless(DEGRADED, NOW, WELL, NOW)[0] is NORMAL
