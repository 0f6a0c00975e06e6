"""Intents become set-points at absolute times, DeviceStatus becomes telemetry.

HOLD is a set-point of 0 in external control, releasing is the mode of self-consumption: the two are never confused.
Every map of set-points ends with 0 kW at the end of its intent, so that a lost link leaves the battery at rest.
Nothing is driven before unit and sign of set-points were found by commissioning.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from adapters.commissioning import ReadBack
from adapters.contract import (
    Abilities,
    Accepted,
    AdapterError,
    Channel,
    Clock,
    Command,
    ConfigurationError,
    Device,
    Found,
    IntentRefusedError,
    QuotaExceededError,
    Receipt,
    Rejected,
    Sending,
    Telemetry,
    Unknown,
)
from adapters.quota import Ledger
from adapters.ratings import clamped_kw
from adapters.settings import checked
from adapters.transport import NotSentError, RefusedRequestError
from adapters.xolta import mapping
from adapters.xolta.client import MINUTE, Settings, XoltaClient
from adapters.xolta.mapping import SetPoint, State, Status
from engine.intent import Intent, IntentMode

# Times go out in whole seconds: what ends sooner than this has no time left.
SHORTEST = dt.timedelta(seconds=1)
# What a device was last seen to be says nothing of now when it is older than this.
STATE_HOLDS = dt.timedelta(minutes=5)


class XoltaAdapter:
    """One organisation: `Readable`, `Dispatchable`, `Schedulable`, `Discoverable`, `Commissionable`, `Closable`."""

    abilities = Abilities(
        modes=frozenset(IntentMode),
        command_lifetime_s=None,
        renew_after_s=None,
        settling_s=mapping.UPLOAD_S,
        power_cadence_s=mapping.UPLOAD_S,
        state_cadence_s=mapping.UPLOAD_S,
    )
    trial_units = mapping.PER_KW

    def __init__(self, client: XoltaClient, settings: Settings, clock: Clock) -> None:
        self._client, self._settings, self._clock = client, settings, clock
        self._seen: dict[str, Status] = {}
        self._asked_at: dt.datetime | None = None
        self._one_question = asyncio.Lock()

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        """The latest reading of a device; None when the vendor has none. One call serves all devices for a minute."""
        status = (await self._statuses()).get(device.device_id)
        return None if status is None else mapping.telemetry_of_status(status, channel)

    async def devices(self) -> list[Found]:
        """All devices that DeviceStatus shows."""
        commissioned = self._settings.commissioned
        return [
            Found(device_id, controllable=commissioned and self._is_commissioned(device_id))
            for device_id in await self._statuses()
        ]

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        """An intent in the vendor's words: its set-point, and 0 kW at its end.

        A bound on the state of charge cannot be told to the vendor; where the latest reading has reached it, the
        set-point is 0.
        """
        self._refuse_without_control(device)
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        if not self._lies_ahead(intent):
            # Its power would begin now and its end lie behind it: nothing would end it.
            raise IntentRefusedError(f"not_after: {intent.not_after.isoformat()} is over; ask for what lies ahead")
        self._refuse_at_rest(device, latest)
        return self._driving(device, [intent], latest)

    def release(self, device: Device) -> Command:
        """The mode of self-consumption; it needs neither unit nor sign, so it is always there."""
        _refuse_without_device(device)
        return Command(device.device_id, True, 0.0, mapping.self_consumption(device.device_id))

    def schedule(self, intents: Sequence[Intent], device: Device, latest: Telemetry | None) -> list[Sending]:
        """The calls of a whole plan: up to `set_points_per_call` slots ahead in one.

        Whether a new map replaces the old one or adds to it is not known, so each is sent when its first slot begins,
        and holds all that it needs; with the link lost in between, the rest of a map still runs, then 0 kW. Slots that
        are over are left out.
        """
        self._refuse_without_control(device)
        _refuse_disorder(intents)
        intents = [intent for intent in intents if self._lies_ahead(intent)]
        if any(intent.has_set_point for intent in intents):
            self._refuse_at_rest(device, latest)
        sendings: list[Sending] = []
        for run in _runs(intents, self._settings.set_points_per_call):
            first = run[0]
            if first.has_set_point:
                command = self._driving(device, run, latest if not sendings else None)
                sendings.append(Sending(command, first.not_before, first.not_after))
            else:
                sendings.append(Sending(self.release(device), first.not_before, run[-1].not_after))
        if intents and intents[-1].has_set_point and self._settings.release_after_schedule:
            end = intents[-1].not_after
            sendings.append(Sending(self.release(device), end, end + STATE_HOLDS))
        return sendings

    def go_to(self, device: Device, state: State) -> Command:
        """The command that wakes a device or lays it to rest; an operator's act, no intent leads to it."""
        _refuse_without_device(device)
        return Command(device.device_id, False, 0.0, mapping.go_to_state(device.device_id, state))

    async def send(self, command: Command) -> Receipt:
        """Send once; success means that the vendor took it, no more."""
        drives = not command.releases
        try:
            reference = await self._client.send_state_mode_command(command.payload, drives=drives)
        except (NotSentError, QuotaExceededError) as error:
            return Rejected(str(error), retryable=True)
        except (ConfigurationError, RefusedRequestError) as error:
            return Rejected(str(error))
        except AdapterError as error:
            return Unknown(str(error))
        return Accepted(reference)

    async def read_back(self, device: Device) -> ReadBack | None:
        """What the device shows of a set-point (section 3.2: `inverterActivePowerSetPoint`)."""
        status = (await self._statuses()).get(device.device_id)
        if status is None:
            return None
        reading = mapping.telemetry_of_status(status, Channel.POWER)
        return ReadBack(
            reading.measured_at, reading.battery_kw, status.set_point_kw, reading.soc, reading.dispatch_active
        )

    def trial(self, device: Device, value: float, until: dt.datetime) -> Command:
        """A set-point with this very number from now on, and 0 at its end; for commissioning only."""
        _refuse_without_device(device)
        points = [SetPoint(self._clock(), value), SetPoint(until, 0.0)]
        return Command(device.device_id, False, 0.0, mapping.external_control(device.device_id, points))

    @property
    def clock_offset_s(self) -> float:
        """The vendor's clock less ours [s]; 0 where no answer has told yet."""
        return self._client.clock_offset_s

    async def close(self) -> None:
        """Close the organisation's connections."""
        await self._client.close()

    async def _statuses(self) -> dict[str, Status]:
        """All devices, as they were asked for less than a minute ago."""
        async with self._one_question:
            now = self._clock()
            if self._asked_at is None or now - self._asked_at >= MINUTE:
                self._seen = await self._client.device_status()
                self._asked_at = now
            return self._seen

    def _is_commissioned(self, device_id: str) -> bool:
        settings = self._settings
        only = settings.commissioned_devices
        return settings.commissioned and (only is None or device_id in only)

    def _refuse_without_control(self, device: Device) -> None:
        _refuse_without_device(device)
        if not self._is_commissioned(device.device_id):
            raise IntentRefusedError(
                f"{device.device_id}: control is off, for unit and sign of its set-points are not proved; "
                "run `tidewatt devices commission` and put what it finds into the settings"
            )

    def _lies_ahead(self, intent: Intent) -> bool:
        return intent.not_after - self._clock() >= SHORTEST

    def _refuse_at_rest(self, device: Device, latest: Telemetry | None) -> None:
        """Refuse to drive what does not run: its powers are unknown, and it would not move."""
        status = self._seen.get(device.device_id)
        is_fresh = self._asked_at is not None and self._clock() - self._asked_at < STATE_HOLDS
        if status is not None and is_fresh and not status.is_running:
            known = "unknown; set state_fields" if status.state is None else f"{status.state}; set it running first"
            raise IntentRefusedError(f"{device.device_id}: not dispatchable, its state is {known}")
        if latest is not None and latest.battery_kw is None:
            raise IntentRefusedError(
                f"{device.device_id}: not dispatchable, its latest reading has no power; see whether it is running"
            )

    def _driving(self, device: Device, run: Sequence[Intent], latest: Telemetry | None) -> Command:
        unit, sign = self._settings.setpoint_unit, self._settings.setpoint_sign
        assert unit is not None  # the settings hold both where they hold `commissioned`
        assert sign is not None
        now = self._clock()
        values = [mapping.set_point_value(_signed_kw(intent, device), unit, sign) for intent in run]
        if _has_reached(run[0], latest):
            values[0] = 0.0
        points = [
            # A slot under way begins now: nobody knows what a set-point in the past does.
            SetPoint(max(intent.not_before, now) if place == 0 else intent.not_before, value)
            for place, (intent, value) in enumerate(zip(run, values, strict=True))
        ]
        # A set-point's own end is not known, so the map brings one.
        points.append(SetPoint(run[-1].not_after, 0.0))
        return Command(
            device_id=device.device_id,
            releases=False,
            battery_kw=mapping.power_of_value(values[0], unit, sign),
            payload=mapping.external_control(device.device_id, points),
        )


