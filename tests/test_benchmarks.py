"""The benchmarks themselves: complete, repeatable, and able to say that something is wrong."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from benchmarks.__main__ import main
from benchmarks.fleet import BATCH, Fleet, make_fleet, measure_fleet, solve_fleet
from benchmarks.fleet_scale import measure_scale
from benchmarks.judge import judge
from benchmarks.measure import measure
from benchmarks.peer_process import PeerProcess
from benchmarks.peer_solvers import PEERS
from benchmarks.problems import PROBLEMS, BenchmarkProblem
from benchmarks.rolling import LOOP, LOOP_ON_PULP, PANDAS, measure_backtest
from benchmarks.solvers import BASELINES, SOLVERS, TIDEWATT, raw_highs
from benchmarks.solvers.contract import Answer, NotAvailableError, Solver
from engine import FleetPlan

PEERS_FOLDER = Path(__file__).parents[1] / "benchmarks" / "peers"
BASELINE_SOLVERS = SOLVERS[: len(BASELINES)]


def small(name: str) -> BenchmarkProblem:
    """Its eight hours around noon."""
    problem = PROBLEMS[name].make()
    return dataclasses.replace(problem, series=problem.series.iloc[32:64])


def idle(problem: BenchmarkProblem) -> Answer:
    nothing = np.zeros(problem.intervals)
    return Answer(nothing, nothing, None, "idle")


def relaxed(problem: BenchmarkProblem) -> Answer:
    return raw_highs.solve(problem, binaries=False)


def broken(_problem: BenchmarkProblem) -> Answer:
    raise ArithmeticError("no")


def greedy(problem: BenchmarkProblem) -> Answer:
    sell = problem.arrays["export_price_eur_per_kwh"]
    return Answer(np.zeros(problem.intervals), np.where(sell > 0, 5.0, 0.0), None, "greedy")


def test_the_registry_is_complete() -> None:
    assert {entry.tier for entry in PROBLEMS.values()} == {"smoke", "default", "full"}
    assert [name for name, entry in PROBLEMS.items() if entry.make().name != name] == []
    assert {96, 192, 672, 8760} <= {entry.make().intervals for entry in PROBLEMS.values()}
    assert tuple(solver.name for solver in BASELINE_SOLVERS) == BASELINES
    assert len({solver.name for solver in SOLVERS}) == len(SOLVERS)
    assert all(solver.exact for solver in BASELINE_SOLVERS)


@pytest.mark.parametrize("peer", PEERS, ids=lambda peer: peer.name)
def test_every_peer_has_a_driver_and_plain_pins(peer) -> None:
    assert (PEERS_FOLDER / f"{peer.module}.py").exists()
    lines = (PEERS_FOLDER / f"{peer.module}.txt").read_text().splitlines()
    assert lines
    assert [line for line in lines if line.count("==") != 1 or " " in line or "/" in line] == []


@pytest.mark.parametrize("name", PROBLEMS)
def test_a_problem_survives_json(name: str) -> None:
    problem = PROBLEMS[name].make()
    again = BenchmarkProblem.from_dict(json.loads(json.dumps(problem.to_dict())))
    assert again.site == problem.site
    assert again.to_dict() == problem.to_dict()
    assert again.series.index.equals(problem.series.index)
    for column, values in problem.arrays.items():
        np.testing.assert_array_equal(again.arrays[column], values)


@pytest.mark.parametrize("name", ["day", "negative-day", "export-above-import-day", "tight-limits-day"])
def test_the_solvers_of_this_process_agree(name: str) -> None:
    rows = measure(small(name), SOLVERS, BASELINES, rounds=1, budget_s=5)
    assert {row.solver for row in rows} >= {*BASELINES, TIDEWATT}
    assert [row for row in rows if row.fault] == []
    assert all(row.ratios.keys() == set(BASELINES) for row in rows if row.seconds)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("negative-day", "claims 0.1[0-9]+ EUR less than can be had, not physical: charges and discharges"),
        ("export-above-import-day", "claims 1.[0-9]+ EUR less than can be had, not physical: buys and sells at once"),
    ],
)
def test_a_relaxation_that_cheats_is_told_and_never_faulted_where_it_is_known(name: str, words: str) -> None:
    cheat = Solver("cheat", relaxed, exact=False)
    row = measure(PROBLEMS[name].make(), [*BASELINE_SOLVERS, cheat], BASELINES, rounds=0, budget_s=5)[-1]
    assert not row.fault
    assert re.search(words, row.note), row.note


@pytest.mark.parametrize(
    ("wrong", "problem"),
    [(idle, "day"), (greedy, "day"), (broken, "day"), (relaxed, "negative-day"), (relaxed, "export-above-import-day")],
)
def test_a_wrong_solver_fails_the_run(wrong, problem: str, capsys: pytest.CaptureFixture[str]) -> None:
    solvers = (*BASELINE_SOLVERS, Solver("wrong", wrong))
    assert main(["--smoke", "--only", problem, "--json"], solvers) == 1
    report = json.loads(capsys.readouterr().out)
    assert [row["solver"] for row in report["plans"] if row["fault"]] == ["wrong"]


def test_a_right_run_passes_and_is_saved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved = tmp_path / "result.md"
    assert main(["--smoke", "--only", "day", "--save", str(saved)], BASELINE_SOLVERS) == 0
    assert "PuLP + HiGHS" in capsys.readouterr().out
    assert saved.read_text().count("\n| day |") == len(BASELINES)
    assert json.loads(saved.with_suffix(".json").read_text())["failed"] is False


def test_the_judge_takes_the_best_curtailment_within_the_limits() -> None:
    problem = small("tight-limits-day")
    arrays = problem.arrays
    verdict = judge(problem, np.zeros(problem.intervals), np.zeros(problem.intervals))
    net = arrays["load_kw"] - arrays["pv_kw"]
    sold = np.minimum(np.maximum(-net, 0), 1.0)
    expected = 0.25 * (
        arrays["import_price_eur_per_kwh"] @ np.maximum(net, 0) - arrays["export_price_eur_per_kwh"] @ sold
    )
    assert verdict.physical
    assert verdict.cost_eur == pytest.approx(expected, abs=1e-12)


def test_a_peer_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(NotAvailableError, match="No module named 'pypsa'"):
        PeerProcess(Path(sys.executable), "pypsa", (), tmp_path / "pypsa.log")


def test_the_sites_of_a_fleet_are_seeded_and_distinct() -> None:
    one, two = make_fleet(30, 96), make_fleet(30, 96)
    assert one.sites == two.sites
    assert len({site.battery for site in one.sites}) == 30
    assert not one.load.T.duplicated().any()
    assert len(make_fleet(2, 130).prices) == 130


def test_the_batch_has_the_optimum_of_every_site() -> None:
    rows = measure_fleet(make_fleet(12, 96), BASELINE_SOLVERS, BASELINES, rounds=0, sample=12)
    assert [row.solver for row in rows] == [*BASELINES, BATCH]
    assert [row for row in rows if row.fault] == []


def idle_batch(fleet: Fleet) -> FleetPlan:
    plan = solve_fleet(fleet)
    return dataclasses.replace(plan, charge_kw=0 * plan.charge_kw, discharge_kw=0 * plan.discharge_kw)


def boasting_batch(fleet: Fleet) -> FleetPlan:
    plan = solve_fleet(fleet)
    return dataclasses.replace(plan, cost_eur=plan.cost_eur - 0.01)


@pytest.mark.parametrize(
    ("wrong", "note"),
    [(idle_batch, "not the optimum"), (boasting_batch, "claims another cost than its plans have")],
)
def test_a_wrong_batch_is_told(wrong: Callable[[Fleet], FleetPlan], note: str) -> None:
    rows = measure_fleet(make_fleet(4, 96), BASELINE_SOLVERS, BASELINES, rounds=0, sample=2, batch=wrong)
    assert [row.solver for row in rows if row.fault] == [BATCH]
    assert note in rows[-1].note


def test_one_size_of_the_batch_is_measured_in_a_process_of_its_own() -> None:
    row = measure_scale(16, 96)
    assert (row.sites, row.intervals) == (16, 96)
    assert 0 < row.memory_before_mb <= row.memory_peak_mb


def test_a_history_planned_again_and_again_is_faster_than_the_usual_loop() -> None:
    rows = {row.solver: row for row in measure_backtest(3, 2)}
    assert list(rows) == [LOOP, PANDAS, LOOP_ON_PULP]
    # The year's figure is in the hundreds; forecasts of three days weigh more.
    assert rows[LOOP].ratios[LOOP_ON_PULP] < 1 / 50
    assert rows[LOOP_ON_PULP].ratios[LOOP_ON_PULP] == 1
    assert "2 decisions" in rows[LOOP_ON_PULP].note
