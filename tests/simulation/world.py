"""One seeded history: accounts of three vendors, worker processes, a beat, and everything that can go wrong."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from engine import InputError
from engine.intent import Intent, IntentMode
from schedules.sites import ControlledSite
from tests.simulation import plans
from tests.simulation.device import QUARTER_S, Device, House, Order, site_of
from tests.simulation.faults import DAY_S, HOUR_S, Mix, Phase, telemetry_faults
from tests.simulation.scheduler import Process, moment
from tests.simulation.stage import WORKERS, Account, Ended, Stage
from tests.simulation.vendors import LAPSING, LIFETIME_S, MAKES, Cloud

# The beat rings on such a grid while something may be due at any moment [s].
GRID_S = 5.0
# It rings so often while an answer is missing [s].
UNSURE_EVERY_S = 20.0
UNSURE_S = 150.0
# And so often when nothing is due at all [s].
IDLE_EVERY_S = 1800.0
# Sites are read so long before something begins, and so often while it goes on [s].
READ_AHEAD_S = 60.0
READ_EVERY_S = 300.0


@dataclass
class Setup:
    """What a world is made of."""

    seed: int
    mix: Mix
    hours: float = 24.0
    sites: int = 6
    """Of each account."""
    expires: bool = True
    full_days: bool = False
    """Plans from end to end of each day, and sites read each minute, as they are outside; much slower."""


class World(Stage):
    """A history that unfolds from its seed."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        super().__init__(folder / f"{setup.seed}.sqlite")
        self.setup, self.mix = setup, setup.mix
        self.rng = Random(setup.seed)
        self.end = setup.hours * HOUR_S
        self.days = math.ceil(self.end / DAY_S)
        self._read_every_s = 60.0 if setup.full_days else READ_EVERY_S
        self._queue: list[tuple[Account, bool, Phase]] = []
        self._outages = self._draw_outages(self.mix.outage, 1800.0, 10_800.0)
        self.database_outages = self._draw_outages(self.mix.database, 10.0, 1200.0)
        for number in range(len(MAKES)):
            self._furnish(number)
        self._draw_the_rest()

    def run(self) -> None:
        """Let it all happen."""
        try:
            for account in self.accounts:
                self._ring_at(account, self.rng.uniform(0.0, 5.0))
            self.scheduler.run_until(self.end)
        finally:
            self.close()
        for account in self.accounts:
            for device in account.cloud.devices.values():
                device.advance(self.end)

    # What there is

    def _furnish(self, number: int) -> None:
        rng, make = self.rng, MAKES[number]
        devices = {}
        for place in range(self.setup.sites):
            name = f"{make.name} {place}"
            devices[name] = Device(site_of(name, rng), House(rng), rng.uniform(0.2, 0.9))
        is_mean = rng.random() < self.mix.mean
        cloud = Cloud(self.scheduler, rng, self.mix, f"account {number}", make, devices, self.setup.expires, is_mean)
        account = self.open_account(cloud)
        for name in devices:
            cloud.telemetry_faults[name] = telemetry_faults(rng, self.mix, self.days)
        for day in range(self.days):
            self._at(max(0.0, day * DAY_S - rng.uniform(600, 7200)), lambda day=day: self._plan_day(account, day))
            for target in account.targets:
                if rng.random() < self.mix.replan:
                    self._at(
                        (day + rng.random()) * min(DAY_S, self.end), lambda target=target: self._replan(account, target)
                    )
                if rng.random() < self.mix.override:
                    self._at(
                        (day + rng.random()) * min(DAY_S, self.end),
                        lambda target=target: self._override(account, target),
                    )
                if rng.random() < self.mix.user:
                    self._at(
                        (day + rng.random()) * min(DAY_S, self.end),
                        lambda target=target: self._use_app(account, target),
                    )

    def _plan_day(self, account: Account, day: int) -> None:
        quarters = min(96, int((self.end - day * DAY_S) // QUARTER_S))
        drawn = self._pattern(account, quarters)
        for target in account.targets:
            self._plan(account, target, day, day * DAY_S, drawn)

    def _replan(self, account: Account, target: ControlledSite) -> None:
        now = self.scheduler.now
        begin = (now // QUARTER_S + 1) * QUARTER_S
        day = int(begin // DAY_S)
        if day < self.days and int(now // DAY_S) == day:
            self._plan(account, target, day, begin, self._pattern(account, 96))

    def _pattern(self, account: Account, quarters: int) -> Any:
        if self.setup.full_days:
            return plans.full_pattern(self.rng)
        return plans.pattern(self.rng, account.cloud.make, quarters)

    def _plan(self, account: Account, target: ControlledSite, day: int, begin: float, drawn: Any) -> None:
        make, battery = account.cloud.make, target.site.battery
        intents = plans.day_plan(self.rng, make, battery, day, begin, drawn, self.setup.full_days)
        self.put_plan(account, target, begin, (day + 1) * DAY_S, intents)

    def _override(self, account: Account, target: ControlledSite) -> None:
        """A person wants something else for a while; it is in force at once."""
        now, battery = self.scheduler.now, target.site.battery
        mode = self.rng.choice((IntentMode.CHARGE, IntentMode.DISCHARGE, IntentMode.SELF_CONSUMPTION))
        rated_kw = battery.max_charge_kw if mode is IntentMode.CHARGE else battery.max_discharge_kw
        power_kw = 0.0 if mode is IntentMode.SELF_CONSUMPTION else round(self.rng.uniform(0.2, 1.0) * rated_kw, 2)
        end = now + self.rng.uniform(0.25, 2.0) * HOUR_S
        intent = Intent(mode, power_kw, moment(now), moment(end))
        try:
            take_back = self.wish(account, target, intent)
        except InputError:
            return  # more than the connection carries: the person is told so
        self._ring_at(account, now + self.rng.uniform(0.0, 5.0))

        def cancel() -> None:
            take_back()
            self._ring_at(account, self.scheduler.now + self.rng.uniform(0.0, 5.0))

        if self.rng.random() < 1 / 3:
            self._at(now + (end - now) * self.rng.uniform(0.1, 0.9), cancel)

    def _use_app(self, account: Account, target: ControlledSite) -> None:
        battery = target.site.battery
        power_kw = self.rng.uniform(-battery.max_charge_kw, battery.max_discharge_kw)
        until = self.scheduler.now + self.rng.uniform(0.5, 2.0) * HOUR_S
        order = Order(self.rng.choice((None, power_kw)), until, is_ours=False)
        account.cloud.devices[target.device.device_id].take(self.scheduler.now, order)

    # What goes wrong with the machines

    def _draw_outages(self, share: float, least_s: float, most_s: float) -> list[tuple[float, float]]:
        outages = []
        for day in range(self.days):
            if self.rng.random() < share:
                since = (day + self.rng.random()) * min(DAY_S, self.end)
                outages.append((since, since + self.rng.uniform(least_s, most_s)))
        return outages

    def _draw_the_rest(self) -> None:
        rng = self.rng
        for since, until in self._outages:
            self._at(since, self._go_out)
            self._at(until, self._come_back)
        for day in range(self.days):
            if rng.random() < self.mix.kill_switch:
                self._at((day + rng.random()) * min(DAY_S, self.end), self._halt)
            for place in range(WORKERS):
                if rng.random() < self.mix.clock_step:
                    self._at((day + rng.random()) * min(DAY_S, self.end), lambda place=place: self._step_clock(place))

    def _halt(self) -> None:
        now = self.scheduler.now
        length_s = self.rng.uniform(300.0, HOUR_S)
        lift = self.pull()

        def end() -> None:
            lift()
            for account in self.accounts:
                self._ring_at(account, self.scheduler.now)

        self._at(now + length_s, end)
        for account in self.accounts:
            self._ring_at(account, now + self.rng.uniform(0.0, 5.0))

    def _step_clock(self, place: int) -> None:
        clock = self.processes[place].clock
        clock.offset_s = self.rng.uniform(-2.0, 2.0)
        self.note(self.processes[place].name, f"clock {clock.offset_s:+.1f} s")

        def mend() -> None:
            clock.offset_s = 0.0

        self._at(self.scheduler.now + HOUR_S, mend)

    def _go_out(self) -> None:
        self.note("control plane", "out")
        self._queue.clear()
        self.replace_all()

    def _come_back(self) -> None:
        self.note("control plane", "back")
        for account in self.accounts:
            self._ring_at(account, self.scheduler.now + self.rng.uniform(0.0, 5.0))

    def _is_out(self) -> bool:
        return any(since <= self.scheduler.now < until for since, until in self._outages)

    # Beat, broker, workers

    def _ring_at(self, account: Account, time: float) -> None:
        account.rings_at = time

        def ring() -> None:
            if account.rings_at != time:
                return
            self._deliver(account)
            # Whatever becomes of this tick, the beat rings on.
            self._ring_at(account, self._next_ring(account))

        self._at(time, ring)

    def _next_ring(self, account: Account) -> float:
        """When something can be due: an edge of a plan, a renewal, an answer that is missing; at last, a look."""
        now = self.scheduler.now
        edge = min(demand.next_edge(now) for demand in account.demands.values())
        # Once before an edge, so that what is known of the sites is fresh there.
        before = edge - READ_AHEAD_S
        if 0.0 < edge - now < READ_AHEAD_S and self.rng.random() < self.mix.early:
            self._at(edge - self.rng.uniform(0.0, 10.0), lambda: self._put(account, False, Phase.BEGINS))
        times = [before if before > now else edge + self.rng.uniform(0.0, 2.0), now + IDLE_EVERY_S]
        if any(demand.moves_soon(now, 0.0) for demand in account.demands.values()):
            times.append(now + self._read_every_s + 1.0)
        if account.cloud.make is LAPSING:
            for name, device in account.cloud.devices.items():
                wanted = account.demands[name].wanted_at(now)
                if wanted.power_kw is not None:
                    due = device.order.ends_at - LIFETIME_S * 0.6 if device.order.power_kw is not None else now
                    times.append(max(now + GRID_S, (due // GRID_S + 1) * GRID_S))
        if now < account.unsure_until:
            times.append(now + UNSURE_EVERY_S)
        return min(times)

    def _deliver(self, account: Account) -> None:
        if self._is_out():
            return
        now, rng = self.scheduler.now, self.rng
        moves = any(demand.moves_soon(now, READ_AHEAD_S) for demand in account.demands.values())
        reads = now - account.read_at >= (self._read_every_s if moves else IDLE_EVERY_S - 1.0)
        if reads:
            account.read_at = now
        wanted = [demand.wanted_at(now) for demand in account.demands.values()]
        phase = Phase.MOVES if any(one.power_kw is not None for one in wanted) else Phase.RESTS
        if any(now - one.begin < 60.0 for one in wanted):
            phase = Phase.BEGINS
        self._put(account, reads, phase)
        for _ in range(self.mix.redeliveries(rng)):
            later = now + (0.0 if rng.random() < 0.5 else rng.uniform(0.0, 120.0))
            self._at(later, lambda: self._put(account, False, phase))

    def _put(self, account: Account, reads: bool, phase: Phase) -> None:
        if self._is_out() or len(self._queue) > 30:
            return
        self._queue.append((account, reads, phase))
        self._assign()

    def _assign(self) -> None:
        free = [process for process in self.processes if process.is_free and not process.is_dead]
        self.rng.shuffle(free)
        while self._queue and free:
            account, reads, phase = self._queue.pop(0)
            self._start(free.pop(), account, reads, phase)

    def _start(self, process: Process, account: Account, reads: bool, phase: Phase) -> None:
        fault = self.mix.fault(self.rng, phase)
        if fault is not None:
            account.unsure_until = self.scheduler.now + UNSURE_S

        def over(ended: Ended) -> None:
            now = self.scheduler.now
            if ended.unsure:
                account.unsure_until = now + UNSURE_S
            if ended.died:
                # What a lost worker had is delivered again.
                self._at(now + self.rng.uniform(1.0, 10.0), lambda: self._put(account, reads, phase))
            self._at(now, self._assign)
            self._at(now, lambda: self._ring_sooner(account))

        self.start(process, account, fault, over, reads=reads)

    def _ring_sooner(self, account: Account) -> None:
        time = self._next_ring(account)
        if time < account.rings_at or account.rings_at < self.scheduler.now:
            self._ring_at(account, time)

    def _at(self, time: float, action: Callable[[], None]) -> None:
        self.scheduler.at(time, action)
