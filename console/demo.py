"""`tidewatt demo`: one real day, planned, dispatched to an emulated battery, confirmed by telemetry.

The emulator is a process of its own, as a vendor's cloud is: killing the demonstration does not kill the battery. Time
is stepped, not scaled: the emulator moves on only when everything due has been done, so a slow machine never makes
a command lapse. All state is in the run's folder; a run that was killed is taken up again where it stopped.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from adapters import registry
from adapters.contract import AdapterError
from adapters.emulation import EmulatorControl
from console.sample import DEFAULT_DAY, Day, sample_day, sample_site
from engine import InputError, TidewattError
from schedules.clock import SimulatedClock
from schedules.runner import SiteRunner
from schedules.sites import register_site
from schedules.store import Database

TICK_S = 15
INITIAL_SOC = 0.5
FINAL_SOC_MIN = 0.5
EMULATOR_START_S = 60.0
EMULATOR_IDLE_EXIT_S = 300.0

Progress = Callable[[float, dt.datetime], None]


class InterruptedRunError(TidewattError):
    """Somebody asked the demonstration to stop; says whether the battery was seen to be released."""


class EmulatorProcess:
    """The emulator's process, ours or one that an earlier run left behind."""

    def __init__(self, folder: Path, ready: dict[str, Any]) -> None:
        self.folder = folder
        self.ready = ready
        self.control = EmulatorControl(ready["account"]["base_url"])

    @classmethod
    def start(cls, folder: Path, day: Day) -> EmulatorProcess:
        """Start a process that outlives this one, and wait until it listens."""
        ready_file = folder / "emulator.json"
        command = [
            # -P: a folder called console in the working directory is not ours.
            *(sys.executable, "-P", "-m", "console", "emulate", "alphaess", "--stepped"),
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
    async def left_behind(cls, folder: Path) -> EmulatorProcess | None:
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

    async def account_of_device(self) -> dict[str, Any]:
        """The emulator's own account of the battery."""
        state = await self.control.state()
        account: dict[str, Any] = state["systems"][self.ready["device_id"]]
        return account

    async def stop(self) -> None:
        """End the process; the run is over."""
        try:
            await self.control.stop()
        except AdapterError:
            return  # it has ended already
        finally:
            await self.control.close()
            (self.folder / "emulator.json").unlink(missing_ok=True)


class DayRun:
    """One day under way on an emulated battery."""

    def __init__(self, day: Day, folder: Path, emulator: EmulatorProcess, now: dt.datetime) -> None:
        self.day = day
        self.folder = folder
        self.emulator = emulator
        self.begins_at = now
        self.lapses_before = 0
        """Lapses while nobody was in control, before this process took the battery up."""
        self.clock = SimulatedClock(now)
        self.db = Database.at(folder / "tidewatt.sqlite")
        name = emulator.ready["adapter"]
        self._adapter = registry.factory(name)(emulator.ready["account"], self.clock)
        self.target = register_site(self.db, sample_site(), self._adapter, name, emulator.ready["device_id"])
        self.runner = SiteRunner(self.db, self.clock, self.target, day.series, FINAL_SOC_MIN)
        self._done = False

    async def run(self, progress: Progress, stop: Callable[[], bool]) -> None:
        """Run to the end of the day.

        Raises:
            InterruptedRunError: `stop` said so; the battery has been told to let go.
            AdapterError: The battery cannot be read at the start.
        """
        begin, length = self.day.begin, self.day.end - self.day.begin
        self.lapses_before = (await self.emulator.account_of_device())["lapsed"]
        await self.runner.take_up()
        while self.clock() < self.day.end:
            if stop():
                raise InterruptedRunError(await self._let_go())
            await self.runner.act()
            progress((self.clock() - begin) / length, self.clock())
            next_tick = dt.datetime.fromtimestamp((self.clock().timestamp() // TICK_S + 1) * TICK_S, dt.UTC)
            await self._step_to(min(next_tick, self.day.end))
        await self.runner.act()
        self._done = True

    async def close(self) -> None:
        """Leave nothing driven and nothing open, however the run ended."""
        if not self._done:
            await self._let_go()
        await self._adapter.close()
        self.db.close()
        await self.emulator.stop()

    async def _step_to(self, target: dt.datetime) -> None:
        await self.emulator.control.step_to(target)
        self.clock.move_to(target)

    async def _let_go(self) -> str:
        """Release the battery and say what is known of it afterwards."""
        self._done = True
        if not await self.runner.release():
            return "release: the vendor did not take it; the battery lapses by itself within its 90 s"
        if not (await self.emulator.account_of_device())["released"]:
            return "release: the vendor took it, but the battery does not show it; it lapses by itself within 90 s"
        return "stopped; the battery is released and follows the house by itself"


@asynccontextmanager
async def open_run(root: Path, date: dt.date | None, seed: int) -> AsyncIterator[DayRun]:
    """Take up the run that was killed last, if its battery is still there; else begin a new one.

    Args:
        root: Where runs keep their folders.
        date: The day for a new run; None takes the default, or whatever day is to be taken up.
        seed: Seed of the minutes of a new run.

    Raises:
        InputError: Another process runs here, or the run to take up is of another day.
    """
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(
                "state", f"another demonstration is running in {root}", "wait for it or give another --state"
            ) from None
        run = await _left_behind(root, date) or await _begin(root, sample_day(date or DEFAULT_DAY, seed))
        try:
            yield run
        finally:
            await run.close()


def _runs(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("run-*") if folder.name.removeprefix("run-").isdigit())


async def _left_behind(root: Path, date: dt.date | None) -> DayRun | None:
    for folder in _runs(root)[-1:]:
        emulator = await EmulatorProcess.left_behind(folder)
        if emulator is None:
            return None
        found = dt.date.fromisoformat(emulator.ready["day"])
        if date not in (None, found):
            await emulator.control.close()
            raise InputError(
                "day",
                f"{date} was asked for, but a killed run of {found} waits in {folder}",
                f"take it up without --day or with --day {found}, or give another --state",
            )
        now = dt.datetime.fromisoformat((await emulator.control.state())["now"])
        return DayRun(sample_day(found, emulator.ready["seed"]), folder, emulator, now)
    return None


async def _begin(root: Path, day: Day) -> DayRun:
    runs = _runs(root)
    number = int(runs[-1].name.removeprefix("run-")) + 1 if runs else 1
    folder = root / f"run-{number:04d}"
    folder.mkdir()
    emulator = await asyncio.to_thread(EmulatorProcess.start, folder, day)
    return DayRun(day, folder, emulator, day.begin)
