"""What a vendor can offer, and the data that crosses the line between Tidewatt and a vendor.

Above this line there are only canonical signs and units: battery + discharges, grid + imports, kW, kWh, fractions,
aware UTC. A value that the vendor did not give is None, never 0.

An adapter implements the small protocols that fit its vendor; callers ask by capability with
`isinstance(adapter, Dispatchable)`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from pydantic import SecretStr

from engine.assets import Battery
from engine.errors import TidewattError
from engine.intent import Intent, IntentMode
from engine.intent_merging import CallCosts

Clock = Callable[[], dt.datetime]
"""Where an adapter gets the time from: aware UTC, real or simulated."""
LONGEST_CALL_S = 10.0
"""No call that drives a battery is waited for longer, from opening the connection to the last byte [s]."""
CONNECTED_WITHIN_S = 3.0
"""So soon after it was allowed a call is on the wire, or it is not made [s]."""


class AdapterError(TidewattError):
    """Something went wrong between Tidewatt and a vendor.

    Attributes:
        retryable: Whether the same call may succeed later without anybody changing anything.
    """

    retryable = False


class VendorUnavailableError(AdapterError):
    """The vendor could not be reached or answered nonsense; a read may be tried again."""

    retryable = True


class ConfigurationError(AdapterError):
    """Credentials, serial number or settings are wrong; trying again would only lock the account."""


class IntentRefusedError(AdapterError):
    """An intent that this device or vendor cannot carry; refused before anything is sent."""


class QuotaExceededError(AdapterError):
    """The vendor's limit of calls is used up; nothing was sent.

    Attributes:
        kind: Which calls are meant.
        free_at: When the next may be made.
    """

    def __init__(self, kind: str, free_at: dt.datetime) -> None:
        super().__init__(kind, free_at)
        self.kind = kind
        self.free_at = free_at

    def __str__(self) -> str:
        return f"{self.kind}: the vendor's limit of calls is used up until {self.free_at:%Y-%m-%dT%H:%M:%SZ}; wait"


class Channel(Enum):
    """Where in the vendor's cloud a reading came from; cadences differ."""

    POWER = "power"
    """Powers at the vendor's fastest cadence; may lack the state of charge."""
    STATE = "state"
    """The full state at the vendor's slower cadence, with registers and state of charge."""


@dataclass(frozen=True)
class Device:
    """One battery system as the vendor knows it, with the nameplate that nothing may exceed."""

    device_id: str
    """The vendor's identifier (serial number, plant code)."""
    battery: Battery
    """Ratings and band of the site's battery."""


@dataclass(frozen=True)
class Registers:
    """Counters since commissioning [kWh]; they only rise. None: the vendor does not give it."""

    import_kwh: float | None = None
    export_kwh: float | None = None
    charge_kwh: float | None = None
    discharge_kwh: float | None = None


@dataclass(frozen=True)
class Telemetry:
    """One reading of a device. `load_kw = grid_kw + pv_kw + battery_kw`."""

    channel: Channel
    measured_at: dt.datetime
    """The vendor's own time of the reading; age is judged by this, never by the time of the answer."""
    battery_kw: float | None = None
    grid_kw: float | None = None
    pv_kw: float | None = None
    load_kw: float | None = None
    soc: float | None = None
    charge_limit_kw: float | None = None
    """What the battery management allows right now [kW]."""
    discharge_limit_kw: float | None = None
    registers: Registers = Registers()
    dispatch_active: bool | None = None
    """Whether the device says that a remote command is in force, ours or anybody's."""


@dataclass(frozen=True)
class Command:
    """One vendor call, fully translated but not sent: what the journal records before the socket opens."""

    device_id: str
    releases: bool
    """Whether the call lets go of what was asked before, the battery or a limit, rather than asking for something."""
    battery_kw: float
    """The set-point that it carries [kW], + discharges; 0 when it releases or holds, or is not for the battery."""
    payload: Mapping[str, Any]
    """Vendor words, free of secrets."""
    ends_at: dt.datetime | None = None
    """When it ends by itself, and the device rests as it did before; None: it does not, or lapses."""
    replaces: bool = True
    """Whether an earlier set-point may still move the battery, for vendors that must stop it first. Nobody but the
    journal knows, so it is so unless whoever sends it says otherwise."""


