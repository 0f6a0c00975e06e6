"""One run: three beats beside one, then disturbances, then a kill switch among more of them; and the verdict."""

from __future__ import annotations

import datetime as dt
import shutil
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy.exc import OperationalError

from schedules import halts
from schedules.store import HaltScope
from tests.chaos import checker
from tests.chaos.checker import Findings
from tests.chaos.disturbances import PAUSE_S, Disturber
from tests.chaos.fleet import VENDORS, put_plans
from tests.chaos.installation import Installation
from tests.processes import wait_until
from tests.servers import PostgreSql, Valkey

# Workers are up by then, and have read what begins anything [s].
WARM_UP_S = 35.0
COMPARED_S = 90.0
# What begins so late in it may not have been started under both yet.
STARTED_WITHIN = dt.timedelta(seconds=20)
CALM_S = 65.0
HALT_MINUTE_S = 60.0
# Calls whose answer is lost, among all that change something.
LOST_SHARE = 0.02
LONGEST_AWAY_S = 60.0


@dataclass
class Outcome:
    """What a run came to."""

    kinds: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    """How long the disturbances took [s]."""
    states: Counter[str] = field(default_factory=Counter)
    starts: int = 0
    """Starts of an undisturbed run that were compared."""
    restarted: Counter[str] = field(default_factory=Counter)
    halted_releases: int = 0
    epochs: int = 0
    findings: Findings = field(default_factory=Findings)

    @property
    def is_clean(self) -> bool:
        return self.findings.is_clean

    def figures(self) -> dict[str, Any]:
        recoveries = sorted(self.findings.recoveries_s) or [0.0]
        driven = sorted(self.findings.driven_again_s) or [0.0]
        return {
            "disturbances": self.kinds.total(),
            **{f"  {kind}": count for kind, count in sorted(self.kinds.items())},
            "seconds of disturbances": self.seconds,
            "calls in the journal": self.findings.calls,
            **{f"  {state}": count for state, count in sorted(self.states.items())},
            "calls that the vendors had": self.findings.arrivals,
            "leases taken": self.epochs,
            "slots run": self.findings.runs,
            "recovery, median [s]": recoveries[len(recoveries) // 2],
            "recovery, 95 % [s]": recoveries[int(len(recoveries) * 0.95)],
            "recovery, longest [s]": recoveries[-1],
            "until all accounts are driven, median [s]": driven[len(driven) // 2],
            "until all accounts are driven, longest [s]": driven[-1],
            "starts compared, one beat and three": self.starts,
            "releases after the kill switch": self.halted_releases,
            **{f"ended by itself: {what}": count for what, count in self.restarted.items()},
        }

    def counts(self) -> dict[str, int]:
        return {invariant: len(found) for invariant, found in self.findings.violations.items()}

    def as_json(self) -> dict[str, Any]:
        figures = {name.strip(): value for name, value in self.figures().items()}
        return {"figures": figures, "violations": self.findings.violations}


def run(kills: int, seed: int, keep: str | None = None, *, compares: bool = True, halts_too: bool = True) -> Outcome:
    """Do all of it.

    Args:
        kills: How many disturbances.
        seed: Of plans and disturbances.
        keep: A folder for what was logged; None: nothing is kept.
        compares: Whether three beats are held against one.
        halts_too: Whether a kill switch is pulled at the end.
    """
    outcome = Outcome()
    with ExitStack() as stack:
        folder = Path(tempfile.mkdtemp(prefix="tidewatt-chaos-"))
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        if keep is not None:
            stack.callback(shutil.copytree, folder, keep, ignore=shutil.ignore_patterns("*.sock"), dirs_exist_ok=True)
        postgresql = PostgreSql()
        stack.callback(postgresql.end)
        if compares:
            _compare_beats(folder, postgresql, seed, outcome)
        _disturb(folder, postgresql, kills, seed, halts_too, outcome)
    return outcome


def _compare_beats(folder: Path, postgresql: PostgreSql, seed: int, outcome: Outcome) -> None:
    """The same plans at the same time, undisturbed, under one beat and under three: the same starts."""
    begin = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=WARM_UP_S)
    with ExitStack() as stack:
        both = []
        for beats in (1, 3):
            installation, _ = _installed(stack, folder / f"beats-{beats}", postgresql)
            put_plans(installation.db, installation.clock, seed, begin, 10 * COMPARED_S)
            installation.start(workers=1, beats=beats)
            both.append(installation)
        time.sleep(max(0.0, (begin - dt.datetime.now(dt.UTC)).total_seconds()) + COMPARED_S)
        until = begin + dt.timedelta(seconds=COMPARED_S) - STARTED_WITHIN
        one, three = (checker.starts_of(each.db, until) for each in both)
    differ = [f"{site}: {one[site]} under one, {three[site]} under three" for site in one if one[site] != three[site]]
    outcome.starts = sum(map(len, one.values()))
    outcome.findings.note("three beats unlike one", differ)
    if outcome.starts < len(one):
        outcome.findings.note("three beats unlike one", [f"only {outcome.starts} starts to compare"])


def _installed(
    stack: ExitStack, folder: Path, postgresql: PostgreSql, lost_share: float = 0.0
) -> tuple[Installation, Valkey]:
    folder.mkdir()
    valkey = Valkey(folder)
    stack.callback(valkey.stop)
    installation = Installation(folder, postgresql.new_database(), valkey.url, lost_share)
    stack.callback(installation.end)
    installation.open_vendors()
    return installation, valkey


def _disturb(folder: Path, postgresql: PostgreSql, kills: int, seed: int, halts_too: bool, outcome: Outcome) -> None:
    expected_s = kills * sum(PAUSE_S) / 2
    with ExitStack() as stack:
        installation, valkey = _installed(stack, folder / "disturbed", postgresql, LOST_SHARE)
        begin = installation.clock() + dt.timedelta(seconds=5)
        put_plans(installation.db, installation.clock, seed, begin, 2 * expected_s + 600)
        installation.start(workers=2, beats=3)
        wait_until(lambda: _reconciled(installation), "the first reconcile of every account")
        disturber = Disturber(installation, valkey, postgresql, seed)
        stack.callback(disturber.undo_all)
        begun = time.monotonic()
        disturber.run(kills, begun + 3 * expected_s + 60)
        outcome.seconds = time.monotonic() - begun
        pulled_at = _minute_with_halt(installation, disturber) if halts_too else None
        _recover(installation, disturber)
        ended_at = installation.clock()
        _judge(installation, disturber, pulled_at, ended_at, outcome)


def _minute_with_halt(installation: Installation, disturber: Disturber) -> dt.datetime:
    """A disturbed minute, and a kill switch in the middle; when it was in force."""
    each_s = sum(PAUSE_S) / 2
    pulled: list[dt.datetime] = []
    half = int(HALT_MINUTE_S / 2 / each_s)

    def pull(number: int) -> None:
        if number == half:
            pulled.append(_pull(installation, disturber))

    disturber.run(2 * half, time.monotonic() + 3 * HALT_MINUTE_S, pull)
    return pulled[0]


def _recover(installation: Installation, disturber: Disturber) -> None:
    """Wait until every account was reconciled after the last disturbance, but no longer than that may take."""
    until = time.monotonic() + CALM_S
    last = [(disturber.made[-1].kind, disturber.made[-1].at)]
    while time.monotonic() < until:
        disturber.wait(1.0)
        findings = Findings()
        checker.check_recovery(last, installation.traces(), len(VENDORS), findings)
        if findings.is_clean:
            return


def _pull(installation: Installation, disturber: Disturber) -> dt.datetime:
    """Pull it as soon as the store is there; who took it away brings it back meanwhile."""
    deadline = time.monotonic() + LONGEST_AWAY_S
    while True:
        try:
            halts.pull(installation.db, installation.clock, HaltScope.GLOBAL, "", "a drill", "chaos")
            return installation.clock()
        except OperationalError:
            if time.monotonic() > deadline:
                raise
            disturber.wait(0.5)


def _reconciled(installation: Installation) -> bool:
    done = {trace["job"] for trace in installation.traces() if trace["what"] == "ended"}
    return {f"reconcile/{number}" for number in range(1, len(VENDORS) + 1)} <= done


def _judge(
    installation: Installation,
    disturber: Disturber,
    pulled_at: dt.datetime | None,
    ended_at: dt.datetime,
    outcome: Outcome,
) -> None:
    findings = outcome.findings
    calls, traces = checker.calls_of(installation.db), installation.traces()
    arrivals = [arrival for vendor in VENDORS for arrival in checker.arrivals_of(installation.log(vendor))]
    matched = checker.check_calls(calls, arrivals, findings)
    checker.check_runs(traces, findings)
    disturbances = [(made.kind, made.at) for made in disturber.made]
    checker.check_recovery(disturbances, traces, len(VENDORS), findings)
    if pulled_at is not None:
        checker.check_halt(pulled_at, ended_at, matched, calls, findings)
        outcome.halted_releases = sum(
            arrival.at > pulled_at for call in calls if call.kind == "release" for arrival in matched.get(call.id, ())
        )
    outcome.kinds = Counter(made.kind for made in disturber.made)
    outcome.states = Counter(call.state for call in calls)
    outcome.restarted = Counter(disturber.restarted)
    outcome.epochs = max((call.epoch for call in calls), default=0)
    driven = {call.device for call in calls if call.kind == "start" and call.state == "accepted"}
    silent = {call.device for call in calls} - driven
    findings.note("site that was never driven", sorted(silent))
