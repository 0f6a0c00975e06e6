"""Forced tasks against the emulated cloud: translating, sending, following up, stopping."""

from __future__ import annotations

import datetime as dt
import itertools
import json
from dataclasses import replace

import pytest

from adapters.contract import (
    Accepted,
    Channel,
    Command,
    ExportLimiting,
    IntentRefusedError,
    Progress,
    Rejected,
    Telemetry,
    Unknown,
)
from adapters.huawei.adapter import create
from adapters.huawei.emulated_control import TaskDesk
from adapters.huawei.emulated_plant import EmulatedPlant
from adapters.huawei.mapping import Call, WorkingMode
from adapters.huawei.tasks import ActivePowerTask, BatteryParametersTask, WorkingModeTask, neutral_idle, task_of_wire
from adapters.tokens import MemoryTokenStore
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD, START

NOWHERE = {
    "base_url": "http://127.0.0.1:1",
    "oauth_url": "same",
    "client_id": "123456789",
    "client_secret": "secret",
    "redirect_url": "https://www.example.com/cn/",
    "refresh_token": "token",
}


@pytest.fixture
def offline():
    def build(**changes):
        return create({**NOWHERE, **changes}, lambda: START)

    return build


def reading(**values):
    return Telemetry(Channel.STATE, START, **values)


# --- translating ---


def test_charging_is_positive_and_discharging_negative(offline, plant_device, intent_for):
    charge = offline().translate(intent_for(CHARGE, 2.5), plant_device(), None)
    discharge = offline().translate(intent_for(DISCHARGE, 2.5, minutes=90), plant_device(), None)

    assert (charge.battery_kw, charge.releases) == (-2.5, False)
    assert charge.payload == {
        "plantCode": "NE=1",
        "dispatchSwitch": 1,
        "controlType": 2,
        "dispatchTime": 60,
        "powerDispatch": 2500,
    }
    assert discharge.battery_kw == 2.5
    assert (discharge.payload["dispatchSwitch"], discharge.payload["powerDispatch"]) == (2, -2500)
    assert discharge.payload["dispatchTime"] == 90


def test_following_the_house_is_a_stop(offline, plant_device, intent_for):
    command = offline().translate(intent_for(FOLLOW), plant_device(), None)

    assert command == offline().release(plant_device())
    assert (command.releases, command.payload) == (True, {"plantCode": "NE=1", "dispatchSwitch": 0})


def test_holding_needs_an_owner_who_agreed_and_the_refusal_says_how(offline, plant_device, intent_for):
    assert HOLD not in offline().abilities.modes
    for adapter in (offline(), offline(neutral_idle_plants=["NE=2"])):
        with pytest.raises(IntentRefusedError, match="neutral_idle_plants"):
            adapter.translate(intent_for(HOLD), plant_device(), None)


def test_a_plant_whose_mode_we_switch_rests_both_ways_by_it(offline, plant_device, intent_for):
    adapter = offline(neutral_idle_plants=["NE=1"])
    hold, follow = (adapter.translate(intent_for(mode), plant_device(), None) for mode in (HOLD, FOLLOW))

    assert HOLD in adapter.abilities.modes
    assert (hold.releases, hold.battery_kw, hold.ends_at) == (False, 0.0, None)
    assert hold.payload == neutral_idle("NE=1", 5.0).wire()
    assert (follow.releases, follow.battery_kw) == (True, 0.0)
    assert follow.payload == {"plantCode": "NE=1", "operationMode": "maximumSelfConsumption"}
    assert follow == adapter.release(plant_device())
    assert hold.replaces, "until somebody knows that no task runs"
    assert adapter.release(plant_device("NE=2")).payload == {"plantCode": "NE=2", "dispatchSwitch": 0}


@pytest.mark.parametrize(
    ("named", "stops_first", "costs", "stopped_for"),
    [
        ([], True, {CHARGE: 2, DISCHARGE: 2, FOLLOW: 2}, {CHARGE, DISCHARGE}),
        ([], False, {CHARGE: 2, DISCHARGE: 2, FOLLOW: 2}, set()),
        (["NE=1"], True, dict.fromkeys((CHARGE, DISCHARGE, FOLLOW, HOLD), 2), {CHARGE, DISCHARGE, FOLLOW, HOLD}),
        (["NE=1"], False, dict.fromkeys((CHARGE, DISCHARGE, FOLLOW, HOLD), 2), {FOLLOW, HOLD}),
    ],
)
def test_what_each_mode_takes_of_the_calls(offline, plant_device, named, stops_first, costs, stopped_for):
    adapter = offline(neutral_idle_plants=named, stop_before_same_signal=stops_first, polls_per_task=1)
    found = adapter.call_budget(plant_device(), START + dt.timedelta(days=1)).costs

    assert (found.per_intent, found.behind_another, found.stopped_for) == (costs, 1, stopped_for)


def test_a_task_may_end_three_minutes_late(offline, plant_device, intent_for):
    command = offline().translate(intent_for(CHARGE, 1.0, minutes=15), plant_device(), None)

    assert command.ends_at == START + dt.timedelta(minutes=18)


@pytest.mark.parametrize(
    ("power_kw", "limit_kw", "sent_w"),
    [(5.2, None, 5000), (3.0, 2.0004, 2000), (0.0004, None, None), (0.001, None, 1), (3.0, 0.0, None)],
)
def test_power_is_clamped_in_whole_watts_and_never_zero(offline, plant_device, intent_for, power_kw, limit_kw, sent_w):
    latest = reading(charge_limit_kw=limit_kw)
    if sent_w is None:
        with pytest.raises(IntentRefusedError, match="less than a watt"):
            offline().translate(intent_for(CHARGE, power_kw), plant_device(), latest)
    else:
        command = offline().translate(intent_for(CHARGE, power_kw), plant_device(), latest)
        assert command.payload["powerDispatch"] == sent_w


