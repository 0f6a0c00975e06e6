"""Components, sheets and windows: what they add up to, and what they refuse."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from engine import InputError
from engine.prices import PriceCurve
from engine.tariffs import Band, Basis, Cap, Charge, Component, Rates, Spot, Tariff, Vat, bill
from engine.tariffs.generic import spot_contract, time_of_use
from engine.timeline import local_day

ZONE = "Europe/Copenhagen"
HOUR, QUARTER = pd.Timedelta(hours=1), pd.Timedelta(minutes=15)
FRIDAY, SATURDAY, SUNDAY = (dt.date(2026, 4, day) for day in (3, 4, 5))  # Good Friday and Easter
EASTER = frozenset({FRIDAY, dt.date(2026, 4, 6)})


def contract(*components, sold=(), **fields):
    fields = {"name": "test", "currency": "EUR", "timezone": ZONE} | fields
    return Tariff(import_components=components, export_components=sold, **fields)


def times(day=dt.date(2026, 2, 3), step=HOUR, zone=ZONE):
    return local_day(day, zone, step)


def curve(value, index, currency="EUR"):
    return PriceCurve(pd.Series(value, index), currency)


def banded(**band):
    return Charge(name="grid", sheets=(Rates(standard=0.0, bands=(Band(price=1.0, **band),)),))


def hours_priced(charge, index, **fields):
    """Local hours in which the band of a charge holds."""
    prices = contract(charge, **fields).import_price(index).series
    return list(index.tz_convert(fields.get("timezone", ZONE))[prices.to_numpy() == 1.0].hour)


def test_every_component_is_a_column_and_they_sum_to_the_price():
    tariff = contract(Spot(factor=2.0), Charge.flat("fee", 0.1), Vat.at(0.25), Cap(price=1.0))
    spot = curve([0.1, -0.4, 0.5], times()[:3])
    parts = tariff.components(spot)
    assert list(parts.columns) == ["spot", "fee", "VAT", "cap"]
    assert parts["spot"].tolist() == pytest.approx([0.2, -0.8, 1.0])
    assert parts["VAT"].tolist() == pytest.approx([0.075, -0.175, 0.275])
    assert parts["cap"].tolist() == pytest.approx([0.0, 0.0, -0.375])
    assert tariff.import_price(spot).series.tolist() == pytest.approx([0.375, -0.875, 1.0])
    assert (parts.index == spot.index).all()


def test_a_discount_is_a_second_code_below_zero():
    tariff = contract(Charge.flat("tariff", 0.3), Charge.flat("discount", -0.1))
    assert tariff.import_price(times()).series.tolist() == pytest.approx([0.2] * 24)


@pytest.mark.parametrize(
    ("hours", "expected"),
    [
        (("17:00-21:00",), [17, 18, 19, 20]),
        (("00:00-02:00", "22:00-24:00"), [0, 1, 22, 23]),
        (("22:00-02:00",), [0, 1, 22, 23]),
        ((), list(range(24))),
        (("00:00-24:00",), list(range(24))),
    ],
)
def test_windows_begin_with_their_start_and_end_before_their_end(hours, expected):
    assert hours_priced(banded(hours=hours), times()) == expected


@pytest.mark.parametrize("text", ["17-21", "17:00", "25:00-26:00", "24:00-02:00", "17:60-18:00", "", "17:00 - 21:00"])
def test_what_is_no_window_is_refused(text):
    with pytest.raises(ValidationError, match="no window of the day"):
        Band(price=1.0, hours=(text,))


@pytest.mark.parametrize("text", ["17:00-17:00", "00:00-00:00"])
def test_a_window_that_ends_where_it_starts_is_refused(text):
    with pytest.raises(ValidationError, match="ends where it starts; for the whole day leave the hours out"):
        Band(price=1.0, hours=(text,))


@pytest.mark.parametrize(
    ("day", "hour_2", "length"),
    [(dt.date(2025, 3, 30), 0, 23), (dt.date(2025, 3, 31), 1, 24), (dt.date(2025, 10, 26), 2, 25)],
)
def test_an_hour_left_out_has_no_price_and_an_hour_that_comes_twice_has_two(day, hour_2, length):
    index = times(day)
    assert len(contract(banded(hours=("02:00-03:00",))).import_price(index).series) == length
    assert hours_priced(banded(hours=("02:00-03:00",)), index) == [2] * hour_2
    assert hours_priced(banded(hours=("17:00-19:00",)), index) == [17, 18]


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ("every day", [True, True, True]),
        ("Monday-Friday", [True, False, False]),
        ("Saturday-Sunday", [False, True, True]),
        ("working day", [False, False, False]),
        ("day of rest", [True, True, True]),
    ],
)
def test_kinds_of_days_on_a_public_holiday_and_a_weekend(days, expected):
    found = [bool(hours_priced(banded(days=days), times(day), holidays=EASTER)) for day in (FRIDAY, SATURDAY, SUNDAY)]
    assert found == expected
    assert bool(hours_priced(banded(days=days), times(dt.date(2026, 4, 7)), holidays=EASTER)) == (
        days in ("every day", "Monday-Friday", "working day")
    )


def test_a_year_without_a_listed_holiday_is_refused_where_it_matters():
    index = times(dt.date(2027, 4, 7))
    with pytest.raises(InputError, match=r"^holidays: none are listed for 2027"):
        contract(banded(days="working day"), holidays=EASTER).import_price(index)
    assert hours_priced(banded(days="Monday-Friday"), index, holidays=EASTER)


def test_months_are_local():
    index = pd.date_range("2026-03-31T20:00Z", periods=4, freq="h")  # midnight in Copenhagen is 22:00Z
    assert contract(banded(months=(4,))).import_price(index).series.tolist() == [0, 0, 1, 1]


def test_a_sheet_holds_from_local_midnight_to_local_midnight():
    old = Rates(standard=1.0, valid_to=dt.date(2025, 12, 1))
    new = Rates(standard=2.0, valid_from=dt.date(2025, 12, 1), valid_to=dt.date(2026, 1, 1))
    tariff = contract(Charge(name="grid", sheets=(new, old)))
    index = pd.date_range("2025-11-30T22:00Z", periods=3, freq="h")
    assert tariff.import_price(index).series.tolist() == [1.0, 2.0, 2.0]
    with pytest.raises(InputError, match=r"^grid: nothing is valid at 2025-12-31T23:00:00Z; add the price sheet"):
        tariff.import_price(pd.date_range("2025-12-31T20:00Z", periods=9, freq="h"))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((None, None), (None, None)),
        ((None, None), (dt.date(2026, 1, 1), None)),
        ((dt.date(2025, 1, 1), dt.date(2026, 1, 2)), (dt.date(2026, 1, 1), None)),
        ((None, dt.date(2026, 1, 1)), (None, dt.date(2025, 1, 1))),
    ],
)
def test_two_sheets_of_one_charge_may_not_hold_together(first, second):
    sheets = tuple(Rates(standard=1.0, valid_from=begin, valid_to=end) for begin, end in (first, second))
    with pytest.raises(ValidationError, match="overlaps"):
        Charge(name="grid", sheets=sheets)


def test_a_sheet_that_ends_before_it_begins_is_refused():
    with pytest.raises(ValidationError, match="is not before valid_to"):
        Rates(standard=1.0, valid_from=dt.date(2026, 1, 1), valid_to=dt.date(2026, 1, 1))


def test_two_bands_at_once_are_refused_with_the_first_instant():
    bands = (Band(price=1.0, hours=("06:00-18:00",)), Band(price=2.0, hours=("17:00-21:00",)))
    with pytest.raises(InputError, match=r"^bands: two hold at 2026-02-03T16:00:00Z"):
        contract(Charge(name="grid", sheets=(Rates(standard=0.0, bands=bands),))).import_price(times())


def test_a_price_that_changes_inside_an_interval_is_refused_with_the_way_out():
    tariff = contract(Spot(), banded(hours=("17:30-20:30",)))
    spot = curve(0.1, times())
    with pytest.raises(
        InputError, match=r"grid changes at 17:30 local time, inside the 60 min interval from 2026-02-03T16"
    ):
        tariff.import_price(spot)
    assert (tariff.import_price(spot.hold("30min")).series > 1).sum() == 6


def test_hours_of_a_zone_half_an_hour_off_are_refused():
    with pytest.raises(InputError, match=r"changes at 00:00 local time, inside the 60 min interval"):
        contract(banded(months=(2,)), timezone="Asia/Kolkata").import_price(
            pd.date_range("2026-02-03T00:00Z", periods=24, freq="h")
        )


def test_the_market_price_must_be_in_the_currency_of_the_contract():
    with pytest.raises(
        InputError, match=r"test is in EUR/kWh, the market price in DKK/kWh \(first interval 2026-02-02T23"
    ):
        contract(Spot()).import_price(curve(0.5, times(), "DKK"))


def test_times_are_enough_unless_the_market_price_is_passed_through():
    tariff = time_of_use(
        Rates(standard=0.3, bands=(Band(price=0.2, hours=("23:00-07:00",)),)),
        currency="EUR",
        timezone=ZONE,
        vat=0.2,
        feed_in=0.08,
    )
    assert tariff.import_price(times()).series.tolist() == pytest.approx([0.24] * 7 + [0.36] * 16 + [0.24])
    assert tariff.export_price(times()).series.tolist() == [0.08] * 24
    with pytest.raises(InputError, match="spot passes the market price through; give a PriceCurve"):
        contract(Spot()).import_price(times())
    with pytest.raises(InputError, match="times have no zone"):
        tariff.import_price(times().tz_localize(None))


def test_sold_energy_without_a_price_is_refused_and_not_free():
    with pytest.raises(InputError, match="test has no price for sold energy"):
        contract(Spot()).export_price(curve(0.1, times()))
    sold = spot_contract(currency="EUR", timezone=ZONE, export_fee=0.02).export_price(curve(-0.1, times()))
    assert sold.series.tolist() == pytest.approx([-0.12] * 24)


def test_an_hour_of_four_quarters_is_billed_at_their_mean():
    quarters = times(step=QUARTER)[:8]
    spot = curve([0.1, 0.2, 0.3, 0.4, -1.0, 0.0, 0.0, 0.0], quarters)
    tariff = spot_contract(currency="EUR", timezone=ZONE, export_fee=0.0, billing_resolution=dt.timedelta(hours=1))
    assert tariff.import_price(spot).series.tolist() == pytest.approx([0.25] * 4 + [-0.25] * 4)
    assert tariff.export_price(spot).series.tolist() == pytest.approx([0.25] * 4 + [-0.25] * 4)
    hourly = curve(0.7, times())
    assert tariff.import_price(hourly).series.tolist() == [0.7] * 24
    with pytest.raises(InputError, match=r"the billing interval from 2026-02-02T23:00:00Z has 3 of 4 prices"):
        tariff.import_price(PriceCurve(spot.series.iloc[1:], "EUR"))
    with pytest.raises(ValidationError, match="does not divide the hour"):
        spot_contract(currency="EUR", timezone=ZONE, billing_resolution=dt.timedelta(minutes=40))


@pytest.mark.parametrize(
    ("zone", "start", "spot", "billed"),
    [
        # From 10:00 to 12:00 in India; the hours of UTC begin at its half-hours.
        ("Asia/Kolkata", "2026-02-03T04:30Z", [0.1, 0.1, 0.3, 0.3, 0.5, 0.5, 0.7, 0.7], [0.2] * 4 + [0.6] * 4),
        # Clocks go back from 02:00 to 01:30: an hour, the half-hour that comes twice, an hour.
        (
            "Australia/Lord_Howe",
            "2026-04-04T14:00Z",
            [0.1] * 4 + [0.2, 0.4] + [0.5] * 4,
            [0.1] * 4 + [0.3] * 2 + [0.5] * 4,
        ),
        ("Europe/Copenhagen", "2026-10-25T00:00Z", [0.1] * 4 + [0.3] * 4, [0.1] * 4 + [0.3] * 4),
    ],
)
def test_an_hour_is_billed_by_the_contracts_clock(zone, start, spot, billed):
    index = pd.date_range(start, periods=len(spot), freq=QUARTER)
    tariff = spot_contract(currency="EUR", timezone=zone, billing_resolution=dt.timedelta(hours=1))
    assert tariff.import_price(curve(spot, index)).series.tolist() == pytest.approx(billed)
    with pytest.raises(InputError, match=rf"from {start[:-1]}:00Z has 3 of 4 prices"):
        tariff.import_price(curve(spot[1:], index[1:]))
    last = index[-1] - 3 * QUARTER
    with pytest.raises(InputError, match=rf"from {last:%Y-%m-%dT%H:%M:%SZ} has 3 of 4 prices"):
        tariff.import_price(curve(spot[:-1], index[:-1]))
    with pytest.raises(InputError, match=r"has 2 of 4 prices"):
        tariff.import_price(curve(spot[1:3], index[1:3]))


def test_half_hours_that_an_hour_of_the_contract_begins_within_are_refused():
    index = pd.date_range("2026-02-03T04:00Z", periods=4, freq="30min")
    tariff = spot_contract(currency="EUR", timezone="Asia/Kathmandu", billing_resolution=dt.timedelta(hours=1))
    with pytest.raises(
        InputError, match=r"spot: .* clock of Asia/Kathmandu begins inside that of 30 min from .*T04:00:00Z"
    ):
        tariff.import_price(curve(0.1, index))


@pytest.mark.parametrize(
    ("fields", "fault"),
    [
        ({"timezone": "Europe/Kopenhagen"}, "no IANA time zone"),
        ({"currency": "kr"}, "pattern"),
        ({"colour": "green"}, "Extra inputs"),
    ],
)
def test_a_contract_that_makes_no_sense_is_refused(fields, fault):
    with pytest.raises(ValidationError, match=fault):
        contract(Spot(), **fields)


def test_two_components_of_one_name_are_refused():
    with pytest.raises(ValidationError, match="2 components are called 'fee'"):
        contract(Charge.flat("fee", 0.1), Charge.flat("fee", 0.2))


def test_a_component_of_your_own_needs_one_method():
    class Levy(Component):
        """Two per cent of a positive market price."""

        name: str = "levy"

        def per_kwh(self, basis: Basis) -> np.ndarray:
            assert basis.spot is not None
            return 0.02 * np.maximum(basis.spot, 0.0)

    parts = contract(Spot(), Levy()).components(curve([0.5, -0.5], times()[:2]))
    assert parts["levy"].tolist() == [0.01, 0.0]


def test_a_bill_keeps_import_and_export_apart():
    tariff = spot_contract(Charge.flat("fee", 0.1), currency="EUR", timezone=ZONE, vat=0.25, export_fee=0.05)
    index = times()[:2]
    settled = bill(tariff, curve([0.2, -0.1], index), pd.Series([1.0, 2.0], index), pd.Series([3.0, 0.0], index))
    assert settled.imports.to_dict() == pytest.approx({"spot": 0.0, "fee": 0.3, "VAT": 0.075})
    assert settled.exports.to_dict() == pytest.approx({"spot": 0.6, "export fee": -0.15})
    assert settled.total == pytest.approx(0.375 - 0.45)
    only = bill(tariff, curve([0.2, -0.1], index), pd.Series([1.0, 2.0], index))
    assert only.exports.empty
    assert only.total == pytest.approx(0.375)


@pytest.mark.parametrize(
    ("kwh", "fault"),
    [
        ([1.0, -2.0], r"^import_kwh: -2 kWh at 2026-02-03T00:00:00Z"),
        ([1.0, None], r"^import_kwh: nan kWh at 2026-02-03T00:00:00Z"),
        ([float("inf"), 1.0], r"^import_kwh: inf kWh at 2026-02-02T23:00:00Z"),
    ],
)
def test_a_register_that_is_missing_or_negative_is_refused(kwh, fault):
    index = times()[:2]
    with pytest.raises(InputError, match=fault):
        bill(contract(Spot()), curve(0.1, index), pd.Series(kwh, index))


def test_meter_and_price_need_one_index():
    with pytest.raises(InputError, match=r"^import_kwh\.index: 24 intervals .* the price has 96"):
        bill(contract(Spot()), curve(0.1, times(step=QUARTER)), pd.Series(1.0, times()))
