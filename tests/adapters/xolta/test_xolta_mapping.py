"""Signs, units and shapes of Xolta; parsers that nothing can upset."""

from __future__ import annotations

import datetime as dt
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import Channel, VendorUnavailableError
from adapters.xolta import mapping
from adapters.xolta.mapping import Names, SetPoint, State
from adapters.xolta.signals import parse
from tests.adapters.xolta.document_names import RAW, SUMMARY

NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)


# --- signs and units ---


def status_of(**fields):
    record = {"deviceId": "D", "state": "Running", "mode": "SelfConsumption", "utcTime": "2024-05-01T12:00:00Z"}
    return mapping.statuses([{**record, **fields}])["D"]


def reading_of(**fields):
    return mapping.telemetry_of_status(status_of(**fields), Channel.POWER)


@pytest.mark.parametrize(
    ("signal", "value", "field", "expected"),
    [
        ("inverterActivePower", 3.5, "battery_kw", 3.5),
        ("inverterActivePower", -3.5, "battery_kw", -3.5),
        ("meterGridActivePower", 1.25, "grid_kw", 1.25),
        ("meterGridActivePower", -1.25, "grid_kw", -1.25),
        ("meterPvActivePower", 4, "pv_kw", 4.0),
        ("meterPvActivePower", -0.01, "pv_kw", 0.0),
        ("meterConsumptionActivePower", 2.0, "load_kw", 2.0),
        ("bmsSocRawArrayCloudTrimmed", 42.5, "soc", 0.425),
        ("bmsSocRawArrayCloudTrimmed", 100, "soc", 1.0),
        ("bmsSocRawArrayCloudTrimmed", 6553.5, "soc", None),
        ("InverterActivePower", "3.5", "battery_kw", 3.5),
        ("batteryPower", 9.0, "battery_kw", None),
        ("meterInverterActivePower", 9.0, "battery_kw", None),
        ("inverterReactivePower", 9.0, "battery_kw", None),
        ("bmsSocRawArray", [50.0, 50.0], "soc", None),
    ],
)
def test_a_signal_in_canonical_sign_and_unit(signal, value, field, expected):
    assert getattr(reading_of(**{signal: value}), field) == expected


@pytest.mark.parametrize("nothing", [None, "", "N/A", "--", True, False, "NaN", "inf", [], {}, [1.0], {"value": 1}])
def test_no_number_is_not_zero(nothing):
    reading = reading_of(
        inverterActivePower=nothing,
        meterGridActivePower=nothing,
        meterPvActivePower=nothing,
        bmsSocRawArrayCloudTrimmed=nothing,
    )

    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw, reading.soc) == (None,) * 5


def test_load_is_measured_else_calculated_else_the_balance():
    powers = {"inverterActivePower": 1.0, "meterGridActivePower": -0.5, "meterPvActivePower": 3.0}

    assert reading_of(**powers).load_kw == 3.5
    assert reading_of(**powers, calculatedConsumption=3.3).load_kw == 3.3
    assert reading_of(**powers, calculatedConsumption=3.3, meterConsumptionActivePower=3.6).load_kw == 3.6
    assert reading_of(inverterActivePower=1.0, meterGridActivePower=-0.5).load_kw is None


@pytest.mark.parametrize("state", ["Idling", "Error", "Sleep", "", None, 3, True, {"name": "Running"}])
def test_what_does_not_run_has_no_powers(state):
    powers = {"inverterActivePower": 5.0, "meterGridActivePower": 1.0, "meterPvActivePower": 1.0}
    status = status_of(state=state, **powers, inverterActivePowerSetPoint=5.0, bmsSocRawArrayCloudTrimmed=50)
    reading = mapping.telemetry_of_status(status, Channel.STATE)

    assert not status.is_running
    assert status.set_point_kw is None
    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw) == (None,) * 4
    assert reading.soc == 0.5


@pytest.mark.parametrize(
    ("mode", "driven"), [("ExternalControl", True), ("externalcontrol", True), ("SelfConsumption", False), (None, None)]
)
def test_the_mode_tells_whether_somebody_drives(mode, driven):
    assert reading_of(mode=mode).dispatch_active is driven


def test_a_status_without_a_time_has_no_age_and_is_no_reading():
    with pytest.raises(VendorUnavailableError, match="time_fields"):
        reading_of(utcTime="soon")


@pytest.mark.parametrize(
    "text",
    ["2024-05-01T12:00:00Z", "2024-05-01T12:00:00", "2024-05-01T14:00:00+02:00", "2024-05-01T12:00:00.0000000Z"],
)
def test_times_are_utc_however_written(text):
    assert reading_of(utcTime=text).measured_at == NOW


def test_other_names_of_fields_can_be_set():
    answer = {"units": [{"serial": 7, "status": "running", "at": "2024-05-01T12:00:00Z", "inverterActivePower": 2}]}
    names = Names(device=("Serial",), state=("STATUS",), mode=("m",), time=("At",))

    assert mapping.statuses(answer) == {}
    status = mapping.statuses(answer, names)["7"]
    assert status.is_running
    assert status.measured_at == NOW


