"""What all commands print on, and with what codes they end."""

from __future__ import annotations

import datetime as dt
import sys

from rich.console import Console

from engine.errors import InputError

# A pipe has no width: give tables room there instead of the 80 columns that rich assumes.
out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 160)
err = Console(stderr=True, highlight=False, soft_wrap=True)

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
