"""The one source of time above the engine: real, or simulated so that a day passes in seconds.

Either is an `adapters.contract.Clock`: calling it tells the time.
"""

from __future__ import annotations

import datetime as dt
import time


class RealClock:
    """The machine's clock."""

    def __call__(self) -> dt.datetime:
        """Now, aware UTC."""
        return dt.datetime.now(dt.UTC)

    def monotonic(self) -> float:
        """Seconds that no step of the clock changes."""
        return time.monotonic()


class SimulatedClock:
    """A clock that moves only when told to, and never backwards."""

    def __init__(self, start: dt.datetime) -> None:
        if start.tzinfo is None:
            raise ValueError("start: it has no zone; use an aware time")
        self._now = start.astimezone(dt.UTC)

    def __call__(self) -> dt.datetime:
        """The simulated time, aware UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds that have been simulated."""
        return self._now.timestamp()

    def move_to(self, target: dt.datetime) -> None:
        """Let time pass.

        Raises:
            ValueError: The target lies in the past.
        """
        if target < self._now:
            raise ValueError(f"clock: {target.isoformat()} is before {self._now.isoformat()}")
        self._now = target.astimezone(dt.UTC)
