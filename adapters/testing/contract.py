"""What every adapter promises, as numbered cases against the vendor's emulator over real HTTP.

Under pytest: import everything from here into a test module that has a fixture `subject` (`adapters.testing.Subject`).
Each case is a plain function of a subject; what does not apply to a vendor is skipped with the reason. A case says what
was promised and what was seen instead, and needs no more of a vendor than `Subject` has.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import datetime as dt
import inspect
import json
import logging
import time
import traceback
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import SkipTest

from adapters.contract import (
    Accepted,
    AdapterError,
    BatchDispatchable,
    Channel,
    Closable,
    Command,
    ConfigurationError,
    Discoverable,
    Dispatchable,
    IntentRefusedError,
    Progress,
    QuotaExceededError,
    Readable,
    Rejected,
    Schedulable,
    Telemetry,
    Trackable,
    Unknown,
    Watchable,
    dispatchable,
)
from adapters.testing.bench import BATTERY, TIMEOUT_S, Bench
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


class NotApplicableError(SkipTest):
    """The vendor has nothing that the case is about."""


@dataclass(frozen=True)
class Case:
    """One promise."""

    number: int
    title: str
    run: Callable[[Subject], None]


CASES: list[Case] = []


def case(*capabilities: type, **setting: Any) -> Callable[[Callable[[Bench], Awaitable[None]]], Callable[..., None]]:
    """Make a coroutine on a bench a numbered case of a subject.

    Args:
        capabilities: Protocols without which the case does not apply.
        setting: `load_kw`, `pv_kw`, `soc`, `sites` of the emulated world.
    """
    world = {"soc": 0.5, "sites": 1, **HOUSE, **setting}

    def wrap(body: Callable[[Bench], Awaitable[None]]) -> Callable[..., None]:
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

        title = inspect.getdoc(body) or ""
        run.__name__ = run.__qualname__ = body.__name__
        run.__doc__, run.__module__ = title, body.__module__
        CASES.append(Case(len(CASES) + 1, title.splitlines()[0], run))
        if not body.__name__.startswith(f"test_c{len(CASES):02}_"):
            raise TypeError(f"{body.__name__}: cases are numbered in order; this is {len(CASES)}")
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


# --- what an adapter says of itself ---


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


# --- telemetry ---


async def _signs(bench: Bench) -> None:
    await settle(bench)
    seen: set[str] = set()
    truth = bench.site.plant.sample
    for channel, reading in (await bench.read_all()).items():
        if reading is None:
            continue
        must(reading.channel is channel, f"the reading says that it is of the {channel.value} channel", reading)
        for name in ("battery_kw", "grid_kw", "pv_kw", "load_kw"):
            value, wanted = getattr(reading, name), getattr(truth, name)
            if value is not None:
                seen.add(name)
                must(near(value, wanted, POWER_KW), f"{channel.value}: {name} is {wanted:.3f} kW", value)
        if reading.soc is not None:
            seen.add("soc")
            must(near(reading.soc, truth.soc, SOC), f"{channel.value}: soc is {truth.soc:.3f}", reading.soc)
        powers = (reading.load_kw, reading.grid_kw, reading.pv_kw, reading.battery_kw)
        if None not in powers:
            load, grid, pv, battery = (value or 0.0 for value in powers)
            must(near(load, grid + pv + battery, 3 * POWER_KW), "load = grid + pv + battery", reading)
    must(seen >= bench.expected.gives, f"telemetry has {sorted(bench.expected.gives)}", sorted(seen))


@case(Readable, load_kw=1.0, pv_kw=3.5)
async def test_c04_telemetry_of_a_charging_battery(bench: Bench) -> None:
    """Telemetry of a battery that charges from the sun: battery below 0, the identity holds."""
    await _signs(bench)
    must(bench.battery_kw < -2, "the emulated battery charges", bench.battery_kw)


@case(Readable, load_kw=2.5, pv_kw=0.5)
async def test_c05_telemetry_of_a_discharging_battery(bench: Bench) -> None:
    """Telemetry of a battery that covers the house: battery above 0, the identity holds."""
    await _signs(bench)
    must(bench.battery_kw > 1.9, "the emulated battery discharges", bench.battery_kw)


@case(Readable, load_kw=1.0, pv_kw=4.0, soc=1.0)
async def test_c06_telemetry_of_an_exporting_site(bench: Bench) -> None:
    """Telemetry of a full battery under the sun: grid below 0, the identity holds."""
    await _signs(bench)
    must(bench.site.plant.sample.grid_kw < -2.9, "the emulated site exports", bench.site.plant.sample)


@case(Readable, load_kw=2.0, pv_kw=0.5, soc=0.1)
async def test_c07_telemetry_of_an_importing_site(bench: Bench) -> None:
    """Telemetry of an empty battery: grid above 0, the identity holds."""
    await _signs(bench)
    must(bench.site.plant.sample.grid_kw > 1.4, "the emulated site imports", bench.site.plant.sample)


@case(Readable)
async def test_c08_times_are_the_vendors_own(bench: Bench) -> None:
    """A reading is as old as the vendor says, not as the answer."""
    if not bench.expected.stamps_readings:
        raise NotApplicableError("readings carry no time of the vendor")
    await settle(bench)
    for channel in Channel:
        cadence_s = getattr(bench.adapter.abilities, f"{channel.value}_cadence_s")
        into_s = bench.now.timestamp() % cadence_s
        bench.step((0.4 * cadence_s - into_s) % cadence_s)
        reading = await known_read(bench, channel)
        must(reading.measured_at.utcoffset() == dt.timedelta(0), "times are aware UTC", reading.measured_at)
        rows = [bench.site.reading(seconds).at for seconds in bench.subject.cadences_s]
        # Rows may reach the vendor's cloud in batches: then its latest is of the last of these, as the adapter says.
        rows.append(bench.now - dt.timedelta(seconds=bench.now.timestamp() % cadence_s))
        must(
            any(abs((reading.measured_at - row).total_seconds()) < 1 for row in rows),
            f"{channel.value}: measured_at is that of a row of the vendor",
            (reading.measured_at, bench.now),
        )


@case(Readable)
async def test_c09_frozen_telemetry_grows_old(bench: Bench) -> None:
    """A cloud that repeats its last reading shows as age."""
    await settle(bench)
    before = await known_read(bench)
    bench.switch(frozen=True)
    begin, cadence_s = bench.now, bench.adapter.abilities.power_cadence_s
    for _ in range(8):
        bench.step(max(cadence_s, 60))
        try:
            reading = await known_read(bench)
        except AdapterError:
            return  # a vendor without time stamps may say that it cannot tell
    age_s, passed_s = ((bench.now - since).total_seconds() for since in (reading.measured_at, begin))
    # Without a time of the vendor it takes a while to know that readings only repeat each other.
    least_s = passed_s - cadence_s if bench.expected.stamps_readings else passed_s / 4
    must(age_s >= least_s, f"a reading {least_s:.0f} s old at least", f"{age_s:.0f} s")
    must(reading.battery_kw == before.battery_kw, "the repeated reading is still the same", reading.battery_kw)


async def _unknown(bench: Bench, written: str) -> None:
    await settle(bench)
    bench.switch(numbers_as=written)
    for channel in Channel:
        try:
            reading = await bench.read(channel)
        except AdapterError:
            continue
        if reading is not None:
            must(not numbers_of(reading), f"{channel.value}: every number is unknown", numbers_of(reading))


@case(Readable)
async def test_c10_null_is_unknown(bench: Bench) -> None:
    """A number that is null is unknown, never 0."""
    await _unknown(bench, "null")


@case(Readable)
async def test_c11_not_available_is_unknown(bench: Bench) -> None:
    """A number that is "N/A" is unknown, never 0."""
    await _unknown(bench, "n/a")


@case(Readable)
async def test_c12_numbers_may_be_texts(bench: Bench) -> None:
    """Numbers that come as text are numbers."""
    bench.switch(numbers_as="text")
    await _signs(bench)


@case(Readable)
async def test_c13_odd_json_is_read_or_refused(bench: Bench) -> None:
    """JSON with odd names and braces is read as what it says, or ends in a typed error."""
    lacks(bench, "odd_json")
    bench.switch(odd_json=True)
    with contextlib.suppress(AdapterError):
        await _signs(bench)


@case(Discoverable)
async def test_c14_devices_are_listed(bench: Bench) -> None:
    """The account's devices are found by the identifiers that reading and driving take."""
    found = {device.device_id for device in await bench.adapter.devices()}
    must(bench.site.device_id in found, f"{bench.site.device_id} is among them", found)


