"""What is due for one site: which call, if any, brings its device to what is wanted of it."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from enum import Enum

from sqlalchemy.orm import Session

from adapters.contract import (
    Abilities,
    AdapterError,
    Channel,
    Clock,
    Command,
    ExportLimiting,
    IntentRefusedError,
    Telemetry,
)
from engine.intent import Intent, IntentMode, self_consumption_kw
from schedules import export_limits, halts, journal, leases
from schedules.confirmation import SAMPLES, Tolerance, is_at_rest, powers_of
from schedules.egress import NOT_SENT, SOCKET_WITHIN_S, Egress, Order, above_nameplate
from schedules.journal import Standing
from schedules.plans import current_intents, intent_of
from schedules.sites import ControlledSite
from schedules.store import CommandRow, CommandState, Database, IntentRow, Verdict
from schedules.store.models import CommandKind
from schedules.telemetry import between, latest, read_telemetry

# How long to wait before repeating what was refused, where commands do not lapse [s].
REFUSED_AGAIN_S = 60.0
# What may be taken a moment later is tried at the next ticks so often, and then after twice as long each time.
AT_ONCE_AGAIN, LATER_AGAIN_S = 3, 5.0
# A battery that should be let go of is not kept waiting for longer than this [s].
RELEASE_AGAIN_S = 15.0
# Limits that the battery management reported are believed for so many of the vendor's cadences.
LIMITS_HOLD_CADENCES = 3
# So often a device is told the same that takes it and does not do it.
TOLD_AT_MOST = 4
# Renewals of a fleet that began at one price edge drift apart by up to this part of their period.
JITTER = 0.2
GOLDEN = 0.6180339887498949


class Outcome(Enum):
    """What a tick did for a site."""

    NOTHING_DUE = "nothing due"
    SENT = "sent"
    WAITING = "waiting for telemetry to resolve an unknown command"
    REFUSED = "refused before sending"
    HELD = "held back: halted, disarmed, not trusted, or too fast for the fleet"
    NOT_OURS = "another worker has the account"


class LeaseLostError(AdapterError):
    """Another worker has taken the account over."""


@dataclass(frozen=True)
class Situation:
    """What the store knows of a site at a tick."""

    standing: Standing
    intent: IntentRow | None
    held: str | None
    """Why nobody may drive it; None: it may be driven."""

    @property
    def wanted(self) -> IntentRow | None:
        """What it is to do, as far as it may."""
        return None if self.held else self.intent


def situations(session: Session, site_ids: Sequence[int], now: dt.datetime) -> dict[int, Situation]:
    """The situation of each of some sites, in a handful of queries however many they are."""
    standing = journal.standings(session, site_ids, now)
    intents = current_intents(session, site_ids, now)
    held = halts.objections(session, site_ids)
    return {number: Situation(standing[number], intents.get(number), held.get(number)) for number in site_ids}


class SiteDispatch:
    """One site at one tick."""

    def __init__(
        self, db: Database, clock: Clock, target: ControlledSite, egress: Egress, situation: Situation
    ) -> None:
        self.target = target
        self._db, self._clock, self._egress = db, clock, egress
        self._known: Situation | None = situation

    async def tick(self) -> Outcome:
        """Do what is due."""
        row = self._situation.wanted
        if row is None and (self._has_to_let_go() or self._is_release_ignored()):
            # Nobody wants what the device may be doing; letting go needs no knowledge of what that is.
            await self.release()
            return Outcome.SENT
        ended = await self._settle(row)
        if ended is not None:
            return ended
        if row is None:
            return Outcome.HELD if self._situation.held else Outcome.NOTHING_DUE
        return await self._bring_about(row)

    async def _settle(self, row: IntentRow | None) -> Outcome | None:
        """Settle what nobody knows the fate of; None: the tick can go on."""
        newest = self._standing.newest
        follows = row is not None and row.mode == IntentMode.SELF_CONSUMPTION.value
        lets_go = follows and self._has_to_let_go()
        try:
            if await self.resolve_unknown():
                return None
        except AdapterError:
            if not lets_go:
                raise
        else:
            # Whether a release arrived is about to be seen.
            lets_go = lets_go and newest is not None and newest.kind is not CommandKind.RELEASE
        if not lets_go:
            return Outcome.WAITING
        # To have it follow the house nobody has to know what it does now, and that may stay unknown for long.
        await self.release()
        return Outcome.SENT

    async def _bring_about(self, row: IntentRow) -> Outcome:
        """Have the device do what an intent wants, if a call is due for that."""
        newest = self._standing.newest
        intent = intent_of(row)
        idles = intent.mode is IntentMode.SELF_CONSUMPTION and not self._drives()
        if not idles and not self._is_due(row):
            return Outcome.NOTHING_DUE
        try:
            command = self._translate(intent)
        except IntentRefusedError as error:
            self._note_refusal(row.id, str(error))
            if self._drives():
                # What the device still does belongs to an intent that is over.
                await self.release()
            return Outcome.REFUSED
        if idles:
            # Nothing needs to be sent for it, but the device has to be one that then follows the house.
            if row.in_force_at is None:
                self._note_in_force(row.id)
            return Outcome.NOTHING_DUE
        moves = self._standing.moves(self._abilities, self._clock())
        answer = await self._send(replace(command, replaces=moves), self._kind(row, command), row.id)
        if answer is not None and answer.state is CommandState.ACCEPTED and row.in_force_at is None:
            self._note_in_force(row.id)
        refused = answer is None or (answer.state is CommandState.REJECTED and not answer.retryable)
        if refused and newest is not None and newest.intent_id != row.id and self._drives():
            # The device still does what an older intent wanted, and cannot be told what this one wants.
            await self.release()
        if answer is None:
            return Outcome.HELD
        return Outcome.REFUSED if answer.outcome.startswith(NOT_SENT) else Outcome.SENT

    async def release(self) -> bool:
        """Send one release; once accepted it settles whatever came before it."""
        answer = await self._send(self.target.adapter.release(self.target.device), CommandKind.RELEASE, None)
        if answer is None or answer.state is not CommandState.ACCEPTED:
            return False
        for row in self._standing.unresolved:
            self._close(row, CommandState.SUPERSEDED, f"released by command {answer.id}")
        self._known = None
        return True

    async def limit_export(self, *, lift: bool = False) -> bool:
        """Have export limited as is wanted now, or not at all; whether nothing of it is left to be done now."""
        if not isinstance(self.target.adapter, ExportLimiting):
            return True
        row = None if lift else self._situation.wanted
        with self._db.session() as session:
            command = export_limits.due(session, self.target, row, self._clock(), at_once=lift)
        if command is None:
            return True
        intent_id = None if row is None or command.releases else row.id
        answer = await self._send(command, CommandKind.LIMIT, intent_id)
        if answer is None or answer.state is not CommandState.ACCEPTED:
            return False
        journal.supersede_limits(self._db, self._clock, answer)
        return True

    async def resolve_unknown(self) -> bool:
        """Settle every command whose fate nobody knows; whether none is left."""
        unresolved = self._standing.unresolved
        if not unresolved:
            return True
        reading = await read_telemetry(self._db, self._clock, self.target, Channel.POWER)
        # The socket may have opened so much later than the row was written.
        settling = dt.timedelta(seconds=SOCKET_WITHIN_S + self._abilities.settling_s)
        settled = True
        for row in unresolved:
            if reading is None or reading.battery_kw is None or reading.measured_at < row.sent_at + settling:
                settled = False
                continue
            seen = self._shows(reading, row)
            self._close(
                row,
                CommandState.SEEN if seen else CommandState.NOT_SEEN,
                f"read back {reading.battery_kw:+.3f} kW at {reading.measured_at.isoformat()}",
            )
            if seen and row.intent_id is not None:
                self._note_in_force(row.intent_id)
        self._known = None
        return settled

    @property
    def _situation(self) -> Situation:
        """What is known, read again once something was done."""
        if self._known is None:
            with self._db.session() as session:
                self._known = situations(session, [self.target.id], self._clock())[self.target.id]
        return self._known

    @property
    def _standing(self) -> Standing:
        return self._situation.standing

    @property
    def _abilities(self) -> Abilities:
        return self.target.adapter.abilities

    def _drives(self) -> bool:
        return self._standing.drives(self._abilities, self._clock())

    def _has_to_let_go(self) -> bool:
        """Whether it is driven, and no release without success is so young that another would only hammer."""
        newest = self._standing.newest
        if not self._drives() or newest is None or newest.kind is not CommandKind.RELEASE:
            return self._drives()
        refused = newest.state is CommandState.REJECTED
        return self._age_s(newest) >= (self._wait_after(newest) if refused else self._abilities.settling_s)

    def _wait_after(self, refused: CommandRow) -> float:
        """How long to leave the vendor alone after a refusal [s]."""
        renew_after_s = self._abilities.renew_after_s
        if not refused.retryable:
            # What was refused will be refused again: not more often than a renewal would come.
            return renew_after_s or REFUSED_AGAIN_S
        with self._db.session() as session:
            again = journal.refusals_in_a_row(session, refused) - AT_ONCE_AGAIN
        if again < 0:
            return 0.0
        longest_s = REFUSED_AGAIN_S
        if refused.kind is CommandKind.RELEASE:
            longest_s = RELEASE_AGAIN_S
        elif renew_after_s is not None and self._drives():
            longest_s = renew_after_s / 3  # so that it does not lapse for our waiting
        return float(min(longest_s, LATER_AGAIN_S * 2.0 ** min(again, 10)))

    def _translate(self, intent: Intent) -> Command:
        adapter, device = self.target.adapter, self.target.device
        if intent.mode not in adapter.abilities.modes:
            raise IntentRefusedError(f"mode: {intent.mode.value} is beyond this vendor; plan without it")
        state = latest(self._db, self.target.id, Channel.STATE)
        oldest = self._clock() - LIMITS_HOLD_CADENCES * dt.timedelta(seconds=adapter.abilities.state_cadence_s)
        if state is not None and state.measured_at < oldest:
            state = None  # what the battery allowed then says nothing of now
        command = adapter.translate(intent, device, state)
        overload = above_nameplate(self.target, command)
        if overload is not None:
            raise IntentRefusedError(overload)
        return command

    def _shows(self, reading: Telemetry, row: CommandRow) -> bool:
        """Whether a reading shows what a command asks for; a release shows as a battery that follows the house."""
        wanted_kw = row.battery_kw
        if row.kind is CommandKind.RELEASE:
            if reading.load_kw is None or reading.pv_kw is None:
                return False
            battery = self.target.site.battery
            wanted_kw = self_consumption_kw(
                reading.load_kw, reading.pv_kw, battery.max_charge_kw, battery.max_discharge_kw
            )
        assert reading.battery_kw is not None
        return abs(reading.battery_kw - wanted_kw) <= Tolerance.of(self._abilities).power(wanted_kw)

    def _is_release_ignored(self) -> bool:
        """Whether the device goes on as it was told before a release that its vendor took; told again a few times."""
        release, driving, now = self._standing.newest, self._standing.driving, self._clock()
        if release is None or driving is None or self._standing.released is not release or driving.id > release.id:
            return False
        # By its own end the device lets go of it, released or not.
        if not replace(self._standing, released=None).drives(self._abilities, now):
            return False
        reading = self._seen_after(release)
        if reading is None or not self._is_driven(reading, driving):
            return False
        with self._db.session() as session:
            return journal.releases_since(session, driving) < TOLD_AT_MOST

    def _is_order_ignored(self, row: IntentRow, order: CommandRow) -> bool:
        """Whether the device does not do what its vendor took the order for; told again a few times."""
        if row.verdict is not Verdict.NOT_EFFECTIVE:
            return False
        # The verdict may be of what was seen before this order, and what obeys for a while is not ignored.
        readings = between(self._db, self.target.id, self._shown_since(order), self._clock())
        powers = powers_of(readings)[-SAMPLES:]
        if len(powers) < SAMPLES or any(self._shows(reading, order) for reading in powers):
            return False
        with self._db.session() as session:
            return journal.orders_of(session, row.id) < TOLD_AT_MOST

    def _is_driven(self, reading: Telemetry, order: CommandRow) -> bool:
        """Whether a device does as an order said: by its own word, or where it has none by its power."""
        if reading.dispatch_active is not None:
            return reading.dispatch_active
        is_at_ease = is_at_rest(self.target.site.battery, reading, Tolerance.of(self._abilities))
        return self._shows(reading, order) and not is_at_ease

    def _seen_after(self, command: CommandRow) -> Telemetry | None:
        """The newest power, if it can show the effect of a command that was answered."""
        reading = latest(self._db, self.target.id, Channel.POWER)
        if reading is None or reading.battery_kw is None or reading.measured_at < self._shown_since(command):
            return None
        return reading

    def _shown_since(self, command: CommandRow) -> dt.datetime:
        return (command.answered_at or command.sent_at) + dt.timedelta(seconds=self._abilities.settling_s)

    def _is_due(self, row: IntentRow) -> bool:
        newest = self._standing.newest
        if newest is None:
            return True
        renew_after_s = self._abilities.renew_after_s
        own = newest if newest.intent_id == row.id else self._newest_of(row.id)
        if own is not None and own.state is CommandState.REJECTED:
            return self._age_s(own) >= self._wait_after(own)
        if newest.intent_id == row.id and newest.state is CommandState.SEEN:
            # Where commands lapse, what was seen may be the one before a lost renewal: it is sent again.
            return renew_after_s is not None
        if newest.intent_id != row.id or newest.state is not CommandState.ACCEPTED:
            return True
        if newest.kind is CommandKind.RELEASE:
            return self._is_release_ignored()
        if renew_after_s is None:
            return self._is_order_ignored(row, newest)
        return self._age_s(newest) >= renew_after_s * (1 - JITTER * (self.target.id * GOLDEN % 1))

    def _age_s(self, command: CommandRow) -> float:
        # However the clock was set meanwhile: none that was set back may keep a lapsing command from being renewed.
        return abs((self._clock() - command.sent_at).total_seconds())

    def _kind(self, row: IntentRow, command: Command) -> CommandKind:
        if command.releases:
            return CommandKind.RELEASE
        newest = self._standing.newest
        # What has lapsed, or was let go of, is begun anew, and held to what is asked of a beginning.
        renews = newest is not None and newest.intent_id == row.id and row.in_force_at is not None and self._drives()
        return CommandKind.RENEW if renews else CommandKind.START

    async def _send(self, command: Command, kind: CommandKind, intent_id: int | None) -> CommandRow | None:
        """One call; None: it was held back."""
        answer = await self._egress.carry_out(Order(self.target, command, kind, intent_id))
        if answer == leases.LOST:
            raise LeaseLostError(answer)
        self._known = None
        return None if isinstance(answer, str) else answer

    def _newest_of(self, intent_id: int) -> CommandRow | None:
        with self._db.session() as session:
            return journal.newest_of_intent(session, intent_id)

    def _close(self, row: CommandRow, state: CommandState, outcome: str) -> None:
        # Somebody else may have found out first, while this process slept.
        with suppress(journal.SettledError):
            journal.close(self._db, self._clock, row.id, state, outcome)

    def _note_in_force(self, intent_id: int) -> None:
        with self._db.write() as session:
            row = session.get_one(IntentRow, intent_id)
            row.in_force_at = row.in_force_at or self._clock()

    def _note_refusal(self, intent_id: int, reason: str) -> None:
        with self._db.write() as session:
            session.get_one(IntentRow, intent_id).refusal = reason
