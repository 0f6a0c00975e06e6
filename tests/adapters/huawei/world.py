"""Huawei's emulated cloud and its time; a stop, and settings of an adapter that reaches nobody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from adapters.huawei.adapter import create
from adapters.huawei.emulated_plant import EmulatedPlant
from adapters.huawei.emulator import HuaweiCloud
from adapters.huawei.tasks import ChargeTask, DispatchSwitch
from tests.adapters.served import Served

NOWHERE = {
    "base_url": "http://127.0.0.1:1",
    "oauth_url": "same",
    "client_id": "123456789",
    "client_secret": "secret",
    "redirect_url": "https://www.example.com/cn/",
    "refresh_token": "token",
}
STOP = ChargeTask("NE=1", DispatchSwitch.STOP)


@dataclass
class World(Served):
    """An emulated cloud, and adapters for it."""

    cloud: HuaweiCloud

    after = Served.step

    def plant(self, code: str = "NE=1") -> EmulatedPlant:
        return self.cloud.plants[code]

    def battery_kw(self, code: str = "NE=1") -> float:
        return self.plant(code).site.plant.sample.battery_kw

    def calls(self, ending: str) -> int:
        return sum(event["event"] == "call" and event["path"].endswith(ending) for event in self.log.events)

    @contextlib.asynccontextmanager
    async def adapter(self, store: Any = None, api_account: bool = False, **changes: Any) -> AsyncIterator[Any]:
        account = self.cloud.api_account() if api_account else self.cloud.account()
        adapter = create({**account, "base_url": self.url, **changes}, self.clock.now, store)
        try:
            yield adapter
        finally:
            await adapter.close()

    def run(self, session: Callable[[Any], Any], **changes: Any) -> Any:
        """Run a coroutine function with an open adapter."""

        async def open_and_run() -> Any:
            async with self.adapter(**changes) as adapter:
                return await session(adapter)

        return asyncio.run(open_and_run())
