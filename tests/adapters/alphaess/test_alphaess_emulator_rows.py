"""What the emulated AlphaESS cloud shows: rows, lists, history, energies, and its own log."""

from __future__ import annotations

import datetime as dt
import json

import pandas as pd
import pytest

from adapters.alphaess import mapping
from adapters.contract import Channel
from adapters.emulation import EventLog
from engine import Battery
from tests.adapters.alphaess.world import SERIAL_NUMBER
from tests.intents import START


def run_for(world, seconds, power_kw=None):
    """Let time pass, renewing a dispatch every 30 s if there is one."""
    for _ in range(seconds // 30):
        if power_kw is not None:
            world.dispatch(power_kw)
        world.step(30)


# --- rows ---


def test_a_power_row_comes_every_10_seconds(world):
    seen = []
    for _ in range(60):
        world.step(1)
        seen.append(world.ok("GetLastPowerData", Sn=SERIAL_NUMBER)[0]["UploadTime"])

    assert seen[:8] == ["2024-05-01 12:00:00"] * 8
    assert sorted(set(seen)) == [f"2024-05-01 12:00:{second:02}" for second in (0, 10, 20, 30, 40, 50)] + [
        "2024-05-01 12:01:00"
    ]


def test_a_running_row_comes_every_5_minutes(world):
    seen = []
    for _ in range(20):
        world.step(30)
        seen.append(world.ok("GetRunningData", Sn=SERIAL_NUMBER)[0]["UploadTime"])

    assert sorted(set(seen)) == ["2024-05-01 12:00:00", "2024-05-01 12:05:00", "2024-05-01 12:10:00"]
    assert seen.index("2024-05-01 12:05:00") == 9


def test_before_the_first_running_row_there_is_no_data(emulate):
    world = emulate(start=START + dt.timedelta(seconds=7))
    world.login()
    world.step(200)

    # Servers were seen to say so with code 0 and null.
    assert world.ok("GetRunningData", Sn=SERIAL_NUMBER) is None


def test_rows_off_the_beat_return_to_it(emulate):
    world = emulate(start=START + dt.timedelta(seconds=7))
    world.login()

    assert world.ok("GetLastPowerData", Sn=SERIAL_NUMBER)[0]["UploadTime"] == "2024-05-01 12:00:07"
    world.step(3)
    assert world.ok("GetLastPowerData", Sn=SERIAL_NUMBER)[0]["UploadTime"] == "2024-05-01 12:00:10"


def test_the_upload_time_is_in_the_systems_zone(emulate):
    world = emulate(zone="Asia/Shanghai")
    world.login()

    assert world.ok("GetLastPowerData", Sn=SERIAL_NUMBER)[0]["UploadTime"] == "2024-05-01 20:00:00"


def test_a_power_row_has_no_soc_and_a_running_row_has(world):
    (power,), (running,) = (world.ok(name, Sn=SERIAL_NUMBER) for name in ("GetLastPowerData", "GetRunningData"))

    assert "soc" not in {name.lower() for name in power}
    assert running["Soc"] == 50.0
    assert power.items() <= running.items()


def test_a_single_phase_system_fills_the_first_phase_only(world):
    (row,) = world.ok("GetLastPowerData", Sn=SERIAL_NUMBER)

    for quantity in ("Preal", "Pmeter"):
        assert row[f"{quantity}L1"] is not None
        assert (row[f"{quantity}L2"], row[f"{quantity}L3"]) == (None, None)


def test_all_systems_are_shown_when_none_is_named(emulate):
    world = emulate(serial_numbers=("AL1", "AL2"))
    world.login()

    for name in ("GetLastPowerData", "GetRunningData"):
        assert [row["Sn"] for row in world.ok(name)] == ["AL1", "AL2"]
        assert [row["Sn"] for row in world.ok(name, Sn="")] == ["AL1", "AL2"]
        assert [row["Sn"] for row in world.ok(name, Sn="AL2")] == ["AL2"]


def test_a_running_row_reads_back_the_dispatch_in_force(world):
    run_for(world, 300, power_kw=-2.0)
    (row,) = world.ok("GetRunningData", Sn=SERIAL_NUMBER)
    assert (row["DispatchSwitch"], row["Pdispatch"], row["DispatchMode"]) == (1, -2000, 2)

    world.stop()
    world.step(300)
    (row,) = world.ok("GetRunningData", Sn=SERIAL_NUMBER)
    assert (row["DispatchSwitch"], row["Pdispatch"], row["DispatchMode"]) == (0, 0, 0)


@pytest.mark.parametrize(("load_kw", "pv_kw", "power_kw"), [(1.0, 4.0, -3.0), (2.5, 0.0, 2.0), (0.3, 1.7, 0.0)])
def test_the_registers_are_the_plants_and_add_up(emulate, load_kw, pv_kw, power_kw):
    world = emulate(load_kw=load_kw, pv_kw=pv_kw)
    world.login()

    run_for(world, 3600, power_kw)

    (row,) = world.ok("GetRunningData", Sn=SERIAL_NUMBER)
    registers = world.plant.registers
    for name, value in {
        "Einput": registers.import_kwh,
        "Eoutput": registers.export_kwh,
        "Echarge": registers.charge_kwh,
        "EDischarge": registers.discharge_kwh,
        "EpvTotal": registers.pv_kwh,
    }.items():
        assert row[name] == pytest.approx(value, abs=0.0005)
    balance = row["Einput"] - row["Eoutput"] + row["EpvTotal"] + row["EDischarge"] - row["Echarge"]
    assert balance == pytest.approx(load_kw, abs=0.003)
    assert row["EpvTotal"] == pytest.approx(pv_kw, abs=0.001)
    stored = row["Echarge"] - row["EDischarge"]
    assert world.plant.soc == pytest.approx(0.5 + stored / 10, abs=1e-4)


def test_registers_only_rise(world):
    rows = []
    for power_kw in (2.0, -3.0, 0.0, -1.0):
        run_for(world, 600, power_kw)
        rows.append(world.ok("GetRunningData", Sn=SERIAL_NUMBER)[0])

    for name in ("Einput", "Eoutput", "Echarge", "EDischarge", "EpvTotal"):
        values = [row[name] for row in rows]
        assert values == sorted(values)
    assert rows[-1]["Echarge"] > rows[0]["Echarge"]
    assert rows[-1]["EDischarge"] > 0


@pytest.mark.parametrize("power_kw", [3.0, -3.0, 0.0])
def test_the_adapter_reads_the_rows_back_as_the_plants_own_readings(emulate, power_kw):
    world = emulate(load_kw=1.0, pv_kw=2.0)
    world.login()
    run_for(world, 300, power_kw)

    (row,) = world.ok("GetRunningData", Sn=SERIAL_NUMBER)
    reading, sample = mapping.telemetry(row, Channel.STATE, dt.UTC), world.plant.sample

    assert reading.measured_at == world.clock.now()
    for name in ("battery_kw", "grid_kw", "pv_kw", "load_kw"):
        assert getattr(reading, name) == pytest.approx(getattr(sample, name), abs=0.002)
    assert reading.soc == pytest.approx(sample.soc, abs=0.0006)
    assert (reading.charge_limit_kw, reading.discharge_limit_kw) == (5.0, 5.0)
    assert reading.dispatch_active is True


def test_the_house_is_seen_as_it_changes(emulate):
    index = pd.date_range(START, periods=2, freq="10min")
    world = emulate(house=pd.DataFrame({"load_kw": [1.0, 3.0], "pv_kw": [0.0, 0.0]}, index=index))
    world.login()

    world.step(590)
    assert world.system.power_row["Pbat"] == 1000
    world.step(30)
    assert world.system.power_row["Pbat"] == 3000


# --- lists, history, energies ---


def test_the_system_list_is_given_in_pages(emulate):
    numbers = tuple(f"AL{number:02}" for number in range(12))
    world = emulate(serial_numbers=numbers, battery=Battery(capacity_kwh=10, max_charge_kw=4, max_discharge_kw=5))
    world.login()

    first = world.ok("GetSystemList", pageindex=1)
    second = world.ok("GetSystemList", pageindex=2)
    small = world.ok("GetSystemList", pageindex=2, pagesize=5)

    assert [system["Sn"] for system in first["Systems"]] == list(numbers[:10])
    assert [system["Sn"] for system in second["Systems"]] == list(numbers[10:])
    assert [system["Sn"] for system in small["Systems"]] == list(numbers[5:10])
    assert (first["TotalPageCount"], first["TotalCount"], first["PageIndex"], first["PageSize"]) == (2, 12, 1, 10)
    assert (small["TotalPageCount"], small["PageIndex"], small["PageSize"]) == (3, 2, 5)
    assert (first["Systems"][0]["Cobat"], first["Systems"][0]["Poinv"]) == (10, 5)


def test_the_history_has_the_rows_between_two_times(world):
    world.step(1800)

    rows = world.ok(
        "GetHistoryRunningData", Sn=SERIAL_NUMBER, Starttime="2024/05/01 12:05:00", endtime="2024/05/01 12:19:59"
    )

    assert [row["UploadTime"][11:] for row in rows] == ["12:05:00", "12:10:00", "12:15:00"]
    assert all(row["Soc"] <= 50 for row in rows)


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        pytest.param("2024/05/01 00:00:00", "2024/05/02 00:00:01", id="longer than a day"),
        pytest.param("2024/05/01 12:00:00", "2024/05/01 11:59:59", id="backwards"),
    ],
)
def test_a_history_that_is_no_part_of_one_day_is_an_error(world, begin, end):
    """Section 5: one day at a time; servers were seen to answer 1."""
    assert world.code("GetHistoryRunningData", Sn=SERIAL_NUMBER, Starttime=begin, endtime=end) == 1


