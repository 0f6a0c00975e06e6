"""Positions, trades, imbalance, schedules and capacity: published like prices, planned with where wanted."""

from __future__ import annotations

import asyncio

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import select

from engine import Strategy, columns, optimise
from engine.errors import InputError
from engine.market_inputs import used_by
from schedules import inputs, jobs
from schedules.account_runner import AccountRunner
from schedules.inheritance import Scope
from schedules.plans import newest_plan
from schedules.replanning import FAILED_EVENT
from schedules.store import EventRow, SiteRow
from schedules.strategy_changes import preview, save
from schedules.what_if import what_if
from tests.schedules.fake_battery import SITE
from tests.schedules.frames import POWERS, hours

BENCH = Scope.parse("bench")
BEGIN = "2024-04-10T10:00"
NO_PRICES = {"import_price_eur_per_kwh": 0.02, "export_price_eur_per_kwh": 0.0}
INTRADAY = {"bid_price_eur_per_kwh": 0.20, "ask_price_eur_per_kwh": 0.24}


@pytest.fixture
def trading(bench):
    """A bench that is seen, with what the meter costs besides the market."""
    bench.is_watched = False
    bench.keep_state(0.5)
    publish(bench, 12, **NO_PRICES, **POWERS)
    return bench


def publish(bench, count, begin=BEGIN, **columns_of_hours):
    inputs.publish(bench.db, bench.clock, hours(begin, count, **columns_of_hours), bench.target.id)


def want(bench, **fields):
    return save(bench.db, bench.clock, BENCH, fields, "ada")


def tick(bench) -> int:
    return asyncio.run(AccountRunner(bench.db, bench.clock, [bench.target]).tick()).planned


def plan(bench):
    found = newest_plan(bench.db, bench.target.id)
    assert found is not None
    return found, pd.DataFrame(found.intervals).set_index("start")


def failures(bench) -> list[str]:
    with bench.db.session() as session:
        return list(session.scalars(select(EventRow.text).where(EventRow.kind == FAILED_EVENT)))


def test_every_series_that_a_strategy_can_ask_for_has_a_column_and_gets_back_to_its_argument():
    assert list(used_by(Strategy())) == list(columns.MARKETS)
    table = hours(BEGIN, 4, **dict.fromkeys(columns.MARKETS.values(), 0.0))
    found = columns.arguments(table)
    nested = {f"{name}.{product}" for name in ("balancing_price", "balancing_sold_kw") for product in found.pop(name)}
    assert set(found) | nested == set(columns.MARKETS)
    assert columns.arguments(table, Strategy()) == {}


def test_a_wish_is_refused_until_its_series_are_published(trading):
    with pytest.raises(InputError, match=r"site bench: bid_price: it is missing, and strategy\.intraday needs it"):
        want(trading, intraday=True)
    publish(trading, 12, bid_price_eur_per_kwh=0.20)
    with pytest.raises(InputError, match="ask_price: it is missing"):
        want(trading, intraday=True)
    inputs.publish(trading.db, trading.clock, hours(BEGIN, 12, ask_price_eur_per_kwh=0.24))
    assert want(trading, intraday=True).number == 1


def test_what_is_published_for_another_site_is_not_for_this_one(trading):
    with trading.db.write() as session:
        assets = SITE.model_copy(update={"name": "mill"}).model_dump(mode="json")
        row = SiteRow(name="mill", assets=assets, adapter="x", device_id="2", account_id=trading.target.account_id)
        session.add(row)
        session.flush()
        inputs_of = row.id
    inputs.publish(trading.db, trading.clock, hours(BEGIN, 12, **INTRADAY), inputs_of)
    with pytest.raises(InputError, match="site bench: bid_price: it is missing"):
        want(trading, intraday=True)
    assert save(trading.db, trading.clock, Scope.parse("mill"), {"intraday": True}, "ada").number == 1


def test_the_live_plan_is_the_one_that_the_engine_makes_of_the_same_series(trading):
    publish(trading, 12, **INTRADAY, position_kw=1.0, imbalance_price_eur_per_kwh=0.22)
    want(trading, intraday=True, imbalance_kw=0.5)
    assert tick(trading) == 1
    row, table = plan(trading)
    index = pd.date_range(BEGIN, periods=12, freq="1h", tz="UTC")
    flat = {name: pd.Series(value, index) for name, value in {**NO_PRICES, **POWERS}.items()}
    alone = optimise(
        SITE,
        import_price=flat["import_price_eur_per_kwh"],
        export_price=flat["export_price_eur_per_kwh"],
        load=flat["load_kw"],
        pv=flat["pv_kw"],
        initial_soc=0.5,
        strategy=Strategy(intraday=True, imbalance_kw=0.5),
        position_kw=pd.Series(1.0, index),
        bid_price=pd.Series(0.20, index),
        ask_price=pd.Series(0.24, index),
        imbalance_price=pd.Series(0.22, index),
    )
    assert row.cost_eur == pytest.approx(alone.cost_eur)
    np.testing.assert_allclose(table["trade_kw"], alone.table["trade_kw"], atol=1e-9)
    assert table["trade_kw"].abs().sum() > 0.1


