"""`tidewatt demo`: one real day in five homes, planned, dispatched over five vendors' clouds, confirmed by telemetry.

Homes whose vendor takes commands are driven, the others watched. Time is stepped, not scaled: the emulators move on
only when everything due has been done, so a slow machine never makes a command lapse. All state is in the run's folder;
a run that was killed is taken up again where it stopped.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import fcntl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from adapters.contract import Dispatchable
from console.accounts import open_adapter
from console.emulators import EmulatorProcess
from console.sample import DEFAULT_DAY, Day, sample_day, sample_site
from engine import InputError, TidewattError
from schedules import halts, inputs, leases
from schedules.account_runner import AccountRunner
from schedules.clock import SimulatedClock
from schedules.sites import ControlledSite, WatchedSite, register_site, register_watched
from schedules.store import Database

# Commands that lapse are sent again inside their lifetime; nothing else is due more than once a minute.
LAPSING_TICK_S, TICK_S = 30, 60
# So many ticks batteries have to show that they are released; clouds take a while.
RELEASE_WAITS = 10
INITIAL_SOC = 0.5
FINAL_SOC_MIN = 0.5

Progress = Callable[[float, dt.datetime], None]


class InterruptedRunError(TidewattError):
    """Somebody asked the demonstration to stop; says whether the batteries were seen to be released."""


@dataclass
class Home:
    """One home of the street, its vendor, and whoever runs it."""

    day: Day
    vendor: str
    place: int
    """Which of the emulated clouds is its vendor's."""
    target: WatchedSite
    adapter: Any
    runner: AccountRunner
    failures: list[str] = field(default_factory=list)
    """What went wrong and was survived."""
    lapses_before: int = 0
    """Lapses while nobody was in control, before this process took the battery up."""

    @property
    def is_driven(self) -> bool:
        """Whether it is driven; otherwise it is only watched."""
        return isinstance(self.target, ControlledSite)

    @property
    def tick_s(self) -> int:
        """How often something may be due [s]."""
        lapses = self.is_driven and self.adapter.abilities.renew_after_s is not None
        return LAPSING_TICK_S if lapses else TICK_S