@dataclass(frozen=True)
class Accepted:
    """The vendor took the command. That is a receipt, not an effect."""

    vendor_reference: str = ""


@dataclass(frozen=True)
class Rejected:
    """The vendor refused the command, or it certainly never arrived; nothing changed."""

    reason: str
    retryable: bool = False
    """Whether the same command may be taken a moment later."""


@dataclass(frozen=True)
class Unknown:
    """Nobody can say whether the command arrived; telemetry must tell before anything more is sent."""

    reason: str


Receipt = Accepted | Rejected | Unknown


@dataclass(frozen=True)
class Abilities:
    """What an adapter can hold, for how long, and how soon its effect can be seen."""

    modes: frozenset[IntentMode]
    command_lifetime_s: float | None
    """A command ends by itself after this long [s]; None: it carries its own end."""
    renew_after_s: float | None
    """When to send a lapsing command again [s]; well inside the lifetime."""
    settling_s: float
    """From the command to the first reading that can show its effect [s]."""
    power_cadence_s: float
    """How often the vendor has a new reading on the POWER channel [s]."""
    state_cadence_s: float
    """How often the vendor has a new reading on the STATE channel [s]."""
    soc_resolution: float = 0.01
    """The step in which the vendor shows the state of charge [fraction]."""
    power_tolerance_kw: float = 0.15
    """How far seen power may be from the set-point by meters, rounding and idle consumption alone [kW]."""
    most_devices_per_call: int = 1
    """Commands of so many devices go in one call."""
    most_calls_per_day: int | None = None
    """Commands and questions about them together; None: no daily limit is known."""


@dataclass(frozen=True)
class Found:
    """A device as the vendor lists it."""

    device_id: str
    name: str = ""
    model: str = ""
    capacity_kwh: float | None = None
    rated_kw: float | None = None
    controllable: bool | None = None
    """Whether the vendor says that it takes commands from us; None: it does not say."""


class Progress(Enum):
    """How far a command has come that the vendor carries out by and by."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    """The vendor does not know the command any more, or did not answer."""


@dataclass(frozen=True)
class Tracked:
    """The progress of a command, in the vendor's words where there are any."""

    progress: Progress
    reason: str = ""


@dataclass(frozen=True)
class Sending:
    """One call of a schedule: what to send, when, and until when it makes sense."""

    command: Command
    send_at: dt.datetime
    not_after: dt.datetime


@runtime_checkable
class Readable(Protocol):
    """A vendor that gives telemetry."""

    @property
    def abilities(self) -> Abilities:
        """Cadences, and what can be asked of it: no modes where it can only be watched."""
        ...

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        """The vendor's latest reading, or None when it has none.

        Raises:
            AdapterError: The reading could not be had.
        """
        ...


@runtime_checkable
class Dispatchable(Protocol):
    """A vendor whose batteries can be driven."""

    @property
    def abilities(self) -> Abilities:
        """What can be asked of it."""
        ...

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        """Put an intent into the vendor's words, sending nothing.

        Args:
            intent: What the device should do.
            device: Which device, with its nameplate.
            latest: The latest reading, for limits that the battery management reports.

        Raises:
            IntentRefusedError: The device cannot do that.
        """
        ...

    def release(self, device: Device) -> Command:
        """The command that lets go of the device, to its own self-consumption."""
        ...

    async def send(self, command: Command) -> Receipt:
        """Send a command once. Never retried, never raising for what the vendor or the network does."""
        ...


