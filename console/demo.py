"""`tidewatt demo`: one real day, planned, dispatched to an emulated battery, confirmed by telemetry.

The emulator is a process of its own, as a vendor's cloud is: killing the demonstration does not kill the battery. Time
is stepped, not scaled: the emulator moves on only when everything due has been done, so a slow machine never makes
a command lapse. All state is in the run's folder; a run that was killed is taken up again where it stopped.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd

from adapters import registry
from adapters.contract import AdapterError, Channel
from adapters.emulation import EmulatorControl, with_fluctuation
from console.sample import QUARTER_HOUR, sample_series, sample_site
from engine import TidewattError
from schedules import jobs, telemetry
from schedules.clock import SimulatedClock
from schedules.dispatch import Dispatcher
from schedules.sites import ControlledSite, register_site
from schedules.store import Database

TICK = dt.timedelta(seconds=15)
READ_POWER_S = 60
READ_STATE_S = 300
INITIAL_SOC = 0.5
FINAL_SOC_MIN = 0.5
# Further from the plan than this, plan again from what is seen [fraction].
REPLAN_BEYOND_SOC = 0.05
EMULATOR_START_S = 60.0
EMULATOR_IDLE_EXIT_S = 300.0

Progress = Callable[[float, str], None]


class Interrupted(Exception):
    """Somebody asked the demonstration to stop; the battery has been released."""


@dataclass(frozen=True)
class Day:
    """The day that is run, and the house that it is run on."""

    date: dt.date
    seed: int
    series: pd.DataFrame
    """Prices and forecasts at 15 minutes."""
    house: pd.DataFrame
    """What load and PV turn out to be, by the minute."""

    @property
    def begin(self) -> dt.datetime:
        """The start of the day, UTC."""
        begin: dt.datetime = self.series.index[0].to_pydatetime()
        return begin

    @property
    def end(self) -> dt.datetime:
        """The end of the day, UTC."""
        end: dt.datetime = (self.series.index[-1] + QUARTER_HOUR).to_pydatetime()
        return end


def load_day(date: dt.date, seed: int) -> Day:
    """A day of the sample with its minutes."""
    series = sample_series(date)
    house = with_fluctuation(series[["load_kw", "pv_kw"]], pd.Timedelta(minutes=1), seed)
    return Day(date, seed, series, house)


class Emulator:
    """The emulator's process, ours or one that an earlier run left behind."""

    def __init__(self, folder: Path, ready: dict[str, Any]) -> None:
        self.folder = folder
        self.ready = ready
        self.control = EmulatorControl(ready["account"]["base_url"])

    @classmethod
    def start(cls, folder: Path, day: Day) -> Emulator:
        """Start a process that outlives this one, and wait until it listens."""
        ready_file = folder / "emulator.json"
        command = [
            *(sys.executable, "-m", "console", "emulate", "alphaess", "--stepped"),
            *("--day", day.date.isoformat(), "--seed", str(day.seed)),
            *("--initial-soc", str(INITIAL_SOC), "--ready-file", str(ready_file)),
            *("--log", str(folder / "emulator-log.jsonl"), "--idle-exit-s", str(EMULATOR_IDLE_EXIT_S)),
        ]
        with (folder / "emulator-output.txt").open("wb") as output:
            # A session of its own: the terminal's Ctrl-C is for the demonstration, which still has to release.
            process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + EMULATOR_START_S
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TidewattError(
                    f"emulator: it did not start (exit {process.poll()}); see {folder / 'emulator-output.txt'}"
                )
            time.sleep(0.05)
        return cls(folder, json.loads(ready_file.read_text(encoding="utf-8")))

    @classmethod
    async def left_behind(cls, folder: Path) -> Emulator | None:
        """The emulator of a run that was killed, if it still answers."""
        ready_file = folder / "emulator.json"
        if not ready_file.exists():
            return None
        emulator = cls(folder, json.loads(ready_file.read_text(encoding="utf-8")))
        try:
            await emulator.control.state()
        except AdapterError:
            ready_file.unlink()
            await emulator.control.close()
            return None
        return emulator

    async def stop(self) -> None:
        """End the process; the run is over."""
        await self.control.close()
        (self.folder / "emulator.json").unlink(missing_ok=True)
        try:
            os.kill(self.ready["pid"], signal.SIGTERM)
        except ProcessLookupError:
            return


