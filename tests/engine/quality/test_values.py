"""Values that are wrong. Each defect is put into a clean series at a random place, and found there and nowhere else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.quality import Finding, Severity, inspect
from engine.quality.sun import elevation_deg
from tests.engine.quality.clean_series import (
    CLEAN,
    PLACES,
    clean_load,
    clean_price,
    clean_pv,
    seeds,
    stretches,
)
from tests.engine.quality.test_times import only, parts


def spans(finding: Finding, series: pd.Series, put: slice, within: int = 0) -> bool:
    """Whether a finding is one stretch that begins and ends where the defect does, give or take some samples."""
    step = series.index[1] - series.index[0]
    begin, end = series.index[put.start], series.index[put.stop - 1] + step
    return (
        len(finding.stretches) == 1
        and abs(finding.start - begin) <= within * step
        and abs(finding.end - end) <= within * step
    )


@given(seed=seeds, data=st.data(), kind=st.sampled_from(["load", "pv"]), size=st.floats(0.001, 50))
@settings(max_examples=12, deadline=None)
def test_negative_powers_are_found(seed: int, data: st.DataObject, kind: str, size: float) -> None:
    series = CLEAN[kind](seed)
    put = data.draw(stretches(len(series), most=10))
    series.iloc[put] = -size * np.linspace(0.5, 1, put.stop - put.start) ** 3
    finding = inspect(series, kind).of("negative")[0]
    assert spans(finding, series, put)
    assert finding.worst == series.iloc[put].min()
    assert finding.severity is Severity.ERROR
    assert not inspect(series.rename("battery"), "other").of("negative")


@given(seed=seeds, data=st.data(), kind=st.sampled_from(["load", "pv"]), times=st.floats(6, 1000))
@settings(max_examples=12, deadline=None)
def test_spikes_are_found(seed: int, data: st.DataObject, kind: str, times: float) -> None:
    series = CLEAN[kind](seed, 90)
    at = data.draw(st.integers(1, len(series) - 2))
    series.iloc[at] = times * series.max()
    finding = inspect(series, kind).of("spike")[0]
    assert spans(finding, series, slice(at, at + 1))
    assert finding.worst == series.max()


def test_a_spike_beyond_the_rating_or_any_market_is_found() -> None:
    load = clean_load(1)
    load.iloc[100] = 1.5 * load.max()
    assert not inspect(load, "load").findings
    assert inspect(load, "load", rated_kw=load.max() / 1.4).of("spike")[0].start == load.index[100]
    price = clean_price(1)
    price.iloc[9] = -21.0
    assert only(inspect(price)).worst == -21
    price.iloc[9] = 15.5  # the Australian cap
    assert not inspect(price).findings


@given(seed=seeds, data=st.data(), kind=st.sampled_from(["load", "pv", "price"]), level=st.floats(0.01, 3))
@settings(max_examples=12, deadline=None)
def test_stuck_meters_are_found(seed: int, data: st.DataObject, kind: str, level: float) -> None:
    series = CLEAN[kind](seed, 40, 30)
    put = data.draw(stretches(len(series), least=48 if kind == "price" else 12, most=300))
    series.iloc[put] = level + 1e-6
    finding = inspect(series, kind).of("stuck")[0]
    assert spans(finding, series, put)
    assert finding.worst == (put.stop - put.start) / 2


def test_a_load_stuck_at_0_is_found_and_resting_pv_and_tariffs_are_not() -> None:
    load, pv = clean_load(1), clean_pv(1)
    load.iloc[100:130] = 0.0
    assert only(inspect(load, "load")).rule == "stuck"
    pv.iloc[100:130] = 0.0
    assert not inspect(pv, "pv").findings
    hours = np.arange(24 * 40)
    steps = pd.Series(np.where(hours % 168 < 120, 0.2, 0.1), clean_price(1).index)
    assert not inspect(steps, "price").findings


@given(seed=seeds, data=st.data(), step=st.sampled_from([15, 30, 60]))
@settings(max_examples=12, deadline=None)
def test_interpolated_stretches_are_found(seed: int, data: st.DataObject, step: int) -> None:
    series = clean_load(seed, 60, step)
    put = data.draw(stretches(len(series), least=max(360 // step, 8), most=400))
    series.iloc[put] = np.linspace(0.2, 0.2 + 0.01 * (put.stop - put.start), put.stop - put.start)
    assert spans(only(inspect(series, "load")), series, put, within=1)


@given(seed=seeds, data=st.data(), kind=st.sampled_from(["load", "pv", "price"]), up=st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_stretch_a_thousand_times_off_is_found(seed: int, data: st.DataObject, kind: str, up: bool) -> None:
    series = CLEAN[kind](seed, 120, 30)
    put = data.draw(stretches(len(series), least=5 * 48, most=40 * 48, edge=10 * 48))
    factor = 1000.0 if up else 0.001
    series.iloc[put] *= factor
    found = inspect(series, kind).of("scale_change")[0]
    # In the dark a thousand times nothing is nothing: there a day is close enough.
    assert spans(found, series, put, within=48 if kind == "pv" else 2)
    assert found.worst == pytest.approx(factor)


@given(seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_a_stretch_in_kwh_per_quarter_hour_is_found(seed: int, data: st.DataObject) -> None:
    series = clean_load(seed, 120, 15)
    put = data.draw(stretches(len(series), least=20 * 96, most=40 * 96, edge=20 * 96))
    series.iloc[put] /= 4
    found = inspect(series, "load").of("scale_change")[0]
    assert spans(found, series, put, within=24)
    assert found.worst == pytest.approx(0.25)


def test_a_holiday_is_no_change_of_scale() -> None:
    load = clean_load(3, 120, 15)
    load.iloc[40 * 96 : 60 * 96] = np.round(load.iloc[40 * 96 : 60 * 96].clip(upper=0.3), 4)
    assert not inspect(load, "load").of("scale_change")


@given(seed=seeds, rated_kw=st.floats(7, 30))
@settings(max_examples=12, deadline=None)
def test_powers_in_another_unit_are_found_by_the_rating(seed: int, rated_kw: float) -> None:
    load = clean_load(seed)
    finding = only(inspect(load * 1000, "load", rated_kw=rated_kw))
    assert (finding.rule, finding.severity, finding.repair) == ("unit", Severity.ERROR, "scale_unit:W,kW")
    assert only(inspect(load / 1000, "load", rated_kw=rated_kw)).repair == "scale_unit:MW,kW"
    without = only(inspect(load * 1000, "load"))
    assert (without.rule, without.severity) == ("unit", Severity.WARNING)
    assert not inspect((load * 1000).rename("load_w"), rated_kw=rated_kw).findings
    assert only(inspect(load, "load", unit="W", rated_kw=rated_kw)).repair == ""


@pytest.mark.parametrize("step", [15, 30])
def test_pv_in_kwh_per_interval_is_found_by_the_rating(step: int) -> None:
    pv = clean_pv(2, 120, step, "2024-05-01")
    rated_kw = float(pv.max()) * 1.05
    finding = only(inspect(pv * step / 60, "pv", rated_kw=rated_kw))
    assert (finding.rule, finding.repair) == ("unit", "scale_unit:kWh,kW")
    assert not inspect(pv, "pv", rated_kw=rated_kw).findings
    assert not inspect(pv * step / 60, "pv", unit="kWh", rated_kw=rated_kw).findings


@given(seed=seeds)
@settings(max_examples=12, deadline=None)
def test_prices_per_mwh_are_found(seed: int) -> None:
    price = clean_price(seed)
    finding = only(inspect(price * 1000, "price"))
    assert (finding.rule, finding.repair) == ("unit", "scale_unit:EUR/MWh,EUR/kWh")
    assert not inspect((price * 1000).rename("price_eur_per_mwh")).findings
    assert only(inspect(price, "price", unit="EUR/MWh")).rule == "unit"


@given(seed=seeds, kind=st.sampled_from(["load", "pv"]), reset=st.sampled_from(["never", "hour", "day"]))
@settings(max_examples=15, deadline=None)
def test_registers_are_found_with_their_reset(seed: int, kind: str, reset: str) -> None:
    energy = CLEAN[kind](seed, 40, 15) / 4
    periods = {"never": pd.Index([0] * len(energy)), "hour": energy.index.floor("h"), "day": energy.index.floor("D")}
    finding = inspect(energy.groupby(periods[reset]).cumsum(), kind).of("register")[0]
    assert finding.repair == f"difference_register:{reset}"
    assert not inspect(energy, kind).of("register")


@given(seed=seeds, place=st.integers(0, 3), data=st.data(), known=st.booleans(), kw=st.floats(0.2, 5))
@settings(max_examples=12, deadline=None)
def test_pv_at_night_is_found(seed: int, place: int, data: st.DataObject, known: bool, kw: float) -> None:
    zone, latitude, longitude = PLACES[place]
    series = clean_pv(seed, 90, 30, "2024-03-01", place)
    place_known = {"latitude": latitude, "longitude": longitude} if known else {}
    hour = (series.index.hour + series.index.minute / 60 + longitude / 15).to_numpy() % 24
    deep_night = np.flatnonzero((hour < 1.5) | (hour > 22.5))
    at = int(data.draw(st.sampled_from(deep_night[2:-2].tolist())))
    series.iloc[at] = kw
    finding = only(inspect(series, "pv", timezone=zone, **place_known))
    assert finding.rule == "pv_at_night"
    assert parts(finding)[0][0] == series.index[at]


@given(seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_pv_that_gives_nothing_for_days_is_found(seed: int, data: st.DataObject) -> None:
    series = clean_pv(seed, 90)
    days = data.draw(st.integers(4, 30))
    first = 48 * data.draw(st.integers(2, 80 - days))
    series.iloc[first : first + 48 * days] = 0.0
    finding = only(inspect(series, "pv"))
    assert finding.rule == "no_production"
    assert spans(finding, series, slice(first, first + 48 * days), within=24)


@given(seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_decimal_commas_and_words_are_found_among_text(seed: int, data: st.DataObject) -> None:
    series = clean_load(seed, 20)
    text = series.map(lambda value: f"{value:.4f}").astype(object)
    comma = data.draw(stretches(len(series)))
    text.iloc[comma] = [each.replace(".", ",") for each in text.iloc[comma]]
    finding = only(inspect(text, "load"))
    assert finding.rule == "decimal_comma"
    assert spans(finding, series, comma)
    text = series.map(lambda value: f"{value:.4f}").astype(object)
    text.iloc[comma] = "err 7"
    report = inspect(text, "load")
    assert [each.rule for each in report.findings] == ["missing_values", "unreadable"]
    assert spans(report.of("unreadable")[0], series, comma)
    assert "'err 7'" in report.of("unreadable")[0].meaning


def test_thousands_with_a_decimal_comma_are_read() -> None:
    text = pd.Series(["1.234,5", "2 345,25", "-0,5", "7", "", "null", "1,234.5"], clean_load(1).index[:7])
    report = inspect(text, "other")
    assert report.frame["values"].iloc[:4].tolist() == [1234.5, 2345.25, -0.5, 7.0]
    assert {each.rule: each.count for each in report.findings} == {
        "decimal_comma": 3,
        "missing_values": 3,
        "unreadable": 1,
    }


def test_each_column_is_judged_by_its_name_and_kind() -> None:
    frame = pd.DataFrame({"load_w": clean_load(1) * 1000, "pv_kw": clean_pv(1), "price_eur_per_mwh": 50.0})
    frame["price_eur_per_mwh"] = 1000 * clean_price(1, 40, 30).to_numpy()
    report = inspect(frame, rated_kw=10)
    assert not report.findings
    assert {name: (each.kind, each.unit) for name, each in report.coverage.items()} == {
        "load_w": ("load", "W"),
        "pv_kw": ("pv", "kW"),
        "price_eur_per_mwh": ("price", "EUR/MWh"),
    }
    frame.loc[frame.index[5], "pv_kw"] = -1.0
    assert [each.series for each in inspect(frame).of("negative")] == ["pv_kw"]


def test_the_report_says_what_there_is_in_words_and_as_tables() -> None:
    load = clean_load(1, 30, 60, "2024-06-01")
    load.iloc[[5, 6, 9]] = np.nan
    load.iloc[20] = -0.25
    report = inspect(load)
    table = report.table()
    assert table["rule"].tolist() == ["missing_values", "negative"]
    assert table.loc[0, ["stretches", "count", "worst", "worst_unit"]].tolist() == [2, 3, 2.0, "h"]
    assert table.loc[0, "from"] == load.index[5]
    assert table.loc[0, "to"] == load.index[10]
    assert report.stretches()["count"].tolist() == [2, 1, 1]
    assert report.coverage["load_kw"].months_without == (1, 2, 3, 4, 5, 7, 8, 9, 10, 11, 12)
    assert not report.is_usable
    text = str(report)
    assert "30.0 days in steps of 60 min" in text
    assert "error: negative [load_kw]: values are below 0; 1 samples (0.14%)" in text
    assert text.endswith("not usable as it is")


def test_the_figure_shades_what_was_found() -> None:
    load = clean_load(1)
    load.iloc[5:8] = np.nan
    figure = inspect(load).plot()
    assert [(shape.x0, shape.x1) for shape in figure.layout.shapes] == [(load.index[5], load.index[8])]


def test_the_sun_stands_where_pvlib_sees_it() -> None:
    solarposition = pytest.importorskip("pvlib.solarposition")
    index = pd.date_range("2023-01-01", "2026-01-01", freq="397min", tz="UTC")
    for _, latitude, longitude in PLACES:
        truth = solarposition.get_solarposition(index, latitude, longitude)["elevation"].to_numpy()
        assert np.abs(elevation_deg(index, latitude, longitude) - truth).max() < 0.5
