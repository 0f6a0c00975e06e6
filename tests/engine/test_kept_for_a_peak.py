"""What is to be in store, so that days like the past ones get through under a peak."""

from __future__ import annotations

import numpy as np
import pytest

from engine import Battery
from engine.peaks import FEWEST_DAYS, kept_kwh

BATTERY = Battery(
    capacity_kwh=20, max_charge_kw=5, max_discharge_kw=5, charge_efficiency=1, discharge_efficiency=1, min_soc=0.1
)


def days(count: int, spike_kw: float = 8.0) -> np.ndarray:
    """3 kW, and a spike from 18 to 20 o'clock."""
    net = np.full((count, 24), 3.0)
    net[:, 18:20] = spike_kw
    return net


def test_a_spike_is_prepared_for_as_late_as_the_peak_allows() -> None:
    kept = kept_kwh(days(10), 5.0, BATTERY, 1.0)
    # 2 h of 3 kW beyond the peak; before it 2 kW may be charged in each hour.
    assert kept[14:21] == pytest.approx([0.0, 2.0, 4.0, 6.0, 3.0, 0.0, 0.0])
    assert not kept[:14].any()


def test_losses_are_kept_for_and_no_more_than_fits() -> None:
    lossy = BATTERY.model_copy(update={"charge_efficiency": 0.8, "discharge_efficiency": 0.8})
    assert kept_kwh(days(10), 5.0, lossy, 1.0)[16:18] == pytest.approx([7.5 - 1.6, 7.5])
    assert kept_kwh(days(10, 30.0), 5.0, BATTERY, 1.0).max() == pytest.approx(18.0)


def test_one_bad_day_of_twenty_is_not_kept_for_and_two_days_say_nothing() -> None:
    net = days(20)
    net[7, 18:20] = 12.0
    assert kept_kwh(net, 5.0, BATTERY, 1.0)[17] == pytest.approx(6.0)
    assert not kept_kwh(days(FEWEST_DAYS - 1), 5.0, BATTERY, 1.0).any()
