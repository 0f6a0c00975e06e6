"""Weather labelled by the beginning of its hour, and the power that an array makes of it."""

from __future__ import annotations

import asyncio
import datetime as dt
import sys

import numpy as np
import pandas as pd
import pytest

from adapters.contract import ConfigurationError
from adapters.emulation import EmulatedClock
from adapters.feeds.contract import WEATHER_COLUMNS, Fault, FeedError, WeatherFeed
from adapters.feeds.open_meteo.client import OpenMeteo, Settings
from adapters.feeds.open_meteo.emulator import OpenMeteoCloud, weather_at_stamps
from adapters.feeds.photovoltaics import ArrayGeometry, pv_kw
from engine.errors import InputError

NOW = dt.datetime(2026, 6, 21, 6, tzinfo=dt.UTC)
BEGIN, END = (dt.datetime(2026, 6, day, 22, tzinfo=dt.UTC) for day in (20, 22))
PLACE = (55.68, 12.57)
ARRAY = ArrayGeometry(latitude=PLACE[0], longitude=PLACE[1], peak_kw=6.0, tilt_deg=35, azimuth_deg=180)


@pytest.fixture
def cloud(loopback_server):
    made = OpenMeteoCloud(EmulatedClock(NOW, None))
    loopback_server.app = made.app
    return made


@pytest.fixture
def ask(cloud, loopback_server):
    def once(what="forecast", begin=BEGIN, end=END, **settings):
        addresses = {"base_url": loopback_server.url, "archive_url": loopback_server.url}

        async def asked():
            feed = OpenMeteo(Settings.model_validate({**addresses, **settings}), cloud.clock.now)
            assert isinstance(feed, WeatherFeed)
            try:
                return await getattr(feed, what)(*PLACE, begin, end)
            finally:
                await feed.close()

        return asyncio.run(asked())

    return once


def test_radiation_is_that_of_the_hour_that_begins_at_its_label(ask):
    """The service gives that of the hour before."""
    weather = ask()
    stamps = pd.date_range(BEGIN, END, freq="1h")
    sky = weather_at_stamps(*PLACE, stamps)
    assert list(weather.frame.columns) == list(WEATHER_COLUMNS)
    assert len(weather.frame) == 48
    np.testing.assert_allclose(weather.frame["ghi_w_per_m2"], sky["shortwave_radiation"].iloc[1:], atol=0.01)
    means = (sky["temperature_2m"].iloc[:-1].to_numpy() + sky["temperature_2m"].iloc[1:].to_numpy()) / 2
    np.testing.assert_allclose(weather.frame["temperature_c"], means, atol=0.01)
    assert weather.known_at == NOW


def test_the_archive_is_some_days_behind_and_then_whole(ask, cloud):
    with pytest.raises(FeedError) as refusal:
        ask("archive")
    assert refusal.value.fault is Fault.LATE
    cloud.clock.step_to(NOW + dt.timedelta(days=5, hours=12))
    with pytest.raises(FeedError, match=r"partial: .*2026-06-21T18:00Z"):
        ask("archive")
    cloud.clock.step_to(NOW + dt.timedelta(days=8))
    assert len(ask("archive").frame) == 48


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({"latitude": 48.0}, Fault.WRONG_AREA),
        ({"hourly_units": {"wind_speed_10m": "km/h"}}, Fault.IMPLAUSIBLE),
        ({"hourly": {"temperature_2m": [300.0] * 72}}, Fault.IMPLAUSIBLE),
        ({"hourly": {"shortwave_radiation": [-1.0] * 72}}, Fault.IMPLAUSIBLE),
        ({"hourly": {"shortwave_radiation": [None] * 72}}, Fault.PARTIAL),
        ({"hourly": {"shortwave_radiation": [0.0] * 71}}, Fault.PARTIAL),
        ({"hourly": {"time": [1_782_000_000] * 72}}, Fault.DUPLICATED),
        ({"hourly": {"time": list(range(72))}}, Fault.WRONG_RESOLUTION),
        ({"hourly": {"time": ["x"]}}, Fault.UNREACHABLE),
        ({"hourly": "none"}, Fault.UNREACHABLE),
    ],
    ids=str,
)
def test_weather_that_cannot_be_is_refused(ask, cloud, changes, fault):
    cloud.changes = changes
    with pytest.raises(FeedError) as refusal:
        ask()
    assert refusal.value.fault is fault, refusal.value


def test_a_customers_key_is_shown_nowhere(ask, cloud):
    cloud.changes = {"hourly": "none"}
    with pytest.raises(FeedError) as refusal:
        ask(api_key="canary")
    assert "canary" not in str(refusal.value)
    assert "canary" not in repr(Settings(api_key="canary"))


def test_an_array_gives_most_at_local_noon_nothing_by_night_and_never_more_than_it_can(ask):
    power = pv_kw(ask().frame, ARRAY)
    assert (power.name, len(power)) == ("pv_kw", 48)
    assert (power >= 0).all()
    night = power[(power.index.hour >= 21) | (power.index.hour <= 1)]
    assert (night == 0).all()
    noon_utc = 12 - PLACE[1] / 15
    assert power.idxmax().hour + 0.5 == pytest.approx(noon_utc, abs=1.0)
    assert 0.5 * ARRAY.peak_kw < power.max() < ARRAY.peak_kw
    limited = pv_kw(ask().frame, ARRAY.model_copy(update={"ac_limit_kw": 2.0}))
    assert limited.max() == pytest.approx(2.0, rel=0.02)


def test_an_array_that_looks_east_has_its_noon_in_the_morning_and_scales_with_its_size(ask):
    frame = ask().frame
    east = pv_kw(frame, ARRAY.model_copy(update={"azimuth_deg": 90.0}))
    west = pv_kw(frame, ARRAY.model_copy(update={"azimuth_deg": 270.0}))
    assert east.idxmax().hour < pv_kw(frame, ARRAY).idxmax().hour < west.idxmax().hour
    half = pv_kw(frame, ARRAY.model_copy(update={"peak_kw": 3.0}))
    np.testing.assert_allclose(half, pv_kw(frame, ARRAY) / 2, rtol=1e-6, atol=1e-9)


def test_heat_costs_power(ask):
    frame = ask().frame
    hot = frame.assign(temperature_c=frame["temperature_c"] + 25)
    ratio = pv_kw(hot, ARRAY).sum() / pv_kw(frame, ARRAY).sum()
    assert ratio == pytest.approx(1 + 25 * ARRAY.temperature_coefficient_per_c, abs=0.03)


def test_a_gap_in_the_weather_is_a_gap_in_the_power_and_a_missing_column_is_named(ask):
    frame = ask().frame
    gap = frame.copy()
    gap.iloc[3, 0] = np.nan
    assert pv_kw(gap, ARRAY).isna().to_list() == [number == 3 for number in range(48)]
    with pytest.raises(InputError, match="column wind_m_per_s is missing"):
        pv_kw(frame.drop(columns="wind_m_per_s"), ARRAY)


def test_without_pvlib_the_way_out_is_named(ask, monkeypatch):
    frame = ask().frame
    monkeypatch.setitem(sys.modules, "pvlib", None)
    with pytest.raises(ConfigurationError, match=r"install tidewatt\[forecast\]"):
        pv_kw(frame, ARRAY)
