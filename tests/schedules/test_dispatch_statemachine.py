"""Any order of ticks, time, faults, crashes and wishes: what must hold after every step, and that its breach shows."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.schedules.dispatch_machine import NOT_LET_GO, DispatchUnderFaults
from tests.schedules.journal_watch import GONE, REWRITTEN, UNJOURNALLED
from tests.simulation import guards, invariants

EXAMPLES = 30
SETTINGS = settings(
    max_examples=EXAMPLES,
    stateful_step_count=25,
    deadline=None,
    derandomize=True,
    database=None,
    # A failure is reported as it was found: shrinking takes minutes. Who looks into one adds Phase.shrink by hand.
    phases=[Phase.generate],
    report_multiple_bugs=False,
)
# So many are looked through for what a missing guard lets happen; the first few show it.
MOST_EXAMPLES = 200
EVENTS = (
    "some_quiet_minutes",
    "telemetry_is_out",
    "the_database_is_away",
    "a_clock_steps",
    "somebody_pulls_a_kill_switch_and_lifts_it",
    "somebody_sets_an_override",
    "somebody_cancels_an_override",
    "somebody_uses_the_vendors_app",
    "somebody_releases_by_hand",
    "replan",
)


@pytest.mark.timeout(1800)  # ten times as many take minutes
def test_no_order_of_events_breaks_a_rule(request):
    examples = EXAMPLES * (10 if request.config.getoption("--every-order") else 1)
    run_state_machine_as_test(DispatchUnderFaults, settings=settings(SETTINGS, max_examples=examples))


@pytest.mark.parametrize(
    ("guard", "breach", "event"),
    [
        ("lease and fence", invariants.OVERLAP, None),
        ("deadline", invariants.LATE, None),
        ("replaced intents", invariants.STALE, "somebody_sets_an_override"),
        (guards.DEVICE_EXPIRY, invariants.PAST_END, None),
        ("nothing twice", invariants.DOUBLED, None),
        ("read-back", invariants.BLIND, None),
        ("nameplate", invariants.OVERLOAD, None),
        ("kill switch", invariants.HALTED, "somebody_pulls_a_kill_switch_and_lifts_it"),
        ("age of telemetry", invariants.OLD_TELEMETRY, None),
        ("letting go", NOT_LET_GO, None),
        ("a settled row stays", REWRITTEN, None),
        ("rows are only added", GONE, None),
        ("a row says SENDING first", UNJOURNALLED, None),
    ],
)
def test_the_machine_notices_that_a_guard_is_gone(guard, breach, event):
    """It is found sooner where only that happens, beside ticks and what befalls them, which the guard is for."""
    machine_of_it = type("Machine", (DispatchUnderFaults,), {name: None for name in EVENTS if name != event})

    def machine() -> DispatchUnderFaults:
        return machine_of_it(breach, expires=guard != guards.DEVICE_EXPIRY)

    with guards.without(guard), pytest.raises(AssertionError, match=breach):
        run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=MOST_EXAMPLES))
