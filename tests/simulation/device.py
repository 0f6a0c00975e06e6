"""The truth at a site: a house and a battery that does as it was last told, exactly and without steps of time."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from random import Random

from engine import Battery, GridConnection, PvArray, Site

QUARTER_S = 900.0


def site_of(name: str, rng: Random) -> Site:
    """A home with a battery."""
    rated_kw = rng.choice((3.0, 5.0, 8.0))
    return Site(
        name=name,
        battery=Battery(
            capacity_kwh=rated_kw * 2.5,
            max_charge_kw=rated_kw,
            max_discharge_kw=rated_kw,
            charge_efficiency=0.95,
            discharge_efficiency=0.95,
            min_soc=0.1,
            wear_eur_per_kwh=0.02,
        ),
        grid=GridConnection(import_limit_kw=17.0, export_limit_kw=12.0),
        pv=PvArray(),
    )


@dataclass(frozen=True)
class Order:
    """What the inverter is told to do from a time on."""

    power_kw: float | None
    """+ discharges [kW]; None: follow the house."""
    ends_at: float = math.inf
    """When it ends by itself [s]."""
    then: Order | None = None
    """What follows; None: the house."""
    slot_end: float = math.inf
    """When what it was sent for is over [s]."""
    is_ours: bool = True
    """Whether a command of ours asks for it, not somebody with the vendor's app."""


FOLLOW = Order(None)


@dataclass(frozen=True)
class Moment:
    """From this time on, until the next."""

    time: float
    order: Order
    battery_kw: float
    soc: float


class House:
    """Load and PV, constant within each quarter of an hour."""

    def __init__(self, rng: Random) -> None:
        base, peak = rng.uniform(0.2, 0.6), rng.uniform(0.0, 5.0)
        self.load_kw = [round(base + rng.expovariate(2.0), 3) for _ in range(96)]
        self.pv_kw = [round(max(0.0, peak * math.sin(math.pi * (q - 24) / 48)), 3) for q in range(96)]

    def at(self, time: float) -> tuple[float, float]:
        quarter = int(time // QUARTER_S) % 96
        return self.load_kw[quarter], self.pv_kw[quarter]


class Device:
    """One battery; knows all that it ever did."""

    def __init__(self, site: Site, house: House, soc: float) -> None:
        self.site, self.house = site, house
        self.moments: list[Moment] = []
        self._times: list[float] = []
        self._time, self._soc, self._order = 0.0, soc, FOLLOW
        self._note()

    @property
    def order(self) -> Order:
        return self._order

    def take(self, time: float, order: Order) -> None:
        self.advance(time)
        self._order = order
        self._note()

    def advance(self, time: float) -> None:
        battery = self.site.battery
        while self._time < time:
            power_kw = self.moments[-1].battery_kw
            flow_kw = (
                -power_kw * battery.charge_efficiency if power_kw < 0 else -power_kw / battery.discharge_efficiency
            )
            until = min(time, (self._time // QUARTER_S + 1) * QUARTER_S, self._order.ends_at)
            edge = battery.max_soc if flow_kw > 0 else battery.min_soc
            if flow_kw:
                until = min(until, self._time + max(0.001, (edge - self._soc) * battery.capacity_kwh / flow_kw * 3600))
            self._soc += flow_kw * (until - self._time) / 3600 / battery.capacity_kwh
            self._time = until
            if until >= self._order.ends_at:
                self._order = self._order.then or FOLLOW
            self._note()

    def seen_at(self, time: float) -> Moment:
        """How it was at a time that lies behind [SOC as it was then]."""
        place = bisect_right(self._times, time) - 1
        before = self.moments[place]
        if place + 1 == len(self.moments) or self._times[place] == time:
            return before
        after = self.moments[place + 1]
        share = (time - before.time) / (after.time - before.time)
        return Moment(time, before.order, before.battery_kw, before.soc + (after.soc - before.soc) * share)

    def _note(self) -> None:
        battery = self.site.battery
        load_kw, pv_kw = self.house.at(self._time)
        wanted_kw = load_kw - pv_kw if self._order.power_kw is None else self._order.power_kw
        power_kw = max(-battery.max_charge_kw, min(battery.max_discharge_kw, wanted_kw))
        is_full, is_empty = self._soc >= battery.max_soc - 1e-9, self._soc <= battery.min_soc + 1e-9
        if (power_kw < 0 and is_full) or (power_kw > 0 and is_empty):
            power_kw = 0.0
        self.moments.append(Moment(self._time, self._order, power_kw, self._soc))
        self._times.append(self._time)
