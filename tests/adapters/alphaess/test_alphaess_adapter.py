"""Intents to dispatches, answers to receipts, rows to readings."""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from adapters.alphaess.adapter import AlphaEssAdapter, create
from adapters.contract import (
    Accepted,
    AdapterError,
    Channel,
    Command,
    Device,
    IntentRefusedError,
    Rejected,
    Telemetry,
    Unknown,
)
from engine import Battery, GridConnection, PvArray, Site, optimise
from engine.intent import Intent, IntentMode, intents_of

START = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)
SERIAL_NUMBER = "AL0000000000001"
NOWHERE = {
    "base_url": "http://127.0.0.1:1",
    "api_account": "apiacct01",
    "api_secret": "secret",
    "username": "installer01",
    "password": "pass1234",
}


def intent(mode, power_kw=0.0, until_soc=None):
    return Intent(mode, power_kw, START, START + dt.timedelta(minutes=15), until_soc)


def charge(power_kw, until_soc=0.9):
    return intent(IntentMode.CHARGE, power_kw, until_soc)


def discharge(power_kw, until_soc=0.1):
    return intent(IntentMode.DISCHARGE, power_kw, until_soc)


HOLD = intent(IntentMode.HOLD)
FOLLOW = intent(IntentMode.SELF_CONSUMPTION)


def reading(**values):
    return Telemetry(channel=Channel.STATE, measured_at=START, **values)


@pytest.fixture(scope="module")
def adapter():
    """An adapter whose vendor cannot be reached: translating must not need it."""
    return create(NOWHERE, lambda: START)


# --- translating ---


def test_charging_is_below_the_offset_until_the_upper_soc(adapter, device):
    command = adapter.translate(charge(2.5, 0.8), device(), None)

    assert command == Command(
        device_id=SERIAL_NUMBER,
        releases=False,
        battery_kw=-2.5,
        payload={
            "Sn": SERIAL_NUMBER,
            "ActivePower": 29_500,
            "ReactivePower": 32_000,
            "SOC": 200,
            "Status": 1,
            "ControlMode": 2,
        },
    )


def test_discharging_is_above_the_offset_until_the_lower_soc(adapter, device):
    command = adapter.translate(discharge(2.5, 0.38), device(), None)

    assert (command.releases, command.battery_kw) == (False, 2.5)
    assert (command.payload["ActivePower"], command.payload["SOC"]) == (34_500, 95)
    assert (command.payload["Status"], command.payload["ControlMode"]) == (1, 2)


def test_holding_is_a_started_dispatch_of_no_power(adapter, device):
    command = adapter.translate(HOLD, device(), None)

    assert (command.releases, command.battery_kw) == (False, 0.0)
    assert (command.payload["Status"], command.payload["ControlMode"]) == (1, 2)
    assert command.payload["ActivePower"] == 32_000
    assert command.payload["Sn"] == SERIAL_NUMBER


def test_following_the_house_is_a_stopped_dispatch_that_names_the_system(adapter, device):
    command = adapter.translate(FOLLOW, device(), None)

    assert command == adapter.release(device())
    assert (command.releases, command.battery_kw) == (True, 0.0)
    assert (command.payload["Sn"], command.payload["Status"]) == (SERIAL_NUMBER, 0)
    assert (command.payload["ActivePower"], command.payload["ReactivePower"]) == (32_000, 32_000)


@pytest.mark.parametrize("soc", [0.0, 0.05, 0.37, 1.0])
def test_the_soc_that_the_intent_names_is_sent(adapter, device, soc):
    assert adapter.translate(charge(1, soc), device(), None).payload["SOC"] == round(soc * 250)
    assert adapter.translate(discharge(1, soc), device(), None).payload["SOC"] == round(soc * 250)


def test_charging_without_a_bound_stops_at_the_top_of_the_band(adapter, device):
    command = adapter.translate(charge(1, None), device(min_soc=0.1, max_soc=0.9), None)

    assert command.payload["SOC"] == 225


