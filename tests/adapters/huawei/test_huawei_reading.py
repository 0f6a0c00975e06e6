"""Device types, signs and units; several devices as one reading; reports, history, alarms."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.contract import Channel, ConfigurationError, Found, VendorUnavailableError
from adapters.huawei import mapping
from adapters.huawei.mapping import DeviceType, Signs, device_values
from adapters.huawei.reader import telemetry
from adapters.huawei.records import DeviceReading, PlantDevice
from adapters.huawei.settings import Settings
from engine.intent import IntentMode

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)


def settings(**changes):
    given = {"base_url": "https://x", "client_id": "1", "client_secret": "s", "redirect_url": "https://r/"}
    return Settings.model_validate({**given, **changes})


# --- one device ---


@pytest.mark.parametrize(
    ("device_type", "items", "name", "expected"),
    [
        (39, {"ch_discharge_power": 500}, "battery_kw", -0.5),
        (39, {"ch_discharge_power": "-1500.0"}, "battery_kw", 1.5),
        (41, {"ch_discharge_power": 500}, "battery_kw", 0.5),
        (47, {"active_power": 58862}, "grid_kw", -58.862),
        (17, {"active_power": 5.0}, "grid_kw", -5.0),
        (38, {"mppt_power": 3.2}, "pv_kw", 3.2),
        (38, {"active_power": -1.25}, "inverter_kw", -1.25),
        (1, {"active_power": 4.5}, "inverter_kw", 4.5),
        (39, {"battery_soc": "57.0"}, "soc", 0.57),
        (41, {"battery_soc": 100}, "soc", 1.0),
        (60014, {"soc": 12.5}, "soc", 0.125),
        (39, {"max_charge_power": 5000}, "charge_limit_kw", 5.0),
        (39, {"max_discharge_power": 2500}, "discharge_limit_kw", 2.5),
        (47, {"active_cap": 10.5}, "export_kwh", 10.5),
        (47, {"reverse_active_cap": 11.5}, "import_kwh", 11.5),
        (60001, {"active_power": 2.5}, "mains_kw", 2.5),
        (60003, {"output_power": 7.5}, "genset_kw", 7.5),
        (60010, {"active_power": 1.5}, "output_kw", 1.5),
        (10, {"radiant_line": 800}, "irradiance_w_per_m2", 800.0),
    ],
)
def test_sign_and_unit_of_each_device_type(device_type, items, name, expected):
    assert device_values(device_type, items, Signs())[name] == pytest.approx(expected)


def test_open_signs_are_settings():
    power = {"ch_discharge_power": 500}
    rack = {"charge_discharge_power": 0.5}

    assert device_values(41, power, Signs(storage="charges"))["battery_kw"] == -0.5
    assert "battery_kw" not in device_values(60014, rack, Signs())
    assert device_values(60014, rack, Signs(battery_rack="discharges"))["battery_kw"] == 0.5
    assert device_values(60014, rack, Signs(battery_rack="charges"))["battery_kw"] == -0.5


@pytest.mark.parametrize("nothing", [None, "", "N/A", "null", True, [], {}, "nan", "inf", float("nan")])
@pytest.mark.parametrize("device_type", sorted(mapping.POINTS))
def test_nothing_is_not_zero(device_type, nothing):
    items = dict.fromkeys(mapping.POINTS[device_type], nothing)

    assert device_values(device_type, items, Signs(battery_rack="charges")) == {}


def test_a_state_of_charge_out_of_range_is_none():
    assert "soc" not in device_values(39, {"battery_soc": 6553.5}, Signs())


def test_energies_that_are_called_powers_are_no_powers():
    items = {"reverse_active_power": 9, "positive_active_power": 9, "active_power_a": 9}

    assert device_values(17, items, Signs()) == {}
    assert device_values(47, items, Signs()) == {}


# --- a plant ---

DEVICES = [PlantDevice(str(kind), "NE=1", kind, f"sn{kind}", "", "", "") for kind in (38, 39, 47)]


def reading_of(device_id, kind, **items):
    return DeviceReading(device_id, kind, START, device_values(kind, items, Signs()), items)


def plant_reading(*readings, devices=DEVICES, **changes):
    return telemetry(readings, devices, Channel.STATE, START, settings(**changes))


INVERTER = reading_of("38", 38, active_power=2.9, mppt_power=2.0)
BATTERY = reading_of("39", 39, ch_discharge_power=-1000, battery_soc=40, ch_discharge_model=1)
METER = reading_of("47", 47, active_power=500, active_cap=7, reverse_active_cap=8)


def test_three_devices_are_one_reading():
    seen = plant_reading(INVERTER, BATTERY, METER)

    assert (seen.battery_kw, seen.pv_kw, seen.grid_kw, seen.soc) == (1.0, 2.0, -0.5, 0.4)
    assert seen.load_kw == pytest.approx(2.4), "inverter and meter, on the AC side"
    assert (seen.registers.import_kwh, seen.registers.export_kwh) == (8, 7)
    assert seen.dispatch_active is True


@pytest.mark.parametrize(
    ("readings", "missing"),
    [
        ((BATTERY, METER), {"pv_kw", "load_kw"}),
        ((INVERTER, METER), {"battery_kw", "soc", "dispatch_active", "charge_limit_kw"}),
        ((INVERTER, BATTERY), {"grid_kw", "load_kw"}),
    ],
)
def test_what_a_device_does_not_say_is_missing(readings, missing):
    seen = plant_reading(*readings)

    assert {name for name in missing if getattr(seen, name) is not None} == set()


def test_a_sum_with_a_missing_part_is_missing():
    two = [*DEVICES, PlantDevice("40", "NE=1", 39, "sn", "", "", "")]

    assert plant_reading(INVERTER, BATTERY, METER, devices=two).battery_kw is None
    other = reading_of("40", 39, ch_discharge_power=300, battery_soc=60, max_charge_power=2500)
    seen = plant_reading(INVERTER, BATTERY, METER, other, devices=two)
    assert (seen.battery_kw, seen.soc) == (pytest.approx(0.7), pytest.approx(0.5))
    assert seen.charge_limit_kw is None


def test_of_two_meters_a_setting_tells_which_is_at_the_grid():
    two = [*DEVICES, PlantDevice("17", "NE=1", 17, "sn17", "", "", "")]
    other = reading_of("17", 17, active_power=-3)

    assert plant_reading(INVERTER, BATTERY, METER, other, devices=two).grid_kw is None
    assert plant_reading(INVERTER, BATTERY, METER, other, devices=two, grid_meter_sn="sn17").grid_kw == 3


@pytest.mark.parametrize(("model", "active"), [(0, False), (1, True), (4, False), (6, False), (7, True), (9, True)])
def test_remote_commands_are_seen(model, active):
    assert plant_reading(reading_of("39", 39, ch_discharge_model=model)).dispatch_active is active


def test_counters_of_the_battery_count_only_when_a_setting_says_what_they_are():
    battery = reading_of("39", 39, charge_cap=5, discharge_cap=4)

    assert plant_reading(battery).registers.charge_kwh is None
    assert plant_reading(battery, battery_counters="lifetime").registers.discharge_kwh == 4


# --- against the cloud ---


@pytest.mark.parametrize("commercial", [False, True])
@pytest.mark.parametrize("numbers_as", ["number", "text"])
def test_a_reading_is_what_the_plant_does(emulate_huawei, plant_device, commercial, numbers_as):
    world = emulate_huawei(load_kw=1.5, pv_kw=4.0, commercial=commercial)
    world.switch(numbers_as=numbers_as)
    world.after(600)

    async def session(adapter):
        return await adapter.read(plant_device(), Channel.POWER)

    seen, sample = world.run(session), world.plant().site.plant.sample

    assert seen.battery_kw == pytest.approx(sample.battery_kw, abs=1e-3) == pytest.approx(-2.5)
    assert (seen.pv_kw, seen.grid_kw) == (pytest.approx(4.0), pytest.approx(sample.grid_kw, abs=1e-3))
    assert seen.load_kw == pytest.approx(1.5, abs=2e-3)
    assert seen.soc == pytest.approx(sample.soc, abs=1e-4)
    assert seen.measured_at == world.clock.now()


@pytest.mark.parametrize("numbers_as", ["null", "n/a"])
def test_a_cloud_without_values_gives_none(emulate_huawei, plant_device, numbers_as):
    world = emulate_huawei()
    world.switch(numbers_as=numbers_as)

    async def session(adapter):
        return await adapter.read(plant_device(), Channel.POWER)

    seen = world.run(session)

    assert (seen.battery_kw, seen.grid_kw, seen.pv_kw, seen.load_kw, seen.soc) == (None,) * 5


def test_the_reading_has_the_vendors_time(emulate_huawei, plant_device):
    world = emulate_huawei()
    world.switch(clock_skew_s=-90)

    async def session(adapter):
        return await adapter.read(plant_device(), Channel.POWER)

    assert world.run(session).measured_at == START - dt.timedelta(seconds=90)


def test_one_answer_serves_all_plants_for_five_minutes(emulate_huawei, plant_device):
    world = emulate_huawei(plants=3)

    async def session(adapter):
        for _ in range(3):
            for number in (1, 2, 3):
                for channel in Channel:
                    await adapter.read(plant_device(f"NE={number}"), channel)
            world.after(100)
        first = world.calls("getDevRealKpi")
        await adapter.read(plant_device("NE=2"), Channel.POWER)
        return first, world.calls("getDevRealKpi")

    assert world.run(session) == (3, 6)
    assert world.calls("stations") == world.calls("getDevList") == 1


def test_a_day_of_readings_fits_the_quota(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        for _ in range(288):
            assert await adapter.read(plant_device(), Channel.STATE) is not None
            world.after(300)

    world.run(session)

    assert sum(world.calls(name) for name in ("getDevRealKpi", "stations", "getDevList")) == 288 * 3 + 2


def test_an_api_account_reads_every_five_minutes(emulate_huawei, plant_device):
    world = emulate_huawei(plants=2)

    async def session(reader):
        for _ in range(24):
            assert await reader.read(plant_device("NE=2"), Channel.STATE) is not None
            world.after(300)

    world.run(session, api_account=True)


def test_values_that_stand_still_grow_old(emulate_huawei, plant_device):
    world = emulate_huawei()
    world.after(600)
    world.switch(frozen=True)

    async def session(adapter):
        seen = []
        for _ in range(12):
            seen.append((await adapter.read(plant_device(), Channel.STATE)).measured_at)
            world.after(300)
        world.switch()
        world.after(300)
        return seen, (await adapter.read(plant_device(), Channel.STATE)).measured_at

    seen, thawed = world.run(session)

    assert seen[6] - seen[0] == dt.timedelta(minutes=30), "so far it may be chance"
    assert set(seen[7:]) == {seen[0]}
    assert thawed == world.clock.now()


def test_a_plant_of_somebody_else_is_a_matter_of_settings(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        for _ in range(3):
            with pytest.raises(ConfigurationError, match="NE=9"):
                await adapter.read(plant_device("NE=9"), Channel.POWER)

    world.run(session)

    assert world.calls("stations") == 1


@pytest.mark.parametrize(("commercial", "api_account"), [(False, False), (True, False), (False, True)])
@pytest.mark.parametrize("odd", [False, True])
def test_plants_are_found(emulate_huawei, commercial, api_account, odd):
    world = emulate_huawei(commercial=commercial)
    world.switch(odd_json=odd)

    async def session(adapter):
        return await adapter.devices()

    (found,) = world.run(session, api_account=api_account)

    assert found == Found("NE=1", "plant 1", "SUN2000-10KTL-M1", controllable=not commercial and not api_account)


def test_a_plant_list_of_several_pages(emulate_huawei):
    world = emulate_huawei(plants=230)

    async def session(adapter):
        return await adapter.client.plants(), await adapter.devices()

    plants, found = world.run(session)

    assert len(plants) == len(found) == 230
    assert world.calls("getDevList") == 3


def test_history_comes_in_parts_of_three_days(emulate_huawei):
    world = emulate_huawei(load_kw=0.5, pv_kw=1.0)
    world.after(4 * 86_400)

    async def session(adapter):
        devices = await adapter.client.devices(["NE=1"])
        battery = next(one.device_id for one in devices if one.device_type == DeviceType.BATTERY)
        return await adapter.client.device_history(39, [battery], START, START + dt.timedelta(days=4))

    rows = world.run(session)

    assert len(rows) == 4 * 288
    assert (rows[0].at, rows[-1].at) == (START, START + dt.timedelta(days=4, minutes=-5))
    assert rows[5].values["battery_kw"] == pytest.approx(-0.5)
    assert world.calls("getDevHistoryKpi") == 2


def test_reports_by_hour_day_month_and_year(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(load_kw=1.0, pv_kw=0.0, soc=0.5, start=START.replace(hour=0))

    async def session(adapter):
        await adapter.send(
            adapter.translate(
                intent_for(IntentMode.CHARGE, 2.0, minutes=60, begin=START.replace(hour=0)), plant_device(), None
            )
        )
        world.after(2 * 3600)
        client = adapter.client
        hours = await client.plant_hours(["NE=1"], START)
        rest = [await call(["NE=1"], START) for call in (client.plant_days, client.plant_months, client.plant_years)]
        battery = str(world.plant().device_ids()[39])
        inverter = str(world.plant().device_ids()[38])
        device = [
            await call(39, [battery], START) for call in (client.device_days, client.device_months, client.device_years)
        ]
        return hours, rest, device, await client.device_days(38, [inverter], START)

    hours, rest, device, inverter = world.run(session)

    assert [row.begins_at.hour for row in hours] == [0, 1]
    assert hours[0].values["charge_kwh"] == pytest.approx(2.0, abs=0.02)
    assert hours[1].values["discharge_kwh"] == pytest.approx(1.0, abs=0.02)
    assert sum(row.values["charge_kwh"] for row in hours) == pytest.approx(2.0, abs=0.02)
    assert sum(row.values["discharge_kwh"] for row in hours) == pytest.approx(1.0, abs=0.02)
    assert "import_kwh" not in hours[0].values
    for (row,), begin in zip(rest, ((5, 1), (5, 1), (1, 1)), strict=True):
        assert (row.begins_at.month, row.begins_at.day, row.begins_at.hour) == (*begin, 0)
        assert row.values["import_kwh"] == pytest.approx(3.0, abs=0.02)
        assert "irradiation_kwh_per_m2" not in row.values
    for (row,) in device:
        assert row.owner == str(world.plant().device_ids()[39])
        assert row.values["charge_kwh"] == pytest.approx(2.0, abs=0.02)
    assert inverter[0].values == {"yield_kwh": 0.0}


def test_counters_and_alarms_of_a_plant(emulate_huawei):
    world = emulate_huawei(pv_kw=2.0)
    world.after(3600)
    raised = {
        "stationCode": "NE=1",
        "alarmId": 3011,
        "alarmName": "undervoltage",
        "lev": 4,
        "devTypeId": 39,
        "alarmType": 2,
    }
    world.cloud.data.alarms.append({**raised, "raiseTime": round(START.timestamp() * 1000), "causeld": 2})

    async def session(adapter):
        times = START - dt.timedelta(days=1), START + dt.timedelta(days=1)
        return (
            await adapter.client.plants_now(["NE=1"]),
            await adapter.client.alarms(["NE=1"], *times),
            await adapter.client.alarms(["NE=1"], *times, severities=(4, 1), device_types=(38, 39)),
            await adapter.client.alarms(["NE=1"], *times, severities=(1, 2)),
            await adapter.client.alarms(["NE=1"], *times, device_types=(3, 9)),
        )

    (now,), (alarm,), same, none, nothing = world.run(session)

    assert now.values["total_kwh"] == pytest.approx(2.0, abs=0.01)
    assert now.values["health"] == 3
    assert (alarm.alarm_id, alarm.severity, alarm.raised_at, alarm.device_type) == (3011, 4, START, 39)
    assert (alarm.kind, alarm.cause_id) == (2, 2)
    assert same == [alarm]
    assert none == nothing == []


def test_a_question_that_the_vendor_does_not_take_is_a_typed_error(emulate_huawei):
    world = emulate_huawei()

    async def session(adapter):
        for kind, ids, code in (
            (62, ["1"], 20013),
            (39, ["1"], 20008),
            (38, [str(world.plant().device_ids()[39])], 20006),
        ):
            with pytest.raises(Exception, match=str(code)) as error:
                await adapter.client.devices_now(kind, ids)
            assert not isinstance(error.value, VendorUnavailableError)

    world.run(session)
