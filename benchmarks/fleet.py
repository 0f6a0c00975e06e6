"""Many sites at once: the batch against the same sites one by one, in one run, per site.

The baselines solve a sample of the sites, in turns with the batch, and their costs must be the batch's.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.judge import SAME_EUR, judge
from benchmarks.measure import Row
from benchmarks.problems import PRICES, Array, BenchmarkProblem, sample_run
from benchmarks.solvers.contract import Solver
from console.sample import sample_site
from engine import Battery, Site

NOT_YET = "skipped: this engine has no optimise_fleet"
BATCH = "Tidewatt batch, per site"
FIRST_DAY = dt.date(2024, 4, 8)


@dataclass(frozen=True, eq=False)
class Fleet:
    """Distinct sites under one tariff."""

    sites: list[Site]
    prices: pd.DataFrame
    """Columns `PRICES`, by `start` (UTC) [EUR/kWh]."""
    load: pd.DataFrame
    """One column per site [kW]."""
    pv: pd.DataFrame
    """One column per site [kW]."""
    initial_soc: float = 0.5
    final_soc_min: float = 0.5

    def problem(self, number: int) -> BenchmarkProblem:
        """One of its sites alone."""
        series = self.prices.assign(load_kw=self.load.iloc[:, number], pv_kw=self.pv.iloc[:, number])
        return BenchmarkProblem(f"site {number}", self.sites[number], series, self.initial_soc, self.final_soc_min)


def optimise_fleet() -> Callable[..., Any] | None:
    """The engine's batch, if this engine has it."""
    import engine

    return getattr(engine, "optimise_fleet", None)


def make_fleet(count: int, intervals: int) -> Fleet:
    """Seeded sites, no two alike: sizes, powers, efficiencies, wear, load and PV all differ.

    Args:
        count: Number of sites.
        intervals: Quarter-hours of the sample, from `FIRST_DAY`.
    """
    random = np.random.default_rng(count)
    series = sample_run(FIRST_DAY, -(-intervals // 96)).iloc[:intervals]
    base = sample_site()
    capacity = random.uniform(5, 20, count).round(3)
    power = (capacity * random.uniform(0.25, 0.6, count)).round(3)
    efficiency = random.uniform(0.9, 0.98, count).round(4)
    wear = random.uniform(0.0, 0.04, count).round(4)
    sites = [
        base.model_copy(
            update={
                "name": f"site {number}",
                "battery": Battery(
                    capacity_kwh=capacity[number],
                    max_charge_kw=power[number],
                    max_discharge_kw=power[number],
                    charge_efficiency=efficiency[number],
                    discharge_efficiency=efficiency[number],
                    min_soc=0.1,
                    wear_eur_per_kwh=wear[number],
                ),
            }
        )
        for number in range(count)
    ]
    return Fleet(
        sites=sites,
        prices=series[PRICES],
        load=_scaled(series["load_kw"], random.uniform(0.4, 1.6, count)),
        pv=_scaled(series["pv_kw"], random.uniform(0.2, 1.6, count)),
    )


def _scaled(series: pd.Series, factors: Array) -> pd.DataFrame:
    return pd.DataFrame(np.outer(series.to_numpy(), factors), index=series.index)


def solve_fleet(fleet: Fleet, batch: Callable[..., Any]) -> Array:
    """Costs of all sites [EUR], shape (N,)."""
    result = batch(
        fleet.sites,
        import_price=fleet.prices["import_price_eur_per_kwh"],
        export_price=fleet.prices["export_price_eur_per_kwh"],
        load=fleet.load,
        pv=fleet.pv,
        initial_soc=fleet.initial_soc,
        final_soc_min=fleet.final_soc_min,
    )
    return np.asarray(result.cost_eur, dtype=np.float64)


def measure_fleet(
    fleet: Fleet,
    singles: Sequence[Solver],
    baselines: Sequence[str],
    rounds: int,
    sample: int,
    batch: Callable[..., Any] | None,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Row]:
    """Time the batch and, on a sample of its sites, solvers of single sites; times and ratios are per site.

    Args:
        fleet: The sites.
        singles: Solvers of one site; the first tells the optimum.
        baselines: Names of those that ratios refer to.
        rounds: Counted rounds, after one that warms up; 0: that one counts.
        sample: How many sites the single solvers get.
        batch: `optimise_fleet`, or None where the engine has none.
        say: Told what is being measured.
    """
    count, name = len(fleet.sites), f"fleet of {len(fleet.sites):,}"
    chosen = np.linspace(0, count - 1, min(sample, count)).astype(int)
    problems = [fleet.problem(int(number)) for number in chosen]
    # What runs returns the cost of the sample as a function: working it out is not part of the time.
    contestants: dict[str, Callable[[], Callable[[], float]]] = {
        solver.name: _one_by_one(solver, problems) for solver in singles
    }
    if batch is not None:
        contestants[BATCH] = _whole(fleet, batch, chosen)
    solved = {who: count if who == BATCH else len(problems) for who in contestants}

    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    costs: dict[str, float] = {}
    for number in range(rounds + 1):
        for who, run in contestants.items():
            say(f"{name}: {who}, round {number} of {rounds}")
            begin = time.perf_counter()
            cost_eur = run()
            took = time.perf_counter() - begin
            costs[who] = cost_eur()
            if number or not rounds:
                seconds[who].append(took / solved[who])
    optimum = costs[singles[0].name]
    rows = []
    for who in contestants:
        difference = costs[who] - optimum
        median_s = float(np.median(seconds[who]))
        wrong = abs(difference) > SAME_EUR * len(problems)
        rows.append(
            Row(
                problem=name,
                size=problems[0].size,
                solver=who,
                method=f"mean of {solved[who]:,}",
                seconds=tuple(seconds[who]),
                ratios={other: median_s / float(np.median(seconds[other])) for other in baselines},
                cost_eur=costs[who],
                difference_eur=difference,
                note="not the optimum" if wrong else f"cost of the same {len(problems)} sites",
                fault=wrong,
            )
        )
    if batch is None:
        rows.append(Row(name, problems[0].size, BATCH, note=NOT_YET))
    return rows


def _one_by_one(solver: Solver, problems: list[BenchmarkProblem]) -> Callable[[], Callable[[], float]]:
    def run() -> Callable[[], float]:
        answers = [solver.solve(problem) for problem in problems]
        return lambda: sum(
            judge(problem, answer.charge_kw, answer.discharge_kw).cost_eur
            for problem, answer in zip(problems, answers, strict=True)
        )

    return run


def _whole(fleet: Fleet, batch: Callable[..., Any], chosen: npt.NDArray[np.int_]) -> Callable[[], Callable[[], float]]:
    def run() -> Callable[[], float]:
        costs = solve_fleet(fleet, batch)
        return lambda: float(costs[chosen].sum())

    return run
