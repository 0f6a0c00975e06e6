"""The plan in words: what is said of an interval is true of it, by computations of the test's own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from engine import DemandCharge, Strategy
from engine.explain import explain, next_best

OWN_DUST_KW = 1e-3


def forced_eur(ask: Any, plan: Any, position: int, charge_kw: float, discharge_kw: float) -> float:
    """What an act costs with the best that can follow: the store arrives as in the plan, the rest is planned anew."""
    index = ask.index[position:]
    given = {
        name: value.loc[index] if hasattr(value, "loc") else value
        for name, value in ask.given.items()
        if name not in ("max_charge_kw", "max_discharge_kw")
    }
    soc = ask.given["initial_soc"] if position == 0 else float(plan.table["soc"].iloc[position - 1])
    later = type(ask)(ask.site, {**given, "initial_soc": soc})
    battery, h = ask.site.battery, ask.step_h
    kept = (1 - battery.standing_loss_per_h) ** h
    gained = charge_kw * battery.charge_efficiency - discharge_kw / battery.discharge_efficiency
    soc_after = soc * kept + gained * h / battery.capacity_kwh
    load, pv = later.given["load"].iloc[0], later.given["pv"].iloc[0]
    drawn = load - pv + charge_kw - discharge_kw
    buy, sell = later.given["import_price"].iloc[0], later.given["export_price"].iloc[0]
    wasted = pv if ask.site.pv.curtailable else 0.0
    costs = [(buy * max(0, drawn + w) - sell * max(0, -drawn - w)) for w in (0.0, wasted, min(wasted, max(0, -drawn)))]
    now_eur = h * (min(costs) + battery.wear_eur_per_kwh * discharge_kw)
    if len(index) == 1:
        return now_eur - worth_eur(ask, soc_after)
    rest = type(ask)(ask.site, {n: v.iloc[1:] if hasattr(v, "iloc") else v for n, v in later.given.items()})
    following = rest.but(initial_soc=min(1.05, max(-0.05, soc_after))).plan("lp")
    return now_eur + following.cost_eur - worth_eur(ask, float(following.table["soc"].iloc[-1]))


def worth_eur(ask: Any, soc: float) -> float:
    return (ask.given.get("terminal_value_eur_per_kwh") or 0.0) * soc * ask.site.battery.capacity_kwh


def random_day(ask: Any, seed: int) -> Any:
    """Twelve hours of a home, inside its band, with losses, wear, sun and a worth at the end."""
    rng = np.random.default_rng([3, seed])
    price = rng.uniform(-0.1 if seed % 3 == 0 else 0.0, 0.4, 12)
    return ask(
        import_price=price,
        export_price=price - rng.uniform(0.0, 0.1),
        load=rng.uniform(0, 3, 12),
        pv=np.maximum(0, rng.normal(size=12) * 2),
        curtailable=bool(seed % 2),
        initial_soc=float(rng.uniform(0.1, 0.9)),
        terminal_value_eur_per_kwh=float(rng.uniform(0, 0.3)),
        battery={
            "max_charge_kw": 3,
            "max_discharge_kw": 4,
            "charge_efficiency": 0.95,
            "discharge_efficiency": 0.9,
            "min_soc": 0.05,
            "wear_eur_per_kwh": 0.01,
            "standing_loss_per_h": float(rng.choice([0.0, 0.01])),
        },
    )


@pytest.mark.parametrize("seed", range(8))
def test_the_next_best_act_costs_what_planning_again_with_it_costs(ask, seed):
    asked = random_day(ask, seed)
    plan = asked.plan()
    compared = 0
    for position in range(len(plan.table)):
        before = float(plan.table["soc"].iloc[position - 1]) if position else asked.given["initial_soc"]
        if before * (1 - asked.site.battery.standing_loss_per_h) < asked.site.battery.min_soc:
            continue  # to rest would break the band
        best = next_best(plan, position)
        assert best is not None
        row = plan.table.iloc[position]
        own_eur = forced_eur(asked, plan, position, row["charge_kw"], row["discharge_kw"])
        other_eur = forced_eur(asked, plan, position, best.charge_kw, best.discharge_kw)
        assert best.extra_eur == pytest.approx(other_eur - own_eur, abs=1e-6), (seed, position)
        # None of rest, full charge and full discharge is cheaper, but the plan's own.
        for charge_kw, discharge_kw in acts(asked, plan, position):
            moved = abs(charge_kw - row["charge_kw"]) + abs(discharge_kw - row["discharge_kw"])
            if moved > OWN_DUST_KW:
                assert forced_eur(asked, plan, position, charge_kw, discharge_kw) >= other_eur - 1e-6
                compared += 1
    assert compared >= 12


def acts(ask: Any, plan: Any, position: int) -> list[tuple[float, float]]:
    battery = ask.site.battery
    soc = ask.given["initial_soc"] if position == 0 else float(plan.table["soc"].iloc[position - 1])
    stored = soc * (1 - battery.standing_loss_per_h) * battery.capacity_kwh
    room_kw = (battery.capacity_kwh - stored) / battery.charge_efficiency
    held_kw = max(0.0, stored - battery.min_soc * battery.capacity_kwh) * battery.discharge_efficiency
    return [(0.0, 0.0), (min(battery.max_charge_kw, room_kw), 0.0), (0.0, min(battery.max_discharge_kw, held_kw))]


def test_the_next_best_act_of_a_hand_worked_day(ask):
    """Charging 4 kWh at 0.1 for 0.5: to rest instead costs 4 x (0.2 - 0.1) EUR, for the next hour sells them at 0.2."""
    asked = ask(import_price=[0.1, 0.2, 0.5], load=[0.0, 0.0, 4.0], battery={"max_charge_kw": 4})
    plan = asked.plan()
    assert plan.table["charge_kw"].tolist() == pytest.approx([4, 0, 0])
    assert str(next_best(plan, 0)) == "rest, at 0.4000 EUR more"
    assert "Next best: rest, at 0.4000 EUR more." in plan.explain(asked.index[0])
    # At the load: rest means to buy 4 kWh at 0.5.
    assert "Next best: rest, at 2.0000 EUR more." in plan.explain(asked.index[2])


@pytest.mark.parametrize(
    "changed",
    [{"strategy": Strategy(cycles_per_day=1)}, {"demand_charges": [DemandCharge(eur_per_kw=1)]}],
    ids=["a cycle budget", "a demand charge"],
)
def test_no_price_is_given_where_an_act_has_none_of_its_own(ask, changed):
    asked = ask(import_price=[0.1, 0.2, 0.5], load=[0.0, 0.0, 4.0], **changed)
    plan = asked.plan()
    assert next_best(plan, 0) is None
    assert "Next best" not in plan.explain(asked.index[0])


def test_a_breach_is_told_at_its_interval_and_in_the_summary(ask):
    asked = ask(import_price=0.2, load=[1.0, 6.0, 1.0], grid={"import_limit_kw": 4}, initial_soc=0.1)
    plan = asked.plan()
    over = "import_limit_kw 4 not kept at 2026-02-03T01:00Z"
    limited = asked.but(max_charge_kw=0.0).plan()
    assert f"Not kept: {over}: 5." in limited.explain(asked.index[1])
    assert "Not kept" not in limited.explain(asked.index[0])
    assert f"not kept: {over}: 5" in limited.summary()
    assert "not kept" not in plan.summary(), "3 kW in the first hour prevent it"


def test_a_reserve_given_up_is_told(ask):
    asked = ask(
        import_price=[0.1, 0.9],
        load=[0.0, 2.0],
        initial_soc=0.5,
        battery={"max_charge_kw": 0},
        strategy=Strategy(reserve_soc=0.5, reserve_breach_price=0.2),
    )
    plan = asked.plan()
    assert "Not kept: reserve_soc 0.5 not kept at 2026-02-03T01:00Z: 0.3." in plan.explain(asked.index[1])
    assert "the reserve is all that is left" in plan.explain(asked.index[0])


@pytest.mark.parametrize(
    ("battery", "limits", "said", "not_said"),
    [
        pytest.param({"max_charge_kw": 4}, {}, "charging is at its rating", "limit", id="at the rating"),
        pytest.param({"max_charge_kw": 0}, {}, None, "charging", id="a rating of zero is no rating to be at"),
        pytest.param({}, {"max_charge_kw": 0.0}, "charging is not allowed", "rating", id="none available"),
        pytest.param({}, {"max_charge_kw": 3.0}, "charging is at its limit", "rating", id="at what is available"),
        pytest.param({}, {"import_limit_kw": 3.0}, "import is at its limit", "rating", id="at the connection"),
        pytest.param({}, {"import_limit_kw": 0.0}, "import is not allowed", "rating", id="cut off"),
    ],
)
def test_what_binds_is_what_binds(ask, battery, limits, said, not_said):
    asked = ask(import_price=[0.1, 0.5], load=[0.0, 6.0], initial_soc=0.2, battery=battery)
    plan = asked.but(**{name: [value, np.inf] for name, value in limits.items()}).plan()
    binding = re.search(r"(Binding: [^.]*\.|No limit binds\.)", plan.explain(asked.index[0]))
    assert binding is not None
    if said is None:
        assert binding[0] == "No limit binds."
    else:
        assert said in binding[0]
        assert not_said not in binding[0].replace(said, "")


def test_the_summary_adds_up(ask):
    asked = ask(
        import_price=[0.1, 0.5],
        export_price=0.05,
        load=[1.0, 6.0],
        battery={"max_charge_kw": 4, "wear_eur_per_kwh": 0.02},
        demand_charges=[DemandCharge(eur_per_kw=0.1)],
    )
    # 4 kWh from the cheap hour to the dear: 5 kW of import, then 2.
    summary = asked.plan().summary()
    assert "import 1.5000, export 0.0000, wear 0.0800, demand charge 0.5000" in summary
    assert "cost 2.0800 EUR" in summary
    assert "import 7.00 kWh, export 0.00 kWh, charge 4.00 kWh, discharge 4.00 kWh, 0.40 cycles" in summary
    # 0.1 + 6 x 0.5 for energy and 0.6 for the peak of 6 kW.
    assert "without the battery 3.7000 EUR, so it saves 1.6200 EUR" in summary


def test_what_couples_intervals_is_told_where_it_binds(ask):
    dear_peak = ask(
        import_price=0.2,
        load=[1.0, 1.0, 6.0, 1.0],
        initial_soc=0.2,
        demand_charges=[DemandCharge(eur_per_kw=3, name="grid peak")],
    ).plan()
    at_peak, below = (explain(dear_peak, position) for position in (2, 3))
    assert "more import would raise the grid peak" in at_peak
    assert "would raise" not in below
    worn = ask(
        import_price=[0.1, 0.1, 0.4, 0.4], load=2.0, initial_soc=1.0, strategy=Strategy(cycles_per_day=0.1)
    ).plan()
    assert "the cycles of the day are used up" in explain(worn, 3)
