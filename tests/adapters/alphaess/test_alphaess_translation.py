"""Intents to dispatches: sign, offset, target, and what is refused."""

from __future__ import annotations

import pandas as pd
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from adapters.contract import Command, Device, IntentRefusedError
from engine import Battery, GridConnection, PvArray, Site, optimise
from engine.intent import IntentMode, intents_of
from tests.adapters.alphaess.intents import FOLLOW, HOLD, charge, discharge, intent, reading
from tests.adapters.alphaess.world import SERIAL_NUMBER


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
        # In kW: 2.01 times 1000 is a little below 2010.
        assert -charge_kw <= watts / 1000 <= discharge_kw
