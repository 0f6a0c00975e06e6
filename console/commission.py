"""`tidewatt devices commission`: choosing the device, trying it out, and the settings that follow."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from adapters.commissioning import (
    LARGEST_STEP_SHARE,
    Commissionable,
    CommissioningResult,
    Figure,
    ReadBack,
    commission,
)
from adapters.contract import (
    Abilities,
    Accepted,
    AdapterError,
    Command,
    Device,
    Receipt,
    Rejected,
    dispatchable,
)
from console.accounts import VendorAccount
from console.devices import Connection, connected
from engine import Battery
from engine.errors import InputError, TidewattError

# Of a battery whose rating nobody names: half of it is a step that is small for any battery.
UNNAMED_RATING_KW = 2.0
# The band that a battery is kept in while it is not known which way it will go.
MIN_SOC, MAX_SOC = 0.1, 0.9
STATE_OF = {Accepted: "accepted", Rejected: "refused"}


@dataclass(frozen=True)
class Target:
    """The device to commission, and its account."""

    place: int
    """Which account of the file, from 1."""
    account: VendorAccount
    device_id: str


@dataclass(frozen=True)
class Trial:
    """How to try it."""

    step_kw: float
    rating_kw: float | None
    """The battery's rated power [kW]; None: nobody names it."""
    longest_wait_s: float

    @property
    def battery(self) -> Battery:
        """The battery as far as a trial must know it.

        Raises:
            InputError: The step is too large for a battery whose rating nobody names.
        """
        largest_kw = UNNAMED_RATING_KW * LARGEST_STEP_SHARE
        if self.rating_kw is None and self.step_kw > largest_kw:
            raise InputError(
                "step_kw",
                f"value {self.step_kw:g} is above {largest_kw:g} kW, the most for a battery of unknown rating",
                "give its rated power by --rating-kw",
            )
        rating_kw = self.rating_kw or UNNAMED_RATING_KW
        return Battery(
            capacity_kwh=1.0,  # not used
            max_charge_kw=rating_kw,
            max_discharge_kw=rating_kw,
            min_soc=MIN_SOC,
            max_soc=MAX_SOC,
        )


class StoppedError(TidewattError):
    """A trial was stopped by a signal; says what became of the battery."""


def target_of(accounts: Sequence[VendorAccount], device_id: str | None) -> Target:
    """The device that is meant.

    Raises:
        InputError: None, or more than one.
    """
    named = [
        Target(place, account, device) for place, account in enumerate(accounts, start=1) for device in account.devices
    ]
    if device_id is not None:
        open_ended = [
            Target(place, account, device_id) for place, account in enumerate(accounts, start=1) if not account.devices
        ]
        named = [target for target in named if target.device_id == device_id] or open_ended
    if len(named) == 1:
        return named[0]
    if not named:
        problem = "no account of the file names it" if device_id else "the file names none"
        raise InputError("device", problem, "give --device ID, as `tidewatt devices list` shows it")
    if device_id is None:
        raise InputError("device", f"the file names {len(named)}", "choose one by --device ID")
    places = " and ".join(str(target.place) for target in named)
    raise InputError("device", f"accounts {places} may be meant", "let only one of them name it in device_ids")


def refuse_others(adapter: object, name: str) -> Commissionable:
    """The adapter as one that can be commissioned.

    Raises:
        IntentRefusedError: Its devices can only be watched.
        InputError: Its set-points have no unknowns.
    """
    if isinstance(adapter, Commissionable):
        return adapter
    dispatchable(adapter, name)
    raise InputError(
        f"adapter {name}",
        "this vendor documents unit and sign of its set-points, so there is nothing to find out",
        "it needs no commissioning",
    )


async def refuse_early(path: Path, target: Target, trial: Trial) -> None:
    """Refuse, before anybody is asked or contacted, what cannot be commissioned.

    Raises:
        InputError: Settings or step are wrong, or this vendor needs none of it.
        IntentRefusedError: The vendor's devices can only be watched.
    """
    _ = trial.battery
    async with connected(path, [target.account], target.place) as (connection,):
        refuse_others(connection.adapter, target.account.adapter)


async def run_trial(path: Path, target: Target, trial: Trial, say: Callable[[str], None]) -> CommissioningResult:
    """Commission a device, letting go of it at the end, also when a signal stops it.

    Args:
        path: The file of accounts, for messages.
        target: Which device.
        trial: How.
        say: Takes what happens, a line each, free of secrets.

    Raises:
        StoppedError: SIGINT or SIGTERM; the battery has been let go of, or the message says that it could not be.
        AdapterError: It did not start, or broke off; the same holds.
        InputError: Settings are wrong, or this vendor needs none of it.
    """
    battery = trial.battery
    async with connected(path, [target.account], target.place) as (connection,):
        watched = _Watched(refuse_others(connection.adapter, target.account.adapter), connection, say)
        await connection.sync()
        try:
            with _signals_cancel():
                result = await commission(
                    cast(Commissionable, watched),
                    Device(target.device_id, battery),
                    connection.clock,
                    connection.sleep,
                    trial.step_kw,
                    longest_wait_s=trial.longest_wait_s,
                )
                return replace(result, reason=connection.masked(result.reason))
        except asyncio.CancelledError as stopped:
            raise StoppedError(f"stopped; {watched.ending(stopped)}") from None
        except Exception as error:
            raise AdapterError(f"{target.device_id}: {connection.said(error)}; {watched.ending(error)}") from None


