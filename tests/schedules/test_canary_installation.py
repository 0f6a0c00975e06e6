"""No credential leaves the store's sealed columns while real workers use it: by no message, result, log or screen."""

from __future__ import annotations

import json
import secrets
from contextlib import ExitStack
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from redis import Redis
from sqlalchemy import func, make_url, select
from typer.testing import CliRunner

from adapters import registry
from adapters.testing.bench import SECRET_NAME
from console.cli import app
from schedules import halts
from schedules.accounts import put_account
from schedules.metrics import StoreCollector
from schedules.seal import Sealer, token_place
from schedules.sites import register_site
from schedules.store import AccountRow, CommandRow, CommandState, EventRow, JobRunRow, SiteRow, TokenRow
from tests.chaos.fleet import VENDORS, device_id, put_plans, site_name, site_of
from tests.chaos.installation import PROCESS, Installation
from tests.processes import wait_until
from tests.schedules.haystack import of_database, of_files, of_redis, of_tables, places_of, stream_of_redis
from tests.servers import Valkey

SEND = """
import json, sys
from schedules.tasks import app
for task, arguments, queue in json.loads(sys.argv[1]):
    app.tasks[f"schedules.tasks.{task}"].apply_async(arguments, queue=queue)
"""
SCREENS = (["status", "--json"], ["audit", "--json"], ["accounts", "list", "--json"])
PLANS_LAST_S = 120.0


class Watched:
    """An installation of which all is kept that others could read of it."""

    def __init__(self, installation: Installation, valkey: Path | None, password: str) -> None:
        self.installation = installation
        self.secrets = {password}
        self._valkey = valkey
        self._state = Path(installation.environment["TIDEWATT_STATE"])
        self.stream: list[bytes] = []
        """What the broker was told, where it can be heard."""
        self.seen: dict[str, dict[str, bytes]] = {"messages": {}}

    def add_account(self, name: str, vendor: str, settings: dict[str, object], sealer: Sealer) -> None:
        """One more account, with a site."""
        db, clock = self.installation.db, self.installation.clock
        put_account(db, sealer, clock, name, vendor, settings, "test")
        site = site_of(vendor, 0).model_copy(update={"name": f"home of {name}"})
        register_site(db, site, registry.build(vendor, settings, clock), vendor, device_id(vendor, 0), name)
        halts.arm(db, clock, name, "test")
        self.keep_secrets(settings)

    def keep_secrets(self, settings: dict[str, object]) -> None:
        self.secrets |= {str(value) for name, value in settings.items() if SECRET_NAME.search(name)}

    def keep_tokens(self) -> None:
        """What vendors gave out meanwhile."""
        sealer = self.installation.sealer
        with self.installation.db.session() as session:
            for row in session.scalars(select(TokenRow)):
                tokens = json.loads(sealer.open(row.sealed, token_place(row.account_id)))
                self.secrets |= {tokens["access"], tokens["refresh"]}

    def look_at_messages(self) -> None:
        """All that is on its way now."""
        moment = len(self.seen["messages"])
        found = of_files((self._state / "spool").rglob("*")) if self._valkey is None else self._keys(0)
        self.seen["messages"] |= {f"{moment} {place}": content for place, content in found.items()}

    def look_at_the_rest(self) -> None:
        installation = self.installation
        if self._valkey is not None:
            self.seen["stream"] = {"commands": b"\n".join(self.stream)}
        self.seen["results"] = of_files(self._state.glob("results.sqlite*")) if self._valkey is None else self._keys(1)
        self.seen["logs"] = of_files([installation.folder / "output.txt"])
        self.seen["tables"], self.seen["database"] = of_tables(installation.db), of_database(installation.db)
        figures = CollectorRegistry()
        figures.register(StoreCollector(installation.db, installation.clock))
        self.seen["metrics"] = {"text": generate_latest(figures)}
        for arguments in SCREENS:
            self.seen[" ".join(arguments)] = {"output": CliRunner().invoke(app, arguments).output.encode()}

    def _keys(self, database: int) -> dict[str, bytes]:
        with Redis(unix_socket_path=str(self._valkey), db=database) as client:
            return of_redis(client)


