from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


class DemoProcess:
    """A `tidewatt demo` in a process of its own, and the traces that it leaves in its folder."""

    def __init__(self, state: Path, run: str, arguments: tuple[str, ...]) -> None:
        self.state = state
        self.folder = state / run
        self.process = subprocess.Popen(
            [sys.executable, "-m", "console", "demo", "--json", "--state", str(state), *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def emulator_events(self, vendor: str = "alphaess") -> list[dict[str, Any]]:
        log = self.folder / f"emulator-log-{vendor}.jsonl"
        if not log.exists():
            return []
        return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]

    def wait_until(self, reached: Callable[[list[dict[str, Any]]], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            events = self.emulator_events()
            if events and reached(events):
                return
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        raise AssertionError("the demonstration did not get there in time")

    def send(self, number: int) -> None:
        os.kill(self.process.pid, number)

    def finish(self, seconds: float = 200) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=seconds)
        return self.process.returncode, out, err

    @property
    def records(self) -> list[dict[str, Any]]:
        """What the emulators said of themselves, a line for each vendor."""
        return [json.loads(line) for line in (self.folder / "emulators.jsonl").read_text().splitlines()]

    def query(self, sql: str) -> list[Any]:
        connection = sqlite3.connect(self.folder / "tidewatt.sqlite")
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def end_everything(self) -> None:
        """End what this test started and nothing else."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()
        for ready in self.state.glob("run-*/emulators.jsonl"):
            try:
                os.kill(json.loads(ready.read_text().splitlines()[0])["pid"], signal.SIGTERM)
            except ProcessLookupError:
                continue


@pytest.fixture
def start_demo(tmp_path: Path) -> Iterator[Callable[..., DemoProcess]]:
    started: list[DemoProcess] = []

    def start(run: str = "run-0001", *arguments: str) -> DemoProcess:
        demo = DemoProcess(tmp_path / "demo", run, arguments)
        started.append(demo)
        return demo

    yield start
    for demo in started:
        demo.end_everything()


class EmulatorProcess:
    """A `tidewatt emulate` in a process of its own."""

    def __init__(self, folder: Path, arguments: tuple[str, ...], program: tuple[str, ...] = ("-m", "console")) -> None:
        self.ready_file = folder / "ready.json"
        command = [sys.executable, "-W", "error", *program, "emulate", *arguments]
        command += ["--ready-file", str(self.ready_file), "--idle-exit-s", "120"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 60
        while not self.ready_file.exists():
            assert self.process.poll() is None, self.process.communicate()
            assert time.monotonic() < deadline, "the emulator did not start"
            time.sleep(0.02)

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.ready_file.read_text().splitlines()]

    @property
    def secrets(self) -> list[str]:
        """All values of the accounts that must never be seen on a screen."""
        values = [value for record in self.records for name, value in record["account"].items() if name != "base_url"]
        return [value for value in values if isinstance(value, str) and len(value) >= 12 and "/" not in value]

    def url(self, vendor: str) -> str:
        return next(record["account"]["base_url"] for record in self.records if record["adapter"] == vendor)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()


@pytest.fixture
def start_emulator(tmp_path: Path) -> Iterator[Callable[..., EmulatorProcess]]:
    started: list[EmulatorProcess] = []

    def start(*arguments: str, program: tuple[str, ...] = ("-m", "console")) -> EmulatorProcess:
        folder = tmp_path / f"emulator-{len(started)}"
        folder.mkdir()
        emulator = EmulatorProcess(folder, arguments, program)
        started.append(emulator)
        return emulator

    yield start
    for emulator in started:
        emulator.end()


@pytest.fixture(scope="session")
def tidewatt() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command to its end."""

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", "-m", "console", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run
