"""What never gets out."""

from __future__ import annotations

import contextlib
import json
import logging
import traceback
from collections.abc import Iterator, Mapping
from typing import Any

from adapters.contract import (
    AdapterError,
    Channel,
    Command,
    ConfigurationError,
    Dispatchable,
    QuotaExceededError,
    Readable,
)
from adapters.testing.bench import Bench
from adapters.testing.case import case, first_drive, must


def _wrong(value: str) -> str:
    return value[:-1] + ("a" if value[-1:] != "a" else "b")


@case(Readable)
async def test_c40_wrong_credentials_are_tried_once(bench: Bench) -> None:
    """Wrong credentials are a ConfigurationError, and are not tried again."""
    for name, value in bench.secret_settings().items():
        adapter = bench.create(**{name: _wrong(value)})
        for attempt in range(2):
            before = len(bench.seen)
            try:
                reading = await adapter.read(bench.device(), Channel.POWER)
            except ConfigurationError as error:
                must(not error.retryable, "nothing to retry", error)
                if attempt:
                    must(len(bench.seen) == before, f"{name}: no second login", bench.seen[before:])
            except AdapterError as error:
                # A limit of calls may stand before the second attempt; what counts is that nothing is sent.
                if not (attempt and isinstance(error, QuotaExceededError) and len(bench.seen) == before):
                    raise AssertionError(f"{name}: ConfigurationError; seen: {error!r}") from error
            else:
                raise AssertionError(f"{name}: ConfigurationError; seen: {reading!r}")


class Ear(logging.Handler):
    """Hears everything that is logged."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the message, what it was made of, and the traceback."""
        tail = "".join(traceback.format_exception(record.exc_info[1])) if record.exc_info else ""
        self.heard.append(f"{record.name} {record.getMessage()} {vars(record)!r} {tail}")


@contextlib.contextmanager
def listening() -> Iterator[Ear]:
    """Hear all that is logged meanwhile, by whomever, at every level."""
    ear, root, ours = Ear(), logging.getLogger(), logging.getLogger("adapters")
    levels = {logger: logger.level for logger in (root, ours)}
    for logger in levels:
        logger.setLevel(logging.DEBUG)
    root.addHandler(ear)
    try:
        yield ear
    finally:
        root.removeHandler(ear)
        for logger, level in levels.items():
            logger.setLevel(level)


def told(thing: object) -> str:
    """All that a log, a journal or a screen may show of a thing."""
    if isinstance(thing, BaseException):
        return f"{thing} {thing!r} {thing.args!r} {''.join(traceback.format_exception(thing))}"
    payload = json.dumps(dict(thing.payload), default=str) if isinstance(thing, Command) else ""
    return f"{thing} {thing!r} {payload}"


@case(Readable)
async def test_c41_secrets_are_never_told(bench: Bench) -> None:
    """No secret of account or session is in a log, an error, a repr or a command, whatever goes wrong."""
    things: list[object] = [bench.adapter]
    drives = isinstance(bench.adapter, Dispatchable) and bench.expected.drives is not False
    faults: list[Mapping[str, Any]] = [
        *({}, {"server_error_share": 1}, {"odd_json": True}, {"numbers_as": "n/a"}, {"lost_answers": 3}),
        *({"tokens_expired": True}, {"session_stolen": True}, {"rate_limited": True}),
    ]
    with listening() as ear:
        for fault in faults:
            bench.switch(**fault)
            await _collect(bench, bench.adapter, drives, things)
            bench.step(2 * bench.longest_cadence_s)
        bench.switch()
        for name, value in bench.secret_settings().items():
            adapter = bench.create(**{name: _wrong(value)})
            bench.secrets.add(_wrong(value))
            await _collect(bench, adapter, drives, things)
    bench.secrets |= set(bench.secret_settings().values())
    must(bool(bench.secrets), "the account has secrets; name their settings in Expected.secrets")
    texts = [
        *(told(thing) for thing in things),
        *ear.heard,
        json.dumps(bench.log.events),
        json.dumps(bench.cloud.state()),
    ]
    for text in texts:
        leaked = [secret for secret in bench.secrets if secret in text]
        must(not leaked, "no secret is told", text[:300] if leaked else "")


async def _collect(bench: Bench, adapter: Any, drives: bool, things: list[object]) -> None:
    for channel in Channel:
        try:
            things.append(await adapter.read(bench.device(), channel))
        except AdapterError as error:
            things.append(error)
            logging.getLogger("adapters.testing").exception("a read failed")
    if drives:
        command = adapter.translate(bench.intent(*first_drive(bench)), bench.device(), None)
        things += [command, adapter.release(bench.device()), await adapter.send(command)]
    things.append(adapter)
