"""What is refused before anything is sent, and what the vendor refuses."""

from __future__ import annotations

import dataclasses
from collections.abc import Awaitable, Callable

from adapters.contract import (
    AdapterError,
    Channel,
    Command,
    Device,
    Dispatchable,
    IntentRefusedError,
    QuotaExceededError,
    Readable,
    Rejected,
    Unknown,
)
from adapters.testing.bench import BATTERY, Bench
from adapters.testing.case import (
    POWER_KW,
    NotApplicableError,
    at_most,
    case,
    drive,
    first_drive,
    known_read,
    lacks,
    must,
    near,
    settle,
    signed,
    typed_failure,
)
from engine.intent import IntentMode

MOST_CALLS = 1100
"""Beyond every limit of a vendor that is worth the name."""


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


def _anyone(bench: Bench, number: int) -> Device:
    """The device and others in turn: failures may be kept for one, and others be known not to exist."""
    return bench.device() if number % 2 else bench.device(device_id=f"OTHER{number}")


async def _beyond_limit(bench: Bench, ask: Callable[[int], Awaitable[object]]) -> object:
    """What comes of the first call that is not made, an error or a receipt."""
    limited = False
    for number in range(MOST_CALLS):
        before = len(bench.seen)
        try:
            outcome = await ask(number)
        except AdapterError as error:
            outcome = error
        if isinstance(outcome, QuotaExceededError | Unknown | Rejected) and len(bench.seen) == before:
            return outcome
        # The limit may be reached while a read is tried again; after that nothing more is asked.
        must(not limited or len(bench.seen) == before, "a call beyond the limit is not made", bench.seen[before:])
        limited = limited or isinstance(outcome, QuotaExceededError)
    raise AssertionError(f"a limit within {MOST_CALLS} calls at once; where there is none say so in Expected.lacks")


@case(Readable)
async def test_c28_quotas_refuse_before_a_socket_opens(bench: Bench) -> None:
    """A call beyond the vendor's limit is never made: a read says when it may be, a command is Rejected."""
    lacks(bench, "quota")
    await known_read(bench)  # logged in
    bench.step(2 * bench.longest_cadence_s)
    bench.switch(server_error_share=1)
    error = await _beyond_limit(bench, lambda number: bench.adapter.read(_anyone(bench, number), Channel.POWER))
    if not isinstance(error, QuotaExceededError):
        raise AssertionError(f"QuotaExceededError; seen: {error!r}")
    must(error.free_at > bench.now, "free_at is in the future", error.free_at)
    bench.switch()
    bench.step((error.free_at - bench.now).total_seconds() + 1)
    try:
        await bench.adapter.read(bench.device(), Channel.POWER)
    except AdapterError as later:  # a failure may be kept longer than that
        must(not isinstance(later, QuotaExceededError), "a call may be made at the time that was told", later)
    if isinstance(bench.adapter, Dispatchable):
        await drive(bench, IntentMode.SELF_CONSUMPTION)
        mode, power_kw = first_drive(bench)
        bench.switch(server_error_share=1)
        receipt = await _beyond_limit(bench, lambda _: bench.driver.send(bench.translate(mode, power_kw)))
        must(isinstance(receipt, Rejected) and receipt.retryable, "Rejected, and good for later", receipt)


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
