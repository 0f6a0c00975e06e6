"""`tidewatt init`, `sites`, `inputs`: from an empty folder to an installation that can be planned and driven."""

from __future__ import annotations

import datetime as dt
import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]
ACCOUNT = {
    "adapter": "solax",
    "account": {"token_id": "canary-71b2", "upload_time_zone": "Europe/Copenhagen"},
    "device_ids": ["SR1", "SR2"],
}
PRICES = (
    "start,import_price_eur_per_kwh,export_price_eur_per_kwh\n2026-01-01T00:00Z,0.3,0.1\n2026-01-01T01:00Z,0.2,0.1\n"
)


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def run(state: Path) -> Run:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TIDEWATT_")}

    def command(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", "-m", "console", *arguments],
            env={**environment, "TIDEWATT_STATE": str(state), **more},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return command


@pytest.fixture
def ready(run: Run, tmp_path: Path) -> Run:
    """An installation with an account and the two sites that its file names."""
    file = tmp_path / "accounts.json"
    file.write_text(json.dumps([ACCOUNT]))
    assert run("init").returncode == 0
    done = run("accounts", "import", str(file), "--with-sites")
    assert (done.returncode, "2 sites" in done.stderr) == (0, True), done.stderr
    return run


def test_init_makes_a_key_for_its_owner_only_and_never_another(run: Run, state: Path) -> None:
    missing = run("accounts", "rotate-key")
    assert missing.returncode == 1
    assert "tidewatt init" in missing.stderr
    assert run("init").returncode == 0
    key = state / "key"
    before = key.read_bytes()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700
    again = run("init")
    assert (again.returncode, key.read_bytes()) == (0, before)
    assert before.decode().strip() not in again.stdout + again.stderr
    assert sorted(path.name for path in state.glob("key*")) == ["key"]


def test_init_makes_no_key_where_the_environment_has_one(run: Run, state: Path) -> None:
    key = "b29vb29vb29vb29vb29vb29vb29vb29vb29vb29vb28="
    assert run("init", TIDEWATT_KEY=key).returncode == 0
    assert not (state / "key").exists()
    assert run("init", TIDEWATT_KEY="no key").returncode == 1


def test_a_key_that_others_may_read_is_not_used(ready: Run, state: Path) -> None:
    (state / "key").chmod(0o644)
    done = ready("init")
    assert (done.returncode, "chmod it to 600" in done.stderr) == (1, True)


def test_sites_are_added_listed_trusted_and_removed(ready: Run, tmp_path: Path) -> None:
    site = tmp_path / "site.yaml"
    site.write_text(
        "name: other\ntimezone: Europe/Berlin\nbattery: {capacity_kwh: 8, max_charge_kw: 3, max_discharge_kw: 4}\n"
        "grid: {import_limit_kw: 20, export_limit_kw: 5}\n"
    )
    done = ready("sites", "add", "barn", "--account", "solax", "--device", "SR3", "--site", str(site))
    assert done.returncode == 0, done.stderr
    listed = json.loads(ready("sites", "list", "--json").stdout)
    assert [(row["name"], row["device_id"], row["rated_kw"]) for row in listed] == [
        ("barn", "SR3", 4.0),
        ("solax SR1", "SR1", 5.0),
        ("solax SR2", "SR2", 5.0),
    ]
    assert ready("sites", "trust", "barn", "--reason", "looked at it").returncode == 0
    assert "cleared by" in ready("sites", "list").stdout
    assert ready("sites", "remove", "barn").returncode == 0
    assert "barn" not in ready("sites", "list").stdout
    twice = ready("sites", "remove", "barn")
    assert (twice.returncode, twice.stderr) == (
        2,
        "tidewatt: site barn: is not in the store; see `tidewatt sites list`\n",
    )


def test_inputs_are_published_for_all_or_for_one_and_listed(ready: Run, tmp_path: Path) -> None:
    prices = tmp_path / "prices.csv"
    prices.write_text(PRICES)
    assert ready("inputs", "publish", str(prices)).returncode == 0
    assert ready("inputs", "publish", str(prices), "--site", "solax SR2").returncode == 0
    listed = json.loads(ready("inputs", "list", "--json").stdout)
    assert [(row["site"], row["series"], row["least"], row["most"]) for row in listed] == [
        (None, "export_price_eur_per_kwh", 0.1, 0.1),
        (None, "import_price_eur_per_kwh", 0.2, 0.3),
        ("solax SR2", "export_price_eur_per_kwh", 0.1, 0.1),
        ("solax SR2", "import_price_eur_per_kwh", 0.2, 0.3),
    ]
    assert {row["until"] for row in listed} == {"2026-01-01T02:00:00+00:00"}


def test_the_sample_begins_now_and_is_said_to_be_one(ready: Run) -> None:
    done = ready("inputs", "publish", "--sample", "--step-min", "5")
    assert (done.returncode, "sample" in done.stdout) == (0, True)
    listed = json.loads(ready("inputs", "list", "--json").stdout)
    assert len(listed) == 4
    for row in listed:
        begin, end = dt.datetime.fromisoformat(row["from"]), dt.datetime.fromisoformat(row["until"])
        assert dt.timedelta(0) <= dt.datetime.now(dt.UTC) - begin < dt.timedelta(minutes=6)
        assert (end - begin, row["step_s"]) == (dt.timedelta(days=1), 300.0)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("inputs", "publish"), "file: give either a file or --sample"),
        (("inputs", "publish", "--sample", "--step-min", "7"), "step_min: value 7 does not divide 60"),
        (("inputs", "publish", "--sample", "--site", "attic"), "site attic: is not in the store"),
        (("sites", "add", "barn", "--account", "hal", "--device", "X"), "account hal: is not in the store"),
        (("sites", "add", "barn", "--account", "solax", "--device", "SR1"), "device SR1: is the one of site solax SR1"),
        (("sites", "trust", "attic", "--reason", "x"), "'attic' is not in the store"),
    ],
)
def test_what_cannot_be_is_one_line_with_a_way_out(ready: Run, arguments: tuple[str, ...], said: str) -> None:
    done = ready(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert ";" in done.stderr
