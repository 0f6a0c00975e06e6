"""What each part of the loss is: orders that could not know their interval's load, and batteries at their edges."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import Battery, Site
from engine.backtesting.reality import Reality
from engine.backtesting.rolling import new_trace
from engine.backtesting.valuation import Orders, acted, metered, worth_by_plans
from engine.storage_dp import inverter_of
from engine.storage_kernels import INFINITE, House, Trace, carry_out

BATTERY = Battery(capacity_kwh=4, max_charge_kw=3, max_discharge_kw=3, charge_efficiency=1, discharge_efficiency=1)


def costs(load: list[float], planned_kw: float, follows: bool, worth: float, wear: float = 0.0) -> dict[str, float]:
    """One hour of four quarters of load, bought at 0.30 and sold at 0.10: what each account comes to."""
    house = pd.Series(load, pd.date_range("2024-05-01", periods=4, freq="15min", tz="UTC"), dtype=float)
    hours = pd.date_range(house.index[0], periods=2, freq="h")
    prices = pd.DataFrame({"import_price": 0.3, "export_price": 0.1}, hours)
    reality = Reality.read(prices, house, None, step=pd.Timedelta(hours=1))
    site, trace = Site(battery=BATTERY.model_copy(update={"wear_eur_per_kwh": wear})), new_trace(1)
    trace.planned_kw[:], trace.set_point_kw[:], trace.follows[:] = planned_kw, planned_kw, follows
    trace.export_limit_kw[:], trace.worth[:] = INFINITE, worth
    carry_out(House(reality.load_kw, reality.pv_kw), inverter_of(site), 2.0, trace)
    orders = Orders(trace, reality, site, 2.0, worth_by_plans(trace, reality, site, 0.2))
    accounts = {
        "planned": orders.planned(),
        "commanded": orders.commanded(),
        "acted": acted(trace, reality, 2.0),
        "metered": metered(trace, 2.0),
    }
    return {name: float(account.cost_eur(reality, site, 0.2)[0]) for name, account in accounts.items()}


def test_a_set_point_loses_by_command_what_it_sells_or_buys_for_not_knowing_the_load() -> None:
    """1 kW was told and 0.4 kW was drawn: 0.6 kWh are sold at 0.10 that the plan held for 0.25."""
    found = costs([0.4] * 4, planned_kw=1.0, follows=False, worth=0.25)
    assert found["commanded"] - found["planned"] == pytest.approx(0.6 * (0.25 - 0.1))
    assert found["acted"] == pytest.approx(found["commanded"])
    assert found["metered"] == pytest.approx(found["acted"])


def test_following_loses_by_command_where_a_stored_kwh_was_to_be_kept() -> None:
    found = costs([2.0] * 4, planned_kw=0.0, follows=True, worth=0.28, wear=0.05)
    assert found["commanded"] - found["planned"] == pytest.approx(2 * (0.28 + 0.05 - 0.3))
    kept = costs([1.0] * 4, planned_kw=0.0, follows=True, worth=0.2)
    assert kept["commanded"] == pytest.approx(kept["planned"])


def test_what_a_battery_at_its_rating_misses_is_execution_and_minutes_both_ways_are_metering() -> None:
    """5 kW in one quarter, of which 3 are covered; a set-point that sells in three quarters what it lacks in one."""
    found = costs([5.0, 0.0, 0.0, 0.0], planned_kw=1.25, follows=True, worth=0.25)
    assert found["acted"] - found["commanded"] == pytest.approx(0.5 * (0.3 - 0.25))
    held = costs([4.0, 0.0, 0.0, 0.0], planned_kw=1.0, follows=False, worth=0.25)
    assert held["metered"] - held["acted"] == pytest.approx(0.75 * (0.3 - 0.1))


@pytest.mark.parametrize("futures", [1, 3])
@pytest.mark.parametrize("modes", [True, False])
def test_no_order_beats_the_same_plan_that_knew_its_interval(twelve_days: Any, futures: int, modes: bool) -> None:
    result = twelve_days.backtest(futures=futures, modes=modes)
    costs_eur = {
        name: result.accounts[name].cost_eur(result.reality, result.site, result.stored_worth_eur_per_kwh)
        for name in ("planned", "commanded")
    }
    assert (costs_eur["planned"] <= costs_eur["commanded"] + 1e-9).all()
    assert result.attribution["command_eur"].sum() > 0


def test_set_points_lose_by_command_what_modes_spare(twelve_days: Any) -> None:
    by_modes, fixed = (twelve_days.backtest(futures=1, modes=modes).attribution.sum() for modes in (True, False))
    assert fixed["command_eur"] > 2 * by_modes["command_eur"]
    assert fixed["total_eur"] > by_modes["total_eur"]


def test_breach_prices_are_no_money(twelve_days: Any) -> None:
    reality, trace = twelve_days.reality(), new_trace(len(twelve_days.load))
    trace.worth[:] = np.nan
    trace.worth[:3] = 1e6, -1e6, 0.123
    worth = worth_by_plans(Trace(*trace), reality, twelve_days.site, 0.2)
    assert worth[2:4].tolist() == [0.123, 0.2]
    assert worth[0] == reality.import_price.max() / twelve_days.site.battery.charge_efficiency
    assert worth[1] == reality.export_price.min()
