"""Properties of the four inverters, against the document's examples (sections 3.2, 4.2, 5.2, 6.2)."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import VendorUnavailableError
from adapters.ingeteam.properties import FLAGS, NUMBERS, Flags, inverter_powers, inverter_state
from tests.adapters.any_json import any_json

TABLES = {
    "3.2 1Play": "AlarmCode WarningCode Eparc1 Eparc2 CosPhi WorkingHours Vdc1 Idc1 Pdc1 Vdc2 Idc2 Pdc2 Pac Qac Iac1 "
    "Vac1 Freq",
    "4.2 3Play": "AlarmCode WarningCode Eparc1 CosPhi WorkingHours Vdc1 Idc1 Pdc1 Vdc2 Idc2 Pdc2 Pac Qac Iac1 Iac2 "
    "Iac3 Vac1 Vac2 Vac3 Freq",
    "5.2 STORAGE 1Play TLM": "AlarmCode InverterCode1 InverterCode2 InverterCode3 Vbatt Ibatt Pbatt SOC BmsAlarms Vdc1 "
    "Idc1 Pdc1 Vdc2 Idc2 Pdc2 Pac Qac Vcl Pcl Vac Freq PacGrid",
    "6.2 STORAGE 3Play": "AlarmCode WarningCode Vbatt CosPhi WorkingHours SOC Vdc1 Idc1 Pdc1 Pac Qac Iac1 Iac2 Iac3 "
    "Vac1 Vac2 Vac3 Freq",
}


def item(name, value, **more):
    return {
        "name": name,
        "mask": "",
        "db": True,
        "success": True,
        "type": "number",
        "value": value,
        "digits": 2,
        **more,
    }


def state(*items):
    return inverter_state({"Modbusnode": 1, "firmware": "ABH1006_G", "Data": list(items)})


@pytest.mark.parametrize("model", TABLES)
def test_everything_that_the_table_lists_is_read_from_the_example(examples, model):
    found = inverter_state(examples("properties")[model])

    assert {*found.numbers, *found.flags} == set(TABLES[model].split())
    assert found.unread == frozenset()


def test_the_example_of_3_2(examples):
    found = inverter_state(examples("properties")["3.2 1Play"])

    assert found.firmware == "ABE1000_Q"
    assert found.numbers["Vac1"] == 226.6, "printed Vacl"
    assert (found.numbers["WorkingHours"], found.numbers["Freq"], found.numbers["Vdc2"]) == (28251, 49.98, 201)
    assert inverter_powers(found) == (None, 0.0, None)


def test_a_warning_shows_although_its_list_of_names_is_empty(examples):
    found = inverter_state(examples("properties")["3.2 1Play"])

    assert found.flags["WarningCode"] == Flags((), 0x20)
    assert found.flags["WarningCode"].bits == (5,)
    assert found.flags["WarningCode"]
    assert not found.flags["AlarmCode"]
    assert inverter_state(examples("properties")["4.2 3Play"]).flags["WarningCode"].bits == (0, 1)
    assert inverter_state(examples("properties")["6.2 STORAGE 3Play"]).flags["AlarmCode"].bits == (32,)


def test_the_example_of_5_2(examples):
    found = inverter_state(examples("properties")["5.2 STORAGE 1Play TLM"])

    assert (found.numbers["Vbatt"], found.numbers["SOC"], found.numbers["Vcl"]) == (51.9, 55, 231)
    assert (found.numbers["Pac"], found.numbers["PacGrid"], found.numbers["Freq"]) == (-15, -19, 49.98)
    assert set(found.flags) == {"AlarmCode", "InverterCode1", "InverterCode2", "InverterCode3", "BmsAlarms"}
    assert inverter_powers(found) == (0.0, 0.0, 0.55)


def test_the_example_of_6_2_has_no_battery_power(examples):
    assert inverter_powers(inverter_state(examples("properties")["6.2 STORAGE 3Play"])) == (None, 0.0, 0.0)


@pytest.mark.parametrize(("watts", "kilowatts"), [(1500, 1.5), (-1500, -1.5), (0, 0.0)])
def test_positive_pbatt_discharges(watts, kilowatts):
    assert inverter_powers(state(item("Pbatt", watts)))[0] == kilowatts


def test_both_strings_are_added_and_the_inverters_own_meter_is_not_used():
    assert inverter_powers(state(item("Pdc1", 1000), item("Pdc2", 234), item("PacGrid", -500))) == (None, 1.234, None)


def test_values_come_decoded_and_are_only_rounded():
    found = state(item("Vbatt", 51.899999999999991, digits=1), item("Freq", 49.979999999999997), item("Pac", 12345))

    assert found.numbers == {"Vbatt": 51.9, "Freq": 49.98, "Pac": 12345}


@pytest.mark.parametrize("digits", [None, "", -1, 99, "x", True, [], 1e300])
def test_digits_that_are_none_leave_the_value_alone(digits):
    assert state(item("Vbatt", 51.87654, digits=digits)).numbers == {"Vbatt": 51.87654}


@pytest.mark.parametrize("success", [False, "false", "False", 0, None, "no"])
def test_what_was_not_read_successfully_is_skipped_and_said(success):
    found = state(item("Sbatt", 0, success=success), item("Pbatt", 100))

    assert (found.numbers, found.unread) == ({"Pbatt": 100}, frozenset({"SOC"}))


@pytest.mark.parametrize("failed", ["Pdc1", "Pdc2"])
def test_pv_is_unknown_when_one_of_its_strings_is(failed):
    items = [item(name, 500, success=name != failed) for name in ("Pdc1", "Pdc2")]

    assert inverter_powers(state(*items))[1] is None


@pytest.mark.parametrize("value", [None, "", "N/A", "--", [], {}, True, float("nan"), "Infinity"])
def test_what_is_no_number_is_absent(value):
    found = state(item("Pbatt", value))

    assert (found.numbers, found.unread) == ({}, frozenset({"Pbatt"}))


@pytest.mark.parametrize("name", [*NUMBERS, *(alias for _, aliases in NUMBERS.values() for alias in aliases)])
@pytest.mark.parametrize("change", [str, str.lower, str.upper])
def test_every_name_and_misprint_is_understood(name, change):
    canonical = next(known for known, (_, aliases) in NUMBERS.items() if name in (known, *aliases))

    assert state(item(change(name), 7)).numbers == {canonical: 7}


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("WorkingHour", "WorkingHours"),
        ("Iacl", "Iac1"),
        ("Vacl", "Vac1"),
        ("Vc1", "Vcl"),
        ("Pc1", "Pcl"),
        ("Sbatt", "SOC"),
    ],
)
def test_the_misprints_of_the_document(alias, name):
    assert state(item(alias, 7)).numbers == {name: 7}


@pytest.mark.parametrize("name", FLAGS)
@pytest.mark.parametrize(
    ("value", "text", "expected"),
    [
        ([], "0000", Flags((), 0)),
        ([], "00ff", Flags((), 255)),
        (["Low insulation", "Fan"], "0003", Flags(("Low insulation", "Fan"), 3)),
        (["Fan"], None, Flags(("Fan",), None)),
        ([], None, Flags((), None)),
        (["Fan", None, {}, ["x"], 5], "not hex", Flags(("Fan", "5"), None)),
        (None, "0x10", Flags((), 16)),
        ([], "-1", Flags((), None)),
        ([], "f" * 1000, Flags((), None)),
    ],
)
def test_every_field_of_flags_is_decoded(name, value, text, expected):
    assert state(item(name, value, type="flags", **{"hex-value": text})).flags == {name: expected}


@pytest.mark.parametrize("value", [None, 5, "x", {}])
def test_flags_without_list_and_hex_are_unread(value):
    assert state(item("BmsAlarms", value, type="flags")).unread == {"BmsAlarms"}


@pytest.mark.parametrize("content", [None, [], 5, "x", {}, {"Data": None}, {"Data": {}}, {"code": "error"}])
def test_an_answer_without_data_is_refused(content):
    with pytest.raises(VendorUnavailableError, match="Data"):
        inverter_state(content)


anything = any_json("1e400", -(10**400), 1e308, 10**4000, "ffff", "0000")
some_item = st.fixed_dictionaries(
    {"name": st.sampled_from([*NUMBERS, *FLAGS]) | anything, "value": anything},
    optional={"success": anything, "digits": anything, "hex-value": anything, "type": anything},
)


@settings(max_examples=2000)
@given(content=anything | st.fixed_dictionaries({"Data": st.lists(some_item | anything, max_size=5)}))
def test_no_answer_does_more_than_being_refused(content):
    try:
        found = inverter_state(content)
    except VendorUnavailableError:
        return

    assert all(math.isfinite(value) for value in (*found.numbers.values(), *filter(None, inverter_powers(found))))
    assert all(flags.bits is not None for flags in found.flags.values())
