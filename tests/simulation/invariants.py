"""What must hold, told from the vendors' wire logs and the devices' own history; nothing here asks the product."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise

from adapters.contract import Accepted, Unknown
from tests.simulation.device import Device, Moment
from tests.simulation.faults import DAY_S
from tests.simulation.plans import Demand, Wanted
from tests.simulation.stage import Account, Stage
from tests.simulation.vendors import Cloud, Read, Request
from tests.simulation.world import World

# A device may go on for so long after the end of what it does [s].
PAST_END_S = 120.0
# A kill switch is in force after this long [s].
HALTS_WITHIN_S = 5.0
# Older than this, and a cadence, telemetry begins nothing [s].
OLDEST_S = 960.0
# Of the time after which an order that lapses is renewed: it is not repeated sooner, where its answer was heard.
NOT_BEFORE_SHARE = 0.5
# An order that ends by itself is told again only once two readings could show that the device does not do it, and a few
# times at most.
TOLD_AT_MOST = 4
# Powers are the same within this [kW].
SAME_KW = 1e-6

OVERLAP = "two workers in flight on one site"
LATE = "on the wire after not_after"
STALE = "not what was wanted when it went out"
PAST_END = "charging or discharging 2 min past its end"
DOUBLED = "sent again though the answer was heard"
BLIND = "sent over an unknown fate without reading back"
OVERLOAD = "above the nameplate"
OVER_QUOTA = "over the vendor's quota"
HALTED = "driven past a kill switch"
NO_DATABASE = "sent without a database"
OLD_TELEMETRY = "begun on stale or absent telemetry"
FROZEN_TELEMETRY = "begun on frozen telemetry"
INVARIANTS = (
    OVERLAP,
    LATE,
    STALE,
    PAST_END,
    DOUBLED,
    BLIND,
    OVERLOAD,
    OVER_QUOTA,
    HALTED,
    NO_DATABASE,
    OLD_TELEMETRY,
    FROZEN_TELEMETRY,
)


@dataclass(frozen=True)
class Violation:
    """One breach, with enough to find it again."""

    invariant: str
    seed: int
    site: str
    time: float
    detail: str
    trace: tuple[str, ...] = ()


@dataclass
class Figures:
    """What a history, or many, came to."""

    site_days: float = 0.0
    driven_s: float = 0.0
    """Time in which a set-point was wanted and nobody had halted it [s]."""
    wrong_s: float = 0.0
    """Time at another set-point than the one wanted, or at one when none was [s]."""
    longest_wrong_s: float = 0.0
    longest_wrong_at: str = ""
    fallback_s: float = 0.0
    """Time in which the battery rested, or followed the house, though a set-point was wanted [s]."""
    orders: int = 0
    releases: int = 0
    ticks: int = 0
    faults: int = 0
    errors: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)

    def add(self, other: Figures) -> None:
        for name in ("site_days", "driven_s", "wrong_s", "fallback_s", "orders", "releases", "ticks", "faults"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        if other.longest_wrong_s > self.longest_wrong_s:
            self.longest_wrong_s, self.longest_wrong_at = other.longest_wrong_s, other.longest_wrong_at
        self.errors += other.errors
        self.violations += other.violations

    def count(self, invariant: str) -> int:
        return sum(1 for one in self.violations if one.invariant == invariant)

    @property
    def fallback_share(self) -> float:
        """Of all time [fraction]."""
        return self.fallback_s / max(1.0, self.site_days * DAY_S)

    @property
    def wrong_share(self) -> float:
        """Of all time [fraction]."""
        return self.wrong_s / max(1.0, self.site_days * DAY_S)


def judge(world: World) -> Figures:
    """Hold a history that is over against everything that must hold, and measure it."""
    figures = Figures(ticks=world.ticks, faults=len(world.faults))
    figures.errors.update(what.split(":")[0] for _, _, what in world.errors)
    figures.violations += violations(world, world.end, world.setup.seed)
    for account in world.accounts:
        figures.orders += sum(1 for one in account.cloud.wire if one.order is not None)
        figures.releases += sum(1 for one in account.cloud.wire if one.order is None)
        for site in _sites(world, account, world.end):
            figures.site_days += world.end / DAY_S
            site.measure(figures, world.setup.seed)
    return figures


def violations(stage: Stage, end: float, seed: int = 0) -> Iterator[Violation]:
    """All breaches up to a time [s]; the devices' histories have to reach until then."""
    for account in stage.accounts:
        found = list(_quota(account.cloud))
        for site in _sites(stage, account, end):
            found += site.breaches()
        for what, name, time, detail in found:
            yield Violation(what, seed, name, time, detail, tuple(_trace(stage, account, name, time, end)))


