"""A preference chooses among plans of the very same cost: it never costs money, and it does what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import Plan, Strategy
from engine.decisions import Decisions, objective_eur, reckon

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])
PREFERENCES = ("fewer_switches", "smoother_power", "later_charging")
# The linear program itself prefers rest by 1e-8 EUR/kWh, in every plan that it makes.
REST_EUR_PER_KWH = 1e-8


def preferring(ask: Any, prefer: str | None) -> Any:
    return ask.but(strategy=Strategy(prefer=prefer))


def steered_eur(plan: Plan) -> float:
    """What was minimised: cost, carbon, breaches and demand charges, less the worth of the store."""
    powers = (plan.table[name].to_numpy()[np.newaxis, :] for name in ("charge_kw", "discharge_kw", "curtailment_kw"))
    stack, h, battery = plan.problem.stack, plan.problem.step_h, plan.site.battery
    decisions = Decisions(*powers, np.zeros((1, len(plan.table))))
    total = float(objective_eur(stack, reckon(stack, decisions))[0]) + plan.breakdown.demand_eur
    taken = plan.table["discharge_kw"].to_numpy() * h / battery.discharge_efficiency
    over = sum(
        max(0.0, float(budget.over_kwh(taken, plan.site.battery.capacity_kwh))) for budget in plan.problem.budgets
    )
    return total + plan.problem.breach.budget * over


def switches(plan: Plan) -> int:
    """How often the battery goes from one of charge, rest and discharge to another, from rest on."""
    power_kw = plan.battery_kw.to_numpy()
    direction = np.where(np.abs(power_kw) < 1e-6, 0, np.sign(power_kw))
    return int((np.diff(direction, prepend=0) != 0).sum())


def mean_charging_interval(plan: Plan) -> float:
    charge = plan.table["charge_kw"].to_numpy()
    return float(charge @ np.arange(len(charge)) / charge.sum())


@pytest.mark.parametrize("batch", range(6))
def test_a_preference_never_costs_anything_nor_breaks_a_limit(random_ask, batch):
    for seed in range(20 * batch, 20 * batch + 20):
        plain = random_ask(seed, 12).plan()
        for prefer in PREFERENCES:
            # The checker passes it, or there would be no plan.
            plan = random_ask(seed, 12, prefer=prefer).plan()
            energy_kwh = (plain.table["discharge_kw"].sum() + plan.table["discharge_kw"].sum()) * plan.problem.step_h
            dust_eur = 0.0 if plan.solver == "storage DP" else REST_EUR_PER_KWH * energy_kwh
            assert steered_eur(plan) == pytest.approx(steered_eur(plain), rel=1e-9, abs=1e-9 + dust_eur), (seed, prefer)
            assert {breach.limit for breach in plan.breaches} == {breach.limit for breach in plain.breaches}


@pytest.fixture
def cheap_start(ask):
    """A very cheap hour, then five of one price in which 8 kWh more are wanted, then 12 kWh of load."""
    return ask(
        import_price=[0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.5, 0.5],
        load=[0.0] * 6 + [6.0, 6.0],
        battery={"capacity_kwh": 12, "max_charge_kw": 4},
    )


COST_EUR = 4 * 0.05 + 8 * 0.1


@BOTH
def test_fewer_switches(cheap_start, solver):
    """By habit the battery rests until it must charge: charge, rest, charge, discharge. It could have gone on."""
    assert switches(preferring(cheap_start, None).plan("dp")) == 4
    plan = preferring(cheap_start, "fewer_switches").plan(solver)
    assert switches(plan) <= 3
    assert plan.cost_eur == pytest.approx(COST_EUR, abs=1e-9)


def test_smoother_power(cheap_start):
    """8 kWh in five hours can be had with 2 kW; by habit it is 4 kW in the last two."""
    plain, plan = (preferring(cheap_start, prefer).plan("dp") for prefer in (None, "smoother_power"))
    assert plain.table["charge_kw"].iloc[1:].max() == pytest.approx(4)
    assert plan.table["charge_kw"].iloc[1:].max() == pytest.approx(2)
    assert plan.cost_eur == pytest.approx(COST_EUR, abs=1e-9)


@BOTH
def test_later_charging(ask, solver):
    """10 kWh in three hours of one price: 2, 4 and 4 kW, not as hard as the cheap hour before them began it."""
    asked = ask(
        import_price=[0.05, 0.1, 0.1, 0.1, 0.5, 0.5],
        load=[0.0] * 4 + [7.0, 7.0],
        battery={"capacity_kwh": 14, "max_charge_kw": 4},
    )
    plan = preferring(asked, "later_charging").plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([4, 2, 4, 4, 0, 0])
    assert mean_charging_interval(plan) > mean_charging_interval(preferring(asked, None).plan("dp"))
    assert plan.cost_eur == pytest.approx(4 * 0.05 + 10 * 0.1, abs=1e-9)


@BOTH
def test_a_full_store_is_sold_evenly_at_one_price(ask, solver):
    """10 kWh in eight hours: 1.25 kW would be even, 2 kW is within a quarter of the rating of it, 4 kW is the habit."""
    asked = ask(import_price=0.6, export_price=0.3, intervals=8, initial_soc=1.0, battery={"max_discharge_kw": 4})
    plain, even = (preferring(asked, prefer).plan(solver) for prefer in (None, "smoother_power"))
    assert plain.table["discharge_kw"].max() == pytest.approx(4)
    assert even.table["discharge_kw"].max() <= 2 + 1e-6
    assert even.table["discharge_kw"].min() >= 1 - 1e-6
    assert even.cost_eur == pytest.approx(plain.cost_eur, abs=1e-9)


@BOTH
@pytest.mark.parametrize("prefer", PREFERENCES)
def test_a_preference_gives_way_to_a_tenth_of_a_cent(ask, solver, prefer):
    """A kWh is 0.001 EUR cheaper in the first hour: no taste moves it."""
    asked = ask(import_price=[0.1, 0.101, 0.101, 0.5], load=[0.0, 0.0, 0.0, 6.0])
    plan = preferring(asked, prefer).plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([6, 0, 0, 0], abs=1e-6)


def tied(ask: Any, seed: int) -> Any:
    """A day of prices in steps of 10 cents, so that many plans cost the same."""
    rng = np.random.default_rng(seed)
    price = np.round(rng.uniform(0, 0.4, 24), 1)
    return ask(
        import_price=price,
        export_price=np.maximum(price - 0.1, 0) * rng.integers(2),
        load=rng.uniform(0, 3, 24),
        pv=np.maximum(0, rng.normal(size=24) * 2),
        initial_soc=0.5,
        battery={"max_charge_kw": 3, "max_discharge_kw": 3},
    )


def test_over_many_days_the_battery_switches_less(ask):
    """It goes on as before where it can, which looks ahead no further than the next tie: hardly ever that is worse."""
    pairs = [
        tuple(switches(preferring(tied(ask, seed), prefer).plan("dp")) for prefer in (None, "fewer_switches"))
        for seed in range(100)
    ]
    assert sum(fewer > plain for plain, fewer in pairs) <= 2
    assert sum(fewer < plain for plain, fewer in pairs) >= 20


def test_over_many_days_power_is_spread(ask):
    def strain(plan: Plan) -> float:
        return float((plan.battery_kw**2).sum())

    pairs = [
        tuple(preferring(tied(ask, seed), prefer).plan("dp") for prefer in (None, "smoother_power"))
        for seed in range(100)
    ]
    assert all(even.battery_kw.abs().max() <= plain.battery_kw.abs().max() + 1e-9 for plain, even in pairs)
    assert sum(strain(even) < 0.99 * strain(plain) for plain, even in pairs) >= 50
    assert all(even.cost_eur == pytest.approx(plain.cost_eur, abs=1e-9) for plain, even in pairs)
