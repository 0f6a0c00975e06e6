"""`tidewatt up` and what looks after it, as processes, against an emulated vendor."""

from __future__ import annotations

import datetime as dt
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from console.sample import sample_site
from schedules import halts, inputs
from schedules.clock import RealClock
from schedules.sites import register_site
from schedules.store import Database, TelemetryRow

IN_TIME_S = 150.0
PROGRAM = Path(__file__).with_name("with_accounts.py")


class Running:
    """An installation with one site at an emulated vendor, and `tidewatt up` on it."""

    def __init__(self, folder: Path, emulator: Any) -> None:
        self.log = folder / "emulator.jsonl"
        self.store = folder / "state" / "tidewatt.sqlite"
        self.environment = {
            **os.environ,
            "TIDEWATT_STATE": str(folder / "state"),
            "READY_FILE": str(emulator.ready_file),
        }
        self._output = folder / "output.txt"
        assert self.ask("init").returncode == 0
        self._put_site(emulator.records[0]["device_id"])
        with self._output.open("wb") as output:
            command = [sys.executable, str(PROGRAM), "up", "--release-on-stop"]
            self.up = subprocess.Popen(command, env=self.environment, stdout=output, stderr=output)

    def _put_site(self, device_id: str) -> None:
        db, clock = Database.at(self.store), RealClock()
        site = register_site(db, sample_site(), None, "alphaess", device_id)
        with db.write() as session:
            # The vendor has news of the state every five minutes only.
            session.add(
                TelemetryRow(site_id=site.id, channel="state", measured_at=clock(), received_at=clock(), soc=0.5)
            )
        # Plans begin with the next minute, and the battery needs all that is cheap.
        index = pd.date_range(pd.Timestamp(clock()).floor("1min"), periods=120, freq="1min")
        series = {
            "import_price_eur_per_kwh": [0.05] * 50 + [0.60] * 70,
            "export_price_eur_per_kwh": [0.02] * 50 + [0.50] * 70,
            "load_kw": 1.0,
            "pv_kw": 0.0,
        }
        inputs.publish(db, clock, pd.DataFrame(series, index=index))
        halts.arm(db, clock, "alphaess", "test")
        db.close()

    def ask(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-W", "error", str(PROGRAM), *arguments]
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)

    def events(self, *kinds: str) -> list[dict[str, Any]]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        found = [json.loads(line) for line in lines if line.endswith("}")]
        return [event for event in found if event["event"] in kinds]

    def heartbeats(self, queue: str) -> list[tuple[str, str]]:
        with closing(sqlite3.connect(self.store)) as connection:
            query = "select slot, worker from job_run where job = ? and finished_at is not null order by slot"
            return connection.execute(query, (f"heartbeat/{queue}",)).fetchall()

    def children(self) -> dict[str, int]:
        """What `up` started: process by name."""
        found = {}
        for number in Path(f"/proc/{self.up.pid}/task/{self.up.pid}/children").read_text().split():
            words = Path(f"/proc/{number}/cmdline").read_text().split("\0")
            found[words[words.index("--name") + 1] if "--name" in words else "beat"] = int(number)
        return found

    @property
    def output(self) -> str:
        return self._output.read_text()

    def wait_until(self, reached: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + IN_TIME_S
        while not (found := reached()):
            assert self.up.poll() is None, self.output
            assert time.monotonic() < deadline, f"not in time: {what}\n{self.output[-3000:]}"
            time.sleep(0.1)
        return found

    def end_everything(self) -> None:
        """End what this test started and nothing else."""
        children = self.children() if self.up.poll() is None else {}
        self.up.kill()
        self.up.wait()
        for child in children.values():
            try:
                os.killpg(child, signal.SIGKILL)
            except ProcessLookupError:
                continue


@pytest.fixture
def running(tmp_path: Path, start_emulator: Callable[..., Any]) -> Iterator[Running]:
    emulator = start_emulator("alphaess", "--log", str(tmp_path / "emulator.jsonl"))
    running = Running(tmp_path, emulator)
    yield running
    running.end_everything()


def test_up_drives_a_battery_survives_a_killed_worker_and_lets_go_at_the_end(running: Running) -> None:
    running.wait_until(lambda: running.events("started"), "the battery driven")
    killed = running.children()["vendors"]
    os.kill(killed, signal.SIGKILL)
    killed_at = dt.datetime.now(dt.UTC)
    running.wait_until(lambda: running.children().get("vendors", killed) != killed, "the worker started again")
    running.wait_until(
        lambda: [one for one in running.events("renewed") if dt.datetime.fromisoformat(one["at"]) > killed_at],
        "the battery driven on",
    )
    assert not running.events("lapsed")
    for queue in ("safety", "plan", "default", "vendor-xolta"):
        running.wait_until(lambda queue=queue: running.heartbeats(queue), f"a heartbeat of {queue}")

    (site,) = json.loads(running.ask("status", "--json").stdout)["sites"]
    assert site["armed"]
    assert site["intent"] is not None
    assert site["command"] is not None
    checked = running.ask("check", "--json")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert {"broker", "store", "account alphaess", "clock by alphaess"} <= {
        one["what"] for one in json.loads(checked.stdout)
    }

    running.up.terminate()
    assert running.up.wait(IN_TIME_S) == 0, running.output
    assert running.events("stopped")
    assert "1 batteries are let go of" in running.output
    audited = running.ask("audit", "--emulator-log", str(running.log), "--json")
    (tally,) = json.loads(audited.stdout)
    assert audited.returncode == 0, tally
    assert tally["received"] == len(running.events("started", "renewed", "stopped")) >= 3
    assert tally["clean"]
