"""Every name and unit of the Octopus REST API, and nothing else.

Source: developer.octopus.energy, "List electricity tariff standard unit rates". No credentials.

Source field      ours                        note
valid_from        start                       UTC
valid_to          step = valid_to - valid_from
value_inc_vat     GBP/kWh = x / 100           pence/kWh; a seller charges no VAT, so for export both values are the same
payment_method    only null is Agile's
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from adapters.feeds.acceptance import Quoted
from adapters.feeds.contract import Fault, FeedError, Side
from adapters.values import number, time_of

SOURCE = "octopus"
CURRENCY = "GBP"
PENCE_PER_POUND = 100.0
# Two days are 100 rows at most.
PAGE_SIZE = 1500


def rates_path(product: str, region: str) -> str:
    """Where the unit rates of a product in a region (A to P) are; single register."""
    return f"/v1/products/{product}/electricity-tariffs/E-1R-{product}-{region}/standard-unit-rates/"


def rates_query(begin: dt.datetime, end: dt.datetime) -> dict[str, str | int]:
    """Parameters of the rates of [begin, end)."""
    return {
        "period_from": f"{begin.astimezone(dt.UTC):%Y-%m-%dT%H:%MZ}",
        "period_to": f"{end.astimezone(dt.UTC):%Y-%m-%dT%H:%MZ}",
        "page_size": PAGE_SIZE,
    }


def quote(rows: Sequence[Mapping[str, Any]], side: Side, region: str) -> Quoted:
    """Rows of unit rates; the answer does not say whose, the path did.

    Raises:
        FeedError: A row has no time, or rows are of different lengths.
    """
    spans = [_span(row) for row in rows]
    steps = {end - begin for begin, end in spans}
    if len(steps) > 1:
        raise FeedError(Fault.WRONG_RESOLUTION, f"{SOURCE}: {side.value} rates are of different lengths")
    index = pd.DatetimeIndex([begin for begin, _ in spans], tz="UTC")
    pence = pd.Series([number(row.get("value_inc_vat")) for row in rows], index, dtype=float)
    step = pd.Timedelta(steps.pop()) if steps else None
    return Quoted(side, CURRENCY, region, pence / PENCE_PER_POUND, step)


def _span(row: Mapping[str, Any]) -> tuple[dt.datetime, dt.datetime]:
    begin, end = time_of(row.get("valid_from")), time_of(row.get("valid_to"))
    if begin is None or end is None or begin.tzinfo is None or end.tzinfo is None:
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: a rate has no aware valid_from and valid_to")
    return begin.astimezone(dt.UTC), end.astimezone(dt.UTC)
