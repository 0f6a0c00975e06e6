"""A plan as forced tasks within the control calls of a day, carried out by the emulated cloud."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest

from adapters.contract import Accepted, IntentRefusedError
from adapters.huawei.adapter import create
from engine.intent import Intent, IntentMode

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
QUARTER = dt.timedelta(minutes=15)
CHARGE, DISCHARGE, HOLD, FOLLOW = (
    IntentMode.CHARGE,
    IntentMode.DISCHARGE,
    IntentMode.HOLD,
    IntentMode.SELF_CONSUMPTION,
)


def plan(*powers_kw, start=START):
    """Quarters of an hour: + discharges, - charges, 0 holds, None follows the house."""
    intents = []
    for place, power_kw in enumerate(powers_kw):
        begin = start + place * QUARTER
        if power_kw is None or power_kw == 0:
            intents.append(Intent(FOLLOW if power_kw is None else HOLD, 0.0, begin, begin + QUARTER))
        else:
            mode = DISCHARGE if power_kw > 0 else CHARGE
            intents.append(Intent(mode, abs(power_kw), begin, begin + QUARTER, 0.1 if power_kw > 0 else 0.9))
    return intents


@pytest.fixture
def offline():
    def build(**changes):
        given_settings = {
            "base_url": "http://127.0.0.1:1",
            "client_id": "1",
            "client_secret": "s",
            "redirect_url": "https://r/",
            **changes,
        }
        return create(given_settings, lambda: START)

    return build


def test_a_day_of_96_intents_fits_the_day(offline, plant_device):
    restless = [((place * 7919) % 9 - 4) * 0.9 or None for place in range(96)]
    sendings, merging = offline().schedule_with(plan(*restless), plant_device(), None)

    assert merging.calls <= 95, "a hundred, less the reserve"
    assert merging.calls_unmerged > 95
    driven = [segment.intent.power_kw > 0 for segment in merging.segments]
    assert len(sendings) == sum(driven)
    on_another = sum(one and following for one, following in itertools.pairwise(driven))
    assert merging.calls == sum(driven) + on_another, "a task, and a stop before it where one goes directly before"
    assert all(0 < s.command.payload["dispatchTime"] <= 1440 for s in sendings)
    assert [s.send_at for s in sendings] == sorted(s.send_at for s in sendings)
    assert all(s.send_at < s.not_after <= s.send_at + dt.timedelta(minutes=3) for s in sendings)
    dear = offline(polls_per_task=2)
    assert dear.schedule_with(plan(*restless), plant_device(), None)[1].loss > merging.loss


def test_plants_that_share_a_quota_get_their_part(offline, plant_device):
    restless = [(place % 5 + 1) * 0.7 for place in range(96)]
    _, merging = offline(plants_sharing_quota=4).schedule_with(plan(*restless), plant_device(), None)

    assert merging.calls <= 95 // 4


def test_resting_needs_no_call_and_holding_a_prepared_plant(offline, plant_device):
    assert offline().schedule(plan(None, None), plant_device(), None) == []
    assert offline().schedule([], plant_device(), None) == []
    with pytest.raises(IntentRefusedError, match="prepare_neutral_idle"):
        offline().schedule(plan(2, 0), plant_device(), None)
    assert len(offline(neutral_idle_plants=["NE=1"]).schedule(plan(2, 0), plant_device(), None)) == 1
    with pytest.raises(IntentRefusedError, match="rating"):
        offline().schedule(plan(2, 9), plant_device(), None)


def test_a_schedule_moves_the_battery_as_planned(emulate_huawei, plant_device):
    world = emulate_huawei()
    planned = [-2, -2, None, None, 3, 3, 3, None]

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

    assert world.run(session) == pytest.approx([1.0 if kw is None else kw for kw in planned], abs=0.01)
    assert world.calls("async-task") == 2


def test_a_plan_that_begins_with_rest_stops_what_still_runs(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        (first,) = adapter.schedule(plan(*[2] * 8), plant_device(), None)
        await adapter.send(first.command)
        world.after(900)
        later = plan(None, None, 3, start=world.clock.now())
        return [sending.command.releases for sending in adapter.schedule(later, plant_device(), None)]

    assert world.run(session) == [True, False]
