"""Only a proved optimum becomes a plan; whatever else HiGHS says is an error that repeats it.

PuLP calls a truncated solve "Optimal": the status of the solution, not that of the problem, tells a proof.
"""

from __future__ import annotations

import functools
import re
from typing import Any

import numpy as np
import pulp
import pytest

from engine import SolveError, linear_program, site_model


@pytest.fixture
def ordinary(case, home):
    """A linear program."""
    return case(home, import_price=[0.1, 0.4] * 4, export_price=0.05, load=1.0, final_soc_min=0.5)


@pytest.fixture
def with_binaries(case, home):
    prices = np.random.default_rng(3).uniform(-0.5, 0.3, 48)
    return case(home, import_price=prices, export_price=prices - 0.05, load=1.0, pv=2.0)


def with_options(monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    """Let HiGHS itself end early, as it would in a crowded machine, but the same way every time."""
    monkeypatch.setattr(pulp, "HiGHS", functools.partial(pulp.HiGHS, **options))


@pytest.mark.parametrize("kind", ["ordinary", "with_binaries"])
def test_a_solve_out_of_time_is_an_error_that_says_so(request, kind):
    asked = request.getfixturevalue(kind)
    with pytest.raises(SolveError, match=r"'Time limit reached' within \S+ s, .* no proved optimum; allow more time"):
        asked.plan("lp", time_limit_s=1e-9)


def test_a_search_out_of_time_tells_its_gap(case, home):
    rng = np.random.default_rng(5)
    prices = rng.uniform(-0.5, 0.3, 600)
    asked = case(home, import_price=prices, export_price=prices + rng.normal(size=600) * 0.1, load=1.0, pv=2.0)
    with pytest.raises(SolveError) as caught:
        asked.plan("lp", time_limit_s=1.5)
    gap, plan, bound = (float(x) for x in re.findall(r"-?\d+\.\d{6}", str(caught.value)))
    assert gap == pytest.approx(plan - bound, abs=2e-6)
    assert gap > 0


def test_a_gap_within_the_money_tolerance_is_accepted_and_told(case, home):
    prices = np.random.default_rng(3).uniform(-0.5, 0.3, 96)
    asked = case(home, import_price=prices, export_price=prices - 0.05, load=1.0, pv=2.0)
    exact, near = asked.plan("dp"), asked.plan("lp", money_tolerance_eur=0.5)
    assert 0 < near.gap_eur <= 0.5
    assert exact.cost_eur - 1e-9 <= near.cost_eur <= exact.cost_eur + near.gap_eur


def test_a_truncated_solve_that_pulp_calls_optimal_is_refused(monkeypatch, ordinary):
    seen = []
    run = linear_program._Program._run

    def watched(self):
        try:
            run(self)
        finally:
            seen.append((pulp.LpStatus[self._lp.status], pulp.LpSolution[self._lp.sol_status]))

    monkeypatch.setattr(linear_program._Program, "_run", watched)
    with_options(monkeypatch, simplex_iteration_limit=1)
    with pytest.raises(SolveError, match="'Iteration limit reached'"):
        ordinary.plan("lp")
    assert seen == [("Optimal", "Solution Found")]


def test_an_integer_search_stopped_at_its_first_solution_is_refused(monkeypatch, with_binaries):
    """PuLP has no word for this status of HiGHS; that must not come out as anything but a `SolveError`."""
    with_options(monkeypatch, mip_max_improving_sols=1)
    with pytest.raises(SolveError, match="Solution limit reached"):
        with_binaries.plan("lp")


@pytest.mark.parametrize(
    "sol_status",
    [
        pulp.LpSolutionIntegerFeasible,
        pulp.LpSolutionNoSolutionFound,
        pulp.LpSolutionInfeasible,
        pulp.LpSolutionUnbounded,
    ],
)
def test_no_status_but_a_proved_optimum_gives_a_plan(monkeypatch, ordinary, sol_status):
    solve = pulp.LpProblem.solve

    def solved_otherwise(self, solver):
        result = solve(self, solver)
        self.sol_status = sol_status
        return result

    monkeypatch.setattr(pulp.LpProblem, "solve", solved_otherwise)
    with pytest.raises(SolveError, match="no proved optimum"):
        ordinary.plan("lp")


def test_the_second_solve_of_a_problem_with_binaries_must_be_proved_too(monkeypatch, with_binaries):
    """After the directions are found the linear program of them is solved for its prices."""
    solve, solves = pulp.LpProblem.solve, []

    def second_fails(self, solver):
        result = solve(self, solver)
        solves.append(self.sol_status)
        if len(solves) >= 2:
            self.sol_status = pulp.LpSolutionIntegerFeasible
        return result

    monkeypatch.setattr(pulp.LpProblem, "solve", second_fails)
    with pytest.raises(SolveError):
        with_binaries.plan("lp")
    assert solves == [pulp.LpSolutionOptimal] * (2 + len(linear_program.STUBBORN)), "the second one was asked again"


def test_an_impossible_program_is_an_error_that_says_so(monkeypatch, ordinary):
    """Limits are soft, so no input leads here; a slip in the model would."""
    build = site_model.SiteModel._balance

    def contradicted(self):
        build(self)
        self._program.require(self.of["charge"][0] >= 2 * self.of["charge"][0].upBound)

    monkeypatch.setattr(site_model.SiteModel, "_balance", contradicted)
    with pytest.raises(SolveError, match="Infeasible"):
        ordinary.plan("lp")