def test_the_energy_summary_has_the_sums_of_its_day(emulate):
    # An empty battery: the house's 1 kW comes from the grid, all of it.
    world = emulate(load_kw=1.0, soc=0.0, start=dt.datetime(2024, 5, 1, 22, 0, tzinfo=dt.UTC))
    world.step(3 * 3600)
    world.login()

    (first,) = world.ok("GetEnergySummary", Sn=SERIAL_NUMBER, TheDate="2024-05-01")
    (second,) = world.ok("GetEnergySummary", Sn=SERIAL_NUMBER, TheDate="2024-05-02")

    assert first["Sn"] == SERIAL_NUMBER
    assert (first["Eout"], first["Ebat"], first["EpvT"]) == (0, 0, 0)
    assert second["Einput"] == pytest.approx(1.0, abs=0.002)
    assert first["Einput"] == pytest.approx(2.0, abs=0.002)


def test_the_energy_summary_counts_sun_feed_in_and_battery(emulate):
    world = emulate(load_kw=1.0, pv_kw=3.0)
    world.login()
    run_for(world, 3600, power_kw=2.0)

    (day,) = world.ok("GetEnergySummary", Sn=SERIAL_NUMBER, TheDate="2024-05-01")

    assert day["EpvT"] == pytest.approx(3.0, abs=0.01)
    assert day["Ebat"] == pytest.approx(2.0, abs=0.02)
    assert day["Eout"] == pytest.approx(4.0, abs=0.03)
    assert day["Einput"] == pytest.approx(0.0, abs=0.01)


def test_a_day_without_rows_has_no_summary(world):
    assert not world.ok("GetEnergySummary", Sn=SERIAL_NUMBER, TheDate="2023-05-01")


def test_the_log_is_kept_in_a_file_while_it_happens(emulate, tmp_path):
    path = tmp_path / "emulator.jsonl"
    world = emulate(log=EventLog(path))
    world.login()
    world.dispatch(2.0)
    world.step(100)

    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]

    assert lines == world.log.events
    events = [(line["at"], line["event"]) for line in lines]
    assert (world.at(0), "login") in events
    assert (world.at(0), "started") in events
    assert events[-1] == (world.at(90), "lapsed")


def test_an_answered_call_is_in_the_log(world):
    world.ok("GetRunningData", Sn=SERIAL_NUMBER)

    assert [event["call"] for event in world.events("call")] == ["GetRunningData"]
