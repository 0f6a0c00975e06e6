"""The truth table of `judge`: a receipt proves nothing, and neither does half of the evidence."""

from __future__ import annotations

import pytest

from adapters.contract import Channel, Telemetry
from engine.plant import PlantCommand, PlantMode
from schedules import confirmation
from schedules.confirmation import Tolerance, judge
from schedules.store import Verdict
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD
from tests.schedules.evidence import (
    BATTERY,
    CHARGED,
    DISCHARGED,
    QUARTER_HOUR_S,
    SETTLING_S,
    UNMOVED,
    at,
    minutes,
    power,
    state,
    verdict,
    wanted,
    watched,
)

# What it takes to be CONFIRMED


@pytest.mark.parametrize(
    ("mode", "seen_kw", "states"), [(CHARGE, -3.0, CHARGED), (DISCHARGE, 3.0, DISCHARGED)], ids=["charge", "discharge"]
)
def test_right_power_twice_and_the_right_slope_confirm(mode, seen_kw, states):
    assert verdict(wanted(mode, 3.0), [power(60, seen_kw), power(120, seen_kw), *states]) is Verdict.CONFIRMED


def test_one_reading_is_too_few():
    assert verdict(wanted(CHARGE, 3.0), [power(60, -3.0), *CHARGED]) is None


def test_one_moment_seen_on_two_channels_is_one_reading():
    # The cloud shows the same row on both channels when their cadences meet: that is one measurement, not two.
    both = [power(300, -3.0), Telemetry(Channel.STATE, at(300), battery_kw=-3.0, soc=0.524)]
    assert verdict(wanted(CHARGE, 3.0), [state(0, 0.5), *both]) is None


def test_a_moment_on_two_channels_does_not_hide_the_reading_before_it():
    readings = [
        state(0, 0.5),
        power(240, 0.0),
        power(300, -3.0),
        Telemetry(Channel.STATE, at(300), battery_kw=-3.0, soc=0.524),
    ]
    assert verdict(wanted(CHARGE, 3.0), readings) is None, "one in, one out"


def test_readings_before_the_command_could_work_do_not_count():
    early = [power(5, -3.0), power(19, -3.0)]
    assert verdict(wanted(CHARGE, 3.0), [*early, *CHARGED]) is None
    assert verdict(wanted(CHARGE, 3.0), [*early, power(60, -3.0), *CHARGED]) is None


def test_a_reading_exactly_at_the_end_of_settling_counts():
    assert verdict(wanted(CHARGE, 3.0), [power(20, -3.0), power(60, -3.0), *CHARGED]) is Verdict.CONFIRMED


def test_settling_is_counted_from_when_the_command_was_in_force():
    readings = [power(60, -3.0), power(120, -3.0), state(120, 0.5), state(420, 0.524)]
    assert verdict(wanted(CHARGE, 3.0), readings, in_force_s=110) is None
    assert verdict(wanted(CHARGE, 3.0), readings, in_force_s=30) is Verdict.CONFIRMED


def test_samples_that_are_fresh_by_http_but_old_by_the_vendor_do_not_count():
    # Asked for twice, minutes after the command; the vendor's clock says that both were taken before it worked.
    stuck = [power(-30, -3.0), power(10, -3.0), state(-300, 0.476), state(0, 0.5)]
    assert verdict(wanted(CHARGE, 3.0), stuck) is None


def test_readings_after_the_end_do_not_count():
    late = [power(QUARTER_HOUR_S + 1, -3.0), power(QUARTER_HOUR_S + 61, -3.0)]
    assert verdict(wanted(CHARGE, 3.0), [*late, *CHARGED]) is None
    assert verdict(wanted(CHARGE, 3.0), [power(60, 0.0), power(120, 0.0), *late, *UNMOVED]) is Verdict.NOT_EFFECTIVE


