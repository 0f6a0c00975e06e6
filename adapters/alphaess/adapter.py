"""Intents become AlphaESS dispatches, AlphaESS rows become telemetry.

A dispatch is a lease of 90 s; who wants it to last sends it again well before. HOLD is a started dispatch of 0 W,
releasing is a stopped one: the two are never confused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from zoneinfo import ZoneInfo

from adapters.alphaess import mapping
from adapters.alphaess.client import ALARMING_CLOCK_OFFSET_S, AlphaEssClient, Settings
from adapters.contract import (
    Abilities,
    Accepted,
    AdapterError,
    Channel,
    Clock,
    Command,
    ConfigurationError,
    Device,
    Found,
    IntentRefusedError,
    Receipt,
    Rejected,
    Telemetry,
    Unknown,
)
from adapters.ratings import clamped_kw
from adapters.settings import checked
from adapters.transport import NotSentError, RefusedRequestError
from adapters.values import lowered
from adapters.vendor_codes import VendorCodeError
from engine.intent import Intent, IntentMode


class AlphaEssAdapter:
    """One AlphaESS account: `Readable`, `Dispatchable`, `Discoverable`, `Closable`."""

    abilities = Abilities(
        modes=frozenset(IntentMode),
        command_lifetime_s=mapping.DISPATCH_LIFETIME_S,
        renew_after_s=mapping.DISPATCH_LIFETIME_S / 2,
        settling_s=20.0,
        power_cadence_s=mapping.POWER_CADENCE_S,
        state_cadence_s=mapping.RUNNING_CADENCE_S,
        soc_resolution=float(mapping.SOC_PERCENT_PER_BIT) / 100,
    )

    def __init__(
        self, client: AlphaEssClient, upload_time_zone: str = "UTC", full_soc_raw: int = mapping.FULL_SOC_RAW
    ) -> None:
        self._client = client
        self._zone = ZoneInfo(upload_time_zone)
        self._full_soc_raw = full_soc_raw

    @property
    def clock_offset_s(self) -> float | None:
        """The vendor's clock less ours [s], by its latest answer; None before the first."""
        return self._client.clock_offset_s

    @property
    def clock_alarm(self) -> bool:
        """Whether the clocks are so far apart that somebody should look; well before control stops."""
        return abs(self.clock_offset_s or 0.0) > ALARMING_CLOCK_OFFSET_S

    async def devices(self) -> list[Found]:
        """The account's systems (section 2)."""
        found = [mapping.found(row) for row in await self._client.get_system_list()]
        return [device for device in found if device is not None]

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        """The latest reading of a device; None when the vendor has none. Its time is the vendor's, by our clock."""
        fetch = self._client.get_last_power_data if channel is Channel.POWER else self._client.get_running_data
        for row in await fetch(device.device_id):
            if str(lowered(row).get("sn", device.device_id)) == device.device_id:
                reading = mapping.telemetry(row, channel, self._zone, self._client.now())
                return replace(reading, measured_at=self._client.by_our_clock(reading.measured_at))
        return None

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        """An intent in the vendor's words; the power is clamped to rating and to what the battery allows now."""
        _refuse_without_serial_number(device)
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        power_kw = clamped_kw(intent, device, latest)
        signed_kw = -power_kw if intent.mode is IntentMode.CHARGE else power_kw
        edge = device.battery.min_soc if intent.mode is IntentMode.DISCHARGE else device.battery.max_soc
        until_soc = edge if intent.until_soc is None else intent.until_soc
        fields = mapping.dispatch_fields(device.device_id, signed_kw, until_soc, self._full_soc_raw)
        return Command(
            device_id=device.device_id,
            releases=False,
            battery_kw=mapping.power_from_raw(fields["ActivePower"]),
            payload=fields,
        )

    def release(self, device: Device) -> Command:
        """The stop of a dispatch."""
        _refuse_without_serial_number(device)
        return Command(device.device_id, True, 0.0, mapping.release_fields(device.device_id))

    async def send(self, command: Command) -> Receipt:
        """Send once; ReturnCode 0 means that the vendor has stored the row, no more."""
        try:
            await self._client.remote_dispatch(command.payload)
        except NotSentError as error:
            return Rejected(str(error), retryable=True)
        except (ConfigurationError, RefusedRequestError) as error:
            return Rejected(str(error))
        except VendorCodeError as error:
            if error.code in mapping.NOTHING_DONE:
                return Rejected(str(error), retryable=True)
            return Unknown(str(error))
        except AdapterError as error:
            return Unknown(str(error))
        return Accepted()

    async def close(self) -> None:
        """Close the account's connections."""
        await self._client.close()


def create(settings: Mapping[str, Any], clock: Clock) -> AlphaEssAdapter:
    """Build the adapter of one account; the entry point of this package.

    Raises:
        ConfigurationError: A setting is missing, misspelt or wrong; names it and never shows its value.
    """
    account = checked(Settings, settings, "alphaess")
    return AlphaEssAdapter(AlphaEssClient(account, clock), account.upload_time_zone, account.full_soc_raw)


def _refuse_without_serial_number(device: Device) -> None:
    if not device.device_id.strip():
        raise IntentRefusedError("device_id: empty, and a dispatch without Sn drives every system; name one system")