@pytest.mark.parametrize(("mode", "power_kw", "sent_w"), [(CHARGE, 3.0, 1500), (DISCHARGE, 5.0, -2500)])
def test_each_of_a_plants_batteries_is_told_its_share(offline, plant_device, intent_for, mode, power_kw, sent_w):
    """Section 5.2.1: with several ESSs the task is executed on every one."""
    adapter = offline(batteries_of_plant={"NE=1": 2})

    command = adapter.translate(intent_for(mode, power_kw), plant_device(), None)

    assert command.payload["powerDispatch"] == sent_w
    assert abs(command.battery_kw) == power_kw, "of the plant"
    thirds = offline(batteries_of_plant={"NE=1": 3}).translate(intent_for(DISCHARGE, 5.0), plant_device(), None)
    assert (thirds.payload["powerDispatch"], thirds.battery_kw) == (-1666, 4.998), "rounding exceeds no rating"
    assert adapter.translate(intent_for(mode, power_kw), plant_device("NE=2"), None).payload[
        "powerDispatch"
    ] == pytest.approx(2 * sent_w)


def test_a_plant_that_lists_several_batteries_is_not_driven_until_somebody_says_how(
    emulate_huawei, plant_device, intent_for, monkeypatch
):
    world = emulate_huawei()
    row = next(row for row in world.plant().device_rows(False) if row["devTypeId"] == 39)
    second = {**row, "id": row["id"] - 1000, "esnCode": "second"}
    one = world.plant().device_rows
    monkeypatch.setattr(EmulatedPlant, "device_rows", lambda _, odd: [*one(odd), second])

    async def session(adapter):
        await adapter.devices()
        assert adapter.release(plant_device()).releases
        return adapter.translate(intent_for(CHARGE, 4.0), plant_device(), None).payload["powerDispatch"]

    with pytest.raises(IntentRefusedError, match=r"2 batteries.*batteries_of_plant"):
        world.run(session)
    assert world.run(session, batteries_of_plant={"NE=1": 2}) == 2000
    assert world.run(session, batteries_of_plant={"NE=1": 1}) == 4000


@pytest.mark.parametrize(("code", "power_kw"), [("NE=1", 5.3), ("", 1.0), ("  ", 1.0)])
def test_what_no_device_can_do_is_refused(offline, plant_device, intent_for, code, power_kw):
    with pytest.raises(IntentRefusedError):
        offline().translate(intent_for(CHARGE, power_kw), plant_device(code), None)


@pytest.mark.parametrize(
    ("minutes", "sent"), [(15, 15), (14.6, 15), (0.6, 1), (24 * 60, 1440), (30 * 60, 1440), (0.4, None)]
)
def test_a_task_lasts_to_the_end_of_its_intent(offline, plant_device, intent_for, minutes, sent):
    if sent is None:
        with pytest.raises(IntentRefusedError, match="not_after"):
            offline().translate(intent_for(CHARGE, 1.0, minutes), plant_device(), None)
    else:
        command = offline().translate(intent_for(CHARGE, 1.0, minutes), plant_device(), None)
        assert command.payload["dispatchTime"] == sent


def test_a_task_ends_when_the_state_of_charge_will_be_reached(offline, plant_device, intent_for):
    device = plant_device(charge_efficiency=0.8, discharge_efficiency=0.5)
    charge = offline().translate(intent_for(CHARGE, 5.0, 600, until_soc=0.9), device, reading(soc=0.5))
    discharge = offline().translate(intent_for(DISCHARGE, 5.0, 600, until_soc=0.1), device, reading(soc=0.6))

    assert charge.payload["dispatchTime"] == 60  # 4 kWh into the cells are 5 kWh at 5 kW
    assert discharge.payload["dispatchTime"] == 30  # 5 kWh out of the cells are 2.5 kWh at 5 kW
    with pytest.raises(IntentRefusedError, match="reached already"):
        offline().translate(intent_for(CHARGE, 5.0, until_soc=0.5), device, reading(soc=0.5))


@pytest.mark.parametrize(
    ("rule", "pv_kw", "sent_w"),
    [
        ("refuse", 3.0, None),
        ("refuse", 1.0, 1000),
        ("raise", 3.0, 3000),
        ("raise", 3.0001, 3001),
        ("raise", 9.0, None),
        ("allow", 3.0, 1000),
        ("refuse", None, 1000),
    ],
)
def test_a_charge_below_the_array_is_refused_or_raised(offline, plant_device, intent_for, rule, pv_kw, sent_w):
    adapter = offline(charge_below_pv=rule)
    if sent_w is None:
        with pytest.raises(IntentRefusedError, match="throttle the array"):
            adapter.translate(intent_for(CHARGE, 1.0), plant_device(), reading(pv_kw=pv_kw))
    else:
        command = adapter.translate(intent_for(CHARGE, 1.0), plant_device(), reading(pv_kw=pv_kw))
        assert command.payload["powerDispatch"] == sent_w
    assert adapter.translate(intent_for(DISCHARGE, 1.0), plant_device(), reading(pv_kw=pv_kw)).battery_kw == 1.0


# --- sending, and what the battery does ---


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


@pytest.mark.parametrize("mode", [CHARGE, HOLD, FOLLOW])
def test_a_command_survives_a_journal(offline, plant_device, intent_for, mode):
    power_kw = 1.0 if mode is CHARGE else 0.0
    command = offline(neutral_idle_plants=["NE=1"]).translate(intent_for(mode, power_kw), plant_device(), None)

    payload = json.loads(json.dumps(dict(command.payload)))
    assert payload == command.payload
    assert task_of_wire(payload).wire() == payload
