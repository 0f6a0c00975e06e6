"""`tidewatt prices`: markets go into the store sealed; what is fetched, refused and known is told in words and JSON."""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.emulation import EmulatedClock
from adapters.feeds.emulation import Wrong
from adapters.feeds.energi_data_service.emulator import EnergiDataServiceCloud
from adapters.feeds.markets import SDAC
from console.commands.prices import _bar
from schedules.store import AccountRow, Database, MarketDayRow, PlanRow, SiteRow
from tests.adapters.loopback import LoopbackServer

CANARY = "canary-77aa"
Run = Callable[..., subprocess.CompletedProcess[str]]
pytestmark = pytest.mark.usefixtures("db")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    environment = {
        **os.environ,
        "TIDEWATT_STATE": str(tmp_path / "state"),
        "TIDEWATT_KEY": "b2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb2xkb28=",
        "TZ": "Europe/Copenhagen",
        "COLUMNS": "160",
    }

    def command(*arguments: str) -> subprocess.CompletedProcess[str]:
        program = [sys.executable, "-W", "error", "-m", "console", *arguments]
        return subprocess.run(program, capture_output=True, text=True, check=False, env=environment, timeout=120)

    return command


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Database]:
    opened = Database.at(tmp_path / "state" / "tidewatt.sqlite")
    with opened.write() as session:
        account = AccountRow(name="barn", adapter="huawei")
        session.add(account)
        session.flush()
        session.add(SiteRow(name="home", assets={}, adapter="huawei", device_id="1", account_id=account.id))
    yield opened
    opened.close()


@pytest.fixture
def cloud() -> Iterator[tuple[EnergiDataServiceCloud, str]]:
    """The service, whose clock is far enough ahead for tomorrow's prices to be out."""
    now = dt.datetime.now(dt.UTC) + dt.timedelta(days=3)
    made, server = EnergiDataServiceCloud(EmulatedClock(now, None)), LoopbackServer()
    server.app = made.app
    yield made, server.url
    server.stop()


def market(url: str, **changes: Any) -> dict[str, Any]:
    contract = {"kind": "spot", "fee_per_kwh": 0.1, "vat": 0.25}
    return {
        "name": "west",
        "area": "DK1",
        "sources": [
            {"source": "energi_data_service", "settings": {"base_url": url}},
            {"source": "entsoe", "settings": {"base_url": url, "security_token": CANARY}},
        ],
        "sites": [{"sites": ["home"], "contract": contract}],
        **changes,
    }


