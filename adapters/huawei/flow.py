"""Flow control of SmartPVMS: how often what may be called, in both access modes, and what to do when it was too often.

Source: SmartPVMS 24.5.0 NBI Reference, section 4.1 (OAuth), 4.2 (API account), 6.2 (old policy), 3.2.2 (login).
"""

from __future__ import annotations

import datetime as dt
import random
from collections.abc import Mapping
from math import ceil

from adapters.contract import Clock, QuotaExceededError
from adapters.huawei.mapping import DELIVERIES, TASK_QUESTIONS, Call
from adapters.quota import Ledger, Meter, Quota

MINUTE, DAY = dt.timedelta(minutes=1), dt.timedelta(days=1)
BASIC_CALLS_PER_DAY = 1000
CONTROL_CALLS_PER_DAY = 100
LOGINS = Quota(5, 10 * MINUTE)
# Section 4: "wait for 1 minute and try again. If the error persists, wait for a longer time".
FIRST_SYSTEM_PAUSE_S = 60.0
# Public clients saw that anything shorter makes it worse.
SHORTEST_PAUSE_S = 300.0
LONGEST_PAUSE_S = 24 * 3600.0

Quotas = dict[str, tuple[Quota, ...]]


def oauth_quotas(reserve: int = 0) -> Quotas:
    """Per owner (section 4.1).

    Args:
        reserve: Control calls that only releases may use.
    """
    return {"basic": (Quota(BASIC_CALLS_PER_DAY, DAY),), "control": (Quota(CONTROL_CALLS_PER_DAY, DAY, reserve),)}


def account_quotas(plants: int, devices: Mapping[int, int]) -> Quotas:
    """Per API account, by what it manages (section 4.2).

    Args:
        plants: How many plants it manages.
        devices: How many devices of each type.
    """
    by_100 = max(1, ceil(plants / 100))
    devices_by_100 = max(1, sum(ceil(count / 100) for count in devices.values()))
    devices_by_10 = max(1, sum(ceil(count / 10) for count in devices.values()))
    reports = {
        call.value: (Quota(by_100 + 24, DAY),)
        for call in (Call.DEVICES, Call.PLANT_HOURS, Call.PLANT_DAYS, Call.PLANT_MONTHS, Call.PLANT_YEARS)
    }
    device_reports = {
        call.value: (Quota(devices_by_100 + 24, DAY),)
        for call in (Call.DEVICE_DAYS, Call.DEVICE_MONTHS, Call.DEVICE_YEARS)
    }
    control = {call.value: (Quota(1, MINUTE),) for call in DELIVERIES | TASK_QUESTIONS}
    return {
        **reports,
        **device_reports,
        **control,
        Call.PLANTS.value: (Quota(by_100 * 10 + 24, DAY),),
        Call.PLANT_NOW.value: (Quota(by_100, 5 * MINUTE),),
        Call.DEVICE_NOW.value: (Quota(devices_by_100, 5 * MINUTE),),
        Call.DEVICE_HISTORY.value: (Quota(devices_by_10 + 24, DAY),),
        Call.ALARMS.value: (Quota(max(by_100, devices_by_100), 30 * MINUTE),),
    }


def old_account_quotas() -> Quotas:
    """Per API account under the policy that older accounts keep (section 6.2); control calls as in section 4.2."""
    per_minute = {call: 10 for call in Call if call not in DELIVERIES | TASK_QUESTIONS}
    per_minute.update({Call.PLANT_NOW: 30, Call.DEVICE_HISTORY: 1})
    per_minute.update(dict.fromkeys(DELIVERIES | TASK_QUESTIONS, 1))
    return {call.value: (Quota(calls, MINUTE),) for call, calls in per_minute.items()}


class FlowControl:
    """Counts the calls of one owner or API account, and keeps quiet when the vendor asks for it."""

    def __init__(
        self,
        access: str,
        clock: Clock,
        polls_count: bool = True,
        old_policy: bool = False,
        reserve: int = 0,
        jitter: random.Random | None = None,
        ledger: Ledger | None = None,
    ) -> None:
        """Set up the quotas of an access mode.

        Args:
            access: "oauth" or "api_account".
            clock: The time.
            polls_count: Whether questions about tasks count as control calls; the document does not say.
            old_policy: Whether the API account is one of the old policy.
            reserve: Control calls that only releases may use.
            jitter: Spreads the pauses of many clients.
            ledger: Where calls are noted; None notes them in memory.
        """
        self._oauth, self._clock, self._polls_count = access == "oauth", clock, polls_count
        self._learns = not self._oauth and not old_policy
        self._jitter = jitter or random.Random()
        account = old_account_quotas() if old_policy else account_quotas(1, {})
        quotas = oauth_quotas(reserve) if self._oauth else account
        login = {call.value: (LOGINS,) for call in (Call.LOGIN, Call.LOGOUT)}
        self._quotas: Quotas = {**quotas, **login}
        self._meter = Meter(self._quotas, clock, ledger)
        self._refusals: dict[str, int] = {}

    def kind(self, call: Call) -> str:
        """Under which quota a call falls."""
        if not self._oauth or call in (Call.LOGIN, Call.LOGOUT):
            return call.value
        if call in DELIVERIES:
            return "control"
        if call in TASK_QUESTIONS:
            return "control" if self._polls_count else "status"
        return "basic"

    def take(self, call: Call, urgent: bool = False) -> None:
        """Count a call that is about to be made.

        Args:
            call: Which.
            urgent: Whether it may use the reserve: a release may.

        Raises:
            QuotaExceededError: It may not be made now.
        """
        self._meter.take(self.kind(call), urgent)

    def control_calls_left(self) -> int | None:
        """How many control calls may still be made, without those kept for releases; None: no limit is known."""
        return self._meter.left("control")

    def learn(self, plants: int, devices: Mapping[int, int]) -> None:
        """Fit the quotas of an API account to what it manages."""
        if self._learns:
            for kind, quotas in account_quotas(plants, devices).items():
                self._quotas[kind] = quotas
                self._meter.allow(kind, quotas)

    def refused(self, call: Call, by_system: bool, retry_after_s: float | None = None) -> QuotaExceededError:
        """Note that the vendor refused a call as too frequent; nothing of its kind is made until the pause is over.

        Args:
            call: Which.
            by_system: Whether all accounts together called too often (403, 429), or this one (407).
            retry_after_s: What the vendor asked for, where it did [s].

        Returns:
            The error to raise.
        """
        kind = self.kind(call)
        times = self._refusals[kind] = self._refusals.get(kind, 0) + 1
        if by_system:
            first_s = FIRST_SYSTEM_PAUSE_S
        else:
            # The next slot of the quota, or its whole window where that is short.
            slots = [quota.per.total_seconds() / quota.calls for quota in self._quotas.get(kind, ())]
            first_s = max([SHORTEST_PAUSE_S, *slots])
        pause_s = min(LONGEST_PAUSE_S, first_s * 2 ** min(times - 1, 20))
        pause_s = max(pause_s * (1 + 0.1 * self._jitter.random()), retry_after_s or 0.0)
        until = self._clock() + dt.timedelta(seconds=pause_s)
        self._meter.pause(kind, until)
        return QuotaExceededError(kind, until)

    def worked(self, call: Call) -> None:
        """Note that a call was not refused as too frequent."""
        self._refusals.pop(self.kind(call), None)
