"""Bad input never becomes a plan: one line names the field, the value, the bound and the way out."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from engine import Battery, GridConnection, InputError, PvArray, Site, TidewattError, optimise
from engine.errors import input_error_from

QUARTERS = pd.date_range("2026-02-03T00:00Z", periods=8, freq="15min", name="start")
BATTERY = {"capacity_kwh": 10.0, "max_charge_kw": 5.0, "max_discharge_kw": 5.0}
SITE = Site(
    battery=Battery(**BATTERY),
    grid=GridConnection(import_limit_kw=17, export_limit_kw=10),
    pv=PvArray(curtailable=True),
)


def good(**changes: Any) -> dict[str, Any]:
    """Input that plans, with changes that spoil it."""
    series = {"import_price": 0.3, "export_price": 0.1, "load": 1.0, "pv": 0.5}
    return {
        **{name: pd.Series(value, QUARTERS) for name, value in series.items()},
        "initial_soc": 0.5,
        **changes,
    }


def series(*values: Any, index: Any = QUARTERS, **kinds: Any) -> pd.Series:
    """The values given, then 0.2 to the end of the index."""
    return pd.Series([*values, *[0.2] * (len(index) - len(values))], index, **kinds)


def assert_refused(
    field: str, value: str, bound: str, way_out: str, changes: dict[str, Any], site: Site = SITE
) -> None:
    with pytest.raises(InputError) as refused:
        optimise(site, **good(**changes))
    assert_names(refused.value, field, value, bound, way_out)


def assert_names(error: InputError, field: str, value: str, bound: str, way_out: str) -> None:
    text = str(error)
    assert "\n" not in text
    assert text.startswith(f"{error.field}: ")
    assert error.field == field
    assert value in error.problem
    assert bound in error.problem
    assert way_out in error.way_out
    assert text == f"{error.field}: {error.problem}; {error.way_out}"


def test_the_good_input_of_this_file_gives_a_plan():
    assert len(optimise(SITE, **good()).table) == 8


BAD_INDEX = {
    "no index of time": (pd.RangeIndex(8), "RangeIndex", "it is", "DatetimeIndex"),
    "times as text": (pd.Index([str(time) for time in QUARTERS]), "Index", "it is", "DatetimeIndex"),
    "no rows": (QUARTERS[:0], "no rows", "", "at least one"),
    "naive times": (QUARTERS.tz_localize(None), "2026-02-03T00:00:00", "no zone", "tz_localize"),
    "a gap": (QUARTERS.delete(3), "2026-02-03T00:30:00Z", "step is 15 min", "fill the gap"),
    "a time twice": (QUARTERS.insert(3, QUARTERS[2]), "2026-02-03T00:30:00Z", "repeated", "once"),
    "times out of order": (
        QUARTERS[[0, 2, 1, 3, 4, 5, 6, 7]],
        "2026-02-03T00:15:00Z",
        "comes after a later one",
        "in order of time",
    ),
    "time running backwards": (QUARTERS[::-1], "2026-02-03T01:30:00Z", "after a later", "in order of time"),
    "a time missing": (
        pd.DatetimeIndex([*QUARTERS[:4], pd.NaT, *QUARTERS[5:]]),
        "NaT",
        "missing",
        "give every interval",
    ),
    "seven minutes": (
        pd.date_range(QUARTERS[0], periods=8, freq="7min"),
        "7 min",
        "does not divide the hour",
        "60 minutes",
    ),
    "two hours": (
        pd.date_range(QUARTERS[0], periods=8, freq="2h"),
        "120 min",
        "does not divide the hour",
        "60 minutes",
    ),
    "local times without the zone over a clock change": (
        pd.date_range("2026-03-29", periods=8, freq="h"),
        "2026-03-29T00:00:00",
        "no zone",
        "offset",
    ),
}


@pytest.mark.parametrize("field", ["import_price", "export_price", "load", "pv"])
@pytest.mark.parametrize("name", BAD_INDEX)
def test_a_bad_index_is_refused_wherever_it_is(name, field):
    index, value, bound, way_out = BAD_INDEX[name]
    assert_refused(f"{field}.index", value, bound, way_out, {field: pd.Series(0.2, index)})


@pytest.mark.parametrize("freq", ["15min", "30min", "60min"])
def test_one_interval_that_tells_its_length_is_planned(freq):
    index = pd.date_range("2026-02-03T00:00Z", periods=1, freq=freq)
    one = {name: values.iloc[:1].set_axis(index) for name, values in good().items() if name != "initial_soc"}
    assert optimise(SITE, **one, initial_soc=0.5).problem.step_h == pd.Timedelta(freq) / pd.Timedelta("1h")


def test_one_interval_alone_does_not_tell_its_length():
    index = pd.DatetimeIndex(["2026-02-03T00:00Z"])
    one = {name: values.iloc[:1].set_axis(index) for name, values in good().items() if name != "initial_soc"}
    assert_refused("start", "one interval alone", "length", "two or more", one)


@pytest.mark.parametrize("freq", ["7min", "2h"])
def test_one_interval_whose_step_does_not_divide_the_hour_is_refused(freq):
    index = pd.date_range("2026-02-03T00:00Z", periods=1, freq=freq)
    one = {name: values.iloc[:1].set_axis(index) for name, values in good().items() if name != "initial_soc"}
    with pytest.raises(InputError, match="does not divide the hour"):
        optimise(SITE, **one, initial_soc=0.5)


@pytest.mark.parametrize("field", ["export_price", "load", "pv"])
@pytest.mark.parametrize(
    ("index", "value", "bound"),
    [
        pytest.param(
            QUARTERS.shift(4),
            "interval 0 starts 2026-02-03T01:00:00",
            "import_price 2026-02-03T00:00:00",
            id="an hour late",
        ),
        pytest.param(
            pd.date_range(QUARTERS[0], periods=8, freq="30min"),
            "interval 1 starts 2026-02-03T00:30:00",
            "import_price 2026-02-03T00:15:00",
            id="another step",
        ),
        pytest.param(QUARTERS[:6], "6 intervals", "import_price 8", id="shorter"),
        pytest.param(
            pd.date_range(QUARTERS[0], periods=10, freq="15min"), "10 intervals", "import_price 8", id="longer"
        ),
        pytest.param(
            QUARTERS.tz_localize(None).tz_localize("Europe/Copenhagen"),
            "interval 0 starts 2026-02-02T23:00:00",
            "import_price 2026-02-03T00:00:00",
            id="local times for UTC",
        ),
    ],
)
def test_series_on_different_indexes_are_refused_naming_the_first_interval(field, index, value, bound):
    assert_refused(f"{field}.index", value, bound, "one index", {field: pd.Series(0.2, index)})


def test_the_same_instants_in_another_zone_are_the_same_index():
    local = pd.Series(1.0, QUARTERS.tz_convert("Europe/Copenhagen"))
    assert optimise(SITE, **good(load=local)).cost_eur == optimise(SITE, **good()).cost_eur


BAD_VALUES = {
    "a missing price": ("import_price", series(0.1, np.nan), "nan at 2026-02-03T00:15:00Z", "", "never taken as 0"),
    "a missing load": ("load", series(1, 1, np.nan), "nan at 2026-02-03T00:30:00Z", "", "never taken as 0"),
    "a missing sun": ("pv", series(np.nan), "nan at 2026-02-03T00:00:00Z", "", "never taken as 0"),
    "a missing value of pandas": (
        "load",
        series(1, pd.NA, dtype="Float64"),
        "nan at 2026-02-03T00:15:00Z",
        "",
        "never taken as 0",
    ),
    "an infinite price": ("export_price", series(np.inf), "inf at 2026-02-03T00:00:00Z", "", "another source"),
    "an infinite load": ("load", series(0, -np.inf), "-inf at 2026-02-03T00:15:00Z", "", "another source"),
    "a negative load": ("load", series(1, -0.5), "-0.5 kW at 2026-02-03T00:15:00Z", "below 0", "split a net series"),
    "a negative sun": ("pv", series(-0.01), "-0.01 kW at 2026-02-03T00:00:00Z", "below 0", "split a net series"),
    "a price per MWh": ("import_price", series(0.2, 87.5), "87.5 EUR/kWh at 2026-02-03T00:15:00Z", "20", "by 1000"),
    "a negative price per MWh": ("export_price", series(-500.0), "-500 EUR/kWh", "20 EUR/kWh", "divide it by 1000"),
    "a load in W": ("load", series(450.0), "450 kW at 2026-02-03T00:00:00Z", "above 220 kW", "divide it by 1000"),
    "a sun in W": ("pv", series(0, 3200.0), "3200 kW at 2026-02-03T00:15:00Z", "above 200 kW", "divide it by 1000"),
    "prices as text": ("import_price", series("0.3", dtype=object), "object", "values are", "give numbers"),
    "prices as strings": ("import_price", pd.Series("0.3", QUARTERS, dtype="str"), "str", "values", "give numbers"),
    "booleans": ("load", pd.Series(True, QUARTERS), "bool", "values are", "give numbers"),
    "durations": ("load", pd.Series(pd.Timedelta("1h"), QUARTERS), "timedelta64", "values are", "give numbers"),
    "complex numbers": ("load", pd.Series(1 + 1j, QUARTERS), "complex128", "values are", "give numbers"),
}


@pytest.mark.parametrize("name", BAD_VALUES)
def test_a_bad_value_is_refused_with_its_interval(name):
    field, values, value, bound, way_out = BAD_VALUES[name]
    assert_refused(field, value, bound, way_out, {field: values})


@pytest.mark.parametrize("field", ["import_price", "export_price", "load", "pv"])
@pytest.mark.parametrize(
    "values",
    [[0.2] * 8, np.full(8, 0.2), 0.2, "0.2", pd.DataFrame({"value": [0.2] * 8}, QUARTERS)],
    ids=lambda values: type(values).__name__,
)
def test_anything_but_a_series_is_refused(field, values):
    assert_refused(field, type(values).__name__, "", "pandas Series", {field: values})


@pytest.mark.parametrize("factor", [1000, -1000])
def test_a_whole_curve_in_eur_per_mwh_is_refused(sample_case, factor):
    asked = sample_case()
    with pytest.raises(InputError, match=r"^import_price: .*divide it by 1000$"):
        asked.but(import_price=asked.import_price * factor).plan()


@pytest.mark.parametrize(("field", "name"), [("load", "load"), ("pv", "pv")])
def test_a_whole_day_in_watts_is_refused(sample_case, field, name):
    asked = sample_case()
    with pytest.raises(InputError, match=rf"^{name}: .*divide it by 1000"):
        asked.but(**{field: getattr(asked, field) * 1000}).plan()


BAD_STATES = {
    "percent at the start": ({"initial_soc": 50}, "initial_soc", "50", "0..1", "for 50 % write 0.5"),
    "percent at the end": ({"final_soc_min": 80.0}, "final_soc_min", "80", "0..1", "for 80 % write 0.8"),
    "far below empty": ({"initial_soc": -0.06}, "initial_soc", "-0.06", "0..1", "fraction"),
    "far above full": ({"initial_soc": 1.06}, "initial_soc", "1.06", "0..1", "fraction"),
    "no number": ({"initial_soc": float("nan")}, "initial_soc", "nan", "no number", "between 0 and 1"),
    "text": ({"initial_soc": "0.5"}, "initial_soc", "'0.5'", "no number", "between 0 and 1"),
    "a truth": ({"initial_soc": True}, "initial_soc", "True", "no number", "between 0 and 1"),
    "nothing": ({"initial_soc": None}, "initial_soc", "None", "no number", "between 0 and 1"),
    "an end below empty": ({"final_soc_min": -0.01}, "final_soc_min", "-0.01", "0..1", "fraction"),
    "worth per MWh": (
        {"terminal_value_eur_per_kwh": 87.0},
        "terminal_value_eur_per_kwh",
        "87.0",
        "20 EUR/kWh",
        "not per MWh",
    ),
    "worth without number": (
        {"terminal_value_eur_per_kwh": float("nan")},
        "terminal_value_eur_per_kwh",
        "nan",
        "20 EUR/kWh",
        "price per kWh",
    ),
    "an unknown solver": ({"solver": "cplex"}, "solver", "'cplex'", "unknown", "'auto', 'dp' or 'lp'"),
}


@pytest.mark.parametrize("name", BAD_STATES)
def test_a_bad_state_or_setting_is_refused(name):
    changes, field, value, bound, way_out = BAD_STATES[name]
    assert_refused(field, value, bound, way_out, changes)


def test_a_final_state_above_the_band_is_refused():
    site = SITE.model_copy(update={"battery": Battery(**BATTERY, max_soc=0.9)})
    assert_refused("final_soc_min", "0.95", "max_soc 0.9", "widen the band", {"final_soc_min": 0.95}, site)


def test_sun_at_a_site_without_an_array_is_refused():
    assert_refused("pv", "no PV array", "site", "PvArray", {}, SITE.model_copy(update={"pv": None}))


@pytest.mark.parametrize("soc", [-0.05, 1.05])
def test_a_report_a_little_outside_the_scale_is_planned_with(soc):
    plan = optimise(SITE, **good(initial_soc=soc))
    assert plan.problem.initial_soc == soc


def site_fields(**changes: Any) -> dict[str, Any]:
    battery = {**BATTERY, **changes.pop("battery", {})}
    return {"battery": battery, **changes}


BAD_ASSETS = {
    "no capacity": (site_fields(battery={"capacity_kwh": 0}), "battery.capacity_kwh", "0", "greater than 0"),
    "a negative capacity": (
        site_fields(battery={"capacity_kwh": -1.0}),
        "battery.capacity_kwh",
        "-1.0",
        "greater than 0",
    ),
    "an infinite capacity": (
        site_fields(battery={"capacity_kwh": float("inf")}),
        "battery.capacity_kwh",
        "inf",
        "finite",
    ),
    "a capacity in Wh": (site_fields(battery={"capacity_kwh": 10000.0}), "battery", "10000 with 5 kW", "200 h"),
    "a power in W": (
        site_fields(battery={"max_charge_kw": 5000.0, "max_discharge_kw": 5000.0}),
        "battery",
        "10 with 5000 kW",
        "0.033",
    ),
    "a negative power": (
        site_fields(battery={"max_charge_kw": -5.0}),
        "battery.max_charge_kw",
        "-5.0",
        "greater than or equal to 0",
    ),
    "no power": (site_fields(battery={"max_discharge_kw": None}), "battery.max_discharge_kw", "None", "number"),
    "a band upside down": (
        site_fields(battery={"min_soc": 0.9, "max_soc": 0.1}),
        "battery",
        "min_soc 0.9",
        "max_soc 0.1",
    ),
    "a band without width": (
        site_fields(battery={"min_soc": 0.5, "max_soc": 0.5}),
        "battery",
        "min_soc 0.5",
        "max_soc 0.5",
    ),
    "a band in percent": (site_fields(battery={"min_soc": 10}), "battery.min_soc", "10", "above 1"),
    "a full band in percent": (site_fields(battery={"max_soc": 100}), "battery.max_soc", "100", "above 1"),
    "a band below empty": (
        site_fields(battery={"min_soc": -0.1}),
        "battery.min_soc",
        "-0.1",
        "greater than or equal to 0",
    ),
    "a band without number": (site_fields(battery={"max_soc": float("nan")}), "battery.max_soc", "nan", "1"),
    "no efficiency": (
        site_fields(battery={"charge_efficiency": 0.0}),
        "battery.charge_efficiency",
        "0.0",
        "greater than 0",
    ),
    "an efficiency above 1": (
        site_fields(battery={"discharge_efficiency": 1.05}),
        "battery.discharge_efficiency",
        "1.05",
        "1",
    ),
    "an efficiency in percent": (
        site_fields(battery={"charge_efficiency": 95}),
        "battery.charge_efficiency",
        "95",
        "1",
    ),
    "a wear per MWh": (site_fields(battery={"wear_eur_per_kwh": 20.0}), "battery.wear_eur_per_kwh", "20", "5"),
    "a negative wear": (site_fields(battery={"wear_eur_per_kwh": -0.01}), "battery.wear_eur_per_kwh", "-0.01", "0"),
    "an unknown field": (site_fields(battery={"capacity": 10}), "battery.capacity", "10", "unknown field"),
    "an unknown field of the site": (site_fields(tariff="flat"), "tariff", "'flat'", "unknown field"),
    "a limit in words": (site_fields(grid={"import_limit_kw": "25 A"}), "grid.import_limit_kw", "'25 A'", "number"),
    "a negative limit": (site_fields(grid={"export_limit_kw": -1.0}), "grid.export_limit_kw", "-1.0", "0"),
    "an infinite limit": (site_fields(grid={"import_limit_kw": float("inf")}), "grid.import_limit_kw", "inf", "finite"),
    "an unknown zone": (
        site_fields(timezone="Europe/Kopenhagen"),
        "timezone",
        "'Europe/Kopenhagen'",
        "no IANA time zone",
    ),
    "no zone": (site_fields(timezone=""), "timezone", "''", "no IANA time zone"),
    "half a zone": (site_fields(timezone="Europe"), "timezone", "'Europe'", "no IANA time zone"),
    "a zone outside the folder": (site_fields(timezone="../../etc/passwd"), "timezone", "passwd", "no IANA time zone"),
}


@pytest.mark.parametrize("name", BAD_ASSETS)
def test_a_bad_asset_is_refused(name):
    fields, field, value, bound = BAD_ASSETS[name]
    with pytest.raises(ValidationError) as refused:
        Site.model_validate(fields)
    error = input_error_from(refused.value)
    assert_names(error, field, value, bound, "")
    assert error.way_out


def test_a_missing_field_is_named():
    with pytest.raises(ValidationError) as refused:
        Site.model_validate({"battery": {"capacity_kwh": 10, "max_charge_kw": 5}})
    assert str(input_error_from(refused.value)) == "battery.max_discharge_kw: missing; add it"


def test_one_line_tells_where_the_data_came_from_and_how_many_faults_follow():
    with pytest.raises(ValidationError) as refused:
        Site.model_validate(site_fields(battery={"capacity_kwh": 0, "min_soc": 10, "colour": "red"}))
    text = str(input_error_from(refused.value, prefix="home.yaml: "))
    assert text.startswith("home.yaml: battery.capacity_kwh: value 0: ")
    assert text.endswith("(2 more faults after this one)")
    assert "\n" not in text


def test_an_input_error_is_caught_as_a_value_error_and_as_one_of_ours():
    error = InputError("load", "value -1", "split it")
    assert isinstance(error, ValueError)
    assert isinstance(error, TidewattError)
    assert (error.field, error.problem, error.way_out) == ("load", "value -1", "split it")


BAD_FROM_SOMEWHERE_ON = {
    "missing": (np.nan, "nan"),
    "infinite": (np.inf, "inf"),
    "minus infinite": (-np.inf, "-inf"),
}


@pytest.mark.parametrize("field", ["import_price", "export_price", "load", "pv"])
@pytest.mark.parametrize("name", BAD_FROM_SOMEWHERE_ON)
def test_of_many_bad_values_the_first_is_named(name, field):
    value, word = BAD_FROM_SOMEWHERE_ON[name]
    rng = np.random.default_rng(0)
    for _ in range(10):
        positions = rng.choice(len(QUARTERS), int(rng.integers(1, 5)), replace=False)
        values = pd.Series(0.2, QUARTERS)
        values.iloc[positions] = value
        first = QUARTERS[positions.min()]
        assert_refused(field, f"value {word} at {first:%Y-%m-%dT%H:%M:%SZ}", "", "another source", {field: values})


@pytest.mark.parametrize(
    ("field", "value", "word"),
    [
        ("import_price", 21.0, "21 EUR/kWh"),
        ("export_price", -21.0, "-21 EUR/kWh"),
        ("load", -1.0, "-1 kW"),
        ("load", 3000.0, "3000 kW"),
        ("pv", -1.0, "-1 kW"),
        ("pv", 3000.0, "3000 kW"),
    ],
)
def test_of_many_values_beyond_their_bound_the_first_is_named(field, value, word):
    values = pd.Series(0.2, QUARTERS)
    values.iloc[[3, 5]] = value
    assert_refused(field, f"value {word} at 2026-02-03T00:45:00Z", "", "", {field: values})


@pytest.mark.parametrize("field", ["import_price", "export_price", "load", "pv"])
def test_of_two_gaps_and_of_two_repetitions_the_first_is_named(field):
    gaps, repeated = QUARTERS.delete([3, 6]), QUARTERS[[0, 1, 1, 2, 3, 4, 4, 5]]
    after, comes = "after 2026-02-03T00:30:00Z", "comes 2026-02-03T01:00:00Z"
    assert_refused(f"{field}.index", after, comes, "fill the gap", {field: pd.Series(0.2, gaps)})
    assert_refused(
        f"{field}.index", "2026-02-03T00:15:00Z", "is repeated", "each interval once", {field: pd.Series(0.2, repeated)}
    )


@pytest.mark.parametrize("minutes", [7, 8, 9, 11, 13, 14, 16, 18, 22, 25, 40, 45, 50, 90, 120, 1440])
def test_a_step_that_does_not_divide_the_hour_is_refused(minutes):
    index = pd.date_range(QUARTERS[0], periods=8, freq=f"{minutes}min")
    all_of_it = {name: pd.Series(values.to_numpy(), index) for name, values in good().items() if name != "initial_soc"}
    assert_refused("import_price.index", f"the step {minutes} min", "does not divide the hour", "60 minutes", all_of_it)


@pytest.mark.parametrize("minutes", [1, 5, 10, 15, 20, 30, 60])
def test_a_step_that_divides_the_hour_is_planned(minutes):
    index = pd.date_range(QUARTERS[0], periods=8, freq=f"{minutes}min")
    all_of_it = {name: pd.Series(values.to_numpy(), index) for name, values in good().items() if name != "initial_soc"}
    assert optimise(SITE, **all_of_it, initial_soc=0.5).problem.step_h == pytest.approx(minutes / 60)


def test_an_error_comes_whole_out_of_another_process():
    error = InputError("load", "3 values", "give 96")
    assert repr(pickle.loads(pickle.dumps(error))) == repr(error)
