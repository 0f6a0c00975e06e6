"""Whole years by the hour: 8,760 intervals with peaks billed by the month, and with hundreds of negative hours.

What takes minutes runs a quarter as a rule and the year with `--year`.
"""

from __future__ import annotations

import itertools
from typing import Any

import highspy
import numpy as np
import pandas as pd
import pytest

from engine import Battery, DemandCharge, Plan, Site, Strategy, optimise

OSLO = "Europe/Oslo"
YEAR_H = 8760
# January to March, with the hour that the clocks skip.
QUARTER_H = 90 * 24 - 1
SAME = 1e-8

quarter_or_year = pytest.mark.parametrize(
    "hours", [pytest.param(QUARTER_H, id="quarter"), pytest.param(YEAR_H, id="year")]
)


@pytest.fixture(autouse=True)
def _year_on_request(request: pytest.FixtureRequest) -> None:
    slow = "norwegian" in request.node.name and "year" in request.node.callspec.id
    if slow and not request.config.getoption("--year"):
        pytest.skip("asked for with --year")


def seasons(hours: int, seed: int = 0) -> dict[str, pd.Series]:
    """A local year's hourly prices and loads: two price hills a day, solar noons below zero, autocorrelated noise."""
    rng = np.random.default_rng(seed)
    index = pd.date_range("2025-12-31T23:00Z", periods=hours, freq="h")
    hour, day = index.tz_convert(OSLO).hour.to_numpy(), np.arange(hours) / 24
    winter = np.cos(2 * np.pi * day / 365)
    noise = np.array(list(itertools.accumulate(rng.normal(0, 0.015, hours), lambda before, new: 0.9 * before + new)))
    sun = np.clip(np.sin((hour - 6) / 12 * np.pi), 0, None) * ((hour >= 6) & (hour <= 18)) * (0.35 - 0.3 * winter)
    price = 0.09 + 0.03 * winter + 0.03 * np.sin((hour - 4) / 6 * np.pi) - 0.12 * sun + noise
    evening = 1.2 * ((hour >= 17) & (hour <= 21)) * rng.random(hours)
    load = np.maximum(0.2, 1 + 0.8 * winter + evening + 2.4 * rng.random(hours) ** 4)
    return {
        "import_price": pd.Series(price + 0.05, index),
        "export_price": pd.Series(price, index),
        "load": pd.Series(load, index),
    }


def yearly(capacity_kwh: float, power_kw: float) -> Site:
    battery = Battery(
        capacity_kwh=capacity_kwh,
        max_charge_kw=power_kw,
        max_discharge_kw=power_kw,
        charge_efficiency=0.95,
        discharge_efficiency=0.93,
        min_soc=0.1,
        wear_eur_per_kwh=0.01,
    )
    return Site(battery=battery, timezone=OSLO)


