"""The tables. Times are aware UTC, powers kW with battery + discharging, states of charge fractions."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from schedules.store.base import Base


class CommandState(Enum):
    """Where a vendor call stands. It leaves SENDING or UNKNOWN exactly once for good."""

    SENDING = "sending"
    """Written before the socket opens; after a crash nobody knows more than that."""
    ACCEPTED = "accepted"
    """The vendor gave a receipt."""
    REJECTED = "rejected"
    """The vendor refused, or it certainly never arrived."""
    UNKNOWN = "unknown"
    """No answer; telemetry must tell."""
    SEEN = "seen"
    """Was unknown; telemetry newer than it shows its effect."""
    NOT_SEEN = "not_seen"
    """Was unknown; telemetry newer than it shows no effect."""
    SUPERSEDED = "superseded"
    """Was unknown; an accepted release has ended whatever it did."""


UNRESOLVED = (CommandState.SENDING, CommandState.UNKNOWN)
SETTLED_LATER = (CommandState.SEEN, CommandState.NOT_SEEN, CommandState.SUPERSEDED)


class CommandKind(Enum):
    """Why a call was made."""

    START = "start"
    RENEW = "renew"
    RELEASE = "release"
    LIMIT = "limit"
    """Of what is fed in, for an intent; or lifted, without one."""


class Verdict(Enum):
    """What telemetry says of an intent."""

    CONFIRMED = "confirmed"
    """Power and state of charge follow it."""
    DEVICE_LIMITED = "device_limited"
    """The battery does less because it is at an edge or its management allows no more."""
    NOT_EFFECTIVE = "not_effective"
    """The battery does something else."""
    OPPOSITE = "opposite"
    """The battery does the very opposite: a sign is turned round between us and it."""
    EXTERNAL = "external"
    """Somebody else told the battery something else."""
    UNKNOWN = "unknown"
    """Too few readings to tell."""


class SafetyState(Enum):
    """How far a site is trusted; each state allows less than the one before."""

    NORMAL = "normal"
    DEGRADED = "degraded"
    """Nothing new that charges or discharges; what runs may run out."""
    FALLBACK = "fallback"
    """Released: the battery follows the house by itself."""
    QUARANTINED = "quarantined"
    """Hands off until a person looks; only what we started is ended."""


class SiteRow(Base):
    """A site under control: assets, which device of which account it is, and how far it is trusted."""

    __tablename__ = "site"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    assets: Mapped[dict[str, Any]]
    """`engine.Site` as JSON."""
    adapter: Mapped[str]
    device_id: Mapped[str]
    rated_kw: Mapped[float | None]
    """The larger of its charging and discharging power."""
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"), index=True)
    group_id: Mapped[int | None] = mapped_column(ForeignKey("site_group.id"), index=True)
    """The group whose strategy it inherits."""
    safety: Mapped[SafetyState] = mapped_column(default=SafetyState.NORMAL)
    safety_since: Mapped[dt.datetime | None]
    safety_reason: Mapped[str] = mapped_column(default="")
    safety_cause_at: Mapped[dt.datetime | None]
    """When its signs last called for this state; it is left for a better one only a while after."""
    safety_cleared_at: Mapped[dt.datetime | None]
    """When a person last said that it may be driven again; signs from before count no more."""
    envelope: Mapped[dict[str, Any] | None]
    """What the battery was seen to allow by state of charge; see `schedules.envelope`."""


class PlanRow(Base):
    """A plan as it was made, with what it was made from."""

    __tablename__ = "plan"
    __table_args__ = (Index("ix_plan_newest", "site_id", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    made_at: Mapped[dt.datetime]
    begins_at: Mapped[dt.datetime]
    ends_at: Mapped[dt.datetime]
    initial_soc: Mapped[float]
    cost_eur: Mapped[float]
    cost_without_battery_eur: Mapped[float]
    solver: Mapped[str]
    intervals: Mapped[list[dict[str, Any]]]
    """As `Plan.intervals` gives them, with the prices that they were made from and `carried_soc`: the state of charge
    that its intents lead to on the forecast."""
    translation_loss_eur: Mapped[float | None]
    """What it costs, on the plan's forecast, that the vendor's modes and calls carry it less finely [EUR]."""
    why: Mapped[str]
    """What made us plan: the start of a day, a restart, a deviation."""
    adopted: Mapped[bool] = mapped_column(default=True)
    """Whether it came into force; a plan that gains too little over the one in force is kept for the record only."""
    older_cost_eur: Mapped[float | None]
    """What going on with the older plan would cost on the same forecast, where there was one [EUR]."""
    strategy: Mapped[dict[str, Any] | None]
    """The versions of the strategy that it was made from, by scope; None: from before there were any."""
    degraded: Mapped[str] = mapped_column(default="")
    """What it had to be made without, in words; empty: nothing."""


class IntentRow(Base):
    """What a site is to do from `not_before` to `not_after`, wanted by a plan or an override, and what came of it."""

    __tablename__ = "intent"
    __table_args__ = (
        UniqueConstraint("site_id", "not_before", "plan_id"),
        Index("ix_intent_current", "site_id", "superseded", "not_before"),
        # When a plan or an override is forgotten, nobody should look through all intents for its own.
        Index("ix_intent_plan_id", "plan_id"),
        Index("ix_intent_override_id", "override_id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    plan_id: Mapped[int | None] = mapped_column(ForeignKey("plan.id"))
    override_id: Mapped[int | None] = mapped_column(ForeignKey("override.id"))
    """A person wants this, whatever plans say; one of both is there until the plan is forgotten."""
    mode: Mapped[str]
    power_kw: Mapped[float]
    until_soc: Mapped[float | None]
    not_before: Mapped[dt.datetime]
    not_after: Mapped[dt.datetime]
    export_limit_kw: Mapped[float | None]
    """What may be fed in meanwhile, where the plan curtails PV; None: as the connection allows."""
    superseded: Mapped[bool] = mapped_column(default=False)
    """A newer plan covers this time."""
    in_force_at: Mapped[dt.datetime | None]
    """When the device was first told, or was found doing it already."""
    verdict: Mapped[Verdict | None]
    refusal: Mapped[str | None]
    """Why it was not sent, when the adapter refused it."""


class CommandRow(Base):
    """The journal: one row per vendor call that changes something, committed before the socket opens.

    Rows are only added to: `outcome` grows, and times once written stay.
    """

    __tablename__ = "command"
    __table_args__ = (
        Index("ix_command_site_state", "site_id", "state"),
        Index("ix_command_newest", "site_id", "id"),
        # Between two releases there may be thousands of renewals.
        Index(
            "ix_command_ending",
            "site_id",
            "id",
            sqlite_where=text("battery_kw = 0 AND state = 'accepted'"),
            postgresql_where=text("battery_kw = 0 AND state = 'accepted'"),
        ),
        # Most sites have none, and their thousands of other calls must not be looked through for it.
        Index(
            "ix_command_limit",
            "site_id",
            "id",
            sqlite_where=text("kind = 'limit'"),
            postgresql_where=text("kind = 'limit'"),
        ),
        Index("ix_command_intent", "intent_id", "id"),
        Index("ix_command_sent_at", "sent_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    intent_id: Mapped[int | None] = mapped_column(ForeignKey("intent.id"))
    """None for a release that no plan asked for (an interruption, the end of the horizon), and for a lifted limit."""
    kind: Mapped[CommandKind]
    battery_kw: Mapped[float]
    payload: Mapped[dict[str, Any]]
    ends_at: Mapped[dt.datetime | None]
    """When it ends by itself, if it carries its own end."""
    state: Mapped[CommandState]
    sent_at: Mapped[dt.datetime]
    answered_at: Mapped[dt.datetime | None]
    resolved_at: Mapped[dt.datetime | None]
    """When telemetry, or a release, settled a command whose answer was lost."""
    not_after: Mapped[dt.datetime | None]
    """When its intent is over: it never goes out after that."""
    step_kw: Mapped[float | None]
    """How far it moves the set-point, where the fleet has a ramp limit [kW, + more discharge]."""
    epoch: Mapped[int | None]
    """Of the account's lease under which it was written."""
    worker: Mapped[str] = mapped_column(default="")
    """Who wrote it."""
    retryable: Mapped[bool] = mapped_column(default=False)
    """Of a rejected command: whether the same may be taken a moment later."""
    outcome: Mapped[str] = mapped_column(default="")


