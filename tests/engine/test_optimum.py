"""The plan is the cheapest one: held against a mixed-integer program that shares no code with the engine.

The oracle decides every direction of every interval by a binary, where the engine puts binaries only where its
relaxation could cheat; so it also judges that choice.
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highspy
import numpy as np
import pandas as pd
import pytest

from console.sample import sample_days
from engine import Battery, GridConnection, PvArray, Site, optimise
from engine.timeline import hold, local_day
from tests.engine.exact import exact_model

SAME_EUR = 1e-6
QUARTER_HOUR = pd.Timedelta(minutes=15)
NO_LIMIT = 1e4


def cheapest_eur(case: Any) -> float | None:
    """The least cost less the worth of the store, in kWh per interval; None where the limits cannot all be kept."""
    battery, grid, h = case.site.battery, case.site.grid, case.step_h
    model = exact_model()
    most_in, most_out = battery.max_charge_kw * h, battery.max_discharge_kw * h
    fuse = (NO_LIMIT if grid.import_limit_kw is None else grid.import_limit_kw) * h
    feed_in = (NO_LIMIT if grid.export_limit_kw is None else grid.export_limit_kw) * h
    stored: Any = case.initial_soc * battery.capacity_kwh
    cost: Any = 0.0
    for buy, sell, load_kw, sun_kw in zip(case.import_price, case.export_price, case.load, case.pv, strict=True):
        load, sun = load_kw * h, sun_kw * h
        # Never larger than what the interval can use, so that a binary's row is tight.
        most_bought, most_sold = min(fuse, load + most_in), min(feed_in, sun + most_out)
        charge, discharge = model.addVariable(0, most_in), model.addVariable(0, most_out)
        bought, sold = model.addVariable(0, most_bought), model.addVariable(0, most_sold)
        wasted = model.addVariable(0, sun if case.site.pv.curtailable else 0)
        charging, buying = model.addBinary(), model.addBinary()
        model.addConstr(charge <= most_in * charging)
        model.addConstr(discharge <= most_out * (1 - charging))
        model.addConstr(bought <= most_bought * buying)
        model.addConstr(sold <= most_sold * (1 - buying))
        model.addConstr(bought + sun - wasted + discharge == load + charge + sold)
        after = model.addVariable(battery.min_soc * battery.capacity_kwh, battery.max_soc * battery.capacity_kwh)
        gained = battery.charge_efficiency * charge - discharge * (1 / battery.discharge_efficiency)
        model.addConstr(after == stored + gained)
        cost = cost + buy * bought - sell * sold + battery.wear_eur_per_kwh * discharge
        stored = after
    if case.final_soc_min is not None:
        model.addConstr(stored >= case.final_soc_min * battery.capacity_kwh)
    model.minimize(cost - (case.terminal_value or 0.0) * stored)
    if model.getModelStatus() == highspy.HighsModelStatus.kInfeasible:
        return None
    assert model.getModelStatus() == highspy.HighsModelStatus.kOptimal
    return float(model.getInfo().objective_function_value)


def assert_cheapest(case: Any, solvers: tuple[str, ...] = ("dp", "lp")) -> str:
    """Plan, compare, and say which kind of comparison it was."""
    least_eur = cheapest_eur(case)
    for solver in solvers:
        plan = case.plan(solver)
        if least_eur is None:
            assert plan.breaches, f"no plan keeps every limit, yet none is reported as broken: {case}"
            continue
        assert plan.breaches == (), f"broken for no need: {plan.breaches[0]}: {case}"
        assert case.objective_eur(plan) == pytest.approx(least_eur, rel=1e-9, abs=SAME_EUR), f"{plan.why}: {case}"
    return "limits cannot be kept" if least_eur is None else plan.solver.split(" (")[0]


@pytest.mark.parametrize("batch", range(30))
def test_small_random_problems_are_solved_to_the_optimum(random_case, batch):
    kinds = Counter(assert_cheapest(random_case(1000 * batch + number, 12)) for number in range(20))
    # Else the batch proved nothing.
    assert kinds["HiGHS LP"] >= 3
    assert kinds["HiGHS MILP"] >= 1


def not_convex(case: Any) -> bool:
    """Whether using both directions at once may pay somewhere."""
    bought, sold = case.import_price, case.export_price
    return bool((sold > bought).any() or (bought < 0).any() or (sold < 0).any())


@pytest.mark.parametrize("batch", range(30))
def test_problems_that_are_not_convex_are_solved_to_the_optimum_without_binaries(harsh_case, batch):
    rng, compared, convex = np.random.default_rng(batch), 0, 0
    while compared < 20:
        case = harsh_case(rng, int(rng.integers(2, 25)))
        battery = case.site.battery
        case = case.but(initial_soc=min(battery.max_soc, max(battery.min_soc, case.initial_soc)))
        if not_convex(case) and assert_cheapest(case, ("dp",)) != "limits cannot be kept":
            compared += 1
            convex += case.plan("dp").why.startswith("every")
    assert convex < 12


@pytest.mark.parametrize("seed", range(20))
def test_random_days_are_solved_to_the_optimum(random_case, seed):
    assert_cheapest(random_case(100_000 + seed, 96))


@pytest.mark.parametrize("day", sample_days(), ids=str)
def test_every_real_day_of_the_sample_is_solved_to_the_optimum(sample_case, day):
    assert assert_cheapest(sample_case(day)) == "HiGHS LP"


def test_the_sample_has_a_day_of_23_hours(sample_case):
    assert Counter(len(sample_case(day).load) for day in sample_days()) == {96: 34, 92: 1}


def real_series(folder: Path, file: str, column: str, day: dt.date, zone: str) -> pd.Series:
    """One local day of a data file, in quarter-hours; a missing value stays missing and fails the test."""
    whole = pd.read_csv(folder / f"{file}.csv.gz", index_col="timestamp_utc", parse_dates=True)[column]
    quarters = local_day(day, zone, QUARTER_HOUR)
    hour_before = quarters[0] - pd.Timedelta(hours=1)
    return hold(whole.loc[hour_before : quarters[-1]], QUARTER_HOUR).reindex(quarters)


@dataclass(frozen=True)
class RealDay:
    """A price-day and a site-day; of different years, as only what the optimum is matters here."""

    prices: tuple[str, str, dt.date, str]
    house: tuple[str, dt.date]
    tax_eur_per_kwh: float = 0.0


NL = ("prices_nl_2019_2022", "price_nl_eur_per_mwh")
BE = ("prices_be_da_imbalance_15min_2024", "price_be_imbalance_eur_per_mwh")
DK = ("prices_dk1_2021_2022", "price_dk1_eur_per_mwh")
FONTANA = "site_us_fontana_{}_load_pv_2016_2017"
REAL_DAYS = {
    "Dutch noon at -222 EUR/MWh": RealDay(
        (*NL, dt.date(2022, 4, 23), "Europe/Amsterdam"), (FONTANA.format("01"), dt.date(2017, 4, 23))
    ),
    "Dutch evening at 871 EUR/MWh with tax": RealDay(
        (*NL, dt.date(2022, 8, 30), "Europe/Amsterdam"), (FONTANA.format("01"), dt.date(2016, 8, 30)), 0.13
    ),
    "Belgian imbalance on a day of 25 hours": RealDay(
        (*BE, dt.date(2024, 10, 27), "Europe/Brussels"), (FONTANA.format("16"), dt.date(2016, 11, 6))
    ),
    "Danish noon at -44 EUR/MWh": RealDay(
        (*DK, dt.date(2021, 5, 9), "Europe/Copenhagen"), (FONTANA.format("06"), dt.date(2017, 5, 9))
    ),
}


def real_case(folder: Path, sample: Any, real: RealDay) -> Any:
    spot = real_series(folder, *real.prices) / 1000
    file, day = real.house
    load, pv = (
        real_series(folder, file, column, day, "America/Los_Angeles").set_axis(spot.index)
        for column in ("load_kw", "pv_kw")
    )
    return sample.but(import_price=spot + real.tax_eur_per_kwh, export_price=spot - 0.01, load=load, pv=pv)


@pytest.mark.parametrize("name", REAL_DAYS)
def test_real_days_beyond_the_sample_are_solved_to_the_optimum(data_folder, sample_case, name):
    case = real_case(data_folder, sample_case(), REAL_DAYS[name])
    assert_cheapest(case)
    worn_for_free = case.site.battery.model_copy(update={"wear_eur_per_kwh": 0.0})
    curtailed = case.site.model_copy(update={"battery": worn_for_free, "pv": PvArray(curtailable=True)})
    kind = assert_cheapest(case.but(site=curtailed))
    assert kind == ("HiGHS LP" if REAL_DAYS[name].tax_eur_per_kwh else "HiGHS MILP")


def test_the_real_days_have_negative_prices_and_100_quarters(data_folder):
    prices = [real_series(data_folder, *real.prices) for real in REAL_DAYS.values()]
    assert sum(spot.min() < -40 for spot in prices) == 3
    assert sorted(len(spot) for spot in prices) == [96, 96, 96, 100]


def test_a_hand_worked_day_costs_what_it_should():
    """Fill at 0.10 as much as the dear hour can use, use it at 0.50: 5 kWh out takes 5 / 0.9 / 0.9 kWh in."""
    index = pd.date_range("2026-02-03T00:00Z", periods=3, freq="60min")
    site = Site(
        battery=Battery(
            capacity_kwh=20,
            max_charge_kw=10,
            max_discharge_kw=10,
            charge_efficiency=0.9,
            discharge_efficiency=0.9,
            wear_eur_per_kwh=0.03,
        ),
        grid=GridConnection(export_limit_kw=0),
    )
    plan = optimise(
        site,
        import_price=pd.Series([0.10, 0.20, 0.50], index),
        export_price=pd.Series(0.05, index),
        load=pd.Series([0.0, 0.0, 5.0], index),
        initial_soc=0.0,
    )
    assert plan.cost_eur == pytest.approx(5 / 0.81 * 0.10 + 5 * 0.03, abs=1e-9)
    assert plan.table["charge_kw"].tolist() == pytest.approx([5 / 0.81, 0, 0])
    assert plan.table["discharge_kw"].tolist() == pytest.approx([0, 0, 5])