class Reference:
    """A year's program from the mathematics, by columns and rows, with binaries for both directions where asked for.

    Variables per hour: charge, discharge, import, export, store; then what a test adds.
    """

    KINDS = ("charge", "discharge", "import", "export", "store")

    def __init__(self, site: Site, asked: dict[str, Any], binary: np.ndarray) -> None:
        battery, count = site.battery, len(asked["load"])
        self._count = count
        self._low: list[float] = []
        self._high: list[float] = []
        self._eur: list[float] = []
        self._whole: list[int] = []
        self._rows: list[tuple[float, float, list[int], list[float]]] = []
        load = asked["load"].to_numpy()
        buy, sell = asked["import_price"].to_numpy(), asked["export_price"].to_numpy()
        most, full = battery.max_charge_kw, battery.capacity_kwh
        self.at = {
            "charge": self.columns(0, most, np.zeros(count)),
            "discharge": self.columns(0, most, np.full(count, battery.wear_eur_per_kwh)),
            "import": self.columns(0, load + most, buy),
            "export": self.columns(0, most, -sell),
            "store": self.columns(battery.min_soc * full, battery.max_soc * full, np.zeros(count)),
        }
        self._high[self.at["store"][-1]] = full
        self._low[self.at["store"][-1]] = asked["final_soc_min"] * full
        for t in range(count):
            charge, discharge, bought, sold, store = (int(self.at[kind][t]) for kind in self.KINDS)
            self.row(load[t], load[t], [bought, discharge, charge, sold], [1, 1, -1, -1])
            eta_c, eta_d = battery.charge_efficiency, 1 / battery.discharge_efficiency
            if t == 0:
                start = asked["initial_soc"] * full
                self.row(start, start, [store, charge, discharge], [1, -eta_c, eta_d])
            else:
                self.row(0, 0, [store, store - 1, charge, discharge], [1, -1, -eta_c, eta_d])
            if binary[t]:
                charging, buying = self.columns(0, 1, np.zeros(2), whole=True)
                self.row(-np.inf, 0, [charge, charging], [1, -most])
                self.row(-np.inf, most, [discharge, charging], [1, most])
                self.row(-np.inf, 0, [bought, buying], [1, -(load[t] + most)])
                self.row(-np.inf, most, [sold, buying], [1, most])

    def columns(self, low: Any, high: Any, eur: Any, *, whole: bool = False) -> np.ndarray:
        """Add variables; returns their numbers."""
        eur = np.atleast_1d(eur)
        numbers = np.arange(len(self._eur), len(self._eur) + len(eur))
        self._eur += eur.tolist()
        self._low += (np.zeros(len(eur)) + low).tolist()
        self._high += (np.zeros(len(eur)) + high).tolist()
        self._whole += numbers.tolist() if whole else []
        return numbers

    def row(self, low: float, high: float, columns: list[int], values: list[float]) -> None:
        self._rows.append((low, high, columns, values))

    def least_eur(self) -> float:
        """The proved optimum."""
        lp = highspy.HighsLp()
        lp.num_col_, lp.num_row_ = len(self._eur), len(self._rows)
        lp.col_cost_, lp.col_lower_, lp.col_upper_ = map(np.array, (self._eur, self._low, self._high))
        lp.row_lower_ = np.array([row[0] for row in self._rows])
        lp.row_upper_ = np.array([row[1] for row in self._rows])
        lp.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
        lp.a_matrix_.start_ = np.cumsum([0, *(len(row[2]) for row in self._rows)])
        lp.a_matrix_.index_ = np.array([column for row in self._rows for column in row[2]])
        lp.a_matrix_.value_ = np.array([value for row in self._rows for value in row[3]], dtype=float)
        if self._whole:
            kinds = [highspy.HighsVarType.kContinuous] * len(self._eur)
            for column in self._whole:
                kinds[column] = highspy.HighsVarType.kInteger
            lp.integrality_ = kinds
        model = highspy.Highs()
        for option, value in {"output_flag": False, "mip_rel_gap": 0.0, "mip_abs_gap": 1e-6}.items():
            model.setOptionValue(option, value)
        model.passModel(lp)
        model.run()
        assert model.getModelStatus() == highspy.HighsModelStatus.kOptimal
        return float(model.getInfo().objective_function_value)


def months(index: pd.DatetimeIndex) -> dict[str, np.ndarray]:
    """Numbers of the intervals of each local month."""
    labels = index.tz_convert(OSLO).strftime("%Y-%m")
    return {label: np.flatnonzero(labels == label) for label in dict.fromkeys(labels)}


def never(asked: dict[str, Any]) -> np.ndarray:
    return np.zeros(len(asked["load"]), dtype=bool)


def test_twelve_monthly_demand_charges():
    """A firm with 200 kWh pays 8 EUR per kW of each month's peak: a linear program says how much less."""
    site = yearly(200, 100)
    asked = {**seasons(YEAR_H), "initial_soc": 0.5, "final_soc_min": 0.5}
    asked["load"] *= 40
    # Dear enough to buy that no hour rewards two directions at once, so that the reference needs no binaries.
    asked["export_price"] = asked["export_price"].clip(lower=0)
    asked["import_price"] = asked["import_price"].clip(lower=0.01)
    plan = optimise(site, **asked, demand_charges=[DemandCharge(eur_per_kw=8)])
    reference = Reference(site, asked, never(asked))
    in_month = months(plan.table.index)
    assert len(in_month) == 12
    for numbers in in_month.values():
        peak = int(reference.columns(0, np.inf, 8.0)[0])
        for t in numbers:
            reference.row(-np.inf, 0, [int(reference.at["import"][t]), peak], [1, -1])
    assert plan.cost_eur == pytest.approx(reference.least_eur(), rel=SAME)
    billed = sum(8 * plan.table["import_kw"].to_numpy()[numbers].max() for numbers in in_month.values())
    assert plan.breakdown.demand_eur == pytest.approx(billed)
    assert billed < 0.95 * 8 * sum(asked["load"].to_numpy()[numbers].max() for numbers in in_month.values())


STEPS = ((2.0, 13.0), (5.0, 21.0), (10.0, 35.0), (15.0, 50.0), (None, 70.0))


def norwegian_fee_eur(import_kw: pd.Series) -> float:
    """Per local month a fee by steps on the mean of the three largest daily peaks, above that of no import."""
    daily = import_kw.tz_convert(OSLO).groupby(lambda time: time.date()).max()
    by_month = daily.groupby(lambda day: (day.year, day.month))
    total = 0.0
    for _, peaks in by_month:
        mean_kw = peaks.nlargest(3).sum() / 3
        total += next(eur for top, eur in STEPS if top is None or mean_kw <= top + 1e-6) - STEPS[0][1]
    return total