def put(tmp_path: Path, run: Run, *markets: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "markets.json"
    file.write_text(json.dumps({"markets": list(markets)}))
    return run("prices", "import", str(file))


def test_a_market_is_imported_fetched_and_shown(
    run: Run, cloud: tuple[EnergiDataServiceCloud, str], tmp_path: Path
) -> None:
    imported = put(tmp_path, run, market(cloud[1]))
    assert (imported.returncode, imported.stderr) == (0, "")
    assert "market west: DK1 of energi_data_service, entsoe; 1 sites live by it" in imported.stdout
    assert CANARY not in imported.stdout
    assert CANARY.encode() not in (tmp_path / "state" / "tidewatt.sqlite").read_bytes()
    fetched = run("prices", "fetch")
    assert (fetched.returncode, fetched.stderr) == (0, "")
    assert "energi_data_service: accepted, 96 prices, spot " in fetched.stdout
    assert "1 sites have new prices" in fetched.stdout
    shown = run("prices", "show")
    assert "spot EUR/kWh" in shown.stdout
    assert "known since" in shown.stdout
    assert "#" in shown.stdout
    told = json.loads(run("prices", "show", "--json").stdout)
    today = told["days"][0]
    assert {price["unit"] for price in today["prices"]} == {"EUR/kWh", "DKK/kWh"}
    assert len(today["prices"][0]["values"]) == 96
    assert dt.datetime.fromisoformat(today["known_at"]).tzinfo is not None
    assert 0 <= today["age_s"] < 120
    assert json.loads(run("inputs", "list", "--json").stdout)[0]["site"] == "home"


def test_negative_prices_are_marked(run: Run, cloud: tuple[EnergiDataServiceCloud, str], tmp_path: Path) -> None:
    put(tmp_path, run, market(cloud[1]))
    summer = "2026-06-21"
    cloud[0].clock = EmulatedClock(dt.datetime(2026, 7, 1, tzinfo=dt.UTC), None)
    fetched = run("prices", "fetch", "--day", summer, "--json")
    assert json.loads(fetched.stdout)[0]["intervals"] == 96
    shown = run("prices", "show", "--day", summer)
    negative = [line for line in shown.stdout.splitlines() if " -0.0" in line]
    assert negative
    # Behind each negative figure a mark, and a bar to the other side.
    assert all(re.search(r"-0\.\d+ -", line) and line.rstrip().endswith("-") for line in negative)
    (day,) = json.loads(run("prices", "show", "--day", summer, "--json").stdout)["days"]
    values = day["prices"][0]["values"]
    assert day["prices"][0]["negative"] == sum(value < 0 for value in values) > 0


def test_what_is_refused_is_told_with_its_reason_and_nothing_is_kept(
    run: Run, db: Database, cloud: tuple[EnergiDataServiceCloud, str], tmp_path: Path
) -> None:
    put(tmp_path, run, market(cloud[1]))
    cloud[0].wrong = Wrong(partial=True)
    fetched = run("prices", "fetch", "--source", "energi_data_service", "--area", "DK1")
    assert fetched.returncode == 1
    assert "energi_data_service: refused, partial: energi_data_service: DK1" in fetched.stdout
    with db.session() as session:
        assert session.query(MarketDayRow).count() == 0


def test_a_dry_run_keeps_nothing(
    run: Run, db: Database, cloud: tuple[EnergiDataServiceCloud, str], tmp_path: Path
) -> None:
    put(tmp_path, run, market(cloud[1]))
    fetched = run("prices", "fetch", "--dry-run")
    assert fetched.returncode == 0
    assert fetched.stdout.count("; not kept") >= 1
    with db.session() as session:
        assert session.query(MarketDayRow).count() == 0


def test_nothing_is_fetched_for_what_nobody_imported(run: Run) -> None:
    for arguments in ((), ("--area", "DK1"), ("--source", "energi_data_service", "--area", "DK1")):
        fetched = run("prices", "fetch", *arguments)
        assert fetched.returncode == 2
        assert "tidewatt prices import FILE" in fetched.stderr
    assert "no markets yet" in run("prices", "show").stdout


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"area": "ATLANTIS"}, "'ATLANTIS' is unknown"),
        ({"sources": []}, "market 1: sources"),
        ({"sources": [{"source": "moon"}]}, "'moon' is unknown; choose one of"),
        ({"sources": [{"source": "entsoe", "settings": {"security_tokn": CANARY}}]}, "security_tokn"),
        ({"sources": [{"source": "octopus"}, {"source": "energi_data_service"}]}, "of one market only"),
        ({"sites": [{"sites": ["nowhere"], "contract": {"kind": "spot"}}]}, "site nowhere"),
        ({"sites": [{"sites": ["home"], "contract": {"kind": CANARY}}]}, "sites.0.contract"),
        ({"colour": CANARY}, "colour"),
    ],
    ids=str,
)
def test_a_file_that_is_wrong_is_told_by_the_field_and_shows_no_value(
    run: Run, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    found = put(tmp_path, run, market("http://127.0.0.1:9", **changes))
    assert found.returncode in (1, 2)
    assert said in found.stderr
    assert CANARY not in found.stderr
    assert found.stderr.count("\n") == 1


def test_a_market_is_removed(run: Run, tmp_path: Path) -> None:
    put(tmp_path, run, market("http://127.0.0.1:9"))
    assert run("prices", "remove", "west").returncode == 0
    assert run("prices", "remove", "west").returncode == 2


def test_status_shows_that_a_plan_is_degraded(run: Run, db: Database) -> None:
    now = dt.datetime.now(dt.UTC)
    with db.write() as session:
        session.add(
            PlanRow(
                site_id=1,
                made_at=now,
                begins_at=now,
                ends_at=now + dt.timedelta(hours=1),
                initial_soc=0.5,
                cost_eur=0.0,
                cost_without_battery_eur=0.0,
                solver="dp",
                intervals=[],
                why="test",
                degraded="prices from 2026-06-03T22:00Z on are estimates: none were published",
            )
        )
    shown = run("status").stdout
    assert "DEGRADED" in shown
    assert "home: plan is DEGRADED: prices from 2026-06-03T22:00Z on are estimates" in shown
    (site,) = json.loads(run("status", "--json").stdout)["sites"]
    assert site["plan"]["degraded"].startswith("prices from")


def test_bars_share_one_line_of_nought() -> None:
    assert _bar(0.3, -0.1, 0.3) == " " * 6 + "#" * 18
    assert _bar(-0.1, -0.1, 0.3) == "-" * 6
    assert _bar(0.0, 0.0, 0.0) == ""
    assert len(_bar(0.3, 0.0, 0.3)) == 24


def test_days_of_the_market_are_those_of_central_europe() -> None:
    """Whatever zone a user is in."""
    assert SDAC.begin(dt.date(2026, 1, 2)) == dt.datetime(2026, 1, 1, 23, tzinfo=dt.UTC)
