"""Libraries whose debug logs hold headers, tokens and addresses are heard from WARNING on, whatever levels are set."""

from __future__ import annotations

import logging


def hush(library: str, *later: str) -> None:
    """Drop what a library logs below WARNING, also where somebody lowers its level later.

    A level can be changed by whoever configures logging; a filter stays. It works on the logger that it is on and not
    on those below, so each gets one.

    Args:
        library: Its name, once it is imported: all loggers that it has by then are meant.
        later: Names of loggers that it makes only when they are needed.
    """
    made = [name for name in logging.root.manager.loggerDict if name.startswith(f"{library}.")]
    for name in (library, *made, *later):
        logging.getLogger(name).addFilter(_is_serious)


def _is_serious(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
