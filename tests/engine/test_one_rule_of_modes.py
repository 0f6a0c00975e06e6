"""Live control and backtests tell a battery the same: to follow the house, to rest, or a power."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine import Battery, DemandCharge, GridConnection, Plan, PvArray, Site, Strategy, optimise
from engine.backtesting.rolling import new_trace
from engine.intent import HABITS, IntentMode, intents_of
from engine.storage_dp import MOST_VALUE_PIECES, NO_STEERING, inverter_of, kernel_input
from engine.storage_kernels import Caps, House, Trace, roll
from tests.intents import DISCHARGE, FOLLOW, HOLD

MINUTES = 15
NO_CAPS = Caps(np.empty(0), 1, 0)


def rolled(plan: Plan) -> Trace:
    """The same decision by the backtest's kernel, carried out on the plan's own load and PV."""
    problem, trace = plan.problem, new_trace(plan.problem.intervals)
    stack, inverter = problem.stack, inverter_of(plan.site)
    house = House(*(np.repeat(power[:, np.newaxis], MINUTES, axis=1) for power in (problem.load_kw, problem.pv_kw)))
    stored = problem.initial_soc * problem.battery.capacity_kwh
    data, horizon = kernel_input(stack, NO_STEERING), problem.intervals
    how = (1, 0, horizon, house, inverter, HABITS, NO_CAPS, stored, np.empty(0))
    roll(data, stack.convex, *how, trace, MOST_VALUE_PIECES)
    return trace


@st.composite
def plans(draw: Any) -> Plan:
    """A site at any state of charge, with spiky loads, sun, prices that tie or fall below 0, and limits."""
    count = draw(st.integers(2, 10))
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    index = pd.date_range("2026-02-03T00:00Z", periods=count, freq="15min")
    min_soc, max_soc = draw(st.sampled_from([0.0, 0.1])), draw(st.sampled_from([0.9, 1.0]))
    battery = Battery(
        capacity_kwh=draw(st.sampled_from([0.5, 3.0])),
        max_charge_kw=draw(st.sampled_from([0.0, 2.5])),
        max_discharge_kw=draw(st.sampled_from([0.5, 3.0])),
        charge_efficiency=draw(st.sampled_from([0.9, 1.0])),
        discharge_efficiency=draw(st.sampled_from([0.93, 1.0])),
        min_soc=min_soc,
        max_soc=max_soc,
        wear_eur_per_kwh=draw(st.sampled_from([0.0, 0.02])),
        standing_loss_per_h=draw(st.sampled_from([0.0, 0.01])),
    )
    site = Site(
        battery=battery,
        grid=GridConnection(import_limit_kw=draw(st.sampled_from([None, 4.0])), export_limit_kw=draw(LIMIT)),
        pv=PvArray(curtailable=draw(st.booleans())),
    )
    spot = rng.choice([-0.1, 0.1, 0.2, 0.4], count) if draw(st.booleans()) else rng.uniform(-0.1, 0.5, count)
    spread = draw(st.sampled_from([0.0, 0.1]))
    reserve = draw(st.sampled_from([0.0, 0.4]))

    def series(values: Any) -> pd.Series:
        return pd.Series(values, index, dtype=float)

    return optimise(
        site,
        import_price=series(spot + spread),
        export_price=series(spot),
        load=series(rng.choice([0.0, 0.5, 2.0, 5.0], count)),
        pv=series(rng.choice([0.0, 0.0, 1.0, 4.0], count)),
        initial_soc=draw(st.sampled_from([min_soc, 0.3, 0.6, max_soc])),
        terminal_value_eur_per_kwh=draw(st.sampled_from([0.0, 0.15, 0.3])),
        strategy=Strategy(reserve_soc=reserve, grid_charging=draw(st.booleans())),
    )


LIMIT = st.sampled_from([None, 0.0, 2.0])


@settings(max_examples=200, deadline=None)
@given(plan=plans())
def test_a_plan_is_told_as_a_backtest_tells_it(plan: Plan) -> None:
    """At all prices, convex or not: mode, power and limit of every interval."""
    trace = rolled(plan)
    for t, intent in enumerate(intents_of(plan)):
        assert (intent.mode is FOLLOW) == trace.follows[t]
        if intent.has_set_point:
            assert intent.battery_kw == pytest.approx(trace.set_point_kw[t], abs=1e-9)
        limit_kw = intent.export_limit_kw
        assert (np.inf if limit_kw is None else limit_kw) == pytest.approx(
            np.inf if trace.export_limit_kw[t] > 1e9 else trace.export_limit_kw[t], abs=1e-3
        )


def told(case: Any, prices: Any, load: Any, pv: Any, soc: float, sold: Any = 0.01, **more: Any) -> list[IntentMode]:
    """Quarters of an hour: 4 kWh, 5 kW, no losses, nothing charged from the grid."""
    battery = Battery(capacity_kwh=4, max_charge_kw=5, max_discharge_kw=5, charge_efficiency=1, discharge_efficiency=1)
    site = Site(battery=battery, pv=PvArray(curtailable=True))
    terminal_value = more.pop("terminal_value", None)
    asked = {name: more.pop(name) for name in ("demand_charges", "max_discharge_kw") if name in more}
    strategy = Strategy(grid_charging=False, **more)
    given = {"import_price": prices, "export_price": sold, "load": load, "pv": pv, "initial_soc": soc}
    plan = case(site, **given, terminal_value=terminal_value).plan(strategy=strategy, **asked)
    return [intent.mode for intent in intents_of(plan)]


def test_an_empty_battery_is_released_where_waiting_does_not_pay_and_held_in_a_cheaper_hour(case: Any) -> None:
    """What it holds after all covers the dearest load that is left."""
    assert told(case, [0.5, 0.4, 0.3, 0.2], 3.0, 0.0, 0.0) == [FOLLOW] * 4
    assert told(case, [0.2, 0.3, 0.5, 0.4], 3.0, 0.0, 0.0) == [HOLD, HOLD, FOLLOW, FOLLOW]


def test_a_full_battery_is_released_where_sun_is_sold_cheapest_and_held_in_a_dearer_hour(case: Any) -> None:
    """What room it has after all takes the sun that earns least."""
    sunny: dict[str, Any] = {"load": 0.0, "pv": 3.0, "soc": 1.0, "terminal_value": 0.25, "battery_export": "never"}
    assert told(case, 0.3, sold=[0.05, 0.1, 0.15, 0.2], **sunny) == [FOLLOW] * 4
    assert told(case, 0.3, sold=[0.2, 0.15, 0.05, 0.1], **sunny) == [HOLD, HOLD, FOLLOW, FOLLOW]
    # Sun that would be curtailed costs nothing.
    assert told(case, 0.3, sold=[-0.1, 0.1, 0.1, 0.1], **sunny)[0] is FOLLOW


def test_a_reserve_is_not_spent_by_following(case: Any) -> None:
    assert told(case, [0.5, 0.4, 0.3, 0.2], 3.0, 0.0, 0.5, reserve_soc=0.5) == [HOLD] * 4


def test_a_battery_that_is_to_be_left_alone_is_held(case: Any) -> None:
    given: dict[str, Any] = {"prices": [0.5, 0.4, 0.3, 0.2], "load": 3.0, "pv": 0.0, "soc": 0.5}
    nothing = pd.Series(0.0, pd.date_range("2026-02-03T00:00Z", periods=4, freq="15min"))
    assert told(case, **given, max_discharge_kw=nothing) == [HOLD] * 4


def test_energy_that_a_peak_to_come_needs_is_not_spent_by_following(case: Any) -> None:
    """0.6 kWh for loads of 4 and 6 kW: under a charge on the peak each gets what holds both to 3.8 kW."""
    given: dict[str, Any] = {"prices": [0.3, 0.29, 0.1, 0.1], "load": [4.0, 6.0, 0.0, 0.0], "pv": 0.0, "soc": 0.15}
    assert told(case, **given)[0] is FOLLOW
    charge = DemandCharge(eur_per_kw=5.0)  # type: ignore[arg-type]
    assert told(case, **given, demand_charges=[charge])[:2] == [DISCHARGE, DISCHARGE]


def test_with_a_budget_of_cycles_prices_do_not_tell(case: Any) -> None:
    assert told(case, [0.5, 0.4, 0.3, 0.2], 3.0, 0.0, 0.0, cycles_per_day=1) == [HOLD] * 4


@pytest.mark.parametrize(
    ("dear", "mode"), [(0.35, FOLLOW), (0.45, DISCHARGE)], ids=["a little dearer later", "much dearer later"]
)
def test_part_of_a_load_is_covered_by_following_where_selling_loses_more_than_the_dear_hour(
    case: Any, dear: float, mode: IntentMode
) -> None:
    """Of 2 kWh the dear half hour takes 1.5; a kWh too many now costs the difference, one that is sold 0.09 EUR."""
    prices, load = np.array([0.3, dear, dear, 0.1]), np.full(4, 3.0)
    assert told(case, prices, load, 0.0, 0.5) == [mode, FOLLOW, FOLLOW, FOLLOW]
    # In an hour there is another plan to make up for it; later on in this one there is not.
    later = told(case, np.append(np.full(4, 0.1), prices), np.append(np.zeros(4), load), 0.0, 0.5)
    assert later[4:] == [DISCHARGE, FOLLOW, FOLLOW, FOLLOW]
