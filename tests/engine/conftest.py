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

STEPS = ("15min", "30min", "60min")


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
        return (self.load.index[1] - self.load.index[0]) / pd.Timedelta(hours=1)

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
