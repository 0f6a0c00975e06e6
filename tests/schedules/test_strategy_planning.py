"""A change of strategy is planned by at the next tick, on real ticks; an older plan is not kept for its gain."""

from __future__ import annotations

import asyncio
import datetime as dt

import numpy as np
import pandas as pd
import pytest
import stamina
from sqlalchemy import select

from adapters.contract import Channel
from engine.errors import SolveError
from schedules import adoption, groups, inputs, jobs, plans
from schedules.account_runner import AccountRunner
from schedules.adoption import USUAL
from schedules.inheritance import ALL_SITES, Scope
from schedules.plans import newest_plan
from schedules.replanning import FAILED_EVENT
from schedules.sites import register_site
from schedules.store import EventRow, PlanRow, TelemetryRow
from schedules.strategy_changes import preview, rollback, save
from schedules.what_if import what_if
from tests.schedules.frames import POWERS, PRICES, hours
from tests.schedules.on_vendor import OnVendor

BENCH = Scope.parse("bench")
NO_GRID = {"grid_charging": False}
LATER = {"prefer": "later_charging"}
CHANGED = "a change of strategy"


def cheap_then_dear(begin: dt.datetime) -> pd.DataFrame:
    """A cheap hour, in which a battery can just be filled, and three dear ones."""
    frame = pd.DataFrame({**PRICES, **POWERS}, index=pd.date_range(begin, periods=16, freq="15min", name="start"))
    cheap = np.arange(16) < 4
    frame["import_price_eur_per_kwh"], frame["export_price_eur_per_kwh"] = (
        np.where(cheap, *prices) for prices in ((0.05, 0.60), (0.04, 0.50))
    )
    return frame


@pytest.fixture
def street(bench):
    """A bench whose prices make charging now and discharging later worth it."""
    bench.is_watched = False
    inputs.publish(bench.db, bench.clock, cheap_then_dear(bench.T0))
    return bench


def tick(bench, *targets) -> int:
    """How many sites were planned."""
    return asyncio.run(AccountRunner(bench.db, bench.clock, [bench.target, *targets]).tick()).planned


def newest(bench, site_id: int | None = None) -> PlanRow:
    found = newest_plan(bench.db, site_id or bench.target.id, adopted=False)
    assert found is not None
    return found


def test_a_new_version_is_planned_by_at_the_next_tick_and_not_again_after_it(street):
    assert tick(street) == 1
    assert newest(street).strategy == {}
    street.move(30)
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.6}, "ada")
    assert tick(street) == 1
    plan = newest(street)
    assert (plan.why, plan.strategy, plan.adopted) == (CHANGED, {"site:bench": 1}, True)
    assert min(interval["soc"] for interval in plan.intervals) > 0.59
    street.move(30)
    assert tick(street) == 0


def test_every_scope_that_a_plan_was_made_from_is_kept_with_it(street):
    groups.put_group(street.db, street.clock, "lane", "north", "ada")
    groups.put_sites(street.db, street.clock, ["bench"], "lane", "ada")
    for written in ("portfolio", "portfolio:north", "group:lane"):
        save(street.db, street.clock, Scope.parse(written), {"reserve_soc": 0.3}, "ada")
    save(street.db, street.clock, ALL_SITES, {"reserve_soc": 0.2}, "ada")
    tick(street)
    assert newest(street).strategy == {"portfolio": 2, "portfolio:north": 1, "group:lane": 1}
    assert min(interval["soc"] for interval in newest(street).intervals) == pytest.approx(0.3)


def test_a_plan_that_gains_nothing_replaces_the_one_of_an_older_strategy_and_both_figures_are_kept(street):
    tick(street)
    older = newest(street)
    street.move(30)
    save(street.db, street.clock, BENCH, LATER, "ada")
    tick(street)
    plan = newest(street)
    assert plan.adopted
    assert plan.older_cost_eur is not None
    assert plan.cost_eur > plan.older_cost_eur - USUAL.eur / 2, "so the usual threshold would have kept the older one"
    assert {row.plan_id for row in street.intents() if not row.superseded and row.not_before > street.clock()} == {
        older.id + 1
    }


def test_without_the_guard_the_older_plan_would_be_kept(street, monkeypatch, without_guard):
    monkeypatch.setattr(jobs, "put_in_force", without_guard(plans.put_in_force, "made_from"))
    tick(street)
    street.move(30)
    save(street.db, street.clock, BENCH, LATER, "ada")
    tick(street)
    assert not newest(street).adopted


def test_under_one_strategy_the_usual_threshold_holds(street):
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.2}, "ada")
    tick(street)
    street.move(30)
    inputs.publish(street.db, street.clock, hours("2024-04-10T10:00", 12, export_price_eur_per_kwh=0.1001))
    assert tick(street) == 1
    assert not newest(street).adopted