def test_discharging_without_a_bound_stops_at_the_bottom_of_the_band(adapter, device):
    """A discharge towards the top of the band would be over before it began."""
    command = adapter.translate(discharge(1, None), device(min_soc=0.1, max_soc=0.9), None)

    assert command.payload["SOC"] == 25


@pytest.mark.parametrize(("order", "rating_kw"), [(charge, 5.0), (discharge, 4.0)])
@pytest.mark.parametrize("excess", [1.0, 1.001, 1.05])
def test_a_power_a_little_above_the_rating_is_rounding_and_is_clamped(adapter, device, order, rating_kw, excess):
    command = adapter.translate(order(rating_kw * excess), device(charge_kw=5, discharge_kw=4), None)

    assert abs(command.battery_kw) == rating_kw
    assert abs(command.payload["ActivePower"] - 32_000) == rating_kw * 1000


@pytest.mark.parametrize(("order", "rating_kw"), [(charge, 5.0), (discharge, 4.0)])
@pytest.mark.parametrize("excess", [1.051, 2, 1000])
def test_a_power_far_above_the_rating_is_a_wrong_unit_and_is_refused(adapter, device, order, rating_kw, excess):
    with pytest.raises(IntentRefusedError, match=f"rating of {rating_kw:g} kW"):
        adapter.translate(order(rating_kw * excess), device(charge_kw=5, discharge_kw=4), None)


@pytest.mark.parametrize("order", [charge, discharge])
def test_a_direction_that_the_battery_does_not_have_is_refused(adapter, device, order):
    one_way = device(charge_kw=0 if order is charge else 5, discharge_kw=5 if order is charge else 0)

    with pytest.raises(IntentRefusedError):
        adapter.translate(order(1.0), one_way, None)


IN_BOTH_DIRECTIONS = pytest.mark.parametrize(
    ("order", "own", "other"),
    [(charge, "charge_limit_kw", "discharge_limit_kw"), (discharge, "discharge_limit_kw", "charge_limit_kw")],
    ids=["charge", "discharge"],
)


@IN_BOTH_DIRECTIONS
def test_the_battery_managements_own_limit_binds(adapter, device, order, own, other):
    command = adapter.translate(order(3.0), device(), reading(**{own: 1.2, other: 0.3}))

    assert abs(command.battery_kw) == 1.2


@IN_BOTH_DIRECTIONS
def test_the_limit_of_the_other_direction_does_not_bind(adapter, device, order, own, other):
    command = adapter.translate(order(3.0), device(), reading(**{own: None, other: 0.3}))

    assert abs(command.battery_kw) == 3.0


@IN_BOTH_DIRECTIONS
def test_a_limit_above_the_rating_does_not_lift_the_rating(adapter, device, order, own, other):
    latest = reading(**{own: 50.0, other: 50.0})

    command = adapter.translate(order(4.1), device(charge_kw=4, discharge_kw=4), latest)

    assert abs(command.battery_kw) == 4.0


@IN_BOTH_DIRECTIONS
@pytest.mark.parametrize("limit_kw", [0.0, -0.5])
def test_no_power_allowed_holds_the_battery_rather_than_turning_it_round(adapter, device, order, own, other, limit_kw):
    command = adapter.translate(order(3.0), device(), reading(**{own: limit_kw, other: 5.0}))

    assert (command.releases, command.battery_kw, command.payload["ActivePower"]) == (False, 0.0, 32_000)


@pytest.mark.parametrize("serial_number", ["", " ", "\t"])
@pytest.mark.parametrize("order", [charge(1), discharge(1), HOLD, FOLLOW], ids=lambda order: order.mode.value)
def test_a_device_without_a_serial_number_is_refused(adapter, device, order, serial_number):
    with pytest.raises(IntentRefusedError, match="device_id"):
        adapter.translate(order, device(serial_number), None)


