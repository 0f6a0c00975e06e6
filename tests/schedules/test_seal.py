"""Sealed blobs open with the ring's keys, in their own place, unchanged; rotation is all or nothing."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select

from adapters.contract import ConfigurationError
from schedules.seal import Sealer, rotate, settings_place, token_place
from schedules.store import AccountRow, TokenRow

OLD, NEW = b"o" * 32, b"n" * 32
CANARY = b"canary-5f1e"


def text_of(*keys: bytes) -> str:
    return " ".join(base64.b64encode(key).decode() for key in keys)


@pytest.fixture
def key_file(tmp_path):
    path = tmp_path / "keys"
    path.write_text(text_of(NEW).replace(" ", "\n") + "\n")
    path.chmod(0o600)
    return path


@given(st.binary(max_size=200))
def test_what_was_sealed_opens_as_it_was_and_does_not_show(plain):
    sealed = Sealer([NEW]).seal(plain, "account/1")
    assert Sealer([NEW]).open(sealed, "account/1") == plain
    assert len(plain) < 8 or plain not in sealed


def test_the_same_is_sealed_differently_each_time():
    assert Sealer([NEW]).seal(CANARY, "a") != Sealer([NEW]).seal(CANARY, "a")


def test_a_ring_seals_with_the_first_key_and_opens_with_any():
    old = Sealer([OLD]).seal(CANARY, "a")
    ring = Sealer([NEW, OLD])
    assert ring.open(old, "a") == CANARY
    assert Sealer([NEW]).open(ring.seal(CANARY, "a"), "a") == CANARY
    with pytest.raises(ConfigurationError, match="a: sealed with a key that is not in the ring"):
        Sealer([NEW]).open(old, "a")


def test_a_blob_opens_in_its_own_place_only():
    sealed = Sealer([NEW]).seal(CANARY, settings_place(1))
    for place in (settings_place(2), token_place(1)):
        with pytest.raises(ConfigurationError, match="was changed, or belongs to another row"):
            Sealer([NEW]).open(sealed, place)


@given(st.data())
def test_a_blob_with_any_bit_changed_or_bytes_cut_off_does_not_open(data):
    sealed = Sealer([NEW]).seal(CANARY, "a")
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    changed = bytearray(sealed)
    changed[bit // 8] ^= 1 << bit % 8
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    for broken in (bytes(changed), cut):
        with pytest.raises(ConfigurationError) as fault:
            Sealer([NEW]).open(broken, "a")
        assert CANARY.decode() not in str(fault.value)


def test_keys_come_from_the_environment_or_a_private_file(key_file):
    sealed = Sealer([NEW]).seal(CANARY, "a")
    assert Sealer.from_environment({"TIDEWATT_KEY": text_of(NEW)}).open(sealed, "a") == CANARY
    assert Sealer.from_environment({"TIDEWATT_KEY": text_of(OLD, NEW)}).open(sealed, "a") == CANARY
    assert Sealer.from_environment({"TIDEWATT_KEY_FILE": str(key_file)}).open(sealed, "a") == CANARY


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_key_file_that_others_may_use_is_refused(key_file, mode):
    key_file.chmod(mode)
    with pytest.raises(ConfigurationError, match="keys: others may use this key; chmod it to 600"):
        Sealer.from_environment({"TIDEWATT_KEY_FILE": str(key_file)})


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TIDEWATT_STATE": "/nowhere"}, "none is set, and there is no /nowhere/key; make one with `tidewatt init`"),
        ({"TIDEWATT_KEY": text_of(NEW), "TIDEWATT_KEY_FILE": "x"}, "both are set"),
        ({"TIDEWATT_KEY": "canary-no-base64"}, "TIDEWATT_KEY: holds no base64"),
        ({"TIDEWATT_KEY": base64.b64encode(b"canary").decode()}, "TIDEWATT_KEY: holds no base64 of 32 bytes"),
        ({"TIDEWATT_KEY": f"{text_of(NEW)} canary"}, "TIDEWATT_KEY: holds no base64"),
        ({"TIDEWATT_KEY": " "}, "one at least is needed"),
        ({"TIDEWATT_KEY_FILE": "/nowhere/keys"}, "keys: cannot be read"),
    ],
)
def test_what_is_wrong_with_keys_is_told_without_them(environment, words):
    with pytest.raises(ConfigurationError, match=words) as fault:
        Sealer.from_environment(environment)
    assert "canary" not in str(fault.value)
    assert text_of(NEW) not in str(fault.value)


def test_neither_key_nor_ring_shows_in_the_repr():
    shown = repr(Sealer([NEW])) + str(Sealer([NEW]))
    assert not any(key in shown for key in ("nnnn", text_of(NEW)[:8], NEW.hex()[:8]))


def two_accounts(store, sealer: Sealer) -> None:
    with store.session() as session, session.begin():
        for number in (1, 2):
            place = settings_place(number)
            account = AccountRow(name=str(number), adapter="huawei", sealed_settings=sealer.seal(CANARY, place))
            session.add(account)
        session.add(AccountRow(name="opened by a program", adapter="huawei"))
        session.flush()
        session.add(TokenRow(account_id=2, sealed=sealer.seal(CANARY, token_place(2)), version=7))


def blobs(store) -> dict[str, bytes]:
    with store.session() as session:
        accounts = session.scalars(select(AccountRow).where(AccountRow.sealed_settings.is_not(None)))
        found = {settings_place(row.id): row.sealed_settings for row in accounts}
        return found | {token_place(row.account_id): row.sealed for row in session.scalars(select(TokenRow))}


def test_after_rotation_the_newest_key_opens_everything(store):
    two_accounts(store, Sealer([OLD]))
    assert rotate(store, Sealer([NEW, OLD])) == 3
    alone = Sealer([NEW])
    assert {place: alone.open(sealed, place) for place, sealed in blobs(store).items()} == dict.fromkeys(
        (settings_place(1), settings_place(2), token_place(2)), CANARY
    )
    with store.session() as session:
        assert session.scalars(select(TokenRow.version)).all() == [7], "whoever refreshes meanwhile is not thrown out"


def test_a_rotation_that_cannot_open_one_changes_nothing(store):
    two_accounts(store, Sealer([OLD]))
    with store.session() as session, session.begin():
        session.get(TokenRow, 2).sealed = Sealer([b"x" * 32]).seal(CANARY, token_place(2))
    before = blobs(store)
    with pytest.raises(ConfigurationError, match="token/2: sealed with a key that is not in the ring"):
        rotate(store, Sealer([NEW, OLD]))
    assert blobs(store) == before
