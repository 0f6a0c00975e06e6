"""Readings of a site that lives the same day again and again, in the store."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pandas as pd

from schedules.store import Database, TelemetryRow

EVERY = "5min"


def usual(index: pd.DatetimeIndex) -> pd.DataFrame:
    """Mean load and PV of intervals [kW]: a peak in the evening, a sun around noon, of UTC."""
    hour = (index.hour + index.minute / 60).to_numpy()
    load = 0.5 + 2.0 * np.exp(-(((hour - 18.0) / 2.0) ** 2))
    return pd.DataFrame({"load_kw": load, "pv_kw": np.clip(4.0 * np.cos((hour - 12) / 6 * np.pi / 2), 0, None)}, index)


def live(db: Database, site_id: int, begin: dt.datetime, end: dt.datetime, **changes: Any) -> None:
    """Keep readings of (begin, end], each the mean of the quarter of an hour that it is in."""
    times = pd.date_range(begin, end, freq=EVERY, inclusive="right")
    powers = usual(pd.DatetimeIndex(times - pd.Timedelta("1s")).floor("15min"))
    rows = [
        {
            "site_id": site_id,
            "channel": "power",
            "measured_at": at.to_pydatetime(),
            "received_at": at.to_pydatetime(),
            "load_kw": load,
            "pv_kw": pv,
            "grid_kw": load - pv,
            "battery_kw": 0.0,
            **changes,
        }
        for at, load, pv in zip(times, powers["load_kw"], powers["pv_kw"], strict=True)
    ]
    with db.write() as session:
        session.execute(TelemetryRow.__table__.insert(), rows)
