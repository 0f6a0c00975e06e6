"""Metered energy and money: from the device's own counters where it has them, else from its powers.

Import and export are never netted.
"""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pandas as pd

from adapters.contract import Channel, Telemetry
from engine.settlement import SMALLEST, booked_eur
from schedules import telemetry
from schedules.telemetry import REGISTERS

# What a sum of rounded lines is exact to.
DIGITS = -int(SMALLEST.as_tuple().exponent)


@dataclass(frozen=True, eq=False)
class Metered:
    """What the counters say of a horizon."""

    table: pd.DataFrame
    """Per interval: the `REGISTERS` [kWh] and `cost_eur` with wear, each line rounded as in `engine.settlement`; NaN
    where a reading is missing. `estimated`: at least one of them is the mean of powers that were read."""

    @property
    def cost_eur(self) -> float:
        """Realised cost over the metered intervals [EUR]; NaN where there is none."""
        return round(float(self.table["cost_eur"].sum(min_count=1)), DIGITS)

    @property
    def unmetered_intervals(self) -> int:
        """Intervals without a reading at one of their ends; their cost is not known, and not guessed."""
        return int(self.table["cost_eur"].isna().sum())

    @property
    def estimated_intervals(self) -> int:
        """Intervals whose cost is known by powers only, as no counter was read at both of their ends."""
        return int((self.table["estimated"] & self.table["cost_eur"].notna()).sum())


def metered(
    readings: list[Telemetry],
    import_price: pd.Series,
    export_price: pd.Series,
    step: dt.timedelta,
    wear_eur_per_kwh: float,
) -> Metered:
    """Settle a horizon by the counters read exactly at its interval boundaries, or by the powers read in between.

    Args:
        readings: Telemetry that covers the horizon.
        import_price: Price of a bought kWh [EUR/kWh], one row per interval.
        export_price: Price of a sold kWh [EUR/kWh].
        step: Length of an interval.
        wear_eur_per_kwh: Cost of ageing per kWh discharged [EUR/kWh].
    """
    counters = telemetry.frame(readings, Channel.STATE)[list(REGISTERS)].astype(float)
    starts = import_price.index
    at_start = counters.reindex(starts).set_axis(starts)
    at_end = counters.reindex(starts + step).set_axis(starts)
    # As registers are written: their differences in binary fractions are off by a dust that would round the other way.
    table = (at_end - at_start).round(9)
    # A counter that fell was replaced: what it missed is not known.
    table = table.where(table >= 0)
    table["estimated"] = table.isna().any(axis=1)
    table = table.fillna(_by_powers(readings, pd.DatetimeIndex(starts), step))
    prices = {"import_kwh": import_price, "export_kwh": export_price}
    prices["discharge_kwh"] = pd.Series(wear_eur_per_kwh, starts)
    known = table[list(prices)].notna().all(axis=1)
    lines = zip(*(booked_eur(table.loc[known, name], price[known]) for name, price in prices.items()), strict=True)
    table["cost_eur"] = pd.Series([float(bought - sold + worn) for bought, sold, worn in lines], table.index[known])
    return Metered(table)


def _by_powers(readings: list[Telemetry], starts: pd.DatetimeIndex, step: dt.timedelta) -> pd.DataFrame:
    """What the means of powers come to in each interval [kWh]; NaN where none was read in it.

    A reading counts for the time before it: the one at an interval's end belongs to it, the one at its start does not.
    """
    powers = telemetry.frame(readings, Channel.POWER)[["grid_kw", "battery_kw"]].astype(float)
    flows = pd.DataFrame(
        {
            "import_kwh": powers["grid_kw"].clip(lower=0),
            "export_kwh": -powers["grid_kw"].clip(upper=0),
            "charge_kwh": -powers["battery_kw"].clip(upper=0),
            "discharge_kwh": powers["battery_kw"].clip(lower=0),
        }
    )
    position = starts.searchsorted(flows.index, side="left") - 1
    inside = (position >= 0) & (flows.index <= starts[position] + step)
    mean_kw = flows[inside].groupby(starts[position[inside]]).mean()
    return mean_kw.reindex(starts) * (step / dt.timedelta(hours=1))
