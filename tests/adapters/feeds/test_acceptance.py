"""Whatever happens to an answer on its way, it is refused, or what is taken is the truth."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings

from adapters.feeds.acceptance import Quoted, accepted
from adapters.feeds.contract import Fault, FeedError, Side
from adapters.feeds.emulation import EmulatedMarket
from adapters.feeds.markets import AGILE, SDAC, Market

NOW = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
ONE_DAY = dt.timedelta(days=1)
# Clock changes, the change to quarters, and days like others.
DAYS = [
    dt.date(*day) for day in [(2026, 3, 29), (2026, 10, 25), (2025, 10, 1), (2024, 10, 27), (2026, 7, 4), (2027, 1, 1)]
]
UNIT_SLIPS = [1000.0, 1 / 1000, 100.0, -1000.0]
MODEL = EmulatedMarket()


def sound(market: Market, day: dt.date) -> pd.Series:
    """The day before and the day, per kWh."""
    days = [day - ONE_DAY, day]
    return pd.concat([MODEL.eur_per_mwh("X", market.index(each), market.step(each)) / 1000 for each in days])


def take(market: Market, day: dt.date, prices: pd.Series, before=None, **options):
    currency, area = ("EUR", "DK1") if market is SDAC else ("GBP", "A")
    side = Side.SPOT if market is SDAC else Side.IMPORT
    return accepted("test", market, area, day, [Quoted(side, currency, area, prices)], NOW, before, **options)


def mangled(prices: pd.Series, of_day: int, data: st.DataObject) -> pd.Series:
    """One or more things happen to the rows of the day, which are the last."""
    draw = data.draw
    for _ in range(draw(st.integers(1, 2))):
        first = len(prices) - of_day
        row = draw(st.integers(max(first, 0), len(prices) - 1))
        match draw(
            st.sampled_from(["drop", "cut", "duplicate", "shift all", "shift one", "scale", "missing", "order"])
        ):
            case "drop":
                prices = prices.drop(prices.index[row])
            case "cut":
                prices = prices.iloc[:row]
            case "duplicate":
                prices = pd.concat([prices, prices.iloc[[row]]])
            case "shift all":
                minutes = draw(st.sampled_from([-1440, -120, -60, -30, -15, 7, 15, 30, 60, 120]))
                prices = prices.shift(freq=pd.Timedelta(minutes=minutes))
            case "shift one":
                index = prices.index.to_list()
                index[row] += pd.Timedelta(minutes=draw(st.sampled_from([-60, -15, 1, 15, 60])))
                prices = prices.set_axis(pd.DatetimeIndex(index))
            case "scale":
                factor = draw(st.sampled_from(UNIT_SLIPS))
                values = prices.to_numpy(copy=True)
                values[first:] *= factor
                prices = pd.Series(values, prices.index)
            case "missing":
                values = prices.to_numpy(copy=True)
                values[row] = draw(st.sampled_from([np.nan, np.inf, -np.inf]))
                prices = pd.Series(values, prices.index)
            case "order":
                prices = prices.iloc[draw(st.permutations(range(len(prices))))]
        if prices.empty:
            break
    return prices


@pytest.mark.parametrize("market", [SDAC, AGILE], ids=lambda market: market.name)
@settings(max_examples=150)
@given(data=st.data(), day=st.sampled_from(DAYS))
def test_a_mangled_answer_is_refused_or_equals_the_truth(market, data, day):
    truth = sound(market, day)
    of_day = truth.loc[market.index(day)]
    before = take(market, day - ONE_DAY, sound(market, day - ONE_DAY))
    prices = mangled(truth, len(of_day), data)
    try:
        taken = take(market, day, prices, before)
    except FeedError:
        return
    (curve,) = taken.curves.values()
    pd.testing.assert_series_equal(curve.series, of_day, check_names=False, check_freq=False)


@pytest.mark.parametrize("market", [SDAC, AGILE], ids=lambda market: market.name)
@pytest.mark.parametrize("day", DAYS, ids=str)
def test_a_sound_answer_is_taken_in_any_order_and_with_more_than_was_asked_for(market, day):
    prices = sound(market, day)
    (curve,) = take(market, day, prices.iloc[::-1]).curves.values()
    assert curve.series.to_list() == prices.loc[market.index(day)].to_list()


def test_a_day_has_as_many_intervals_as_its_clock_and_its_market_say():
    counts = {(market.name, day): len(market.index(day)) for market in (SDAC, AGILE) for day in DAYS}
    assert [counts["sdac", day] for day in DAYS] == [92, 100, 96, 25, 96, 96]
    assert [counts["agile", day] for day in DAYS] == [46, 50, 48, 50, 48, 48]
    assert len(SDAC.index(dt.date(2025, 9, 30))) == 24
    assert len(SDAC.index(dt.date(2025, 3, 30))) == 23


@example(factor=1 / 1000)
@given(factor=st.sampled_from(UNIT_SLIPS))
def test_another_unit_is_noticed_without_a_day_before(factor):
    day = DAYS[4]
    prices = sound(SDAC, day).loc[SDAC.index(day)]
    with pytest.raises(FeedError) as refusal:
        take(SDAC, day, prices * factor * (1.0 if abs(factor) < 1 else 100.0))
    assert refusal.value.fault is Fault.IMPLAUSIBLE


@pytest.mark.parametrize(("peak", "factor"), [(0.871, 1 / 1000), (0.004, 1000.0)], ids=["dear", "cheap"])
def test_a_level_far_from_the_day_befores_is_another_unit_though_it_is_within_limits(peak, factor):
    """On the dearest day of 2022 in EUR/kWh, and on a day near nought times a thousand, limits see nothing."""
    day = DAYS[4]
    prices = sound(SDAC, day).abs()
    prices *= peak / prices.loc[SDAC.index(day)].max()
    assert take(SDAC, day, prices).day == day
    prices.loc[SDAC.index(day)] *= factor
    assert take(SDAC, day, prices.loc[SDAC.index(day)]).day == day
    with pytest.raises(FeedError, match=r"the day before .* in another unit"):
        take(SDAC, day, prices)


def test_a_price_between_the_intervals_is_refused_though_all_others_are_there():
    day = DAYS[4]
    prices = sound(SDAC, day)
    extra = pd.Series([0.1], [SDAC.index(day)[10] + pd.Timedelta(minutes=7)])
    with pytest.raises(FeedError, match=r"wrong resolution: .*begins no interval of 15 min"):
        take(SDAC, day, pd.concat([prices, extra]))


def test_what_is_known_of_the_day_before_counts_before_what_the_answer_says():
    """A service that moves everything by a day is in agreement with itself."""
    day = DAYS[4]
    before = take(SDAC, day - ONE_DAY, sound(SDAC, day - ONE_DAY))
    moved = sound(SDAC, day - ONE_DAY).shift(freq="1D")
    assert take(SDAC, day, moved).day == day
    with pytest.raises(FeedError, match="something else of 2026-07-02T22:00:00Z than is known"):
        take(SDAC, day, moved, before)
    with pytest.raises(FeedError, match="the prices of the day before"):
        take(SDAC, day, moved.loc[SDAC.index(day)], before)


def test_a_fixed_tariff_may_repeat_and_be_nought_but_not_break_limits():
    day = DAYS[4]
    nought = pd.Series(0.0, sound(SDAC, day).index)
    assert take(SDAC, day, nought, may_repeat=True).day == day
    with pytest.raises(FeedError, match=r"outside -0\.6"):
        take(SDAC, day, nought - 1.0, may_repeat=True)


def test_a_currency_that_the_market_has_not_is_refused():
    day = DAYS[4]
    with pytest.raises(FeedError, match="no prices in SEK"):
        accepted("test", SDAC, "SE3", day, [Quoted(Side.SPOT, "SEK", "SE3", sound(SDAC, day))], NOW)


@pytest.mark.parametrize(
    ("name", "column", "market", "area"),
    [
        ("prices_dk1_2021_2022", "price_dk1_eur_per_mwh", SDAC, "DK1"),
        ("prices_dk2_2019_2020", "price_dk2_eur_per_mwh", SDAC, "DK2"),
        ("prices_nl_2019_2022", "price_nl_eur_per_mwh", SDAC, "NL"),
        ("prices_se3_2023", "price_se3_eur_per_mwh", SDAC, "SE3"),
        ("prices_gb_agile_region_a_2020_2021", "price_import_inc_vat_pence_per_kwh", AGILE, "A"),
    ],
)
def test_no_real_day_is_refused_and_nearly_every_one_in_another_unit_is(name, column, market, area):
    """A day of prices near nought, times a thousand, may pass for a dear one."""
    file = Path(__file__).parents[4] / "shared" / "data" / f"{name}.csv.gz"
    if not file.exists():
        pytest.skip(f"no real data at {file}")
    table = pd.read_csv(file, index_col=0)
    per_kwh = pd.Series(table[column].to_numpy() / (100 if market is AGILE else 1000), pd.to_datetime(table.index))
    side, currency = (Side.IMPORT, "GBP") if market is AGILE else (Side.SPOT, "EUR")
    days = sorted({market.day_of(at) for at in per_kwh.index})[2:-1]
    missed = 0
    for number, day in enumerate(days):
        begin, end = (market.begin(day + each * ONE_DAY) for each in (-1, 1))
        prices = per_kwh.loc[(per_kwh.index >= begin) & (per_kwh.index < end)]
        accepted("test", market, area, day, [Quoted(side, currency, area, prices)], NOW)
        factor = (1000.0, 1 / 1000)[number % 2]
        slipped = prices.where(prices.index < market.begin(day), prices * factor)
        try:
            accepted("test", market, area, day, [Quoted(side, currency, area, slipped)], NOW)
        except FeedError:
            continue
        missed += 1
    print(f"{name}: {len(days)} days taken, {missed} of them not noticed in another unit")
    assert len(days) > 300
    assert missed <= len(days) / 200
