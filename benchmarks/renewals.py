"""How many lapsing commands one worker keeps alive: AlphaESS batteries on an emulator of their own, in real time.

`python -m benchmarks.renewals --sites 2000 --minutes 5` has every battery charge for so long, with calls that take
300 ms at the 99th percentile and one in a hundred lost, and asks the emulator afterwards how often, and for how long, a
battery had gone back to its own ways while the plan wanted it driven.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime as dt
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from adapters.contract import Channel
from adapters.emulation import EmulatorControl
from console.accounts import open_adapter, read_accounts
from console.sample import sample_site
from engine.intent import Intent, IntentMode
from schedules import halts
from schedules.account_runner import AccountRunner, Report
from schedules.clock import RealClock
from schedules.plans import intent_row
from schedules.sites import ControlledSite, register_site
from schedules.store import Database, OverrideRow
from schedules.telemetry import read_telemetry

ACCOUNT = "street"
TICK_S = 5.0
START_S = 120.0
CHARGE_KW = 1.0
READS_AT_ONCE = 64


@dataclass(frozen=True)
class Held:
    """What came of it."""

    sites: int
    minutes: float
    calls: int
    calls_per_s: float
    lapses: int
    """How often a battery lapsed while its plan lasted."""
    lapse_s: float
    """For how long in all [s]."""
    slowest_tick_s: float
    median_tick_s: float
    busy: float
    """Part of the time that the worker was busy [fraction]; above 1 it falls behind."""


async def measure(sites: int, minutes: float, folder: Path) -> Held:
    """Drive so many batteries for so long."""
    ready = folder / "emulator.jsonl"
    command = [sys.executable, "-P", "-m", "console", "emulate", "alphaess", "--sites", str(sites)]
    emulator = subprocess.Popen([*command, "--ready-file", str(ready)], stdin=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + START_S
        while not ready.exists():
            if emulator.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError("the emulator did not start")
            await asyncio.sleep(0.1)
        return await _drive(ready, minutes, folder)
    finally:
        emulator.terminate()
        emulator.wait()


async def _drive(ready: Path, minutes: float, folder: Path) -> Held:
    (account,) = read_accounts(ready)
    clock, db = RealClock(), Database.at(folder / "store.sqlite")
    adapter, control = open_adapter(ready, 1, account, clock), EmulatorControl(account.account["base_url"])
    targets = [
        register_site(db, sample_site().model_copy(update={"name": device}), adapter, "alphaess", device, ACCOUNT)
        for device in account.devices
    ]
    halts.arm(db, clock, ACCOUNT, "benchmark")
    at_once = asyncio.Semaphore(READS_AT_ONCE)

    async def look(target: ControlledSite) -> None:
        async with at_once:
            await read_telemetry(db, clock, target, Channel.POWER)

    await asyncio.gather(*map(look, targets))
    await control.switch(latency_tail_s=0.3, lost_share=0.01)
    end = clock() + dt.timedelta(minutes=minutes)
    _want_charging(db, clock(), end, targets)
    runner, took = AccountRunner(db, clock, targets, "benchmark"), []
    before = await _lapsed(control)
    while clock() < end - dt.timedelta(seconds=TICK_S):
        begun = time.monotonic()
        await runner.dispatch(Report())
        took.append(time.monotonic() - begun)
        await asyncio.sleep(max(0.0, TICK_S - took[-1]))
    lapses, lapse_s, calls = np.array(await _lapsed(control)) - before
    await adapter.close()
    await control.close()
    db.close()
    return Held(
        sites=len(targets),
        minutes=minutes,
        calls=int(calls),
        calls_per_s=round(calls / (60 * minutes), 1),
        lapses=int(lapses),
        lapse_s=round(float(lapse_s), 1),
        slowest_tick_s=round(max(took), 2),
        median_tick_s=round(float(np.median(took)), 2),
        busy=round(sum(took) / (TICK_S * len(took)), 2),
    )


def _want_charging(db: Database, begin: dt.datetime, end: dt.datetime, targets: list[ControlledSite]) -> None:
    intent = Intent(IntentMode.CHARGE, CHARGE_KW, begin, end)
    with db.write() as session:
        for target in targets:
            override = OverrideRow(site_id=target.id, reason="benchmark", by="benchmark", made_at=begin)
            session.add(override)
            session.flush()
            session.add(intent_row(intent, target.id, override_id=override.id))


async def _lapsed(control: EmulatorControl) -> tuple[int, float, int]:
    """Lapses, seconds of them, and dispatches that arrived, over all batteries by the emulator's own account."""
    systems = (await control.state())["systems"].values()
    return (
        sum(system["lapsed"] for system in systems),
        sum(system["lapse_s"] for system in systems),
        sum(system["started"] + system["renewed"] for system in systems),
    )


def main() -> None:
    """Measure and print a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sites", type=int, default=2000)
    parser.add_argument("--minutes", type=float, default=5.0)
    asked = parser.parse_args()
    with TemporaryDirectory() as folder:
        print(json.dumps(asdict(asyncio.run(measure(asked.sites, asked.minutes, Path(folder))))))


if __name__ == "__main__":
    main()
