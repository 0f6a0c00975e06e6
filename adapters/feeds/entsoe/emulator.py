"""ENTSO-E's API on loopback: price documents, acknowledgements without data, and a token."""

from __future__ import annotations

import datetime as dt
import hmac
import secrets
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from adapters.emulation import EmulatedClock
from adapters.feeds.emulation import EmulatedMarket, PriceEmulator, Row
from adapters.feeds.entsoe.mapping import NAMES
from adapters.feeds.markets import AREAS, SDAC

RESOLUTIONS = {15: "PT15M", 30: "PT30M", 60: "PT60M"}
_NO_DATA = (
    '<?xml version="1.0" encoding="UTF-8"?><Acknowledgement_MarketDocument><Reason><code>999</code>'
    "<text>No matching data found for Data item Day-ahead Prices</text></Reason></Acknowledgement_MarketDocument>"
)


class EntsoeCloud(PriceEmulator):
    """The platform."""

    def __init__(self, clock: EmulatedClock, model: EmulatedMarket | None = None, curve_type: str = "A03") -> None:
        super().__init__(SDAC, clock, model)
        self.token, self._curve_type = secrets.token_hex(16), curve_type
        self.serve([Route("/api", self._document)])

    def account(self) -> dict[str, Any]:
        """What a client needs, without the address."""
        return {"security_token": self.token}

    async def _document(self, request: Request) -> Response:
        asked = request.query_params
        if not hmac.compare_digest(asked.get("securityToken", "").encode(), self.token.encode()):
            return Response("Unauthorized", status_code=401)
        if asked.get("documentType") != "A44" or asked.get("in_Domain") not in NAMES:
            return Response(status_code=400)
        begin, end = (
            dt.datetime.strptime(asked[name], "%Y%m%d%H%M").replace(tzinfo=dt.UTC)
            for name in ("periodStart", "periodEnd")
        )
        area = NAMES[asked["in_Domain"]]
        rows = self.rows(area, begin, end)
        if not rows:
            return Response(_NO_DATA, media_type="text/xml")
        text = self._rendered(AREAS[self.answered_area(area, "DK1" if area != "DK1" else "DK2")], rows)
        return Response(text[: len(text) // 3] if self.wrong.broken else text, media_type="text/xml")

    def _rendered(self, code: str, rows: Sequence[Row]) -> str:
        """A document with a time series for every market day, as the platform has them."""
        days = [list(of_day) for _, of_day in groupby(rows, key=lambda row: self.market.day_of(row.start))]
        if self.wrong.duplicated:
            days.append(days[-1])
        return (
            '<?xml version="1.0" encoding="UTF-8"?><Publication_MarketDocument><type>A44</type>'
            + "".join(self._series(number, code, of_day) for number, of_day in enumerate(days, 1))
            + "</Publication_MarketDocument>"
        )

    def _series(self, number: int, code: str, rows: Sequence[Row]) -> str:
        first, last = rows[0], rows[-1]
        end = last.start + last.step.to_pytimedelta()
        points: list[str] = []
        before = None
        for row in rows:
            repeats = self._curve_type == "A03" and row.eur_per_mwh == before
            if row.eur_per_mwh is not None and not repeats:
                position = round((row.start - first.start) / row.step.to_pytimedelta()) + 1
                points.append(
                    f"<Point><position>{position}</position><price.amount>{row.eur_per_mwh:.5f}</price.amount></Point>"
                )
            before = row.eur_per_mwh
        return (
            f"<TimeSeries><mRID>{number}</mRID><businessType>A62</businessType>"
            f'<in_Domain.mRID codingScheme="A01">{code}</in_Domain.mRID>'
            f'<out_Domain.mRID codingScheme="A01">{code}</out_Domain.mRID>'
            "<currency_Unit.name>EUR</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
            f"<curveType>{self._curve_type}</curveType><Period><timeInterval><start>{first.start:%Y-%m-%dT%H:%MZ}</start>"
            f"<end>{end:%Y-%m-%dT%H:%MZ}</end></timeInterval>"
            f"<resolution>{RESOLUTIONS[round(first.step.total_seconds() / 60)]}</resolution>"
            f"{''.join(points)}</Period></TimeSeries>"
        )