@pytest.fixture
def watched(store_url, tmp_path, monkeypatch):
    """All in files and SQLite; or PostgreSQL, whose address holds a password, and Valkey."""
    monkeypatch.setenv("TIDEWATT_LOG_LEVEL", "DEBUG")
    password, valkey, broker_url = secrets.token_urlsafe(16), None, ""
    folder = tmp_path / "installation"
    folder.mkdir()
    with ExitStack() as stack:
        if not store_url.startswith("sqlite"):
            server = Valkey(tmp_path)
            stack.callback(server.stop)
            valkey, broker_url = server.socket, server.url
            monkeypatch.setenv("TIDEWATT_RESULTS", f"redis+socket://{server.socket}?virtual_host=1")
            store_url = make_url(store_url).set(password=password).render_as_string(hide_password=False)
        installation = Installation(folder, store_url, broker_url)
        stack.callback(installation.end)
        # What is run within this process belongs to it, too.
        for name, value in installation.environment.items():
            monkeypatch.setenv(name, value)
        installation.open_vendors()
        found = Watched(installation, valkey, password)
        if valkey is not None:
            found.stream = stack.enter_context(stream_of_redis(valkey))
        yield found


def test_no_secret_leaves_the_sealed_columns_while_workers_use_it(watched):
    """Each place is looked through for a word that was put there, too: a search that finds nothing proves nothing."""
    installation, word = watched.installation, secrets.token_urlsafe(16)
    known = json.loads((installation.folder / "ready.json").read_text())
    for settings in known.values():
        watched.keep_secrets(settings)
    # What goes wrong is told more of: one that cannot be reached, is refused, was sealed with another key.
    unreachable = {**known["alphaess"], "base_url": "http://127.0.0.1:9", "password": secrets.token_urlsafe(16)}
    refused = {**known["xolta"], "client_secret": secrets.token_urlsafe(16)}
    watched.add_account(word, "alphaess", unreachable, installation.sealer)
    watched.add_account("refused", "xolta", refused, installation.sealer)
    watched.add_account("sealed", "alphaess", known["alphaess"], Sealer([secrets.token_bytes(32)]))
    put_plans(installation.db, installation.clock, 1, installation.clock(), PLANS_LAST_S)
    with installation.db.write() as session:
        session.add(EventRow(at=installation.clock(), kind=word, by="test", text=""))
        accounts = list(session.execute(select(AccountRow.id, AccountRow.adapter)))

    messages = [
        ("echo", [word], "safety"),
        ("run", [word], "safety"),  # there is no such job
        ("fan_out", ["dispatch"], "safety"),
        *(("run", ["reconcile", None, number], f"vendor-{vendor}") for number, vendor in accounts),
    ]
    installation.processes.start("-c", SEND, json.dumps(messages)).wait(60)
    watched.look_at_messages()
    installation.processes.start(str(PROCESS), "worker", "--name", "one", "--queues", "safety", "--concurrency", "1")
    wait_until(lambda: jobs(installation, "dispatch/all"), "accounts called up")
    watched.look_at_messages()
    queues = ",".join(f"vendor-{vendor}" for vendor in VENDORS)
    installation.processes.start(str(PROCESS), "worker", "--name", "two", "--queues", queues, "--concurrency", "2")
    wait_until(lambda: len(jobs(installation, "reconcile/")) == len(accounts), "all accounts reconciled")
    watched.look_at_messages()
    outcomes = jobs(installation, "reconcile/")
    assert sum(outcome.startswith("failed") or "failures" in outcome for outcome in outcomes) >= 3
    with installation.db.write() as session:
        accepted = CommandRow.state == CommandState.ACCEPTED
        assert session.scalar(select(func.count(CommandRow.id)).where(accepted)) > 0
        session.scalars(select(SiteRow).where(SiteRow.name == site_name("xolta", 0))).one().name = word
    watched.keep_tokens()
    watched.look_at_the_rest()

    assert len(watched.secrets) >= 8
    for what, places in watched.seen.items():
        assert places_of({word}, places), f"{what}: nothing would be found there"
        assert places_of(watched.secrets, places) == [], what


def jobs(installation: Installation, prefix: str) -> list[str]:
    """What came of the slots of some jobs that are done."""
    with installation.db.session() as session:
        done = JobRunRow.finished_at.is_not(None), JobRunRow.job.startswith(prefix)
        return list(session.scalars(select(JobRunRow.outcome).where(*done)))
