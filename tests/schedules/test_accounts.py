"""Accounts in the store: sealed, disarmed, listed without secrets, removed only when nothing hangs on them."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from adapters.contract import ConfigurationError, Readable
from engine.errors import InputError
from schedules.accounts import accounts, open_account, put_account, remove_account
from schedules.quota_ledger import DatabaseLedger
from schedules.seal import Sealer
from schedules.store import AccountRow, EventRow, QuotaCallRow, SiteRow, TokenRow
from schedules.tokens import DatabaseTokenStore
from tests.schedules.bench import T0

CANARY = "canary-7a21"
SOLAX = {"token_id": CANARY, "upload_time_zone": "Europe/Copenhagen"}


@pytest.fixture
def put(store, sealer, clock):
    def put_solax(name="barn", adapter="solax", settings=SOLAX):
        return put_account(store, sealer, clock, name, adapter, settings, "ann")

    return put_solax


def rows(store, table):
    with store.session() as session:
        return session.scalars(select(table)).all()


def test_a_new_account_is_sealed_disarmed_and_on_record(store, put):
    number = put()
    (row,) = rows(store, AccountRow)
    assert (row.id, row.name, row.adapter, row.armed) == (number, "barn", "solax", False)
    assert CANARY.encode() not in row.sealed_settings
    (event,) = rows(store, EventRow)
    assert (event.kind, event.by, event.account_id, event.text) == ("account.added", "ann", number, "barn")


def test_an_account_is_opened_with_its_settings_tokens_and_ledger(store, sealer, clock, put, monkeypatch):
    number = put()
    seen = {}

    def create(settings, clock, store, ledger):
        seen.update(settings=settings, clock=clock, store=store, ledger=ledger)
        return "an adapter"

    monkeypatch.setattr("adapters.registry.factory", lambda _: create)
    assert open_account(store, sealer, clock, number) == "an adapter"
    assert (seen["settings"], seen["clock"]) == (SOLAX, clock)
    assert isinstance(seen["store"], DatabaseTokenStore)
    assert isinstance(seen["ledger"], DatabaseLedger)


@pytest.mark.parametrize("vendor", ["alphaess", "huawei", "ingeteam", "solax", "xolta"])
def test_every_vendors_account_opens(store, sealer, serve_vendor, vendor):
    served = serve_vendor(vendor)
    number = put_account(store, sealer, served.clock.now, "home", vendor, served.settings, "ann")
    assert isinstance(open_account(store, sealer, served.clock.now, number), Readable)


def test_changed_settings_leave_the_account_armed_and_its_tokens_there(store, put):
    number = put()
    with store.session() as session, session.begin():
        session.execute(update(AccountRow).values(armed=True))
        session.add(TokenRow(account_id=number, sealed=b"x", version=1))
    assert put(settings={**SOLAX, "token_id": "another"}) == number
    assert [(row.name, row.armed, row.has_tokens) for row in accounts(store)] == [("barn", True, True)]
    assert [event.kind for event in rows(store, EventRow)] == ["account.added", "account.changed"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"adapter": "solaxx"}, "'solaxx' is not installed"),
        ({"settings": {**SOLAX, "pasword": CANARY}}, "pasword"),
        ({"settings": {"upload_time_zone": CANARY}}, "token_id"),
        ({"adapter": "xolta", "settings": {"authority": "/x", "client_secret": CANARY}}, "client_id"),
    ],
)
def test_settings_that_an_adapter_refuses_are_not_stored_and_not_shown(store, put, change, words):
    with pytest.raises(ConfigurationError, match=words) as fault:
        put(**change)
    assert CANARY not in str(fault.value)
    assert rows(store, AccountRow) == []


def test_a_name_stays_with_its_adapter(store, put):
    put()
    before = rows(store, AccountRow)[0].sealed_settings
    with pytest.raises(InputError, match="account barn: is one of solax, not of alphaess"):
        put(
            adapter="alphaess",
            settings={"base_url": "https://x.example", "username": "u", "password": "p", "api_account": "a",
                      "api_secret": "0123456789abcdef0123456789abcdef"},
        )  # fmt: skip
    assert rows(store, AccountRow)[0].sealed_settings == before


def test_a_blob_moved_to_another_account_does_not_open(store, sealer, clock, put):
    rich, poor = put("rich"), put("poor")
    with store.session() as session, session.begin():
        blob = session.get(AccountRow, rich).sealed_settings
        session.get(AccountRow, poor).sealed_settings = blob
    open_account(store, sealer, clock, rich)
    with pytest.raises(ConfigurationError, match=f"account/{poor}: was changed, or belongs to another row"):
        open_account(store, sealer, clock, poor)


def test_an_account_without_settings_or_key_is_not_opened(store, sealer, clock, put):
    number = put()
    with pytest.raises(ConfigurationError, match="has no settings"):
        open_account(store, sealer, clock, number + 1)
    with pytest.raises(ConfigurationError, match="not in the ring"):
        open_account(store, Sealer([b"x" * 32]), clock, number)


def test_the_list_names_sites_and_hides_settings(store, put):
    number = put()
    put("attic")
    with store.session() as session, session.begin():
        for name in ("one", "two"):
            session.add(SiteRow(name=name, assets={}, adapter="solax", device_id=name, account_id=number))
    listed = accounts(store)
    assert [(row.name, row.sites, row.has_tokens) for row in listed] == [("attic", 0, False), ("barn", 2, False)]
    assert CANARY not in repr(listed)


def test_an_account_that_sites_hang_on_is_not_removed(store, put, clock):
    number = put()
    with store.session() as session, session.begin():
        session.add(SiteRow(name="home", assets={}, adapter="solax", device_id="S", account_id=number))
    with pytest.raises(InputError, match="account barn: is the one of home"):
        remove_account(store, clock, "barn", "ann")
    assert len(rows(store, AccountRow)) == 1


def test_a_removed_account_leaves_nothing_but_its_events(store, put, clock):
    number = put()
    put("attic")
    with store.session() as session, session.begin():
        session.add(TokenRow(account_id=number, sealed=b"x", version=1))
        session.add(QuotaCallRow(account_id=number, kind="read", made_at=T0))
    remove_account(store, clock, "barn", "bob")
    assert [row.name for row in accounts(store)] == ["attic"]
    assert rows(store, TokenRow) == rows(store, QuotaCallRow) == []
    kinds = [(event.kind, event.text, event.by) for event in rows(store, EventRow) if event.text == "barn"]
    assert kinds == [("account.added", "barn", "ann"), ("account.removed", "barn", "bob")]
    with pytest.raises(InputError, match="is not in the store"):
        remove_account(store, clock, "barn", "bob")
