"""What a vendor can offer, and the data that crosses the line between Tidewatt and a vendor.

Above this line there are only canonical signs and units: battery + discharges, grid + imports, kW, kWh, fractions,
aware UTC. A value that the vendor did not give is None, never 0.

An adapter implements the small protocols that fit its vendor; callers ask by capability with
`isinstance(adapter, Dispatchable)`.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol, runtime_checkable

from engine.assets import Battery
from engine.errors import TidewattError
from engine.intent import Intent, IntentMode

Clock = Callable[[], dt.datetime]
"""Where an adapter gets the time from: aware UTC, real or simulated."""


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
    """Whether the call lets go of the battery rather than driving it."""
    battery_kw: float
    """The set-point that it carries [kW], + discharges; 0 when it releases or holds."""
    payload: Mapping[str, Any]
    """Vendor words, free of secrets."""


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


@runtime_checkable
class Readable(Protocol):
    """A vendor that gives telemetry."""

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
class Closable(Protocol):
    """Something that holds connections."""

    async def close(self) -> None:
        """Let go of them."""
        ...
