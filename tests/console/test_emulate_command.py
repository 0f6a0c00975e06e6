"""`tidewatt emulate` as its user meets it: processes that listen, tell where, break on request, and end."""

from __future__ import annotations

import asyncio
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
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from adapters import registry
from adapters.contract import ConfigurationError
from adapters.emulation import EmulatorControl, builders
from console.emulate import EmulatorOptions, run_emulators, write_ready
from console.sample import sample_site
from engine.errors import InputError
from tests.console.conftest import EmulatorProcess

Run = Callable[..., subprocess.CompletedProcess[str]]
Start = Callable[..., EmulatorProcess]


def state_of(url: str) -> dict[str, Any]:
    async def ask() -> dict[str, Any]:
        control = EmulatorControl(url)
        try:
            return await control.state()
        finally:
            await control.close()

    return asyncio.run(ask())


def test_all_vendors_run_in_one_process_at_addresses_of_their_own(start_emulator: Start) -> None:
    emulator = start_emulator("--all", "--sites", "2", "--clock-factor", "60")
    records = emulator.records

    assert {record["adapter"] for record in records} == set(vendors())
    urls = [record["account"]["base_url"] for record in records]
    assert len(set(urls)) == len(urls)
    for record in records:
        assert record["device_ids"][0] == record["device_id"]
        assert record["clock_factor"] == 60
        assert record["pid"] == emulator.process.pid
        assert list(state_of(record["account"]["base_url"])["systems"]) == record["device_ids"]
    for vendor in vendors():
        found = [device for record in records if record["adapter"] == vendor for device in record["device_ids"]]
        assert len(set(found)) == 2


def test_the_clock_runs_as_fast_as_asked(start_emulator: Start) -> None:
    emulator = start_emulator("solax", "--clock-factor", "600")
    url = emulator.url("solax")
    begin, real = dt.datetime.fromisoformat(state_of(url)["now"]), time.monotonic()
    time.sleep(0.5)
    passed_s = (dt.datetime.fromisoformat(state_of(url)["now"]) - begin).total_seconds()

    assert passed_s == pytest.approx(600 * (time.monotonic() - real), rel=0.5)
    assert passed_s >= 300


def test_a_stepped_clock_is_shared_and_begins_with_the_day(start_emulator: Start) -> None:
    emulator = start_emulator("all", "--stepped", "--day", "2024-04-06")
    urls = [record["account"]["base_url"] for record in emulator.records]
    begin = dt.datetime.fromisoformat(state_of(urls[0])["now"])

    async def step() -> None:
        control = EmulatorControl(urls[0])
        await control.step_to(begin + dt.timedelta(minutes=7))
        await control.close()

    asyncio.run(step())

    assert begin == dt.datetime(2024, 4, 5, 22, 0, tzinfo=dt.UTC)
    assert {state_of(url)["now"] for url in urls} == {(begin + dt.timedelta(minutes=7)).isoformat()}
    assert {record["clock_factor"] for record in emulator.records} == {None}


def test_sites_have_houses_of_their_own_and_a_seed_repeats_them(start_emulator: Start) -> None:
    def powers(seed: str) -> list[float]:
        emulator = start_emulator("solax", "--stepped", "--sites", "3", "--seed", seed)

        async def step() -> dict[str, Any]:
            control = EmulatorControl(emulator.url("solax"))
            begin = dt.datetime.fromisoformat((await control.state())["now"])
            await control.step_to(begin + dt.timedelta(minutes=30))
            try:
                return await control.state()
            finally:
                await control.close()

        return [system["battery_kw"] for system in asyncio.run(step())["systems"].values()]

    first, again, other = powers("5"), powers("5"), powers("90")
    assert len(set(first)) == 3
    assert first == again != other


