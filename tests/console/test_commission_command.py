"""`tidewatt devices commission` as its user meets it, on an emulated battery in a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import json
import os
import pty
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from adapters.commissioning import CommissioningResult
from adapters.contract import Device, IntentRefusedError, dispatchable
from adapters.emulation import EmulatorControl
from console.accounts import VendorAccount, open_adapter, read_accounts
from console.commission import Trial, settings_found, target_of
from console.settings_file import SettingsFile
from engine import Battery
from engine.errors import InputError
from engine.intent import Intent, IntentMode
from tests.console.conftest import EmulatorProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., EmulatorProcess]
FOUND = ("commissioned", "setpoint_unit", "setpoint_sign")
# The emulate command of a cloud whose devices take another unit or sign than the usual one.
OTHER_WORDS = """
from functools import partial
from adapters.xolta import emulator
emulator.XoltaCloud = partial(emulator.XoltaCloud, unit={unit!r}, sign={sign})
from console.cli import main
main()
"""


def uncommissioned(emulator: EmulatorProcess) -> Path:
    """The accounts of a running emulator, before anything was proved."""
    path = emulator.ready_file.with_name("accounts.json")
    (record,) = emulator.records
    for name in FOUND:
        record["account"].pop(name)
    path.write_text(json.dumps(record))
    path.chmod(0o644)
    return path


def account_of(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text())["account"]


def system_of(emulator: EmulatorProcess) -> dict[str, Any]:
    """The emulator's own account of its battery, a minute later."""

    async def ask() -> dict[str, Any]:
        control = EmulatorControl(emulator.url("xolta"))
        now = dt.datetime.fromisoformat((await control.state())["now"])
        with contextlib.suppress(Exception):  # a clock that runs is not stepped
            await control.step_to(now + dt.timedelta(seconds=60))
        state = await control.state()
        await control.close()
        return next(iter(state["systems"].values()))

    return asyncio.run(ask())


def accepts_a_set_point(path: Path) -> float:
    """What a set-point of 1 kW discharge becomes with the settings of a file [vendor's number]."""
    (account,) = read_accounts(path)
    now = dt.datetime(2024, 5, 1, 12, tzinfo=dt.UTC)
    adapter = open_adapter(path, 1, account, lambda: now)
    device = Device(account.devices[0], Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=5))
    intent = Intent(IntentMode.DISCHARGE, 1.0, now, now + dt.timedelta(minutes=15))
    command = dispatchable(adapter, account.adapter).translate(intent, device, None)
    assert command.battery_kw == pytest.approx(1.0)
    asyncio.run(adapter.close())
    first = next(iter(command.payload["Payload"]["setPoint"].values()))
    return first["batteryActivePower"]


def test_a_proof_is_shown_and_written_and_makes_the_device_drivable(start_emulator: Start, tidewatt: Run) -> None:
    emulator = start_emulator("xolta", "--clock-factor", "60")
    accounts = uncommissioned(emulator)
    before = json.loads(accounts.read_text())
    with pytest.raises(IntentRefusedError, match="tidewatt devices commission"):
        accepts_a_set_point(accounts)

    done = tidewatt("devices", "commission", accounts, "--yes")

    assert done.returncode == 0, done.stderr
    assert "proved: unit kW, sign +1 (+ discharges)" in done.stdout
    for heading in ("asked", "set-point kW", "battery kW"):
        assert heading in done.stdout
    assert ", ending by itself at " in done.stderr
    assert "letting go of the battery" in done.stderr
    assert not [secret for secret in emulator.secrets if secret in done.stdout + done.stderr]
    found = {"commissioned": True, "setpoint_unit": "kW", "setpoint_sign": 1}
    before["account"] |= {**found, "commissioned_devices": before["device_ids"]}
    assert json.loads(accounts.read_text()) == before, "nothing else is changed"
    assert stat.S_IMODE(accounts.stat().st_mode) == 0o600
    assert list(accounts.parent.glob("*.part")) == []
    assert accepts_a_set_point(accounts) == pytest.approx(1.0)
    assert system_of(emulator)["released"]


@pytest.mark.parametrize(("unit", "sign"), [("kW", -1), ("W", 1), ("W", -1)])
def test_another_unit_or_sign_is_found(start_emulator: Start, tidewatt: Run, unit: str, sign: int) -> None:
    emulator = start_emulator("xolta", "--stepped", program=("-c", OTHER_WORDS.format(unit=unit, sign=sign)))
    accounts = uncommissioned(emulator)

    done = tidewatt("devices", "commission", accounts, "--yes", "--json")

    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert (answer["proved"], answer["unit"], answer["sign"], answer["released"]) == (True, unit, sign, True)
    assert answer["written"] == [*FOUND, "commissioned_devices"]
    last = answer["figures"][-1]
    assert (last["as_unit"], last["receipt"]) == (unit, "accepted")
    # The last number goes the other way: with sign +1 it charges.
    last_kw = last["sent"] / (1000.0 if unit == "W" else 1.0) * sign
    assert last["sent"] < 0
    assert 0.3 < abs(last_kw) < 1
    assert last["seen"]["battery_kw"] == pytest.approx(last_kw, abs=0.01)
    assert last["seen"]["set_point_kw"] == pytest.approx(last_kw)
    assert accepts_a_set_point(accounts) == pytest.approx(sign * (1000.0 if unit == "W" else 1.0))
    assert system_of(emulator)["released"]


