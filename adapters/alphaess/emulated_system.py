"""One AlphaESS battery system in the emulated cloud: the lease on its dispatch, and the rows that the cloud shows."""

from __future__ import annotations

import datetime as dt
from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from adapters.alphaess.mapping import (
    DISPATCH_LIFETIME_S,
    POWER_CADENCE_S,
    RUNNING_CADENCE_S,
    ControlMode,
    Status,
)
from adapters.emulation import EmulatedSite, EventLog, FaultBox
from engine.plant import PlantCommand, PlantMode

# Between the cloud's receipt and the battery's obedience.
APPLY_DELAY_S = 5.0
# Two months of states.
KEPT_ROWS = 60 * 288
DISPATCH_EVENTS = ("started", "renewed", "stopped", "lapsed")


@dataclass(frozen=True)
class Dispatch:
    """A dispatch as the cloud stored it."""

    power_kw: float
    until_soc: float
    mode: ControlMode
    applies_at: dt.datetime
    lapses_at: dt.datetime


class System:
    """A site under dispatch: a lease runs from the cloud's receipt, and each receipt renews it."""

    def __init__(self, site: EmulatedSite, log: EventLog, faults: FaultBox, zone: dt.tzinfo) -> None:
        self.site, self.serial_number, self.zone = site, site.device_id, zone
        self.dispatch: Dispatch | None = None
        """In force."""
        self.pending: Dispatch | None = None
        """Received and not yet applied."""
        self.lapse_s = 0.0
        """How long the battery was left alone between a lapse and the next dispatch [s]."""
        self.power_row: dict[str, Any] = {}
        self.running_rows: deque[dict[str, Any]] = deque(maxlen=KEPT_ROWS)
        self._lapsed_at: dt.datetime | None = None
        self._log, self._faults = log, faults
        self._record()

    def receive(self, power_kw: float, until_soc: float, mode: ControlMode, status: Status) -> None:
        """Take a dispatch or its stop, effective after the delay."""
        now = self.site.now
        if self._lapsed_at is not None:
            # The controller came back after a lapse: that time the battery was not where it was wanted.
            self.lapse_s += (now - self._lapsed_at).total_seconds()
            self._lapsed_at = None
        if status is Status.STOP:
            self._log.add(now, "stopped", sn=self.serial_number, was_active=self.dispatch is not None)
            if self.site.receive(self.site.resting, after_s=0.0) is not None:
                self.dispatch = self.pending = None
            return
        event = "renewed" if (self.pending or self.dispatch) is not None else "started"
        self._log.add(now, event, sn=self.serial_number, power_kw=power_kw, mode=int(mode))
        late_s = self._faults.now.apply_delay_s
        left_s = DISPATCH_LIFETIME_S - (APPLY_DELAY_S if late_s is None else late_s)
        order = self.site.receive(_plant_command(power_kw, until_soc, mode), APPLY_DELAY_S, left_s)
        if order is None:
            return  # the cloud has it, the battery never hears of it
        assert order.ends_at is not None
        self.pending = Dispatch(power_kw, until_soc, mode, order.begins_at, order.ends_at)
        # The old order holds until the new one applies, but the lease is renewed now.
        if self.dispatch is not None:
            self.dispatch = replace(self.dispatch, lapses_at=order.ends_at)
        if self.site.order is not None and self.site.order is not order:
            self.site.order = replace(self.site.order, ends_at=order.ends_at)
        self._apply_lease_events()

    def advance(self, target: dt.datetime) -> None:
        """Let physics, leases and rows catch up with a time."""
        while self.site.now < target:
            self.site.advance(min([target, *self._next_events()]))
            self._apply_lease_events()
            self._record()

    def _next_events(self) -> list[dt.datetime]:
        now = self.site.now
        events = [dt.datetime.fromtimestamp((now.timestamp() // POWER_CADENCE_S + 1) * POWER_CADENCE_S, dt.UTC)]
        if self.pending is not None:
            events.append(self.pending.applies_at)
        if self.dispatch is not None:
            events.append(self.dispatch.lapses_at)
        return [event for event in events if event > now]

    def _apply_lease_events(self) -> None:
        now = self.site.now
        if self.pending is not None and self.pending.applies_at <= now:
            self.dispatch, self.pending = self.pending, None
        if self.dispatch is not None and self.dispatch.lapses_at <= now:
            self._log.add(now, "lapsed", sn=self.serial_number, power_kw=self.dispatch.power_kw)
            self.dispatch = None
            self._lapsed_at = now

    def _record(self) -> None:
        """Take up the rows that have just come, if any have."""
        now = self.site.now
        if self.site.reading(POWER_CADENCE_S).at == now:
            self.power_row = self._power_row()
            if now.timestamp() % RUNNING_CADENCE_S == 0:
                self.running_rows.append({**self.power_row, **self._state()})

    def _power_row(self) -> dict[str, Any]:
        reading = self.site.reading(POWER_CADENCE_S)
        # The cloud stamps rows with its own clock.
        at = reading.at.astimezone(self.zone) + dt.timedelta(seconds=self._faults.now.clock_skew_s)
        return {
            "Sn": self.serial_number,
            "UploadTime": at.strftime("%Y-%m-%d %H:%M:%S"),
            "Ppv1": round(reading.pv_kw * 1000),
            "Ppv2": 0,
            "PrealL1": round((reading.battery_kw + reading.pv_kw) * 1000),
            "PrealL2": None,
            "PrealL3": None,
            "PmeterL1": round(reading.grid_kw * 1000),
            "PmeterL2": None,
            "PmeterL3": None,
            "PmeterDc": 0,
            "Pbat": round(reading.battery_kw * 1000),
            "Sva": round(abs(reading.battery_kw + reading.pv_kw) * 1000),
        }

    def _state(self) -> dict[str, Any]:
        reading, battery, dispatch = self.site.reading(RUNNING_CADENCE_S), self.site.plant.battery, self.dispatch
        return {
            "InvworkMode": 2,
            "Soc": round(reading.soc * 100, 1),
            "Pcharge": round(battery.max_charge_kw * 1000),
            "Pdischarge": round(battery.max_discharge_kw * 1000),
            "EpvTotal": round(reading.registers.pv_kwh, 3),
            "Einput": round(reading.registers.import_kwh, 3),
            "Eoutput": round(reading.registers.export_kwh, 3),
            "Echarge": round(reading.registers.charge_kwh, 3),
            "EDischarge": round(reading.registers.discharge_kwh, 3),
            "DispatchSwitch": int(dispatch is not None),
            "Pdispatch": 0 if dispatch is None else round(dispatch.power_kw * 1000),
            "DispatchSoc": 0 if dispatch is None else round(dispatch.until_soc * 100, 1),
            "DispatchMode": 0 if dispatch is None else int(dispatch.mode),
        }


def _plant_command(power_kw: float, until_soc: float, mode: ControlMode) -> PlantCommand:
    """What the system's controller makes of a dispatch."""
    if mode is ControlMode.STATE_OF_CHARGE:
        return PlantCommand(PlantMode.SET_POINT, power_kw, until_soc)
    if mode is ControlMode.PV_CHARGE_ONLY:
        return PlantCommand(PlantMode.PV_CHARGE, min(0.0, power_kw))
    return PlantCommand(PlantMode.SELF_CONSUMPTION)
