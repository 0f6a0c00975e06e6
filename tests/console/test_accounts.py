"""Files of accounts: every shape that is meant, and every fault told by its field, never by its value."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import yaml

from adapters import registry
from console.accounts import open_adapter, read_accounts
from engine.errors import InputError

CANARY = "zwitscher-123"
SOLAX = {"adapter": "solax", "account": {"token_id": CANARY}, "device_ids": ["SR1", "SR2"]}
EMULATED = {**SOLAX, "device_id": "SR1", "clock_factor": 1.0, "pid": 7, "day": "2024-04-10", "seed": 1}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "accounts.yaml"


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(SOLAX),
        json.dumps([SOLAX]),
        json.dumps({"accounts": [SOLAX]}, indent=2),
        json.dumps(SOLAX) + "\n",
        yaml.safe_dump(SOLAX),
        yaml.safe_dump([SOLAX]),
        yaml.safe_dump({"accounts": [SOLAX]}),
        "\ufeff" + yaml.safe_dump([SOLAX]),
    ],
)
def test_one_account_in_any_shape(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")

    (account,) = read_accounts(path)

    assert (account.adapter, account.label, account.devices) == ("solax", "solax", ["SR1", "SR2"])
    assert account.account == {"token_id": CANARY}
    assert not account.is_emulated
    assert CANARY not in repr(account) + str(account)


def test_an_emulators_ready_file_as_it_is(path: Path) -> None:
    path.write_text("".join(json.dumps({**EMULATED, "clock_factor": factor}) + "\n" for factor in (1.0, 60, None)))

    accounts = read_accounts(path)

    assert [account.clock_factor for account in accounts] == [1.0, 60.0, None]
    assert all(account.is_emulated for account in accounts)
    assert accounts[0].devices == ["SR1", "SR2"]


@pytest.mark.parametrize(
    ("content", "field"),
    [
        ({"account": {"token_id": CANARY}}, "account 1: adapter"),
        ({"adapter": "solax"}, "account 1: account"),
        ([SOLAX, {**SOLAX, "devices": [CANARY]}], "account 2: devices"),
        ({**SOLAX, "token_id": CANARY}, "account 1: token_id"),
        ({**SOLAX, "account": CANARY}, "account 1: account"),
        ({**SOLAX, "account": [CANARY]}, "account 1: account"),
        ({**SOLAX, "adapter": {"solax": CANARY}}, "account 1: adapter"),
        ({**SOLAX, "device_ids": CANARY}, "account 1: device_ids"),
        ({**SOLAX, "device_ids": [7]}, "account 1: device_ids.0"),
        ({**SOLAX, "device_ids": ["SR1", " "]}, "account 1: device_id"),
        ({**SOLAX, "clock_factor": CANARY}, "account 1: clock_factor"),
        ({**SOLAX, "clock_factor": -1}, "account 1: clock_factor"),
        ({"accounts": [SOLAX], "pasword": CANARY}, "pasword"),
        ([CANARY], "account 1"),
        (CANARY, "accounts.yaml"),
        ([], "accounts.yaml"),
        ({"accounts": []}, "accounts.yaml"),
        ({"accounts": {}}, "account 1"),
    ],
)
@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump], ids=["json", "yaml"])
def test_a_fault_is_told_by_its_field_without_its_value(path: Path, write: object, content: object, field: str) -> None:
    path.write_text(write(content))

    with pytest.raises(InputError) as caught:
        read_accounts(path)

    assert field in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value)
    assert caught.value.__cause__ is None
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        f"adapter: solax\naccount: {{token_id: {CANARY}",
        f"adapter: solax\nadapter: {CANARY}\naccount: {{}}",
        f"- token: [{CANARY}",
        f"adapter: 2024-13-45\naccount: {{token_id: {CANARY}}}\n",
        f"&a !!python/object:x {CANARY}",
        f'{{"adapter": "solax", "account": {{"token_id": "{CANARY}"}}',
        "",
        "[" * 100_000,
    ],
)
def test_broken_syntax_is_told_without_the_text(path: Path, text: str) -> None:
    path.write_text(text)

    with pytest.raises(InputError) as caught:
        read_accounts(path)

    assert CANARY not in str(caught.value) + repr(caught.value)


def test_a_file_that_is_not_there_is_told_by_its_path(path: Path) -> None:
    with pytest.raises(InputError, match=r"accounts\.yaml: cannot be read"):
        read_accounts(path)


@pytest.mark.parametrize(
    ("entry", "field"),
    [
        ({**SOLAX, "adapter": "acme"}, "account 3: adapter"),
        ({**SOLAX, "account": {}}, "token_id"),
        ({**SOLAX, "account": {"token": CANARY}}, "token"),
        ({**SOLAX, "account": {"token_id": CANARY, "base_url": f"http://{CANARY}.example"}}, "base_url"),
        ({**SOLAX, "account": {"token_id": CANARY, "poll_s": CANARY}}, "poll_s"),
        ({**SOLAX, "adapter": "alphaess", "account": {"password": CANARY}}, "api_secret"),
    ],
)
def test_settings_that_the_adapter_refuses_are_told_by_their_names(path: Path, entry: object, field: str) -> None:
    path.write_text(json.dumps(entry))
    (account,) = read_accounts(path)

    with pytest.raises(InputError) as caught:
        open_adapter(path, 3, account, lambda: dt.datetime(2024, 5, 1, tzinfo=dt.UTC))

    assert "accounts.yaml: account 3" in str(caught.value)
    assert field in str(caught.value)
    assert CANARY not in str(caught.value) + repr(caught.value)


def rotating(settings: object, _clock: object, store: object = None) -> object:
    """A factory whose adapter's tokens change with their use."""
    return settings, store


@pytest.mark.parametrize(
    ("more", "file"),
    [
        ({}, "accounts.yaml.solax.tokens"),
        ({"name": "../Bjørn's barn"}, "accounts.yaml.___Bjørn_s_barn.tokens"),
        ({"token_file": "mine.tokens"}, "mine.tokens"),
        ({"token_file": "/run/tidewatt/mine"}, "/run/tidewatt/mine"),
    ],
)
def test_tokens_that_change_are_kept_beside_the_accounts(
    path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, str], file: str
) -> None:
    monkeypatch.setattr(registry, "factory", lambda _: rotating)
    path.write_text(json.dumps({**SOLAX, **more}))
    (account,) = read_accounts(path)

    settings, store = open_adapter(path, 1, account, lambda: None)

    assert settings == account.account
    assert store._path == path.parent / file


def test_two_accounts_never_share_a_file_of_tokens(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With another owner's tokens an account would drive another owner's plants."""
    path.write_text(json.dumps([SOLAX, SOLAX]))
    assert len(read_accounts(path)) == 2, "adapters without such tokens may come twice"
    monkeypatch.setattr(registry, "factory", lambda _: rotating)

    with pytest.raises(InputError, match="account 2: name"):
        read_accounts(path)
    path.write_text(json.dumps([{**SOLAX, "name": "a b"}, {**SOLAX, "name": "a_b"}]))
    with pytest.raises(InputError, match="account 2: name"):
        read_accounts(path)
    path.write_text(json.dumps([{**SOLAX, "name": "a"}, {**SOLAX, "name": "b"}]))
    assert len(read_accounts(path)) == 2
