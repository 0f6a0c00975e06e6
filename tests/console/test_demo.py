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


def of_home(demo: DemoProcess, sql: str, vendor: str) -> list[Any]:
    """Rows of a query over one home; `sql` says `of` where the home's identifier goes."""
    return demo.query(sql.replace(" of", f" (select id from site where adapter = '{vendor}')"))


def test_a_whole_day_is_followed_confirmed_and_reported_in_five_homes(start_demo: Callable[..., DemoProcess]) -> None:
    demo = start_demo()
    code, out, err = demo.finish(400)
    assert code == 0, err
    homes = {figures["vendor"]: figures for figures in json.loads(out)["homes"]}
    driven = {vendor for vendor, figures in homes.items() if figures["driven"]}
    assert driven == {"alphaess", "huawei", "xolta"}
    assert set(homes) - driven == {"ingeteam", "solax"}

    for vendor in driven:
        figures = homes[vendor]
        asked = figures["set_points"] + figures["followings"]
        proved = figures["set_points_confirmed"] + figures["followings_confirmed"]
        assert asked > 5, vendor
        assert proved / asked >= 0.9, (vendor, proved, asked)
        assert abs(figures["realised_cost_eur"] - figures["planned_cost_eur"]) < 0.15, vendor
        assert figures["saved_eur"] > 0.5, vendor
        assert figures["lapses"] == 0
        assert of_home(demo, "select count(*) from command where site_id = of and state != 'accepted'", vendor) == [
            (0,)
        ]
    for vendor in set(homes) - driven:
        assert homes[vendor]["readings"] > 200, vendor
        assert homes[vendor]["unmetered_intervals"] == 0, vendor
        assert of_home(demo, "select count(*) from command where site_id = of", vendor) == [(0,)]

    events = dispatches(demo.emulator_events())
    assert not [event for event in events if event["event"] == "lapsed"]
    assert events[-1]["event"] == "stopped"
    sent = of_home(demo, "select count(*) from command where site_id = of", "alphaess")[0][0]
    assert sent == len(events) == homes["alphaess"]["commands_sent"], "journal and emulator's own log disagree"
    assert homes["alphaess"]["unmetered_intervals"] == homes["alphaess"]["estimated_intervals"] == 0
    assert homes["huawei"]["commands_sent"] <= 95

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
    accepted = of_home(demo, "select state, count(*) from command where site_id = of group by state", "alphaess")
    assert accepted == [("accepted", len(events))]
    for vendor in ("alphaess", "huawei", "xolta"):
        last = of_home(demo, "select kind from command where site_id = of order by id desc limit 1", vendor)
        assert last in ([("release",)], []), vendor
    assert not (demo.folder / "emulators.jsonl").exists()


def test_killed_in_mid_day_the_battery_lapses_and_the_next_start_reads_before_it_sends(
    start_demo: Callable[..., DemoProcess],
) -> None:
    demo = start_demo()
    demo.wait_until(driving_after(8))
    demo.send(signal.SIGKILL)
    assert demo.finish()[0] == -signal.SIGKILL

    ready = next(record for record in demo.records if record["adapter"] == "alphaess")
    last = dispatches(demo.emulator_events())[-1]
    last_at = dt.datetime.fromisoformat(last["at"])

    async def let_the_lease_run_out() -> dict[str, Any]:
        control = EmulatorControl(ready["account"]["base_url"])
        # On to a full minute: only then is the battery's power read again.
        minutes = (last_at + LIFETIME).timestamp() // 60 + 1
        await control.step_to(dt.datetime.fromtimestamp(60 * minutes, dt.UTC))
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
    code, out, err = resumed.finish(400)
    assert "taking up" in err
    calls = [event["call"] for event in resumed.emulator_events()[events_before:] if event["event"] == "call"]
    first_write = calls.index("RemoteDispatch")
    assert {"GetLastPowerData"} <= set(calls[:first_write]) <= {"GetLastPowerData", "GetRunningData"}
    unresolved = resumed.query("select count(*) from command where state in ('sending', 'unknown')")
    assert unresolved == [(0,)]
    assert code == 0, err
    figures = next(figures for figures in json.loads(out)["homes"] if figures["vendor"] == "alphaess")
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
