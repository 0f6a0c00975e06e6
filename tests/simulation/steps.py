"""The named points of the protocol at which a process may die or be stopped, found from outside in what it does.

The product knows nothing of them: they are seen in its database statements and at the vendors' sockets.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, Pool, event
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from tests.simulation.scheduler import this_process

BEFORE_LEASE = "before lease"
AFTER_LEASE = "after lease"
AFTER_SENDING = "after SENDING"
MID_SOCKET = "mid-socket"
AFTER_REPLY = "after reply"
BEFORE_COMMIT = "before commit"
READING_BACK = "during read-back"
RELEASING = "during release"
STATEMENT = "before a statement"
"""Any of the database's: where two processes can come between what the other read and what it writes."""
POINTS = (
    BEFORE_LEASE,
    AFTER_LEASE,
    AFTER_SENDING,
    MID_SOCKET,
    AFTER_REPLY,
    BEFORE_COMMIT,
    READING_BACK,
    RELEASING,
)


def watch_the_database() -> None:
    """Have database steps of simulated processes pass their points; nobody else is touched."""
    if not event.contains(Engine, "before_cursor_execute", _before_statement):
        event.listen(Engine, "before_cursor_execute", _before_statement)
        event.listen(Engine, "commit", _before_commit)
        event.listen(Engine, "rollback", _rolled_back)
        event.listen(Pool, "checkout", _checked_out)
        event.listen(Pool, "checkin", _checked_in)
        event.listen(Session, "after_commit", _after_commit)


def _before_statement(connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
    process = this_process()
    if process is None:
        return
    process.lives()
    if process.has_no_database():
        raise OperationalError(statement, None, ConnectionError("the database is away"))
    if statement == "BEGIN IMMEDIATE":
        process.writes_on = connection
    if process.writes_on is None:  # it would stop everybody else too
        process.passes(STATEMENT)
    if statement.startswith("INSERT INTO command"):
        connection.info["step"] = AFTER_SENDING
    elif statement.startswith("UPDATE account"):
        connection.info["step"] = AFTER_LEASE
    elif statement.startswith("UPDATE command"):
        connection.info["step"] = BEFORE_COMMIT


def _before_commit(connection: Any) -> None:
    process = this_process()
    if process is None:
        return
    process.lives()
    step = connection.info.pop("step", None)
    process.committed = None
    if step == BEFORE_COMMIT:
        process.passes(step)
    else:
        process.committed = step
    if process.writes_on is connection:
        process.writes_on = None


def _after_commit(_: Any) -> None:
    process = this_process()
    if process is not None and process.committed is not None:
        step, process.committed = process.committed, None
        process.passes(step)


def _rolled_back(connection: Any) -> None:
    if not connection.invalidated:
        connection.info.pop("step", None)
    process = this_process()
    if process is not None and process.writes_on is connection:
        process.writes_on = None


def _checked_out(connection: Any, *_: Any) -> None:
    process = this_process()
    if process is not None:
        process.connections[id(connection)] = connection


def _checked_in(connection: Any, _: Any) -> None:
    process = this_process()
    if process is not None:
        process.connections.pop(id(connection), None)
