"""From nothing to a plan: a fresh `tidewatt plan` against a fresh interpreter that only imports numpy and pandas.

Nobody can plan from tables in less than that import takes. Other libraries are asked for a first plan likewise.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import yaml

from benchmarks.measure import Row
from benchmarks.problems import BenchmarkProblem
from benchmarks.solvers.contract import NotAvailableError

ROOT = Path(__file__).parents[1]
IMPORTS = "import numpy, pandas"
COMMAND = "tidewatt plan"
PROBLEM = "cold-start"


def measure_cold_start(
    problem: BenchmarkProblem,
    rounds: int,
    others: Mapping[str, Callable[[], None]] | None = None,
    say: Callable[[str], None] = lambda _text: None,
) -> list[Row]:
    """Start everybody afresh, in turns; the first round fills the caches of the file system and is not counted.

    Args:
        problem: What to plan.
        rounds: Counted rounds; 0: the first counts.
        others: More starts by name; each runs one fresh process to its first plan.
        say: Told what is being measured.
    """
    with tempfile.TemporaryDirectory() as folder:
        site, series = Path(folder) / "site.yaml", Path(folder) / "series.csv"
        site.write_text(yaml.safe_dump(problem.site.model_dump(mode="json")), encoding="utf-8")
        problem.series.to_csv(series, date_format="%Y-%m-%dT%H:%M:%S%z")
        soc = ["--initial-soc", str(problem.initial_soc), "--final-soc-min", str(problem.final_soc_min)]
        plan = ["-m", "console", "plan", "--site", str(site), "--series", str(series), *soc, "--json"]
        starts = {
            IMPORTS: lambda: _run(["-c", IMPORTS]),
            COMMAND: lambda: _run(plan),
            **(others or {}),
        }
        seconds: dict[str, list[float]] = {name: [] for name in starts}
        trouble: dict[str, str] = {}
        for number in range(rounds + 1):
            for name, start in starts.items():
                if name in trouble:
                    continue
                say(f"{PROBLEM}: {name}, round {number} of {rounds}")
                begin = time.perf_counter()
                try:
                    start()
                except NotAvailableError as error:
                    trouble[name] = str(error)
                    continue
                if number or not rounds:
                    seconds[name].append(time.perf_counter() - begin)
    base_s = statistics.median(seconds[IMPORTS]) if seconds[IMPORTS] else None
    return [
        Row(
            problem=PROBLEM,
            size=problem.size,
            solver=name,
            method="process",
            seconds=tuple(seconds[name]),
            ratios={IMPORTS: statistics.median(seconds[name]) / base_s} if seconds[name] and base_s else {},
            note=trouble.get(name, ""),
            fault=name in trouble and name in (IMPORTS, COMMAND),
        )
        for name in starts
    ]


def _run(arguments: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=False, timeout=300
    )
    if done.returncode:
        raise NotAvailableError(f"failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
