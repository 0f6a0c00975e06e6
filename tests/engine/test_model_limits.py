"""Limits per interval: flexible connections, Paragraph 14a, availability; hand-worked."""

from __future__ import annotations

import numpy as np
import pytest

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])
NONE = np.inf


@BOTH
def test_paragraph_14a_leaves_4_2_kw_in_its_window(ask, solver):
    """1 kW of load leaves 3.2 kW for the battery in the two cheap hours, which 14a dims; the rest is bought before."""
    asked = ask(import_price=[0.2, 0.1, 0.101, 0.5], load=[1.0, 1.0, 1.0, 11.0])
    free = asked.plan(solver)
    assert free.table["import_kw"].tolist() == pytest.approx([1, 11, 1, 1])
    dimmed = asked.but(import_limit_kw=[NONE, 4.2, 4.2, NONE])
    plan = dimmed.plan(solver)
    assert plan.table["import_kw"].tolist() == pytest.approx([1 + 3.6, 4.2, 4.2, 1])
    assert plan.cost_eur == pytest.approx(0.2 * 4.6 + 0.1 * 4.2 + 0.101 * 4.2 + 0.5)
    assert dimmed.rules_of(free) == {"import limit"}


@BOTH
def test_a_load_above_the_dimmed_limit_is_no_fault_of_the_plan(ask, solver):
    """6 kW of load under 4.2 kW with 1 kWh in store: 0.8 kW remain above, and nothing is charged."""
    asked = ask(import_price=[0.1, 0.5], load=[6.0, 0.0], initial_soc=0.1, import_limit_kw=[4.2, NONE])
    plan = asked.plan(solver)
    assert plan.table["import_kw"].iloc[0] == pytest.approx(5)
    assert [(b.limit, b.value, b.bound) for b in plan.breaches] == [("import_limit_kw", pytest.approx(5), 4.2)]


@BOTH
def test_the_tighter_of_connection_and_window_holds(ask, solver):
    """2 kW by the window, then 3 kW by the fuse although the window would allow 5."""
    asked = ask(
        import_price=[0.1, 0.1, 0.5],
        load=[0.0, 0.0, 8.0],
        grid={"import_limit_kw": 3},
        import_limit_kw=[2.0, 5.0, NONE],
    )
    assert asked.plan(solver).table["import_kw"].tolist() == pytest.approx([2, 3, 3])


@BOTH
def test_feed_in_is_cut_in_its_window_and_the_store_waits(ask, solver):
    """A full store sells 10 kWh: 1 kW is allowed in the dear hour, so 9 go at the next price."""
    asked = ask(import_price=0.6, export_price=[0.5, 0.4], initial_soc=1.0)
    free, cut = asked.plan(solver), asked.but(export_limit_kw=[1.0, NONE])
    assert free.table["export_kw"].tolist() == pytest.approx([10, 0])
    assert cut.plan(solver).table["export_kw"].tolist() == pytest.approx([1, 9])
    assert cut.rules_of(free) == {"export limit"}


@BOTH
@pytest.mark.parametrize("curtailable", [True, False])
def test_sun_above_a_cut_in_feed_in_is_stored_first(ask, solver, curtailable):
    """6 kW of sun, 1 kW may leave, 2 kWh fit: 3 kW are curtailed, or exported in breach where that is impossible."""
    asked = ask(
        import_price=0.6,
        export_price=0.1,
        load=[0.0, 10.0],
        pv=[6.0, 0.0],
        initial_soc=0.8,
        export_limit_kw=[1.0, 0.0],
        curtailable=curtailable,
    )
    row = asked.plan(solver).table.iloc[0]
    assert row["charge_kw"] == pytest.approx(2)
    assert row["export_kw"] == pytest.approx(1 if curtailable else 4)
    assert row["curtailment_kw"] == pytest.approx(3 if curtailable else 0)


@BOTH
def test_power_that_is_not_available_is_not_planned(ask, solver):
    asked = ask(import_price=[0.1, 0.2, 0.5, 0.6], load=[0.0, 0.0, 8.0, 8.0])
    free = asked.plan(solver)
    assert free.table["charge_kw"].tolist() == pytest.approx([10, 0, 0, 0])
    limited = asked.but(max_charge_kw=[4.0, NONE, NONE, NONE], max_discharge_kw=[NONE, NONE, NONE, 5.0])
    # 4 kWh at 0.1, 6 at 0.2, of which 5 replace 0.6 and 5 replace 0.5 EUR/kWh.
    plan = limited.plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([4, 6, 0, 0])
    assert plan.table["discharge_kw"].tolist() == pytest.approx([0, 0, 5, 5])
    assert limited.rules_of(free) == {"rating"}


@BOTH
def test_availability_above_the_rating_gives_nothing_more(ask, solver):
    asked = ask(import_price=[0.1, 0.5], load=[0.0, 8.0], battery={"max_charge_kw": 3}, max_charge_kw=100.0)
    assert asked.plan(solver).table["charge_kw"].tolist() == pytest.approx([3, 0])
