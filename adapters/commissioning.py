"""Commissioning: finding out on the device itself what a vendor's document leaves open about its set-points.

A number is sent that is small in the largest unit that it may mean, and telemetry tells what the battery made of it:
how large the set-point became that the inverter shows, and which way the power went. Nothing is concluded from one of
them alone, nor from the vendor's receipt. Whatever happens, the battery is let go of at the end.

Vendor-neutral: an adapter whose vendor has such unknowns is `Commissionable`.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from adapters.contract import (
    Abilities,
    Accepted,
    AdapterError,
    Clock,
    Command,
    Device,
    Receipt,
    Rejected,
)

Sleep = Callable[[float], Awaitable[None]]
"""Waits so many seconds of the clock's time."""

Sign = Literal[1, -1]

# A set-point must be shown this exactly; powers follow it as meters and inverters do.
SET_POINT_SHARE = 0.02
SET_POINT_RESOLUTION = 0.15
"""Of a set-point that is smaller than its unit's resolution may show."""
POWER_SHARE, POWER_KW = 0.2, 0.15
# So many readings in a row must agree.
AGREEING = 2
# A step is no more than this part of the rating.
LARGEST_STEP_SHARE = 0.5
SMALLEST_STEP_KW = 0.5
RELEASE_ATTEMPTS = 5
OPPOSITE_SHARE = 0.7
"""The second step, the other way, is so much of the first: two different numbers are no coincidence."""
STUCK = "the battery could not be let go of: release it by hand"


class CommissioningRefusedError(AdapterError):
    """The device is not in a state to be commissioned; nothing was sent."""


@dataclass(frozen=True)
class ReadBack:
    """What a device shows of itself, as the vendor's telemetry has it; + discharges. None: not shown."""

    measured_at: dt.datetime
    battery_kw: float | None
    set_point_kw: float | None
    """The set-point that the inverter is told; its sign is the vendor's and is not relied on."""
    soc: float | None
    driven: bool | None = None
    """Whether somebody drives the device already."""


@runtime_checkable
class Commissionable(Protocol):
    """A vendor whose set-points have an unknown unit or sign, and whose telemetry shows what became of them."""

    @property
    def abilities(self) -> Abilities:
        """Cadences."""
        ...

    @property
    def trial_units(self) -> Mapping[str, float]:
        """The units that a set-point may have, and what one kW is in each."""
        ...

    async def read_back(self, device: Device) -> ReadBack | None:
        """The latest reading; None when there is none.

        Raises:
            AdapterError: It could not be had.
        """
        ...

    def trial(self, device: Device, value: float, until: dt.datetime) -> Command:
        """A set-point with this very number, ending by itself if the vendor can do that.

        Raises:
            IntentRefusedError: The device cannot do that.
        """
        ...

    def release(self, device: Device) -> Command:
        """The command that lets go of the device."""
        ...

    async def send(self, command: Command) -> Receipt:
        """Send a command once; never raising for what vendor or network do."""
        ...


@dataclass(frozen=True)
class Figure:
    """One number that was sent, and what was seen of it last."""

    sent: float
    as_unit: str
    """The unit that it would have if the finding is right."""
    sent_at: dt.datetime
    receipt: Receipt
    baseline: ReadBack
    seen: ReadBack | None
    """The latest reading taken after it; None: there was none."""


@dataclass(frozen=True)
class CommissioningResult:
    """What was found."""

    proved: bool
    unit: str | None
    sign: Sign | None
    """+1 where a positive number discharges."""
    reason: str
    """How it was proved, or why not, with the figures."""
    figures: tuple[Figure, ...]
    released: bool
    """Whether the vendor took the command that lets go of the battery."""


@dataclass
class _Run:
    """One commissioning under way."""

    adapter: Commissionable
    device: Device
    clock: Clock
    sleep: Sleep
    step_kw: float
    longest_wait_s: float
    figures: list[Figure] = field(default_factory=list)
    may_be_driven: bool = False


