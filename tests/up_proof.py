"""A whole installation on emulated vendors in real time, its workers killed again and again, held against the logs.

Run it with `python -m tests.up_proof --minutes 10 --kill-every-s 60`, or `make up-proof`. Everything goes through the
`tidewatt` command, as a person would do it. A kill falls into a vendor call wherever one is under way in its minute:
the emulators answer late or never, so that the call may have arrived and nobody knows. The exit code says whether the
journal and the emulators' own logs agree on every call: none doubled, none lost, none after its intent was over.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
COMMAND_S = 120.0
READY_S = 60.0
# Until the first call: a plan is there a minute after the first reading, and begins with the next interval.
FIRST_CALL_S = 120.0
# So often nobody answers, half of the time though it was carried out: a kill then finds the call on its way for long.
FAULTS = ("latency_s=0.5", "lost_share=0.3")
LOOK_EVERY_S = 0.03
# What was killed last has begun again, and is read back.
CALM_S = 60.0
STOP_S = 90.0


@dataclass(frozen=True)
class Kill:
    """One process ended without warning."""

    at: dt.datetime
    what: str
    mid_call: bool


class Installation:
    """A folder with its state, the emulators, and `tidewatt up`."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.ready_file = folder, folder / "accounts.json"
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEWATT_")}
        self.environment |= {"TIDEWATT_STATE": str(folder / "state"), "PYTHONPATH": str(ROOT)}
        self.up: subprocess.Popen[bytes] | None = None

    def start(self, name: str, *arguments: str) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.txt").open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "console", *arguments], env=self.environment, stdout=output, stderr=output
            )

    def ask(self, *arguments: str, ok: tuple[int, ...] = (0,)) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "-m", "console", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
        )
        if done.returncode not in ok:
            raise SystemExit(f"tidewatt {' '.join(arguments)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done

    def rows(self, query: str) -> list[Any]:
        with closing(sqlite3.connect(self.folder / "state" / "tidewatt.sqlite", timeout=10)) as connection:
            return connection.execute(query).fetchall()

    def children(self) -> dict[str, int]:
        """What `up` started: process by name."""
        assert self.up is not None
        found = {}
        for number in _children_of(self.up.pid):
            words = Path(f"/proc/{number}/cmdline").read_text().split("\0")
            found[words[words.index("--name") + 1] if "--name" in words else "beat"] = number
        return found

    def kill(self, whole_worker: bool, caller: str | None) -> Kill | None:
        """End the worker that talks to vendors, or its process that makes a call; None: it is not there just now."""
        main = self.children().get("vendors")
        if main is None:
            return None
        pool = _children_of(main)
        host, _, pid = (caller or "").rpartition(":")
        if whole_worker:
            what, target = "worker", main
        elif host == socket.gethostname() and int(pid) in pool:
            what, target = "its process", int(pid)
        elif pool:
            what, target = "its process", pool[0]
        else:
            return None
        try:
            os.kill(target, signal.SIGKILL)
        except ProcessLookupError:
            return None
        return Kill(dt.datetime.now(dt.UTC), what, caller is not None)

    def caller(self) -> str | None:
        """Who is making a vendor call right now."""
        found = self.rows("select worker from command where state in ('sending', 'SENDING') order by id desc limit 1")
        return found[0][0] if found else None


def prepare(installation: Installation, step_min: int) -> list[str]:
    """From nothing to an armed installation; returns the names of its accounts."""
    accounts = [json.loads(line) for line in installation.ready_file.read_text().splitlines()]
    installation.ask("init")
    installation.ask("accounts", "import", str(installation.ready_file), "--with-sites")
    installation.ask("inputs", "publish", "--sample", "--step-min", str(step_min))
    prices = installation.folder / "prices.csv"
    write_prices(prices, step_min)
    installation.ask("inputs", "publish", str(prices))
    names = [account["adapter"] for account in accounts]
    for name, account in zip(names, accounts, strict=True):
        installation.ask("arm", name)
        installation.ask("emulate", "fault", account["account"]["base_url"], *FAULTS)
    return names


def write_prices(path: Path, step_min: int) -> None:
    """Prices that pay for taking and for giving in turns: batteries change at every interval."""
    step_s = step_min * 60
    begin = time.time() // step_s * step_s
    lines = ["start,import_price_eur_per_kwh,export_price_eur_per_kwh"]
    for number in range(24):
        at = dt.datetime.fromtimestamp(begin + number * step_s, dt.UTC).isoformat()
        lines.append(f"{at},-0.30,-0.35" if number % 2 else f"{at},0.60,0.55")
    path.write_text("\n".join(lines) + "\n")


def torment(installation: Installation, seconds: float, every_s: float) -> list[Kill]:
    """Kill a worker in every stretch of so many seconds, in a call if there is one."""
    kills: list[Kill] = []
    begin = time.monotonic()
    for number in range(int(seconds // every_s)):
        # Not at once after the last kill: what came again shall have begun something.
        stretch = begin + number * every_s
        _sleep_until(installation, stretch + every_s / 10)
        done = None
        while done is None and time.monotonic() < stretch + 2 * every_s:
            caller = installation.caller()
            if caller is not None or time.monotonic() > stretch + every_s - 1:
                done = installation.kill(number % 2 == 0, caller)
            time.sleep(LOOK_EVERY_S)
        if done is not None:
            kills.append(done)
            print(f"{done.at:%H:%M:%S} killed {done.what}{', in a call' if done.mid_call else ''}", flush=True)
        _sleep_until(installation, stretch + every_s)
    return kills


def prove(folder: Path, minutes: float, every_s: float, step_min: int) -> int:
    """Do it all; returns the exit code."""
    installation = Installation(folder)
    with _running(installation):
        names = prepare(installation, step_min)
        installation.up = installation.start("up", "up")
        print(f"up on {', '.join(names)}; waiting for the first call", flush=True)
        accepted = "select count(*) from command where answered_at is not null"
        _wait(installation, lambda: installation.rows(accepted)[0][0], FIRST_CALL_S + 120 * step_min, "the first call")
        kills = torment(installation, minutes * 60, every_s)
        _sleep_until(installation, time.monotonic() + CALM_S)
        installation.up.terminate()
        code = installation.up.wait(STOP_S)
        logs = [f"--emulator-log={path}" for path in sorted(folder.glob("log-*.jsonl"))]
        print(installation.ask("audit", *logs, ok=(0, 1)).stdout, flush=True)
        tallies = json.loads(installation.ask("audit", *logs, "--json", ok=(0, 1)).stdout)
    driven = [tally for tally in tallies if tally["sent"]]
    faults = [
        *(f"{each['site']}: journal and log disagree" for each in tallies if not each["clean"]),
        *(f"{each['site']}: was driven, and no log has it" for each in driven if not each["received"]),
        *(["nothing was driven"] if not driven else []),
        *([f"up ended with {code}"] if code else []),
        *([f"only {len(kills)} kills"] if len(kills) < int(minutes * 60 // every_s) else []),
    ]
    sent, received = sum(each["sent"] for each in driven), sum(each["received"] or 0 for each in driven)
    in_call = sum(kill.mid_call for kill in kills)
    print(f"{len(kills)} kills, {in_call} of them in a call; {sent} calls in the journal, {received} at the vendors")
    unresolved = sum(each["unresolved"] for each in driven)
    if unresolved:
        # A vendor may have news every five minutes only; until then nothing more is sent.
        print(f"{unresolved} calls are still to be read back")
    for fault in faults:
        print(f"FAULT {fault}; see {folder}")
    print("DISAGREES" if faults else "AGREES")
    return 1 if faults else 0


@contextmanager
def _running(installation: Installation) -> Iterator[None]:
    """The emulators; at the end everything that was started is ended, and nothing else."""
    log = installation.folder / "log.jsonl"
    emulators = installation.start(
        "emulators", "emulate", "--all", "--log", str(log), "--ready-file", str(installation.ready_file)
    )
    try:
        _wait(installation, installation.ready_file.exists, READY_S, "the emulators")
        yield
    finally:
        up = installation.up
        if up is not None and up.poll() is None:
            children = installation.children()
            up.kill()
            for child in children.values():
                try:
                    os.killpg(child, signal.SIGKILL)
                except ProcessLookupError:
                    continue
        emulators.terminate()
        emulators.wait(STOP_S)


def _wait(installation: Installation, reached: Callable[[], Any], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not reached():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds:g} s; see {installation.folder}")
        _sleep_until(installation, time.monotonic() + 0.2)


def _sleep_until(installation: Installation, deadline: float) -> None:
    while (left := deadline - time.monotonic()) > 0:
        if installation.up is not None and installation.up.poll() is not None:
            raise SystemExit(f"up: ended with {installation.up.returncode}; see {installation.folder / 'up.txt'}")
        time.sleep(min(left, 1.0))


def _children_of(number: int) -> list[int]:
    try:
        return [int(word) for word in Path(f"/proc/{number}/task/{number}/children").read_text().split()]
    except FileNotFoundError:
        return []


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long workers are killed")
    parser.add_argument("--kill-every-s", type=float, default=60.0, help="one kill in so many seconds")
    parser.add_argument("--step-min", type=int, default=5, help="minutes of an interval of the plans")
    parser.add_argument("--folder", type=Path, help="a new one; unset: a temporary one, which is kept")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(prefix="tidewatt-up-proof-"))
    folder.mkdir(parents=True, exist_ok=True)
    return prove(folder, asked.minutes, asked.kill_every_s, asked.step_min)


if __name__ == "__main__":
    sys.exit(main())
