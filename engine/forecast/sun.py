"""Where the sun stands over a site, and what reaches planes of many directions; needs pvlib."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask
from engine.forecast.history import History
from engine.forecast.learning import need

# Planes that a roof may have, by tilt and azimuth from north [degrees]; a flat one stands for all azimuths.
TILTS = (25.0, 50.0, 90.0)
AZIMUTHS = tuple(np.arange(0.0, 360.0, 30.0))
ALBEDO = 0.2
# Where the sun stands lower than this, diffuse light is all there is, and models of beams break down [degrees].
LOWEST_BEAM = 3.0


@dataclass(frozen=True, eq=False)
class Sun:
    """The sun at the middle of each of P intervals."""

    middle: pd.DatetimeIndex
    zenith: Array
    """Apparent, from the vertical [degrees], shape (P,)."""
    azimuth: Array
    """From north through east [degrees], shape (P,)."""
    down: Mask
    """Whether it is below the horizon at start, middle and end, shape (P,)."""

    @classmethod
    def over(cls, history: History) -> Sun:
        """The sun over a site with coordinates.

        Raises:
            TidewattError: pvlib is not installed.
        """
        observed = history.observed
        count = len(history.index)
        halves = pd.date_range(history.index[0], periods=2 * count + 1, freq=observed.step / 2, unit="ns")
        place = (observed.latitude, observed.longitude)
        position = need("pvlib.solarposition").get_solarposition(halves, *place)
        up = (position["apparent_elevation"] > 0).to_numpy()
        return cls(
            middle=halves[1::2],
            zenith=position["apparent_zenith"].to_numpy()[1::2],
            azimuth=position["azimuth"].to_numpy()[1::2],
            down=~(up[:-1:2] | up[1::2] | up[2::2]),
        )

    @cached_property
    def clear_sky_ghi(self) -> Array:
        """Global horizontal irradiance without clouds, by Haurwitz [W/m2], shape (P,)."""
        clear = need("pvlib.clearsky").haurwitz(pd.Series(self.zenith))
        return np.asarray(clear["ghi"])

    def on_planes(self, ghi: Array) -> Array:
        """Split a global irradiance by Erbs and lay it on planes, diffuse light alike from all sides.

        Args:
            ghi: Global horizontal irradiance [W/m2], shape (P,).

        Returns:
            Shape (P, planes) [W/m2], the flat plane first; 0 while the sun is down.
        """
        irradiance = need("pvlib.irradiance")
        parts = irradiance.erbs(ghi, self.zenith, self.middle.day_of_year.to_numpy())
        beam = np.where(self.zenith < 90 - LOWEST_BEAM, parts["dni"], 0.0)
        diffuse = np.where(self.zenith < 90 - LOWEST_BEAM, parts["dhi"], ghi)
        on_planes = [ghi]
        for tilt in TILTS:
            sky, ground = (1 + np.cos(np.radians(tilt))) / 2, ALBEDO * (1 - np.cos(np.radians(tilt))) / 2
            for azimuth in AZIMUTHS:
                facing = irradiance.aoi_projection(tilt, azimuth, self.zenith, self.azimuth)
                on_planes.append(beam * np.maximum(facing, 0.0) + diffuse * sky + ghi * ground)
        return np.where(self.down[:, np.newaxis], 0.0, np.stack(on_planes, axis=1))