async def commission(
    adapter: Commissionable,
    device: Device,
    clock: Clock,
    sleep: Sleep,
    step_kw: float,
    *,
    longest_wait_s: float = 600.0,
    soc_margin: float = 0.1,
    oldest_reading_s: float = 180.0,
) -> CommissioningResult:
    """Find out unit and sign of a device's set-points, letting go of the battery at the end.

    Args:
        adapter: The vendor.
        device: Which device.
        clock: The time.
        sleep: How to wait.
        step_kw: The power to try [kW], a small part of the rating and well above what the house's noise is.
        longest_wait_s: How long to wait for each number's effect [s].
        soc_margin: How far from both edges of its band the battery must be to start [fraction]: which way it will go is
            not known.
        oldest_reading_s: The oldest telemetry to start from, by the vendor's time stamp [s].

    Returns:
        The finding, or that nothing is proved and why.

    Raises:
        CommissioningRefusedError: The device is not in a state to start from; nothing was sent.
        AdapterError: Telemetry could not be had at the start; nothing was sent.
    """
    run = _Run(adapter, device, clock, sleep, step_kw, longest_wait_s)
    _refuse_step(device, step_kw)
    baseline = await _baseline(run, soc_margin, oldest_reading_s)
    try:
        finding = await _find(run, baseline)
    except BaseException as error:
        # Cancelled or broken off: the battery is let go of all the same, and the caller waits for it.
        if not await _end(run):
            error.add_note(STUCK)
        raise
    released = await _end(run)
    figures = tuple(run.figures)
    left = "" if released else f"; {STUCK}"
    if isinstance(finding, str):
        return CommissioningResult(False, None, None, f"not proved: {finding}{left}", figures, released)
    unit, sign = finding
    reason = (
        f"{'; then '.join(map(_told, figures))}: the unit is {unit}, and + {'discharges' if sign > 0 else 'charges'}"
    )
    return CommissioningResult(True, unit, sign, reason + left, figures, released)


def _refuse_step(device: Device, step_kw: float) -> None:
    rating_kw = min(device.battery.max_charge_kw, device.battery.max_discharge_kw)
    if not SMALLEST_STEP_KW <= step_kw <= rating_kw * LARGEST_STEP_SHARE:
        raise CommissioningRefusedError(
            f"step_kw: {step_kw:g} is outside {SMALLEST_STEP_KW:g}..{rating_kw * LARGEST_STEP_SHARE:g} kW "
            "(half of the rating); choose a step inside"
        )


async def _baseline(run: _Run, soc_margin: float, oldest_reading_s: float) -> ReadBack:
    battery = run.device.battery
    reading = await run.adapter.read_back(run.device)
    if reading is None:
        raise CommissioningRefusedError("telemetry: the vendor has no reading of the device; wait until it has")
    age_s = (run.clock() - reading.measured_at).total_seconds()
    if age_s > oldest_reading_s:
        raise CommissioningRefusedError(
            f"telemetry: {age_s:.0f} s old, above {oldest_reading_s:g} s; wait until the device reports again"
        )
    if reading.battery_kw is None or reading.set_point_kw is None or reading.soc is None:
        missing = [name for name in ("battery_kw", "set_point_kw", "soc") if getattr(reading, name) is None]
        raise CommissioningRefusedError(
            f"telemetry: {', '.join(missing)} unknown; see that the device is running and shows them"
        )
    low, high = battery.min_soc + soc_margin, battery.max_soc - soc_margin
    if not low <= reading.soc <= high:
        raise CommissioningRefusedError(
            f"soc: {reading.soc:.2f} is outside {low:.2f}..{high:.2f}, so a step might not show; "
            "wait until the battery is further from its edges"
        )
    if reading.driven:
        raise CommissioningRefusedError("mode: somebody drives the device already; let go of it first")
    return reading


async def _find(run: _Run, baseline: ReadBack) -> tuple[str, Sign] | str:
    """Unit and sign, or why they are not proved."""
    # Smallest number first: one kW taken for one W is nothing; 1000 W taken for 1000 kW is everything.
    units = sorted(run.adapter.trial_units.items(), key=lambda pair: pair[1])
    smallest_unit, per_kw = units[0]
    value = _distinct(run.step_kw, baseline, per_kw, run.adapter.trial_units) * per_kw
    seen = await _try(run, value, smallest_unit, baseline, run.adapter.trial_units)
    if isinstance(seen, str):
        return seen
    unit, sign = seen
    if sign is None:
        # Shown, but too small to move anything; now that the unit is known the step can be made to show.
        only = {unit: run.adapter.trial_units[unit]}
        value = _distinct(run.step_kw, baseline, only[unit], only) * only[unit]
        seen = await _try(run, value, unit, baseline, only)
        if isinstance(seen, str):
            return seen
        unit, sign = seen
        if sign is None:
            return f"{_told(run.figures[-1])}: too small to show which way it goes; choose a larger step"
    # The other way round, with another number: a house that happened to draw just the step is found out.
    only = {unit: run.adapter.trial_units[unit]}
    again = await _try(run, -OPPOSITE_SHARE * value, unit, run.figures[-1].seen or baseline, only)
    if isinstance(again, str):
        return again
    if again != (unit, sign):
        return f"{_told(run.figures[-1])}, which contradicts the step before it"
    return unit, sign


def _distinct(step_kw: float, baseline: ReadBack, per_kw: float, units: Mapping[str, float]) -> float:
    """The step, or somewhat less of it where the battery happens to do just that already, either way round.

    That goes for every unit that the number may have: a battery at rest may well show one watt.
    """
    for share in (1.0, 0.7, 0.5):
        kw = step_kw * share
        near = max(POWER_KW, POWER_SHARE * kw)
        is_apart = all(
            abs(abs(value) - kw) > near for value in (baseline.battery_kw, baseline.set_point_kw) if value is not None
        )
        if is_apart and not any(_is_at(baseline.set_point_kw, kw * per_kw / other) for other in units.values()):
            return kw
    return step_kw


