"""Intents become forced tasks of SmartPVMS, and tasks receipts.

A task ends by itself and then lets the battery go back to its working mode. There is none that holds a battery still:
a plant prepared with `prepare_neutral_idle` rests between tasks, and there a stop is a hold.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pydantic import SecretStr

from adapters.contract import (
    Abilities,
    Accepted,
    AdapterError,
    CallBudget,
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
from adapters.huawei.client import HuaweiClient
from adapters.huawei.errors import TaskLostError
from adapters.huawei.flow import CONTROL_CALLS_PER_DAY
from adapters.huawei.limits import minutes_of, not_below_pv
from adapters.huawei.mapping import (
    MOST_PLANTS_PER_CHARGE_TASK,
    MOST_PLANTS_PER_SETTING_TASK,
    SAME_AS_CURRENT,
    TASK_CADENCE_S,
    DispatchSwitch,
    WorkingMode,
    battery_kw_of,
    dispatch_power_w,
)
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
from adapters.tokens import TokenStore
from engine.intent import Intent, IntentMode
from engine.intent_merging import CallCosts, Loss, Merging, merge

# A call of a schedule that is later than this would drive the battery into the next stretch.
LATEST_AFTER = dt.timedelta(minutes=3)


class HuaweiAdapter(HuaweiReader):
    """One owner, watched and driven: also `BatchDispatchable`, `Trackable`, `Schedulable`, `Connectable`."""

    def __init__(self, client: HuaweiClient) -> None:
        super().__init__(client)
        self._running: set[str] = set()
        """Plants that this process has driven and not stopped: spares a schedule a stop, and proves nothing."""
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
        """The stop of whatever task runs; the battery goes back to its working mode, and on a prepared plant rests."""
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

    # --- Sparing, Schedulable ---

    def call_budget(self, device: Device, until: dt.datetime) -> CallBudget:
        """What is left of today's control calls, and the daily share for what lies beyond a day.

        Resting costs no call: a task ends by itself. A forced task reckons with its own call, the questions about it,
        and a stop between two tasks in the same direction.
        """
        settings = self.client.settings
        left = self.client.flow.control_calls_left() or 0
        days = (until - self.client.now()) / dt.timedelta(days=1)
        later = (CONTROL_CALLS_PER_DAY - settings.control_reserve) * max(0.0, days - 1)
        task = 1 + settings.polls_per_task * int(settings.status_polls_count)
        prepared = device.device_id in self._prepared
        rests = (IntentMode.SELF_CONSUMPTION, IntentMode.HOLD) if prepared else (IntentMode.SELF_CONSUMPTION,)
        return CallBudget(
            # One at least: what is kept for releases lets it rest.
            calls=max(1, int((left + later) / settings.plants_sharing_quota)),
            costs=CallCosts(
                {IntentMode.CHARGE: task, IntentMode.DISCHARGE: task, **dict.fromkeys(rests, 0)},
                behind_another=int(settings.stop_before_same_signal),
            ),
        )

    def schedule(self, intents: Sequence[Intent], device: Device, latest: Telemetry | None) -> list[Sending]:
        """The tasks that carry a plan within the control calls that are left today; see `schedule_with`."""
        return self.schedule_with(intents, device, latest)[0]

    def schedule_with(
        self, intents: Sequence[Intent], device: Device, latest: Telemetry | None, loss: Loss | None = None
    ) -> tuple[list[Sending], Merging]:
        """The tasks that carry a plan, and what fitting it into the budget of calls cost.

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
        budget = self.call_budget(device, intents[-1].not_after)
        merging = merge(intents, budget.calls, budget.costs, loss)
        now = self.client.now()
        sendings: list[Sending] = []
        for segment in merging.segments:
            begin = max(now, segment.intent.not_before)
            if segment.intent.not_after <= now:
                continue
            if segment.intent.power_kw == 0:
                if begin == now and device.device_id in self._running:
                    sendings.append(Sending(self.release(device), now, segment.intent.not_after))
                continue
            command = self._translate(segment.intent, device, latest if begin == now else None, begin)
            sendings.append(Sending(command, begin, min(segment.intent.not_after, begin + LATEST_AFTER)))
        return sendings, merging

    # --- Connectable ---

    def authorize_url(self, state: str) -> str:
        """The link that an owner opens to consent (section 3.1.2.2); asks for all that the client may have."""
        return self.client.authorize_url(state)

    async def consent(self, code: SecretStr) -> None:
        """Take the code that the consent brought to the redirect URL, within five minutes of it.

        Raises:
            AdapterError: The code is refused, or there is no answer.
            OSError: The tokens could not be stored.
        """
        await self.client.consent(code)

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
        """Let the battery follow the house whenever no task runs; take the plant out of `neutral_idle_plants` too."""
        receipt = (await self.change([WorkingModeTask(device.device_id, WorkingMode.SELF_CONSUMPTION)]))[0]
        if not isinstance(receipt, Rejected):
            self._prepared.discard(device.device_id)  # from now on nobody can promise that it rests
        return receipt

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
            self._refuse_following_if_prepared(device)
            return self.release(device)
        if intent.mode is IntentMode.HOLD:
            self._refuse_hold_unless_prepared(device)
            return replace(self.release(device), releases=False)
        power_kw = clamped_kw(intent, device, latest)
        if intent.mode is IntentMode.CHARGE and latest is not None:
            power_kw = not_below_pv(power_kw, device, latest, self.client.settings.charge_below_pv)
        signed_kw = -power_kw if intent.mode is IntentMode.CHARGE else power_kw
        batteries = self._batteries_of(device)
        power_w = int(dispatch_power_w(signed_kw) / batteries)  # never more than asked, all together
        if power_w == 0:
            raise IntentRefusedError(
                f"power_kw: {power_kw:g} is less than a watt, and the vendor takes 0 for full power"
            )
        minutes = minutes_of(intent, device, latest, begin, power_kw)
        switch = DispatchSwitch.CHARGE if intent.mode is IntentMode.CHARGE else DispatchSwitch.DISCHARGE
        task = ChargeTask(device.device_id, switch, power_w, minutes)
        return Command(device.device_id, False, battery_kw_of(power_w * batteries), task.wire())

    def _batteries_of(self, device: Device) -> int:
        """On how many batteries a task of the plant is carried out, each with the power that the task names."""
        named = self.client.settings.batteries_of_plant.get(device.device_id)
        listed = self.batteries_listed(device.device_id)
        if named is None and listed > 1:
            raise IntentRefusedError(
                f"device_id: the plant has {listed} batteries, and the vendor carries a task out on every one of them; "
                "name it in batteries_of_plant"
            )
        return named or 1

    def _refuse_following_if_prepared(self, device: Device) -> None:
        if device.device_id in self._prepared:
            raise IntentRefusedError(
                "mode: self_consumption: the plant is prepared to rest between tasks, so after a stop it would not "
                "follow the house; plan hold, or call restore_self_consumption and take it out of neutral_idle_plants"
            )

    def _refuse_hold_unless_prepared(self, device: Device) -> None:
        if device.device_id not in self._prepared:
            raise IntentRefusedError(
                "mode: hold: no task of the vendor holds a battery still; call prepare_neutral_idle once, "
                "then name the plant in neutral_idle_plants"
            )

    async def _send_part(self, part: Sequence[tuple[int, ChargeTask]]) -> dict[int, Receipt]:
        """Stops in one call, then what drives in another.

        A stop goes before every task that drives: whether one runs already, begun by a process that is gone or by one
        beside us, cannot be known in time (telemetry is up to ten minutes old), and the same signal would be lost.
        """
        stops = [(place, task) for place, task in part if task.switch is DispatchSwitch.STOP]
        drives = {place: task for place, task in part if task.switch is not DispatchSwitch.STOP}
        receipts: dict[int, Receipt] = {}
        if drives and self.client.settings.stop_before_same_signal:
            left = self.client.flow.control_calls_left()
            if left is not None and left < 2:
                # A stop alone would end what runs, and use up what is kept for releases.
                refusal = Rejected(f"control: a task and the stop before it need 2 calls, {left} are left", True)
                receipts, drives = dict.fromkeys(drives, refusal), {}
            stops += [(place, ChargeTask(task.plant_code, DispatchSwitch.STOP)) for place, task in drives.items()]
        for place, receipt in (await self._deliver(stops)).items():
            open_question = isinstance(receipt, Unknown) or (isinstance(receipt, Rejected) and receipt.retryable)
            if place not in drives or open_question:
                receipts[place] = receipt  # a second task on top of an open question helps nobody
        going = [(place, task) for place, task in drives.items() if place not in receipts]
        return {**receipts, **await self._deliver(going)}

    async def _deliver(self, part: Sequence[tuple[int, ChargeTask]]) -> dict[int, Receipt]:
        if not part:
            return {}
        try:
            delivery = await self.client.charge([task for _, task in part])
        except AdapterError as error:
            receipt = receipt_of_error(error)
            if isinstance(receipt, Unknown):
                for _, task in part:
                    self._note(task)
            return {place: receipt for place, _ in part}
        receipts: dict[int, Receipt] = {}
        for (place, task), result in zip(part, delivery.results, strict=True):
            receipts[place] = receipt_of(delivery, result)
            if result.taken is not Taken.NO:
                self._note(task)
        return receipts

    def _note(self, task: ChargeTask) -> None:
        if task.switch is DispatchSwitch.STOP:
            self._running.discard(task.plant_code)
        else:
            self._running.add(task.plant_code)

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