# --- aggregates ---


def test_an_aggregate_is_never_added_to_its_parts():
    row = {
        "utcEndTime": "2024-05-01T12:10:00Z",
        "inverterActivePowerAggAvg": 2.0,
        "inverterActivePowerAggMax": 9.0,
        "inverterActivePowerAggAvgSiteSum": 6.0,
        "meterGridActivePowerAggAvgSiteSingle": 1.0,
        "bmsSocRawArrayCloudTrimmedAggAvg": 40,
        "bmsSocRawArrayCloudTrimmedAggAvgSiteAvg": 50,
    }

    (of_device,) = mapping.telemetry_rows({"telemetry": [row]})
    (of_site,) = mapping.telemetry_rows({"telemetry": [row]}, of_site=True)

    assert (of_device.battery_kw, of_device.grid_kw, of_device.soc) == (2.0, 1.0, 0.4)
    assert (of_site.battery_kw, of_site.grid_kw, of_site.soc) == (6.0, 1.0, 0.5)


def test_a_sites_sum_is_no_devices_power():
    row = {"utcEndTime": "2024-05-01T12:10:00Z", "inverterActivePowerAggAvgSiteSum": 6.0}

    assert mapping.telemetry_rows([row])[0].battery_kw is None


def test_a_sample_goes_before_a_mean_and_extremes_count_for_nothing():
    assert reading_of(inverterActivePowerAggAvg=1.0, inverterActivePower=2.0).battery_kw == 2.0
    assert reading_of(inverterActivePowerAggMin=1.0, inverterActivePowerAggStd=2.0).battery_kw is None


def test_rows_come_in_order_and_without_time_not_at_all():
    rows = [{"utcTime": f"2024-05-01T12:0{minute}:00Z", "inverterActivePower": float(minute)} for minute in (3, 1, 2)]

    readings = mapping.telemetry_rows({"telemetry": [*rows, {"inverterActivePower": 9.0}, None, 4]})

    assert [reading.battery_kw for reading in readings] == [1.0, 2.0, 3.0]


def test_the_newest_of_several_samples_counts():
    samples = [
        {"utcTime": "2024-05-01T12:00:10Z", "inverterActivePower": 1.0},
        {"utcTime": "2024-05-01T12:00:30Z", "inverterActivePower": 3.0},
        {"utcTime": "2024-05-01T12:00:20Z", "inverterActivePower": 2.0},
    ]

    reading = reading_of(utcTime=None, telemetry=samples)

    assert reading.battery_kw == 3.0
    assert reading.measured_at == NOW + dt.timedelta(seconds=30)


def test_meta_data_is_read_in_any_shape():
    assert mapping.signal_names(["meterGridActivePower", "other", 3]) == ["meterGridActivePower"]
    assert mapping.signal_names({"raw": [{"name": "bmsSocRawArray"}], "batteryPower": "kW"}) == [
        "batteryPower",
        "bmsSocRawArray",
    ]


def test_a_raw_row_of_the_document_is_read_whole():
    """Section 3.2 with its units: kW (164, 175, 176, 180) and percent (161); `batteryPower` (163) is not to be used."""
    row = {name: [1.0, 2.0] if name.endswith("Array") else 99.0 for name in RAW}
    known = {
        "bmsSocRawArrayCloudTrimmed": 38.0,
        "inverterActivePower": -2.5,
        "meterGridActivePower": 4.0,
        "meterPvActivePower": 1.5,
        "meterConsumptionActivePower": 3.25,
    }

    (reading,) = mapping.telemetry_rows([{**row, **known, "utcTime": "2024-05-01T12:00:00Z"}])

    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw) == (-2.5, 4.0, 1.5, 3.25)
    assert (reading.soc, reading.measured_at) == (0.38, NOW)


def test_a_summary_row_of_the_document_is_read_whole():
    """Section 3.3: means in kW (201, 196, 270), in percent (330), and the load that the cloud worked out (464)."""
    row = {
        **dict.fromkeys(SUMMARY, 99.0),
        "bmsSocRawArrayCloudTrimmedAggAvg": 38.0,
        "inverterActivePowerAggAvg": -2.5,
        "meterGridActivePowerAggAvg": 4.0,
        "meterPvActivePowerAggAvg": 1.5,
        "calculatedConsumption": 3.0,
        "utcEndTime": "2024-05-01T12:00:00Z",
    }
    measured = {**row, "meterConsumptionActivePowerAggAvg": 3.25}
    calculated = {name: value for name, value in row.items() if "meterConsumption" not in name}

    for shown, load_kw in ((measured, 3.25), (calculated, 3.0)):
        (reading,) = mapping.telemetry_rows([shown])
        assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw) == (-2.5, 4.0, 1.5, load_kw)
        assert (reading.soc, reading.measured_at) == (0.38, NOW)


