"""A slice of the simulation: the protocol holds, a seed is a whole history, and a guard that is taken away shows."""

from __future__ import annotations

from functools import cache

import pytest

from tests.simulation.campaign import History, unfold
from tests.simulation.faults import DAY_S
from tests.simulation.guards import DEVICE_EXPIRY
from tests.simulation.invariants import (
    BLIND,
    DOUBLED,
    HALTED,
    LATE,
    OVERLAP,
    PAST_END,
    Figures,
)

SITES = 2
HOURS = 4.0
# Histories of the adversarial mix in which a missing guard is looked for, until it shows.
SEEDS = range(12)


@cache
def adversarial(seed: int, guard: str | None) -> Figures:
    return unfold(History(seed, "adversarial", guard, SITES, HOURS))


def breaches(figures: Figures) -> set[str]:
    return {violation.invariant for violation in figures.violations}


def test_ordinary_days_break_nothing():
    figures = Figures()
    for seed in range(2):
        figures.add(unfold(History(seed, sites=4)))
    assert figures.site_days == 24
    assert figures.orders > 250
    assert figures.faults > 25
    assert not figures.violations
    assert figures.fallback_share < 0.025


def test_days_that_are_planned_from_end_to_end_break_nothing_either():
    figures = unfold(History(1, "reference", sites=1, hours=4.0, full_days=True))
    assert figures.driven_s > 0.5 * figures.site_days * DAY_S
    assert figures.orders > 100
    assert not figures.violations


def test_a_seed_is_a_whole_history():
    history = History(1, "adversarial", sites=1, hours=HOURS)
    one, again = unfold(history), unfold(history)
    assert one.orders > 0
    assert one == again


@pytest.mark.parametrize(
    ("guard", "invariant"),
    [
        ("fence", DOUBLED),
        ("lease and fence", OVERLAP),
        ("deadline", LATE),
        (DEVICE_EXPIRY, PAST_END),
        ("read-back", BLIND),
        ("kill switch", HALTED),
        ("nothing twice", DOUBLED),
    ],
)
def test_a_guard_that_is_taken_away_shows(guard, invariant):
    seed = next((seed for seed in SEEDS if invariant in breaches(adversarial(seed, guard))), None)
    assert seed is not None, "no history shows it"
    assert invariant not in breaches(adversarial(seed, None))
