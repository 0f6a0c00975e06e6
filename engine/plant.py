"""A battery, its inverter and the house around it, second by second: the reality that plans meet.

Used wherever something must behave like hardware: the vendors' emulators, and backtests. The equations are
those of the planning model (split efficiencies, AC-side powers) plus what planning leaves out: the
inverter's ramp, the taper near full and empty, and a house that does not keep to quarter-hour means.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum

from engine.assets import Battery


class PlantMode(Enum):
    """What the inverter's controller is told to do."""

    SELF_CONSUMPTION = "self_consumption"
    """Follow the house: take surplus PV, cover the load, leave the grid alone."""
    SET_POINT = "set_point"
    """Hold one AC power until the state of charge asked for is reached."""
    PV_CHARGE = "pv_charge"
    """Take surplus PV up to a power; never discharge, never charge from the grid."""


@dataclass(frozen=True)
class PlantCommand:
    """An order to the inverter; the default is what it does when nobody orders."""

    mode: PlantMode = PlantMode.SELF_CONSUMPTION
    power_kw: float = 0.0
    """Set-point [kW], + discharges. For PV_CHARGE the largest charge power as a negative number."""
    until_soc: float | None = None
    """The set-point rests once the store is at this fraction; None: at the battery's own edge."""


@dataclass(frozen=True)
class PlantLimits:
    """How the hardware departs from an ideal battery."""

    ramp_kw_per_s: float = 1.0
    """Fastest change of AC power [kW/s]."""
    taper_s: float = 20.0
    """Near full or empty the power falls so that at least this long remains to the edge [s]."""


@dataclass
class EnergyRegisters:
    """Counters that only rise [kWh], as a meter has them; import and export are never netted."""

    import_kwh: float = 0.0
    export_kwh: float = 0.0
    charge_kwh: float = 0.0
    discharge_kwh: float = 0.0
    pv_kwh: float = 0.0
    load_kwh: float = 0.0


@dataclass(frozen=True)
class PlantSample:
    """What instruments read at one moment; `load_kw = grid_kw + pv_kw + battery_kw` holds exactly."""

    battery_kw: float
    grid_kw: float
    pv_kw: float
    load_kw: float
    soc: float


@dataclass
class Plant:
    """One battery behind one meter.

    Attributes:
        battery: Ratings and efficiencies.
        soc: State of charge now [fraction].
        command: The order in force.
        limits: Ramp and taper.
        export_limit_kw: Most that is fed into the grid [kW]: PV gives way first, then the battery; None: no limit.
    """

    battery: Battery
    soc: float
    command: PlantCommand = PlantCommand()
    limits: PlantLimits = PlantLimits()
    export_limit_kw: float | None = None
    registers: EnergyRegisters = field(default_factory=EnergyRegisters)
    sample: PlantSample = field(init=False)

    def __post_init__(self) -> None:
        self.sample = PlantSample(0.0, 0.0, 0.0, 0.0, self.soc)

    def run(self, seconds: float, load_kw: float, pv_kw: float, step_s: float = 1.0) -> PlantSample:
        """Let time pass under constant load and PV, in small steps.

        Args:
            seconds: How long [s].
            load_kw: What the house draws [kW].
            pv_kw: What the PV array gives [kW].
            step_s: The longest step; longer than a second only where ramps do not matter [s].

        Returns:
            The readings at the end.

        Raises:
            ValueError: Load, PV or the order is no number.
        """
        if not all(math.isfinite(value) for value in (load_kw, pv_kw, self.command.power_kw)):
            raise ValueError(f"plant: load {load_kw}, PV {pv_kw} or order {self.command.power_kw} kW is no number")
        left = seconds
        while left > 1e-9:
            step = min(step_s, left)
            self._step(step, load_kw, pv_kw)
            left -= step
        return self.sample

    def _step(self, dt_s: float, load_kw: float, pv_kw: float) -> None:
        battery, hours = self.battery, dt_s / 3600
        wanted = self._wanted_kw(load_kw, pv_kw)
        most_change = self.limits.ramp_kw_per_s * dt_s
        ramped = self.sample.battery_kw + max(-most_change, min(most_change, wanted - self.sample.battery_kw))
        power = max(-self._charge_limit_kw(dt_s), min(self._discharge_limit_kw(dt_s), ramped))
        if self.export_limit_kw is not None:
            excess_kw = max(0.0, pv_kw + power - load_kw - self.export_limit_kw)
            throttled_kw = min(pv_kw, excess_kw)
            pv_kw -= throttled_kw
            power -= min(max(0.0, power), excess_kw - throttled_kw)
        if power < 0:
            stored_kwh = -power * hours * battery.charge_efficiency
        else:
            stored_kwh = -power * hours / battery.discharge_efficiency
        self.soc = self.soc * battery.kept_after(hours) + stored_kwh / battery.capacity_kwh
        grid = load_kw - pv_kw - power
        self._count(hours, power, grid, load_kw, pv_kw)
        self.sample = PlantSample(power, grid, pv_kw, load_kw, self.soc)

    def _wanted_kw(self, load_kw: float, pv_kw: float) -> float:
        command = self.command
        if command.mode is PlantMode.SELF_CONSUMPTION:
            return load_kw - pv_kw
        if command.mode is PlantMode.PV_CHARGE:
            return max(min(0.0, command.power_kw), min(0.0, load_kw - pv_kw))
        if command.until_soc is not None:
            reached_up = command.power_kw < 0 and self.soc >= command.until_soc
            reached_down = command.power_kw > 0 and self.soc <= command.until_soc
            if reached_up or reached_down:
                return 0.0
        return command.power_kw

    def _charge_limit_kw(self, dt_s: float) -> float:
        battery = self.battery
        room_kwh = max(0.0, battery.max_soc - self.soc) * battery.capacity_kwh
        taper_kw = room_kwh / battery.charge_efficiency * 3600 / max(dt_s, self.limits.taper_s)
        return min(battery.charge_limit_kw(self.soc), taper_kw)

    def _discharge_limit_kw(self, dt_s: float) -> float:
        battery = self.battery
        held_kwh = max(0.0, self.soc - battery.min_soc) * battery.capacity_kwh
        taper_kw = held_kwh * battery.discharge_efficiency * 3600 / max(dt_s, self.limits.taper_s)
        return min(battery.discharge_limit_kw(self.soc), taper_kw)

    def _count(self, hours: float, battery_kw: float, grid_kw: float, load_kw: float, pv_kw: float) -> None:
        registers = self.registers
        registers.import_kwh += max(grid_kw, 0.0) * hours
        registers.export_kwh += max(-grid_kw, 0.0) * hours
        registers.charge_kwh += max(-battery_kw, 0.0) * hours
        registers.discharge_kwh += max(battery_kw, 0.0) * hours
        registers.pv_kwh += pv_kw * hours
        registers.load_kwh += load_kw * hours