def test_credentials_go_to_a_private_file_and_nowhere_else(start_emulator: Start) -> None:
    emulator = start_emulator("--all", "--json")
    assert stat.S_IMODE(emulator.ready_file.stat().st_mode) == 0o600
    secrets = emulator.secrets
    assert len(secrets) >= len(vendors())

    emulator.process.send_signal(signal.SIGINT)
    out, err = emulator.process.communicate(timeout=30)

    assert [json.loads(line)["adapter"] for line in out.splitlines()] == vendors()
    assert not [secret for secret in secrets if secret in out + err]


def test_a_private_file_that_was_open_to_all_is_made_private(tmp_path: Path) -> None:
    (tmp_path / "ready.json.part").touch(mode=0o644)
    write_ready(tmp_path / "ready.json", [{"a": 1}, {"b": 2}])

    assert stat.S_IMODE((tmp_path / "ready.json").stat().st_mode) == 0o600
    assert (tmp_path / "ready.json").read_text() == '{"a": 1}\n{"b": 2}\n'


def test_a_pipe_gets_a_line_of_json_with_credentials() -> None:
    """What the README promises of `tidewatt emulate alphaess`."""
    command = [sys.executable, "-m", "console", "emulate", "alphaess", "--idle-exit-s", "30"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        record = json.loads(process.stdout.readline())
        state_of(record["account"]["base_url"])
    finally:
        process.kill()
        process.communicate()

    assert (record["adapter"], record["device_id"]) == ("alphaess", "AL0000000000001")
    assert {"api_account", "api_secret", "username", "password"} <= set(record["account"])


def test_a_screen_gets_a_table_without_credentials(tmp_path: Path) -> None:
    ready = tmp_path / "ready.json"
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "console", "emulate", "--all", "--ready-file", str(ready), "--idle-exit-s", "2"]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "160"})
    os.close(theirs)
    try:
        shown = b""
        while b"devices probe" not in shown:
            shown += os.read(ours, 4096)
        records = [json.loads(line) for line in ready.read_text().splitlines()]
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.communicate()
        os.close(ours)

    for record in records:
        assert record["account"]["base_url"].encode() in shown
        for name, value in record["account"].items():
            assert name == "base_url" or len(str(value)) < 12 or "/" in str(value) or str(value).encode() not in shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_one_signal_ends_all(start_emulator: Start, number: signal.Signals) -> None:
    emulator = start_emulator("--all")
    emulator.process.send_signal(number)
    _, err = emulator.process.communicate(timeout=30)

    assert emulator.process.returncode == (0 if number is signal.SIGINT else -number)
    assert "Traceback" not in err


def test_told_to_stop_by_one_address_the_process_ends(start_emulator: Start) -> None:
    emulator = start_emulator("--all")

    async def stop() -> None:
        control = EmulatorControl(emulator.url("solax"))
        await control.stop()
        await control.close()

    asyncio.run(stop())

    assert emulator.process.wait(timeout=30) == 0


def test_it_ends_when_nobody_asks_any_more(tidewatt: Run, tmp_path: Path) -> None:
    begin = time.monotonic()
    done = tidewatt("emulate", "--all", "--ready-file", tmp_path / "ready.json", "--idle-exit-s", "1")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert time.monotonic() - begin < 60


def test_a_log_is_written_for_each_vendor(start_emulator: Start, tmp_path: Path, tidewatt: Run) -> None:
    emulator = start_emulator("--all", "--log", str(tmp_path / "log.jsonl"))
    tidewatt("devices", "probe", emulator.ready_file)

    for vendor in vendors():
        lines = (tmp_path / f"log-{vendor}.jsonl").read_text().splitlines()
        assert any(json.loads(line)["event"] == "call" for line in lines), vendor


def vendors() -> list[str]:
    return registry.names(registry.EMULATORS)


# --- faults ---