def settings_found(account: VendorAccount, device_id: str, result: CommissioningResult) -> dict[str, Any]:
    """What an account's settings become by a proof on one device; None: the setting goes.

    Raises:
        InputError: Other devices of the account were proved to be different.
    """
    before = account.account
    found = {"commissioned": True, "setpoint_unit": result.unit, "setpoint_sign": result.sign}
    others: list[str] = []
    if before.get("commissioned"):
        is_same = all(before.get(name) == value for name, value in found.items())
        only = before.get("commissioned_devices")
        if is_same and only is None:
            return found
        others = [device for device in only or [] if device != device_id]
        if others and not is_same:
            raise InputError(
                "commissioned_devices",
                f"{', '.join(others)} were found to be different from {device_id}, so nothing was written",
                "give the device an account entry of its own, and commission it there",
            )
    return {**found, "commissioned_devices": [*others, device_id]}


async def check_settings(path: Path, target: Target, settings: Mapping[str, Any]) -> None:
    """See that the adapter takes an account with these settings; nothing is contacted.

    Raises:
        InputError: It does not, so they must not be written.
    """
    account = target.account.model_copy(update={"account": {**target.account.account, **settings}})
    async with connected(path, [account], target.place):
        pass


def as_json(target: Target, result: CommissioningResult, wrote: Sequence[str]) -> dict[str, Any]:
    """The finding for machines; what is unknown is null."""
    return {
        "account": target.account.label,
        "adapter": target.account.adapter,
        "device_id": target.device_id,
        "proved": result.proved,
        "unit": result.unit,
        "sign": result.sign,
        "reason": result.reason,
        "released": result.released,
        "written": list(wrote),
        "figures": [_figure(figure) for figure in result.figures],
    }


def receipt_word(receipt: Receipt) -> str:
    """What the vendor made of a command, in a word."""
    return STATE_OF.get(type(receipt), "unknown")


def _figure(figure: Figure) -> dict[str, Any]:
    def shown(reading: ReadBack | None) -> dict[str, Any] | None:
        if reading is None:
            return None
        return {
            "measured_at": reading.measured_at.isoformat(),
            "set_point_kw": reading.set_point_kw,
            "battery_kw": reading.battery_kw,
        }

    return {
        "sent": figure.sent,
        "as_unit": figure.as_unit,
        "sent_at": figure.sent_at.isoformat(),
        "receipt": receipt_word(figure.receipt),
        "before": shown(figure.baseline),
        "seen": shown(figure.seen),
    }


class _Watched:
    """A commissionable adapter that tells what is asked of it and what it shows."""

    def __init__(self, adapter: Commissionable, connection: Connection, say: Callable[[str], None]) -> None:
        self._adapter, self._connection, self._say = adapter, connection, say
        self._has_sent = False

    @property
    def abilities(self) -> Abilities:
        return self._adapter.abilities

    @property
    def trial_units(self) -> Mapping[str, float]:
        return self._adapter.trial_units

    async def read_back(self, device: Device) -> ReadBack | None:
        try:
            reading = await self._adapter.read_back(device)
        except AdapterError as error:
            self._say(f"no reading: {self._connection.said(error)}")
            raise
        if reading is not None:
            set_point, power = (
                "-" if kw is None else f"{kw:+.3f}" for kw in (reading.set_point_kw, reading.battery_kw)
            )
            self._say(f"{reading.measured_at:%H:%M:%SZ}  set-point {set_point} kW, battery {power} kW")
        return reading

    def trial(self, device: Device, value: float, until: dt.datetime) -> Command:
        command = self._adapter.trial(device, value, until)
        self._say(f"sending {value:g}, ending by itself at {until:%H:%M:%SZ}")
        return command

    def release(self, device: Device) -> Command:
        self._say("letting go of the battery")
        return self._adapter.release(device)

    async def send(self, command: Command) -> Receipt:
        self._has_sent = True
        receipt = await self._adapter.send(command)
        if not isinstance(receipt, Accepted):
            self._say(f"{receipt_word(receipt)}: {self._connection.masked(receipt.reason)}")
        return receipt

    def ending(self, error: BaseException) -> str:
        """What became of the battery when a trial broke off."""
        notes = "; ".join(getattr(error, "__notes__", ()))
        return notes or ("the battery was let go of" if self._has_sent else "nothing was sent")


@contextlib.contextmanager
def _signals_cancel() -> Iterator[None]:
    """Let SIGINT and SIGTERM cancel this task, however often: letting go of a battery is never cut short."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    numbers = (signal.SIGINT, signal.SIGTERM)
    for number in numbers:
        loop.add_signal_handler(number, task.cancel)
    try:
        yield
    finally:
        for number in numbers:
            loop.remove_signal_handler(number)
