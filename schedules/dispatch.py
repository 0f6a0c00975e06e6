"""Dispatch: what must be sent now, journalled before it is sent. The only caller of a vendor write.

The rules, each of which a test holds:

* The journal row says SENDING, committed, before the socket opens; a crash leaves that trace.
* While a row is SENDING or UNKNOWN nothing more is sent (save a release): telemetry taken after it is read first.
* Nothing is sent for an intent once its time is over, nor above the nameplate.
* A lapsing command is sent again well inside its lifetime while its intent lasts, and not a second longer.
* A device that we drive and no intent wants is released.
"""

from __future__ import annotations

import asyncio
import datetime as dt
from dataclasses import replace
from enum import Enum

from sqlalchemy import ColumnElement, or_, select

from adapters.contract import (
    Accepted,
    Channel,
    Clock,
    Command,
    IntentRefusedError,
    Rejected,
    Telemetry,
)
from engine.intent import Intent, IntentMode, self_consumption_kw
from schedules.confirmation import Tolerance
from schedules.plans import intent_of
from schedules.sites import ControlledSite
from schedules.store import CommandRow, CommandState, Database, IntentRow
from schedules.store.models import SETTLED_LATER, UNRESOLVED, CommandKind
from schedules.telemetry import latest, read_telemetry

RELEASE_ATTEMPTS = 3
# How long to wait before repeating what was refused, where commands do not lapse [s].
REFUSED_AGAIN_S = 60.0
# Limits that the battery management reported are believed for so many of the vendor's cadences.
LIMITS_HOLD_CADENCES = 3


class Outcome(Enum):
    """What a tick did."""

    NOTHING_DUE = "nothing due"
    SENT = "sent"
    WAITING = "waiting for telemetry to resolve an unknown command"
    REFUSED = "refused before sending"


