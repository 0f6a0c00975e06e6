"""A vendor's emulated cloud as the tests hold it."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import Any

from adapters.emulation import Cloud, EmulatedClock, EventLog, FaultBox, Faults


@dataclass
class Served:
    """One emulated cloud that is served on loopback, its clock, its log and its faults."""

    cloud: Cloud
    clock: EmulatedClock
    log: EventLog
    faults: FaultBox
    url: str

    def step(self, seconds: float) -> None:
        """Let emulated time pass."""
        self.clock.step_to(self.clock.now() + dt.timedelta(seconds=seconds))
        self.cloud.advance()

    def switch(self, **faults: Any) -> None:
        """Put these faults in force instead of the others."""
        self.faults.switch(Faults(**faults))

    def events(self, event: str, **details: Any) -> list[dict[str, Any]]:
        return [entry for entry in self.log.events if {"event": event, **details}.items() <= entry.items()]
