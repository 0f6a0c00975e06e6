"""`tidewatt check`: what has to be there before batteries may be driven, looked at one by one."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator
from dataclasses import dataclass

from celery.exceptions import TimeoutError as NoResult
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from adapters import registry
from adapters.contract import AdapterError, Channel, Clock, ClockWatching
from engine.errors import InputError, TidewattError
from schedules import heartbeats, logs, tasks, work
from schedules.beat import DEFAULT, HEARTBEAT_S, queues
from schedules.connections import Connections
from schedules.seal import Sealer
from schedules.settings import Settings
from schedules.sites import WatchedSite
from schedules.store import AccountRow, Database, JobRunRow
from schedules.tokens import DatabaseTokenStore

READ_S = 30.0
ANSWER_S = 10.0
# AlphaESS refuses calls beyond five minutes; long before that plans are carried out at the wrong time [s].
LARGEST_OFFSET_S = 30.0
LATE_BEATS = 4


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    ok: bool
    said: str
    way_out: str = ""


def findings(clock: Clock) -> Iterator[Finding]:
    """Look at one thing after the other; where a thing is missing that others rest on, those are left out."""
    try:
        settings = Settings.from_environment()
        settings.make_folders()
    except InputError as error:
        yield Finding("settings", False, f"{error.field}: {error.problem}", error.way_out)
        return
    logs.register_secrets(settings.secrets)
    yield Finding("settings", True, f"state in {settings.state}")
    try:
        db = Database(settings.store_url)
    except InputError as error:
        yield Finding("store", False, error.problem, error.way_out)
        return
    except (SQLAlchemyError, OSError) as error:
        yield Finding("store", False, f"cannot be opened ({type(error).__name__})", "see that it runs; TIDEWATT_STORE")
        return
    try:
        yield _store(db, clock())
        yield _monotonic_clock(clock)
        yield _broker()
        yield from _queues(db, clock)
        yield from _accounts(db, clock)
    finally:
        db.close()


def _store(db: Database, now: dt.datetime) -> Finding:
    kind = db.engine.dialect.name
    try:
        # Taken back: it is the right to write that is asked for.
        with db.session() as session:
            session.add(JobRunRow(job="check", slot=now, worker="", started_at=now, seen_at=now))
            session.flush()
            session.rollback()
    except SQLAlchemyError as error:
        return Finding(
            "store", False, f"{kind}: cannot be written ({type(error).__name__})", "see its rights and space"
        )
    return Finding("store", True, f"{kind}, up to date, can be written")


def _monotonic_clock(clock: Clock) -> Finding:
    """Whether the clock runs as time does: one that is being stepped would end leases early or late."""
    begun, ticked = clock(), time.monotonic()
    time.sleep(0.5)
    drift_s = (clock() - begun).total_seconds() - (time.monotonic() - ticked)
    if abs(drift_s) > 0.1:
        return Finding("clock", False, f"moved {drift_s:+.1f} s in half a second", "let NTP settle it, then try again")
    return Finding("clock", True, "runs evenly")


def _broker() -> Finding:
    """A message there and back; it needs a worker that runs."""
    begun = time.monotonic()
    try:
        answer = tasks.echo.apply_async(("here",), queue=DEFAULT, expires=ANSWER_S)
        said = answer.get(timeout=ANSWER_S)
    except NoResult:
        return Finding(
            "broker", False, f"no answer in {ANSWER_S:g} s", "start a worker: tidewatt up, or tidewatt worker"
        )
    except Exception as error:
        # Whatever a broker's client raises; its words may hold the address.
        return Finding(
            "broker", False, f"cannot be reached ({type(error).__name__})", "see that it runs; TIDEWATT_BROKER"
        )
    return Finding("broker", said == "here", f"there and back in {time.monotonic() - begun:.1f} s")


def _queues(db: Database, clock: Clock) -> Iterator[Finding]:
    for queue in queues(registry.names()):
        newest = heartbeats.newest_heartbeat(db, [queue])
        age_s = None if newest is None else (clock() - newest).total_seconds()
        said = "no heartbeat yet" if age_s is None else f"heartbeat {age_s:.0f} s ago"
        ok = age_s is not None and age_s < LATE_BEATS * HEARTBEAT_S
        yield Finding(f"queue {queue}", ok, said, "" if ok else "see that beat and a worker of this queue run")


def _accounts(db: Database, clock: Clock) -> Iterator[Finding]:
    try:
        sealer = Sealer.from_environment()
    except TidewattError as error:
        yield _failed("key", error)
        return
    yield Finding("key", True, "can be read")
    with db.session() as session:
        accounts = session.scalars(select(AccountRow).order_by(AccountRow.name)).all()
    connections = Connections(db, work.open_adapter)
    for account in accounts:
        what = f"account {account.name}"
        try:
            # All that is sealed, whether anything needs it today or not.
            if account.sealed_settings is not None:
                work.open_adapter(account.id)
            asyncio.run(DatabaseTokenStore(db, sealer, clock, account.id).load())
            sites = connections.sites(account.id)
        except TidewattError as error:
            yield _failed(what, error)
            continue
        if not sites:
            yield Finding(what, True, "has no sites; nothing was asked")
            continue
        site = sites[0]
        try:
            connections.run(_read(site))
        except TimeoutError:
            yield Finding(
                what, False, f"no answer in {READ_S:g} s", "see the vendor's status and this machine's network"
            )
            continue
        except AdapterError as error:
            yield Finding(what, False, str(error), "correct its settings, or wait for the vendor")
            continue
        yield Finding(what, True, f"{site.site.name} was read; {'armed' if account.armed else 'not armed'}")
        if isinstance(site.adapter, ClockWatching) and (offset_s := site.adapter.clock_offset_s) is not None:
            ok = abs(offset_s) <= LARGEST_OFFSET_S
            yield Finding(
                f"clock by {account.name}", ok, f"{offset_s:+.0f} s", "" if ok else "let NTP set this machine's clock"
            )


def _failed(what: str, error: TidewattError) -> Finding:
    """An error that names its way out."""
    said, _, way_out = str(error).partition("; ")
    return Finding(what, False, said, way_out or "correct its settings")


async def _read(watched: WatchedSite) -> None:
    async with asyncio.timeout(READ_S):
        await watched.adapter.read(watched.device, Channel.POWER)
