"""`tidewatt accounts`: files of accounts go into the store sealed, and nothing secret comes out on the screen."""

from __future__ import annotations

import asyncio
import base64
import datetime as dt
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from pydantic import SecretStr

from adapters.token_file import FileTokenStore
from adapters.tokens import Tokens

OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))
CANARY = "canary-4c0d"
SOLAX = {"adapter": "solax", "name": "barn", "account": {"token_id": CANARY, "upload_time_zone": "Europe/Copenhagen"}}
HUAWEI = {
    "adapter": "huawei",
    "account": {
        "access": "oauth",
        "base_url": "https://x.example",
        "client_id": "us",
        "client_secret": CANARY,
        "redirect_url": "https://us.example",
    },
}

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    tmp_path.chmod(0o700)

    def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "console", "accounts", *arguments],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "TIDEWATT_KEY": OLD,
                "TIDEWATT_STORE": f"sqlite:///{tmp_path}/store.sqlite",
                **environment,
            },
        )

    return command


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps([SOLAX, HUAWEI]))
    return path


def test_accounts_are_imported_listed_and_removed(run: Run, file: Path, tmp_path: Path) -> None:
    done = run("import", str(file))
    assert (done.returncode, done.stderr) == (0, "accounts: imported barn, huawei\n")
    listed = json.loads(run("list", "--json").stdout)
    assert [(row["name"], row["adapter"], row["armed"], row["sites"]) for row in listed] == [
        ("barn", "solax", False, 0),
        ("huawei", "huawei", False, 0),
    ]
    assert "barn" in run("list").stdout
    assert run("remove", "barn").returncode == 0
    assert [row["name"] for row in json.loads(run("list", "--json").stdout)] == ["huawei"]
    again = run("remove", "barn")
    assert (again.returncode, again.stderr) == (
        2,
        "tidewatt: account barn: is not in the store; see `tidewatt accounts list`\n",
    )
    assert CANARY.encode() not in (tmp_path / "store.sqlite").read_bytes()


def test_tokens_beside_the_file_move_into_the_store(run: Run, file: Path) -> None:
    beside = file.parent / "accounts.json.huawei.tokens"
    tokens = Tokens(SecretStr(CANARY), SecretStr(CANARY), dt.datetime(2024, 4, 10, tzinfo=dt.UTC))
    asyncio.run(FileTokenStore(beside).save(tokens))
    done = run("import", str(file))
    assert "accounts: huawei: tokens moved from accounts.json.huawei.tokens into the store" in done.stderr
    assert not beside.exists()
    assert [row["has_tokens"] for row in json.loads(run("list", "--json").stdout)] == [False, True]
    assert run("import", str(file)).returncode == 0
    assert [row["has_tokens"] for row in json.loads(run("list", "--json").stdout)] == [False, True]


def test_the_key_is_changed(run: Run, file: Path, tmp_path: Path) -> None:
    run("import", str(file))
    refused = run("rotate-key", TIDEWATT_KEY=NEW)
    assert (refused.returncode, "not in the ring" in refused.stderr) == (1, True)
    changed = run("rotate-key", TIDEWATT_KEY=f"{NEW} {OLD}")
    assert (changed.returncode, changed.stderr) == (0, "accounts: 2 sealed anew; the older keys may go\n")
    assert run("rotate-key", TIDEWATT_KEY=NEW).returncode == 0
    with closing(sqlite3.connect(tmp_path / "store.sqlite")) as store:
        ids = {blob[:9] for (blob,) in store.execute("SELECT sealed_settings FROM account")}
    assert len(ids) == 1


def test_two_accounts_of_one_name_are_refused(run: Run, file: Path) -> None:
    file.write_text(json.dumps([SOLAX, SOLAX]))
    done = run("import", str(file))
    assert (done.returncode, done.stderr.split(";")[0]) == (
        2,
        "tidewatt: accounts.json: account 2: name: 'barn' is another account's",
    )


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TIDEWATT_KEY": ""}, "TIDEWATT_KEY, TIDEWATT_KEY_FILE: none is set"),
        ({"TIDEWATT_KEY": CANARY}, "holds no base64"),
        ({"TIDEWATT_STORE": f"nodatabase://ann:{CANARY}@127.0.0.1/x"}, "store: cannot be opened"),
        ({"TIDEWATT_STORE": f"postgresql+psycopg://ann:{CANARY}@127.0.0.1:1/x"}, "store: "),
    ],
)
def test_what_is_wrong_is_one_line_without_secrets(
    run: Run, file: Path, environment: dict[str, str], words: str
) -> None:
    done = run("import", str(file), **environment)
    assert done.returncode in (1, 2)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert CANARY not in done.stdout + done.stderr
