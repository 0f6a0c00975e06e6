"""Virtual time, and processes that live in it.

Everything happens in one order that only the seed decides. A process of the control plane is a thread that runs while
the scheduler waits for it, and waits while anything else runs: the product's synchronous code can then be stopped, or
killed, in the middle of a database step as well as at an await.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import heapq
import itertools
import sqlite3
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

START = dt.datetime(2024, 4, 10, tzinfo=dt.UTC)


class Crash(SystemExit):
    """kill -9: asyncio lets it through, and no handler of the product may catch it."""


def moment(seconds: float) -> dt.datetime:
    """Virtual seconds as a time."""
    return START + dt.timedelta(seconds=seconds)


def seconds_of(time: dt.datetime) -> float:
    """A time as virtual seconds."""
    return (time - START).total_seconds()


_here = threading.local()


def this_process() -> Process | None:
    """Whose code asks; None: the world's own."""
    return getattr(_here, "process", None)


class Scheduler:
    """The heap of what is to happen, and the time [s since START]."""

    def __init__(self) -> None:
        self.now = 0.0
        self.back = threading.Semaphore(0)
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, time: float, action: Callable[[], None]) -> None:
        """Let something happen at a time, or now if that is over."""
        heapq.heappush(self._heap, (max(time, self.now), next(self._order), action))

    def run_until(self, end: float) -> None:
        """Let everything happen that is due before a time."""
        while self._heap and self._heap[0][0] <= end:
            self.now, _, action = heapq.heappop(self._heap)
            action()
        self.now = end


class ProcessClock:
    """The clock of one process: the machine's may be wrong, the monotonic one is not."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self.offset_s = 0.0

    def __call__(self) -> dt.datetime:
        return moment(self._scheduler.now + self.offset_s)

    def monotonic(self) -> float:
        return self._scheduler.now


@dataclass(frozen=True)
class Fault:
    """A process dies, or is stopped, at a point of the protocol."""

    point: str
    stopped_s: float | None
    """SIGSTOP for so long [s]; None: kill -9."""
    times: int = 1
    """How often the point is passed before that happens."""


class Process:
    """One worker process; does one job at a time, as a pre-forked Celery worker does."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        self.name = name
        self.clock = ProcessClock(scheduler)
        self.is_dead = False
        self.is_free = True
        self.fault: Fault | None = None
        """What befalls the process when its job next passes a point."""
        self.connections: dict[int, Any] = {}
        """The driver's connections that it holds; the database ends what a dead process had open on them."""
        self.writes_on: Any = None
        """The connection on which it holds SQLite's lock of the whole file."""
        self.has_no_database: Callable[[], bool] = lambda: False
        self.committed: str | None = None
        """The point that the transaction which is being committed reaches; see `steps`."""
        self._scheduler = scheduler
        self._go = threading.Semaphore(0)
        self._turn = 0
        self._stopped_until = 0.0
        self._job: tuple[Callable[[], Coroutine[Any, Any, None]], Callable[[BaseException | None], None]] | None = None
        self._thread = threading.Thread(target=self._live, name=name, daemon=True)
        self._thread.start()

    def begin(self, job: Callable[[], Coroutine[Any, Any, None]], done: Callable[[BaseException | None], None]) -> None:
        """Start a job now; `done` is told what it raised, in the process's own thread."""
        assert self.is_free
        self.is_free = False
        self._job = job, done
        self._scheduler.at(self._scheduler.now, self._resume_at(self._turn))

    def sleep(self, seconds: float) -> None:
        """From within: give way for some time."""
        self._scheduler.at(self._scheduler.now + max(0.0, seconds), self._resume_at(self._turn))
        self._give_way()

    def lives(self) -> None:
        """From within: what is dead does nothing more, not even when its coroutines are closed."""
        if self.is_dead:
            raise Crash

    def passes(self, point: str) -> None:
        """From within: the job is at a named point; whatever is to befall it there does."""
        self.lives()
        fault = self.fault
        if fault is None or fault.point != point:
            return
        if fault.times > 1:
            self.fault = replace(fault, times=fault.times - 1)
            return
        self.fault = None
        if fault.stopped_s is None:
            self.is_dead = True
            raise Crash
        self.sleep(fault.stopped_s)

    def stop(self, seconds: float) -> None:
        """From outside: SIGSTOP for so long; whatever was due meanwhile happens at SIGCONT."""
        self._stopped_until = max(self._stopped_until, self._scheduler.now + seconds)

    def kill(self) -> None:
        """From outside: kill -9; the thread ends at the place where it waits."""
        if not self.is_dead:
            self.is_dead = True
            self._turn += 1
            self._hand_over()

    def _resume_at(self, turn: int) -> Callable[[], None]:
        def resume() -> None:
            if turn != self._turn:
                return
            if self._scheduler.now < self._stopped_until:
                self._scheduler.at(self._stopped_until, resume)
                return
            self._turn += 1
            self._hand_over()

        return resume

    def _hand_over(self) -> None:
        self._go.release()
        self._scheduler.back.acquire()

    def _give_way(self) -> None:
        self._scheduler.back.release()
        self._go.acquire()
        if self.is_dead:
            raise Crash

    def _live(self) -> None:
        _here.process = self
        loop = _VirtualLoop(self, self._scheduler)
        self._go.acquire()
        while not self.is_dead:
            assert self._job is not None
            job, done = self._job
            failure: BaseException | None = None
            try:
                loop.run_until_complete(job())
            except Crash as crash:
                self.is_dead, failure = True, crash
                loop.bury()
                self._drop_connections()
            except Exception as error:
                failure = error
            self._job = self.fault = None
            self.is_free = not self.is_dead
            done(failure)
            if not self.is_dead:
                self._scheduler.back.release()
                self._go.acquire()
        loop.close()
        self._scheduler.back.release()

    def _drop_connections(self) -> None:
        for connection in self.connections.values():
            with suppress(sqlite3.ProgrammingError):  # closed already
                if connection.in_transaction:
                    connection.execute("ROLLBACK")


class _VirtualLoop(asyncio.BaseEventLoop):
    """An event loop whose waiting is virtual."""

    def __init__(self, process: Process, scheduler: Scheduler) -> None:
        super().__init__()
        self._process, self._scheduler = process, scheduler
        self._clock_resolution = 1e-6
        self._selector = self
        self.set_exception_handler(lambda *_: None)

    def time(self) -> float:
        return self._scheduler.now

    def select(self, timeout: float | None) -> list[Any]:
        assert timeout is not None, "the job waits for something that never comes"
        if timeout > 0:
            self._process.sleep(timeout)
        return []

    def run_in_executor(self, _executor: Any, func: Any, *args: Any) -> Any:
        """In virtual time a thread beside the loop is a call."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def bury(self) -> None:
        """End what the process had under way, without letting it do anything more."""
        for task in asyncio.all_tasks(self):
            task._log_destroy_pending = False  # type: ignore[attr-defined]
            try:
                task.get_coro().close()
            except BaseException:
                continue

    def _process_events(self, event_list: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass
