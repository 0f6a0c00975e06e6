"""What commands do to the battery, and when they end."""

from __future__ import annotations

import dataclasses
import datetime as dt

from adapters.contract import (
    Accepted,
    BatchDispatchable,
    Command,
    Dispatchable,
    IntentRefusedError,
    Progress,
    Readable,
    Schedulable,
    Trackable,
)
from adapters.testing.bench import Bench
from adapters.testing.case import (
    POWER_KW,
    NotApplicableError,
    case,
    drive,
    first_drive,
    known_read,
    must,
    near,
    settle,
    signed,
)
from engine.intent import IntentMode


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
