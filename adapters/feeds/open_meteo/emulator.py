"""Open-Meteo on loopback: a sky of the emulator's own, forecast and archive alike."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from adapters.emulation import EmulatedClock, EmulatedCloud, FaultBox
from adapters.feeds.markets import HOUR
from adapters.feeds.open_meteo.mapping import ARCHIVE_PATH, FORECAST_PATH, UNITS

ARCHIVE_LAG = dt.timedelta(days=5)


class OpenMeteoCloud(EmulatedCloud):
    """Both services."""

    def __init__(self, clock: EmulatedClock) -> None:
        self.clock, self.calls, self.faults = clock, 0, FaultBox()
        self.changes: dict[str, Any] = {}
        """Parts of the answer to put in place of the true ones, for tests; `hourly` and `hourly_units` part by part."""
        routes = [Route(FORECAST_PATH, self._forecast), Route(ARCHIVE_PATH, self._archive)]
        self._offer(routes, clock, self.faults)

    def advance(self) -> None:
        """Nothing moves but the clock."""

    def state(self) -> dict[str, Any]:
        """How often weather was asked for."""
        return {"calls": self.calls}

    def account(self) -> dict[str, Any]:
        """What a client needs, without the addresses."""
        return {}

    async def _forecast(self, request: Request) -> Response:
        return self._answer(request, None)

    async def _archive(self, request: Request) -> Response:
        return self._answer(request, self.clock.now() - ARCHIVE_LAG)

    def _answer(self, request: Request, until: dt.datetime | None) -> Response:
        self.calls += 1
        asked = request.query_params
        latitude, longitude = float(asked["latitude"]), float(asked["longitude"])
        first, last = (pd.Timestamp(asked[f"{name}_date"], tz="UTC") for name in ("start", "end"))
        stamps = pd.date_range(first, last + pd.Timedelta(days=1), freq=HOUR, inclusive="left")
        sky = weather_at_stamps(latitude, longitude, stamps)
        if until is not None:
            sky[stamps > pd.Timestamp(until)] = np.nan
        hourly = {name: [None if np.isnan(value) else round(value, 2) for value in sky[name]] for name in sky}
        seconds = [round(stamp.timestamp()) for stamp in stamps]
        answer: dict[str, Any] = {
            "latitude": round(latitude / 0.02) * 0.02,
            "longitude": round(longitude / 0.02) * 0.02,
            "utc_offset_seconds": 0,
            "timezone": "GMT",
            "hourly_units": {"time": "unixtime", **UNITS},
            "hourly": {"time": seconds, **hourly},
        }
        for name, change in self.changes.items():
            answer[name] = {**answer[name], **change} if isinstance(answer.get(name), dict) else change
        return JSONResponse(answer)


def weather_at_stamps(latitude: float, longitude: float, stamps: pd.DatetimeIndex) -> pd.DataFrame:
    """The emulated sky as the service gives it: radiation of the hour before each stamp, the rest at the stamp.

    Declination after Cooper (1969), clear sky after Haurwitz (1945), a fifth of it diffuse.
    """
    middle = stamps - HOUR / 2
    hours = (middle.hour + middle.minute / 60).to_numpy() + longitude / 15
    declination = np.radians(23.45) * np.sin(2 * np.pi * (284 + middle.day_of_year.to_numpy()) / 365)
    latitude_rad = np.radians(latitude)
    cosine = np.sin(latitude_rad) * np.sin(declination) + np.cos(latitude_rad) * np.cos(declination) * np.cos(
        np.radians(15 * (hours - 12))
    )
    up = cosine > 0.02
    safe = np.where(up, cosine, 1.0)
    ghi = np.where(up, 1098 * safe * np.exp(-0.059 / safe), 0.0)
    dhi = 0.2 * ghi
    dni = np.where(up, (ghi - dhi) / safe, 0.0)
    year = np.cos(2 * np.pi * (stamps.day_of_year.to_numpy() - 200) / 365)
    day = np.cos(2 * np.pi * (stamps.hour.to_numpy() + longitude / 15 - 15) / 24)
    return pd.DataFrame(
        {
            "shortwave_radiation": ghi,
            "direct_normal_irradiance": dni,
            "diffuse_radiation": dhi,
            "temperature_2m": 9 + 8 * year + 4 * day,
            "wind_speed_10m": 4 + 1.5 * day,
        },
        index=stamps,
    )