@case(Watchable)
async def test_c15_readings_come_by_themselves(bench: Bench) -> None:
    """Readings that the vendor sends by itself are those of the plant."""
    await settle(bench)
    stream = bench.adapter.watch(bench.device())
    coming = asyncio.ensure_future(anext(stream))
    for _ in range(100):
        await asyncio.wait({coming}, timeout=0.05)
        if coming.done():
            break
        bench.step(1)
    must(coming.done(), "a reading within 100 s of the plant's time")
    wanted, value = bench.battery_kw, coming.result().battery_kw
    await stream.aclose()
    must(near(value, wanted, POWER_KW), f"battery_kw is {wanted:.3f}", value)


# --- intents ---


async def _obeys(bench: Bench, mode: IntentMode, power_kw: float, wanted_kw: float) -> None:
    if mode not in bench.driver.abilities.modes:
        try:
            bench.translate(mode, power_kw)
        except IntentRefusedError:
            raise NotApplicableError(f"{mode.value} is not declared, and refused") from None
        raise AssertionError(f"{mode.value} is not declared and must be refused")
    await settle(bench)
    sent_at = bench.now
    command = await drive(bench, mode, power_kw)
    must(near(command.battery_kw, signed(mode, power_kw), POWER_KW), "the command carries the power", command)
    must(command.releases == (mode is IntentMode.SELF_CONSUMPTION), "the command says whether it releases", command)
    must(near(bench.battery_kw, wanted_kw, POWER_KW), f"the battery gives {wanted_kw:+g} kW in time", bench.battery_kw)
    if isinstance(bench.adapter, Readable):
        reading = await known_read(bench)
        must(near(reading.battery_kw, wanted_kw, POWER_KW), f"telemetry shows {wanted_kw:+g} kW in time", reading)
        must(reading.measured_at >= sent_at, "the reading is newer than the command", reading.measured_at)


