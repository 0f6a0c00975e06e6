"""Intents to forced tasks, working modes and stops; and what is refused."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from adapters.contract import Channel, IntentRefusedError, Telemetry
from adapters.huawei.emulated_plant import EmulatedPlant
from adapters.huawei.tasks import neutral_idle, task_of_wire
from tests.intents import CHARGE, DISCHARGE, FOLLOW, HOLD, START


def reading(**values):
    return Telemetry(Channel.STATE, START, **values)


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


@pytest.mark.parametrize("mode", [CHARGE, HOLD, FOLLOW])
def test_a_command_survives_a_journal(offline, plant_device, intent_for, mode):
    power_kw = 1.0 if mode is CHARGE else 0.0
    command = offline(neutral_idle_plants=["NE=1"]).translate(intent_for(mode, power_kw), plant_device(), None)

    payload = json.loads(json.dumps(dict(command.payload)))
    assert payload == command.payload
    assert task_of_wire(payload).wire() == payload