class DayRun:
    """One day under way in all homes."""

    def __init__(
        self,
        folder: Path,
        emulators: EmulatorProcess,
        now: dt.datetime,
        day_of: Callable[[int], Day] | None = None,
    ) -> None:
        """Take emulators at their time.

        Args:
            folder: Where the run keeps its state.
            emulators: The vendors' clouds.
            now: The emulated time.
            day_of: The day of each home; None takes the sample's.
        """
        day_of = day_of or (lambda place: sample_day(emulators.day, emulators.seed, place))
        self.folder = folder
        self.emulators = emulators
        self.begins_at = now
        self.clock = SimulatedClock(now)
        self.db = Database.at(folder / "tidewatt.sqlite")
        # The folder's lock says that nobody else is at work; a killed run has given nothing back.
        leases.break_all(self.db)
        self.homes = [self._home(place, day_of(place)) for place in range(len(emulators.accounts))]
        self.begin, self.end = self.homes[0].day.begin, self.homes[0].day.end
        self._done = False

    @property
    def date(self) -> dt.date:
        """The day."""
        return self.emulators.day

    async def run(self, progress: Progress, stop: Callable[[], bool]) -> None:
        """Run to the end of the day.

        Raises:
            InterruptedRunError: `stop` said so; the batteries have been told to let go.
        """
        for home in self.homes:
            home.lapses_before = (await self.account_of(home)).get("lapsed", 0)
        while self.clock() < self.end:
            if stop():
                raise InterruptedRunError(await self._let_go())
            await self._act(self.clock())
            progress((self.clock() - self.begin) / (self.end - self.begin), self.clock())
            next_tick = (self.clock().timestamp() // LAPSING_TICK_S + 1) * LAPSING_TICK_S
            await self._step_to(min(dt.datetime.fromtimestamp(next_tick, dt.UTC), self.end))
        await self._act(self.clock())
        self._done = True

    async def account_of(self, home: Home) -> dict[str, Any]:
        """The emulator's own account of a home's battery."""
        return await self.emulators.account_of(home.place, home.target.device.device_id)

    async def close(self) -> None:
        """Leave nothing driven and nothing open, however the run ended."""
        if not self._done:
            await self._let_go()
        for home in self.homes:
            await home.adapter.close()
        self.db.close()
        await self.emulators.stop()

    def _home(self, place: int, day: Day) -> Home:
        account = self.emulators.accounts[place]
        site = sample_site().model_copy(update={"name": f"home {place + 1}"})
        adapter = open_adapter(self.emulators.ready_file, place + 1, account, self.clock)
        entry = (self.db, site, adapter, account.adapter, account.devices[0], site.name)
        if not isinstance(adapter, Dispatchable):
            watched = register_watched(*entry)
            runner = AccountRunner(self.db, self.clock, [watched])
            return Home(day, account.adapter, place, watched, adapter, runner)
        driven = register_site(*entry)
        halts.arm(self.db, self.clock, site.name, "demo")
        if inputs.newest_known_at(self.db, driven.id) is None:
            inputs.publish(self.db, self.clock, day.series[list(inputs.SERIES)], driven.id)
        runner = AccountRunner(self.db, self.clock, [driven], final_soc_min=FINAL_SOC_MIN)
        return Home(day, account.adapter, place, driven, adapter, runner)

    async def _act(self, now: dt.datetime) -> None:
        due = [home for home in self.homes if now.timestamp() % home.tick_s == 0 or now == self.begins_at]

        async def act(home: Home) -> None:
            home.failures += (await home.runner.tick()).failures

        await asyncio.gather(*(act(home) for home in due))

    async def _step_to(self, target: dt.datetime) -> None:
        await self.emulators.step_to(target)
        self.clock.move_to(target)

    async def _let_go(self) -> str:
        """Release the batteries, wait until they show it, and say what is known of them."""
        self._done = True
        driven = [home for home in self.homes if home.is_driven]
        refused = [home for home in driven if not await home.runner.release()]
        for _ in range(RELEASE_WAITS):
            held = [home for home in driven if not (await self.account_of(home))["released"]]
            if not held:
                break
            await self._step_to(self.clock() + dt.timedelta(seconds=TICK_S))
        if not refused + held:
            return "stopped; the batteries are released and follow their houses by themselves"
        told = [f"{home.target.site.name} ({home.vendor}): the vendor did not take the release" for home in refused]
        told += [
            f"{home.target.site.name} ({home.vendor}): the battery does not show its release"
            for home in held
            if home not in refused
        ]
        return f"stopped; {'; '.join(told)}; its command ends by itself"


@asynccontextmanager
async def open_run(root: Path, date: dt.date | None, seed: int) -> AsyncIterator[DayRun]:
    """Take up the run that was killed last, if its batteries are still there; else begin a new one.

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
        run = await _left_behind(root, date) or await _begin(root, date or DEFAULT_DAY, seed)
        try:
            yield run
        finally:
            await run.close()


def _runs(root: Path) -> list[Path]:
    return sorted(folder for folder in root.glob("run-*") if folder.name.removeprefix("run-").isdigit())


async def _left_behind(root: Path, date: dt.date | None) -> DayRun | None:
    for folder in _runs(root)[-1:]:
        emulators = await EmulatorProcess.left_behind(folder)
        if emulators is None:
            return None
        if date not in (None, emulators.day):
            await emulators.close()
            raise InputError(
                "day",
                f"{date} was asked for, but a killed run of {emulators.day} waits in {folder}",
                f"take it up without --day or with --day {emulators.day}, or give another --state",
            )
        return DayRun(folder, emulators, await emulators.now())
    return None


async def _begin(root: Path, date: dt.date, seed: int) -> DayRun:
    sample_day(date, seed)  # refused before anything is there
    runs = _runs(root)
    number = int(runs[-1].name.removeprefix("run-")) + 1 if runs else 1
    folder = root / f"run-{number:04d}"
    folder.mkdir()
    emulators = await asyncio.to_thread(EmulatorProcess.start, folder, date, seed, INITIAL_SOC)
    return DayRun(folder, emulators, await emulators.now())
