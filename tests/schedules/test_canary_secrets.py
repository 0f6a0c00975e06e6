"""Whatever goes wrong, no credential and no token is in a log, a traceback, a repr, the tables or the store's bytes."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import logging
from dataclasses import dataclass, field

import pytest
import stamina
from sqlalchemy import text

from adapters.contract import Channel, ConfigurationError, Device, Dispatchable
from adapters.testing.bench import SECRET_NAME
from adapters.testing.cases.secrets import listening, told
from adapters.transport import Transport
from engine.intent import Intent, IntentMode
from schedules.accounts import open_account, put_account
from schedules.seal import Sealer, rotate
from schedules.store import Database
from tests.schedules.haystack import of_database, of_tables, places_of

LOG = logging.getLogger("schedules.canary")
VENDORS = ("alphaess", "huawei", "ingeteam", "solax", "xolta")
SESSION = ("_access", "_refresh", "_session", "_tokens")


def strings_in(thing: object) -> set[str]:
    if isinstance(thing, str):
        return {thing}
    if isinstance(thing, dict):
        return set().union(*(strings_in(key) | strings_in(value) for key, value in thing.items()))
    if isinstance(thing, list | tuple | set):
        return set().union(*map(strings_in, thing))
    return set()


@dataclass
class Witness:
    """Does everything with an account, whatever comes of it, and keeps all that can be seen of it."""

    db: Database
    sealer: Sealer
    vendor: object
    device: Device
    account_id: int
    canaries: set[str]
    seen: list[str] = field(default_factory=list)
    failures: int = 0

    async def use(self) -> None:
        with self.noting():
            adapter = open_account(self.db, self.sealer, self.vendor.clock.now, self.account_id)
            self.seen += [told(adapter), repr(vars(adapter))]
            for channel in Channel:
                with self.noting():
                    self.seen.append(told(await adapter.read(self.device, channel)))
            if isinstance(adapter, Dispatchable):
                now = self.vendor.clock.now()
                intent = Intent(IntentMode.CHARGE, 1.0, now, now + dt.timedelta(minutes=30))
                with self.noting():
                    self.seen.append(told(await adapter.send(adapter.translate(intent, self.device, None))))
                with self.noting():
                    self.seen.append(told(await adapter.send(adapter.release(self.device))))
            await adapter.close()
        for name in SESSION:
            self.canaries |= strings_in(getattr(self.vendor.cloud, name, None))
        self.vendor.after(3600)  # tokens are over, so that the next use renews them

    @contextlib.contextmanager
    def noting(self):
        try:
            yield
        except Exception as error:
            self.failures += 1
            self.seen.append(told(error))
            LOG.exception("what was asked failed")

    def leaks(self, texts: list[str]) -> list[str]:
        return places_of(self.canaries, {shown[:200]: shown.encode() for shown in texts})

    def leaks_in_store(self) -> tuple[list[str], list[str]]:
        """Which tables hold any of them, and which files of the database."""
        return places_of(self.canaries, of_tables(self.db)), places_of(self.canaries, of_database(self.db))


@pytest.fixture(params=VENDORS)
def witness(request, serve_vendor, sealer, site, store):
    stamina.set_testing(True)
    vendor = serve_vendor(request.param)
    settings = vendor.settings
    account_id = put_account(store, sealer, vendor.clock.now, "home", vendor.vendor, settings, "ann")
    canaries = {value for name, value in settings.items() if isinstance(value, str) and SECRET_NAME.search(name)}
    assert canaries, "each vendor's account has something secret"
    yield Witness(store, sealer, vendor, Device("NE=1", site.battery), account_id, canaries)
    stamina.set_testing(False)


async def goes_wrong_everywhere(witness: Witness, monkeypatch) -> None:
    use = witness.use
    await use()
    for fault in ("server_error_share", "odd_json", "tokens_expired", "session_stolen", "rate_limited"):
        faults = witness.vendor.faults
        faults.switch(type(faults.now)(**{fault: 1}))
        await use()
        faults.switch(type(faults.now)())
    tell = Transport.tell

    async def answers_and_breaks(transport, request):
        await tell(transport, request)
        raise RuntimeError("forced")

    async def breaks(*_):
        raise RuntimeError("forced")

    for broken in (answers_and_breaks, breaks):
        monkeypatch.setattr(Transport, "tell", broken)
        await use()
    monkeypatch.undo()
    for table in ("token", "quota_call", "account"):
        await with_table_gone(witness, table)
    sealer, witness.sealer = witness.sealer, Sealer([b"x" * 32])
    await use()
    with witness.noting():
        rotate(witness.db, witness.sealer)
    witness.sealer = sealer
    with witness.noting():
        wrong = {**witness.vendor.settings, "unknown": sorted(witness.canaries)[0]}
        put_account(witness.db, sealer, witness.vendor.clock.now, "home", witness.vendor.vendor, wrong, "ann")
    await use()


async def with_table_gone(witness: Witness, table: str) -> None:
    with witness.db.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE {table} RENAME TO gone"))
    await witness.use()
    with witness.db.engine.begin() as connection:
        connection.execute(text(f"ALTER TABLE gone RENAME TO {table}"))


def test_no_secret_is_seen_anywhere(witness, monkeypatch):
    with listening() as ear:
        asyncio.run(goes_wrong_everywhere(witness, monkeypatch))
    assert witness.failures >= 8, "things did go wrong"
    if witness.vendor.vendor in ("huawei", "xolta"):
        assert len(witness.canaries) > len(witness.vendor.settings), "tokens of many renewals are looked for too"
    assert len(ear.heard) >= witness.failures
    assert witness.leaks(witness.seen) == []
    assert witness.leaks(ear.heard) == []
    assert witness.leaks_in_store() == ([], [])


def test_a_store_that_does_not_seal_is_noticed(witness, monkeypatch):
    """The guard removed: what is looked for is what would be there."""
    monkeypatch.setattr(Sealer, "seal", lambda _, plain, _place: plain)
    put_account(
        witness.db, witness.sealer, witness.vendor.clock.now, "home", witness.vendor.vendor, witness.vendor.settings, ""
    )
    tables, files = witness.leaks_in_store()
    assert tables == ["account"]
    assert files != []
    with pytest.raises(ConfigurationError):
        open_account(witness.db, witness.sealer, witness.vendor.clock.now, witness.account_id)
