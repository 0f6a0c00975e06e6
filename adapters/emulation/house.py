"""Load and PV of an emulated site."""

from __future__ import annotations

import datetime as dt

import numpy as np
import pandas as pd

from engine.errors import InputError
from engine.timeline import utc_index

LARGEST_HOUSE_KW = 1000.0


class House:
    """Load and PV over time, held constant within each row of a frame, which repeats for ever."""

    def __init__(self, frame: pd.DataFrame) -> None:
        """Take a frame with columns `load_kw` and `pv_kw` on an aware, regular index.

        Raises:
            InputError: The frame does not keep the contract.
        """
        index = utc_index("house", frame.index)
        for column in ("load_kw", "pv_kw"):
            if column not in frame:
                raise InputError(column, "missing from the house", "give load_kw and pv_kw")
            values = frame[column].to_numpy(dtype=float)
            bad = ~((values >= 0) & (values <= LARGEST_HOUSE_KW))
            if bad.any():
                raise InputError(
                    column,
                    f"value {values[bad][0]:g} kW at {index[int(bad.argmax())].isoformat()} "
                    f"is outside 0..{LARGEST_HOUSE_KW:g} kW",
                    "fill or correct it; if it is in W, divide it by 1000",
                )
        self._begin_s = index[0].timestamp()
        self._step_s = (index[1] - index[0]).total_seconds() if len(index) > 1 else 3600.0
        self._load: list[float] = frame["load_kw"].astype(float).tolist()
        self._pv: list[float] = frame["pv_kw"].astype(float).tolist()

    @classmethod
    def constant(cls, load_kw: float, pv_kw: float) -> House:
        """A house whose load and PV [kW] never change."""
        return cls(pd.DataFrame({"load_kw": load_kw, "pv_kw": pv_kw}, index=pd.DatetimeIndex(["2024-01-01"], tz="UTC")))

    def at(self, moment: dt.datetime) -> tuple[float, float]:
        """Load and PV [kW] at a moment."""
        row = int((moment.timestamp() - self._begin_s) // self._step_s)
        row %= len(self._load)
        return self._load[row], self._pv[row]


def with_fluctuation(frame: pd.DataFrame, step: pd.Timedelta, seed: int) -> pd.DataFrame:
    """Spread means over shorter intervals the way houses and clouds do, keeping every mean.

    A first-order autoregressive factor (log-normal; standard deviation 0.4 for load, 0.25 for PV; time constant
    five steps) is laid over each mean and rescaled to it.

    Args:
        frame: `load_kw` and `pv_kw` on an aware, regular index.
        step: The shorter step; it divides the frame's.
        seed: Seed of the fluctuation; the same seed gives the same house.
    """
    rng = np.random.default_rng(seed)
    index = utc_index("house", frame.index)
    old = index[1] - index[0]
    parts = int(old / step)
    fine = pd.date_range(index[0], periods=len(index) * parts, freq=step, name="start")
    columns = {}
    for column, deviation in (("load_kw", 0.4), ("pv_kw", 0.25)):
        noise = np.empty(len(fine))
        level = 0.0
        keep = float(np.exp(-1 / 5))
        shocks = rng.normal(size=len(fine)) * np.sqrt(1 - keep**2)
        for position, shock in enumerate(shocks):
            level = keep * level + shock
            noise[position] = level
        factor = np.exp(deviation * noise).reshape(len(index), parts)
        factor /= factor.mean(axis=1, keepdims=True)
        columns[column] = (frame[column].to_numpy()[:, None] * factor).reshape(-1)
    return pd.DataFrame(columns, index=fine)
