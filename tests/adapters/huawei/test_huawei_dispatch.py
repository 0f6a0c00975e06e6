"""Forced tasks at the emulated cloud: sending, following up, stopping."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest

from adapters.contract import Accepted, Channel, Command, IntentRefusedError, Progress, Rejected, Unknown
from adapters.tokens import MemoryTokenStore
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD


def test_a_charge_moves_the_battery_and_ends_by_itself(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        command = adapter.translate(intent_for(CHARGE, 2.0), plant_device(), None)
        receipt = await adapter.send(command)
        assert isinstance(receipt, Accepted)
        assert int(receipt.vendor_reference) > 2**53, "more than a double holds"
        seen = []
        for _ in range(7):
            seen.append((round(world.battery_kw(), 2), (await adapter.track(command, receipt)).progress))
            world.after(600)
        return seen, await adapter.track(command, receipt)

    seen, last = world.run(session)

    assert [kw for kw, _ in seen[1:6]] == [-2.0] * 5
    assert {progress for _, progress in seen[:6]} == {Progress.RUNNING}
    assert world.battery_kw() == pytest.approx(1.0, abs=0.01), "back to following the house"
    assert last.progress is Progress.DONE


def test_the_state_of_a_task_is_asked_for_every_three_minutes_at_most(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        command = adapter.translate(intent_for(DISCHARGE, 2.0), plant_device(), None)
        receipt = await adapter.send(command)
        for _ in range(12):
            await adapter.track(command, receipt)
            world.after(60)

    world.run(session)

    assert world.calls("chargeAndDischargeStatus") == 4


def test_a_hundred_plants_go_in_one_call_and_one_more_in_another(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(plants=101)

    async def session(adapter):
        commands = [
            adapter.translate(intent_for(CHARGE, 1.0), plant_device(f"NE={number}"), None) for number in range(1, 102)
        ]
        return await adapter.send_many(commands)

    receipts = world.run(session)

    assert all(isinstance(receipt, Accepted) for receipt in receipts)
    assert world.calls("charge-and-discharge/async-task") == 4, "a stop goes before each task, of all plants at once"
    assert len({receipt.vendor_reference for receipt in receipts}) == 2


@pytest.mark.parametrize("odd", [False, True])
def test_one_plant_of_two_is_refused(emulate_huawei, plant_device, intent_for, odd):
    world = emulate_huawei()
    world.switch(odd_json=odd)

    async def session(adapter):
        commands = [adapter.translate(intent_for(CHARGE, 1.0), plant_device(code), None) for code in ("NE=1", "NE=9")]
        receipts = await adapter.send_many(commands)
        assert (await adapter.track(commands[0], receipts[0])).progress is Progress.RUNNING
        return receipts, await adapter.send_many(commands[1:])

    (good, bad), (alone,) = world.run(session)

    assert isinstance(good, Accepted)
    assert bad == alone == Rejected("No resource permission.")


def test_stops_and_what_drives_share_two_calls(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(plants=4)

    async def session(adapter):
        drives = [adapter.translate(intent_for(CHARGE, 1.0), plant_device(f"NE={n}"), None) for n in (1, 2)]
        releases = [adapter.release(plant_device(f"NE={n}")) for n in (3, 4)]
        return await adapter.send_many([drives[0], releases[0], drives[1], releases[1]])

    receipts = world.run(session, neutral_idle_plants=[])

    assert all(isinstance(receipt, Accepted) for receipt in receipts)
    assert world.calls("async-task") == 2
    assert receipts[0] == receipts[2] != receipts[1] == receipts[3]
    tasks = [(event["sn"], event["switch"]) for event in world.log.events if event["event"] == "task"]
    assert sorted(tasks[:4]) == [("NE=1", 0), ("NE=2", 0), ("NE=3", 0), ("NE=4", 0)]
    assert tasks[4:] == [("NE=1", 1), ("NE=2", 1)]


def test_a_batch_is_stops_then_modes_ten_at_a_time_then_tasks(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(plants=15)

    async def session(adapter):
        follow, hold, charge = (
            [adapter.translate(intent_for(mode, kw), plant_device(f"NE={n}"), None) for n in numbers]
            for mode, kw, numbers in ((FOLLOW, 0, range(1, 7)), (HOLD, 0, range(7, 13)), (CHARGE, 2, range(13, 16)))
        )
        commands = [command for three in itertools.zip_longest(hold, charge, follow) for command in three if command]
        receipts = await adapter.send_many([*commands, Command("NE=1", False, 0.0, {"operationMode": "TOU"})])
        world.after(60)
        assert isinstance(await adapter.send(replace(hold[0], replaces=False)), Accepted)
        return commands, receipts

    commands, receipts = world.run(session)

    paths = [event["path"].rsplit("/", 2)[-2] for event in world.log.events if event["event"] == "call"]
    sent = ["charge-and-discharge", "mode", "mode", "charge-and-discharge"]
    assert paths == [*sent, "mode"], "where nothing runs there is nothing to stop"
    assert [type(receipt) for receipt in receipts] == [Accepted] * 15 + [Rejected]
    for command in commands:
        number = int(command.device_id.removeprefix("NE="))
        wanted_kw = 1.0 if number < 7 else 0.0 if number < 13 else -2.0
        assert world.battery_kw(command.device_id) == pytest.approx(wanted_kw, abs=0.01)


def test_a_task_is_preceded_by_a_stop(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        first = adapter.translate(intent_for(CHARGE, 1.0), plant_device(), None)
        second = adapter.translate(intent_for(CHARGE, 3.0), plant_device(), None)
        third = adapter.translate(intent_for(DISCHARGE, 2.0), plant_device(), None)
        receipts = []
        for command in (first, second, third):
            receipts.append(await adapter.send(command))
            world.after(300)
        return receipts

    receipts = world.run(session)

    assert all(isinstance(receipt, Accepted) for receipt in receipts)
    switches = [event["switch"] for event in world.log.events if event["event"] == "task"]
    assert switches == [0, 1, 0, 1, 0, 2]
    assert world.battery_kw() == pytest.approx(2.0, abs=0.01)


@pytest.mark.parametrize("mode", [CHARGE, DISCHARGE, FOLLOW])
def test_a_new_process_over_a_running_task_does_what_it_is_told(emulate_huawei, plant_device, intent_for, mode):
    """It has no memory of the task, and needs none."""
    world = emulate_huawei()

    async def send(adapter, mode, power_kw):
        return await adapter.send(adapter.translate(intent_for(mode, power_kw), plant_device(), None))

    assert isinstance(world.run(lambda adapter: send(adapter, CHARGE, 1.0)), Accepted)
    world.after(30)
    assert world.battery_kw() == pytest.approx(-1.0, abs=0.01)
    assert isinstance(world.run(lambda adapter: send(adapter, mode, 0.0 if mode is FOLLOW else 2.0)), Accepted)
    world.after(30)

    assert world.battery_kw() == pytest.approx({CHARGE: -2.0, DISCHARGE: 2.0, FOLLOW: 1.0}[mode], abs=0.01)


def test_two_processes_that_drive_a_plant_in_turns_never_meet_a_task_in_the_way(
    emulate_huawei, plant_device, intent_for
):
    """What either remembers of the plant is out of date."""
    world, store = emulate_huawei(), MemoryTokenStore()

    async def session(first):
        async with world.adapter(store=store) as second:
            receipts = []
            for adapter, mode in ((first, DISCHARGE), (second, CHARGE), (first, CHARGE), (second, DISCHARGE)):
                receipts.append(await adapter.send(adapter.translate(intent_for(mode, 2.0), plant_device(), None)))
                world.after(30)
                assert world.battery_kw() == pytest.approx(-2.0 if mode is CHARGE else 2.0, abs=0.01)
        return receipts

    assert all(isinstance(receipt, Accepted) for receipt in world.run(session, store=store))


def test_without_a_stop_the_cloud_refuses_the_same_signal(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        command = adapter.translate(intent_for(CHARGE, 1.0), plant_device(), None)
        return [await adapter.send(command), await adapter.send(command)]

    first, second = world.run(session, stop_before_same_signal=False)

    assert isinstance(first, Accepted)
    assert isinstance(second, Rejected)


def test_a_task_that_another_one_ended_is_no_success(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()

    async def session(adapter):
        command = adapter.translate(intent_for(CHARGE, 1.0), plant_device(), None)
        receipt = await adapter.send(command)
        await adapter.send(adapter.release(plant_device()))
        world.after(400)
        return await adapter.track(command, receipt)

    tracked = world.run(session)

    assert tracked.progress is Progress.FAILED
    assert "ended by a new task" in tracked.reason


def test_a_task_that_lapses_early_is_no_success(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()
    world.switch(lapses_after_s=600)

    async def session(adapter):
        command = adapter.translate(intent_for(CHARGE, 1.0), plant_device(), None)
        receipt = await adapter.send(command)
        world.after(1200)
        return await adapter.track(command, receipt)

    assert world.run(session).progress is Progress.FAILED


@pytest.mark.parametrize("share", [0.5, 1.0])
def test_telemetry_shows_what_the_battery_really_does(emulate_huawei, plant_device, intent_for, share):
    world = emulate_huawei()
    world.switch(applied_share=share, apply_delay_s=60)

    async def session(adapter):
        await adapter.send(adapter.translate(intent_for(CHARGE, 2.0), plant_device(), None))
        world.after(adapter.abilities.settling_s)
        return await adapter.read(plant_device(), Channel.POWER)

    seen = world.run(session)

    assert (seen.battery_kw, seen.dispatch_active) == (pytest.approx(-2.0 * share, abs=0.01), True)


def test_a_task_that_never_begins_fails_after_a_day(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei()
    world.switch(commands_ignored=True)

    async def session(adapter):
        command = adapter.translate(intent_for(CHARGE, 1.0), plant_device(), None)
        receipt = await adapter.send(command)
        world.after(23 * 3600)
        before = await adapter.track(command, receipt)
        world.after(2 * 3600)
        return before, await adapter.track(command, receipt)

    before, after = world.run(session)

    assert (before.progress, after.progress) == (Progress.RUNNING, Progress.FAILED)
    assert world.plant().site.released


@pytest.mark.parametrize(("named", "code"), [([], "20050"), (["NE=1"], "20620")])
def test_a_task_that_the_vendor_has_forgotten_is_unknown(emulate_huawei, plant_device, named, code):
    world = emulate_huawei()

    async def session(adapter):
        command = adapter.release(plant_device())
        return [await adapter.track(command, Accepted(reference)) for reference in ("9100000000000001", "", "1.5e15")]

    lost, *unreadable = world.run(session, neutral_idle_plants=named)

    assert lost.progress is Progress.UNKNOWN
    assert code in lost.reason
    assert {tracked.progress for tracked in unreadable} == {Progress.UNKNOWN}


@pytest.mark.parametrize(("stops_first", "battery_kw"), [(False, -1.0), (True, 1.0)])
def test_a_lost_answer_leaves_the_fate_of_a_command_unknown(
    emulate_huawei, plant_device, intent_for, stops_first, battery_kw
):
    """Where it is the stop's answer, the task does not follow."""
    world = emulate_huawei()
    world.switch(lost_answers=1)

    async def session(adapter):
        return await adapter.send(adapter.translate(intent_for(CHARGE, 1.0), plant_device(), None))

    receipt = world.run(session, timeout_s=0.3, stop_before_same_signal=stops_first)
    world.after(60)

    assert isinstance(receipt, Unknown)
    assert world.calls("async-task") == 1, "a write is never repeated"
    assert world.battery_kw() == pytest.approx(battery_kw, abs=0.01)


def test_a_forced_charge_below_the_array_throttles_it(emulate_huawei, plant_device, intent_for):
    world = emulate_huawei(pv_kw=4.0)
    world.switch(pv_throttled=True)

    async def session(adapter):
        latest = await adapter.read(plant_device(), Channel.STATE)
        assert latest.pv_kw == pytest.approx(4.0)
        with pytest.raises(IntentRefusedError):
            adapter.translate(intent_for(CHARGE, 0.4), plant_device(), latest)
        await adapter.send(adapter.translate(intent_for(CHARGE, 0.4), plant_device(), None))

    world.run(session)
    world.after(60)

    assert world.plant().site.plant.sample.pv_kw == pytest.approx(0.4)
