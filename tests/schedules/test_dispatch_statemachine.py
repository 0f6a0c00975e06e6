"""Any order of ticks, time, faults, crashes and wishes: what must hold after every step, and that its breach shows."""

from __future__ import annotations

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.schedules.dispatch_machine import NOT_LET_GO, DispatchUnderFaults
from tests.schedules.journal_watch import GONE, REWRITTEN, UNJOURNALLED
from tests.simulation import guards, invariants

EXAMPLES = 20
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


def test_no_order_of_events_breaks_a_rule(request):
    examples = EXAMPLES * (10 if request.config.getoption("--every-order") else 1)
    run_state_machine_as_test(DispatchUnderFaults, settings=settings(SETTINGS, max_examples=examples))


@pytest.mark.parametrize(
    ("guard", "breach"),
    [
        ("lease and fence", invariants.OVERLAP),
        ("deadline", invariants.LATE),
        ("replaced intents", invariants.STALE),
        (guards.DEVICE_EXPIRY, invariants.PAST_END),
        ("nothing twice", invariants.DOUBLED),
        ("read-back", invariants.BLIND),
        ("nameplate", invariants.OVERLOAD),
        ("kill switch", invariants.HALTED),
        ("age of telemetry", invariants.OLD_TELEMETRY),
        ("letting go", NOT_LET_GO),
        ("a settled row stays", REWRITTEN),
        ("rows are only added", GONE),
        ("a row says SENDING first", UNJOURNALLED),
    ],
)
def test_the_machine_notices_that_a_guard_is_gone(guard, breach):
    def machine() -> DispatchUnderFaults:
        return DispatchUnderFaults(breach, expires=guard != guards.DEVICE_EXPIRY)

    with guards.without(guard), pytest.raises(AssertionError, match=breach):
        run_state_machine_as_test(machine, settings=settings(SETTINGS, max_examples=MOST_EXAMPLES))
