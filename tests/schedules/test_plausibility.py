from __future__ import annotations

import datetime as dt
import math
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import pytest

from adapters.contract import Channel, Telemetry
from engine.plant import Plant, PlantCommand, PlantMode
from schedules.plausibility import SAMPLES, WINDOW_S, Doubt, findings
from tests.schedules.evidence import BATTERY, BEGIN, QUARTER_HOUR_S
from tests.schedules.ordinary_days import site_day


def driven(battery_kw: float, soc: float = 0.5, power_s: int = 60, seconds: int = QUARTER_HOUR_S, resolution=0.001):
    """What is shown of a battery that is driven from `BEGIN` on, powers each `power_s`, a state each five minutes."""
    plant = Plant(BATTERY, soc)
    plant.command = PlantCommand(PlantMode.SET_POINT, battery_kw)
    readings = [Telemetry(Channel.STATE, BEGIN, battery_kw=0.0, grid_kw=0.6, pv_kw=0.3, load_kw=0.9, soc=soc)]
    for second in range(power_s, seconds + 1, power_s):
        sample = plant.run(power_s, 0.9, 0.3)
        state_of_charge = round(round(sample.soc / resolution) * resolution, 4) if second % 300 == 0 else None
        readings.append(
            Telemetry(
                Channel.POWER if state_of_charge is None else Channel.STATE,
                BEGIN + dt.timedelta(seconds=second),
                battery_kw=round(sample.battery_kw, 3),
                grid_kw=round(sample.grid_kw, 3),
                pv_kw=0.3,
                load_kw=0.9,
                soc=state_of_charge,
            )
        )
    return readings


def altered(readings, **changes):
    """The same readings with fields changed by functions; what is not there stays so."""
    return [
        replace(
            reading,
            **{
                name: change(getattr(reading, name))
                for name, change in changes.items()
                if getattr(reading, name) is not None
            },
        )
        for reading in readings
    ]


def without_balance(readings):
    """As vendors show it that work the load out from the rest, so that only the slope can tell."""
    return [replace(reading, load_kw=None) for reading in readings]


def doubts(readings, resolution=0.001):
    return {finding.doubt for finding in findings(readings, BATTERY, resolution)}


@pytest.mark.parametrize("battery_kw", [-5.0, -2.0, 2.0, 5.0])
@pytest.mark.parametrize("power_s", [60, 300])
@pytest.mark.parametrize("resolution", [0.001, 0.004, 0.01])
def test_a_flipped_sign_is_found_within_a_quarter_hour_by_the_slope(battery_kw, power_s, resolution):
    honest = without_balance(driven(battery_kw, power_s=power_s, resolution=resolution))
    assert doubts(honest, resolution) == set()
    flipped = altered(honest, battery_kw=lambda kw: -kw)
    assert doubts(flipped, resolution) == {Doubt.SIGN}


@pytest.mark.parametrize("battery_kw", [-5.0, -2.0, 2.0, 5.0])
@pytest.mark.parametrize("name", ["battery_kw", "grid_kw"])
def test_a_flipped_sign_is_found_at_three_readings_by_the_balance(battery_kw, name):
    honest = [reading for reading in driven(battery_kw)[1:] if reading.soc is None]
    flipped = altered(honest, **{name: lambda kw: -kw})
    assert doubts(honest) == set()
    assert doubts(flipped[: SAMPLES - 1]) == set(), "twice may be chance"
    assert doubts(flipped[:SAMPLES]) == {Doubt.SIGN}


@pytest.mark.parametrize("battery_kw", [-3.0, 3.0])
def test_watts_taken_for_kilowatts_are_found_at_the_second_reading(battery_kw):
    watts = altered(driven(battery_kw)[1:], battery_kw=lambda kw: kw * 1000)
    assert doubts(watts[:1]) == set(), "one message may be garbled"
    assert Doubt.UNIT in doubts(watts[:2])


@pytest.mark.parametrize("battery_kw", [-3.0, 3.0])
def test_kilowatts_taken_for_watts_are_found_within_a_quarter_hour(battery_kw):
    thousandth = altered(driven(battery_kw), battery_kw=lambda kw: kw / 1000)
    assert doubts(thousandth) == {Doubt.UNIT}


@pytest.mark.parametrize("battery_kw", [-3.0, 3.0])
def test_a_state_of_charge_that_stands_still_under_power_is_frozen(battery_kw):
    stuck = altered(driven(battery_kw), soc=lambda _: 0.5)
    assert doubts(stuck) == {Doubt.FROZEN}


def test_identical_readings_while_power_flows_are_frozen():
    first = driven(3.0)[1]
    same = [
        replace(first, channel=Channel.STATE, soc=0.5, measured_at=BEGIN + dt.timedelta(minutes=minute))
        for minute in range(15)
    ]
    assert doubts(same) == {Doubt.FROZEN}


def shown(grid_kw, minutes, every=5):
    """A battery at rest in a house whose grid meter shows what it is given, reading by reading."""
    return [
        Telemetry(Channel.STATE, BEGIN + dt.timedelta(minutes=minute), battery_kw=0.0, grid_kw=kw, pv_kw=0.0, soc=0.5)
        for minute, kw in zip(range(0, minutes + 1, every), grid_kw, strict=False)
    ]


