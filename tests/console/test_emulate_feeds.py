"""`tidewatt emulate feeds`: prices are imported, fetched and refused against loopback, as a first-time user would."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from adapters.feeds.emulation import Wrong
from adapters.feeds.registry import SOURCES
from console.commands import emulate
from console.emulate_feeds import FEEDS
from tests.console.conftest import EmulatorProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., EmulatorProcess]


@pytest.fixture(autouse=True)
def _installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TIDEWATT_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("TIDEWATT_KEY", base64.b64encode(bytes(range(32))).decode())
    monkeypatch.setenv("COLUMNS", "160")


def test_every_source_that_is_asked_over_http_can_be_emulated() -> None:
    assert tuple(FEEDS) == emulate.FEEDS
    assert set(FEEDS) == {*SOURCES, "open_meteo"} - {"file"}


def test_prices_are_fetched_from_emulated_sources_and_refused_where_they_are_wrong(
    start_emulator: Start, tidewatt: Run
) -> None:
    emulator = start_emulator("feeds")
    assert [market["name"] for market in emulator.records] == ["emulated sdac", "emulated agile"]
    first, second = (source["settings"]["base_url"] for source in emulator.records[0]["sources"])
    assert tidewatt("init").returncode == 0
    imported = tidewatt("prices", "import", emulator.ready_file)
    assert (imported.returncode, imported.stderr) == (0, "")
    fetched = tidewatt("prices", "fetch")
    assert (fetched.returncode, fetched.stderr) == (0, "")
    assert "emulated sdac" in fetched.stdout
    assert "octopus: accepted" in fetched.stdout

    broken = tidewatt("emulate", "fault", first, "late=true", "latency_s=0.01")
    assert broken.stdout == "in force: late=true latency_s=0.01\n"
    asked = json.loads(tidewatt("prices", "fetch", "--area", "DK1", "--dry-run", "--json").stdout)
    by_source = {(each["source"], each["accepted"]): each["refusal"] for each in asked}
    assert by_source["energi_data_service", False].startswith("late")
    assert ("entsoe", True) in by_source

    assert tidewatt("emulate", "fault", first).stdout == "in force: no faults\n"
    asked = json.loads(tidewatt("prices", "fetch", "--area", "DK1", "--dry-run", "--json").stdout)
    assert {(each["source"], each["accepted"]) for each in asked} == {("energi_data_service", True)}
    assert first != second


def test_credentials_of_an_emulated_source_are_in_the_file_and_not_on_the_screen(start_emulator: Start) -> None:
    emulator = start_emulator("entsoe")
    (market,) = emulator.records
    token = market["sources"][0]["settings"]["security_token"]
    emulator.process.terminate()
    printed, complaint = emulator.process.communicate(timeout=30)
    assert json.loads(printed.splitlines()[0])["source"] == "entsoe"
    assert token not in printed + complaint


def test_the_weather_has_no_market_and_only_what_http_can_do_wrong(start_emulator: Start, tidewatt: Run) -> None:
    emulator = start_emulator("open_meteo", "--json")
    assert emulator.records == []
    assert emulator.process.stdout is not None
    url = json.loads(emulator.process.stdout.readline())["base_url"]
    assert tidewatt("emulate", "fault", url, "server_error_share=1").returncode == 0
    refused = tidewatt("emulate", "fault", url, "late=true")
    assert (refused.returncode, "no such switches" in refused.stderr) == (2, True)


def test_a_fault_that_nobody_knows_is_refused_with_the_names_that_there_are(tidewatt: Run) -> None:
    refused = tidewatt("emulate", "fault", "http://127.0.0.1:1", "moody=true")
    assert refused.returncode == 2
    assert all(name in refused.stderr for name in ("latency_s", *Wrong.model_fields))
