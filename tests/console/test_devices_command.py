"""`tidewatt devices` as its user meets it, against emulators in processes of their own; and its judgement of rows."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.contract import Channel, ConfigurationError, Device, Found, Telemetry, VendorUnavailableError
from adapters.registry import EMULATORS, names
from console.accounts import VendorAccount
from console.commands.devices import HEADINGS, _cells
from console.devices import Bounds, Connection, Row, list_devices, probe, watch
from tests.console.conftest import EmulatorProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., EmulatorProcess]
NOW = dt.datetime(2024, 5, 1, 12, 0, tzinfo=dt.UTC)


# Vendors whose credentials a second process may use; others have tokens that are spent by the first.
USABLE_AGAIN = ("alphaess", "solax")


# --- processes ---


def usable_again(emulator: EmulatorProcess) -> Path:
    accounts = emulator.ready_file.with_name("again.json")
    accounts.write_text(json.dumps([record for record in emulator.records if record["adapter"] in USABLE_AGAIN]))
    return accounts


def test_a_probe_of_all_vendors_shows_every_device_in_canonical_signs(start_emulator: Start, tidewatt: Run) -> None:
    emulator = start_emulator("--all", "--sites", "2", "--clock-factor", "20")
    begin = time.monotonic()
    done = tidewatt("devices", "probe", emulator.ready_file, "--json")
    table = tidewatt("devices", "probe", usable_again(emulator))
    passed_s = time.monotonic() - begin

    assert (done.returncode, done.stderr, table.returncode, table.stderr) == (0, "", 0, "")
    rows = json.loads(done.stdout)
    wanted = [(record["adapter"], device) for record in emulator.records for device in record["device_ids"]]
    assert [(row["adapter"], row["device_id"]) for row in rows] == wanted
    for row in rows:
        # The sample home without orders: its battery carries the house, the grid rests.
        assert row["error"] is None
        if row["adapter"] in USABLE_AGAIN:
            assert row["balanced"] is True, row
            assert abs(row["imbalance_kw"]) < 0.05
            assert row["load_kw"] == pytest.approx(row["battery_kw"] + row["grid_kw"] + row["pv_kw"], abs=0.05)
            assert row["load_kw"] > 0
            assert row["device_id"] in table.stdout
        assert row["balanced"] is not False
        assert row["battery_kw"] != 0
        assert -60 < row["age_s"] < 320 + 20 * passed_s, "age is told in the emulator's time"
        assert row["soc"] is None or 0 < row["soc"] < 1
        assert row["dispatch_active"] in (False, None)
    for heading in ("battery kW", "grid kW", "PV kW", "load kW", "SOC %", "age s", "balance", "dispatch"):
        assert heading in table.stdout
    assert "battery + discharges, grid + imports" in table.stdout
    assert not [secret for secret in emulator.secrets if secret in done.stdout + table.stdout]


def test_a_failure_is_a_row_in_words_beside_the_others(start_emulator: Start, tidewatt: Run, tmp_path: Path) -> None:
    emulator = start_emulator("--all")
    assert tidewatt("emulate", "fault", emulator.url("solax"), "rate_limited=true").returncode == 0
    (dead,) = [record for record in emulator.records if record["adapter"] == "alphaess"]
    dead = {**dead, "name": "nobody home", "account": {**dead["account"], "base_url": "http://127.0.0.1:1"}}
    accounts = tmp_path / "accounts.json"
    accounts.write_text(json.dumps({"accounts": [*emulator.records, dead]}))

    done = tidewatt("devices", "probe", accounts, "--json")
    table = tidewatt("devices", "probe", accounts)

    assert (done.returncode, table.returncode) == (1, 1)
    assert (done.stderr, table.stderr) == ("", "")
    errors = {row["account"]: row["error"] for row in json.loads(done.stdout)}
    assert "limit of calls" in errors["solax"]
    assert "no connection" in errors["nobody home"]
    assert errors["alphaess"] is None
    assert "Traceback" not in table.stdout
    assert not [secret for secret in emulator.secrets if secret in done.stdout + table.stdout]


def test_the_list_names_every_device(start_emulator: Start, tidewatt: Run) -> None:
    emulator = start_emulator("--all", "--sites", "2")
    done = tidewatt("devices", "list", emulator.ready_file, "--json")
    table = tidewatt("devices", "list", usable_again(emulator))

    assert (done.returncode, table.returncode) == (0, 0)
    rows = json.loads(done.stdout)
    assert {row["adapter"] for row in rows} == set(names(EMULATORS))
    wanted = {device for record in emulator.records for device in record["device_ids"]}
    assert {row["device_id"] for row in rows} >= wanted
    shown = [row["device_id"] for row in rows if row["adapter"] in USABLE_AGAIN]
    assert len(shown) == 4
    assert all(device in table.stdout for device in shown)


def test_watching_ends_after_its_count(start_emulator: Start, tidewatt: Run) -> None:
    emulator = start_emulator("solax", "--sites", "2")
    done = tidewatt("devices", "watch", emulator.ready_file, "--count", "3", "--every-s", "0.1", "--json")
    lines = tidewatt("devices", "watch", emulator.ready_file, "--count", "1")

    assert (done.returncode, lines.returncode) == (0, 0)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(row["device_id"] for row in rows) == [f"SO{n:013d}" for n in (1, 1, 1, 2, 2, 2)]
    assert len(lines.stdout.splitlines()) == 2
    assert "battery kW" in lines.stdout


def test_watching_ends_with_ctrl_c(start_emulator: Start) -> None:
    emulator = start_emulator("solax")
    command = [sys.executable, "-m", "console", "devices", "watch", str(emulator.ready_file), "--every-s", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (0, "watch: stopped\n")


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_watching_ends_without_a_word_when_nobody_reads_any_more(start_emulator: Start, options: list[str]) -> None:
    emulator = start_emulator("ingeteam")
    command = [sys.executable, "-m", "console", "devices", "watch", str(emulator.ready_file), *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()

    assert (process.wait(timeout=30), process.stderr.read()) == (1, "")
    process.stderr.close()


@pytest.mark.parametrize("command", ["list", "probe", "watch"])
def test_a_bad_file_is_refused_in_one_line_without_its_values(tidewatt: Run, tmp_path: Path, command: str) -> None:
    accounts = tmp_path / "accounts.yaml"
    accounts.write_text(
        "- adapter: solax\n  account: {token_id: zwitscher-1}\n- adapter: solax\n  acount: zwitscher-2\n"
    )
    first = tidewatt("devices", command, accounts)
    accounts.write_text("- adapter: solax\n  account: {token_id: zwitscher-1, poll_s: zwitscher-2}\n")
    second = tidewatt("devices", command, accounts)

    assert (first.returncode, second.returncode) == (2, 2)
    assert "account 2: account, acount" in first.stderr
    assert "poll_s" in second.stderr
    for done in (first, second):
        assert len(done.stderr.splitlines()) == 1
        assert "zwitscher" not in done.stdout + done.stderr


# --- rows, with adapters that do what a test wants ---


class Vendor:
    """An adapter that answers from a script."""

    abilities = None

    def __init__(self, answer: Any = None, wait_s: float = 0.0) -> None:
        self.answer, self.wait_s = answer, wait_s
        self.asked: list[tuple[str, Channel]] = []
        self.at_once = self.most_at_once = 0

    async def read(self, device: Device, channel: Channel) -> Telemetry | None:
        self.asked.append((device.device_id, channel))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.wait_s)
        finally:
            self.at_once -= 1
        answer = self.answer(channel) if callable(self.answer) else self.answer
        if isinstance(answer, Exception):
            raise answer
        return answer


class Listed(Vendor):
    """One that lists devices."""

    def __init__(self, found: Any, answer: Any = None) -> None:
        super().__init__(answer)
        self.found = found

    async def devices(self) -> list[Found]:
        if isinstance(self.found, Exception):
            raise self.found
        return self.found


class Streaming(Vendor):
    """One that sends by itself, then fails."""

    closed = False

    async def watch(self, device: Device) -> AsyncIterator[Telemetry]:
        try:
            for step in range(3):
                yield telemetry(battery_kw=float(step))
            raise ConfigurationError(f"{device.device_id}: the password zwitscher-1 is wrong")
        finally:
            self.closed = True


def telemetry(age_s: float = 0.0, **values: Any) -> Telemetry:
    return Telemetry(Channel.STATE, NOW - dt.timedelta(seconds=age_s), **values)


def connection(adapter: Any, *devices: str, **account: Any) -> Connection:
    settings = {"password": "zwitscher-1", **account}
    entry = VendorAccount(adapter="x", account=settings, device_ids=list(devices))
    return Connection(entry, adapter, lambda: NOW)


def probed(*connections: Connection, channel: Channel | None = None, **bounds: Any) -> list[Row]:
    return asyncio.run(probe(connections, channel, Bounds(**bounds)))


@pytest.mark.parametrize(
    ("load", "grid", "pv", "battery", "balanced"),
    [
        (3.0, 1.0, 1.5, 0.5, True),
        (3.0, 1.0, 1.5, 0.4, True),
        (2.75, 1.0, 1.5, 0.5, True),
        (3.0, -1.0, 1.5, 0.5, False),
        (3.0, 1.0, 1.5, -0.5, False),
        (0.1, 0.0, 0.0, 0.0, True),
        (0.5, 0.0, 0.0, 0.0, False),
        (None, 1.0, 1.5, 0.5, None),
        (3.0, None, 1.5, 0.5, None),
        (3.0, 1.0, None, 0.5, None),
        (3.0, 1.0, 1.5, None, None),
    ],
)
def test_whether_the_powers_add_up(
    load: float | None, grid: float | None, pv: float | None, battery: float | None, balanced: bool | None
) -> None:
    reading = telemetry(load_kw=load, grid_kw=grid, pv_kw=pv, battery_kw=battery)
    (row,) = probed(connection(Vendor(reading), "A"))

    assert row.balanced is balanced
    assert row.error == ""
    assert json.loads(json.dumps(row.as_json()))["balanced"] is balanced


def test_age_is_the_vendors_and_a_reading_from_the_future_is_an_error() -> None:
    rows = probed(*(connection(Vendor(telemetry(age_s)), "A") for age_s in (300.0, -59.0, -3600.0)))

    assert [row.age_s for row in rows] == [300.0, -59.0, -3600.0]
    assert [bool(row.error) for row in rows] == [False, False, True]
    assert "3600 s ahead" in rows[2].error


def test_nothing_is_shown_as_minus_zero() -> None:
    (row,) = probed(connection(Vendor(telemetry(-0.2, battery_kw=-0.0001, grid_kw=0.0)), "A"))

    assert _cells(row)[:2] == ["0.000", "0.000"]
    assert _cells(row)[HEADINGS.index("age s")] == "0"


def test_the_powers_stand_in_where_there_is_no_state_yet() -> None:
    vendor = Vendor(lambda channel: telemetry(battery_kw=1.0) if channel is Channel.POWER else None)

    (unset,), (state,) = probed(connection(vendor, "A")), probed(connection(vendor, "A"), channel=Channel.STATE)

    assert unset.reading is not None
    assert (state.reading, "no reading" in state.error) == (None, True)


@pytest.mark.parametrize(
    ("powers", "grid_kw"),
    [
        (telemetry(grid_kw=2.0, soc=0.5), 2.0),
        (telemetry(battery_kw=2.0), None),
        (None, None),
        (VendorUnavailableError("no EMS"), None),
    ],
)
def test_the_powers_stand_in_for_a_state_that_knows_no_meter(
    powers: Telemetry | Exception | None, grid_kw: float | None
) -> None:
    vendor = Vendor(lambda channel: telemetry(battery_kw=1.0) if channel is Channel.STATE else powers)

    (unset,), (state,) = probed(connection(vendor, "A")), probed(connection(vendor, "A"), channel=Channel.STATE)

    assert unset.reading is not None
    assert (unset.reading.grid_kw, unset.error) == (grid_kw, "")
    assert unset.reading.battery_kw == (None if grid_kw else 1.0)
    assert state.reading == telemetry(battery_kw=1.0)


def test_no_more_questions_at_once_than_allowed() -> None:
    vendor = Vendor(telemetry(), wait_s=0.01)
    rows = probed(connection(vendor, *(f"D{n}" for n in range(20))), at_once=3)

    assert vendor.most_at_once == 3
    assert [row.device_id for row in rows] == [f"D{n}" for n in range(20)]


def test_one_that_never_answers_does_not_hold_up_the_others() -> None:
    rows = probed(connection(Vendor(telemetry(), wait_s=60), "A"), connection(Vendor(telemetry()), "B"), timeout_s=0.1)

    assert [row.error for row in rows] == ["no answer in time", ""]


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (VendorUnavailableError("busy with zwitscher-1"), "busy with ***"),
        (ValueError("zwitscher-1"), "the adapter failed (ValueError)"),
        (KeyError("zwitscher-1"), "the adapter failed (KeyError)"),
        (TimeoutError("zwitscher-1"), "no answer in time"),
    ],
)
def test_no_failure_is_a_traceback_or_lets_a_secret_out(failure: Exception, words: str) -> None:
    read, listed = Vendor(failure), Listed(failure)

    (row,), (other,) = probed(connection(read, "A")), probed(connection(listed))
    (listing,) = asyncio.run(list_devices([connection(listed)], Bounds()))

    assert (row.error, other.error, listing.error) == (words, words, words)
    assert "zwitscher" not in json.dumps([row.as_json(), other.as_json(), listing.as_json()])


def test_devices_that_the_file_does_not_name_are_those_that_the_vendor_lists() -> None:
    vendor = Listed([Found("A", "barn", "X1", 10.0, 5.0, True), Found("B")], telemetry())

    assert [row.device_id for row in probed(connection(vendor))] == ["A", "B"]
    assert [row.device_id for row in probed(connection(vendor, "B"))] == ["B"]
    listings = asyncio.run(list_devices([connection(vendor, "B"), connection(Vendor(), "C")], Bounds()))
    assert [(row.found.device_id, row.listed_by_vendor) for row in listings if row.found] == [
        ("A", True),
        ("B", True),
        ("C", False),
    ]


def test_an_account_without_devices_is_told_so() -> None:
    empty, silent, deaf = Listed([]), Vendor(), object()

    errors = [row.error for row in probed(connection(empty), connection(silent), connection(deaf, "A"))]

    assert "no devices" in errors[0]
    assert "device_ids" in errors[1]
    assert "no telemetry" in errors[2]
    (listing,) = asyncio.run(list_devices([connection(silent)], Bounds()))
    assert "device_ids" in listing.error


def test_a_vendor_that_sends_by_itself_is_not_asked() -> None:
    vendor, rows = Streaming(), []
    all_well = asyncio.run(watch([connection(vendor, "A")], None, Bounds(), 0.0, 2, rows.append))

    assert (all_well, vendor.asked, vendor.closed) == (True, [], True)
    assert [row.reading.battery_kw for row in rows] == [0.0, 1.0]


def test_a_stream_that_fails_is_a_row_and_the_others_go_on() -> None:
    rows: list[Row] = []
    connections = [connection(Streaming(), "A"), connection(Vendor(telemetry()), "B")]
    all_well = asyncio.run(watch(connections, None, Bounds(), 0.0, 5, rows.append))

    assert not all_well
    assert [row.error for row in rows if row.device_id == "A"] == ["", "", "", "A: the password *** is wrong"]
    assert sum(row.device_id == "B" for row in rows) == 5
