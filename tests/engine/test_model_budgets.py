"""Cycle budgets on local calendar days and years, hand-worked."""

from __future__ import annotations

import numpy as np
import pytest

from engine import Strategy

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])
ANY = pytest.mark.parametrize("solver", ["auto", "lp"])
COPENHAGEN = "Europe/Copenhagen"


def sold_kwh(plan) -> dict[str, float]:
    """What was discharged per hour that discharges, by local time."""
    local = plan.table["discharge_kw"].tz_convert(plan.site.timezone)
    return {f"{time:%d %H}": round(kw, 6) for time, kw in local.items() if kw > 1e-6}


@pytest.fixture
def evening(ask):
    """A full battery of 10 kWh sells from 19:00 to 07:00 local; best at 22:00 and 23:00, then at 00:00 and 01:00."""
    price = np.full(12, 0.1)
    price[3:7] = 0.5, 0.4, 0.35, 0.3
    return ask(
        import_price=0.6,
        export_price=price,
        start="2026-02-03T18:00Z",
        timezone=COPENHAGEN,
        initial_soc=1.0,
        battery={"max_discharge_kw": 4},
    )


@BOTH
def test_without_a_budget_the_dearest_hours_get_it_all(evening, solver):
    assert sold_kwh(evening.plan(solver)) == {"03 22": 4, "03 23": 4, "04 00": 2}


@ANY
def test_each_local_day_has_its_own_half_cycle(evening, solver):
    """5 kWh before midnight in Copenhagen, which is 23:00 UTC, and 5 after it."""
    plan = evening.but(strategy=Strategy(cycles_per_day=0.5)).plan(solver)
    assert sold_kwh(plan) == {"03 22": 4, "03 23": 1, "04 00": 4, "04 01": 1}
    assert plan.cost_eur == pytest.approx(-(4 * 0.5 + 1 * 0.4 + 4 * 0.35 + 1 * 0.3))
    assert plan.breaches == ()


@BOTH
def test_what_was_used_today_is_gone(evening, solver):
    """0.2 of 0.8 cycles are left today; tomorrow's 8 kWh suffice for the rest."""
    strategy = Strategy(cycles_per_day=0.8, cycles_today_so_far=0.6)
    plan = evening.but(strategy=strategy).plan(solver)
    assert sold_kwh(plan) == {"03 22": 2, "04 00": 4, "04 01": 4}


@ANY
def test_a_budget_used_up_leaves_nothing_and_no_credit_for_tomorrow(evening, solver):
    strategy = Strategy(cycles_per_day=0.8, cycles_today_so_far=1.1)
    plan = evening.but(strategy=strategy).plan(solver)
    assert sold_kwh(plan) == {"04 00": 4, "04 01": 4}
    assert plan.breaches == ()


@ANY
@pytest.mark.parametrize(
    ("start", "within", "after"),
    [
        pytest.param("2026-03-28T22:00Z", "2026-03-29T21:00Z", "2026-03-29T22:00Z", id="a day of 23 hours"),
        pytest.param("2026-10-24T21:00Z", "2026-10-25T22:00Z", "2026-10-25T23:00Z", id="a day of 25 hours"),
    ],
)
def test_a_day_on_which_clocks_change_ends_at_its_own_midnight(ask, solver, start, within, after):
    """The dearest hour is the last of the day, the next the first of the following: half a cycle each."""
    asked = ask(
        import_price=0.6,
        export_price=0.0,
        start=start,
        intervals=28,
        timezone=COPENHAGEN,
        initial_soc=1.0,
        strategy=Strategy(cycles_per_day=0.5),
    )
    price = asked.given["export_price"].copy()
    price[within], price[after] = 0.5, 0.4
    plan = asked.but(export_price=price).plan(solver)
    assert plan.table["discharge_kw"][[within, after]].tolist() == pytest.approx([5, 5])
    assert plan.cost_eur == pytest.approx(-5 * 0.5 - 5 * 0.4)


@BOTH
def test_a_cycle_is_energy_out_of_the_store_not_at_the_meter(evening, solver):
    """At 80 % from store to meter half a cycle of 10 kWh gives 4 kWh."""
    asked = evening.but(battery={"discharge_efficiency": 0.8, "max_discharge_kw": 8.0})
    price = np.zeros(12)
    price[3] = 0.5
    plan = asked.but(strategy=Strategy(cycles_per_day=0.5), export_price=price).plan(solver)
    assert plan.table["discharge_kw"].sum() == pytest.approx(4)


@BOTH
def test_scarce_cycles_go_where_the_spread_is_largest(ask, solver):
    """One cycle: of two hills the higher, though both would pay."""
    asked = ask(
        import_price=[0.1, 0.3, 0.1, 0.5],
        load=[0.0, 10.0, 0.0, 10.0],
        strategy=Strategy(cycles_per_day=1),
    )
    assert asked.plan(solver).table["discharge_kw"].tolist() == pytest.approx([0, 0, 0, 10])
    free = asked.but(strategy=None).plan(solver)
    assert free.table["discharge_kw"].tolist() == pytest.approx([0, 10, 0, 10])
    assert asked.rules_of(free) == {"cycle budget"}


@ANY
def test_a_years_budget_ends_with_the_local_year(ask, solver):
    """0.3 cycles are left of the year; a new one begins at 23:00 UTC."""
    asked = ask(
        import_price=0.6,
        export_price=[0.5, 0.4, 0.3, 0.2],
        start="2026-12-31T21:00Z",
        timezone=COPENHAGEN,
        initial_soc=1.0,
        battery={"max_discharge_kw": 4},
        strategy=Strategy(cycles_per_year=100, cycles_this_year_so_far=99.7),
    )
    assert asked.plan(solver).table["discharge_kw"].tolist() == pytest.approx([3, 0, 4, 3])
    assert asked.rules_of(asked.but(strategy=None).plan(solver)) == {"cycle budget"}


@ANY
def test_day_and_year_are_both_kept(ask, solver):
    asked = ask(
        import_price=0.6,
        export_price=[0.5, 0.4, 0.0, 0.3, 0.2],
        start="2026-06-01T22:00Z",
        initial_soc=1.0,
        battery={"max_discharge_kw": 4},
        strategy=Strategy(cycles_per_day=0.5, cycles_per_year=0.7),
    )
    assert asked.plan(solver).table["discharge_kw"].tolist() == pytest.approx([4, 1, 0, 2, 0])


@BOTH
def test_a_budget_that_the_band_forces_open_is_exceeded_by_no_more_than_that_and_told(ask, solver):
    """At 105 % of a store that may hold 90 %, 1.5 kWh must go; 0.5 kWh are in the budget."""
    asked = ask(
        import_price=0.6,
        export_price=[0.1, 0.5],
        initial_soc=1.05,
        battery={"max_soc": 0.9},
        strategy=Strategy(cycles_per_day=0.05),
    )
    plan = asked.plan(solver)
    assert plan.table["discharge_kw"].tolist() == pytest.approx([1.5, 0], abs=1e-6)
    assert [(breach.limit, breach.bound) for breach in plan.breaches if "cycle" in breach.limit] == [
        ("cycle_budget_kwh", pytest.approx(0.5))
    ]
    assert "cycle_budget_kwh 0.5 not kept" in plan.summary()