class DayRun:
    """One day under way: planning, dispatching, reading, confirming, step by step."""

    def __init__(self, day: Day, folder: Path, emulator: Emulator, now: dt.datetime) -> None:
        self.day = day
        self.emulator = emulator
        self.clock = SimulatedClock(now)
        self.db = Database.at(folder / "tidewatt.sqlite")
        adapter_name = emulator.ready["adapter"]
        self.adapter = registry.factory(adapter_name)(emulator.ready["account"], self.clock)
        self.target: ControlledSite = register_site(
            self.db, sample_site(), self.adapter, adapter_name, emulator.ready["device_id"]
        )
        self.dispatcher = Dispatcher(self.db, self.clock, self.target)
        self.failed_reads = 0

    async def run(self, progress: Progress, stop: Callable[[], bool]) -> None:
        """Run to the end of the day.

        Raises:
            Interrupted: `stop` said so; the battery has been released.
        """
        begin, length = self.day.begin, self.day.end - self.day.begin
        await self._take_up()
        while self.clock() < self.day.end:
            if stop():
                await self._let_go()
                raise Interrupted
            await self._act()
            progress((self.clock() - begin) / length, f"{self.clock().astimezone(self._zone()):%H:%M}")
            await self._step_to(min(self.clock() + TICK, self.day.end))
        await self._act()

    async def close(self) -> None:
        """Close connections and store."""
        await self.adapter.close()
        self.db.close()

    async def _take_up(self) -> None:
        """Read the device before anything is sent, settle what a killed run left open, then plan."""
        await self._read(Channel.POWER)
        await self._read(Channel.STATE)
        resumed = jobs.first_plan(self.db, self.target.id, self.day.begin) is not None
        await self.dispatcher.resolve_unknown()
        if self.clock() < self.day.end - QUARTER_HOUR:
            self._plan("taken up after a stop" if resumed else "start of the day")

    async def _act(self) -> None:
        """Everything that is due at this moment."""
        second = int(self.clock().timestamp())
        if second % READ_POWER_S == 0:
            await self._read(Channel.POWER)
        if second % READ_STATE_S == 0:
            await self._read(Channel.STATE)
            jobs.confirm(self.db, self.clock, self.target)
        if second % int(QUARTER_HOUR.total_seconds()) == 0 and self.clock() < self.day.end:
            deviation = jobs.soc_deviation(self.db, self.target)
            if deviation is not None and abs(deviation) > REPLAN_BEYOND_SOC:
                self._plan(f"state of charge {deviation:+.1%} off the plan")
        try:
            await self.dispatcher.tick()
        except AdapterError:
            self.failed_reads += 1

    async def _read(self, channel: Channel) -> None:
        try:
            await telemetry.read_telemetry(self.db, self.clock, self.target, channel)
        except AdapterError:
            # Missing is missing: the gap shows in the report, and nothing is planned from a guess.
            self.failed_reads += 1

    async def _step_to(self, target: dt.datetime) -> None:
        await self.emulator.control.step_to(target)
        self.clock.move_to(target)

    async def _let_go(self) -> None:
        await self.dispatcher.release()
        # The receipt is no proof: let the battery's clock run until its readings can show the release.
        await self._step_to(self.clock() + 2 * TICK)
        await self._read(Channel.POWER)

    def _plan(self, why: str) -> None:
        jobs.plan_site(self.db, self.clock, self.target, self.day.series, why, FINAL_SOC_MIN)

    def _zone(self) -> dt.tzinfo:
        return ZoneInfo(self.target.site.timezone)


async def open_run(root: Path, day: Day) -> DayRun:
    """Take up the run that was killed last, if its battery is still there; else begin a new one.

    Args:
        root: Where runs keep their folders.
        day: The day for a new run.
    """
    runs = sorted(root.glob("run-*"))
    if runs:
        emulator = await Emulator.left_behind(runs[-1])
        if emulator is not None:
            now = dt.datetime.fromisoformat((await emulator.control.state())["now"])
            left = load_day(dt.date.fromisoformat(emulator.ready["day"]), emulator.ready["seed"])
            return DayRun(left, runs[-1], emulator, now)
    number = int(runs[-1].name.removeprefix("run-")) + 1 if runs else 1
    folder = root / f"run-{number:04d}"
    folder.mkdir(parents=True)
    emulator = await asyncio.to_thread(Emulator.start, folder, day)
    return DayRun(day, folder, emulator, day.begin)
