"""Keeps processes running on one machine: what dies, or lives without doing anything, is started again."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

LOOK_EVERY_S = 0.2
LONGEST_PAUSE_S = 30.0
# Who has run for so long had no trouble starting [s].
SETTLED_S = 60.0
JUDGE_EVERY_S = 5.0


@dataclass
class Child:
    """A process that must run."""

    name: str
    command: Sequence[str]
    is_idle: Callable[[float], bool] = lambda _since_s: False
    """Whether it has done nothing though it had so long [s] to begin with."""
    process: subprocess.Popen[bytes] | None = None
    started: float = 0.0
    pause_s: float = 1.0
    due: float = field(default=0.0)


class Supervisor:
    """Starts children, and starts them again, until told to stop."""

    def __init__(self, children: Sequence[Child], say: Callable[[str], None], grace_s: float) -> None:
        """Take children.

        Args:
            children: What must run.
            say: Takes a line about what happened.
            grace_s: How long a child has to end when it is asked to [s].
        """
        self._children = children
        self._say = say
        self._grace_s = grace_s
        self._stop = threading.Event()
        self._judged = 0.0

    def run(self) -> None:
        """Keep all running until SIGTERM or SIGINT comes; they are left running then."""
        with self._stopped_by_signals():
            while not self._stop.is_set():
                for child in self._children:
                    self._look_after(child)
                self._restart_idle()
                self._stop.wait(LOOK_EVERY_S)

    def end(self) -> None:
        """Ask all to end, and end those that do not."""
        for child in self._children:
            if child.process is not None:
                child.process.terminate()
        deadline = time.monotonic() + self._grace_s
        for child in self._children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                self._say(f"{child.name}: did not end in {self._grace_s:g} s; killed")
            _kill_group(child.process.pid)
            child.process.wait()

    def _look_after(self, child: Child) -> None:
        now = time.monotonic()
        if child.process is not None:
            if child.process.poll() is None:
                if now - child.started > SETTLED_S:
                    child.pause_s = 1.0
                return
            # Its own children may have outlived it, with work in hand that will be given to others.
            _kill_group(child.process.pid)
            self._say(f"{child.name}: ended with {child.process.returncode}; again in {child.pause_s:g} s")
            child.process, child.due = None, now + child.pause_s
            child.pause_s = min(2 * child.pause_s, LONGEST_PAUSE_S)
        if now >= child.due:
            # A session of its own: the terminal's Ctrl-C is for us, who then ask each to end.
            child.process = subprocess.Popen(child.command, stdin=subprocess.DEVNULL, start_new_session=True)
            child.started = now

    def _restart_idle(self) -> None:
        now = time.monotonic()
        if now - self._judged < JUDGE_EVERY_S:
            return
        self._judged = now
        for child in self._children:
            if child.process is not None and child.is_idle(now - child.started):
                self._say(f"{child.name}: runs but gets nothing done; started again")
                _kill_group(child.process.pid)

    @contextlib.contextmanager
    def _stopped_by_signals(self) -> Iterator[None]:
        numbers = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, lambda *_: self._stop.set()) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)


def _kill_group(leader: int) -> None:
    """End a child of ours with all processes that it started; each leads a group of its own."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)
