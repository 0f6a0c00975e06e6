"""How many cycles a battery has done, from whatever its vendor shows."""

from __future__ import annotations

import datetime as dt

import pytest

from adapters.contract import Channel
from engine import Strategy
from schedules import cycles
from schedules.store import SiteRow, TelemetryRow

NOON = dt.datetime(2024, 4, 10, 12, tzinfo=dt.UTC)
# Energy out of the store of 10 kWh for each kWh that leaves it as AC.
PER_KWH = 1 / 0.95 / 10.0


@pytest.fixture
def keep(store, account_id):
    """Keep readings of a site: hours from noon, counter [kWh], power [kW]."""
    with store.write() as session:
        session.add(SiteRow(id=1, name="home", assets={}, adapter="x", device_id="1", account_id=account_id))

    def readings(*rows: tuple[float, float | None, float | None], channel: Channel = Channel.STATE) -> None:
        with store.write() as session:
            for hours, discharge_kwh, battery_kw in rows:
                at = NOON + dt.timedelta(hours=hours)
                seen = {"channel": channel.value, "measured_at": at, "received_at": at}
                powers = {"discharge_kwh": discharge_kwh, "battery_kw": battery_kw}
                session.add(TelemetryRow(site_id=1, **seen, **powers))

    return readings


def taken(store, site, begin_h: float = -12.0, end_h: float = 0.0) -> float:
    begin, end = (NOON + dt.timedelta(hours=hours) for hours in (begin_h, end_h))
    return cycles.taken(store, 1, site.battery, begin, end)


def test_a_counter_counts_from_the_first_reading_to_the_last(store, site, keep):
    keep((-13, 90.0, 0.0), (-12, 100.0, 3.0), (-6, 101.5, 3.0), (0, 104.0, 3.0), (1, 120.0, 0.0))
    assert taken(store, site) == pytest.approx(4.0 * PER_KWH)


def test_a_counter_that_was_set_back_goes_on_from_there(store, site, keep):
    keep((-3, 100.0, None), (-2, 101.0, None), (-1, 0.5, None), (0, 2.0, None))
    assert taken(store, site) == pytest.approx((1.0 + 1.5) * PER_KWH)


def test_without_a_counter_the_mean_of_powers_counts_and_charging_is_none(store, site, keep):
    keep(*((-4 + number / 2, None, 2.0 if number < 4 else -3.0) for number in range(8)), channel=Channel.POWER)
    assert taken(store, site) == pytest.approx(1.0 * 4.0 * PER_KWH)


def test_nothing_seen_is_nothing_counted(store, site, keep):
    keep((-13, 100.0, 2.0))
    assert taken(store, site) == 0.0


def test_the_day_and_the_year_are_those_of_the_sites_own_clock(store, site, keep):
    """In Copenhagen this day began at 22:00 UTC."""
    local = site.model_copy(update={"timezone": "Europe/Copenhagen"})
    keep((-15, 100.0, None), (-14, 103.0, None), (-13, 104.0, None), (0, 105.0, None))
    begin = NOON + dt.timedelta(minutes=15)
    wanted = Strategy(cycles_per_day=1.0, cycles_per_year=200.0)
    found = cycles.counted(store, 1, local, wanted, NOON, begin, 0.01)
    assert found.cycles_today_so_far == pytest.approx(2.0 * PER_KWH + 0.01)
    assert found.cycles_this_year_so_far == pytest.approx(5.0 * PER_KWH + 0.01)


def test_a_plan_that_begins_with_the_day_has_all_of_its_budget(store, site, keep):
    keep((0, 100.0, None), (11.9, 103.0, None))
    midnight = NOON + dt.timedelta(hours=12)
    wanted = Strategy(cycles_per_day=1.0, cycles_per_year=200.0)
    found = cycles.counted(store, 1, site, wanted, midnight - dt.timedelta(minutes=6), midnight, 0.1)
    assert found.cycles_today_so_far == 0.0
    assert found.cycles_this_year_so_far == pytest.approx(3.0 * PER_KWH + 0.1)


def test_a_year_is_looked_through_only_where_it_has_a_budget(store, site, keep):
    keep((-13, 100.0, None), (-11, 101.0, None), (0, 102.0, None))
    found = cycles.counted(store, 1, site, Strategy(cycles_per_day=1.0), NOON, NOON, 0.0)
    assert (found.cycles_today_so_far, found.cycles_this_year_so_far) == (pytest.approx(1.0 * PER_KWH), 0.0)
