"""Hours of a real day as `tidewatt demo` runs them, the emulator in a thread: planned, dispatched, confirmed."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import select

from console.demo import DayRun, InterruptedRunError
from console.emulators import EmulatorProcess
from console.sample import Day, sample_day, sample_site
from engine.intent import IntentMode
from schedules import metering, plans, telemetry
from schedules.store import CommandRow, CommandState, PlanRow, Verdict
from schedules.store.models import UNRESOLVED

DATE = dt.date(2024, 4, 10)
# Three hours from 15:00 local time, in which the best plan charges, holds, follows the house and discharges.
FIRST_QUARTER_HOUR, QUARTER_HOURS = 60, 12


@pytest.fixture(scope="module")
def afternoon() -> Day:
    whole = sample_day(DATE, seed=1)
    series = whole.series.iloc[FIRST_QUARTER_HOUR : FIRST_QUARTER_HOUR + QUARTER_HOURS]
    minutes = whole.house.loc[series.index[0] : series.index[-1] + dt.timedelta(minutes=14)]
    return Day(DATE, 1, series, minutes)


@pytest.fixture
def vendor(serve_vendor, afternoon):
    return serve_vendor("alphaess", site=sample_site(), start=afternoon.begin, house=afternoon.house)


def no_progress(*_: Any) -> None:
    return None


def day_run_of(day: Day, vendor, folder) -> DayRun:
    """A run on one emulated battery, from where its emulator stands."""
    ready = {"adapter": vendor.vendor, "device_id": vendor.place.device_id, "account": vendor.settings}
    (folder / "emulators.jsonl").write_text(json.dumps(ready))
    return DayRun(folder, EmulatorProcess(folder), vendor.place.now, lambda _: day)


def run_day(day: Day, vendor, folder, then: Callable[[DayRun], None], ticks: int | None = None) -> None:
    """Run from where the emulator stands; after so many ticks the process is gone without a word."""

    class Killed(BaseException):
        pass

    async def run() -> None:
        day_run = day_run_of(day, vendor, folder)
        left = ticks

        def stop() -> bool:
            nonlocal left
            if left == 0:
                raise Killed
            left = None if left is None else left - 1
            return False

        try:
            await day_run.run(no_progress, stop)
        except Killed:
            assert ticks is not None
        finally:
            then(day_run)
            await day_run.close()

    asyncio.run(run())


def intents(run: DayRun) -> list:
    return plans.intents_between(run.db, run.homes[0].target.id, run.begin, run.end)


def test_an_afternoon_is_driven_without_a_lapse_confirmed_and_metered(afternoon, vendor, tmp_path):
    def check(run: DayRun) -> None:
        done = intents(run)
        assert len(done) == QUARTER_HOURS
        set_points = [row for row in done if row.mode != IntentMode.SELF_CONSUMPTION.value]
        following = [row for row in done if row.mode == IntentMode.SELF_CONSUMPTION.value]
        assert len(set_points) >= 8
        assert following
        assert {row.mode for row in set_points} >= {"charge", "discharge"}
        assert {row.verdict for row in set_points} == {Verdict.CONFIRMED}
        assert {row.verdict for row in following} <= {Verdict.CONFIRMED, Verdict.DEVICE_LIMITED}
        assert run.homes[0].failures == []
        with run.db.session() as session:
            commands = session.scalars(select(CommandRow).order_by(CommandRow.id)).all()
        assert {row.state for row in commands} == {CommandState.ACCEPTED}
        assert_money_is_that_of_the_counters(run)
        told = [entry for entry in vendor.log.events if entry["event"] in ("started", "renewed", "stopped")]
        assert len(told) == len(commands)

    def assert_money_is_that_of_the_counters(run: DayRun) -> None:
        readings = telemetry.between(run.db, run.homes[0].target.id, afternoon.begin, afternoon.end)
        buy, sell = (afternoon.series[f"{name}_price_eur_per_kwh"] for name in ("import", "export"))
        seen = metering.metered(readings, buy, sell, dt.timedelta(minutes=15), 0.0)
        assert seen.unmetered_intervals == 0
        for name in metering.REGISTERS:
            # Each reading is rounded to a watt-hour.
            assert seen.table[name].sum() == pytest.approx(getattr(vendor.place.plant.registers, name), abs=0.002)

    run_day(afternoon, vendor, tmp_path, check)
    assert vendor.events("lapsed") == []
    assert vendor.cloud.system(vendor.place.device_id).lapse_s == 0
    assert vendor.place.released


@pytest.mark.parametrize("ticks", [7, 301])
def test_a_run_that_is_killed_is_taken_up_without_a_lapse(afternoon, vendor, tmp_path, ticks):
    def nothing(_: DayRun) -> None:
        return None

    def check(run: DayRun) -> None:
        with run.db.session() as session:
            assert session.scalars(select(CommandRow).where(CommandRow.state.in_(UNRESOLVED))).all() == []
            reasons = list(session.scalars(select(PlanRow.why).order_by(PlanRow.id)))
        assert reasons[0] == "start", "the plan in force goes on"
        begun = [row for row in intents(run) if row.mode != IntentMode.SELF_CONSUMPTION.value]
        assert begun
        assert {row.verdict for row in begun} == {Verdict.CONFIRMED}

    run_day(afternoon, vendor, tmp_path, nothing, ticks=ticks)
    assert vendor.place.now < afternoon.end
    run_day(afternoon, vendor, tmp_path, check)
    assert vendor.events("lapsed") == []
    assert vendor.place.released


def test_a_run_that_is_interrupted_leaves_the_battery_to_itself(afternoon, vendor, tmp_path):
    calls = iter([False] * 40 + [True])

    async def run() -> None:
        day_run = day_run_of(afternoon, vendor, tmp_path)
        with pytest.raises(InterruptedRunError):
            await day_run.run(no_progress, lambda: next(calls))
        assert vendor.place.released
        await day_run.close()

    asyncio.run(run())
    assert vendor.events("lapsed") == []