def fallen_below_its_reserve(bench, series) -> None:
    """Planned to hold its reserve, and then the house takes of it."""
    flat = series.assign(import_price_eur_per_kwh=0.3, export_price_eur_per_kwh=0.05)
    save(bench.db, bench.clock, BENCH, {"reserve_soc": 0.45}, "ada")
    for soc in (0.45, 0.35):
        bench.keep_state(soc)
        jobs.plan_site(bench.db, bench.clock, bench.target, flat, "test")
        bench.move(30)


def ahead_of_its_budget(bench, series) -> None:
    """Planned to discharge half of the store, and then most of that is used elsewhere."""
    dear = series.assign(import_price_eur_per_kwh=0.6, export_price_eur_per_kwh=0.5)
    save(bench.db, bench.clock, BENCH, {"cycles_per_day": 0.4}, "ada")
    for discharge_kwh in (100.0, 103.0):
        seen(bench, [(-1, 100.0, 0.0), (0, discharge_kwh, 0.0)])
        jobs.plan_site(bench.db, bench.clock, bench.target, dear, "test")
        bench.move(30)


@pytest.mark.parametrize("change", [fallen_below_its_reserve, ahead_of_its_budget])
def test_an_older_plan_that_keeps_a_reserve_or_a_budget_less_well_is_replaced_though_it_is_cheaper(
    bench, series, change
):
    change(bench, series)
    assert [plan.adopted for plan in bench.plans()] == [True, True]


@pytest.mark.parametrize("change", [fallen_below_its_reserve, ahead_of_its_budget])
def test_without_that_guard_it_would_be_kept(bench, series, change, monkeypatch):
    monkeypatch.setattr(adoption, "_breaks_a_wish", lambda *_: False)
    change(bench, series)
    assert [plan.adopted for plan in bench.plans()] == [True, False]


def test_only_the_sites_concerned_are_planned_again(street, site):
    other = register_site(street.db, site.model_copy(update={"name": "n"}), street.vendor, "scripted", "B1")
    assert tick(street, other) == 2
    street.move(30)
    save(street.db, street.clock, Scope.parse("n"), {"reserve_soc": 0.3}, "ada")
    assert tick(street, other) == 1
    assert (newest(street).why, newest(street, other.id).why) == ("start", CHANGED)
    street.move(30)
    save(street.db, street.clock, ALL_SITES, {"reserve_soc": 0.2}, "ada")
    assert tick(street, other) == 2


def test_a_site_that_comes_into_a_group_or_out_of_it_is_planned_by_what_it_inherits(street):
    groups.put_group(street.db, street.clock, "lane", None, "ada")
    save(street.db, street.clock, Scope.parse("group:lane"), {"reserve_soc": 0.3}, "ada")
    tick(street)
    for group, expected in (("lane", {"group:lane": 1}), (None, {})):
        street.move(30)
        groups.put_sites(street.db, street.clock, ["bench"], group, "ada")
        assert tick(street) == 1
        assert (newest(street).why, newest(street).strategy) == (CHANGED, expected)


def test_rolling_back_is_a_change_like_any_other(street):
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.2}, "ada")
    tick(street)
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.8}, "ada")
    tick(street)
    street.move(30)
    rollback(street.db, street.clock, BENCH, 1, "ada")
    tick(street)
    assert newest(street).strategy == {"site:bench": 3}
    assert min(interval["soc"] for interval in newest(street).intervals) < 0.3


def test_a_change_is_planned_by_at_once_though_the_last_plan_failed(street, monkeypatch):
    def fail(*_: object, **_options: object) -> None:
        raise SolveError("no optimum")

    with monkeypatch.context() as failing:
        failing.setattr(jobs, "plan_site", fail)
        tick(street)
    street.move(30)
    assert tick(street) == 0
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.2}, "ada")
    street.move(30)
    assert tick(street) == 1


def test_a_site_that_cannot_be_planned_by_its_strategy_keeps_its_plan_and_is_told_of_not_every_tick(street, site):
    """A site came back, or its battery was changed, after the strategy was saved."""
    tick(street)
    small = site.model_copy(update={"battery": site.battery.model_copy(update={"max_soc": 0.5})})
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.9}, "ada")
    street.target = register_site(street.db, small, street.vendor, "scripted", "B1")
    for _ in range(2):
        street.move(30)
        assert tick(street) == 0
    assert newest(street).strategy == {}
    with street.db.session() as session:
        (told,) = session.scalars(select(EventRow.text).where(EventRow.kind == FAILED_EVENT))
    assert "reserve_soc" in told


