from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from schedules import logs

CANARY = 'canary-"quoted"\\secret'


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    monkeypatch.setattr(logs, "_secrets", set())
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    logs.log_to(stream, "INFO")
    yield stream
    root.handlers[:], root.level = handlers, level


def test_a_line_is_json_with_what_was_given(stream: io.StringIO) -> None:
    logging.getLogger("schedules.work").info("site %s", "one", extra={"account_id": 7})
    entry = json.loads(stream.getvalue())
    assert (entry["level"], entry["logger"], entry["text"]) == ("info", "schedules.work", "site one")
    assert entry["account_id"] == 7
    assert entry["at"].endswith("+00:00")


def test_a_secret_is_nowhere_in_text_extra_or_traceback(stream: io.StringIO) -> None:
    logs.register_secrets([CANARY])
    try:
        raise ValueError(CANARY)
    except ValueError:
        logging.getLogger("x").exception(
            "with %s", CANARY, extra={"url": f"https://{CANARY}@host", "deep": {"a": [CANARY]}}
        )
    assert "canary" not in stream.getvalue()
    assert json.loads(stream.getvalue())["url"] == "https://***@host"


def test_fields_named_like_secrets_are_not_shown(stream: io.StringIO) -> None:
    logging.getLogger("x").warning("login", extra={"access_token": "abc", "headers": {"Authorization": "Bearer abc"}})
    entry = json.loads(stream.getvalue())
    assert entry["access_token"] == "***"
    assert entry["headers"] == {"Authorization": "***"}


def test_short_words_are_left_alone(stream: io.StringIO) -> None:
    logs.register_secrets(["a", ""])
    logging.getLogger("x").warning("a banana")
    assert json.loads(stream.getvalue())["text"] == "a banana"
