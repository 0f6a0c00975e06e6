"""The EMS's stream kept open for all who watch: one connection, opened anew whenever it breaks.

A task of its own drains the stream, so that a reading is dated when it came and not when somebody looked: none carries
a time (section 7.2).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from adapters.contract import AdapterError, ConfigurationError, Telemetry

# Pauses before the stream is opened anew [s].
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 60.0
# One per watcher, for the latest reading; an error is raised to the watcher, None ends it.
Mailbox = asyncio.Queue[Telemetry | Exception | None]
_log = logging.getLogger(__name__)


@dataclass
class Backoff:
    """Pauses that double up to a bound, each shortened by chance so that many sites do not come back at once."""

    first_s: float = FIRST_PAUSE_S
    longest_s: float = LONGEST_PAUSE_S
    jitter: Callable[[], float] = random.random
    """Chance, 0..1: how much of a pause's second half is left out."""
    _failures: int = field(default=0, init=False)

    def next_s(self) -> float:
        """The pause after one more failure [s]: half of its length or more, and never below the first."""
        whole_s = min(self.longest_s, self.first_s * 2.0 ** min(self._failures, 60))
        self._failures += 1
        return max(self.first_s, whole_s * (1 - 0.5 * self.jitter()))

    def reset(self) -> None:
        """It works again."""
        self._failures = 0


@dataclass(frozen=True)
class _Pump:
    """The task that drains the stream, and those whom it tells."""

    loop: asyncio.AbstractEventLoop
    mailboxes: set[Mailbox]
    task: asyncio.Task[None]

    async def stop(self) -> None:
        self.task.cancel()
        await asyncio.wait({self.task})


class LiveFeed:
    """Shares one stream among watchers; it is open while there is one."""

    def __init__(
        self,
        connect: Callable[[], AsyncGenerator[Telemetry, None]],
        *,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Nothing is opened yet.

        Args:
            connect: Opens the stream once; its readings until it breaks with an `AdapterError`.
            sleep: How to wait between connections [s].
            jitter: See `Backoff`.
        """
        self._connect, self._sleep, self._jitter = connect, sleep, jitter
        self._pump: _Pump | None = None

    @property
    def is_open(self) -> bool:
        """Whether somebody watches in the running event loop."""
        return self._open_pump() is not None

    async def readings(self) -> AsyncGenerator[Telemetry, None]:
        """Readings as they come, until `close`. Who takes them slowly gets the latest and misses those between.

        Raises:
            ConfigurationError: As `connect` raised it; every watcher gets it, and the stream stays closed.
        """
        pump = self._open_pump()
        if pump is None:
            mailboxes: set[Mailbox] = set()
            pump = _Pump(asyncio.get_running_loop(), mailboxes, asyncio.create_task(self._run(mailboxes)))
            self._pump = pump
        mailbox: Mailbox = asyncio.Queue(1)
        pump.mailboxes.add(mailbox)
        try:
            while True:
                item = await mailbox.get()
                if item is None:
                    return
                if isinstance(item, Exception):
                    raise item
                yield item
        finally:
            pump.mailboxes.discard(mailbox)
            if not pump.mailboxes:
                await pump.stop()

    async def close(self) -> None:
        """Let go of the stream; for whoever still watches it ends."""
        pump, self._pump = self._open_pump(), None
        if pump is not None:
            await pump.stop()
            _tell(pump.mailboxes, None)

    def _open_pump(self) -> _Pump | None:
        """The task that drains the stream in the running event loop: workers run each task in a loop of its own."""
        pump = self._pump
        if pump is None or pump.loop is not asyncio.get_running_loop() or pump.task.done():
            return None
        return pump

    async def _run(self, mailboxes: set[Mailbox]) -> None:
        backoff = Backoff(jitter=self._jitter)
        try:
            while True:
                try:
                    async with contextlib.aclosing(self._connect()) as readings:
                        async for reading in readings:
                            backoff.reset()
                            _tell(mailboxes, reading)
                except ConfigurationError:
                    raise
                except AdapterError as error:
                    pause_s = backoff.next_s()
                    _log.warning("the stream broke; again in %.1f s: %s", pause_s, error)
                else:
                    pause_s = backoff.next_s()
                await self._sleep(pause_s)
        except Exception as error:
            # Settings that somebody has to change, or a fault of ours: who watches must see it, not wait for ever.
            _tell(mailboxes, error)


def _tell(mailboxes: set[Mailbox], item: Telemetry | Exception | None) -> None:
    for mailbox in mailboxes:
        if mailbox.full():
            mailbox.get_nowait()
        mailbox.put_nowait(item)
