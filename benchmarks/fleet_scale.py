"""How the batch grows with horizon and number of sites, in time and memory; each size in a process of its own.

`python -m benchmarks.fleet_scale SITES INTERVALS` measures one size and prints it as JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fleet import make_fleet, solve_fleet
from benchmarks.solvers.contract import NotAvailableError

# Horizons at one fleet size show whether time is linear in intervals; the last line is the promise of scale.
HORIZONS = ((1000, 96), (1000, 192), (1000, 384), (1000, 672))
LARGEST = (100_000, 96)
RUNS = 3
LIMIT_S = 1800


@dataclass(frozen=True)
class ScaleRow:
    """One size of the batch."""

    sites: int
    intervals: int
    seconds: float
    """Best of some runs after one that warmed up (of one run at the largest size)."""
    memory_before_mb: float
    """Resident once the inputs were made."""
    memory_peak_mb: float
    """Largest ever resident, inputs included."""

    @property
    def per_site_us(self) -> float:
        """Time per site [us]."""
        return self.seconds / self.sites * 1e6

    @property
    def per_interval_ns(self) -> float:
        """Time per site and interval [ns]; constant where growth is linear."""
        return self.per_site_us / self.intervals * 1e3


def measure_scale(sites: int, intervals: int, say: Callable[[str], None] = lambda _text: None) -> ScaleRow:
    """Measure one size in a fresh process, so that its peak of memory is its own.

    Raises:
        NotAvailableError: The process failed; says why.
    """
    say(f"fleet of {sites:,} x {intervals} intervals")
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fleet_scale", str(sites), str(intervals)],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    if done.returncode:
        raise NotAvailableError(f"failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
    return ScaleRow(**json.loads(done.stdout))


def _memory_mb(field: str) -> float:
    # Not getrusage: its peak survives exec, and would tell that of the process that started this one.
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


def main() -> None:
    """Measure one size in this process."""
    sites, intervals = (int(text) for text in sys.argv[1:])
    # Compiled code is warm already, and the inputs of the size measured are the only large ones.
    solve_fleet(make_fleet(8, intervals))
    fleet = make_fleet(sites, intervals)
    before_mb = _memory_mb("VmRSS")
    times = []
    for _ in range(RUNS if (sites, intervals) != LARGEST else 1):
        begin = time.perf_counter()
        solve_fleet(fleet)
        times.append(time.perf_counter() - begin)
    print(
        json.dumps(
            {
                "sites": sites,
                "intervals": intervals,
                "seconds": min(times),
                "memory_before_mb": before_mb,
                "memory_peak_mb": _memory_mb("VmHWM"),
            }
        )
    )


if __name__ == "__main__":
    main()