@case(Dispatchable)
async def test_c16_charge_charges(bench: Bench) -> None:
    """CHARGE charges with the power asked for within the settling time, and telemetry shows it."""
    await _obeys(bench, IntentMode.CHARGE, 2.0, -2.0)


@case(Dispatchable)
async def test_c17_discharge_discharges(bench: Bench) -> None:
    """DISCHARGE discharges with the power asked for within the settling time, and telemetry shows it."""
    await _obeys(bench, IntentMode.DISCHARGE, 1.5, 1.5)


@case(Dispatchable)
async def test_c18_hold_holds(bench: Bench) -> None:
    """HOLD stops a battery that would follow the house: it is not a release."""
    await _obeys(bench, IntentMode.HOLD, 0.0, 0.0)


@case(Dispatchable)
async def test_c19_self_consumption_lets_go(bench: Bench) -> None:
    """SELF_CONSUMPTION after a set-point lets go: the battery follows the house."""
    mode, power_kw = first_drive(bench)
    await drive(bench, mode, power_kw)
    must(near(bench.battery_kw, signed(mode, power_kw), POWER_KW), "the battery is driven first", bench.battery_kw)
    await _obeys(bench, IntentMode.SELF_CONSUMPTION, 0.0, 0.4)


@case(Dispatchable)
async def test_c20_release_lets_go(bench: Bench) -> None:
    """release() lets go of a driven battery."""
    mode, power_kw = first_drive(bench)
    await drive(bench, mode, power_kw)
    command = bench.driver.release(bench.device())
    must(command.releases and command.battery_kw == 0, "the command says that it releases", command)
    receipt = await bench.driver.send(command)
    must(isinstance(receipt, Accepted), "the release is accepted", receipt)
    bench.step(bench.driver.abilities.settling_s)
    must(near(bench.battery_kw, 0.4, POWER_KW), "the battery follows the house, +0.4 kW", bench.battery_kw)


@case(Dispatchable)
async def test_c21_commands_end_by_themselves(bench: Bench) -> None:
    """A command that nobody renews ends by itself: after its lifetime, or at the end of its intent."""
    mode, power_kw = first_drive(bench)
    abilities = bench.driver.abilities
    await drive(bench, mode, power_kw)
    bench.step((abilities.command_lifetime_s or 15 * 60) + abilities.settling_s)
    wanted = signed(mode, power_kw)
    must(not near(bench.battery_kw, wanted, 0.2), f"no more {wanted:+g} kW", bench.battery_kw)


