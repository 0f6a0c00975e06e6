"""Processes that tests start, and waiting for what they do."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
# For the slowest machine; nothing waits for it.
IN_TIME_S = 120.0


def wait_until(reached: Callable[[], Any], what: str) -> Any:
    """Poll until something is there."""
    deadline = time.monotonic() + IN_TIME_S
    while not (found := reached()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in time: {what}")
        time.sleep(0.05)
    return found


class Processes:
    """Each leads a group of its own, so that what it leaves behind is found; all write into one file."""

    def __init__(self, environment: Mapping[str, str], output: Path) -> None:
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
        self._output = output
        self._started: list[subprocess.Popen[bytes]] = []

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start Python with these arguments, in the folder of the project."""
        with self._output.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=ROOT,
                env=self._environment,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def output(self) -> str:
        """What they wrote, for messages."""
        return self._output.read_text()

    def end(self) -> None:
        """End what was started here, orphans too, and nothing else."""
        for process in self._started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(10)
