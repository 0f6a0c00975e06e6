"""Working modes and settings of plants at the emulated cloud: resting, limits of power and of export."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from adapters.contract import Accepted, ExportLimiting, IntentRefusedError, Progress, Rejected, Unknown
from adapters.huawei.emulated_control import TaskDesk
from adapters.huawei.mapping import Call, WorkingMode
from adapters.huawei.tasks import ActivePowerTask, BatteryParametersTask, WorkingModeTask, task_of_wire
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD, START

# --- resting by working mode ---


def test_a_plant_holds_follows_and_is_moved_from_both(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        seen = []
        for mode, power_kw in ((HOLD, 0), (CHARGE, 2), (None, 0), (FOLLOW, 0), (DISCHARGE, 3), (None, 0), (HOLD, 0)):
            if mode is not None:
                intent = intent_for(mode, power_kw, 10, world.clock.now())
                receipt = await adapter.send(adapter.translate(intent, plant_device(), None))
                assert isinstance(receipt, Accepted)
            world.after(600 if mode is None else 60)  # None: the task ends by itself
            seen.append(round(world.battery_kw(), 2))
        return seen

    assert world.run(session) == [0.0, -2.0, 0.0, 1.0, 3.0, 1.0, 0.0]


def test_a_mode_is_switched_by_and_by_and_the_same_again_is_done(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        command = adapter.translate(intent_for(HOLD), plant_device(), None)
        progress = []
        for _ in range(2):
            receipt = await adapter.send(command)
            progress.append((await adapter.track(command, receipt)).progress)
            world.after(60)
            progress.append((await adapter.track(command, receipt)).progress)
        return progress

    assert world.run(session) == [Progress.RUNNING, Progress.DONE, Progress.DONE, Progress.DONE]


def test_a_release_ends_task_and_idling_alike(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        for mode, power_kw in ((HOLD, 0.0), (CHARGE, 2.0)):
            await adapter.send(adapter.translate(intent_for(mode, power_kw), plant_device(), None))
            world.after(60)
        return await adapter.send(adapter.release(plant_device()))

    assert isinstance(world.run(session), Accepted)
    world.after(60)
    assert world.plant().site.released
    assert world.battery_kw() == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(
    ("refused", "outcome", "battery_kw"),
    [("charge", Unknown, -2.0), ("mode", Rejected, 0.0), ("both", Rejected, -2.0)],
)
def test_a_release_of_which_one_half_fails_is_not_accepted(
    emulate_huawei, plant_device, intent_for, monkeypatch, refused, outcome, battery_kw
):
    world = emulate_huawei()

    async def session(adapter):
        for mode, power_kw in ((HOLD, 0.0), (CHARGE, 2.0)):
            await adapter.send(adapter.translate(intent_for(mode, power_kw), plant_device(), None))
            world.after(60)
        for half, name in (("charge", "_charge_fault"), ("mode", "_change_fault")):
            if refused in (half, "both"):
                monkeypatch.setattr(TaskDesk, name, lambda *_: "No resource permission.")
        return await adapter.send(adapter.release(plant_device()))

    assert isinstance(world.run(session), outcome)
    world.after(60)
    assert world.battery_kw() == pytest.approx(battery_kw, abs=0.01)


@pytest.mark.parametrize(("calls", "accepted"), [(21, False), (22, True)])
def test_a_hold_that_needs_a_stop_is_not_begun_with_one_call_and_a_release_is(
    emulate_huawei, plant_device, intent_for, calls, accepted
):
    """A stop alone would end the task, and leave the plant as it was."""
    world = emulate_huawei()

    async def session(adapter):
        for _ in range(100 - calls):
            adapter.client.flow.take(Call.CHARGE)
        hold = await adapter.send(adapter.translate(intent_for(HOLD), plant_device(), None))
        world.after(60)  # while a mode is being switched another is refused
        return hold, await adapter.send(adapter.release(plant_device()))

    hold, release = world.run(session)

    assert isinstance(hold, Accepted) is accepted
    assert accepted or hold.retryable
    assert world.calls("async-task") == (4 if accepted else 2)
    assert isinstance(release, Accepted)


def test_a_call_that_lets_go_of_one_plant_may_use_the_reserve(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(plants=2)

    async def session(adapter):
        hold = replace(adapter.translate(intent_for(HOLD), plant_device("NE=1"), None), replaces=False)
        for _ in range(80):
            adapter.client.flow.take(Call.CHARGE)
        alone = await adapter.send(hold)
        return alone, await adapter.send_many([hold, replace(adapter.release(plant_device("NE=2")), replaces=False)])

    alone, together = world.run(session)

    assert isinstance(alone, Rejected)
    assert [type(receipt) for receipt in together] == [Accepted] * 2
    assert world.calls("async-task") == 1


# --- settings of a plant ---


def test_settings_of_many_plants_go_ten_at_a_time(emulate_huawei):
    world = emulate_huawei(plants=12)

    async def session(adapter):
        tasks = [BatteryParametersTask(f"NE={n}", max_charge_kw=1.5) for n in range(1, 13)]
        receipts = await adapter.change([*tasks, BatteryParametersTask("NE=99", end_of_charge_soc=0.95)])
        world.after(60)
        return receipts, await adapter.change_progress(tasks[11], receipts[11])

    receipts, progress = world.run(session)

    assert [type(receipt) for receipt in receipts] == [Accepted] * 12 + [Rejected]
    assert progress.progress is Progress.DONE
    assert world.calls("configuration/async-task") == 2
    assert world.plant("NE=12").site.plant.battery.max_charge_kw == 1.5


@pytest.mark.parametrize("odd", [False, True])
def test_a_feed_in_limit_is_set_and_a_setting_can_time_out(emulate_huawei, odd):
    world = emulate_huawei()
    world.switch(odd_json=odd)
    task = ActivePowerTask("NE=1", 5.3)

    async def session(adapter):
        (receipt,) = await adapter.change([task])
        world.after(10)
        done = await adapter.change_progress(task, receipt)
        (same,) = await adapter.change([task])
        world.switch(odd_json=odd, commands_ignored=True)
        (late,) = await adapter.change([ActivePowerTask("NE=1", None)])
        world.after(100 * 60)
        return done, same, await adapter.change_progress(ActivePowerTask("NE=1", None), late)

    done, same, late = world.run(session)

    assert done.progress is Progress.DONE
    assert isinstance(same, Accepted)
    assert (late.progress, late.reason) == (Progress.FAILED, "TIMEOUT")
    assert world.plant().settings["power"] == {
        "controlMode": "6",
        "controlInfo": {"maxGridFeedInPower": 5.3, "limitationMode": "0"},
    }


def test_a_limit_of_export_is_one_call_beside_what_the_battery_does(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(load_kw=1.0, pv_kw=4.0, soc=1.0)

    async def session(adapter):
        assert isinstance(adapter, ExportLimiting)
        await adapter.send(adapter.translate(intent_for(FOLLOW), plant_device(), None))
        world.after(60)
        shown = [world.plant().site.plant.sample.grid_kw]
        for limit_kw in (0.0, 1.25, None):
            command = adapter.limit_export(plant_device(), limit_kw)
            calls = world.calls("async-task")
            receipt = await adapter.send(command)
            assert world.calls("async-task") == calls + 1
            world.after(60)
            assert (await adapter.track(command, receipt)).progress is Progress.DONE
            shown.append(world.plant().site.plant.sample.grid_kw)
            assert (command.releases, command.battery_kw) == (limit_kw is None, 0.0)
        return shown

    assert world.run(session) == pytest.approx([-3.0, 0.0, -1.25, -3.0], abs=0.01)


@pytest.mark.parametrize("limit_kw", [0.0, 4.0, 2.3456, None])
def test_the_words_of_a_limit_in_a_journal_are_understood_again(offline, plant_device, limit_kw):
    payload = json.loads(json.dumps(offline().limit_export(plant_device(), limit_kw).payload))
    assert task_of_wire(payload).wire() == payload
    for change in ({"controlMode": "7"}, {"plantCode": ""}, {"more": 1}):
        with pytest.raises(IntentRefusedError):
            task_of_wire({**payload, **change})


def test_who_may_be_limited_and_by_how_much(offline, plant_device):
    adapter = offline(feed_in_limit_plants=["NE=2"])
    assert [adapter.limits_export(plant_device(code)) for code in ("NE=1", "NE=2")] == [False, True]
    with pytest.raises(IntentRefusedError, match="feed_in_limit_kw"):
        adapter.limit_export(plant_device(), 5000.1)


def test_lifting_a_limit_may_use_the_reserve_and_setting_one_may_not(emulate_huawei, plant_device):
    world = emulate_huawei()

    async def session(adapter):
        for _ in range(80):
            adapter.client.flow.take(Call.CHARGE)
        limit = adapter.limit_export(plant_device(), 2.0)
        return [await adapter.send(command) for command in (limit, replace(limit, releases=True))]

    refused, taken = world.run(session)

    assert isinstance(refused, Rejected)
    assert refused.retryable
    assert isinstance(taken, Accepted)


def test_a_limit_is_part_of_what_a_plan_reckons_with(offline, plant_device):
    assert offline(polls_per_task=2).call_budget(plant_device(), START).costs.per_limit == 3


def test_a_plant_that_is_not_ours_refuses_the_whole_mode_task(emulate_huawei):
    world = emulate_huawei()

    async def session(adapter):
        tasks = [WorkingModeTask(code, WorkingMode.SELF_CONSUMPTION) for code in ("NE=1", "NE=7")]
        lost = await adapter.change_progress(tasks[0], Accepted("1234567890123456"))
        return await adapter.change(tasks), lost

    receipts, lost = world.run(session)

    assert all(isinstance(receipt, Rejected) and "NE=7" in receipt.reason for receipt in receipts)
    assert (lost.progress, "20620" in lost.reason) == (Progress.UNKNOWN, True)
