"""Balancing capacity: what a battery must keep free, in power and in energy, for each kW that it has sold.

The Nordic rules for limited energy reservoirs are those of Svenska kraftnat: of FCR-N 134 % of the capacity as power
and its energy for an hour, both ways; of FCR-D 20 % as power in the opposite direction and its energy for 20 minutes.
For aFRR no such rule was found: energy for the whole hour that capacity is sold by, and no power the other way, is our
own conservative reading. Several products at once are added up, conservatively too. What is prequalified with the
system operator goes before all of this.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt
import pandas as pd

from engine.arrays import Array
from engine.errors import InputError
from engine.strategy import Strategy

ProductName = Literal["fcr_n", "fcr_d_up", "fcr_d_down", "afrr_up", "afrr_down"]
# Capacity is one figure over each of these; all five are sold by the hour.
BLOCK_MINUTES = 60


class BalancingProduct(NamedTuple):
    """What a kW of sold capacity asks of the battery."""

    title: str
    up_kw: float
    """Discharging power to keep free [kW per kW]."""
    down_kw: float
    """Charging power to keep free [kW per kW]."""
    up_h: float
    """AC energy to keep in store [kWh per kW]."""
    down_h: float
    """AC energy to keep room for [kWh per kW]."""
    full_activation_s: float
    """From the signal, or the deviation of frequency, to full power [s]."""


# What a kW of capacity keeps free: discharging and charging power, energy in store and room in it.
HEADROOM = ("up_kw", "down_kw", "up_h", "down_h")
PRODUCTS: dict[ProductName, BalancingProduct] = {
    "fcr_n": BalancingProduct("FCR-N", 1.34, 1.34, 1.0, 1.0, 180.0),
    "fcr_d_up": BalancingProduct("FCR-D up", 1.0, 0.2, 1 / 3, 0.0, 7.5),
    "fcr_d_down": BalancingProduct("FCR-D down", 0.2, 1.0, 0.0, 1 / 3, 7.5),
    "afrr_up": BalancingProduct("aFRR up", 1.0, 0.0, 1.0, 0.0, 300.0),
    "afrr_down": BalancingProduct("aFRR down", 0.0, 1.0, 0.0, 1.0, 300.0),
}


def most_kw(strategy: Strategy) -> dict[ProductName, float]:
    """How much of each product a strategy sells at most, products that it does not sell left out [kW]."""
    offered = {name: float(getattr(strategy, f"{name}_kw")) for name in get_args(ProductName)}
    return {name: kw for name, kw in offered.items() if kw > 0}


@dataclass(frozen=True, eq=False)
class BalancingOffer:
    """One product at one site over T intervals; arrays of shape (T,)."""

    name: ProductName
    product: BalancingProduct
    price_eur_per_kw_h: Array
    most_kw: Array
    """What may be held, what is sold already included."""
    sold_kw: Array
    """What is sold already and must be held."""
    block: npt.NDArray[np.int64]
    """Number of the hour that each interval is in; capacity is the same all over it."""


def offers(strategy: Strategy, index: pd.DatetimeIndex, wanted: Mapping[str, Array]) -> tuple[BalancingOffer, ...]:
    """Lay what a strategy sells on a horizon.

    Args:
        strategy: Products, their most and the price floor.
        index: Starts of the intervals [UTC].
        wanted: Prices and what is sold already, by product, each of shape (T,) or (1,).
    """
    found = []
    for name, kw in most_kw(strategy).items():
        block = np.asarray(pd.factorize(index.floor(f"{BLOCK_MINUTES}min"))[0], dtype=np.int64)
        price = np.array(np.broadcast_to(wanted[f"balancing_price.{name}"], len(index)))
        sold = np.array(np.broadcast_to(wanted.get(f"balancing_sold_kw.{name}", np.zeros(1)), len(index)))
        mean_price = np.bincount(block, price) / np.bincount(block)
        worth_it = mean_price[block] >= strategy.balancing_price_floor_eur_per_kw_h
        most = np.maximum(np.where(worth_it, kw, 0.0), sold)
        found.append(BalancingOffer(name, PRODUCTS[name], price, most, sold, block))
    return tuple(found)


def refuse_uncontrollable(strategy: Strategy, *, local_control: bool, site: str = "site") -> None:
    """Refuse to sell balancing capacity from a site that only its vendor's cloud controls.

    Args:
        strategy: What is wanted.
        local_control: Whether something at the site follows frequency or a signal by itself (`Site.local_control`).
        site: What to call the site.

    Raises:
        InputError: Naming the product and why the site cannot deliver it.
    """
    for name in most_kw(strategy) if not local_control else ():
        product = PRODUCTS[name]
        raise InputError(
            f"strategy.{name}_kw",
            f"{product.title} must be at full power within {product.full_activation_s:g} s of frequency or signal, and "
            f"{site} is controlled through its vendor's cloud alone, which takes minutes and promises none",
            "leave the product out, or set local_control on a site with a controller of its own",
        )
