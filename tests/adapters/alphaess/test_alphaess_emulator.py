"""The emulated AlphaESS cloud keeps to the document and to what servers were seen to do."""

from __future__ import annotations

import datetime as dt
import json
import time

import pandas as pd
import pytest

from adapters.alphaess import mapping
from adapters.contract import Channel
from adapters.emulation import EventLog
from engine import Battery

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
SERIAL_NUMBER = "AL0000000000001"
ENCRYPTED = "S+QtkJNDR5d82NFl7czJ2A=="  # pass1234 under installer01
DISPATCH = {
    "Sn": SERIAL_NUMBER,
    "ActivePower": 34_000,
    "ReactivePower": 32_000,
    "SOC": 0,
    "Status": 1,
    "ControlMode": 2,
}
DATA_CALLS = {
    "GetSystemList": {"pageindex": 1, "pagesize": 10},
    "GetEnergySummary": {"Sn": SERIAL_NUMBER, "TheDate": "2024-05-01"},
    "GetRunningData": {"Sn": SERIAL_NUMBER},
    "GetHistoryRunningData": {
        "Sn": SERIAL_NUMBER,
        "Starttime": "2024/05/01 00:00:00",
        "endtime": "2024/05/01 23:59:59",
    },
    "GetLastPowerData": {"Sn": SERIAL_NUMBER},
    "RemoteDispatch": DISPATCH,
}


@pytest.fixture
def world(emulate):
    """One system at noon, half full, 10 kWh and 5 kW, in a house that draws 1 kW without sun; logged in."""
    world = emulate(load_kw=1.0, pv_kw=0.0, soc=0.5)
    world.login()
    return world