def _sites(stage: Stage, account: Account, end: float) -> Iterator[_Site]:
    requests: dict[str, list[Request]] = {name: [] for name in account.cloud.devices}
    for request in account.cloud.wire:
        requests[request.site].append(request)
    reads: dict[str, list[Read]] = {name: [] for name in account.cloud.devices}
    for read in account.cloud.reads:
        reads[read.site].append(read)
    for name, device in account.cloud.devices.items():
        yield _Site(stage, end, account, name, device, account.demands[name], requests[name], reads[name])


Breach = tuple[str, str, float, str]
"""Which invariant, which site, when [s], and more."""


def _quota(cloud: Cloud) -> Iterator[Breach]:
    allowed = cloud.most_calls
    if allowed is None:
        return
    times = [request.opened for request in cloud.wire]
    for place in range(allowed, len(times)):
        if times[place] - times[place - allowed] < DAY_S:
            yield OVER_QUOTA, cloud.wire[place].site, times[place], f"more than {allowed} calls in a day"


@dataclass
class _Site:
    stage: Stage
    end: float
    account: Account
    name: str
    device: Device
    demand: Demand
    requests: list[Request]
    reads: list[Read]

    def breaches(self) -> Iterator[Breach]:
        for what, time, detail in (
            *self._one_at_a_time(),
            *self._in_time(),
            *self._past_end(),
            *self._once(),
            *self._read_back(),
            *self._allowed(),
            *self._seen(),
        ):
            yield what, self.name, time, detail

    def measure(self, figures: Figures, seed: int) -> None:
        """How long the device did something else than was wanted."""
        wrong_since: float | None = None
        for begin, end, wanted, is_halted, moment in self._spans():
            order = moment.order
            power_kw = None if is_halted else wanted.power_kw
            if power_kw is not None:
                figures.driven_s += end - begin
            is_wrong = False
            # Past its end, some vendors' devices rest instead of following the house: their safe place to be.
            rests = order.power_kw is None or (order.power_kw == 0 and order.slot_end <= begin)
            if order.is_ours and not rests:
                is_wrong = power_kw is None or abs(order.power_kw - power_kw) > SAME_KW
            elif order.is_ours and power_kw is not None:
                figures.fallback_s += end - begin
            if is_wrong:
                wrong_since = begin if wrong_since is None else wrong_since
                figures.wrong_s += end - begin
                if end - wrong_since > figures.longest_wrong_s:
                    figures.longest_wrong_s = end - wrong_since
                    figures.longest_wrong_at = f"seed {seed}, {self.name}, {wrong_since:.0f} s"
            else:
                wrong_since = None

    def _spans(self) -> Iterator[tuple[float, float, Wanted, bool, Moment]]:
        """The whole time in pieces within which nothing changes."""
        wanted = self.demand.timeline(self.end)
        moments = self.device.moments
        halts = sorted(edge for halt in self.stage.halts for edge in (halt.since, halt.until))
        edges = sorted({0.0, *(one.begin for one in wanted), *(one.time for one in moments), *halts, self.end})
        at_wanted = at_moment = 0
        for begin, end in pairwise(edges):
            if begin >= self.end:
                break
            while at_wanted + 1 < len(wanted) and wanted[at_wanted + 1].begin <= begin:
                at_wanted += 1
            while at_moment + 1 < len(moments) and moments[at_moment + 1].time <= begin:
                at_moment += 1
            yield begin, end, wanted[at_wanted], self._is_halted(begin), moments[at_moment]

    def _is_halted(self, time: float, after_s: float = 0.0) -> bool:
        return any(halt.since + after_s <= time < halt.until for halt in self.stage.halts)

    def _one_at_a_time(self) -> Iterator[tuple[str, float, str]]:
        open_ones: list[Request] = []
        for request in self.requests:
            open_ones = [one for one in open_ones if one.answered > request.opened]
            for one in open_ones:
                if one.worker != request.worker:
                    yield OVERLAP, request.opened, f"{one.worker} since {one.opened:.1f}, and {request.worker}"
            open_ones.append(request)

    def _in_time(self) -> Iterator[tuple[str, float, str]]:
        for request in self.requests:
            if request.order is None:
                continue
            # As the sender's clock tells it, which counts microseconds.
            time = round(request.opened + request.clock_offset_s, 6)
            if time >= request.slot_end:
                yield LATE, request.opened, f"{time - request.slot_end:.1f} s late"
            wanted = self.demand.wanted_at(time, request.opened)
            if wanted.power_kw is None or abs(wanted.power_kw - request.order) > SAME_KW:
                yield STALE, request.opened, f"{request.order:+g} kW, wanted was {wanted.power_kw}"

    def _past_end(self) -> Iterator[tuple[str, float, str]]:
        moments = self.device.moments
        told: set[int] = set()
        for place, moment in enumerate(moments):
            order = moment.order
            until = moments[place + 1].time if place + 1 < len(moments) else self.end
            if not order.power_kw or not order.is_ours or until <= order.slot_end + PAST_END_S or id(order) in told:
                continue
            told.add(id(order))
            yield PAST_END, until, f"{order.power_kw:+g} kW at least {until - order.slot_end:.0f} s past its end"

    def _once(self) -> Iterator[tuple[str, float, str]]:
        abilities = self.account.cloud.make.abilities
        lapses = abilities.renew_after_s is not None
        if lapses:
            too_soon_s = abilities.renew_after_s * NOT_BEFORE_SHARE
        else:
            too_soon_s = abilities.settling_s + abilities.power_cadence_s  # two readings, the second so much later
        times = 1
        for one, again in pairwise(self.requests):
            same = one.order is not None and (one.order, one.slot_end) == (again.order, again.slot_end)
            times = times if same else 1
            if not same or not _is_accepted(one, again.opened):
                continue
            after_s = again.opened - one.opened
            times += 1
            if after_s < too_soon_s or (not lapses and times > TOLD_AT_MOST):
                yield DOUBLED, again.opened, f"{again.order} kW again after {after_s:.1f} s"

    def _read_back(self) -> Iterator[tuple[str, float, str]]:
        settling_s = self.account.cloud.make.abilities.settling_s
        unknown: list[Request] = []
        for request in self.requests:
            released = [one.opened for one in unknown if one.order is None and _is_accepted(one, request.opened)]
            unknown = [
                one
                for one in unknown
                if one.opened > max(released, default=-1.0)
                and not (one.heard <= request.opened and not isinstance(one.receipt, Unknown))
                and not self._is_read(one, request.opened, settling_s)
            ]
            if request.order is not None and unknown:
                yield BLIND, request.opened, f"nobody knows of the call at {unknown[0].opened:.1f}"
                unknown = []
            unknown.append(request)

    def _is_read(self, request: Request, before: float, settling_s: float) -> bool:
        since = request.opened + request.clock_offset_s + settling_s - 0.001
        return any(read.measured >= since and read.answered <= before for read in self.reads)

    def _allowed(self) -> Iterator[tuple[str, float, str]]:
        battery = self.device.site.battery
        for request in self.requests:
            if any(since < request.opened < until for since, until in self.stage.database_outages):
                yield NO_DATABASE, request.opened, f"{request.order}"
            if request.order is None:
                continue
            rated_kw = battery.max_charge_kw if request.order < 0 else battery.max_discharge_kw
            if abs(request.order) > rated_kw + SAME_KW:
                yield OVERLOAD, request.opened, f"{request.order:+g} kW of {rated_kw:g}"
            if self._is_halted(request.opened, HALTS_WITHIN_S):
                yield HALTED, request.opened, f"{request.order:+g} kW"

    def _seen(self) -> Iterator[tuple[str, float, str]]:
        begun: set[tuple[float, float]] = set()
        place, newest = 0, float("-inf")
        for request in self.requests:
            if not request.order or (request.order, request.slot_end) in begun:
                continue
            begun.add((request.order, request.slot_end))
            while place < len(self.reads) and self.reads[place].answered <= request.opened:
                newest = max(newest, self.reads[place].measured)
                place += 1
            age_s = request.opened - newest
            if age_s > OLDEST_S:
                yield OLD_TELEMETRY, request.opened, f"seen {age_s:.0f} s ago"
            for fault in self.account.cloud.telemetry_faults.get(self.name, ()):
                if fault.kind == "frozen" and fault.since + OLDEST_S < request.opened < fault.until:
                    yield FROZEN_TELEMETRY, request.opened, f"frozen since {fault.since:.0f}"


