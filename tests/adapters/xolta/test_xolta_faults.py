"""What the adapter makes of each fault of the emulated cloud, over HTTP on loopback."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    ConfigurationError,
    QuotaExceededError,
    Rejected,
    Unknown,
    VendorUnavailableError,
)
from tests.adapters.xolta.given import MINUTE


def test_a_lost_answer_is_unknown(using, emulate, device, intent):
    world = emulate()
    world.switch(lost_answers=1)

    async def work(adapter):
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    assert isinstance(using(world.settings(timeout_s=0.5), world.clock.now, work), Unknown)
    assert len(world.events("command")) == 1


def test_a_server_that_is_down_ends_in_typed_outcomes(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        await adapter.read(device(), Channel.POWER)  # the login works
        world.step(60)
        world.switch(server_error_share=1.0)
        with pytest.raises(VendorUnavailableError):
            await adapter.read(device(), Channel.POWER)
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    assert isinstance(using(world.settings(), world.clock.now, work), Unknown)


def test_without_a_login_a_command_was_certainly_not_sent(using, emulate, device, intent):
    world = emulate()
    world.switch(server_error_share=1.0)

    async def work(adapter):
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    receipt = using(world.settings(), world.clock.now, work)
    assert isinstance(receipt, Rejected)
    assert receipt.retryable
    assert "not sent" in receipt.reason


def test_nobody_listening_is_a_command_not_sent(using, emulate, device, intent, closed_port_url):
    world = emulate()

    async def work(adapter):
        with pytest.raises(VendorUnavailableError):
            await adapter.read(device(), Channel.POWER)
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    receipt = using(world.settings(base_url=closed_port_url), world.clock.now, work)
    assert isinstance(receipt, Rejected)
    assert receipt.retryable


def test_too_many_requests_silences_until_the_penalty_is_over(using, emulate, device, intent):
    world = emulate()
    world.switch(rate_limited=True, ban_s=90)

    async def work(adapter):
        for _ in range(3):
            with pytest.raises(QuotaExceededError):
                await adapter.read(device(), Channel.POWER)
            world.step(25)
        command = adapter.translate(intent("charge", 5), device(), None)
        receipts = [
            await adapter.send(command),
            await adapter.send(command),
            await adapter.send(adapter.release(device())),
        ]
        world.switch()
        world.step(100)
        reading = await adapter.read(device(), Channel.POWER)
        return receipts, reading, await adapter.send(command)

    receipts, reading, receipt = using(world.settings(), world.clock.now, work)

    assert all(isinstance(one, Rejected) and one.retryable for one in receipts)
    assert len(world.events("call refused", call="deviceStatus")) == 1
    assert len(world.events("call refused", call="command")) == 1
    assert reading is not None
    assert receipt == Accepted("")


def test_a_lost_token_is_replaced_once_for_reads_and_writes(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        await adapter.read(device(), Channel.POWER)
        world.cloud._tokens.clear()
        receipt = await adapter.send(adapter.translate(intent("charge", 5), device(), None))
        world.cloud._tokens.clear()
        world.step(60)
        return receipt, await adapter.read(device(), Channel.POWER)

    receipt, reading = using(world.settings(), world.clock.now, work)

    assert receipt == Accepted("")
    assert reading is not None
    assert len(world.events("login")) == 3
    assert len(world.events("command")) == 1


def test_a_token_is_renewed_before_its_end_by_our_clock(using, emulate, device):
    world = emulate()

    async def work(adapter):
        for _ in range(150):
            await adapter.read(device(), Channel.POWER)
            world.step(60)

    using(world.settings(), world.clock.now, work)

    assert len(world.events("login")) == 3
    assert world.events("call refused") == []


def test_tokens_that_nobody_wants_end_the_attempts(using, emulate, device, intent):
    world = emulate()
    world.switch(tokens_expired=True)

    async def work(adapter):
        with pytest.raises(ConfigurationError, match="fresh token"):
            await adapter.read(device(), Channel.POWER)
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    receipt = using(world.settings(), world.clock.now, work)
    assert isinstance(receipt, Rejected)
    assert not receipt.retryable
    assert len(world.events("login")) <= 3


def test_clocks_too_far_apart_stop_driving_and_not_letting_go(using, emulate, device, intent):
    world = emulate()
    world.switch(clock_skew_s=90)

    async def work(adapter):
        reading = await adapter.read(device(), Channel.POWER)
        command = adapter.translate(intent("charge", 5), device(), None)
        return reading, await adapter.send(command), await adapter.send(adapter.release(device()))

    reading, driven, released = using(world.settings(), world.clock.now, work)
    assert reading.measured_at == dt.datetime(2024, 5, 1, 12, 1, 30, tzinfo=dt.UTC)
    assert isinstance(driven, Rejected)
    assert "clock" in driven.reason
    assert released == Accepted("")


def test_clocks_too_far_apart_stop_even_the_first_call_of_all(using, emulate, device, intent):
    world = emulate()
    world.switch(clock_skew_s=90)

    async def work(adapter):
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    driven = using(world.settings(), world.clock.now, work)
    assert isinstance(driven, Rejected)
    assert "clock" in driven.reason
    assert world.events("command") == []


@pytest.mark.parametrize("numbers_as", ["text", "null", "n/a"])
def test_numbers_in_any_dress(using, emulate, device, numbers_as):
    world = emulate(load_kw=6.0)
    world.step(60)
    world.switch(numbers_as=numbers_as)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    if numbers_as == "text":
        assert reading.battery_kw == pytest.approx(6.0)
    else:
        assert (reading.battery_kw, reading.grid_kw, reading.load_kw, reading.soc) == (None,) * 4


def test_another_shape_of_the_same_answer_is_understood(using, emulate, device):
    world = emulate(load_kw=6.0)
    world.step(60)
    world.switch(odd_json=True)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    assert reading.battery_kw == pytest.approx(6.0)
    assert reading.measured_at == world.clock.now()
    assert reading.dispatch_active is False


def test_a_frozen_cloud_shows_its_age(using, emulate, device):
    world = emulate()
    world.step(60)
    world.switch(frozen=True)
    world.step(600)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    assert world.clock.now() - reading.measured_at == 10 * MINUTE


@pytest.mark.parametrize(
    ("faults", "expected_kw"),
    [
        ({"commands_ignored": True}, 2.0),
        ({"applied_share": 0.5}, -2.5),
        ({"lapses_after_s": 60}, 2.0),
        ({"apply_delay_s": 600}, 2.0),
    ],
)
def test_accepted_is_not_done(using, emulate, device, intent, faults, expected_kw):
    world = emulate(load_kw=2.0)
    world.switch(**faults)

    async def work(adapter):
        receipt = await adapter.send(adapter.translate(intent("charge", 5), device(), None))
        world.step(180)
        return receipt, await adapter.read(device(), Channel.POWER)

    receipt, reading = using(world.settings(), world.clock.now, work)
    assert receipt == Accepted("")
    assert reading.battery_kw == pytest.approx(expected_kw)


def test_commands_have_a_limit_that_releases_do_not_share(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        command = adapter.translate(intent("charge", 5), device(), None)
        driven = [await adapter.send(command) for _ in range(3)]
        return driven, [await adapter.send(adapter.release(device())) for _ in range(3)]

    driven, released = using(world.settings(commands_per_minute=2), world.clock.now, work)
    assert [type(receipt) for receipt in driven] == [Accepted, Accepted, Rejected]
    assert released == [Accepted("")] * 3


def test_errors_of_adapters_are_theirs():
    assert issubclass(QuotaExceededError, AdapterError)
