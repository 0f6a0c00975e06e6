"""A vendor's emulated cloud on loopback, in a thread of its own."""

from __future__ import annotations

import datetime as dt
import json
import threading
from typing import Any

import pandas as pd
import uvicorn

from adapters.emulation import LOOPBACK, EmulatedClock, EmulatedSite, EventLog, FaultBox, House, emulator, listen
from engine import Site
from engine.plant import Plant

LOAD_KW = 1.0
CONSTANT_LOAD = pd.DataFrame({"load_kw": [LOAD_KW], "pv_kw": [0.0]}, pd.DatetimeIndex(["2024-01-01"], tz="UTC"))


class ServedVendor:
    """One device and its house, with a clock that a test moves."""

    def __init__(
        self, vendor: str, site: Site, start: dt.datetime, house: pd.DataFrame = CONSTANT_LOAD, soc: float = 0.5
    ) -> None:
        self.vendor, self.clock, self.log, self.faults = vendor, EmulatedClock(start, None), EventLog(), FaultBox()
        self.loses_replies_of: str | None = None
        """Requests to paths that end so are obeyed, and a gateway answers with 502."""
        make = emulator(vendor)
        plant = Plant(site.battery, soc)
        self.place = EmulatedSite("NE=1", plant, House(house), start, make.cadences_s, self.log, self.faults)
        self.cloud: Any = make.build([self.place], self.clock, self.log, self.faults)
        listener = listen()
        self.settings = {**self.cloud.account(), "base_url": f"http://{LOOPBACK}:{listener.getsockname()[1]}"}
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._answer, interface="asgi3", log_level="error", lifespan="off", access_log=False, date_header=False
            )
        )
        self._thread = threading.Thread(target=lambda: self._server.run(sockets=[listener]))
        self._thread.start()

    @property
    def battery_kw(self) -> float:
        """What the battery does now [kW]."""
        return self.place.plant.sample.battery_kw

    def after(self, seconds: float) -> None:
        """Let time pass."""
        self.clock.step_to(self.clock.now() + dt.timedelta(seconds=seconds))
        self.cloud.advance()

    def events(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.log.events if event["event"] == kind]

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(timeout=10)
        assert not self._thread.is_alive()

    async def _answer(self, scope: Any, receive: Any, send: Any) -> None:
        if self.loses_replies_of is None or not scope["path"].endswith(self.loses_replies_of):
            await self.cloud.app(scope, receive, send)
            return

        async def swallow(_: Any) -> None:
            return None

        await self.cloud.app(scope, receive, swallow)
        await send({"type": "http.response.start", "status": 502, "headers": []})
        await send({"type": "http.response.body", "body": json.dumps("gateway").encode()})
