"""Dispatch: the devices of one account kept at their intents, by one worker at a time.

The rules, each of which a test holds:

* One worker drives an account; one that stalled finds at the last line that another has taken over.
* The journal row says SENDING, committed, before the socket opens; a crash leaves that trace.
* While a row is SENDING or UNKNOWN nothing more is sent (save a release): telemetry taken after it is read first.
* Nothing is sent for an intent once its time is over, nor above the nameplate, nor past a kill switch.
* A lapsing command is sent again well inside its lifetime while its intent lasts, and not a second longer.
* A device that we drive and no intent wants, or nobody may drive any more, is released; so is a limit of its export.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from celery.exceptions import SoftTimeLimitExceeded

from adapters.contract import Clock
from schedules import leases
from schedules.egress import Egress
from schedules.site_dispatch import LeaseLostError, Outcome, SiteDispatch, situations
from schedules.sites import ControlledSite
from schedules.store import Database

__all__ = ["Dispatcher", "Outcome"]

# So many devices of an account at once: a slow vendor delays them, but not one behind the other.
AT_ONCE = 64
RELEASE_ATTEMPTS = 3
T = TypeVar("T")


class Dispatcher:
    """Drives the devices of one account. It remembers nothing: any worker may make the next tick."""

    def __init__(self, db: Database, clock: Clock, targets: Sequence[ControlledSite], worker: str = "") -> None:
        """Take the sites of one account, and what the worker is called."""
        accounts = {target.account_id for target in targets}
        if len(accounts) != 1:
            raise ValueError(f"targets: they are of {len(accounts)} accounts; give those of one")
        self._account_id = accounts.pop()
        self._db = db
        self._clock = clock
        self._targets = {target.id: target for target in targets}
        self._worker = worker
        # A release from outside must not cross a tick of this process that is waiting for an answer.
        self._one_at_a_time = asyncio.Lock()

    async def tick(self) -> dict[int, Outcome]:
        """Do what is due now; safe to call at any time, any number of times, from any process.

        Returns:
            What was done, by site; all `NOT_OURS` where another worker has the account.

        Raises:
            AdapterError: Telemetry that must be read first could not be had; nothing was sent to that site, and what
                was due for the others was done.
        """

        async def tick(site: SiteDispatch) -> Outcome:
            outcome = await site.tick()
            await site.limit_export()
            return outcome

        return await self._for_each(tick, Outcome.NOT_OURS)

    async def release(self) -> bool:
        """Let go of all devices now, their export too; a release may be repeated, it harms nobody.

        Returns:
            Whether the vendor took it for each.
        """

        async def release(site: SiteDispatch) -> bool:
            released = lifted = False
            for _ in range(RELEASE_ATTEMPTS):
                released = released or await site.release()
                lifted = lifted or await site.limit_export(lift=True)
            return released and lifted

        return all((await self._for_each(release, False)).values())

    async def resolve_unknown(self) -> bool:
        """Settle every command whose fate nobody knows, by telemetry taken after it.

        Returns:
            Whether none is left.

        Raises:
            AdapterError: Telemetry could not be had.
        """
        return all((await self._for_each(SiteDispatch.resolve_unknown, False)).values())

    async def _for_each(self, act: Callable[[SiteDispatch], Awaitable[T]], instead: T) -> dict[int, T]:
        """Act on every site, many at once; `instead` is what those get that another worker has taken over."""
        results = dict.fromkeys(self._targets, instead)
        errors: list[Exception] = []
        at_once = asyncio.Semaphore(AT_ONCE)

        async def one(site: SiteDispatch) -> None:
            async with at_once:
                try:
                    results[site.target.id] = await act(site)
                except LeaseLostError:
                    return
                except SoftTimeLimitExceeded:
                    # It is the worker's, and no site's; who goes on is killed, and that counts against the account.
                    raise
                except Exception as error:
                    # One site's trouble is its own; it is told once the others are served.
                    errors.append(error)

        async with self._one_at_a_time, self._leased() as egress:
            if egress is not None:
                with self._db.session() as session:
                    found = situations(session, list(self._targets), self._clock())
                await asyncio.gather(
                    *(
                        one(SiteDispatch(self._db, self._clock, target, egress, found[target.id]))
                        for target in self._targets.values()
                    )
                )
        if errors:
            raise errors[0]
        return results

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[Egress | None]:
        lease = leases.take(self._db, self._clock, self._account_id, self._worker)
        if lease is None:
            yield None
            return
        try:
            yield Egress(self._db, self._clock, lease, self._worker)
        except (Exception, asyncio.CancelledError):
            leases.give_back(self._db, lease)
            raise
        # A killed process gives nothing back; its lease runs out.
        leases.give_back(self._db, lease)
