"""A limit of export is set while a plan curtails, lifted afterwards and by every stop, and taken for no set-point."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, update

from adapters.contract import Channel, Command, IntentRefusedError
from engine import GridConnection
from engine.errors import InputError
from schedules import export_limits, halts, journal, ramp, registration, safety, telemetry, verdicts
from schedules.export_limits import EXCEEDED_EVENT, RETRYABLE_AGAIN_S, TRY_AGAIN_S
from schedules.signs import EXTERNAL_EVENT, signs_of
from schedules.store import EventRow, HaltScope, IntentRow, SafetyState, SiteRow
from tests.schedules.bench import Bench
from tests.schedules.scripted_vendor import Answer, ScriptedVendor

UNLIMITED, NOTHING = {"limit_kw": None}, {"limit_kw": 0.0}


class LimitingVendor(ScriptedVendor):
    """Limits export at once; its calls for that are scripted apart, so that they may fail alone."""

    limited = frozenset({"B1"})

    def __init__(self, *arguments) -> None:
        super().__init__(*arguments)
        self.limits: list[Answer] = []
        self.in_force_kw: float | None = None
        self.limit_calls: list[tuple[dt.datetime, float | None]] = []

    def limits_export(self, device) -> bool:
        return device.device_id in self.limited

    def limit_export(self, device, export_limit_kw) -> Command:
        if export_limit_kw is not None and export_limit_kw > 5000:
            raise IntentRefusedError("too much")
        return Command(device.device_id, export_limit_kw is None, 0.0, {"limit_kw": export_limit_kw})

    async def send(self, command):
        if "limit_kw" not in command.payload:
            return await super().send(command)
        answer = self.limits.pop(0) if self.limits else Answer.ACCEPT
        self.script.appendleft(answer)
        self.limit_calls.append((self.clock(), command.payload["limit_kw"]))
        taking, self.battery.take = self.battery.take, lambda taken: self._limit(taken)
        try:
            return await super().send(command)
        finally:
            self.battery.take = taking

    def _limit(self, command) -> None:
        self.in_force_kw = command.payload["limit_kw"]


class LimitingBench(Bench):
    def __init__(self, folder, soc: float = 0.5) -> None:
        super().__init__(folder, soc)
        self.close()
        self.vendor = LimitingVendor(self.clock, self.battery, self._witness)
        self._start_process()

    def plan_limits(self, *wishes: tuple[str, float, float, float, float | None]) -> None:
        """Mode, power [kW], begin and end [s], limit [kW]."""
        self.plan(*(self.intent(*wish) for *wish, _ in wishes))
        with self.db.write() as session:
            for row, (*_, limit_kw) in zip(self.intents()[-len(wishes) :], wishes, strict=True):
                session.execute(update(IntentRow).where(IntentRow.id == row.id).values(export_limit_kw=limit_kw))

    def limit_rows(self) -> list[tuple[str, str]]:
        return [
            (row.state.value, "lift" if row.intent_id is None else "limit")
            for row in self.journal()
            if row.kind.value == "limit"
        ]

    def on_battery(self) -> list[str]:
        return [row.kind.value for row in self.journal() if row.kind.value != "limit"]


@pytest.fixture
def bench(tmp_path):
    made = LimitingBench(tmp_path)
    yield made
    made.close()


@pytest.fixture
def limited(bench):
    """Export is limited, and the battery left to itself."""
    bench.plan_limits(("self_consumption", 0.0, 0, 7200, 0.0))
    bench.tick()
    assert bench.vendor.in_force_kw == 0.0
    return bench


def lifted_to(bench) -> float | None:
    return bench.target.site.grid.export_limit_kw


@pytest.mark.parametrize("mode", ["self_consumption", "hold", "charge", "discharge"])
def test_a_limit_is_set_once_with_its_intent_and_lifted_once_after_it(bench, mode):
    kw = 2.0 if mode in ("charge", "discharge") else 0.0
    bench.plan_limits(
        (mode, kw, 0, 900, None), (mode, kw, 900, 1800, 0.0), (mode, kw, 1800, 2700, 0.0), (mode, kw, 2700, 3600, None)
    )
    bench.run(3600 + 120, every_s=15)

    calls = [((at - bench.at(0)).total_seconds(), kw) for at, kw in bench.vendor.limit_calls]
    assert calls == [(900, 0.0), (2700, 10.0)], "to what the connection allows"
    assert bench.limit_rows() == [("accepted", "limit"), ("accepted", "lift")]
    assert bench.battery.lapses == []


def test_without_a_limit_of_the_connection_lifting_leaves_none(limited):
    limited.target = replace(limited.target, site=limited.target.site.model_copy(update={"grid": GridConnection()}))
    limited.dispatcher._targets[limited.target.id] = limited.target
    halts.disarm(limited.db, limited.clock, "scripted", "test")
    limited.tick()
    assert limited.vendor.in_force_kw is None


def test_a_plan_without_limits_makes_no_call_of_them(bench):
    bench.plan(bench.intent("charge", 2.0, 0, 900), bench.intent("self_consumption", 0.0, 900, 1800))
    bench.run(1900)
    assert bench.limit_rows() == []


@pytest.mark.parametrize("stop", ["halt", "disarm", "fallback", "quarantined", "no plan", "release"])
def test_whatever_stops_the_battery_lifts_the_limit_at_once(limited, stop):
    limited.move(60)
    if stop == "halt":
        halts.pull(limited.db, limited.clock, HaltScope.GLOBAL, "", "test", "test")
    elif stop == "disarm":
        halts.disarm(limited.db, limited.clock, "scripted", "test")
    elif stop == "no plan":
        with limited.db.write() as session:
            session.execute(update(IntentRow).values(superseded=True))
    elif stop == "release":
        assert asyncio.run(limited.dispatcher.release())
    else:
        with limited.db.write() as session:
            session.get_one(SiteRow, limited.target.id).safety = SafetyState(stop)
    if stop != "release":
        limited.tick()
    assert limited.vendor.in_force_kw == lifted_to(limited)
    limited.run(900)
    expected = 3 if stop == "release" else 2
    assert len(limited.limit_rows()) == expected, "set again where only this process let go, and nothing twice"


def test_nobody_is_limited_past_a_kill_switch_that_comes_between_decision_and_socket(bench):
    bench.plan_limits(("self_consumption", 0.0, 0, 7200, 0.0))

    def pull() -> None:
        halts.pull(bench.db, bench.clock, HaltScope.GLOBAL, "", "test", "test")

    with bench.hooked(after=pull):
        bench.tick()
    assert bench.vendor.limit_calls == []
    assert [state for state, _ in bench.limit_rows()] == ["rejected"]
    bench.run(900)
    assert bench.vendor.limit_calls == [], "what was never set is not lifted"


def test_a_worker_that_lost_its_account_limits_nothing(bench, monkeypatch):
    bench.plan_limits(("self_consumption", 0.0, 0, 7200, 0.0))
    monkeypatch.setattr("schedules.leases.extend", lambda *_: False)
    bench.tick()
    assert bench.limit_rows() == []


def test_a_lost_answer_is_settled_by_sending_again_not_too_often(bench):
    bench.vendor.limits = [Answer.LOSE_REPLY, Answer.LOSE_REQUEST]
    bench.plan_limits(("charge", 1.0, 0, 7200, 0.0))
    bench.run(2 * TRY_AGAIN_S - 15)
    assert bench.limit_rows() == [("unknown", "limit")] * 2
    bench.run(60)
    assert bench.limit_rows() == [("superseded", "limit")] * 2 + [("accepted", "limit")]
    bench.run(900)
    assert len(bench.limit_rows()) == 3


def test_a_limit_of_unknown_fate_is_lifted_too_and_at_once(bench):
    bench.vendor.limits = [Answer.LOSE_REPLY]
    bench.plan_limits(("self_consumption", 0.0, 0, 60, 0.0))
    bench.run(75)
    assert bench.limit_rows() == [("superseded", "limit"), ("accepted", "lift")]
    assert bench.vendor.in_force_kw == lifted_to(bench)


def test_what_was_refused_is_tried_again_not_too_often(bench):
    bench.vendor.limits = [Answer.REJECT] * 2
    bench.plan_limits(("self_consumption", 0.0, 0, 7200, 0.0))
    bench.run(2 * TRY_AGAIN_S + 15)
    assert [(at - bench.at(0)).total_seconds() for at, _ in bench.vendor.limit_calls] == [0, 600, 1200]
    assert bench.vendor.in_force_kw == 0.0
    assert RETRYABLE_AGAIN_S < TRY_AGAIN_S


@pytest.mark.parametrize("moment", ["crash before", "crash after"])
def test_after_a_crash_the_next_worker_sets_it_and_knows(bench, moment):
    bench.vendor.limits = [Answer(moment)]
    bench.plan_limits(("self_consumption", 0.0, 0, 7200, 0.0))
    with pytest.raises(Bench.Crash):
        bench.tick()
    bench.restart()
    bench.run(TRY_AGAIN_S + 15)
    assert bench.limit_rows() == [("superseded", "limit"), ("accepted", "limit")]
    assert bench.vendor.in_force_kw == 0.0


def test_a_limit_is_no_set_point_to_anybody_who_asks_where_the_battery_stands(bench):
    """Its row asks for 0 kW, as a hold does; the newest of all, it has ended nothing."""
    bench.vendor.limits = [Answer.ACCEPT, Answer.LOSE_REPLY]
    bench.plan_limits(("charge", 2.0, 0, 3600, 0.0))
    bench.tick()
    now = bench.clock()
    with bench.db.session() as session:
        standing = journal.standings(session, [bench.target.id], now)[bench.target.id]
        assert bench.journal()[-1].kind.value == "limit"
        newest = journal.newest_of_intent(session, bench.intents()[0].id)
    assert standing.newest is not None
    assert newest is not None
    assert standing.newest.kind.value == newest.kind.value == "start"
    assert standing.stopped is standing.released is None
    assert standing.drives(bench.vendor.abilities, now)
    assert standing.moves(bench.vendor.abilities, now)
    bench.plan_limits(("charge", 2.0, 15, 3600, 1.0))
    bench.move(15)
    bench.tick()
    assert bench.limit_rows()[-1] == ("unknown", "limit")
    with bench.db.session() as session:
        assert journal.standings(session, [bench.target.id], bench.clock())[bench.target.id].unresolved == ()
    bench.move(safety.UNKNOWN_RELEASES_S)
    assert signs_of(bench.db, bench.clock, [bench.target])[bench.target.id].unknown_s == 0


def test_a_limit_drives_no_battery_so_whoever_drives_it_is_somebody_else_and_once(bench):
    bench.vendor.limits = [Answer.LOSE_REPLY]
    bench.plan_limits(("self_consumption", 0.0, 0, 3600, 0.0))
    bench.is_watched = False

    def show(second: float, active: bool) -> None:
        reading = replace(bench.battery.rows[-1], measured_at=bench.at(second), dispatch_active=active)
        telemetry.keep(bench.db, bench.clock(), bench.target.id, replace(reading, channel=Channel.POWER, soc=None))

    def changes_noted() -> int:
        verdicts.confirm(bench.db, bench.clock, [bench.target])
        with bench.db.session() as session:
            return len(session.scalars(select(EventRow).where(EventRow.kind == EXTERNAL_EVENT)).all())

    bench.move(60)
    show(30, False)
    bench.tick()
    bench.move(100)
    show(120, True)
    show(130, True)
    assert changes_noted() == 1
    bench.move(TRY_AGAIN_S)
    bench.tick()
    bench.move(200)
    show(900, True)
    show(910, True)
    assert bench.limit_rows()[-1] == ("accepted", "limit"), "sent again for the same intent"
    assert changes_noted() == 1


def test_a_release_that_is_asked_for_does_not_wait_to_lift(limited):
    limited.vendor.limits = [Answer.REJECT] * 2
    assert asyncio.run(limited.dispatcher.release())
    assert limited.vendor.in_force_kw == lifted_to(limited)


def test_a_release_says_so_where_a_limit_could_not_be_lifted(limited):
    limited.vendor.limits = [Answer.REJECT] * 9
    assert not asyncio.run(limited.dispatcher.release())


def test_the_fleets_ramp_counts_no_limit(bench):
    ramp.set_limit(bench.db, bench.clock, "test", kw_per_min=100.0)
    bench.plan_limits(("charge", 2.0, 0, 3600, 0.0))
    bench.tick()
    assert [(row.kind.value, row.step_kw) for row in bench.journal()] == [("start", -2.0), ("limit", None)]


def test_a_site_with_a_limit_in_force_is_not_taken_out(limited):
    with pytest.raises(InputError, match="is driven"):
        registration.remove_site(limited.db, limited.clock, limited.target, "test")
    halts.disarm(limited.db, limited.clock, "scripted", "test")
    limited.tick()
    registration.remove_site(limited.db, limited.clock, limited.target, "test")


def test_a_device_that_is_named_no_more_is_let_go_of_and_left_alone(limited):
    limited.vendor.limited = frozenset()
    limited.run(900)
    assert limited.vendor.in_force_kw == lifted_to(limited)
    assert limited.limit_rows() == [("accepted", "limit"), ("accepted", "lift")]


@pytest.mark.parametrize("fed_in_kw", [0.1, 2.0])
def test_a_limit_that_is_not_kept_once_it_has_settled_is_written_down_once(limited, fed_in_kw):
    def notes() -> list[str]:
        with limited.db.session() as session:
            return [row.text for row in session.scalars(select(EventRow).where(EventRow.kind == EXCEEDED_EVENT))]

    def read_for(seconds: int) -> None:
        for _ in range(seconds // 10):
            limited.move(10)
            limited.watch()
            export_limits.note_exceeded(limited.db, limited.clock, limited.target, "test")

    limited.battery.load_kw, limited.battery.pv_kw = 0.0, 5.0 + fed_in_kw  # it charges with 5 kW at most
    read_for(int(limited.vendor.abilities.settling_s))
    assert notes() == [], "not yet"
    read_for(300)
    assert len(notes()) == (fed_in_kw > 1)
    if notes():
        assert "2.00 kW are fed in, the limit is 0 kW" in notes()[0]


def test_what_could_not_be_lifted_is_not_set(bench):
    beyond = bench.target.site.model_copy(update={"grid": GridConnection(export_limit_kw=6000)})
    row = IntentRow(export_limit_kw=0.0)
    with bench.db.session() as session, pytest.raises(IntentRefusedError):
        export_limits.due(session, replace(bench.target, site=beyond), row, bench.clock())


ANSWERS = st.sampled_from([Answer.ACCEPT, Answer.REJECT, Answer.LOSE_REPLY, Answer.LOSE_REQUEST])
STEPS = st.lists(
    st.tuples(st.sampled_from([None, 0.0, 2.0]), st.booleans(), st.lists(ANSWERS, max_size=3)), min_size=1, max_size=6
)


@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(STEPS)
def test_whatever_is_lost_or_refused_the_limit_is_in_the_end_what_is_wanted(tmp_path_factory, steps):
    """Limits come and go, calls are lost, the kill switch is pulled; an hour of a well vendor later all is right."""
    bench = LimitingBench(tmp_path_factory.mktemp("bench"))
    try:
        for place, (limit_kw, halted, answers) in enumerate(steps):
            begin = place * 1800
            bench.plan_limits(("self_consumption", 0.0, begin, begin + 1800, limit_kw))
            halt = halts.pull(bench.db, bench.clock, HaltScope.GLOBAL, "", "t", "t") if halted else None
            bench.vendor.limits = list(answers)
            bench.run(1680, every_s=120)
            if len(answers) * TRY_AGAIN_S < 1680:
                wanted = None if halted else limit_kw
                assert bench.vendor.in_force_kw in ({None, 10.0} if wanted is None else {wanted})
            if halt is not None:
                halts.lift(bench.db, bench.clock, halt, "t")
            bench.move(120)
        times = [at for at, _ in bench.vendor.limit_calls]
        assert all(later - earlier >= dt.timedelta(seconds=60) for earlier, later in itertools.pairwise(times))
        assert bench.on_battery() == []
    finally:
        bench.close()
