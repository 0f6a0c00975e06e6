"""Signs, units, words and times of SolaX, row by row."""

from __future__ import annotations

import datetime as dt
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import AdapterError, Channel, ConfigurationError, Registers, Telemetry, VendorUnavailableError
from adapters.solax import mapping
from adapters.solax.mapping import BatteryStatus, ErrorCode, InverterStatus, Meter2, pause_for, telemetry

CPH = ZoneInfo("Europe/Copenhagen")
AT = {"uploadTime": "2024-08-20 09:21:43"}
# Section 7.1, "Returned message": an inverter without a battery, in the morning.
DOCUMENT_RESULT = {
    "inverterSN": "H34*****6008",
    "sn": "SR*****RM",
    "acpower": 152,
    "yieldtoday": 0.2,
    "yieldtotal": 2420.5,
    "feedinpower": 0,
    "feedinenergy": 0,
    "consumeenergy": 0,
    "feedinpowerM2": None,
    "soc": None,
    "peps1": None,
    "peps2": None,
    "peps3": None,
    "inverterType": "4",
    "inverterStatus": "102",
    "uploadTime": "2024-08-20 09:21:43",
    "batPower": None,
    "powerdc1": 162,
    "powerdc2": 0,
    "powerdc3": None,
    "powerdc4": None,
    "batStatus": None,
}


def read(row, zone=CPH, **more):
    return telemetry(row, Channel.STATE, zone, **more)


def test_the_documents_own_example():
    assert read(DOCUMENT_RESULT) == Telemetry(
        channel=Channel.STATE,
        measured_at=dt.datetime(2024, 8, 20, 7, 21, 43, tzinfo=dt.UTC),
        battery_kw=None,
        grid_kw=0.0,
        pv_kw=0.162,
        load_kw=0.152,
        soc=None,
        registers=Registers(import_kwh=0, export_kwh=0),
        dispatch_active=False,
    )


@pytest.mark.parametrize(
    ("field", "value", "name", "canonical"),
    [
        ("batPower", 500, "battery_kw", -0.5),
        ("batPower", -500, "battery_kw", 0.5),
        ("feedinpower", 1200, "grid_kw", -1.2),
        ("feedinpower", -1200, "grid_kw", 1.2),
        ("powerdc1", 2500, "pv_kw", 2.5),
        ("powerdc2", 2500, "pv_kw", 2.5),
        ("powerdc3", 2500, "pv_kw", 2.5),
        ("powerdc4", 2500, "pv_kw", 2.5),
        ("soc", 57, "soc", 0.57),
        ("soc", 0, "soc", 0.0),
        ("soc", 100, "soc", 1.0),
    ],
)
def test_signs_and_units(field, value, name, canonical):
    assert getattr(read({**AT, field: value}), name) == pytest.approx(canonical)


def test_registers_are_kwh_and_not_exchanged():
    row = {**AT, "feedinenergy": 12.5, "consumeenergy": 99.25}

    assert read(row).registers == Registers(import_kwh=99.25, export_kwh=12.5)


def test_the_balance_of_a_hybrid():
    """3 kW from the panels: 1 kW into the battery, 0.5 kW sold, 1.5 kW used."""
    row = {**AT, "acpower": 2000, "feedinpower": 500, "batPower": 1000, "powerdc1": 1800, "powerdc2": 1200}

    seen = read(row)

    assert (seen.pv_kw, seen.battery_kw, seen.grid_kw, seen.load_kw) == (3.0, -1.0, -0.5, 1.5)
    assert seen.load_kw == pytest.approx(seen.grid_kw + seen.pv_kw + seen.battery_kw)


def test_zero_has_no_minus():
    seen = read({**AT, "batPower": 0, "feedinpower": 0})

    assert [math.copysign(1, value) for value in (seen.battery_kw, seen.grid_kw)] == [1, 1]


@pytest.mark.parametrize("missing", ["acpower", "feedinpower"])
def test_load_is_unknown_where_a_part_of_it_is(missing):
    row = {**AT, "acpower": 2000, "feedinpower": 500}
    del row[missing]

    assert read(row).load_kw is None


def test_off_the_grid_the_load_is_unknown_and_never_zero():
    row = {**AT, "acpower": 0, "feedinpower": 0, "peps1": 400, "batPower": -420, "inverterStatus": "107"}

    seen = read(row)

    assert (seen.load_kw, seen.battery_kw, seen.grid_kw) == (None, 0.42, 0.0)