@case(Trackable)
async def test_c22_progress_can_be_followed(bench: Bench) -> None:
    """A command that was accepted is running or done, never failed, and asking never raises."""
    mode, power_kw = first_drive(bench)
    command: Command = bench.translate(mode, power_kw)
    receipt = await bench.driver.send(command)
    if not isinstance(receipt, Accepted):
        raise AssertionError(f"accepted; seen: {receipt!r}")
    bench.step(bench.driver.abilities.settling_s)
    tracked = await bench.adapter.track(command, receipt)
    must(tracked.progress in (Progress.RUNNING, Progress.DONE), "running or done", tracked)
    bench.switch(server_error_share=1)
    tracked = await bench.adapter.track(command, receipt)
    must(tracked.progress is not Progress.FAILED, "a question that fails is no failure of the command", tracked)


@case(BatchDispatchable, sites=2)
async def test_c23_batches_have_a_receipt_each(bench: Bench) -> None:
    """Commands of several devices: one receipt each, in order, and each battery does its own."""
    mode, power_kw = first_drive(bench)
    commands = [bench.translate(mode, power_kw), bench.translate(mode, power_kw / 2, number=1)]
    receipts = await bench.adapter.send_many(commands)
    must([type(receipt) for receipt in receipts] == [Accepted] * 2, "two receipts", receipts)
    bench.step(bench.driver.abilities.settling_s)
    for site, wanted in zip(bench.sites, (power_kw, power_kw / 2), strict=True):
        seen = site.plant.sample.battery_kw
        must(near(seen, signed(mode, wanted), POWER_KW), f"{site.device_id}: {signed(mode, wanted):+g} kW", seen)


@case(Schedulable)
async def test_c24_schedules_take_no_more_calls_than_intents(bench: Bench) -> None:
    """A plan becomes calls in order, no more of them than intents, each with time to be sent in."""
    mode, power_kw = first_drive(bench)
    quarter = dt.timedelta(minutes=15)
    intents = [
        dataclasses.replace(
            bench.intent(mode, power_kw), not_before=bench.now + n * quarter, not_after=bench.now + (n + 1) * quarter
        )
        for n in range(4)
    ]
    sendings = bench.adapter.schedule(intents, bench.device(), None)
    times = [sending.send_at for sending in sendings]
    must(0 < len(sendings) <= len(intents) + 1, "at most one call an intent and one to end", len(sendings))
    must(times == sorted(times), "in order", times)
    must(all(sending.send_at < sending.not_after for sending in sendings), "each has time", sendings)
    must(not bench.seen, "nothing is sent yet", bench.seen)


# --- refusals ---


def _refused(bench: Bench, what: str, make: Callable[[], Command]) -> None:
    before = len(bench.seen)
    try:
        command = make()
    except IntentRefusedError:
        must(len(bench.seen) == before, f"{what} is refused before any request", bench.seen[before:])
        return
    raise AssertionError(f"{what} is refused; seen: {command!r}")


@case(Dispatchable)
async def test_c25_power_over_the_rating_is_refused(bench: Bench) -> None:
    """A power far above the rating is a wrong unit: refused before any request; a little above is clamped."""
    for mode, rating in ((IntentMode.CHARGE, BATTERY.max_charge_kw), (IntentMode.DISCHARGE, BATTERY.max_discharge_kw)):
        if mode not in bench.driver.abilities.modes:
            continue
        for factor in (1.2, 1000.0):
            _refused(bench, f"{mode.value} {factor:g} x the rating", lambda: bench.translate(mode, rating * factor))  # noqa: B023
        command = bench.translate(mode, rating * 1.04)
        must(abs(command.battery_kw) <= rating + 1e-9, f"clamped to {rating:g} kW", command.battery_kw)
        must(command.battery_kw * signed(mode, 1) > 0, f"{mode.value} keeps its direction", command.battery_kw)


@case(Dispatchable)
async def test_c26_no_device_is_refused(bench: Bench) -> None:
    """A device without an identifier is refused before any request: it might mean every device."""
    mode, power_kw = first_drive(bench)
    for nobody in ("", " "):
        device = bench.device(device_id=nobody)
        _refused(bench, "no device", lambda: bench.driver.translate(bench.intent(mode, power_kw), device, None))  # noqa: B023
        _refused(bench, "no device", lambda: bench.driver.release(device))  # noqa: B023


