"""Stretches settled from what the store has of them."""

from __future__ import annotations

import datetime as dt

import pandas as pd
import pytest

from adapters.contract import Channel, Registers, Telemetry
from schedules import telemetry
from schedules.settle import settle

QUARTER = dt.timedelta(minutes=15)


def keep(bench, quarters: int, import_kwh: float) -> None:
    """A state read at the end of so many quarters of an hour."""
    at = bench.T0 + quarters * QUARTER
    registers = Registers(import_kwh=import_kwh, export_kwh=0.0, charge_kwh=0.0, discharge_kwh=0.0)
    telemetry.keep(bench.db, at, bench.target.id, Telemetry(Channel.STATE, at, registers=registers))


@pytest.fixture
def settled(bench):
    """Three quarters of an hour: one stretch of half an hour, one of a quarter."""
    index = pd.date_range(bench.T0, periods=3, freq="15min")
    bench.plan(bench.intent("charge", 2.0, 0, 1800), bench.intent("hold", 0.0, 1800, 2700))
    keep(bench, 0, 100.0)
    keep(bench, 1, 100.5)
    keep(bench, 2, 102.5)

    def run():
        prices = pd.Series([0.2, 0.4, 0.3], index)
        return settle(bench.db, bench.target, prices, prices * 0.5, pd.Timedelta(QUARTER))

    return run


def test_a_stretch_costs_what_all_its_intervals_do(bench, settled):
    keep(bench, 3, 102.6)
    assert [slot.cost_eur for slot in settled().slots] == pytest.approx([0.5 * 0.2 + 2.0 * 0.4, 0.1 * 0.3])


def test_a_stretch_of_which_a_part_is_not_metered_has_no_cost(settled):
    assert [slot.cost_eur for slot in settled().slots] == [pytest.approx(0.9), None]
