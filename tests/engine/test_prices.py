"""Price curves keep their currency, their unit and their instants."""

from __future__ import annotations

import pandas as pd
import pytest

from engine import InputError
from engine.prices import PriceCurve

HOURS = pd.date_range("2025-03-30T00:00", periods=3, freq="h", tz="Europe/Copenhagen")


def curve(values, currency="EUR", index=HOURS):
    return PriceCurve(pd.Series(values, index), currency)


def test_market_prices_per_mwh_become_prices_per_kwh_on_utc():
    made = PriceCurve.per_mwh(pd.Series([50.0, -12.5, 0.0], HOURS), "EUR")
    assert made.series.tolist() == [0.05, -0.0125, 0.0]
    assert (made.series.name, str(made.index.tz), made.index.name) == ("eur_per_kwh", "UTC", "start")
    assert made.index[0] == pd.Timestamp("2025-03-29T23:00Z")
    assert made.step == pd.Timedelta(hours=1)


def test_curves_of_one_currency_add_and_subtract():
    together = curve([0.1, 0.2, 0.3]) + curve([0.01, 0.02, -0.03])
    assert together.series.tolist() == pytest.approx([0.11, 0.22, 0.27])
    assert (together - curve([0.01, 0.02, -0.03])).series.tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize("operator", ["__add__", "__sub__"])
def test_two_currencies_are_refused_by_name_and_first_interval(operator):
    with pytest.raises(InputError, match=r"EUR/kWh and DKK/kWh \(first interval 2025-03-29T23:00:00Z\)"):
        getattr(curve([0.1, 0.2, 0.3]), operator)(curve([1, 2, 3], "DKK"))


def test_two_steps_meet_only_on_request():
    quarters = curve([0.01] * 12, index=pd.date_range(HOURS[0], periods=12, freq="15min"))
    hours = curve([0.1, 0.2, 0.3])
    with pytest.raises(InputError, match=r"3 intervals from .* and 12 intervals"):
        hours + quarters
    assert (hours.hold("15min") + quarters).series.tolist() == pytest.approx([0.11] * 4 + [0.21] * 4 + [0.31] * 4)
    with pytest.raises(InputError, match="divide"):
        hours.hold("40min")


def test_conversion_takes_one_rate_or_one_per_interval():
    euro = curve([0.1, 0.2, -0.1])
    assert euro.to("DKK", 7.46).series.tolist() == pytest.approx([0.746, 1.492, -0.746])
    rates = pd.Series([7.45, 7.46, 7.47, 7.48], pd.date_range(HOURS[0], periods=4, freq="h").tz_convert("UTC"))
    converted = euro.to("DKK", rates)
    assert converted.currency == "DKK"
    assert converted.series.name == "dkk_per_kwh"
    assert converted.series.tolist() == pytest.approx([0.745, 1.492, -0.747])


@pytest.mark.parametrize(
    ("rate", "fault"),
    [
        (0.0, r"^rate: 0 at 2025-03-29T23:00:00Z is not above 0"),
        (-7.46, "not above 0"),
        (float("nan"), r"^rate: nan at 2025-03-29T23:00:00Z"),
        (pd.Series([7.46, 7.46], HOURS[:2]), r"^rate: nan at 2025-03-30T01:00:00Z"),
        (pd.Series([7.46] * 3, HOURS.tz_localize(None)), r"^rate\.index: times have no zone"),
    ],
)
def test_a_rate_that_is_missing_or_not_positive_is_refused(rate, fault):
    with pytest.raises(InputError, match=fault):
        curve([0.1, 0.2, 0.3]).to("DKK", rate)


@pytest.mark.parametrize("code", ["eur", "€", "EURO", "", "p"])
def test_a_currency_is_an_iso_code(code):
    with pytest.raises(InputError, match="ISO 4217"):
        curve([0.1, 0.2, 0.3], code)


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ([0.1, None, 0.3], r"^price: nan at 2025-03-30T00:00:00Z.*missing is not 0"),
        ([0.1, 0.2, float("inf")], r"^price: inf at 2025-03-30T01:00:00Z"),
        (["a", "b", "c"], "no numbers"),
    ],
)
def test_a_price_that_is_no_number_is_refused(values, fault):
    with pytest.raises(InputError, match=fault):
        curve(values)


def test_naive_and_broken_indexes_are_refused():
    with pytest.raises(InputError, match=r"eur_per_kwh\.index: times have no zone"):
        curve([0.1, 0.2, 0.3], index=HOURS.tz_localize(None))
    with pytest.raises(InputError, match="fill the gap"):
        curve([0.1, 0.2, 0.3], index=HOURS[[0, 1, 2]] + pd.to_timedelta([0, 0, 1], unit="h"))


def test_a_curve_cannot_be_changed_from_outside_or_inside():
    source = pd.Series([0.1, 0.2, 0.3], HOURS)
    made = PriceCurve(source, "EUR")
    source.iloc[0] = 9.0
    assert made.series.iloc[0] == 0.1
    with pytest.raises(ValueError, match="read-only"):
        made.series.iloc[0] = 9.0
    with pytest.raises(AttributeError):
        made.currency = "DKK"


def test_one_interval_knows_its_length_by_the_freq_of_its_index():
    assert curve([0.1], index=HOURS[:1]).step == pd.Timedelta(hours=1)
    with pytest.raises(InputError, match="give two or more"):
        _ = curve([0.1], index=pd.DatetimeIndex([HOURS[0]])).step
