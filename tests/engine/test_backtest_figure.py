"""A backtest in pictures and words: what is drawn and said is what was found."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine import Battery, DemandCharge, InputError, PvArray, Site, backtest
from engine.backtesting.result import BacktestResult

SITE = Site(
    name="home", timezone="Europe/Berlin", battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5)
)


def found(days: int, step: str = "15min", **more: object) -> BacktestResult:
    index = pd.date_range("2025-03-28T23:00Z", periods=days * int(pd.Timedelta("1D") / pd.Timedelta(step)), freq=step)
    rng = np.random.default_rng(1)
    load = pd.Series(rng.uniform(0, 2, len(index)), index)
    price = pd.Series(0.2 + 0.1 * np.sin(index.hour / 3), index)
    return backtest(
        SITE.model_copy(update={"pv": PvArray()}),
        prices=pd.DataFrame({"import_price": price, "export_price": price - 0.1}),
        load=load,
        **more,
    )


@pytest.fixture(scope="module")
def short() -> BacktestResult:
    """Three local days, one of which has 23 hours."""
    return found(3)


def test_the_lines_end_at_what_was_saved_and_begin_at_nothing(short: BacktestResult):
    lines = {trace.name: trace for trace in short.plot().data if trace.type == "scatter"}
    assert set(lines) == {"perfect foresight", "this strategy", "persistence", "self-consumption rule"}
    for name, account in (("this strategy", "metered"), ("perfect foresight", "perfect foresight")):
        assert lines[name].y[0] == 0
        assert lines[name].y[-1] == pytest.approx(short.costs_eur["no battery"] - short.costs_eur[account])
    assert pd.Timestamp(lines["this strategy"].x[0]) == pd.Timestamp("2025-03-29")


@pytest.mark.parametrize(("days", "bars"), [(3, 4), (100, 5)])
def test_bars_stand_for_days_and_for_months_of_a_long_history(days: int, bars: int):
    result = found(days, "1h", yardsticks=False)
    drawn = {trace.name: trace for trace in result.plot().data if trace.type == "bar"}
    assert list(drawn) == ["forecast", "command", "execution", "metering"]
    assert len(drawn["forecast"].x) == bars
    lost = sum(float(np.sum(trace.y)) for trace in drawn.values())
    assert lost == pytest.approx(result.costs_eur["metered"] - result.costs_eur["perfect foresight"])


def test_the_heat_map_has_every_interval_and_no_hour_that_was_left_out(short: BacktestResult):
    (heat,) = (trace for trace in short.plot().data if trace.type == "heatmap")
    drawn = np.asarray(heat.z)
    assert np.isfinite(drawn).sum() == len(short.reality)
    # On 30 March the clock goes from 2 to 3.
    assert np.isnan(drawn[8:12, 1]).all()
    assert np.nansum(drawn) / 4 == pytest.approx(short.trace.discharged.sum() - short.trace.charged.sum())


def test_the_summary_says_money_losses_figures_and_charges():
    result = found(3, demand_charges=[DemandCharge(eur_per_kw=5.0)])
    text = result.summary()
    for account, row in result.comparison().iterrows():
        assert f"{account!s:24}{row['cost_eur']:>10,.2f} EUR" in text
    for step in ("forecast", "command", "execution", "metering"):
        assert f"{step:24}{result.attribution[f'{step}_eur'].sum():>10,.2f} EUR" in text
    assert f"charges on peaks                {result.fees_eur['metered']:,.2f} EUR" in text
    assert "forecasts: load by seasonal naive" in text


def test_the_days_of_each_account_add_up_to_what_it_comes_to(short: BacktestResult):
    sums = short.daily_costs_eur.sum()
    assert sums.to_dict() == pytest.approx(short.costs_eur)
    # Three times 24 hours reach an hour into a fourth day, for one of them has 23.
    assert list(map(str, short.daily_costs_eur.index)) == ["2025-03-29", "2025-03-30", "2025-03-31", "2025-04-01"]


@pytest.mark.parametrize(("day", "intervals"), [("2025-03-29", 96), ("2025-03-30", 92)])
def test_a_day_drawn_open_shows_what_was_done_and_where_the_store_began(
    short: BacktestResult, day: str, intervals: int
):
    drawn = {trace.name: trace for trace in short.plot_day(day).data}
    done = short.table[short.table.index.tz_convert(SITE.timezone).date == pd.Timestamp(day).date()]
    assert len(done) == intervals
    for name, column in (("battery did", "battery_kw"), ("battery planned", "planned_kw"), ("load", "load_kw")):
        # A step is held to its end.
        assert drawn[name].y[:-1] == pytest.approx(done[column].tolist())
    begun = 0.5 if day == "2025-03-29" else short.table["soc"].iloc[95]
    assert drawn["SOC"].y == pytest.approx([begun * 100, *(done["soc"] * 100)])
    assert drawn["SOC, perfect foresight"].y[0] == pytest.approx(50) or day != "2025-03-29"
    assert len(drawn["SOC, perfect foresight"].x) == len(drawn["SOC, perfect foresight"].y) == intervals + 1


@pytest.mark.parametrize("day", ["2025-04-02", "yesterday"])
def test_a_day_that_is_not_there_cannot_be_drawn(short: BacktestResult, day: str):
    with pytest.raises(InputError, match="day"):
        short.plot_day(day)
