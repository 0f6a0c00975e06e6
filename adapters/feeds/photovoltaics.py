"""PV power from weather, by pvlib: sun position, irradiance on the tilted plane, cell temperature, inverter.

Sources: Hay and Davies (1980) for the sky's diffuse light, Faiman (2008) for cell temperature, PVWatts Version 5
(Dobos, NREL/TP-6A20-62641, 2014) for module, system losses and inverter.
"""

from __future__ import annotations

from typing import Annotated, Any

import pandas as pd
from pydantic import Field

from adapters.contract import ConfigurationError
from adapters.feeds.contract import WEATHER_COLUMNS
from adapters.settings import AccountSettings
from engine.errors import InputError
from engine.timeline import step_hours, utc_index

Share = Annotated[float, Field(ge=0, lt=1)]


class ArrayGeometry(AccountSettings):
    """Where an array's modules look, and how strong they are; what a `PvArray` does not need to know for planning."""

    latitude: Annotated[float, Field(ge=-90, le=90)]
    """[degrees, + north]"""
    longitude: Annotated[float, Field(ge=-180, le=180)]
    """[degrees, + east]"""
    peak_kw: Annotated[float, Field(gt=0, le=1_000_000)]
    """Power of the modules under standard test conditions [kWp]."""
    tilt_deg: Annotated[float, Field(ge=0, le=90)]
    """0 lies flat, 90 is a wall [degrees]."""
    azimuth_deg: Annotated[float, Field(ge=0, lt=360)]
    """Where they look: 90 east, 180 south, 270 west [degrees]."""
    ac_limit_kw: Annotated[float, Field(gt=0)] | None = None
    """The inverter's largest AC power [kW]; None: as large as the modules'."""
    losses: Share = 0.14
    """Soiling, wiring, mismatch and the like [fraction]; PVWatts' usual figure."""
    inverter_efficiency: Annotated[float, Field(gt=0, le=1)] = 0.96
    temperature_coefficient_per_c: Annotated[float, Field(ge=-0.01, le=0)] = -0.0040
    """Change of the modules' power per degree above 25 °C [1/°C]."""
    albedo: Share = 0.2
    """What the ground throws back [fraction]."""


def pv_kw(weather: pd.DataFrame, array: ArrayGeometry) -> pd.Series:
    """Mean AC power of an array in each interval.

    Args:
        weather: `WEATHER_COLUMNS`, means over [start, end), on an aware regular index; shape (T, 5).
        array: The array.

    Returns:
        `pv_kw` [kW], >= 0, on the same index in UTC; 0 while the sun is down in the middle of the interval.

    Raises:
        ConfigurationError: pvlib is not installed.
        InputError: A column is missing, or the index breaks the contract of `engine.timeline.utc_index`.
    """
    pvlib: Any = _pvlib()
    index = utc_index("weather", weather.index)
    missing = [name for name in WEATHER_COLUMNS if name not in weather]
    if missing:
        raise InputError("weather", f"column {missing[0]} is missing", f"give {', '.join(WEATHER_COLUMNS)}")
    # The sun in the middle stands for the interval that the weather is the mean of.
    middle = index + pd.Timedelta(hours=step_hours(index)) / 2
    at = weather.set_axis(middle)
    sun = pvlib.solarposition.get_solarposition(middle, array.latitude, array.longitude)
    plane = pvlib.irradiance.get_total_irradiance(
        array.tilt_deg,
        array.azimuth_deg,
        sun["apparent_zenith"],
        sun["azimuth"],
        at["dni_w_per_m2"],
        at["ghi_w_per_m2"],
        at["dhi_w_per_m2"],
        dni_extra=pvlib.irradiance.get_extra_radiation(middle.day_of_year.to_numpy()),
        albedo=array.albedo,
        model="haydavies",
    )["poa_global"]
    cell_c = pvlib.temperature.faiman(plane, at["temperature_c"], at["wind_m_per_s"])
    dc_kw = pvlib.pvsystem.pvwatts_dc(plane, cell_c, array.peak_kw, array.temperature_coefficient_per_c)
    limit_kw = array.ac_limit_kw or array.peak_kw
    # The inverter's efficiency is stated for its own DC rating.
    ac_kw = pvlib.inverter.pvwatts(
        dc_kw * (1 - array.losses), limit_kw / array.inverter_efficiency, array.inverter_efficiency
    )
    power_kw = ac_kw.where(sun["elevation"] > 0, 0.0).clip(lower=0.0)
    # A gap in the weather is a gap in the power, also by night.
    power_kw = power_kw.mask(at[list(WEATHER_COLUMNS)].isna().any(axis="columns"))
    return pd.Series(power_kw.to_numpy(), index=index, name="pv_kw")


def _pvlib() -> Any:
    try:
        import pvlib
    except ImportError:
        raise ConfigurationError("pv_kw: needs pvlib; install tidewatt[forecast]") from None
    return pvlib
