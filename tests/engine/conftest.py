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
from engine import Battery, DemandCharge, GridConnection, Plan, PvArray, Site, Strategy, checker, optimise
from engine.plan import COLUMNS
from engine.request import Request

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
        price = plan.problem.breach
        weight_eur = {
            "import_limit_kw": price.limit * h,
            "export_limit_kw": price.limit * h,
            "min_soc": price.band * capacity_kwh,
            "max_soc": price.overfull * capacity_kwh,
            "final_soc_min": price.final * capacity_kwh,
        }
        return sum(weight_eur[breach.limit] * abs(breach.value - breach.bound) for breach in plan.breaches)

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
        return checker.check(self.site, table, cost_eur, Request(**self.judged_inputs()))


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


SERIES = (
    *("import_price", "export_price", "load", "pv", "reserve_soc", "carbon_kg_per_kwh"),
    *("import_limit_kw", "export_limit_kw", "max_charge_kw", "max_discharge_kw"),
    *("position_kw", "bid_price", "ask_price", "imbalance_price", "schedule_kw"),
)
BY_PRODUCT = ("balancing_price", "balancing_sold_kw")
STEERING_ONLY = ("terminal_value_eur_per_kwh", "reserve_soc", "carbon_kg_per_kwh")


@dataclass(frozen=True)
class Ask:
    """One site and all that `optimise` can be asked with, by its own names."""

    site: Site
    given: dict[str, Any]

    @property
    def index(self) -> pd.DatetimeIndex:
        return self.given["import_price"].index

    @property
    def step_h(self) -> float:
        return (self.index[1] - self.index[0]) / pd.Timedelta(hours=1)

    def but(self, **changes: Any) -> Ask:
        battery, site = changes.pop("battery", {}), self.site
        if battery:
            site = site.model_copy(update={"battery": Battery(**{**site.battery.model_dump(), **battery})})
        return Ask(site, {**self.given, **_on_index(self.index, changes)})

    def plan(self, solver: Any = "auto") -> Plan:
        return optimise(self.site, **self.given, solver=solver)

    def table(self, **decisions: Any) -> pd.DataFrame:
        """A table that is true to physics and prices whatever is decided."""
        table = pd.DataFrame(0.0, index=self.index.rename("start"), columns=list(COLUMNS))
        for name, values in decisions.items():
            table[name] = np.asarray(values, dtype=float) + np.zeros(len(table))
        table["load_kw"] = self.given["load"].to_numpy()
        table["pv_kw"] = self.given["pv"].to_numpy() - table["curtailment_kw"]
        drawn = table["load_kw"] - table["pv_kw"] + table["charge_kw"] - table["discharge_kw"]
        table["import_kw"], table["export_kw"] = drawn.clip(lower=0), (-drawn).clip(lower=0)
        battery, h, soc = self.site.battery, self.step_h, [self.given["initial_soc"]]
        for charge, discharge in zip(table["charge_kw"], table["discharge_kw"], strict=True):
            gained = charge * battery.charge_efficiency - discharge / battery.discharge_efficiency
            kept = (1 - battery.standing_loss_per_h) ** h
            soc.append(soc[-1] * kept + h * gained / battery.capacity_kwh)
        table["soc"] = soc[1:]
        bought = table["import_kw"] * self.given["import_price"].to_numpy()
        sold = table["export_kw"] * self.given["export_price"].to_numpy()
        table["cost_eur"] = h * (bought - sold + table["discharge_kw"] * battery.wear_eur_per_kwh)
        return table

    def rules(self, table: pd.DataFrame, cost_eur: float | None = None) -> set[str]:
        """What the checker finds wrong with a table when this was asked for."""
        judged = {name: value for name, value in self.given.items() if name not in STEERING_ONLY}
        cost = table["cost_eur"].sum() if cost_eur is None else cost_eur
        return {fault.rule for fault in checker.check(self.site, table, cost, Request(**judged))}

    def rules_of(self, plan: Plan) -> set[str]:
        """What the checker finds wrong with a plan that was made for something else."""
        return self.rules(plan.table, plan.cost_eur)


def _on_index(index: pd.DatetimeIndex, given: dict[str, Any]) -> dict[str, Any]:
    def laid_out(name: str, value: Any) -> Any:
        if name in SERIES and value is not None:
            return pd.Series(np.broadcast_to(np.asarray(value, dtype=float), len(index)).copy(), index)
        if name in BY_PRODUCT and value is not None:
            return {product: laid_out("load", own) for product, own in value.items()}
        return value

    return {name: laid_out(name, value) for name, value in given.items()}


def _build_ask(
    *,
    intervals: int | None = None,
    start: str = "2026-02-03T00:00Z",
    step: str = "60min",
    timezone: str = "UTC",
    battery: dict[str, Any] | None = None,
    grid: dict[str, Any] | None = None,
    curtailable: bool = False,
    local_control: bool = False,
    **given: Any,
) -> Ask:
    site = Site(
        battery=Battery(**{"capacity_kwh": 10, "max_charge_kw": 10, "max_discharge_kw": 10, **(battery or {})}),
        grid=GridConnection(**(grid or {})),
        pv=PvArray(curtailable=curtailable),
        timezone=timezone,
        local_control=local_control,
    )
    given = {"export_price": 0.0, "load": 0.0, "pv": 0.0, "initial_soc": 0.0, **given}
    length = intervals or max(np.size(value) for name, value in given.items() if name in SERIES)
    return Ask(site, _on_index(pd.date_range(start, periods=length, freq=step), given))


