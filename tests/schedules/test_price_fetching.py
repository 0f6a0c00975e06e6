"""The job that fetches prices, from real answers over HTTP: polls, falls back, and never touches what is known."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest
import stamina
from sqlalchemy import func, select

from adapters.emulation import Faults
from adapters.feeds.emulation import Wrong
from adapters.feeds.energi_data_service.emulator import GLN
from adapters.feeds.markets import SDAC
from engine.errors import InputError
from schedules import inputs, price_days, price_fetching, retention, work
from schedules.account_runner import AccountRunner, Report
from schedules.beat import JOBS
from schedules.price_sources import put_market, put_terms, remove_market
from schedules.price_terms import Terms
from schedules.seal import rotate
from schedules.store import Database, EventRow, JobRunRow, MarketDayRow, MarketRow, PriceTermsRow
from tests.schedules.prices_bench import SPOT, PricesBench, central

TODAY = dt.date(2026, 6, 3)  # a Wednesday
TOMORROW = TODAY + dt.timedelta(days=1)
ONE_DAY = dt.timedelta(days=1)


@pytest.fixture(autouse=True)
def _no_backoff():
    with stamina.set_testing(True, attempts=100, cap=True):
        yield


@pytest.fixture
def prices(tmp_path, sealer):
    db = Database.at(tmp_path / "store.sqlite")
    made = PricesBench(db, central(TODAY, 12, 0), sealer)
    yield made
    made.stop()
    db.close()


def test_without_a_market_nobody_is_asked_and_no_key_is_needed(prices, monkeypatch):
    monkeypatch.setattr(work, "CLOCK", prices.clock)
    monkeypatch.delenv("TIDEWATT_KEY", raising=False)
    assert work._fetch_prices(prices.db, None) == "no markets"
    assert prices.calls == (0, 0)


def test_the_first_run_gets_today_and_tomorrow_comes_after_its_publication(prices):
    prices.configure()
    report = prices.run()
    assert report.accepted == [f"DK1 {TODAY}: 96 prices of energi_data_service"]
    before = prices.calls
    prices.run_until(central(TODAY, 12, 50))
    assert prices.calls == before, "nobody is asked for prices that cannot be there"
    prices.run_until(central(TODAY, 13, 10))
    assert [row.day for row in prices.days()] == [TODAY, TOMORROW]
    assert prices.second.calls == 0, "the second source is for when the first is late"
    known_at = prices.days()[1].known_at
    assert central(TODAY, 12, 55) <= known_at <= central(TODAY, 13, 0)


def test_looks_are_two_to_five_minutes_apart_and_not_at_the_same_moment_everywhere(prices):
    prices.configure(sources=1)
    prices.run()
    prices.first.wrong = Wrong(late=True)
    looks = {}
    for draw in (0.0, 0.999):
        prices.draw = draw
        prices.move_to(central(TODAY + ONE_DAY * len(looks), 12, 0))
        asked = []
        while prices.clock() < central(TODAY + ONE_DAY * len(looks), 13, 50):
            prices.move(dt.timedelta(seconds=30))
            calls = prices.first.calls
            prices.run()
            if prices.first.calls > calls:
                asked.append(prices.clock())
        looks[draw] = [at for at in asked if at >= central(TODAY + ONE_DAY * len(looks), 12, 50)]
    assert looks[0.0][0].time() != looks[0.999][0].time()
    for draw, pause_s in ((0.0, 120), (0.999, 300)):
        pauses = {
            (later - earlier).total_seconds() for earlier, later in zip(looks[draw], looks[draw][1:], strict=False)
        }
        assert pauses == {pause_s}


def test_once_it_is_late_the_second_source_is_asked(prices):
    prices.configure()
    prices.run()
    prices.first.wrong = Wrong(partial=True)
    prices.run_until(central(TODAY, 15, 29), every_min=7)
    assert (len(prices.days()), prices.second.calls) == (1, 0)
    assert prices.market().outcome.startswith("partial: energi_data_service")
    prices.run_until(central(TODAY, 15, 40))
    assert [row.source for row in prices.days()] == ["energi_data_service", "entsoe"]
    assert not prices.days()[-1].estimated


def test_without_any_source_a_similar_day_stands_in_until_the_prices_come(prices):
    prices.configure()
    for _ in range(2):  # Wednesday and Thursday are published
        prices.run()
        prices.move(ONE_DAY)
    friday = TODAY + 2 * ONE_DAY
    prices.run()
    known = len(prices.days())
    prices.break_down(prices.first, prices.second)
    prices.run_until(central(friday, 16, 0), every_min=10)
    (estimate,) = prices.days()[known:]
    assert (estimate.day, estimate.estimated) == (friday + ONE_DAY, True)
    # A Saturday, of which none was published: the latest day.
    assert estimate.source == f"as on {friday}"
    assert len(prices.events(price_fetching.ESTIMATED_EVENT)) == 1
    assert prices.series()[-1].estimated_from == estimate.begins_at
    assert inputs.estimated_from(prices.db, 1, prices.clock()) == estimate.begins_at
    prices.mend()
    prices.run_until(central(friday, 17, 0), every_min=5)
    assert [row.estimated for row in prices.days()[known:]] == [True, False]
    assert inputs.estimated_from(prices.db, 1, prices.clock()) is None
    np.testing.assert_allclose(prices.days()[-1].curves[0]["values"], prices.truth(friday + ONE_DAY), atol=1e-9)


def test_on_tuesday_to_friday_the_day_before_is_similar_on_others_the_one_a_week_ago(prices):
    prices.configure()
    wanted = {TODAY + number * ONE_DAY for number in range(8)}
    prices.run()
    for _ in range(7):
        prices.move(ONE_DAY)
        prices.run()
    assert {row.day for row in prices.days()} >= wanted
    said = {}
    for number in range(7):
        day = TODAY + (7 + number) * ONE_DAY
        found = price_days.estimate(prices.db, 1, "DK1", SDAC, day, prices.clock())
        said[day.strftime("%a")] = found.source
        assert len(found.index) == 96
    # Wednesday has its Tuesday; from Friday on nothing newer was published than Wednesday's tomorrow.
    assert said["Wed"] == f"as on {TODAY + 6 * ONE_DAY}"
    assert said["Sat"] == f"as on {TODAY + 3 * ONE_DAY}"
    assert said["Sun"] == f"as on {TODAY + 4 * ONE_DAY}"
    assert said["Mon"] == f"as on {TODAY + 5 * ONE_DAY}"


@pytest.mark.parametrize(
    ("day", "count"), [(dt.date(2026, 3, 29), 92), (dt.date(2026, 10, 25), 100)], ids=["spring", "autumn"]
)
def test_an_estimate_follows_the_wall_clock_over_a_clock_change(store, sealer, day, count):
    prices = PricesBench(store, central(day - 7 * ONE_DAY, 12, 0), sealer)
    try:
        prices.configure()
        prices.run()  # a Sunday
        prices.break_down(prices.first, prices.second)
        prices.move_to(central(day - ONE_DAY, 16, 0))
        prices.run()
        estimate = prices.days()[-1]
        assert (estimate.day, estimate.estimated, len(estimate.curves[0]["values"])) == (day, True, count)
        older, new = prices.truth(day - 7 * ONE_DAY), estimate.curves[0]["values"]
        assert new[:8] == older.to_list()[:8]
        assert new[-80:] == pytest.approx(older.to_list()[-80:])  # from four in the morning on
    finally:
        prices.stop()


@pytest.mark.parametrize("wrong", [name for name in Wrong.model_fields if name not in ("day_of_24_hours",)])
def test_whatever_is_wrong_what_is_known_stays_untouched(prices, wrong):
    prices.configure(sources=1)
    prices.run()
    days, series = [row.curves for row in prices.days()], [row.numbers for row in prices.series()]
    prices.first.wrong = Wrong(**{wrong: True})
    prices.run_until(central(TODAY, 13, 10))
    assert [row.curves for row in prices.days()] == days
    assert [row.numbers for row in prices.series()] == series
    assert prices.market().outcome
    prices.mend()
    prices.run_until(central(TODAY, 13, 20))
    assert len(prices.days()) == 2


def test_a_site_gets_its_contracts_prices_of_all_known_days_as_one_series(prices):
    prices.configure()
    prices.move_to(central(TODAY, 14, 0))
    prices.run()
    spot = prices.truth(TODAY, TOMORROW)
    bought, sold = (prices.series(f"{side}_price_eur_per_kwh")[-1] for side in ("import", "export"))
    np.testing.assert_allclose(bought.numbers["values"], (spot + 0.1) * 1.25, atol=1e-9)
    np.testing.assert_allclose(sold.numbers["values"], spot - 0.01, atol=1e-9)
    assert (bought.site_id, bought.begins_at, bought.step_s) == (1, central(TODAY, 0), 900.0)
    assert bought.known_at == prices.clock()


def test_running_again_changes_nothing(prices):
    prices.configure()
    prices.move_to(central(TODAY, 14, 0))
    assert prices.run().published == 1
    calls = prices.calls
    for _ in range(3):
        report = prices.run()
        assert (report.accepted, report.published) == ([], 0)
    assert (prices.calls, len(prices.days()), len(prices.series())) == (calls, 2, 1)


def test_a_slot_of_the_job_is_done_once_however_often_it_is_rung_for(prices, monkeypatch, account_key):
    prices.configure()
    monkeypatch.setenv("TIDEWATT_KEY", account_key)
    monkeypatch.setattr(work, "CLOCK", prices.clock)
    monkeypatch.setattr(work, "database", lambda: prices.db)
    job = JOBS["fetch_prices"]
    for message in ("one", "two", "one"):
        work.run(job, message)
    with prices.db.session() as session:
        (row,) = session.scalars(select(JobRunRow).where(JobRunRow.job == "fetch_prices"))
    assert (row.attempts, prices.first.calls) == (1, 1)
    assert '"sites": 1' in row.outcome


def test_a_run_that_is_killed_while_it_waits_does_not_ask_again_at_once(prices, monkeypatch):
    class Killed(BaseException):
        pass

    async def killed(*_arguments):
        raise Killed

    prices.configure()
    with monkeypatch.context() as patch:
        patch.setattr(price_fetching, "ask", killed)
        with pytest.raises(Killed):
            prices.run()
    prices.run()
    assert prices.calls == (0, 0)
    prices.move(dt.timedelta(minutes=16))
    prices.run()
    assert len(prices.days()) == 1


def test_a_source_that_hangs_costs_its_own_market_only(prices, monkeypatch):
    prices.configure(sources=1)
    hanging = [("entsoe", {**prices.second.account(), "base_url": prices.url(1), "timeout_s": 60})]
    put_market(prices.db, prices.sealer, prices.clock, "other", "SE3", hanging, "test")
    prices.second.faults.switch(Faults(latency_s=2.0))
    monkeypatch.setattr(price_fetching, "LONGEST_ASK_S", 0.5)
    report = prices.run()
    assert report.refused == ["unreachable: entsoe: no answer within 0.5 s"]
    assert (len(report.accepted), report.published) == (1, 1)


def test_a_clock_that_was_set_back_holds_no_look_up(prices):
    prices.configure(sources=1)
    with prices.db.write() as session:
        session.scalars(select(MarketRow)).one().due_at = prices.clock() + 3 * ONE_DAY
    prices.run()
    assert len(prices.days()) == 1


def test_prices_that_the_contract_cannot_use_are_told_and_hold_up_no_other_site(prices):
    prices.configure(Terms.model_validate({"contract": {"kind": "as quoted", "currency": "GBP"}}))
    report = prices.run()
    assert report.refused == ["home: contract: the source gives no import price in GBP"]
    with prices.db.session() as session:
        assert "no import price" in session.scalars(select(PriceTermsRow)).one().problem
    put_terms(prices.db, prices.clock, "DK1", "home", SPOT, "test")
    assert prices.run().published == 1


def test_the_tariffs_of_a_grid_company_are_looked_up_daily_and_stay_when_they_cannot_be_had(prices):
    grid = {"gln": GLN, "codes": ["NET", "NET R"]}
    contract = {"kind": "danish household", "grid": grid, "supplier_fee_dkk_per_kwh": 0.04}
    prices.configure(Terms.model_validate({"contract": contract, "per_eur": 7.46}))
    prices.run()
    with prices.db.session() as session:
        stored = session.scalars(select(PriceTermsRow)).one()
    assert [charge["name"] for charge in stored.grid["charges"]] == ["NET", "NET R"]
    assert stored.grid_due_at == prices.clock() + ONE_DAY
    bought = prices.series()[-1].numbers["values"]
    # The emulated grid tariff of a summer night, Energinet's and tax of 2026, 25 % VAT.
    spot_dkk = round(float(prices.truth(TODAY).iloc[0]) * 1000 * 7.46038, 2) / 1000
    expected = 1.25 * (spot_dkk + 0.04 + 0.05 - 0.02 + 0.043 + 0.072 + 0.008) / 7.46
    assert bought[0] == pytest.approx(expected, abs=1e-9)
    prices.first.price_list = []
    prices.move(ONE_DAY)
    report = prices.run()
    assert any("no tariff NET" in refusal for refusal in report.refused)
    with prices.db.session() as session:
        assert session.scalars(select(PriceTermsRow)).one().grid == stored.grid
    assert report.published == 1


def test_sources_are_sealed_and_sealed_anew_with_a_new_key(prices):
    prices.configure()
    token = prices.second.token
    with prices.db.session() as session:
        sealed = session.scalars(select(MarketRow)).one().sealed_sources
    assert token.encode() not in sealed
    assert rotate(prices.db, prices.sealer) == 1
    assert prices.market().sealed_sources != sealed
    prices.run()
    assert len(prices.days()) == 1


def test_a_market_is_another_areas_no_more_and_can_be_removed(prices):
    prices.configure()
    prices.run()
    with pytest.raises(InputError, match="is DK1, not DK2"):
        put_market(prices.db, prices.sealer, prices.clock, "DK1", "DK2", [("energi_data_service", {})], "test")
    with pytest.raises(InputError, match="market moon: is not in the store"):
        put_terms(prices.db, prices.clock, "moon", "home", SPOT, "test")
    remove_market(prices.db, prices.clock, "DK1", "test")
    with prices.db.session() as session:
        counts = [
            session.scalar(select(func.count()).select_from(row)) for row in (MarketRow, MarketDayRow, PriceTermsRow)
        ]
        kinds = session.scalars(select(EventRow.kind).order_by(EventRow.id)).all()
    assert counts == [0, 0, 0]
    assert kinds == ["market.added", "site.priced", "market.removed"]
    assert len(prices.series()) == 1


def test_old_days_are_forgotten_with_the_journal_and_newer_ones_stay(prices):
    prices.configure()
    prices.run()
    prices.move(40 * ONE_DAY)
    prices.run()
    retention.forget_journal(prices.db, prices.clock(), 30 * ONE_DAY)
    assert [row.day for row in prices.days()] == [TODAY + 40 * ONE_DAY]


def test_a_plan_on_estimated_prices_is_marked_and_the_next_one_is_not(bench, sealer):
    """From the source that is down to the word on the plan's row."""
    prices = PricesBench(bench.db, central(TODAY, 12, 0), sealer, bench.target.site.name)
    try:
        prices.configure()
        prices.run()
        bench.clock.move_to(prices.clock())
        prices.break_down(prices.first, prices.second)
        end = central(TODAY, 15, 45)
        prices.run_until(end, every_min=15)
        bench.clock.move_to(end)
        powers = prices.truth(TODAY, TOMORROW).to_frame("load_kw").assign(load_kw=1.0, pv_kw=0.0)
        inputs.publish(bench.db, bench.clock, powers, bench.target.id)
        bench.keep_state(0.5)
        plan_as_the_job_does(bench)
        prices.mend()
        prices.run_until(central(TODAY, 16, 45), every_min=15)
        bench.clock.move_to(prices.clock())
        bench.keep_state(0.5)
        plan_as_the_job_does(bench)
    finally:
        prices.stop()
    first, second = bench.plans()
    assert first.degraded == "prices from 2026-06-03T22:00Z on are estimates: none were published"
    assert (second.degraded, second.why) == ("", "news of prices or forecasts")


def plan_as_the_job_does(bench):
    report = Report()
    AccountRunner(bench.db, bench.clock, [bench.target]).plan(report)
    assert (report.planned, report.failures) == (1, [])
