"""The tables of running it: accounts with their leases, halts, overrides, jobs, quotas, inputs of plans, events."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from schedules.store.base import Base


class AccountRow(Base):
    """An account with a vendor: how it is reached, whether it may be driven, and who is driving it.

    Sessions and quotas are the account's, and so is the lease.
    """

    __tablename__ = "account"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    adapter: Mapped[str]
    sealed_settings: Mapped[bytes | None]
    """Address and credentials, encrypted by `schedules.seal`; None where a program opens the adapter itself."""
    armed: Mapped[bool] = mapped_column(default=False)
    """Whether anything but releases may be sent."""
    armed_by: Mapped[str] = mapped_column(default="")
    armed_at: Mapped[dt.datetime | None]
    epoch: Mapped[int] = mapped_column(default=0)
    """Counts the leases; a command written under an older one is stopped at the last line."""
    lease_owner: Mapped[str | None]
    lease_until: Mapped[dt.datetime | None]
    tokens_held_by: Mapped[str | None]
    """Whose turn it is to renew the tokens; a turn that nobody gives back ends by itself."""
    tokens_held_until: Mapped[dt.datetime | None]


class TokenRow(Base):
    """Tokens of an account that change with their use; whoever saves first wins."""

    __tablename__ = "token"

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    sealed: Mapped[bytes]
    version: Mapped[int]


class HaltScope(Enum):
    """How much a kill switch stops."""

    GLOBAL = "global"
    VENDOR = "vendor"
    ACCOUNT = "account"
    SITE = "site"


class HaltRow(Base):
    """A kill switch that somebody pulled; in force until it is lifted."""

    __tablename__ = "halt"

    id: Mapped[int] = mapped_column(primary_key=True)
    scope: Mapped[HaltScope]
    name: Mapped[str] = mapped_column(default="")
    """Of the vendor, account or site; empty where all are meant."""
    reason: Mapped[str]
    by: Mapped[str]
    since: Mapped[dt.datetime]
    lifted_at: Mapped[dt.datetime | None] = mapped_column(index=True)
    lifted_by: Mapped[str] = mapped_column(default="")


class RampLimitRow(Base):
    """The fleet's ramp limit; one row or none."""

    __tablename__ = "ramp_limit"

    id: Mapped[int] = mapped_column(primary_key=True)
    kw_per_min: Mapped[float | None]
    share_per_min: Mapped[float | None]
    """Of the fleet's rated power [fraction]."""


class OverrideRow(Base):
    """What a person wants of a site for a while; its intents outrank every plan's."""

    __tablename__ = "override"

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"), index=True)
    reason: Mapped[str]
    by: Mapped[str]
    made_at: Mapped[dt.datetime]
    cancelled_at: Mapped[dt.datetime | None]


class JobRunRow(Base):
    """One run of a job for one slot: whoever writes the row first does it, however many beats rang."""

    __tablename__ = "job_run"
    __table_args__ = (UniqueConstraint("job", "slot"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    job: Mapped[str]
    slot: Mapped[dt.datetime] = mapped_column(index=True)
    message: Mapped[str] = mapped_column(default="")
    """What asked for it; the same one coming again means that the worker died that had it."""
    worker: Mapped[str]
    attempts: Mapped[int] = mapped_column(default=1)
    """How often it was begun; what kills its worker again and again is left alone."""
    started_at: Mapped[dt.datetime]
    seen_at: Mapped[dt.datetime]
    """When whoever does it last showed that he is alive."""
    finished_at: Mapped[dt.datetime | None]
    outcome: Mapped[str] = mapped_column(default="")


class QuotaCallRow(Base):
    """A call that counts against a vendor's limit, written before it is made."""

    __tablename__ = "quota_call"
    __table_args__ = (Index("ix_quota_call", "account_id", "kind", "made_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"))
    kind: Mapped[str]
    made_at: Mapped[dt.datetime]


class QuotaPauseRow(Base):
    """A pause that a vendor asked for."""

    __tablename__ = "quota_pause"

    account_id: Mapped[int] = mapped_column(ForeignKey("account.id"), primary_key=True)
    kind: Mapped[str] = mapped_column(primary_key=True)
    until: Mapped[dt.datetime]


class SeriesRow(Base):
    """Prices or a forecast as they were known at a time; the newest one known is planned with."""

    __tablename__ = "series"
    __table_args__ = (Index("ix_series_newest", "site_id", "name", "known_at"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    site_id: Mapped[int | None] = mapped_column(ForeignKey("site.id"))
    """None: all sites share it."""
    name: Mapped[str]
    """A column of what `schedules.jobs.plan_site` takes."""
    begins_at: Mapped[dt.datetime]
    step_s: Mapped[float]
    numbers: Mapped[dict[str, Any]]
    """`values`, one for each interval."""
    known_at: Mapped[dt.datetime]
    estimated_from: Mapped[dt.datetime | None]
    """From here on they are estimates in place of what was to be published; None: none are."""
    made_by: Mapped[str] = mapped_column(default="")
    """Which forecaster made them from the site's own readings; empty: they were published."""
    doubt: Mapped[str] = mapped_column(default="")
    """Why they are less than they could be; empty: they are not."""


class EventRow(Base):
    """Something that a person should be able to find again; only ever added to."""

    __tablename__ = "event"

    id: Mapped[int] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime] = mapped_column(index=True)
    kind: Mapped[str]
    """What it is, in one word with dots: `site.quarantined`, `halt.pulled`."""
    by: Mapped[str]
    """A person, or the worker."""
    account_id: Mapped[int | None] = mapped_column(ForeignKey("account.id"))
    site_id: Mapped[int | None] = mapped_column(ForeignKey("site.id"), index=True)
    text: Mapped[str]