def run_for(world, seconds, power_kw=None):
    """Let time pass, renewing a dispatch every 30 s if there is one."""
    for _ in range(seconds // 30):
        if power_kw is not None:
            world.dispatch(power_kw)
        world.step(30)


# --- refusals, in the vendor's order ---

LOGIN_FAULTS = {
    3: {"timestamp": int(START.timestamp()) - 1000},
    8: {"api_account": "apiacct02"},
    4: {"sign": "0" * 32},
    9: {"username": "installer02"},
    11: {"password": "AAAAAAAAAAAAAAAAAAAAAA=="},
}


@pytest.mark.parametrize("code", LOGIN_FAULTS)
def test_a_login_is_refused_for_each_fault(emulate, code):
    world = emulate()

    status, answer = world.post(
        "/ras/v2/Login", world.signed({"username": "installer01", "password": ENCRYPTED, **LOGIN_FAULTS[code]})
    )

    assert (status, answer) == (200, {"ReturnCode": code})
    assert [event["code"] for event in world.events("login refused")] == [code]


@pytest.mark.parametrize("position", range(len(LOGIN_FAULTS)))
def test_a_login_with_several_faults_is_refused_for_the_first_in_the_vendors_order(emulate, position):
    world = emulate()
    order = list(LOGIN_FAULTS)
    faults = {name: value for code in order[position:] for name, value in LOGIN_FAULTS[code].items()}

    _, answer = world.post("/ras/v2/Login", world.signed({"username": "installer01", "password": ENCRYPTED, **faults}))

    assert answer["ReturnCode"] == order[position]


def test_a_login_gives_a_token_and_the_type_of_the_user(emulate):
    world = emulate()

    status, answer = world.post("/ras/v2/Login", world.signed({"username": "installer01", "password": ENCRYPTED}))

    assert status == 200
    assert answer.keys() == {"ReturnCode", "userType", "Token"}
    assert answer["ReturnCode"] == 0
    assert len(answer["Token"]) == 32


@pytest.mark.parametrize("password", ["pass1234", "", "AAAA", "not base64!", "e5gLt9ijeDmQHIRn3slwsw=="])
def test_a_password_that_is_not_encrypted_with_the_user_name_is_wrong(emulate, password):
    world = emulate()

    _, answer = world.post("/ras/v2/Login", world.signed({"username": "installer01", "password": password}))

    # 2 is "Required fields not filled".
    assert answer["ReturnCode"] == (11 if password else 2)


DATA_FAULTS = {
    14: {"Token": "nobody's"},
    16: {"address": "10.0.0.9"},
    4: {"sign": "0" * 32},
    3: {"timestamp": int(START.timestamp()) + 1000},
    8: {"api_account": "apiacct02"},
    12: {"Sn": "AL9"},
}
# The system list is asked for without a serial number.
FAULTS_OF_CALLS = [(name, code) for name in DATA_CALLS for code in DATA_FAULTS if (name, code) != ("GetSystemList", 12)]


@pytest.mark.parametrize(("name", "code"), FAULTS_OF_CALLS)
def test_a_data_call_is_refused_for_each_fault(world, name, code):
    status, answer = world.call(name, **{**DATA_CALLS[name], **DATA_FAULTS[code]})

    assert (status, answer) == (200, {"ReturnCode": code, "Result": None})
    assert [(event["call"], event["code"]) for event in world.events("call refused")] == [(name, code)]


@pytest.mark.parametrize("position", range(len(DATA_FAULTS)))
def test_a_call_with_several_faults_is_refused_for_the_first_in_the_vendors_order(world, position):
    order = list(DATA_FAULTS)
    faults = {name: value for code in order[position:] for name, value in DATA_FAULTS[code].items()}

    assert world.code("RemoteDispatch", **{**DISPATCH, **faults}) == order[position]


@pytest.mark.parametrize("code", DATA_FAULTS)
def test_a_refused_dispatch_leaves_the_battery_alone(world, code):
    world.call("RemoteDispatch", **{**DISPATCH, **DATA_FAULTS[code]})
    world.step(30)

    assert world.system.site.released
    assert world.plant.sample.battery_kw == 1.0
    assert world.events("started") == []


def test_another_secret_is_an_authentication_failure(world):
    body = world.signed({"Token": world.token, **DISPATCH}, secret="f" * 32)

    assert world.post("/ras/v2/RemoteDispatch", body)[1]["ReturnCode"] == 4


@pytest.mark.parametrize("change", [{"ActivePower": 30_000}, {"Sn": "AL9"}, {"Remark": "more"}])
def test_a_request_that_was_changed_on_its_way_is_an_authentication_failure(world, change):
    body = {**world.signed({"Token": world.token, **DISPATCH}), **change}

    assert world.post("/ras/v2/RemoteDispatch", body)[1]["ReturnCode"] == 4


@pytest.mark.parametrize(("offset_s", "code"), [(-301, 3), (-300, 0), (0, 0), (300, 0), (301, 3)])
def test_the_timestamp_may_be_300_seconds_off(world, offset_s, code):
    timestamp = int(START.timestamp()) + offset_s

    assert world.code("GetRunningData", Sn=SERIAL_NUMBER, timestamp=timestamp) == code


@pytest.mark.parametrize(("unused_s", "code"), [(5400, 0), (5401, 14)])
def test_a_token_lives_90_minutes_without_use(world, unused_s, code):
    world.step(unused_s)

    assert world.code("GetRunningData", Sn=SERIAL_NUMBER) == code


def test_each_use_gives_a_token_another_90_minutes(world):
    codes = []
    for _ in range(3):
        world.step(5000)
        codes.append(world.code("GetRunningData", Sn=SERIAL_NUMBER))

    assert codes == [0, 0, 0]


def test_a_new_login_ends_the_session_before_it(world):
    first = world.token

    second = world.login()

    assert world.code("GetRunningData", Token=first, Sn=SERIAL_NUMBER) == 14
    assert world.code("GetRunningData", Token=second, Sn=SERIAL_NUMBER) == 0


# --- requests that are no requests ---


# What the document marks "Yes" under "Requires", beside what every call has.
REQUIRED = {
    "Login": ("username", "password"),
    "GetSystemList": ("Token", "pageindex"),
    "GetEnergySummary": ("Token", "TheDate"),
    "GetRunningData": ("Token",),
    "GetHistoryRunningData": ("Token", "Starttime", "endtime"),
    "GetLastPowerData": ("Token",),
    "RemoteDispatch": ("Token", "ActivePower", "ReactivePower", "SOC", "Status", "ControlMode"),
}
REQUIRED_FIELDS = [
    (call, name) for call, names in REQUIRED.items() for name in ("api_account", "timestamp", "sign", *names)
]


def complete(world, call):
    if call == "Login":
        return world.signed({"username": "installer01", "password": ENCRYPTED})
    return world.signed({"Token": world.token, **DATA_CALLS[call]})


@pytest.mark.parametrize(("call", "name"), REQUIRED_FIELDS)
def test_a_missing_field_is_a_bad_request(world, call, name):
    body = complete(world, call)
    del body[name]

    assert world.post(f"/ras/v2/{call}", body)[0] == 400


@pytest.mark.parametrize("wrong", [None, True, [], {}], ids=repr)
@pytest.mark.parametrize(("call", "name"), REQUIRED_FIELDS)
def test_a_field_of_a_wrong_type_is_a_bad_request(world, call, name, wrong):
    assert world.post(f"/ras/v2/{call}", {**complete(world, call), name: wrong})[0] == 400


@pytest.mark.parametrize(("call", "name"), REQUIRED_FIELDS)
def test_text_for_a_number_and_a_number_for_text_are_bad_requests(world, call, name):
    body = complete(world, call)
    wrong = str(body[name]) if isinstance(body[name], int) else 5

    assert world.post(f"/ras/v2/{call}", {**body, name: wrong})[0] == 400


@pytest.mark.parametrize(
    ("call", "name", "wrong"),
    [
        ("RemoteDispatch", "Sn", []),
        ("RemoteDispatch", "Sn", {}),
        ("GetRunningData", "Sn", ["AL0000000000001"]),
        ("GetSystemList", "pagesize", "many"),
        ("GetSystemList", "pagesize", []),
    ],
)
def test_an_optional_field_of_a_wrong_type_is_a_bad_request(world, call, name, wrong):
    body = world.signed({"Token": world.token, **DATA_CALLS[call], name: wrong})

    assert world.post(f"/ras/v2/{call}", body)[0] == 400


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'"text"', b"\xff"])
@pytest.mark.parametrize("call", ["Login", "RemoteDispatch"])
def test_a_body_that_is_no_json_object_is_a_bad_request(world, call, body):
    assert world.post(f"/ras/v2/{call}", body)[0] == 400


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        pytest.param("sign", "\u00e9" * 32, 4, id="a signature with accents"),
        pytest.param("timestamp", 10**400, 3, id="a time beyond the end of time"),
        pytest.param("Sn", "\u20ac", 12, id="a serial number with a currency"),
    ],
)
def test_strange_values_are_refused_like_any_wrong_ones(world, name, value, code):
    assert world.code("GetRunningData", **{"Sn": SERIAL_NUMBER, name: value}) == code


def test_only_post_is_answered(world):
    assert world.post("/ras/v2/GetRunningData", {}, method="GET")[0] == 405
    assert world.post("/ras/v2/Nothing", {})[0] == 404


# --- the lease ---


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


# --- the witness ---


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
