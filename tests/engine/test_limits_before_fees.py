"""No stepped fee, however high, buys a breach; what is money alone stays for sale."""

from __future__ import annotations

import numpy as np
import pytest

from engine import DemandCharge, Strategy, linear_program, optimise_fleet

FEES_EUR = (1.0, 100.0, 10_000.0)
HORIZONS = (4, 24, 96)
STEP_KW = 2.0
# What is asked for at the end is this much more than the cheaper step lets in.
MORE_KWH = 0.002


def plan_of(asked, way):
    if way != "fleet":
        return asked.plan(way)
    return optimise_fleet([asked.site], **asked.given, workers=1).plan(0)


EVERY_WAY = pytest.mark.parametrize("way", ["auto", "lp", "fleet"])
EVERY_FEE = pytest.mark.parametrize("fee_eur", FEES_EUR)
EVERY_HORIZON = pytest.mark.parametrize("intervals", HORIZONS)


def stepped(fee_eur):
    return DemandCharge(steps_eur=((STEP_KW, 0.0), (None, fee_eur)))


@pytest.fixture
def filling(ask):
    """1 kW of load and an empty store: the cheaper step leaves 1 kW, all the time, to fill it; prices hardly differ."""

    def build(intervals, *, fee_eur, more_kwh=MORE_KWH, **given):
        step_h = 0.25 if intervals == 96 else 1.0
        capacity_kwh = 2 * intervals * step_h
        return ask(
            import_price=0.2 + 0.001 * np.sin(np.arange(intervals)),
            export_price=0.05,
            load=1.0,
            step=f"{step_h * 60:g}min",
            battery={"capacity_kwh": capacity_kwh, "max_charge_kw": 10, "max_discharge_kw": 10},
            demand_charges=[stepped(fee_eur)],
            **{"final_soc_min": (intervals * step_h + more_kwh) / capacity_kwh, **given},
        )

    return build


def kwh_short(plan, soc):
    return max(0.0, soc - plan.table["soc"].iloc[-1]) * plan.site.battery.capacity_kwh


@EVERY_WAY
@EVERY_FEE
@EVERY_HORIZON
def test_the_final_state_of_charge_is_not_missed_to_save_a_fee(filling, way, fee_eur, intervals):
    asked = filling(intervals, fee_eur=fee_eur)
    plan = plan_of(asked, way)
    assert plan.breaches == ()
    assert kwh_short(plan, asked.given["final_soc_min"]) <= 1e-6
    # Once the fee is due, the peak is free: all is bought where it is cheapest.
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)
    assert plan.cost_eur == pytest.approx(asked.but(demand_charges=()).plan().cost_eur + fee_eur, rel=1e-9)


@EVERY_WAY
@EVERY_FEE
@EVERY_HORIZON
def test_without_a_conflict_the_step_is_kept(filling, monkeypatch, way, fee_eur, intervals):
    """What is asked for is just what the cheaper step lets in; and the linear program is solved once."""
    solved = []
    minimise = linear_program._Program.minimise
    monkeypatch.setattr(
        linear_program._Program, "minimise", lambda self, *terms: (solved.append(1), minimise(self, *terms))[1]
    )
    plan = plan_of(filling(intervals, fee_eur=fee_eur, more_kwh=0.0), way)
    assert plan.breaches == ()
    assert plan.breakdown.demand_eur == 0.0
    assert plan.table["import_kw"].to_numpy() == pytest.approx(np.full(intervals, STEP_KW), abs=1e-6)
    assert len(solved) == (way == "lp")


@EVERY_WAY
@EVERY_FEE
def test_what_no_plan_can_keep_is_missed_as_little_as_possible(filling, way, fee_eur):
    """Four hours at 10 kW are all there is; the end asks for 2 Wh more."""
    asked = filling(4, fee_eur=fee_eur).but(battery={"capacity_kwh": 50}, final_soc_min=(40 + MORE_KWH) / 50)
    plan = plan_of(asked, way)
    assert kwh_short(plan, asked.given["final_soc_min"]) == pytest.approx(MORE_KWH, abs=1e-6)
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)


@EVERY_WAY
def test_a_breach_that_every_plan_has_leaves_the_cheaper_step_for_the_rest(filling, way):
    """The sun's 3 kW exceed the export limit whatever is done; the peak need not exceed its step for that."""
    asked = filling(4, fee_eur=100.0, final_soc_min=None).but(
        battery={"max_charge_kw": 1}, pv=[4.0, 0.0, 0.0, 0.0], export_limit_kw=[1.0, 9.0, 9.0, 9.0]
    )
    plan = plan_of(asked, way)
    assert [(breach.limit, breach.value) for breach in plan.breaches] == [("export_limit_kw", pytest.approx(2.0))]
    assert plan.breakdown.demand_eur == 0.0


@EVERY_WAY
@EVERY_FEE
def test_a_reserve_is_a_limit_unless_it_has_a_price(filling, way, fee_eur):
    """In the last hour the reserve asks for more than the cheaper step lets in."""
    end = filling(4, fee_eur=fee_eur).given["final_soc_min"]
    asked = filling(4, fee_eur=fee_eur, final_soc_min=None, reserve_soc=[0.0, 0.0, 0.0, end])
    assert plan_of(asked, way).breakdown.demand_eur == pytest.approx(fee_eur)
    priced = asked.but(strategy=Strategy(reserve_breach_price=5.0))
    plan = plan_of(priced, way)
    assert plan.breakdown.demand_eur == 0.0
    assert kwh_short(plan, end) == pytest.approx(MORE_KWH, abs=1e-6)


@pytest.mark.parametrize("way", ["auto", "lp"])
@EVERY_FEE
def test_a_cycle_budget_is_not_exceeded_to_save_a_fee(ask, way, fee_eur):
    """To come down to the step takes 2 kWh from the store; 2 Wh of them are beyond the budget."""
    asked = ask(
        import_price=[0.3, 0.2, 0.3],
        load=[1.0, 4.0, 1.0],
        initial_soc=0.5,
        battery={"max_charge_kw": 0},
        strategy=Strategy(cycles_per_day=0.2 - MORE_KWH / 10),
        demand_charges=[stepped(fee_eur)],
    )
    plan = asked.plan(way)
    assert plan.breaches == ()
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)


@pytest.mark.parametrize("way", ["auto", "lp"])
@EVERY_FEE
def test_directions_that_need_binaries_keep_limits_first_too(filling, way, fee_eur):
    """At negative prices the relaxation would burn energy, so directions are searched for as well."""
    asked = filling(24, fee_eur=fee_eur).but(import_price=-0.1, export_price=-0.2)
    plan = asked.plan(way)
    assert plan.breaches == ()
    assert plan.breakdown.demand_eur == pytest.approx(fee_eur)
    assert plan.cost_eur == pytest.approx(asked.but(demand_charges=()).plan().cost_eur + fee_eur, rel=1e-9)
