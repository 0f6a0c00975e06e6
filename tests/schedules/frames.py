"""Frames of prices and forecasts, of the same value in every hour."""

from __future__ import annotations

import numpy as np
import pandas as pd

PRICES = {"import_price_eur_per_kwh": 0.3, "export_price_eur_per_kwh": 0.1}
POWERS = {"load_kw": 1.0, "pv_kw": 0.0}


def hours(begin: str, count: int, **columns: float) -> pd.DataFrame:
    index = pd.date_range(begin, periods=count, freq="1h", tz="UTC", name="start")
    return pd.DataFrame({name: np.full(count, value) for name, value in columns.items()}, index=index)