@pytest.mark.timeout(1200)
@quarter_or_year
def test_the_norwegian_fee_on_three_daily_peaks_of_each_month(hours):
    """Where the fee falls by a step, the peaks are cut; the plan is the cheapest of all choices of steps."""
    site = yearly(10, 5)
    asked = {**seasons(hours), "initial_soc": 0.5, "final_soc_min": 0.5}
    asked["load"] *= 1.5
    asked["export_price"] = asked["export_price"].clip(lower=0)
    asked["import_price"] = asked["import_price"].clip(lower=0.01)
    charge = DemandCharge(steps_eur=STEPS, largest_daily_peaks=3)
    plan = optimise(site, **asked, demand_charges=[charge], time_limit_s=600)
    assert plan.breakdown.demand_eur == pytest.approx(norwegian_fee_eur(plan.table["import_kw"]), abs=1e-6)

    reference = Reference(site, asked, never(asked))
    local_day = plan.table.index.tz_convert(OSLO).strftime("%Y-%m-%d")
    for numbers in months(plan.table.index).values():
        peaks = {day: int(reference.columns(0, np.inf, 0.0)[0]) for day in dict.fromkeys(local_day[numbers])}
        for t in numbers:
            reference.row(-np.inf, 0, [int(reference.at["import"][t]), peaks[local_day[t]]], [1, -1])
        # The three largest sum to the least over q of 3 q + what exceeds q.
        q = int(reference.columns(0, np.inf, 0.0)[0])
        above = reference.columns(0, np.inf, np.zeros(len(peaks))).tolist()
        for number, peak in zip(above, peaks.values(), strict=True):
            reference.row(0, np.inf, [number, q, peak], [1, 1, -1])
        chosen = reference.columns(0, 1, [eur - STEPS[0][1] for _, eur in STEPS], whole=True).tolist()
        tops = [100.0 if top is None else top for top, _ in STEPS]
        reference.row(1, 1, chosen, [1.0] * len(chosen))
        reference.row(-np.inf, 0, [q, *above, *chosen], [1.0, *[1 / 3] * len(above), *[-top for top in tops]])
    assert plan.cost_eur == pytest.approx(reference.least_eur(), rel=1e-7)
    without = optimise(site, **asked)
    assert plan.cost_eur < without.cost_eur + norwegian_fee_eur(without.table["import_kw"]) - 5


@pytest.fixture(scope="module")
def negative_year() -> tuple[Site, dict[str, Any], Plan]:
    """2 MWh behind 1 MW, alone at the meter, in a year with hundreds of hours below zero."""
    site = yearly(2000, 1000)
    asked = {**seasons(YEAR_H), "initial_soc": 0.5, "final_soc_min": 0.5}
    asked["load"] *= 0
    asked["export_price"] -= 0.02
    asked["import_price"] = asked["export_price"] + 0.001
    return site, asked, optimise(site, **asked, solver="dp")


def test_two_megawatt_hours_over_a_year_with_negative_hours_equal_the_full_mixed_integer_program(negative_year):
    site, asked, plan = negative_year
    negative = (asked["export_price"] < 0).to_numpy()
    assert 500 < negative.sum() < 3000
    least = Reference(site, asked, ~never(asked)).least_eur()
    assert plan.cost_eur == pytest.approx(least, rel=SAME)
    # Without binaries the battery would be paid for burning energy: the comparison sees that.
    assert Reference(site, asked, never(asked)).least_eur() < least - 10


def test_both_solvers_agree_on_a_year_with_negative_hours(negative_year):
    site, asked, plan = negative_year
    reference = optimise(site, **asked, solver="lp", time_limit_s=300)
    assert reference.solver.startswith("HiGHS MILP")
    assert plan.cost_eur == pytest.approx(reference.cost_eur, rel=SAME)


def test_a_years_cycles_are_budgeted_where_the_spreads_are_widest():
    """200 cycles in a year of more: the price of a cycle is found, and a linear program agrees."""
    site = yearly(10, 5)
    asked = {**seasons(YEAR_H), "initial_soc": 0.5, "final_soc_min": 0.5}
    asked["export_price"] = asked["export_price"].clip(lower=0)
    asked["import_price"] = asked["import_price"].clip(lower=0.01)
    free = optimise(site, **asked)
    plan = optimise(site, **asked, strategy=Strategy(cycles_per_year=150), solver="dp")
    taken_kwh = (plan.table["discharge_kw"].sum() / 0.93, free.table["discharge_kw"].sum() / 0.93)
    assert taken_kwh[0] == pytest.approx(1500)
    assert taken_kwh[1] > 1600
    reference = Reference(site, asked, never(asked))
    reference.row(-np.inf, 1500, reference.at["discharge"].tolist(), [1 / 0.93] * YEAR_H)
    assert plan.cost_eur == pytest.approx(reference.least_eur(), rel=SAME)