@case(Dispatchable, Readable)
async def test_c27_the_batterys_own_limits_bind(bench: Bench) -> None:
    """What the battery management allows now is never exceeded, where the vendor tells it."""
    await settle(bench)
    state = await bench.read(Channel.STATE)
    if state is None or state.charge_limit_kw is None or state.discharge_limit_kw is None:
        raise NotApplicableError("telemetry has no limits")
    must(near(state.charge_limit_kw, BATTERY.max_charge_kw, POWER_KW), "charge_limit_kw", state)
    must(near(state.discharge_limit_kw, BATTERY.max_discharge_kw, POWER_KW), "discharge_limit_kw", state)
    tight = dataclasses.replace(state, charge_limit_kw=0.7, discharge_limit_kw=0.9)
    for mode, limit in ((IntentMode.CHARGE, 0.7), (IntentMode.DISCHARGE, 0.9)):
        command = bench.driver.translate(bench.intent(mode, 3.0), bench.device(), tight)
        must(abs(command.battery_kw) <= limit + 1e-9, f"{mode.value}: at most {limit} kW", command.battery_kw)


@case(Readable)
async def test_c28_quotas_refuse_before_a_socket_opens(bench: Bench) -> None:
    """A call beyond the vendor's limit is never made, and the error says when it may be."""
    for _ in range(40):
        before = len(bench.seen)
        try:
            await bench.adapter.read(bench.device(), Channel.POWER)
        except QuotaExceededError as error:
            must(len(bench.seen) == before, "no request", bench.seen[before:])
            must(error.free_at > bench.now, "free_at is in the future", error.free_at)
            bench.clock.step_to(error.free_at + dt.timedelta(seconds=1))
            bench.cloud.advance()
            await bench.adapter.read(bench.device(), Channel.POWER)
            return
    raise NotApplicableError("no limit within 40 reads at once")


@case(Readable)
async def test_c29_too_frequent_is_left_alone(bench: Bench) -> None:
    """A vendor that says "too frequent" is not asked again within its pause."""
    lacks(bench, "rate_limited")
    await bench.read(Channel.POWER)
    bench.step(2 * bench.longest_cadence_s)
    bench.switch(rate_limited=True)
    with at_most(bench, 2, "a call that is too frequent"):
        await typed_failure(bench)
    with at_most(bench, 0, "the pause"):
        await typed_failure(bench)


# --- failures ---


@case(Dispatchable)
async def test_c30_a_lost_answer_is_unknown_and_never_sent_twice(bench: Bench) -> None:
    """A command that was carried out and never answered is Unknown, and is sent once."""
    mode, power_kw = first_drive(bench)
    await drive(bench, IntentMode.SELF_CONSUMPTION)  # logged in
    bench.step(60)
    command: Command = bench.translate(mode, power_kw)
    before = len(bench.seen)
    bench.switch(lost_answers=1)
    receipt = await bench.driver.send(command)
    must(isinstance(receipt, Unknown), "Unknown", receipt)
    made = bench.seen[before:]
    must(sum(seen.status is None for seen in made) == 1, "one request without an answer", made)
    must(made[-1].status is None, "nothing is sent after it", made)
    bench.switch()
    bench.step(bench.driver.abilities.settling_s)
    must(near(bench.battery_kw, signed(mode, power_kw), POWER_KW), "the battery has it", bench.battery_kw)
    must(len(bench.seen) == before + len(made), "nothing is sent later", bench.seen[before:])


@case(Dispatchable)
async def test_c31_a_server_error_on_a_write_is_not_retried(bench: Bench) -> None:
    """A command that is answered with a server error is sent once, and is not taken for accepted."""
    mode, power_kw = first_drive(bench)
    await drive(bench, IntentMode.SELF_CONSUMPTION)
    bench.step(60)
    bench.switch(server_error_share=1)
    with at_most(bench, 1, "a write"):
        receipt = await bench.driver.send(bench.translate(mode, power_kw))
    must(isinstance(receipt, Unknown), "a server error leaves a command Unknown", receipt)


