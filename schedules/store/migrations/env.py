"""Alembic's entry: runs on the connection that `schedules.store.database` hands over."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context

from schedules.store.base import Base, UtcTime


def _render(kind: str, item: Any, _: Any) -> str | Literal[False]:
    """Keep revisions free of our own types, so that an old one still runs when those change."""
    return "sa.DateTime(timezone=True)" if kind == "type" and isinstance(item, UtcTime) else False


connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=True, render_item=_render)
with context.begin_transaction():
    context.run_migrations()
