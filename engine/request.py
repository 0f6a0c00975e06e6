"""What is asked of the engine over one horizon, as the caller gave it: nothing here is checked or converted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.demand import DemandCharge
from engine.strategy import Strategy

Series = pd.Series | pd.DataFrame
Figure = float | Sequence[float] | npt.NDArray[np.float64] | pd.Series
TerminalValue = float | Sequence[tuple[float, float]]
SeriesByProduct = Mapping[str, Series]


@dataclass(frozen=True, eq=False, kw_only=True)
class Request:
    """Series and figures of one site or of many; `engine.planner.optimise` tells what each one means.

    A series is a pandas Series that all sites share or, for a fleet, a DataFrame with one column per site in their
    order; a figure is a number or one per site.
    """

    import_price: Series
    export_price: Series
    load: Series | None = None
    pv: Series | None = None
    initial_soc: Figure
    final_soc_min: Figure | None = None
    terminal_value_eur_per_kwh: TerminalValue | None = None
    strategy: Strategy | None = None
    demand_charges: Sequence[DemandCharge] = ()
    import_limit_kw: Series | None = None
    export_limit_kw: Series | None = None
    max_charge_kw: Series | None = None
    max_discharge_kw: Series | None = None
    reserve_soc: Series | None = None
    carbon_kg_per_kwh: Series | None = None
    position_kw: Series | None = None
    bid_price: Series | None = None
    ask_price: Series | None = None
    imbalance_price: Series | None = None
    schedule_kw: Series | None = None
    balancing_price: SeriesByProduct | None = None
    balancing_sold_kw: SeriesByProduct | None = None
