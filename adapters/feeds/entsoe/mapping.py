"""Every name and unit of ENTSO-E's day-ahead prices (document A44), and nothing else.

Source: Transparency Platform RESTful API guide, 4.2.10. The document's curve type A03 leaves out prices that repeat the
one before; entsoe-py puts them back in.

Source field                  ours
TimeSeries/in_Domain.mRID     area                            EIC code
currency_Unit.name            currency
price_Measure_Unit.name       must be MWH
Period/resolution             step                            PT15M, PT30M, PT60M; a zone may have several
price.amount                  spot = x / 1000                 currency/MWh
"""

from __future__ import annotations

import re
import warnings
from typing import Any
from xml.etree import ElementTree

import pandas as pd

from adapters.feeds.acceptance import Quoted
from adapters.feeds.contract import Fault, FeedError, Side
from adapters.feeds.markets import AREAS
from engine.prices import KWH_PER_MWH

SOURCE = "entsoe"
STEPS = {"15min": pd.Timedelta(minutes=15), "30min": pd.Timedelta(minutes=30), "60min": pd.Timedelta(hours=1)}
NAMES = {code: name for name, code in AREAS.items()}
# Where a second auction's prices are published beside the coupled one's, that is sequence 1.
SEQUENCES = {"AT": 1, "DE_LU": 1}
_FIELDS = {
    "area": re.compile(r"<in_Domain\.mRID[^>]*>\s*([^<\s]+)", re.IGNORECASE),
    "currency": re.compile(r"<currency_Unit\.name[^>]*>\s*([^<\s]+)", re.IGNORECASE),
    "unit": re.compile(r"<price_Measure_Unit\.name[^>]*>\s*([^<\s]+)", re.IGNORECASE),
}


def quote(document: str, wanted: pd.DatetimeIndex, step: pd.Timedelta) -> Quoted:
    """A price document, in the resolution that is wanted where it has several.

    Args:
        document: The XML.
        wanted: Starts of the day's intervals.
        step: Their length.

    Raises:
        FeedError: It is no price document, or of several areas, currencies or units.
    """
    if "Publication_MarketDocument" not in document:
        if "No matching data" in document:
            raise FeedError(Fault.LATE, f"{SOURCE}: no prices yet")
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: the answer is no price document")
    try:
        # The library reads it as HTML, where an end that is cut off would count as prices that repeat.
        ElementTree.fromstring(document)
    except ElementTree.ParseError:
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: the document is cut off or no XML") from None
    found = {field: set(pattern.findall(document)) for field, pattern in _FIELDS.items()}
    if len(found["area"]) != 1:
        problem = "several areas" if found["area"] else "no area"
        raise FeedError(Fault.WRONG_AREA, f"{SOURCE}: the document has {problem}")
    if found["unit"] != {"MWH"} or len(found["currency"]) != 1:
        raise FeedError(Fault.IMPLAUSIBLE, f"{SOURCE}: the prices are not in one currency per MWh")
    code, currency = found["area"].pop(), found["currency"].pop()
    series = {STEPS[name]: prices for name, prices in _parsed(document).items() if len(prices)}
    if not series:
        raise FeedError(Fault.LATE, f"{SOURCE}: the document has no prices yet")
    of_day = [each for each, prices in series.items() if prices.index.isin(wanted).any()] or list(series)
    chosen = step if step in of_day else of_day[0]
    prices = series[chosen].tz_convert("UTC") / KWH_PER_MWH
    return Quoted(Side.SPOT, currency, NAMES.get(code, code), prices, chosen)


def _parsed(document: str) -> dict[str, pd.Series]:
    from entsoe import parsers

    library: Any = parsers

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that XML is read as HTML, and what pandas says of empty series
            return dict(library.parse_prices(document))
    except Exception as error:  # it raises whatever happens inside
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: no price document ({type(error).__name__})") from None
