"""What a vendor that fails may cost: requests, sessions, certainty."""

from __future__ import annotations

import time

from adapters.contract import (
    Accepted,
    Channel,
    Command,
    ConfigurationError,
    Dispatchable,
    Readable,
    Rejected,
    Unknown,
)
from adapters.testing.bench import TIMEOUT_S, Bench
from adapters.testing.case import (
    MOST_REQUESTS,
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
    signed,
    typed_failure,
)
from engine.intent import IntentMode


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
