"""Signs, scales and words of AlphaESS, against the document's own examples (sections 4, 6, 7)."""

from __future__ import annotations

import datetime as dt
import math
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.alphaess import mapping
from adapters.contract import Channel, IntentRefusedError, Registers, VendorUnavailableError
from tests.adapters.any_json import any_json

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
UPLOADED = "2024-05-01 12:00:00"

# A row of GetRunningData as the document names its fields, from a single-phase house at noon.
ROW = {
    "Sn": "AL0000000000001",
    "UploadTime": UPLOADED,
    "Ppv1": 2100,
    "Ppv2": 900,
    "PrealL1": 2200,
    "PmeterL1": -1400,
    "PmeterL2": None,
    "PmeterL3": None,
    "PmeterDC": 0,
    "Pbat": -800,
    "SOC": 47.6,
    "Pcharge": 4600,
    "Pdischarge": 4800,
    "Einput": 1200.5,
    "Eoutput": 3400.25,
    "Echarge": 900.125,
    "EDischarge": 810,
    "DispatchSwitch": 1,
}

NOT_A_NUMBER = [
    None,
    "",
    " ",
    "N/A",
    "--",
    "null",
    "NaN",
    "Infinity",
    "1,5",
    "12 W",
    True,
    False,
    [],
    [5],
    {},
    {"a": 1},
]


def read(**changes):
    return mapping.telemetry({**ROW, **changes}, Channel.STATE, dt.UTC)


# --- section 7: power and state of charge on the wire ---


def test_the_documents_34500_discharges_2500_watts():
    assert mapping.raw_power(2.5) == 34_500
    assert mapping.power_from_raw(34_500) == 2.5


def test_below_the_offset_is_charging():
    assert mapping.raw_power(-2.5) == 29_500
    assert mapping.power_from_raw(29_500) == -2.5


def test_the_offset_itself_is_no_power():
    assert mapping.raw_power(0.0) == 32_000
    assert mapping.power_from_raw(32_000) == 0.0


@pytest.mark.parametrize(
    ("battery_kw", "raw"), [(0.0004, 32_000), (0.0006, 32_001), (-0.0004, 32_000), (-0.0006, 31_999), (1.2344, 33_234)]
)
def test_power_is_rounded_to_the_nearest_watt(battery_kw, raw):
    assert mapping.raw_power(battery_kw) == raw


def test_the_documents_95_is_38_percent():
    assert mapping.raw_soc(0.38) == 95
    assert mapping.soc_from_raw(95) == 0.38


@pytest.mark.parametrize(
    ("soc", "raw"), [(0.0, 0), (0.1, 25), (0.5, 125), (0.29, 72), (0.57, 142), (0.9, 225), (1, 250)]
)
def test_soc_is_percent_over_0_4_whatever_binary_fractions_make_of_it(soc, raw):
    assert mapping.raw_soc(soc) == raw


@pytest.mark.parametrize("soc", [-0.001, -5.0, 1.001, 38.0, math.nan, math.inf])
def test_a_soc_outside_0_to_100_percent_is_refused(soc):
    with pytest.raises(IntentRefusedError, match="until_soc"):
        mapping.dispatch_fields("AL1", 1.0, soc)


@given(raw=st.integers(0, 64_000))
def test_every_raw_power_survives_the_round_trip(raw):
    assert mapping.raw_power(mapping.power_from_raw(raw)) == raw


@given(battery_kw=st.floats(-32, 32))
def test_every_power_comes_back_within_half_a_watt(battery_kw):
    assert abs(mapping.power_from_raw(mapping.raw_power(battery_kw)) - battery_kw) <= 0.0005 + 1e-9


@pytest.mark.parametrize("battery_kw", [32.001, -32.001, 45.0, 5000.0, float("1e9"), math.nan, math.inf])
def test_a_power_beyond_the_offset_is_refused(battery_kw):
    with pytest.raises(IntentRefusedError, match="check the units"):
        mapping.raw_power(battery_kw)


