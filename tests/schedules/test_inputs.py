"""Prices and forecasts in the store: the newest that was known, a site's own before everybody's."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest

from engine.errors import InputError
from schedules import inputs
from tests.schedules.frames import POWERS, PRICES, hours


def publish(bench, frame, site_id=None):
    inputs.publish(bench.db, bench.clock, frame, site_id)


def known(bench, now=None):
    return inputs.known(bench.db, bench.target.id, now or bench.clock())


def test_prices_of_all_and_forecasts_of_one_make_its_inputs_where_both_reach(bench):
    publish(bench, hours("2024-04-10T10:00", 24, **PRICES))
    assert known(bench) is None
    publish(bench, hours("2024-04-10T12:00", 48, **POWERS), bench.target.id)
    frame = known(bench)
    assert list(frame.columns) == list(inputs.SERIES)
    assert (frame.index[0].hour, len(frame)) == (12, 22)


def test_the_newest_counts_and_what_was_known_before_can_be_seen_again(bench):
    publish(bench, hours("2024-04-10T10:00", 24, **PRICES, **POWERS))
    earlier = bench.clock()
    bench.move(3600)
    publish(bench, hours("2024-04-10T10:00", 24, import_price_eur_per_kwh=0.5))
    assert known(bench)["import_price_eur_per_kwh"].unique() == [0.5]
    assert known(bench, earlier)["import_price_eur_per_kwh"].unique() == [0.3]
    assert inputs.newest_known_at(bench.db, bench.target.id) == earlier + dt.timedelta(hours=1)


def test_a_sites_own_series_goes_before_a_newer_one_of_all(bench):
    publish(bench, hours("2024-04-10T10:00", 24, **PRICES, **POWERS))
    publish(bench, hours("2024-04-10T10:00", 24, load_kw=2.0), bench.target.id)
    bench.move(60)
    publish(bench, hours("2024-04-10T10:00", 24, load_kw=3.0))
    assert known(bench)["load_kw"].unique() == [2.0]


def test_a_missing_value_is_not_filled(bench):
    frame = hours("2024-04-10T10:00", 24, **PRICES, **POWERS)
    frame.iloc[5, 0] = np.nan
    publish(bench, frame)
    assert known(bench) is None


def test_a_gap_is_kept_by_every_database_and_counts_in_no_summary(store, clock):
    frame = hours("2024-04-10T10:00", 3, **PRICES)
    frame.iloc[1] = np.nan
    inputs.publish(store, clock, frame)
    buying = next(each for each in inputs.newest(store) if each.name == "import_price_eur_per_kwh")
    assert (buying.least, buying.most, (buying.ends_at - buying.begins_at)) == (0.3, 0.3, dt.timedelta(hours=3))


def test_hourly_prices_and_quarters_of_load_are_planned_by_the_quarter(bench):
    """Taken at the full hours alone, a load of the other quarters would be none."""
    publish(bench, hours("2024-04-10T10:00", 24, **PRICES))
    quarters = pd.date_range("2024-04-10T10:00Z", periods=96, freq="15min")
    publish(bench, pd.DataFrame({"load_kw": [0.0, 4.0, 4.0, 4.0] * 24, "pv_kw": 0.0}, quarters))
    frame = known(bench)
    assert (len(frame), frame["load_kw"].mean()) == (96, 3.0)
    assert frame["import_price_eur_per_kwh"].unique() == [0.3]


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (hours("2024-04-10T10:00", 24, price=1.0), "column 'price' is unknown"),
        (hours("2024-04-10T10:00", 24, **PRICES).tz_localize(None), "no aware DatetimeIndex"),
        (hours("2024-04-10T10:00", 24, **PRICES).drop(pd.Timestamp("2024-04-10T15:00Z")), "2024-04-10T16:00"),
    ],
)
def test_what_cannot_be_planned_with_is_refused(bench, frame, says):
    with pytest.raises(InputError, match=says):
        publish(bench, frame)
