"""What gives way first where not everything can be kept, as prices that steer the solvers and are never paid.

In rising order: the final state of charge; the reserve; what is sold; a cycle budget; a connection limit; the
band of the state of charge. No money outranks any of them, and none outranks the sum of those before it.
"""

from __future__ import annotations

from typing import Generic, NamedTuple, TypeVar

import numpy as np

from engine.arrays import Array, Mask
from engine.assets import SMALLEST_EFFICIENCY

Figure = TypeVar("Figure", float, Array)

# How far the cheapest breach is above all that it could earn.
ABOVE_MONEY = 10.0
# A kWh missing from the reserve for one interval is still above all that it could earn.
RESERVE_PER_INTERVAL = 0.2
BUDGET = 5.0
# What is sold outranks the end of the store even where that has to give 1 / SMALLEST_EFFICIENCY kWh for it.
PROMISE = 4.0
# A kWh taken from the store may be delivered, and make room for 1 / SMALLEST_EFFICIENCY kWh that were bought.
BUDGET_OVER_PROMISES = 20.0
# A kW at the meter may spoil a position and so many kW of products sold.
MOST_PROMISED = 3
# A price above the sum of others is that many times it.
ABOVE_SUM = 2.0
# However short an interval is, leaving the band for it to spare a limit must not pay.
BAND_ABOVE_LIMIT = 10.0
# Energy of which less than this is left at the end of the horizon is not kept to spare a limit.
LEAST_CARRIED = 0.01
# Where the cells take less the fuller they are, a kWh taken early is mostly made up for by the end: so much may still
# lack. Below it, money may be preferred.
CARRIED_BY_TAPERED = 0.1


class BreachPrices(NamedTuple, Generic[Figure]):
    """Prices of one site, or with shape (N, 1) of many [EUR/kWh]."""

    final: Figure
    """Of a kWh short at the end."""
    reserve: Figure
    """Of a kWh missing from the reserve for one interval."""
    promise: Figure
    """Of a kWh of a position that is not delivered, or of a kW of capacity that is not held for an hour."""
    budget: Figure
    """Of a kWh taken from the store beyond a cycle budget."""
    limit: Figure
    """Of a kWh drawn or fed in beyond a connection limit."""
    band: Figure
    """Of a kWh below the band at the end of one interval."""
    overfull: Figure
    """Of a kWh above the band at the end of one interval."""


def breach_prices(
    dearest: Array,
    wear: Array,
    carried: Array,
    tapered: Mask,
    loses: Mask,
    reserve_price: float | None,
    reserved: bool,
    intervals: int,
    promised: bool = False,
) -> BreachPrices[Array]:
    """Rank what may be broken, for N sites.

    Args:
        dearest: The most that a kWh may cost or earn at the meter, shape (N, 1) [EUR/kWh].
        wear: Cost of ageing per kWh discharged, shape (N, 1) [EUR/kWh].
        carried: What comes back of a kWh stored over the whole horizon, shape (N, 1) [fraction].
        tapered: Whether power falls with the state of charge, shape (N, 1).
        loses: Whether the store loses energy at rest, shape (N, 1).
        reserve_price: What a kWh missing from the reserve costs per interval [EUR/kWh]; None: more than any money.
        reserved: Whether there is a reserve at all.
        intervals: Length of the horizon.
        promised: Whether a position or capacity is sold, which ranks below budgets.
    """
    carried = np.maximum(np.where(tapered, CARRIED_BY_TAPERED * carried, carried), LEAST_CARRIED)
    final = ABOVE_MONEY * (1 + wear + dearest / carried)
    reserve = RESERVE_PER_INTERVAL * final
    if reserve_price is not None:
        reserve = np.minimum(reserve_price, reserve)
    promise, budget = PROMISE * final, (BUDGET_OVER_PROMISES if promised else BUDGET) * final
    # A kWh at the meter may take 1 / SMALLEST_EFFICIENCY from the store and spoil end, reserve and budget at once.
    spoilt = final + budget + MOST_PROMISED * promised * promise + (intervals * reserve if reserved else 0.0)
    limit = ABOVE_SUM / SMALLEST_EFFICIENCY * spoilt
    band = BAND_ABOVE_LIMIT * limit
    # What a store loses at rest must not be charged ahead, above the band, to be below it for fewer intervals.
    return BreachPrices(final, reserve, promise, budget, limit, band, overfull=np.where(loses, intervals * band, band))