@pytest.mark.parametrize("raw", range(251))
def test_every_raw_soc_survives_the_round_trip(raw):
    assert mapping.raw_soc(mapping.soc_from_raw(raw)) == raw


@given(soc=st.floats(0, 1))
def test_every_soc_comes_back_within_half_a_step(soc):
    assert abs(mapping.soc_from_raw(mapping.raw_soc(soc)) - soc) <= 0.002 + 1e-12


@given(one=st.floats(-32, 32), other=st.floats(-32, 32))
def test_more_discharge_is_never_a_smaller_number(one, other):
    assert mapping.raw_power(min(one, other)) <= mapping.raw_power(max(one, other))


def test_a_dispatch_has_exactly_the_documents_fields():
    assert mapping.dispatch_fields("AL1", 2.5, 0.38) == {
        "Sn": "AL1",
        "ActivePower": 34_500,
        "ReactivePower": 32_000,
        "SOC": 95,
        "Status": 1,
        "ControlMode": 2,
    }


def test_a_release_repeats_the_serial_number_and_asks_for_no_power():
    fields = mapping.release_fields("AL1")

    assert (fields["Sn"], fields["Status"]) == ("AL1", 0)
    assert (fields["ActivePower"], fields["ReactivePower"]) == (32_000, 32_000)
    assert fields.keys() == mapping.dispatch_fields("AL1", 1.0, 0.5).keys()


@pytest.mark.parametrize(
    "make", [lambda: mapping.dispatch_fields("AL1", 1.5, 0.5), lambda: mapping.release_fields("AL1")]
)
def test_numbers_are_plain_integers_so_that_text_and_signature_agree(make):
    numbers = [value for key, value in make().items() if key != "Sn"]

    assert {type(number) for number in numbers} == {int}


@pytest.mark.parametrize("code", [*range(-1, 17), 23, 31, 38, 10**9])
def test_every_return_code_can_be_described(code):
    assert f"ReturnCode {code} " in mapping.describe_code(code)


# --- sections 4 and 6: telemetry ---


def test_a_full_row_becomes_canonical_units():
    reading = read()

    assert reading.channel is Channel.STATE
    assert reading.measured_at == dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw) == (-0.8, -1.4, 3.0)
    assert reading.load_kw == pytest.approx(0.8)
    assert reading.soc == pytest.approx(0.476)
    assert (reading.charge_limit_kw, reading.discharge_limit_kw) == (4.6, 4.8)
    assert reading.registers == Registers(1200.5, 3400.25, 900.125, 810)
    assert reading.dispatch_active is True


@pytest.mark.parametrize(("watts", "kilowatts"), [(1500, 1.5), (-1500, -1.5), (0, 0.0)])
def test_positive_pbat_discharges(watts, kilowatts):
    assert read(Pbat=watts).battery_kw == kilowatts


@pytest.mark.parametrize(("watts", "kilowatts"), [(700, 0.7), (-700, -0.7), (0, 0.0)])
def test_positive_pmeter_imports(watts, kilowatts):
    assert read(PmeterL1=watts).grid_kw == kilowatts


def test_three_phases_are_added_with_their_signs():
    assert read(PmeterL1=1000, PmeterL2=-300, PmeterL3=50).grid_kw == 0.75


@pytest.mark.parametrize("empty", [None, "", "N/A"])
def test_a_single_phase_system_has_only_its_first_phase(empty):
    assert read(PmeterL1=-420, PmeterL2=empty, PmeterL3=empty).grid_kw == -0.42


def test_both_strings_of_the_array_are_added():
    assert read(Ppv1=1000, Ppv2=234).pv_kw == 1.234


def test_an_array_on_the_alternating_side_is_added():
    assert read(Ppv1=1000, Ppv2=0, PmeterDC=2500).pv_kw == 3.5
    assert read(Ppv1=None, Ppv2=None, PmeterDC=2500).pv_kw == 2.5


def test_the_standby_draw_of_an_arrays_meter_is_not_negative_sun():
    assert read(Ppv1=1000, Ppv2=0, PmeterDC=-7).pv_kw == 1.0