class Dispatcher:
    """Keeps one site's device at its intents."""

    def __init__(self, db: Database, clock: Clock, target: ControlledSite) -> None:
        self._db = db
        self._clock = clock
        self._target = target
        # A release from outside must not cross a tick that is waiting for an answer.
        self._one_at_a_time = asyncio.Lock()

    async def tick(self) -> Outcome:
        """Do what is due now; safe to call at any time, any number of times.

        Raises:
            AdapterError: Telemetry that must be read first could not be had; nothing was sent.
        """
        async with self._one_at_a_time:
            return await self._tick()

    async def release(self) -> bool:
        """Let go of the device now; a release may be repeated, it harms nobody.

        Returns:
            Whether the vendor took it.
        """
        async with self._one_at_a_time:
            for _ in range(RELEASE_ATTEMPTS):
                if await self._release():
                    return True
            return False

    async def resolve_unknown(self) -> bool:
        """Settle every command whose fate nobody knows, by telemetry taken after it.

        Returns:
            Whether none is left.

        Raises:
            AdapterError: Telemetry could not be had.
        """
        unresolved = self._unresolved()
        if not unresolved:
            return True
        reading = await read_telemetry(self._db, self._clock, self._target, Channel.POWER)
        settling = dt.timedelta(seconds=self._target.adapter.abilities.settling_s)
        settled = True
        for row in unresolved:
            if reading is None or reading.battery_kw is None or reading.measured_at < row.sent_at + settling:
                settled = False
                continue
            seen = self._shows(reading, row)
            self._close(
                row.id,
                CommandState.SEEN if seen else CommandState.NOT_SEEN,
                f"read back {reading.battery_kw:+.3f} kW at {reading.measured_at.isoformat()}",
            )
            if seen and row.intent_id is not None:
                self._note_in_force(row.intent_id)
        return settled

    async def _tick(self) -> Outcome:
        row = self._current_intent()
        newest = self._newest_command()
        if row is None and self._drives() and not self._has_just_tried_to_release(newest):
            # Nobody wants what the device may be doing; letting go needs no knowledge of what that is.
            await self._release()
            return Outcome.SENT
        if not await self.resolve_unknown():
            return Outcome.WAITING
        if row is None:
            return Outcome.NOTHING_DUE
        newest = self._newest_command()
        intent = intent_of(row)
        idles = intent.mode is IntentMode.SELF_CONSUMPTION and not self._drives()
        if not idles and not self._is_due(row, newest):
            return Outcome.NOTHING_DUE
        try:
            command = self._translate(intent)
        except IntentRefusedError as error:
            self._note_refusal(row.id, str(error))
            if self._drives():
                # What the device still does belongs to an intent that is over.
                await self._release()
            return Outcome.REFUSED
        if idles:
            # Nothing needs to be sent for it, but the device has to be one that then follows the house.
            self._note_in_force(row.id)
            return Outcome.NOTHING_DUE
        command = replace(command, replaces=self._moves())
        outcome = await self._send(command, self._kind(row, newest, command), row)
        answer = self._newest_command()
        refused = answer is not None and answer.state is CommandState.REJECTED and not answer.retryable
        if refused and newest is not None and newest.intent_id != row.id and self._drives():
            # The device still does what an older intent wanted, and cannot be told what this one wants.
            await self._release()
        return outcome

    def _has_just_tried_to_release(self, newest: CommandRow | None) -> bool:
        """Whether a release without success is so young that another would only hammer."""
        if newest is None or newest.kind is not CommandKind.RELEASE or newest.retryable:
            return False
        abilities = self._target.adapter.abilities
        refused = newest.state is CommandState.REJECTED
        wait_s = (abilities.renew_after_s or REFUSED_AGAIN_S) if refused else abilities.settling_s
        return self._age_s(newest) < wait_s

    async def _release(self) -> bool:
        """Send one release; once accepted it settles whatever came before it."""
        command = self._target.adapter.release(self._target.device)
        await self._send(command, CommandKind.RELEASE, None)
        newest = self._newest_command()
        if newest is None or newest.state is not CommandState.ACCEPTED:
            return False
        for row in self._unresolved():
            self._close(row.id, CommandState.SUPERSEDED, f"released by command {newest.id}")
        return True

    def _translate(self, intent: Intent) -> Command:
        adapter, device = self._target.adapter, self._target.device
        if intent.mode not in adapter.abilities.modes:
            raise IntentRefusedError(f"mode: {intent.mode.value} is beyond this vendor; plan without it")
        state = latest(self._db, self._target.id, Channel.STATE)
        oldest = self._clock() - LIMITS_HOLD_CADENCES * dt.timedelta(seconds=adapter.abilities.state_cadence_s)
        if state is not None and state.measured_at < oldest:
            state = None  # what the battery allowed then says nothing of now
        command = adapter.translate(intent, device, state)
        self._refuse_above_nameplate(command)
        return command

    def _refuse_above_nameplate(self, command: Command) -> None:
        battery = self._target.site.battery
        rating_kw = battery.max_charge_kw if command.battery_kw < 0 else battery.max_discharge_kw
        # A watt of rounding is no overload; what is no number is below nothing.
        if not abs(command.battery_kw) <= rating_kw + 0.001:
            raise IntentRefusedError(
                f"battery_kw: {command.battery_kw:+g} is above the nameplate of {rating_kw:g} kW; correct the adapter"
            )

    def _shows(self, reading: Telemetry, row: CommandRow) -> bool:
        """Whether a reading shows what a command asks for; a release shows as a battery that follows the house."""
        wanted_kw = row.battery_kw
        if row.kind is CommandKind.RELEASE:
            if reading.load_kw is None or reading.pv_kw is None:
                return False
            battery = self._target.site.battery
            wanted_kw = self_consumption_kw(
                reading.load_kw, reading.pv_kw, battery.max_charge_kw, battery.max_discharge_kw
            )
        assert reading.battery_kw is not None
        return abs(reading.battery_kw - wanted_kw) <= Tolerance().power(wanted_kw)

    def _is_due(self, row: IntentRow, newest: CommandRow | None) -> bool:
        if newest is None:
            return True
        renew_after_s = self._target.adapter.abilities.renew_after_s
        own = self._newest_command(CommandRow.intent_id == row.id)
        if own is not None and own.state is CommandState.REJECTED and not own.retryable:
            # What was refused will be refused again: not more often than a renewal would come.
            return self._age_s(own) >= (renew_after_s or REFUSED_AGAIN_S)
        if newest.intent_id != row.id or newest.state is not CommandState.ACCEPTED:
            return True
        is_lapsing = newest.kind is not CommandKind.RELEASE and renew_after_s is not None
        return is_lapsing and self._age_s(newest) >= (renew_after_s or 0.0)

    def _age_s(self, command: CommandRow) -> float:
        return (self._clock() - command.sent_at).total_seconds()

    def _kind(self, row: IntentRow, newest: CommandRow | None, command: Command) -> CommandKind:
        if command.releases:
            return CommandKind.RELEASE
        renews = newest is not None and newest.intent_id == row.id and row.in_force_at is not None
        return CommandKind.RENEW if renews else CommandKind.START

    def _drives(self) -> bool:
        """Whether a command of ours may be in force on the device."""
        return self._may_be_in_force(CommandRow.kind == CommandKind.RELEASE)

    def _moves(self) -> bool:
        """Whether a set-point of ours may be in force; a hold, as a release, has ended those before it."""
        return self._may_be_in_force(CommandRow.battery_kw == 0)

    def _may_be_in_force(self, ended_by: ColumnElement[bool]) -> bool:
        """Whether there is a command that has not ended by itself, nor by a later one that was accepted."""
        end = self._newest_command(ended_by, CommandRow.state == CommandState.ACCEPTED)
        driving = self._newest_command(
            CommandRow.id > (0 if end is None else end.id),
            CommandRow.kind.in_((CommandKind.START, CommandKind.RENEW)),
            CommandRow.state != CommandState.REJECTED,
            # When one ends by itself the device goes back to the one before it.
            or_(CommandRow.ends_at.is_(None), CommandRow.ends_at > self._clock()),
        )
        lifetime_s = self._target.adapter.abilities.command_lifetime_s
        if driving is None or lifetime_s is None:
            return driving is not None
        # The lease runs from when the vendor had the command, at the latest when it answered.
        return self._clock() - (driving.answered_at or driving.sent_at) < dt.timedelta(seconds=lifetime_s)

    async def _send(self, command: Command, kind: CommandKind, row: IntentRow | None) -> Outcome:
        journal_id = self._open(command, kind, None if row is None else row.id)
        # The last line before the socket: opening the journal may have taken long.
        if row is not None and self._clock() >= row.not_after:
            self._close(journal_id, CommandState.REJECTED, "not sent: the intent's time is over")
            return Outcome.REFUSED
        receipt = await self._target.adapter.send(command)
        if isinstance(receipt, Accepted):
            self._close(journal_id, CommandState.ACCEPTED, receipt.vendor_reference)
            if row is not None:
                self._note_in_force(row.id)
        elif isinstance(receipt, Rejected):
            self._close(journal_id, CommandState.REJECTED, receipt.reason, receipt.retryable)
        else:
            self._close(journal_id, CommandState.UNKNOWN, receipt.reason)
        return Outcome.SENT

    def _current_intent(self) -> IntentRow | None:
        now = self._clock()
        with self._db.session() as session:
            return session.scalar(
                select(IntentRow)
                .where(
                    IntentRow.site_id == self._target.id,
                    IntentRow.superseded.is_(False),
                    IntentRow.not_before <= now,
                    IntentRow.not_after > now,
                )
                .order_by(IntentRow.id.desc())
                .limit(1)
            )

    def _newest_command(self, *conditions: ColumnElement[bool]) -> CommandRow | None:
        query = select(CommandRow).where(CommandRow.site_id == self._target.id, *conditions)
        with self._db.session() as session:
            return session.scalar(query.order_by(CommandRow.id.desc()).limit(1))

    def _unresolved(self) -> list[CommandRow]:
        with self._db.session() as session:
            return list(
                session.scalars(
                    select(CommandRow).where(CommandRow.site_id == self._target.id, CommandRow.state.in_(UNRESOLVED))
                )
            )

    def _open(self, command: Command, kind: CommandKind, intent_id: int | None) -> int:
        row = CommandRow(
            site_id=self._target.id,
            intent_id=intent_id,
            kind=kind,
            battery_kw=command.battery_kw,
            payload=dict(command.payload),
            ends_at=command.ends_at,
            state=CommandState.SENDING,
            sent_at=self._clock(),
        )
        with self._db.session() as session, session.begin():
            session.add(row)
        return row.id

    def _close(self, command_id: int, state: CommandState, outcome: str, retryable: bool = False) -> None:
        now = self._clock()
        with self._db.session() as session, session.begin():
            row = session.get_one(CommandRow, command_id)
            if row.state not in UNRESOLVED:
                raise RuntimeError(f"command {command_id} is {row.state.value} already; the journal is not rewritten")
            if row.state is CommandState.SENDING and state not in SETTLED_LATER:
                row.answered_at = now
            else:
                row.resolved_at = now
            row.state, row.retryable = state, retryable
            row.outcome = "; ".join(part for part in (row.outcome, outcome) if part)

    def _note_in_force(self, intent_id: int) -> None:
        with self._db.session() as session, session.begin():
            row = session.get_one(IntentRow, intent_id)
            row.in_force_at = row.in_force_at or self._clock()

    def _note_refusal(self, intent_id: int, reason: str) -> None:
        with self._db.session() as session, session.begin():
            session.get_one(IntentRow, intent_id).refusal = reason
