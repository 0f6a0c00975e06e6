"""`tidewatt strategy` and `tidewatt groups`: what people set, see, compare and take back."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from console import strategies
from console.cli import main
from console.sample import sample_from, sample_site
from engine import Plan, Site, optimise
from schedules import inputs
from schedules.clock import RealClock
from schedules.store import AccountRow, Database, SiteRow, TelemetryRow
from schedules.what_if import WhatIf

SMALL_BAND = {"max_soc": 0.8}


def home(name: str, **battery: float) -> Site:
    site = sample_site()
    return site.model_copy(update={"name": name, "battery": site.battery.model_copy(update=battery)})


@pytest.fixture
def store(tmp_path: Path) -> str:
    """Three sites with prices and forecasts, two of them seen a moment ago, two in the group `street`."""
    db, clock = Database.at(tmp_path / "store.sqlite"), RealClock()
    with db.write() as session:
        session.add(account := AccountRow(name="ours", adapter="alphaess"))
        session.flush()
        for number, site in enumerate((home("barn"), home("mill", **SMALL_BAND), home("[red]:one:")), start=1):
            assets = site.model_dump(mode="json")
            place = {"name": site.name, "adapter": "alphaess", "device_id": f"AL{number}", "account_id": account.id}
            session.add(SiteRow(id=number, assets=assets, **place))
            if number < 3:
                now = clock()
                session.add(TelemetryRow(site_id=number, channel="state", measured_at=now, received_at=now, soc=0.5))
    inputs.publish(db, clock, sample_from(clock(), 60))
    db.close()
    where = f"sqlite:///{tmp_path / 'store.sqlite'}"
    assert run(where, "groups", "add", "street", "--portfolio", "north").returncode == 0
    assert run(where, "groups", "put", "barn", "mill", "--group", "street").returncode == 0
    return where


def run(store: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command in this process, as starting thirty others would take minutes."""
    out, err = io.StringIO(), io.StringIO()
    command = ["tidewatt", *arguments, "--store", store]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            main()
    return subprocess.CompletedProcess(command, int(ended.value.code or 0), out.getvalue(), err.getvalue())


