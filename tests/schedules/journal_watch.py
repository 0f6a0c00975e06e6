"""The journal as somebody sees it who is no part of the product: what is committed, and nothing else."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from adapters.contract import Command
from tests.simulation.scheduler import Process
from tests.simulation.vendors import Cloud, Request

GONE = "a row is gone"
REWRITTEN = "a settled row was rewritten"
CHANGED = "a row says otherwise what was sent"
INCOMPLETE = "a row does not say what became of it"
LEFT_UNKNOWN = "left unknown in the end"
UNJOURNALLED = "it went out before it was journalled"
OPEN = "('sending', 'unknown')"
# The database itself keeps what it is told to do to the journal, so that nothing is missed in between.
WATCH = f"""
CREATE TABLE breach (what TEXT);
CREATE TRIGGER gone AFTER DELETE ON command BEGIN INSERT INTO breach VALUES ('{GONE}: ' || OLD.id); END;
CREATE TRIGGER rewritten AFTER UPDATE ON command WHEN OLD.state NOT IN {OPEN} BEGIN
    INSERT INTO breach VALUES ('{REWRITTEN}: ' || OLD.id || ' from ' || OLD.state || ' to ' || NEW.state); END;
CREATE TRIGGER changed AFTER UPDATE OF
    id, site_id, intent_id, kind, battery_kw, payload, ends_at, sent_at, not_after, step_kw, epoch, worker ON command
    BEGIN INSERT INTO breach VALUES ('{CHANGED}: ' || OLD.id); END;
"""
BREACHES = f"""
SELECT what FROM breach
UNION ALL SELECT '{INCOMPLETE}: ' || id FROM command
    WHERE (resolved_at IS NOT NULL) != (state IN ('seen', 'not_seen', 'superseded'))
    OR (answered_at IS NULL AND state IN ('accepted', 'rejected', 'unknown'))
"""


class JournalWatch:
    """Looks whether the journal only grows, and what is settled stays."""

    def __init__(self, path: Path) -> None:
        """Begin to watch a store."""
        self._path = path
        with closing(sqlite3.connect(path)) as outside:
            outside.executescript(WATCH)

    def breaches(self) -> Iterator[str]:
        """What has been done to it that must not be."""
        yield from self._asked(BREACHES)

    def left_unknown(self) -> Iterator[str]:
        """Calls whose fate nobody knows."""
        yield from self._asked(f"SELECT '{LEFT_UNKNOWN}: ' || id FROM command WHERE state IN {OPEN}")

    def newest_of(self, worker: str) -> tuple[str, float] | None:
        """State and power [kW] of the call that a worker wrote down last."""
        query = "SELECT state, battery_kw FROM command WHERE worker = ? ORDER BY id DESC LIMIT 1"
        with closing(sqlite3.connect(self._path)) as outside:
            return outside.execute(query, (worker,)).fetchone()

    def _asked(self, query: str) -> list[str]:
        with closing(sqlite3.connect(self._path)) as outside:
            return [what for (what,) in outside.execute(query)]


@dataclass
class WitnessedCloud(Cloud):
    """Looks, as each call comes in, whether its sender has journalled it."""

    journal: JournalWatch | None = None
    unjournalled: list[str] = field(default_factory=list)

    def open(self, process: Process, command: Command) -> Request:
        written = self.journal.newest_of(process.name)
        if written != ("sending", command.battery_kw):
            self.unjournalled.append(f"{UNJOURNALLED}: {command.battery_kw:+g} kW by {process.name}: {written}")
        return super().open(process, command)
