"""Metered energy and money from the device's own counters; import and export are never netted."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass

import pandas as pd

from adapters.contract import Channel, Telemetry
from schedules import telemetry
from schedules.telemetry import REGISTERS


@dataclass(frozen=True, eq=False)
class Metered:
    """What the counters say of a horizon."""

    table: pd.DataFrame
    """Per interval: the `REGISTERS` [kWh] and `cost_eur` with wear; NaN where a reading is missing."""

    @property
    def cost_eur(self) -> float:
        """Realised cost over the metered intervals [EUR]; NaN where there is none."""
        return float(self.table["cost_eur"].sum(min_count=1))

    @property
    def unmetered_intervals(self) -> int:
        """Intervals without a reading at one of their ends; their cost is not known, and not guessed."""
        return int(self.table["cost_eur"].isna().sum())


def metered(
    readings: list[Telemetry],
    import_price: pd.Series,
    export_price: pd.Series,
    step: dt.timedelta,
    wear_eur_per_kwh: float,
) -> Metered:
    """Settle a horizon by the counters read exactly at its interval boundaries.

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
    table = at_end - at_start
    # A counter that fell was replaced: what it missed is not known.
    table = table.where(table >= 0)
    table["cost_eur"] = (
        table["import_kwh"] * import_price
        - table["export_kwh"] * export_price
        + table["discharge_kwh"] * wear_eur_per_kwh
    )
    return Metered(table)
