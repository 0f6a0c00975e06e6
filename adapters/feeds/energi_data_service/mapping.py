"""Every name and unit of Energi Data Service, and nothing else.

Source: api.energidataservice.dk, datasets DayAheadPrices (from 2025-10-01 on, in quarters of an hour) and
DatahubPricelist. `start` and `end` of a query are Danish time.

Source field             ours                        note
TimeUTC                  start                       without a zone, UTC
PriceArea                area                        DK1, DK2, and neighbours
DayAheadPriceEUR         spot EUR/kWh = x / 1000     EUR/MWh
DayAheadPriceDKK         spot DKK/kWh = x / 1000     DKK/MWh; may come later than EUR, then null throughout
ChargeType               D01 subscription, D02 fee, D03 tariff; only D03 is a price per kWh
GLN_Number, ChargeTypeCode   whose, and which charge
ValidFrom, ValidTo       valid_from, valid_to        Danish midnight; ValidTo null: no end is known
Price1..Price24          the hours of the local day  DKK/kWh without VAT; Price1 alone holds all day
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import pandas as pd

from adapters.feeds.acceptance import Quoted
from adapters.feeds.contract import Fault, FeedError, Side
from adapters.values import number, time_of
from engine.prices import KWH_PER_MWH
from engine.tariffs import Band, Charge, Rates

SOURCE = "energi_data_service"
PRICES_PATH = "/dataset/DayAheadPrices"
PRICE_LIST_PATH = "/dataset/DatahubPricelist"
CURRENCIES = ("EUR", "DKK")
TARIFF = "D03"
# Two days of quarters are 200 rows; without a limit the service gives 100.
MOST_ROWS = 1000
HOURS = tuple(f"Price{hour}" for hour in range(1, 25))
# The krone is held within 2.25 % of 7.46038 to the euro (ERM II).
DKK_PER_EUR, BAND = 7.46038, 0.03
ROUNDING_DKK_PER_MWH = 0.2


def prices_query(area: str, first: dt.date, end: dt.date) -> dict[str, str | int]:
    """Parameters of the prices of [first, end), Danish days."""
    return {
        "start": f"{first}T00:00",
        "end": f"{end}T00:00",
        "filter": json.dumps({"PriceArea": [area]}),
        "sort": "TimeUTC",
        "limit": MOST_ROWS,
    }


def quotes(rows: Sequence[Mapping[str, Any]]) -> list[Quoted]:
    """Rows of DayAheadPrices, a quote for each currency that has prices.

    Raises:
        FeedError: A row has no time, areas are mixed, or the two currencies do not go together.
    """
    areas = sorted({str(row.get("PriceArea")) for row in rows})
    if len(areas) > 1:
        raise FeedError(Fault.WRONG_AREA, f"{SOURCE}: prices of {', '.join(areas)} in one answer")
    index = pd.DatetimeIndex([_time(row.get("TimeUTC")) for row in rows], tz="UTC")
    columns = {
        currency: pd.Series([number(row.get(f"DayAheadPrice{currency}")) for row in rows], index, dtype=float)
        for currency in CURRENCIES
    }
    _refuse_odd_rate(columns["EUR"], columns["DKK"])
    return [
        Quoted(Side.SPOT, currency, areas[0], per_mwh / KWH_PER_MWH)
        for currency, per_mwh in columns.items()
        if currency == "EUR" or per_mwh.notna().any()
    ]


def price_list_query(gln: str, codes: Sequence[str]) -> dict[str, str | int]:
    """Parameters of the tariffs (D03) of one owner."""
    wanted = {"GLN_Number": [gln], "ChargeType": [TARIFF], "ChargeTypeCode": list(codes)}
    return {"filter": json.dumps(wanted), "sort": "ValidFrom", "limit": MOST_ROWS}


def charges(rows: Sequence[Mapping[str, Any]], gln: str, codes: Sequence[str], sign: int = 1) -> tuple[Charge, ...]:
    """Rows of DatahubPricelist as charges without VAT, one for each code; they are to be added up.

    Args:
        rows: The records.
        gln: The owner whose they must be.
        codes: The codes wanted; each must be there.
        sign: -1 where the tariff is taken off what a sold kWh earns.

    Raises:
        FeedError: A code is missing, a row is another's or no tariff, or a figure or date cannot be read.
    """
    by_code: dict[str, list[Mapping[str, Any]]] = {code: [] for code in codes}
    for row in rows:
        code = str(row.get("ChargeTypeCode"))
        if str(row.get("GLN_Number")) != gln or row.get("ChargeType") != TARIFF or code not in by_code:
            raise FeedError(Fault.WRONG_AREA, f"{SOURCE}: the price list has rows that were not asked for")
        by_code[code].append(row)
    missing = [code for code, found in by_code.items() if not found]
    if missing:
        raise FeedError(Fault.PARTIAL, f"{SOURCE}: the price list of {gln} has no tariff {', '.join(missing)}")
    return tuple(Charge(name=code, sheets=_sheets(code, found, sign)) for code, found in by_code.items())


def _sheets(code: str, rows: Sequence[Mapping[str, Any]], sign: int) -> tuple[Rates, ...]:
    """Price sheets of one code by date; each ends at the latest where the next begins."""
    dated = sorted(((_date(code, row.get("ValidFrom")), row) for row in rows), key=lambda entry: entry[0])
    for (first, _), (second, _) in pairwise(dated):
        if first == second:
            raise FeedError(Fault.DUPLICATED, f"{SOURCE}: tariff {code} has two sheets from {first} on")
    followers: list[dt.date | None] = [begin for begin, _ in dated[1:]]
    found = []
    for (begin, row), follower in zip(dated, [*followers, None], strict=True):
        written = None if row.get("ValidTo") is None else _date(code, row["ValidTo"])
        # A sheet without an end, or with one beyond the next one's beginning, was replaced by that.
        end = min((date for date in (written, follower) if date is not None), default=None)
        found.append(_sheet(code, row, begin, end, sign))
    return tuple(found)


def _sheet(code: str, row: Mapping[str, Any], begin: dt.date, end: dt.date | None, sign: int) -> Rates:
    first = number(row.get(HOURS[0]))
    if first is None:
        raise FeedError(Fault.PARTIAL, f"{SOURCE}: tariff {code} from {begin} has no Price1")
    prices = [first]
    for name in HOURS[1:]:
        price = first if row.get(name) is None else number(row[name])
        if price is None:
            raise FeedError(Fault.PARTIAL, f"{SOURCE}: tariff {code} from {begin}: {name} is no number")
        prices.append(price)
    bands = []
    for price in sorted(set(prices[1:]) - {first}):
        hours = tuple(f"{hour:02}:00-{hour + 1:02}:00" for hour, other in enumerate(prices) if other == price)
        bands.append(Band(price=sign * price, hours=hours))
    return Rates(standard=sign * first, bands=tuple(bands), valid_from=begin, valid_to=end)


def _refuse_odd_rate(eur: pd.Series, dkk: pd.Series) -> None:
    """Each price in kroner is that in euros at the pegged rate; else one column is not what it says."""
    off = (dkk - eur * DKK_PER_EUR).abs() > eur.abs() * DKK_PER_EUR * BAND + ROUNDING_DKK_PER_MWH
    if off.any():
        at = int(off.to_numpy().argmax())
        problem = f"{eur.iloc[at]:g} EUR/MWh and {dkk.iloc[at]:g} DKK/MWh at {eur.index[at]:%Y-%m-%dT%H:%MZ}"
        raise FeedError(Fault.IMPLAUSIBLE, f"{SOURCE}: {problem} are not the same price")


def _time(value: Any) -> dt.datetime:
    found = time_of(value)
    if found is None:
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: a row has no readable TimeUTC")
    return found if found.tzinfo is None else found.astimezone(dt.UTC).replace(tzinfo=None)


def _date(code: str, value: Any) -> dt.date:
    found = time_of(value)
    if found is None or found.time() != dt.time():
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: tariff {code} has a date that is no Danish midnight")
    return found.date()
