"""The weather of sites whose location is known, asked for over HTTP on loopback, and nothing without being told to."""

from __future__ import annotations

import asyncio
import datetime as dt

import pytest
import stamina
from sqlalchemy import select

from adapters.emulation import EmulatedClock, Faults
from adapters.feeds.open_meteo.emulator import OpenMeteoCloud
from schedules import forecasting, inputs, weather, work
from schedules.settings import Settings
from schedules.store import SeriesRow, SiteRow
from tests.adapters.loopback import LoopbackServer
from tests.schedules.fake_battery import SITE
from tests.schedules.habits import live

HOUR = dt.timedelta(hours=1)


@pytest.fixture
def sky(bench, monkeypatch):
    """Open-Meteo as an installation is told of it."""
    server, cloud = LoopbackServer(), OpenMeteoCloud(EmulatedClock(bench.clock(), None))
    server.app = cloud.app
    monkeypatch.setenv("TIDEWATT_WEATHER", "open_meteo")
    monkeypatch.setenv("TIDEWATT_WEATHER_URL", server.url)
    with stamina.set_testing(True, attempts=1, cap=True):
        yield cloud
    server.stop()


def locate(bench, name: str | None = None, location=(55.6761, 12.5683)) -> int:
    assets = SITE.model_copy(update={"name": name or SITE.name, "location": location}).model_dump(mode="json")
    with bench.db.write() as session:
        row = session.scalar(select(SiteRow).where(SiteRow.name == (name or SITE.name)))
        if row is None:
            row = SiteRow(name=name, adapter="x", device_id=name, account_id=bench.target.account_id)
            session.add(row)
        row.assets = assets
        session.flush()
        return row.id


def fetch(bench) -> weather.Report:
    feed = weather.feed_of(Settings.from_environment(), bench.clock)
    return asyncio.run(weather.fetch(bench.db, bench.clock, feed))


def told(bench) -> list[SeriesRow]:
    with bench.db.session() as session:
        return list(session.scalars(select(SeriesRow).where(SeriesRow.name == "ghi_w_per_m2").order_by(SeriesRow.id)))


def test_nobody_is_asked_unless_that_is_set_and_the_place_is_known(bench, sky, monkeypatch):
    monkeypatch.setattr(work, "CLOCK", bench.clock)
    assert work._fetch_weather(bench.db, None) == "{}", "no site has a location"
    locate(bench)
    monkeypatch.delenv("TIDEWATT_WEATHER")
    assert work._fetch_weather(bench.db, None) == "off"
    assert sky.calls == 0
    monkeypatch.setenv("TIDEWATT_WEATHER", "open_meteo")
    assert work._fetch_weather(bench.db, None) == '{"places": 1, "sites": 1}'


def test_neighbours_share_a_question_and_it_is_asked_again_after_three_hours_from_where_it_was(bench, sky):
    for name, location in ((None, (55.6761, 12.5683)), ("next door", (55.6799, 12.5701)), ("far", (57.05, 9.92))):
        locate(bench, name, location)
    report = fetch(bench)
    assert (report.places, report.sites, sky.calls) == (2, 3, 2)
    first = told(bench)[0]
    assert first.begins_at == bench.clock() - weather.LOOKED_BACK
    assert len(first.numbers["values"]) == (weather.LOOKED_BACK + weather.AHEAD) // HOUR
    bench.move(3 * 3600 - 1)
    assert fetch(bench).places == 0
    bench.move(1)
    assert fetch(bench).places == 2
    again = told(bench)[-1]
    assert (again.begins_at, again.known_at) == (bench.clock() - 3 * HOUR, bench.clock())


def test_what_cannot_be_had_leaves_what_was_known(bench, sky):
    locate(bench)
    fetch(bench)
    bench.move(4 * 3600)
    sky.faults.switch(Faults(server_error_share=1.0))
    report = fetch(bench)
    assert (report.places, len(report.refused)) == (0, 1)
    assert len(told(bench)) == 1
    sky.faults.switch(Faults())
    sky.changes = {"hourly_units": {"temperature_2m": "°F"}}
    assert "not in °C" in fetch(bench).refused[0]
    sky.changes = {}
    assert fetch(bench).places == 1


@pytest.mark.usefixtures("sky")
def test_the_forecast_of_a_site_is_made_of_it(bench):
    pytest.importorskip("pvlib")
    locate(bench)
    live(bench.db, bench.target.id, bench.clock() - dt.timedelta(days=20), bench.clock())
    fetch(bench)
    site = SITE.model_copy(update={"location": (55.6761, 12.5683)})
    (dull,) = forecasting.make(bench.db, bench.clock(), bench.target.id, site, ["pv_kw"], "similar_day")
    assert (dull.made_by, dull.doubt) == ("PV regression", "")
    now = bench.clock()
    ghi = inputs.latest_told(bench.db, bench.target.id, "ghi_w_per_m2", now, now + HOUR, HOUR)
    bench.move(60)
    inputs.publish(bench.db, bench.clock, (ghi / 2).to_frame(), bench.target.id)
    (half,) = forecasting.make(bench.db, bench.clock(), bench.target.id, site, ["pv_kw"], "similar_day")
    assert half.values[4:].sum() == pytest.approx(dull.values[4:].sum() / 2, rel=0.02)


def test_the_key_of_a_customer_is_kept_out_of_logs():
    settings = Settings.from_environment({"TIDEWATT_WEATHER_KEY": "canary-key"})
    assert "canary-key" in settings.secrets
    assert "canary-key" not in repr(settings)