def test_news_of_a_position_is_a_reason_to_plan(trading):
    publish(trading, 12, **INTRADAY)
    want(trading, intraday=True)
    tick(trading)
    trading.move(60)
    assert tick(trading) == 0
    publish(trading, 12, position_kw=1.0)
    assert tick(trading) == 1
    assert newest_plan(trading.db, trading.target.id, adopted=False).why == "news of prices or forecasts"


def test_beyond_what_is_said_to_be_sold_nothing_is(trading):
    publish(trading, 12, **INTRADAY)
    publish(trading, 3, "2024-04-10T12:00", position_kw=2.0)
    want(trading, intraday=True)
    frame = inputs.known(trading.db, trading.target.id, trading.clock(), Strategy(intraday=True))
    assert list(frame["position_kw"]) == [0.0] * 2 + [2.0] * 3 + [0.0] * 7
    assert tick(trading) == 1
    assert len(plan(trading)[1]) == 12


def test_a_hole_within_what_is_sold_is_not_taken_for_nothing(trading):
    publish(trading, 12, **INTRADAY)
    holed = hours(BEGIN, 12, position_kw=2.0)
    holed.iloc[5, 0] = np.nan
    inputs.publish(trading.db, trading.clock, holed, trading.target.id)
    assert inputs.known(trading.db, trading.target.id, trading.clock(), Strategy(intraday=True)) is None


def test_a_plan_reaches_as_far_as_the_prices_of_trades(trading):
    publish(trading, 5, **INTRADAY)
    want(trading, intraday=True)
    tick(trading)
    assert len(plan(trading)[1]) == 5


def test_a_series_that_is_over_stops_the_plan_and_says_which(trading):
    publish(trading, 2, **INTRADAY)
    want(trading, intraday=True)
    assert tick(trading) == 1
    trading.move(2.5 * 3600)
    trading.keep_state(0.9)
    publish(trading, 12, **POWERS)
    assert tick(trading) == 0
    (said,) = failures(trading)
    assert said.startswith("bid_price: it is missing, and strategy.intraday needs it")


def test_a_schedule_is_followed(trading):
    schedule = hours(BEGIN, 12, schedule_kw=0.0)
    schedule["schedule_kw"] = [1.0, -1.0] * 6
    inputs.publish(trading.db, trading.clock, schedule, trading.target.id)
    want(trading, follow="battery", follow_price_eur_per_kwh=5.0)
    tick(trading)
    _, table = plan(trading)
    np.testing.assert_allclose(table["discharge_kw"] - table["charge_kw"], schedule["schedule_kw"], atol=1e-6)


def test_capacity_that_is_sold_is_held(trading):
    with trading.db.write() as session:
        row = session.get_one(SiteRow, trading.target.id)
        row.assets = {**row.assets, "local_control": True}
    publish(trading, 12, fcr_d_up_price_eur_per_kw_h=0.0, fcr_d_up_sold_kw=1.5)
    want(trading, fcr_d_up_kw=2.0)
    site = SITE.model_copy(update={"local_control": True})
    strategy = Strategy(fcr_d_up_kw=2.0)
    frame = inputs.known(trading.db, trading.target.id, trading.clock(), strategy)
    made = jobs.propose(trading.db, trading.clock(), trading.target.id, site, frame, strategy)
    assert (made.table["fcr_d_up_kw"] >= 1.5 - 1e-6).all()
    assert made.breaches == ()


def test_carbon_is_weighed_where_its_intensity_is_published(trading):
    carbon = hours(BEGIN, 12, carbon_kg_per_kwh=0.0)
    carbon["carbon_kg_per_kwh"] = [0.1] * 6 + [0.9] * 6
    inputs.publish(trading.db, trading.clock, carbon)
    want(trading, carbon_eur_per_kg=1.0)
    tick(trading)
    _, table = plan(trading)
    assert table["import_kw"].iloc[:6].sum() > table["import_kw"].iloc[6:].sum() + 1


def test_what_nobody_wants_is_left_alone(trading):
    publish(trading, 3, **INTRADAY, position_kw=1.0)
    assert tick(trading) == 1
    assert len(plan(trading)[1]) == 12


def test_what_if_compares_both_over_the_same_time(trading):
    publish(trading, 5, **INTRADAY)
    (found,) = what_if(trading.db, trading.clock, preview(trading.db, trading.clock, BENCH, {"intraday": True}))
    assert found.problem == ""
    assert len(found.before.table) == len(found.after.table) == 5


@pytest.mark.parametrize(
    ("column", "value"), [("fcr_n_sold_kw", -1.0), ("carbon_kg_per_kwh", -0.1), ("bid_price_eur_per_kwh", np.inf)]
)
def test_what_no_plan_could_take_is_refused_at_the_gate(trading, column, value):
    with pytest.raises(InputError, match=column):
        publish(trading, 3, **{column: value})


def test_positions_and_prices_may_be_below_nought(trading):
    publish(trading, 3, position_kw=-1.0, imbalance_price_eur_per_kwh=-0.5)
    assert {each.least for each in inputs.newest(trading.db)} >= {-1.0, -0.5}
