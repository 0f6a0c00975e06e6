"""The emulator's time: stepped by whoever drives it, or running at a multiple of real time."""

from __future__ import annotations

import datetime as dt
import time


class EmulatedClock:
    """The emulator's time: stepped by whoever drives it, or running at a multiple of real time."""

    def __init__(self, start: dt.datetime, speed: float | None) -> None:
        self._start = start
        self._speed = speed
        self._begun = time.monotonic()
        self._stepped_to = start

    @property
    def is_stepped(self) -> bool:
        """Whether time stands still until somebody steps it."""
        return self._speed is None

    def now(self) -> dt.datetime:
        """The emulated time, aware UTC."""
        if self._speed is None:
            return self._stepped_to
        return self._start + dt.timedelta(seconds=(time.monotonic() - self._begun) * self._speed)

    def step_to(self, target: dt.datetime) -> None:
        """Move a stepped clock forward.

        Raises:
            ValueError: The clock runs by itself, or the target lies in its past.
        """
        if not self.is_stepped:
            raise ValueError("clock: it runs by itself; start the emulator with --stepped to drive it")
        if target < self._stepped_to:
            raise ValueError(f"clock: {target.isoformat()} is before {self._stepped_to.isoformat()}")
        self._stepped_to = target
