"""The figures of many sites as arrays, read in one sweep."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from engine.arrays import Array
from engine.assets import Site


class SiteFigures(NamedTuple):
    """What a planner needs to know of N sites, each of shape (N, 1); yes and no are 1 and 0."""

    capacity_kwh: Array
    max_charge_kw: Array
    max_discharge_kw: Array
    charge_efficiency: Array
    discharge_efficiency: Array
    min_soc: Array
    max_soc: Array
    wear_eur_per_kwh: Array
    standing_loss_per_h: Array
    tapered: Array
    """Whether power falls with the state of charge."""
    import_limit_kw: Array
    """Of the connection; infinite where none binds."""
    export_limit_kw: Array
    has_pv: Array
    pv_curtailable: Array

    @classmethod
    def of(cls, sites: Sequence[Site]) -> SiteFigures:
        """Read them."""
        count = len(cls._fields)
        values = itertools.chain.from_iterable(map(_figures, sites))
        table = np.fromiter(values, dtype=np.float64, count=count * len(sites)).reshape(-1, count)
        return cls(*np.ascontiguousarray(table.T)[:, :, np.newaxis])

    def some(self, first: int, last: int) -> SiteFigures:
        """The sites from `first` to before `last`; where all sites share one row it stays."""
        return self if len(self[0]) == 1 else SiteFigures(*(figure[first:last] for figure in self))


def _figures(site: Site) -> tuple[float, ...]:
    battery, grid, pv = site.battery, site.grid, site.pv
    return (
        battery.capacity_kwh,
        battery.max_charge_kw,
        battery.max_discharge_kw,
        battery.charge_efficiency,
        battery.discharge_efficiency,
        battery.min_soc,
        battery.max_soc,
        battery.wear_eur_per_kwh,
        battery.standing_loss_per_h,
        battery.tapered,
        math.inf if grid.import_limit_kw is None else grid.import_limit_kw,
        math.inf if grid.export_limit_kw is None else grid.export_limit_kw,
        pv is not None,
        pv is not None and pv.curtailable,
    )