@pytest.mark.parametrize("serial_number", ["", " "])
def test_a_device_without_a_serial_number_cannot_be_released(adapter, device, serial_number):
    with pytest.raises(IntentRefusedError, match="device_id"):
        adapter.release(device(serial_number))


powers = st.floats(0.25, 60)  # some beyond what the vendor's offset can carry
limits = st.none() | st.floats(-1, 100)


@given(
    charge_kw=powers,
    discharge_kw=powers,
    mode=st.sampled_from(IntentMode),
    share=st.floats(1e-6, 1.05),
    until_soc=st.none() | st.floats(0, 1),
    charge_limit_kw=limits,
    discharge_limit_kw=limits,
)
def test_no_intent_puts_more_than_the_rating_on_the_wire(
    adapter, charge_kw, discharge_kw, mode, share, until_soc, charge_limit_kw, discharge_limit_kw
):
    device = Device("AL1", Battery(capacity_kwh=40, max_charge_kw=charge_kw, max_discharge_kw=discharge_kw))
    rating_kw = charge_kw if mode is IntentMode.CHARGE else discharge_kw
    moves = mode in (IntentMode.CHARGE, IntentMode.DISCHARGE)
    latest = reading(charge_limit_kw=charge_limit_kw, discharge_limit_kw=discharge_limit_kw)

    try:
        command = adapter.translate(intent(mode, rating_kw * share if moves else 0.0, until_soc), device, latest)
    except IntentRefusedError:
        assert share > 1.049 or rating_kw * share > 32
        return

    watts = command.payload["ActivePower"] - 32_000
    allowed_kw = charge_limit_kw if mode is IntentMode.CHARGE else discharge_limit_kw
    assert command.battery_kw == watts / 1000
    assert abs(watts) <= rating_kw * 1000
    assert allowed_kw is None or abs(watts) <= max(0.0, allowed_kw) * 1000
    assert watts <= 0 if mode is IntentMode.CHARGE else watts >= 0
    assert moves or watts == 0
    assert 0 <= command.payload["SOC"] <= 250
    assert command.payload["Sn"] == "AL1"
    assert command.payload["Status"] == (0 if mode is IntentMode.SELF_CONSUMPTION else 1)


@settings(max_examples=15, phases=[Phase.generate])
@given(
    cents=st.lists(st.integers(-30, 90), min_size=6, max_size=6),
    sun=st.lists(st.integers(0, 8), min_size=6, max_size=6),
    charge_kw=st.floats(0.5, 12),
    discharge_kw=st.floats(0.5, 12),
    initial_soc=st.sampled_from([0.1, 0.3, 0.9]),
)
def test_no_plan_puts_more_than_the_rating_on_the_wire(adapter, cents, sun, charge_kw, discharge_kw, initial_soc):
    index = pd.date_range("2024-05-01", periods=6, freq="15min", tz="UTC")
    battery = Battery(
        capacity_kwh=8,
        max_charge_kw=charge_kw,
        max_discharge_kw=discharge_kw,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        min_soc=0.1,
        max_soc=0.9,
    )
    prices = pd.Series(cents, index) / 100
    plan = optimise(
        Site(
            battery=battery, grid=GridConnection(import_limit_kw=25, export_limit_kw=25), pv=PvArray(curtailable=True)
        ),
        import_price=prices + 0.1,
        export_price=prices,
        load=pd.Series(1.0, index),
        pv=pd.Series(sun, index, dtype=float),
        initial_soc=initial_soc,
    )

    for planned in intents_of(plan):
        watts = adapter.translate(planned, Device("AL1", battery), None).payload["ActivePower"] - 32_000
        assert -charge_kw * 1000 <= watts <= discharge_kw * 1000


# --- sending ---


@pytest.fixture
def send(vendor, adapt, manual_clock, device):
    """Send one discharge to the scripted vendor, or to another address."""

    def run(url=None, command=None, **changes):
        async def session():
            async with adapt(url or vendor.url, manual_clock, **changes) as adapter:
                return await adapter.send(command or adapter.translate(discharge(2.5, 0.38), device(), None))

        return asyncio.run(session())

    return run


