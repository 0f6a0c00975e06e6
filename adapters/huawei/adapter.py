"""Intents become forced tasks and working modes of SmartPVMS, and their deliveries receipts.

A forced task ends by itself, and the battery goes back to its working mode. None holds a battery still: that is a
working mode too, used where the owner agreed that we switch it (`neutral_idle_plants`).
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
    ActivePowerTask,
    ChargeStatus,
    ChargeTask,
    SettingTask,
    WorkingModeTask,
    charge_progress,
    neutral_idle,
    task_of_wire,
)
from adapters.quota import Ledger
from adapters.ratings import clamped_kw
from adapters.settings import checked
from adapters.tokens import TokenStore
from engine.intent import Intent, IntentMode
from engine.intent_merging import MOVES, RESTS, CallCosts, Loss, Merging, merge

# A call of a schedule that is later than this would drive the battery into the next stretch.
LATEST_AFTER = dt.timedelta(minutes=3)
# The cloud may begin a task so much later than it took it, and then it also ends so much later.
LATE_START = dt.timedelta(seconds=TASK_CADENCE_S)
Part = dict[int, tuple[Command, ChargeTask | WorkingModeTask | ActivePowerTask]]
"""Commands of different plants by their place among all that are sent, and what they say."""


class HuaweiAdapter(HuaweiReader):
    """One owner, watched and driven.

    Also `BatchDispatchable`, `ExportLimiting`, `Trackable`, `Schedulable`, `Connectable`.
    """

    def __init__(self, client: HuaweiClient) -> None:
        super().__init__(client)
        self._statuses: dict[int, tuple[dt.datetime, list[ChargeStatus]]] = {}

    @property
    def abilities(self) -> Abilities:
        """What tasks and working modes can do; holding where an owner agreed to it."""
        holds = {IntentMode.HOLD} if self.client.settings.neutral_idle_plants else set()
        return replace(
            super().abilities,
            modes=frozenset({*MOVES, IntentMode.SELF_CONSUMPTION, *holds}),
            most_devices_per_call=MOST_PLANTS_PER_CHARGE_TASK,
            most_calls_per_day=CONTROL_CALLS_PER_DAY,
        )

    # --- Dispatchable ---

    def translate(self, intent: Intent, device: Device, latest: Telemetry | None) -> Command:
        """An intent as a forced task from now until its end, or as the working mode that rests as it asks.

        A task ends by duration, which every battery can and which ends it whatever happens to us; the bound of the
        state of charge shortens it by what the latest reading says.
        """
        return self._translate(intent, device, latest, max(self.client.now(), intent.not_before))

    def release(self, device: Device) -> Command:
        """The end of whatever task runs and, where we switch the working mode, self-consumption."""
        plant = _plant_of(device)
        task: ChargeTask | WorkingModeTask = ChargeTask(plant, DispatchSwitch.STOP)
        if self._switches_mode(device):
            task = WorkingModeTask(plant, WorkingMode.SELF_CONSUMPTION)  # `replaces` has the task stopped before it
        return Command(plant, True, 0.0, task.wire())

    async def send(self, command: Command) -> Receipt:
        """Send one command, once."""
        return (await self.send_many([command]))[0]

    async def send_many(self, commands: Sequence[Command]) -> list[Receipt]:
        """Send commands of different plants, 100 in a call; a plant that comes twice comes in calls of its own."""
        receipts: dict[int, Receipt] = {}
        valid: Part = {}
        for place, command in enumerate(commands):
            try:
                valid[place] = command, task_of_wire(command.payload)
            except IntentRefusedError as error:
                receipts[place] = Rejected(str(error))
        for part in _parts(valid):
            receipts.update(await self._send_part(part))
        return [receipts[place] for place in range(len(commands))]

    # --- ExportLimiting ---

    def limits_export(self, device: Device) -> bool:
        """Whether the plant's owner agreed to it."""
        return device.device_id in self.client.settings.feed_in_limit_plants

    def limit_export(self, device: Device, export_limit_kw: float | None) -> Command:
        """Feed-in limited to a power of all phases together, or not at all (section 5.2.7)."""
        plant = _plant_of(device)
        return Command(plant, export_limit_kw is None, 0.0, ActivePowerTask(plant, export_limit_kw).wire())

    # --- Trackable ---

    async def track(self, command: Command, receipt: Accepted) -> Tracked:
        """How far a command is; of tasks the vendor knows anew every 3 minutes, and is not asked more often."""
        try:
            task = task_of_wire(command.payload)
        except IntentRefusedError as error:
            return Tracked(Progress.UNKNOWN, str(error))
        if not isinstance(task, ChargeTask):
            return await self.change_progress(task, receipt)
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

        Each command reckons with its own call, the questions about it, and the stop of a task that may still run.
        """
        settings = self.client.settings
        left = self.client.flow.control_calls_left() or 0
        days = (until - self.client.now()) / dt.timedelta(days=1)
        later = (CONTROL_CALLS_PER_DAY - settings.control_reserve) * max(0.0, days - 1)
        switches = self._switches_mode(device)
        modes = (*MOVES, *RESTS) if switches else (*MOVES, IntentMode.SELF_CONSUMPTION)
        each = 1 + settings.polls_per_task * int(settings.status_polls_count)
        stopped_for = {*(MOVES if settings.stop_before_same_signal else ()), *(RESTS if switches else ())}
        return CallBudget(
            # One at least: what is kept for releases lets it rest.
            calls=max(1, int((left + later) / settings.plants_sharing_quota)),
            costs=CallCosts(
                dict.fromkeys(modes, each), behind_another=1, stopped_for=frozenset(stopped_for), per_limit=each
            ),
        )

    def schedule(self, intents: Sequence[Intent], device: Device, latest: Telemetry | None) -> list[Sending]:
        """The commands that carry a plan within the control calls that are left today; see `schedule_with`."""
        return self.schedule_with(intents, device, latest)[0]

    def schedule_with(
        self, intents: Sequence[Intent], device: Device, latest: Telemetry | None, loss: Loss | None = None
    ) -> tuple[list[Sending], Merging]:
        """The commands that carry a plan, and what fitting it into the budget of calls cost.

        A stop goes before what directly follows a task, and before the first command unless `latest` shows no task.

        Args:
            intents: A plan, in order.
            device: Which plant.
            latest: The latest reading; it bounds the first task only, for it says nothing of later.
            loss: What a merged stretch costs [EUR], as `Merging.loss` then tells; None keeps the deviation of energy
                small [kWh].

        Raises:
            IntentRefusedError: The plant cannot do one of the intents.
        """
        if not intents:
            return [], Merging((), 0.0, 0, 0, 0.0)
        if any(intent.mode is IntentMode.HOLD for intent in intents):
            self._refuse_hold(device)
        for intent in intents:
            if intent.mode in (IntentMode.CHARGE, IntentMode.DISCHARGE):
                clamped_kw(intent, device, None)
        budget = self.call_budget(device, intents[-1].not_after)
        merging = merge(intents, budget.calls, budget.costs, loss)
        now = self.client.now()
        # Until when a task may be in force; None: nobody knows.
        runs_until = now if latest is not None and latest.dispatch_active is False else None
        sendings: list[Sending] = []
        for segment in merging.segments:
            intent = segment.intent
            begin = max(now, intent.not_before)
            if intent.not_after <= now:
                continue
            rests = intent.mode in RESTS
            if rests and runs_until is not None and not self._switches_mode(device):
                continue  # a task ends by itself, and the plant then follows the house
            command = self._translate(intent, device, latest if begin == now else None, begin)
            command = replace(command, replaces=runs_until is None or begin < runs_until)
            runs_until = begin if rests else command.ends_at
            not_after = intent.not_after if rests else min(intent.not_after, begin + LATEST_AFTER)
            sendings.append(Sending(command, begin, not_after))
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

    async def change(self, wanted: Sequence[SettingTask], urgent: bool = False) -> list[Receipt]:
        """Deliver settings of one kind, 10 plants in a call, each once; never raising for vendor or network.

        A plant that has the value already has accepted it. Urgent ones may use what is kept for releases.
        """
        receipts: list[Receipt] = []
        for begin in range(0, len(wanted), MOST_PLANTS_PER_SETTING_TASK):
            part = wanted[begin : begin + MOST_PLANTS_PER_SETTING_TASK]
            try:
                delivery = await self.client.change(part, urgent)
            except AdapterError as error:
                receipts += [receipt_of_error(error)] * len(part)
                continue
            receipts += [receipt_of(delivery, result) for result in delivery.results]
        return receipts

    async def change_progress(self, task: SettingTask, receipt: Accepted) -> Tracked:
        """How far a setting is; never raising for vendor or network."""
        if SAME_AS_CURRENT in receipt.vendor_reference:
            return Tracked(Progress.DONE, receipt.vendor_reference)
        try:
            return await self.client.change_progress(task, receipt.vendor_reference)
        except AdapterError as error:
            return Tracked(Progress.UNKNOWN, str(error))

    # --- inside ---

    def _translate(self, intent: Intent, device: Device, latest: Telemetry | None, begin: dt.datetime) -> Command:
        plant = _plant_of(device)
        if intent.mode is IntentMode.SELF_CONSUMPTION:
            return self.release(device)
        if intent.mode is IntentMode.HOLD:
            self._refuse_hold(device)
            return Command(plant, False, 0.0, neutral_idle(plant, device.battery.max_charge_kw).wire())
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
        return Command(
            plant,
            False,
            battery_kw_of(power_w * batteries),
            ChargeTask(plant, switch, power_w, minutes).wire(),
            ends_at=begin + dt.timedelta(minutes=minutes) + LATE_START,
        )

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

    def _switches_mode(self, device: Device) -> bool:
        return device.device_id in self.client.settings.neutral_idle_plants

    def _refuse_hold(self, device: Device) -> None:
        if not self._switches_mode(device):
            raise IntentRefusedError(
                "mode: hold: no task of the vendor holds a battery still; if the owner agrees that the plant's working "
                "mode is switched, name it in neutral_idle_plants"
            )

    def _stops_first(self, command: Command, task: ChargeTask | WorkingModeTask | ActivePowerTask) -> bool:
        """Whether a task that may still run is ended before a command.

        Before another task because the same signal would be refused, before a working mode because that counts only
        where no task runs; a limit of feed-in is in no task's way.
        """
        if isinstance(task, ActivePowerTask):
            return False
        if isinstance(task, WorkingModeTask):
            return command.replaces
        is_stop = task.switch is DispatchSwitch.STOP
        return command.replaces and not is_stop and self.client.settings.stop_before_same_signal

    async def _send_part(self, part: Part) -> dict[int, Receipt]:
        """Stops in one call, then working modes, then what drives in another call; limits of feed-in last."""
        modes = {place: task for place, (_, task) in part.items() if isinstance(task, WorkingModeTask)}
        forced = {place: task for place, (_, task) in part.items() if isinstance(task, ChargeTask)}
        receipts: dict[int, Receipt] = {}
        first = [place for place, (command, task) in part.items() if self._stops_first(command, task)]
        left = self.client.flow.control_calls_left()
        if left is not None and left < 2:
            # A stop alone would end what runs, and use up what is kept for releases.
            refusal = Rejected(f"control: a command and the stop before it need 2 calls, {left} are left", True)
            receipts = {place: refusal for place in first if not part[place][0].releases}
        stops = {place: task for place, task in forced.items() if task.switch is DispatchSwitch.STOP}
        before = {place: ChargeTask(part[place][1].plant_code, DispatchSwitch.STOP) for place in first}
        stopped = await self._charge({**stops, **{p: task for p, task in before.items() if p not in receipts}})
        for place, receipt in stopped.items():
            open_question = isinstance(receipt, Unknown) or (isinstance(receipt, Rejected) and receipt.retryable)
            if place in stops or open_question:
                receipts[place] = receipt  # a second call on top of an open question helps nobody
        going = {place: task for place, task in modes.items() if place not in receipts}
        for place, receipt in zip(going, await self.change(list(going.values())), strict=True):
            stop = stopped.get(place)
            in_part = isinstance(stop, Rejected) and isinstance(receipt, Accepted)
            receipts[place] = Unknown("the mode was accepted, and the stop before it refused") if in_part else receipt
        driving = {place: task for place, task in forced.items() if place not in receipts}
        receipts.update(await self._charge(driving))
        limits = {place: task for place, (_, task) in part.items() if isinstance(task, ActivePowerTask)}
        # A call that lifts one limit may be made; what rides along costs nothing more.
        lifts = any(part[place][0].releases for place in limits)
        return {**receipts, **dict(zip(limits, await self.change(list(limits.values()), lifts), strict=True))}

    async def _charge(self, part: Mapping[int, ChargeTask]) -> dict[int, Receipt]:
        if not part:
            return {}
        try:
            delivery = await self.client.charge(list(part.values()))
        except AdapterError as error:
            return dict.fromkeys(part, receipt_of_error(error))
        return {place: receipt_of(delivery, result) for place, result in zip(part, delivery.results, strict=True)}


# Answers about tasks that nobody has asked about for so long are forgotten.
LONGEST_KEPT = dt.timedelta(days=2)


def create(
    settings: Mapping[str, Any], clock: Clock, store: TokenStore | None = None, ledger: Ledger | None = None
) -> HuaweiAdapter | HuaweiReader:
    """Build the adapter of one owner, or the reader of one API account; the entry point of this package.

    Args:
        settings: See `adapters.huawei.settings.Settings`.
        clock: The time.
        store: Where tokens are kept; None keeps them in memory.
        ledger: Where calls are counted; None counts those of this adapter.

    Raises:
        ConfigurationError: A setting is missing, misspelt or wrong; names it and never shows its value.
    """
    account = checked(Settings, settings, "huawei")
    client = HuaweiClient(account, clock, store, ledger)
    return HuaweiAdapter(client) if account.access == "oauth" else HuaweiReader(client)


def _plant_of(device: Device) -> str:
    if not device.device_id.strip():
        raise IntentRefusedError("device_id: empty; name one plant")
    return device.device_id


def _parts(commands: Part) -> list[Part]:
    parts: list[Part] = []
    for place, (command, task) in commands.items():
        known = {one.plant_code for _, one in parts[-1].values()} if parts else set()
        if not parts or len(parts[-1]) >= MOST_PLANTS_PER_CHARGE_TASK or task.plant_code in known:
            parts.append({})
        parts[-1][place] = command, task
    return parts
