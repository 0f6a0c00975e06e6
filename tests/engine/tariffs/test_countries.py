"""Denmark, Germany and Great Britain: published figures at their times, and the bounds of the rules."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd
import pytest
from pydantic import ValidationError

from engine import InputError
from engine.prices import PriceCurve
from engine.tariffs import Tariff, de, dk, gb
from engine.timeline import local_day

HOUR, HALF_HOUR = pd.Timedelta(hours=1), pd.Timedelta(minutes=30)
GERMAN = {"supplier_fee": 0.01, "levies": 0.03, "concession_fee": 0.016}
OPERATORS = [de.EW_WANFRIED_2025, de.WESTNETZ_2026, de.BAYERNWERK_2026]


def day_of(tariff, day, column, step=HOUR, spot=0.5):
    index = local_day(day, tariff.timezone, step)
    return tariff.components(PriceCurve(pd.Series(spot, index), tariff.currency))[column].tolist()


@pytest.mark.parametrize(
    ("day", "low", "high", "peak"),
    [
        pytest.param(dt.date(2024, 2, 1), 0.110116, 0.330349, 0.991048, id="winter 2024, as DataHub lists its hours"),
        pytest.param(dt.date(2024, 7, 1), 0.1101, 0.1652, 0.4295, id="summer 2024"),
        pytest.param(dt.date(2025, 9, 30), 0.08664, 0.13, 0.338, id="last day of summer 2025"),
        pytest.param(dt.date(2025, 10, 1), 0.08664, 0.26, 0.78008, id="first day of winter 2025"),
        pytest.param(dt.date(2025, 12, 1), 0.06808, 0.20416, 0.61248, id="new sheet within the winter"),
    ],
)
def test_n1_by_hour_of_the_day(day, low, high, peak):
    hours = day_of(dk.household(dk.N1, supplier_fee=0.0), day, "grid tariff")
    assert hours == pytest.approx([low] * 6 + [high] * 11 + [peak] * 4 + [high] * 3)


def test_danish_figures_end_where_no_source_reaches():
    with pytest.raises(InputError, match=r"^grid tariff: nothing is valid at 2025-12-31T23:00:00Z"):
        day_of(dk.household(dk.N1, supplier_fee=0.0), dt.date(2026, 1, 1), "spot")
    with pytest.raises(InputError, match=r"^grid tariff"):
        day_of(dk.household(dk.RADIUS, supplier_fee=0.0), dt.date(2026, 6, 1), "spot")


def test_a_sheet_that_reaches_into_summer_needs_summer_prices():
    winter = {"winter": (8.0, 24.0, 72.0)}
    assert dk.model_3(dt.date(2026, 10, 1), dt.date(2027, 4, 1), **winter).valid_to == dt.date(2027, 4, 1)
    for begin, end in ((dt.date(2026, 10, 1), dt.date(2027, 4, 2)), (dt.date(2026, 9, 30), dt.date(2026, 12, 1))):
        with pytest.raises(InputError, match=r"^summer: none is given"):
            dk.model_3(begin, end, **winter)


def test_a_danish_kwh_pays_at_a_spot_price_that_earlier_taxes_would_have_outweighed():
    """At -0.40 DKK/kWh in the night; the tax was 0.72 in 2025 and is 0.008 in 2026."""
    cheap = {"spot": -0.40}
    in_2025 = dk.household(dk.N1, supplier_fee=0.0)
    in_2026 = dk.household(dk.RADIUS, supplier_fee=0.0)
    for tariff, day, pays in ((in_2025, dt.date(2025, 3, 1), False), (in_2026, dt.date(2026, 3, 1), True)):
        index = local_day(day, tariff.timezone, HOUR)
        price = tariff.import_price(PriceCurve(pd.Series(cheap["spot"], index), "DKK")).series
        assert (price.iloc[0] < 0) == pays


def test_a_danish_seller_gets_the_market_price_less_fees_without_vat():
    tariff = dk.household(dk.N1, supplier_fee=0.04, export_fee=0.02)
    index = local_day(dt.date(2025, 7, 1), dk.TIMEZONE, HOUR)
    sold = tariff.export_price(PriceCurve(pd.Series(0.5, index), "DKK"))
    assert sold.series.tolist() == pytest.approx([0.5 - 0.02 - 0.01096] * 24)
    assert dk.household(dk.CERIUS, supplier_fee=0.04, export_fee=0.02).components(sold, "export").columns.tolist() == [
        "spot",
        "export fee",
    ]


def test_the_discount_of_cerius_begins_in_february():
    tariff = dk.household(dk.CERIUS, supplier_fee=0.0)
    for day, rest in ((dt.date(2021, 1, 31), 0.4757), (dt.date(2021, 2, 1), 0.0)):
        grid = np.array(day_of(tariff, day, "grid tariff")) + day_of(tariff, day, "grid discount")
        assert grid[17] == pytest.approx(rest)


@pytest.mark.parametrize("module", OPERATORS, ids=lambda module: module.operator)
def test_quarters_without_windows_are_at_the_standard_level_all_day(module):
    tariff = de.dynamic(module, **GERMAN)
    for quarter in (1, 2, 3, 4):
        levels = day_of(tariff, dt.date(module.year, 3 * quarter, 15), "grid fee")
        expected = {module.low, module.standard, module.high} if quarter in module.quarters else {module.standard}
        assert set(levels) == expected


def test_the_windows_of_a_module_3_sheet():
    night = day_of(de.dynamic(de.EW_WANFRIED_2025, **GERMAN), dt.date(2025, 11, 1), "grid fee")
    assert night == pytest.approx([0.0862] + [0.0345] * 3 + [0.0862] * 13 + [0.1084] * 2 + [0.0862] * 5)
    midday = day_of(de.dynamic(de.BAYERNWERK_2026, **GERMAN), dt.date(2026, 7, 1), "grid fee")
    assert midday == pytest.approx([0.0562] * 10 + [0.0056] * 5 + [0.0562] * 2 + [0.1075] * 5 + [0.0562] * 2)


def test_a_module_3_sheet_ends_with_its_year():
    with pytest.raises(InputError, match=r"^grid fee: nothing is valid at 2025-12-31T23:00:00Z"):
        day_of(de.dynamic(de.EW_WANFRIED_2025, **GERMAN), dt.date(2026, 1, 1), "spot")


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"low": 0.009}, "outside 10-40 % of standard"),
        ({"low": 0.041}, "outside 10-40 % of standard"),
        ({"high": 0.2002}, "by at most 100 %"),
        ({"high": 0.1}, "is not above standard"),
        ({"quarters": {1: de.QuarterWindows(low=("01:00-04:00",), high=("17:00-19:00",))}}, "at least 2"),
        (
            {"quarters": dict.fromkeys((1, 4), de.QuarterWindows(low=("01:00-04:00",), high=("17:00-18:45",)))},
            "lasts 105 min a day in quarter 1",
        ),
        (
            {"quarters": dict.fromkeys((1, 4), de.QuarterWindows(low=("01:00-18:00",), high=("17:00-19:00",)))},
            "overlap in quarter 1",
        ),
        ({"quarters": {1: {"low": (), "high": ("17:00-19:00",)}}}, "at least 1 item"),
        ({"quarters": {5: de.QuarterWindows(low=("01:00-04:00",), high=("17:00-19:00",))}}, "1, 2, 3 or 4"),
    ],
)
def test_a_module_3_sheet_outside_the_rules_is_refused(change, fault):
    windows = de.QuarterWindows(low=("01:00-04:00",), high=("11:00-12:00", "17:00-18:00"))
    sound = {"low": 0.01, "standard": 0.1, "high": 0.2, "quarters": {1: windows, 4: windows}}
    assert de.Module3(operator="any", year=2026, **sound).charge.name == "grid fee"
    with pytest.raises(ValidationError, match=fault):
        de.Module3(operator="any", year=2026, **(sound | change))


def test_a_german_contract_takes_any_grid_fee_and_pays_a_fixed_feed_in():
    tariff = de.dynamic(dk.Charge.flat("grid fee", 0.09), **GERMAN, feed_in=0.079)
    index = local_day(dt.date(2026, 5, 1), de.TIMEZONE, HOUR)
    spot = PriceCurve(pd.Series(0.10, index), "EUR")
    all_in = 1.19 * (0.10 + 0.01 + 0.09 + 0.03 + 0.016 + 0.0205)
    assert tariff.import_price(spot).series.tolist() == pytest.approx([all_in] * 24)
    assert tariff.export_price(index).series.tolist() == [0.079] * 24


def test_agile_is_negative_at_plunge_prices_and_capped_at_35_p_with_vat():
    tariff = gb.agile(gb.AGILE_2018["A"])
    index = local_day(dt.date(2020, 4, 5), gb.TIMEZONE, HALF_HOUR)
    price = tariff.import_price(PriceCurve(pd.Series([-0.05] * 24 + [0.25] * 24, index), "GBP")).series
    assert price.iloc[0] == pytest.approx(1.05 * 2.1 * -0.05)
    assert price.iloc[-1] == pytest.approx(0.349965)
    assert len(gb.AGILE_2018) == 14


def test_the_worked_example_of_octopus_at_the_edges_of_the_peak():
    tariff = gb.agile(gb.AGILE_EXAMPLE, export=0.15)
    index = local_day(dt.date(2022, 1, 11), gb.TIMEZONE, HALF_HOUR)
    price = tariff.import_price(PriceCurve(pd.Series(0.10, index), "GBP")).series.to_numpy()
    assert price[[31, 37, 38]] == pytest.approx([1.05 * 0.22, 1.05 * 0.34, 1.05 * 0.22])
    assert price[32] == pytest.approx(1.05 * 0.34)
    assert tariff.export_price(index).series.tolist() == [0.15] * 48


def duos(bands, holidays=frozenset(), **options):
    charge = bands.charge(red=3.0, amber=2.0, green=1.0, **options)
    tariff = gb.half_hourly(charge, supplier_fee=0.0, levies=0.0)
    return Tariff(**(dict(tariff) | {"holidays": holidays}))


def colours(tariff, day):
    letters = {3.0: "R", 2.0: "A", 1.0: "g"}
    return "".join(letters[price] for price in day_of(tariff, day, "DUoS", step=HALF_HOUR))


def test_duos_bands_by_half_hour():
    weekday, sunday = dt.date(2026, 5, 6), dt.date(2026, 5, 3)
    assert colours(duos(gb.EASTERN), weekday) == "g" * 14 + "A" * 18 + "R" * 6 + "A" * 8 + "g" * 2
    assert colours(duos(gb.LONDON), weekday) == "g" * 14 + "A" * 8 + "R" * 6 + "A" * 4 + "R" * 6 + "A" * 8 + "g" * 2
    assert colours(duos(gb.EASTERN), sunday) == "g" * 48
    assert colours(duos(gb.MANWEB), sunday) == "g" * 32 + "A" * 8 + "g" * 8


def test_a_bank_holiday_counts_as_the_contract_says():
    early_may = dt.date(2026, 5, 4)
    listed = frozenset({early_may})
    as_weekday, as_weekend = "g" * 16 + "A" * 17 + "R" * 6 + "A" * 6 + "g" * 3, "g" * 32 + "A" * 8 + "g" * 8
    assert colours(duos(gb.MANWEB, listed), early_may) == as_weekday
    assert colours(duos(gb.MANWEB, listed, bank_holidays="weekend"), early_may) == as_weekend
    with pytest.raises(InputError, match=r"^holidays"):
        colours(duos(gb.MANWEB, bank_holidays="weekend"), early_may)


@pytest.mark.parametrize(("day", "length"), [(dt.date(2026, 3, 29), 46), (dt.date(2026, 10, 25), 50)])
def test_duos_on_the_days_when_the_clock_changes(day, length):
    assert len(colours(duos(gb.MANWEB), day)) == length
    assert colours(duos(gb.MANWEB), day).count("A") == 8


def test_a_business_pays_losses_and_the_standard_rate_of_vat():
    tariff = gb.half_hourly(
        gb.EASTERN.charge(red=0.09, amber=0.01, green=0.001),
        supplier_fee=0.005,
        levies=0.06,
        loss_factor=1.08,
        export=0.05,
    )
    index = local_day(dt.date(2026, 5, 6), gb.TIMEZONE, HALF_HOUR)
    price = tariff.import_price(PriceCurve(pd.Series(0.10, index), "GBP")).series
    assert price.iloc[34] == pytest.approx(1.2 * (0.108 + 0.005 + 0.09 + 0.06))
    assert tariff.export_price(index).series.tolist() == [0.05] * 48


@pytest.mark.parametrize("day", [dt.date(2020, 3, 29), dt.date(2020, 10, 25), dt.date(2021, 3, 28)])
def test_real_agile_prices_step_by_the_peak_charge_where_it_begins_and_ends(data_folder, day):
    """Without the charge, the wholesale price behind the published one goes on without a step, clock change or not."""
    published = pd.read_csv(data_folder / "prices_gb_agile_region_a_2020_2021.csv.gz", index_col=0).squeeze() / 100
    index = local_day(day, gb.TIMEZONE, HALF_HOUR)
    billed = published.set_axis(pd.to_datetime(published.index)).reindex(index).to_numpy() / 1.05
    terms = gb.AGILE_2018["A"]
    peak = np.array(day_of(gb.agile(terms), day, "peak", step=HALF_HOUR))
    edges = np.flatnonzero(np.diff(peak))
    assert len(edges) == 2
    assert (np.abs(np.diff(billed / terms.multiplier))[edges] > 0.05).all()
    assert (np.abs(np.diff((billed - peak) / terms.multiplier))[edges] < 0.01).all()