# Budgets of cycles


def test_what_the_battery_has_done_today_counts_against_its_budget(street, series):
    save(street.db, street.clock, BENCH, {"cycles_per_day": 0.6, "cycles_per_year": 300.0}, "ada")
    seen(street, [(-7200, 100.0, 0.0), (-3600, 102.0, 0.0), (0, 104.0, 0.0)])
    plan = jobs.plan_site(street.db, street.clock, street.target, series, "test")
    used = 4.0 / 0.95 / 10.0
    strategy = plan.problem.strategy
    assert strategy.cycles_today_so_far == pytest.approx(used)
    assert strategy.cycles_this_year_so_far == pytest.approx(used)
    taken_kwh = plan.table["discharge_kw"].sum() * 0.25 / 0.95
    assert taken_kwh == pytest.approx((0.6 - used) * 10.0), "all that is left of it, with these prices"


def test_without_a_budget_nothing_is_counted(street, series):
    seen(street, [(-3600, 100.0, 0.0), (0, 104.0, 0.0)])
    plan = jobs.plan_site(street.db, street.clock, street.target, series, "test")
    assert plan.problem.strategy.cycles_today_so_far == 0.0


def seen(bench, readings: list[tuple[float, float | None, float]]) -> None:
    """Keep readings: seconds from now, the counter of what was discharged [kWh], power [kW]; half full at the last."""
    with bench.db.write() as session:
        for seconds, discharge_kwh, battery_kw in readings:
            at = bench.clock() + dt.timedelta(seconds=seconds)
            session.add(
                TelemetryRow(
                    site_id=bench.target.id,
                    channel=Channel.STATE.value,
                    measured_at=at,
                    received_at=at,
                    soc=0.5,
                    battery_kw=battery_kw,
                    discharge_kwh=discharge_kwh,
                )
            )


# What if


def test_both_plans_of_a_what_if_are_those_that_ticks_would_make(street):
    street.read(Channel.STATE)
    save(street.db, street.clock, BENCH, {"reserve_soc": 0.2}, "ada")
    (outcome,) = what_if(street.db, street.clock, preview(street.db, street.clock, BENCH, NO_GRID))
    assert street.plans() == []
    assert street.intents() == []
    tick(street)
    before = newest(street).cost_eur
    save(street.db, street.clock, BENCH, NO_GRID, "ada")
    tick(street)
    assert outcome.problem == ""
    assert outcome.before is not None
    assert outcome.after is not None
    assert (outcome.before.cost_eur, outcome.after.cost_eur) == pytest.approx((before, newest(street).cost_eur))
    assert outcome.more_eur == pytest.approx(newest(street).cost_eur - before)
    assert outcome.more_eur > 0.5


def test_a_site_without_readings_or_prices_has_no_figures_and_says_why(bench):
    changes = preview(bench.db, bench.clock, BENCH, NO_GRID)
    (outcome,) = what_if(bench.db, bench.clock, changes)
    assert (outcome.before, outcome.after, outcome.more_eur) == (None, None, None)
    assert "prices or forecasts are missing" in outcome.problem
    inputs.publish(bench.db, bench.clock, hours("2024-04-10T10:00", 12, **PRICES, **POWERS))
    (outcome,) = what_if(bench.db, bench.clock, changes)
    assert "soc: never seen" in outcome.problem


# On an emulated cloud


def test_a_battery_that_charges_stops_within_an_interval_of_grid_charging_being_forbidden(serve_vendor, site, tmp_path):
    vendor = serve_vendor("alphaess")

    async def live() -> None:
        run = OnVendor(tmp_path, vendor, site)
        inputs.publish(run.db, run.clock, cheap_then_dear(run.begin))

        counters = vendor.place.plant.registers

        async def quarters(count: int) -> None:
            for _ in range(60 * count):
                await AccountRunner(run.db, run.clock, [run.target]).tick()
                vendor.after(15)

        await quarters(1)
        assert vendor.battery_kw < -0.5, "energy is cheap, and it charges from the grid"
        charged_kwh = [counters.charge_kwh]
        for fields in (NO_GRID, {}):
            save(run.db, run.clock, BENCH, fields, "ada")
            await quarters(1)
            charged_kwh.append(counters.charge_kwh)
        assert [plan.strategy for plan in plans.plans_between(run.db, run.target.id, run.begin, run.clock())] == [
            {},
            {"site:bench": 1},
            {"site:bench": 2},
        ]
        forbidden, allowed_again = np.diff(charged_kwh)
        assert forbidden < 0.1, "until the call was made"
        assert allowed_again > 0.5
        await run.end_process()

    with stamina.set_testing(True):
        asyncio.run(live())
