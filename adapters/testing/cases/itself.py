"""What an adapter says of itself, before anybody is asked and when it ends."""

from __future__ import annotations

import asyncio
import contextlib
import traceback

from adapters.contract import (
    Closable,
    ConfigurationError,
    Dispatchable,
    IntentRefusedError,
    Readable,
    dispatchable,
)
from adapters.testing.bench import Bench
from adapters.testing.case import case, must


@case()
async def test_c01_nothing_is_contacted_at_creation(bench: Bench) -> None:
    """Creating and closing an adapter contacts nobody."""
    other = bench.create()
    await asyncio.sleep(0.02)
    if isinstance(other, Closable):
        await other.close()
    must(not bench.seen, "no request", bench.seen)


@case()
async def test_c02_abilities_are_consistent(bench: Bench) -> None:
    """Abilities are consistent, and an adapter that only watches cannot be driven."""
    adapter, name = bench.adapter, bench.subject.name
    must(isinstance(adapter, Readable | Dispatchable), "the adapter reads or drives", type(adapter).__name__)
    abilities = adapter.abilities
    drives = isinstance(adapter, Dispatchable)
    if bench.expected.drives is not None:
        must(drives == bench.expected.drives, f"drives batteries: {bench.expected.drives}", drives)
    must(bool(abilities.modes) == drives, "modes are declared just where batteries can be driven", abilities.modes)
    must(abilities.power_cadence_s > 0 and abilities.state_cadence_s > 0, "cadences above 0", abilities)
    if not drives:
        with contextlib.suppress(IntentRefusedError):
            dispatchable(adapter, name)
            raise AssertionError("dispatchable() refuses an adapter that only watches")
        return
    must(dispatchable(adapter, name) is adapter, "dispatchable() gives the adapter")
    must(abilities.settling_s > 0, "a command takes time to show", abilities.settling_s)
    if abilities.command_lifetime_s is not None:
        renew_s = abilities.renew_after_s
        must(
            renew_s is not None and 0 < renew_s <= abilities.command_lifetime_s / 1.25,
            "a command that lapses is renewed well before",
            renew_s,
        )


@case()
async def test_c03_wrong_settings_are_named_and_never_shown(bench: Bench) -> None:
    """A missing, misspelt or wrong setting is a ConfigurationError that shows no value and names what is misspelt."""
    canary = "a-canary-of-the-settings"
    required = sorted(bench.secret_settings())
    must(bool(required), "the account has secret settings; name them in Expected.secrets", sorted(bench.account()))
    missing = {name: value for name, value in bench.account().items() if name != required[0]}
    wrong = {**bench.account(), required[0]: [canary]}
    for settings, named in ((missing, ""), ({**bench.account(), "mispelt": canary}, "mispelt"), (wrong, "")):
        try:
            bench.subject.create(settings, bench.clock.now)
        except ConfigurationError as error:
            text = f"{error} {error!r} {''.join(traceback.format_exception(error))}"
            must(named in text, f"the error names {named}", text)
            must(canary not in text, "the error shows no value", text)
            must(not any(value in text for value in bench.secret_settings().values()), "the error shows no secret")
        else:
            raise AssertionError("ConfigurationError for wrong settings; seen: they were taken")


@case(Readable, Closable)
async def test_c42_closing_closes(bench: Bench) -> None:
    """Closing lets go of every connection, and may be done twice."""
    await bench.read_all()
    for _ in range(2):
        await bench.adapter.close()
    for _ in range(50):
        if not bench.connections:
            break
        await asyncio.sleep(0.01)
    must(bench.connections == 0, "no connection is open at the server", bench.connections)
