"""What the harness starts: `tidewatt worker` and `beat` as they are, but that each run of a slot leaves a trace.

Traces go to the file `$CHAOS_TRACES`, a line each, written at once, so that a killed process has said what it did.
"""

from __future__ import annotations

import functools
import json
import os
import sys
import time
from typing import Any

from console.cli import main
from schedules import job_runs
from schedules.job_runs import Claim


def trace(what: str, job: str, slot: str, outcome: str = "") -> None:
    line = json.dumps({"at": time.time(), "pid": os.getpid(), "what": what, "job": job, "slot": slot, "came": outcome})
    # One call that appends: lines of many processes stay whole.
    file = os.open(os.environ["CHAOS_TRACES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\n".encode())
    os.close(file)


claim, finish = job_runs.claim, job_runs.finish


@functools.wraps(claim)
def traced_claim(db: Any, clock: Any, job: str, slot: Any, *rest: Any, **options: Any) -> Claim:
    found = claim(db, clock, job, slot, *rest, **options)
    if found is Claim.OURS:
        trace("began", job, slot.isoformat())
    return found


@functools.wraps(finish)
def traced_finish(db: Any, clock: Any, job: str, slot: Any, worker: str, outcome: str) -> bool:
    ours = finish(db, clock, job, slot, worker, outcome)
    if ours:
        trace("ended", job, slot.isoformat(), outcome)
    return ours


job_runs.claim, job_runs.finish = traced_claim, traced_finish

if __name__ == "__main__":
    sys.exit(main())
