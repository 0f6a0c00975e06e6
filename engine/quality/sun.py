"""Where the sun stands: enough to say whether it is dark.

Spencer, "Fourier series representation of the position of the sun", Search 2 (5), 1971; good to half a degree.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask

# Below this there is no light that PV would turn into anything [degrees].
DARK_BELOW_DEG = -1.0


def elevation_deg(index: pd.DatetimeIndex, latitude: float, longitude: float) -> Array:
    """Elevation of the sun over the horizon [degrees].

    Args:
        index: Instants [UTC]; shape (T,).
        latitude: North is positive [degrees].
        longitude: East is positive [degrees].
    """
    minutes = index.hour.to_numpy() * 60.0 + index.minute.to_numpy() + index.second.to_numpy() / 60.0
    g = 2 * np.pi / 365.25 * (index.day_of_year.to_numpy() - 1 + minutes / 1440)
    equation_min = 229.18 * (
        0.000075 + 0.001868 * np.cos(g) - 0.032077 * np.sin(g) - 0.014615 * np.cos(2 * g) - 0.040849 * np.sin(2 * g)
    )
    declination = (
        0.006918
        - 0.399912 * np.cos(g)
        + 0.070257 * np.sin(g)
        - 0.006758 * np.cos(2 * g)
        + 0.000907 * np.sin(2 * g)
        - 0.002697 * np.cos(3 * g)
        + 0.00148 * np.sin(3 * g)
    )
    hour_angle = np.radians((minutes + equation_min + 4 * longitude) / 4 - 180)
    north = np.radians(latitude)
    sine = np.sin(north) * np.sin(declination) + np.cos(north) * np.cos(declination) * np.cos(hour_angle)
    return np.asarray(np.degrees(np.arcsin(np.clip(sine, -1, 1))), dtype=np.float64)


def dark(index: pd.DatetimeIndex, step: pd.Timedelta, latitude: float, longitude: float) -> Mask:
    """Which intervals are dark from begin to end, shape (T,)."""
    at = [elevation_deg(index + part * step, latitude, longitude) for part in (0.0, 0.5, 1.0)]
    return np.asarray(np.maximum.reduce(at) < DARK_BELOW_DEG)
