"""Series as good meters and markets give them, made from a seed: nothing may be found in these."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import strategies as st

from engine.quality.sun import elevation_deg

# Name, latitude, longitude.
PLACES = (
    ("Europe/Copenhagen", 55.7, 12.6),
    ("Europe/London", 51.5, -0.1),
    ("America/Los_Angeles", 34.1, -117.4),
    ("Australia/Sydney", -33.9, 151.2),
)
MINUTES = (15, 30, 60)


def index_of(begin: str, days: int, minutes: int) -> pd.DatetimeIndex:
    return pd.date_range(begin, periods=days * 1440 // minutes, freq=f"{minutes}min", tz="UTC", unit="ns")


def clean_load(seed: int, days: int = 40, minutes: int = 30, begin: str = "2024-03-01") -> pd.Series:
    """A home [kW]: two peaks a day, appliances by chance, four decimals."""
    index, rng = index_of(begin, days, minutes), np.random.default_rng(seed)
    hour = index.hour.to_numpy() + index.minute.to_numpy() / 60
    habit = 0.3 + 0.6 * np.exp(-(((hour - 7) / 1.5) ** 2)) + 1.1 * np.exp(-(((hour - 18) / 2.5) ** 2))
    return pd.Series(np.round(habit * rng.lognormal(0, 0.4, len(index)), 4), index, name="load_kw")


def clean_pv(seed: int, days: int = 40, minutes: int = 30, begin: str = "2024-03-01", place: int = 0) -> pd.Series:
    """A plant of about 5 kW under changing clouds, four decimals; 0 in the dark."""
    index, rng = index_of(begin, days, minutes), np.random.default_rng(seed)
    _, latitude, longitude = PLACES[place]
    middle = index + pd.Timedelta(minutes=minutes / 2)
    sine = np.sin(np.radians(np.maximum(elevation_deg(middle, latitude, longitude), 0)))
    cloud = np.repeat(rng.uniform(0.25, 1.0, days), len(index) // days) * rng.uniform(0.6, 1.0, len(index))
    return pd.Series(np.round(5 * sine * cloud, 4), index, name="pv_kw")


def clean_price(seed: int, days: int = 40, minutes: int = 60, begin: str = "2024-03-01") -> pd.Series:
    """A market [EUR/kWh] that is sometimes negative."""
    index, rng = index_of(begin, days, minutes), np.random.default_rng(seed)
    hour = index.hour.to_numpy() + index.minute.to_numpy() / 60
    return pd.Series(
        np.round(0.09 + 0.04 * np.sin(hour / 4) + rng.normal(0, 0.03, len(index)), 5), index, name="price_eur_per_kwh"
    )


CLEAN = {"load": clean_load, "pv": clean_pv, "price": clean_price}
seeds = st.integers(0, 10_000)
minutes = st.sampled_from(MINUTES)


@st.composite
def stretches(draw: st.DrawFn, samples: int, least: int = 1, most: int = 200, edge: int = 2) -> slice:
    """Some consecutive samples, away from both ends."""
    length = draw(st.integers(least, min(most, samples - 2 * edge)))
    first = draw(st.integers(edge, samples - length - edge))
    return slice(first, first + length)