@pytest.mark.parametrize(
    "nothing", [None, "", "N/A", "abc", True, False, "NaN", float("nan"), "inf", -math.inf, [], {}]
)
@pytest.mark.parametrize(
    ("field", "name"), [("batPower", "battery_kw"), ("feedinpower", "grid_kw"), ("powerdc1", "pv_kw"), ("soc", "soc")]
)
def test_what_is_no_number_is_unknown_and_never_zero(field, name, nothing):
    assert getattr(read({**AT, field: nothing}), name) is None


def test_numbers_may_be_text_and_names_in_any_case():
    row = {"UPLOADTIME": "2024-08-20 09:21:43", "BatPower": " 500 ", "SOC": "57.0", "inverterstatus": 130, "new": {}}

    seen = read(row)

    assert (seen.battery_kw, seen.soc, seen.dispatch_active) == (-0.5, 0.57, True)


@pytest.mark.parametrize("percent", [-6, 106, 255, 65535])
def test_a_state_of_charge_that_is_none_is_unknown(percent):
    assert read({**AT, "soc": percent}).soc is None


def test_powers_that_add_up_beyond_all_numbers_are_unknown():
    assert read({**AT, "powerdc1": 1.7e308, "powerdc2": 1.7e308}).pv_kw is None


# --- words ---


@pytest.mark.parametrize("status", InverterStatus)
@pytest.mark.parametrize("written", [str, int])
def test_every_status_tells_whether_somebody_else_drives(status, written):
    row = {**AT, "inverterStatus": written(int(status))}

    assert read(row).dispatch_active is (130 <= status <= 133)


def test_the_statuses_are_those_of_section_8_1():
    assert sorted(InverterStatus) == [*range(100, 115), *range(130, 134)]


@pytest.mark.parametrize("status", [None, "", "400", "99", "VPP", 130.5, True])
def test_an_unknown_status_tells_nothing(status):
    assert read({**AT, "inverterStatus": status}).dispatch_active is None


@pytest.mark.parametrize("status", BatteryStatus)
@pytest.mark.parametrize("written", [str, int])
def test_a_disconnected_battery_has_no_readings(status, written):
    seen = read({**AT, "soc": 0, "batPower": 0, "batStatus": written(int(status))})

    known = status is not BatteryStatus.DISCONNECTED
    assert (seen.soc is not None, seen.battery_kw is not None) == (known, known)


def test_the_documented_error_codes_are_named():
    documented = {1001, 1002, 1003, 1004, 2001, 2002}

    assert documented <= set(ErrorCode)
    for code in documented:
        assert "not in the document" not in mapping.describe_code(code)
    assert "not in the document" in mapping.describe_code(4711)


@pytest.mark.parametrize(
    ("code", "text", "minutes"),
    [
        (104, "Request calls within the current minute > threshold", 5),
        (3, "The request times exceed the maximum call threshold limit", 5),
        (1, "Accumulated 3 requests within 5 minutes exceed the limit", 5),
        (2001, "REQUEST CALLS WITHIN THE CURRENT MINUTE > THRESHOLD", 5),
        (None, "There have been several violations in a row", 5),
        (
            3,
            "There have been several violations in a row, and the system will prohibit calls within the next hour",
            60,
        ),
        (104, "", 5),
        (104, None, 5),
        (104, "illegal token", None),
        (2001, "Operation failed", None),
        (2001, None, None),
        (1001, "Interface Unauthorized", None),
    ],
)
def test_how_long_a_refusal_asks_to_be_left_alone(code, text, minutes):
    assert pause_for(code, text) == (None if minutes is None else dt.timedelta(minutes=minutes))


# --- the second meter ---

BOTH_METERS = {**AT, "acpower": 2000, "feedinpower": 500, "feedinpowerM2": 300, "powerdc1": 2000}


def test_the_second_meter_is_ignored_unless_asked_for():
    seen = read(BOTH_METERS)

    assert (seen.grid_kw, seen.pv_kw, seen.load_kw) == (-0.5, 2.0, 1.5)


def test_the_second_meter_as_another_grid_connection():
    seen = read(BOTH_METERS, meter_2=Meter2.GRID)

    assert (seen.grid_kw, seen.pv_kw, seen.load_kw) == pytest.approx((-0.8, 2.0, 1.2))


