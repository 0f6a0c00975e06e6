"""The plant obeys physics: no energy is made or lost, band and ramp hold, and orders mean what they say."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Battery
from engine.plant import Plant, PlantCommand, PlantLimits, PlantMode

EXACT = 1e-9
BATTERY = Battery(
    capacity_kwh=10,
    max_charge_kw=5,
    max_discharge_kw=4,
    charge_efficiency=0.95,
    discharge_efficiency=0.9,
    min_soc=0.1,
    max_soc=0.95,
)
NO_RAMP = PlantLimits(ramp_kw_per_s=1e6, taper_s=0.0)

powers = st.floats(0, 12, allow_nan=False).map(lambda power: round(power, 3))
set_points = st.floats(-8, 8, allow_nan=False).map(lambda power: round(power, 3))
targets = st.none() | st.sampled_from([0.1, 0.3, 0.5, 0.7, 0.95])
commands = st.one_of(
    st.just(PlantCommand()),
    st.builds(PlantCommand, st.just(PlantMode.SET_POINT), set_points, targets),
    st.builds(PlantCommand, st.just(PlantMode.PV_CHARGE), set_points.map(lambda power: -abs(power))),
)
# Command, load, PV and how long they last [s].
scenes = st.lists(st.tuples(commands, powers, powers, st.sampled_from([1, 7, 60, 900])), min_size=1, max_size=8)
batteries = st.builds(
    Battery,
    capacity_kwh=st.sampled_from([1.0, 10.0]),
    max_charge_kw=st.sampled_from([0.0, 2.0, 5.0]),
    max_discharge_kw=st.sampled_from([0.0, 3.0]),
    charge_efficiency=st.sampled_from([1.0, 0.95, 0.7]),
    discharge_efficiency=st.sampled_from([1.0, 0.9]),
    min_soc=st.sampled_from([0.0, 0.1]),
    max_soc=st.sampled_from([0.9, 1.0]),
)


def plant_at(soc: float, mode: PlantMode, power_kw: float = 0.0, until_soc: float | None = None) -> Plant:
    return Plant(BATTERY, soc, PlantCommand(mode, power_kw, until_soc))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(battery=batteries, soc=st.sampled_from([0.1, 0.4, 0.9]), scenes=scenes)
def test_whatever_is_ordered_energy_band_signs_and_ramp_hold_at_every_second(battery, soc, scenes):
    # The taper is slow enough here that the ramp never has to yield to the band.
    plant = Plant(battery, soc, limits=PlantLimits(ramp_kw_per_s=1.0, taper_s=20.0))
    for command, load_kw, pv_kw, seconds in scenes:
        plant.command = command
        for _ in range(min(seconds, 120)):
            before_kw = plant.sample.battery_kw
            sample = plant.run(1, load_kw, pv_kw)
            assert sample.load_kw == pytest.approx(sample.grid_kw + sample.pv_kw + sample.battery_kw, abs=EXACT)
            assert (sample.load_kw, sample.pv_kw, sample.soc) == (load_kw, pv_kw, plant.soc)
            assert -battery.max_charge_kw <= sample.battery_kw <= battery.max_discharge_kw
            assert battery.min_soc - EXACT <= plant.soc <= battery.max_soc + EXACT
            assert abs(sample.battery_kw - before_kw) <= 1.0 + EXACT
        plant.run(max(0, seconds - 120), load_kw, pv_kw)
    counted = plant.registers
    stored_kwh = counted.charge_kwh * battery.charge_efficiency - counted.discharge_kwh / battery.discharge_efficiency
    assert (plant.soc - soc) * battery.capacity_kwh == pytest.approx(stored_kwh, abs=EXACT)
    given_kwh = counted.import_kwh + counted.pv_kwh + counted.discharge_kwh
    assert given_kwh == pytest.approx(counted.load_kwh + counted.export_kwh + counted.charge_kwh, abs=EXACT)
    hours = sum(seconds for *_, seconds in scenes) / 3600
    assert counted.load_kwh <= 12 * hours + EXACT
    assert counted.load_kwh == pytest.approx(sum(load_kw * seconds / 3600 for _, load_kw, _, seconds in scenes))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(soc=st.sampled_from([0.1, 0.5, 0.95]), scenes=scenes)
def test_registers_only_rise(soc, scenes):
    plant = Plant(BATTERY, soc)
    for command, load_kw, pv_kw, seconds in scenes:
        plant.command = command
        before = vars(plant.registers).copy()
        plant.run(min(seconds, 60), load_kw, pv_kw)
        assert all(after >= before[name] for name, after in vars(plant.registers).items())


@pytest.mark.parametrize(("efficiency", "ordered_kw", "soc_after"), [(0.95, -5.0, 0.5 + 0.475), (0.9, 4.5, 0.0)])
def test_an_hour_at_a_set_point_moves_the_store_by_power_and_efficiency(efficiency, ordered_kw, soc_after):
    battery = Battery(
        capacity_kwh=10,
        max_charge_kw=5,
        max_discharge_kw=5,
        charge_efficiency=efficiency,
        discharge_efficiency=efficiency,
    )
    plant = Plant(battery, 0.5, PlantCommand(PlantMode.SET_POINT, ordered_kw), limits=NO_RAMP)
    plant.run(3600, 0.0, 0.0)
    assert plant.soc == pytest.approx(soc_after, abs=1e-6)


def test_a_step_of_the_order_is_followed_at_the_ramp():
    plant = plant_at(0.5, PlantMode.SET_POINT, 3.5)
    seen = [plant.run(1, 0.0, 0.0).battery_kw for _ in range(5)]
    assert seen == pytest.approx([1.0, 2.0, 3.0, 3.5, 3.5])
    plant.command = PlantCommand(PlantMode.SET_POINT, -2.0)
    assert [plant.run(1, 0.0, 0.0).battery_kw for _ in range(6)] == pytest.approx([2.5, 1.5, 0.5, -0.5, -1.5, -2.0])


def test_a_run_of_parts_of_a_second_is_the_same_as_one_of_seconds():
    parts, whole = plant_at(0.5, PlantMode.SET_POINT, -3.0), plant_at(0.5, PlantMode.SET_POINT, -3.0)
    for _ in range(120):
        parts.run(0.5, 1.0, 0.0)
    whole.run(60, 1.0, 0.0)
    assert parts.sample.battery_kw == whole.sample.battery_kw
    # Only the three seconds of ramp are resolved finer.
    assert parts.soc == pytest.approx(whole.soc, abs=1e-3)


@pytest.mark.parametrize(("ordered_kw", "edge"), [(-5.0, 0.95), (4.0, 0.1)])
def test_power_tapers_towards_the_edge_of_the_band_without_passing_it(ordered_kw, edge):
    plant = plant_at(0.5, PlantMode.SET_POINT, ordered_kw)
    seen_kw = [abs(plant.run(1, 0.0, 0.0).battery_kw) for _ in range(4 * 3600)]
    falling = seen_kw[seen_kw.index(abs(ordered_kw)) :]
    assert all(later <= earlier for earlier, later in itertools.pairwise(falling))
    # Each second it takes a twentieth of what is left: from 90 % to 10 % of the rating is ln(1/9) / ln(19/20) = 43 s.
    assert sum(0.1 < power_kw / abs(ordered_kw) < 0.9 for power_kw in falling) == pytest.approx(43, abs=1)
    assert plant.soc == pytest.approx(edge, abs=1e-6)
    assert seen_kw[-1] < 0.01


@pytest.mark.parametrize(("ordered_kw", "until_soc"), [(-5.0, 0.6), (4.0, 0.4)])
def test_a_set_point_stops_at_the_state_of_charge_asked_for(ordered_kw, until_soc):
    plant = plant_at(0.5, PlantMode.SET_POINT, ordered_kw, until_soc)
    plant.run(3600, 0.0, 0.0)
    # What passes while the inverter ramps down from 5 kW at 1 kW/s: 12.5 kWs of 10 kWh.
    assert plant.soc == pytest.approx(until_soc, abs=15 / 3600 / 10)
    assert plant.sample.battery_kw == 0.0


@pytest.mark.parametrize(("ordered_kw", "until_soc"), [(-3.0, 0.4), (3.0, 0.6)])
def test_a_set_point_already_reached_rests(ordered_kw, until_soc):
    plant = plant_at(0.5, PlantMode.SET_POINT, ordered_kw, until_soc)
    plant.run(600, 1.0, 0.0)
    assert (plant.soc, plant.sample.battery_kw, plant.sample.grid_kw) == (0.5, 0.0, 1.0)


def test_a_set_point_beyond_the_rating_is_held_at_the_rating():
    assert plant_at(0.5, PlantMode.SET_POINT, -50.0).run(60, 0.0, 0.0).battery_kw == -5.0
    assert plant_at(0.5, PlantMode.SET_POINT, 50.0).run(60, 0.0, 0.0).battery_kw == 4.0


@settings(derandomize=True, deadline=None, max_examples=100)
@given(load_kw=powers, pv_kw=powers)
def test_self_consumption_keeps_the_grid_at_zero_when_it_can(load_kw, pv_kw):
    sample = Plant(BATTERY, 0.5).run(60, load_kw, pv_kw)
    wanted_kw = load_kw - pv_kw
    within = -5 <= wanted_kw <= 4
    assert (sample.grid_kw == pytest.approx(0, abs=EXACT)) == within
    if not within:
        # It gives or takes all it can, and the grid does the rest.
        assert sample.battery_kw == (4 if wanted_kw > 0 else -5)


@pytest.mark.parametrize(("soc", "load_kw", "pv_kw"), [(0.1, 2.0, 0.0), (0.95, 0.0, 2.0)])
def test_self_consumption_rests_at_the_edge_of_the_band(soc, load_kw, pv_kw):
    sample = Plant(BATTERY, soc).run(60, load_kw, pv_kw)
    assert sample.battery_kw == 0.0
    assert sample.grid_kw == load_kw - pv_kw


@settings(derandomize=True, deadline=None, max_examples=100)
@given(power_kw=set_points, load_kw=powers, pv_kw=powers, soc=st.sampled_from([0.1, 0.5, 0.95]))
def test_charging_from_pv_never_discharges_nor_draws_from_the_grid(power_kw, load_kw, pv_kw, soc):
    sample = plant_at(soc, PlantMode.PV_CHARGE, power_kw).run(60, load_kw, pv_kw)
    assert sample.battery_kw <= 0.0
    assert sample.grid_kw <= max(0.0, load_kw - pv_kw) + EXACT


def test_charging_from_pv_takes_the_surplus_up_to_its_power():
    assert plant_at(0.5, PlantMode.PV_CHARGE, -3.0).run(60, 1.0, 3.0).battery_kw == pytest.approx(-2.0)
    assert plant_at(0.5, PlantMode.PV_CHARGE, -3.0).run(60, 1.0, 9.0).battery_kw == pytest.approx(-3.0)


def test_charging_from_pv_lets_go_of_the_grid_within_its_ramp_when_a_cloud_comes():
    plant = plant_at(0.5, PlantMode.PV_CHARGE, -5.0)
    plant.run(60, 0.0, 4.0)
    drawn_kw = [plant.run(1, 0.0, 0.0).grid_kw for _ in range(6)]
    assert drawn_kw == pytest.approx([3.0, 2.0, 1.0, 0.0, 0.0, 0.0])


@pytest.mark.parametrize("soc", [0.02, 0.99])
def test_a_store_outside_its_band_moves_only_back_into_it(soc):
    outwards_kw = 4.0 if soc < 0.5 else -5.0
    plant = plant_at(soc, PlantMode.SET_POINT, outwards_kw)
    plant.run(60, 0.0, 0.0)
    assert plant.soc == soc
    plant.command = PlantCommand(PlantMode.SET_POINT, -outwards_kw)
    plant.run(3600, 0.0, 0.0)
    assert 0.1 <= plant.soc <= 0.95


@pytest.mark.parametrize(
    ("mode", "ordered_kw", "load_kw", "pv_kw"),
    [
        pytest.param(PlantMode.SET_POINT, math.nan, 1.0, 0.0, id="an order that is no number"),
        pytest.param(PlantMode.PV_CHARGE, math.nan, 1.0, 0.0, id="an order to charge that is no number"),
        pytest.param(PlantMode.SELF_CONSUMPTION, 0.0, math.nan, 0.0, id="a load that is no number"),
        pytest.param(PlantMode.SELF_CONSUMPTION, 0.0, 1.0, math.nan, id="a sun that is no number"),
        pytest.param(PlantMode.SET_POINT, 1.0, math.nan, 0.0, id="a load that is no number under a set-point"),
    ],
)
def test_what_is_no_number_is_refused_and_never_becomes_a_power(mode, ordered_kw, load_kw, pv_kw):
    with pytest.raises((ArithmeticError, ValueError)):
        plant_at(0.5, mode, ordered_kw).run(1, load_kw, pv_kw)


@given(batteries, st.sampled_from([0.1, 0.5, 0.95]), scenes, st.sampled_from([0.0, 1.5]))
@settings(max_examples=60, deadline=None)
def test_no_more_is_fed_in_than_the_limit_and_sun_gives_way_before_the_battery(battery, soc, scenes, limit_kw):
    limited, free = (Plant(battery, soc, limits=NO_RAMP, export_limit_kw=kw) for kw in (limit_kw, None))
    for command, load_kw, pv_kw, _ in scenes:
        for plant in (limited, free):
            plant.command, plant.soc = command, soc
            plant.run(1.0, load_kw, pv_kw)
        one, other = limited.sample, free.sample
        assert one.grid_kw >= -limit_kw - EXACT
        assert one.load_kw == pytest.approx(one.grid_kw + one.pv_kw + one.battery_kw)
        assert 0 <= one.pv_kw <= pv_kw
        if other.grid_kw >= -limit_kw:
            assert (one.pv_kw, one.battery_kw) == (other.pv_kw, other.battery_kw), "nothing that needs a limit"
        elif one.pv_kw > 0:
            assert one.battery_kw == other.battery_kw
            assert one.grid_kw == pytest.approx(-limit_kw)
