"""One emulated Xolta device: state, mode, set-points, and what of its samples has arrived in the cloud.

Where the manual is silent it is as harsh as is plausible: see `adapters.xolta.emulator`.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from adapters.emulation import EmulatedSite, EventLog, FaultBox, Order, Reading
from adapters.xolta.mapping import Mode, Sign, State, Unit
from engine.plant import PlantCommand, PlantMode

SAMPLE_S, UPLOAD_S = 10.0, 60.0
CADENCES_S = (SAMPLE_S,)
# Between the cloud's receipt and the battery's obedience, and from idling to running.
APPLY_DELAY_S, WAKE_S = 5.0, 30.0
# Two days of samples.
KEPT_SAMPLES = 2 * 8640


class EmulatedDevice:
    """A site's battery with Xolta's controller: state, mode, set-points, and what of its samples has arrived."""

    def __init__(self, site: EmulatedSite, log: EventLog, faults: FaultBox, unit: Unit, sign: Sign) -> None:
        self.site = site
        self._log, self._faults, self._per_kw = log, faults, (1000.0 if unit == "W" else 1.0) * sign
        self._idling = False
        self._awake_from: dt.datetime | None = None
        self.mode = Mode.SELF_CONSUMPTION
        self.set_points: list[tuple[dt.datetime, float]] = []
        self._pending: list[tuple[float, Reading]] = []
        self.lost_uploads: list[tuple[dt.datetime, dt.datetime]] = []
        """Stretches of time whose samples never arrive."""
        first = (self.set_point_kw(), site.reading(SAMPLE_S))
        self.samples: deque[tuple[float, Reading]] = deque([first], maxlen=KEPT_SAMPLES)

    @property
    def state(self) -> State:
        """Whether it works; waking takes a while."""
        waking = self._awake_from is not None and self.site.now < self._awake_from
        return State.IDLING if self._idling or waking else State.RUNNING

    def set_point_kw(self) -> float:
        """What the inverter is told now [kW], + discharges."""
        if self.mode is Mode.EXTERNAL_CONTROL and self.site.order is not None:
            return next((kw for at, kw in reversed(self.set_points) if at <= self.site.now), 0.0)
        return self.site.plant.sample.battery_kw

    def advance(self, target: dt.datetime) -> None:
        """Let physics and samples catch up; whole minutes arrive in the cloud."""
        while self.site.now < target:
            stamp = (self.site.now.timestamp() // SAMPLE_S + 1) * SAMPLE_S
            until = min(target, dt.datetime.fromtimestamp(stamp, dt.UTC))
            if self._awake_from is not None and self.site.now < self._awake_from < until:
                until = self._awake_from
            self.site.advance(until)
            if self._awake_from == self.site.now:
                self._wake()
            if until.timestamp() % SAMPLE_S == 0:
                self._sample(until)

    def _sample(self, at: dt.datetime) -> None:
        if self._faults.now.frozen:
            return
        if self.state is State.IDLING:
            # What the cloud repeats while a device rests is as old as its last run, under a new time stamp.
            set_point_kw, last = (self._pending or self.samples)[-1]
            self._pending.append((set_point_kw, replace(last, at=at)))
        else:
            self._pending.append((self.set_point_kw(), self.site.reading(SAMPLE_S)))
        if at.timestamp() % UPLOAD_S == 0:
            arrived = [
                sample
                for sample in self._pending
                if not any(begin <= sample[1].at < end for begin, end in self.lost_uploads)
            ]
            self.samples.extend(arrived)
            self._pending = []

    def go_to_state(self, state: State) -> None:
        """Wake or rest."""
        if self._faults.now.commands_ignored:
            return
        if state is State.IDLING:
            self._idling, self._awake_from, self.set_points = True, None, []
            self.mode = Mode.SELF_CONSUMPTION
            self.site.receive(PlantCommand(PlantMode.SET_POINT, 0.0), 0.0)
        elif self._idling:
            self._idling = False
            self._awake_from = self.site.now + dt.timedelta(seconds=WAKE_S)

    def follow_house(self) -> None:
        """Go to self-consumption."""
        if self._takes():
            self.mode, self.set_points = Mode.SELF_CONSUMPTION, []
            self.site.release(self._delay_s())

    def follow(self, points: Sequence[tuple[dt.datetime, float]]) -> None:
        """Go to external control and follow a map of set-points in the vendor's unit and sign."""
        if not self._takes():
            return
        faults, earliest = self._faults.now, self.site.now + dt.timedelta(seconds=self._delay_s())
        battery = self.site.plant.battery
        orders: list[Order] = []
        applied: list[tuple[dt.datetime, float]] = []
        for at, value in sorted(points, key=lambda point: point[0]):
            begins_at = max(at, earliest)
            kw = max(-battery.max_charge_kw, min(battery.max_discharge_kw, value / self._per_kw))
            ends_at = None if faults.lapses_after_s is None else begins_at + dt.timedelta(seconds=faults.lapses_after_s)
            orders.append(
                Order(PlantCommand(PlantMode.SET_POINT, kw * faults.applied_share), begins_at, ends_at, f"{kw:g}")
            )
            applied.append((begins_at, kw))
        current_kw = self.set_point_kw()
        self.mode = Mode.EXTERNAL_CONTROL
        # Until the new map takes hold the inverter keeps what it had.
        self.set_points = [(self.site.now, current_kw), *applied]
        self.site.expect(orders)

    def _takes(self) -> bool:
        if self.state is State.IDLING:
            self._log.add(self.site.now, "command to an idling device", sn=self.site.device_id)
            return False
        return not self._faults.now.commands_ignored

    def _delay_s(self) -> float:
        delay_s = self._faults.now.apply_delay_s
        return APPLY_DELAY_S if delay_s is None else delay_s

    def _wake(self) -> None:
        self._awake_from = None
        self.site.release(0.0)
