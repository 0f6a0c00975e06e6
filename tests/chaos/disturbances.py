"""What goes wrong, and when: a seeded schedule of kills, of processes that stall, and of servers that go away."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.chaos.installation import Installation
from tests.servers import PostgreSql, Valkey

# A worker takes seconds to start and a server is away for seconds; more of those, and nothing would ever run.
WEIGHTS = {
    "kill child": 60,
    "kill worker": 6,
    "stall child": 22,
    "stall worker": 5,
    "restart valkey": 3.5,
    "restart postgresql": 3.5,
}
PAUSE_S = (1.8, 2.9)
STALL_S = (5.0, 40.0)
AWAY_S = (1.0, 10.0)
# What is at work is hit more often than what waits.
BUSY_SHARE = 0.7


@dataclass(frozen=True)
class Disturbance:
    """One that was made."""

    kind: str
    at: float
    """When it began [s since the epoch]."""


class Disturber:
    """Makes them, one after the other; at most one process stalls and one server is away at a time."""

    def __init__(self, installation: Installation, valkey: Valkey, postgresql: PostgreSql, seed: int) -> None:
        self.made: list[Disturbance] = []
        self.restarted: list[str] = []
        """What ended without having been killed here."""
        self._installation, self._valkey, self._postgresql = installation, valkey, postgresql
        self._chance = random.Random(seed)
        self._ends: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()
        self._stalls = self._away = False

    def run(self, count: int, deadline: float, at_each: Callable[[int], None] = lambda _: None) -> None:
        """Make so many, then undo what lasts.

        Args:
            count: How many.
            deadline: By the monotonic clock; none begins after it.
            at_each: Called after each with how many there were.
        """
        for number in range(1, count + 1):
            self.wait(self._chance.uniform(*PAUSE_S))
            if time.monotonic() > deadline:
                break
            self._make(self._kind())
            at_each(number)
        while self._ends:
            self.wait(0.2)

    def wait(self, seconds: float) -> None:
        """Let time pass; what has ended is started again, and what is due is undone."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            while self._ends and self._ends[0][0] <= time.monotonic():
                heapq.heappop(self._ends)[2]()
            self.restarted += self._installation.keep_up()
            time.sleep(0.1)

    def undo_all(self) -> None:
        """Undo at once what lasts."""
        while self._ends:
            heapq.heappop(self._ends)[2]()

    def _kind(self) -> str:
        while True:
            (kind,) = self._chance.choices(list(WEIGHTS), list(WEIGHTS.values()))
            if not ((kind.startswith("stall") and self._stalls) or (kind.startswith("restart") and self._away)):
                return kind

    def _make(self, kind: str) -> None:
        act, whom = kind.split()
        self.made.append(Disturbance(kind, time.time()))
        if act == "restart":
            self._restart(self._valkey if whom == "valkey" else self._postgresql)
            return
        pid = self._child() if whom == "child" else self._chance.choice(self._installation.workers).process.pid
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if act == "kill":
                os.kill(pid, signal.SIGKILL)
                if whom == "worker":
                    self._reap(pid)
            else:
                os.kill(pid, signal.SIGSTOP)
                self._stalls = True
                self._later(STALL_S, lambda: self._go_on(pid))

    def _child(self) -> int | None:
        busy = self._installation.busy() if self._chance.random() < BUSY_SHARE else []
        found = busy or self._installation.children()
        return self._chance.choice(sorted(found)) if found else None

    def _reap(self, pid: int) -> None:
        for worker in self._installation.workers:
            if worker.process.pid == pid:
                worker.process.wait(10)
        # It was killed here, so it did not end by itself.
        self._installation.keep_up()

    def _go_on(self, pid: int) -> None:
        self._stalls = False
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    def _restart(self, server: Valkey | PostgreSql) -> None:
        server.stop()
        self._away = True

        def start() -> None:
            server.start()
            self._away = False

        self._later(AWAY_S, start)

    def _later(self, span_s: tuple[float, float], undo: Callable[[], None]) -> None:
        until = time.monotonic() + self._chance.uniform(*span_s)
        heapq.heappush(self._ends, (until, next(self._numbers), undo))
