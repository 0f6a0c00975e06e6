"""The demonstration as its user meets it: a process on a terminal, finished, interrupted, killed."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
from collections.abc import Callable
from typing import Any

import pytest

from adapters.emulation import EmulatorControl
from tests.console.conftest import DemoProcess

DISPATCH_EVENTS = ("started", "renewed", "stopped", "lapsed")
LIFETIME = dt.timedelta(seconds=90)

pytestmark = pytest.mark.timeout(600)


def dispatches(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] in DISPATCH_EVENTS]


def driving_after(hours: float) -> Callable[[list[dict[str, Any]]], bool]:
    """Whether the emulator is past so many hours of its day and under a dispatch."""

    def reached(events: list[dict[str, Any]]) -> bool:
        begin, last = (dt.datetime.fromisoformat(events[place]["at"]) for place in (0, -1))
        latest = [event["event"] for event in dispatches(events)][-1:]
        return last - begin > dt.timedelta(hours=hours) and latest in (["started"], ["renewed"])

    return reached


def test_a_whole_day_is_followed_confirmed_and_reported(start_demo: Callable[..., DemoProcess]) -> None:
    demo = start_demo()
    code, out, err = demo.finish()
    assert code == 0, err
    figures = json.loads(out)

    events = dispatches(demo.emulator_events())
    assert not [event for event in events if event["event"] == "lapsed"]
    assert events[-1]["event"] == "stopped"
    assert figures["lapses"] == 0

    verdicts = demo.query("select verdict from intent where not superseded and mode != 'self_consumption'")
    confirmed = sum(verdict == "confirmed" for (verdict,) in verdicts)
    assert len(verdicts) > 30
    assert confirmed / len(verdicts) >= 0.95

    assert demo.query("select count(*) from command where state != 'accepted'") == [(0,)]
    sent = demo.query("select count(*) from command")[0][0]
    assert sent == len(events), "the journal and the emulator's own log disagree"

    assert abs(figures["realised_cost_eur"] - figures["planned_cost_eur"]) < 0.1 < figures["saved_eur"]
    assert figures["unmetered_intervals"] == 0
    assert figures["commands_sent"] == sent

    page = (demo.folder / "report.html").read_text()
    assert "battery planned" in page
    assert "battery seen" in page
    assert 'src="http' not in page


def test_two_runs_follow_each_other(start_demo: Callable[..., DemoProcess]) -> None:
    first = start_demo()
    first.wait_until(driving_after(0.5))
    first.send(signal.SIGINT)
    assert first.finish()[0] == 130
    second = start_demo("run-0002")
    second.wait_until(driving_after(0.5))
    second.send(signal.SIGTERM)
    assert second.finish()[0] == 130


def test_ctrl_c_leaves_the_battery_released_and_the_journal_consistent(
    start_demo: Callable[..., DemoProcess],
) -> None:
    demo = start_demo()
    demo.wait_until(driving_after(2))
    demo.send(signal.SIGINT)
    code, _, err = demo.finish()
    assert code == 130
    assert "released" in err
    assert "Traceback" not in err
    events = dispatches(demo.emulator_events())
    assert events[-1]["event"] == "stopped"
    assert demo.query("select state, count(*) from command group by state") == [("accepted", len(events))]
    assert demo.query("select kind from command order by id desc limit 1") == [("release",)]
    assert not (demo.folder / "emulator.json").exists()


def test_killed_in_mid_day_the_battery_lapses_and_the_next_start_reads_before_it_sends(
    start_demo: Callable[..., DemoProcess],
) -> None:
    demo = start_demo()
    demo.wait_until(driving_after(8))
    demo.send(signal.SIGKILL)
    assert demo.finish()[0] == -signal.SIGKILL

    ready = json.loads((demo.folder / "emulator.json").read_text())
    last = dispatches(demo.emulator_events())[-1]
    last_at = dt.datetime.fromisoformat(last["at"])

    async def let_the_lease_run_out() -> dict[str, Any]:
        control = EmulatorControl(ready["account"]["base_url"])
        await control.step_to(last_at + LIFETIME)
        state = await control.state()
        await control.close()
        return state["systems"][ready["device_id"]]

    system = asyncio.run(let_the_lease_run_out())
    lapse = demo.emulator_events()[-1]
    assert system["released"]
    assert lapse["event"] == "lapsed"
    assert dt.datetime.fromisoformat(lapse["at"]) - last_at <= LIFETIME

    events_before = len(demo.emulator_events())
    resumed = start_demo()
    code, out, err = resumed.finish()
    assert "taking up" in err
    calls = [event["call"] for event in resumed.emulator_events()[events_before:] if event["event"] == "call"]
    first_write = calls.index("RemoteDispatch")
    assert set(calls[:first_write]) == {"GetLastPowerData", "GetRunningData"}
    unresolved = resumed.query("select count(*) from command where state in ('sending', 'unknown')")
    assert unresolved == [(0,)]
    assert code == 0, err
    figures = json.loads(out)
    assert (figures["lapses"], figures["lapses_while_nobody_was_in_control"]) == (0, 1)
    assert figures["unmetered_intervals"] <= 1


def test_a_second_demonstration_in_the_same_folder_is_refused(start_demo: Callable[..., DemoProcess]) -> None:
    first = start_demo()
    first.wait_until(driving_after(0.5))
    second = start_demo()
    code, _, err = second.finish()
    assert code == 2
    assert "another demonstration is running" in err
    assert first.process.poll() is None
    first.send(signal.SIGINT)
    assert first.finish()[0] == 130


def test_a_killed_run_of_another_day_is_not_taken_up_unasked(start_demo: Callable[..., DemoProcess]) -> None:
    first = start_demo()
    first.wait_until(driving_after(0.5))
    first.send(signal.SIGKILL)
    first.finish()
    second = start_demo("run-0001", "--day", "2024-04-06")
    code, _, err = second.finish()
    assert code == 2
    assert "2024-04-10 waits in" in err
