"""What all tables share: aware times, and how Python types are kept."""

from __future__ import annotations

import datetime as dt
from enum import Enum
from typing import Any, ClassVar

import sqlalchemy as sa
from sqlalchemy import JSON, BindParameter, DateTime, Dialect, LargeBinary, String, bindparam
from sqlalchemy.orm import DeclarativeBase
from sqlalchemy.types import TypeDecorator

SITE_IDS: BindParameter[Any] = bindparam("site_ids", expanding=True)
"""Which sites a statement is for that was built once and is asked often."""


class UtcTime(TypeDecorator[dt.datetime]):
    """Aware UTC in Python whatever the database keeps; a naive time is refused at the door."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: dt.datetime | None, _dialect: Dialect) -> dt.datetime | None:
        """To the database."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"time {value.isoformat()} has no zone; store aware times only")
        return value.astimezone(dt.UTC)

    def process_result_value(self, value: dt.datetime | None, _dialect: Dialect) -> dt.datetime | None:
        """From the database; SQLite forgets the zone."""
        if value is None:
            return None
        return value.replace(tzinfo=dt.UTC) if value.tzinfo is None else value.astimezone(dt.UTC)


class Base(DeclarativeBase):
    """Base of all tables."""

    type_annotation_map: ClassVar[dict[Any, Any]] = {
        dt.datetime: UtcTime,
        dict[str, Any]: JSON,
        list[dict[str, Any]]: JSON,
        str: String,
        bytes: LargeBinary,
        # As text, so that a new member needs no change of the database's own types.
        Enum: sa.Enum(Enum, native_enum=False, length=32, values_callable=lambda members: [m.value for m in members]),
    }
