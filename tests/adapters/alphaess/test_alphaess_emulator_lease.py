"""A dispatch at the emulated AlphaESS cloud: when it begins, what it does, when it lapses."""

from __future__ import annotations

import datetime as dt
import time

import pytest

from tests.adapters.alphaess.world import SERIAL_NUMBER


def test_a_set_point_applies_after_the_delay_and_not_before(world):
    world.step(10)
    world.dispatch(-2.0)

    world.step(4.9)
    assert world.plant.sample.battery_kw == 1.0, "still following the house"
    world.step(0.1 + 1)
    assert world.plant.sample.battery_kw == pytest.approx(0.0), "on its way, at 1 kW/s"
    world.step(2)
    assert world.plant.sample.battery_kw == -2.0


@pytest.mark.parametrize(
    ("power_kw", "pbat", "pmeter"), [(2.0, 2000, -1000), (-2.0, -2000, 3000), (0.0, 0, 1000), (0.5, 500, 500)]
)
def test_a_set_point_is_seen_in_telemetry_with_its_sign(world, power_kw, pbat, pmeter):
    world.dispatch(power_kw)
    world.step(20)

    (row,) = world.ok("GetLastPowerData", Sn=SERIAL_NUMBER)
    assert (row["Pbat"], row["PmeterL1"], row["UploadTime"]) == (pbat, pmeter, "2024-05-01 12:00:20")


def test_a_set_point_beyond_the_battery_is_carried_out_as_far_as_it_goes(world):
    world.dispatch(20.0)
    world.step(30)

    assert world.plant.sample.battery_kw == 5.0


def test_a_dispatch_lapses_after_exactly_90_seconds(world):
    world.dispatch(2.0)

    world.step(89.999)
    assert not world.system.site.released
    world.step(0.001)
    assert world.system.site.released
    assert [event["at"] for event in world.events("lapsed")] == [world.at(90)]
    world.step(10)
    assert world.plant.sample.battery_kw == 1.0, "follows the house again"


def test_one_long_step_sees_the_lapse_at_its_own_time(world):
    world.dispatch(2.0)

    world.step(600)

    assert [event["at"] for event in world.events("lapsed")] == [world.at(90)]
    assert world.plant.registers.discharge_kwh == pytest.approx((2.0 * 85 + 1.0 * 515) / 3600, abs=0.002)


def test_a_renewal_extends_the_lease_from_its_own_time(world):
    world.dispatch(2.0)
    world.step(60)
    world.dispatch(2.0)

    world.step(89)
    assert not world.system.site.released
    world.step(1)
    assert world.system.site.released
    assert [event["at"] for event in world.events("started")] == [world.at(0)]
    assert [event["at"] for event in world.events("renewed")] == [world.at(60)]
    assert [event["at"] for event in world.events("lapsed")] == [world.at(150)]


def test_a_renewal_just_before_the_lapse_is_in_time_though_it_applies_after_it(world):
    world.dispatch(2.0)
    world.step(87)
    world.dispatch(2.0)
    world.step(89)

    assert world.events("lapsed") == []
    assert world.plant.sample.battery_kw == 2.0
    world.step(1)
    assert [event["at"] for event in world.events("lapsed")] == [world.at(177)]


def test_renewals_keep_the_battery_at_its_set_point_without_a_gap(world):
    seen = set()
    world.dispatch(2.0)
    world.step(20)
    for _ in range(10):
        world.dispatch(2.0)
        for _ in range(6):
            world.step(10)
            seen.add(world.system.power_row["Pbat"])

    assert seen == {2000}
    assert world.events("lapsed") == []


def test_the_old_order_holds_until_the_new_one_applies(world):
    world.dispatch(2.0)
    world.step(30)
    world.dispatch(-1.0)

    world.step(4)
    assert world.plant.sample.battery_kw == 2.0
    world.step(6)
    assert world.plant.sample.battery_kw == -1.0


def test_a_renewal_at_the_moment_of_the_lapse_is_too_late(world):
    world.dispatch(2.0)
    world.step(90)
    world.dispatch(2.0)

    assert (len(world.events("started")), len(world.events("lapsed")), world.events("renewed")) == (2, 1, [])


def test_a_stop_releases_at_once(world):
    world.dispatch(-2.0)
    world.step(20)

    world.stop()

    assert world.system.site.released
    world.step(10)
    assert world.plant.sample.battery_kw == 1.0
    assert [event["was_active"] for event in world.events("stopped")] == [True]
    world.step(200)
    assert world.events("lapsed") == []


