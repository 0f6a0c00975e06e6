"""The `tidewatt` command with jobs that tests watch, and a faster heart. Each job leaves its traces in `$PROBE`."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

from schedules import beat

beat.HEARTBEAT_S = 2.0
beat.JOBS = {
    job.name: job
    for job in (
        beat.Job("every_second", 1.0, beat.DEFAULT, of_accounts=False),
        beat.Job("every_account", 2.0),
        beat.Job("held_up", 86_400.0, beat.PLAN, of_accounts=False),
        beat.Job("deadly", 86_400.0, beat.SAFETY, of_accounts=False),
    )
}
# No test waits a minute for a ring; yet it is worth hearing for as long as its process takes to be missed three times.
beat.LONGEST_RING_S = 20.0

from console.cli import main  # noqa: E402
from schedules import work  # noqa: E402
from schedules.store import Database  # noqa: E402

TRACES = Path(os.environ["PROBE"])
LONGEST_S = 60.0


def ran(_db: Database, account_id: int | None) -> str:
    with (TRACES / f"ran-{account_id}").open("a") as file:
        file.write("ran\n")
    return "ran"


def held_up(_db: Database, _account_id: int | None) -> str:
    """Say who does it, and wait to be let go."""
    number = len(list(TRACES.glob("held-up-*")))
    begun = TRACES / f"held-up-{number}.part"
    begun.write_text(str(os.getpid()))
    begun.rename(begun.with_suffix(""))
    deadline = time.monotonic() + LONGEST_S
    while not (TRACES / "go").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return "let go"


def deadly(_db: Database, _account_id: int | None) -> str:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


work.FUNCTIONS.update(every_second=ran, every_account=ran, held_up=held_up, deadly=deadly)

if __name__ == "__main__":
    sys.exit(main())
