"""`judge` with the plant of the engine behind the readings: who obeys is confirmed, and nobody else."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from adapters.contract import Telemetry
from engine.intent import IntentMode
from engine.plant import PlantCommand, PlantMode
from schedules.confirmation import Tolerance
from schedules.store import Verdict
from tests.intents import CHARGE, DISCHARGE, HOLD
from tests.schedules.evidence import UNMOVED, at, power, state, verdict, wanted, watched

POWERS_KW = st.floats(0.5, 5.0)
HOUSES_KW = st.floats(0.0, 6.0)
MIDDLE_SOC = st.floats(0.35, 0.65)
PROPERTY = settings(max_examples=60, deadline=None, derandomize=True, database=None)


@PROPERTY
@given(mode=st.sampled_from([CHARGE, DISCHARGE]), power_kw=POWERS_KW, soc=MIDDLE_SOC, load_kw=HOUSES_KW)
def test_a_plant_that_obeys_is_confirmed(mode, power_kw, soc, load_kw):
    intent = wanted(mode, power_kw)
    seen = watched(PlantCommand(PlantMode.SET_POINT, intent.battery_kw), soc=soc, load_kw=load_kw, pv_kw=0.0)
    assert verdict(intent, seen) is Verdict.CONFIRMED


@PROPERTY
@given(mode=st.sampled_from([CHARGE, DISCHARGE]), power_kw=POWERS_KW, soc=MIDDLE_SOC, minutes=st.integers(0, 15))
def test_a_plant_that_does_the_opposite_is_never_confirmed(mode, power_kw, soc, minutes):
    intent = wanted(mode, power_kw)
    opposite = PlantCommand(PlantMode.SET_POINT, -intent.battery_kw)
    seen = watched(opposite, soc=soc, load_kw=1.0, pv_kw=0.0, seconds=60 * minutes)
    assert verdict(intent, seen) is not Verdict.CONFIRMED


@PROPERTY
@given(mode=st.sampled_from([CHARGE, DISCHARGE]), power_kw=POWERS_KW, soc=MIDDLE_SOC, minutes=st.integers(0, 15))
def test_a_sign_that_is_wrong_both_ways_is_never_confirmed(mode, power_kw, soc, minutes):
    # The command goes out with the wrong sign and the reading comes back with it: only the state of charge tells.
    intent = wanted(mode, power_kw)
    opposite = PlantCommand(PlantMode.SET_POINT, -intent.battery_kw)
    flipped = [
        Telemetry(r.channel, r.measured_at, None if r.battery_kw is None else -r.battery_kw, soc=r.soc)
        for r in watched(opposite, soc=soc, load_kw=1.0, pv_kw=0.0, seconds=60 * minutes)
    ]
    seen = verdict(intent, flipped)
    assert seen is not Verdict.CONFIRMED
    if minutes >= 5:
        assert seen is Verdict.NOT_EFFECTIVE


@PROPERTY
@given(
    mode=st.sampled_from([CHARGE, DISCHARGE, HOLD]),
    power_kw=POWERS_KW,
    soc=MIDDLE_SOC,
    load_kw=HOUSES_KW,
    pv_kw=HOUSES_KW,
)
def test_a_plant_that_ignores_the_command_and_follows_the_house_is_never_confirmed(mode, power_kw, soc, load_kw, pv_kw):
    intent = wanted(mode, 0.0 if mode is HOLD else power_kw)
    does_kw = max(-5.0, min(5.0, load_kw - pv_kw))
    assume(abs(does_kw - intent.battery_kw) > Tolerance().power(intent.power_kw) + 0.01)
    seen = watched(PlantCommand(), soc=soc, load_kw=load_kw, pv_kw=pv_kw)
    assert verdict(intent, seen) is Verdict.NOT_EFFECTIVE


@PROPERTY
@given(mode=st.sampled_from([CHARGE, DISCHARGE]), power_kw=POWERS_KW, soc=MIDDLE_SOC, shown=st.floats(-6.0, 6.0))
def test_a_battery_that_rests_is_never_confirmed_whatever_power_is_shown(mode, power_kw, soc, shown):
    readings = [power(240, shown), power(300, shown), state(0, round(soc, 3)), state(300, round(soc, 3))]
    assert verdict(wanted(mode, power_kw), readings) is not Verdict.CONFIRMED


@PROPERTY
@given(
    power_kw=st.floats(0.5, 5.0),
    others_kw=st.lists(st.one_of(st.none(), st.floats(-6.0, 6.0)), max_size=8),
    mode=st.sampled_from(list(IntentMode)),
)
def test_any_readings_get_a_verdict_or_none_and_never_an_exception(power_kw, others_kw, mode):
    intent = wanted(mode, power_kw if mode in (CHARGE, DISCHARGE) else 0.0)
    readings = [power(60 * minute, kw) for minute, kw in enumerate(others_kw)]
    seen = verdict(intent, [*readings, *UNMOVED])
    usable = [reading for reading in readings if reading.battery_kw is not None and reading.measured_at >= at(20)]
    assert (seen is None) or (isinstance(seen, Verdict) and len(usable) >= 2)