def test_the_second_meter_as_another_array():
    seen = read(BOTH_METERS, meter_2=Meter2.PV)

    assert (seen.grid_kw, seen.pv_kw, seen.load_kw) == pytest.approx((-0.5, 2.3, 1.8))


@pytest.mark.parametrize(("meter_2", "unknown"), [(Meter2.GRID, "grid_kw"), (Meter2.PV, "pv_kw")])
def test_a_second_meter_that_is_silent_makes_its_sum_unknown(meter_2, unknown):
    seen = read({**BOTH_METERS, "feedinpowerM2": None}, meter_2=meter_2)

    assert getattr(seen, unknown) is None
    assert seen.load_kw is None


# --- time ---


def test_the_upload_time_is_of_the_zone_that_was_set():
    assert read(AT, ZoneInfo("Australia/Sydney")).measured_at == dt.datetime(2024, 8, 19, 23, 21, 43, tzinfo=dt.UTC)


def test_a_utc_time_is_preferred_and_needs_no_zone():
    row = {**AT, "utcDateTime": "2024-08-20T07:21:44Z"}

    for zone in (None, CPH):
        assert read(row, zone).measured_at == dt.datetime(2024, 8, 20, 7, 21, 44, tzinfo=dt.UTC)


@pytest.mark.parametrize("naive", ["2024-08-20 07:21:44", "2024/08/20 07:21:44"])
def test_a_utc_time_without_a_zone_is_still_utc(naive):
    assert read({"utcDateTime": naive}, None).measured_at == dt.datetime(2024, 8, 20, 7, 21, 44, tzinfo=dt.UTC)


@pytest.mark.parametrize("unreadable", [None, "", "soon", 0])
def test_an_unreadable_utc_time_leaves_the_upload_time(unreadable):
    row = {**AT, "utcDateTime": unreadable}

    assert read(row).measured_at == dt.datetime(2024, 8, 20, 7, 21, 43, tzinfo=dt.UTC)


def test_without_a_zone_a_local_time_is_refused_with_the_setting_to_make():
    with pytest.raises(ConfigurationError, match="upload_time_zone"):
        read(AT, None)


@pytest.mark.parametrize("text", [None, "", "yesterday", "2024-13-01 00:00:00", "0001-01-01 00:00:00", [], 7])
def test_without_a_readable_time_there_is_no_reading(text):
    with pytest.raises(VendorUnavailableError, match="age"):
        read({"uploadTime": text, "soc": 50})


@pytest.mark.parametrize("utc_hour", [0, 1])
def test_the_hour_that_comes_twice_is_told_apart_by_the_time_of_the_answer(utc_hour):
    """Clocks in Denmark went back on 27 October 2024 at 03:00: 02:30 was at 00:30 and at 01:30 UTC."""
    now = dt.datetime(2024, 10, 27, utc_hour, 33, tzinfo=dt.UTC)

    seen = read({"uploadTime": "2024-10-27 02:30:00"}, now=now)

    assert seen.measured_at == dt.datetime(2024, 10, 27, utc_hour, 30, tzinfo=dt.UTC)


# --- anything at all ---

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
NAMES = [*DOCUMENT_RESULT, "utcDateTime", "UPLOADTIME"]
TIMES = st.datetimes().map(str) | JSON
ROWS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=12)


@settings(max_examples=2000)
@given(
    row=ROWS,
    time=TIMES,
    utc=TIMES | st.just(None),
    meter_2=st.sampled_from(Meter2),
    now=st.none() | st.just(dt.datetime(2024, 5, 1, tzinfo=dt.UTC)),
)
def test_no_row_whatever_crashes_the_parser(row, time, utc, meter_2, now):
    try:
        seen = telemetry({"uploadTime": time, "utcDateTime": utc, **row}, Channel.POWER, CPH, meter_2, now)
    except AdapterError:
        return

    assert seen.measured_at.tzinfo is dt.UTC
    for value in (seen.battery_kw, seen.grid_kw, seen.pv_kw, seen.load_kw, seen.soc):
        assert value is None or (isinstance(value, float) and math.isfinite(value))


@settings(max_examples=2000)
@given(code=JSON, text=JSON)
def test_no_answer_whatever_crashes_the_judgement_of_limits(code, text):
    assert pause_for(mapping.code_of(code), text) in (None, dt.timedelta(minutes=5), dt.timedelta(hours=1))
