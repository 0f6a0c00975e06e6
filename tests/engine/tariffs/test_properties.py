"""For any contract of the four kinds of components, on any day and at any step."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.prices import PriceCurve
from engine.tariffs import Band, Cap, Charge, Rates, Spot, Tariff, Vat, bill
from engine.timeline import hold, local_day

ZONES = ("Europe/Copenhagen", "Europe/Berlin", "Europe/London")
CHANGES = [dt.date(2025, 3, 30), dt.date(2025, 10, 26), dt.date(2026, 3, 29), dt.date(2026, 10, 25)]
DAYS = st.one_of(st.sampled_from(CHANGES), st.dates(dt.date(2025, 1, 1), dt.date(2026, 12, 31)))
PER_HOUR = {15: 4, 30: 2, 60: 1}
prices = st.floats(-2, 2, allow_nan=False).map(lambda value: round(value, 5))


@st.composite
def charges(draw, name="grid"):
    """A price sheet that changes on a date of 2025 or 2026, with windows at whole hours that do not overlap."""
    change = draw(st.dates(dt.date(2025, 1, 1), dt.date(2026, 12, 31)))
    sheets = []
    for begin, end in ((None, change), (change, None)):
        first, second, third = sorted(draw(st.lists(st.integers(1, 23), min_size=3, max_size=3, unique=True)))
        winter = draw(st.sampled_from([(1, 2, 3, 10, 11, 12), (1, 2, 3, 4), tuple(range(1, 13))]))
        kind = draw(st.sampled_from(["every day", "Monday-Friday", "Saturday-Sunday"]))
        bands = (
            Band(price=draw(prices), hours=(f"{first:02}:00-{second:02}:00",), months=winter),
            Band(price=draw(prices), hours=(f"{third:02}:00-{first:02}:00",), days=kind),
        )
        sheets.append(Rates(standard=draw(prices), bands=bands, valid_from=begin, valid_to=end))
    return Charge(name=name, sheets=tuple(sheets))


@st.composite
def tariffs(draw):
    components = [
        Spot(factor=draw(st.floats(0.5, 3))),
        draw(charges()),
        draw(charges("discount")),
        Vat.at(draw(st.floats(0, 0.3))),
    ]
    if draw(st.booleans()):
        components.insert(draw(st.integers(1, 4)), Cap(price=draw(st.floats(0, 3))))
    return Tariff(
        name="any", currency="EUR", timezone=draw(st.sampled_from(ZONES)), import_components=tuple(components)
    )


def spot_of(index, seed):
    return PriceCurve(pd.Series(np.random.default_rng(seed).normal(0.1, 0.3, len(index)), index), "EUR")


@settings(derandomize=True, deadline=None, max_examples=150)
@given(tariff=tariffs(), day=DAYS, minutes=st.sampled_from([15, 30, 60]), seed=st.integers(0, 99))
def test_components_sum_to_the_price_of_every_interval_of_a_day(tariff, day, minutes, seed):
    index = local_day(day, tariff.timezone, pd.Timedelta(minutes=minutes))
    spot = spot_of(index, seed)
    parts, price = tariff.components(spot), tariff.import_price(spot)
    assert parts.sum(axis=1).to_numpy() == pytest.approx(price.series.to_numpy(), abs=1e-12)
    assert (price.index == index).all()
    assert np.isfinite(price.series).all()
    hours = 24 + {3: -1, 10: 1}.get(day.month, 0) if day in CHANGES else 24
    assert len(price.series) == hours * PER_HOUR[minutes]


@settings(derandomize=True, deadline=None, max_examples=150)
@given(tariff=tariffs(), day=DAYS, minutes=st.sampled_from([5, 15, 30]), seed=st.integers(0, 99))
def test_the_bill_does_not_depend_on_the_step(tariff, day, minutes, seed):
    step, hour = pd.Timedelta(minutes=minutes), pd.Timedelta(hours=1)
    index = local_day(day, tariff.timezone, hour)
    spot = spot_of(index, seed)
    kwh = pd.Series(np.random.default_rng(seed).uniform(0, 3, len(index)), index)
    hourly = bill(tariff, spot, kwh)
    finer = bill(tariff, spot.hold(step), hold(kwh, step) * (step / hour))
    assert finer.imports.to_numpy() == pytest.approx(hourly.imports.to_numpy(), abs=1e-9)
    assert finer.total == pytest.approx(hourly.total, abs=1e-9)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(tariff=tariffs(), day=DAYS, seed=st.integers(0, 99))
def test_a_price_is_that_of_its_own_wall_clock_looked_up_instant_by_instant(tariff, day, seed):
    """Against a slow reading of the sheets with the standard library alone."""
    index = local_day(day, tariff.timezone, pd.Timedelta(minutes=30))
    grid = tariff.import_components[1 if isinstance(tariff.import_components[1], Charge) else 2]
    found = tariff.components(spot_of(index, seed))["grid"]
    for start, price in found.items():
        local = start.tz_convert(tariff.timezone).to_pydatetime()
        sheet = next(
            sheet
            for sheet in grid.sheets
            if (sheet.valid_from or dt.date.min) <= local.date() < (sheet.valid_to or dt.date.max)
        )
        assert price == next((band.price for band in sheet.bands if _holds(band, local)), sheet.standard)


def _holds(band: Band, local: dt.datetime) -> bool:
    begin, end = band.hours[0].split("-")
    now = local.strftime("%H:%M")
    inside = begin <= now < end if begin < end else now >= begin or now < end
    weekend = local.isoweekday() > 5
    kinds = {"every day": True, "Monday-Friday": not weekend, "Saturday-Sunday": weekend}
    return inside and local.month in band.months and kinds[band.days]


@settings(derandomize=True, deadline=None, max_examples=50)
@given(day=DAYS, zone=st.sampled_from(ZONES), seed=st.integers(0, 99))
def test_hourly_billing_of_even_use_costs_what_quarter_hourly_billing_does(day, zone, seed):
    index = local_day(day, zone, pd.Timedelta(minutes=15))
    spot, even = spot_of(index, seed), pd.Series(0.25, index)
    quarterly = Tariff(name="q", currency="EUR", timezone=zone, import_components=(Spot(), Vat.at(0.25)))
    hourly = quarterly.model_copy(update={"billing_resolution": dt.timedelta(hours=1)})
    assert bill(hourly, spot, even).total == pytest.approx(bill(quarterly, spot, even).total, abs=1e-9)
