"""What the store itself does: standing loss, and power that falls with the state of charge; hand-worked."""

from __future__ import annotations

import pytest

BOTH = pytest.mark.parametrize("solver", ["dp", "lp"])
ANY = pytest.mark.parametrize("solver", ["auto", "lp"])
KEPT = 0.95


@pytest.fixture
def leaky(ask):
    """5 % lost per hour, two hours to charge in, then 4 kWh of load at a dear price."""
    return ask(import_price=[0.1, 0.1, 0.5], load=[0.0, 0.0, 4.0], battery={"standing_loss_per_h": 0.05})


@BOTH
@pytest.mark.parametrize(
    ("first_price", "charge_kw"),
    [
        pytest.param(0.1, [0, 4 / KEPT, 0], id="the same price: later"),
        pytest.param(0.096, [0, 4 / KEPT, 0], id="4 % cheaper is not enough for 5 %"),
        pytest.param(0.094, [4 / KEPT**2, 0, 0], id="6 % cheaper is"),
    ],
)
def test_standing_loss_pays_for_later_charging(leaky, solver, first_price, charge_kw):
    plan = leaky.but(import_price=[first_price, 0.1, 0.5]).plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx(charge_kw)
    assert plan.cost_eur == pytest.approx(first_price * charge_kw[0] + 0.1 * charge_kw[1])


@BOTH
def test_without_loss_the_cheaper_hour_gets_it_however_early(leaky, solver):
    plan = leaky.but(import_price=[0.099, 0.1, 0.5], battery={"standing_loss_per_h": 0.0}).plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([4, 0, 0])
    assert leaky.rules_of(plan) >= {"physics"}


@BOTH
def test_an_idle_store_runs_down_by_its_loss_each_interval(ask, solver):
    asked = ask(import_price=0.1, intervals=4, step="15min", initial_soc=0.8, battery={"standing_loss_per_h": 0.05})
    idle = asked.but(max_discharge_kw=0.0, max_charge_kw=0.0).plan(solver)
    # Quarters of an hour: together 5 %.
    assert idle.table["soc"].tolist() == pytest.approx([0.8 * 0.95 ** (k / 4) for k in (1, 2, 3, 4)])
    assert asked.rules(asked.table().assign(soc=0.8)) == {"physics"}
    assert asked.rules(asked.table()) == set()


@BOTH
def test_a_store_is_kept_at_its_floor_against_its_loss_at_any_price(ask, solver):
    """10 % of 10 kWh loses 0.05 kWh an hour, which must be bought at 4 EUR/kWh and stored at 80 %."""
    asked = ask(
        import_price=4.0,
        intervals=3,
        initial_soc=0.1,
        battery={"standing_loss_per_h": 0.05, "min_soc": 0.1, "charge_efficiency": 0.8},
    )
    plan = asked.plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([0.05 / 0.8] * 3)
    assert plan.table["soc"].tolist() == pytest.approx([0.1] * 3)
    cut_off = asked.but(import_limit_kw=0.0).plan(solver)
    assert cut_off.table["soc"].tolist() == pytest.approx([0.1 * 0.95, 0.1 * 0.95**2, 0.1 * 0.95**3])
    assert {breach.limit for breach in cut_off.breaches} == {"min_soc"}


@ANY
def test_charging_tapers_towards_full(ask, solver):
    """From 5 kW at half to 1 kW at full. After c kWh from half: c = 5 - 0.8 c; then c = 5 - 0.8 (2.7778 + c)."""
    first = 5 / 1.8
    second = (5 - 0.8 * first) / 1.8
    asked = ask(
        import_price=[0.1, 0.1, 0.5],
        load=[0.0, 0.0, 10.0],
        initial_soc=0.5,
        battery={"charge_kw_at_soc": ((0.5, 5.0), (1.0, 1.0))},
    )
    plan = asked.plan(solver)
    assert plan.table["charge_kw"].tolist() == pytest.approx([first, second, 0])
    assert plan.table["discharge_kw"].iloc[2] == pytest.approx(5 + first + second)
    # A battery without the taper fills up in one hour.
    free = asked.but(battery={"charge_kw_at_soc": ()}).plan(solver)
    assert free.table["charge_kw"].sum() == pytest.approx(5)
    assert asked.rules_of(free) == {"power at soc"}


@ANY
def test_charging_below_the_taper_is_level(ask, solver):
    """Below 80 % the cells take 3 kW, less than the inverter's 10."""
    asked = ask(import_price=[0.1, 0.5], load=[0.0, 10.0], battery={"charge_kw_at_soc": ((0.8, 3.0), (1.0, 0.0))})
    assert asked.plan(solver).table["charge_kw"].tolist() == pytest.approx([3, 0])


@ANY
def test_discharging_tapers_towards_empty(ask, solver):
    """1 kW at empty, 6 kW at half. Half full: d = 1 + (5 - d), so 3; then 1 + (2 - d), so 1.5."""
    asked = ask(
        import_price=[0.5, 0.4],
        load=10.0,
        initial_soc=0.5,
        battery={"discharge_kw_at_soc": ((0.0, 1.0), (0.5, 6.0))},
    )
    plan = asked.plan(solver)
    assert plan.table["discharge_kw"].tolist() == pytest.approx([3, 1.5])
    free = asked.but(battery={"discharge_kw_at_soc": ()}).plan(solver)
    assert free.table["discharge_kw"].tolist() == pytest.approx([5, 0])
    assert asked.rules_of(free) == {"power at soc"}


@ANY
def test_energy_is_saved_for_power_in_the_dear_hour(ask, solver):
    """4 kW at 30 % and above, 1 kW at empty: who gives early is weaker later."""
    asked = ask(
        import_price=[0.1, 0.5],
        load=10.0,
        initial_soc=0.4,
        battery={"discharge_kw_at_soc": ((0.0, 1.0), (0.3, 4.0)), "max_charge_kw": 0},
    )
    plan = asked.plan(solver)
    # All in the dear hour: d = 1 + (4 - d), so 2.5; what is left, 1.5 kWh, is not worth moving forward,
    # because every kWh given before takes half a kW from the dear hour: 0.1 - 0.5 / 2 < 0.
    assert plan.table["discharge_kw"].tolist() == pytest.approx([0, 2.5], abs=1e-7)


@pytest.mark.parametrize("solver", ["dp", "lp"])
def test_a_taper_that_does_not_bind_stays_on_the_fast_path(ask, solver):
    asked = ask(import_price=[0.1, 0.5], load=[0.0, 2.0], battery={"charge_kw_at_soc": ((0.5, 5.0), (1.0, 1.0))})
    assert asked.plan(solver).table["charge_kw"].tolist() == pytest.approx([2, 0])
