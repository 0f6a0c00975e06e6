"""A worker in a process of its own: `python -m tests.schedules.account_worker STORE_URL ACCOUNT_ID`.

It opens an account of the store. Each line that it reads is a time and what to do then, as a Python expression; it
answers with the kind of result, or of error, that came of it.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from adapters.contract import Device
from engine.intent import Intent, IntentMode
from schedules.accounts import open_account
from schedules.seal import Sealer
from schedules.store import Database
from tests.schedules.fake_battery import SITE

ROOT = Path(__file__).parents[2]
DEVICE = Device("NE=1", SITE.battery)


class AccountWorker:
    """That process: `ask` it, and `hear` the kind of answer or of error that came of it."""

    def __init__(self, url: str, account_id: int, key: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.schedules.account_worker", url, str(account_id)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TIDEWATT_KEY": key},
        )
        assert self.hear() == "ready"

    def ask(self, now: dt.datetime, what: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(f"{now.isoformat()} {what}\n")
        self._process.stdin.flush()

    def hear(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


async def work(url: str, account_id: int) -> None:
    now = dt.datetime.min.replace(tzinfo=dt.UTC)
    adapter: Any = open_account(Database(url), Sealer.from_environment(), lambda: now, account_id)

    def charge(kw: float) -> Any:
        intent = Intent(IntentMode.CHARGE, kw, now, now + dt.timedelta(minutes=30))
        return adapter.send(adapter.translate(intent, DEVICE, None))

    def release() -> Any:
        return adapter.send(adapter.release(DEVICE))

    known = {"adapter": adapter, "charge": charge, "release": release}
    print("ready", flush=True)
    for line in iter(sys.stdin.readline, ""):
        time, asked = line.split(maxsplit=1)
        now = dt.datetime.fromisoformat(time)
        try:
            print(type(await eval(asked, known)).__name__, flush=True)
        except Exception as error:
            print(type(error).__name__, flush=True)
    await adapter.close()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1], int(sys.argv[2])))
