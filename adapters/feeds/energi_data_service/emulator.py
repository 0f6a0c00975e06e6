"""Energi Data Service on loopback: DayAheadPrices, and a DatahubPricelist of two made-up codes of one owner."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.emulation import EmulatedClock
from adapters.feeds.emulation import EmulatedMarket, PriceEmulator
from adapters.feeds.energi_data_service.mapping import DKK_PER_EUR, HOURS, PRICE_LIST_PATH, PRICES_PATH
from adapters.feeds.markets import SDAC

DANISH = ZoneInfo("Europe/Copenhagen")
GLN = "5790000000000"
"""Of an owner that does not exist."""


class EnergiDataServiceCloud(PriceEmulator):
    """The service."""

    def __init__(self, clock: EmulatedClock, model: EmulatedMarket | None = None, gives_dkk: bool = True) -> None:
        super().__init__(SDAC, clock, model)
        self._gives_dkk = gives_dkk
        self.price_list = _price_list()
        """Records of DatahubPricelist, for a test to change."""
        self.serve([Route(PRICES_PATH, self._prices), Route(PRICE_LIST_PATH, self._tariffs)])

    def account(self) -> dict[str, Any]:
        """What a client needs, without the address."""
        return {}

    async def _prices(self, request: Request) -> Response:
        asked = request.query_params
        (area,) = json.loads(asked["filter"])["PriceArea"]
        begin, end = (dt.datetime.fromisoformat(asked[name]).replace(tzinfo=DANISH) for name in ("start", "end"))
        records = [
            {
                "TimeUTC": f"{row.start:%Y-%m-%dT%H:%M:%S}",
                "TimeDK": f"{row.start.astimezone(DANISH):%Y-%m-%dT%H:%M:%S}",
                "PriceArea": self.answered_area(area, "DK1" if area != "DK1" else "DK2"),
                "DayAheadPriceEUR": row.eur_per_mwh,
                "DayAheadPriceDKK": self._dkk(row.eur_per_mwh),
            }
            for row in self.rows(area, begin.astimezone(dt.UTC), end.astimezone(dt.UTC))
        ]
        # As the service does where nothing is said.
        limit = int(asked.get("limit", 100))
        return self.answer(
            {"total": len(records), "limit": limit, "dataset": "DayAheadPrices", "records": records[:limit]}
        )

    def _dkk(self, eur_per_mwh: float | None) -> float | None:
        return None if eur_per_mwh is None or not self._gives_dkk else round(eur_per_mwh * DKK_PER_EUR, 2)

    async def _tariffs(self, request: Request) -> Response:
        wanted = json.loads(request.query_params["filter"])
        records = [row for row in self.price_list if all(row[name] in values for name, values in wanted.items())]
        return JSONResponse({"total": len(records), "dataset": "DatahubPricelist", "records": records})


def _price_list() -> list[dict[str, Any]]:
    """A tariff by the hour that changes within the year, and a flat discount."""

    def row(code: str, begin: str, end: str | None, prices: Sequence[float | None]) -> dict[str, Any]:
        dates = {"ValidFrom": f"{begin}T00:00:00", "ValidTo": None if end is None else f"{end}T00:00:00"}
        charge = {"GLN_Number": GLN, "ChargeOwner": "Made-up grid", "ChargeType": "D03", "ChargeTypeCode": code}
        return {**charge, "Note": "Nettarif C", **dates, **dict(zip(HOURS, prices, strict=True))}

    by_hour = [0.10] * 6 + [0.15] * 11 + [0.40] * 4 + [0.15] * 3
    return [
        row("NET", "2025-10-01", "2026-04-01", by_hour),
        row("NET", "2026-04-01", None, [price / 2 for price in by_hour]),
        row("NET R", "2025-10-01", None, [-0.02, *[None] * 23]),
    ]
