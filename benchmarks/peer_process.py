"""A peer's driver in its own process, asked by lines of JSON. It takes its turns like the solvers of this process."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from benchmarks.problems import BenchmarkProblem
from benchmarks.solvers.contract import TIME_LIMIT_S, Answer, GaveUpError, NotAvailableError

ROOT = Path(__file__).parents[1]
# Some import for ten seconds on a slow machine.
START_LIMIT_S = 120.0


class PeerProcess:
    """A running driver.

    Args:
        python: Interpreter of the peer's environment.
        module: Stem of `benchmarks/peers/<module>.py`.
        arguments: For the driver.
        log: File for what the library prints.

    Raises:
        NotAvailableError: The driver did not start.
    """

    def __init__(self, python: Path, module: str, arguments: tuple[str, ...], log: Path) -> None:
        self._command = [str(python), "-W", "ignore", "-m", f"benchmarks.peers.{module}", *arguments]
        self._log = log
        self._start()

    def _start(self) -> None:
        self._log.parent.mkdir(parents=True, exist_ok=True)
        # Nothing of this process's environment may leak into the peer's.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        with self._log.open("w", encoding="utf-8") as file:
            self._process = subprocess.Popen(
                self._command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=file,
                text=True,
            )
        try:
            self.versions: dict[str, str] = self._answer(START_LIMIT_S)["versions"]
        except NotAvailableError:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def solve(self, problem: BenchmarkProblem) -> Answer:
        """Ask for a plan; a driver that was ended over an earlier problem is started anew.

        Raises:
            NotAvailableError: The driver is gone or its library failed; says why.
            GaveUpError: It took too long and was ended.
        """
        if self._process.poll() is not None:
            self.close()
            self._start()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(problem.to_dict()) + "\n")
        self._process.stdin.flush()
        answer = self._answer(TIME_LIMIT_S)
        if "error" in answer:
            raise NotAvailableError(f"failed: {answer['error']}")
        return Answer(
            charge_kw=np.array(answer["charge_kw"]),
            discharge_kw=np.array(answer["discharge_kw"]),
            claimed_eur=answer["claimed_eur"],
            method=answer["method"],
            seconds=answer["seconds"],
        )

    def close(self) -> None:
        """End the driver."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()

    def _answer(self, limit_s: float) -> dict[str, Any]:
        assert self._process.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(limit_s, end)
        timer.start()
        try:
            line = self._process.stdout.readline()
        finally:
            timer.cancel()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        if late.is_set():
            raise GaveUpError(f"no answer within {limit_s:.0f} s")
        said = self._log.read_text(encoding="utf-8").strip().splitlines() or ["without a word"]
        raise NotAvailableError(f"its process ended: {said[-1]}")
