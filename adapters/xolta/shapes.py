"""Reading answers whose shape no document gives: any nesting of objects and lists, names in any case.

Nothing here knows a sign or a unit, and nothing raises.
"""

from __future__ import annotations

import datetime as dt
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from adapters.values import lowered
from adapters.xolta.signals import parse

# Answers nest no deeper than this in any shape that is understood.
DEEPEST = 6


def records(answer: Any, names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """The outermost objects that name a device."""
    waiting = deque([(answer, 0)])
    while waiting:
        value, depth = waiting.popleft()
        if isinstance(value, dict) and text_of(first_of(value, names)) is not None:
            yield value
        elif depth < DEEPEST:
            waiting += [(part, depth + 1) for part in _parts(value)]


def carriers(answer: Any) -> list[dict[str, Any]]:
    """The objects that hold values of signals themselves."""
    return [part for part in walk(answer) if isinstance(part, dict) and any(parse(str(key)) for key in part)]


def walk(answer: Any) -> Iterator[dict[str, Any] | list[Any]]:
    """All objects and lists, outermost first."""
    waiting = deque([(answer, 0)])
    while waiting:
        value, depth = waiting.popleft()
        if isinstance(value, dict | list):
            yield value
            if depth < DEEPEST:
                waiting += [(part, depth + 1) for part in _parts(value)]


def _parts(value: Any) -> list[Any]:
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [part for part in parts if isinstance(part, dict | list)]


def first_of(record: Mapping[str, Any], names: Sequence[str]) -> Any:
    """The first of some fields that a record has; case does not count."""
    fields = lowered(record)
    return next((fields[name.lower()] for name in names if fields.get(name.lower()) is not None), None)


def shallowest_text(record: Mapping[str, Any], names: Sequence[str]) -> str | None:
    """The text of the outermost field of some names."""
    texts = (text_of(first_of(part, names)) for part in walk(record) if isinstance(part, dict))
    return next((text for text in texts if text is not None), None)


def text_of(value: Any) -> str | None:
    """A text or a whole number as text; None where it is neither, or empty."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        return None
    return str(value).strip() or None


def same(text: str | None, word: str) -> bool:
    """Whether a text is a word, case aside."""
    return text is not None and text.casefold() == word.casefold()


def time_of(value: Any) -> dt.datetime | None:
    """A time stamp; without a zone it is UTC, as the vendor's field names say."""
    if not isinstance(value, str):
        return None
    try:
        moment = dt.datetime.fromisoformat(value.strip())
        return moment.replace(tzinfo=dt.UTC) if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        return None
