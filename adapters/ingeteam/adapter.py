"""What a device on a site's network says, as telemetry. It can be watched only: no set-point exists in its document."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import random
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from adapters.contract import Abilities, Channel, Clock, Device, Telemetry, VendorUnavailableError
from adapters.ingeteam import mapping, properties
from adapters.ingeteam.client import IngeteamClient, Settings
from adapters.ingeteam.frozen import ReceptionTime
from adapters.ingeteam.live import LiveFeed
from adapters.settings import checked


class IngeteamAdapter:
    """One device, which is one site: `Readable`, `Watchable`, `Closable`; no `Dispatchable`.

    The address is the device's own, so `Device.device_id` chooses nothing.
    """

    abilities = Abilities(
        modes=frozenset(),
        command_lifetime_s=None,
        renew_after_s=None,
        settling_s=0.0,
        power_cadence_s=mapping.STREAM_CADENCE_S,
        state_cadence_s=mapping.PROPERTIES_CADENCE_S,
    )

    def __init__(
        self,
        client: IngeteamClient,
        settings: Settings,
        clock: Clock,
        *,
        sleep: Callable[[float], Awaitable[Any]] = asyncio.sleep,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._client, self._settings = client, settings
        self._feed = LiveFeed(self._stream, sleep=sleep, jitter=jitter)
        # Only the EMS says that there is no battery; the inverter's properties show 0 for it.
        self._has_battery = True
        self._times = {
            channel: ReceptionTime(f"ingeteam {channel.value}", clock, settings.frozen_after_s) for channel in Channel
        }

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:  # noqa: ARG002 one device per address
        """The EMS's plant values (POWER) or the inverter's properties (STATE).

        While the stream is watched its next reading is taken, since the device serves few connections.

        Raises:
            AdapterError: The reading could not be had.
        """
        if channel is Channel.STATE:
            state = await self._client.get_properties()
            return self._state(state)
        if not self._feed.is_open:
            return self._power(await self._client.one_plant_reading())
        try:
            async with (
                asyncio.timeout(self._settings.timeout_s),
                contextlib.aclosing(self._feed.readings()) as readings,
            ):
                async for reading in readings:
                    return reading
        except TimeoutError:
            pass  # the stream is down, and being opened anew
        raise VendorUnavailableError(
            f"{mapping.STREAM_PATH}: no reading of the plant for {self._settings.timeout_s:g} s"
        )

    def watch(self, device: Device) -> AsyncIterator[Telemetry]:  # noqa: ARG002 one device per address
        """Readings of the stream as they come, for ever; it is opened anew when it breaks or falls silent.

        Raises:
            ConfigurationError: The credentials are refused; for a minute after that nothing is asked.
        """
        return self._feed.readings()

    async def day(self, device: Device, day: dt.date) -> list[Telemetry]:  # noqa: ARG002 one device per address
        """The readings of one local day every 3 minutes, by the datalogger, in order.

        Raises:
            ConfigurationError: The setting `time_zone` is missing, or the credentials are refused.
            AdapterError: The day could not be had.
        """
        found = []
        for sample in await self._client.get_day(day):
            battery_kw = None
            if self._settings.battery_from_flows:
                battery_kw = mapping.battery_kw_from_flows(sample.reading.numbers)
            found.append(_telemetry(sample.reading, sample.at, battery_kw))
        return found

    def frozen_since(self, channel: Channel) -> dt.datetime | None:
        """Since when a channel repeats the same values, once that is too long to be true; None: all is well."""
        return self._times[channel].frozen_since

    async def close(self) -> None:
        """Let go of the device's connections."""
        await self._feed.close()
        await self._client.close()

    async def _stream(self) -> AsyncGenerator[Telemetry, None]:
        async with contextlib.aclosing(self._client.plant_readings()) as readings:
            async for reading in readings:
                yield self._power(reading)

    def _power(self, reading: mapping.PlantReading) -> Telemetry:
        self._has_battery = reading.battery_status is not mapping.BatteryStatus.NOT_CONFIGURED
        return _telemetry(reading, self._times[Channel.POWER].of(reading), reading.battery_kw)

    def _state(self, state: properties.InverterState) -> Telemetry:
        battery_kw, pv_kw, soc = properties.inverter_powers(state)
        return Telemetry(
            channel=Channel.STATE,
            measured_at=self._times[Channel.STATE].of(state),
            battery_kw=battery_kw if self._has_battery else None,
            pv_kw=pv_kw,
            soc=soc if self._has_battery else None,
        )


def create(settings: Mapping[str, Any], clock: Clock) -> IngeteamAdapter:
    """Build the adapter of one device; the entry point of this package.

    Raises:
        ConfigurationError: A setting is missing, misspelt or wrong; names it and never shows its value.
    """
    account = checked(Settings, settings, "ingeteam")
    return IngeteamAdapter(IngeteamClient(account, clock), account, clock)


def _telemetry(reading: mapping.PlantReading, at: dt.datetime, battery_kw: float | None) -> Telemetry:
    return Telemetry(
        channel=Channel.POWER,
        measured_at=at,
        battery_kw=battery_kw,
        grid_kw=reading.grid_kw,
        pv_kw=reading.pv_kw,
        load_kw=reading.load_kw,
        soc=reading.soc,
    )
