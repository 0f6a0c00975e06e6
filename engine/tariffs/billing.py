"""The bill: metered energy times the tariff, in total and line by line."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.errors import InputError
from engine.prices import PriceCurve
from engine.tariffs.clock import stamp
from engine.tariffs.tariff import Side, Tariff
from engine.timeline import utc_index


@dataclass(frozen=True, eq=False)
class Bill:
    """Money for metered energy; nothing is rounded. Standing charges per day or month are not part of it."""

    currency: str
    """ISO 4217 code of all sums."""
    imports: pd.Series
    """Cost of bought energy by component [currency]; a discount is negative."""
    exports: pd.Series
    """Revenue of sold energy by component [currency]; a fee is negative. Empty where nothing was metered."""

    @property
    def total(self) -> float:
        """What the customer owes: cost less revenue [currency]; negative where the customer is paid."""
        return float(self.imports.sum() - self.exports.sum())


def bill(
    tariff: Tariff,
    spot: PriceCurve | pd.DatetimeIndex,
    import_kwh: pd.Series,
    export_kwh: pd.Series | None = None,
) -> Bill:
    """Settle metered energy. Import and export are separate registers and are never netted.

    Args:
        tariff: The contract.
        spot: The market price, or the times, as for `Tariff.import_price`; shape (T,).
        import_kwh: Bought energy per interval [kWh], >= 0, on the same index.
        export_kwh: Sold energy per interval [kWh], >= 0, on the same index; None where there is no such register.

    Returns:
        The sums per component and in total.

    Raises:
        InputError: A reading is missing, negative or on another index (named with its interval), or the tariff has no
            price for an interval.
    """
    imports = _settled(tariff, spot, import_kwh, "import")
    exports = pd.Series(dtype=np.float64) if export_kwh is None else _settled(tariff, spot, export_kwh, "export")
    return Bill(tariff.currency, imports, exports)


def _settled(tariff: Tariff, spot: PriceCurve | pd.DatetimeIndex, kwh: pd.Series, side: Side) -> pd.Series:
    prices = tariff.components(spot, side)
    energy = metered_kwh(f"{side}_kwh", kwh, pd.DatetimeIndex(prices.index))
    return prices.mul(energy, axis="index").sum()


def metered_kwh(field: str, kwh: pd.Series, priced: pd.DatetimeIndex, *, register: bool = True) -> Array:
    """Readings that fit the prices [kWh]; shape (T,).

    Args:
        field: What errors call them.
        kwh: Energy per interval [kWh].
        priced: The index of the prices.
        register: Whether they are a register's, which never falls.

    Raises:
        InputError: One is missing, below 0 in a register, or they are on another index.
    """
    index = utc_index(field, kwh.index)
    if not index.equals(priced):
        raise InputError(
            f"{field}.index",
            f"{len(index)} intervals from {stamp(index[0])}, the price has {len(priced)} from {stamp(priced[0])}",
            "meter and price need one index",
        )
    energy = kwh.to_numpy(dtype=np.float64, na_value=np.nan)
    fault = ~np.isfinite(energy) | ((energy < 0) if register else False)
    if fault.any():
        at = int(fault.argmax())
        bound = "missing or below 0" if register else "missing"
        raise InputError(field, f"{energy[at]:g} kWh at {stamp(index[at])}, it is never {bound}", "correct it")
    return energy