def test_the_load_balances_grid_pv_and_battery():
    # At night: 1.2 kW from the battery, 0.3 kW from the grid.
    assert read(Ppv1=0, Ppv2=0, PmeterL1=300, Pbat=1200).load_kw == 1.5
    # At noon: 3 kW of sun, 0.5 kW exported, 2 kW stored.
    assert read(Ppv1=3000, Ppv2=0, PmeterL1=-500, Pbat=-2000).load_kw == 0.5


@pytest.mark.parametrize(
    "missing", [{"Pbat": None}, {"PmeterL1": None}, {"Ppv1": None, "Ppv2": None, "PmeterDC": None}]
)
def test_the_load_is_unknown_when_a_part_of_it_is(missing):
    assert read(**missing).load_kw is None


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("Pbat", "battery_kw"),
        ("PmeterL1", "grid_kw"),
        ("SOC", "soc"),
        ("Pcharge", "charge_limit_kw"),
        ("Pdischarge", "discharge_limit_kw"),
        ("DispatchSwitch", "dispatch_active"),
    ],
)
@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_what_is_no_number_is_unknown_and_never_zero(name, attribute, value):
    assert getattr(read(**{name: value}), attribute) is None


@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_an_array_without_any_number_is_unknown_and_never_zero(value):
    assert read(Ppv1=value, Ppv2=value, PmeterDC=value).pv_kw is None


@pytest.mark.parametrize(
    ("name", "attribute"),
    [
        ("Einput", "import_kwh"),
        ("Eoutput", "export_kwh"),
        ("Echarge", "charge_kwh"),
        ("EDischarge", "discharge_kwh"),
    ],
)
@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_a_register_that_is_no_number_is_unknown_and_never_zero(name, attribute, value):
    registers = read(**{name: value}).registers

    assert getattr(registers, attribute) is None
    assert [vars(registers)[other] for other in vars(registers) if other != attribute].count(None) == 0


def test_a_row_with_a_time_alone_knows_nothing_else():
    reading = mapping.telemetry({"UploadTime": UPLOADED}, Channel.POWER, dt.UTC)

    known = {name: value for name, value in vars(reading).items() if value is not None}
    assert known.keys() == {"channel", "measured_at", "registers"}
    assert reading.registers == Registers()


@pytest.mark.parametrize("text", ["-800", " -800 ", "-800.0", "-8e2", "-0.8E+3"])
def test_numbers_may_come_as_text(text):
    assert read(Pbat=text).battery_kw == -0.8


@pytest.mark.parametrize("text", ["1e400", "-1e400", pytest.param(10**400, id="10**400")])
def test_a_number_beyond_all_bounds_is_unknown_rather_than_infinite(text):
    assert read(Pbat=text).battery_kw is None


@pytest.mark.parametrize("change", [str.lower, str.upper, str.title, str.swapcase])
def test_names_are_understood_in_any_case(change):
    row = {change(name): value for name, value in ROW.items()}

    assert mapping.telemetry(row, Channel.STATE, dt.UTC) == read()


def test_the_spelling_seen_on_the_wire_is_understood():
    row = {name: value for name, value in ROW.items() if name not in ("SOC", "PmeterDC")}

    reading = mapping.telemetry({**row, "Soc": 81, "PmeterDc": 500}, Channel.STATE, dt.UTC)

    assert (reading.soc, reading.pv_kw) == (0.81, 3.5)


def test_names_that_the_document_does_not_have_are_ignored():
    assert read(Pva=12, SOC1=3, Soc6="x", NewField={"a": [1]}) == read()


def test_power_data_without_a_state_of_charge_has_none():
    row = {name: ROW[name] for name in ("Sn", "UploadTime", "Ppv1", "Ppv2", "PmeterL1", "PmeterDC", "Pbat")}

    reading = mapping.telemetry(row, Channel.POWER, dt.UTC)

    assert (reading.channel, reading.soc, reading.dispatch_active) == (Channel.POWER, None, None)
    assert reading.registers == Registers()
    assert reading.battery_kw == -0.8


