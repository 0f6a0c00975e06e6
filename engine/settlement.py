"""The ledger: what every settlement period costs, to the millionth, by what it is paid for.

The one rounding: each line, a tariff component, imbalance or wear in one settlement period, is the exact product of
energy and price as they are written, rounded half to even to 1e-6 of the currency. All else is exact sums of lines, so
columns add up to totals, and periods to days and months, without a remainder.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Context, Decimal
from functools import reduce
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.errors import InputError
from engine.prices import PriceCurve
from engine.tariffs import Tariff
from engine.tariffs.billing import metered_kwh
from engine.tariffs.tariff import Side
from engine.timeline import ClockIntervals, step_hours

SMALLEST = Decimal("0.000001")
# Enough digits that no product or sum of a period is rounded before its line is.
EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
SIDE_COLUMNS = ("energy", "network", "tax")
COLUMNS = (*SIDE_COLUMNS, "imbalance", "wear", "total")
Exact = list[Decimal]


@dataclass(frozen=True, eq=False)
class Imbalance:
    """What was nominated to the market, and the price of what came otherwise."""

    nominated_kwh: pd.Series
    """Net energy bought per interval [kWh]; sold is negative."""
    price: PriceCurve
    """Single price of imbalances [currency/kWh], on the same index."""


@dataclass(frozen=True, eq=False)
class Ledger:
    """Money by settlement period, as `decimal.Decimal`; what the customer owes is positive, what he earns negative.

    Standing charges and charges on peaks belong to no period and are not part of it.
    """

    currency: str
    """ISO 4217 code of all sums."""
    timezone: str
    """IANA name of the zone whose days and months count."""
    imports: pd.DataFrame
    """Of bought energy: `energy`, `network`, `tax`, indexed by `start` (UTC)."""
    exports: pd.DataFrame
    """Of sold energy: the same columns."""
    table: pd.DataFrame
    """Both together: `energy`, `network`, `tax`, `imbalance`, `wear` and `total`, which is their sum."""

    @property
    def total(self) -> Decimal:
        """What is owed in all [currency]."""
        return added(self.table["total"])

    def by(self, period: Literal["day", "month"]) -> pd.DataFrame:
        """The table summed over local days or months, indexed by their first dates."""
        wall = pd.DatetimeIndex(self.table.index).tz_convert(self.timezone).tz_localize(None)
        first = wall.normalize() if period == "day" else wall.to_period("M").to_timestamp()
        return self.table.groupby(pd.Index(first.date, name=period)).agg(added)


def settle(
    tariff: Tariff,
    spot: PriceCurve | pd.DatetimeIndex,
    import_kwh: pd.Series,
    export_kwh: pd.Series | None = None,
    *,
    discharge_kwh: pd.Series | None = None,
    wear_per_kwh: float = 0.0,
    imbalance: Imbalance | None = None,
) -> Ledger:
    """Book metered energy. Import and export are separate registers and are never netted.

    Args:
        tariff: The contract; its components say which column they belong to.
        spot: The market price, or the times, as for `Tariff.import_price`; shape (T,). Its step is the settlement
            period where the contract's billing resolution is not longer.
        import_kwh: Bought energy per interval [kWh], >= 0, on the same index.
        export_kwh: Sold energy [kWh]; None where there is no such register.
        discharge_kwh: What the battery gave [kWh], for its wear.
        wear_per_kwh: What that costs [currency/kWh].
        imbalance: What was nominated. As the tariff bills all metered energy at the market price, what came otherwise
            costs the difference of the imbalance price to it.

    Raises:
        InputError: As for `engine.tariffs.bill`; an imbalance is in another currency, on another index, or without a
            market price.
    """
    prices = tariff.components(spot)
    index = pd.DatetimeIndex(prices.index)
    period = _periods(tariff, index)
    starts = index[np.flatnonzero(np.diff(period, prepend=-1))]
    bought = _exact(metered_kwh("import_kwh", import_kwh, index))
    imports = _columns(tariff, "import", prices, bought, period, starts)
    sold = [Decimal(0)] * len(index)
    exports = pd.DataFrame({name: [Decimal(0)] * len(starts) for name in SIDE_COLUMNS}, starts)
    if export_kwh is not None:
        sold = _exact(metered_kwh("export_kwh", export_kwh, index))
        exports = -_columns(tariff, "export", tariff.components(spot, "export"), sold, period, starts)
    net = [EXACT.subtract(one, other) for one, other in zip(bought, sold, strict=True)]
    none = [Decimal(0)] * len(starts)
    worn = none
    if discharge_kwh is not None:
        given = _exact(metered_kwh("discharge_kwh", discharge_kwh, index))
        worn = _line(given, _exact([wear_per_kwh]) * len(index), period)
    more = {
        "imbalance": none if imbalance is None else _imbalance(imbalance, tariff, spot, index, net, period),
        "wear": worn,
    }
    table = pd.concat([imports + exports, pd.DataFrame(more, starts)], axis="columns")
    table["total"] = table.agg(added, axis="columns")
    return Ledger(tariff.currency, tariff.timezone, imports, exports, table)


def added(amounts: Iterable[Decimal]) -> Decimal:
    """Their exact sum."""
    return reduce(EXACT.add, amounts, Decimal(0))


def booked_eur(kwh: Iterable[float], eur_per_kwh: Iterable[float]) -> Exact:
    """One line of the ledger for each of some periods: the exact product, rounded [EUR].

    Args:
        kwh: Energy of each period [kWh].
        eur_per_kwh: Its price [EUR/kWh].
    """
    energies = _exact(kwh)
    return _line(energies, _exact(eur_per_kwh), np.arange(len(energies)))


def _exact(values: Iterable[float]) -> Exact:
    """Numbers as they are written, not as binary fractions: 0.1 is a tenth."""
    return [Decimal(repr(float(value))) for value in values]


def _periods(tariff: Tariff, index: pd.DatetimeIndex) -> npt.NDArray[np.int64]:
    """Which settlement period each interval is in, rising from 0, shape (T,)."""
    step = pd.Timedelta(hours=step_hours(index))
    billed = pd.Timedelta(tariff.billing_resolution or 0)
    if billed <= step:
        return np.arange(len(index))
    return ClockIntervals.read("spot", index, step, tariff.timezone, billed).number


def _line(kwh: Exact, per_kwh: Exact, period: npt.NDArray[np.int64]) -> Exact:
    """One line of every settlement period, rounded."""
    sums = [Decimal(0)] * (int(period.max(initial=-1)) + 1)
    for at, energy, price in zip(period, kwh, per_kwh, strict=True):
        sums[at] = EXACT.fma(energy, price, sums[at])
    # A rounded -0.0000001 is no negative zero.
    return [EXACT.add(amount.quantize(SMALLEST, context=EXACT), Decimal(0)) for amount in sums]


def _columns(
    tariff: Tariff,
    side: Side,
    prices: pd.DataFrame,
    kwh: Exact,
    period: npt.NDArray[np.int64],
    starts: pd.DatetimeIndex,
) -> pd.DataFrame:
    components = tariff.import_components if side == "import" else tariff.export_components
    lines: dict[str, list[Exact]] = {column: [[Decimal(0)] * len(starts)] for column in SIDE_COLUMNS}
    for component in components:
        lines[component.column].append(_line(kwh, _exact(prices[component.name]), period))
    columns = {column: [added(amounts) for amounts in zip(*each, strict=True)] for column, each in lines.items()}
    return pd.DataFrame(columns, index=starts, dtype=object)


def _imbalance(
    imbalance: Imbalance,
    tariff: Tariff,
    spot: PriceCurve | pd.DatetimeIndex,
    index: pd.DatetimeIndex,
    net: Exact,
    period: npt.NDArray[np.int64],
) -> Exact:
    if not isinstance(spot, PriceCurve):
        raise InputError("imbalance", "it is priced against the market", "give a PriceCurve, not only times")
    spread = imbalance.price - spot
    if spread.currency != tariff.currency:
        raise InputError("imbalance.price", f"it is in {spread.currency}/kWh", f"convert it to {tariff.currency}")
    nominated = _exact(metered_kwh("imbalance.nominated_kwh", imbalance.nominated_kwh, index, register=False))
    otherwise = [EXACT.subtract(one, other) for one, other in zip(net, nominated, strict=True)]
    return _line(otherwise, _exact(spread.series), period)