def read(store: str, *arguments: str) -> Any:
    done = run(store, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(store: str, *arguments: str) -> str:
    done = run(store, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("tidewatt: ")
    assert done.stderr.count("\n") == 1
    return done.stderr.removeprefix("tidewatt: ")


def test_a_strategy_is_set_with_what_it_costs_shown_compared_and_taken_back(store: str) -> None:
    tried = read(store, "strategy", "set", "group:street", "reserve_soc=0.4", "--dry-run")
    assert tried["version"] is None
    assert read(store, "strategy", "list") == []
    made = read(store, "strategy", "set", "group:street", "reserve_soc=0.4", "--note", "winter", "--by", "ada")
    assert (made["scope"], made["version"]) == ("group:street", 1)
    assert made["changes"] == [{"field": "reserve_soc", "after": 0.4}]
    assert [each["site"] for each in made["what_if"]] == ["barn", "mill"]
    for each in made["what_if"]:
        assert each["problem"] is None
        assert each["cost_eur_after"] > each["cost_eur_before"], "a reserve is not free"
        assert each["soc_at_end_before"] == pytest.approx(0.1)
        assert each["soc_at_end_after"] == pytest.approx(0.4)

    second = run(
        store, "strategy", "set", "group:street", "grid_charging=false", "prefer=later_charging", "--by", "bob"
    )
    assert second.returncode == 0, second.stderr
    for words in ("reserve_soc", "cost now", "cost then", "2 sites", "EUR", "group:street: version 2 saved"):
        assert (words in second.stdout) == (words != "reserve_soc"), "what stays the same is not shown"

    listed = read(store, "strategy", "list", "group:street")
    assert [(each["version"], each["by"], each["note"]) for each in listed] == [(1, "ada", "winter"), (2, "bob", "")]
    assert listed[1]["fields"] == {"reserve_soc": 0.4, "grid_charging": False, "prefer": "later_charging"}
    assert "winter" in run(store, "strategy", "list").stdout
    assert read(store, "strategy", "diff", "group:street", "2", "1") == [
        {"field": "grid_charging", "before": False},
        {"field": "prefer", "before": "later_charging"},
    ]
    shown = run(store, "strategy", "diff", "group:street", "1", "2").stdout
    assert ["grid_charging", "inherited", "false"] in [line.split() for line in shown.splitlines()]

    back = read(store, "strategy", "rollback", "group:street", "1")
    assert back["version"] == 3
    assert read(store, "strategy", "list")[-1]["note"] == "as version 1"
    assert "nothing changes" in run(store, "strategy", "rollback", "group:street", "1").stdout
    assert len(read(store, "strategy", "list")) == 3


def test_what_holds_at_a_site_is_shown_with_where_it_comes_from(store: str) -> None:
    for scope, field in (
        ("portfolio", "prefer=later_charging"),
        ("portfolio:north", "cycles_per_day=1.5"),
        ("group:street", "reserve_soc=0.2"),
        ("barn", "reserve_soc=0.3"),
    ):
        assert run(store, "strategy", "set", scope, field, "--no-what-if").returncode == 0
    shown = read(store, "strategy", "show", "barn", "--effective")
    assert shown["versions"] == {"portfolio": 1, "portfolio:north": 1, "group:street": 1, "site:barn": 1}
    fields = {each["field"]: (each["value"], each["unit"], each["scope"], each["version"]) for each in shown["fields"]}
    assert fields["reserve_soc"] == (0.3, "fraction", "site:barn", 1)
    assert fields["cycles_per_day"][2:] == ("portfolio:north", 1)
    assert fields["prefer"][2:] == ("portfolio", 1)
    assert fields["grid_charging"] == (True, "", None, None)
    assert fields["carbon_eur_per_kg"][1] == "EUR/kg"
    assert "cycles_today_so_far" not in fields, "that is measured"

    lines = [line.split() for line in run(store, "strategy", "show", "barn", "--effective").stdout.splitlines()]
    assert ["reserve_soc", "30", "%", "site:barn", "version", "1"] in lines
    assert ["grid_charging", "true", "default"] in lines
    own = read(store, "strategy", "show", "barn")
    assert [each["field"] for each in own["fields"]] == ["reserve_soc"]
    for arguments, scope in (
        (("--group", "street"), "group:street"),
        (("--portfolio", "north"), "portfolio:north"),
        ((), "portfolio"),
    ):
        found = read(store, "strategy", "show", *arguments)
        assert (found["scope"], list(found["versions"])) == (scope, [scope])
    assert "nothing is set" in run(store, "strategy", "show", "mill").stdout


def test_a_file_has_all_that_a_scope_sets_and_a_field_can_be_inherited_again(store: str, tmp_path: Path) -> None:
    file = tmp_path / "strategy.yaml"
    file.write_text("reserve_soc: 0.2\ncycles_per_day: null\n")
    assert run(store, "strategy", "set", "portfolio", "prefer=fewer_switches", "--no-what-if").returncode == 0
    read(store, "strategy", "set", "portfolio", "--file", str(file), "--no-what-if")
    assert read(store, "strategy", "list")[-1]["fields"] == {"reserve_soc": 0.2, "cycles_per_day": None}
    read(store, "strategy", "set", "portfolio", "--inherit", "reserve_soc", "grid_charging=no", "--no-what-if")
    assert read(store, "strategy", "list")[-1]["fields"] == {"cycles_per_day": None, "grid_charging": False}
    said = refused(store, "strategy", "set", "portfolio", "--inherit", "reserve_soc")
    assert said.startswith("reserve_soc: it is not set at portfolio")
    file.write_text("- reserve_soc\n")
    said = refused(store, "strategy", "set", "portfolio", "--file", str(file))
    assert "holds no fields; write fields of a strategy, such as reserve_soc: 0.3" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("portfolio",), "field: none is given; write for example reserve_soc=0.3"),
        (("portfolio", "reserve_soc"), "reserve_soc: value 'reserve_soc' is no field=value"),
        (("portfolio", "reserve_soc="), "reserve_soc: value 'reserve_soc=' is no field=value"),
        (("portfolio", "reserve_soc=0.1", "reserve_soc=0.2"), "reserve_soc: given twice; keep one of them"),
        (("portfolio", "reserve_soc=[0.1"), "reserve_soc: value '[0.1' cannot be read"),
        (("portfolio", "reserve_soc=30"), "reserve_soc: value 30: input should be less than or equal to 1; correct"),
        (("portfolio", "reserve=0.3"), "reserve: unknown field (value 0.3); remove it or correct its spelling"),
        (("portfolio", "battery_export=some"), "battery_export: value 'some': input should be 'allowed', 'behind_pv'"),
        (("group:", "reserve_soc=0.3"), "scope: value 'group:' has no name; write portfolio, group:NAME"),
        (("attic", "reserve_soc=0.3"), "site attic: is not in the store; see `tidewatt sites list`"),
        (
            ("group:street", "reserve_soc=0.9"),
            "site mill: reserve_soc: value 0.9 is above max_soc 0.8 (reserve_soc is from group:street as proposed)",
        ),
    ],
)
def test_what_cannot_be_is_one_line_and_saves_nothing(store: str, arguments: tuple[str, ...], said: str) -> None:
    assert refused(store, "strategy", "set", *arguments).startswith(said)
    assert read(store, "strategy", "list") == []


