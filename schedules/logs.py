"""Logs as lines of JSON, without secrets: by the name of the field and, wherever they turn up, by value."""

from __future__ import annotations

import datetime as dt
import json
import logging
import sys
from collections.abc import Iterable
from typing import TextIO

REDACTED = "***"
# A shorter value would be found in half of all words.
SHORTEST_SECRET = 6
SECRET_WORDS = ("password", "secret", "token", "authorization", "cookie", "credential", "sealed", "signature", "key")
# What every record has; anything else was given with `extra`.
_OWN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "data"}

# They tell of every message that comes and goes, many a second; what they warn of is told.
_TALKATIVE = ("celery.worker.strategy", "celery.app.trace", "celery.beat", "alembic", "kombu")

_secrets: set[str] = set()


def register_secrets(values: Iterable[str]) -> None:
    """Let no log of this process show these values; a shorter one than six characters is not looked for."""
    _secrets.update(value for value in values if len(value) >= SHORTEST_SECRET)


def redacted(text: str) -> str:
    """A text without any secret that was registered."""
    # The longest first: one may be a part of another.
    for secret in sorted(_secrets, key=len, reverse=True):
        text = text.replace(secret, REDACTED)
        escaped = json.dumps(secret)[1:-1]
        if escaped != secret:
            text = text.replace(escaped, REDACTED)
    return text


class JsonLines(logging.Formatter):
    """One JSON object a line: at, level, logger, text, process, what was given with `extra`, and the traceback."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        entry: dict[str, object] = {
            "at": dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "text": record.getMessage(),
            "process": record.process,
        }
        for name, value in vars(record).items():
            if name not in _OWN:
                entry[name] = REDACTED if _names_a_secret(name) else _without_secrets(value)
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return redacted(json.dumps(entry, default=str, ensure_ascii=False))


def log_to(stream: TextIO, level: str) -> None:
    """Send all logs of this process to a stream, as lines of JSON."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    if level == "INFO":
        for name in _TALKATIVE:
            logging.getLogger(name).setLevel(logging.WARNING)


def log_to_stderr(level: str) -> None:
    """Send all logs of this process to stderr, as lines of JSON."""
    log_to(sys.stderr, level)


def _without_secrets(value: object) -> object:
    """A value given with `extra`, without the fields in it that are named like secrets."""
    if isinstance(value, dict):
        return {key: REDACTED if _names_a_secret(str(key)) else _without_secrets(one) for key, one in value.items()}
    return [_without_secrets(one) for one in value] if isinstance(value, list | tuple) else value


def _names_a_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_WORDS)
