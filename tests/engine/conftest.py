"""Builders that the engine's tests share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from console.sample import DEFAULT_DAY, sample_series, sample_site
from engine import Battery, GridConnection, Plan, PvArray, Site, checker, optimise
from engine.problem import BAND_PRIORITY, LIMIT_PRIORITY

STEPS = ("15min", "30min", "60min")
EVERY_STEP = ("5min", *STEPS)
PRICES = ("ordinary", "-500 to 4000 EUR/MWh", "few different")


@dataclass(frozen=True)
class Case:
    """One site, its series and its states: everything that `optimise` is asked with."""

    site: Site
    import_price: pd.Series
    export_price: pd.Series
    load: pd.Series
    pv: pd.Series
    initial_soc: float = 0.5
    final_soc_min: float | None = None
    terminal_value: float | None = None

    @property
    def step_h(self) -> float:
        index = self.load.index
        step = index[1] - index[0] if len(index) > 1 else pd.Timedelta(index.freq)
        return step / pd.Timedelta(hours=1)

    def but(self, **changes: Any) -> Case:
        return replace(self, **changes)

    def judged_inputs(self) -> dict[str, Any]:
        names = ("import_price", "export_price", "load", "pv", "initial_soc", "final_soc_min")
        return {name: getattr(self, name) for name in names}

    def inputs(self) -> dict[str, Any]:
        return {**self.judged_inputs(), "terminal_value_eur_per_kwh": self.terminal_value}

    def plan(self, solver: Any = "auto", **more: Any) -> Plan:
        return optimise(self.site, **self.inputs(), solver=solver, **more)

    def objective_eur(self, plan: Plan) -> float:
        """What the plan minimises: its cost less the worth of what it leaves in store."""
        left_kwh = float(plan.table["soc"].iloc[-1]) * self.site.battery.capacity_kwh
        return plan.cost_eur - (self.terminal_value or 0.0) * left_kwh

    def breach_eur(self, plan: Plan) -> float:
        """What the breaches of the plan weigh in what the solvers minimise."""
        h, capacity_kwh = self.step_h, self.site.battery.capacity_kwh
        weight_kwh = {
            "import_limit_kw": LIMIT_PRIORITY * h,
            "export_limit_kw": LIMIT_PRIORITY * h,
            "min_soc": BAND_PRIORITY * capacity_kwh,
            "max_soc": BAND_PRIORITY * capacity_kwh,
            "final_soc_min": capacity_kwh,
        }
        weighed_kwh = sum(weight_kwh[breach.limit] * abs(breach.value - breach.bound) for breach in plan.breaches)
        return plan.problem.breach_price_eur_per_kwh * weighed_kwh

    def turnover_eur(self, plan: Plan) -> float:
        """All the money that the plan moves, whichever way, and its breaches: what rounding is relative to."""
        table, battery = plan.table, self.site.battery
        moved = table["import_kw"] * self.import_price.abs() + table["export_kw"] * self.export_price.abs()
        worn = table["discharge_kw"] * battery.wear_eur_per_kwh
        left_eur = abs((self.terminal_value or 0.0) * table["soc"].iloc[-1] * battery.capacity_kwh)
        return float((moved + worn).sum()) * self.step_h + left_eur + self.breach_eur(plan)

    def disagreement(self, plan: Plan, reference: Plan) -> float:
        """Difference of what two plans minimise, breaches included, relative to the money turned over."""
        difference = (
            self.objective_eur(plan)
            + self.breach_eur(plan)
            - self.objective_eur(reference)
            - self.breach_eur(reference)
        )
        return abs(difference) / max(1.0, self.turnover_eur(reference))

    def faults(self, table: pd.DataFrame, cost_eur: float) -> tuple[checker.Fault, ...]:
        return checker.check(self.site, table, cost_eur, **self.judged_inputs())


def _build_case(
    site: Site,
    *,
    import_price: Any,
    export_price: Any,
    load: Any = 0.0,
    pv: Any = 0.0,
    intervals: int | None = None,
    step: str = "15min",
    **states: Any,
) -> Case:
    given = (import_price, export_price, load, pv)
    length = intervals or max(np.size(values) for values in given)
    index = pd.date_range("2026-02-03T00:00Z", periods=length, freq=step)
    columns = [pd.Series(values, index, dtype=float) for values in given]
    return Case(site, *columns, **states)


def _random_site(rng: np.random.Generator) -> Site:
    def one_of(*values: float | None) -> Any:
        return values[int(rng.integers(len(values)))]

    return Site(
        battery=Battery(
            capacity_kwh=float(rng.uniform(2, 12)),
            max_charge_kw=one_of(0.0, 3.0, 5.0),
            max_discharge_kw=one_of(0.0, 2.0, 5.0),
            charge_efficiency=one_of(1.0, 0.95, 0.8, 0.6),
            discharge_efficiency=one_of(1.0, 0.93),
            min_soc=one_of(0.0, 0.1),
            max_soc=one_of(0.9, 1.0),
            wear_eur_per_kwh=one_of(0.0, 0.02, 0.1),
        ),
        grid=GridConnection(import_limit_kw=one_of(None, 4.0, 17.0), export_limit_kw=one_of(None, 0.0, 1.0, 3.0, 10.0)),
        pv=PvArray(curtailable=bool(rng.integers(2))),
    )


def _random_prices(rng: np.random.Generator, intervals: int) -> tuple[Any, Any]:
    level, spread = rng.choice([0.25, 0.05, 0.0], p=[0.5, 0.4, 0.1]), rng.choice([0.0, 0.02, 0.1, 0.3])
    bought = level + spread * rng.normal(size=intervals)
    sold = (
        bought * 0.3,
        bought - rng.uniform(0, 0.2),
        bought + rng.normal(size=intervals) * 0.05,
        np.full(intervals, rng.choice([0.0, 0.08])),
        bought,
    )[int(rng.integers(5))]
    return bought, sold


def _random_case(seed: int, intervals: int) -> Case:
    """A small problem: any tariff, zero ratings and limits included, with the battery inside its band."""
    rng = np.random.default_rng(seed)
    site = _random_site(rng)
    bought, sold = _random_prices(rng, intervals)
    return _build_case(
        site,
        import_price=bought,
        export_price=sold,
        load=rng.uniform(0, 3, intervals) * rng.integers(2),
        pv=np.maximum(0, rng.normal(size=intervals) * 3) * rng.integers(2),
        step=str(rng.choice(STEPS)),
        initial_soc=float(rng.uniform(0.1, 0.9)),
        final_soc_min=None if rng.integers(2) else 0.3,
        terminal_value=(None, 0.2, -0.2)[int(rng.integers(3))],
    )


def _harsh_case(
    rng: np.random.Generator, intervals: int, *, step: str | None = None, prices: str | None = None
) -> Case:
    """A problem as hard as input may be.

    SOC from -5 to 105 %, prices from -0.5 to 4 EUR/kWh, export above import, load above the fuse, sun above the export
    limit, limits and ratings of zero, any efficiency from 0.5 up, final states out of reach, worth of either sign.
    """

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def between(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    prices = prices or str(rng.choice(PRICES))
    bought = one_of(0.25, 0.05, 0.0) + one_of(0.02, 0.1, 0.3) * rng.normal(size=intervals)
    if prices == "-500 to 4000 EUR/MWh":
        bought = rng.uniform(-0.5, 4.0, intervals)
    bought = np.clip(np.round(bought, 1) if prices == "few different" else bought, -0.5, 4.0)
    sold = one_of(
        bought,
        bought * 0.3,
        bought - between(0.0, 0.2),
        bought + 0.05 * rng.normal(size=intervals),
        np.full(intervals, one_of(0.0, 0.08)),
        rng.uniform(-0.5, 4.0, intervals),
    )
    min_soc, max_soc = one_of(0.0, 0.1, between(0.0, 0.4)), one_of(1.0, 0.9, between(0.6, 1.0))
    site = Site(
        battery=Battery(
            capacity_kwh=between(2.0, 12.0),
            max_charge_kw=one_of(0.0, 1.0, 3.0, 5.0),
            max_discharge_kw=one_of(0.0, 1.0, 2.0, 5.0),
            charge_efficiency=one_of(1.0, 0.95, between(0.5, 1.0)),
            discharge_efficiency=one_of(1.0, 0.93, between(0.5, 1.0)),
            min_soc=min_soc,
            max_soc=max_soc,
            wear_eur_per_kwh=one_of(0.0, 0.02, between(0.0, 0.3)),
        ),
        grid=GridConnection(
            import_limit_kw=one_of(None, 0.0, between(0.1, 4.0), 17.0),
            export_limit_kw=one_of(None, 0.0, between(0.1, 4.0), 10.0),
        ),
        pv=PvArray(curtailable=one_of(True, False)),
    )
    inside, anywhere = between(min_soc, max_soc), between(-0.05, 1.05)
    return _build_case(
        site,
        import_price=bought,
        export_price=sold,
        load=rng.uniform(0, 3, intervals) * one_of(0, 1, 10),
        pv=np.maximum(0, rng.normal(size=intervals) * 3) * one_of(0, 1, 4),
        step=step or str(rng.choice(EVERY_STEP)),
        initial_soc=one_of(inside, inside, anywhere, min_soc, max_soc, -0.05, 1.05),
        final_soc_min=one_of(None, 0.0, min_soc, max_soc, between(0.0, max_soc)),
        terminal_value=one_of(None, between(0.0, 0.5), between(-0.5, 0.0), between(-4.0, 4.0)),
    )


@cache
def _sample_case(day: dt.date = DEFAULT_DAY) -> Case:
    series = sample_series(day)
    return Case(sample_site(), *(series[name] for name in series), initial_soc=0.5, final_soc_min=0.5)


@pytest.fixture(scope="session")
def case() -> Callable[..., Case]:
    """Build a case from plain numbers; a scalar stands for every interval."""
    return _build_case


@pytest.fixture(scope="session")
def random_case() -> Callable[[int, int], Case]:
    return _random_case


@pytest.fixture(scope="session")
def harsh_case() -> Callable[..., Case]:
    return _harsh_case


@pytest.fixture(scope="session")
def sample_case() -> Callable[..., Case]:
    """The sample home on one of its days, from half full to half full."""
    return _sample_case


@pytest.fixture(scope="session")
def sample_plan() -> Plan:
    return _sample_case().plan()


@pytest.fixture(scope="session")
def home() -> Site:
    """Round numbers: 10 kWh, 5 kW, 90 % each way, the whole band, no limit at the grid, no wear."""
    return Site(
        battery=Battery(
            capacity_kwh=10.0, max_charge_kw=5.0, max_discharge_kw=5.0, charge_efficiency=0.9, discharge_efficiency=0.9
        ),
        pv=PvArray(),
    )


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """Real data beyond the package, where a checkout has it beside itself."""
    root = Path(__file__).parents[2]
    folder = root.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no folder of real data at {folder}; the packaged sample is tested all the same")
    return folder
