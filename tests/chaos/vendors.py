"""The vendors' clouds in a process of their own, in real time: `python -m tests.chaos.vendors FOLDER LOST_SHARE`.

Each logs to `FOLDER/VENDOR.jsonl`; `FOLDER/ready.json` tells where they listen.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import sys
from pathlib import Path
from typing import Any

from adapters.emulation import (
    LOOPBACK,
    EmulatedClock,
    EmulatedSite,
    EventLog,
    FaultBox,
    Faults,
    House,
    emulator,
    listen,
    serve,
)
from engine.plant import Plant
from tests.chaos.fleet import SITES, VENDORS, device_id, site_of

# Long enough for calls to be under way when their worker dies [s].
LATENCY_S = 0.2
STATE_CADENCE_S = 300.0


async def serve_all(folder: Path, lost_share: float) -> None:
    clock = EmulatedClock(dt.datetime.now(dt.UTC), 1.0)
    # Begun before the last reading of a state of charge, so that there is one.
    now = clock.now().timestamp()
    begin = dt.datetime.fromtimestamp(now - now % STATE_CADENCE_S - STATE_CADENCE_S - 1, dt.UTC)
    ready: dict[str, Any] = {}
    served = []
    for place, vendor in enumerate(VENDORS):
        log, faults, kind = EventLog(folder / f"{vendor}.jsonl"), FaultBox(place), emulator(vendor)
        faults.switch(Faults(latency_s=LATENCY_S, lost_share=lost_share))
        sites = [
            EmulatedSite(
                device_id(vendor, number),
                Plant(site_of(vendor, number).battery, 0.5),
                House.constant(0.8, 0.0),
                begin,
                kind.cadences_s,
                log,
                faults,
            )
            for number in range(SITES[vendor])
        ]
        cloud, listener = kind.build(sites, clock, log, faults), listen()
        cloud.advance()
        ready[vendor] = {**cloud.account(), "base_url": f"http://{LOOPBACK}:{listener.getsockname()[1]}"}
        served.append((cloud, listener))
    part = folder / "ready.part"
    part.write_text(json.dumps(ready))
    part.rename(folder / "ready.json")
    await asyncio.gather(*(serve(cloud.app, listener, cloud.advance, None) for cloud, listener in served))


if __name__ == "__main__":
    asyncio.run(serve_all(Path(sys.argv[1]), float(sys.argv[2])))
