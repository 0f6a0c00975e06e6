"""No grid charging, and no battery export in both readings; hand-worked."""

from __future__ import annotations

import pytest

from engine import Strategy

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])


@BOTH
def test_the_battery_is_charged_with_surplus_sun_alone(ask, solver):
    """The grid is cheapest at night, yet only 5 - 2 kW of sun go in."""
    asked = ask(import_price=[0.01, 0.2, 0.5], load=[1.0, 2.0, 8.0], pv=[0.0, 5.0, 0.0], export_price=0.0)
    free, guarded = asked.plan(solver), asked.but(strategy=Strategy(grid_charging=False))
    assert free.table["charge_kw"].iloc[0] > 0
    plan = guarded.plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([0, 3, 0])
    assert plan.cost_eur == pytest.approx(0.01 + 5 * 0.5)
    assert guarded.rules_of(free) == {"grid charging"}


@BOTH
@pytest.mark.parametrize(
    ("later_price", "charge_kw", "curtailed_kw", "cost_eur"),
    [
        pytest.param(0.1, 0, 5, -0.3 * 2 + 0.1 * 3, id="paid to buy 2 kW: 0.6 EUR is more than 3 kWh are worth"),
        pytest.param(0.4, 3, 2, 0.0, id="3 kWh are worth 1.2 EUR: 2 kW of sun are left, 2 fit, none is bought"),
    ],
)
def test_at_negative_prices_buying_and_solar_charging_exclude_each_other(
    ask, solver, later_price, charge_kw, curtailed_kw, cost_eur
):
    """5 kW of curtailable sun over 2 kW of load at -0.3 EUR/kWh: to curtail it all and buy, or to charge 3 kW of it."""
    asked = ask(
        import_price=[-0.3, later_price],
        export_price=[-0.3, 0.0],
        load=[2.0, 3.0],
        pv=[5.0, 0.0],
        curtailable=True,
        strategy=Strategy(grid_charging=False),
    )
    plan = asked.plan(solver)
    row = plan.table.iloc[0]
    assert row["charge_kw"] == pytest.approx(charge_kw)
    assert (row["import_kw"] > 1e-6) == (charge_kw == 0)
    assert plan.cost_eur == pytest.approx(cost_eur)
    if charge_kw == 0:
        assert row["curtailment_kw"] == pytest.approx(curtailed_kw)
    both = asked.table(charge_kw=[3, 0], curtailment_kw=[5, 0], discharge_kw=[0, 3])
    assert both["cost_eur"].sum() < plan.cost_eur, "what the guard forbids would pay"
    assert asked.rules(both) == {"grid charging"}


EXPORTS = {
    # Full store, 4 kW of load, 3 kW of sun, selling pays 0.5 EUR/kWh, buying costs 0.6.
    "allowed": (10, 9),
    "behind_pv": (4, 3),
    "never": (1, 0),
}


@BOTH
@pytest.mark.parametrize("export", EXPORTS)
def test_stored_energy_reaches_the_grid_as_far_as_it_may(ask, solver, export):
    asked = ask(import_price=0.6, export_price=[0.5, 0.0], load=[4.0, 0.0], pv=[3.0, 0.0], initial_soc=1.0)
    discharge_kw, export_kw = EXPORTS[export]
    plan = asked.but(strategy=Strategy(battery_export=export)).plan(solver)
    assert plan.table["discharge_kw"].iloc[0] == pytest.approx(discharge_kw)
    assert plan.table["export_kw"].iloc[0] == pytest.approx(export_kw)
    assert plan.cost_eur == pytest.approx(-0.5 * export_kw)


@pytest.mark.parametrize(
    ("asked_for", "made_for", "expected"),
    [
        ("never", "never", set()),
        ("never", "behind_pv", {"battery export"}),
        ("never", "allowed", {"battery export"}),
        ("behind_pv", "never", set()),
        ("behind_pv", "behind_pv", set()),
        ("behind_pv", "allowed", {"battery export"}),
    ],
)
def test_the_checker_knows_strict_from_lenient(ask, asked_for, made_for, expected):
    asked = ask(import_price=0.6, export_price=[0.5, 0.0], load=[4.0, 0.0], pv=[3.0, 0.0], initial_soc=1.0)
    plan = asked.but(strategy=Strategy(battery_export=made_for)).plan()
    assert asked.but(strategy=Strategy(battery_export=asked_for)).rules_of(plan) == expected


@BOTH
def test_both_guards_together_leave_self_consumption(ask, solver):
    """Sun in the morning, load in the evening: what of it fits, and no cheap or dear hour tempts."""
    asked = ask(
        import_price=[0.01, 0.3, 0.3, 0.3],
        export_price=[0.0, 0.05, 0.9, 0.05],
        load=[1.0, 1.0, 0.0, 4.0],
        pv=[0.0, 7.0, 0.0, 0.0],
        strategy=Strategy(grid_charging=False, battery_export="never"),
    )
    plan = asked.plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([0, 4, 0, 0])
    assert plan.table["discharge_kw"].tolist() == pytest.approx([0, 0, 0, 4])
    assert plan.cost_eur == pytest.approx(0.01 - 2 * 0.05)
