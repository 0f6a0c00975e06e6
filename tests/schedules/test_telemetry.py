from __future__ import annotations

import asyncio
import datetime as dt
import math

import pandas as pd
import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError, StatementError

from adapters.contract import Channel, Registers, Telemetry, VendorUnavailableError
from schedules.sites import ControlledSite, register_site
from schedules.store import TelemetryRow
from schedules.telemetry import between, frame, latest, read_telemetry

MORNING = dt.datetime(2024, 4, 10, 9, 0, tzinfo=dt.UTC)


class FixedReading:
    """A vendor that shows one reading until told another."""

    def __init__(self, reading: Telemetry | None) -> None:
        self.reading = reading

    async def read(self, device, channel):
        assert device.device_id == "B1"
        return self.reading if self.reading is None or self.reading.channel is channel else None


def after(seconds: float) -> dt.datetime:
    return MORNING + dt.timedelta(seconds=seconds)


def power(seconds: float, battery_kw: float | None = 1.0) -> Telemetry:
    return Telemetry(Channel.POWER, after(seconds), battery_kw=battery_kw)


def state(seconds: float, soc: float | None = 0.5) -> Telemetry:
    return Telemetry(Channel.STATE, after(seconds), battery_kw=1.0, soc=soc)


def store(bench, reading: Telemetry | None, channel: Channel = Channel.POWER, site_id: int | None = None):
    target = bench.target
    vendor = FixedReading(reading)
    shown = ControlledSite(site_id or target.id, target.account_id, target.site, target.device, vendor)
    return asyncio.run(read_telemetry(bench.db, bench.clock, shown, channel))


def rows(bench) -> list[TelemetryRow]:
    with bench.db.session() as session:
        return list(session.scalars(select(TelemetryRow).order_by(TelemetryRow.id)))


def test_a_reading_is_handed_back_and_kept(bench):
    reading = Telemetry(
        Channel.STATE,
        MORNING,
        battery_kw=-2.5,
        grid_kw=3.25,
        pv_kw=0.0,
        load_kw=0.75,
        soc=0.431,
        charge_limit_kw=4.0,
        discharge_limit_kw=3.0,
        registers=Registers(1.5, 2.5, 3.5, 4.5),
        dispatch_active=True,
    )
    assert store(bench, reading, Channel.STATE) == reading
    assert latest(bench.db, bench.target.id, Channel.STATE) == reading


def test_a_repeated_vendor_row_is_stored_once(bench):
    bench.clock.move_to(bench.at(60))
    store(bench, power(0))
    bench.clock.move_to(bench.at(120))
    assert store(bench, power(0)) == power(0)
    (row,) = rows(bench)
    assert row.measured_at == MORNING
    assert row.received_at == bench.at(60)


def test_a_repeated_row_with_other_values_does_not_rewrite_the_first(bench):
    store(bench, power(0, 1.0))
    store(bench, power(0, 9.0))
    assert [row.battery_kw for row in rows(bench)] == [1.0]


def test_the_same_moment_on_two_channels_is_two_rows(bench):
    store(bench, power(0))
    store(bench, state(0), Channel.STATE)
    assert [row.channel for row in rows(bench)] == ["power", "state"]


def test_the_same_moment_of_two_sites_is_two_rows(bench, site):
    other = register_site(bench.db, site.model_copy(update={"name": "other"}), bench.vendor, "scripted", "B1")
    store(bench, power(0, 1.0))
    store(bench, power(0, 2.0), site_id=other.id)
    seen = [latest(bench.db, number, Channel.POWER).battery_kw for number in (bench.target.id, other.id)]
    assert seen == [1.0, 2.0]


def test_the_age_of_a_reading_is_the_vendors_not_that_of_the_call(bench):
    bench.clock.move_to(after(3600))
    store(bench, power(0))
    assert latest(bench.db, bench.target.id, Channel.POWER).measured_at == MORNING


def test_no_reading_is_none_and_stores_nothing(bench):
    assert store(bench, None) is None
    assert rows(bench) == []
    assert latest(bench.db, bench.target.id, Channel.POWER) is None


def test_a_reading_that_could_not_be_had_raises_and_stores_nothing(bench):
    bench.vendor.telemetry_fails = True
    with pytest.raises(VendorUnavailableError):
        asyncio.run(read_telemetry(bench.db, bench.clock, bench.target, Channel.POWER))
    assert rows(bench) == []


