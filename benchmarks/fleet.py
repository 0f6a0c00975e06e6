"""Many sites at once: the batch against the same sites one by one, in one run, per site.

The baselines solve a sample of the sites, in turns with the batch, and their costs must be the batch's.
"""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from benchmarks.judge import SAME_EUR, Verdict, judge
from benchmarks.measure import Row
from benchmarks.problems import PRICES, Array, BenchmarkProblem, sample_run
from benchmarks.solvers.contract import Answer, Solver
from console.sample import sample_site
from engine import Battery, FleetPlan, Site, optimise_fleet

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


def solve_fleet(fleet: Fleet) -> FleetPlan:
    """Plan all sites in one call."""
    return optimise_fleet(
        fleet.sites,
        import_price=fleet.prices["import_price_eur_per_kwh"],
        export_price=fleet.prices["export_price_eur_per_kwh"],
        load=fleet.load,
        pv=fleet.pv,
        initial_soc=fleet.initial_soc,
        final_soc_min=fleet.final_soc_min,
    )


def measure_fleet(
    fleet: Fleet,
    singles: Sequence[Solver],
    baselines: Sequence[str],
    rounds: int,
    sample: int,
    batch: Callable[[Fleet], FleetPlan] = solve_fleet,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Row]:
    """Time the batch and, on a sample of its sites, solvers of single sites; times and ratios are per site.

    Args:
        fleet: The sites.
        singles: Exact solvers of one site; the first tells the optimum.
        baselines: Names of those that ratios refer to.
        rounds: Counted rounds, after one that warms up; 0: that one counts.
        sample: How many sites the single solvers get, and are compared.
        batch: Plans all sites.
        say: Told what is being measured.
    """
    count, name = len(fleet.sites), f"fleet of {len(fleet.sites):,}"
    chosen = [int(number) for number in np.linspace(0, count - 1, min(sample, count))]
    problems = [fleet.problem(number) for number in chosen]
    # What runs returns its answers as a function: reading them is not part of the time.
    contestants: dict[str, Callable[[], Callable[[], list[Answer]]]] = {
        **{solver.name: _one_by_one(solver, problems) for solver in singles},
        BATCH: _all_at_once(fleet, batch, chosen),
    }
    solved = {who: count if who == BATCH else len(problems) for who in contestants}
    seconds: dict[str, list[float]] = {who: [] for who in contestants}
    answers: dict[str, list[Answer]] = {}
    for number in range(rounds + 1):
        for who, run in contestants.items():
            say(f"{name}: {who}, round {number} of {rounds}")
            begin = time.perf_counter()
            read = run()
            took = time.perf_counter() - begin
            answers[who] = read()
            if number or not rounds:
                seconds[who].append(took / solved[who])

    verdicts = {who: _verdicts(problems, answers[who]) for who in contestants}
    optima = np.array([verdict.cost_eur for verdict in verdicts[singles[0].name]])
    rows = []
    for who in contestants:
        costs = np.array([verdict.cost_eur for verdict in verdicts[who]])
        claims = np.array([answer.claimed_eur or 0.0 for answer in answers[who]])
        faults = {
            "not the optimum": np.abs(costs - optima).max() > SAME_EUR,
            "not physical": not all(verdict.physical for verdict in verdicts[who]),
            "claims another cost than its plans have": np.abs(claims - costs).max() > SAME_EUR,
        }
        found = [text for text, is_so in faults.items() if is_so]
        median_s = float(np.median(seconds[who]))
        rows.append(
            Row(
                problem=name,
                size=problems[0].size,
                solver=who,
                method=f"mean of {solved[who]:,}",
                seconds=tuple(seconds[who]),
                ratios={other: median_s / float(np.median(seconds[other])) for other in baselines},
                cost_eur=float(costs.sum()),
                difference_eur=float((costs - optima)[np.abs(costs - optima).argmax()]),
                note=", ".join(found) or f"{len(problems)} sites compared; largest difference of one",
                fault=bool(found),
            )
        )
    return rows


def _verdicts(problems: list[BenchmarkProblem], answers: list[Answer]) -> list[Verdict]:
    return [
        judge(problem, answer.charge_kw, answer.discharge_kw) for problem, answer in zip(problems, answers, strict=True)
    ]


def _one_by_one(solver: Solver, problems: list[BenchmarkProblem]) -> Callable[[], Callable[[], list[Answer]]]:
    def run() -> Callable[[], list[Answer]]:
        answers = [solver.solve(problem) for problem in problems]
        return lambda: answers

    return run


def _all_at_once(
    fleet: Fleet, batch: Callable[[Fleet], FleetPlan], chosen: list[int]
) -> Callable[[], Callable[[], list[Answer]]]:
    def run() -> Callable[[], list[Answer]]:
        plan = batch(fleet)
        return lambda: [
            Answer(plan.charge_kw[number], plan.discharge_kw[number], float(plan.cost_eur[number]), "DP")
            for number in chosen
        ]

    return run
