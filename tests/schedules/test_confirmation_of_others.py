"""`judge` on batteries that somebody else drives, that let go, or that do the very opposite."""

from __future__ import annotations

import pytest

from schedules.confirmation import Tolerance, judge
from schedules.store import Verdict
from tests.intents import CHARGE, FOLLOW
from tests.schedules.evidence import (
    BATTERY,
    CHARGED,
    DISCHARGED,
    SETTLING_S,
    UNMOVED,
    at,
    minutes,
    power,
    state,
    verdict,
    wanted,
)


@pytest.mark.parametrize("others_kw", [-1.0, 2.5, 4.0])
def test_a_battery_that_obeyed_and_then_does_a_third_thing_was_told_by_somebody_else(others_kw):
    readings = minutes(-3.0, -3.0, -3.0, others_kw, others_kw)
    assert verdict(wanted(CHARGE, 3.0), [*readings, *CHARGED]) is Verdict.EXTERNAL
    assert verdict(wanted(CHARGE, 3.0), [*readings[:-1], *CHARGED]) is None, "two readings detect it, one does not"


@pytest.mark.parametrize("rest_kw", [0.0, 1.0], ids=["idle", "follows the house"])
def test_a_battery_that_obeyed_and_then_rests_has_lapsed(rest_kw):
    readings = minutes(-3.0, -3.0, -3.0, rest_kw, rest_kw)
    assert verdict(wanted(CHARGE, 3.0), [*readings, *CHARGED]) is Verdict.NOT_EFFECTIVE


def test_a_battery_that_never_obeyed_is_not_said_to_be_somebody_elses():
    assert verdict(wanted(CHARGE, 3.0), [*minutes(2.5, 2.5, 2.5), *UNMOVED]) is Verdict.NOT_EFFECTIVE


def test_a_battery_that_obeyed_and_is_full_is_limited():
    full = [state(0, 0.96), state(300, 0.995)]
    assert verdict(wanted(CHARGE, 3.0), [*minutes(-3.0, -3.0, -3.0, -0.8, -0.8), *full]) is Verdict.DEVICE_LIMITED


def test_without_knowing_the_house_nobody_else_is_accused():
    readings = [power(60 * n, kw, load_kw=None) for n, kw in enumerate([-3.0, -3.0, -3.0, 2.5, 2.5], 1)]
    assert verdict(wanted(CHARGE, 3.0), [*readings, *CHARGED]) is Verdict.NOT_EFFECTIVE


@pytest.mark.parametrize("follows", [True, False])
def test_a_battery_that_says_it_is_driven_when_nobody_of_us_drives_it_is_somebody_elses(follows):
    kw = 1.0 if follows else 3.0
    driven = minutes(kw, kw, dispatch_active=True)
    arguments = (wanted(FOLLOW), BATTERY, driven, at(0), SETTLING_S, Tolerance())
    assert judge(*arguments, let_go=True) is Verdict.EXTERNAL
    assert judge(*arguments, let_go=False) is (Verdict.CONFIRMED if follows else Verdict.NOT_EFFECTIVE), "may be ours"


def test_the_very_opposite_three_times_and_nothing_else_is_a_sign_turned_round():
    assert verdict(wanted(CHARGE, 3.0), [*minutes(3.0, 3.0, 3.0), *DISCHARGED]) is Verdict.OPPOSITE
    assert verdict(wanted(CHARGE, 3.0), [*minutes(3.0, 3.0), *DISCHARGED]) is Verdict.NOT_EFFECTIVE, "may be chance"
    assert verdict(wanted(CHARGE, 0.5), [*minutes(0.5, 0.5, 0.5), *UNMOVED]) is Verdict.NOT_EFFECTIVE, "may be idle"
    obeyed_first = minutes(-3.0, -3.0, 3.0, 3.0, 3.0)
    assert verdict(wanted(CHARGE, 3.0), [*obeyed_first, *CHARGED]) is Verdict.EXTERNAL


def test_the_opposite_that_is_the_house_is_no_sign_turned_round():
    following = minutes(3.0, 3.0, 3.0, load_kw=3.0)
    assert verdict(wanted(CHARGE, 3.0), [*following, *DISCHARGED]) is Verdict.NOT_EFFECTIVE
