"""One emulated plant of SmartPVMS: inverter, battery and meter, the tasks it is given, and the data its cloud has.

A residential plant has an inverter of type 38 with a battery (39) behind it and a power sensor (47); a commercial one
an inverter of type 1, a storage (41) beside it and a grid meter (17), and takes no forced tasks. A limit of feed-in
throttles the array.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from adapters.emulation import EmulatedSite, FaultBox, Reading
from engine.plant import EnergyRegisters, PlantCommand, PlantMode

CADENCE_S = 300.0
# Between the cloud's receipt and the battery's obedience.
APPLY_DELAY_S = 10.0
REFRESH_S = 180.0
TASK_TIMEOUT = dt.timedelta(hours=24)
SETTING_TAKES = dt.timedelta(seconds=6)
# The example of a setting that timed out took so long (section 5.2.6).
SETTING_TIMEOUT = dt.timedelta(minutes=87, seconds=33)
KEPT_READINGS = 40 * 288
NAMES_OF_HOUR = ("chargeCap", "dischargeCap", "ongrid_power", "PVYield", "inverterYield", "inverter_power")


@dataclass
class ForcedTask:
    """A charge task of one plant, as the cloud knows it."""

    request_id: int
    sub_id: str
    switch: int
    received_at: dt.datetime
    ends_at: dt.datetime | None = None
    target_soc: float | None = None
    cut_short: bool = False
    begun_with: tuple[float, float] = (0.0, 0.0)
    """Charge and discharge registers when it came [kWh]."""
    finished_at: dt.datetime | None = None
    message: str | None = None

    def status(self, now: dt.datetime) -> int:
        """What the cloud shows: it looks anew every three minutes."""
        looks = (now - self.received_at).total_seconds() // REFRESH_S
        looked_at = self.received_at + dt.timedelta(seconds=looks * REFRESH_S)
        if self.finished_at is not None and self.finished_at <= looked_at:
            return 0
        return 2 if looked_at - self.received_at >= TASK_TIMEOUT else 1


@dataclass
class SettingTask:
    """A setting task of one plant."""

    kind: str
    wanted: Mapping[str, Any]
    received_at: dt.datetime
    works: bool
    applied: bool = False

    def ends_at(self) -> dt.datetime:
        """When it is over, one way or the other."""
        return self.received_at + (SETTING_TAKES if self.works else SETTING_TIMEOUT)


@dataclass
class _Row:
    """A reading as the cloud stored it."""

    reading: Reading
    forced_mode: int


@dataclass
class EmulatedPlant:
    """One plant; `site` is its physics."""

    site: EmulatedSite
    number: int
    faults: FaultBox
    commercial: bool = False
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    task: ForcedTask | None = None
    settings: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    changing: list[SettingTask] = field(default_factory=list)
    rows: deque[_Row] = field(default_factory=lambda: deque(maxlen=KEPT_READINGS))

    def __post_init__(self) -> None:
        self.settings["mode"] = {"operationMode": "maximumSelfConsumption"}
        self._rating = self.site.plant.battery
        self._record()

    @property
    def code(self) -> str:
        """`plantCode`."""
        return self.site.device_id

    @property
    def inverter_sn(self) -> str:
        """Serial number of the inverter."""
        return f"HV{self.number:010d}"

    def device_ids(self) -> dict[int, int]:
        """`id` of each device, by type; the document's examples have negative ones."""
        types = (1, 41, 17) if self.commercial else (38, 39, 47)
        return {kind: -(214_000_000_000_000 + self.number * 100 + kind) for kind in types}

    # --- time ---

    def advance(self, now: dt.datetime) -> None:
        """Let physics, tasks and settings catch up with a time."""
        while self.site.now < now:
            step_s = 60.0 if self.task is not None and self.task.finished_at is None else CADENCE_S
            stamp = self.site.now.timestamp()
            due = [change.ends_at() for change in self.changing if change.ends_at() > self.site.now]
            until = min([now, dt.datetime.fromtimestamp((stamp // step_s + 1) * step_s, dt.UTC), *due])
            self.site.advance(until)
            self._end_task()
            self._apply_settings()
            self._record()

    def _end_task(self) -> None:
        task = self.task
        if task is None or task.finished_at is not None:
            return
        soc = self.site.plant.soc
        if task.target_soc is not None:
            up = task.switch == 1
            # What tapers off near the edge of the band counts as reached.
            if soc >= task.target_soc - 1e-3 if up else soc <= task.target_soc + 1e-3:
                task.finished_at = self.site.now
                self.site.release(0.0)
        elif task.ends_at is not None and task.ends_at <= self.site.now:
            task.finished_at = task.ends_at
            if task.cut_short:
                task.message = "The charging and discharging task information of the battery is changed."

    def _apply_settings(self) -> None:
        for change in self.changing:
            if change.works and not change.applied and change.ends_at() <= self.site.now:
                change.applied = True
                self.settings[change.kind] = change.wanted
                match change.kind:
                    case "mode":
                        self._set_resting(change.wanted)
                    case "configuration":
                        self._set_battery(change.wanted["batteryConfigurationInfo"])
                    case "power":
                        self._set_feed_in(change.wanted)

    def _set_resting(self, wanted: Mapping[str, Any]) -> None:
        """What the battery does without tasks: in TOU it rests outside its windows, which are not emulated."""
        is_idle = wanted["operationMode"] == "TOU"
        self.site.rest_as(PlantCommand(PlantMode.SET_POINT, 0.0) if is_idle else PlantCommand())

    def _set_battery(self, info: Mapping[str, Any]) -> None:
        rating, changes = self._rating, {}
        if "endOfChargeSoc" in info:
            changes["max_soc"] = min(rating.max_soc, info["endOfChargeSoc"] / 100)
        if "endOfDischargeSoc" in info:
            changes["min_soc"] = max(rating.min_soc, info["endOfDischargeSoc"] / 100)
        if "maximumChargePower" in info:
            changes["max_charge_kw"] = min(rating.max_charge_kw, info["maximumChargePower"] / 1000)
        if "maximumDischargePower" in info:
            changes["max_discharge_kw"] = min(rating.max_discharge_kw, info["maximumDischargePower"] / 1000)
        self.site.plant.battery = rating.model_copy(update=changes)

    def _set_feed_in(self, wanted: Mapping[str, Any]) -> None:
        limits = wanted["controlMode"] == "6"
        self.site.plant.export_limit_kw = wanted["controlInfo"].get("maxGridFeedInPower") if limits else None

    def _record(self) -> None:
        reading = self.site.reading(CADENCE_S)
        if not self.rows or reading.at > self.rows[-1].reading.at:
            resting = 6 if self.settings["mode"]["operationMode"] == "TOU" else 4
            self.rows.append(_Row(reading, resting if self.site.order is None else 1))

    # --- tasks ---

    def refusal(self, switch: int, now: dt.datetime) -> str | None:
        """Why a forced task cannot be taken now, or None."""
        if self.commercial:
            return "The plant has no residential energy storage system."
        running = self.task is not None and self.task.status(now) == 1
        if running and self.task is not None and self.task.switch == switch and self.task.finished_at is None:
            return "The same task is being executed in the current plant."
        return None

    def receive(self, task: ForcedTask, power_w: int | None, minutes: int | None) -> None:
        """Take a forced task that was found in order."""
        registers, battery = self.site.plant.registers, self.site.plant.battery
        task.begun_with = (registers.charge_kwh, registers.discharge_kwh)
        earlier = self.task
        if task.switch == 0:
            self.site.release(APPLY_DELAY_S)
            if not self.faults.now.commands_ignored:
                task.finished_at = task.received_at + dt.timedelta(seconds=APPLY_DELAY_S)
        else:
            most_kw = battery.max_charge_kw if task.switch == 1 else battery.max_discharge_kw
            asked_kw = most_kw if power_w is None else min(most_kw, abs(power_w) / 1000)
            command = PlantCommand(
                PlantMode.SET_POINT, -asked_kw if task.switch == 1 else asked_kw, until_soc=task.target_soc
            )
            lasts_s = None if minutes is None else minutes * 60.0
            order = self.site.receive(command, APPLY_DELAY_S, lasts_s, task.sub_id)
            if order is not None and order.ends_at is not None:
                task.ends_at = order.ends_at
                asked = order.begins_at + dt.timedelta(minutes=minutes or 24 * 60)
                task.cut_short = order.ends_at < asked
        if earlier is not None and earlier.finished_at is None and not self.faults.now.commands_ignored:
            earlier.finished_at = task.received_at
            earlier.message = "The task is ended by a new task."
        self.task = task

    def status_row(self, task: ForcedTask, now: dt.datetime, odd: bool) -> dict[str, Any]:
        """One element of the answer of section 5.2.2; `odd` takes the other names that it prints for the times."""
        registers = self.site.plant.registers
        status = task.status(now)
        over = task.finished_at if status == 0 else None
        return {
            "plantCode": self.code,
            "sn": self.inverter_sn,
            "remoteID": task.sub_id,
            "status": status,
            "chargedCapacity": round(registers.charge_kwh - task.begun_with[0], 3) if task.switch == 1 else None,
            "dischargedCapacity": round(registers.discharge_kwh - task.begun_with[1], 3) if task.switch == 2 else None,
            "message": task.message if status == 0 else None,
            "startTime" if odd else "execStartTime": task.received_at.astimezone(self.zone).isoformat("T", "seconds"),
            "endTime" if odd else "execEndTime": None if over is None else over.astimezone(self.zone).isoformat(),
        }

    # --- data ---

    def device_rows(self, odd: bool) -> list[dict[str, Any]]:
        """The plant's part of the device list."""
        names = {1: "inverter", 38: "inverter", 39: "battery", 41: "storage", 17: "meter", 47: "meter"}
        return [
            {
                "id": device_id,
                "devDn": f"NE={abs(device_id)}",
                "devName": names[kind],
                "stationCode": self.code,
                "esnCode": self.inverter_sn if names[kind] == "inverter" else f"{self.inverter_sn}-{kind}",
                "devTypeld" if odd else "devTypeId": kind,
                "softwareVersion": "V100R001C00SPC160",
                "invType": "SUN2000-10KTL-M1" if names[kind] == "inverter" else None,
                "longitude": None,
                "latitude": None,
            }
            for kind, device_id in self.device_ids().items()
        ]

    def items(self, kind: int, row: _Row) -> dict[str, Any]:
        """`dataItemMap` of one device at one moment, signs and units as production data have them."""
        reading, battery = row.reading, self.site.plant.battery
        volts = 230 + (reading.at.timestamp() / CADENCE_S) % 97 / 40  # instruments never stand still
        meter = {"active_cap": reading.registers.export_kwh, "reverse_active_cap": reading.registers.import_kwh}
        counters = {"charge_cap": reading.registers.charge_kwh, "discharge_cap": reading.registers.discharge_kwh}
        ac_kw = reading.pv_kw + (0.0 if self.commercial else reading.battery_kw)
        known: dict[int, Callable[[], dict[str, Any]]] = {
            38: lambda: {
                "inverter_state": 512,
                "active_power": ac_kw,
                "mppt_power": reading.pv_kw,
                "a_u": volts,
                "total_cap": reading.registers.pv_kwh,
                "run_state": 1,
            },
            39: lambda: {
                "battery_status": 2,
                "ch_discharge_power": -reading.battery_kw * 1000,
                "max_charge_power": battery.max_charge_kw * 1000,
                "max_discharge_power": battery.max_discharge_kw * 1000,
                "battery_soc": reading.soc * 100,
                "battery_soh": None,
                "ch_discharge_model": row.forced_mode,
                "run_state": 1,
                **counters,
            },
            41: lambda: {
                "ch_discharge_power": reading.battery_kw * 1000,
                "battery_soc": reading.soc * 100,
                "run_state": 1,
                **counters,
            },
            47: lambda: {"meter_status": 1, "active_power": -reading.grid_kw * 1000, "meter_u": volts, **meter},
            17: lambda: {"active_power": -reading.grid_kw, "a_u": volts, "reverse_active_power": None, **meter},
        }
        known[1] = known[38]
        return {name: _rounded(value) for name, value in known[kind]().items()}

    def report(self, name_of: Callable[[dt.datetime], tuple[int, ...]], within: dt.datetime, span: int) -> list[Any]:
        """Energies of the buckets that share the first `span` parts of their name with a moment: (begin, energies)."""
        wanted = name_of(within.astimezone(self.zone))[:span]
        buckets: dict[tuple[int, ...], tuple[dt.datetime, EnergyRegisters, EnergyRegisters]] = {}
        stretches = zip(self.rows, list(self.rows)[1:], strict=False)
        for before, after in ((one.reading, next_one.reading) for one, next_one in stretches):
            local = before.at.astimezone(self.zone)
            name = name_of(local)
            if name[:span] == wanted:
                begin, first, _ = buckets.get(name, (local, before.registers, before.registers))
                buckets[name] = (begin, first, after.registers)
        return [
            (_beginning(begin, len(name)), _energies(first, last)) for name, (begin, first, last) in buckets.items()
        ]


def _beginning(moment: dt.datetime, parts: int) -> dt.datetime:
    """When the year, month, day or hour of a local moment begins."""
    start = {"minute": 0, "second": 0, "microsecond": 0}
    for unit, first in list({"hour": 0, "day": 1, "month": 1}.items())[: 4 - parts]:
        start[unit] = first
    return moment.replace(**start)  # type: ignore[arg-type]


def _energies(first: EnergyRegisters, last: EnergyRegisters) -> dict[str, float]:
    pv_kwh = last.pv_kwh - first.pv_kwh
    export_kwh = last.export_kwh - first.export_kwh
    return {
        "PVYield": pv_kwh,
        "inverterYield": pv_kwh,
        "inverter_power": pv_kwh,
        "ongrid_power": export_kwh,
        "buyPower": last.import_kwh - first.import_kwh,
        "use_power": last.load_kwh - first.load_kwh,
        "chargeCap": last.charge_kwh - first.charge_kwh,
        "dischargeCap": last.discharge_kwh - first.discharge_kwh,
        "selfUsePower": max(0.0, pv_kwh - export_kwh),
    }


def device_energies(kind: int, energies: Mapping[str, float]) -> dict[str, float]:
    """A plant's energies in the words of one of its devices (sections 5.1.4.5 to 5.1.4.7)."""
    if kind in (39, 41):
        return {"charge_cap": energies["chargeCap"], "discharge_cap": energies["dischargeCap"]}
    return {"product_power": energies["inverterYield"]}


def rounded(values: Mapping[str, Any], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Values as a cloud shows them, all or some."""
    return {name: _rounded(value) for name, value in values.items() if names is None or name in names}


def _rounded(value: Any) -> Any:
    return round(value, 3) if isinstance(value, float) else value
