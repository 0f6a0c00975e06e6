"""One emulated site: physics that keep up with a clock, orders that come late, in part or never, and its readings."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.emulation.faults import FaultBox
from adapters.emulation.house import House
from adapters.emulation.log import EventLog
from engine.plant import EnergyRegisters, Plant, PlantCommand, PlantMode

# How often the house is looked at anew: its own series are by the minute.
HOUSE_STEP_S = 60.0


@dataclass(frozen=True)
class Reading:
    """What the vendor's cloud has of a site at one moment, faults included; + discharges, + imports."""

    at: dt.datetime
    battery_kw: float
    grid_kw: float
    pv_kw: float
    load_kw: float
    soc: float
    registers: EnergyRegisters


@dataclass(frozen=True)
class Order:
    """Something the site's controller is to do from a time on."""

    command: PlantCommand
    begins_at: dt.datetime
    ends_at: dt.datetime | None = None
    """When it ends by itself; None: with the next order."""
    reference: str = ""
    """What the vendor calls it."""


class EmulatedSite:
    """A battery behind one meter, and the cadences at which its cloud has new readings of it."""

    def __init__(
        self,
        device_id: str,
        plant: Plant,
        house: House,
        start: dt.datetime,
        cadences_s: Sequence[float],
        log: EventLog,
        faults: FaultBox,
    ) -> None:
        self.device_id, self.plant, self.house, self.now = device_id, plant, house, start
        self.resting = PlantCommand()
        """What the battery does without orders."""
        self.order: Order | None = None
        """The order in force."""
        self._waiting: list[Order] = []
        self._log, self._faults = log, faults
        self._step(1e-3)  # instruments read something from the first moment on
        self._readings = {cadence_s: self._read() for cadence_s in cadences_s}

    @property
    def released(self) -> bool:
        """Whether the battery follows its own controller, and will."""
        return self.order is None and not self._waiting

    def state(self) -> dict[str, Any]:
        """What every emulator tells of a site: `released`, `soc` and `battery_kw`."""
        return {"released": self.released, "soc": self.plant.soc, "battery_kw": self.plant.sample.battery_kw}

    def reading(self, cadence_s: float) -> Reading:
        """The latest reading at one of the cadences."""
        return self._readings[cadence_s]

    def receive(
        self, command: PlantCommand, after_s: float, lasts_s: float | None = None, reference: str = ""
    ) -> Order | None:
        """Take an order; it replaces all that wait.

        Args:
            command: What to do.
            after_s: How long the vendor usually takes to apply it [s].
            lasts_s: How long it lasts from then on [s]; None: until the next.
            reference: What the vendor calls it.

        Returns:
            The order; None where it is accepted and ignored.
        """
        faults = self._faults.now
        self._log.add(self.now, "order", sn=self.device_id, power_kw=command.power_kw, mode=command.mode.value)
        if faults.commands_ignored:
            return None
        delay_s = after_s if faults.apply_delay_s is None else faults.apply_delay_s
        lasts = min((value for value in (lasts_s, faults.lapses_after_s) if value is not None), default=None)
        begins_at = self.now + dt.timedelta(seconds=delay_s)
        order = Order(
            replace(command, power_kw=command.power_kw * faults.applied_share),
            begins_at,
            None if lasts is None else begins_at + dt.timedelta(seconds=lasts),
            reference,
        )
        self._waiting = [order]
        if delay_s == 0:
            self._apply_orders()
        return order

    def expect(self, orders: Sequence[Order]) -> None:
        """Take a schedule of orders with their own times; it replaces all that wait."""
        if not self._faults.now.commands_ignored:
            self._waiting = sorted(orders, key=lambda order: order.begins_at)
            self._apply_orders()

    def release(self, after_s: float) -> None:
        """Let go of the battery, after the vendor's usual time [s]."""
        self.receive(self.resting, after_s)

    def rest_as(self, command: PlantCommand) -> None:
        """What the battery does without orders from now on; where it is about to be let go too."""
        self._waiting = [replace(o, command=command) if o.command == self.resting else o for o in self._waiting]
        self.resting = command
        self._apply_orders()

    def advance(self, target: dt.datetime) -> None:
        """Let physics, orders and readings catch up with a time."""
        while self.now < target:
            until = min([target, *self._next_events()])
            self._step((until - self.now).total_seconds())
            self.now = until
            self._apply_orders()
            for cadence_s in self._readings:
                if _is_multiple(self.now, cadence_s) and not self._faults.now.frozen:
                    self._readings[cadence_s] = self._read()

    def _next_events(self) -> list[dt.datetime]:
        events = [order.begins_at for order in self._waiting]
        if self.order is not None and self.order.ends_at is not None:
            events.append(self.order.ends_at)
        stamp = self.now.timestamp()
        steps = (*self._readings, HOUSE_STEP_S)
        events += [dt.datetime.fromtimestamp((stamp // step + 1) * step, dt.UTC) for step in steps]
        return [event for event in events if event > self.now]

    def _apply_orders(self) -> None:
        if self.order is not None and self.order.ends_at is not None and self.order.ends_at <= self.now:
            self._log.add(self.now, "order ended", sn=self.device_id, reference=self.order.reference)
            self.order = None
        while self._waiting and self._waiting[0].begins_at <= self.now:
            order = self._waiting.pop(0)
            has_ended = order.ends_at is not None and order.ends_at <= self.now  # it came too late to begin at all
            self.order = None if has_ended or order.command == self.resting else order
        self.plant.command = self.resting if self.order is None else self.order.command

    def _step(self, seconds: float) -> None:
        load_kw, pv_kw = self.house.at(self.now)
        command = self.plant.command
        forced_charge_kw = -command.power_kw if command.mode is PlantMode.SET_POINT else 0.0
        if self._faults.now.pv_throttled and 0 < forced_charge_kw < pv_kw:
            pv_kw = forced_charge_kw
        self.plant.run(seconds, load_kw, pv_kw)

    def _read(self) -> Reading:
        faults, sample = self._faults.now, self.plant.sample
        factor = faults.power_factor
        return Reading(
            at=self.now,
            battery_kw=sample.battery_kw * factor * (-1 if faults.battery_sign_flipped else 1),
            grid_kw=sample.grid_kw * factor,
            pv_kw=sample.pv_kw * factor,
            load_kw=sample.load_kw * factor,
            soc=self.plant.soc + faults.soc_jump,
            registers=replace(self.plant.registers),
        )


def _is_multiple(at: dt.datetime, period_s: float) -> bool:
    return at.timestamp() % period_s < 1e-6
