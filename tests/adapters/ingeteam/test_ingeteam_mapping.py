"""Signs, units and names of the EMS's plant values, against the document's examples (sections 7.2, 7.3)."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import VendorUnavailableError
from adapters.ingeteam import mapping
from adapters.ingeteam.mapping import BatteryStatus, InverterStatus
from tests.adapters.any_json import any_json

NOT_A_NUMBER = [None, "", " ", "N/A", "--", "NaN", "Infinity", "1,5", True, False, [], [5], {}, float("nan")]
# Section 7.3, second example, in the words of its tables.
ELEMENT = {
    "Phase": 4,
    "W": 1987,
    "PacCharge": 0,
    "PacDischarge": 27,
    "pv": 459,
    "cons": 2445,
    "soc": 15,
    "vbat": 414,
    "StatusBat": 1,
    "S1P_StatusCode": 3,
}


def elements(*given):
    found = mapping.plant_elements("", {"Phases": list(given)})
    assert found is not None
    return found


def reading(*given, **options):
    return mapping.plant_reading(elements(*given), **options)


def read(**changes):
    return reading({**ELEMENT, **changes})


# --- the document's examples ---


def test_the_aggregate_example_of_7_3(examples):
    found = mapping.plant_reading(elements(*examples("stream")["7.3 STORAGE 1Play TLM"]["Phases"]))

    assert (found.grid_kw, found.battery_kw, found.pv_kw, found.load_kw) == (1.987, 0.027, 0.459, 2.445)
    assert found.soc == 0.15
    assert found.battery_status is BatteryStatus.DISCHARGING
    assert found.inverter_status is InverterStatus.ON_GRID
    assert (found.inverter_status_text, found.alarms, found.alarm_codes) == ("On-grid", (), ())
    assert found.numbers["PdcPVStorage"] == 3
    assert found.numbers["_publicgrid_cons"] == 1987
    assert found.numbers["S1P_Setpoint"] == 1000
    assert abs(found.load_kw - found.grid_kw - found.pv_kw - found.battery_kw) < 0.1


def test_the_phases_example_of_7_3(examples):
    found = mapping.plant_reading(elements(*examples("stream")["7.3 EMS"]["Phases"]))

    assert (found.grid_kw, found.battery_kw, found.pv_kw) == (2.51, 0.0, 0.0)
    assert found.load_kw == 2.51, "without `cons` the load is what is left"
    assert found.soc == 0.13, "repeated in three phases, not added"
    assert (found.numbers["vbat"], found.numbers["PacPVBatt"], found.numbers["WattDigitalInput"]) == (49, 80, 0)
    assert (found.battery_status, found.inverter_status) == (None, None)


# --- signs ---


@pytest.mark.parametrize(("watts", "kilowatts"), [(1500, 1.5), (-1500, -1.5), (0, 0.0)])
def test_positive_w_imports(watts, kilowatts):
    assert read(W=watts).grid_kw == kilowatts


@pytest.mark.parametrize(("charge", "discharge", "kilowatts"), [(800, 0, -0.8), (0, 800, 0.8), (0, 0, 0.0)])
def test_discharging_is_positive(charge, discharge, kilowatts):
    assert read(PacCharge=charge, PacDischarge=discharge).battery_kw == kilowatts


def test_the_load_is_cons_and_none_of_the_other_sums():
    assert read(cons=2445, total_cons=9999, _grid_cons=1, total_grid_cons=2).load_kw == 2.445


def test_the_direct_current_and_iss_powers_are_no_battery_power():
    assert read(PacPVBatt=-5000, PdcPVStorage=4000, S1P_Setpoint=3000).battery_kw == 0.027


@pytest.mark.parametrize(("percent", "soc"), [(0, 0.0), (15, 0.15), (100, 1.0), ("55", 0.55), (100.4, 1.0), (-1, 0.0)])
def test_percent_is_a_fraction(percent, soc):
    assert read(soc=percent).soc == soc


@pytest.mark.parametrize("percent", [255, 65535, -20, *NOT_A_NUMBER])
def test_what_is_no_state_of_charge_is_unknown(percent):
    assert read(soc=percent).soc is None


@pytest.mark.parametrize("name", ["pv", "cons"])
def test_a_meter_a_little_below_zero_reads_zero_and_far_below_it_nothing(name):
    attribute = {"pv": "pv_kw", "cons": "load_kw"}[name]

    assert getattr(read(**{name: -15}), attribute) == 0.0
    assert getattr(read(**{name: -101}), attribute) is None


# --- the aggregate and the phases ---


def phase(number, **values):
    return {**ELEMENT, "Phase": number, **values}


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_aggregate_is_never_added_to_the_phases(order):
    four = [phase(1, W=100), phase(2, W=200), phase(3, W=300), phase(4, W=600)]

    assert reading(*[four[place] for place in order]) == read(W=600)


def test_without_aggregate_the_phases_are_added_with_their_signs():
    found = reading(
        phase(1, W=1000, PacCharge=300, PacDischarge=0, pv=500, cons=700),
        phase(2, W=-300, PacCharge=0, PacDischarge=0, pv=400, cons=100),
        phase(3, W=50, PacCharge=0, PacDischarge=100, pv=0, cons=60),
    )

    assert (found.grid_kw, found.battery_kw, found.pv_kw, found.load_kw) == (0.75, -0.2, 0.9, 0.86)
    assert found.soc == 0.15
    assert found.numbers["vbat"] == 414


@pytest.mark.parametrize("number", [1, 2, 3, "1", 4.0])
def test_one_phase_alone_is_the_plant(number):
    assert reading(phase(number)) == read()


@pytest.mark.parametrize("name", ["W", "cons", "pv", "PacCharge"])
@pytest.mark.parametrize("nothing", [None, "N/A"])
def test_a_sum_is_unknown_where_one_phase_is(name, nothing):
    found = reading(phase(1), phase(2, **{name: nothing}), phase(3))
    attribute = {"W": "grid_kw", "cons": "load_kw", "pv": "pv_kw", "PacCharge": "battery_kw"}[name]

    assert getattr(found, attribute) is None
    known = {"grid_kw", "load_kw", "pv_kw", "battery_kw"} - {attribute}
    assert None not in [getattr(found, other) for other in known]


def test_a_state_of_charge_on_which_the_phases_differ_is_unknown():
    assert reading(phase(1, soc=15), phase(2, soc=15), phase(3, soc=16)).soc is None
    assert reading(phase(1, soc=15), phase(2, soc=None), phase(3, soc=15)).soc == 0.15


@pytest.mark.parametrize(
    "numbers", [(4, 4), (4, 4, 1), (1, 1), (1, 2), (2, 3), (1, 2, 3, 3), (1, 1, 2, 3), (), (0,), (5,), (None,), ("x",)]
)
def test_two_aggregates_and_other_riddles_are_refused(numbers):
    with pytest.raises(VendorUnavailableError, match="Phases"):
        reading(*[phase(number) for number in numbers])


# --- the battery that is not there ---


def test_status_7_makes_the_battery_unknown_although_it_reads_0():
    found = read(StatusBat=7, soc=0, PacCharge=0, PacDischarge=0)

    assert (found.battery_kw, found.soc, found.battery_status) == (None, None, BatteryStatus.NOT_CONFIGURED)
    assert (found.grid_kw, found.pv_kw, found.load_kw) == (1.987, 0.459, 2.445)


def test_status_7_in_one_phase_is_enough():
    assert reading(phase(1), phase(2, StatusBat=7), phase(3)).soc is None


def test_without_battery_and_cons_the_load_is_not_made_up():
    without = {name: value for name, value in ELEMENT.items() if name != "cons"}

    assert reading({**without, "StatusBat": 7}).load_kw is None
    assert reading(without).load_kw == pytest.approx(1.987 + 0.459 + 0.027)


@pytest.mark.parametrize("status", [code for code in BatteryStatus if code != 7] + [None, 42, "x"])
def test_zero_alone_is_no_disconnection(status):
    found = read(StatusBat=status, soc=0, PacCharge=0, PacDischarge=0)

    assert (found.battery_kw, found.soc) == (0.0, 0.0)


@pytest.mark.parametrize("code", BatteryStatus)
@pytest.mark.parametrize("written", [int, float, str])
def test_every_battery_status_is_typed(code, written):
    assert read(StatusBat=written(code)).battery_status is code


@pytest.mark.parametrize("code", InverterStatus)
def test_every_inverter_status_is_typed(code):
    assert read(S1P_StatusCode=int(code)).inverter_status is code


def test_the_codes_are_those_that_users_of_the_devices_agree_on():
    assert [code.value for code in BatteryStatus] == list(range(11))
    assert [code.value for code in InverterStatus] == list(range(12))
    assert (BatteryStatus(3).name, BatteryStatus(6).name) == ("CONSTANT_VOLTAGE_CHARGING", "BMS_COMMUNICATION_ERROR")
    assert (InverterStatus(5).name, InverterStatus(9).name) == ("WAITING_TO_CONNECT", "LOCKED")


@pytest.mark.parametrize("code", [11.5, 42, -1, "on", None, 10**9])
def test_a_code_that_nobody_has_named_is_unknown(code):
    found = read(StatusBat=code, S1P_StatusCode=code)

    assert (found.battery_status, found.inverter_status) == (None, None)


def test_alarms_are_given_in_the_devices_words():
    found = read(S1P_Alarms="Low insulation", S1P_AlarmCodes="0x0004")

    assert (found.alarms, found.alarm_codes) == (("Low insulation",), ("0x0004",))
    assert read(S1P_Alarms=["a", "", "b", "a"]).alarms == ("a", "b")
    assert reading(phase(1, S1P_Alarms="a"), phase(2, S1P_Alarms="a"), phase(3, S1P_Alarms="b")).alarms == ("a", "b")


# --- names ---


@pytest.mark.parametrize(
    ("name", "alias"),
    [
        ("soc", "EMS_SOC"),
        ("vbat", "EMS_VBAT"),
        ("PdcPVStorage", "PdePVStorage"),
        ("WattDigitalInput", "WatDigitalInput"),
        ("_publicgrid_cons", "_pubgrid_cons"),
        ("S1P_Setpoint", "S1P_SetPoint"),
    ],
)
def test_each_misprinted_or_second_name_is_understood(name, alias):
    bare = {other: value for other, value in ELEMENT.items() if other != name}

    assert reading({**bare, alias: 33}).numbers[name] == 33
    assert reading({**bare, name: 33}) == reading({**bare, alias: 33})


@pytest.mark.parametrize("alias", ["S1P_AlarmsCodes", "S1P_AlarmCodes"])
def test_both_spellings_of_alarm_codes_are_understood(alias):
    assert read(**{alias: "17"}).alarm_codes == ("17",)


def test_pac_stands_for_pv_only_where_there_is_no_pv():
    bare = {name: value for name, value in ELEMENT.items() if name != "pv"}

    assert reading({**bare, "Pac": 462}).pv_kw == 0.462
    assert read(Pac=9999).pv_kw == 0.459
    assert read(pv=None, Pac=9999).pv_kw is None


def test_pv_that_the_strategy_does_not_use_is_unknown_rather_than_0():
    assert reading({**ELEMENT, "pv": 0}).pv_kw == 0.0
    assert reading({**ELEMENT, "pv": 0}, pv_measured=False).pv_kw is None


@pytest.mark.parametrize("change", [str.lower, str.upper, str.swapcase])
def test_names_are_understood_in_any_case(change):
    payload = {change("Phases"): [{change(name): value for name, value in ELEMENT.items()}]}

    assert mapping.plant_reading(mapping.plant_elements("", payload)) == read()


def test_names_that_the_document_does_not_have_are_ignored():
    assert read(NewField={"a": [1]}, n=3) == read()


@pytest.mark.parametrize(("name", "attribute"), [("W", "grid_kw"), ("PacCharge", "battery_kw"), ("cons", "load_kw")])
@pytest.mark.parametrize("value", NOT_A_NUMBER)
def test_what_is_no_number_is_unknown_and_never_zero(name, attribute, value):
    assert getattr(read(**{name: value}), attribute) is None


@pytest.mark.parametrize("value", ["1987", " 1987.0 ", "1.987e3"])
def test_numbers_may_come_as_text(value):
    assert read(W=value).grid_kw == 1.987


# --- which events are the plant's ---


@pytest.mark.parametrize(
    ("name", "is_the_plants"), [("/ems/sse/phases", True), ("", True), ("message", True), ("/ems/sse/stream", False)]
)
def test_events_are_chosen_by_name_and_else_by_phases(name, is_the_plants):
    assert (mapping.plant_elements(name, {"Phases": [ELEMENT]}) is not None) == is_the_plants


@pytest.mark.parametrize("content", [{"Devices": []}, {}, [], 5, None, "text"])
def test_a_nameless_event_without_phases_is_about_something_else(content):
    assert mapping.plant_elements("", content) is None


@pytest.mark.parametrize("content", [{"Devices": []}, {}, [], 5, None, {"Phases": {}}, {"Phases": None}])
def test_the_plants_event_without_a_list_of_phases_is_refused(content):
    with pytest.raises(VendorUnavailableError, match="Phases"):
        mapping.plant_elements("/ems/sse/phases", content)


def test_flows_are_the_battery_only_on_demand():
    flows = {"_sto_cons": 500.0, "_pv_sto": 120.0, "_grid_sto": 30.0}

    assert mapping.battery_kw_from_flows(flows) == pytest.approx(0.35)
    for name in flows:
        assert mapping.battery_kw_from_flows({other: flows[other] for other in flows if other != name}) is None


# --- whatever comes ---

anything = any_json("1e400", -(10**400), 1e308, 10**4000)
known = ["W", "pv", "Pac", "cons", "PacCharge", "PacDischarge", "soc", "EMS_SOC", "StatusBat", "S1P_StatusCode"]
some_element = st.fixed_dictionaries(
    {"Phase": st.integers(1, 4) | anything}, optional=dict.fromkeys([*known, "S1P_Alarms"], anything)
)


@settings(max_examples=2000)
@given(
    name=st.sampled_from(["", "message", mapping.PLANT_EVENT, "/ems/sse/stream"]),
    content=anything | st.fixed_dictionaries({"Phases": st.lists(some_element | anything, max_size=4)}),
)
def test_no_event_does_more_than_being_refused(name, content):
    try:
        found = mapping.plant_elements(name, content)
        if found is None:
            return
        plant = mapping.plant_reading(found)
    except VendorUnavailableError:
        return

    numbers = [plant.grid_kw, plant.battery_kw, plant.pv_kw, plant.load_kw, plant.soc, *plant.numbers.values()]
    assert all(math.isfinite(value) for value in numbers if value is not None)
    assert plant.soc is None or 0 <= plant.soc <= 1
    assert plant.pv_kw is None or plant.pv_kw >= 0
    assert plant.load_kw is None or plant.load_kw >= 0
    assert plant == mapping.plant_reading(found), "readings are compared to notice that they repeat"


@given(
    watts=st.lists(
        st.tuples(st.integers(-9999, 9999), st.integers(0, 9999), st.integers(0, 9999)), min_size=3, max_size=3
    )
)
def test_three_phases_say_the_same_as_their_aggregate(watts):
    parts = [phase(place, W=w, PacCharge=charge, cons=cons) for place, (w, charge, cons) in enumerate(watts, start=1)]
    sums = dict(zip(("W", "PacCharge", "cons"), map(sum, zip(*watts, strict=True)), strict=True))
    whole = phase(4, **sums, PacDischarge=3 * 27, pv=3 * 459)

    assert reading(*parts) == reading(whole)
    assert reading(*parts, whole) == reading(whole)
