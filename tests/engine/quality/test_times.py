"""Times that are wrong: gaps, repetitions, disorder, clocks, labels. Each is found where it was put, nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from engine import InputError
from engine.quality import Finding, QualityReport, Severity, inspect
from engine.quality.clock import clock_changes
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


def only(report: QualityReport) -> Finding:
    """The one finding that there is."""
    assert len(report.findings) == 1, str(report)
    return report.findings[0]


def parts(finding: Finding) -> list[tuple[pd.Timestamp, pd.Timestamp, int]]:
    return [(each.start, each.end, each.count) for each in finding.stretches]


@pytest.mark.parametrize("kind", CLEAN)
@pytest.mark.parametrize("step", MINUTES)
@settings(max_examples=10, deadline=None)
@given(seed=seeds, days=st.integers(15, 200))
def test_nothing_is_found_in_clean_series(kind: str, step: int, seed: int, days: int) -> None:
    series = CLEAN[kind](seed, days, step)
    zone, latitude, longitude = PLACES[0]
    report = inspect(
        series, kind, timezone=zone, rated_kw=5 if kind == "pv" else 12, latitude=latitude, longitude=longitude
    )
    assert not report.findings, str(report)
    assert report.is_usable
    assert str(report).endswith("\nusable")


@given(seed=seeds, step=minutes, data=st.data())
@settings(max_examples=12, deadline=None)
def test_missing_rows_are_found_with_their_interval(seed: int, step: int, data: st.DataObject) -> None:
    series = clean_load(seed, 20, step)
    gap = data.draw(stretches(len(series), most=48))
    kept = series.drop(series.index[gap])
    finding = only(inspect(kept, "load"))
    assert finding.rule == "missing_rows"
    assert parts(finding) == [(series.index[gap.start], series.index[gap.stop], gap.stop - gap.start)]
    assert finding.worst == (gap.stop - gap.start) * step
    assert finding.share == pytest.approx((gap.stop - gap.start) / len(series))


@given(seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_missing_values_are_found_with_their_interval(seed: int, data: st.DataObject) -> None:
    series = clean_load(seed, 20)
    gap = data.draw(stretches(len(series)))
    series.iloc[gap] = np.nan
    finding = only(inspect(series, "load"))
    assert finding.rule == "missing_values"
    assert parts(finding) == [(series.index[gap.start], series.index[gap.stop], gap.stop - gap.start)]


@given(seed=seeds, data=st.data(), differing=st.booleans())
@settings(max_examples=12, deadline=None)
def test_repeated_times_are_found_and_told_apart(seed: int, data: st.DataObject, differing: bool) -> None:
    series = clean_load(seed, 20)
    again = data.draw(stretches(len(series)))
    copy = series.iloc[again] + (0.5 if differing else 0.0)
    finding = only(inspect(pd.concat([series, copy]).sort_index(kind="stable"), "load"))
    assert finding.rule == ("conflicting_duplicates" if differing else "equal_duplicates")
    count = 2 * (again.stop - again.start)
    assert parts(finding) == [(series.index[again.start], series.index[again.stop], count)]
    assert finding.worst == 2


@given(seed=seeds, data=st.data())
@settings(max_examples=12, deadline=None)
def test_rows_out_of_order_are_found(seed: int, data: st.DataObject) -> None:
    series = clean_load(seed, 20)
    moved = data.draw(stretches(len(series) - 50))
    late = data.draw(st.integers(moved.stop + 1, len(series)))
    shuffled = pd.concat(
        [series.iloc[: moved.start], series.iloc[moved.stop : late], series.iloc[moved], series.iloc[late:]]
    )
    finding = only(inspect(shuffled, "load"))
    assert finding.rule == "unsorted"
    assert parts(finding) == [(series.index[moved.start], series.index[moved.stop], moved.stop - moved.start)]


def test_times_between_the_steps_are_found() -> None:
    series = clean_load(1)
    times = series.index.to_list()
    times[7] += pd.Timedelta(seconds=3)
    report = inspect(series.set_axis(pd.DatetimeIndex(times)), "load")
    assert [each.rule for each in report.findings] == ["missing_rows", "off_grid"]
    assert report.of("off_grid")[0].start == series.index[7] + pd.Timedelta(seconds=3)


def test_a_step_that_does_not_divide_the_hour_is_found() -> None:
    series = clean_load(1)
    index = pd.date_range("2024-01-01", periods=len(series), freq="7min", tz="UTC")
    finding = only(inspect(series.set_axis(index), "load"))
    assert (finding.rule, finding.worst) == ("odd_step", 7)


def test_rows_without_a_time_are_found() -> None:
    series = clean_load(1)
    times = series.index.to_list()
    times[5] = pd.NaT
    report = inspect(series.set_axis(pd.DatetimeIndex(times)), "load")
    assert [(each.rule, each.count) for each in report.findings] == [("missing_stamps", 1), ("missing_rows", 1)]


def test_times_without_a_zone_are_an_error_that_says_what_they_are_not() -> None:
    naive = clean_load(1, 60).tz_localize(None)
    finding = only(inspect(naive, "load"))
    assert (finding.rule, finding.repair) == ("naive_stamps", "naive_is_utc or local_clock_to_utc:ZONE")
    finding = only(inspect(naive, "load", timezone="Europe/Copenhagen"))
    assert "do not follow the clock of Europe/Copenhagen" in finding.meaning


@given(seed=seeds, step=minutes, place=st.sampled_from(PLACES), naive=st.booleans(), begin_day=st.integers(0, 300))
@settings(max_examples=25, deadline=None)
def test_a_local_clock_is_told_by_the_hours_it_leaves_out_and_doubles(
    seed: int, step: int, place: tuple[str, float, float], naive: bool, begin_day: int
) -> None:
    begin = pd.Timestamp("2023-01-01") + pd.Timedelta(days=begin_day)
    series = clean_load(seed, 120, step, f"{begin:%Y-%m-%d}")
    changes = clock_changes(series.index[0], series.index[-1], place[0])
    edge = pd.Timedelta(days=1)
    assume(any(series.index[0] + edge < change.at < series.index[-1] - edge for change in changes))
    wall = series.tz_convert(place[0]).tz_localize(None)
    report = inspect(wall if naive else wall.tz_localize("UTC"), "load", timezone=place[0])
    finding = only(report)
    assert finding.rule == ("naive_stamps" if naive else "local_clock")
    assert finding.repair == f"local_clock_to_utc:{place[0]}"
    assert (report.begin, report.end) == (series.index[0], series.index[-1] + pd.Timedelta(minutes=step))


def test_an_hour_doubled_by_chance_is_no_local_clock_where_spring_has_all_its_hours() -> None:
    series = clean_load(3, 300, 30, "2023-02-01")
    back = clock_changes(series.index[0], series.index[-1], "Europe/Copenhagen")[1]
    doubled = series[(series.index.tz_localize(None) >= back.wall[0]) & (series.index.tz_localize(None) < back.wall[1])]
    finding = only(inspect(pd.concat([series, doubled]).sort_index(), "load", timezone="Europe/Copenhagen"))
    assert finding.rule == "equal_duplicates"


@given(seed=seeds, step=minutes, place=st.integers(0, 3))
@settings(max_examples=25, deadline=None)
def test_a_local_clock_with_24_hours_every_day_is_told_by_the_noon_of_pv(seed: int, step: int, place: int) -> None:
    zone = PLACES[place][0]
    series = clean_pv(seed, 300, step, "2023-02-01", place)
    finding = only(inspect(_local_days_of_24_hours(series, zone), "pv", timezone=zone))
    assert (finding.rule, finding.repair) == ("local_clock", f"local_clock_to_utc:{zone}")
    assert "noon of PV" in finding.meaning


def _local_days_of_24_hours(series: pd.Series, zone: str) -> pd.Series:
    """As many exports write it: the doubled hour once, the missing one filled; called UTC."""
    wall = series.tz_convert(zone).tz_localize(None)
    wall = wall[~wall.index.duplicated()]
    step = series.index[1] - series.index[0]
    return wall.asfreq(step).ffill().tz_localize("UTC")


@pytest.mark.parametrize("step", MINUTES)
@pytest.mark.parametrize("place", [0, 3])
def test_the_clock_change_of_a_source_with_24_hours_is_found_where_it_was_filled(step: int, place: int) -> None:
    zone = PLACES[place][0]
    series = clean_load(5, 300, step, "2023-02-01")
    back = next(each for each in clock_changes(series.index[0], series.index[-1], zone) if not each.is_forward)
    hour = (series.index >= back.at) & (series.index < back.at + pd.Timedelta(hours=1))
    series[hour] = series[series.index < back.at].iloc[-1]
    finding = only(inspect(series, "load", timezone=zone))
    assert (finding.rule, finding.severity) == ("clock_change", Severity.WARNING)
    assert parts(finding) == [(back.at, back.at + pd.Timedelta(hours=1), 60 // step)]
    series[hour] = np.nan
    assert [each.rule for each in inspect(series, "load", timezone=zone).findings] == ["missing_values", "clock_change"]
    series = series[~hour]
    assert [each.rule for each in inspect(series, "load", timezone=zone).findings] == ["missing_rows", "clock_change"]


@given(seed=seeds, place=st.integers(0, 3), step=st.sampled_from([30, 60]))
@settings(max_examples=12, deadline=None)
def test_labels_a_step_off_are_told_by_the_sun(seed: int, place: int, step: int) -> None:
    _, latitude, longitude = PLACES[place]
    series = clean_pv(seed, 365, step, "2023-01-01", place)
    begin_of_day = {"latitude": latitude, "longitude": longitude}
    later = series.set_axis(series.index + pd.Timedelta(minutes=step))
    assert inspect(later, "pv", **begin_of_day).of("end_labels", "pv_kw")
    earlier = series.set_axis(series.index - pd.Timedelta(minutes=step))
    assert inspect(earlier, "pv", **begin_of_day).of("early_labels")


@pytest.mark.parametrize("zone", ["UTC", "Europe/Copenhagen"])
def test_labels_at_the_ends_are_hinted_at_by_the_first_and_the_last(zone: str) -> None:
    index = pd.date_range("2024-01-10", "2024-02-10", freq="15min", tz=zone, inclusive="right").tz_convert("UTC")
    series = clean_price(1, 60, 15).iloc[: len(index)].set_axis(index)
    finding = only(inspect(series, timezone=zone))
    assert (finding.rule, finding.severity) == ("end_labels", Severity.HINT)
    assert inspect(series, timezone=zone).is_usable


def test_what_cannot_be_looked_at_is_said() -> None:
    frame = pd.DataFrame({"pv_kw": clean_pv(1), "humidity": clean_load(1)})
    said = inspect(frame).not_looked_at
    assert [each.split(";")[1].strip() for each in said] == [
        "give the time zone of the place",
        "give latitude and longitude",
        "give its kind",
    ]


@pytest.mark.parametrize(
    ("raw", "arguments", "field"),
    [
        ([1.0], {}, "raw"),
        (pd.Series([1.0, 2.0]), {}, "raw.index"),
        (clean_load(1)[:0], {}, "raw"),
        (clean_load(1)[:1], {}, "step"),
        (clean_load(1), {"kind": "loads"}, "kind"),
        (clean_load(1), {"unit": "hp"}, "unit"),
        (clean_load(1), {"unit": "EUR/kWh"}, "unit"),
        (clean_load(1), {"timezone": "Europe/Atlantis"}, "timezone"),
        (clean_load(1), {"rated_kw": 0}, "rated_kw"),
        (clean_load(1), {"latitude": 55.0}, "latitude"),
        (clean_load(1), {"step": "often"}, "step"),
        (clean_load(1), {"step": "0min"}, "step"),
        (pd.concat([clean_load(1)] * 2, axis=1), {}, "raw.columns"),
    ],
)
def test_bad_arguments_are_named(raw: object, arguments: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as refused:
        inspect(raw, **arguments)  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_stray_time_does_not_become_millions_of_rows() -> None:
    series = clean_load(1)
    index = series.index[:-1].append(pd.DatetimeIndex([series.index[-1] - pd.Timedelta(days=365 * 200)]))
    with pytest.raises(InputError, match="stray"):
        inspect(series.set_axis(index), "load", step="5min")