def test_faults_are_switched_while_it_runs(start_emulator: Start, tidewatt: Run) -> None:
    emulator = start_emulator("solax")
    url = emulator.url("solax")
    assert tidewatt("devices", "probe", emulator.ready_file).returncode == 0

    switched = tidewatt("emulate", "fault", url, "tokens_expired=true", "latency_s=0.1")
    assert (switched.returncode, switched.stdout) == (0, "in force: tokens_expired=true latency_s=0.1\n")
    assert tidewatt("devices", "probe", emulator.ready_file).returncode == 1

    mended = tidewatt("emulate", "fault", url)
    assert (mended.returncode, mended.stdout) == (0, "in force: no faults\n")
    assert tidewatt("devices", "probe", emulator.ready_file).returncode == 0


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["nonsense=true"], "latency_s"),
        (["latency_s"], "name=value"),
        (["latency_s=-1"], "latency_s"),
        (["latency_s=soon"], "latency_s"),
        (["numbers_as=roman"], "numbers_as"),
        (["clock_skew_s=1e300"], "clock_skew_s"),
        (["apply_delay_s=1e300"], "apply_delay_s"),
        (["power_factor=1e300"], "power_factor"),
    ],
)
def test_a_fault_that_is_none_is_refused_in_one_line(tidewatt: Run, words: list[str], named: str) -> None:
    done = tidewatt("emulate", "fault", "http://127.0.0.1:1", *words)

    assert done.returncode == 2
    assert named in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_an_address_without_an_emulator_is_told_in_one_line(tidewatt: Run) -> None:
    for address in ("127.0.0.1:1", "ftp://127.0.0.1:1", "http://127.0.0.1:99999", "http://127.0.0.1:port"):
        refused = tidewatt("emulate", "fault", address, "frozen=true")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (2, 1)
        assert "no address of an emulator" in refused.stderr
    done = tidewatt("emulate", "fault", "http://127.0.0.1:1", "frozen=true")
    assert (done.returncode, len(done.stderr.splitlines())) == (1, 1)
    assert "no connection" in done.stderr


# --- which vendors there are ---


def test_every_adapter_of_the_project_has_an_emulator() -> None:
    """Whoever adds a vendor adds it to `tidewatt.emulators` too."""
    assert set(vendors()) >= set(registry.names())
    for name in vendors():
        assert builders.emulator(name).cadences_s


def test_an_emulator_of_a_third_party_is_found_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("zeta_emulator")
    module.__dict__.update({"build": lambda *_: None, "CADENCES_S": [60], "MOST_SITES": 1})
    module.build.__module__ = module.__name__
    monkeypatch.setitem(sys.modules, module.__name__, module)
    found = EntryPoints([EntryPoint("zeta", "zeta_emulator:build", registry.EMULATORS)])
    for place in (registry, builders):
        monkeypatch.setattr(place, "entry_points", lambda **wanted: found.select(**wanted))

    zeta = builders.emulator("zeta")

    assert "zeta" in vendors()
    assert (zeta.build, zeta.cadences_s, zeta.most_sites) == (module.build, (60,), 1)
    with pytest.raises(ConfigurationError, match="choose one of zeta"):
        builders.emulator("eta")
    del module.CADENCES_S
    with pytest.raises(ConfigurationError, match="CADENCES_S"):
        builders.emulator("zeta")


def test_nothing_to_emulate_is_told_rather_than_served(tmp_path: Path) -> None:
    options = EmulatorOptions(sample_site(), lambda _: None, 0.5, dt.datetime(2024, 5, 1, tzinfo=dt.UTC), 1.0)

    with pytest.raises(InputError, match="no emulator is installed"):
        run_emulators([], options, lambda records: write_ready(tmp_path / "ready.json", records))

    assert not (tmp_path / "ready.json").exists()


def test_a_vendor_that_is_none_is_refused(tidewatt: Run) -> None:
    assert tidewatt("emulate", "acme").returncode == 2


def test_bad_options_are_refused_in_one_line(tidewatt: Run) -> None:
    done = tidewatt("emulate", "--all", "--initial-soc", "50")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "initial_soc" in done.stderr