@case(Readable)
async def test_c32_a_server_error_on_a_read_is_retried(bench: Bench) -> None:
    """A read that meets one server error is tried again."""
    if not bench.expected.retries_reads:
        raise NotApplicableError("each call counts against a tight limit")
    await known_read(bench)
    bench.step(2 * bench.longest_cadence_s)
    bench.once(server_error_share=1)
    reading = await bench.read(Channel.POWER)
    must(reading is not None, "a reading all the same")


@case(Readable)
async def test_c33_retries_of_reads_are_bounded(bench: Bench) -> None:
    """A read from a server that is down ends in a typed error after a bounded number of requests."""
    bench.switch(server_error_share=1)
    with at_most(bench, MOST_REQUESTS, "a read"):
        error = await typed_failure(bench)
    must(error.retryable, "it may succeed later", error)
    must(not isinstance(error, ConfigurationError), "nobody has to change anything", error)


@case(Readable)
async def test_c34_silence_ends_in_time(bench: Bench) -> None:
    """A read from a server that says nothing ends in a typed error in bounded time."""
    bench.switch(latency_s=20)
    begin = time.monotonic()
    await typed_failure(bench)
    passed_s = time.monotonic() - begin
    must(passed_s < 6 * TIMEOUT_S + 2, f"an end within {6 * TIMEOUT_S + 2:g} s", f"{passed_s:.1f} s")


async def _recovers_read(bench: Bench, fault: str) -> None:
    lacks(bench, fault)
    await known_read(bench)
    usual = len(bench.seen)  # its own login included
    bench.step(2 * bench.longest_cadence_s)
    bench.once(**{fault: True})
    await known_read(bench)
    made = bench.seen[usual:]
    repeated = any((seen.method, seen.path) == (made[0].method, made[0].path) for seen in made[1:])
    must(repeated, "a refusal and a repetition; where the vendor has no sessions say so in Expected.lacks", made)
    must(len(made) <= usual + 2, "one login and one repetition", [seen.path for seen in made])
    bench.step(2 * bench.longest_cadence_s)
    bench.switch(**{fault: True})
    with at_most(bench, MOST_REQUESTS, "a session that is lost for good"):
        await typed_failure(bench)


@case(Readable)
async def test_c35_an_expired_token_costs_one_login(bench: Bench) -> None:
    """A read whose token has expired costs one login and one repetition; for good, a typed error."""
    await _recovers_read(bench, "tokens_expired")


@case(Readable)
async def test_c36_a_stolen_session_costs_one_login(bench: Bench) -> None:
    """A read whose session somebody else has ended costs one login and one repetition; for good, a typed error."""
    await _recovers_read(bench, "session_stolen")


async def _recovers_write(bench: Bench, fault: str) -> None:
    lacks(bench, fault)
    mode, power_kw = first_drive(bench)
    await drive(bench, IntentMode.SELF_CONSUMPTION)
    usual = len(bench.seen)  # its own login included
    bench.step(60)
    bench.once(**{fault: True})
    receipt = await bench.driver.send(bench.translate(mode, power_kw))
    must(isinstance(receipt, Accepted), "the command is accepted after one new login", receipt)
    must(len(bench.seen) <= 2 * usual + 2, "one login and one repetition", bench.seen[usual:])
    bench.step(bench.driver.abilities.settling_s)
    must(near(bench.battery_kw, signed(mode, power_kw), POWER_KW), "the battery has it", bench.battery_kw)
    bench.step(60)
    bench.switch(**{fault: True})
    with at_most(bench, MOST_REQUESTS, "a session that is lost for good"):
        receipt = await bench.driver.send(bench.translate(mode, power_kw))
    must(isinstance(receipt, Rejected), "a command that was certainly not taken is Rejected", receipt)


@case(Dispatchable)
async def test_c37_a_command_survives_an_expired_token(bench: Bench) -> None:
    """A command whose token has expired is sent anew once; for good, Rejected."""
    await _recovers_write(bench, "tokens_expired")


@case(Dispatchable)
async def test_c38_a_command_survives_a_stolen_session(bench: Bench) -> None:
    """A command whose session somebody else has ended is sent anew once; for good, Rejected."""
    await _recovers_write(bench, "session_stolen")


@case(Dispatchable)
async def test_c39_nobody_there_is_a_rejection(bench: Bench) -> None:
    """A command that cannot have arrived, because nobody listens, is Rejected and may be tried again."""
    mode, power_kw = first_drive(bench)
    dead = bench.create(base_url="http://127.0.0.1:1")
    receipt = await dead.send(bench.translate(mode, power_kw))
    must(isinstance(receipt, Rejected) and receipt.retryable, "Rejected, retryable", receipt)


