"""Plans as maps of set-points, over HTTP on loopback."""

from __future__ import annotations

import pytest

from adapters.contract import Accepted, IntentRefusedError
from tests.adapters.xolta.given import MINUTE


def quarter_hours(intent, *modes):
    return [
        intent(mode, 5.0 if mode in ("charge", "discharge") else 0.0, 15 * place, 15 * place + 15)
        for place, mode in enumerate(modes)
    ]


def test_a_plan_goes_out_in_few_calls_and_is_carried_out(using, emulate, device, intent):
    world = emulate(load_kw=2.0)
    plan = quarter_hours(
        intent, "charge", "charge", "hold", "discharge", "self_consumption", "self_consumption", "discharge"
    )

    async def work(adapter):
        sendings = adapter.schedule(plan, device(), None)
        seen = []
        for minute in range(0, 125, 5):
            for sending in sendings:
                if sending.send_at == world.clock.now():
                    assert await adapter.send(sending.command) == Accepted("")
            world.step(120)
            seen.append(round(world.battery_kw, 3))
            world.step(180)
            assert world.battery_kw == pytest.approx(seen[-1], abs=5.1) or minute % 15
        return sendings, seen

    sendings, seen = using(world.settings(), world.clock.now, work)

    assert len(sendings) == 4
    assert [sending.command.releases for sending in sendings] == [False, True, False, True]
    assert [(s.send_at - plan[0].not_before) // MINUTE for s in sendings] == [0, 60, 90, 105]
    assert seen == [-5.0] * 6 + [0.0] * 3 + [5.0] * 3 + [2.0] * 6 + [5.0] * 3 + [2.0] * 4


def test_with_the_link_lost_a_map_runs_out_into_rest(using, emulate, device, intent):
    world = emulate()
    plan = quarter_hours(intent, *["charge"] * 3)

    async def work(adapter):
        await adapter.send(adapter.schedule(plan, device(), None)[0].command)

    using(world.settings(), world.clock.now, work)
    world.step(44 * 60)
    assert world.battery_kw == pytest.approx(-5)
    world.step(2 * 60)
    assert world.battery_kw == pytest.approx(0)


def test_a_long_plan_is_cut_into_maps_each_with_a_safe_end(using, emulate, device, intent):
    world = emulate()
    plan = quarter_hours(intent, *["charge", "discharge"] * 5)

    async def work(adapter):
        return adapter.schedule(plan, device(), None)

    sendings = using(world.settings(set_points_per_call=4, release_after_schedule=False), world.clock.now, work)

    maps = [sending.command.payload["Payload"]["setPoint"] for sending in sendings]
    assert [len(points) for points in maps] == [5, 5, 3]
    assert [list(points)[-1] for points in maps] == ["5", "5", "3"]
    assert [list(points.values())[-1]["batteryActivePower"] for points in maps] == [0.0] * 3
    assert [sending.send_at for sending in sendings] == [plan[0].not_before, plan[4].not_before, plan[8].not_before]
    assert all(sending.not_after == sending.send_at + 15 * MINUTE for sending in sendings)


def test_gaps_begin_a_new_map_and_disorder_is_refused(using, emulate, device, intent):
    world = emulate()
    apart = [intent("charge", 5, 0, 15), intent("charge", 5, 30, 45)]

    async def work(adapter):
        assert adapter.schedule([], device(), None) == []
        with pytest.raises(IntentRefusedError, match="order"):
            adapter.schedule(apart[::-1], device(), None)
        return adapter.schedule(apart, device(), None)

    sendings = using(world.settings(), world.clock.now, work)
    assert [sending.command.releases for sending in sendings] == [False, False, True]


def test_a_slot_under_way_begins_now(using, emulate, device, intent):
    world = emulate()
    world.step(100)

    async def work(adapter):
        return adapter.translate(intent("charge", 5), device(), None)

    command = using(world.settings(), world.clock.now, work)
    assert command.payload["Payload"]["setPoint"]["1"]["utcTime"] == "2024-05-01T12:01:40Z"


def test_an_intent_that_is_over_is_refused(using, emulate, device, intent):
    """Its map would end in the past, and its power begin after that end: a battery driven without one."""
    world = emulate()
    world.step(15 * 60)

    async def work(adapter):
        with pytest.raises(IntentRefusedError, match="over"):
            adapter.translate(intent("charge", 5, 0, 15), device(), None)

    using(world.settings(), world.clock.now, work)


def test_of_a_plan_that_is_late_only_what_lies_ahead_is_sent(using, emulate, device, intent):
    world = emulate()
    world.step(40 * 60)

    async def work(adapter):
        sendings = adapter.schedule(quarter_hours(intent, *["charge"] * 4), device(), None)
        await adapter.send(sendings[0].command)
        return sendings

    sendings = using(world.settings(), world.clock.now, work)

    points = sendings[0].command.payload["Payload"]["setPoint"].values()
    assert [(point["utcTime"], point["batteryActivePower"]) for point in points] == [
        ("2024-05-01T12:40:00Z", -5.0),
        ("2024-05-01T12:45:00Z", -5.0),
        ("2024-05-01T13:00:00Z", 0.0),
    ]
    world.step(19 * 60)
    assert world.battery_kw == pytest.approx(-5)
    world.step(2 * 60)
    assert world.battery_kw == pytest.approx(0)
