from __future__ import annotations

import getpass
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from console.commands import control
from schedules.store import AccountRow, Database

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tidewatt: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("TIDEWATT_STATE", str(tmp_path))
    db = Database.at(tmp_path / "tidewatt.sqlite")
    with db.write() as session:
        session.add(AccountRow(name="barn", adapter="huawei"))
    db.close()
    return tidewatt


def test_a_halt_is_pulled_shown_and_lifted(run: Run) -> None:
    assert run("kill", "--vendor", "huawei", "--reason", "drill", "--by", "me").returncode == 0
    (halt,) = json.loads(run("status", "--json").stdout)["halts"]
    assert (halt["scope"], halt["name"], halt["reason"], halt["by"]) == ("vendor", "huawei", "drill", "me")
    assert run("kill", "--lift", str(halt["id"])).returncode == 0
    assert json.loads(run("status", "--json").stdout)["halts"] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("kill",), "reason"),
        (("kill", "--vendor", "hal", "--reason", "x"), "huawei"),
        (("kill", "--vendor", "huawei", "--site", "a", "--reason", "x"), "one of --vendor"),
        (("kill", "--lift", "7"), "no halt 7"),
        (("arm", "nobody"), "barn"),
        (("worker", "--queues", "fast"), "vendor-huawei"),
    ],
)
def test_what_is_wrong_is_one_line_with_the_way_out(run: Run, arguments: tuple[str, ...], said: str) -> None:
    found = run(*arguments)
    assert found.returncode == 2
    assert said in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_user_without_a_name_can_stop_everything_too(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a container that runs as a number."""

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", nameless)
    control.kill(reason="drill")
    control.disarm("barn")
    (halt,) = json.loads(run("status", "--json").stdout)["halts"]
    assert halt["by"].startswith("user ")


def test_an_account_is_armed_and_disarmed(run: Run, tmp_path: Path) -> None:
    for command, armed in (("arm", True), ("disarm", False)):
        assert run(command, "barn").returncode == 0
        db = Database.at(tmp_path / "tidewatt.sqlite")
        with db.session() as session:
            assert session.get_one(AccountRow, 1).armed is armed
        db.close()


def test_an_address_is_in_no_message(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATT_STORE", "sqlite:////no/such/folder/canary/store.sqlite")
    found = run("status")
    assert found.returncode == 1
    assert "TIDEWATT_STORE" in found.stderr
    assert "canary" not in found.stderr


@pytest.mark.parametrize("command", ["status", "check", "up"])
def test_a_driver_that_is_not_installed_is_told_with_the_way_out(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("TIDEWATT_STORE", "postgresql+psycopg2://me:canary@nowhere/store")
    found = run(command)
    assert found.returncode != 0
    assert "install tidewatt[postgresql]" in " ".join((found.stdout + found.stderr).split())
    assert "canary" not in found.stdout + found.stderr
    assert "Traceback" not in found.stderr


def test_check_tells_what_is_missing_and_its_way_out(run: Run) -> None:
    found = run("check", "--json")
    assert found.returncode == 1
    by_what = {finding["what"]: finding for finding in json.loads(found.stdout)}
    assert by_what["store"]["ok"]
    assert by_what["clock"]["ok"]
    assert not by_what["broker"]["ok"]
    assert "tidewatt up" in by_what["broker"]["way_out"]
    assert not by_what["queue safety"]["ok"]


def test_audit_of_an_empty_journal_agrees(run: Run) -> None:
    found = run("audit", "--json")
    assert (found.returncode, json.loads(found.stdout)) == (0, [])


def test_audit_refuses_what_is_no_log(run: Run, tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_text("nonsense\n")
    found = run("audit", "--emulator-log", str(tmp_path / "x.jsonl"))
    assert found.returncode == 2
    assert "line 1" in found.stderr
