"""Several futures at once: what is decided now is shared, what comes later follows the future, and risk has a price."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from engine import Battery, GridConnection, InputError, PvArray, Scenario, Site, optimise, optimise_scenarios
from engine.scenarios import conditional_value_at_risk

INDEX = pd.date_range("2026-02-03T00:00Z", periods=2, freq="60min")
SMALL = Site(battery=Battery(capacity_kwh=1, max_charge_kw=1, max_discharge_kw=1))


def future(probability: float, later_eur: float) -> Scenario:
    """A kWh is needed in the second hour; the first hour's price is known, the second's is not."""
    return Scenario(
        probability,
        import_price=pd.Series([0.2, later_eur], INDEX),
        export_price=pd.Series([0.0, 0.0], INDEX),
        load=pd.Series([0.0, 1.0], INDEX),
    )


def planned(dear: float, **options: float):
    return optimise_scenarios(SMALL, [future(dear, 0.6), future(1 - dear, 0.05)], initial_soc=0.0, **options)


def test_a_likely_dear_evening_is_charged_for():
    result = planned(dear=0.5)  # 0.2 now against 0.5 * 0.6 + 0.5 * 0.05 = 0.325 later
    assert result.now["charge_kw"].tolist() == pytest.approx([1.0])
    assert result.expected_eur == pytest.approx(0.2)


def test_an_unlikely_one_is_not():
    result = planned(dear=0.2)  # 0.2 now against 0.2 * 0.6 + 0.8 * 0.05 = 0.16 later
    assert result.now["charge_kw"].tolist() == pytest.approx([0.0])
    assert result.expected_eur == pytest.approx(0.16)
    assert result.cvar_eur == pytest.approx((0.1 * 0.6) / 0.1), "the worst tenth is the dear evening"


def test_minding_the_tail_charges_for_the_unlikely_one_too():
    result = planned(dear=0.2, cvar_weight=1.0, cvar_level=0.8)
    assert result.now["charge_kw"].tolist() == pytest.approx([1.0])
    assert (result.expected_eur, result.cvar_eur) == (pytest.approx(0.2), pytest.approx(0.2))


def test_between_the_two_the_weight_decides_where_they_break_even():
    # Waiting: (1 - w) * 0.16 + w * 0.6; charging: 0.2. They meet at w = 0.04 / 0.44.
    for weight, charged in ((0.08, 0.0), (0.10, 1.0)):
        result = planned(dear=0.2, cvar_weight=weight, cvar_level=0.8)
        assert result.now["charge_kw"].tolist() == pytest.approx([charged])


def random_futures(rng: np.random.Generator, site: Site, count: int, intervals: int) -> list[Scenario]:
    index = pd.date_range("2026-02-03T00:00Z", periods=intervals, freq="60min")
    shares = rng.dirichlet(np.ones(count))
    futures = []
    for share in shares:
        price = rng.uniform(-0.05 if rng.random() < 0.5 else 0.05, 0.5, intervals)
        load, pv = rng.uniform(0, 2, intervals), np.maximum(0, rng.normal(size=intervals)) * (site.pv is not None)
        columns = (price, price * 0.7 - 0.01, load, pv)
        futures.append(Scenario(float(share), *(pd.Series(values, index) for values in columns)))
    return futures


@pytest.mark.parametrize("seed", range(12))
def test_no_other_set_point_for_now_is_better(seed):
    """Fix the first hour's battery power on a grid, plan each future on its own behind it: none may beat the answer."""
    rng = np.random.default_rng(seed)
    site = Site(
        battery=Battery(
            capacity_kwh=3, max_charge_kw=2, max_discharge_kw=2, charge_efficiency=0.9, wear_eur_per_kwh=0.01
        ),
        grid=GridConnection(import_limit_kw=6, export_limit_kw=3),
        pv=PvArray(curtailable=True),
    )
    futures = random_futures(rng, site, 4, 6)
    weight, level, worth = float(rng.choice([0.0, 0.5, 1.0])), 0.7, 0.1
    result = optimise_scenarios(
        site,
        futures,
        initial_soc=0.5,
        terminal_value_eur_per_kwh=worth,
        first_stage="1h",
        cvar_weight=weight,
        cvar_level=level,
    )
    powers = {tuple(plan.table.iloc[0][["charge_kw", "discharge_kw"]].round(9)) for plan in result.plans}
    assert len(powers) == 1, "the first hour is the same in every future"
    answer = (1 - weight) * result.expected_eur + weight * result.cvar_eur
    probabilities = np.array([one.probability for one in futures])

    def outcomes(charge_kw: float, discharge_kw: float) -> np.ndarray:
        """Each future's best outcome behind a fixed first hour, by planning it with that hour's power forced."""
        costs = []
        for one in futures:
            soc = 0.5 + (charge_kw * 0.9 - discharge_kw) / 3
            draw = one.load.iloc[0] + charge_kw - discharge_kw
            pv = one.pv.iloc[0]
            sold, bought = one.export_price.iloc[0], one.import_price.iloc[0]
            # Curtailment is the hour's own: nothing, to zero export, or all, whichever is cheapest within the limits.
            nets = [draw - pv + cut for cut in (0.0, min(pv, max(0.0, pv - draw)), pv, max(0.0, pv - draw - 3))]
            now = min(bought * max(net, 0.0) - sold * max(-net, 0.0) for net in nets if -3 - 1e-9 <= net <= 6 + 1e-9)
            rest = {
                name: getattr(one, name).iloc[1:].asfreq("60min")
                for name in ("import_price", "export_price", "load", "pv")
            }
            later = optimise(site, **rest, initial_soc=soc, terminal_value_eur_per_kwh=worth)
            left = worth * float(later.table["soc"].iloc[-1]) * 3
            costs.append(now + 0.01 * discharge_kw + later.cost_eur - left)
        return np.array(costs)

    tried = [(kw, 0.0) for kw in np.linspace(0, 1.6, 9)] + [(0.0, kw) for kw in np.linspace(0.15, 1.5, 9)]
    values = []
    for charge_kw, discharge_kw in [*tried, next(iter(powers))]:
        costs = outcomes(charge_kw, discharge_kw)
        tail = conditional_value_at_risk(costs, probabilities, level)
        values.append((1 - weight) * float(probabilities @ costs) + weight * tail)
    assert min(values) >= answer - 1e-7
    assert values[-1] == pytest.approx(answer, abs=1e-6), "its own set-point comes to what it says"


