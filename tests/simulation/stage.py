"""What a history happens on: a store, vendors' clouds, worker processes. Who lets things happen is another's matter."""

from __future__ import annotations

import math
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from sqlalchemy.exc import OperationalError

from adapters.contract import Accepted, AdapterError
from engine.intent import Intent
from schedules.sites import ControlledSite
from schedules.store import Database, HaltScope
from tests.simulation import subject
from tests.simulation.plans import Demand, Wish, wanted
from tests.simulation.scheduler import Crash, Fault, Process, ProcessClock, Scheduler
from tests.simulation.vendors import Cloud

WORKERS = 3


@contextmanager
def folder_in_memory() -> Iterator[Path]:
    """A folder for stores that need not survive anything, without a disc to wait for where that can be had."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as name:
        yield Path(name)


@cache
def empty_store() -> bytes:
    """A store that was migrated once, for every history to begin with."""
    with folder_in_memory() as folder:
        path = folder / "empty.sqlite"
        Database.at(path).close()
        return path.read_bytes()


@dataclass
class Halt:
    """A kill switch was pulled and lifted at these times [s]."""

    since: float
    until: float


@dataclass
class Account:
    """An account as the world sees it."""

    cloud: Cloud
    targets: list[ControlledSite]
    demands: dict[str, Demand]
    read_at: float = -1e9
    unsure_until: float = 0.0
    rings_at: float = -1.0
    outages: list[tuple[float, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Ended:
    """How a tick ended."""

    died: bool = False
    """Its process was killed at it; another one is there."""
    unsure: bool = False
    """Something of it is not known to have been done."""


class Stage:
    """All there is, with nothing that happens by itself."""

    def __init__(self, path: Path) -> None:
        self.scheduler = Scheduler()
        self.accounts: list[Account] = []
        self.halts: list[Halt] = []
        self.errors: list[tuple[float, str, str]] = []
        """Ticks that the product ended with an exception which its words do not foresee: when, whose, what."""
        self.faults: list[tuple[float, str, str]] = []
        """What befell the processes: when, whom, what."""
        self.database_outages: list[tuple[float, float]] = []
        self.ticks = 0
        self.clock = ProcessClock(self.scheduler)
        self.db = subject.open_store(path, empty_store())
        self._path = path
        self._born = 0
        self.processes = [self._new_process() for _ in range(WORKERS)]
        self._in_memory: dict[tuple[str, str], subject.Worker] = {}

    def close(self) -> None:
        """End what was started."""
        for process in self.processes:
            process.kill()
        self.db.close()
        for path in self._path.parent.glob(f"{self._path.name}*"):
            path.unlink()

    def open_account(self, cloud: Cloud) -> Account:
        """Put an account into the store, with the sites of all its devices."""
        targets = subject.register(self.db, self.clock, cloud, self.processes[0])
        account = Account(cloud, targets, {name: Demand() for name in cloud.devices})
        self.accounts.append(account)
        return account

    def put_plan(
        self, account: Account, target: ControlledSite, begin: float, end: float, intents: Sequence[Intent]
    ) -> None:
        """Put a plan in force from a time on [s]."""
        now = self.scheduler.now
        subject.put_plan(self.db, target.id, now, begin, end, intents)
        account.demands[target.device.device_id].add(now, begin, list(intents))

    def wish(self, account: Account, target: ControlledSite, intent: Intent) -> Callable[[], None]:
        """Set an override; call what comes back to cancel it."""
        number = subject.override(self.db, self.clock, target.site.name, intent)
        wish = Wish(self.scheduler.now, wanted(intent))
        account.demands[target.device.device_id].wishes.append(wish)
        self.note("owner", f"override {wish.wanted}")

        def cancel() -> None:
            subject.cancel(self.db, self.clock, number)
            wish.cancelled = self.scheduler.now
            self.note("owner", f"cancels override {wish.wanted}")

        return cancel

    def pull(self, scope: HaltScope = HaltScope.GLOBAL, name: str = "") -> Callable[[], None]:
        """Pull a kill switch; call what comes back to lift it."""
        number = subject.pull(self.db, self.clock, scope, name)
        halt = Halt(self.scheduler.now, math.inf)
        self.halts.append(halt)
        self.note("operator", f"kill switch {scope.value} {name}")

        def lift() -> None:
            subject.lift(self.db, self.clock, number)
            halt.until = self.scheduler.now
            self.note("operator", f"lifts {scope.value} {name}")

        return lift

    def start(
        self,
        process: Process,
        account: Account,
        fault: Fault | None,
        ended: Callable[[Ended], None],
        *,
        reads: bool = False,
        releases: bool = False,
    ) -> None:
        """Deliver an account's tick, the whole or the light one, or a release by hand, to a process that is free."""
        self.ticks += 1
        process.fault = fault
        if fault is not None:
            kind = "killed" if fault.stopped_s is None else f"stopped {fault.stopped_s:.0f} s"
            self.note(process.name, f"{kind} {fault.point} in {account.cloud.name}")
        worker = self._worker(process, account)
        sent = len(account.cloud.wire)
        is_unsure = False

        async def job() -> None:
            nonlocal is_unsure
            process.passes("before lease")
            if releases:
                await worker.release()
            elif await worker.tick(reads):
                is_unsure = True

        def done(failure: BaseException | None) -> None:
            news = account.cloud.wire[sent:]
            died = False
            if isinstance(failure, Crash):
                for request in news:
                    if request.worker == process.name:
                        request.heard = math.inf  # nobody is left who knows the answer
                if process in self.processes:
                    self.processes[self.processes.index(process)] = self._new_process()
                    died = True
            elif failure is not None and not isinstance(failure, AdapterError | OperationalError):
                self._note_error(process, failure)
            lost = failure is not None or any(not isinstance(request.receipt, Accepted) for request in news)
            ended(Ended(died, is_unsure or lost))

        process.begin(job, done)

    def replace_all(self) -> None:
        """Kill all processes; others are there."""
        for place, process in enumerate(self.processes):
            process.kill()
            self.processes[place] = self._new_process()

    def note(self, whom: str, what: str) -> None:
        self.faults.append((self.scheduler.now, whom, what))

    def _note_error(self, process: Process, failure: BaseException) -> None:
        frames = traceback.extract_tb(failure.__traceback__)
        place = next((f"{f.filename}:{f.lineno}" for f in reversed(frames) if "schedules" in f.filename), "")
        what = f"{type(failure).__name__} at {place}: {failure}"[:300]
        self.errors.append((self.scheduler.now, process.name, what))

    def _worker(self, process: Process, account: Account) -> subject.Worker:
        key = process.name, account.cloud.name
        if key not in self._in_memory:
            self._in_memory[key] = subject.Worker(self.db, account.cloud, process, account.targets)
        return self._in_memory[key]

    def _new_process(self) -> Process:
        self._born += 1
        process = Process(self.scheduler, f"worker {self._born}")
        process.has_no_database = self._has_no_database
        return process

    def _has_no_database(self) -> bool:
        return any(since <= self.scheduler.now < until for since, until in self.database_outages)
