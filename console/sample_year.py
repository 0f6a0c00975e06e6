"""A year laid out from the five weeks of the sample, for questions that need one and a clone that has no more.

Every price, load and sky is a real one of the sample; what is not real is that they come again, ten times and more. So
a year laid out has the seasons of the sun and of a contract, and none of the market's or the household's: what a
battery earns in it is no forecast of a year.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

from adapters.emulation import with_fluctuation
from console.sample import sample_hours, sample_site
from engine import PriceCurve
from engine.arrays import Array
from engine.backtesting.sweep import History
from engine.quality.sun import elevation_deg

# Where the market of the sample is, and how far south its roof was metered [degrees].
LATITUDE, LONGITUDE = 52.37, 4.90
LATITUDE_OF_ROOF = 34.09
HALF_HOUR = pd.Timedelta(minutes=30)


def sample_year(year: int, seed: int = 1) -> History:
    """The sample home through a year, by the minute.

    Prices and loads are those of the 35 days of the sample in their order, weekday on weekday and hour on hour. PV is
    what the roof made of a clear sky on each of them, under the sky over Amsterdam.

    Args:
        year: Which calendar year, in the local time of the sample.
        seed: Seed of the minutes within the hours.

    Returns:
        `prices` is the market's price [EUR/kWh]; `load` and `pv` [kW].
    """
    zone = sample_site().timezone
    hours = sample_hours()
    lived = pd.DatetimeIndex(hours.index).tz_convert(zone)
    first = lived[0].tz_localize(None)
    number = (lived.tz_localize(None) - first).days
    # The hour that the clock left out has the values of the one before.
    every_hour = pd.MultiIndex.from_product([range(number[-1] + 1), range(24)])
    days = hours.set_axis(pd.MultiIndex.from_arrays([number, lived.hour])).reindex(every_hour).ffill()
    clear = pd.Series(_clear_sky_w_per_m2(lived, LATITUDE_OF_ROOF), number).groupby(level=0).sum()
    days["yield"] = (hours["pv_kw"].groupby(number).sum() / clear).reindex(days.index, level=0)

    index = pd.date_range(str(year), str(year + 1), freq="h", tz=zone, inclusive="left")
    # As many days after a Monday as the sample's, which begins with one.
    passed = (index.tz_localize(None).normalize() - pd.Timestamp(year, 1, 1)).days + pd.Timestamp(year, 1, 1).weekday()
    laid = days.to_numpy()[passed % (number[-1] + 1) * 24 + index.hour]
    table = pd.DataFrame(laid, index.tz_convert("UTC").rename("start"), days.columns)
    table["pv_kw"] = table["yield"] * _clear_sky_w_per_m2(pd.DatetimeIndex(table.index), LATITUDE)
    house = with_fluctuation(table[["load_kw", "pv_kw"]], pd.Timedelta(minutes=1), seed)
    return History(PriceCurve.per_mwh(table["spot_eur_per_mwh"], "EUR"), house["load_kw"], house["pv_kw"])


def _clear_sky_w_per_m2(starts: pd.DatetimeIndex, latitude: float) -> Array:
    """Global horizontal irradiance of hours without clouds [W/m2], by Haurwitz (J. Meteorology 2, 1945)."""
    height = np.sin(np.radians(elevation_deg(starts.tz_convert("UTC") + HALF_HOUR, latitude, LONGITUDE)))
    up = np.maximum(height, 1e-3)
    return np.where(height > 0, 1098.0 * up * np.exp(-0.057 / up), 0.0)
