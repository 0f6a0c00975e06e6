"""What a plan was asked for, as the checker reads it; see `engine.checker` for why it is its own reading."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from engine.arrays import Array, Mask
from engine.assets import Site
from engine.demand import DemandCharge
from engine.errors import InputError
from engine.request import Figure, Request, Series
from engine.strategy import Strategy

MARKETS = ("position_kw", "bid_price", "ask_price", "imbalance_price")


@dataclass(frozen=True, eq=False)
class Asked:
    """What the plans were asked for: arrays of shape (N, T), with 1 in place of N or T where all share one value."""

    sites: Sequence[Site]
    index: pd.DatetimeIndex
    step_h: float
    import_price: Array
    export_price: Array
    load_kw: Array
    offered_kw: Array
    initial_soc: Array
    """Shape (N,)."""
    final_soc_min: Array
    """Shape (N,); minus infinity where none is asked for."""
    import_limit_kw: Array
    """What a grid company allows, besides the connection; infinite where no limit binds."""
    export_limit_kw: Array
    charge_available_kw: Array
    discharge_available_kw: Array
    reserve_soc: Array = field(default_factory=lambda: np.zeros((1, 1)))
    markets: Mapping[str, Array] = field(default_factory=dict)
    """Positions and prices of markets by their name in the request, those of a product as `balancing_price.fcr_n`."""
    strategy: Strategy = field(default_factory=Strategy)
    demand_charges: tuple[DemandCharge, ...] = ()
    shared_intervals: int = 0
    """So many at the start were decided for several futures at once."""

    @classmethod
    def of(cls, sites: Sequence[Site], request: Request) -> Asked:
        """Read what was asked anew, whatever the solvers' input made of it.

        Raises:
            InputError: A series is not on the index of the others.
        """
        given = request.import_price.index
        index = _in_utc(given)

        def rows(name: str, series: Series | None, default: float) -> Array:
            if series is None:
                return np.full((1, 1), default)
            if series.index is not given and not _in_utc(series.index).equals(index):
                raise InputError(f"{name}.index", "it is not that of import_price", "put all series on one index")
            values = series.to_numpy(dtype=np.float64)
            return values.T if values.ndim > 1 else values[np.newaxis, :]

        def figures(figure: Figure | None) -> Array:
            values = np.asarray(-math.inf if figure is None else figure, dtype=np.float64)
            return np.broadcast_to(values, len(sites))

        markets = {
            name: rows(name, getattr(request, name), 0.0) for name in MARKETS if getattr(request, name) is not None
        }
        for name in ("balancing_price", "balancing_sold_kw"):
            for product, series in (getattr(request, name) or {}).items():
                markets[f"{name}.{product}"] = rows(f"{name}.{product}", series, 0.0)
        return cls(
            sites=sites,
            index=index,
            step_h=_step_h(index),
            import_price=rows("import_price", request.import_price, 0.0),
            export_price=rows("export_price", request.export_price, 0.0),
            load_kw=rows("load", request.load, 0.0),
            offered_kw=rows("pv", request.pv, 0.0),
            initial_soc=figures(request.initial_soc),
            final_soc_min=figures(request.final_soc_min),
            import_limit_kw=rows("import_limit_kw", request.import_limit_kw, math.inf),
            export_limit_kw=rows("export_limit_kw", request.export_limit_kw, math.inf),
            charge_available_kw=rows("max_charge_kw", request.max_charge_kw, math.inf),
            discharge_available_kw=rows("max_discharge_kw", request.max_discharge_kw, math.inf),
            reserve_soc=rows("reserve_soc", request.reserve_soc, 0.0),
            markets=markets,
            strategy=request.strategy or Strategy(),
            demand_charges=tuple(request.demand_charges),
        )

    def some(self, first: int, last: int) -> Asked:
        """What was asked for the sites from `first` to before `last`."""
        cut: dict[str, Any] = {
            name: values if len(values) == 1 else values[first:last]
            for name, values in vars(self).items()
            if isinstance(values, np.ndarray)
        }
        cut["markets"] = {
            name: values if len(values) == 1 else values[first:last] for name, values in self.markets.items()
        }
        return replace(self, sites=self.sites[first:last], **cut)

    @property
    def solar_only(self) -> bool:
        """Whether the battery may not be charged with bought energy."""
        return not self.strategy.grid_charging or self.strategy.objective == "self_consumption"

    @property
    def stored_export(self) -> str:
        """How far stored energy may reach the grid."""
        return "never" if self.strategy.objective == "self_consumption" else self.strategy.battery_export

    @property
    def below_floor(self) -> Mask:
        """Where exporting earns less than the strategy's floor, in the shape of the export price."""
        floor = self.strategy.export_floor_eur_per_kwh
        return np.zeros((1, 1), dtype=np.bool_) if floor is None else self.export_price < floor


def _in_utc(index: pd.Index) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(index).tz_convert("UTC").as_unit("ns")


def _step_h(index: pd.DatetimeIndex) -> float:
    if len(index) > 1:
        return (index[1] - index[0]).total_seconds() / 3600
    assert index.freq is not None
    return float((index[0] + index.freq - index[0]).total_seconds() / 3600)
