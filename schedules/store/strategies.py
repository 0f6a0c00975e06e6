"""The tables of strategies over time: versions for a scope, and the groups that sites inherit through."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from schedules.store.base import Base


class SiteGroupRow(Base):
    """Sites that share a strategy; a site is in one group at most, a group in one portfolio at most."""

    __tablename__ = "site_group"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    portfolio: Mapped[str | None]
    """What its portfolio is called; a portfolio is there as long as a group is in it."""


class StrategyVersionRow(Base):
    """What one scope has wanted from a time on; only ever added to, and the highest number is in force."""

    __tablename__ = "strategy_version"
    __table_args__ = (UniqueConstraint("scope", "number"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    scope: Mapped[str]
    """As `schedules.strategies.Scope` is written: `portfolio`, `portfolio:north`, `group:street`, `site:barn`."""
    number: Mapped[int]
    """Counts the versions of the scope from 1."""
    fields: Mapped[dict[str, Any]]
    """The fields of `engine.Strategy` that are set at this scope, and no others."""
    by: Mapped[str]
    note: Mapped[str] = mapped_column(default="")
    made_at: Mapped[dt.datetime]
