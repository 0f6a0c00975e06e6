"""`tidewatt devices connect`: from the vendor's link to tokens that the other commands go on with."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from console.connect import code_in
from engine.errors import InputError
from tests.console.conftest import EmulatorProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., EmulatorProcess]


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def where_it_leads(url: str) -> str:
    """The address that an owner's browser is sent to."""
    try:
        urllib.request.build_opener(NoRedirects).open(url, timeout=5)
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.headers["Location"]
    raise AssertionError("no redirect")


def connect(accounts: Path, *arguments: str, change: Callable[[str], str] = str) -> tuple[int, str, str]:
    """The command, and an owner who consents and pastes the address after a change."""
    command = [sys.executable, "-W", "error", "-m", "console", "devices", "connect", str(accounts), *arguments]
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen(command, text=True, **pipes)
    assert process.stdout is not None
    link = process.stdout.readline().strip()
    answer = change(where_it_leads(link)) + "\n" if link else ""
    _, err = process.communicate(answer, timeout=60)
    return process.returncode, link, err


@pytest.fixture
def accounts(start_emulator: Start, tmp_path: Path) -> Path:
    """A real owner's account as users write it: no refresh token, no word of an emulator."""
    (record,) = start_emulator("huawei").records
    settings = {name: value for name, value in record["account"].items() if name != "refresh_token"}
    entries = [
        {"adapter": "solax", "account": {"token_id": "x"}, "device_ids": ["SR1"]},
        {"adapter": "huawei", "name": "barn", "account": settings, "device_ids": record["device_ids"]},
    ]
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps(entries))
    return path


def test_from_client_to_consent_to_readings_time_and_again(accounts: Path, tidewatt: Run) -> None:
    barn = accounts.with_name("barn.json")
    barn.write_text(json.dumps(json.loads(accounts.read_text())[1]))
    before = tidewatt("devices", "list", barn)
    assert before.returncode == 1
    assert "authorise" in before.stdout

    code, _, err = connect(barn)

    tokens = barn.with_name("barn.json.barn.tokens")
    assert (code, str(tokens) in err) == (0, True)
    assert stat.S_IMODE(tokens.stat().st_mode) == 0o600
    for command in ("list", "probe", "probe"):
        # Over by the clock of the real time, so that each run refreshes, and the next needs what it left.
        kept = json.loads(tokens.read_text())
        tokens.write_text(json.dumps({**kept, "expires_at": "2020-01-01T00:00:00+00:00"}))
        done = tidewatt("devices", command, barn, "--json")
        assert (done.returncode, done.stderr) == (0, ""), done.stdout
        later = json.loads(tokens.read_text())
        assert later["refresh"] != kept["refresh"]
        assert kept["refresh"] not in done.stdout
    watched = tidewatt("devices", "watch", barn, "--count", "1", "--json")
    assert watched.returncode == 0
    assert json.loads(watched.stdout)["soc"] is not None


def test_the_account_is_found_among_others_and_by_name(accounts: Path) -> None:
    assert connect(accounts)[0] == 0
    assert connect(accounts, "--account", "barn")[0] == 0
    code, link, err = connect(accounts, "--account", "solax")
    assert (code, link) == (2, "")
    assert "consent" in err
    two = json.loads(accounts.read_text())
    accounts.write_text(json.dumps([*two, {**two[1], "name": "house"}]))
    code, link, err = connect(accounts)
    assert (code, link) == (2, "")
    assert "barn, house" in err


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda address: re.sub(r"state=[^&]*", "state=stranger", address), "answers another link"),
        (lambda address: re.sub(r"&state=[^&]*", "", address), "no state back"),
        (lambda address: re.sub(r"code=[^&]*", "", address), "no code"),
        (lambda address: re.sub(r"code=[^&]*", "error=access_denied", address), "refused"),
        (lambda _: "zwitscher", "no code"),
    ],
)
def test_an_answer_that_is_not_this_links_is_refused(accounts: Path, change: Callable[[str], str], says: str) -> None:
    code, _, err = connect(accounts, change=change)

    assert code == 2
    assert says in err
    assert "Traceback" not in err
    assert not list(accounts.parent.glob("*.tokens"))


def test_a_vendor_that_sends_no_state_back_needs_a_word(accounts: Path, tidewatt: Run) -> None:
    url = json.loads(accounts.read_text())[1]["account"]["base_url"]
    assert tidewatt("emulate", "fault", url, "odd_json=true").returncode == 0

    assert connect(accounts)[0] == 2
    code, link, _ = connect(accounts, "--no-state")
    assert (code, "state=" in link) == (0, False)


def test_a_code_that_is_used_up_is_told_and_nothing_is_kept(accounts: Path) -> None:
    pasted: list[str] = []
    assert connect(accounts, "--no-state", change=lambda address: pasted.append(address) or address)[0] == 0
    tokens = accounts.with_name("accounts.json.barn.tokens")
    kept = tokens.read_text()

    code, _, err = connect(accounts, "--no-state", change=lambda _: pasted[0])

    assert code == 1
    assert "authorise again" in err
    assert tokens.read_text() == kept


def test_a_code_is_never_shown() -> None:
    with pytest.raises(InputError) as caught:
        code_in("https://example.com/?code=zwitscher-1&state=zwitscher-2", "mine")
    assert "zwitscher" not in str(caught.value) + repr(caught.value)
    assert "zwitscher" not in repr(code_in("https://example.com/?code=zwitscher-1&state=mine", "mine"))