def test_readings_without_a_power_do_not_count():
    assert verdict(wanted(CHARGE, 3.0), [power(60, -3.0), power(120, None), *CHARGED]) is None
    assert verdict(wanted(CHARGE, 3.0), [power(60, -3.0), power(90, None), power(120, -3.0), *CHARGED]) is (
        Verdict.CONFIRMED
    )


def test_following_late_is_not_following():
    readings = [power(60, 0.0), power(120, 0.0), power(180, -3.0), power(240, -3.0), *CHARGED]
    assert verdict(wanted(CHARGE, 3.0), readings) is Verdict.NOT_EFFECTIVE
    one_slip_in_six = [power(60, 0.0), *(power(60 * minute, -3.0) for minute in range(2, 7)), *CHARGED]
    assert verdict(wanted(CHARGE, 3.0), one_slip_in_six) is Verdict.CONFIRMED


def test_what_was_lost_in_the_end_is_not_effective():
    lost = [power(60, -3.0), power(120, -3.0), power(180, 0.0), power(240, 0.0), *CHARGED]
    assert verdict(wanted(CHARGE, 3.0), lost) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize("pair", [(-3.0, 0.0), (0.0, -3.0)])
def test_one_in_and_one_out_say_nothing_yet(pair):
    readings = [power(60, pair[0]), power(120, pair[1]), *CHARGED]
    assert verdict(wanted(CHARGE, 3.0), readings) is None


def test_no_telemetry_says_nothing():
    assert verdict(wanted(CHARGE, 3.0), []) is None


@pytest.mark.parametrize("states", [[], [state(0, 0.5)], [state(0, None), state(300, None)]])
def test_power_without_a_slope_to_hold_it_against_does_not_confirm(states):
    assert verdict(wanted(CHARGE, 3.0), [power(60, -3.0), power(120, -3.0), *states]) is None


def test_states_from_before_the_command_are_no_slope():
    old = [state(-600, 0.45), state(-300, 0.474)]
    assert verdict(wanted(CHARGE, 3.0), [power(60, -3.0), power(120, -3.0), *old]) is None


# The tolerance


@pytest.mark.parametrize(
    ("asked_kw", "seen_kw", "inside"),
    [
        (1.0, 0.86, True),  # 150 W below 3 kW
        (1.0, 0.84, False),
        (5.0, 4.76, True),  # 5 % above it
        (5.0, 4.74, False),
        (5.0, 5.24, True),
        (5.0, 5.26, False),
    ],
)
def test_150_watts_or_5_percent_are_allowed_and_no_more(asked_kw, seen_kw, inside):
    # Five minutes at 1 kW are 0.9 %, at 5 kW 4.4 %: both states fit a discharge of either.
    readings = [power(60, seen_kw), power(120, seen_kw), state(0, 0.5), state(300, 0.48)]
    expected = Verdict.CONFIRMED if inside else Verdict.NOT_EFFECTIVE
    assert verdict(wanted(DISCHARGE, asked_kw), readings) is expected


def test_the_tolerance_is_what_it_is_told_to_be():
    readings = [power(60, -2.0), power(120, -2.0), *CHARGED]
    generous = Tolerance(power_kw=1.5)
    assert judge(wanted(CHARGE, 3.0), BATTERY, readings, at(0), SETTLING_S, generous) is Verdict.CONFIRMED
    assert verdict(wanted(CHARGE, 3.0), readings) is Verdict.NOT_EFFECTIVE


# Wrong sign, wrong unit, no effect


@pytest.mark.parametrize(("mode", "seen_kw", "states"), [(CHARGE, -3.0, DISCHARGED), (DISCHARGE, 3.0, CHARGED)])
def test_right_power_and_a_state_of_charge_going_the_wrong_way_is_not_effective(mode, seen_kw, states):
    assert verdict(wanted(mode, 3.0), [power(60, seen_kw), power(120, seen_kw), *states]) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize(("mode", "seen_kw"), [(CHARGE, -3.0), (DISCHARGE, 3.0)])
