"""Quotas, calls that were too frequent, and bans."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.contract import QuotaExceededError
from adapters.huawei.flow import FlowControl, account_quotas, oauth_quotas, old_account_quotas
from adapters.huawei.mapping import Call
from adapters.quota import Quota
from engine.intent import IntentMode

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)


def test_the_quotas_of_both_access_modes():
    """Section 4.1, and the examples of section 4.2: 20 and 120 plants, with as many inverters and meters."""
    assert oauth_quotas() == {"basic": (Quota(1000, DAY),), "control": (Quota(100, DAY),)}
    for count, expected in ((20, (34, 25, 1, 2, 28, 2, 25, 26)), (120, (44, 26, 2, 4, 48, 4, 26, 28))):
        quotas = account_quotas(count, {1: count, 17: count})
        calls = (
            Call.PLANTS,
            Call.DEVICES,
            Call.PLANT_NOW,
            Call.DEVICE_NOW,
            Call.DEVICE_HISTORY,
            Call.ALARMS,
            Call.PLANT_HOURS,
            Call.DEVICE_YEARS,
        )
        assert tuple(quotas[call.value][0].calls for call in calls) == expected
        assert quotas[Call.DEVICE_NOW.value][0].per == 5 * MINUTE
        assert quotas[Call.ALARMS.value][0].per == 30 * MINUTE
        assert quotas[Call.CHARGE.value] == (Quota(1, MINUTE),)
    old = old_account_quotas()
    assert [old[call.value][0].calls for call in (Call.PLANTS, Call.PLANT_NOW, Call.DEVICE_HISTORY)] == [10, 30, 1]


def test_control_calls_and_questions_share_a_hundred_and_releases_have_the_last(manual_clock):
    flow = FlowControl("oauth", manual_clock, reserve=5)
    for place in range(95):
        flow.take(Call.CHARGE if place % 2 else Call.CHARGE_STATUS)
    assert flow.control_calls_left() == 0
    for call in (Call.CHARGE, Call.WORKING_MODE, Call.CHARGE_STATUS):
        with pytest.raises(QuotaExceededError, match="control"):
            flow.take(call)
    for _ in range(5):
        flow.take(Call.CHARGE, urgent=True)
    with pytest.raises(QuotaExceededError):
        flow.take(Call.CHARGE, urgent=True)
    flow.take(Call.PLANTS)
    manual_clock.time += DAY
    flow.take(Call.CHARGE)


def test_questions_may_be_set_to_count_for_nothing(manual_clock):
    flow = FlowControl("oauth", manual_clock, polls_count=False)
    for _ in range(500):
        flow.take(Call.CHARGE_STATUS)
    assert flow.control_calls_left() == 100


@pytest.mark.parametrize("used", [79, 80])
def test_when_the_quota_is_used_up_a_release_still_goes(emulate_huawei, plant_device, intent_for, used):
    """With one call left a task does not go either: the stop before it would end what runs, and nothing follow."""
    world = emulate_huawei(plants=2)

    async def session(adapter):
        charge = adapter.translate(intent_for(IntentMode.CHARGE, 1.0), plant_device(), None)
        for _ in range(used):
            adapter.client.flow.take(Call.CHARGE)
        return await adapter.send_many([charge, adapter.release(plant_device("NE=2"))])

    refused, released = world.run(session)

    assert refused.retryable
    assert "need 2 calls" in refused.reason
    assert type(released).__name__ == "Accepted"
    assert [event["sn"] for event in world.log.events if event["event"] == "task"] == ["NE=2"]


@pytest.mark.parametrize(("limit", "first_s"), [(403, 60), (429, 60), (407, 300)])
def test_a_call_that_was_too_frequent_is_not_repeated_and_pauses_double(emulate_huawei, limit, first_s):
    world = emulate_huawei()
    if limit == 407:
        world.switch(rate_limited=True, ban_s=0)
    else:
        world.cloud.system_limit = limit

    async def session(adapter):
        pauses = []
        for _ in range(3):
            with pytest.raises(QuotaExceededError) as error:
                await adapter.client.plants()
            with pytest.raises(QuotaExceededError):
                await adapter.client.plants()  # refused before a socket opens
            pauses.append((error.value.free_at - world.clock.now()).total_seconds())
            world.after(pauses[-1] + 1)
        world.cloud.system_limit = None
        world.switch()
        world.after(1)
        return pauses, await adapter.client.plants()

    pauses, plants = world.run(session)

    for times, pause_s in enumerate(pauses):
        assert first_s * 2**times <= pause_s <= first_s * 2**times * 1.1
    assert plants


def test_a_ban_is_not_lengthened_by_calls_into_it(emulate_huawei, plant_device):
    world = emulate_huawei()
    world.switch(rate_limited=True, ban_s=200)

    async def session(adapter):
        first = await adapter.send(adapter.release(plant_device()))
        for _ in range(20):
            world.after(10)
            await adapter.send(adapter.release(plant_device()))
        world.switch()
        world.after(900)
        return first, await adapter.send(adapter.release(plant_device()))

    first, last = world.run(session)

    assert (type(first).__name__, first.retryable) == ("Rejected", True)
    assert type(last).__name__ == "Accepted"
    assert sum(event["event"] == "refused as too frequent" for event in world.log.events) == 1
