"""`python -m benchmarks`: every problem by every solver, in turns within one run, with their plans held equal."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks import cold_start, fleet_scale, rolling
from benchmarks.fleet import make_fleet, measure_fleet
from benchmarks.measure import measure
from benchmarks.peer_solvers import first_plans, peers_running
from benchmarks.problems import PROBLEMS, Tier
from benchmarks.report import Report
from benchmarks.solvers import BASELINES, SOLVERS, TIDEWATT
from benchmarks.solvers.contract import NotAvailableError, Solver

STATE = Path(__file__).parents[1] / "var" / "benchmarks"
FLEET, SCALE, COLD, ROLLING = "fleet", "fleet-scale", cold_start.PROBLEM, rolling.PROBLEM
SECTIONS = (*PROBLEMS, FLEET, SCALE, ROLLING, COLD)
# One by one, these are asked for a sample of the fleet's sites.
SINGLES = (*BASELINES, TIDEWATT)


@dataclass(frozen=True)
class Mode:
    """How much is measured."""

    name: str
    tiers: tuple[Tier, ...]
    rounds: int
    """Counted rounds after one that warms up; 0: only that one, and it counts."""
    start_rounds: int
    """The same for fresh processes."""
    fleet_sites: int
    fleet_sample: int
    scale: tuple[tuple[int, int], ...]
    history: tuple[int, int]
    """Days of the backtest, and how many of its decisions are sampled."""
    budget_s: float
    """Time that one solver may use on one problem, beyond its first turn [s]."""


MODES = {
    "smoke": Mode("smoke", ("smoke",), 0, 0, 50, 3, (), (3, 2), 2.0),
    "default": Mode("default", ("smoke", "default"), 9, 5, 5000, 20, fleet_scale.HORIZONS, (365, 100), 20.0),
    "full": Mode(
        "full",
        ("smoke", "default", "full"),
        9,
        5,
        5000,
        50,
        (*fleet_scale.HORIZONS, fleet_scale.LARGEST),
        (365, 300),
        60.0,
    ),
}


def run(mode: Mode, only: Sequence[str], peers: bool, solvers: Sequence[Solver]) -> Report:
    """Measure what is asked for.

    Args:
        mode: How much.
        only: Names out of `SECTIONS`; empty means all of the mode.
        peers: Whether other libraries take part.
        solvers: The solvers of this process.
    """
    console = Console(stderr=True)
    report = Report(mode.name, mode.rounds)
    names = [name for name, entry in PROBLEMS.items() if name in only or (not only and entry.tier in mode.tiers)]
    with console.status("starting") as status, contextlib.ExitStack() as stack:

        def say(text: str) -> None:
            status.update(text)
            if not console.is_terminal:
                console.print(text)

        everybody = [*solvers, *(stack.enter_context(peers_running(STATE, say)) if peers else [])]
        for name in names:
            report.plans += measure(PROBLEMS[name].make(), everybody, BASELINES, mode.rounds, mode.budget_s, say)
        if not only or FLEET in only:
            singles = [solver for solver in solvers if solver.name in SINGLES]
            fleet = make_fleet(mode.fleet_sites, 96)
            report.plans += measure_fleet(fleet, singles, BASELINES, mode.rounds, mode.fleet_sample, say=say)
        if not only or SCALE in only:
            for sites, intervals in mode.scale:
                try:
                    report.scale.append(fleet_scale.measure_scale(sites, intervals, say))
                except NotAvailableError as error:
                    report.failures.append(f"{SCALE} {sites:,} x {intervals}: {error}")
        if not only or ROLLING in only:
            report.histories += rolling.measure_backtest(*mode.history, say)
        if not only or COLD in only:
            problem = PROBLEMS["day"].make()
            others = first_plans(problem, STATE, say) if peers else None
            report.starts += cold_start.measure_cold_start(problem, mode.start_rounds, others, say)
    return report


def main(arguments: Sequence[str] | None = None, solvers: Sequence[Solver] = SOLVERS) -> int:
    """Print the tables; 1 if an exact solver disagrees, breaks, or gives a plan that cannot be carried out."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="one run of the small problems, to see that all works")
    size.add_argument("--full", action="store_true", help="the large ones too: a year, 100,000 sites; takes long")
    parser.add_argument("--peers", action="store_true", help="other libraries too, installed into var/benchmarks/venvs")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    parser.add_argument(
        "--only", metavar="NAME", action="append", default=[], choices=SECTIONS, help=", ".join(SECTIONS)
    )
    parser.add_argument("--save", metavar="FILE", type=Path, help="write Markdown there, and JSON beside it")
    chosen = parser.parse_args(arguments)
    mode = MODES["smoke" if chosen.smoke else "full" if chosen.full else "default"]
    report = run(mode, chosen.only, chosen.peers, solvers)
    if chosen.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        report.print()
    if chosen.save:
        report.save(chosen.save)
    return int(report.failed)


if __name__ == "__main__":
    sys.exit(main())