def test_one_future_is_the_plan_itself(sample_case):
    asked = sample_case()
    one = Scenario(1.0, asked.import_price, asked.export_price, asked.load, asked.pv)
    result = optimise_scenarios(asked.site, [one], initial_soc=asked.initial_soc, final_soc_min=asked.final_soc_min)
    plan = asked.plan()
    assert result.plans[0].cost_eur == pytest.approx(plan.cost_eur, abs=1e-8)
    assert result.expected_eur == result.cvar_eur == pytest.approx(plan.cost_eur, abs=1e-8)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scenarios": []}, "scenarios: there are none"),
        (
            {"scenarios": [future(0.5, 0.1)]},
            r"scenarios.probability: they are \[0.5\]; give shares above 0",
        ),
        ({"cvar_weight": 1.5}, "cvar_weight: value 1.5 is outside 0..1"),
        ({"cvar_level": 1.0}, "cvar_level: value 1.0 is outside 0..1"),
        ({"first_stage": "90min"}, "first_stage: value 0 days 01:30:00 is no number of intervals of 60 min"),
        ({"first_stage": "soon"}, "first_stage: value 'soon' is no duration"),
    ],
)
def test_bad_input_is_refused(changes, message):
    asked = {"scenarios": [future(0.5, 0.1), future(0.5, 0.3)], "initial_soc": 0.0, **changes}
    with pytest.raises(InputError, match=message):
        optimise_scenarios(SMALL, **asked)


def test_futures_on_different_times_are_refused():
    other = Scenario(0.5, *(pd.Series([0.1, 0.1], INDEX + pd.Timedelta("1h")) for _ in range(2)))
    with pytest.raises(InputError, match=r"scenarios\[1\].index: it starts 2026-02-03T01:00:00\+00:00"):
        optimise_scenarios(SMALL, [future(0.5, 0.1), other], initial_soc=0.0)
