"""Days of the datalogger, both clock changes included (sections 7.4 to 7.6)."""

from __future__ import annotations

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.contract import VendorUnavailableError
from adapters.ingeteam.datalogger import samples

MADRID = ZoneInfo("Europe/Madrid")
UTC = dt.UTC
STEP = dt.timedelta(minutes=3)


def rows_of(begin, end, phases=(1,), zone=MADRID):
    """What a device logs from one moment to another, by its own wall clock."""
    rows, at = [], begin
    while at < end:
        local = at.astimezone(zone)
        rows += [
            {"Date": f"{local:%Y-%m-%d %H:%M:%S}", "Phase": phase, "W": 10 * phase, "cons": 5, "soc": 50}
            for phase in phases
        ]
        at += STEP
    return rows


def day_of(day, zone=MADRID):
    begin = dt.datetime.combine(day, dt.time(), zone).astimezone(UTC)
    end = dt.datetime.combine(day + dt.timedelta(days=1), dt.time(), zone).astimezone(UTC)
    return begin, end


def test_the_example_of_7_6(examples):
    found = samples(examples("datalogger"), MADRID)

    assert [sample.at for sample in found] == [
        dt.datetime(2023, 9, 4, 22, 0, tzinfo=UTC),
        dt.datetime(2023, 9, 4, 22, 3, tzinfo=UTC),
        dt.datetime(2023, 9, 4, 22, 6, tzinfo=UTC),
        dt.datetime(2023, 9, 5, 21, 57, tzinfo=UTC),
    ]
    first, last = found[0].reading, found[-1].reading
    assert (first.grid_kw, first.load_kw, first.pv_kw, first.soc) == (0.02, 0.002, 0.0, 0.98)
    assert first.battery_kw is None, "the datalogger has no battery power"
    assert (last.grid_kw, last.load_kw) == (0.0, 0.03)


@pytest.mark.parametrize(
    ("day", "count"),
    [(dt.date(2024, 5, 1), 480), (dt.date(2024, 3, 31), 460), (dt.date(2024, 10, 27), 500)],
    ids=["an ordinary day", "the short day", "the long day"],
)
@pytest.mark.parametrize("phases", [(1,), (4,), (1, 2, 3), (1, 2, 3, 4)])
def test_every_moment_of_a_day_is_dated_right(day, count, phases):
    begin, end = day_of(day)

    found = samples(rows_of(begin, end, phases), MADRID)

    assert [sample.at for sample in found] == [begin + place * STEP for place in range(count)]
    watts = 40 if 4 in phases else sum(10 * phase for phase in phases)
    assert {sample.reading.grid_kw for sample in found} == {watts / 1000}


@pytest.mark.parametrize("day", [dt.date(2024, 3, 31), dt.date(2024, 10, 27)])
def test_a_day_phase_after_phase_is_dated_right_too(day):
    begin, end = day_of(day)
    rows = [row for phase in (1, 2, 3) for row in rows_of(begin, end, (phase,))]

    assert samples(rows, MADRID) == samples(rows_of(begin, end, (1, 2, 3)), MADRID)


@pytest.mark.parametrize("zone", ["Australia/Lord_Howe", "America/New_York", "Europe/Copenhagen"])
@pytest.mark.parametrize("day", [dt.date(2024, 4, 7), dt.date(2024, 10, 6), dt.date(2024, 11, 3), dt.date(2024, 3, 10)])
def test_other_zones_change_their_clocks_otherwise(zone, day):
    begin, end = day_of(day, ZoneInfo(zone))

    found = samples(rows_of(begin, end, zone=ZoneInfo(zone)), ZoneInfo(zone))

    assert [sample.at for sample in found] == [begin + place * STEP for place in range((end - begin) // STEP)]


def test_a_gap_before_the_repeated_hour_moves_nothing_after_it():
    begin, end = day_of(dt.date(2024, 10, 27))
    rows = rows_of(begin, end)
    del rows[10:30]

    found = samples(rows, MADRID)

    assert len(found) == 480
    assert found[-1].at == end - STEP


def test_an_hour_that_the_clock_jumped_over_is_no_time(caplog):
    rows = [{"Date": f"2024-03-31 0{hour}:30:00", "Phase": 4, "W": 1} for hour in (1, 2, 3)]

    assert [sample.at.hour for sample in samples(rows, MADRID)] == [0, 1]
    assert "1 rows without a readable time" in caplog.text


def test_a_zone_in_the_date_is_believed():
    (sample,) = samples([{"Date": "2024-05-01T12:00:00+00:00", "Phase": 4, "W": 1}], MADRID)

    assert sample.at == dt.datetime(2024, 5, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize("date", [None, "", "soon", 5, "0001-01-01 00:00:00+14:00", [], True])
def test_a_row_without_readable_time_is_left_out(date):
    rows = [{"Date": date, "Phase": 4, "W": 1}, {"Date": "2024-05-01 12:00:00", "Phase": 4, "W": 2}]

    assert [sample.reading.grid_kw for sample in samples(rows, MADRID)] == [0.002]


def test_a_moment_with_two_aggregates_is_left_out(caplog):
    rows = [{"Date": f"2024-05-01 12:0{m}:00", "Phase": 4, "W": 1} for m in (0, 0, 3)]

    assert [sample.at.minute for sample in samples(rows, MADRID)] == [3]
    assert "1 moments without readable phases" in caplog.text


@pytest.mark.parametrize("content", [None, {}, {"code": "error"}, 5, "x"])
def test_a_day_that_is_no_list_is_refused(content):
    with pytest.raises(VendorUnavailableError, match="datalogger"):
        samples(content, MADRID)


def test_an_empty_day_is_empty():
    assert samples([], MADRID) == []


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
some_row = st.fixed_dictionaries(
    {"Date": st.datetimes().map(str) | anything, "Phase": st.integers(1, 4) | anything},
    optional={"W": anything, "cons": anything, "pv": anything, "soc": anything},
)


@settings(max_examples=2000)
@given(content=anything | st.lists(some_row | anything, max_size=5))
def test_no_day_does_more_than_being_refused(content):
    try:
        found = samples(content, MADRID)
    except VendorUnavailableError:
        return

    assert [sample.at for sample in found] == sorted({sample.at for sample in found})
    assert all(sample.at.utcoffset() == dt.timedelta(0) for sample in found)
