"""The tables of prices: where they come from, what is known of each day, what each site's contract makes of them."""

from __future__ import annotations

import datetime as dt
from typing import Any

from sqlalchemy import ForeignKey, Index
from sqlalchemy.orm import Mapped, mapped_column

from schedules.store.base import Base


class MarketRow(Base):
    """A zone or region whose day-ahead prices are fetched, and the sources that are asked for them in turn."""

    __tablename__ = "market"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    area: Mapped[str]
    sealed_sources: Mapped[bytes | None]
    """Names and settings of the sources, tokens among them, encrypted by `schedules.seal`."""
    due_at: Mapped[dt.datetime | None]
    """When the sources are asked next, if there is anything to ask for."""
    outcome: Mapped[str] = mapped_column(default="")
    """What came of the last time."""


class MarketDayRow(Base):
    """Prices of one market day as they became known; only ever added to, the newest real ones count."""

    __tablename__ = "market_day"
    __table_args__ = (Index("ix_market_day", "market_id", "day", "id"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    market_id: Mapped[int] = mapped_column(ForeignKey("market.id"))
    day: Mapped[dt.date]
    """By the market's calendar."""
    begins_at: Mapped[dt.datetime]
    step_s: Mapped[float]
    curves: Mapped[list[dict[str, Any]]]
    """`side`, `currency` and `values` per kWh, one for each interval."""
    source: Mapped[str]
    """Who gave them; of an estimate, which day it is taken from."""
    estimated: Mapped[bool] = mapped_column(default=False)
    """Nobody published them."""
    known_at: Mapped[dt.datetime]


class PriceTermsRow(Base):
    """What a site pays and earns, given a market's prices."""

    __tablename__ = "price_terms"

    site_id: Mapped[int] = mapped_column(ForeignKey("site.id"), primary_key=True)
    market_id: Mapped[int] = mapped_column(ForeignKey("market.id"), index=True)
    terms: Mapped[dict[str, Any]]
    """`schedules.price_terms.Terms` as JSON."""
    grid: Mapped[dict[str, Any] | None]
    """`engine.tariffs.dk.GridCompany` as JSON, as DataHub had it last, where the terms name codes of it."""
    grid_due_at: Mapped[dt.datetime | None]
    """When DataHub is asked for it next."""
    published_from: Mapped[str] = mapped_column(default="")
    """Which rows of `market_day` were last published for the site; empty: none, or the terms have changed since."""
    problem: Mapped[str] = mapped_column(default="")
    """Why its prices could not be published the last time."""
