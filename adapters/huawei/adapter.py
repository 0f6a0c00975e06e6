"""Intents become forced tasks of SmartPVMS, and tasks receipts.

A task ends by itself and then lets the battery go back to its working mode. There is none that holds a battery still:
a plant prepared with `prepare_neutral_idle` rests between tasks, and there a stop is a hold.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from adapters.contract import (
    Abilities,
    Accepted,
    AdapterError,
    Clock,
    Command,
    Device,
    IntentRefusedError,
    Progress,
    Receipt,
    Rejected,
    Sending,
    Telemetry,
    Tracked,
    Unknown,
)
from adapters.huawei.auth import TokenStore
from adapters.huawei.client import HuaweiClient
from adapters.huawei.errors import TaskLostError
from adapters.huawei.flow import CONTROL_CALLS_PER_DAY
from adapters.huawei.limits import minutes_of, not_below_pv
from adapters.huawei.mapping import (
    LONGEST_TASK_MIN,
    MOST_PLANTS_PER_CHARGE_TASK,
    MOST_PLANTS_PER_SETTING_TASK,
    SAME_AS_CURRENT,
    TASK_CADENCE_S,
    DispatchSwitch,
    WorkingMode,
    battery_kw_of,
    dispatch_power_w,
)
from adapters.huawei.merging import Loss, Merging, merge
from adapters.huawei.reader import HuaweiReader
from adapters.huawei.receipts import receipt_of, receipt_of_error
from adapters.huawei.settings import Settings
from adapters.huawei.tasks import (
    ChargeStatus,
    ChargeTask,
    SettingTask,
    Taken,
    WorkingModeTask,
    charge_progress,
    neutral_idle,
)
from adapters.ratings import clamped_kw
from adapters.settings import checked
from engine.intent import Intent, IntentMode

# A call of a schedule that is later than this would drive the battery into the next stretch.
LATEST_AFTER = dt.timedelta(minutes=3)


@dataclass(frozen=True)
class _Running:
    """A task that we believe to be under way."""

    switch: DispatchSwitch
    ends_at: dt.datetime


class HuaweiAdapter(HuaweiReader):
    """One owner, watched and driven: also `BatchDispatchable`, `Trackable`, `Schedulable`."""

    def __init__(self, client: HuaweiClient) -> None:
        super().__init__(client)
        self._running: dict[str, _Running] = {}
        self._statuses: dict[int, tuple[dt.datetime, list[ChargeStatus]]] = {}
        self._prepared = set(client.settings.neutral_idle_plants)

    @property
    def abilities(self) -> Abilities:
        """What forced tasks can do; holding only where a plant was prepared for it."""
        moving = {IntentMode.CHARGE, IntentMode.DISCHARGE, IntentMode.SELF_CONSUMPTION}
        return replace(
            super().abilities,
            modes=frozenset(moving | ({IntentMode.HOLD} if self._prepared else set())),
            most_devices_per_call=MOST_PLANTS_PER_CHARGE_TASK,
            most_calls_per_day=CONTROL_CALLS_PER_DAY,
        )

    # --- Dispatchable ---

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        """An intent as a forced task from now until its end.

        A task ends by duration, which every battery can and which ends it whatever happens to us; the bound of the
        state of charge shortens it by what the latest reading says.
        """
        return self._translate(intent, device, latest, max(self.client.now(), intent.not_before))

    def release(self, device: Device) -> Command:
        """The stop of whatever task runs; the battery goes back to its working mode."""
        task = ChargeTask(device.device_id, DispatchSwitch.STOP)
        return Command(device.device_id, True, 0.0, task.wire())

    async def send(self, command: Command) -> Receipt:
        """Send one task, once."""
        return (await self.send_many([command]))[0]

    async def send_many(self, commands: Sequence[Command]) -> list[Receipt]:
        """Send tasks of different plants, 100 in a call; a plant that comes twice comes in calls of its own."""
        receipts: dict[int, Receipt] = {}
        valid: list[tuple[int, ChargeTask]] = []
        for place, command in enumerate(commands):
            try:
                valid.append((place, ChargeTask.of_wire(command.payload)))
            except IntentRefusedError as error:
                receipts[place] = Rejected(str(error))
        for part in _chunks(valid):
            receipts.update(await self._send_part(part))
        return [receipts[place] for place in range(len(commands))]

    # --- Trackable ---

    async def track(self, command: Command, receipt: Accepted) -> Tracked:
        """How far a task is; the vendor knows anew every 3 minutes, and is not asked more often."""
        try:
            request_id = int(receipt.vendor_reference)
        except ValueError:
            return Tracked(Progress.UNKNOWN, "the receipt has no requestID")
        asked_at, statuses = self._statuses.get(request_id, (None, []))
        now = self.client.now()
        if asked_at is None or (now - asked_at).total_seconds() >= TASK_CADENCE_S:
            try:
                statuses = await self.client.charge_status(request_id)
            except TaskLostError as error:
                return Tracked(Progress.UNKNOWN, str(error))
            except AdapterError as error:
                if asked_at is None:
                    return Tracked(Progress.UNKNOWN, str(error))
            else:
                self._statuses = {
                    known: (time, rows) for known, (time, rows) in self._statuses.items() if now - time < LONGEST_KEPT
                }
                self._statuses[request_id] = (now, statuses)
        return charge_progress(statuses, command.device_id)

    # --- Schedulable ---

    def schedule(self, intents: Sequence[Intent], device: Device, latest: Telemetry | None) -> list[Sending]:
        """The tasks that carry a plan within the control calls that are left today; see `schedule_with`."""
        return self.schedule_with(intents, device, latest)[0]

    def schedule_with(
        self, intents: Sequence[Intent], device: Device, latest: Telemetry | None, loss: Loss | None = None
    ) -> tuple[list[Sending], Merging]:
        """The tasks that carry a plan, and what fitting it into the budget of calls cost.

        Resting costs no call: a task ends by itself. A forced task reckons with its own call, a stop before it, and
        the questions about it.

        Args:
            intents: A plan, in order.
            device: Which plant.
            latest: The latest reading; it bounds the first task only, for it says nothing of later.
            loss: What a merged stretch costs; None keeps the deviation of energy small.

        Raises:
            IntentRefusedError: The plant cannot do one of the intents.
        """
        if not intents:
            return [], Merging((), 0.0, 0, 0, 0.0)
        if any(intent.mode is IntentMode.HOLD for intent in intents):
            self._refuse_hold_unless_prepared(device)
        for intent in intents:
            if intent.mode in (IntentMode.CHARGE, IntentMode.DISCHARGE):
                clamped_kw(intent, device, None)
        prepared = device.device_id in self._prepared
        rests = (IntentMode.SELF_CONSUMPTION, IntentMode.HOLD) if prepared else (IntentMode.SELF_CONSUMPTION,)
        merging = merge(intents, self._budget(intents), self._calls, rests, loss)
        now = self.client.now()
        sendings: list[Sending] = []
        for segment in merging.segments:
            begin = max(now, segment.intent.not_before)
            if segment.intent.not_after <= now:
                continue
            if segment.intent.mode in rests:
                if begin == now and device.device_id in self._running:
                    sendings.append(Sending(self.release(device), now, segment.intent.not_after))
                continue
            command = self._translate(segment.intent, device, latest if begin == now else None, begin)
            sendings.append(Sending(command, begin, min(segment.intent.not_after, begin + LATEST_AFTER)))
        return sendings, merging

    # --- setting up ---

    async def prepare_neutral_idle(self, device: Device, grid_charge_kw: float | None = None) -> Receipt:
        """Let the battery rest whenever no task runs: once for a plant, at commissioning (section 7.5, practice 2).

        From then on a stop is a hold, and no longer self-consumption; `restore_self_consumption` undoes it. Once
        `change_progress` says DONE, name the plant in the setting `neutral_idle_plants`.

        Args:
            device: Which plant.
            grid_charge_kw: Most power from the grid into the battery; None: the rating.
        """
        limit_kw = device.battery.max_charge_kw if grid_charge_kw is None else grid_charge_kw
        return (await self.change([neutral_idle(device.device_id, limit_kw)]))[0]

    async def restore_self_consumption(self, device: Device) -> Receipt:
        """Let the battery follow the house whenever no task runs."""
        self._prepared.discard(device.device_id)
        return (await self.change([WorkingModeTask(device.device_id, WorkingMode.SELF_CONSUMPTION)]))[0]

    async def change(self, wanted: Sequence[SettingTask]) -> list[Receipt]:
        """Deliver settings of one kind, 10 plants in a call, each once; never raising for vendor or network.

        A plant that has the value already has accepted it.
        """
        receipts: list[Receipt] = []
        for begin in range(0, len(wanted), MOST_PLANTS_PER_SETTING_TASK):
            part = wanted[begin : begin + MOST_PLANTS_PER_SETTING_TASK]
            try:
                delivery = await self.client.change(part)
            except AdapterError as error:
                receipts += [receipt_of_error(error)] * len(part)
                continue
            for task, result in zip(part, delivery.results, strict=True):
                if SAME_AS_CURRENT in result.description:
                    self._note_working_mode(task)
                receipts.append(receipt_of(delivery, result))
        return receipts

    async def change_progress(self, task: SettingTask, receipt: Accepted) -> Tracked:
        """How far a setting is; never raising for vendor or network."""
        if SAME_AS_CURRENT in receipt.vendor_reference:
            return Tracked(Progress.DONE, receipt.vendor_reference)
        try:
            tracked = await self.client.change_progress(task, receipt.vendor_reference)
        except AdapterError as error:
            return Tracked(Progress.UNKNOWN, str(error))
        if tracked.progress is Progress.DONE:
            self._note_working_mode(task)
        return tracked

    # --- inside ---

    def _translate(self, intent: Intent, device: Device, latest: Telemetry | None, begin: dt.datetime) -> Command:
        if not device.device_id.strip():
            raise IntentRefusedError("device_id: empty; name one plant")
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        if intent.mode is IntentMode.HOLD:
            self._refuse_hold_unless_prepared(device)
            return replace(self.release(device), releases=False)
        power_kw = clamped_kw(intent, device, latest)
        if intent.mode is IntentMode.CHARGE and latest is not None:
            power_kw = not_below_pv(power_kw, device, latest, self.client.settings.charge_below_pv)
        signed_kw = -power_kw if intent.mode is IntentMode.CHARGE else power_kw
        power_w = dispatch_power_w(signed_kw)
        if power_w == 0:
            raise IntentRefusedError(
                f"power_kw: {power_kw:g} is less than a watt, and the vendor takes 0 for full power"
            )
        minutes = minutes_of(intent, device, latest, begin, power_kw)
        switch = DispatchSwitch.CHARGE if intent.mode is IntentMode.CHARGE else DispatchSwitch.DISCHARGE
        task = ChargeTask(device.device_id, switch, power_w, minutes)
        return Command(device.device_id, False, battery_kw_of(power_w), task.wire())

    def _refuse_hold_unless_prepared(self, device: Device) -> None:
        if device.device_id not in self._prepared:
            raise IntentRefusedError(
                "mode: hold: no task of the vendor holds a battery still; call prepare_neutral_idle once, "
                "then name the plant in neutral_idle_plants"
            )

    def _budget(self, intents: Sequence[Intent]) -> int:
        """Control calls that a plan may use: what is left now, and the daily share for what lies beyond a day."""
        settings = self.client.settings
        left = self.client.flow.control_calls_left() or 0
        days = (intents[-1].not_after - self.client.now()) / dt.timedelta(days=1)
        later = (CONTROL_CALLS_PER_DAY - settings.control_reserve) * max(0.0, days - 1)
        return int((left + later) / settings.plants_sharing_quota)

    def _calls(self, intent: Intent) -> int:
        if intent.mode in (IntentMode.HOLD, IntentMode.SELF_CONSUMPTION):
            return 0
        settings = self.client.settings
        return 1 + int(settings.stop_before_same_signal) + settings.polls_per_task * int(settings.status_polls_count)

    async def _send_part(self, part: Sequence[tuple[int, ChargeTask]]) -> dict[int, Receipt]:
        receipts: dict[int, Receipt] = {}
        stops = [
            (place, ChargeTask(task.plant_code, DispatchSwitch.STOP)) for place, task in part if self._in_way(task)
        ]
        if stops:
            for place, receipt in (await self._deliver(stops)).items():
                if isinstance(receipt, Unknown) or (isinstance(receipt, Rejected) and receipt.retryable):
                    receipts[place] = receipt  # a second task on top of an open question helps nobody
        rest = [(place, task) for place, task in part if place not in receipts]
        if self.client.flow.control_calls_left() == 0:
            # Only releases may use what is left, so they go without the others.
            releases = [(place, task) for place, task in rest if task.switch is DispatchSwitch.STOP]
            receipts.update(await self._deliver(releases))
            rest = [(place, task) for place, task in rest if task.switch is not DispatchSwitch.STOP]
        receipts.update(await self._deliver(rest))
        return receipts

    def _in_way(self, task: ChargeTask) -> bool:
        """Whether a task of ours may still run in the eyes of the cloud, and this one would be the same signal."""
        running = self._running.get(task.plant_code)
        if running is None or not self.client.settings.stop_before_same_signal:
            return False
        known_until = running.ends_at + dt.timedelta(seconds=TASK_CADENCE_S)
        return running.switch is task.switch and self.client.now() < known_until

    async def _deliver(self, part: Sequence[tuple[int, ChargeTask]]) -> dict[int, Receipt]:
        if not part:
            return {}
        now = self.client.now()
        try:
            delivery = await self.client.charge([task for _, task in part])
        except AdapterError as error:
            receipt = receipt_of_error(error)
            if isinstance(receipt, Unknown):
                for _, task in part:
                    self._note(task, now)
            return {place: receipt for place, _ in part}
        receipts: dict[int, Receipt] = {}
        for (place, task), result in zip(part, delivery.results, strict=True):
            receipts[place] = receipt_of(delivery, result)
            if result.taken is not Taken.NO:
                self._note(task, now)
        return receipts

    def _note(self, task: ChargeTask, now: dt.datetime) -> None:
        if task.switch is DispatchSwitch.STOP:
            self._running.pop(task.plant_code, None)
        else:
            lasts = dt.timedelta(minutes=LONGEST_TASK_MIN if task.minutes is None else task.minutes)
            self._running[task.plant_code] = _Running(task.switch, now + lasts)

    def _note_working_mode(self, task: SettingTask) -> None:
        if not isinstance(task, WorkingModeTask):
            return
        if task == neutral_idle(task.plant_code, task.grid_charge_kw or 0.0):
            self._prepared.add(task.plant_code)
        else:
            self._prepared.discard(task.plant_code)


# Answers about tasks that nobody has asked about for so long are forgotten.
LONGEST_KEPT = dt.timedelta(days=2)


def create(settings: Mapping[str, Any], clock: Clock, store: TokenStore | None = None) -> HuaweiAdapter | HuaweiReader:
    """Build the adapter of one owner, or the reader of one API account; the entry point of this package.

    Args:
        settings: See `adapters.huawei.settings.Settings`.
        clock: The time.
        store: Where tokens are kept; None keeps them in memory.

    Raises:
        ConfigurationError: A setting is missing, misspelt or wrong; names it and never shows its value.
    """
    account = checked(Settings, settings, "huawei")
    client = HuaweiClient(account, clock, store)
    return HuaweiAdapter(client) if account.access == "oauth" else HuaweiReader(client)


def _chunks(valid: Sequence[tuple[int, ChargeTask]]) -> list[list[tuple[int, ChargeTask]]]:
    chunks: list[list[tuple[int, ChargeTask]]] = []
    for place, task in valid:
        known = {one.plant_code for _, one in chunks[-1]} if chunks else set()
        if not chunks or len(chunks[-1]) >= MOST_PLANTS_PER_CHARGE_TASK or task.plant_code in known:
            chunks.append([])
        chunks[-1].append((place, task))
    return chunks
