"""What plans did on markets along a history, and what that came to at the prices that were paid.

A trade is concluded with the last plan before its interval, at that interval's quote; what is delivered otherwise than
position and trade say is imbalance, whoever wanted it. Balancing capacity is sold in an auction before its hour, and
paid as far as power and energy for it were there all over the hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from engine.arrays import Array
from engine.assets import Site
from engine.backtesting.reality import Reality
from engine.balancing import BLOCK_MINUTES, PRODUCTS, ProductName
from engine.commitments import trades_of
from engine.problem import ProblemStack
from engine.storage_kernels import Trace
from engine.strategy import Strategy


@dataclass(frozen=True, eq=False)
class Deals:
    """What was traded and sold by interval, shape (T,) each; the default is nothing."""

    trade_kw: Array | None = None
    """Sold (+) or bought (-) intraday besides the position."""
    sold_kw: Mapping[ProductName, Array] = field(default_factory=dict)
    """Balancing capacity by product."""


@dataclass(frozen=True, eq=False)
class Earned:
    """What markets paid by interval, shape (T,) each [EUR]; negative: what they cost."""

    trading_eur: Array
    imbalance_eur: Array
    balancing_eur: Array
    imbalance_kw: Array
    """Delivered (+) or lacking (-)."""
    backed: Array
    """Part of the capacity sold that was there [fraction]."""

    @property
    def total_eur(self) -> Array:
        """All of it."""
        return self.trading_eur + self.imbalance_eur + self.balancing_eur


def traded_kw(template: ProblemStack, reality: Reality, expected: Mapping[str, Array], trace: Trace) -> Array | None:
    """What plans traded by interval, given what each expected of its own intervals, shape (1, T) or (1, 1) each.

    None where nothing is traded.
    """
    if not template.strategy.intraday:
        return None
    wanted = {name: expected.get(name, series) for name, series in template.wanted.items()}
    drawn_kw = expected["load_kw"] - expected["pv_kw"] + (trace.curtailed_kw - trace.planned_kw)[np.newaxis]
    trades = trades_of(replace(template, index=reality.index, wanted=wanted), drawn_kw)
    return None if trades is None else trades.trade_kw[0]


def earned(
    deals: Deals, flows: tuple[Array, Array, Array, Array], stored: Array, reality: Reality, site: Site, wish: Strategy
) -> Earned:
    """What deals came to where so much was really delivered.

    Args:
        deals: What was traded and sold.
        flows: Imported, exported, charged, discharged [kWh], shape (T,) each.
        stored: In store at the begin and after each interval [kWh], shape (T + 1,).
        reality: The prices that were paid.
        site: The battery and its connection.
        wish: Whose reserve backs no capacity.
    """
    h, none, others = reality.step_h, np.zeros(len(reality)), reality.others
    imported, exported = flows[:2]
    trade, imbalance, trading_eur, imbalance_eur = none, none, none, none
    if wish.trades:
        trade = none if deals.trade_kw is None else deals.trade_kw
        imbalance = (exported - imported) / h - others.get("position_kw", none) - trade
        imbalance_eur = h * others["imbalance_price"] * imbalance
    if wish.intraday:
        trading_eur = h * trade * np.where(trade > 0, others["bid_price"], others["ask_price"])
    backed = _backed(deals, flows, stored, reality, site, wish) if deals.sold_kw else np.ones(len(reality))
    prices = {name: others[f"balancing_price.{name}"] for name in deals.sold_kw}
    balancing_eur = sum((h * price * deals.sold_kw[name] for name, price in prices.items()), none) * backed
    return Earned(trading_eur, imbalance_eur, np.asarray(balancing_eur), imbalance, backed)


def _backed(
    deals: Deals, flows: tuple[Array, Array, Array, Array], stored: Array, reality: Reality, site: Site, wish: Strategy
) -> Array:
    """Part of the capacity sold that power, connection and store left free, the least of each hour, shape (T,)."""
    battery, grid, h = site.battery, site.grid, reality.step_h
    imported, exported, charged, discharged = (flow / h for flow in flows)
    up_kw, down_kw, up_kwh, down_kwh = (
        np.asarray(sum(getattr(PRODUCTS[name], figure) * kw for name, kw in deals.sold_kw.items()))
        for figure in ("up_kw", "down_kw", "up_h", "down_h")
    )
    reserve = 0.0 if wish.reserve_breach_price is not None else wish.reserve_soc
    left = np.minimum(stored[:-1], stored[1:]) - max(battery.min_soc, reserve) * battery.capacity_kwh
    room = battery.max_soc * battery.capacity_kwh - np.maximum(stored[:-1], stored[1:])
    drawn, given = imported - exported, discharged - charged
    shares = [
        _share(battery.max_discharge_kw - given, up_kw),
        _share(battery.max_charge_kw + given, down_kw),
        _share(left * battery.discharge_efficiency, up_kwh),
        _share(room / battery.charge_efficiency, down_kwh),
    ]
    if grid.import_limit_kw is not None:
        shares.append(_share(grid.import_limit_kw - drawn, down_kw))
    if grid.export_limit_kw is not None:
        shares.append(_share(grid.export_limit_kw + drawn, up_kw))
    least = pd.Series(np.minimum.reduce(shares))
    return least.groupby(reality.index.floor(f"{BLOCK_MINUTES}min")).transform("min").to_numpy()


def _share(there: Array, asked: Array) -> Array:
    """Part of what is asked for that is there, 1 where nothing is asked."""
    return np.clip(np.where(asked > 0, there / np.where(asked > 0, asked, 1.0), 1.0), 0.0, 1.0)
