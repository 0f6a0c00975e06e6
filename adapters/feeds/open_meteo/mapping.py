"""Every name and unit of Open-Meteo, and nothing else.

Source: open-meteo.com/en/docs, hourly variables. Radiation at a stamp is the mean of the hour BEFORE it, temperature
and wind are those of the moment. Ours are means over the hour that BEGINS at its label.

Source field                 ours              note
shortwave_radiation          ghi_w_per_m2      at the next stamp
direct_normal_irradiance     dni_w_per_m2      at the next stamp
diffuse_radiation            dhi_w_per_m2      at the next stamp
temperature_2m               temperature_c     mean of this stamp and the next
wind_speed_10m               wind_m_per_s      the same; asked for in m/s, km/h is their default
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

import pandas as pd

from adapters.feeds.contract import WEATHER_COLUMNS, Fault, FeedError
from adapters.feeds.markets import HOUR
from adapters.values import number

SOURCE = "open_meteo"
FORECAST_PATH, ARCHIVE_PATH = "/v1/forecast", "/v1/archive"
_MEANS = {
    "shortwave_radiation": "ghi_w_per_m2",
    "direct_normal_irradiance": "dni_w_per_m2",
    "diffuse_radiation": "dhi_w_per_m2",
}
_MOMENTS = {"temperature_2m": "temperature_c", "wind_speed_10m": "wind_m_per_s"}
UNITS = dict.fromkeys(_MEANS, "W/m²") | {"temperature_2m": "°C", "wind_speed_10m": "m/s"}
# About what the sun gives outside the atmosphere; beyond all temperatures and gusts on record.
BOUNDS = {
    "ghi_w_per_m2": (0.0, 1500.0),
    "dni_w_per_m2": (0.0, 1400.0),
    "dhi_w_per_m2": (0.0, 1000.0),
    "temperature_c": (-90.0, 60.0),
    "wind_m_per_s": (0.0, 115.0),
}
# Models have cells of up to 25 km; the answer names the middle of the nearest.
FARTHEST_DEGREES = 0.5


def query(latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime) -> dict[str, str | int]:
    """Parameters for the hours of [begin, end): whole days of UTC, and one stamp more."""
    last = end.astimezone(dt.UTC)
    return {
        "latitude": f"{latitude:.4f}",
        "longitude": f"{longitude:.4f}",
        "hourly": ",".join([*_MEANS, *_MOMENTS]),
        "start_date": f"{begin.astimezone(dt.UTC):%Y-%m-%d}",
        "end_date": f"{last:%Y-%m-%d}",
        "timeformat": "unixtime",
        "timezone": "GMT",
        "wind_speed_unit": "ms",
    }


def weather(
    answer: Mapping[str, Any], latitude: float, longitude: float, begin: dt.datetime, end: dt.datetime
) -> pd.DataFrame:
    """An answer as `WEATHER_COLUMNS` on the hours of [begin, end).

    Raises:
        FeedError: It is of another place, in other units, with gaps, or beyond what weather can be.
    """
    place = number(answer.get("latitude")), number(answer.get("longitude"))
    if place[0] is None or place[1] is None or _apart(latitude, longitude, place[0], place[1]) > FARTHEST_DEGREES:
        raise FeedError(Fault.WRONG_AREA, f"{SOURCE}: the answer is about {place}, not {(latitude, longitude)}")
    units, hourly = answer.get("hourly_units"), answer.get("hourly")
    if not isinstance(units, dict) or not isinstance(hourly, dict):
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: the answer has no hourly values")
    for name, unit in UNITS.items():
        if units.get(name) != unit:
            raise FeedError(Fault.IMPLAUSIBLE, f"{SOURCE}: {name} is in {units.get(name)}, not in {unit}")
    stamps = _stamps(hourly.get("time"))
    columns = {}
    for name, ours in [*_MEANS.items(), *_MOMENTS.items()]:
        values = hourly.get(name)
        if not isinstance(values, list) or len(values) != len(stamps):
            raise FeedError(Fault.PARTIAL, f"{SOURCE}: {name} has not a value for each time")
        at = pd.Series([number(value) for value in values], stamps, dtype=float)
        following = at.shift(-1)
        columns[ours] = following if name in _MEANS else (at + following) / 2
    wanted = pd.date_range(begin, end, freq=HOUR, inclusive="left", tz="UTC", name="start", unit="ns")
    frame = pd.DataFrame(columns)[list(WEATHER_COLUMNS)].reindex(wanted)
    if frame.isna().to_numpy().any():
        at = frame.index[frame.isna().any(axis="columns")][0]
        kind = Fault.LATE if frame.isna().to_numpy().all() else Fault.PARTIAL
        raise FeedError(kind, f"{SOURCE}: something is missing at {at:%Y-%m-%dT%H:%MZ}")
    for name, (least, most) in BOUNDS.items():
        beyond = (frame[name] < least) | (frame[name] > most)
        if beyond.any():
            at = frame.index[int(beyond.to_numpy().argmax())]
            problem = f"{name} {frame.loc[at, name]:g} at {at:%Y-%m-%dT%H:%MZ} is outside {least:g} .. {most:g}"
            raise FeedError(Fault.IMPLAUSIBLE, f"{SOURCE}: {problem}")
    return frame


def _stamps(values: Any) -> pd.DatetimeIndex:
    try:
        index = pd.DatetimeIndex(pd.to_datetime(values, unit="s", utc=True)).as_unit("ns")
    except (TypeError, ValueError, OverflowError):
        raise FeedError(Fault.UNREACHABLE, f"{SOURCE}: times cannot be read") from None
    if index.has_duplicates:
        raise FeedError(Fault.DUPLICATED, f"{SOURCE}: {index[index.duplicated()][0]:%Y-%m-%dT%H:%MZ} is there twice")
    if len(index) > 1 and not ((index[1:] - index[:-1]) == HOUR).all():
        raise FeedError(Fault.WRONG_RESOLUTION, f"{SOURCE}: times are not one hour apart")
    return index


def _apart(latitude: float, longitude: float, other_latitude: float, other_longitude: float) -> float:
    around = abs(longitude - other_longitude) % 360
    return max(abs(latitude - other_latitude), min(around, 360 - around))
