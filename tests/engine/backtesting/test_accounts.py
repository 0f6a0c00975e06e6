"""Money: every account by the same valuer, its differences by local day, and what a broken series comes to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine import InputError
from engine.backtesting.reality import day_ahead_known_at
from engine.backtesting.result import STEPS

CENT = 0.01


@pytest.mark.parametrize("futures", [1, 3])
@pytest.mark.parametrize("begin", ["2024-05-01", "2024-03-29", "2024-10-25"])
def test_what_was_lost_adds_up_to_what_was_paid_on_every_local_day(
    build_home: Callable[..., Any], begin: str, futures: int
) -> None:
    """Also on the days of 23 and 25 hours; paid is reckoned anew from the table."""
    home = build_home(days=5, begin=begin, step="15min")
    result = home.backtest(futures=futures)
    lost, table, h = result.attribution, result.table, 0.25
    parts = lost.drop(columns="total_eur").sum(axis=1)
    assert (parts - lost["total_eur"]).abs().max() < CENT
    stored_kwh = table["soc"] * home.site.battery.capacity_kwh
    gained_kwh = stored_kwh.diff().fillna(stored_kwh.iloc[0] - 0.5 * home.site.battery.capacity_kwh)
    paid = (table["import_kw"] * table["import_price"] - table["export_kw"] * table["export_price"]) * h
    paid += table["discharge_kw"] * h * home.site.battery.wear_eur_per_kwh
    paid -= gained_kwh * result.stored_worth_eur_per_kwh
    days = table.index.tz_convert(home.site.timezone).date
    assert paid.groupby(days).sum().to_numpy() - lost["total_eur"].to_numpy() == pytest.approx(0, abs=CENT)
    assert lost["total_eur"].sum() == pytest.approx(result.cost_eur, abs=CENT)
    lengths = {"2024-05-01": [96] * 5, "2024-03-29": [96, 96, 92, 96, 96], "2024-10-25": [96, 96, 100, 96, 96]}
    assert pd.Series(days).value_counts(sort=False).tolist() == lengths[begin]
    assert [name for name, _, _ in STEPS] == [name.removesuffix("_eur") for name in lost.columns[1:-1]]


def test_energy_balances_at_the_meter_and_in_the_store(twelve_days: Any) -> None:
    result = twelve_days.backtest()
    table, battery = result.table, twelve_days.site.battery
    balance = table["import_kw"] - table["export_kw"] + table["pv_kw"] + table["battery_kw"] - table["load_kw"]
    assert balance.abs().max() < 1e-9
    gained = table["charge_kw"] * battery.charge_efficiency - table["discharge_kw"] / battery.discharge_efficiency
    soc = 0.5 + gained.cumsum() / battery.capacity_kwh
    assert soc.to_numpy() == pytest.approx(table["soc"].to_numpy(), abs=1e-9)
    assert table["export_kw"].max() <= 5 + 1e-9
    assert battery.min_soc - 1e-9 <= table["soc"].min() <= table["soc"].max() <= battery.max_soc + 1e-9


@pytest.mark.parametrize(
    ("day", "told"),
    [
        ("2024-05-02", "2024-05-01T11:00Z"),
        ("2024-03-31", "2024-03-30T12:00Z"),  # 23 hours; the day before is still winter time
        ("2024-04-01", "2024-03-31T11:00Z"),
        ("2024-10-27", "2024-10-26T11:00Z"),  # 25 hours
        ("2024-10-28", "2024-10-27T12:00Z"),
    ],
)
def test_day_ahead_prices_are_known_at_one_in_the_afternoon_before(day: str, told: str) -> None:
    first = pd.Timestamp(day, tz="Europe/Brussels")
    last = first + pd.DateOffset(days=1)
    index = pd.date_range(first, last, freq="h", inclusive="left").tz_convert("UTC")
    assert set(day_ahead_known_at(index)) == {pd.Timestamp(told)}


@pytest.mark.parametrize(
    ("field", "broken"),
    [
        ("load", lambda home: replace(home, load=home.load.where(np.arange(len(home.load)) != 40))),
        ("pv", lambda home: replace(home, pv=home.pv.where(np.arange(len(home.pv)) != 40, np.inf))),
        (
            "prices.export_price",
            lambda home: replace(
                home,
                prices=home.prices.assign(
                    export_price=home.prices["export_price"].where(np.arange(len(home.prices)) != 40)
                ),
            ),
        ),
        ("prices.known_at", lambda home: replace(home, prices=home.prices.assign(known_at=unknown_at_40(home)))),
        ("load", lambda home: replace(home, load=home.load.where(np.arange(len(home.load)) != 40, -1.0))),
    ],
    ids=["load", "pv", "price", "known_at", "negative"],
)
def test_a_missing_value_is_refused_by_its_place(twelve_days: Any, field: str, broken: Callable[[Any], Any]) -> None:
    with pytest.raises(InputError) as error:
        broken(twelve_days).backtest()
    assert str(error.value).startswith(field)
    assert twelve_days.load.index[40].isoformat() in str(error.value)


def unknown_at_40(home: Any) -> pd.Series:
    known_at: pd.Series = home.prices["known_at"].copy()
    known_at.iloc[40] = pd.NaT
    return known_at


@pytest.mark.parametrize("name", ["load", "pv", "prices"])
def test_a_gap_is_refused_by_its_place(twelve_days: Any, name: str) -> None:
    series = getattr(twelve_days, name)
    with pytest.raises(InputError, match=f"(?s){name}.index.*2024-05-02T1[34]:00"):
        replace(twelve_days, **{name: series.drop(series.index[40])}).backtest()


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"initial_soc": 0.05}, "initial_soc"),
        ({"horizon": "10min"}, "horizon"),
        ({"replan_every": "48h"}, "replan_every"),
        ({"replan_every": "often"}, "replan_every"),
        ({"futures": 0}, "futures"),
        ({"futures": 2.5}, "futures"),
    ],
)
def test_a_question_that_cannot_be_answered_is_refused(twelve_days: Any, given: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError, match=f"^{field}"):
        twelve_days.backtest(**given)