def test_a_device_that_ignores_commands_is_not_proved_and_nothing_is_written(
    start_emulator: Start, tidewatt: Run
) -> None:
    emulator = start_emulator("xolta", "--stepped")
    accounts = uncommissioned(emulator)
    before = accounts.read_bytes()
    assert tidewatt("emulate", "fault", emulator.url("xolta"), "commands_ignored=true").returncode == 0

    table = tidewatt("devices", "commission", accounts, "--yes", "--longest-wait-s", "180")
    done = tidewatt("devices", "commission", accounts, "--yes", "--longest-wait-s", "180", "--json")

    assert (table.returncode, done.returncode) == (1, 1)
    assert "not proved: sent " in table.stdout
    assert "the set-point shows" in table.stdout
    assert "nothing was written; try again" in table.stderr
    answer = json.loads(done.stdout)
    assert (answer["proved"], answer["unit"], answer["sign"], answer["written"]) == (False, None, None, [])
    assert accounts.read_bytes() == before
    assert "Traceback" not in table.stderr + done.stderr
    assert not [secret for secret in emulator.secrets if secret in table.stdout + table.stderr + done.stdout]


def test_a_dry_run_proves_and_writes_nothing(start_emulator: Start, tidewatt: Run) -> None:
    accounts = uncommissioned(start_emulator("xolta", "--stepped"))
    before = accounts.read_bytes()

    done = tidewatt("devices", "commission", accounts, "--yes", "--dry-run", "--json")

    assert (done.returncode, json.loads(done.stdout)["proved"], json.loads(done.stdout)["written"]) == (0, True, [])
    assert accounts.read_bytes() == before


def test_without_a_terminal_nobody_is_asked_and_nothing_is_sent(start_emulator: Start) -> None:
    emulator = start_emulator("xolta", "--stepped")
    accounts = uncommissioned(emulator)
    command = [sys.executable, "-m", "console", "devices", "commission", str(accounts)]

    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False)

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (2, "", 1)
    assert "no terminal to ask on" in done.stderr
    assert "--yes" in done.stderr
    assert system_of(emulator)["commands"] == 0


