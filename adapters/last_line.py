"""The last line before a vendor write: whoever sends may still be stopped directly before the socket.

Between the decision to send and the write lie a login, a token that is refreshed, a pause of the whole process. What
was right to send then may be wrong now, so the one who sends sets a guard, and whatever writes to a vendor asks it as
the last thing that it does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

Guard = Callable[[], str | None]
"""Tells why nothing may be sent any more; None: it may."""

_guard: ContextVar[Guard | None] = ContextVar("last_line", default=None)


@contextmanager
def guarded(guard: Guard) -> Iterator[None]:
    """Have a guard asked before every write to a vendor inside."""
    token = _guard.set(guard)
    try:
        yield
    finally:
        _guard.reset(token)


def objection() -> str | None:
    """Why nothing may be written now; None: nothing stands against it."""
    guard = _guard.get()
    return None if guard is None else guard()