def test_a_stop_before_the_order_applies_takes_it_back(world):
    world.dispatch(-2.0)
    world.step(2)
    world.stop()
    world.step(20)

    assert world.plant.sample.battery_kw == 1.0
    assert world.plant.registers.charge_kwh == 0


def test_a_stop_without_an_order_is_harmless(world):
    world.stop()
    world.step(10)

    assert world.system.site.released
    assert [event["was_active"] for event in world.events("stopped")] == [False]


def test_the_time_between_a_lapse_and_the_next_order_is_counted(world):
    world.dispatch(2.0)
    world.step(90 + 30)
    world.dispatch(2.0)
    assert world.system.lapse_s == 30

    world.step(90 + 12)
    world.stop()
    assert world.system.lapse_s == 42
    assert world.cloud.state()["systems"][SERIAL_NUMBER]["lapse_s"] == 42
    assert world.cloud.state()["systems"][SERIAL_NUMBER]["lapsed"] == 2


def test_no_lapse_is_counted_between_a_stop_and_the_next_start(world):
    world.dispatch(2.0)
    world.step(60)
    world.stop()
    world.step(600)
    world.dispatch(2.0)

    assert world.system.lapse_s == 0


@pytest.mark.parametrize("serial_number", [None, ""])
def test_a_dispatch_without_a_serial_number_drives_every_system(emulate, serial_number):
    world = emulate(serial_numbers=("AL1", "AL2", "AL3"))
    world.login()

    world.dispatch(-2.0, serial_number)
    world.step(20)

    assert [system.site.plant.sample.battery_kw for system in world.systems] == [-2.0] * 3
    assert [event["sn"] for event in world.events("started")] == ["AL1", "AL2", "AL3"]


def test_a_dispatch_with_a_serial_number_drives_that_system_alone(emulate):
    world = emulate(serial_numbers=("AL1", "AL2", "AL3"))
    world.login()

    world.dispatch(-2.0, "AL2")
    world.step(20)

    assert [system.site.plant.sample.battery_kw for system in world.systems] == [1.0, -2.0, 1.0]


def test_discharging_stops_at_the_target_soc(world):
    for _ in range(25):
        world.dispatch(3.0, SOC=100)  # 40 %
        world.step(60)

    assert world.plant.soc == pytest.approx(0.4, abs=1e-3)
    assert world.plant.soc >= 0.3995
    assert (world.system.power_row["Pbat"], world.system.power_row["PmeterL1"]) == (0, 1000)


def test_charging_stops_at_the_target_soc(world):
    for _ in range(20):
        world.dispatch(-4.0, SOC=150)  # 60 %
        world.step(60)

    assert world.plant.soc == pytest.approx(0.6, abs=1e-3)
    assert (world.system.power_row["Pbat"], world.system.power_row["PmeterL1"]) == (0, 1000)


def test_no_power_in_mode_2_freezes_the_battery_while_the_house_goes_on(world):
    world.dispatch(0.0)
    world.step(20)

    assert not world.system.site.released
    assert (world.system.power_row["Pbat"], world.system.power_row["PmeterL1"]) == (0, 1000)


@pytest.mark.parametrize(
    ("pv_kw", "power_kw", "battery_kw"), [(4.0, -5.0, -3.0), (4.0, -2.0, -2.0), (0.0, -5.0, 0.0), (0.5, -5.0, 0.0)]
)
def test_mode_1_charges_from_surplus_sun_only(emulate, pv_kw, power_kw, battery_kw):
    world = emulate(load_kw=1.0, pv_kw=pv_kw)
    world.login()

    world.dispatch(power_kw, ControlMode=1)
    world.step(20)

    assert world.plant.sample.battery_kw == battery_kw


@pytest.mark.parametrize("mode", [3, 7, 19])
def test_mode_3_and_modes_that_the_document_does_not_have_follow_the_house(world, mode):
    world.dispatch(-3.0, ControlMode=mode)
    world.step(20)

    assert world.plant.sample.battery_kw == 1.0


def test_a_running_clock_lets_a_lease_lapse_by_itself(emulate):
    world = emulate(speed=20_000)
    world.login()
    world.dispatch(2.0)

    deadline = time.monotonic() + 5
    while not world.events("lapsed") and time.monotonic() < deadline:
        world.cloud.advance()

    (lapsed,) = world.events("lapsed")
    (started,) = world.events("started")
    lasted = dt.datetime.fromisoformat(lapsed["at"]) - dt.datetime.fromisoformat(started["at"])
    assert lasted == dt.timedelta(seconds=90)
