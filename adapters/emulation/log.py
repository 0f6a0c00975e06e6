"""What an emulator saw and did: the witness that tests and demonstrations compare Tidewatt's journal with."""

from __future__ import annotations

import datetime as dt
import json
from collections import Counter, deque
from pathlib import Path
from typing import Any

KEPT_EVENTS = 100_000


class EventLog:
    """What the emulator saw and did, in its own time; also written to a file, line by line.

    In memory it keeps the latest events only, and how often each happened.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Open the file, so that a path that cannot be written is known at once."""
        self._events: deque[dict[str, Any]] = deque(maxlen=KEPT_EVENTS)
        self._counts: Counter[tuple[str, str | None]] = Counter()
        self._path = path
        if path is not None:
            path.touch()

    def add(self, at: dt.datetime, event: str, **details: Any) -> None:
        """Append one event."""
        entry = {"at": at.isoformat(), "event": event, **details}
        self._events.append(entry)
        self._counts[event, details.get("sn")] += 1
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")

    @property
    def events(self) -> list[dict[str, Any]]:
        """The latest events."""
        return list(self._events)

    def count(self, event: str, serial_number: str) -> int:
        """How often an event happened to a system."""
        return self._counts[event, serial_number]