def test_a_site_that_shows_the_same_watts_for_a_quarter_hour_is_frozen_though_nothing_flows():
    assert doubts(shown([0.431] * 9, 10)) == set()
    assert doubts(shown([0.431] * 9, 15)) == {Doubt.FROZEN}
    assert doubts(shown([0.518, 0.431, 0.431, 0.431], 15)) == set(), "so far only for ten minutes"
    assert doubts(shown([0.431, 0.431, 0.431, 0.431, 0.432], 20)) == set(), "it moves again"


def test_a_meter_that_shows_tens_of_watts_may_stand_still_at_night():
    assert doubts(shown([0.43] * 13, 60)) == set()


def test_a_power_that_stays_zero_while_the_store_empties_is_frozen():
    assert doubts(altered(driven(3.0), battery_kw=lambda _: 0.0)) == {Doubt.FROZEN}


def test_a_cloud_that_is_stuck_at_full_is_found_when_the_battery_discharges():
    assert doubts(altered(driven(3.0), soc=lambda _: 1.0)) == {Doubt.FROZEN}


@pytest.mark.parametrize(("battery_kw", "soc"), [(-3.0, 1.0), (3.0, 0.1)], ids=["full", "empty"])
def test_the_last_of_the_store_may_go_in_or_out_unseen(battery_kw, soc):
    constant = [
        Telemetry(Channel.STATE, BEGIN + dt.timedelta(minutes=minute), battery_kw=battery_kw, soc=soc)
        for minute in range(16)
    ]
    assert doubts(constant) == set()


@pytest.mark.parametrize("soc", [math.nan, 2.55, -1.0, 100.0], ids=["NaN", "255 raw", "-1", "percent"])
def test_a_state_of_charge_that_none_can_have_is_found_at_once(soc):
    readings = driven(0.0)
    assert doubts([*readings[:-1], replace(readings[-1], soc=soc)]) == {Doubt.STATE_OF_CHARGE}


@pytest.mark.parametrize("soc", [0.0, 1.0, 0.65, 0.35], ids=["0", "100", "+15 %", "-15 %"])
def test_a_jump_is_found_at_once_and_said_with_both_figures(soc):
    readings = driven(0.0)
    jumped = [*readings[:-1], replace(readings[-1], soc=soc)]
    (finding,) = findings(jumped, BATTERY, 0.001)
    assert finding.doubt is Doubt.STATE_OF_CHARGE
    assert f"from 50.0% to {soc:.1%}" in str(finding)


def test_a_jump_does_not_pass_for_a_wrong_sign():
    readings = without_balance(driven(-3.0))
    after = altered(readings[6:], soc=lambda soc: soc - 0.15)
    assert doubts([*readings[:6], *after]) == {Doubt.STATE_OF_CHARGE}


def test_over_a_long_gap_nothing_is_said():
    before, after = driven(3.0)[:6], driven(3.0, soc=0.9)
    later = [replace(reading, measured_at=reading.measured_at + dt.timedelta(hours=1)) for reading in after]
    assert doubts([*before, *later]) == set()


def test_no_readings_and_empty_readings_prove_nothing():
    assert findings([], BATTERY) == []
    assert findings([Telemetry(Channel.STATE, BEGIN)] * 5, BATTERY) == []


def false_alarms(seed: int) -> list[str]:
    """Judge a day as it goes by, at each state of charge."""
    battery, resolution, readings = site_day(seed)
    found, first = [], 0
    for number, reading in enumerate(readings):
        if reading.channel is not Channel.STATE or reading.measured_at.minute % 5:
            continue
        while (reading.measured_at - readings[first].measured_at).total_seconds() > WINDOW_S:
            first += 1
        found += [
            f"seed {seed} at {reading.measured_at:%H:%M}: {finding}"
            for finding in findings(readings[first : number + 1], battery, resolution)
        ]
    return found


@pytest.mark.timeout(0)
def test_ordinary_days_raise_no_alarm(request):
    if not request.config.getoption("--every-normal-day"):
        assert [alarm for seed in range(60) for alarm in false_alarms(seed)] == []
        return
    with ProcessPoolExecutor(os.cpu_count(), multiprocessing.get_context("spawn")) as pool:
        alarms = [alarm for found in pool.map(false_alarms, range(10_000), chunksize=50) for alarm in found]
    assert alarms == []


def test_the_ordinary_days_are_worth_judging():
    # A generator that never drives would prove nothing.
    for seed in range(10):
        battery, _, readings = site_day(seed)
        rated_kw = max(battery.max_charge_kw, battery.max_discharge_kw)
        powers = [reading.battery_kw for reading in readings if reading.battery_kw is not None]
        socs = [reading.soc for reading in readings if reading.soc is not None]
        assert sum(abs(power) > 0.1 * rated_kw for power in powers) > 0.2 * len(powers)
        assert max(socs) - min(socs) > 0.3