def test_sites_without_a_figure_say_why_and_names_are_shown_as_they_are(store: str) -> None:
    done = run(store, "strategy", "set", "[red]:one:", "reserve_soc=0.3")
    assert done.returncode == 0, done.stderr
    assert "soc: never seen" in done.stdout
    assert "site:[red]:one:: version 1 saved" in done.stdout
    assert "site:[red]:one:" in run(store, "strategy", "list").stdout


def test_groups_are_made_filled_emptied_and_listed(store: str) -> None:
    assert read(store, "groups", "list") == [{"name": "street", "portfolio": "north", "sites": ["barn", "mill"]}]
    assert {row["name"]: row["group"] for row in read(store, "sites", "list")} == {
        "[red]:one:": None,
        "barn": "street",
        "mill": "street",
    }
    assert run(store, "groups", "put", "mill", "--none").returncode == 0
    assert run(store, "groups", "add", "street").returncode == 0
    assert read(store, "groups", "list") == [{"name": "street", "portfolio": None, "sites": ["barn"]}]
    assert "street" in run(store, "groups", "list").stdout
    assert refused(store, "groups", "put", "mill").startswith("group: give either --group or --none")
    assert refused(store, "groups", "put", "mill", "--group", "attic").startswith("group attic: is not in the store")


def test_a_table_of_many_sites_shows_those_on_which_it_has_most_effect_and_the_sum() -> None:
    series = sample_from(RealClock()(), 60)
    prices = [series[f"{name}_price_eur_per_kwh"] for name in ("import", "export")]

    def plan(soc: float) -> Plan:
        return optimise(
            sample_site(), import_price=prices[0], export_price=prices[1], load=series["load_kw"], initial_soc=soc
        )

    full = plan(1.0)
    plans = [plan(0.1 + number / 100) for number in range(30)]
    outcomes = [WhatIf(f"site {number}", full, each, "") for number, each in enumerate(plans)]
    table = strategies.what_if_table([*outcomes, WhatIf("blind", None, None, "not seen")])
    names = list(table.columns[0].cells)
    assert names[:2] == ["blind", "site 0"], "what has no figure comes first, then the largest"
    assert names[-2:] == ["and 11 more", "30 sites"]
    sums = [float(list(table.columns[place].cells)[-1].removesuffix(" EUR")) for place in (1, 2, 3)]
    expected = [30 * full.cost_eur, sum(each.cost_eur for each in plans)]
    assert sums == pytest.approx([*expected, expected[1] - expected[0]], abs=0.006)


def test_the_first_command_of_an_installation_makes_its_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TIDEWATT_STORE", raising=False)
    monkeypatch.setenv("TIDEWATT_STATE", str(tmp_path / "new" / "state"))
    # An option that is given empty counts as one that is not given.
    assert read("", "strategy", "list") == []
    assert (tmp_path / "new" / "state" / "tidewatt.sqlite").exists()
