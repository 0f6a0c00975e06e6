"""A numbered case, and what cases have in common: a bench, a promise, what was seen instead."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import inspect
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    Command,
    Telemetry,
)
from adapters.testing.bench import Bench
from adapters.testing.subject import Subject
from engine.intent import IntentMode

POWER_KW = 0.03
"""How exactly powers are told [kW]: readings have whole watts at best, some vendors tens of them."""
SOC = 0.011
"""How exactly the state of charge is told [fraction]: some vendors give whole percents."""
MOST_REQUESTS = 12
"""No read may take more, whatever the server does: three tries, each with a login and a repetition."""
DRIVEN = {IntentMode.CHARGE: 2.0, IntentMode.DISCHARGE: 1.5}
HOUSE = {"load_kw": 1.0, "pv_kw": 0.6}


Body = Callable[[Bench], Awaitable[None]]


class NotApplicableError(SkipTest):
    """The vendor has nothing that the case is about."""


@dataclass(frozen=True)
class Case:
    """One promise."""

    number: int
    title: str
    run: Callable[[Subject], None]

    @classmethod
    def of(cls, run: Callable[[Subject], None]) -> Case:
        """The case that a function is, by its name and the first line of what it says of itself."""
        return cls(int(run.__name__.split("_")[1][1:]), (run.__doc__ or "").splitlines()[0], run)


def case(*capabilities: type, **setting: Any) -> Callable[[Body], Callable[[Subject], None]]:
    """Make a coroutine on a bench a case of a subject.

    Args:
        capabilities: Protocols without which the case does not apply.
        setting: `load_kw`, `pv_kw`, `soc`, `sites` of the emulated world.
    """
    world = {"soc": 0.5, "sites": 1, **HOUSE, **setting}

    def wrap(body: Body) -> Callable[[Subject], None]:
        def run(subject: Subject) -> None:
            async def main() -> None:
                # An emulator may have room for one site only: look at the adapter before more are asked for.
                async with Bench(subject, **{**world, "sites": 1}).open() as bench:
                    for capability in capabilities:
                        if not isinstance(bench.adapter, capability):
                            raise NotApplicableError(f"not {capability.__name__}")
                    if world["sites"] == 1:
                        await body(bench)
                        return
                async with Bench(subject, **world).open() as bench:
                    await body(bench)

            asyncio.run(main())

        run.__name__ = run.__qualname__ = body.__name__
        run.__doc__, run.__module__ = inspect.getdoc(body), body.__module__
        return run

    return wrap


def must(condition: bool, promise: str, seen: object = "") -> None:
    """Fail with what was promised and what was seen."""
    if not condition:
        raise AssertionError(f"{promise}; seen: {seen!r}" if seen != "" else promise)


def near(value: float | None, wanted: float, by: float) -> bool:
    """Whether a value is known and as wanted."""
    return value is not None and abs(value - wanted) <= by


def lacks(bench: Bench, fault: str) -> None:
    """Skip where the vendor cannot have a fault."""
    if fault in bench.expected.lacks:
        raise NotApplicableError(f"nothing like {fault} at this vendor")


@contextlib.contextmanager
def at_most(bench: Bench, requests: int, what: str) -> Iterator[None]:
    """Fail where more requests than so many reach the server."""
    before = len(bench.seen)
    yield
    made = bench.seen[before:]
    must(len(made) <= requests, f"{what}: at most {requests} requests", [seen.path for seen in made])


async def settle(bench: Bench) -> None:
    """Let the world rest until all channels show it."""
    bench.step(2 * bench.longest_cadence_s + 10)


async def known_read(bench: Bench, channel: Channel = Channel.POWER, adapter: Any = None) -> Telemetry:
    """A reading that must be there."""
    reading = await bench.read(channel, adapter)
    if reading is None:
        raise AssertionError(f"a reading on the {channel.value} channel; seen: none")
    return reading


async def typed_failure(bench: Bench, channel: Channel = Channel.POWER) -> AdapterError:
    """A read that must fail with a typed error."""
    try:
        reading = await bench.adapter.read(bench.device(), channel)
    except AdapterError as error:
        return error
    raise AssertionError(f"a typed error; seen: {reading!r}")


async def drive(bench: Bench, mode: IntentMode, power_kw: float = 0.0, number: int = 0) -> Command:
    """Send an intent that must be accepted, and let it settle."""
    command: Command = bench.translate(mode, power_kw, number)
    receipt = await bench.driver.send(command)
    must(isinstance(receipt, Accepted), f"{mode.value} is accepted", receipt)
    bench.step(bench.driver.abilities.settling_s)
    return command


def first_drive(bench: Bench) -> tuple[IntentMode, float]:
    """A mode that moves the battery, with a power for it."""
    for mode, power_kw in DRIVEN.items():
        if mode in bench.driver.abilities.modes:
            return mode, power_kw
    raise NotApplicableError("no mode that moves the battery")


def signed(mode: IntentMode, power_kw: float) -> float:
    """The battery's power that an intent asks for, + discharges [kW]."""
    return -power_kw if mode is IntentMode.CHARGE else power_kw


def numbers_of(reading: Telemetry) -> dict[str, float]:
    """All numbers that a reading has."""
    flat = {**dataclasses.asdict(reading), **dataclasses.asdict(reading.registers)}
    return {
        name: value for name, value in flat.items() if isinstance(value, int | float) and not isinstance(value, bool)
    }
