from __future__ import annotations

import datetime as dt
import json
import subprocess
import sys

import pytest

from engine import Battery, Site
from schedules.store import AccountRow, Database, SiteRow

SITE = Site(
    name="home", battery=Battery(capacity_kwh=10, max_charge_kw=5, max_discharge_kw=4), timezone="Europe/Copenhagen"
)


@pytest.fixture
def store(tmp_path):
    db = Database.at(tmp_path / "store.sqlite")
    with db.write() as session:
        session.add(account := AccountRow(name="ours", adapter="alphaess"))
        session.flush()
        assets = SITE.model_dump(mode="json")
        session.add(SiteRow(name="home", assets=assets, adapter="alphaess", device_id="AL1", account_id=account.id))
    db.close()
    return f"sqlite:///{tmp_path / 'store.sqlite'}"


def run(store: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "console", "override", *arguments, "--store", store]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def in_hours(hours: float) -> str:
    return (dt.datetime.now(dt.UTC) + dt.timedelta(hours=hours)).isoformat()


def test_an_override_is_set_listed_and_cancelled(store):
    wish = ("set", "home", "--mode", "charge", "--power-kw", "3", "--until", in_hours(2), "--reason", "guests")
    made = json.loads(run(store, *wish, "--by", "ada", "--json").stdout)
    assert (made["mode"], made["power_kw"], made["until_soc"], made["by"]) == ("charge", 3.0, 1.0, "ada")
    assert json.loads(run(store, "list", "--json").stdout) == [made]
    shown = run(store, "list").stdout
    assert "guests" in shown
    assert "charge" in shown
    assert json.loads(run(store, "cancel", str(made["id"]), "--json").stdout) == {"cancelled": made["id"]}
    assert json.loads(run(store, "list", "--json").stdout) == []
    (past,) = json.loads(run(store, "list", "--past", "--json").stdout)
    assert past["cancelled_at"]


def test_a_time_without_an_offset_is_the_sites(store):
    day = (dt.datetime.now(dt.UTC) + dt.timedelta(days=2)).date()
    done = run(store, "set", "home", "--mode", "hold", "--until", f"{day}T12:00", "--reason", "why", "--json")
    until = dt.datetime.fromisoformat(json.loads(done.stdout)["until"])
    assert until.hour in (10, 11), "noon in Copenhagen is 11:00 UTC in winter, 10:00 in summer"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--mode", "discharge", "--power-kw", "4.5"), "power_kw: 4.5 kW is above the rating of 4 kW"),
        (("--mode", "charge"), "power_kw: value 0 does not belong to charge; give --power-kw above 0"),
        (("--mode", "hold", "--power-kw", "1"), "power_kw: value 1 does not belong to hold"),
        (("--mode", "hold", "--from", "tomorrow"), "from: value 'tomorrow' is no time"),
        (("--mode", "hold", "--from", "2024-10-27T02:30"), "from: 2024-10-27T02:30 happens twice"),
    ],
)
def test_what_cannot_be_is_one_line(store, arguments, complaint):
    done = run(store, "set", "home", "--until", in_hours(2), "--reason", "why", *arguments)
    assert done.returncode == 2
    assert done.stderr.startswith(f"tidewatt: {complaint}")
    assert done.stderr.count("\n") == 1


def test_a_time_that_is_over_and_an_unknown_site_are_one_line_each(store):
    over = run(store, "set", "home", "--mode", "hold", "--until", in_hours(-1), "--reason", "why")
    unknown = run(store, "set", "nowhere", "--mode", "hold", "--until", in_hours(1), "--reason", "why")
    for done, complaint in ((over, "until:"), (unknown, "site: value 'nowhere'")):
        assert done.returncode == 2
        assert done.stderr.startswith(f"tidewatt: {complaint}")