@pytest.mark.parametrize(
    ("switch", "active"), [(1, True), (0, False), ("1", True), ("0", False), (2, True), (0.0, False)]
)
def test_the_dispatch_switch_is_off_at_zero_only(switch, active):
    assert read(DispatchSwitch=switch).dispatch_active is active


# --- UploadTime ---


@pytest.mark.parametrize(
    "text",
    [
        "2024-05-01 12:00:00",
        "2024/05/01 12:00:00",
        "2024-05-01T12:00:00",
        " 2024-05-01 12:00:00 ",
        "2024-05-01T12:00:00Z",
        "2024-05-01T14:00:00+02:00",
        "2024-05-01 12:00:00.000",
    ],
)
def test_the_upload_time_is_read_in_every_form_seen(text):
    assert read(UploadTime=text).measured_at == dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("text", "hour"), [("2024-05-01 12:00:00", 10), ("2024-01-15 12:00:00", 11), ("2024-05-01T12:00:00Z", 12)]
)
def test_the_upload_time_is_in_the_sites_zone_unless_it_says_otherwise(text, hour):
    measured_at = mapping.telemetry({**ROW, "UploadTime": text}, Channel.STATE, COPENHAGEN).measured_at

    assert (measured_at.hour, measured_at.utcoffset()) == (hour, dt.timedelta(0))


@pytest.mark.parametrize("value", [None, "", " ", "N/A", 0, 1_714_564_800, "soon", "2024-13-01 00:00:00", True, [], {}])
def test_a_row_without_a_readable_upload_time_is_refused(value):
    with pytest.raises(VendorUnavailableError, match="UploadTime"):
        read(UploadTime=value)


def test_a_row_without_any_upload_time_is_refused():
    row = {name: value for name, value in ROW.items() if name != "UploadTime"}

    with pytest.raises(VendorUnavailableError, match="UploadTime"):
        mapping.telemetry(row, Channel.STATE, dt.UTC)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-12:00"])
def test_a_time_at_the_end_of_the_calendar_is_refused_like_any_unreadable_one(text):
    """.NET writes an unset DateTime as 0001-01-01T00:00:00."""
    with pytest.raises(VendorUnavailableError, match="UploadTime"):
        mapping.telemetry({**ROW, "UploadTime": text}, Channel.STATE, COPENHAGEN)


# --- whatever comes ---

anything = any_json("1e400", -(10**400))
some_time = st.sampled_from([UPLOADED, "2024-05-01T12:00:00Z"]) | st.datetimes().map(str) | anything
some_row = st.fixed_dictionaries(
    {"UploadTime": some_time}, optional={name: anything for name in ROW if name != "UploadTime"}
) | st.dictionaries(st.text(max_size=20), anything, max_size=10)


@settings(max_examples=400)
@given(row=some_row, channel=st.sampled_from(Channel), zone=st.sampled_from([dt.UTC, COPENHAGEN]))
def test_no_row_does_more_than_being_refused(row, channel, zone):
    try:
        reading = mapping.telemetry(row, channel, zone)
    except VendorUnavailableError:
        return

    assert reading.measured_at.utcoffset() == dt.timedelta(0)
    numbers = {**vars(reading), **vars(reading.registers)}
    assert all(math.isfinite(value) for value in numbers.values() if isinstance(value, float))
    parts = (reading.grid_kw, reading.pv_kw, reading.battery_kw)
    assert (reading.load_kw is None) == (None in parts)


@given(
    grid=st.floats(-50_000, 50_000),
    first=st.floats(0, 20_000),
    second=st.floats(0, 20_000),
    array_meter=st.floats(-100, 20_000),
    battery=st.floats(-50_000, 50_000),
)
def test_load_is_grid_and_pv_and_battery(grid, first, second, array_meter, battery):
    reading = read(PmeterL1=grid, Ppv1=first, Ppv2=second, PmeterDC=array_meter, Pbat=battery)

    assert reading.pv_kw >= 0
    assert reading.load_kw == pytest.approx(reading.grid_kw + reading.pv_kw + reading.battery_kw, abs=1e-9)
