"""The checker finds each of the things that must not be: made-up journals, logs and traces, each with one fault."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace

import pytest

from tests.chaos import checker
from tests.chaos.checker import Arrival, Call, Findings

T0 = dt.datetime(2024, 4, 10, 10, 0, tzinfo=dt.UTC)


def at(seconds: float) -> dt.datetime:
    return T0 + dt.timedelta(seconds=seconds)


FIRST = Call(1, "B1", "start", "accepted", -2.0, at(0), at(1), None, at(60), epoch=1)
SECOND = Call(2, "B1", "renew", "accepted", -2.0, at(45), at(46), None, at(60), epoch=2)
RELEASE = Call(3, "B1", "release", "accepted", 0.0, at(61), at(62), epoch=3)
WIRE = [
    Arrival("B1", at(0.5), "dispatch", -2.0, False),
    Arrival("B1", at(45.5), "dispatch", -2.0, False),
    Arrival("B1", at(61.5), "stopped", 0.0, True),
]
UNSETTLED = replace(FIRST, state="not_seen", answered_at=None, resolved_at=at(50))


def found(calls: list[Call], wire: list[Arrival]) -> set[str]:
    findings = Findings()
    checker.check_calls(calls, wire, findings)
    return {invariant for invariant, each in findings.violations.items() if each}


def test_nothing_is_found_where_nothing_is_wrong() -> None:
    assert found([FIRST, SECOND, RELEASE], WIRE) == set()


@pytest.mark.parametrize(
    ("calls", "wire", "invariant"),
    [
        ([FIRST, SECOND, RELEASE], [*WIRE, replace(WIRE[0], at=at(0.8))], "doubled on the wire"),
        ([FIRST, SECOND, RELEASE], WIRE[1:], "accepted, unknown to the vendor"),
        ([SECOND, RELEASE], WIRE, "unknown to the journal"),
        ([FIRST, SECOND, RELEASE], [replace(WIRE[0], battery_kw=2.0), *WIRE[1:]], "unknown to the journal"),
        ([replace(FIRST, not_after=at(-2)), SECOND, RELEASE], WIRE, "arrived after its time"),
        ([replace(FIRST, answered_at=at(45.5)), SECOND, RELEASE], WIRE, "epochs overlap in flight"),
        ([UNSETTLED, SECOND, RELEASE], WIRE, "sent past an unresolved one"),
    ],
)
def test_a_fault_is_found(calls: list[Call], wire: list[Arrival], invariant: str) -> None:
    assert invariant in found(calls, wire)


def test_a_release_may_go_past_what_is_unresolved() -> None:
    assert found([replace(UNSETTLED, resolved_at=None, state="sending"), RELEASE], [WIRE[0], WIRE[2]]) == set()


def test_a_call_that_sleeps_on_its_way_overlaps_with_the_next_epoch() -> None:
    sleeper = replace(FIRST, state="superseded", answered_at=None, resolved_at=at(40))
    wire = [WIRE[1], WIRE[2], replace(WIRE[0], at=at(45.8))]
    assert "epochs overlap in flight" in found([sleeper, SECOND, RELEASE], wire)


def runs(*lines: tuple[str, int]) -> int:
    findings = Findings()
    traces = [
        {"at": place, "pid": pid, "what": what, "job": "dispatch/1", "slot": "10:00", "came": ""}
        for place, (what, pid) in enumerate(lines)
    ]
    checker.check_runs(traces, findings)
    return len(findings.violations["slot run more than once"])


def test_a_slot_has_one_end() -> None:
    assert runs(("began", 1), ("ended", 1)) == 0
    assert runs(("began", 1), ("began", 2), ("ended", 2)) == 0
    assert runs(("began", 1), ("ended", 1), ("began", 2), ("ended", 2)) == 1
    assert runs(("began", 1), ("began", 2), ("ended", 1)) == 1


def test_recovery_counts_reconciles_and_tells_when_an_account_was_driven_again() -> None:
    def seconds(came: str) -> tuple[float, float, bool]:
        findings = Findings()
        traces = [
            {"at": 30.0, "pid": 1, "what": "ended", "job": "reconcile/1", "slot": "", "came": came},
            {"at": 80.0, "pid": 1, "what": "ended", "job": "reconcile/1", "slot": "", "came": "{}"},
        ]
        checker.check_recovery([("kill child", 10.0)], traces, 1, findings)
        return findings.recoveries_s[0], findings.driven_again_s[0], findings.is_clean

    assert seconds("{}") == (20.0, 20.0, True)
    assert seconds("failed: the store is away") == (70.0, 70.0, False)
    assert seconds('{"another worker has the account": 3}') == (20.0, 70.0, True)


def test_only_releases_arrive_after_a_kill_switch() -> None:
    def violations(pulled_at: dt.datetime) -> int:
        findings = Findings()
        matched, _, _ = checker.match([FIRST, SECOND, RELEASE], WIRE)
        checker.check_halt(pulled_at, at(100), matched, [FIRST, SECOND, RELEASE], findings)
        return len(findings.violations["not a release after the kill switch"])

    assert violations(at(30)) == 1
    assert violations(at(42)) == 0
