"""One installation as it is run: a store, a broker, vendors, workers, beats. Everything started here is ended here."""

from __future__ import annotations

import base64
import contextlib
import json
import secrets
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from adapters import registry
from schedules import halts
from schedules.accounts import put_account
from schedules.clock import RealClock
from schedules.seal import Sealer
from schedules.sites import register_site
from schedules.store import Database
from tests.chaos.fleet import SITES, VENDORS, device_id, site_of
from tests.processes import Processes, wait_until

PROCESS = Path(__file__).with_name("process.py")
QUEUES = ",".join(["safety", "plan", "default", *(f"vendor-{vendor}" for vendor in VENDORS)])
CHILDREN = 3


@dataclass
class Kept:
    """A process that is started again when it ends."""

    arguments: tuple[str, ...]
    process: subprocess.Popen[bytes]


class Installation:
    """Its processes lead groups of their own, so that what they leave behind is found."""

    def __init__(self, folder: Path, store_url: str, broker_url: str, lost_share: float = 0.0) -> None:
        self.folder = folder
        (folder / "state").mkdir()
        key = base64.b64encode(secrets.token_bytes(32)).decode()
        self.environment = {
            "TIDEWATT_KEY": key,
            "TIDEWATT_STATE": str(folder / "state"),
            "TIDEWATT_STORE": store_url,
            "TIDEWATT_BROKER": broker_url,
            "CHAOS_TRACES": str(folder / "traces.jsonl"),
        }
        self.processes = Processes(self.environment, folder / "output.txt")
        self.workers: list[Kept] = []
        self.beats: list[Kept] = []
        self.clock = RealClock()
        self.sealer = Sealer.from_environment({"TIDEWATT_KEY": key})
        self._lost_share = lost_share
        self.db = Database(store_url)

    def open_vendors(self) -> None:
        """Start the vendors' clouds, and put accounts and sites into the store."""
        self.processes.start("-m", "tests.chaos.vendors", str(self.folder), str(self._lost_share))
        ready = self.folder / "ready.json"
        wait_until(ready.exists, "vendors that listen")
        for vendor, settings in json.loads(ready.read_text()).items():
            put_account(self.db, self.sealer, self.clock, vendor, vendor, settings, "chaos")
            adapter = registry.build(vendor, settings, self.clock)
            for number in range(SITES[vendor]):
                register_site(self.db, site_of(vendor, number), adapter, vendor, device_id(vendor, number), vendor)
            halts.arm(self.db, self.clock, vendor, "chaos")

    def start(self, workers: int, beats: int) -> None:
        """Start so many workers and beats."""
        for number in range(workers):
            arguments = ("worker", "--name", f"w{number}", "--queues", QUEUES, "--concurrency", str(CHILDREN))
            self.workers.append(self._keep(arguments))
        self.beats += [self._keep(("beat",)) for _ in range(beats)]

    def keep_up(self) -> list[str]:
        """Start again what has ended; what it was."""
        ended = [kept for kept in (*self.workers, *self.beats) if kept.process.poll() is not None]
        for kept in ended:
            kept.process = self.processes.start(str(PROCESS), *kept.arguments)
        return [kept.arguments[0] for kept in ended]

    def children(self) -> list[int]:
        """The processes of all workers' pools."""
        found = []
        for worker in self.workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                found += [child.pid for child in psutil.Process(worker.process.pid).children()]
        return found

    def busy(self) -> list[int]:
        """Those of them that are at a slot."""
        at_it: dict[tuple[int, str, str], str] = {}
        for trace in self.traces():
            at_it[trace["pid"], trace["job"], trace["slot"]] = trace["what"]
        begun = {pid for (pid, _, _), what in at_it.items() if what == "began"}
        return [pid for pid in self.children() if pid in begun]

    def traces(self) -> list[dict[str, Any]]:
        return _lines(self.folder / "traces.jsonl")

    def log(self, vendor: str) -> list[dict[str, Any]]:
        """What a vendor's side saw."""
        return _lines(self.folder / f"{vendor}.jsonl")

    def end(self) -> None:
        """End what was started here, orphans too."""
        self.processes.end()
        self.db.close()

    def _keep(self, arguments: tuple[str, ...]) -> Kept:
        return Kept(arguments, self.processes.start(str(PROCESS), *arguments))


def _lines(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    # The last line may be under way.
    return [json.loads(line) for line in path.read_text().splitlines() if line.endswith("}")]
