"""What all floors' tests share."""

from __future__ import annotations

import pytest

# Helpers assert too, and say as much as a test when they fail.
pytest.register_assert_rewrite("tests.adapters", "tests.schedules")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-site-day",
        action="store_true",
        help="plan every day of every site in the folder of real data, at every step, with both solvers; takes the "
        "better part of an hour on two processors, with one process per processor that the run may use (taskset)",
    )
    parser.addoption(
        "--every-wish",
        action="store_true",
        help="10,000 instead of 2,000 random problems over every strategy, charge and limit together; takes minutes",
    )
    parser.addoption(
        "--year",
        action="store_true",
        help="also plan whole years that take minutes",
    )
    parser.addoption(
        "--every-normal-day",
        action="store_true",
        help="10,000 instead of 60 ordinary site-days in which plausibility checks must stay silent; takes minutes",
    )
    parser.addoption(
        "--every-order",
        action="store_true",
        help="300 instead of 30 histories of one site under faults, in any order; takes minutes",
    )
    parser.addoption(
        "--chaos",
        action="store_true",
        help="also kill, stall and restart the processes of real installations; takes some minutes; "
        "the whole: make chaos, make up-proof",
    )