def test_code_0_is_a_receipt(send, vendor):
    vendor.on("RemoteDispatch", {"ReturnCode": 0})

    assert send() == Accepted()
    assert vendor.count("RemoteDispatch") == 1


def test_what_was_translated_is_what_goes_over_the_wire(send, vendor, adapter, device):
    command = adapter.translate(discharge(2.5, 0.38), device(), None)

    send(command=command)

    (body,) = vendor.bodies("RemoteDispatch")
    assert {name: body[name] for name in command.payload} == dict(command.payload)


@pytest.mark.parametrize("code", [2, 4, 8, 9, 11, 12, 13, 15])
def test_a_code_that_says_nothing_was_stored_is_a_rejection(send, vendor, code):
    vendor.on("RemoteDispatch", {"ReturnCode": code})

    receipt = send()

    assert isinstance(receipt, Rejected)
    assert f"ReturnCode {code} " in receipt.reason
    assert vendor.count("RemoteDispatch") == 1


@pytest.mark.parametrize("code", [3, 14, 16, 23])
def test_a_code_that_refuses_unread_is_answered_once_more_and_then_a_rejection(send, vendor, code):
    vendor.on("RemoteDispatch", {"ReturnCode": code})

    receipt = send()

    assert isinstance(receipt, Rejected)
    assert f"ReturnCode {code} " in receipt.reason
    assert vendor.count("RemoteDispatch") == 2


@pytest.mark.parametrize("code", [-1, 1, 5, 17, 31, 38, 6001])
def test_a_code_that_says_nothing_about_the_command_leaves_it_unknown(send, vendor, code):
    vendor.on("RemoteDispatch", {"ReturnCode": code})

    receipt = send()

    assert isinstance(receipt, Unknown)
    assert f"ReturnCode {code} " in receipt.reason
    assert vendor.count("RemoteDispatch") == 1


NO_USABLE_ANSWER = {
    "500": {"status": 500},
    "502 with a page": {"status": 502, "body": b"<html>Bad gateway</html>"},
    "503": {"status": 503},
    "302": {"status": 302, "headers": {"Location": "/ras/v2/RemoteDispatch"}},
    "not JSON": {"body": b"<html>Sign in</html>"},
    "empty": {"body": b""},
    "half a body": {"body": b'{"ReturnCode": 0}', "cuts": True},
    "no code": {"body": b"{}"},
    "a list": {"body": b"[]"},
    "null": {"body": b"null"},
    "nested beyond reason": {"body": b"[" * 200_000},
}


@pytest.mark.parametrize("fault", NO_USABLE_ANSWER)
def test_no_usable_answer_leaves_the_command_unknown_and_it_is_sent_once(send, vendor, reply, fault):
    vendor.on("RemoteDispatch", reply(**NO_USABLE_ANSWER[fault]), {"ReturnCode": 0})

    assert isinstance(send(), Unknown)
    assert vendor.count("RemoteDispatch") == 1


def test_silence_after_the_vendor_took_it_leaves_the_command_unknown_and_it_is_sent_once(send, vendor, reply):
    vendor.on("RemoteDispatch", reply(stalls=True))

    assert isinstance(send(timeout_s=0.4), Unknown)
    assert vendor.count("RemoteDispatch") == 1


@pytest.mark.parametrize("status", [400, 403, 404, 429])
def test_a_request_that_the_server_refuses_is_a_rejection(send, vendor, reply, status):
    vendor.on("RemoteDispatch", reply(b"", status))

    receipt = send()

    assert isinstance(receipt, Rejected)
    assert f"HTTP {status}" in receipt.reason
    assert vendor.count("RemoteDispatch") == 1


def test_a_refused_connection_is_a_rejection(send, closed_port_url):
    assert isinstance(send(closed_port_url), Rejected)


