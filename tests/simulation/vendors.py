"""Vendors' clouds without HTTP: what arrives, what is done with it, and a log of both that nobody can tamper with.

Three classes cover how vendors end what they were told: an order lapses unless it is renewed (AlphaESS), it carries its
own length and begins late (Huawei), or it is a list of set-points that holds until it is replaced (Xolta).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from adapters import last_line
from adapters.contract import (
    Abilities,
    Accepted,
    Channel,
    Command,
    IntentRefusedError,
    QuotaExceededError,
    Receipt,
    Registers,
    Rejected,
    Telemetry,
    Unknown,
    VendorUnavailableError,
)
from adapters.contract import Device as Named
from adapters.quota import Ledger, Meter, Quota
from adapters.transport import NotSentError
from engine.intent import Intent, IntentMode
from tests.simulation import steps
from tests.simulation.device import FOLLOW, Device, Order
from tests.simulation.faults import Fate, Mix, TelemetryFault
from tests.simulation.scheduler import Process, Scheduler, moment, seconds_of

# The caller gives up after this long [s].
TIME_OUT_S = 10.0
LIFETIME_S = 90.0
# What quotas count, and how many calls of a site's are kept for releases.
CONTROL, RESERVED = "control", 2


@dataclass(frozen=True)
class Make:
    """A class of vendor."""

    name: str
    abilities: Abilities
    calls_per_day: int | None
    """State-changing calls that the account may make for each of its sites in a day."""


LAPSING = Make(
    "lapsing",
    Abilities(
        modes=frozenset(IntentMode),
        command_lifetime_s=LIFETIME_S,
        renew_after_s=LIFETIME_S / 2,
        settling_s=20.0,
        power_cadence_s=10.0,
        state_cadence_s=300.0,
    ),
    None,
)
SELF_ENDING = Make(
    "self-ending",
    Abilities(
        modes=frozenset({IntentMode.CHARGE, IntentMode.DISCHARGE, IntentMode.SELF_CONSUMPTION}),
        command_lifetime_s=None,
        renew_after_s=None,
        settling_s=60.0,
        power_cadence_s=60.0,
        state_cadence_s=300.0,
        most_devices_per_call=100,
        most_calls_per_day=100,
    ),
    100,
)
UNTIL_REPLACED = Make(
    "until replaced",
    Abilities(
        modes=frozenset(IntentMode),
        command_lifetime_s=None,
        renew_after_s=None,
        settling_s=60.0,
        power_cadence_s=60.0,
        state_cadence_s=60.0,
    ),
    None,
)
MAKES = (LAPSING, SELF_ENDING, UNTIL_REPLACED)


@dataclass
class Request:
    """One state-changing call for one site, as it went over the wire."""

    site: str
    worker: str
    opened: float
    order: float | None
    """The set-point [kW, + discharges]; None: a release."""
    slot_end: float
    """When what it serves is over [s]; inf for a release."""
    clock_offset_s: float
    """How wrong the sender's clock was."""
    fate: Fate
    arrives: float
    applies: float
    answered: float
    receipt: Receipt
    heard: float = math.inf
    """When the sender took the answer in [s]; inf: it did not live to."""
    done: bool = False
    """Whether it changed the device."""


@dataclass
class Read:
    """One reading that a process got."""

    site: str
    answered: float
    measured: float
    """By the vendor's time stamp [s]; -inf where there was none."""


