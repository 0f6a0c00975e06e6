"""The adapter against the emulated cloud, over HTTP on loopback."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest

from adapters.commissioning import Commissionable
from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    Closable,
    ConfigurationError,
    Discoverable,
    Dispatchable,
    IntentRefusedError,
    QuotaExceededError,
    Readable,
    Rejected,
    Schedulable,
    Unknown,
    VendorUnavailableError,
)
from adapters.emulation import EmulatorControl
from adapters.xolta.mapping import State

MINUTE = dt.timedelta(minutes=1)


@pytest.mark.parametrize("capability", [Readable, Dispatchable, Schedulable, Discoverable, Commissionable, Closable])
def test_the_adapter_has_each_capability(using, emulate, capability):
    world = emulate()

    async def work(adapter):
        return isinstance(adapter, capability)

    assert using(world.settings(), world.clock.now, work)
    assert world.log.events == []


# --- reading ---


def test_a_reading_is_canonical(using, emulate, device):
    world = emulate(load_kw=6.0, pv_kw=2.5, soc=0.42)
    world.step(130)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    assert reading.measured_at == dt.datetime(2024, 5, 1, 12, 2, tzinfo=dt.UTC)
    assert (reading.battery_kw, reading.pv_kw, reading.load_kw) == pytest.approx((3.5, 2.5, 6.0))
    assert reading.grid_kw == pytest.approx(0.0, abs=1e-6)
    assert reading.soc == pytest.approx(world.device.site.plant.soc, abs=2e-4)
    assert reading.dispatch_active is False


def test_a_hundred_devices_and_both_channels_cost_one_call(using, emulate, device):
    names = tuple(f"D{number}" for number in range(100))
    world = emulate(device_ids=names)

    async def work(adapter):
        return await asyncio.gather(
            *(adapter.read(device(name), channel) for name in names for channel in (Channel.POWER, Channel.STATE))
        )

    readings = using(world.settings(), world.clock.now, work)

    assert len(readings) == 200
    assert None not in readings
    assert len(world.events("call", call="deviceStatus")) == 1
    assert len(world.events("login")) == 1


def test_after_a_minute_the_question_is_asked_again_and_never_before(using, emulate, device):
    world = emulate()

    async def work(adapter):
        ages = []
        for _ in range(30):
            reading = await adapter.read(device(), Channel.POWER)
            ages.append((world.clock.now() - reading.measured_at).total_seconds())
            world.step(20)
        return ages

    ages = using(world.settings(), world.clock.now, work)

    assert len(world.events("call", call="deviceStatus")) == 10
    assert world.events("unfair") == []
    assert max(ages) < 120


def test_a_device_that_the_vendor_does_not_show_has_no_reading(using, emulate, device):
    world = emulate()

    assert using(world.settings(), world.clock.now, lambda a: a.read(device("other"), Channel.POWER)) is None


def test_the_devices_are_listed(using, emulate):
    world = emulate(device_ids=("A", "B"))
    settings = world.settings(commissioned_devices=["B"])

    found = using(settings, world.clock.now, lambda adapter: adapter.devices())

    assert [(one.device_id, one.controllable) for one in found] == [("A", False), ("B", True)]


def test_while_a_device_idles_its_powers_are_unknown_and_it_cannot_be_driven(using, emulate, device, intent):
    world = emulate(load_kw=6.0)
    world.step(120)

    async def work(adapter):
        await adapter.send(adapter.go_to(device(), State.IDLING))
        world.step(120)
        reading = await adapter.read(device(), Channel.POWER)
        with pytest.raises(IntentRefusedError, match="Idling"):
            adapter.translate(intent("charge", 5), device(), None)
        with pytest.raises(IntentRefusedError, match="Idling"):
            adapter.schedule([intent("charge", 5)], device(), None)
        assert adapter.release(device()).releases
        await adapter.send(adapter.go_to(device(), State.RUNNING))
        world.step(120)
        awake = await adapter.read(device(), Channel.POWER)
        return reading, awake, adapter.translate(intent("charge", 5), device(), awake)

    reading, awake, command = using(world.settings(), world.clock.now, work)

    # The cloud still shows the 6 kW from before, under a fresh time stamp.
    assert world.clock.now() - reading.measured_at < 3 * MINUTE
    assert (reading.battery_kw, reading.grid_kw, reading.pv_kw, reading.load_kw) == (None,) * 4
    assert reading.soc is not None
    assert awake.battery_kw == pytest.approx(6.0)
    assert command.battery_kw == -5


def test_a_reading_without_power_is_no_ground_to_drive_on(using, emulate, device, intent):
    world = emulate()
    world.switch(numbers_as="n/a")

    async def work(adapter):
        reading = await adapter.read(device(), Channel.STATE)
        with pytest.raises(IntentRefusedError, match="no power"):
            adapter.translate(intent("hold"), device(), reading)
        return reading

    assert using(world.settings(), world.clock.now, work).battery_kw is None


# --- driving ---


@pytest.mark.parametrize(("unit", "sign"), [("kW", 1), ("kW", -1), ("W", 1), ("W", -1)])
@pytest.mark.parametrize(
    ("mode", "power_kw", "expected_kw"), [("charge", 7.5, -7.5), ("discharge", 4, 4), ("hold", 0, 0)]
)
def test_an_intent_is_done_whatever_the_vendors_unit_and_sign(
    using, emulate, device, intent, unit, sign, mode, power_kw, expected_kw
):
    world = emulate(unit=unit, sign=sign)

    async def work(adapter):
        command = adapter.translate(intent(mode, power_kw), device(), None)
        receipt = await adapter.send(command)
        world.step(120)
        return command, receipt, await adapter.read(device(), Channel.POWER)

    command, receipt, reading = using(world.settings(), world.clock.now, work)

    assert receipt == Accepted("")
    assert command.battery_kw == expected_kw
    assert not command.releases
    assert reading.battery_kw == pytest.approx(expected_kw, abs=1e-6)
    assert reading.dispatch_active is True
    points = command.payload["Payload"]["setPoint"]
    assert points["1"]["batteryActivePower"] == expected_kw * sign * (1000 if unit == "W" else 1)
    assert list(points) == ["1", "2"]
    assert points["2"] == {"utcTime": "2024-05-01T12:15:00Z", "batteryActivePower": 0.0}


def test_a_command_ends_at_rest_by_itself(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        await adapter.send(adapter.translate(intent("discharge", 5), device(), None))

    using(world.settings(), world.clock.now, work)
    world.step(14 * 60)
    assert world.battery_kw == pytest.approx(5)
    world.step(2 * 60)
    assert world.battery_kw == pytest.approx(0)


def test_letting_go_is_seen(using, emulate, device, intent):
    world = emulate(load_kw=2.0)

    async def work(adapter):
        await adapter.send(adapter.translate(intent("charge", 5), device(), None))
        world.step(60)
        command = adapter.translate(intent("self_consumption"), device(), None)
        assert command == adapter.release(device())
        receipt = await adapter.send(command)
        world.step(120)
        return receipt, await adapter.read(device(), Channel.STATE)

    receipt, reading = using(world.settings(), world.clock.now, work)

    assert receipt == Accepted("")
    assert reading.dispatch_active is False
    assert reading.battery_kw == pytest.approx(2.0)


def test_an_order_just_above_the_rating_is_clamped_and_a_wrong_unit_is_refused(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        assert adapter.translate(intent("charge", 31.0), device(), None).battery_kw == -30
        assert adapter.translate(intent("discharge", 10 / 3), device(), None).battery_kw == 3.333
        for refused in (31.6, 5000.0):
            with pytest.raises(IntentRefusedError, match="rating"):
                adapter.translate(intent("discharge", refused), device(), None)
        with pytest.raises(IntentRefusedError, match="device_id"):
            adapter.translate(intent("hold"), device(" "), None)
        with pytest.raises(IntentRefusedError, match="device_id"):
            adapter.release(device(""))

    using(world.settings(), world.clock.now, work)
    assert world.log.events == []


@pytest.mark.parametrize(
    ("mode", "until", "soc", "expected"),
    [
        ("charge", 0.5, 0.5, 0.0),
        ("charge", 0.6, 0.5, -5.0),
        ("discharge", 0.5, 0.5, 0.0),
        ("discharge", 0.4, 0.5, 5.0),
        ("charge", None, 0.99, -5.0),
    ],
)
def test_a_bound_on_the_charge_that_is_reached_becomes_rest(using, emulate, device, intent, mode, until, soc, expected):
    world = emulate(soc=soc)

    async def work(adapter):
        latest = await adapter.read(device(), Channel.STATE)
        return adapter.translate(intent(mode, 5, until_soc=until), device(), latest)

    assert using(world.settings(), world.clock.now, work).battery_kw == expected


@pytest.mark.parametrize(
    "changes",
    [{"commissioned": False}, {"commissioned_devices": ["another"]}],
)
def test_control_is_off_until_commissioned(using, emulate, device, intent, changes):
    world = emulate()

    async def work(adapter):
        for mode, power in (("charge", 1), ("discharge", 1), ("hold", 0), ("self_consumption", 0)):
            with pytest.raises(IntentRefusedError, match="tidewatt devices commission"):
                adapter.translate(intent(mode, power), device(), None)
            with pytest.raises(IntentRefusedError, match="tidewatt devices commission"):
                adapter.schedule([intent(mode, power)], device(), None)
        assert adapter.release(device()).releases

    using(world.settings(**changes), world.clock.now, work)
    assert world.log.events == []


def test_commissioned_without_what_was_found_is_no_setting(using, emulate):
    world = emulate()
    for missing in ("setpoint_unit", "setpoint_sign"):
        with pytest.raises(ConfigurationError, match="setpoint_unit and setpoint_sign"):
            using(world.settings(**{missing: None}), world.clock.now, None)


# --- schedules ---


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


# --- faults ---


def test_a_lost_answer_is_unknown(using, emulate, device, intent):
    world = emulate()
    world.switch(lost_answers=1)

    async def work(adapter):
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    assert isinstance(using(world.settings(timeout_s=0.5), world.clock.now, work), Unknown)
    assert len(world.events("command")) == 1


def test_a_server_that_is_down_ends_in_typed_outcomes(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        await adapter.read(device(), Channel.POWER)  # the login works
        world.step(60)
        world.switch(server_error_share=1.0)
        with pytest.raises(VendorUnavailableError):
            await adapter.read(device(), Channel.POWER)
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    assert isinstance(using(world.settings(), world.clock.now, work), Unknown)


def test_without_a_login_a_command_was_certainly_not_sent(using, emulate, device, intent):
    world = emulate()
    world.switch(server_error_share=1.0)

    async def work(adapter):
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    receipt = using(world.settings(), world.clock.now, work)
    assert isinstance(receipt, Rejected)
    assert receipt.retryable
    assert "not sent" in receipt.reason


def test_nobody_listening_is_a_command_not_sent(using, emulate, device, intent, closed_port_url):
    world = emulate()

    async def work(adapter):
        with pytest.raises(VendorUnavailableError):
            await adapter.read(device(), Channel.POWER)
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    receipt = using(world.settings(base_url=closed_port_url), world.clock.now, work)
    assert isinstance(receipt, Rejected)
    assert receipt.retryable


def test_too_many_requests_silences_until_the_penalty_is_over(using, emulate, device, intent):
    world = emulate()
    world.switch(rate_limited=True, ban_s=90)

    async def work(adapter):
        for _ in range(3):
            with pytest.raises(QuotaExceededError):
                await adapter.read(device(), Channel.POWER)
            world.step(25)
        command = adapter.translate(intent("charge", 5), device(), None)
        receipts = [
            await adapter.send(command),
            await adapter.send(command),
            await adapter.send(adapter.release(device())),
        ]
        world.switch()
        world.step(100)
        reading = await adapter.read(device(), Channel.POWER)
        return receipts, reading, await adapter.send(command)

    receipts, reading, receipt = using(world.settings(), world.clock.now, work)

    assert all(isinstance(one, Rejected) and one.retryable for one in receipts)
    assert len(world.events("call refused", call="deviceStatus")) == 1
    assert len(world.events("call refused", call="command")) == 1
    assert reading is not None
    assert receipt == Accepted("")


def test_a_lost_token_is_replaced_once_for_reads_and_writes(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        await adapter.read(device(), Channel.POWER)
        world.cloud._tokens.clear()
        receipt = await adapter.send(adapter.translate(intent("charge", 5), device(), None))
        world.cloud._tokens.clear()
        world.step(60)
        return receipt, await adapter.read(device(), Channel.POWER)

    receipt, reading = using(world.settings(), world.clock.now, work)

    assert receipt == Accepted("")
    assert reading is not None
    assert len(world.events("login")) == 3
    assert len(world.events("command")) == 1


def test_a_token_is_renewed_before_its_end_by_our_clock(using, emulate, device):
    world = emulate()

    async def work(adapter):
        for _ in range(150):
            await adapter.read(device(), Channel.POWER)
            world.step(60)

    using(world.settings(), world.clock.now, work)

    assert len(world.events("login")) == 3
    assert world.events("call refused") == []


def test_tokens_that_nobody_wants_end_the_attempts(using, emulate, device, intent):
    world = emulate()
    world.switch(tokens_expired=True)

    async def work(adapter):
        with pytest.raises(ConfigurationError, match="fresh token"):
            await adapter.read(device(), Channel.POWER)
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    receipt = using(world.settings(), world.clock.now, work)
    assert isinstance(receipt, Rejected)
    assert not receipt.retryable
    assert len(world.events("login")) <= 3


def test_clocks_too_far_apart_stop_driving_and_not_letting_go(using, emulate, device, intent):
    world = emulate()
    world.switch(clock_skew_s=90)

    async def work(adapter):
        reading = await adapter.read(device(), Channel.POWER)
        command = adapter.translate(intent("charge", 5), device(), None)
        return reading, await adapter.send(command), await adapter.send(adapter.release(device()))

    reading, driven, released = using(world.settings(), world.clock.now, work)
    assert reading.measured_at == dt.datetime(2024, 5, 1, 12, 1, 30, tzinfo=dt.UTC)
    assert isinstance(driven, Rejected)
    assert "clock" in driven.reason
    assert released == Accepted("")


def test_clocks_too_far_apart_stop_even_the_first_call_of_all(using, emulate, device, intent):
    world = emulate()
    world.switch(clock_skew_s=90)

    async def work(adapter):
        return await adapter.send(adapter.translate(intent("charge", 5), device(), None))

    driven = using(world.settings(), world.clock.now, work)
    assert isinstance(driven, Rejected)
    assert "clock" in driven.reason
    assert world.events("command") == []


@pytest.mark.parametrize("numbers_as", ["text", "null", "n/a"])
def test_numbers_in_any_dress(using, emulate, device, numbers_as):
    world = emulate(load_kw=6.0)
    world.step(60)
    world.switch(numbers_as=numbers_as)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    if numbers_as == "text":
        assert reading.battery_kw == pytest.approx(6.0)
    else:
        assert (reading.battery_kw, reading.grid_kw, reading.load_kw, reading.soc) == (None,) * 4


def test_another_shape_of_the_same_answer_is_understood(using, emulate, device):
    world = emulate(load_kw=6.0)
    world.step(60)
    world.switch(odd_json=True)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    assert reading.battery_kw == pytest.approx(6.0)
    assert reading.measured_at == world.clock.now()
    assert reading.dispatch_active is False


def test_a_frozen_cloud_shows_its_age(using, emulate, device):
    world = emulate()
    world.step(60)
    world.switch(frozen=True)
    world.step(600)

    reading = using(world.settings(), world.clock.now, lambda adapter: adapter.read(device(), Channel.POWER))

    assert world.clock.now() - reading.measured_at == 10 * MINUTE


@pytest.mark.parametrize(
    ("faults", "expected_kw"),
    [
        ({"commands_ignored": True}, 2.0),
        ({"applied_share": 0.5}, -2.5),
        ({"lapses_after_s": 60}, 2.0),
        ({"apply_delay_s": 600}, 2.0),
    ],
)
def test_accepted_is_not_done(using, emulate, device, intent, faults, expected_kw):
    world = emulate(load_kw=2.0)
    world.switch(**faults)

    async def work(adapter):
        receipt = await adapter.send(adapter.translate(intent("charge", 5), device(), None))
        world.step(180)
        return receipt, await adapter.read(device(), Channel.POWER)

    receipt, reading = using(world.settings(), world.clock.now, work)
    assert receipt == Accepted("")
    assert reading.battery_kw == pytest.approx(expected_kw)


def test_the_emulator_is_driven_over_http_too(emulate):
    world = emulate()

    async def session():
        control = EmulatorControl(world.url)
        try:
            await control.step_to(world.clock.now() + MINUTE)
            await control.switch(frozen=True)
            state = await control.state()
            await control.stop()
            return state
        finally:
            await control.close()

    state = asyncio.run(session())
    assert state["systems"]["BAT-80-0001"]["mode"] == "SelfConsumption"
    assert world.faults.now.frozen
    assert world.cloud.stopped


def test_commands_have_a_limit_that_releases_do_not_share(using, emulate, device, intent):
    world = emulate()

    async def work(adapter):
        command = adapter.translate(intent("charge", 5), device(), None)
        driven = [await adapter.send(command) for _ in range(3)]
        return driven, [await adapter.send(adapter.release(device())) for _ in range(3)]

    driven, released = using(world.settings(commands_per_minute=2), world.clock.now, work)
    assert [type(receipt) for receipt in driven] == [Accepted, Accepted, Rejected]
    assert released == [Accepted("")] * 3


def test_errors_of_adapters_are_theirs():
    assert issubclass(QuotaExceededError, AdapterError)