def create(settings: Mapping[str, Any], clock: Clock, ledger: Ledger | None = None) -> XoltaAdapter:
    """Build the adapter of one organisation; the entry point of this package.

    Args:
        settings: See `adapters.xolta.client.Settings`.
        clock: The time.
        ledger: Where calls are counted; None counts those of this adapter.

    Raises:
        ConfigurationError: A setting is missing, misspelt or wrong; names it and never shows its value.
    """
    account = checked(Settings, settings, "xolta")
    return XoltaAdapter(XoltaClient(account, clock, ledger), account, clock)


def _refuse_without_device(device: Device) -> None:
    if not device.device_id.strip():
        raise IntentRefusedError("device_id: empty; name one device")


def _refuse_disorder(intents: Sequence[Intent]) -> None:
    for before, after in itertools.pairwise(intents):
        if after.not_before < before.not_after:
            raise IntentRefusedError(
                f"intents: {after.not_before.isoformat()} lies before {before.not_after.isoformat()}, the end of the "
                "one before it; give them in order and without overlap"
            )


def _runs(intents: Sequence[Intent], most: int) -> list[list[Intent]]:
    """Intents that one call carries: without a gap, all with set-points or all without, and no more than so many."""
    runs: list[list[Intent]] = []
    for intent in intents:
        last = runs[-1][-1] if runs else None
        joins = (
            last is not None
            and last.not_after == intent.not_before
            and last.has_set_point == intent.has_set_point
            and (len(runs[-1]) < most or not intent.has_set_point)
        )
        if joins:
            runs[-1].append(intent)
        else:
            runs.append([intent])
    return runs


def _signed_kw(intent: Intent, device: Device) -> float:
    power_kw = clamped_kw(intent, device, None)
    return -power_kw if intent.mode is IntentMode.CHARGE else power_kw


def _has_reached(intent: Intent, latest: Telemetry | None) -> bool:
    """Whether a reading is at or beyond the state of charge that an intent must not pass."""
    if latest is None or latest.soc is None or intent.until_soc is None:
        return False
    if intent.mode is IntentMode.CHARGE:
        return latest.soc >= intent.until_soc
    return intent.mode is IntentMode.DISCHARGE and latest.soc <= intent.until_soc