@pytest.mark.parametrize("code", [4, 8, 9, 11])
def test_refused_credentials_are_a_rejection_and_nothing_is_dispatched(send, vendor, code):
    vendor.on("Login", {"ReturnCode": code})

    assert isinstance(send(), Rejected)
    assert vendor.count("RemoteDispatch") == 0


LOGIN_FAULTS = {
    "503": {"status": 503},
    "not JSON": {"body": b"<html>Sign in</html>"},
    "half a body": {"body": b'{"ReturnCode": 0}', "cuts": True},
    "no token": {"body": b'{"ReturnCode": 0}'},
    "code 1": {"body": b'{"ReturnCode": 1}'},
    "code -1": {"body": b'{"ReturnCode": -1}'},
}


@pytest.mark.parametrize("fault", LOGIN_FAULTS)
def test_a_command_that_never_left_because_the_login_failed_is_a_rejection(send, vendor, reply, fault):
    """Unknown is for commands that may have arrived; this one was never sent."""
    vendor.on("Login", reply(**LOGIN_FAULTS[fault]))

    receipt = send()

    assert vendor.count("RemoteDispatch") == 0
    assert isinstance(receipt, Rejected)


def test_a_command_that_was_refused_for_its_token_and_not_sent_again_is_a_rejection(send, vendor, reply):
    vendor.on("RemoteDispatch", {"ReturnCode": 14})
    vendor.on("Login", {"ReturnCode": 0, "Token": "first"}, reply(b"", 503))

    receipt = send()

    assert vendor.count("RemoteDispatch") == 1
    assert isinstance(receipt, Rejected)


@pytest.mark.parametrize("serial_number", ["", " ", None])
def test_a_command_without_a_serial_number_is_rejected_before_any_socket_opens(
    send, vendor, adapter, device, serial_number
):
    command = adapter.translate(charge(1), device(), None)
    broken = replace(command, payload={**command.payload, "Sn": serial_number})

    receipt = send(command=broken)

    assert isinstance(receipt, Rejected)
    assert "Sn" in receipt.reason
    assert vendor.calls == []


# --- reading ---


def row(serial_number=SERIAL_NUMBER, **changes):
    return {"Sn": serial_number, "UploadTime": "2024-05-01 12:00:00", "Pbat": 1500, **changes}


@pytest.fixture
def read(vendor, adapt, manual_clock, device):
    def run(channel=Channel.POWER, url=None, **changes):
        async def session():
            async with adapt(url or vendor.url, manual_clock, **changes) as adapter:
                return await adapter.read(device(), channel)

        return asyncio.run(session())

    return run


@pytest.mark.parametrize(("channel", "name"), [(Channel.POWER, "GetLastPowerData"), (Channel.STATE, "GetRunningData")])
def test_each_channel_has_its_call(read, vendor, channel, name):
    vendor.on(name, {"ReturnCode": 0, "Result": [row()]})

    answer = read(channel)

    assert (answer.channel, answer.battery_kw) == (channel, 1.5)
    assert [call.name for call in vendor.calls] == ["Login", name]


@pytest.mark.parametrize("result", [None, [], [row("AL9")], [row("AL8"), row("AL9")]])
def test_no_row_of_the_device_is_no_reading(read, vendor, result):
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": result})

    assert read() is None


def test_the_devices_own_row_is_picked(read, vendor):
    rows = [row("AL8", Pbat=800), row(Pbat=100), row("AL9", Pbat=900)]
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": rows})

    assert read().battery_kw == 0.1


@pytest.mark.parametrize("name", ["SN", "sn", "sN"])
def test_another_systems_row_is_not_taken_for_ours_however_its_number_is_spelled(read, vendor, name):
    foreign = {name: "AL9", "UploadTime": "2024-05-01 12:00:00", "Pbat": 900}
    ours = {name: SERIAL_NUMBER, "UploadTime": "2024-05-01 12:00:00", "Pbat": 100}
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [foreign, ours]})

    assert read().battery_kw == 0.1