@pytest.mark.parametrize(("answer", "code", "commands"), [(b"n\n", 1, 0), (b"y\n", 0, 3)])
def test_on_a_terminal_it_asks_first(start_emulator: Start, answer: bytes, code: int, commands: int) -> None:
    emulator = start_emulator("xolta", "--stepped")
    accounts = uncommissioned(emulator)
    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "console", "devices", "commission", str(accounts)]
    process = subprocess.Popen(command, stdin=end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.write(terminal, answer)
    _, err = process.communicate(timeout=60)
    os.close(terminal)
    os.close(end)

    assert process.returncode == code, err
    assert "will be driven at up to 1 kW both ways" in err
    assert ("nothing was sent" in err) is (commands == 0)
    assert system_of(emulator)["commands"] == commands


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_lets_go_of_the_battery_first(start_emulator: Start, number: int) -> None:
    emulator = start_emulator("xolta", "--clock-factor", "20")
    accounts = uncommissioned(emulator)
    before = accounts.read_bytes()
    command = [sys.executable, "-m", "console", "devices", "commission", str(accounts), "--yes"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    while "sending" not in process.stderr.readline():
        assert process.poll() is None
    time.sleep(0.5)
    process.send_signal(number)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)

    assert process.returncode == 130, err
    assert err.splitlines()[-1] == "commission: stopped; the battery was let go of"
    assert "Traceback" not in err
    time.sleep(1)
    assert system_of(emulator)["released"]
    assert accounts.read_bytes() == before


@pytest.mark.parametrize(
    ("vendor", "code", "words"),
    [("alphaess", 2, "documents unit and sign of its set-points"), ("solax", 1, "telemetry only")],
)
def test_a_vendor_that_needs_none_is_refused_with_the_reason(
    start_emulator: Start, tidewatt: Run, vendor: str, code: int, words: str
) -> None:
    emulator = start_emulator(vendor)

    done = tidewatt("devices", "commission", emulator.ready_file, "--yes")

    assert (done.returncode, done.stdout, len(done.stderr.splitlines())) == (code, "", 1)
    assert words in done.stderr
    assert not [secret for secret in emulator.secrets if secret in done.stderr]


def test_a_battery_near_its_edge_or_a_cloud_that_is_away_is_told_and_nothing_is_sent(
    start_emulator: Start, tidewatt: Run
) -> None:
    emulator = start_emulator("xolta", "--stepped", "--initial-soc", "0.15")
    accounts = uncommissioned(emulator)
    edge = tidewatt("devices", "commission", accounts, "--yes")
    sent = system_of(emulator)["commands"]
    emulator.end()
    away = tidewatt("devices", "commission", accounts, "--yes")

    assert (edge.returncode, away.returncode, sent) == (1, 1, 0)
    for done, words in ((edge, "soc: 0.15"), (away, "no connection")):
        assert words in done.stderr
        assert done.stderr.splitlines()[-1].endswith("; nothing was sent")
        assert "Traceback" not in done.stderr
        assert not [secret for secret in emulator.secrets if secret in done.stderr]


# --- without a process ---


def account(*devices: str, **settings: Any) -> VendorAccount:
    return VendorAccount(adapter="xolta", account=settings, device_ids=list(devices))


def test_which_device_is_meant() -> None:
    one, two, open_ended = account("A"), account("A", "B"), account()

    assert target_of([one], None).device_id == "A"
    assert target_of([one, two], "B").place == 2
    assert target_of([one, open_ended], "C").place == 2
    for accounts, device, words in (
        ([two], None, "names 2"),
        ([one], "C", "no account"),
        ([open_ended], None, "names none"),
        ([one, two], "A", "accounts 1 and 2"),
    ):
        with pytest.raises(InputError, match=words):
            target_of(accounts, device)


def test_a_large_step_needs_the_rating() -> None:
    assert Trial(1.0, None, 600).battery.max_charge_kw == 2.0
    assert Trial(3.0, 10.0, 600).battery.max_discharge_kw == 10.0
    with pytest.raises(InputError, match="--rating-kw"):
        _ = Trial(1.1, None, 600).battery


PROVED = CommissioningResult(True, "kW", 1, "", (), True)
SAME = {"commissioned": True, "setpoint_unit": "kW", "setpoint_sign": 1}


@pytest.mark.parametrize(
    ("before", "devices"),
    [
        ({}, ["A"]),
        ({"commissioned": False, "commissioned_devices": ["B"]}, ["A"]),
        (SAME, None),
        ({**SAME, "commissioned_devices": ["B"]}, ["B", "A"]),
        ({**SAME, "commissioned_devices": ["A", "B"]}, ["B", "A"]),
        # What was said to hold for all does not, so it holds for this one only.
        ({**SAME, "setpoint_sign": -1}, ["A"]),
        ({**SAME, "setpoint_sign": -1, "commissioned_devices": ["A"]}, ["A"]),
    ],
)
def test_what_is_written_never_vouches_for_a_device_that_was_not_tried(
    before: dict[str, Any], devices: list[str] | None
) -> None:
    found = settings_found(account("A", **before), "A", PROVED)

    assert found == SAME | ({} if devices is None else {"commissioned_devices": devices})


def test_devices_of_one_account_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="B were found to be different from A"):
        settings_found(account("A", **{**SAME, "setpoint_unit": "W"}, commissioned_devices=["B"]), "A", PROVED)


ENTRIES = [
    {"adapter": "solax", "account": {"token_id": "0123", "since": "2024-01-01", "ø": None}, "name": "yes"},
    {"adapter": "xolta", "account": {"client_id": "c", "port": 1.5}, "device_ids": ["007"]},
]


@pytest.mark.parametrize(
    ("text", "parse"),
    [
        (json.dumps(ENTRIES), json.loads),
        (json.dumps({"accounts": ENTRIES}, indent=4), lambda text: json.loads(text)["accounts"]),
        ("\n".join(map(json.dumps, ENTRIES)), lambda text: list(map(json.loads, text.splitlines()))),
        ("# mine\n" + yaml.safe_dump(ENTRIES, sort_keys=False), yaml.safe_load),
    ],
)
def test_a_file_keeps_its_kind_and_all_else_in_it(tmp_path: Path, text: str, parse: Callable[[str], Any]) -> None:
    path, link = tmp_path / "accounts", tmp_path / "link"
    path.write_text(text)
    link.symlink_to(path)

    lost = SettingsFile(link).put(2, SAME)

    wanted = json.loads(json.dumps(ENTRIES))
    wanted[1]["account"] |= SAME
    assert parse(path.read_text()) == wanted
    assert lost == ("the comments of the YAML" if text.startswith("#") else "")
    assert link.is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_was_changed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "accounts.json"
    path.write_text(json.dumps(ENTRIES))
    file = SettingsFile(path)
    path.write_text("[]")

    with pytest.raises(InputError, match="changed meanwhile"):
        file.put(2, SAME)

    assert path.read_text() == "[]"
