"""How a file of prices is written.

Column                 ours
start                  start        aware: with an offset or Z in CSV, a time with a zone in Parquet
spot_eur_per_mwh       spot         and so on: side (spot, import, export), currency, unit
import_dkk_per_kwh     import       per_mwh is divided by 1000
"""

from __future__ import annotations

import re

import pandas as pd

from adapters.contract import ConfigurationError
from adapters.feeds.acceptance import Quoted
from adapters.feeds.contract import Side
from adapters.values import number, time_of
from engine.prices import KWH_PER_MWH

SOURCE = "file"
_COLUMN = re.compile(r"(spot|import|export)_([a-z]{3})_per_(kwh|mwh)")


def quotes(table: pd.DataFrame, area: str, name: str) -> list[Quoted]:
    """The price columns of a table.

    Args:
        table: As it was read, cells of a CSV as text.
        area: Whose prices they are; the file does not say.
        name: Of the file, for errors.

    Raises:
        ConfigurationError: There is no `start`, a column's name has no unit, or a time has no zone.
    """
    if "start" not in table:
        raise ConfigurationError(f"{name}: no column start; give the time of each price with its offset")
    starts = [_aware(value, name) for value in table["start"]]
    index = pd.DatetimeIndex(starts, tz="UTC")
    found = []
    for column in table.columns.drop("start"):
        parts = _COLUMN.fullmatch(str(column))
        if parts is None:
            raise ConfigurationError(f"{name}: column {column!r}; name it as spot_eur_per_mwh or import_dkk_per_kwh")
        divisor = KWH_PER_MWH if parts[3] == "mwh" else 1.0
        prices = pd.Series([number(_plain(value)) for value in table[column]], index, dtype=float) / divisor
        found.append(Quoted(Side(parts[1]), parts[2].upper(), area, prices))
    if not found:
        raise ConfigurationError(f"{name}: no column of prices; name one as spot_eur_per_mwh")
    return found


def _plain(value: object) -> object:
    return value.item() if hasattr(value, "item") else value


def _aware(value: object, name: str) -> pd.Timestamp:
    time = value if isinstance(value, pd.Timestamp) else time_of(value)
    if time is None or pd.isna(time) or time.tzinfo is None:
        raise ConfigurationError(f"{name}: start {value!r} is no time with an offset; write 2026-02-03T00:00:00+01:00")
    return pd.Timestamp(time).tz_convert("UTC")
