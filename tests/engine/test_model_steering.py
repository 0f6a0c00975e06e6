"""What steers a plan without being part of its cost: reserve, carbon, the worth of what is left; hand-worked."""

from __future__ import annotations

import pytest

from engine import Strategy

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])


@pytest.fixture
def half_full(ask):
    """5 kWh in store and 2 kWh of load in the last hour."""
    return ask(import_price=[0.1, 0.3], load=[0.0, 2.0], initial_soc=0.5, battery={"max_charge_kw": 0})


@BOTH
@pytest.mark.parametrize(
    ("breach_price", "discharge_kw"),
    [
        pytest.param(0.31, 0, id="an hour short of a kWh costs 0.31 EUR, the kWh 0.30"),
        pytest.param(0.29, 2, id="the price exceeds it"),
        pytest.param(None, 0, id="kept at any price"),
    ],
)
def test_the_reserve_is_kept_unless_the_price_exceeds_it(half_full, solver, breach_price, discharge_kw):
    asked = half_full.but(strategy=Strategy(reserve_soc=0.5, reserve_breach_price=breach_price))
    plan = asked.plan(solver)
    assert plan.table["discharge_kw"].tolist() == pytest.approx([0, discharge_kw])
    assert plan.cost_eur == pytest.approx(0.3 * (2 - discharge_kw)), "the price of a breach is no cost"
    assert [(b.limit, b.value, b.bound) for b in plan.breaches] == (
        [("reserve_soc", pytest.approx(0.3), 0.5)] if discharge_kw else []
    )


@BOTH
def test_a_breach_costs_by_the_hour(half_full, solver):
    """Used in the first of two hours, a kWh is missing for two: 2 x 0.2 EUR is more than it saves."""
    asked = half_full.but(
        import_price=[0.3, 0.1], load=[2.0, 0.0], strategy=Strategy(reserve_soc=0.5, reserve_breach_price=0.2)
    )
    assert asked.plan(solver).table["discharge_kw"].sum() == pytest.approx(0, abs=1e-9)
    assert half_full.but(strategy=asked.given["strategy"]).plan(solver).table["discharge_kw"].sum() == pytest.approx(2)


@BOTH
def test_the_reserve_is_built_up_where_it_is_missing(ask, solver):
    """20 % is asked for from the second hour on; the first is the cheaper one."""
    asked = ask(import_price=[0.1, 0.2, 0.3], reserve_soc=[0.0, 0.2, 0.2])
    plan = asked.plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([2, 0, 0])
    assert plan.breaches == ()
    assert asked.but(reserve_soc=0.0).plan(solver).table["charge_kw"].sum() == 0


@BOTH
def test_a_fuse_outranks_the_reserve_and_the_reserve_the_final_state(ask, solver):
    """6 kW of load on a 4 kW fuse takes 2 kWh of the reserve of 5."""
    asked = ask(
        import_price=0.1,
        load=[6.0, 4.0],
        initial_soc=0.5,
        grid={"import_limit_kw": 4},
        strategy=Strategy(reserve_soc=0.5),
    )
    plan = asked.plan(solver)
    assert plan.table["discharge_kw"].tolist() == pytest.approx([2, 0])
    assert {breach.limit for breach in plan.breaches} == {"reserve_soc"}


@BOTH
def test_carbon_changes_the_plan_but_not_the_reported_cost(ask, solver):
    """0.10 EUR and 0.5 kg against 0.12 EUR and 0.1 kg: at 0.1 EUR/kg the second weighs 0.13, the first 0.15."""
    asked = ask(import_price=[0.1, 0.12, 0.5], load=[0.0, 0.0, 4.0], carbon_kg_per_kwh=[0.5, 0.1, 0.3])
    blind = asked.plan(solver)
    assert blind.table["charge_kw"].tolist() == pytest.approx([4, 0, 0])
    assert blind.cost_eur == pytest.approx(4 * 0.1)
    plan = asked.but(strategy=Strategy(carbon_eur_per_kg=0.1)).plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([0, 4, 0])
    assert plan.cost_eur == pytest.approx(4 * 0.12)
    assert plan.breakdown.import_eur == pytest.approx(4 * 0.12)


@BOTH
def test_only_bought_energy_has_carbon(ask, solver):
    """Sun sold in the dirty hour saves nobody's carbon here: it goes where it earns most."""
    asked = ask(
        import_price=0.5,
        export_price=[0.1, 0.11],
        pv=[4.0, 0.0],
        carbon_kg_per_kwh=[3.0, 0.0],
        strategy=Strategy(carbon_eur_per_kg=1.0),
    )
    assert asked.plan(solver).table["export_kw"].tolist() == pytest.approx([0, 4])


WORTH = [(0.3, 0.3), (0.6, 0.1), (1.0, 0.0)]


@BOTH
@pytest.mark.parametrize(
    ("price", "soc"),
    [
        pytest.param(0.31, 0.0, id="dearer than any piece"),
        pytest.param(0.2, 0.3, id="the first piece pays"),
        pytest.param(0.05, 0.6, id="the second too"),
        pytest.param(-0.01, 1.0, id="paid to fill it"),
    ],
)
def test_a_store_is_filled_as_far_as_its_worth_exceeds_the_price(ask, solver, price, soc):
    asked = ask(import_price=price, export_price=price - 0.5, intervals=2, terminal_value_eur_per_kwh=WORTH)
    plan = asked.plan(solver)
    assert plan.table["soc"].iloc[-1] == pytest.approx(soc)
    assert plan.cost_eur == pytest.approx(10 * soc * price), "the worth is no cost"


@BOTH
@pytest.mark.parametrize(("price", "soc"), [(0.05, 0.6), (0.2, 0.3), (0.31, 0.0)])
def test_a_store_is_sold_down_to_where_it_is_worth_more(ask, solver, price, soc):
    asked = ask(import_price=0.9, export_price=price, intervals=2, initial_soc=1.0, terminal_value_eur_per_kwh=WORTH)
    assert asked.plan(solver).table["soc"].iloc[-1] == pytest.approx(soc)


@BOTH
def test_pieces_of_equal_worth_are_one_number(ask, solver):
    asked = ask(import_price=[0.2, 0.05, 0.3], load=1.0, battery={"charge_efficiency": 0.9})
    split = asked.but(terminal_value_eur_per_kwh=[(0.2, 0.07), (0.5, 0.07), (1.0, 0.07)]).plan(solver)
    whole = asked.but(terminal_value_eur_per_kwh=0.07).plan(solver)
    assert split.cost_eur == pytest.approx(whole.cost_eur, abs=1e-9)
    assert split.table["soc"].tolist() == pytest.approx(whole.table["soc"].tolist())
