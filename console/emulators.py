"""The emulators' process of a demonstration: its own, as vendors' clouds are, so that killing us kills no battery."""

from __future__ import annotations

import datetime as dt
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from adapters.contract import AdapterError
from adapters.emulation import EmulatorControl
from console.accounts import VendorAccount, read_accounts
from engine import TidewattError

START_S = 60.0
IDLE_EXIT_S = 300.0


class EmulatorProcess:
    """All vendors' emulators in one process, ours or one that an earlier run left behind."""

    def __init__(self, folder: Path) -> None:
        """Take a process that has written where it is reached."""
        self.ready_file = folder / "emulators.jsonl"
        self.accounts: list[VendorAccount] = read_accounts(self.ready_file)
        self._controls = [EmulatorControl(account.account["base_url"]) for account in self.accounts]

    @classmethod
    def start(cls, folder: Path, day: dt.date, seed: int, initial_soc: float) -> EmulatorProcess:
        """Start a process that outlives this one, and wait until it listens.

        Raises:
            TidewattError: It did not start.
        """
        ready_file = folder / "emulators.jsonl"
        command = [
            # -P: a folder called console in the working directory is not ours.
            *(sys.executable, "-P", "-m", "console", "emulate", "--all", "--stepped"),
            *("--day", day.isoformat(), "--seed", str(seed)),
            *("--initial-soc", str(initial_soc), "--ready-file", str(ready_file)),
            *("--log", str(folder / "emulator-log.jsonl"), "--idle-exit-s", str(IDLE_EXIT_S)),
        ]
        with (folder / "emulator-output.txt").open("wb") as output:
            # A session of its own: the terminal's Ctrl-C is for the demonstration, which still has to release.
            process = subprocess.Popen(
                command, stdout=output, stderr=output, stdin=subprocess.DEVNULL, start_new_session=True
            )
        deadline = time.monotonic() + START_S
        while not ready_file.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise TidewattError(
                    f"emulator: it did not start (exit {process.poll()}); see {folder / 'emulator-output.txt'}"
                )
            time.sleep(0.05)
        return cls(folder)

    @classmethod
    async def left_behind(cls, folder: Path) -> EmulatorProcess | None:
        """The process of a run that was killed, if it still answers."""
        if not (folder / "emulators.jsonl").exists():
            return None
        emulators = cls(folder)
        try:
            await emulators.now()
        except AdapterError:
            emulators.ready_file.unlink()
            await emulators.close()
            return None
        return emulators

    @property
    def day(self) -> dt.date:
        """The day that they emulate."""
        return dt.date.fromisoformat(self.accounts[0].day or "")

    @property
    def seed(self) -> int:
        """The seed of its minutes."""
        return self.accounts[0].seed or 0

    async def now(self) -> dt.datetime:
        """The emulated time; all vendors have the same."""
        return dt.datetime.fromisoformat((await self._controls[0].state())["now"])

    async def step_to(self, target: dt.datetime) -> None:
        """Move the clock; each vendor catches up with it when it is asked for something."""
        await self._controls[0].step_to(target)

    async def account_of(self, place: int, device_id: str) -> dict[str, Any]:
        """A vendor's own account of a battery."""
        account: dict[str, Any] = (await self._controls[place].state())["systems"][device_id]
        return account

    async def stop(self) -> None:
        """End the process; the run is over."""
        try:
            await self._controls[0].stop()
        except AdapterError:
            return  # it has ended already
        finally:
            await self.close()
            self.ready_file.unlink(missing_ok=True)

    async def close(self) -> None:
        """Close the connections, leaving the process as it is."""
        for control in self._controls:
            await control.close()
