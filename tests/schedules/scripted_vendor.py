"""A vendor that does as scripted, and keeps what came over the wire."""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import Enum

from adapters.contract import (
    Abilities,
    Accepted,
    Channel,
    Command,
    Device,
    Receipt,
    Registers,
    Rejected,
    Telemetry,
    Unknown,
    VendorUnavailableError,
)
from engine.intent import Intent, IntentMode
from schedules.clock import SimulatedClock
from tests.schedules.fake_battery import LIFETIME_S, FakeBattery

ABILITIES = Abilities(
    modes=frozenset(IntentMode),
    command_lifetime_s=LIFETIME_S,
    renew_after_s=LIFETIME_S / 2,
    settling_s=20.0,
    power_cadence_s=10.0,
    state_cadence_s=300.0,
)


class Crash(BaseException):
    """The process is gone: no handler of the product may catch this, no line after it runs."""


class Answer(Enum):
    """What the scripted vendor does with one call."""

    ACCEPT = "accept"
    REJECT = "reject"
    """Refused, or no connection: nothing changed, and the caller knows it."""
    IGNORE = "ignore"
    """Accepted, and nothing changes."""
    LOSE_REQUEST = "lose request"
    """It never arrives, and the caller cannot know."""
    LOSE_REPLY = "lose reply"
    """It arrives and is obeyed, and the caller cannot know."""
    FAIL = "fail"
    """An adapter that raises, though its contract says that it never does."""
    CRASH_BEFORE = "crash before"
    """Our process dies before the vendor has it."""
    CRASH_AFTER = "crash after"
    """Our process dies after the vendor has it, before the answer."""


@dataclass(frozen=True)
class Sent:
    """One call as the vendor saw it come, and what a second connection to the store saw at that moment."""

    at: dt.datetime
    command: Command
    answer: Answer
    kind: str
    """Of the newest journal row: start, renew, release."""
    state: str
    """Of the newest journal row, as committed."""
    older_unresolved: int
    """Other rows that are SENDING or UNKNOWN."""
    window: tuple[dt.datetime, dt.datetime] | None
    """The intent's time, when the row names an intent."""


@dataclass
class ScriptedVendor:
    """`Readable` and `Dispatchable`; accepts everything unless scripted otherwise."""

    clock: SimulatedClock
    battery: FakeBattery
    witness: Callable[[Command, Answer], Sent]
    abilities: Abilities = ABILITIES
    wire: list[Sent] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)
    """`read` and `send`, in the order they came."""
    always: Answer = Answer.ACCEPT
    rejects_orders: bool = False
    """Refuses whatever drives the battery, and lets go of it when asked."""
    telemetry_fails: bool = False
    telemetry_is_empty: bool = False
    time_stamps_ahead: dt.timedelta = dt.timedelta(0)
    power_factor: float = 1.0
    """What a wrong translation multiplies powers with."""
    charge_limit_kw: float | None = None
    orders_end_after_s: float | None = None
    """Orders carry their own end, as a vendor's that does not lapse."""
    script: deque[Answer] = field(default_factory=deque)

    def will(self, *answers: str) -> None:
        """Script the next calls; after them it accepts again."""
        self.script.extend(Answer(answer) for answer in answers)

    def will_always(self, answer: str) -> None:
        self.always = Answer(answer)

    def lets_orders_last(self) -> None:
        """From now on its orders neither lapse nor are renewed."""
        self.abilities = replace(self.abilities, command_lifetime_s=None, renew_after_s=None)

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        assert device.device_id == "B1"
        self.calls.append("read")
        if self.telemetry_fails:
            raise VendorUnavailableError("scripted: no telemetry")
        if self.telemetry_is_empty:
            return None
        self.battery.catch_up()
        rows = self.battery.rows
        if channel is Channel.STATE:
            rows = [row for row in rows if row.measured_at.timestamp() % 300 == 0]
        row = rows[-1]
        is_state = channel is Channel.STATE
        return Telemetry(
            channel=channel,
            measured_at=row.measured_at + self.time_stamps_ahead,
            battery_kw=row.battery_kw,
            grid_kw=row.grid_kw,
            pv_kw=row.pv_kw,
            load_kw=row.load_kw,
            soc=row.soc if is_state else None,
            charge_limit_kw=self.charge_limit_kw if is_state else None,
            registers=row.registers if is_state else Registers(),
        )

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        power_kw = intent.battery_kw * self.power_factor
        if latest is not None and latest.charge_limit_kw is not None:
            power_kw = max(power_kw, -latest.charge_limit_kw)
        ends_at = None
        if self.orders_end_after_s is not None:
            ends_at = self.clock() + dt.timedelta(seconds=self.orders_end_after_s)
        return Command(device.device_id, False, power_kw, {"kw": power_kw}, ends_at)

    def release(self, device: Device) -> Command:
        return Command(device.device_id, True, 0.0, {"release": True})

    async def send(self, command: Command) -> Receipt:
        answer = self.script.popleft() if self.script else self.always
        if self.rejects_orders and not command.releases:
            answer = Answer.REJECT
        self.calls.append("send")
        self.wire.append(self.witness(command, answer))
        if answer is Answer.CRASH_BEFORE:
            raise Crash(answer.value)
        if answer is Answer.REJECT:
            return Rejected("scripted: refused")
        if answer is Answer.LOSE_REQUEST:
            return Unknown("scripted: time-out")
        if answer is Answer.IGNORE:
            return Accepted("scripted")
        self.battery.take(command)
        if answer is Answer.CRASH_AFTER:
            raise Crash(answer.value)
        if answer is Answer.FAIL:
            raise RuntimeError("scripted: an adapter that breaks its contract")
        if answer is Answer.LOSE_REPLY:
            return Unknown("scripted: time-out")
        return Accepted("scripted")