@dataclass
class Cloud:
    """A vendor's side of one account."""

    scheduler: Scheduler
    rng: Random
    mix: Mix
    name: str
    make: Make
    devices: dict[str, Device]
    expires: bool = True
    """Without it the vendor's devices never end an order by themselves."""
    is_mean: bool = False
    """Whether the vendor allows a tenth of the calls that others do."""
    wire: list[Request] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    telemetry_faults: dict[str, list[TelemetryFault]] = field(default_factory=dict)
    _applied: dict[str, float] = field(default_factory=dict)

    @property
    def most_calls(self) -> int | None:
        """How many state-changing calls it takes from the account within a day."""
        if self.make.calls_per_day is None:
            return None
        return self.make.calls_per_day * len(self.devices) // (10 if self.is_mean else 1)

    def quotas(self) -> dict[str, tuple[Quota, ...]]:
        """The same in our words; some calls are kept for letting go."""
        if self.most_calls is None:
            return {}
        return {CONTROL: (Quota(self.most_calls, dt.timedelta(days=1), RESERVED * len(self.devices)),)}

    def open(self, process: Process, command: Command) -> Request:
        """A request leaves a process; its fate is drawn here."""
        now, rng, mix = self.scheduler.now, self.rng, self.mix
        fate = mix.fate(rng)
        if self._is_over_quota(now):
            fate = Fate.REFUSED
        arrives = now + (rng.uniform(0.05, 0.6) if rng.random() > mix.slow else rng.uniform(1.0, 8.0))
        delay_s = rng.uniform(5.0, 30.0) if fate is Fate.DELAYED else 0.0
        if self.make is SELF_ENDING and not command.releases:
            delay_s += rng.uniform(1.0, 40.0)  # a task begins when the plant next asks for tasks
        # What a cloud holds back it carries out in order.
        applies = max(arrives + delay_s, self._applied.get(command.device_id, 0.0))
        is_lost = fate in (Fate.REQUEST_LOST, Fate.REPLY_LOST)
        receipts: dict[Fate, Receipt] = {
            Fate.REFUSED: Rejected("the vendor refuses", retryable=True),
            Fate.REQUEST_LOST: Unknown("no answer"),
            Fate.REPLY_LOST: Unknown("no answer"),
        }
        request = Request(
            site=command.device_id,
            worker=process.name,
            opened=now,
            order=None if command.releases else command.battery_kw,
            slot_end=command.payload.get("slot_end", math.inf),
            clock_offset_s=process.clock.offset_s,
            fate=fate,
            arrives=arrives,
            applies=applies,
            answered=now + TIME_OUT_S if is_lost else arrives + rng.uniform(0.05, 0.3),
            receipt=receipts.get(fate, Accepted(str(len(self.wire)))),
        )
        self.wire.append(request)
        if fate not in (Fate.REFUSED, Fate.REQUEST_LOST, Fate.IGNORED):
            self._applied[command.device_id] = applies
            self.scheduler.at(applies, lambda: self._apply(request, command))
        return request

    def _apply(self, request: Request, command: Command) -> None:
        request.done = True
        now = self.scheduler.now
        self.devices[request.site].take(now, self._order(command, now, request))

    def _order(self, command: Command, now: float, request: Request) -> Order:
        if command.releases:
            return FOLLOW
        power_kw, slot_end = command.battery_kw, command.payload["slot_end"]
        if request.fate is Fate.PARTIAL:
            power_kw /= 2
        if not self.expires:
            return Order(power_kw, slot_end=slot_end)
        if self.make is UNTIL_REPLACED:
            ends_at, then = slot_end, Order(0.0, slot_end=slot_end)
        else:
            ends_at, then = now + command.payload["seconds"], None
        if request.fate is Fate.LAPSES_EARLY:
            ends_at, then = now + 0.3 * (ends_at - now), None
        return Order(power_kw, max(ends_at, now), then, slot_end)

    def _is_over_quota(self, now: float) -> bool:
        if self.most_calls is None:
            return False
        return sum(1 for request in self.wire if request.opened > now - 86400) >= self.most_calls

    def read(self, site: str, channel: Channel) -> Telemetry | None:
        """What the cloud shows now."""
        now, make = self.scheduler.now, self.make
        cadence_s = make.abilities.power_cadence_s if channel is Channel.POWER else make.abilities.state_cadence_s
        measured = math.floor((now - 2.0) / cadence_s) * cadence_s
        seen_at = measured
        fault = next((one for one in self.telemetry_faults.get(site, ()) if one.since <= now < one.until), None)
        if fault is not None and fault.kind == "failing":
            raise VendorUnavailableError("no telemetry")
        if measured < 0 or (fault is not None and fault.kind == "absent"):
            return None
        if fault is not None and fault.kind == "stale":
            measured = seen_at = min(measured, math.floor(fault.since / cadence_s) * cadence_s)
        if fault is not None and fault.kind == "frozen":
            seen_at = min(measured, math.floor(fault.since / cadence_s) * cadence_s)
        device = self.devices[site]
        device.advance(now)
        seen = device.seen_at(max(0.0, seen_at))
        load_kw, pv_kw = device.house.at(seen.time)
        has_state = channel is Channel.STATE
        is_sentinel = fault is not None and fault.kind == "sentinel"
        return Telemetry(
            channel=channel,
            measured_at=moment(measured),
            battery_kw=round(seen.battery_kw, 3),
            grid_kw=round(load_kw - pv_kw - seen.battery_kw, 3),
            pv_kw=pv_kw,
            load_kw=load_kw,
            soc=(2.55 if is_sentinel else round(seen.soc, 3)) if has_state else None,
            registers=Registers(),
            dispatch_active=seen.order.power_kw is not None,
        )


