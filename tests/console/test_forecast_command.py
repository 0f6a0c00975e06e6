"""`tidewatt forecast show`: what plans reckon with, whoever says so, and why there is nothing."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from schedules import forecasting, inputs
from schedules.clock import RealClock
from schedules.sites import register_site
from schedules.store import Database
from tests.schedules.fake_battery import SITE
from tests.schedules.frames import hours
from tests.schedules.habits import live

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    monkeypatch.setenv("TIDEWATT_STATE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "160")
    opened = Database.at(tmp_path / "tidewatt.sqlite")
    yield opened
    opened.close()


@pytest.fixture
def site_id(db: Database) -> int:
    return register_site(db, SITE, None, "huawei", "1", "barn").id  # type: ignore[arg-type]


@pytest.mark.usefixtures("site_id")
def test_without_readings_it_says_what_is_needed(tidewatt: Run) -> None:
    shown = tidewatt("forecast", "show", "bench")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "load_kw: nobody publishes a forecast; it has readings of 0.0 days; each quarter of an hour" in shown.stdout
    told = json.loads(tidewatt("forecast", "show", "bench", "--json").stdout)
    assert told["pv_kw"]["doubt"].startswith("has readings of 0.0 days")


def test_what_the_job_made_is_shown_with_its_doubts_beside_what_is_published(
    tidewatt: Run, db: Database, site_id: int
) -> None:
    clock, now = RealClock(), dt.datetime.now(dt.UTC)
    live(db, site_id, now - dt.timedelta(days=6), now)
    inputs.publish(db, clock, hours(f"{now:%Y-%m-%dT%H:00}", 48, load_kw=1.25), site_id)
    forecasting.run(db, clock, "similar_day")
    shown = tidewatt("forecast", "show", "bench", "--step-min", "180")
    assert "load_kw: published, known since" in shown.stdout
    assert "pv_kw: made by persistence, known since" in shown.stdout
    assert "pv_kw repeats the day before: there are readings of 6.0 days, 14 are needed" in shown.stdout
    assert "1.25" in shown.stdout
    assert "####" in shown.stdout
    told = json.loads(tidewatt("forecast", "show", "bench", "--json").stdout)
    assert (told["load_kw"]["made_by"], told["pv_kw"]["made_by"]) == (None, "persistence")
    assert len(told["pv_kw"]["values"]) in (144, 145)
    listed = tidewatt("inputs", "list").stdout
    assert "persistence (in doubt)" in listed


@pytest.mark.usefixtures("db")
def test_a_site_that_is_not_there_is_named(tidewatt: Run) -> None:
    refused = tidewatt("forecast", "show", "nowhere")
    assert (refused.returncode, "site nowhere" in refused.stderr) == (2, True)
