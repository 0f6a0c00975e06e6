"""What a vendor allows of calls: sliding windows, and pauses that the vendor imposes.

A call that would break a quota is never made; the error says when it may be. The rule is `Meter`'s; what was called is
noted in a `Ledger`, of this process or of all that call in the account's name.
"""

from __future__ import annotations

import contextlib
import datetime as dt
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from adapters.contract import Clock, QuotaExceededError


@dataclass(frozen=True)
class Quota:
    """So many calls in so long a time."""

    calls: int
    per: dt.timedelta
    reserved: int = 0
    """So many of them, not all, are kept for urgent calls: those that let go of a battery."""


class Page(Protocol):
    """The calls and pauses of an account, during one turn at its ledger."""

    def count(self, kind: str, after: dt.datetime) -> int:
        """How many calls of a kind were made after a time."""
        ...

    def latest(self, kind: str, number: int, after: dt.datetime) -> dt.datetime | None:
        """When the latest call but `number` - 1 was made, if that was after a time."""
        ...

    def add(self, kind: str, at: dt.datetime) -> None:
        """Note a call that is about to be made."""
        ...

    def forget(self, kind: str, until: dt.datetime) -> None:
        """Drop the calls of a kind up to a time; they count no more."""
        ...

    def paused_until(self, kind: str) -> dt.datetime | None:
        """The end of the last pause that the vendor asked for."""
        ...

    def pause(self, kind: str, until: dt.datetime) -> None:
        """Note a pause in place of the last one."""
        ...


class Ledger(Protocol):
    """Where the calls and pauses of one account are noted, by all that call in its name."""

    def turn(self) -> AbstractContextManager[Page]:
        """Look and note while nobody else does.

        Raises:
            NotSentError: The ledger cannot be used, so no call may be made.
        """
        ...

    def look(self) -> AbstractContextManager[Page]:
        """Look only; others may note calls meanwhile.

        Raises:
            NotSentError: The ledger cannot be used.
        """
        ...


class MemoryLedger:
    """The calls of one process, gone with it; its own page, for nobody else looks."""

    def __init__(self) -> None:
        self._made: defaultdict[str, list[dt.datetime]] = defaultdict(list)
        self._paused_until: dict[str, dt.datetime] = {}

    @contextlib.contextmanager
    def turn(self) -> Iterator[Page]:
        """Look and note."""
        yield self

    look = turn

    def count(self, kind: str, after: dt.datetime) -> int:
        """How many calls of a kind were made after a time."""
        return sum(time > after for time in self._made[kind])

    def latest(self, kind: str, number: int, after: dt.datetime) -> dt.datetime | None:
        """When the latest call but `number` - 1 was made, if that was after a time."""
        made = sorted(time for time in self._made[kind] if time > after)
        return made[-number] if len(made) >= number else None

    def add(self, kind: str, at: dt.datetime) -> None:
        """Note a call."""
        self._made[kind].append(at)

    def forget(self, kind: str, until: dt.datetime) -> None:
        """Drop the calls of a kind up to a time."""
        self._made[kind] = [time for time in self._made[kind] if time > until]

    def paused_until(self, kind: str) -> dt.datetime | None:
        """The end of the last pause."""
        return self._paused_until.get(kind)

    def pause(self, kind: str, until: dt.datetime) -> None:
        """Note a pause."""
        self._paused_until[kind] = until


class Meter:
    """Holds the calls of one account, per kind of call, against one or several quotas each."""

    def __init__(self, quotas: Mapping[str, tuple[Quota, ...]], clock: Clock, ledger: Ledger | None = None) -> None:
        """Count nothing yet.

        Args:
            quotas: By kind of call.
            clock: The time.
            ledger: Where calls are noted; None notes them in memory.
        """
        self._quotas, self._clock = dict(quotas), clock
        self._ledger = ledger or MemoryLedger()

    def allow(self, kind: str, quotas: tuple[Quota, ...]) -> None:
        """Put other quotas in force for a kind, where a vendor's depend on what the account has; calls made count on.

        A kind that had no quotas before has counted nothing.
        """
        self._quotas[kind] = quotas

    def take(self, kind: str, urgent: bool = False) -> None:
        """Count a call that is about to be made.

        Args:
            kind: Which quotas it falls under; one without any is always free.
            urgent: Whether it may use what is reserved: a release may.

        Raises:
            QuotaExceededError: It would break one, or the vendor asked for a pause; nothing is counted then.
            NotSentError: The ledger cannot be used, so nobody knows.
        """
        with self._ledger.turn() as page:
            # Only now: a turn may have been waited for, and a call is made when it is noted.
            now = self._clock()
            free_at = self._free_at(page, kind, now, urgent)
            if free_at > now:
                raise QuotaExceededError(kind, free_at)
            if kind in self._quotas:
                page.forget(kind, now - self._longest(kind))
                page.add(kind, now)

    def free_at(self, kind: str) -> dt.datetime:
        """When the next call of a kind may be made that is not urgent: now or later."""
        with self._ledger.look() as page:
            return self._free_at(page, kind, self._clock(), urgent=False)

    def left(self, kind: str) -> int | None:
        """How many calls of a kind that are not urgent may still be made at once; None: no quota is known."""
        now = self._clock()
        with self._ledger.look() as page:
            if (page.paused_until(kind) or now) > now:
                return 0
            counts = [
                max(0, quota.calls - quota.reserved - page.count(kind, now - quota.per))
                for quota in self._quotas.get(kind, ())
            ]
        return min(counts, default=None)

    def pause(self, kind: str, until: dt.datetime) -> None:
        """Keep quiet until a time, as the vendor asked; a pause is only ever made longer."""
        with self._ledger.turn() as page:
            page.pause(kind, max(until, page.paused_until(kind) or until))

    def _free_at(self, page: Page, kind: str, now: dt.datetime, urgent: bool) -> dt.datetime:
        # One look at the clock for each question: a second one would find every call too early.
        times = [now, page.paused_until(kind) or now]
        for quota in self._quotas.get(kind, ()):
            calls = quota.calls if urgent else quota.calls - quota.reserved
            earliest = page.latest(kind, calls, now - quota.per)
            if earliest is not None:
                times.append(earliest + quota.per)
        return max(times)

    def _longest(self, kind: str) -> dt.timedelta:
        return max((quota.per for quota in self._quotas[kind]), default=dt.timedelta(0))
