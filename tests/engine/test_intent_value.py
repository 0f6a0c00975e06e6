"""What intents cost on a plan's forecast, by arithmetic of the test's own."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pytest

from engine import DemandCharge
from engine.intent import Intent, IntentMode, intents_of
from engine.intent_value import IntentValue


def hours(plan, mode, power_kw, first, last, until_soc=None):
    begin = plan.table.index[first].to_pydatetime()
    end = plan.table.index[last].to_pydatetime() + dt.timedelta(hours=1)
    return Intent(IntentMode(mode), power_kw, begin, end, until_soc)


def carried(asked, intents_by_hour, soc):
    """Money and state of charge of hour after hour, written out."""
    battery, eur = asked.site.battery, 0.0
    for t, intent in enumerate(intents_by_hour):
        soc *= 1 - battery.standing_loss_per_h
        surplus = asked.given["pv"].iloc[t] - asked.given["load"].iloc[t]
        wanted = intent.battery_kw if intent.has_set_point else -surplus
        low, high = battery.min_soc, battery.max_soc
        if intent.until_soc is not None:
            low, high = (low, intent.until_soc) if wanted < 0 else (intent.until_soc, high)
        room = max(0, high - soc) * battery.capacity_kwh / battery.charge_efficiency
        held = max(0, soc - low) * battery.capacity_kwh * battery.discharge_efficiency
        kw = min(wanted, battery.max_discharge_kw, held) if wanted > 0 else -min(-wanted, battery.max_charge_kw, room)
        stored = -kw * battery.charge_efficiency if kw < 0 else -kw / battery.discharge_efficiency
        soc += stored / battery.capacity_kwh
        grid = -surplus - kw
        eur += asked.given["import_price"].iloc[t] * max(0, grid) - asked.given["export_price"].iloc[t] * max(0, -grid)
        eur += battery.wear_eur_per_kwh * max(0, kw)
    return eur, soc


@pytest.fixture
def day(ask):
    rng = np.random.default_rng(5)
    return ask(
        import_price=rng.uniform(0.1, 0.4, 12),
        export_price=0.05,
        load=rng.uniform(0.2, 3, 12),
        pv=np.maximum(0, rng.normal(size=12) * 2),
        curtailable=False,
        initial_soc=0.4,
        terminal_value_eur_per_kwh=0.2,
        battery={
            "max_charge_kw": 3,
            "max_discharge_kw": 4,
            "charge_efficiency": 0.95,
            "discharge_efficiency": 0.9,
            "min_soc": 0.1,
            "wear_eur_per_kwh": 0.01,
            "standing_loss_per_h": 0.01,
        },
    )


def test_a_plans_own_intents_lose_nothing(day):
    plan = day.plan()
    own = intents_of(plan)
    value = IntentValue(plan, own)
    course = value.carry_out((t, t, intent) for t, intent in enumerate(own))
    excess_eur, soc = course.excess_eur, course.soc
    assert excess_eur == pytest.approx(0, abs=1e-12)
    assert soc == pytest.approx(plan.table["soc"].to_numpy(), abs=0.002), "a hold does not make up for what leaks"
    assert [value.loss_eur(t, t, intent) for t, intent in enumerate(own)] == pytest.approx([0] * 12, abs=1e-12)


@pytest.mark.parametrize(
    "course",
    [
        [("hold", 0.0, 0, 11)],
        [("self_consumption", 0.0, 0, 11)],
        [("charge", 1.0, 0, 3, 0.9), ("discharge", 2.0, 4, 8, 0.3), ("hold", 0.0, 9, 11)],
        [("discharge", 4.0, 0, 5), ("charge", 3.0, 6, 11)],
    ],
    ids=["rest", "follow", "up and down", "edge to edge"],
)
def test_the_excess_is_what_an_account_by_the_hour_comes_to(day, course):
    plan = day.plan()
    stretches = [(first, last, hours(plan, mode, kw, first, last, *more)) for mode, kw, first, last, *more in course]
    by_hour = [intent for first, last, intent in stretches for _ in range(first, last + 1)]
    eur, soc = carried(day, by_hour, 0.4)
    own_eur, own_soc = carried(day, intents_of(plan), 0.4)
    expected = eur - own_eur - 0.2 * (soc - own_soc) * 10

    found = IntentValue(plan, intents_of(plan)).carry_out(stretches)
    assert found.excess_eur == pytest.approx(expected, abs=1e-9)
    assert found.soc[-1] == pytest.approx(soc)
    # Stretch by stretch no less is said to be lost.
    losses = sum(IntentValue(plan, intents_of(plan)).loss_eur(*stretch) for stretch in stretches)
    assert losses >= found.excess_eur - 1e-9


def test_a_higher_peak_is_part_of_the_loss(ask):
    asked = ask(
        import_price=0.2,
        load=[1.0, 3.0, 1.0],
        initial_soc=0.5,
        battery={"max_charge_kw": 2, "max_discharge_kw": 2},
        demand_charges=[DemandCharge(eur_per_kw=2.0)],
        terminal_value_eur_per_kwh=0.2,
    )
    plan = asked.plan()
    assert plan.table["import_kw"].max() == pytest.approx(1.0)
    value = IntentValue(plan, intents_of(plan))
    # Without its 2 kW the dear hour draws 3 kW: 2 kW of peak, the energy being worth what it costs.
    assert value.loss_eur(1, 1, hours(plan, "hold", 0.0, 1, 1)) == pytest.approx(4.0 + 2 * 0.2)
    assert value.carry_out([(0, 2, hours(plan, "hold", 0.0, 0, 2))]).excess_eur == pytest.approx(4.0)


def test_what_the_store_lacks_afterwards_is_dear_and_what_it_has_more_is_worth_nothing(ask):
    asked = ask(import_price=[0.1, 0.2, 0.5], load=[0.0, 0.0, 4.0], battery={"max_charge_kw": 4})
    plan = asked.plan()
    value = IntentValue(plan, intents_of(plan))
    charging = hours(plan, "charge", 4.0, 0, 0)
    assert value.loss_eur(0, 0, hours(plan, "hold", 0.0, 0, 0)) == pytest.approx(4 * 0.5 - 4 * 0.1)
    assert value.loss_eur(1, 1, charging) == pytest.approx(4 * 0.2)


def test_sun_that_is_sold_at_negative_prices_for_want_of_a_limit_is_part_of_the_loss(ask):
    plan = ask(
        import_price=0.3, export_price=-0.1, load=1.0, pv=[6.0, 6.0, 0.0], initial_soc=1.0, curtailable=True
    ).plan()
    value = IntentValue(plan, intents_of(plan))
    unlimited = list(enumerate(intents_of(plan, limits_export=False)))

    assert value.loss_eur(0, 0, unlimited[0][1]) == pytest.approx(5 * 0.1)
    assert value.carry_out((t, t, intent) for t, intent in unlimited).excess_eur == pytest.approx(2 * 5 * 0.1)
    assert value.carry_out((t, t, intent) for t, intent in enumerate(intents_of(plan))).excess_eur == 0
