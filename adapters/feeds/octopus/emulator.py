"""Octopus's unit rates on loopback: what Agile's formula makes of the emulated market."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.emulation import EmulatedClock
from adapters.feeds.emulation import EmulatedMarket, PriceEmulator, Row
from adapters.feeds.markets import AGILE
from engine.tariffs import gb

PRODUCTS = {"AGILE-24-10-01": "import", "AGILE-OUTGOING-19-05-13": "export"}
GBP_PER_EUR = 0.86
AREA = "GB"
LONDON = ZoneInfo(gb.TIMEZONE)


class OctopusCloud(PriceEmulator):
    """The API."""

    def __init__(self, clock: EmulatedClock, model: EmulatedMarket | None = None) -> None:
        super().__init__(AGILE, clock, model)
        path = "/v1/products/{product}/electricity-tariffs/{tariff}/standard-unit-rates/"
        self.serve([Route(path, self._rates)])

    def account(self) -> dict[str, Any]:
        """What a client needs, without the address."""
        return dict(zip(("import_product", "export_product"), PRODUCTS, strict=True))

    def truth(self, area: str, day: dt.date) -> pd.Series:
        """What a bought kWh costs, as a sound answer has it [pence/kWh]."""
        prices = super().truth(AREA, day)
        rows = [Row(start.to_pydatetime(), self.market.step(day), price) for start, price in prices.items()]  # type: ignore[attr-defined]
        return pd.Series(_pence(rows, area, "import"), prices.index)

    async def _rates(self, request: Request) -> Response:
        product, tariff = request.path_params["product"], request.path_params["tariff"]
        if product not in PRODUCTS or not tariff.startswith(f"E-1R-{product}-"):
            return Response(status_code=404)
        begin, end = (dt.datetime.fromisoformat(request.query_params[f"period_{name}"]) for name in ("from", "to"))
        rows = self.rows(AREA, begin, end)
        pence = _pence(rows, tariff[-1], PRODUCTS[product])
        results = [
            {
                "value_exc_vat": None if value is None else round(value / 1.05, 4),
                "value_inc_vat": value,
                "valid_from": f"{row.start:%Y-%m-%dT%H:%M:%SZ}",
                "valid_to": f"{row.start + row.step.to_pytimedelta():%Y-%m-%dT%H:%M:%SZ}",
                "payment_method": None,
            }
            for row, value in zip(rows, pence, strict=True)
        ]
        return self.answer({"count": len(results), "next": None, "previous": None, "results": results[::-1]})


def _pence(rows: Sequence[Row], region: str, side: str) -> list[float | None]:
    """Rates of intervals, VAT included [pence/kWh]; what is sold has none."""
    terms = gb.AGILE_2018[region]
    found: list[float | None] = []
    for row in rows:
        if row.eur_per_mwh is None:
            found.append(None)
            continue
        spot = row.eur_per_mwh * GBP_PER_EUR / 10
        is_peak = dt.time(16) <= row.start.astimezone(LONDON).time() < dt.time(19)
        bought = 1.05 * (terms.multiplier * spot + 100 * terms.peak * is_peak)
        found.append(round(bought if side == "import" else 0.95 * spot, 4))
    return found
