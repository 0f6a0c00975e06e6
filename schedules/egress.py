"""The one way out: the only caller of a vendor write, and the last to say no.

Before a call is made it is journalled, in a transaction that holds the account's row. Whatever may stand against it is
asked there: epoch, time, rating, kill switch, arming, how far the site is trusted, the age of what is known of it, the
fleet's ramp. It is asked once more directly before the socket, as a login or a stalled process may lie between.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

from sqlalchemy.orm import Session

from adapters import last_line
from adapters.contract import CONNECTED_WITHIN_S, LONGEST_CALL_S, Accepted, Clock, Command, Rejected
from schedules import halts, journal, leases, plans, ramp, telemetry
from schedules.leases import Lease
from schedules.sites import ControlledSite
from schedules.store import CommandRow, CommandState, Database, IntentRow, SafetyState, SiteRow
from schedules.store.models import CommandKind

# A lease that ends sooner than a call may take is over for it [s].
CALL_S = LONGEST_CALL_S + 2.0
# So soon after its row a call is on the wire or held back: its effect is looked for from then on [s].
SOCKET_WITHIN_S = 5.0
# How the outcome of a command begins that the last line held back.
NOT_SENT = "not sent: "


@dataclass(frozen=True)
class Order:
    """A command on its way out."""

    target: ControlledSite
    command: Command
    kind: CommandKind
    intent_id: int | None = None
    """None for a release that no intent asked for, and for a limit that is lifted."""

    @property
    def is_new_set_point(self) -> bool:
        """Whether it makes the battery charge or discharge that did not do so by our word."""
        return self.kind is CommandKind.START and self.command.battery_kw != 0


class Egress:
    """What one worker sends to one account under one lease."""

    def __init__(self, db: Database, clock: Clock, lease: Lease, worker: str) -> None:
        self._db, self._clock, self._lease, self._worker = db, clock, lease, worker

    async def carry_out(self, order: Order) -> CommandRow | str:
        """Make one vendor call, once.

        Returns:
            Its journal row with what became of it; or why it was held back before it was journalled, or is another
            worker's by now.
        """
        opened = self._open(order)
        if isinstance(opened, str):
            return opened
        row, begun = opened
        # Opening the journal may have taken long.
        objection = self._objection_now(order, row, begun)
        if objection is not None:
            return self._close(row, CommandState.REJECTED, f"{NOT_SENT}{objection}", retryable=True)
        with last_line.guarded(lambda: self._objection_now(order, row, begun)):
            receipt = await order.target.adapter.send(order.command)
        if isinstance(receipt, Accepted):
            return self._close(row, CommandState.ACCEPTED, receipt.vendor_reference)
        if isinstance(receipt, Rejected):
            return self._close(row, CommandState.REJECTED, receipt.reason, receipt.retryable)
        return self._close(row, CommandState.UNKNOWN, receipt.reason)

    def _open(self, order: Order) -> tuple[CommandRow, float] | str:
        """The journal row, and when it was written by monotonic time [s]; or why there is none."""
        with self._db.write() as session:
            if not leases.extend(session, self._clock, self._lease):
                return leases.LOST
            intent = None if order.intent_id is None else session.get_one(IntentRow, order.intent_id)
            step_kw = None
            if order.kind is not CommandKind.LIMIT:
                step_kw = ramp.step_kw(session, self._clock(), order.target, order.command.battery_kw)
            objection = self._objection(session, order, intent)
            if objection is None and order.kind is CommandKind.START:
                objection = ramp.objection(session, self._clock(), step_kw)
            if objection is not None:
                return objection
            row = journal.write_ahead(
                session,
                self._clock(),
                order.target.id,
                order.command,
                order.kind,
                order.intent_id,
                None if intent is None else intent.not_after,
                step_kw,
                self._lease,
                self._worker,
            )
            return row, leases.monotonic(self._clock)

    def _objection_now(self, order: Order, row: CommandRow, begun: float) -> str | None:
        with self._db.session() as session:
            intent = None if row.intent_id is None else session.get_one(IntentRow, row.intent_id)
            objection = self._objection(session, order, intent)
        if objection is None and leases.monotonic(self._clock) - begun > SOCKET_WITHIN_S:
            return f"it took longer than {SOCKET_WITHIN_S:g} s from the journal to the socket"
        return objection

    def _objection(self, session: Session, order: Order, intent: IntentRow | None) -> str | None:
        """Why a command may not go out now; None: nothing stands against it."""
        now, command = self._clock(), order.command
        if not leases.is_in_force(session, self._clock, self._lease, CALL_S):
            return leases.LOST
        if intent is not None and now >= intent.not_after - dt.timedelta(seconds=CONNECTED_WITHIN_S):
            return "the intent's time is over before the call could be on the wire"
        if intent is not None and not self._is_wanted(session, order.target.id, intent):
            return "something else is wanted by now, of a newer plan or a person"
        overload = above_nameplate(order.target, command)
        if overload is not None:
            return overload
        if command.releases:
            return None
        halted = halts.objection(session, order.target.id)
        if halted is not None:
            return halted
        if not order.is_new_set_point:
            return None
        if session.get_one(SiteRow, order.target.id).safety is not SafetyState.NORMAL:
            return "the site is degraded: nothing new is begun"
        if not telemetry.is_fresh(session, order.target.id, now):
            return "telemetry is too old to begin anything"
        return None

    def _is_wanted(self, session: Session, site_id: int, intent: IntentRow) -> bool:
        wanted = plans.current_intents(session, [site_id], self._clock()).get(site_id)
        return wanted is not None and wanted.id == intent.id

    def _close(self, row: CommandRow, state: CommandState, outcome: str, retryable: bool = False) -> CommandRow | str:
        try:
            return journal.close(self._db, self._clock, row.id, state, outcome, retryable)
        except journal.SettledError:
            # Whoever took the account over while this worker slept has read back what became of it.
            return leases.LOST


def above_nameplate(target: ControlledSite, command: Command) -> str | None:
    """How a command exceeds the battery's rating; None: it does not."""
    battery = target.site.battery
    rating_kw = battery.max_charge_kw if command.battery_kw < 0 else battery.max_discharge_kw
    # A watt of rounding is no overload; what is no number is below nothing.
    if abs(command.battery_kw) <= rating_kw + 0.001:
        return None
    return f"battery_kw: {command.battery_kw:+g} is above the nameplate of {rating_kw:g} kW; correct the adapter"