# --- what is sent ---


def test_the_body_of_external_control_is_the_vendors():
    body = mapping.external_control("D", [SetPoint(NOW, 2.5), SetPoint(NOW + dt.timedelta(minutes=15), 0.0)])

    assert json.loads(json.dumps(body)) == {
        "DeviceId": "D",
        "CommandName": "GoToMode_ExternalControl",
        "Payload": {
            "setPoint": {
                "1": {"utcTime": "2024-05-01T12:00:00Z", "batteryActivePower": 2.5},
                "2": {"utcTime": "2024-05-01T12:15:00Z", "batteryActivePower": 0.0},
            }
        },
    }


def test_the_other_commands_have_an_empty_payload():
    assert mapping.self_consumption("D") == {
        "DeviceId": "D",
        "CommandName": "GoToMode_SelfConsumption",
        "Payload": "",
    }
    assert [mapping.go_to_state("D", state)["CommandName"] for state in State] == [
        "GoToState_Running",
        "GoToState_Idling",
    ]


def test_times_go_out_in_whole_seconds_with_a_z():
    zone = dt.timezone(dt.timedelta(hours=2))
    assert mapping.utc_text(dt.datetime(2024, 5, 1, 14, 0, 0, 999_999, tzinfo=zone)) == "2024-05-01T12:00:00Z"


@pytest.mark.parametrize(
    ("kw", "unit", "sign", "value"),
    [
        (2.5, "kW", 1, 2.5),
        (-2.5, "kW", 1, -2.5),
        (2.5, "kW", -1, -2.5),
        (2.5, "W", 1, 2500.0),
        (-2.5, "W", -1, 2500.0),
        (0.0, "kW", -1, 0.0),
        (10 / 3, "kW", 1, 3.333),
        (-10 / 3, "W", 1, -3333.0),
        (4.1, "W", 1, 4100.0),
    ],
)
def test_a_set_point_in_every_unit_and_sign(kw, unit, sign, value):
    assert mapping.set_point_value(kw, unit, sign) == value
    assert str(mapping.set_point_value(kw, unit, sign)) == str(value)


@given(kw=st.floats(-100, 100), unit=st.sampled_from(["kW", "W"]), sign=st.sampled_from([1, -1]))
def test_a_set_point_comes_back_within_a_watt_and_never_larger(kw, unit, sign):
    back = mapping.power_of_value(mapping.set_point_value(kw, unit, sign), unit, sign)

    assert abs(back) <= abs(kw) + 1e-9
    assert back == pytest.approx(kw, abs=0.001001)


@pytest.mark.parametrize(
    ("body", "fault", "reference"),
    [
        (None, None, ""),
        ([], None, ""),
        ({}, None, ""),
        ({"success": True, "commandId": "c-1"}, None, "c-1"),
        ({"Success": False}, "success is false", ""),
        ({"errors": ["no"]}, "it has errors", ""),
        ({"error": None, "ID": 7}, None, "7"),
    ],
)
def test_the_body_of_a_receipt(body, fault, reference):
    assert mapping.fault_of(body) == fault
    assert mapping.reference_of(body) == reference


# --- anything ---

WORDS = st.sampled_from(
    [
        "deviceId",
        "id",
        "state",
        "mode",
        "utcTime",
        "telemetry",
        "data",
        "success",
        "error",
        "commandId",
        *RAW[-8:],
        "inverterActivePowerAggAvgSiteSum",
        "bmsSocRawArrayCloudTrimmed",
        "inverterActivePower",
        "name",
        "value",
    ]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | WORDS
    | st.sampled_from(["Running", "2024-05-01T12:00:00Z", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00"])
    | st.sampled_from(["1e999", "sNaN", "-0"])
)
JSON = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(WORDS | st.text(max_size=4), inner, max_size=6)
)


@settings(max_examples=2000)
@given(JSON)
def test_no_answer_upsets_a_parser(answer):
    for status in mapping.statuses(answer).values():
        if status.measured_at is None:
            continue
        reading = mapping.telemetry_of_status(status, Channel.POWER)
        assert reading.soc is None or -0.05 <= reading.soc <= 1.05
        assert status.is_running or reading.battery_kw is None
        assert reading.measured_at.utcoffset() == dt.timedelta(0)
    for of_site in (False, True):
        assert all(row.measured_at.tzinfo is not None for row in mapping.telemetry_rows(answer, of_site=of_site))
    assert all(parse(name) for name in mapping.signal_names(answer))
    assert isinstance(mapping.reference_of(answer), str)
    assert mapping.fault_of(answer) is None or isinstance(answer, dict)


def test_an_answer_nested_without_end_is_left_alone():
    answer: object = {"deviceId": "D"}
    for _ in range(50):
        answer = [answer]

    assert mapping.statuses(answer) == {}