def _is_at(set_point_kw: float | None, kw: float) -> bool:
    """Whether a set-point that is shown is one of this size, either way round."""
    share = SET_POINT_RESOLUTION if _is_small(kw) else SET_POINT_SHARE
    return set_point_kw is not None and abs(abs(set_point_kw) - kw) <= share * kw


def _is_small(kw: float) -> bool:
    return kw < SMALLEST_STEP_KW / 2


async def _try(
    run: _Run, value: float, unit: str, baseline: ReadBack, units: Mapping[str, float]
) -> tuple[str, Sign | None] | str:
    """Send one number and wait until telemetry shows it; the unit that it shows, and the sign where power shows it."""
    sent_at = run.clock()
    deadline = sent_at + dt.timedelta(seconds=run.longest_wait_s)
    # Its own end comes a little later, so that the last figure is of the step and not of its end.
    slack = dt.timedelta(seconds=2 * run.adapter.abilities.power_cadence_s)
    command = run.adapter.trial(run.device, value, deadline + slack)
    # From here on the battery may be driven, even where sending it is broken off.
    run.may_be_driven = True
    receipt = await run.adapter.send(command)
    run.figures.append(Figure(value, unit, sent_at, receipt, baseline, None))
    if isinstance(receipt, Rejected):
        return f"{value:g} was refused: {receipt.reason}"
    finding: tuple[str, Sign | None] | None = None
    agreeing = 0
    last: ReadBack | None = None
    while run.clock() < deadline:
        await run.sleep(max(1.0, min(run.adapter.abilities.power_cadence_s, (deadline - run.clock()).total_seconds())))
        try:
            reading = await run.adapter.read_back(run.device)
        except AdapterError:
            continue  # bounded by the deadline; what telemetry cannot be had proves nothing
        if reading is None or reading.measured_at <= sent_at or (last and reading.measured_at <= last.measured_at):
            continue
        last = reading
        run.figures[-1] = Figure(value, unit, sent_at, receipt, baseline, reading)
        shown = _shown(value, baseline, reading, units)
        agreeing = agreeing + 1 if shown is not None and shown == finding else 1
        finding = shown
        if finding is not None and agreeing >= AGREEING:
            return finding
    return f"{_told(run.figures[-1])} after {run.longest_wait_s:g} s"


def _shown(
    value: float, baseline: ReadBack, reading: ReadBack, units: Mapping[str, float]
) -> tuple[str, Sign | None] | None:
    """The unit in which a reading shows a number, and the sign if its power is large enough to tell; None: neither."""
    set_point_kw, battery_kw = reading.set_point_kw, reading.battery_kw
    if set_point_kw is None or battery_kw is None or baseline.set_point_kw is None:
        return None
    if reading.driven is False:
        return None  # whatever it shows is not ours
    for unit, per_kw in units.items():
        kw = abs(value) / per_kw
        if not _is_at(set_point_kw, kw) or _is_at(baseline.set_point_kw, kw):
            continue
        if _is_small(kw):
            # The battery must rest with so small a set-point; what it does beside that is noise.
            return (unit, None) if abs(battery_kw) <= POWER_KW + kw else None
        if abs(abs(battery_kw) - kw) > max(POWER_KW, POWER_SHARE * kw):
            return None
        return unit, (1 if (battery_kw > 0) == (value > 0) else -1)
    return None


def _told(figure: Figure) -> str:
    """One figure in words."""
    seen = figure.seen
    if seen is None:
        return f"sent {figure.sent:g}, and no reading came"
    return (
        f"sent {figure.sent:g}; the set-point shows {_kw(seen.set_point_kw)} (before: "
        f"{_kw(figure.baseline.set_point_kw)}), the battery {_kw(seen.battery_kw)} (before: "
        f"{_kw(figure.baseline.battery_kw)})"
    )


def _kw(value: float | None) -> str:
    return "nothing" if value is None else f"{value:+.4g} kW"


async def _let_go(run: _Run) -> bool:
    """Release until the vendor takes it, some times."""
    for attempt in range(RELEASE_ATTEMPTS):
        if attempt:
            await run.sleep(run.adapter.abilities.power_cadence_s)
        receipt = await run.adapter.send(run.adapter.release(run.device))
        if isinstance(receipt, Accepted):
            return True
    return False


async def _end(run: _Run) -> bool:
    """Let go of the battery if it may be driven; a cancellation meanwhile is passed on only when that is done."""
    if not run.may_be_driven:
        return True
    task = asyncio.create_task(_let_go(run))
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            if task.cancelled():
                raise
            cancelled = error
    if cancelled is not None:
        if not task.result():
            cancelled.add_note(STUCK)
        raise cancelled
    return task.result()
