"""SolaX readings become telemetry. The document has one call and it reads: nothing can be sent to these batteries."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from zoneinfo import ZoneInfo

from adapters.contract import Abilities, Channel, Clock, Device, Telemetry
from adapters.quota import Ledger
from adapters.settings import checked
from adapters.solax import mapping
from adapters.solax.client import Settings, SolaxClient


class SolaxAdapter:
    """One SolaX Cloud account: `Readable`, `Closable`. Not `Dispatchable`: `contract.dispatchable` refuses it."""

    abilities = Abilities(
        modes=frozenset(),
        command_lifetime_s=None,
        renew_after_s=None,
        settling_s=mapping.CADENCE_S,
        power_cadence_s=mapping.CADENCE_S,
        state_cadence_s=mapping.CADENCE_S,
    )

    def __init__(
        self,
        client: SolaxClient,
        upload_time_zone: str | None = None,
        meter_2: mapping.Meter2 = mapping.Meter2.IGNORED,
    ) -> None:
        self._client, self._meter_2 = client, meter_2
        self._zone = None if upload_time_zone is None else ZoneInfo(upload_time_zone)

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        """The latest reading of an inverter; `device_id` is the registration number of its Wi-Fi module."""
        row = await self._client.realtime_info(device.device_id)
        if row is None:
            return None
        return mapping.telemetry(row, channel, self._zone, self._meter_2, self._client.now())

    async def close(self) -> None:
        """Close the account's connections."""
        await self._client.close()


def create(settings: Mapping[str, Any], clock: Clock, ledger: Ledger | None = None) -> SolaxAdapter:
    """Build the adapter of one account; the entry point of this package.

    Args:
        settings: See `adapters.solax.client.Settings`.
        clock: The time.
        ledger: Where calls are counted; None counts those of this adapter.

    Raises:
        ConfigurationError: A setting is missing, misspelt or wrong; names it and never shows its value.
    """
    account = checked(Settings, settings, "solax")
    return SolaxAdapter(SolaxClient(account, clock, ledger=ledger), account.upload_time_zone, account.meter_2)