class Adapter:
    """Our side of an account, in one process: `Readable` and `Dispatchable`."""

    def __init__(self, cloud: Cloud, process: Process, ledger: Ledger | None = None) -> None:
        self._cloud, self._process = cloud, process
        self._meter = Meter(cloud.quotas(), process.clock, ledger)
        self.abilities = cloud.make.abilities

    def translate(self, intent: Intent, device: Named, latest: Telemetry | None) -> Command:  # noqa: ARG002
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        slot_end = seconds_of(intent.not_after)
        payload: dict[str, Any] = {"slot_end": slot_end}
        ends_at: dt.datetime | None = None
        if self._cloud.make is LAPSING:
            payload["seconds"] = LIFETIME_S
        elif self._cloud.make is SELF_ENDING:
            now = self._process.clock()
            remaining_s = (intent.not_after - now).total_seconds()
            if remaining_s < 30.0:
                raise IntentRefusedError("not_after: over or nearly so; a task is 1 minute or more")
            minutes = max(1, round(remaining_s / 60))
            payload["seconds"] = 60.0 * minutes
            ends_at = now + dt.timedelta(minutes=minutes + 1)
        return Command(device.device_id, False, intent.battery_kw, payload, ends_at)

    def release(self, device: Named) -> Command:
        return Command(device.device_id, True, 0.0, {"release": True})

    async def send(self, command: Command) -> Receipt:
        return (await self._send([command]))[0]

    async def read(self, device: Named, channel: Channel) -> Telemetry | None:
        process, cloud = self._process, self._cloud
        process.passes(steps.READING_BACK)
        await asyncio.sleep(cloud.rng.uniform(0.05, 0.5))
        reading = cloud.read(device.device_id, channel)
        measured = -math.inf if reading is None else seconds_of(reading.measured_at)
        cloud.reads.append(Read(device.device_id, cloud.scheduler.now, measured))
        return reading

    async def _send(self, commands: Sequence[Command]) -> list[Receipt]:
        process, cloud = self._process, self._cloud
        if cloud.rng.random() < cloud.mix.token_expired:
            await asyncio.sleep(cloud.rng.uniform(0.3, 5.0))  # logs in again before it writes
        try:
            self._meter.take(CONTROL, urgent=commands[0].releases)
        except (NotSentError, QuotaExceededError) as error:
            return [Rejected(str(error), retryable=True)] * len(commands)
        objection = last_line.objection()
        if objection is not None:
            return [Rejected(f"not sent: {objection}", retryable=True)] * len(commands)
        requests = [cloud.open(process, command) for command in commands]
        process.passes(steps.MID_SOCKET)
        if commands[0].releases:
            process.passes(steps.RELEASING)
        await asyncio.sleep(max(request.answered for request in requests) - cloud.scheduler.now)
        process.passes(steps.AFTER_REPLY)
        for request in requests:
            request.heard = cloud.scheduler.now
        return [request.receipt for request in requests]


class BatchAdapter(Adapter):
    """Also `BatchDispatchable`."""

    async def send_many(self, commands: Sequence[Command]) -> list[Receipt]:
        most = self.abilities.most_devices_per_call
        parts = [commands[begin : begin + most] for begin in range(0, len(commands), most)]
        return [receipt for part in parts for receipt in await self._send(part)]


def adapter_of(cloud: Cloud, process: Process, ledger: Ledger | None = None) -> Adapter:
    """The adapter that a process uses; without a ledger it is only asked what it can do."""
    made = BatchAdapter if cloud.make.abilities.most_devices_per_call > 1 else Adapter
    return made(cloud, process, ledger)
