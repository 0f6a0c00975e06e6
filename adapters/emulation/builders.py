"""Emulators by name: entry points of `tidewatt.emulators`, built-in and third-party ones alike.

An entry point names a function `build(sites, clock, log, faults) -> Cloud` in a module that also has `CADENCES_S`, the
cadences of the readings that its sites need, and `MOST_SITES` where one cloud of it takes no more.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Protocol

from adapters.contract import ConfigurationError
from adapters.emulation.clock import EmulatedClock
from adapters.emulation.control import Cloud
from adapters.emulation.faults import FaultBox
from adapters.emulation.log import EventLog
from adapters.emulation.site import EmulatedSite
from adapters.registry import EMULATORS, names


class Builder(Protocol):
    """Makes the cloud of one vendor around sites."""

    def __call__(self, sites: Sequence[EmulatedSite], clock: EmulatedClock, log: EventLog, faults: FaultBox) -> Cloud:
        """Build the cloud, with throw-away credentials; nothing is served yet."""
        ...


@dataclass(frozen=True)
class Emulator:
    """How to emulate one vendor."""

    name: str
    build: Builder
    cadences_s: tuple[float, ...]
    """The cadences of the readings that its sites need [s]."""
    most_sites: int | None = None
    """How many sites one cloud takes; None: as many as there are."""


def emulator(name: str) -> Emulator:
    """The emulator of one vendor.

    Raises:
        ConfigurationError: There is none of that name, or its module has no cadences.
    """
    for point in entry_points(group=EMULATORS, name=name):
        build = point.load()
        module = sys.modules[build.__module__]
        cadences_s = getattr(module, "CADENCES_S", None)
        if not cadences_s:
            raise ConfigurationError(f"emulator {name}: its module has no CADENCES_S; mend its package")
        return Emulator(name, build, tuple(cadences_s), getattr(module, "MOST_SITES", None))
    raise ConfigurationError(f"emulator: {name!r} is not installed; choose one of {', '.join(names(EMULATORS))}")