# --- secrets ---


def _wrong(value: str) -> str:
    return value[:-1] + ("a" if value[-1:] != "a" else "b")


@case(Readable)
async def test_c40_wrong_credentials_are_tried_once(bench: Bench) -> None:
    """Wrong credentials are a ConfigurationError, and are not tried again."""
    for name, value in bench.secret_settings().items():
        adapter = bench.create(**{name: _wrong(value)})
        for attempt in range(2):
            before = len(bench.seen)
            try:
                reading = await adapter.read(bench.device(), Channel.POWER)
            except ConfigurationError as error:
                must(not error.retryable, "nothing to retry", error)
                if attempt:
                    must(len(bench.seen) == before, f"{name}: no second login", bench.seen[before:])
            except AdapterError as error:
                # A limit of calls may stand before the second attempt; what counts is that nothing is sent.
                if not (attempt and isinstance(error, QuotaExceededError) and len(bench.seen) == before):
                    raise AssertionError(f"{name}: ConfigurationError; seen: {error!r}") from error
            else:
                raise AssertionError(f"{name}: ConfigurationError; seen: {reading!r}")


class _Ear(logging.Handler):
    """Hears everything that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        tail = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
        self.heard.append(f"{record.name} {record.getMessage()} {vars(record)!r} {tail}")


@contextlib.contextmanager
def _listening() -> Iterator[_Ear]:
    ear, root, ours = _Ear(), logging.getLogger(), logging.getLogger("adapters")
    levels = {logger: logger.level for logger in (root, ours)}
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(ear)
    try:
        yield ear
    finally:
        root.removeHandler(ear)
        for logger, level in levels.items():
            logger.setLevel(level)


def _told(thing: object) -> str:
    """All that a log, a journal or a screen may show of a thing."""
    if isinstance(thing, BaseException):
        return f"{thing} {thing!r} {thing.args!r} {''.join(traceback.format_exception(thing))}"
    payload = json.dumps(dict(thing.payload), default=str) if isinstance(thing, Command) else ""
    return f"{thing} {thing!r} {payload}"


@case(Readable)
async def test_c41_secrets_are_never_told(bench: Bench) -> None:
    """No secret of account or session is in a log, an error, a repr or a command, whatever goes wrong."""
    things: list[object] = [bench.adapter]
    drives = isinstance(bench.adapter, Dispatchable) and bench.expected.drives is not False
    faults: list[Mapping[str, Any]] = [
        *({}, {"server_error_share": 1}, {"odd_json": True}, {"numbers_as": "n/a"}, {"lost_answers": 3}),
        *({"tokens_expired": True}, {"session_stolen": True}, {"rate_limited": True}),
    ]
    with _listening() as ear:
        for fault in faults:
            bench.switch(**fault)
            await _collect(bench, bench.adapter, drives, things)
            bench.step(2 * bench.longest_cadence_s)
        bench.switch()
        for name, value in bench.secret_settings().items():
            adapter = bench.create(**{name: _wrong(value)})
            bench.secrets.add(_wrong(value))
            await _collect(bench, adapter, drives, things)
    bench.secrets |= set(bench.secret_settings().values())
    must(bool(bench.secrets), "the account has secrets; name their settings in Expected.secrets")
    texts = [
        *(_told(thing) for thing in things),
        *ear.heard,
        json.dumps(bench.log.events),
        json.dumps(bench.cloud.state()),
    ]
    for text in texts:
        leaked = [secret for secret in bench.secrets if secret in text]
        must(not leaked, "no secret is told", text[:300] if leaked else "")


async def _collect(bench: Bench, adapter: Any, drives: bool, things: list[object]) -> None:
    for channel in Channel:
        try:
            things.append(await adapter.read(bench.device(), channel))
        except AdapterError as error:
            things.append(error)
            logging.getLogger("adapters.testing").exception("a read failed")
    if drives:
        command = adapter.translate(bench.intent(*first_drive(bench)), bench.device(), None)
        things += [command, adapter.release(bench.device()), await adapter.send(command)]
    things.append(adapter)


# --- the end ---


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


__all__ = [made.run.__name__ for made in CASES]
