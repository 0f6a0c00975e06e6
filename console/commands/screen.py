"""What all commands print on, and with what codes they end."""

from __future__ import annotations

import datetime as dt
import sys

from rich.console import Console

from engine.errors import InputError

# A pipe has no width: give tables room there instead of the 80 columns that rich assumes.


class Screen(Console):
    """A console whose reader may go away, as `head` does."""

    def on_broken_pipe(self) -> None:
        """Leave it to `main`: rich's own `SystemExit` would leave an event loop with a traceback."""
        raise BrokenPipeError


# Names may hold colons, which are no emoji.
out = Screen(highlight=False, emoji=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, emoji=False, soft_wrap=True)

EXIT_BAD_INPUT = 2
EXIT_FAILED = 1
EXIT_INTERRUPTED = 130


def date_of(text: str) -> dt.date:
    """A day as people type it.

    Raises:
        InputError: It is none.
    """
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise InputError("day", f"value {text!r} is no date", "write it as 2024-04-10") from None
