"""On real days of real sites, of 23, 24 and 25 hours and at four steps, both solvers find the same optimum.

A sample of the days always; all of them with `--every-site-day`.
"""

from __future__ import annotations

import datetime as dt
import multiprocessing
import os
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from engine import TidewattError
from tests.engine.site_days import HOUSES, STEPS, House, days, hours, site_day

SAME = 1e-9
SAMPLED_DAYS = 10
TELL_EVERY = 200
# A mixed-integer program of 288 intervals may find no proof within its minute; so many in a thousand may be left open.
MOST_OPEN_PER_MILLE = 1


@dataclass(frozen=True)
class Asked:
    """One comparison."""

    folder: Path
    house: House
    day: dt.date
    minutes: int

    def __str__(self) -> str:
        return f"{self.house} on {self.day} at {self.minutes} min"


@dataclass(frozen=True)
class Found:
    intervals: int
    kind: str
    disagreement: float
    why: str = ""

    @property
    def is_open(self) -> bool:
        return self.kind == "SolveError" and "Time limit" in self.why


def compare(asked: Asked) -> Found:
    case = site_day(asked.folder, asked.house, asked.day, asked.minutes)
    try:
        fast, reference = case.plan("dp"), case.plan("lp")
    except TidewattError as error:
        return Found(len(case.load), type(error).__name__, np.nan, str(error))
    return Found(len(case.load), reference.solver.split(" (")[0], case.disagreement(fast, reference))


@pytest.mark.parametrize("house", HOUSES, ids=str)
def test_both_solvers_agree_on_sampled_days_of(house, data_folder):
    known = days(data_folder, house)
    chosen = np.random.default_rng(HOUSES.index(house)).choice(len(known), min(SAMPLED_DAYS, len(known)), replace=False)
    changing = {day for day in known if hours(house, day) != 24}
    for day in sorted(changing | {known[number] for number in chosen}):
        for minutes in STEPS:
            asked = Asked(data_folder, house, day, minutes)
            found = compare(asked)
            assert found.disagreement <= SAME, f"{asked}: {found}"


def test_the_sampled_days_have_92_and_96_and_100_quarters(data_folder):
    lengths = {str(house): {4 * hours(house, day) for day in days(data_folder, house)} for house in HOUSES}
    short = {name for name, seen in lengths.items() if seen != {92, 96, 100}}
    assert len(lengths) == len(HOUSES) == 20
    # Half a year of one, a week of the other.
    assert [name.split("_load")[0] for name in sorted(short)] == ["site_au_monash_b1", "site_fr_emsx01"]


@pytest.mark.timeout(0)
def test_both_solvers_agree_on_every_day_of_every_site(request, data_folder, capsys):
    if not request.config.getoption("--every-site-day"):
        pytest.skip("asked for with --every-site-day")
    every = [
        Asked(data_folder, house, day, minutes)
        for house in HOUSES
        for day in days(data_folder, house)
        for minutes in STEPS
    ]
    counts: Counter[str] = Counter()
    worst, failed, left_open = 0.0, [], 0
    processes = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool, capsys.disabled():
        for done, (asked, found) in enumerate(zip(every, pool.map(compare, every, chunksize=20), strict=True), 1):
            counts.update([f"{asked.minutes} min", f"{found.intervals} intervals", found.kind])
            worst = max(worst, found.disagreement)
            if not found.disagreement <= SAME:
                print(f"{asked}: {found}", flush=True)
                left_open += found.is_open
                failed += [] if found.is_open else [f"{asked}: {found}"]
            if done % TELL_EVERY == 0 or done == len(every):
                print(f"{done} of {len(every)}, worst {worst:.1e}, {len(failed)} failed, {dict(counts)}", flush=True)
    assert failed == []
    assert left_open <= MOST_OPEN_PER_MILLE * len(every) / 1000
