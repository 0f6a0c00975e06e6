"""What a vendor allows of calls: sliding windows, and pauses that the vendor imposes.

A call that would break a quota is never made; the error says when it may be.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass

from adapters.contract import Clock, QuotaExceededError


@dataclass(frozen=True)
class Quota:
    """So many calls in so long a time."""

    calls: int
    per: dt.timedelta


class Meter:
    """Counts the calls of one account, per kind of call, against one or several quotas each."""

    def __init__(self, quotas: Mapping[str, tuple[Quota, ...]], clock: Clock) -> None:
        self._quotas, self._clock = dict(quotas), clock
        self._made: dict[str, deque[dt.datetime]] = {kind: deque() for kind in quotas}
        self._paused_until: dict[str, dt.datetime] = {}

    def allow(self, kind: str, quotas: tuple[Quota, ...]) -> None:
        """Put other quotas in force for a kind, where a vendor's depend on what the account has; calls made count on.

        A kind that had no quotas before has counted nothing.
        """
        self._quotas[kind] = quotas
        self._made.setdefault(kind, deque())

    def take(self, kind: str) -> None:
        """Count a call that is about to be made.

        Args:
            kind: Which quotas it falls under; one without any is always free.

        Raises:
            QuotaExceededError: It would break one, or the vendor asked for a pause; nothing is counted then.
        """
        now = self._clock()
        free_at = self._free_at(kind, now)
        if free_at > now:
            raise QuotaExceededError(kind, free_at)
        if kind in self._made:
            self._made[kind].append(now)

    def free_at(self, kind: str) -> dt.datetime:
        """When the next call of a kind may be made: now or later."""
        return self._free_at(kind, self._clock())

    def _free_at(self, kind: str, now: dt.datetime) -> dt.datetime:
        # One look at the clock for each question: a second one would find every call too early.
        times = [now, self._paused_until.get(kind, now)]
        made = self._made.get(kind, deque())
        quotas = self._quotas.get(kind, ())
        longest = max((quota.per for quota in quotas), default=dt.timedelta(0))
        while made and made[0] <= now - longest:
            made.popleft()
        for quota in quotas:
            inside = [time for time in made if time > now - quota.per]
            if len(inside) >= quota.calls:
                times.append(inside[-quota.calls] + quota.per)
        return max(times)

    def left(self, kind: str) -> int | None:
        """How many calls of a kind may still be made at once; None: no quota is known."""
        now = self._clock()
        if self._paused_until.get(kind, now) > now:
            return 0
        counts = [
            max(0, quota.calls - sum(time > now - quota.per for time in self._made[kind]))
            for quota in self._quotas.get(kind, ())
        ]
        return min(counts, default=None)

    def pause(self, kind: str, until: dt.datetime) -> None:
        """Keep quiet until a time, as the vendor asked; a pause is only ever made longer."""
        self._paused_until[kind] = max(until, self._paused_until.get(kind, until))