def test_right_power_and_a_state_of_charge_that_stands_still_is_not_effective(mode, seen_kw):
    assert verdict(wanted(mode, 3.0), [power(60, seen_kw), power(120, seen_kw), *UNMOVED]) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize(("mode", "seen_kw", "states"), [(CHARGE, 3.0, DISCHARGED), (DISCHARGE, -3.0, CHARGED)])
def test_the_opposite_power_is_not_effective(mode, seen_kw, states):
    assert verdict(wanted(mode, 3.0), [power(60, seen_kw), power(120, seen_kw), *states]) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize("factor", [1000.0, 1 / 1000], ids=["watts read as kW", "kW read as watts"])
@pytest.mark.parametrize(("mode", "sign", "states"), [(CHARGE, -1, CHARGED), (DISCHARGE, 1, DISCHARGED)])
def test_a_wrong_unit_is_not_effective(factor, mode, sign, states):
    seen_kw = sign * 3.0 * factor
    assert verdict(wanted(mode, 3.0), [power(60, seen_kw), power(120, seen_kw), *states]) is Verdict.NOT_EFFECTIVE


def test_a_command_that_arrived_a_thousandth_as_large_is_not_effective():
    seen = watched(PlantCommand(PlantMode.SET_POINT, -0.003), soc=0.5, load_kw=1.0, pv_kw=0.0)
    assert verdict(wanted(CHARGE, 3.0), seen) is Verdict.NOT_EFFECTIVE


def test_without_the_slope_an_inverted_battery_would_pass(monkeypatch):
    inverted = [power(60, -3.0), power(120, -3.0), *DISCHARGED]
    assert verdict(wanted(CHARGE, 3.0), inverted) is Verdict.NOT_EFFECTIVE
    monkeypatch.setattr(confirmation, "_slope_agrees", lambda *_: True)
    assert verdict(wanted(CHARGE, 3.0), inverted) is Verdict.CONFIRMED


# HOLD


def test_a_battery_that_holds_still_confirms_a_hold():
    assert verdict(wanted(HOLD), [power(60, 0.0), power(120, 0.05), *UNMOVED]) is Verdict.CONFIRMED


def test_standby_consumption_does_not_spoil_a_hold():
    # 50 W for a quarter of an hour are 0.13 % of 10 kWh.
    states = [state(0, 0.500), state(900, 0.499)]
    assert verdict(wanted(HOLD), [power(60, 0.05), power(120, 0.05), *states]) is Verdict.CONFIRMED


@pytest.mark.parametrize("drift", [-0.02, 0.02])
def test_a_hold_whose_state_of_charge_drifts_is_not_effective(drift):
    states = [state(0, 0.5), state(300, 0.5 + drift)]
    assert verdict(wanted(HOLD), [power(60, 0.0), power(120, 0.0), *states]) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize("seen_kw", [-0.4, 0.4])
def test_a_battery_that_moves_does_not_hold(seen_kw):
    assert verdict(wanted(HOLD), [power(60, seen_kw), power(120, seen_kw), *UNMOVED]) is Verdict.NOT_EFFECTIVE


def test_a_full_battery_that_moves_does_not_hold_either():
    full = [state(0, 1.0), state(300, 1.0)]
    assert verdict(wanted(HOLD), [power(60, -0.4), power(120, -0.4), *full]) is Verdict.NOT_EFFECTIVE


# Self-consumption


@pytest.mark.parametrize(
    ("load_kw", "pv_kw", "seen_kw"),
    [(1.2, 0.2, 1.0), (0.5, 3.5, -3.0), (0.7, 0.7, 0.0), (9.0, 0.0, 5.0), (0.0, 9.0, -5.0)],
    ids=["covers the house", "takes the surplus", "balance", "at its rating out", "at its rating in"],
)
def test_a_battery_that_follows_the_house_confirms_self_consumption(load_kw, pv_kw, seen_kw):
    readings = [power(60, seen_kw, load_kw, pv_kw), power(120, seen_kw, load_kw, pv_kw), *UNMOVED]
    assert verdict(wanted(FOLLOW), readings) is Verdict.CONFIRMED


