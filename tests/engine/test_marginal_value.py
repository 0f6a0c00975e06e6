"""The value of stored energy is what one more kWh would save, and every action of the plan agrees with it."""

from __future__ import annotations

import pytest

from console.sample import DEFAULT_DAY, sample_days

DUST = 1e-6


def linear_cases(random_case, wanted: int):
    """Random problems whose plan is a linear program's, keeps every limit, and has room on both sides."""
    found, seed = 0, 0
    while found < wanted:
        seed += 1
        asked = random_case(seed, 8)
        plan = asked.plan("lp")
        if plan.solver.startswith("HiGHS LP") and not plan.breaches:
            found += 1
            yield asked, plan


def test_the_value_at_the_start_bounds_what_more_or_less_in_store_is_worth(random_case):
    """A convex cost lies above its tangent: no plan from another state may beat the price that this one names."""
    compared = 0
    for asked, plan in linear_cases(random_case, 40):
        value = float(plan.marginal_value.iloc[0])
        for change_kwh in (-0.5, -0.05, 0.05, 0.5):
            soc = asked.initial_soc + change_kwh / asked.site.battery.capacity_kwh
            if not asked.site.battery.min_soc <= soc <= asked.site.battery.max_soc:
                continue
            other = asked.but(initial_soc=soc)
            moved = other.plan()
            if moved.breaches:
                continue
            saved_eur = asked.objective_eur(plan) - other.objective_eur(moved)
            assert saved_eur <= value * change_kwh + DUST, (asked, change_kwh)
            compared += 1
    assert compared > 100


@pytest.mark.parametrize("position", [0, 30, 60, 90])
def test_the_value_after_an_interval_is_that_of_the_rest_of_the_day(sample_case, sample_plan, position):
    asked = sample_case()
    value, soc = float(sample_plan.marginal_value.iloc[position]), float(sample_plan.table["soc"].iloc[position])
    rest = {name: getattr(asked, name).iloc[position + 1 :] for name in ("import_price", "export_price", "load", "pv")}
    cost_eur = {
        change_kwh: asked.but(**rest, initial_soc=soc + change_kwh / 10).plan().cost_eur
        for change_kwh in (-0.1, 0.0, 0.1)
        if soc + change_kwh / 10 <= 1.0
    }
    assert cost_eur[0.0] == pytest.approx(sample_plan.table["cost_eur"].iloc[position + 1 :].sum(), abs=DUST)
    for change_kwh, cost in cost_eur.items():
        assert cost_eur[0.0] - cost <= value * change_kwh + DUST


def test_a_stored_kwh_of_a_hand_worked_day_saves_the_dear_price(case, home):
    """10 % in store, 5 kW of load at 0.50 EUR/kWh to come: a kWh more gives 0.9 kWh there."""
    plan = case(home, import_price=[0.6, 0.5], export_price=0.01, load=[0.0, 5.0], step="60min", initial_soc=0.1).plan()
    assert plan.marginal_value.tolist() == pytest.approx([0.45, 0.45], abs=1e-6)


def test_what_is_left_at_the_end_is_worth_its_terminal_value(case, home):
    plan = case(home, import_price=0.5, export_price=0.1, load=0.0, intervals=4, terminal_value=0.3).plan()
    assert plan.table["soc"].iloc[-1] == 0.5
    assert plan.marginal_value.tolist() == pytest.approx([0.3] * 4, abs=1e-6)


def test_every_action_of_the_sample_days_agrees_with_the_value_that_explains_it(sample_case):
    for day in [DEFAULT_DAY, *sample_days()[::7]]:
        plan = sample_case(day).plan()
        battery = plan.site.battery
        table = plan.table.assign(
            value=plan.marginal_value, buy=plan.problem.import_price, sell=plan.problem.export_price
        )
        inside = table[table["export_kw"] < 10 - DUST]
        charging_below = inside["value"] * battery.charge_efficiency
        discharging_above = inside["value"] / battery.discharge_efficiency + battery.wear_eur_per_kwh
        charges, discharges = inside["charge_kw"] > DUST, inside["discharge_kw"] > DUST
        buys, sells = inside["import_kw"] > DUST, inside["export_kw"] > DUST
        assert (inside["buy"] <= charging_below + DUST)[charges & buys].all()
        assert (inside["sell"] <= charging_below + DUST)[charges & sells].all()
        assert (inside["buy"] >= discharging_above - DUST)[discharges & buys].all()
        assert (inside["sell"] >= discharging_above - DUST)[discharges & sells].all()
        # Both must have happened, or nothing was shown.
        assert charges.any()
        assert discharges.any()
