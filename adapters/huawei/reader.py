"""SmartPVMS as telemetry: several devices of a plant become one reading.

Real-time data carry no time of their own, only the clock of the answer, and can be 5 minutes older than that.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from adapters.contract import Abilities, Channel, ConfigurationError, Device, Found, Registers, Telemetry
from adapters.huawei.auth import LoopLock
from adapters.huawei.client import HuaweiClient
from adapters.huawei.mapping import (
    BATTERIES,
    CADENCE_S,
    INVERTERS,
    METERS,
    MOST_DEVICES_PER_QUERY,
    DeviceType,
    is_remote,
)
from adapters.huawei.records import DeviceReading, Plant, PlantDevice
from adapters.huawei.settings import Settings

LOG = logging.getLogger(__name__)
# A plant that the lists do not have is looked for again, but not at every reading [s].
UNKNOWN_PLANT_AGAIN_S = 3600.0


@dataclass(frozen=True)
class _Directory:
    plants: tuple[Plant, ...]
    devices: Mapping[str, tuple[PlantDevice, ...]]
    """By plant code."""
    read_at: dt.datetime


class HuaweiReader:
    """One owner or API account, watched: `Readable`, `Discoverable`, `Closable`."""

    def __init__(self, client: HuaweiClient) -> None:
        self.client = client
        """Every call of the document, for what this class does not need: reports, alarms, history."""
        self._directory: _Directory | None = None
        self._answers: dict[tuple[int, int], tuple[dt.datetime, dict[str, DeviceReading]]] = {}
        self._unchanged: dict[str, tuple[object, dt.datetime]] = {}
        self._lock = LoopLock()

    @property
    def abilities(self) -> Abilities:
        """Cadences; nothing can be asked of it."""
        return _abilities()

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        """The latest values of a plant's battery, inverter and meter; None when the vendor has none.

        Both channels are the same: one answer per device type serves all plants of the account for five minutes.

        Raises:
            AdapterError: The values could not be had.
        """
        async with self._lock():
            devices = (await self._devices_of(device.device_id)) or ()
            readings = []
            for device_type in sorted({one.device_type for one in devices} & (BATTERIES | INVERTERS | METERS)):
                values = await self._values(device_type, [one for one in devices if one.device_type == device_type])
                readings += [values[one.device_id] for one in devices if one.device_id in values]
        if not readings:
            return None
        times = [reading.at for reading in readings if reading.at is not None]
        measured_at = self._last_changed(device.device_id, readings, min(times, default=self.client.now()))
        return telemetry(readings, devices, channel, measured_at, self.client.settings)

    async def devices(self) -> list[Found]:
        """All plants of the account that have a battery.

        Raises:
            AdapterError: The lists could not be had.
        """
        async with self._lock():
            directory = await self._read_directory()
        found = []
        for plant in directory.plants:
            devices = directory.devices.get(plant.plant_code, ())
            if any(one.device_type in BATTERIES for one in devices):
                # Only residential batteries take forced tasks (section 5.2.1), and only with OAuth.
                residential = any(one.device_type == DeviceType.BATTERY for one in devices)
                driven = residential and self.client.settings.access == "oauth"
                model = next((one.model for one in devices if one.device_type in INVERTERS and one.model), "")
                found.append(Found(plant.plant_code, plant.name, model, controllable=driven))
        return found

    def batteries_listed(self, plant_code: str) -> int:
        """How many batteries that take tasks the vendor listed of a plant; 0 where it has not been asked yet."""
        devices = () if self._directory is None else self._directory.devices.get(plant_code, ())
        return sum(one.device_type == DeviceType.BATTERY for one in devices)

    async def close(self) -> None:
        """Close the account's connections."""
        await self.client.close()

    async def _devices_of(self, plant_code: str) -> tuple[PlantDevice, ...]:
        now, directory = self.client.now(), self._directory
        kept_s = self.client.settings.devices_kept_s
        if directory is not None and plant_code not in directory.devices:
            kept_s = min(kept_s, UNKNOWN_PLANT_AGAIN_S)
        if directory is None or (now - directory.read_at).total_seconds() >= kept_s:
            directory = await self._read_directory()
        if plant_code not in directory.devices:
            raise ConfigurationError(
                f"device_id: plant {plant_code!r} is not among the {len(directory.plants)} plants of the account; "
                "correct it, or let the owner grant access"
            )
        return directory.devices[plant_code]

    async def _read_directory(self) -> _Directory:
        plants = await self.client.plants()
        codes = [plant.plant_code for plant in plants]
        by_plant: dict[str, list[PlantDevice]] = {code: [] for code in codes}
        for one in await self.client.devices(codes):
            by_plant.setdefault(one.plant_code, []).append(one)
        devices = {code: tuple(found) for code, found in by_plant.items()}
        self._directory = _Directory(tuple(plants), devices, self.client.now())
        self._answers.clear()
        return self._directory

    async def _values(self, device_type: int, wanted: Sequence[PlantDevice]) -> dict[str, DeviceReading]:
        """Values of devices, asked for with all others of their type, and kept for the vendor's cadence."""
        assert self._directory is not None
        everyone = sorted(
            one.device_id
            for found in self._directory.devices.values()
            for one in found
            if one.device_type == device_type
        )
        result: dict[str, DeviceReading] = {}
        for part in sorted({everyone.index(one.device_id) // MOST_DEVICES_PER_QUERY for one in wanted}):
            now = self.client.now()
            asked_at, values = self._answers.get((device_type, part), (None, {}))
            if asked_at is None or (now - asked_at).total_seconds() >= self.client.settings.reading_kept_s:
                begin = part * MOST_DEVICES_PER_QUERY
                rows = await self.client.devices_now(device_type, everyone[begin : begin + MOST_DEVICES_PER_QUERY])
                values = {row.device_id: row for row in rows}
                self._answers[device_type, part] = (now, values)
            result.update(values)
        return result

    def _last_changed(
        self, plant_code: str, readings: Sequence[DeviceReading], answered_at: dt.datetime
    ) -> dt.datetime:
        """When these values can be from: the answer's time, unless nothing at all has changed for long."""
        picture = tuple((reading.device_id, repr(sorted(reading.raw.items(), key=repr))) for reading in readings)
        seen, since = self._unchanged.get(plant_code, (None, answered_at))
        if seen != picture:
            self._unchanged[plant_code] = (picture, answered_at)
            return answered_at
        if (answered_at - since).total_seconds() <= self.client.settings.identical_for_s:
            return answered_at
        return since


def telemetry(
    readings: Sequence[DeviceReading],
    devices: Sequence[PlantDevice],
    channel: Channel,
    measured_at: dt.datetime,
    settings: Settings,
) -> Telemetry:
    """Several devices of a plant as one reading.

    A sum of which a part is missing is missing. The load is what inverters and meter say on the AC side, so with a
    battery behind the inverter it is less than PV, battery and grid together by the inverter's losses.

    Args:
        readings: Of the plant's batteries, inverters and meters.
        devices: All of the plant's devices: what they do not say is missing.
        channel: As which channel to label it.
        measured_at: The vendor's time.
        settings: What the document leaves open.
    """
    by_id = {reading.device_id: reading for reading in readings}

    def of(types: Iterable[int]) -> list[Mapping[str, float]]:
        wanted = set(types)
        return [_values_of(by_id.get(one.device_id)) for one in devices if one.device_type in wanted]

    batteries, inverters = of(BATTERIES), of(INVERTERS)
    meter = _grid_meter(devices, by_id, settings.grid_meter_sn)
    battery_kw, grid_kw = _sum(batteries, "battery_kw"), meter.get("grid_kw")
    pv_kw = _sum(inverters, "pv_kw")
    if pv_kw is None and not of({DeviceType.BATTERY, DeviceType.RESIDENTIAL_INVERTER}):
        pv_kw = _sum(inverters, "inverter_kw")  # with no battery behind it, an inverter's AC power is PV
    inverter_kw, beside_kw = _sum(inverters, "inverter_kw"), _sum(of({DeviceType.STORAGE}), "battery_kw")
    load_kw = None
    if grid_kw is not None and inverter_kw is not None and (beside_kw is not None or not of({DeviceType.STORAGE})):
        load_kw = grid_kw + inverter_kw + (beside_kw or 0.0)
    elif grid_kw is not None and pv_kw is not None and battery_kw is not None:
        load_kw = grid_kw + pv_kw + battery_kw
    socs = [battery["soc"] for battery in batteries if "soc" in battery]
    if any(0 < soc <= 0.01 for soc in socs):
        LOG.warning(
            "a state of charge of at most 1 %%: if the plant shows fractions, its values are 100 times too small"
        )
    modes = [battery["forced_mode"] for battery in batteries if "forced_mode" in battery]
    lifetime = settings.battery_counters == "lifetime"
    return Telemetry(
        channel=channel,
        measured_at=measured_at,
        battery_kw=battery_kw,
        grid_kw=grid_kw,
        pv_kw=pv_kw,
        load_kw=load_kw,
        soc=sum(socs) / len(socs) if socs and len(socs) == len(batteries) else None,
        charge_limit_kw=_sum(batteries, "charge_limit_kw"),
        discharge_limit_kw=_sum(batteries, "discharge_limit_kw"),
        registers=Registers(
            import_kwh=meter.get("import_kwh"),
            export_kwh=meter.get("export_kwh"),
            charge_kwh=_sum(batteries, "charge_cap_kwh") if lifetime else None,
            discharge_kwh=_sum(batteries, "discharge_cap_kwh") if lifetime else None,
        ),
        dispatch_active=any(is_remote(mode) for mode in modes) if modes else None,
    )


def _values_of(reading: DeviceReading | None) -> Mapping[str, float]:
    return {} if reading is None else reading.values


def _grid_meter(
    devices: Sequence[PlantDevice], by_id: Mapping[str, DeviceReading], serial_number: str
) -> Mapping[str, float]:
    """The meter at the grid; among several nobody can tell which it is."""
    meters = [one for one in devices if one.device_type in METERS]
    if serial_number:
        meters = [one for one in meters if one.serial_number == serial_number] or meters
    return _values_of(by_id.get(meters[0].device_id)) if len(meters) == 1 else {}


def _sum(parts: Sequence[Mapping[str, float]], name: str) -> float | None:
    if not parts or any(name not in part for part in parts):
        return None
    return sum(part[name] for part in parts)


def _abilities() -> Abilities:
    return Abilities(
        modes=frozenset(),
        command_lifetime_s=None,
        renew_after_s=None,
        # Values can be 5 minutes older than their answer, and a new answer comes every 5 minutes.
        settling_s=2 * CADENCE_S,
        power_cadence_s=CADENCE_S,
        state_cadence_s=CADENCE_S,
    )