def test_each_reading_is_held_against_the_house_of_its_own_moment():
    readings = [power(60, 2.0, 2.0), power(120, 0.5, 0.5), *UNMOVED]
    assert verdict(wanted(FOLLOW), readings) is Verdict.CONFIRMED
    swapped = [power(60, 0.5, 2.0), power(120, 2.0, 0.5), *UNMOVED]
    assert verdict(wanted(FOLLOW), swapped) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize("seen_kw", [0.0, -1.0, 3.0], ids=["rests", "goes against it", "overshoots"])
def test_a_battery_that_does_not_follow_the_house_is_not_effective(seen_kw):
    readings = [power(60, seen_kw, 1.0), power(120, seen_kw, 1.0), *UNMOVED]
    assert verdict(wanted(FOLLOW), readings) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize(("load_kw", "pv_kw"), [(None, 0.0), (1.0, None), (None, None)])
def test_a_house_that_is_not_seen_says_nothing_of_self_consumption(load_kw, pv_kw):
    readings = [power(60, 1.0, load_kw, pv_kw), power(120, 1.0, load_kw, pv_kw), *UNMOVED]
    assert verdict(wanted(FOLLOW), readings) is None


def test_an_empty_battery_that_leaves_the_house_to_the_grid_follows_as_it_should():
    empty = [state(0, 0.1), state(300, 0.1)]
    assert verdict(wanted(FOLLOW), [power(60, 0.0, 1.0), power(120, 0.0, 1.0), *empty]) is Verdict.CONFIRMED


def test_a_full_battery_that_leaves_the_surplus_to_the_grid_follows_as_it_should():
    full = [state(0, 1.0), state(300, 1.0)]
    readings = [power(60, 0.0, 0.5, 3.0), power(120, 0.0, 0.5, 3.0), *full]
    assert verdict(wanted(FOLLOW), readings) is Verdict.CONFIRMED


# What the device cannot do


@pytest.mark.parametrize(
    ("mode", "sign", "soc"), [(CHARGE, -1, 1.0), (CHARGE, -1, 0.985), (DISCHARGE, 1, 0.1), (DISCHARGE, 1, 0.115)]
)
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_less_than_asked_near_an_edge_is_limited(mode, sign, soc, share):
    seen_kw = sign * 3.0 * share
    readings = [power(60, seen_kw), power(120, seen_kw), state(0, soc), state(300, soc)]
    assert verdict(wanted(mode, 3.0), readings) is Verdict.DEVICE_LIMITED


@pytest.mark.parametrize(("mode", "soc"), [(CHARGE, 0.1), (DISCHARGE, 1.0), (CHARGE, 0.9), (DISCHARGE, 0.2)])
def test_the_other_edge_is_no_excuse(mode, soc):
    readings = [power(60, 0.0), power(120, 0.0), state(0, soc), state(300, soc)]
    assert verdict(wanted(mode, 3.0), readings) is Verdict.NOT_EFFECTIVE


def test_the_edges_are_those_of_the_sites_band():
    narrow = BATTERY.model_copy(update={"min_soc": 0.3, "max_soc": 0.8})
    readings = [power(60, 0.0), power(120, 0.0), state(0, 0.8), state(300, 0.8)]
    assert verdict(wanted(CHARGE, 3.0), readings, battery=narrow) is Verdict.DEVICE_LIMITED
    assert verdict(wanted(CHARGE, 3.0), readings) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize(("told_s", "expected"), [(-240, Verdict.DEVICE_LIMITED), (-660, Verdict.NOT_EFFECTIVE)])
def test_what_the_battery_began_with_tells_that_it_is_full(told_s, expected):
    # The state of charge comes each five minutes, powers each: nothing newer is known yet. What is old tells nothing.
    assert verdict(wanted(CHARGE, 3.0), [state(told_s, 1.0), power(60, 0.0), power(120, 0.0)]) is expected