def _random_ask(seed: int, intervals: int, **fixed: Any) -> Ask:
    """A small problem over all features together; `fixed` fields of the strategy are not left to chance."""
    rng = np.random.default_rng([17, seed])

    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    def often(share: float) -> bool:
        return bool(rng.random() < share)

    bought = rng.uniform(0, 0.4, intervals) if often(0.6) else rng.uniform(-0.3, 0.4, intervals)
    if often(0.3):
        bought = np.round(bought, 1)
    sold = one_of(bought * 0.5, bought - 0.05, np.full(intervals, 0.05), bought + rng.normal(size=intervals) * 0.05)
    step = one_of("15min", "60min")
    battery = {
        "capacity_kwh": float(rng.uniform(3, 12)),
        "max_charge_kw": 5.0,
        "max_discharge_kw": 5.0,
        "charge_efficiency": one_of(1.0, 0.95, 0.8),
        "discharge_efficiency": one_of(1.0, 0.93),
        "min_soc": one_of(0.0, 0.1),
        "max_soc": one_of(0.9, 1.0),
        "wear_eur_per_kwh": one_of(0.0, 0.02),
        "standing_loss_per_h": one_of(0.0, 0.001, 0.02),
        "charge_kw_at_soc": ((0.5, 5.0), (0.8, 3.0), (1.0, 0.5)) if often(0.25) else (),
        "discharge_kw_at_soc": ((0.0, 0.3), (0.3, 5.0)) if often(0.25) else (),
    }
    tapers = battery["charge_kw_at_soc"] or battery["discharge_kw_at_soc"]
    wishes = {
        "grid_charging": often(0.7),
        "battery_export": one_of("allowed", "allowed", "behind_pv", "never"),
        "reserve_soc": one_of(0.0, 0.0, 0.4),
        "reserve_breach_price": one_of(None, 0.01, 0.2),
        "carbon_eur_per_kg": one_of(0.0, 0.1),
        "cycles_per_day": one_of(0.3, 0.6, 1.0) if often(0.25) else None,
        "cycles_today_so_far": one_of(0.0, 0.2),
        "cycles_per_year": one_of(0.5, 1.0) if often(0.1) else None,
    }
    given: dict[str, Any] = {
        "load": rng.uniform(0, 3, intervals) * one_of(0, 1, 1, 2, 4),
        "pv": np.maximum(0, rng.normal(size=intervals) * 3) * one_of(0, 1),
        "initial_soc": float(rng.uniform(0, 1) if tapers else rng.uniform(-0.05, 1.05)),
        "final_soc_min": one_of(None, 0.3, 0.8),
        "terminal_value_eur_per_kwh": one_of(
            None, 0.1, [(0.3, 0.3), (0.6, 0.1), (1.0, -0.05)], [(0.5, 0.2), (1.0, 0.1)]
        ),
        "carbon_kg_per_kwh": rng.uniform(0, 0.5, intervals),
        "demand_charges": _random_charges(rng, step) if often(0.4) else (),
    }
    for name, kept, usual in (
        ("import_limit_kw", one_of(0.0, 1.0, 4.2), np.inf),
        ("max_charge_kw", 0.0, 2.0),
        ("max_discharge_kw", 0.0, 3.0),
        ("reserve_soc", 0.7, 0.0),
    ):
        if often(0.2):
            given[name] = np.where(rng.random(intervals) < 0.3, kept, usual)
    return _build_ask(
        start="2026-03-28T20:00Z",
        step=step,
        timezone="Europe/Copenhagen",
        battery=battery,
        grid={"import_limit_kw": one_of(None, 4.0, 17.0), "export_limit_kw": one_of(None, 0.0, 2.0)},
        curtailable=often(0.5),
        import_price=bought,
        export_price=sold,
        strategy=Strategy(**{**wishes, **fixed}),
        **given,
    )


def _random_charges(rng: np.random.Generator, step: str) -> tuple[DemandCharge, ...]:
    def one_of(*values: Any) -> Any:
        return values[int(rng.integers(len(values)))]

    priced = [{"eur_per_kw": eur} for eur in (1.0, 0.05, ((0, 0.1), (2, 0.5), (4, 2.0)))]
    stepped = {"steps_eur": ((1.0, 0.0), (2.0, 0.2), (4.0, 0.5), (None, 2.0))}
    charge = DemandCharge(
        **one_of(*priced, stepped, stepped),
        period=one_of("month", "day", "horizon"),
        largest_daily_peaks=one_of(1, 1, 3),
        peak_today_so_far_kw=one_of(0.0, 1.0, 3.0),
        daily_peaks_so_far_kw=one_of((), (2.0,), (2.0, 3.0, 4.0)),
        measured_over_minutes=60 if step == "15min" and rng.random() < 0.3 else None,
        from_hour=one_of(0, 0, 22),
    )
    return (charge, DemandCharge(eur_per_kw=0.3)) if rng.random() < 0.2 else (charge,)


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
def ask() -> Callable[..., Ask]:
    """Build an `Ask` from plain numbers, hourly on a lossless battery of 10 kWh and 10 kW unless told otherwise."""
    return _build_ask


@pytest.fixture(scope="session")
def random_ask() -> Callable[..., Ask]:
    """Build a random `Ask` over all features from a seed and a number of intervals."""
    return _random_ask


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