class ReadRow(Base):
    """When a channel of a site was asked for last, and how that went."""

    __tablename__ = "read"

    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"), primary_key=True)
    channel: Mapped[str] = mapped_column(primary_key=True)
    tried_at: Mapped[dt.datetime]
    error: Mapped[str] = mapped_column(default="")
    """Why it failed; empty where it did not."""


class TelemetryRow(Base):
    """A reading, once per vendor time stamp."""

    __tablename__ = "telemetry"
    __table_args__ = (
        UniqueConstraint("site_id", "channel", "measured_at"),
        # What both channels say of a stretch of time: without it a month of a site is looked through.
        Index("ix_telemetry_time", "site_id", "measured_at"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"))
    channel: Mapped[str]
    measured_at: Mapped[dt.datetime]
    received_at: Mapped[dt.datetime]
    battery_kw: Mapped[float | None]
    grid_kw: Mapped[float | None]
    pv_kw: Mapped[float | None]
    load_kw: Mapped[float | None]
    soc: Mapped[float | None]
    charge_limit_kw: Mapped[float | None]
    discharge_limit_kw: Mapped[float | None]
    import_kwh: Mapped[float | None]
    export_kwh: Mapped[float | None]
    charge_kwh: Mapped[float | None]
    discharge_kwh: Mapped[float | None]
    dispatch_active: Mapped[bool | None]
