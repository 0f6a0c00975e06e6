"""What the adapter promises, and the whole way to the battery and back."""

from __future__ import annotations

import asyncio

import pytest

from adapters.alphaess.adapter import AlphaEssAdapter
from adapters.contract import Accepted, Channel
from engine.intent import IntentMode
from tests.adapters.alphaess.intents import FOLLOW, HOLD, charge, discharge


def test_a_lease_is_renewed_well_inside_its_90_seconds():
    abilities = AlphaEssAdapter.abilities

    assert abilities.command_lifetime_s == 90
    assert 0 < abilities.renew_after_s <= 60
    assert abilities.modes == set(IntentMode)
    assert (abilities.power_cadence_s, abilities.state_cadence_s) == (10, 300)


@pytest.mark.parametrize(
    ("order", "battery_kw", "grid_kw"),
    [
        pytest.param(charge(2.0), -2.0, 2.2, id="charge"),
        pytest.param(discharge(2.0), 2.0, -1.8, id="discharge"),
        pytest.param(HOLD, 0.0, 0.2, id="hold"),
        pytest.param(FOLLOW, 0.2, 0.0, id="self-consumption"),
    ],
)
def test_the_battery_does_what_the_intent_says_and_telemetry_shows_it(
    emulate, adapt, device, order, battery_kw, grid_kw
):
    world = emulate(load_kw=1.0, pv_kw=0.8)

    async def session():
        async with adapt(world.url, world.clock.now) as adapter:
            receipt = await adapter.send(adapter.translate(order, device(), None))
            world.step(adapter.abilities.settling_s)
            return receipt, await adapter.read(device(), Channel.POWER)

    receipt, seen = asyncio.run(session())

    assert receipt == Accepted()
    assert (seen.battery_kw, seen.grid_kw, seen.pv_kw) == (battery_kw, grid_kw, 0.8)
    assert seen.load_kw == pytest.approx(1.0)
    assert seen.measured_at == world.clock.now()


def test_the_state_channel_shows_that_a_dispatch_is_in_force(emulate, adapt, device):
    world = emulate()
    seen = []

    async def session():
        async with adapt(world.url, world.clock.now) as adapter:
            for seconds in (240, 60, 300):
                await adapter.send(adapter.translate(discharge(1.0), device(), None))
                world.step(seconds)
                seen.append((await adapter.read(device(), Channel.STATE)).dispatch_active)

    asyncio.run(session())

    # The row of noon; the one of 12:05, in the lease of 12:04; the one of 12:10, after the lease of 12:05.
    assert seen == [False, True, False]