@runtime_checkable
class ExportLimiting(Protocol):
    """A vendor that can limit what a site feeds into the grid, PV giving way, whatever its battery is told.

    `Intent.export_limit_kw` is carried by these commands alone: `translate` and `schedule` leave it out.
    """

    def limits_export(self, device: Device) -> bool:
        """Whether it may do so for a device."""
        ...

    def limit_export(self, device: Device, export_limit_kw: float | None) -> Command:
        """The command that sets the limit [kW], for `send`; it stays until the next one. None lifts it.

        Raises:
            IntentRefusedError: The vendor does not take such a limit.
        """
        ...


@runtime_checkable
class BatchDispatchable(Dispatchable, Protocol):
    """A vendor that takes the commands of several devices in one call."""

    async def send_many(self, commands: Sequence[Command]) -> list[Receipt]:
        """Send commands of different devices in as few calls as the vendor allows; one receipt each, in order.

        Never retried, never raising for what the vendor or the network does.
        """
        ...


@runtime_checkable
class Trackable(Protocol):
    """A vendor that carries commands out by and by, and can be asked how far they are."""

    async def track(self, command: Command, receipt: Accepted) -> Tracked:
        """How far a command is that the vendor accepted; never raising for what vendor or network do."""
        ...


@runtime_checkable
class Schedulable(Dispatchable, Protocol):
    """A vendor whose calls are scarce, or carry more than one stretch of time."""

    def schedule(self, intents: Sequence[Intent], device: Device, latest: Telemetry | None) -> list[Sending]:
        """The calls that carry a whole plan, in order; with fewer calls than intents where the vendor's are scarce.

        Raises:
            IntentRefusedError: The device cannot do one of them.
        """
        ...


@dataclass(frozen=True)
class CallBudget:
    """How many calls a device may be given, and what they buy."""

    calls: int
    """Commands and questions about them together."""
    costs: CallCosts
    """What carrying intents takes of them; its modes are those that this device has."""


@runtime_checkable
class Sparing(Protocol):
    """A vendor whose calls are scarce, so that a plan has to be fitted into them."""

    def call_budget(self, device: Device, until: dt.datetime) -> CallBudget:
        """What is left for one device from now until a time."""
        ...


@runtime_checkable
class Discoverable(Protocol):
    """A vendor that lists the devices of an account."""

    async def devices(self) -> list[Found]:
        """All devices that the account sees.

        Raises:
            AdapterError: The list could not be had.
        """
        ...


@runtime_checkable
class Connectable(Protocol):
    """A vendor whose plants an owner gives access to by consenting on the vendor's own pages (OAuth)."""

    def authorize_url(self, state: str) -> str:
        """The link that the owner opens; a code and `state` come back to the redirect URL of the settings."""
        ...

    async def consent(self, code: SecretStr) -> None:
        """Exchange the code for tokens, and keep them in the adapter's store.

        Raises:
            AdapterError: The vendor refuses the code, or does not answer.
            OSError: The tokens could not be stored.
        """
        ...


@runtime_checkable
class Watchable(Protocol):
    """A vendor that sends readings by itself."""

    def watch(self, device: Device) -> AsyncIterator[Telemetry]:
        """Readings as they come, for ever; reconnects by itself, ends only when it is cancelled.

        Raises:
            ConfigurationError: Credentials or settings are wrong.
        """
        ...


def dispatchable(adapter: object, name: str) -> Dispatchable:
    """An adapter as one that can drive batteries.

    Raises:
        IntentRefusedError: It can only be watched.
    """
    if not isinstance(adapter, Dispatchable):
        raise IntentRefusedError(f"{name}: this vendor gives telemetry only; no set-point can be sent")
    return adapter


@runtime_checkable
class ClockWatching(Protocol):
    """Something that sees the vendor's clock in its answers."""

    @property
    def clock_offset_s(self) -> float | None:
        """Vendor's clock less ours [s]; None: no answer has told yet."""
        ...


@runtime_checkable
class Closable(Protocol):
    """Something that holds connections."""

    async def close(self) -> None:
        """Let go of them."""
        ...
