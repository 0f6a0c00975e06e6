"""The processes of a running installation: workers, beat, and one that looks after them on a single machine."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from functools import partial

from celery import signals
from filelock import FileLock, Timeout
from sqlalchemy import select

from adapters import registry
from adapters.contract import Clock
from console.supervisor import LOOK_EVERY_S, Child, Supervisor
from engine.errors import InputError, TidewattError
from schedules import export_limits, halts, journal, logs, work
from schedules.beat import DEFAULT, PLAN, SAFETY, queues, vendor_queue
from schedules.celery_app import SOFT_SHUTDOWN_S, app
from schedules.clock import RealClock
from schedules.connections import Connections
from schedules.heartbeats import newest_heartbeat
from schedules.settings import Settings
from schedules.sites import ControlledSite
from schedules.store import AccountRow, Database

# Ten heartbeats, and longer than any task takes [s].
IDLE_AFTER_S = 150.0
RELEASED_WITHIN_S = 60.0


def run_worker(wanted: Sequence[str] | None, concurrency: int, name: str) -> None:
    """Do the work of some queues in this process and its children, until SIGTERM.

    Raises:
        InputError: There is no such queue, or the environment is wrong.
    """
    known = queues(registry.names())
    for queue in wanted or ():
        if queue not in known:
            raise InputError("queues", f"there is no {queue!r}", f"choose of {', '.join(known)}")
    settings = _begin_logging()
    # Gossip and mingling bring nothing here, and after a broker's restart have left workers that hear nothing.
    options = ["--without-gossip", "--without-mingle", "-Q", ",".join(wanted or known), "-c", str(concurrency)]
    app.start(["-q", "worker", *options, "-n", f"{name}@%h", "-l", settings.log_level])


def run_beat() -> None:
    """Ring for what is due, until SIGTERM.

    Raises:
        InputError: The environment is wrong.
    """
    settings = _begin_logging()
    app.start(["-q", "beat", "-l", settings.log_level])


def run_all(concurrency: int, release_on_stop: bool) -> None:
    """Run workers and beat as children until SIGTERM or Ctrl-C.

    Raises:
        InputError: The environment is wrong.
        TidewattError: It runs already with this folder.
    """
    settings = Settings.from_environment()
    settings.make_folders()
    logs.register_secrets(settings.secrets)
    lock = FileLock(settings.state / "up.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise TidewattError(f"up: it runs already with {settings.state}; stop that, or set TIDEWATT_STATE") from None
    with lock:
        # Once, before many open it.
        db = Database(settings.store_url)
        clock = RealClock()
        supervisor = Supervisor(_children(db, clock, concurrency), _say, SOFT_SHUTDOWN_S + 15)
        try:
            supervisor.run()
            _say("up: stopping")
            if release_on_stop:
                _let_go(db, clock)
        finally:
            supervisor.end()
            db.close()


def _children(db: Database, clock: Clock, concurrency: int) -> list[Child]:
    vendors = [vendor_queue(name) for name in registry.names()]
    workers = {
        "safety": ([SAFETY], 1),
        "vendors": ([*vendors, DEFAULT], concurrency),
        "plan": ([PLAN], 1),
    }
    found = [Child("beat", _command("beat"), partial(_is_idle, db, clock, queues(registry.names())))]
    for name, (names, at_once) in workers.items():
        command = _command("worker", "--name", name, "--queues", ",".join(names), "--concurrency", str(at_once))
        found.append(Child(name, command, partial(_is_idle, db, clock, names)))
    return found


def _is_idle(db: Database, clock: Clock, names: Sequence[str], since_s: float) -> bool:
    """Whether no message of some queues was done for long; a process that lives may have stopped to hear any."""
    if since_s < IDLE_AFTER_S:
        return False
    try:
        newest = newest_heartbeat(db, names)
    except Exception:
        # The store is away: nobody can do anything, and starting again would not mend it.
        return False
    return newest is None or (clock() - newest).total_seconds() > IDLE_AFTER_S


def _let_go(db: Database, clock: Clock) -> None:
    """Disarm all accounts, and wait until the workers have released what is driven."""
    with db.session() as session:
        accounts = session.execute(select(AccountRow.id, AccountRow.name).where(AccountRow.armed)).all()
    for _, name in accounts:
        halts.disarm(db, clock, name, "up --release-on-stop")
    connections = Connections(db, work.open_adapter)
    sites: list[ControlledSite] = []
    for number, name in accounts:
        try:
            sites += [site for site in connections.sites(number) if isinstance(site, ControlledSite)]
        except TidewattError as error:
            # Its workers cannot open it either; the batteries of the others are still to be let go of.
            _say(f"up: {name}: {error}")
    deadline = time.monotonic() + RELEASED_WITHIN_S
    while driven := _driven(db, clock, sites):
        if time.monotonic() > deadline:
            _say(f"up: not released within {RELEASED_WITHIN_S:g} s: {', '.join(driven)}; see: tidewatt status")
            return
        time.sleep(LOOK_EVERY_S)
    _say(f"up: {len(sites)} batteries are let go of; arm their accounts again to go on")


def _driven(db: Database, clock: Clock, sites: Sequence[ControlledSite]) -> list[str]:
    now = clock()
    with db.session() as session:
        found = journal.standings(session, [site.id for site in sites], now)
        return [
            site.site.name
            for site in sites
            # A limit that outlasts the workers would keep PV curtailed until somebody notices.
            if found[site.id].drives(site.adapter.abilities, now) or export_limits.may_be_in_force(session, site.id)
        ]


def _command(*arguments: str) -> list[str]:
    # -P: a folder called console in the working directory is not ours.
    return [sys.executable, "-P", "-m", "console", *arguments]


def _begin_logging() -> Settings:
    settings = Settings.from_environment()
    logs.register_secrets(settings.secrets)
    signals.setup_logging.connect(lambda **_: logs.log_to_stderr(settings.log_level), weak=False)
    return settings


def _say(line: str) -> None:
    print(logs.redacted(line), file=sys.stderr, flush=True)
