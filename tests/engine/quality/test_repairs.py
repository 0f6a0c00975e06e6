"""Repairs undo what was done to clean series, touch nothing else, and write down what they did."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine import InputError
from engine.quality import REPAIRS, RULES, Repaired, inspect, repair
from tests.engine.quality.clean_series import (
    CLEAN,
    MINUTES,
    PLACES,
    clean_load,
    clean_price,
    clean_pv,
    minutes,
    seeds,
    stretches,
)
from tests.engine.quality.test_times import _local_days_of_24_hours


def outcome(mended: Repaired, row: int = -1) -> str:
    return str(mended.log["outcome"].iloc[row])


def assert_same(mended: pd.Series, clean: pd.Series) -> None:
    pd.testing.assert_series_equal(mended, clean, check_freq=False, check_names=False, rtol=1e-9)


@given(seed=seeds, step=minutes, data=st.data())
@settings(max_examples=15, deadline=None)
def test_disorder_and_equal_duplicates_are_undone_exactly(seed: int, step: int, data: st.DataObject) -> None:
    clean = clean_load(seed, 20, step)
    again = data.draw(stretches(len(clean)))
    raw = pd.concat([clean, clean.iloc[again]]).sample(frac=1, random_state=seed)
    mended = repair(raw, ["sort_by_time", "drop_equal_duplicates"], "load")
    assert_same(mended.series, clean)
    assert not mended.changed.any()
    assert mended.log["outcome"].tolist() == ["done", "done"]
    row = mended.log.iloc[1]
    assert row["count"] == again.stop - again.start
    assert (row["from"], row["to"]) == (clean.index[again.start], clean.index[again.stop])
    assert not inspect(mended.series, "load").findings


@given(seed=seeds, data=st.data())
@settings(max_examples=15, deadline=None)
def test_conflicting_duplicates_become_their_mean_and_are_marked(seed: int, data: st.DataObject) -> None:
    clean = clean_load(seed, 20)
    again = data.draw(stretches(len(clean), most=15))
    other = clean.iloc[again] + 0.5
    mended = repair(pd.concat([clean, other]).sort_index(kind="stable"), ["mean_of_conflicting_duplicates"], "load")
    wanted = clean.copy()
    wanted.iloc[again] += 0.25
    assert_same(mended.series, wanted)
    assert mended.changed[mended.changed].index.equals(clean.index[again])


@given(seed=seeds, step=minutes, place=st.sampled_from(PLACES), naive=st.booleans(), begin_day=st.integers(0, 300))
@settings(max_examples=12, deadline=None)
def test_a_local_clock_becomes_utc_exactly(
    seed: int, step: int, place: tuple[str, float, float], naive: bool, begin_day: int
) -> None:
    begin = pd.Timestamp("2023-01-01") + pd.Timedelta(days=begin_day)
    clean = clean_load(seed, 120, step, f"{begin:%Y-%m-%d}")
    wall = clean.tz_convert(place[0]).tz_localize(None)
    wall = wall if naive else wall.tz_localize("UTC")
    rule = inspect(wall, "load", timezone=place[0]).findings
    assume(rule)
    assume(rule[0].repair.startswith("local_clock"))  # no clock change in it: nothing shows
    mended = repair(wall, [rule[0].repair], "load")
    assert_same(mended.series, clean)
    assert not mended.changed.any()


@pytest.mark.parametrize("place", range(4))
def test_a_local_clock_with_24_hours_every_day_becomes_utc_but_for_the_hours_it_never_had(place: int) -> None:
    zone = PLACES[place][0]
    clean = clean_pv(3, 300, 30, "2023-02-01", place)
    mended = repair(_local_days_of_24_hours(clean, zone), [f"local_clock_to_utc:{zone}"], "pv")
    assert "of an hour that the clock left out" in mended.log["note"].iloc[0]
    lost = clean.index.difference(mended.series.index)
    assert len(lost) == 2
    assert_same(mended.series, clean.drop(lost))


def test_times_are_moved_only_by_what_is_said() -> None:
    clean = clean_load(1)
    assert_same(repair(clean.tz_localize(None), ["naive_is_utc"], "load").series, clean)
    ends = clean.set_axis(clean.index + pd.Timedelta(minutes=30))
    mended = repair(ends, ["end_labels_to_start"], "load")
    assert_same(mended.series, clean)
    assert not mended.changed.any()


@given(seed=seeds, data=st.data())
@settings(max_examples=15, deadline=None)
def test_a_straight_gap_is_filled_exactly_and_marked(seed: int, data: st.DataObject) -> None:
    series = clean_load(seed, 20)
    gap = data.draw(stretches(len(series), most=6))
    series.iloc[gap.start - 1 : gap.stop + 1] = np.linspace(1, 2, gap.stop - gap.start + 2)
    for raw in (series.drop(series.index[gap]), series.where(~np.isin(np.arange(len(series)), np.r_[gap]))):
        mended = repair(raw, ["fill_gaps_up_to:180,linear"], "load")
        assert_same(mended.series, series)
        assert mended.changed[mended.changed].index.equals(series.index[gap])


@given(seed=seeds, data=st.data(), method=st.sampled_from(["linear", "previous", "last_week"]))
@settings(max_examples=15, deadline=None)
def test_longer_gaps_stay_and_are_counted(seed: int, data: st.DataObject, method: str) -> None:
    series = clean_load(seed, 40)
    short = data.draw(stretches(700, most=4))
    long = slice(800, 800 + data.draw(st.integers(5, 200)))
    raw = series.copy()
    raw.iloc[short] = raw.iloc[long] = np.nan
    mended = repair(raw, [f"fill_gaps_up_to:120,{method}"], "load")
    filled = mended.series.iloc[short].notna().all()
    assert filled == (method != "last_week" or short.start >= 7 * 48)
    assert mended.series.iloc[long].isna().all()
    assert mended.log["note"].iloc[0] == f"{1 if filled else 2} gaps stay: longer, or with nothing to fill them from"
    untouched = mended.series.drop(series.index[short])
    pd.testing.assert_series_equal(untouched, raw.drop(raw.index[short]), check_names=False, check_freq=False)


def test_gaps_at_the_edges_have_no_line_to_lie_on() -> None:
    raw = clean_load(1)
    raw.iloc[:2] = raw.iloc[-2:] = np.nan
    assert outcome(repair(raw, ["fill_gaps_up_to:600,linear"], "load")) == "nothing to do"


def test_last_week_is_by_the_local_clock() -> None:
    series = clean_load(4, 30, 60, "2024-03-15")  # the clock is put forward on the 31st
    raw = series.copy()
    gap = slice(24 * 18 + 6, 24 * 18 + 9)
    raw.iloc[gap] = np.nan
    utc = repair(raw, ["fill_gaps_up_to:600,last_week"], "load").series.iloc[gap]
    local = repair(raw, ["fill_gaps_up_to:600,last_week"], "load", timezone="Europe/Paris").series.iloc[gap]
    assert utc.tolist() == series.iloc[gap.start - 168 : gap.stop - 168].tolist()
    assert local.tolist() == series.iloc[gap.start - 167 : gap.stop - 167].tolist()


@given(seed=seeds, step=minutes)
@settings(max_examples=12, deadline=None)
def test_units_are_restated_exactly_and_the_name_with_them(seed: int, step: int) -> None:
    clean = clean_load(seed, 20, step)
    for unit, times in (("W", 1000.0), ("kWh", step / 60), ("Wh", 1000 * step / 60)):
        mended = repair((clean * times).rename(f"load_{unit.lower()}"), [f"scale_unit:{unit},kW"])
        assert_same(mended.series, clean)
        assert (mended.series.name, mended.unit) == ("load_kw", "kW")
        assert not mended.changed.any()
    price = clean_price(seed)
    mended = repair((price * 1000).rename("price_dk1_eur_per_mwh"), ["scale_unit:EUR/MWh,EUR/kWh"])
    assert_same(mended.series, price)
    assert mended.series.name == "price_dk1_eur_per_kwh"
    pence = repair((price * 100).rename("import_pence_per_kwh"), ["scale_unit:pence/kWh,GBP/kWh"])
    assert_same(pence.series, price)


@given(seed=seeds, data=st.data(), up=st.booleans())
@settings(max_examples=12, deadline=None)
def test_a_stretch_in_another_unit_is_brought_back(seed: int, data: st.DataObject, up: bool) -> None:
    clean = clean_load(seed, 120, 60)
    put = data.draw(stretches(len(clean), least=5 * 24, most=40 * 24, edge=10 * 24))
    raw = clean.copy()
    raw.iloc[put] *= 1000.0 if up else 0.001
    mended = repair(raw, ["rescale_changed_stretch"], "load", most_share=0.5)
    off = np.abs(np.log(mended.series / clean)) > 1
    assert off.sum() <= 2
    assert abs(int(mended.changed.sum()) - (put.stop - put.start)) <= 2


@given(seed=seeds, step=st.sampled_from([5, 15]), data=st.data())
@settings(max_examples=12, deadline=None)
def test_registers_are_differenced_exactly(seed: int, step: int, data: st.DataObject) -> None:
    clean = clean_load(seed, 10, step)
    energy = clean * step / 60
    reset = data.draw(st.sampled_from(["never", "hour", "day"]))
    if reset == "never":
        # Readings at instants: what flows in an interval shows at its end.
        register = 1234.5 + energy.cumsum().shift(fill_value=0.0)
        assert_same(repair(register, ["difference_register:never"], "load").series, clean.iloc[:-1])
        return
    period = energy.index.floor("h" if reset == "hour" else "D")
    mended = repair(energy.groupby(period).cumsum(), [f"difference_register:{reset}"], "load")
    assert_same(mended.series, clean.iloc[1:])
    assert not mended.changed.any()


def test_a_register_that_steps_back_leaves_a_gap() -> None:
    clean = clean_load(1, 10, 60)
    register = clean.cumsum().shift(fill_value=0.0)
    register.iloc[100:] -= 50  # the meter was exchanged
    mended = repair(register, ["difference_register:never"], "load")
    assert mended.series.index[mended.series.isna()].tolist() == [clean.index[99]]
    assert mended.changed.sum() == 1
    assert mended.log["note"].iloc[0] == "1 steps back are missing now"
    short = clean.cumsum().drop(clean.index[50])
    with_gap = repair(short, ["difference_register:never"], "load").series
    assert with_gap.isna().sum() == 1


def test_text_becomes_numbers_only_when_told() -> None:
    clean = clean_load(1, 5)
    text = clean.map(lambda value: f"{value:.4f}".replace(".", ",")).astype(object)
    text.iloc[7] = "err"
    with pytest.raises(InputError, match="begin with decimal_comma_to_point"):
        repair(text, ["mask_spikes"], "load")
    half = repair(text, ["decimal_comma_to_point"], "load")
    assert half.series.iloc[7] == "err"
    mended = repair(text, ["decimal_comma_to_point", "unreadable_to_missing", "fill_gaps_up_to:60,previous"], "load")
    wanted = clean.copy()
    wanted.iloc[7] = clean.iloc[6]
    assert_same(mended.series, wanted)
    assert mended.changed[mended.changed].index.tolist() == [clean.index[7]]


def test_rows_without_a_time_are_left_out() -> None:
    clean = clean_load(1, 5)
    raw = pd.concat([clean, pd.Series([9.0], pd.DatetimeIndex([pd.NaT], tz="UTC"))])
    assert_same(repair(raw, ["drop_rows_without_time"], "load").series, clean)


def _spikes(series: pd.Series, put: slice) -> None:
    series.iloc[put] = 300.0 + np.arange(put.stop - put.start) ** 2


def _negatives(series: pd.Series, put: slice) -> None:
    series.iloc[put] = -np.linspace(0.01, 2.0, put.stop - put.start)


def _stuck(series: pd.Series, put: slice) -> None:
    series.iloc[put] = 0.123456


def _line(series: pd.Series, put: slice) -> None:
    series.iloc[put] = np.linspace(1.0, 1.7, put.stop - put.start)


def _missing(series: pd.Series, put: slice) -> None:
    series.iloc[put] = np.nan


DEFECTS: dict[str, tuple[Callable[[pd.Series, slice], None], str]] = {
    "mask_spikes": (_spikes, "spike"),
    "clip_negative_up_to:0.7": (_negatives, "negative"),
    "mask_stuck:6": (_stuck, "stuck"),
    "mask_stuck:9": (_stuck, "stuck"),
    "mask_interpolated:6": (_line, "interpolated"),
    "fill_gaps_up_to:240,previous": (_missing, "missing_values"),
    "fill_gaps_up_to:900,linear": (_missing, "missing_values"),
}


@pytest.mark.parametrize("rule", DEFECTS)
@given(seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_no_repair_touches_a_sample_outside_its_finding(rule: str, seed: int, data: st.DataObject) -> None:
    put_in, found_as = DEFECTS[rule]
    series = clean_load(seed, 60)
    least = 1 if rule.startswith(("clip", "fill")) else 14
    put = data.draw(stretches(len(series), least=least if found_as != "spike" else 1, most=24))
    put_in(series, put)
    before = series.copy()
    mended = repair(series, [rule], "load")
    pd.testing.assert_series_equal(series, before)  # what came in stays as it came
    inside = np.zeros(len(series), dtype=bool)
    for finding in inspect(series, "load").of(found_as):
        for each in finding.stretches:
            inside |= np.asarray((series.index >= each.start) & (series.index < each.end))
    assert inside.any()
    differs = ~((mended.series == series) | (mended.series.isna() & series.isna())).to_numpy()
    assert not (differs & ~inside).any()
    np.testing.assert_array_equal(mended.changed.to_numpy(), differs)
    assert int(mended.log["count"].iloc[0]) == differs.sum()
    if found_as in ("spike", "stuck"):
        assert (differs == inside).all() or (put.stop - put.start) < 18


# Others are statements about all samples, never about none.
@pytest.mark.parametrize("name", sorted(REPAIRS.keys() - {"difference_register", "end_labels_to_start"}))
def test_a_repair_of_nothing_says_so(name: str) -> None:
    told = {
        "fill_gaps_up_to": ":60,linear",
        "clip_negative_up_to": ":1",
        "mask_stuck": ":6",
        "mask_interpolated": ":6",
        "scale_unit": ":kW,kW",
        "local_clock_to_utc": ":UTC",
    }.get(name, "")
    clean = clean_load(1)
    mended = repair(clean, [name + told], "load")
    assert outcome(mended) == "nothing to do"
    assert mended.log["count"].iloc[0] == 0
    assert pd.isna(mended.log["from"].iloc[0])
    assert_same(mended.series, clean)
    assert not mended.changed.any()


def test_a_repair_that_would_change_too_much_is_refused_and_says_so() -> None:
    raw = clean_load(1)
    raw.iloc[100:300] = -0.2
    mended = repair(raw, ["clip_negative_up_to:1"], "load")
    assert outcome(mended) == "refused"
    assert mended.log["note"].iloc[0] == "it would change more than 5.0%"
    assert mended.log["share"].iloc[0] == pytest.approx(200 / len(raw))
    assert_same(mended.series, raw)
    assert not mended.changed.any()
    assert not inspect(mended.series, "load").is_usable
    allowed = repair(raw, ["clip_negative_up_to:1"], "load", most_share=0.2)
    assert outcome(allowed) == "done"
    assert inspect(allowed.series, "load").of("negative") == []


@pytest.mark.parametrize(("unit", "per_kw"), [("kW", 1.0), ("W", 1000.0)])
def test_only_what_is_a_little_below_0_is_clipped(unit: str, per_kw: float) -> None:
    raw = clean_load(1)
    raw.iloc[100:104] = [-0.01, -0.05, -0.06, 0.01]
    mended = repair(raw * per_kw, ["clip_negative_up_to:0.05"], "load", unit=unit)
    assert mended.series.iloc[100:104].tolist() == [0.0, 0.0, -0.06 * per_kw, 0.01 * per_kw]
    assert mended.changed.sum() == 2
    assert mended.log["note"].iloc[0] == "1 below -0.05 kW stay"


def test_the_log_says_what_was_before_and_after() -> None:
    raw = clean_load(1, 2, 60)
    raw.iloc[5] = -0.5
    row = repair(raw, ["clip_negative_up_to:1"], "load").log.iloc[0]
    assert row["before"].startswith("48 rows, 0 missing, -0.5 to ")
    assert row["after"].startswith("48 rows, 0 missing, 0 to ")
    assert (row["from"], row["to"]) == (raw.index[5], raw.index[6])


@pytest.mark.parametrize(
    ("rules", "field"),
    [
        (["smooth"], "repair"),
        (["fill_gaps_up_to"], "repair"),
        (["fill_gaps_up_to:60"], "repair"),
        (["fill_gaps_up_to:60,cubic"], "fill_gaps_up_to"),
        (["fill_gaps_up_to:soon,linear"], "fill_gaps_up_to"),
        (["fill_gaps_up_to:-5,linear"], "fill_gaps_up_to"),
        (["sort_by_time:now"], "repair"),
        (["local_clock_to_utc:Atlantis"], "timezone"),
        (["scale_unit:W,EUR/kWh"], "scale_unit"),
        (["scale_unit:hp,kW"], "unit"),
        (["difference_register:yearly"], "difference_register"),
        (["mask_stuck:2"], "mask_stuck"),
        (["mask_interpolated:2"], "mask_interpolated"),
        ("sort_by_time", "rules"),
    ],
)
def test_bad_rules_are_named_before_anything_is_done(rules: list[str], field: str) -> None:
    with pytest.raises(InputError) as refused:
        repair(clean_load(1), rules, "load")
    assert refused.value.field == field


def test_bad_arguments_are_named() -> None:
    for arguments in ({"step": "often"}, {"most_share": 5}, {"kind": "loads"}, {"rated_kw": -1}):
        with pytest.raises(InputError) as refused:
            repair(clean_load(1), ["mask_spikes"], **arguments)
        assert refused.value.field == next(iter(arguments))
    with pytest.raises(InputError, match="columns of a frame in turn"):
        repair(clean_load(1).to_frame(), ["mask_spikes"])


def test_repairs_that_need_order_ask_for_it() -> None:
    raw = pd.concat([clean_load(1)] * 2)
    for rule in ("fill_gaps_up_to:60,linear", "difference_register:never"):
        with pytest.raises(InputError, match="begin with sort_by_time"):
            repair(raw, [rule], "load")


def test_every_finding_names_a_repair_that_there_is() -> None:
    for name, rule in RULES.items():
        for way_out in filter(None, rule.repair.split(" or ")):
            assert way_out.partition(":")[0] in REPAIRS, name
            assert len(way_out.partition(":")[2].split(",")) == max(
                1, len(REPAIRS[way_out.partition(":")[0]].parameters)
            )


def test_the_page_has_every_rule_with_its_severity_and_every_repair() -> None:
    page = (Path(__file__).parents[3] / "docs" / "data-quality.md").read_text(encoding="utf-8")
    for name, rule in RULES.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert row.split("|")[2].strip() == rule.severity.value
        for way_out in filter(None, rule.repair.split(" or ")):
            assert f"`{way_out}`" in row
    for each in REPAIRS.values():
        assert f"`{each.name}" in page.partition("## Repairs")[2]


@pytest.mark.parametrize("step", MINUTES)
def test_a_spoilt_file_becomes_what_the_engine_takes(step: int) -> None:
    clean = CLEAN["load"](9, 120, step, "2024-02-01")
    raw = (clean * 1000).tz_convert("Europe/Berlin").tz_localize(None).rename("load_w")
    raw.iloc[200] = np.nan
    raw.iloc[300] = -4.0
    raw = pd.concat([raw, raw.iloc[400:410]]).drop(raw.index[500])
    assert not inspect(raw, timezone="Europe/Berlin", rated_kw=20).is_usable
    mended = repair(
        raw,
        [
            "local_clock_to_utc:Europe/Berlin",
            "sort_by_time",
            "drop_equal_duplicates",
            "scale_unit:W,kW",
            "clip_negative_up_to:0.01",
            f"fill_gaps_up_to:{2 * step},linear",
        ],
        rated_kw=20,
    )
    assert mended.log["outcome"].tolist() == ["done"] * 6
    report = inspect(mended.series, "load", unit=mended.unit, timezone="Europe/Berlin", rated_kw=20)
    assert not report.findings, str(report)
    assert mended.series.index.equals(clean.index)
    assert mended.changed.sum() == 3
    kept = ~mended.changed.to_numpy()
    np.testing.assert_allclose(mended.series[kept], clean[kept])
