"""A battery that lapses, on a clock that a test moves: what the scripted vendor has behind it."""

from __future__ import annotations

import datetime as dt

from adapters.contract import Channel, Command, Registers, Telemetry
from engine import Battery, GridConnection, PvArray, Site
from engine.plant import Plant, PlantCommand, PlantMode
from schedules.clock import SimulatedClock

LIFETIME_S = 90.0
SITE = Site(
    name="bench",
    battery=Battery(
        capacity_kwh=10.0,
        max_charge_kw=5.0,
        max_discharge_kw=4.0,
        charge_efficiency=0.95,
        discharge_efficiency=0.95,
        min_soc=0.1,
        wear_eur_per_kwh=0.02,
    ),
    grid=GridConnection(import_limit_kw=17.0, export_limit_kw=10.0),
    pv=PvArray(),
)


class FakeBattery:
    """A battery that lapses 90 s after the last command it took, and reports itself every 10 s."""

    def __init__(self, clock: SimulatedClock, soc: float) -> None:
        self.plant = Plant(SITE.battery, soc)
        self.load_kw, self.pv_kw = 0.9, 0.3
        self.lapses_at: dt.datetime | None = None
        self.lapses: list[dt.datetime] = []
        self._clock = clock
        self._now = clock()
        self.plant.run(5.0, self.load_kw, self.pv_kw)
        self.rows: list[Telemetry] = [self._row()]

    @property
    def follow_kw(self) -> float:
        """What it does when nobody drives it [kW]."""
        return self.load_kw - self.pv_kw

    def take(self, command: Command) -> None:
        self.catch_up()
        if command.releases:
            self.plant.command, self.lapses_at = PlantCommand(), None
            return
        self.plant.command = PlantCommand(PlantMode.SET_POINT, command.battery_kw)
        self.lapses_at = self._now + dt.timedelta(seconds=LIFETIME_S)

    def catch_up(self) -> None:
        while self._now < self._clock():
            second = int(self._now.timestamp())
            next_row = dt.datetime.fromtimestamp(second - second % 10 + 10, dt.UTC)
            until = min(moment for moment in (self._clock(), next_row, self.lapses_at) if moment is not None)
            self.plant.run((until - self._now).total_seconds(), self.load_kw, self.pv_kw)
            self._now = until
            if self.lapses_at is not None and self.lapses_at <= until:
                self.lapses.append(until)
                self.plant.command, self.lapses_at = PlantCommand(), None
            if until == next_row:
                self.rows.append(self._row())

    def _row(self) -> Telemetry:
        sample, registers = self.plant.sample, self.plant.registers
        return Telemetry(
            channel=Channel.STATE,
            measured_at=self._now,
            battery_kw=round(sample.battery_kw, 3),
            grid_kw=round(sample.grid_kw, 3),
            pv_kw=sample.pv_kw,
            load_kw=sample.load_kw,
            soc=round(sample.soc, 3),
            registers=Registers(
                registers.import_kwh, registers.export_kwh, registers.charge_kwh, registers.discharge_kwh
            ),
        )
