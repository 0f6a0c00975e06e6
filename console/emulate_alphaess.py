"""A builder for AlphaESS's emulator, until it brings one of its own as the other vendors' do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from adapters.alphaess.emulator import Account, AlphaEssCloud, emulated_system
from adapters.alphaess.mapping import POWER_CADENCE_S
from adapters.emulation import Cloud, EmulatedClock, EmulatedSite, EventLog, FaultBox

CADENCES_S = (POWER_CADENCE_S,)


class _Cloud(AlphaEssCloud):
    """AlphaESS's cloud, telling its account."""

    def account(self) -> dict[str, Any]:
        """What an adapter needs, without the address."""
        account = self._account
        return {
            "api_account": account.api_account,
            "api_secret": account.api_secret.get_secret_value(),
            "username": account.username,
            "password": account.password.get_secret_value(),
        }


def build(
    sites: Sequence[EmulatedSite],
    clock: EmulatedClock,
    log: EventLog,
    faults: FaultBox,  # noqa: ARG001 - this emulator has no switches yet
) -> Cloud:
    """A cloud with throw-away credentials."""
    systems = [emulated_system(site.device_id, site.plant, site.house, site.now, log) for site in sites]
    return _Cloud(Account.random(), systems, clock, log)