def test_what_is_missing_stays_none_and_never_becomes_0(bench):
    store(bench, Telemetry(Channel.POWER, MORNING, battery_kw=0.0))
    seen = latest(bench.db, bench.target.id, Channel.POWER)
    assert seen.battery_kw == 0.0
    for name in ("grid_kw", "pv_kw", "load_kw", "soc", "charge_limit_kw", "discharge_limit_kw", "dispatch_active"):
        assert getattr(seen, name) is None
    assert seen.registers == Registers(None, None, None, None)


def test_not_a_number_is_missing_too(bench):
    store(bench, power(0, math.nan))
    assert latest(bench.db, bench.target.id, Channel.POWER).battery_kw is None


def test_false_and_0_are_values_not_gaps(bench):
    store(bench, Telemetry(Channel.POWER, MORNING, pv_kw=0.0, dispatch_active=False, registers=Registers(0.0)))
    seen = latest(bench.db, bench.target.id, Channel.POWER)
    assert (seen.pv_kw, seen.dispatch_active, seen.registers.import_kwh) == (0.0, False, 0.0)


def test_a_reading_of_a_site_that_is_not_in_the_store_is_not_dropped_in_silence(bench):
    with pytest.raises(IntegrityError):
        store(bench, power(0), site_id=99)


def test_latest_is_by_the_vendors_time_not_by_the_order_of_arrival(bench):
    for seconds in (20, 40, 30):
        store(bench, power(seconds, seconds / 10))
    assert latest(bench.db, bench.target.id, Channel.POWER) == power(40, 4.0)


def test_latest_of_a_channel_does_not_see_the_other(bench):
    store(bench, state(0), Channel.STATE)
    store(bench, power(60))
    assert latest(bench.db, bench.target.id, Channel.STATE) == state(0)
    assert latest(bench.db, bench.target.id, Channel.POWER) == power(60)


def test_between_takes_both_ends_and_sorts_by_the_vendors_time(bench):
    for seconds in (90, 0, 60, 30, 120):
        store(bench, power(seconds))
    seen = between(bench.db, bench.target.id, after(30), after(90))
    assert [reading.measured_at for reading in seen] == [after(30), after(60), after(90)]


def test_between_gives_both_channels(bench):
    store(bench, power(10))
    store(bench, state(20), Channel.STATE)
    seen = between(bench.db, bench.target.id, MORNING, after(60))
    assert [reading.channel for reading in seen] == [Channel.POWER, Channel.STATE]


def test_between_sees_one_site_only(bench):
    store(bench, power(10))
    assert between(bench.db, bench.target.id + 1, MORNING, after(60)) == []


def test_between_refuses_naive_times(bench):
    with pytest.raises(StatementError, match="has no zone"):
        between(bench.db, bench.target.id, MORNING.replace(tzinfo=None), after(60))


def test_frame_has_one_row_per_reading_of_its_channel():
    table = frame([power(0, 1.0), state(5), power(10, 2.0)], Channel.POWER)
    assert list(table["battery_kw"]) == [1.0, 2.0]
    assert list(table.index) == [pd.Timestamp(MORNING), pd.Timestamp(after(10))]


def test_frame_is_indexed_by_aware_utc():
    table = frame([power(0)], Channel.POWER)
    assert isinstance(table.index, pd.DatetimeIndex)
    assert table.index.name == "measured_at"
    assert str(table.index.tz) == "UTC"


def test_frame_has_nan_where_a_value_is_missing_and_never_0():
    table = frame([power(0, 1.0), power(10, None), power(20, 0.0)], Channel.POWER)
    assert list(table["battery_kw"].isna()) == [False, True, False]
    assert table["battery_kw"].iloc[2] == 0.0
    assert table["battery_kw"].mean() == 0.5
    assert table["soc"].isna().all()
    assert table["import_kwh"].isna().all()


def test_frame_carries_the_registers():
    reading = Telemetry(Channel.STATE, MORNING, registers=Registers(1.0, 2.0, None, 4.0))
    row = frame([reading], Channel.STATE).astype(float).iloc[0]
    assert (row["import_kwh"], row["export_kwh"], row["discharge_kwh"]) == (1.0, 2.0, 4.0)
    assert math.isnan(row["charge_kwh"])


def test_frame_of_nothing_is_empty_with_all_columns():
    table = frame([], Channel.POWER)
    assert len(table) == 0
    assert str(table.index.tz) == "UTC"
    assert {"battery_kw", "soc", "import_kwh", "discharge_kwh"} <= set(table.columns)
