"""Whatever is asked within the law of input, a plan comes back, and it is sound."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine import Plan
from tests.engine.conftest import Case

CHUNKS, CHUNK = 100, 100
REFERENCE_CHUNKS, REFERENCE_CHUNK = 10, 50
WISH_CHUNKS, WISH_CHUNK, EVERY_WISH_CHUNK = 40, 50, 250
LONGEST = 100
# Broken by less than the first is arithmetic, by more than the second is a breach.
NOTHING, SURELY = 1e-8, 1e-6


def asked_for(harsh_case, chunk: int, number: int) -> Case:
    rng = np.random.default_rng([chunk, number])
    return harsh_case(rng, int(rng.integers(1, LONGEST + 1)))


def broken_limits(case: Case, plan: Plan, beyond: float) -> set[tuple[str, object]]:
    """Limits and intervals at which the table is beyond them, worked out from the site alone."""
    table, battery, grid = plan.table, case.site.battery, case.site.grid
    beyond_of = {
        "min_soc": battery.min_soc - table["soc"],
        "max_soc": table["soc"] - battery.max_soc,
        "import_limit_kw": table["import_kw"] - (np.inf if grid.import_limit_kw is None else grid.import_limit_kw),
        "export_limit_kw": table["export_kw"] - (np.inf if grid.export_limit_kw is None else grid.export_limit_kw),
        "final_soc_min": (-1.0 if case.final_soc_min is None else case.final_soc_min) - table["soc"].iloc[-1:],
    }
    return {(limit, start) for limit, values in beyond_of.items() for start in values.index[values > beyond]}


def assert_sound(case: Case, plan: Plan) -> None:
    table = plan.table
    assert len(table) == len(case.load)
    assert case.faults(table, plan.cost_eur) == ()
    assert not ((table["charge_kw"] > 0) & (table["discharge_kw"] > 0)).any()
    assert not ((table["import_kw"] > 0) & (table["export_kw"] > 0)).any()
    reported = {(breach.limit, breach.start) for breach in plan.breaches}
    assert len(reported) == len(plan.breaches)
    assert broken_limits(case, plan, SURELY) <= reported <= broken_limits(case, plan, NOTHING)


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_every_case_gets_a_sound_plan(harsh_case, chunk):
    for number in range(CHUNK):
        case = asked_for(harsh_case, chunk, number)
        assert_sound(case, case.plan())


@pytest.mark.parametrize("chunk", range(REFERENCE_CHUNKS))
def test_every_case_gets_a_sound_plan_from_the_reference(harsh_case, chunk):
    for number in range(REFERENCE_CHUNK):
        case = asked_for(harsh_case, chunk, number)
        assert_sound(case, case.plan("lp"))


@pytest.mark.parametrize("chunk", range(WISH_CHUNKS))
def test_every_wish_gets_a_sound_plan(random_ask, request, chunk):
    """Strategies, demand charges, tapered power, losses and limits that cannot be kept, all together."""
    count = EVERY_WISH_CHUNK if request.config.getoption("--every-wish") else WISH_CHUNK
    for number in range(count):
        rng = np.random.default_rng([7, chunk, number])
        asked = random_ask(int(rng.integers(1 << 40)), int(rng.integers(2, 41)))
        plan = asked.plan()
        table = plan.table
        assert asked.rules_of(plan) == set()
        assert not ((table["charge_kw"] > 0) & (table["discharge_kw"] > 0)).any()
        assert not ((table["import_kw"] > 0) & (table["export_kw"] > 0)).any()


def test_kernels_stay_inside_their_arrays(tmp_path):
    """The same kernels compiled to look at every index, over convex and other problems, searches and budgets."""
    code = (
        "import numpy as np\n"
        "from tests.engine.conftest import _harsh_case, _random_ask\n"
        "solvers = set()\n"
        "for number in range(60):\n"
        "    rng = np.random.default_rng([11, number])\n"
        "    _harsh_case(rng, int(rng.integers(1, 97))).plan()\n"
        "    solvers.add(_random_ask(number, 24).plan().solver)\n"
        "assert 'storage DP' in solvers\n"
    )
    environment = {**os.environ, "NUMBA_BOUNDSCHECK": "1", "NUMBA_CACHE_DIR": str(tmp_path)}
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
