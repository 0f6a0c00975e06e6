"""What `tidewatt check` finds of keys and of what they seal."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.check import Finding, _accounts
from schedules import work
from schedules.accounts import put_account
from schedules.clock import RealClock
from schedules.seal import Sealer
from schedules.store import Database, TokenRow

SETTINGS = {"token_id": "canary-71b2", "upload_time_zone": "Europe/Copenhagen"}
CLOCK = RealClock()


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """An installation with two accounts without sites, so that no worker has opened either."""
    for name in ("TIDEWATT_KEY", "TIDEWATT_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIDEWATT_STATE", str(tmp_path))
    put_key(tmp_path, bytes(32))
    made = Database.at(tmp_path / "tidewatt.sqlite")
    monkeypatch.setattr(work, "database", lambda: made)
    for name in ("barn", "house"):
        put_account(made, Sealer.from_environment(), CLOCK, name, "solax", SETTINGS, "me")
    yield made
    made.close()


def put_key(folder: Path, key: bytes) -> None:
    path = folder / "key"
    path.write_bytes(base64.b64encode(key))
    path.chmod(0o600)


def found(db: Database) -> dict[str, Finding]:
    return {finding.what: finding for finding in _accounts(db, CLOCK)}


def test_a_key_that_opens_everything_is_well(db: Database) -> None:
    assert {what: finding.ok for what, finding in found(db).items()} == {
        "key": True,
        "account barn": True,
        "account house": True,
    }


def test_credentials_that_the_key_does_not_open_are_told_with_the_way_out(db: Database, tmp_path: Path) -> None:
    put_key(tmp_path, bytes(range(32)))
    put_account(db, Sealer.from_environment(), CLOCK, "house", "solax", SETTINGS, "me")
    now = found(db)
    assert now["account house"].ok
    assert not now["account barn"].ok
    assert "not in the ring" in now["account barn"].said
    assert now["account barn"].way_out == "add it behind the newest, or import the account again if it is lost"


def test_tokens_that_the_key_does_not_open_are_told_though_the_credentials_can_be(db: Database) -> None:
    with db.write() as session:
        session.add(TokenRow(account_id=2, sealed=bytes([1, *range(60)]), version=1))
    assert {what: finding.ok for what, finding in found(db).items()} == {
        "key": True,
        "account barn": True,
        "account house": False,
    }


def test_a_key_that_is_gone_is_told_once(db: Database, tmp_path: Path) -> None:
    (tmp_path / "key").unlink()
    (finding,) = found(db).values()
    assert (finding.what, finding.ok) == ("key", False)
    assert "tidewatt init" in finding.way_out