def _is_accepted(request: Request, by: float) -> bool:
    """Whether the sender knew by a time that the vendor took it."""
    return request.heard <= by and isinstance(request.receipt, Accepted)


def _trace(stage: Stage, account: Account, name: str, time: float, end: float) -> Iterator[str]:
    """What happened around a breach."""
    lines = [
        (
            one.opened,
            f"{one.worker}: {'release' if one.order is None else f'{one.order:+g} kW until {one.slot_end:.0f}'}, "
            f"{one.fate.value}, applies {one.applies:.1f}, {type(one.receipt).__name__} at {one.answered:.1f}"
            f"{'' if one.heard < math.inf else ', not heard'}",
        )
        for one in account.cloud.wire
        if one.site == name
    ]
    lines += [(one.answered, f"read back {one.measured:.0f}") for one in account.cloud.reads if one.site == name]
    lines += [(when, f"{whom}: {what}") for when, whom, what in stage.faults]
    lines += [(when, f"{whom}: {what}") for when, whom, what in stage.errors]
    for one in account.demands[name].timeline(end):
        lines.append((one.begin, f"wanted: {'the house' if one.power_kw is None else f'{one.power_kw:+g} kW'}"))
    for when, line in sorted(lines):
        if time - 400.0 <= when <= time + 60.0:
            yield f"{when:10.1f} {line}"
