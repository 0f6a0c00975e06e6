"""The plan in words: what is said of an interval is true of it, by computations of the test's own."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from engine import DemandCharge, Strategy
from engine.alternatives import next_best
from engine.explain import explain

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


def random_day(ask: Any, seed: int, battery: Any = None, **more: Any) -> Any:
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
            **(battery or {}),
        },
        **more,
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


TAPER = {"charge_kw_at_soc": ((0.0, 3.0), (0.6, 3.0), (1.0, 0.4)), "discharge_kw_at_soc": ((0.0, 0.3), (0.5, 4.0))}
COUPLED = {
    "cycles": {"strategy": Strategy(cycles_per_day=0.4)},
    "peak": {"demand_charges": [DemandCharge(eur_per_kw=0.3, period="day")]},
    "steps": {"demand_charges": [DemandCharge(steps_eur=((1, 0.1), (2.5, 0.4), (None, 1.2)), period="day")]},
    "cells": {"battery": TAPER},
    "all": {
        "strategy": Strategy(cycles_per_day=0.6),
        "demand_charges": [DemandCharge(eur_per_kw=((0, 0.1), (2, 0.5)), period="day")],
        "battery": TAPER,
    },
}


def handed_on(asked: Any, plan: Any, position: int, charge_kw: float, discharge_kw: float) -> tuple[Any, float]:
    """What is asked from the next interval on, cycles and peaks so far told, and the bill of that peak [EUR]."""
    battery, before = asked.site.battery, plan.table.iloc[:position]
    taken_kwh = (before["discharge_kw"].sum() + discharge_kw) / battery.discharge_efficiency
    drawn_kw = max(
        0.0, plan.table["load_kw"].iloc[position] - asked.given["pv"].iloc[position] + charge_kw - discharge_kw
    )
    peak_kw = max([drawn_kw, *before["import_kw"]])
    kept = (1 - battery.standing_loss_per_h) ** asked.step_h
    soc = plan.table["soc"].iloc[position - 1] if position else asked.given["initial_soc"]
    soc = soc * kept + (charge_kw * battery.charge_efficiency - discharge_kw / battery.discharge_efficiency) / (
        battery.capacity_kwh
    )
    given = {n: v.iloc[position + 1 :] if hasattr(v, "iloc") else v for n, v in asked.given.items()}
    given["initial_soc"] = soc
    if (strategy := given.get("strategy")) is not None:
        used = taken_kwh / battery.capacity_kwh
        given["strategy"] = strategy.model_copy(update={"cycles_today_so_far": used})
    charges = given.get("demand_charges") or []
    given["demand_charges"] = [c.model_copy(update={"peak_today_so_far_kw": peak_kw}) for c in charges]
    return type(asked)(asked.site, given), sum(bill_eur(charge, peak_kw) for charge in charges)


def bill_eur(charge: DemandCharge, peak_kw: float) -> float:
    if charge.steps_eur:
        return next(eur for bound, eur in charge.steps_eur if bound is None or peak_kw <= bound + 1e-6)
    starts = [start for start, _ in charge.eur_per_kw]
    return sum(
        eur * max(0.0, min(peak_kw, end) - start)
        for (start, eur), end in zip(charge.eur_per_kw, [*starts[1:], np.inf], strict=True)
    )


def forced_on_eur(asked: Any, plan: Any, position: int, charge_kw: float, discharge_kw: float) -> float:
    """What an act and all behind it cost, whatever came before being told to a plan made anew; no negative prices."""
    later, billed_eur = handed_on(asked, plan, position, charge_kw, discharge_kw)
    row = plan.table.iloc[position]
    drawn_kw = row["load_kw"] - asked.given["pv"].iloc[position] + charge_kw - discharge_kw
    buy, sell = asked.given["import_price"].iloc[position], asked.given["export_price"].iloc[position]
    if asked.site.pv.curtailable and drawn_kw < 0 and sell < 0:
        sell = 0.0 if -drawn_kw <= asked.given["pv"].iloc[position] else sell
    eur = buy * max(0.0, drawn_kw) - sell * max(0.0, -drawn_kw) + asked.site.battery.wear_eur_per_kwh * discharge_kw
    soc = later.given["initial_soc"]
    if position + 1 < len(plan.table):
        following = later.plan("lp")
        eur, soc = eur + following.cost_eur, float(following.table["soc"].iloc[-1])
    return billed_eur + eur - worth_eur(asked, soc)


@pytest.mark.parametrize("coupled", COUPLED)
@pytest.mark.parametrize("seed", [1, 2, 4])
def test_the_next_best_act_reckons_with_what_ties_intervals(ask, coupled, seed):
    asked = random_day(ask, seed, **COUPLED[coupled])
    plan = asked.plan()
    told = 0
    for position in range(len(plan.table)):
        best = next_best(plan, position)
        if best is None:
            continue
        row = plan.table.iloc[position]
        own_eur = forced_on_eur(asked, plan, position, row["charge_kw"], row["discharge_kw"])
        other_eur = forced_on_eur(asked, plan, position, best.charge_kw, best.discharge_kw)
        assert best.extra_eur == pytest.approx(other_eur - own_eur, abs=1e-6), position
        told += 1
    assert told >= 9


def test_the_act_that_the_cells_bound_is_as_hard_as_they_take(ask):
    """From half full: 5 kW less 9 kW per unit of what is stored at the end, of 10 kWh: c = 5 - 0.9 c."""
    cells = {"max_charge_kw": 5, "max_discharge_kw": 5, "charge_kw_at_soc": ((0.5, 5.0), (1.0, 0.5))}
    asked = ask(import_price=[0.9, 0.1, 0.5], load=[0.0, 0.0, 9.0], initial_soc=0.5, battery=cells)
    plan = asked.but(max_discharge_kw=[0.0, 5.0, 5.0]).plan()
    assert next_best(plan, 0).charge_kw == pytest.approx(5 / 1.9, abs=1e-6)


def test_scarce_cycles_are_worth_more_than_the_price_of_the_store(ask):
    """4 of 10 kWh may be taken: at 0.5, not at 0.3, though energy left in store is worth nothing."""
    plan = ask(import_price=[0.3, 0.5], load=4.0, initial_soc=1.0, strategy=Strategy(cycles_per_day=0.4)).plan()
    said = plan.explain(plan.table.index[0])
    assert "Next best: discharge with 4.00 kW, at 0.8000 EUR more." in said
    assert "discharging above" not in said


def test_what_could_not_be_proved_in_a_readers_time_is_told(ask, monkeypatch):
    monkeypatch.setattr("engine.alternatives.READER_WAITS_S", 1e-6)
    monkeypatch.setattr("engine.alternatives.TIMES_THE_PLAN", 0.0)
    plan = ask(import_price=[0.1, 0.2, 0.5], load=[0.0, 0.0, 4.0], **COUPLED["steps"]).plan()
    assert "What another act would cost was not found: solver: HiGHS ended with 'Time limit" in plan.explain(
        plan.table.index[0]
    )


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
