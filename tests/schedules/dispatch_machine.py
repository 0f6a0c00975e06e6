"""One site, three workers, and everything that can happen to them, in whatever order hypothesis likes.

Time is virtual and the workers are those of `tests.simulation`: they die and stall at named points of the protocol,
and whatever happens meanwhile happens in between.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from engine.intent import Intent, IntentMode
from schedules.store import HaltScope, SafetyState, SiteRow
from tests.schedules.journal_watch import JournalWatch, WitnessedCloud
from tests.simulation import steps
from tests.simulation.device import Device, House, Order, site_of
from tests.simulation.faults import Fate, TelemetryFault
from tests.simulation.invariants import violations
from tests.simulation.scheduler import Fault, moment
from tests.simulation.stage import Stage, folder_in_memory
from tests.simulation.vendors import MAKES

INTERVAL_S = 180.0
INTERVALS = 6
NAME = "home"
ACCOUNT = "account"
# A rule that changes what is wanted is told apart in time from what went out before it [s].
APART_S = 0.01
# A worker is stopped no longer than this [s].
LONGEST_STALL_S = 150.0
TICK_EVERY_S = 20.0
# So long nobody does anything, now and then: telemetry is too old after it [s].
LONG_S = 1100.0

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.floats(0.05, 1.0)
MODES = st.sampled_from([IntentMode.CHARGE, IntentMode.DISCHARGE] * 2 + [IntentMode.HOLD, IntentMode.SELF_CONSUMPTION])
# A plan may ask for more than the battery is rated for: that is the dispatcher's to refuse.
ORDERS = st.lists(st.tuples(MODES, st.floats(0.05, 1.2)), min_size=INTERVALS, max_size=INTERVALS)
# One that is stopped before its lease is but late; one in a transaction holds SQLite's lock of the whole file.
STALLING = [point for point in steps.POINTS if point not in (steps.BEFORE_LEASE, steps.BEFORE_COMMIT)]
# Shorter than a lease, and longer [s].
STALLS = st.floats(0.1, 20.0) | st.floats(40.0, LONGEST_STALL_S)
FAULTS = st.one_of(
    st.builds(Fault, st.sampled_from(steps.POINTS), st.none()),
    st.builds(Fault, st.sampled_from(STALLING), STALLS),
    # Mostly so short that what another does in between is still under way.
    st.builds(Fault, st.just(steps.STATEMENT), st.floats(0.1, 1.0) | st.floats(0.1, 5.0) | STALLS, st.integers(1, 12)),
)
SCOPES = st.sampled_from([HaltScope.GLOBAL, HaltScope.VENDOR, HaltScope.ACCOUNT, HaltScope.SITE])
NOT_AT_PLAN = "not at plan in the end"
NOT_LET_GO = "not let go in the end"
# What leaves a device elsewhere than its vendor said.
UNFAITHFUL = (Fate.IGNORED, Fate.PARTIAL, Fate.LAPSES_EARLY)


@dataclass(frozen=True)
class Tick:
    """A tick that is delivered, what befalls it, and how far it comes before something else happens."""

    when: float | None
    """So long before or after the next edge of the plan [s]; None: now."""
    fault: Fault
    fate: Fate
    token_expired: bool
    """A login lies between the guard and the socket."""
    reads: bool
    wait_s: float


TICKS = st.builds(
    Tick,
    # What stands first is drawn most.
    st.sampled_from([0.0, 0.0, -1.0, 0.0, -1.0, 5.0, 5.0, None, LONG_S]),
    FAULTS,
    st.just(Fate.DONE) | st.sampled_from(Fate),
    st.booleans(),
    st.sampled_from([False, False, True]),
    # From before a call to beyond its time-out.
    st.sampled_from([0.2, 0.2, 1.0, 15.0]),
)


class Script:
    """What becomes of calls, in the place of a mix that draws it."""

    slow = 0.0

    def __init__(self) -> None:
        self.token_expired = 0.0
        self._fates: deque[Fate] = deque()

    def befalls(self, fate: Fate, token_expired: bool) -> None:
        """The next call, and the logins until something else is told."""
        self._fates = deque([fate])
        self.token_expired = float(token_expired)

    def fate(self, _: Random) -> Fate:
        return self._fates.popleft() if self._fates else Fate.DONE


class DispatchUnderFaults(RuleBasedStateMachine):
    """What happens are its rules, what must hold after each of them its invariants."""

    def __init__(self, breach: str = "", expires: bool = True) -> None:
        """Take the only breach that counts, if it is to be one, and whether devices end orders by themselves."""
        super().__init__()
        self._breach, self._expires, self._is_broken = breach, expires, False
        self._context = folder_in_memory()
        self._folder = self._context.__enter__()
        self.stage: Stage | None = None
        self.script = Script()
        self.halts: list[Callable[[], None]] = []
        self.overrides: list[tuple[float, Callable[[], None]]] = []

    # What happens

    @initialize(seed=SEEDS, make=st.sampled_from(MAKES), orders=ORDERS)
    def the_site_has_a_plan(self, seed, make, orders):
        rng = Random(seed)
        path = self._folder / "store.sqlite"
        self.stage = Stage(path)
        self.journal = JournalWatch(path)
        self.device = Device(site_of(NAME, rng), House(rng), 0.5)
        self.cloud = WitnessedCloud(
            self.stage.scheduler,
            rng,
            self.script,
            ACCOUNT,
            make,
            {NAME: self.device},
            self._expires,
            journal=self.journal,
        )
        self.cloud.telemetry_faults[NAME] = []
        self.account = self.stage.open_account(self.cloud)
        (self.target,) = self.account.targets
        self.stage.scheduler.run_until(300.0)
        self._plan(self.now, orders)
        self._deliver(reads=True)

    @rule(tick=TICKS)
    def deliver(self, tick):
        self._tick(tick)

    @rule(tick=TICKS, apart_s=st.sampled_from([0.0, 0.1, 2.0]))
    def redeliver(self, tick, apart_s):
        self._tick(replace(tick, wait_s=apart_s))
        for _ in self.stage.processes[1:]:
            self._deliver()
            self._pass(apart_s)
        self._pass(tick.wait_s)

    @rule(ticks=st.integers(2, 8))
    def some_quiet_minutes(self, ticks):
        self._quiet(ticks)

    @rule(tick=TICKS, kind=st.sampled_from(["failing", "absent", "stale"]), seconds=st.floats(1.0, 1200.0))
    def telemetry_is_out(self, tick, kind, seconds):
        self._tick(tick)
        self.cloud.telemetry_faults[NAME].append(TelemetryFault(self.now, self.now + seconds, kind))

    @rule(tick=TICKS, seconds=st.floats(1.0, 300.0))
    def the_database_is_away(self, tick, seconds):
        self._tick(tick)
        self.stage.database_outages.append((self.now, self.now + seconds))

    @rule(tick=TICKS, place=st.integers(0, 2), seconds=st.floats(-2.0, 2.0))
    def a_clock_steps(self, tick, place, seconds):
        self._tick(tick)
        process = self.stage.processes[place]
        process.clock.offset_s = seconds
        self.stage.note(process.name, f"clock {seconds:+.1f} s")

    @precondition(lambda self: not self.halts)
    @rule(tick=TICKS, scope=SCOPES, seconds=st.floats(60.0, 400.0))
    def somebody_pulls_a_kill_switch_and_lifts_it(self, tick, scope, seconds):
        self._tick(tick)
        names = {HaltScope.VENDOR: self.cloud.make.name, HaltScope.ACCOUNT: ACCOUNT, HaltScope.SITE: NAME}
        self.halts.append(self.stage.pull(scope, names.get(scope, "")))
        self.stage.scheduler.at(self.now + seconds, self._lift)

    @rule(tick=TICKS, mode=MODES, share=SHARES, seconds=st.floats(20.0, 400.0))
    def somebody_sets_an_override(self, tick, mode, share, seconds):
        self._tick(tick)
        self._pass(APART_S)
        end = self.now + seconds
        intent = self._intent(mode, share, self.now, end)
        self.overrides.append((end, self.stage.wish(self.account, self.target, intent)))

    @precondition(lambda self: self.overrides)
    @rule(tick=TICKS, which=st.integers(0, 3))
    def somebody_cancels_an_override(self, tick, which):
        self._tick(tick)
        self._pass(APART_S)
        end, cancel = self.overrides.pop(which % len(self.overrides))
        if end > self.now:
            cancel()

    @rule(tick=TICKS, share=st.none() | st.floats(-1.0, 1.0), seconds=st.floats(30.0, 600.0))
    def somebody_uses_the_vendors_app(self, tick, share, seconds):
        self._tick(tick)
        battery = self.device.site.battery
        power_kw = None if share is None else share * min(battery.max_charge_kw, battery.max_discharge_kw)
        self.device.take(self.now, Order(power_kw, self.now + seconds, is_ours=False))

    @rule(tick=TICKS)
    def somebody_releases_by_hand(self, tick):
        self._tick(tick, releases=True)

    @rule(tick=TICKS, orders=ORDERS)
    def replan(self, tick, orders):
        self._tick(tick)
        self._pass(APART_S)
        self._plan((self.now // INTERVAL_S + 1) * INTERVAL_S, orders)

    # What must hold

    @invariant()
    def nothing_is_broken(self):
        if self.stage is None:
            return
        self.device.advance(self.now)
        found = violations(self.stage, self.now)
        self._must_be_none("\n".join((f"{one.invariant}: {one.detail}", *one.trace)) for one in found)
        self._must_be_none(f"a tick ended as nobody foresaw: {error}" for error in self.stage.errors)

    @invariant()
    def the_journal_is_whole(self):
        if self.stage is None:
            return
        self._must_be_none([*self.cloud.unjournalled, *self.journal.breaches()])

    def teardown(self):
        try:
            if self.stage is not None and not self._is_broken:
                self._in_the_end_all_is_settled()
        finally:
            if self.stage is not None:
                self.stage.close()
            self._context.__exit__(None, None, None)

    def _in_the_end_all_is_settled(self):
        """Once nothing fails any more and those who stalled are awake, some minutes are enough; to stop, one is."""
        self._lift()
        self.stage.database_outages = [(since, min(until, self.now)) for since, until in self.stage.database_outages]
        self.cloud.telemetry_faults[NAME].clear()
        for process in self.stage.processes:
            process.clock.offset_s = 0.0
        self._quiet(int((LONGEST_STALL_S + 200.0) / TICK_EVERY_S))
        demand = self.account.demands[NAME]
        # Not just after an edge, nor in the part of a minute before one that a vendor's orders do not fill.
        while len({demand.wanted_at(self.now + near_s, self.now) for near_s in (-90.0, 0.0, 60.0)}) > 1:
            self._quiet(1)
        self.nothing_is_broken()
        self.the_journal_is_whole()
        self._must_be_none(self.journal.left_unknown())
        last = self.cloud.wire[-1:]
        if not self.device.order.is_ours or any(request.fate in UNFAITHFUL for request in last):
            return
        allowed = self._powers_allowed_now()
        if self.device.order.power_kw not in allowed:
            self._must_be_none([f"{NOT_AT_PLAN}: {self.device.order} instead of {allowed} kW"])
        self.stage.pull()
        self._quiet(3)
        self.nothing_is_broken()
        if self.device.order.power_kw is not None:
            self._must_be_none([f"{NOT_LET_GO}: {self.device.order}"])

    # How

    def _must_be_none(self, breaches: Iterable[str]) -> None:
        for found in breaches:
            if found.startswith(self._breach):
                self._is_broken = True
                raise AssertionError(found)

    @property
    def now(self) -> float:
        return self.stage.scheduler.now

    def _powers_allowed_now(self) -> list[float | None]:
        """What the device may be at, by what is wanted and how far the site is trusted; None: following the house."""
        wanted_kw = self.account.demands[NAME].wanted_at(self.now).power_kw
        with self.stage.db.session() as session:
            safety = session.get_one(SiteRow, self.target.id).safety
        if safety in (SafetyState.FALLBACK, SafetyState.QUARANTINED):
            return [None]
        battery = self.device.site.battery
        is_possible = wanted_kw is not None and -battery.max_charge_kw <= wanted_kw <= battery.max_discharge_kw
        if not is_possible or (wanted_kw == 0.0 and IntentMode.HOLD not in self.cloud.make.abilities.modes):
            return [None]
        # What a degraded site does may run out, and nothing new is begun there.
        return [wanted_kw] if safety is SafetyState.NORMAL else [wanted_kw, None]

    def _intent(self, mode: IntentMode, share: float, begin: float, end: float) -> Intent:
        battery = self.device.site.battery
        rated_kw = {IntentMode.CHARGE: battery.max_charge_kw, IntentMode.DISCHARGE: battery.max_discharge_kw}
        return Intent(mode, share * rated_kw.get(mode, 0.0), moment(begin), moment(end))

    def _plan(self, begin: float, orders: list[tuple[IntentMode, float]]) -> None:
        edges = [begin + INTERVAL_S * number for number in range(INTERVALS + 1)]
        stretches = zip(orders, pairwise(edges), strict=True)
        intents = [self._intent(mode, share, *stretch) for (mode, share), stretch in stretches]
        self.stage.put_plan(self.account, self.target, begin, edges[-1], intents)
        self.orders, self.planned_until = orders, edges[-1]

    def _deliver(self, fault: Fault | None = None, *, reads: bool = False, releases: bool = False) -> None:
        """Give an account's tick to a worker that is free, if one is."""
        process = next((one for one in self.stage.processes if one.is_free and not one.is_dead), None)
        if process is not None:
            self.stage.start(process, self.account, fault, lambda _: None, reads=reads, releases=releases)

    def _pass(self, seconds: float) -> None:
        end = self.now + seconds
        while self.planned_until < end + INTERVAL_S:
            self._plan(self.planned_until, self.orders)
        self.stage.scheduler.run_until(end)

    def _lift(self) -> None:
        while self.halts:
            self.halts.pop()()

    def _tick(self, tick: Tick, *, releases: bool = False) -> None:
        if tick.when is not None:
            due = self.account.demands[NAME].next_edge(self.now + max(0.0, -tick.when)) + tick.when
            # Others go on while one is stalled.
            while self.now + TICK_EVERY_S < due and not all(one.is_free for one in self.stage.processes):
                self._quiet(1)
            self._pass(due - self.now)
        self.script.befalls(tick.fate, tick.token_expired)
        self._deliver(tick.fault, reads=tick.reads, releases=releases)
        self._pass(tick.wait_s)

    def _quiet(self, ticks: int) -> None:
        self.script.befalls(Fate.DONE, token_expired=False)
        for number in range(ticks):
            self._deliver(reads=number % 4 == 0)
            self._pass(TICK_EVERY_S)