def test_a_newer_state_of_charge_counts_more_than_what_the_battery_began_with():
    readings = [state(-60, 1.0), power(60, 0.0), power(120, 0.0), state(120, 0.6)]
    assert verdict(wanted(CHARGE, 3.0), readings) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize(
    ("mode", "sign", "limit"), [(CHARGE, -1, "charge_limit_kw"), (DISCHARGE, 1, "discharge_limit_kw")]
)
def test_less_than_asked_is_limited_where_the_battery_management_says_so(mode, sign, limit):
    readings = [power(60, sign * 1.0), power(120, sign * 1.0)]
    states = [state(0, 0.5, **{limit: 1.0}), state(300, 0.51, **{limit: 1.0})]
    assert verdict(wanted(mode, 3.0), [*readings, *states]) is Verdict.DEVICE_LIMITED


def test_a_limit_of_the_other_direction_is_no_excuse():
    states = [state(0, 0.5, discharge_limit_kw=0.0), state(300, 0.51, discharge_limit_kw=0.0)]
    assert verdict(wanted(CHARGE, 3.0), [power(60, -1.0), power(120, -1.0), *states]) is Verdict.NOT_EFFECTIVE


def test_a_limit_that_allows_what_was_asked_is_no_excuse():
    states = [state(0, 0.5, charge_limit_kw=5.0), state(300, 0.51, charge_limit_kw=5.0)]
    assert verdict(wanted(CHARGE, 3.0), [power(60, -1.0), power(120, -1.0), *states]) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize("seen_kw", [1.0, -4.0], ids=["the wrong way", "more than asked"])
def test_a_limit_explains_less_and_nothing_else(seen_kw):
    readings = [power(60, seen_kw), power(120, seen_kw), state(0, 1.0), state(300, 1.0)]
    assert verdict(wanted(CHARGE, 3.0), readings) is Verdict.NOT_EFFECTIVE


def test_a_small_order_answered_with_a_small_power_the_wrong_way_is_not_effective():
    # 440 W out of a full battery that was told to take 300 W: a direction, not noise.
    readings = [power(60, 0.44), power(120, 0.44), state(0, 0.99), state(300, 0.985)]
    assert verdict(wanted(CHARGE, 0.3), readings) is Verdict.NOT_EFFECTIVE


def test_a_full_battery_that_idles_a_few_watts_the_wrong_way_is_limited():
    # An inverter's own 50 W are within the tolerance of power, however much was asked for.
    readings = [power(60, 0.05), power(120, 0.05), state(0, 1.0), state(300, 1.0)]
    assert verdict(wanted(CHARGE, 5.0), readings) is Verdict.DEVICE_LIMITED


def test_a_battery_that_stopped_where_it_was_told_to_stop_is_not_called_ineffective():
    readings = [power(240, 0.0), power(300, 0.0), state(0, 0.58), state(300, 0.6)]
    assert verdict(wanted(CHARGE, 3.0, until_soc=0.6), readings) is Verdict.DEVICE_LIMITED


def test_an_edge_that_is_not_seen_is_no_excuse():
    assert verdict(wanted(CHARGE, 3.0), [power(60, 0.0), power(120, 0.0)]) is Verdict.NOT_EFFECTIVE


def test_less_than_asked_for_is_no_failure_where_the_battery_was_seen_to_allow_no_more():
    learned = BATTERY.model_copy(update={"charge_kw_at_soc": ((0.8, 5.0), (1.0, 1.0))})
    tapers = [*minutes(-2.0, -2.0), state(0, 0.93), state(120, 0.94)]
    assert verdict(wanted(CHARGE, 4.0), tapers) is Verdict.NOT_EFFECTIVE
    assert verdict(wanted(CHARGE, 4.0), tapers, battery=learned) is Verdict.DEVICE_LIMITED
    assert verdict(wanted(CHARGE, 4.0), [*minutes(2.0, 2.0), *tapers[2:]], battery=learned) is Verdict.NOT_EFFECTIVE
