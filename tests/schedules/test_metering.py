"""Counters to money by numbers that fit on the back of an envelope."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from adapters.contract import Channel, Registers, Telemetry
from engine import settlement
from engine.prices import PriceCurve
from engine.tariffs.generic import spot_contract
from schedules.metering import metered

BEGIN = dt.datetime(2024, 4, 10, 12, 0, tzinfo=dt.UTC)
STEP = dt.timedelta(minutes=15)
WEAR = 0.02


def counters(
    steps: float,
    import_kwh: float | None = 0.0,
    export_kwh: float | None = 0.0,
    charge_kwh: float | None = 0.0,
    discharge_kwh: float | None = 0.0,
    channel: Channel = Channel.STATE,
) -> Telemetry:
    return Telemetry(
        channel, BEGIN + steps * STEP, registers=Registers(import_kwh, export_kwh, charge_kwh, discharge_kwh)
    )


def prices(*values: float) -> pd.Series:
    return pd.Series(values, index=pd.date_range(BEGIN, periods=len(values), freq="15min", name="start"))


def settle(readings: list[Telemetry], buy: pd.Series, sell: pd.Series, wear: float = 0.0):
    return metered(readings, buy, sell, STEP, wear)


def test_a_bought_kwh_costs_its_price():
    seen = settle([counters(0, 1000.0), counters(1, 1000.5)], prices(0.30), prices(0.10))
    assert seen.table["import_kwh"].iloc[0] == pytest.approx(0.5)
    assert seen.cost_eur == pytest.approx(0.15)


def test_a_sold_kwh_earns_its_price():
    seen = settle([counters(0, 0, 200.0), counters(1, 0, 200.5)], prices(0.30), prices(0.10))
    assert seen.cost_eur == pytest.approx(-0.05)


def test_import_and_export_of_one_interval_are_never_netted():
    # A cloud passes: half a kWh in and half a kWh out of the same quarter of an hour.
    seen = settle([counters(0, 10.0, 20.0), counters(1, 10.5, 20.5)], prices(0.30), prices(0.10))
    assert seen.cost_eur == pytest.approx(0.5 * 0.30 - 0.5 * 0.10)
    assert seen.cost_eur != pytest.approx(0.0), "netted, it would cost nothing"
    assert list(seen.table[["import_kwh", "export_kwh"]].iloc[0]) == pytest.approx([0.5, 0.5])


def test_each_interval_has_its_own_prices():
    readings = [counters(0, 0.0, 0.0), counters(1, 1.0, 0.0), counters(2, 1.0, 2.0), counters(3, 4.0, 2.0)]
    seen = settle(readings, prices(0.10, 0.20, 0.40), prices(0.01, 0.05, 0.09))
    assert list(seen.table["cost_eur"]) == pytest.approx([0.10, -0.10, 1.20])
    assert seen.cost_eur == pytest.approx(1.20)


def test_a_negative_price_pays_for_taking():
    seen = settle([counters(0, 0.0), counters(1, 2.0)], prices(-0.05), prices(-0.08))
    assert seen.cost_eur == pytest.approx(-0.10)


def test_wear_is_counted_on_what_was_discharged_only():
    seen = settle([counters(0), counters(1, 0.0, 0.0, 1.5, 0.5)], prices(0.30), prices(0.10), WEAR)
    assert seen.cost_eur == pytest.approx(0.5 * WEAR)


def test_a_whole_interval_by_hand():
    before = counters(0, 100.0, 50.0, 30.0, 20.0)
    after = counters(1, 100.8, 50.1, 30.6, 20.4)
    seen = settle([before, after], prices(0.25), prices(0.07), WEAR)
    assert seen.cost_eur == pytest.approx(0.8 * 0.25 - 0.1 * 0.07 + 0.4 * 0.02)
    assert list(seen.table.columns) == [
        "import_kwh",
        "export_kwh",
        "charge_kwh",
        "discharge_kwh",
        "estimated",
        "cost_eur",
    ]
    assert seen.estimated_intervals == 0


def test_nothing_that_moved_costs_nothing_and_is_not_missing():
    seen = settle([counters(0, 7.0), counters(1, 7.0)], prices(0.30), prices(0.10))
    assert (seen.cost_eur, seen.unmetered_intervals) == (0.0, 0)


# What is missing


def test_where_nothing_was_metered_the_cost_is_not_known():
    seen = settle([counters(0, 7.0)], prices(0.30, 0.30), prices(0.10, 0.10))
    assert math.isnan(seen.cost_eur)
    assert seen.unmetered_intervals == 2


def test_a_missing_boundary_leaves_both_its_intervals_open_and_counted():
    readings = [counters(0, 0.0), counters(1, 1.0), counters(3, 3.0), counters(4, 4.0)]
    seen = settle(readings, prices(0.10, 0.10, 0.10, 0.10), prices(0.0, 0.0, 0.0, 0.0))
    assert list(seen.table["cost_eur"].isna()) == [False, True, True, False]
    assert seen.unmetered_intervals == 2
    assert seen.cost_eur == pytest.approx(0.20), "the known intervals, and no guess for the rest"


@pytest.mark.parametrize("beside_s", [-300, -1, 1, 300])
def test_a_reading_beside_the_boundary_is_not_taken_for_one_on_it(beside_s):
    end = counters(1 + beside_s / STEP.total_seconds(), 1.0)
    seen = settle([counters(0, 0.0), end], prices(0.30), prices(0.10))
    assert seen.unmetered_intervals == 1
    assert math.isnan(seen.table["cost_eur"].iloc[0])


@pytest.mark.parametrize("missing", ["import_kwh", "export_kwh", "discharge_kwh"])
def test_a_counter_that_the_vendor_did_not_give_is_not_0(missing):
    complete = {"import_kwh": 1.0, "export_kwh": 1.0, "charge_kwh": 1.0, "discharge_kwh": 1.0}
    seen = settle([counters(0), counters(1, **{**complete, missing: None})], prices(0.30), prices(0.10), WEAR)
    assert math.isnan(seen.table["cost_eur"].iloc[0])
    assert math.isnan(seen.table[missing].iloc[0])
    assert seen.unmetered_intervals == 1


def test_the_charge_counter_is_not_needed_for_money():
    seen = settle([counters(0, charge_kwh=None), counters(1, 1.0, charge_kwh=None)], prices(0.30), prices(0.10), WEAR)
    assert seen.cost_eur == pytest.approx(0.30)


def test_readings_of_the_power_channel_carry_no_counters():
    readings = [counters(0, 0.0), counters(1, 9.0, channel=Channel.POWER)]
    assert settle(readings, prices(0.30), prices(0.10)).unmetered_intervals == 1


def test_without_any_reading_everything_is_open():
    seen = settle([], prices(0.30, 0.30), prices(0.10, 0.10))
    assert seen.unmetered_intervals == 2
    assert seen.table["import_kwh"].isna().all()


def test_a_counter_that_fell_is_no_negative_energy():
    # A replaced meter starts at 0 again: what was drawn in that interval is not known.
    seen = settle([counters(0, 1000.0), counters(1, 0.2)], prices(0.30), prices(0.10))
    assert math.isnan(seen.table["cost_eur"].iloc[0])
    assert seen.unmetered_intervals == 1


def test_readings_in_any_order_and_outside_the_horizon_do_no_harm():
    readings = [counters(2, 5.0), counters(1, 1.0), counters(0, 0.0), counters(-1, -9.0)]
    assert settle(readings, prices(0.10), prices(0.0)).cost_eur == pytest.approx(0.10)


def test_days_of_23_and_25_hours_are_metered_whole():
    for day, intervals in ((dt.date(2024, 3, 31), 92), (dt.date(2024, 10, 27), 100)):
        begin = pd.Timestamp(day).tz_localize("Europe/Amsterdam").tz_convert("UTC")
        index = pd.date_range(begin, periods=intervals, freq="15min", name="start")
        readings = [
            Telemetry(Channel.STATE, (begin + n * STEP).to_pydatetime(), registers=Registers(n * 0.25, 0.0, 0.0, 0.0))
            for n in range(intervals + 1)
        ]
        seen = settle(readings, pd.Series(0.20, index), pd.Series(0.05, index))
        assert seen.unmetered_intervals == 0
        assert seen.cost_eur == pytest.approx(intervals * 0.25 * 0.20)


def powers(minutes: float, grid_kw: float | None, battery_kw: float | None = 0.0) -> Telemetry:
    return Telemetry(Channel.POWER, BEGIN + dt.timedelta(minutes=minutes), battery_kw=battery_kw, grid_kw=grid_kw)


def test_without_counters_the_means_of_powers_are_billed_and_said_to_be_estimates():
    # 2 kW bought, 1 kW sold, 1 kW bought: of a quarter of an hour a third each.
    seen = settle([powers(5, 2.0, 3.0), powers(10, -1.0), powers(15, 1.0)], prices(0.30), prices(0.10), WEAR)
    assert seen.table["import_kwh"].iloc[0] == pytest.approx(0.25)
    assert seen.table["export_kwh"].iloc[0] == pytest.approx(1 / 12)
    assert seen.cost_eur == pytest.approx(0.25 * 0.30 - 0.10 / 12 + 0.25 * WEAR, abs=1e-6)
    assert (seen.estimated_intervals, seen.unmetered_intervals) == (1, 0)


def test_a_power_at_an_interval_s_start_belongs_to_the_one_before():
    seen = settle([powers(0, 9.0), powers(15, 1.0), powers(30, 2.0)], prices(0.30, 0.30), prices(0.10, 0.10))
    assert list(seen.table["import_kwh"]) == pytest.approx([0.25, 0.5])


def test_counters_outrank_powers_where_there_are_any():
    readings = [counters(0, 10.0, None), counters(1, 10.5, None), powers(15, 4.0), powers(20, -4.0)]
    seen = settle(readings, prices(0.30, 0.30), prices(0.10, 0.10))
    assert list(seen.table["import_kwh"]) == pytest.approx([0.5, 0.0])
    assert list(seen.table["export_kwh"]) == pytest.approx([0.0, 1.0])
    assert seen.estimated_intervals == 2


def test_a_missing_power_is_no_zero():
    seen = settle([powers(15, None, 1.0)], prices(0.30), prices(0.10))
    assert seen.unmetered_intervals == 1


def test_a_day_costs_to_the_millionth_what_the_ledger_books():
    """Each of import, export and wear is rounded once in each interval; all else is exact."""
    rng = np.random.default_rng(3)
    index = pd.date_range(BEGIN, periods=96, freq="15min", name="start")
    flows = np.round(rng.gamma(0.5, 1.0, (96, 3)), 3)
    total = np.vstack([np.zeros(3), flows.cumsum(axis=0)])
    readings = [counters(t, bought, sold, 0.0, given) for t, (bought, sold, given) in enumerate(total)]
    spot = pd.Series(np.round(rng.uniform(-0.1, 0.4, 96), 5), index)
    tariff = spot_contract(currency="EUR", timezone="Europe/Copenhagen", export_fee=0.0)
    energy = [pd.Series(column, index) for column in flows.T]
    ledger = settlement.settle(
        tariff, PriceCurve(spot, "EUR"), *energy[:2], discharge_kwh=energy[2], wear_per_kwh=0.01234
    )
    seen = settle(readings, spot, spot, 0.01234)
    assert Decimal(str(seen.cost_eur)) == ledger.total
    assert [Decimal(repr(cost)) for cost in seen.table["cost_eur"]] == list(ledger.table["total"])
