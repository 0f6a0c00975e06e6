"""A plan as forced tasks within the control calls of a day, carried out by the emulated cloud."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from adapters.contract import Accepted, Channel, IntentRefusedError, Telemetry
from tests.intents import QUARTER, START, plan


def calls_of(sending):
    is_stop = sending.command.payload.get("dispatchSwitch") == 0
    return 1 + (sending.command.replaces and not is_stop)


@pytest.mark.parametrize("named", [[], ["NE=1"]])
def test_a_day_of_96_intents_fits_the_day(offline, plant_device, named):
    restless = [((place * 7919) % 9 - 4) * 0.9 or None for place in range(96)]
    adapter = offline(neutral_idle_plants=named)
    idle = Telemetry(Channel.STATE, START, dispatch_active=False)
    sendings, merging = adapter.schedule_with(plan(*restless), plant_device(), idle)

    assert merging.calls <= 80, "a hundred, less the reserve"
    assert merging.calls_unmerged > 80
    driven = [segment.intent.power_kw > 0 for segment in merging.segments]
    assert len(sendings) == (len(driven) if named else sum(driven))
    assert merging.calls >= sum(calls_of(sending) for sending in sendings)
    assert not named or merging.calls == sum(calls_of(sending) for sending in sendings)
    tasks = [s.command.payload for s in sendings if "dispatchTime" in s.command.payload]
    assert all(0 < payload["dispatchTime"] <= 1440 for payload in tasks)
    assert [s.send_at for s in sendings] == sorted(s.send_at for s in sendings)
    assert all(s.send_at < s.not_after for s in sendings)
    assert all(s.not_after <= s.send_at + dt.timedelta(minutes=3) for s in sendings if s.command.battery_kw)
    dear = offline(polls_per_task=2, neutral_idle_plants=named)
    assert dear.schedule_with(plan(*restless), plant_device(), idle)[1].loss > merging.loss


def test_what_merging_costs_is_told_in_the_unit_of_the_loss(offline, plant_device):
    planned = plan(*[place % 4 + 1 for place in range(96)])
    _, merging = offline().schedule_with(planned, plant_device(), None, lambda first, last, _: 0.01 * (last - first))

    assert merging.loss == pytest.approx(0.01 * (96 - len(merging.segments)))


def test_plants_that_share_a_quota_get_their_part(offline, plant_device):
    restless = [(place % 5 + 1) * 0.7 for place in range(96)]
    _, merging = offline(plants_sharing_quota=4).schedule_with(plan(*restless), plant_device(), None)

    assert merging.calls <= 80 // 4


def test_a_stop_goes_before_what_may_meet_a_task(offline, plant_device):
    """Contiguous set-points, a first command over nobody knows what, and the first three minutes after a task."""

    def sent(*powers_kw, named, latest=None, minutes=15):
        adapter = offline(neutral_idle_plants=["NE=1"] if named else [])
        length = dt.timedelta(minutes=minutes)
        shorter = [
            replace(intent, not_before=START + place * length, not_after=START + (place + 1) * length)
            for place, intent in enumerate(plan(*powers_kw))
        ]
        return [s.command.replaces for s in adapter.schedule(shorter, plant_device(), latest)]

    idle, forced = (Telemetry(Channel.STATE, START, dispatch_active=active) for active in (False, True))
    assert sent(2, -2, named=False) == [True, True]
    assert sent(2, -2, named=False, latest=forced) == [True, True]
    assert sent(2, -2, None, 2, named=False, latest=idle) == [False, True, False], "the rest needs no call"
    assert sent(2, None, -2, named=False, latest=idle, minutes=2) == [False, True], "the task may not have ended"
    assert sent(None, 2, named=False) == [True, False], "the rest has stopped what ran"
    assert sent(2, 0, -2, named=True, latest=idle, minutes=2) == [False, True, False], "so here"
    assert sent(2, None, -2, 0, None, named=True, latest=idle) == [False, True, False, True, False]


def test_resting_and_holding(offline, plant_device):
    (stop,) = offline().schedule(plan(None, None), plant_device(), None)
    assert stop.command == offline().release(plant_device()), "nobody knows what runs"
    idle = Telemetry(Channel.STATE, START, dispatch_active=False)
    assert offline().schedule(plan(None, None), plant_device(), idle) == []
    assert offline().schedule([], plant_device(), None) == []
    with pytest.raises(IntentRefusedError, match="neutral_idle_plants"):
        offline().schedule(plan(2, 0), plant_device(), None)
    assert len(offline(neutral_idle_plants=["NE=1"]).schedule(plan(2, 0), plant_device(), None)) == 2
    with pytest.raises(IntentRefusedError, match="rating"):
        offline().schedule(plan(2, 9), plant_device(), None)


@pytest.mark.parametrize(("named", "calls"), [([], 3), (["NE=1"], 8)])
def test_a_schedule_moves_the_battery_as_planned(emulate_huawei, plant_device, named, calls):
    world = emulate_huawei()
    rest = 0 if named else None
    planned = [-2, -2, None, None, 3, 3, 3, rest, None]

    async def session(adapter):
        sendings = adapter.schedule(plan(*planned), plant_device(), None)
        powers_kw = []
        for place in range(len(planned)):
            while sendings and sendings[0].send_at <= world.clock.now():
                assert isinstance(await adapter.send(sendings.pop(0).command), Accepted)
            world.after(450)
            powers_kw.append(world.battery_kw())
            world.after(450)
            assert world.clock.now() == START + (place + 1) * QUARTER
        return powers_kw

    seen_kw = world.run(session, neutral_idle_plants=named)
    assert seen_kw == pytest.approx([1.0 if kw is None else kw for kw in planned], abs=0.01)
    assert world.calls("async-task") == calls


def test_a_plan_that_begins_with_rest_stops_what_another_process_began(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def begin(adapter):
        (first,) = adapter.schedule(plan(*[2] * 8), plant_device(), None)
        await adapter.send(first.command)
        world.after(900)

    async def go_on(adapter):
        latest = await adapter.read(plant_device(), Channel.STATE)
        later = plan(None, None, 3, start=world.clock.now())
        first, _ = adapter.schedule(later, plant_device(), latest)
        await adapter.send(first.command)
        world.after(60)

    world.run(begin, neutral_idle_plants=[])
    world.run(go_on, neutral_idle_plants=[])
    assert world.battery_kw() == pytest.approx(1.0, abs=0.01)
