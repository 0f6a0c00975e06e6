"""What judges forecasters: rank, loss and money, each held against another way to work it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from engine import Battery, GridConnection, InputError, PvArray, Site, optimise
from engine.forecast import (
    Forecasts,
    Observed,
    PerfectForesight,
    Persistence,
    SimilarDay,
    Stakes,
    WithQuantiles,
    score,
)
from engine.forecast.score import kendall_tau, pinball_kw, regret_eur

SITE = Site(
    battery=Battery(
        capacity_kwh=6,
        max_charge_kw=3,
        max_discharge_kw=3,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        wear_eur_per_kwh=0.02,
    ),
    grid=GridConnection(import_limit_kw=20, export_limit_kw=20),
    pv=PvArray(curtailable=True),
)


@pytest.fixture(scope="module")
def stakes(house: Callable[..., Observed], array: Callable[..., Observed]) -> Stakes:
    """Prices with an evening, a noon below zero, and a fee between buying and selling."""
    index = house().index
    hour = index.hour.to_numpy()
    rng = np.random.default_rng(3)
    spot = 0.1 + 0.1 * np.exp(-((hour - 18) ** 2) / 8) - 0.16 * np.exp(-((hour - 12) ** 2) / 4)
    spot += rng.normal(0, 0.02, len(index))
    return Stakes(SITE, pd.Series(spot + 0.1, index), pd.Series(spot, index), other=array().values)


def test_tau_is_scipys() -> None:
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 9, (40, 30)) / 1.0, rng.normal(size=(40, 30))
    other[::2] += one[::2]
    one[5, 3:6], other[7, :10] = np.nan, np.nan
    theirs = []
    for a, b in zip(one, other, strict=True):
        there = ~np.isnan(a + b)
        theirs.append(scipy.stats.kendalltau(a[there], b[there]).statistic)
    assert kendall_tau(one, other) == pytest.approx(theirs, abs=1e-12)
    assert np.isnan(kendall_tau(np.ones((1, 5)), other[:1, :5])).all()


def test_pinball_is_least_at_the_quantile_itself() -> None:
    rng = np.random.default_rng(0)
    index = pd.date_range("2024-05-01", periods=1, freq="h", tz="UTC")
    truth = Forecasts(index, pd.Timedelta(hours=1), rng.gamma(2, 1, (1, 20_000)))
    at = [np.quantile(truth.mean, 0.9) + off for off in (-0.3, 0.0, 0.3)]
    losses = [
        float(pinball_kw(replace(truth, levels=(0.9,), quantiles=np.full((1, 1, 20_000), kw)), truth)[0]) for kw in at
    ]
    assert losses[1] == min(losses)
    by_hand = replace(truth, mean=np.array([[3.0]]), levels=(0.9,), quantiles=np.array([[[1.0]]]))
    assert pinball_kw(by_hand, replace(truth, mean=np.array([[3.0]])))[0] == pytest.approx(0.9 * 2)
    with pytest.raises(InputError, match="they have no quantiles"):
        pinball_kw(truth, truth)


def test_who_knows_the_truth_regrets_nothing_and_nobody_regrets_less(
    house: Callable[..., Observed], stakes: Stakes
) -> None:
    observed = house()
    decisions = observed.index[35 * 24 : -48 : 24]
    table = score(
        [PerfectForesight(), Persistence(), SimilarDay(), WithQuantiles(SimilarDay())], observed, decisions, 36, stakes
    )
    assert list(table.columns) == ["tau_day_1", "tau_day_2", "mae_kw", "regret_eur", "pinball_kw"]
    truth, persistence, similar, with_quantiles = table.itertuples()
    assert (truth.tau_day_1, truth.tau_day_2, truth.mae_kw, truth.regret_eur) == (pytest.approx(1), 1, 0, 0)
    assert 0 < similar.regret_eur < persistence.regret_eur
    assert similar.tau_day_1 > persistence.tau_day_1
    assert np.isnan(persistence.pinball_kw)
    assert with_quantiles.regret_eur == similar.regret_eur
    assert 0 < with_quantiles.pinball_kw < similar.mae_kw


@pytest.mark.parametrize("forecast_of", ["load", "pv"])
def test_regret_is_what_single_plans_come_to(
    house: Callable[..., Observed], array: Callable[..., Observed], stakes: Stakes, forecast_of: str
) -> None:
    load, pv = house(), array()
    of, other = (load, pv) if forecast_of == "load" else (pv, load)
    stakes = replace(stakes, forecast_of=forecast_of, other=other.values)
    decisions = of.index[60 * 24 : 60 * 24 + 6 * 24 : 24]
    told, truth = (f.forecast(of, decisions, 24) for f in (Persistence(), PerfectForesight()))
    regret = regret_eur(told, truth, stakes)
    assert (regret >= 0).all()
    for number, decision in enumerate(decisions):
        day = slice(decision, decision + pd.Timedelta(hours=23))
        given = {"import_price": stakes.import_price[day], "export_price": stakes.export_price[day]}
        ends = {"initial_soc": 0.5, "final_soc_min": 0.5}
        real = {"load": load.values[day], "pv": pv.values[day]}
        best = optimise(SITE, **given, **real, **ends)
        plan = optimise(SITE, **given, **(real | {forecast_of: told.row(number)}), **ends)
        # What comes true with the battery of the plan, curtailed as is best: a plan of a battery that has no choice.
        held = {
            "load": real["load"] + plan.table["charge_kw"],
            "pv": real["pv"] + plan.table["discharge_kw"] * (plan.table["discharge_kw"] > 0),
        }
        idle = Site(battery=SITE.battery.model_copy(update={"max_charge_kw": 0.0, "max_discharge_kw": 0.0}), pv=SITE.pv)
        carried = optimise(idle, **given, **held, initial_soc=0.5).cost_eur
        carried += 0.02 * plan.table["discharge_kw"].sum()
        assert regret[number] == pytest.approx(carried - best.cost_eur, abs=1e-6)


def test_what_is_missing_is_not_judged(house: Callable[..., Observed], stakes: Stakes) -> None:
    observed = house()
    values = observed.values.copy()
    values.iloc[60 * 24 + 5] = np.nan
    decisions = observed.index[59 * 24 : 62 * 24 : 24]
    told, truth = (
        f.forecast(replace(observed, values=values), decisions, 24) for f in (Persistence(), PerfectForesight())
    )
    assert list(np.isnan(regret_eur(told, truth, stakes))) == [False, True, False]
    assert np.isfinite(score([Persistence()], replace(observed, values=values), decisions, 24, stakes)).all(axis=None)


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        (lambda price: price.iloc[: 59 * 24 + 3], "import_price.index: it does not cover 24 intervals from 2024-03-31"),
        (lambda price: price.iloc[60 * 24 :], "import_price.index: it does not cover 24 intervals from 2024-03-31"),
        (lambda price: price.resample("30min").ffill(), "import_price.index: its step is not 0 days 01:00:00; hold"),
        (lambda price: price.tz_localize(None), "import_price.index: times have no zone"),
    ],
)
def test_prices_that_do_not_reach_are_refused(
    house: Callable[..., Observed], stakes: Stakes, wrong: Callable[[pd.Series], pd.Series], complaint: str
) -> None:
    decisions = house().index[59 * 24 :: 24][:1]
    with pytest.raises(InputError, match=complaint):
        score([Persistence()], house(), decisions, 24, replace(stakes, import_price=wrong(stakes.import_price)))
