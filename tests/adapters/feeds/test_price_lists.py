"""DataHub's price lists become charges that the tariffs add up; each hour by the local clock."""

from __future__ import annotations

import asyncio
import datetime as dt

import pandas as pd
import pytest

from adapters.feeds.contract import FeedError
from adapters.feeds.energi_data_service import mapping
from adapters.feeds.energi_data_service.client import EnergiDataService, Settings
from adapters.feeds.energi_data_service.emulator import GLN
from engine.errors import InputError
from engine.prices import PriceCurve
from engine.tariffs import dk


@pytest.fixture
def charges(serve):
    served = serve("energi_data_service")

    def ask(codes=("NET", "NET R"), sign=1, rows=None):
        if rows is not None:
            served.cloud.price_list = rows

        async def once():
            service = EnergiDataService(Settings(base_url=served.url), served.clock.now)
            try:
                return await service.charges(GLN, codes, sign)
            finally:
                await service.close()

        return asyncio.run(once())

    ask.rows = served.cloud.price_list
    return ask


def household(found) -> pd.DataFrame:
    """What a market price of nought costs by the hour of a day: the charges, Energinet's, and tax."""
    contract = dk.household(dk.GridCompany(name="test", charges=found), supplier_fee=0.0)
    index = pd.date_range("2026-03-28T23:00Z", "2026-03-29T22:00Z", freq="1h", inclusive="left")
    return contract.components(PriceCurve(pd.Series(0.0, index), "DKK"))


def test_codes_are_added_up_discounts_too_and_hours_are_those_of_the_wall_clock(charges):
    parts = household(charges())
    local = parts.index.tz_convert("Europe/Copenhagen")
    by_hour = dict(zip(local.hour, parts["NET"], strict=True))
    assert len(by_hour) == 23
    assert 2 not in by_hour  # the hour that the clock leaves out
    assert [by_hour[hour] for hour in (0, 5, 6, 16, 17, 20, 21, 23)] == [0.1, 0.1, 0.15, 0.15, 0.4, 0.4, 0.15, 0.15]
    assert (parts["NET R"] == -0.02).all()


def test_a_list_that_changes_within_the_year_holds_from_its_local_date_on(charges):
    contract = dk.household(dk.GridCompany(name="test", charges=charges()), supplier_fee=0.0)
    index = pd.date_range("2026-03-31T20:00Z", periods=4, freq="1h")
    parts = contract.components(PriceCurve(pd.Series(0.0, index), "DKK"))
    assert parts["NET"].to_list() == [0.15, 0.15, 0.05, 0.05]


def test_what_is_taken_off_a_sold_kwh_is_negative(charges):
    (charge,) = charges(("NET R",), sign=-1)
    assert charge.sheets[0].standard == 0.02


def test_a_sheet_without_an_end_holds_until_the_next_begins(charges):
    rows = [{**row, "ValidTo": None} for row in charges.rows]
    first, second = charges(("NET",), rows=rows)[0].sheets
    assert (first.valid_to, second.valid_from, second.valid_to) == (dt.date(2026, 4, 1), dt.date(2026, 4, 1), None)


def test_before_the_first_sheet_there_is_no_price(charges):
    contract = dk.household(dk.GridCompany(name="test", charges=charges()), supplier_fee=0.0)
    index = pd.date_range("2025-06-01T00:00Z", periods=4, freq="1h")
    with pytest.raises(InputError, match="NET: nothing is valid at 2025-06-01"):
        contract.import_price(PriceCurve(pd.Series(0.0, index), "DKK"))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"Price1": None}, "no Price1"),
        ({"Price7": "abc"}, "Price7 is no number"),
        ({"ValidFrom": "2025-10-01T01:00:00"}, "no Danish midnight"),
        ({"ValidFrom": "2026-04-01T00:00:00"}, "two sheets from 2026-04-01"),
    ],
)
def test_a_list_that_cannot_be_right_is_refused(charges, change, says):
    rows = [{**charges.rows[0], **change}, *charges.rows[1:]]
    with pytest.raises(FeedError, match=says):
        charges(rows=rows)


def test_a_code_that_is_not_there_is_missing_and_not_free_of_charge(charges):
    with pytest.raises(FeedError, match=r"partial: .*no tariff GONE"):
        charges(("NET", "GONE"))


def test_rows_of_another_owner_or_kind_are_refused(charges):
    for change in ({"GLN_Number": "5790000000001"}, {"ChargeType": "D01"}):
        with pytest.raises(FeedError, match="not asked for"):
            mapping.charges([{**charges.rows[0], **change}], GLN, ["NET"])


@pytest.mark.parametrize("currency", ["EUR", "DKK"])
def test_one_currency_in_another_unit_gives_itself_away(currency):
    rows = [
        {"TimeUTC": "2026-06-01T00:00:00", "PriceArea": "DK1", "DayAheadPriceEUR": 50.0, "DayAheadPriceDKK": 373.0},
        {"TimeUTC": "2026-06-01T00:15:00", "PriceArea": "DK1", "DayAheadPriceEUR": -0.01, "DayAheadPriceDKK": -0.07},
    ]
    assert len(mapping.quotes(rows)) == 2
    rows[0][f"DayAheadPrice{currency}"] /= 1000
    with pytest.raises(FeedError, match="are not the same price"):
        mapping.quotes(rows)
