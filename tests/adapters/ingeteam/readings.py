"""Readings of an emulated device, and the truth that they are held against."""

from __future__ import annotations

import asyncio

import pytest

from adapters.contract import Channel

CLOSE_KW = 0.02


def options(world, **changes):
    account = world.cloud.account()
    return {"clock": world.clock.now, "silence_s": 1.0, **account, **changes}


def read(adapt, world, device, channel=Channel.POWER, **changes):
    async def session():
        async with adapt(world.url, **options(world, **changes)) as adapter:
            return await adapter.read(device(), channel)

    return asyncio.run(session())


def truth(world):
    return world.site.plant.sample


def assert_true(reading, world):
    sample = truth(world)
    assert reading.measured_at == world.clock.now()
    assert reading.grid_kw == pytest.approx(sample.grid_kw, abs=CLOSE_KW)
    assert reading.battery_kw == pytest.approx(sample.battery_kw, abs=CLOSE_KW)
    assert reading.pv_kw == pytest.approx(sample.pv_kw, abs=CLOSE_KW)
    assert reading.load_kw == pytest.approx(sample.load_kw, abs=CLOSE_KW)
    assert reading.soc == pytest.approx(world.site.plant.soc, abs=0.006)


def days(adapt, world, device, *wanted, **changes):
    async def session():
        async with adapt(world.url, **options(world, **changes)) as adapter:
            return [await adapter.day(device(), day) for day in wanted]

    return asyncio.run(session())
