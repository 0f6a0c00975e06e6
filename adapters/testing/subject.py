"""Whom the cases are about: an adapter, its emulator, and the little that neither says of itself."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any

from adapters.contract import ConfigurationError
from adapters.emulation import Cloud, EmulatedClock, EmulatedSite, EventLog, FaultBox
from adapters.registry import GROUP, AdapterFactory

Build = Callable[[Sequence[EmulatedSite], EmulatedClock, EventLog, FaultBox], Cloud]
READING_FIELDS = frozenset({"battery_kw", "grid_kw", "pv_kw", "load_kw", "soc"})


@dataclass(frozen=True)
class Expected:
    """What a vendor is known to have or to lack; the defaults ask for everything."""

    gives: frozenset[str] = READING_FIELDS
    """Fields of `Telemetry` that at least one of its channels has."""
    lacks: frozenset[str] = frozenset()
    """Faults that the vendor cannot have: `session_stolen` where there is no session, and so on; `quota` where it
    has no limit of calls that an adapter could keep."""
    drives: bool | None = None
    """Whether its batteries can be driven; None believes the adapter."""
    stamps_readings: bool = True
    """Whether readings carry the vendor's own time."""
    retries_reads: bool = True
    """Whether a read is tried again at once; not where each call counts against a tight limit."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that the cases need beside the emulator's account: what commissioning would have found."""
    secrets: frozenset[str] = frozenset()
    """Settings that are secret though their names do not say so."""


@dataclass(frozen=True)
class Subject:
    """One adapter under test."""

    name: str
    create: AdapterFactory
    """The adapter's entry point; its settings have `base_url` and `timeout_s`."""
    build: Build
    """The emulator's builder."""
    cadences_s: Sequence[float]
    """How often the emulator's sites have new readings [s]."""
    expected: Expected = Expected()


_NO_SESSION = frozenset({"session_stolen", "tokens_expired"})
EXPECTED: Mapping[str, Expected] = {
    "alphaess": Expected(drives=True, lacks=frozenset({"rate_limited", "quota"})),
    "huawei": Expected(drives=True, stamps_readings=False),
    "xolta": Expected(
        drives=True,
        lacks=frozenset({"session_stolen"}),
        retries_reads=False,
        settings={"commissioned": True, "setpoint_unit": "kW", "setpoint_sign": 1},
    ),
    "solax": Expected(drives=False, lacks=_NO_SESSION, retries_reads=False),
    "ingeteam": Expected(
        drives=False, lacks=_NO_SESSION | {"rate_limited", "quota"}, stamps_readings=False, retries_reads=False
    ),
}


def installed() -> list[Subject]:
    """Every installed adapter, with the emulator that lies beside it.

    The module `emulator` of the entry point's package has `build`, `CADENCES_S` and, if the defaults do not fit,
    `EXPECTED`.

    Raises:
        ConfigurationError: An adapter has no emulator to be tested against.
    """
    return [
        _subject(point.name, point.module.rpartition(".")[0], point.load())
        for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)
    ]


def _subject(name: str, package: str, create: AdapterFactory) -> Subject:
    try:
        emulator = importlib.import_module(f"{package}.emulator")
        expected = getattr(emulator, "EXPECTED", EXPECTED.get(name, Expected()))
        return Subject(name, create, emulator.build, emulator.CADENCES_S, expected)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(
            f"{name}: {package}.emulator with build and CADENCES_S is missing ({error}); write one"
        ) from error