def test_a_row_that_names_no_system_answers_the_question_that_named_one(read, vendor):
    anonymous = {name: value for name, value in row().items() if name != "Sn"}
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [anonymous]})

    assert read().battery_kw == 1.5


@pytest.mark.parametrize(("zone", "hour"), [("UTC", 12), ("Europe/Copenhagen", 10), ("Asia/Shanghai", 4)])
def test_the_time_of_a_reading_is_in_the_zone_of_the_settings(vendor, manual_clock, device, zone, hour):
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [row()]})

    async def session():
        adapter = create({**NOWHERE, "base_url": vendor.url, "upload_time_zone": zone}, manual_clock)
        try:
            return await adapter.read(device(), Channel.POWER)
        finally:
            await adapter.close()

    assert asyncio.run(session()).measured_at == dt.datetime(2024, 5, 1, hour, tzinfo=dt.UTC)


@pytest.mark.parametrize("fault", NO_USABLE_ANSWER)
def test_a_read_is_tried_three_times_at_most_and_fails_with_a_typed_error(read, vendor, reply, fault):
    vendor.on("GetLastPowerData", reply(**NO_USABLE_ANSWER[fault]))

    with pytest.raises(AdapterError):
        read()

    assert 1 <= vendor.count("GetLastPowerData") <= 3


def test_a_row_whose_age_is_unknown_is_an_error(read, vendor):
    vendor.on("GetLastPowerData", {"ReturnCode": 0, "Result": [row(UploadTime=None)]})

    with pytest.raises(AdapterError, match="UploadTime"):
        read()


# --- abilities, and the whole way to the battery and back ---


def test_a_lease_is_renewed_well_inside_its_90_seconds():
    abilities = AlphaEssAdapter.abilities

    assert abilities.command_lifetime_s == 90
    assert 0 < abilities.renew_after_s <= 60
    assert abilities.modes == set(IntentMode)
    assert (abilities.power_cadence_s, abilities.state_cadence_s) == (10, 300)


@pytest.mark.parametrize(
    ("order", "battery_kw", "grid_kw"),
    [
        pytest.param(charge(2.0), -2.0, 2.2, id="charge"),
        pytest.param(discharge(2.0), 2.0, -1.8, id="discharge"),
        pytest.param(HOLD, 0.0, 0.2, id="hold"),
        pytest.param(FOLLOW, 0.2, 0.0, id="self-consumption"),
    ],
)
def test_the_battery_does_what_the_intent_says_and_telemetry_shows_it(
    emulate, adapt, device, order, battery_kw, grid_kw
):
    world = emulate(load_kw=1.0, pv_kw=0.8)

    async def session():
        async with adapt(world.url, world.clock.now) as adapter:
            receipt = await adapter.send(adapter.translate(order, device(), None))
            world.step(adapter.abilities.settling_s)
            return receipt, await adapter.read(device(), Channel.POWER)

    receipt, seen = asyncio.run(session())

    assert receipt == Accepted()
    assert (seen.battery_kw, seen.grid_kw, seen.pv_kw) == (battery_kw, grid_kw, 0.8)
    assert seen.load_kw == pytest.approx(1.0)
    assert seen.measured_at == world.clock.now()


def test_the_state_channel_shows_that_a_dispatch_is_in_force(emulate, adapt, device):
    world = emulate()
    seen = []

    async def session():
        async with adapt(world.url, world.clock.now) as adapter:
            for seconds in (240, 60, 300):
                await adapter.send(adapter.translate(discharge(1.0), device(), None))
                world.step(seconds)
                seen.append((await adapter.read(device(), Channel.STATE)).dispatch_active)

    asyncio.run(session())

    # The row of noon; the one of 12:05, in the lease of 12:04; the one of 12:10, after the lease of 12:05.
    assert seen == [False, True, False]
